"""ONNX: another runtime computes the same."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackprop import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropEnsembleClassifier,
    BackpropEnsembleRegressor,
    BackpropRegressor,
    to_onnx,
)
from skbackprop.functions import ELU, GELU, LeakyReLU, Quantile, Tanh
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")
pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
    # Of skl2onnx and the libraries that it uses.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
X_DIABETES = StandardScaler().fit_transform(X_DIABETES)
Y_DIABETES = Y_DIABETES / 100
Y_INDICATOR = make_multilabel_classification(150, 4, n_classes=3, random_state=0)[1]

#: Largest differences of probabilities; those of float32 are its rounding, in another order of sums.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}


def classifier(**settings):
    return BackpropClassifier(
        **{"hidden_layer_sizes": (8, 7), "learning_rate_init": 0.02, "max_iter": 20, "random_state": 0, **settings}
    )


def regressor(**settings):
    return BackpropRegressor(
        **{"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 20, "random_state": 0, **settings}
    )


def run(graph, X):
    """Outputs of a graph by name."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, X if isinstance(X, dict) else {"X": X}), strict=True))


def assert_same_classes(model, X, dtype="float64"):
    X = X.astype(dtype)
    outputs = run(to_onnx(model), X)
    labels = model.predict(X)
    assert outputs["label"].shape == labels.shape
    assert list(outputs["label"].ravel()) == list(labels.ravel())
    given = outputs["probabilities"]
    expected = model.predict_proba(X)
    pairs = zip(given, expected, strict=True) if isinstance(expected, list) else [(given, expected)]
    for one, other in pairs:
        assert one.dtype == dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])


OBJECTS = {
    "leaky_relu": LeakyReLU(0.3),
    "elu": ELU(0.7),
    "gelu tanh": GELU("tanh"),
    "one for each": ["tanh", ELU(0.5)],
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", [*ACTIVATIONS, *OBJECTS])
def test_activations(activation, dtype):
    model = classifier(activation=OBJECTS.get(activation, activation), dtype=dtype).fit(X, Y)
    # Far from the data, too, where one branch is left of each formula.
    assert_same_classes(model, np.vstack([X, 30 * X, -8 * X, np.zeros_like(X)]), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalizations(normalization, dtype):
    model = classifier(normalization=normalization, dtype=dtype, averaging=0.9).fit(X, Y)
    assert_same_classes(model, X, dtype)


LABELS = {
    "integers": Y + 5,
    "int8": Y.astype(np.int8),
    "uint8": Y.astype(np.uint8),
    "big-endian": Y.astype(">i4"),
    "above 2**53": Y + 2**53 + 1,
    "above 2**63": Y.astype(np.uint64) + np.uint64(2**63),
    "floats": Y - 1.0,
    "text": np.array(["eins", "zwei", "drei"])[Y],
    "objects": np.array(["eins", "zwei", "ß"], dtype=object)[Y],
    "bool": Y == 1,
    "two texts": np.array(["a", "b"])[Y % 2],
    "one class": np.full(150, 3),
    "indicator": Y_INDICATOR,
    "columns": np.column_stack([Y, Y % 2 + 7]),
    "columns of text": np.array([["a", "u"], ["b", "v"], ["c", "u"]], dtype=object)[Y],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind):
    assert_same_classes(classifier().fit(X, LABELS[kind]), X)


def test_labels_without_a_type_are_refused():
    model = classifier().fit(X, Y)
    model.classes_ = np.array([1, "a", None], dtype=object)
    with pytest.raises(ValueError, match="ONNX has no type for the labels"):
        to_onnx(model)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["integers", "bool", "indicator"])
@pytest.mark.parametrize("loss", [name for name, kind in LOSSES.items() if "binary" in kind.kinds()])
def test_losses_of_the_classifier(loss, kind, dtype):
    model = classifier(loss=loss, dtype=dtype).fit(X, LABELS[kind])
    if hasattr(model, "predict_proba"):
        assert_same_classes(model, X, dtype)
        return
    outputs = run(to_onnx(model), X.astype(dtype))
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    expected = model.decision_function(X)
    assert outputs["decision_function"].shape == expected.shape
    np.testing.assert_allclose(outputs["decision_function"], expected, rtol=1e-5, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize(
    "loss", [name for name, kind in LOSSES.items() if "regression" in kind.kinds()] + ["quantiles"]
)
def test_losses_of_the_regressor(loss, n_outputs, dtype):
    loss = Quantile([0.1, 0.5, 0.9]) if loss == "quantiles" else loss
    standardize = not isinstance(loss, str) or LOSSES[loss].out_activation == "identity"
    y = np.column_stack([Y_DIABETES, Y_DIABETES[::-1] + 1])[:, :n_outputs]
    y = y[:, 0] if n_outputs == 1 else y
    model = regressor(loss=loss, standardize_target=standardize, dtype=dtype).fit(X_DIABETES, y)
    outputs = run(to_onnx(model), X_DIABETES.astype(dtype))
    expected = model.predict(X_DIABETES, return_std="std" in outputs)
    expected = expected if "std" in outputs else (expected,)
    for given, wanted in zip(outputs.values(), expected, strict=True):
        assert given.shape == wanted.reshape(len(y), -1).shape
        np.testing.assert_allclose(
            given, wanted.reshape(given.shape), rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype]
        )


def test_no_hidden_layer():
    assert_same_classes(classifier(hidden_layer_sizes=()).fit(X, Y), X)


@pytest.mark.parametrize("frozen", [False, True])
def test_embedding(frozen):
    network = classifier(normalization="layer")
    model = BackpropEmbedding(FrozenEstimator(network.fit(X, Y)) if frozen else network, layer=-2).fit(X, Y)
    np.testing.assert_allclose(run(to_onnx(model), X)["variable"], model.transform(X), atol=1e-12)


def test_pipeline():
    raw = load_iris().data
    assert_same_classes(make_pipeline(StandardScaler(), classifier()).fit(raw, Y), raw)


def test_embedding_before_another_model():
    model = make_pipeline(StandardScaler(), BackpropEmbedding(classifier()), LogisticRegression()).fit(X, Y)
    graph = to_onnx(model, options={"zipmap": False})
    outputs = run(graph, X)
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X), atol=1e-6)


