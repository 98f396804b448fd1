"""Models in files: everything comes back, and nothing gets in."""

import copy
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import tracemalloc

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbackprop
from skbackprop import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropEnsembleClassifier,
    BackpropEnsembleRegressor,
    BackpropRegressor,
    load,
)
from skbackprop import functions as public_functions
from skbackprop.exceptions import ModelFileError
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.model_selection import HalvingGridSearchCV
from skbackprop.persistence import container

safetensors_numpy = pytest.importorskip("safetensors.numpy")
pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_iris(return_X_y=True)
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
Y_INDICATOR = make_multilabel_classification(150, 4, n_classes=3, random_state=0)[1]


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, **settings})


def assert_same_state(one, other):
    """The same attributes with the same bits."""
    assert type(one) is type(other)
    assert vars(one).keys() == vars(other).keys()
    assert pickle.dumps(_plain(one)) == pickle.dumps(_plain(other))


def _plain(value):
    """Without what tells objects apart that are the same."""
    if isinstance(value, np.random.RandomState):
        value = value.get_state()
    if hasattr(value, "__dict__") and not isinstance(value, type):
        names = sorted(set(vars(value)) - {"key"})
        return type(value).__name__, [(name, _plain(vars(value)[name])) for name in names]
    if isinstance(value, dict):
        # Times are not kept.
        return [(_plain(key), _plain(item)) for key, item in value.items() if key != "seconds"]
    if isinstance(value, list | tuple):
        return type(value).__name__, [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist()
    return repr(value)


def made(name):
    """An estimator of `MODELS`, and what to fit it with."""
    make, settings, y = MODELS[name]
    if settings.get("weight_init") == "fitted":
        settings = {**settings, "weight_init": FrozenEstimator(classifier().fit(X, Y))}
    return make(**settings), X_DIABETES if make is regressor else X, y


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


MODELS = {
    **{f"activation {name}": (classifier, {"activation": name}, Y) for name in ACTIVATIONS},
    **{f"solver {name}": (classifier, {"solver": name}, Y) for name in (*OPTIMIZERS, "lbfgs")},
    **{f"object {name}": (classifier, {"solver": kind()}, Y) for name, kind in OPTIMIZERS.items()},
    **{f"schedule {name}": (classifier, {"learning_rate": kind()}, Y) for name, kind in SCHEDULES.items()},
    **{f"loss {name}": (classifier, {"loss": kind()}, Y) for name, kind in LOSSES.items() if "binary" in kind.kinds()},
    **{
        f"loss {name}": (regressor, {"loss": kind()}, np.abs(Y_DIABETES) + 1)
        for name, kind in LOSSES.items()
        if "regression" in kind.kinds()
    },
    "batch normalization": (classifier, {"normalization": "batch", "averaging": 0.9, "early_stopping": True}, Y),
    "layer normalization": (classifier, {"normalization": public_functions.LayerNormalization(0.1)}, Y),
    "no hidden layer": (classifier, {"hidden_layer_sizes": ()}, Y),
    "float32": (classifier, {"dtype": "float32", "restore_best_weights": True}, Y),
    "schedules": (
        classifier,
        {"dropout": 0.3, "dropout_schedule": public_functions.FlatCosine(), "weight_decay_schedule": "cosine"},
        Y,
    ),
    "parametrization": (classifier, {"parametrization": "ntp", "weight_init": "ntp"}, Y),
    "parametric activation": (classifier, {"parametric_activation": True, "normalization": "batch"}, Y),
    "standardized": (regressor, {"standardize_target": True}, Y_DIABETES),
    "two targets": (regressor, {"standardize_target": True}, np.column_stack([Y_DIABETES, -Y_DIABETES])),
    "one class": (classifier, {}, np.zeros(150, dtype=int)),
    "two classes": (classifier, {}, Y == 1),
    "text": (classifier, {}, np.array(["one", "zwei", "trois"])[Y]),
    "objects": (classifier, {}, np.array(["one", "zwei", "trois"], dtype=object)[Y]),
    "large labels": (classifier, {}, (2**53 + np.arange(3, dtype=np.uint64))[Y]),
    "big-endian labels": (classifier, {}, Y.astype(">i2")),
    "floats": (classifier, {}, Y - 0.0),
    "indicator": (classifier, {}, Y_INDICATOR),
    "columns": (classifier, {}, np.column_stack([Y, Y % 2 + 3])),
    "columns of text": (classifier, {}, np.array([["a", "b"], ["c", "b"], ["c", "d"]], dtype=object)[Y]),
    "class weights": (classifier, {"class_weight": {0: 1, 1: 2.5, np.int64(2): 3}}, Y),
    "random state": (classifier, {"random_state": np.random.RandomState(3), "dropout": [0.1, np.float32(0.3)]}, Y),
    "numbers of NumPy": (classifier, {"alpha": np.float64(0.1), "max_iter": np.int32(2)}, Y),
    "infinite patience": (classifier, {"n_iter_no_change": np.inf}, Y),
    "activations of layers": (
        classifier,
        {"hidden_layer_sizes": [4, 3], "activation": ["tanh", public_functions.ELU(0.5)]},
        Y,
    ),
    "given weights": (classifier, {"weight_init": ([np.ones((4, 3))], [np.zeros(3)]), "hidden_layer_sizes": ()}, Y),
    "given estimator": (classifier, {"weight_init": "fitted"}, Y),
}


@pytest.mark.parametrize("name", MODELS)
def test_everything_comes_back(name, path):
    model, data, y = made(name)
    model.fit(data, y).save(path)
    # What a fit sets is declared.
    assert vars(model).keys() - model.get_params(deep=False).keys() <= {entry.name for entry in model._fitted}
    loaded = load(path)
    assert_same_state(loaded, model)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))
    if loaded.solver != "lbfgs" and not (loaded.early_stopping or loaded.restore_best_weights):
        # The optimizer's state, too: training goes on in the same way.
        for estimator in (model, loaded):
            estimator.partial_fit(data, y)
        assert [coef.tobytes() for coef in loaded.coefs_] == [coef.tobytes() for coef in model.coefs_]


