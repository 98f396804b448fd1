"""ONNX: another runtime computes the same."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from skbackprop import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropEnsembleClassifier,
    BackpropEnsembleRegressor,
    BackpropRegressor,
    model_selection,
    register_onnx_converters,
    to_onnx,
)
from skbackprop._compile import formula
from skbackprop.functions import ELU, GELU, Huber, LeakyReLU, Poisson, Quantile, Tanh
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.links import REALS
from skbackprop.functions.losses import LOSSES, BinaryHinge, BinaryLogLoss, Loss, loss_link
from skbackprop.functions.normalizations import NORMALIZATIONS

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")
onnx = pytest.importorskip("onnx")
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
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_parametric_activations(activation, dtype):
    settings = {"activation": activation, "parametric_activation": True, "learning_rate_init": 0.02}
    model = classifier(**settings, dtype=dtype).fit(X, Y)
    assert np.ptp(model.activation_alphas_[0]) > 0.01
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
    standardize = not isinstance(loss, str) or loss_link(LOSSES[loss]).domain == REALS
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


def scaled(**settings):
    return make_pipeline(StandardScaler(), classifier(**settings))


def voting(*members, **settings):
    members = [(str(index), member) for index, member in enumerate(members)]
    return VotingClassifier(members, flatten_transform=False, **settings)


def stacking(*members, **settings):
    return StackingClassifier([(str(index), member) for index, member in enumerate(members)], cv=3, **settings)


GRID = {"alpha": [0.1, 1.0]}

AROUND_CLASSIFIERS = {
    "calibrated": CalibratedClassifierCV(classifier(), cv=3),
    "calibrated once": CalibratedClassifierCV(classifier(), ensemble=False, cv=3),
    "calibrated pipeline": CalibratedClassifierCV(scaled(), cv=3),
    "calibrated pipeline in a pipeline": CalibratedClassifierCV(make_pipeline(StandardScaler(), scaled()), cv=3),
    "calibrated without probabilities": CalibratedClassifierCV(classifier(loss="hinge"), cv=3),
    "calibrated ensemble": CalibratedClassifierCV(BackpropEnsembleClassifier(classifier(), 2, random_state=0), cv=3),
    "calibrated bagging": CalibratedClassifierCV(BaggingClassifier(classifier(), 2, random_state=0), cv=3),
    "calibrated one-versus-rest": CalibratedClassifierCV(OneVsRestClassifier(classifier()), cv=3),
    "calibrated one-versus-rest of pipelines": CalibratedClassifierCV(OneVsRestClassifier(scaled()), cv=3),
    "calibrated in a pipeline": make_pipeline(StandardScaler(), CalibratedClassifierCV(classifier(), cv=3)),
    "stacked": stacking(classifier(), LogisticRegression()),
    "stacked probabilities": stacking(scaled(), classifier(), stack_method="predict_proba", passthrough=True),
    "stacked raw outputs": stacking(classifier(), LogisticRegression(), stack_method="decision_function"),
    "stacked raw outputs of a pipeline": stacking(scaled(), classifier(), stack_method="decision_function"),
    "stacked without probabilities": stacking(classifier(loss="hinge"), classifier(loss="squared_hinge")),
    "stacked beneath": stacking(LogisticRegression(), final_estimator=classifier()),
    "stacked ensemble": stacking(BackpropEnsembleClassifier(classifier(), 2, random_state=0)),
    "stacked search": stacking(GridSearchCV(classifier(), GRID)),
    "vote of probabilities": voting(classifier(), LogisticRegression(), voting="soft"),
    "vote": voting(scaled(), LogisticRegression(), classifier(random_state=1), voting="hard"),
    "weighted vote": voting(scaled(), classifier(), voting="soft", weights=np.array([1, 2])),
    "one-versus-rest": OneVsRestClassifier(classifier()),
    "one-versus-rest of pipelines": OneVsRestClassifier(scaled()),
    "one-versus-one": OneVsOneClassifier(classifier()),
    "bagging": BaggingClassifier(classifier(), 3, random_state=0),
    "bagging of pipelines": BaggingClassifier(scaled(), 3, random_state=0),
    "bagging of columns": BaggingClassifier(classifier(), 3, max_features=0.5, random_state=0),
    "search": GridSearchCV(classifier(), GRID),
    "search of a pipeline": GridSearchCV(scaled(), {"backpropclassifier__alpha": [0.1, 1.0]}),
    "search in a pipeline": make_pipeline(StandardScaler(), GridSearchCV(classifier(), GRID)),
    "search of this package": model_selection.GridSearchCV(scaled(), {"backpropclassifier__alpha": [0.1, 1.0]}),
    "random search": RandomizedSearchCV(classifier(), GRID, n_iter=1, random_state=0),
    "search of a calibrated one": GridSearchCV(CalibratedClassifierCV(classifier(), cv=2), {"estimator__alpha": [0.1]}),
    "pipeline": scaled(),
    "pipeline of columns": make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), [0, 1]), ("as they are", "passthrough", [2])]), classifier()
    ),
    "pipeline of unions": make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]), classifier()),
    "embedding": make_pipeline(BackpropEmbedding(classifier()), LogisticRegression()),
}

# For two classes, skl2onnx takes two columns of raw outputs where scikit-learn takes one.
FOR_SEVERAL_CLASSES = ("stacked raw outputs", "stacked raw outputs of a pipeline", "stacked without probabilities")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", AROUND_CLASSIFIERS)
def test_models_around_a_classifier_compute_the_same(name, n_classes, dtype):
    data, y = X.astype(dtype), np.array(["a", "b", "c"])[Y] if n_classes == 3 else Y == 1
    if name == "one-versus-one":  # skl2onnx makes no graph that can be run of it where labels are text
        y = Y % n_classes
    model = clone(AROUND_CLASSIFIERS[name]).fit(data, y)
    if n_classes == 2 and name in FOR_SEVERAL_CLASSES:
        with pytest.raises(ValueError, match="too many columns; use stack_method='predict_proba'"):
            to_onnx(model, data[:1])
        return
    label, scores = run(to_onnx(model, data[:1]), data).values()
    assert list(label.ravel()) == list(model.predict(data))
    if hasattr(model, "predict_proba"):
        # skl2onnx computes in the data's type throughout, scikit-learn in float64 here and there.
        np.testing.assert_allclose(scores, model.predict_proba(data), rtol=0, atol=20 * TOLERANCE[dtype])


MISCONVERTED = {
    "isotonic calibration": (CalibratedClassifierCV(classifier(), method="isotonic", cv=3), "method='isotonic'"),
    "temperature": (CalibratedClassifierCV(classifier(), method="temperature", cv=3), "method='temperature'"),
    "calibrated search": (CalibratedClassifierCV(GridSearchCV(classifier(), GRID), cv=3), "of a GridSearchCV"),
    "calibrated pipeline that ends in another model": (
        CalibratedClassifierCV(make_pipeline(BackpropEmbedding(classifier()), LogisticRegression()), cv=3),
        "of a Pipeline",
    ),
    "in a pipeline": (
        make_pipeline(StandardScaler(), CalibratedClassifierCV(classifier(), method="isotonic", cv=3)),
        "method='isotonic'",
    ),
    "in a search": (
        GridSearchCV(CalibratedClassifierCV(classifier(), method="isotonic", cv=3), {"cv": [2]}),
        "method='isotonic'",
    ),
    "within a vote": (voting(CalibratedClassifierCV(classifier(), method="isotonic", cv=3)), "method='isotonic'"),
    "stacked labels": (stacking(classifier(), stack_method="predict"), r"stack_method_=\['predict'\]"),
    "tuned threshold": (TunedThresholdClassifierCV(classifier(), cv=3), "threshold is left out"),
    "vote without probabilities": (voting(classifier(loss="hinge"), voting="hard"), "loss='hinge' has none"),
    "one-versus-rest without probabilities": (OneVsRestClassifier(classifier(loss="hinge")), "loss='hinge' has none"),
    "bagging without probabilities": (BaggingClassifier(classifier(loss="hinge"), 2), "loss='hinge' has none"),
    "no converter": (
        BaggingClassifier(FrozenEstimator(LogisticRegression().fit(X, Y == 1)), 2),
        "no converter for FrozenE",
    ),
}


@pytest.mark.parametrize("name", MISCONVERTED)
def test_what_skl2onnx_gets_wrong_is_refused(name):
    model, message = MISCONVERTED[name]
    with pytest.raises(ValueError, match=message):
        to_onnx(clone(model).fit(X, Y == 1))


@pytest.mark.parametrize("name", [name for name in MISCONVERTED if name not in ("temperature", "no converter")])
def test_skl2onnx_itself_refuses_what_it_gets_wrong_around_a_network(name):
    model, message = MISCONVERTED[name]
    register_onnx_converters()
    with pytest.raises(ValueError, match=message):
        skl2onnx.to_onnx(clone(model).fit(X, Y == 1), X[:1])


def test_stacked_raw_outputs_of_a_search_are_refused():
    model = stacking(GridSearchCV(classifier(), GRID), stack_method="decision_function").fit(X, Y)
    with pytest.raises(ValueError, match="of a GridSearchCV"):
        to_onnx(model)


AROUND_REGRESSORS = {
    "vote": VotingRegressor([("a", regressor()), ("b", LinearRegression())]),
    "vote with a spread": VotingRegressor([("a", regressor(loss="gaussian_nll")), ("b", LinearRegression())]),
    "stacked": StackingRegressor([("a", regressor()), ("b", LinearRegression())], cv=3, passthrough=True),
    "stacked with a spread": StackingRegressor([("a", regressor(loss="gaussian_nll"))], cv=3),
    "bagging": BaggingRegressor(regressor(standardize_target=True), 3, max_features=0.5, random_state=0),
    "bagging of pipelines": BaggingRegressor(make_pipeline(StandardScaler(), regressor()), 3, random_state=0),
    "search": GridSearchCV(regressor(), GRID),
    "embedding": make_pipeline(BackpropEmbedding(regressor()), LinearRegression()),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", AROUND_REGRESSORS)
def test_models_around_a_regressor_compute_the_same(name, dtype):
    data = X_DIABETES.astype(dtype)
    model = clone(AROUND_REGRESSORS[name]).fit(data, Y_DIABETES)
    (output,) = run(to_onnx(model, data[:1]), data).values()
    expected = model.predict(data)
    np.testing.assert_allclose(output[:, 0], expected, rtol=20 * TOLERANCE[dtype], atol=20 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_input_of_a_pipeline_has_the_type_of_the_network_at_its_end(dtype):
    model = make_pipeline(
        StandardScaler(), MinMaxScaler(), BackpropClassifier((5,), dtype=dtype, max_iter=5, random_state=0)
    ).fit(X, Y)
    (given,) = to_onnx(model).graph.input
    kinds = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}
    assert given.type.tensor_type.elem_type == kinds[dtype]


@pytest.mark.parametrize("name", ["calibrated", "stacked", "vote of probabilities", "bagging"])
def test_networks_of_another_type_than_the_data_within_another_model(name):
    model = clone(AROUND_CLASSIFIERS[name])
    dtypes = {name: "float32" for name in model.get_params() if name.endswith("__dtype")}
    model.set_params(**dtypes).fit(X, Y == 1)
    outputs = run(to_onnx(model, options={"zipmap": False}), X)
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("kind", ["integers", "bool", "one class", "indicator", "columns"])
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_raw_scores_are_those_of_the_decision_function(loss, kind):
    if loss == "hinge" and kind == "columns":
        pytest.skip("several columns of classes have the log loss")
    model = classifier(loss=loss).fit(X, LABELS[kind])
    outputs = run(to_onnx(model, options={"raw_scores": True}), X)
    assert list(outputs["label"].ravel()) == list(model.predict(X).ravel())
    given, expected = outputs["probabilities"], model.decision_function(X)
    if kind == "bool":
        expected = np.column_stack([-expected, expected])
    elif kind == "one class":
        expected = expected[:, np.newaxis]
    for one, other in zip(given, expected, strict=True) if kind == "columns" else [(given, expected)]:
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("kind", ["text", "two texts", "columns of text"])
def test_labels_as_places_in_the_classes(kind):
    model = classifier().fit(X, LABELS[kind])
    places = run(to_onnx(model, options={"nocl": True}), X)["label"]
    assert places.dtype == np.int64
    if kind == "columns of text":
        given = np.column_stack([classes[column] for classes, column in zip(model.classes_, places.T, strict=True)])
    else:
        given = model.classes_[places]
    np.testing.assert_array_equal(given, model.predict(X))


def test_labels_of_an_ensemble_and_of_a_pipeline_as_places_in_the_classes():
    for model in (BackpropEnsembleClassifier(classifier(), 2, random_state=0), scaled()):
        model.fit(X, LABELS["text"])
        places = run(to_onnx(model, options={"nocl": True, "zipmap": False}), X)["label"]
        np.testing.assert_array_equal(model.classes_[places], model.predict(X))


def test_labels_that_are_dates_are_refused_or_places():
    dates = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], dtype="datetime64[D]")[Y]
    model = classifier().fit(X, dates)
    with pytest.raises(ValueError, match=r"labels of dtype datetime64\[D\]: fit with y.astype\(str\)"):
        to_onnx(model)
    places = run(to_onnx(model, options={"nocl": True}), X)["label"]
    np.testing.assert_array_equal(model.classes_[places], model.predict(X))


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


AFTER_REGISTRATION = """
import numpy as np
import skl2onnx
from onnx.reference import ReferenceEvaluator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import skbackprop
X = np.arange(20.0).reshape(10, 2)
model = make_pipeline(StandardScaler(), skbackprop.BackpropClassifier((2,), solver="lbfgs", random_state=0)).fit(X, X[:, 0] > 8)
skbackprop.register_onnx_converters()
for settings in ({}, {"options": {"zipmap": False}}):
    label, probabilities = ReferenceEvaluator(skl2onnx.to_onnx(model, X[:1], **settings)).run(None, {"X": X})
    assert (label == model.predict(X)).all()
    assert abs(probabilities - model.predict_proba(X)).max() < 1e-12
