"""The types that skops is told to trust: what this package's models need, and nothing that acts."""

import inspect
from importlib import import_module

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbackprop
from skbackprop import Checkpoint, functions, model_selection, preprocessing, skops_trusted_types

skops = pytest.importorskip("skops.io")

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_iris(return_X_y=True)


def network(kind=skbackprop.BackpropClassifier, **settings):
    return kind(**{"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, **settings})


def regressor(**settings):
    return network(skbackprop.BackpropRegressor, **settings)


MODELS = {
    "classifier": lambda: network(early_stopping=True),
    "regressor": lambda: regressor(normalization="batch"),
    "lbfgs": lambda: network(solver="lbfgs"),
    "embedding": lambda: skbackprop.BackpropEmbedding(network()),
    "ensemble": lambda: skbackprop.BackpropEnsembleClassifier(network(), n_estimators=2),
    "regressors": lambda: skbackprop.BackpropEnsembleRegressor(regressor(), n_estimators=2),
    "table": lambda: skbackprop.BackpropTabularClassifier(n_estimators=2, max_iter=2),
    "numbers": lambda: skbackprop.BackpropTabularRegressor(n_estimators=2, max_iter=2),
    "encoder": lambda: make_pipeline(preprocessing.TableEncoder(), network()),
    "search": lambda: model_selection.GridSearchCV(network(), {"alpha": [0.1, 1.0]}, cv=2),
    "search of regressors": lambda: model_selection.GridSearchCV(regressor(), {"alpha": [0.1, 1.0]}),
    "halving": lambda: model_selection.HalvingGridSearchCV(network(), {"alpha": [0.1, 1.0]}, cv=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_they_are_all_that_a_model_needs(name):
    model = make_pipeline(StandardScaler(), MODELS[name]()).fit(X, Y)
    data = skops.dumps(model)
    loaded = skops.loads(data, trusted=skops_trusted_types())
    rows = X[:20]
    method = "transform" if name == "embedding" else "predict"
    np.testing.assert_array_equal(getattr(loaded, method)(rows), getattr(model, method)(rows))


@pytest.mark.parametrize("name", functions.__all__)
def test_every_function_is_among_them(name):
    data = skops.dumps(getattr(functions, name)())
    assert type(skops.loads(data, trusted=skops_trusted_types())).__name__ == name


def test_what_acts_is_not_among_them(tmp_path):
    data = skops.dumps(network().set_callbacks(Checkpoint(str(tmp_path))))
    assert set(skops.get_untrusted_types(data=data)) - set(skops_trusted_types()) == {
        f"{Checkpoint.__module__}.Checkpoint"
    }
    assert not [name for name in skops_trusted_types() if "callback" in name.lower()]


def test_other_types_remain_to_be_judged():
    data = skops.dumps(CalibratedClassifierCV(network(), cv=2).fit(X, Y))
    others = set(skops.get_untrusted_types(data=data)) - set(skops_trusted_types())
    assert others
    assert all(name.startswith("sklearn.calibration.") for name in others)


def test_names_are_those_of_objects():
    names = skops_trusted_types()
    assert names == sorted(set(names))
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = getattr(import_module(module), attribute)
        assert inspect.isclass(found) or inspect.isfunction(found)