def test_weights_that_were_replaced_are_saved(path):
    model = classifier().fit(X, Y)
    model.coefs_[0] = np.asfortranarray(model.coefs_[0] * 2)
    model.save(path)
    np.testing.assert_array_equal(load(path).predict_proba(X), model.predict_proba(X))


def test_names_of_columns(path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    classifier().fit(frame, Y).save(path)
    loaded = load(path)
    loaded.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[list("badc")])


EQUAL = {
    "classifier": (classifier(), X, Y),
    "lbfgs": (classifier(solver="lbfgs"), X, Y),
    "text": (classifier(), X, np.array(["loss", "alpha", "z"], dtype=object)[Y]),
    "columns of text": (classifier(), X, np.array([["loss", "b"], ["alpha", "b"], ["alpha", "d"]], dtype=object)[Y]),
    "everything": (
        classifier(
            normalization="batch", averaging=0.9, early_stopping=True, dropout=0.1, solver=public_functions.Adam(0.8)
        ),
        X,
        Y,
    ),
    "float32": (classifier(dtype="float32", restore_best_weights=True), X, Y),
    "random state": (classifier(random_state=np.random.RandomState(0)), X, Y),
    "regressor": (regressor(standardize_target=True), X_DIABETES, Y_DIABETES),
    "embedding": (BackpropEmbedding(classifier()), X, Y),
    "ensemble": (BackpropEnsembleClassifier(classifier(), 4, random_state=0), X, Y),
    "ensemble of regressors": (BackpropEnsembleRegressor(regressor(), 4, random_state=0), X_DIABETES, Y_DIABETES),
    "pipeline": (make_pipeline(StandardScaler(), classifier()), X, Y),
    "search": (GridSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=2), X, Y),
}


