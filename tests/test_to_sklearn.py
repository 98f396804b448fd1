"""Conversion to scikit-learn's networks: the same predictions, or a refusal that says why."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor, to_sklearn
from skbackprop.functions import AdamW, BatchNormalization, Cosine, LeakyReLU, PeriodicEmbedding, Quantile

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NAMES = np.array(["setosa", "versicolor", "virginica"])
TARGETS = {
    "binary": Y == 1,
    "classes": NAMES[Y],
    "labels": np.column_stack([Y == 0, Y > 0, X[:, 0] > 0]).astype(int),
    "numbers": 3 + X[:, 3],
    "columns": X[:, 2:] + 3,
}


def fitted(target, **settings):
    kind = BackpropRegressor if target in ("numbers", "columns") else BackpropClassifier
    model = kind(**{"hidden_layer_sizes": (6, 5), "max_iter": 8, "random_state": 0, **settings})
    return model.fit(X, TARGETS[target])


SETTINGS = [
    {},
    {"hidden_layer_sizes": (), "activation": LeakyReLU()},
    {"activation": ["tanh", "tanh"], "solver": "lbfgs"},
    {"activation": "logistic", "early_stopping": True, "solver": AdamW(), "learning_rate": Cosine()},
    {"activation": "identity", "normalization": "batch"},
    {"normalization": BatchNormalization(), "averaging": 0.5, "dropout": 0.1, "parametrization": "ntp"},
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_predictions_are_the_same(target, settings, dtype):
    model = fitted(target, dtype=dtype, **settings)
    converted = model.to_sklearn()
    assert type(converted) is (MLPClassifier if is_classifier(model) else MLPRegressor)
    data = X.astype(dtype)
    close = {"rtol": 1e-10, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    if is_classifier(model):
        np.testing.assert_array_equal(converted.predict(data), model.predict(data))
        np.testing.assert_allclose(converted.predict_proba(data), model.predict_proba(data), **close)
        np.testing.assert_array_equal(converted.classes_, model.classes_)
    else:
        np.testing.assert_allclose(converted.predict(data), model.predict(data), **close)
        assert converted.predict(data).shape == model.predict(data).shape
    assert converted.predict(data[:3]).dtype == model.predict(data[:3]).dtype
    assert converted.coefs_[0].dtype == dtype
    assert converted.score(data, TARGETS[target]) == pytest.approx(model.score(data, TARGETS[target]), rel=1e-4)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson", "gamma", "tweedie", Quantile(0.9)], ids=str)
@pytest.mark.parametrize("target", ["numbers", "columns"])
def test_losses_with_links_that_scikit_learn_has(target, loss):
    model = fitted(target, loss=loss)
    converted = to_sklearn(model)
    np.testing.assert_allclose(converted.predict(X), model.predict(X), rtol=1e-10)
    assert converted.loss == ("poisson" if loss in ("poisson", "gamma", "tweedie") else "squared_error")


@pytest.mark.parametrize("target", ["numbers", "columns"])
@pytest.mark.parametrize("loss", ["squared_error", Quantile([0.1, 0.9])], ids=str)
def test_units_of_the_targets_become_weights(target, loss):
    model = fitted(target, loss=loss, standardize_target=True)
    np.testing.assert_allclose(to_sklearn(model).predict(X), model.predict(X), rtol=1e-10)


REFUSED = {
    "activation": ("classes", {"activation": "gelu"}, "activation='gelu': it has one of"),
    "activations": ("classes", {"activation": ["relu", "tanh"]}, r"activation=\['relu', 'tanh'\]"),
    "normalization": ("numbers", {"normalization": "layer"}, "normalization='layer'"),
    "parametric": ("numbers", {"parametric_activation": True}, "parametric_activation=True: it has none"),
    "inputs": ("numbers", {"input_layers": PeriodicEmbedding()}, r"input_layers=PeriodicEmbedding\(\)"),
    "no probabilities": ("binary", {"loss": "hinge"}, "loss='hinge'.*has none"),
    "deviations": ("numbers", {"loss": "gaussian_nll"}, "loss='gaussian_nll'"),
    "several": ("binary", {"loss": "hinge", "activation": "elu"}, "activation='elu'.*; loss='hinge'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name):
    target, settings, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        fitted(target, **settings).to_sklearn()


def test_columns_of_classes_are_refused():
    model = BackpropClassifier((4,), max_iter=3, random_state=0).fit(X, np.column_stack([Y, Y % 2]))
    with pytest.raises(ValueError, match="y with 2 columns of classes"):
        to_sklearn(model)


def test_a_pipeline_keeps_its_other_steps():
    model = make_pipeline(StandardScaler(), BackpropClassifier((5,), max_iter=5, random_state=0)).fit(X, Y)
    converted = to_sklearn(model)
    assert type(converted[-1]) is MLPClassifier
    assert converted[0] is model[0]
    assert type(model[-1]) is BackpropClassifier
    np.testing.assert_allclose(converted.predict_proba(X), model.predict_proba(X), rtol=1e-10)


def test_other_models_are_refused():
    network = BackpropClassifier((5,), max_iter=3, random_state=0)
    with pytest.raises(TypeError, match=r"got GridSearchCV; .* best_estimator_"):
        to_sklearn(GridSearchCV(network, {"alpha": [0.1]}, cv=2).fit(X, Y))
    with pytest.raises(NotFittedError):
        to_sklearn(network)


def test_the_result_is_an_ordinary_estimator_of_its_own():
    model = fitted("classes", solver="sgd", alpha=0.5, batch_size=30, learning_rate="adaptive")
    converted = to_sklearn(model)
    assert converted.get_params()["alpha"] == 0.5
    assert converted.get_params()["batch_size"] == 30
    assert (converted.solver, converted.learning_rate, converted.activation) == ("sgd", "adaptive", "relu")
    assert converted.hidden_layer_sizes == (6, 5)
    before = model.predict_proba(X)
    sparse_rows = sparse.csr_array(X)
    np.testing.assert_allclose(converted.predict_proba(sparse_rows), before, rtol=1e-10)
    converted.partial_fit(X, TARGETS["classes"])
    assert converted.t_ == model.t_ + len(X)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert clone(converted).fit(X, TARGETS["classes"]).score(X, TARGETS["classes"]) > 0.3


def test_data_frames_keep_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    converted = BackpropClassifier((5,), max_iter=3, random_state=0).fit(frame, Y).to_sklearn()
    assert list(converted.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        converted.predict(frame[["b", "a", "c", "d"]])