"""


@pytest.mark.process
def test_skl2onnx_itself_converts_after_registration():
    subprocess.run([sys.executable, "-W", "ignore", "-c", AFTER_REGISTRATION], check=True)


TEXT = {
    "columns by their names": ColumnTransformer([("scaled", StandardScaler(), ["a", "b"])]),
    "text": make_pipeline(ColumnTransformer([("text", OneHotEncoder(sparse_output=False), ["c"])]), StandardScaler()),
    "only text": OneHotEncoder(sparse_output=False),
    "documents": CountVectorizer(token_pattern="."),
}


@pytest.mark.parametrize("name", TEXT)
def test_model_that_takes_text_or_names_says_that_it_needs_data(name):
    frame = pytest.importorskip("pandas").DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.array(["u", "v", "w"])[Y]})
    given = {"only text": frame[["c"]], "documents": frame["c"]}.get(name, frame)
    model = make_pipeline(TEXT[name], classifier()).fit(given, Y)
    with pytest.raises(ValueError, match="pass X, of which a row is enough"):
        to_onnx(model)


def test_names_of_columns_need_no_data_where_nothing_takes_them():
    frame = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    model = scaled().fit(frame, Y)
    np.testing.assert_array_equal(run(to_onnx(model), X)["label"], model.predict(frame))


@pytest.mark.parametrize("opset", [15, 18, 21])
def test_versions_of_the_operators(opset):
    model = classifier(normalization="layer", activation="gelu").fit(X, Y)
    outputs = run(to_onnx(model, target_opset=opset), X)
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("name", ["mine", "tanh"])
def test_activation_of_ones_own_is_refused(name):
    kind = type("Mine", (Tanh,), {"name": name})
    with pytest.raises(ValueError, match="no form in ONNX"):
        to_onnx(classifier(activation=kind()).fit(X, Y))


class TwiceTheRaw(Huber):
    """A loss whose predictions are not the raw ones."""

    public_name = "twice the raw"

    @staticmethod
    @formula
    def inverse_link(z, c):
        return z + z


class TwiceTheRawByLoops(Huber):
    @classmethod
    def loops(cls):
        return TwiceTheRaw.loops()


@pytest.mark.parametrize("loss", [TwiceTheRaw(), TwiceTheRawByLoops()])
def test_regressor_whose_loss_has_a_link_of_ones_own_is_refused(loss):
    model = regressor(loss=loss).fit(X_DIABETES, Y_DIABETES)
    with pytest.raises(ValueError, match=r"of the loss TwiceTheRaw\w* have no form in ONNX"):
        to_onnx(model)


class OwnBinary(Loss):
    """A loss of two classes with a link of one's own."""

    public_name = "own binary"
    task = "binary"
    loss_gradient = BinaryHinge.loss_gradient
    inverse_link = TwiceTheRaw.inverse_link