def stored(model, path):
    """The bytes that are stored with a model, by the way."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    ways = {"joblib.dump": buffer.getvalue(), "joblib.hash": joblib.hash(model)}
    ways |= {f"protocol {protocol}": pickle.dumps(model, protocol) for protocol in (2, 4, 5)}
    if hasattr(model, "save"):
        model.save(path)
        ways["file"] = path.read_bytes()
    return ways


def differing(one, other):
    return [name for name in one if one[name] != other[name]]


@pytest.mark.parametrize("name", EQUAL)
def test_equal_fits_are_stored_as_equal_bytes(name, path):
    model, data, y = EQUAL[name]
    if name == "search":  # its own times are scikit-learn's
        model, again = (clone(model).fit(data, y).best_estimator_ for _ in range(2))
        assert not differing(stored(model, path), stored(again, path))
        return
    first = clone(model).fit(data, y)
    expected = stored(first, path)
    # Without text that is the same object as another one.
    other_y = (
        np.array([["".join([*text]) for text in np.atleast_1d(row)] for row in y], dtype=object)
        if "text" in name
        else y
    )
    other = {
        "again": clone(model).fit(data, other_y.reshape(y.shape)),
        "sequentially": clone(model),
        "predicted with": copy.deepcopy(first),
        "fitted twice": clone(model).fit(data, y),
    }
    with joblib.parallel_config("sequential"):
        other["sequentially"].fit(data, y)
    getattr(other["predicted with"], "predict" if hasattr(first, "predict") else "transform")(data)
    if name != "random state":
        other["fitted twice"].fit(data, y)
    if name != "pipeline":  # whose scaler sums in another order
        spread = np.zeros((len(data), 2 * data.shape[1]))
        spread[:, ::2] = data
        other["columns in memory"] = clone(model).fit(np.asfortranarray(data), y)
        other["every other column"] = clone(model).fit(spread[:, ::2], y)
    if "n_jobs" in model.get_params():
        other["on a thread"] = clone(model).set_params(n_jobs=1).fit(data, y).set_params(n_jobs=None)
    for way, same in other.items():
        expected_ways = ["joblib.hash", "file"] if way == "predicted with" else list(expected)
        found = stored(same, path)
        assert [kind for kind in expected_ways if kind in expected and found[kind] != expected[kind]] == [], way


@pytest.mark.parametrize("name", sorted(EQUAL.keys() - {"search", "pipeline", "random state"}))
def test_loaded_model_has_the_hash_and_the_file_of_the_one_that_was_saved(name, path):
    model, data, y = EQUAL[name]
    model = clone(model).fit(data, y)
    model.save(path)
    content, hashed = path.read_bytes(), joblib.hash(model)
    for loaded in (load(path), pickle.loads(pickle.dumps(model))):
        assert joblib.hash(loaded) == hashed
        loaded.save(path)
        assert path.read_bytes() == content


BYTES = """
import pickle, sys
from hashlib import sha256
from sklearn.datasets import load_iris
from skbackprop import BackpropClassifier
X, y = load_iris(return_X_y=True)
model = BackpropClassifier((5,), max_iter=3, random_state=0, class_weight={0: 1, 1: 2, 2: 1}).fit(X, y.astype(str).astype(int))
model.save(sys.argv[1])
print(sha256(pickle.dumps(model)).hexdigest(), sha256(open(sys.argv[1], "rb").read()).hexdigest())
"""


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_arrays_in_a_file_are_aligned(path):
    X, y = load_iris(return_X_y=True)
    for n_characters in range(8):
        # Labels of other lengths make headers of other lengths.
        BackpropClassifier(2, max_iter=1, solver="lbfgs").fit(
            X, np.array(["a", "b", "c" + "x" * n_characters])[y]
        ).save(path)
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0


@pytest.mark.process
def test_equal_fits_in_other_processes_are_stored_as_equal_bytes(path):
    found = set()
    for seed in "0123":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "NUMBA_NUM_THREADS": str(1 + int(seed) % 2)}
        command = [sys.executable, "-W", "ignore", "-c", BYTES, str(path)]
        found.add(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
    assert len(found) == 1


def test_times_stay_with_the_model_that_was_trained(path):
    model = classifier().fit(X, Y)
    model.save(path)
    assert all(record["seconds"] > 0 for record in model.history_)
    for kept in (load(path), pickle.loads(pickle.dumps(model))):
        assert all(record.pop("seconds") is None for record in kept.history_)
        assert kept.history_ == [
            {name: record[name] for name in record if name != "seconds"} for record in model.history_
        ]
        assert kept.partial_fit(X, Y).history_[-1]["seconds"] > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_embedding(frozen, path):
    network = classifier()
    model = BackpropEmbedding(FrozenEstimator(network.fit(X, Y)) if frozen else network).fit(X, Y)
    model.save(path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    assert list(loaded.get_feature_names_out()) == list(model.get_feature_names_out())


ENSEMBLES = {
    "classes": (BackpropEnsembleClassifier, {"oob_score": True}, X, np.array(["a", "b", "c"])[Y]),
    "some columns": (BackpropEnsembleClassifier, {"max_features": 2, "max_samples": 5}, X, Y + 7),
    "default network": (BackpropEnsembleClassifier, {"estimator": None, "n_estimators": 1}, X[::10], Y[::10]),
    "numbers": (BackpropEnsembleRegressor, {"oob_score": True, "bootstrap_features": True}, X_DIABETES, Y_DIABETES),
}


def ensemble(name):
    kind, settings, data, y = ENSEMBLES[name]
    network = classifier() if kind is BackpropEnsembleClassifier else regressor(standardize_target=True)
    return kind(**{"estimator": network, "n_estimators": 4, "random_state": 0, **settings}), data, y


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores", "ignore:invalid value encountered")
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_ensembles_come_back(name, weighted, path):
    model, data, y = ensemble(name)
    model.fit(data, y, np.linspace(1, 2, len(y)) if weighted else None).save(path)
    loaded = load(path)
    assert_same_state(loaded, model)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))
    np.testing.assert_array_equal(loaded.predict_spread(data), model.predict_spread(data))
    for one, other in zip(loaded.estimators_samples_, model.estimators_samples_, strict=True):
        np.testing.assert_array_equal(one, other)
    # It goes on, too.
    for estimator in (model, loaded):
        estimator.set_params(warm_start=True, oob_score=False, n_estimators=6).fit(data, y)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores", "ignore:invalid value encountered")
def test_ensembles_in_skops_and_in_pickles():
    skops = pytest.importorskip("skops.io")
    model, data, y = ensemble("classes")
    model.fit(data, y)
    dumped = skops.dumps(model)
    untrusted = skops.get_untrusted_types(data=dumped)
    assert all(kind.startswith("skbackprop.") for kind in untrusted)
    for loaded in (skops.loads(dumped, trusted=untrusted), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(loaded.predict_proba(data), model.predict_proba(data))
    assert model.__getstate__()["_skbackprop_format"] == container.FORMAT


def test_ensemble_of_pipelines_is_not_saved(path):
    model = BackpropEnsembleClassifier(make_pipeline(StandardScaler(), classifier()), 2).fit(X, Y)
    with pytest.raises(ValueError, match=r"(?s)^estimator=Pipeline.* cannot be kept in a model file"):
        model.save(path)


HOSTILE_ENSEMBLES = {
    "no networks": (lambda model: model["attributes"].update(estimators_=[]), "estimators_"),
    "networks are numbers": (lambda model: model["attributes"].update(estimators_=[1, 2, 3, 4]), "estimators_"),
    "a network that is not fitted": (
        lambda model: model["attributes"]["estimators_"][1].update(attributes={}),
        "fitted networks",
    ),
    "a network of another kind": (
        lambda model: model["attributes"]["estimators_"].__setitem__(
            0, model["attributes"]["estimators_"][0]["parameters"]
        ),
        "no estimator",
    ),
    "one network less": (lambda model: model["attributes"]["estimators_"].pop(), "columns of each network"),
    "columns that are not there": (
        lambda model: model["attributes"].update(n_features_in_=1),
        "estimators_features_ has to hold numbers below 1",
    ),
    "columns are text": (lambda model: model["attributes"].update(estimators_features_="abcd"), "estimators_features_"),
    "classes that are not there": (
        lambda model: model["attributes"].update(classes_={"strings": ["a"], "shape": [1], "dtype": "<U1"}),
        "classes_ of a network",
    ),
    "no classes": (lambda model: model["attributes"].pop("classes_"), "classes_ is missing"),
    "no seeds": (lambda model: model["attributes"].pop("_seeds"), "_seeds"),
    "seeds are text": (lambda model: model["attributes"].update(_seeds="abcd"), "_seeds"),
    "negative count": (lambda model: model["attributes"].update(_n_samples=-1), "_n_samples"),
    "score is text": (lambda model: model["attributes"].update(oob_score_="good"), "oob_score_"),
    "an attribute of a network": (lambda model: model["attributes"].update(coefs_=[]), "coefs_"),
    "itself as a network": (
        lambda model: model["parameters"].update(estimator={"estimator": "os.system"}),
        "no estimator",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_ENSEMBLES)
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores", "ignore:invalid value encountered")
def test_ensemble_that_contradicts_itself_is_refused(name, path):
    change, message = HOSTILE_ENSEMBLES[name]
    model, data, y = ensemble("classes")
    model.fit(data, y).save(path)
    forge(path, lambda header, arrays: change(header["content"]["model"]))
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_warm_start_goes_on_from_a_loaded_model(path):
    model = classifier(warm_start=True).fit(X, Y)
    model.save(path)
    loaded = load(path)
    assert [coef.tobytes() for coef in loaded.fit(X, Y).coefs_] == [coef.tobytes() for coef in model.fit(X, Y).coefs_]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"scoring": lambda estimator, X, y: 0.0, "early_stopping": True}, "scoring"),
        ({"activation": type("Mine", (public_functions.Tanh,), {})()}, "activation"),
    ],
)
def test_what_no_file_can_hold_is_named(settings, name, path):
    with pytest.raises(ValueError, match=f"^{name}=.* cannot be kept in a model file"):
        classifier(**settings).fit(X, Y).save(path)
    assert not path.exists()


OWN = type("Own", (BackpropClassifier,), {})
SUBCLASSES = {
    "network": OWN((5,), max_iter=3),
    "of the same name": type("BackpropClassifier", (BackpropClassifier,), {})((5,), max_iter=3),
    "regressor": type("Own", (BackpropRegressor,), {})(hidden_layer_sizes=(5,), max_iter=3),
    "embedding": type("Own", (BackpropEmbedding,), {})(classifier()),
    "ensemble": type("Own", (BackpropEnsembleClassifier,), {})(classifier(), 2),
    "in an embedding": BackpropEmbedding(OWN((5,), max_iter=3)),
    "in an ensemble": BackpropEnsembleClassifier(OWN((5,), max_iter=3), 2),
    "as a parameter": classifier(solver=type("Adam", (public_functions.Adam,), {})()),
    "as a random state": classifier(random_state=type("RandomState", (np.random.RandomState,), {})(0)),
    "as a wrapper": BackpropEmbedding(type("FrozenEstimator", (FrozenEstimator,), {})(classifier())),
}


@pytest.mark.parametrize("name", SUBCLASSES)
def test_subclasses_are_refused_before_anything_is_written(name, path):
    model = SUBCLASSES[name]
    if name == "as a wrapper":
        model.estimator.estimator.fit(X, Y)
    model.fit(X, Y)
    with pytest.raises(ValueError, match="cannot be kept in a model file"):
        model.save(path)
    assert not path.exists()


def test_given_weights_of_a_subclass_are_refused(path):
    model = classifier(weight_init=FrozenEstimator(OWN((5,), max_iter=3).fit(X, Y))).fit(X, Y)
    with pytest.raises(ValueError, match=r"^weight_init=Own.* cannot be kept in a model file"):
        model.save(path)
    assert not path.exists()


def set_value(name, value):
    """Set an attribute, also one of a part."""

    def change(model):
        *parts, last = name.split(".")
        for part in parts:
            model = getattr(model, part)
        setattr(model, last, value)

    return change


def fill(get, value=np.nan):
    def change(model):
        get(model)[...] = value

    return change


# Of a fitted classifier with `solver=Adam()`, batch normalization, averaging and early stopping.
CONTRADICTIONS = {
    "parameter out of range": (set_value("alpha", -1.0), "alpha"),
    "unknown name": (set_value("solver", "adma"), "solver"),
    "setting out of range": (set_value("solver.beta_1", 7), "beta_1"),
    "activations of other layers": (set_value("activation", ["tanh", "relu", "relu"]), "activation"),
    "other normalization": (set_value("normalization", "layer"), "normalization"),
    "classes twice": (set_value("classes_", np.array([1, 1, 2])), "classes_"),
    "too few classes": (set_value("classes_", np.array([1, 2])), "outputs"),
    "other kind of targets": (set_value("_target_type", "binary"), "outputs"),
    "rows": (set_value("t_", -1), "t_"),
    "epochs": (set_value("n_iter_", "many"), "n_iter_"),
    "history": (set_value("history_", [1]), "history_"),
    "curve": (set_value("loss_curve_", ["low"]), "loss_curve_"),
    "loss": (set_value("loss_", "low"), "loss_"),
    "names of other columns": (set_value("feature_names_in_", np.array(["a"], dtype=object)), "feature_names_in_"),
    "intercepts of another layer": (set_value("intercepts_", [np.zeros(3)]), "intercepts_|shape"),
    "weights of integers": (set_value("coefs_", [np.ones((4, 5), dtype=int), np.ones((5, 3), dtype=int)]), "type"),
    "weights": (fill(lambda model: model.coefs_[1]), "coefs_ has values that are not finite"),
    "intercepts": (fill(lambda model: model.intercepts_[0], np.inf), "intercepts_ has values that are not finite"),
    "scales": (fill(lambda model: model.scales_[0]), "scales_ has values that are not finite"),
    "proportions": (
        fill(lambda model: model.activation_alphas_[0]),
        "activation_alphas_ has values that are not finite",
    ),
    "variances": (fill(lambda model: model.running_variances_[0], -1), "variance is negative"),
    "best parameters": (fill(lambda model: model._best_params), "_best_params has values that are not finite"),
    "slots": (fill(lambda model: model._optimizer.slots), "slots has values that are not finite"),
    "average": (fill(lambda model: model._optimizer.average), "average has values that are not finite"),
    "rate": (set_value("_optimizer.learning_rate", np.inf), "learning_rate"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_load_would_refuse_is_refused_before_anything_is_written(name, path):
    change, message = CONTRADICTIONS[name]
    settings = {"normalization": "batch", "averaging": 0.9, "early_stopping": True, "solver": public_functions.Adam()}
    model = classifier(**settings, parametric_activation=True).fit(X, Y)
    change(model)
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("target_scale_", np.array([np.nan])), "target_scale_ has values that are not finite"),
        (lambda model: delattr(model, "target_mean_"), "target_scale_ needs target_mean_"),
        (set_value("loss", public_functions.Quantile([0.1, 0.5])), "outputs do not go with"),
    ],
)
def test_what_load_would_refuse_of_a_regressor(change, message, path):
    model = regressor(standardize_target=True).fit(X_DIABETES, Y_DIABETES)
    change(model)
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("_n_samples", -1), "_n_samples"),
        (set_value("n_estimators", -1), "n_estimators"),
        (lambda model: model.estimators_.pop(), "columns of each network"),
        (lambda model: model.estimators_features_[0].fill(9), "estimators_features_"),
        (lambda model: model.estimators_[1].coefs_[0].fill(np.nan), "coefs_ has values that are not finite"),
    ],
)
def test_what_load_would_refuse_of_an_ensemble(change, message, path):
    model = BackpropEnsembleClassifier(classifier(), 2).fit(X, Y)
    change(model)
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert not path.exists()


def test_embedding_whose_network_load_would_refuse(path):
    model = BackpropEmbedding(classifier()).fit(X, Y)
    model.layer = "last"
    with pytest.raises(ValueError, match="layer"):
        model.save(path)
    assert not path.exists()


def test_more_text_than_a_file_may_have_is_refused(path):
    model = classifier().fit(X, Y)
    model.history_ = [{"note": "x" * (101 * 10**6)}]
    with pytest.raises(ValueError, match="too many for a model file"):
        model.save(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["classifier", "regressor", "embedding", "ensemble"])
def test_function_saves_as_the_method_does(name, path):
    model, data, y = EQUAL[name]
    model = clone(model).fit(data, y)
    model.save(path)
    content = path.read_bytes()
    skbackprop.save(model, path)
    assert path.read_bytes() == content


AROUND = {
    "Pipeline": make_pipeline(StandardScaler(), classifier()),
    "GridSearchCV": GridSearchCV(make_pipeline(classifier()), {}, cv=2),
    "HalvingGridSearchCV": HalvingGridSearchCV(
        make_pipeline(StandardScaler(), classifier()),
        {"backpropclassifier__alpha": [1e-4, 1.0]},
        cv=2,
        min_resources=50,
    ),
    "CalibratedClassifierCV": CalibratedClassifierCV(classifier(), cv=2),
    "StandardScaler": StandardScaler(),
}


@pytest.mark.parametrize("name", AROUND)
def test_function_names_what_stores_other_models(name, path):
    sio = pytest.importorskip("skops.io")
    model = clone(AROUND[name]).fit(X, Y)
    with pytest.raises(TypeError, match=rf"no {name}: use skops.io.dump\(model, path\)"):
        skbackprop.save(model, path)
    assert not path.exists()
    # And so it is.
    sio.dump(model, path)
    trusted = sio.get_untrusted_types(file=path)
    assert all(kind.startswith(("skbackprop.", "sklearn.")) for kind in trusted)
    loaded = sio.load(path, trusted=trusted)
    way = "predict" if hasattr(model, "predict") else "transform"
    np.testing.assert_array_equal(getattr(loaded, way)(X), getattr(model, way)(X))
    with pytest.raises(ModelFileError, match=r"skops\.io\.load reads those of skops"):
        load(path)


def test_only_a_fitted_model_is_saved(path):
    with pytest.raises(ValueError, match="not fitted"):
        classifier().save(path)


def test_weights_that_are_not_finite_are_not_saved(path):
    model = classifier().fit(X, Y)
    model.coefs_[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="coefs_ has values that are not finite"):
        model.save(path)


def test_file_that_cannot_be_written(tmp_path, path):
    model = classifier().fit(X, Y)
    with pytest.raises(FileNotFoundError, match="could not be written"):
        model.save(tmp_path / "missing" / "model.safetensors")
    path.mkdir()
    with pytest.raises(OSError, match="could not be written"):
        model.save(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_temporary_file_of_another_writer_is_left_alone(path):
    others = path.with_name(f".{path.name}.{os.getpid()}-0.tmp")
    others.write_bytes(b"half")
    model = classifier().fit(X, Y)
    model.save(path)
    np.testing.assert_array_equal(load(path).predict_proba(X), model.predict_proba(X))
    assert others.read_bytes() == b"half"


def test_file_has_the_permissions_of_any_new_file(tmp_path, path):
    classifier().fit(X, Y).save(path)
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_file_is_one_of_safetensors(path):
    model = classifier().fit(X, Y)
    model.save(path)
    arrays = safetensors_numpy.load_file(path)
    np.testing.assert_array_equal(arrays["model.coefs_.0"], model.coefs_[0])


def test_missing_file():
    with pytest.raises(FileNotFoundError):
        load("missing.safetensors")


# What gets in


@pytest.fixture
def saved(path):
    classifier(hidden_layer_sizes=(2,), max_iter=1, alpha=0).fit(X, Y == 1).save(path)
    return path


def test_no_truncated_file_is_loaded(saved):
    data = saved.read_bytes()
    for length in {*range(0, len(data), 97), 7, 8, 9, len(data) - 1}:
        saved.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match=saved.name):
            load(saved)


def test_no_flipped_bit_is_loaded(saved, rng):
    data = saved.read_bytes()
    for place in {*rng.integers(0, len(data), 300).tolist(), *range(16)}:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        saved.write_bytes(changed)
        with pytest.raises(ModelFileError, match=saved.name):
            load(saved)


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4" + bytes(100), pickle.dumps({"a": 1}), b"\xff" * 64, b"\x93NUMPY" + bytes(80)]
)
def test_other_files_are_no_models(data, path):
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="no file of skbackprop"):
        load(path)


def test_file_of_safetensors_without_a_model(path):
    safetensors_numpy.save_file({"a": np.ones(3)}, path)
    with pytest.raises(ModelFileError, match="not one that skbackprop has written"):
        load(path)


def forge(path, change):
    """Change the header and the arrays, with a checksum that is right: what a hostile author can do."""
    kind, content, arrays = container.read(path)
    header = {"format": container.FORMAT, "version": "1", "kind": kind, "content": content}
    change(header, arrays)
    text = json.dumps(header)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = safetensors_numpy.save(arrays, {"skbackprop": text, "sha256": container._checksum(text, arrays)})
    path.write_bytes(data)


def attribute(name, tree):
    def change(header, arrays):
        header["content"]["model"]["attributes"][name] = tree

    return change


def parameter(name, tree):
    def change(header, arrays):
        header["content"]["model"]["parameters"][name] = tree

    return change


def array(name, value):
    def change(header, arrays):
        assert name in arrays
        arrays[name] = value

    return change


def top(**values):
    return lambda header, arrays: header.update(values)


def without(name):
    return lambda header, arrays: header["content"]["model"]["attributes"].pop(name)


def nested(depth):
    tree = None
    for _ in range(depth):
        tree = [tree]
    return tree


HOSTILE = {
    "later format": (top(format=2), "format 2.*install"),
    "no number of a format": (top(format="x"), "format 'x'"),
    "header is a list": (lambda header, arrays: header.pop("kind"), "header"),
    "other kind": (top(kind="virus"), "virus"),
    "no content": (top(content=None), "no estimator"),
    "class of another module": (lambda h, a: h["content"]["model"].update(estimator="os.system"), "no estimator"),
    "name that is no class": (lambda h, a: h["content"]["model"].update(estimator="load"), "no estimator"),
    "name that is no text": (lambda h, a: h["content"]["model"].update(estimator=["x"]), "no estimator"),
    "function of another module": (
        parameter("solver", {"function": "os.system", "parameters": {"map": {}}}),
        "no function",
    ),
    "private name": (parameter("solver", {"function": "__builtins__", "parameters": {"map": {}}}), "no function"),
    "unknown kind of value": (parameter("solver", {"python": "print(1)"}), "unknown kind"),
    "unknown parameter": (parameter("shell", "rm"), "shell"),
    "value out of range": (parameter("alpha", -1.0), "alpha"),
    "value of the wrong type": (parameter("max_iter", "many"), "max_iter"),
    "setting out of range": (
        parameter("solver", {"function": "Adam", "parameters": {"map": {"beta_1": 7}}}),
        "beta_1",
    ),
    "unknown setting": (parameter("solver", {"function": "Adam", "parameters": {"map": {"x": 7}}}), "x"),
    "random state of another kind": (
        parameter("random_state", {"random_state": {"tuple": ["PCG64", 1]}}),
        "no estimator",
    ),
    "unknown attribute": (attribute("__class__", "x"), "__class__"),
    "method as an attribute": (attribute("predict", None), "predict"),
    "no classes": (without("classes_"), "classes_"),
    "no weights": (without("coefs_"), "coefs_"),
    "no intercepts": (without("intercepts_"), "intercepts_"),
    "weights are text": (attribute("coefs_", "weights"), "coefs_"),
    "no array of that name": (attribute("coefs_", [{"array": "x", "dtype": "<f8"}]), "x"),
    "array of objects": (attribute("coefs_", [{"array": "model.coefs_.0", "dtype": "|O"}]), "type"),
    "array of records": (attribute("coefs_", [{"array": "model.coefs_.0", "dtype": "V8"}]), "type"),
    "too few rows": (array("model.coefs_.1", np.ones((1, 1))), "shape"),
    "too many rows": (array("model.coefs_.0", np.ones((5, 2))), "slots"),
    "one dimension": (array("model.coefs_.0", np.ones(8)), "matrices"),
    "no columns": (array("model.coefs_.0", np.ones((4, 0))), "empty"),
    "integers": (array("model.coefs_.0", np.ones((4, 2), dtype=int)), "type"),
    "mixed types": (array("model.coefs_.1", np.ones((2, 1), dtype=np.float32)), "coefs_"),
    "not a number": (array("model.coefs_.0", np.full((4, 2), np.nan)), "not finite"),
    "infinite intercept": (array("model.intercepts_.1", np.array([np.inf])), "not finite"),
    "more classes than outputs": (
        attribute("classes_", {"strings": ["a", "b", "c"], "shape": [3], "dtype": "<U1"}),
        "outputs",
    ),
    "the same class twice": (attribute("classes_", {"strings": ["a", "a"], "shape": [2], "dtype": "<U1"}), "different"),
    "text of gigabytes": (
        attribute("classes_", {"strings": ["a", "b"], "shape": [2], "dtype": "<U999999999"}),
        "no estimator",
    ),
    "text of hundreds of megabytes": (
        attribute("classes_", {"strings": ["a", "b"], "shape": [2], "dtype": "<U25000000"}),
        "strings of type",
    ),
    "shape that is too large": (
        attribute("classes_", {"strings": ["a"], "shape": [2**40], "dtype": "|O"}),
        "no estimator|not write",
    ),
    "unknown targets": (attribute("_target_type", "anything"), "outputs"),
    "history is a number": (attribute("history_", 3), "history_"),
    "negative count": (attribute("t_", -3), "t_"),
    "curve of text": (attribute("loss_curve_", ["a"]), "loss_curve_"),
    "optimizer's state too small": (array("model._optimizer.slots", np.ones((2, 3))), "slots"),
    "other optimizer": (
        lambda h, a: h["content"]["model"]["attributes"]["_optimizer"]["map"].update(optimizer="adam"),
        "optimizer",
    ),
    "optimizer is a number": (attribute("_optimizer", 3), "no estimator"),
    "layers of other sizes": (parameter("activation", ["relu", "tanh"]), "activation"),
    "scales without normalization": (attribute("scales_", []), "normalization"),
    "proportions of no activation": (attribute("activation_alphas_", []), "parametric_activation"),
    "names for other columns": (
        attribute("feature_names_in_", {"strings": ["a"], "shape": [1], "dtype": "|O"}),
        "feature_names_in_",
    ),
    "deep": (attribute("classes_", nested(900)), "no estimator|header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_contradicts_itself_is_refused(name, saved):
    change, message = HOSTILE[name]
    forge(saved, change)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message):
            load(saved)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_deeply_nested_header_is_refused(saved):
    _, _, arrays = container.read(saved)
    text = "[" * 200_000
    saved.write_bytes(safetensors_numpy.save(arrays, {"skbackprop": text, "sha256": container._checksum(text, arrays)}))
    with pytest.raises(ModelFileError, match="header"):
        load(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F64", "shape": [2**40, 2**20], "data_offsets": [0, 2**63]}},
        {"a": {"dtype": "F64", "shape": [2**62, 8], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F64", "shape": [1], "data_offsets": [-8, 0]}},
        {
            "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
            "b": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
        },
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
    ],
)
def test_arrays_outside_the_file_are_refused_without_taking_memory(header, path):
    text = json.dumps({**header, "__metadata__": {"skbackprop": "{}", "sha256": ""}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="no file of skbackprop"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_header_that_claims_gigabytes_is_refused(path):
    path.write_bytes((2**40).to_bytes(8, "little") + b"{" * 100)
    with pytest.raises(ModelFileError, match="no file of skbackprop"):
        load(path)


@pytest.mark.process
def test_loading_imports_nothing_that_the_file_names(saved):
    """A process that only loads has the modules that it would have without the file."""
    code = (
        "import sys, skbackprop, safetensors.numpy; before = set(sys.modules); "
        "skbackprop.load(sys.argv[1]); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert all(name.startswith(("skbackprop.", "'skbackprop.")) for name in eval(done.stdout))


# Pickles


def test_pickle_tells_its_format():
    assert classifier().__getstate__()["_skbackprop_format"] == container.FORMAT
    model = pickle.loads(pickle.dumps(classifier().fit(X, Y)))
    assert not hasattr(model, "_skbackprop_format")


def test_pickle_of_a_later_version_is_refused():
    state = classifier().__getstate__()
    state["_skbackprop_format"] += 1
    with pytest.raises(ModelFileError, match="later version of skbackprop"):
        BackpropClassifier().__setstate__(state)


def test_pickle_without_a_format_is_migrated():
    model = classifier(solver="sgd", momentum=0.5).fit(X, Y)
    state = pickle.loads(pickle.dumps(model.__getstate__()))
    # As it was before the state had a format.
    del state["_skbackprop_format"]
    state["_optimizer"].key  # noqa: B018
    del state["_optimizer"].optimizer
    old = BackpropClassifier()
    old.__setstate__(state)
    assert_same_state(old, model)
    np.testing.assert_array_equal(old.partial_fit(X, Y).coefs_[0], model.partial_fit(X, Y).coefs_[0])


@pytest.mark.parametrize("name", MODELS)
def test_skops_needs_to_trust_this_package_only(name):
    skops = pytest.importorskip("skops.io")
    network, data, y = made(name)
    model = make_pipeline(StandardScaler(), network).fit(data, y)
    dumped = skops.dumps(model)
    untrusted = skops.get_untrusted_types(data=dumped)
    assert all(kind.startswith("skbackprop.") for kind in untrusted)
    loaded = skops.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


def test_sparse_prediction_of_a_loaded_model(path):
    model = classifier().fit(sparse.csr_array(X), Y)
    model.save(path)
    np.testing.assert_array_equal(load(path).predict_proba(sparse.csr_array(X)), model.predict_proba(X))


def test_version_is_told(path, monkeypatch):
    classifier().fit(X, Y).save(path)
    with container.require_library().safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["skbackprop"])
    assert header["version"] in (skbackprop.__version__, "unknown")