def test_within_another_estimator():
    model = VotingClassifier(
        [("a", classifier()), ("b", LogisticRegression())], voting="soft", flatten_transform=False
    ).fit(X, Y)
    outputs = run(to_onnx(model, X[:1], options={"zipmap": False}), X)
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X), atol=1e-6)


def test_columns_of_a_dataframe():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.array(["u", "v", "w"])[Y]})
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("text", OneHotEncoder(sparse_output=False), ["c"])]
    )
    model = make_pipeline(columns, classifier()).fit(frame, Y)
    outputs = run(to_onnx(model, frame[:1]), {name: frame[[name]].to_numpy() for name in frame})
    np.testing.assert_array_equal(outputs["label"], model.predict(frame))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(frame), atol=1e-6)


def test_data_in_another_type_than_the_weights():
    model = classifier().fit(X, Y)
    given = X.astype(np.float32)
    outputs = run(to_onnx(model, given[:1]), given)
    assert outputs["probabilities"].dtype == np.float64
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(given), atol=1e-12)


def test_skl2onnx_itself_converts_after_the_first_call():
    import skl2onnx

    model = classifier().fit(X, Y)
    to_onnx(model)
    outputs = run(skl2onnx.to_onnx(model, X[:1]), X)
    np.testing.assert_array_equal(outputs["label"], model.predict(X))


@pytest.mark.parametrize("opset", [15, 18, 21])
def test_versions_of_the_operators(opset):
    model = classifier(normalization="layer", activation="gelu").fit(X, Y)
    outputs = run(to_onnx(model, target_opset=opset), X)
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X), atol=1e-12)


def test_function_of_ones_own_is_refused():
    class Mine(Tanh):
        name = "mine"

    with pytest.raises(ValueError, match="no form in ONNX"):
        to_onnx(classifier(activation=Mine()).fit(X, Y))


def test_without_skl2onnx_the_error_says_what_to_install(monkeypatch):
    from skbackprop.estimators import _onnx

    _onnx._register.cache_clear()
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"skbackprop\[onnx\]"):
        to_onnx(classifier().fit(X, Y))


@pytest.mark.process
def test_import_loads_no_optional_library():
    code = "import sys, skbackprop; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnx", "skl2onnx", "safetensors", "skops"} & set(modules)


ENSEMBLES = {
    "classes": (BackpropEnsembleClassifier, classifier(), {}, Y),
    "two classes of text": (BackpropEnsembleClassifier, classifier(), {}, np.array(["a", "b"])[Y % 2]),
    "one class": (BackpropEnsembleClassifier, classifier(), {}, np.full(150, 3)),
    "large labels": (BackpropEnsembleClassifier, classifier(), {}, Y + 2**53 + 1),
    "some columns": (BackpropEnsembleClassifier, classifier(), {"max_features": 0.5}, Y),
    "some classes": (BackpropEnsembleClassifier, classifier(), {}, Y),
    "votes": (BackpropEnsembleClassifier, classifier(loss="hinge"), {"n_estimators": 5}, Y),
    "numbers": (BackpropEnsembleRegressor, regressor(standardize_target=True), {}, Y_DIABETES),
    "numbers and their spread": (BackpropEnsembleRegressor, regressor(loss="gaussian_nll"), {}, Y_DIABETES),
    "numbers of some columns": (BackpropEnsembleRegressor, regressor(), {"max_features": 0.5}, Y_DIABETES),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles(name, dtype):
    kind, network, settings, y = ENSEMBLES[name]
    data = (X if kind is BackpropEnsembleClassifier else X_DIABETES).astype(dtype)
    network = clone(network).set_params(dtype=dtype)
    model = kind(network, **{"n_estimators": 3, "random_state": 0, **settings}).fit(data, y)
    if name == "some classes":
        # As networks have them that were given drawn rows, and not all with weights.
        model.estimators_[1].fit(data[Y != 1], Y[Y != 1])
    outputs = run(to_onnx(model), data)
    if "label" in outputs:
        assert list(outputs["label"]) == list(model.predict(data))
        np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(data), rtol=0, atol=TOLERANCE[dtype])
    else:
        np.testing.assert_allclose(
            outputs["variable"][:, 0], model.predict(data), rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype]
        )


def test_ensemble_in_a_pipeline():
    raw = load_iris().data
    assert_same_classes(
        make_pipeline(StandardScaler(), BackpropEnsembleClassifier(classifier(), 3, random_state=0)).fit(raw, Y), raw
    )


def test_ensemble_of_other_models_is_refused():
    model = BackpropEnsembleClassifier(make_pipeline(StandardScaler(), classifier()), 2).fit(X, Y)
    with pytest.raises(ValueError, match=r"Pipeline .*only one of BackpropClassifier"):
        to_onnx(model)