def test_classifier_whose_loss_has_a_link_of_ones_own_is_refused():
    model = classifier(loss=OwnBinary()).fit(X, Y == 1)
    with pytest.raises(ValueError, match="of the loss OwnBinary have no form in ONNX"):
        to_onnx(model)


class WeakPoisson(Poisson):
    """A loss of one's own with a link of ours, of which it says another one."""

    out_activation = "identity"


class Shy(BinaryLogLoss):
    """A loss of one's own with a link of ours, and without probabilities."""

    kinds = vars(Loss)["kinds"]
    has_proba = False


def test_losses_of_ones_own_with_a_link_of_ours_compute_the_same():
    model = regressor(loss=WeakPoisson()).fit(X_DIABETES, Y_DIABETES)
    given = run(to_onnx(model), X_DIABETES)["variable"]
    np.testing.assert_allclose(given[:, 0], model.predict(X_DIABETES), rtol=1e-12)
    model = classifier(loss=Shy()).fit(X, Y == 1)
    outputs = run(to_onnx(model), X)
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    np.testing.assert_allclose(outputs["decision_function"], model.decision_function(X), atol=1e-12)


def test_without_skl2onnx_the_error_says_what_to_install(monkeypatch):
    from skbackprop.estimators import _onnx

    _onnx.register_onnx_converters.cache_clear()
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install onnx skl2onnx"):
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
