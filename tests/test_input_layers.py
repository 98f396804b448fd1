"""Layers in front of the first dense one: their formulas, and what users do with `input_layers=`."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import skbackprop
from skbackprop import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropEnsembleClassifier,
    BackpropRegressor,
    Checkpoint,
    model_selection,
)
from skbackprop.backends.data import as_rows
from skbackprop.functions import CategoryEmbedding, InputScale, PeriodicEmbedding, PiecewiseLinearEmbedding
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.elementary import SCRATCH
from skbackprop.functions.input_layers import bound_layers
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.penalties import Penalties
from skbackprop.inspection import input_gradient
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

RNG = np.random.default_rng(0)
#: Two columns of numbers, then two of codes.
X = np.column_stack([RNG.standard_normal((120, 2)), RNG.integers(0, 3, 120), RNG.integers(0, 4, 120)])
EFFECTS = np.array([1.0, -1.0, 0.5, 2.0])
Y = np.sin(3 * X[:, 0]) + 0.5 * X[:, 1] + EFFECTS[X[:, 3].astype(int)]
CLASSES = np.array(["low", "high"])[(np.median(Y) < Y).astype(int)]

LAYERS = {
    "scale": "scale",
    "periodic": "periodic",
    "some columns": PeriodicEmbedding([1, 0], n_frequencies=5, n_outputs=3, scale=0.5),
    "embedding": CategoryEmbedding([3, 2], [4, 3], n_outputs=2),
    "piecewise linear": PiecewiseLinearEmbedding([0, 1], n_levels=4, n_outputs=3),
    "several": (InputScale([0]), CategoryEmbedding([2, 3], np.array([3, 4])), PeriodicEmbedding([0, 1])),
}
each = pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)


def regressor(layers, **settings):
    settings = {"hidden_layer_sizes": (7, 6), "max_iter": 4, "batch_size": 32, "random_state": 0, **settings}
    return BackpropRegressor(input_layers=layers, **settings)


def classifier(layers, **settings):
    settings = {"hidden_layer_sizes": (7, 6), "max_iter": 4, "batch_size": 32, "random_state": 0, **settings}
    return BackpropClassifier(input_layers=layers, **settings)


def network_of(n_features, *layers):
    inputs = bound_layers(layers, n_features)
    return Network((n_features, 5, 1), (ACTIVATIONS.get_key("tanh"),), LOSSES["squared_error"]().key(), inputs=inputs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layers",
    [
        [PeriodicEmbedding(n_frequencies=1, n_outputs=2)],
        [PeriodicEmbedding([0, 1], n_frequencies=SCRATCH + 3, n_outputs=5, scale=1.0), PeriodicEmbedding([2, 7])],
        [PiecewiseLinearEmbedding(n_levels=1, n_outputs=1)],
        [PiecewiseLinearEmbedding([1, 0], n_levels=6, n_outputs=3), PiecewiseLinearEmbedding([0, 7])],
        [CategoryEmbedding([3, 2], [4, 2], n_outputs=1), PeriodicEmbedding([0]), CategoryEmbedding([6], [3])],
    ],
    ids=repr,
)
def test_gradients_and_predictions_are_those_of_the_naive_network(layers, dtype, backend):
    """For more frequencies than fit the scratch memory, too, and where the second layer's columns are what the first one makes."""
    network, targets = network_of(4, *layers), Y[:30, np.newaxis]
    params = 0.5 * np.random.default_rng(1).standard_normal(network.n_params)
    rows, tolerance = as_rows(X[:30].astype(dtype), np.dtype(dtype)), 2e-4 if dtype == "float32" else 1e-7
    with backend.Session(
        network, np.dtype(dtype), rows, targets.astype(dtype), None, 30, 30, 1, Penalties()
    ) as session:
        loss, gradient = session.loss_gradient(np.arange(30), params.astype(dtype))
    assert loss == pytest.approx(reference_loss(network, params, X[:30], targets), rel=tolerance)
    expected = numerical_gradient(lambda values: reference_loss(network, values, X[:30], targets), params)
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance)
    predictions = backend.predict(network, params.astype(dtype), rows, 1)
    np.testing.assert_allclose(predictions, reference_predict(network, params, X[:30]), rtol=tolerance, atol=tolerance)


def test_initial_parameters():
    layer = PeriodicEmbedding(n_frequencies=400, n_outputs=3, scale=0.3)
    sizes = [layer.n_params(column) for column in range(2)]
    drawn = layer.draw(np.random.RandomState(0), sizes, *layer.settings())
    assert drawn.shape == (2 * (2 * 400 + 2 * 400 + 2),)
    frequencies, phases, rest = np.split(drawn[: sizes[0]], [400, 800])
    assert frequencies.std() == pytest.approx(0.3, rel=0.1)
    assert 3.1 < np.abs(phases).max() < np.pi
    assert 0.049 < np.abs(rest).max() < 0.05
    vectors = CategoryEmbedding.draw(np.random.RandomState(0), [4000], 8)
    assert vectors.std() == pytest.approx(1.0, rel=0.05)


def test_unknown_categories_have_zeros_and_are_not_trained():
    layer = CategoryEmbedding(n_categories=[3], n_outputs=2)
    network = network_of(1, layer)
    params = np.random.default_rng(1).standard_normal(network.n_params)
    codes = np.array([[-1.0], [np.nan], [3.0], [1e9], [-np.inf], [0.5]])
    stage, arrays = network.arrays_by_layer(params)[0]
    np.testing.assert_array_equal(stage.naive(codes, arrays), np.zeros((6, 2)))
    cpu = skbackprop.backends.get_backend("cpu")
    rows = as_rows(codes, np.dtype(float))
    np.testing.assert_allclose(cpu.predict(network, params, rows, 1), reference_predict(network, params, codes))
    with cpu.Session(network, np.dtype(float), rows, np.ones((6, 1)), None, 6, 6, 1, Penalties()) as session:
        _, gradient = session.loss_gradient(np.arange(6), params)
    assert not gradient[: arrays["input_params_"].size].any()
    assert gradient[arrays["input_params_"].size :].any()


def test_categories_are_in_the_order_of_the_columns():
    in_order, reverse = CategoryEmbedding([2, 3], [3, 4]), CategoryEmbedding([3, 2], [4, 3])
    assert in_order.bound(4) == reverse.bound(4)
    assert network_of(4, in_order).code_columns == [2, 3]
    # Behind a layer that makes four units of the first column.
    assert network_of(4, PeriodicEmbedding([0]), CategoryEmbedding([5, 6], [3, 4])).code_columns == [2, 3]


@pytest.mark.trains
@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training(layers, dtype):
    model = regressor(layers, dtype=dtype, max_iter=60, learning_rate_init=0.01).fit(X, Y)
    assert model.loss_curve_[-1] < 0.6 * model.loss_curve_[0]
    again = clone(model).set_params(n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert model.input_params_[0].dtype == dtype
    np.testing.assert_allclose(model.predict(X[:1]), model.predict(X)[:1], rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.trains
def test_periodic_embeddings_learn_what_oscillates():
    x = np.random.default_rng(2).uniform(-2, 2, (400, 1))
    y = np.sin(12 * x[:, 0])
    settings = {"hidden_layer_sizes": (32,), "max_iter": 150, "learning_rate_init": 0.01}
    plain = regressor(None, **settings).fit(x, y).score(x, y)
    assert regressor(PeriodicEmbedding(scale=2.0), **settings).fit(x, y).score(x, y) > max(0.9, plain + 0.3)


@pytest.mark.trains
def test_lbfgs_and_partial_fit():
    layers = LAYERS["several"]
    assert regressor(layers, solver="lbfgs", max_iter=300).fit(X, Y).score(X, Y) > 0.95
    model = classifier(layers)
    for _ in range(3):
        model.partial_fit(X, CLASSES, classes=["high", "low"])
    assert len(model.loss_curve_) == 3
    assert model.loss_curve_[2] < model.loss_curve_[0]


@pytest.mark.trains
@each
def test_copies_and_files(layers, tmp_path):
    model = classifier(layers).fit(X, CLASSES)
    expected = model.predict_proba(X)
    model.save(tmp_path / "model.safetensors")
    loaded = skbackprop.load(tmp_path / "model.safetensors")
    for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model), clone(model).fit(X, CLASSES)):
        np.testing.assert_array_equal(other.predict_proba(X), expected)
    model.partial_fit(X, CLASSES)
    np.testing.assert_array_equal(loaded.partial_fit(X, CLASSES).predict_proba(X), model.predict_proba(X))


@pytest.mark.trains
@each
def test_checkpoints(layers, tmp_path):
    whole = regressor(layers, max_iter=8).fit(X, Y)
    regressor(layers, max_iter=3).set_callbacks(Checkpoint(tmp_path, epochs=1)).fit(X, Y)
    resumed = regressor(layers, max_iter=8).set_callbacks(Checkpoint(tmp_path, epochs=1)).fit(X, Y)
    assert len(resumed.loss_curve_) == 8
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))


@pytest.mark.trains
@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(layers, dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    model = regressor(layers, dtype=dtype).fit(X, Y)
    data = X.astype(dtype)
    # Categories that are not known.
    data[:3, 2], data[3:6, 3] = -1, 17
    session = onnxruntime.InferenceSession(skbackprop.to_onnx(model).SerializeToString())
    (predictions,) = session.run(None, {"X": data})
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(predictions[:, 0], model.predict(data), rtol=tolerance, atol=tolerance)


@pytest.mark.trains
@each
def test_input_gradients_are_numerical_gradients(layers):
    model = regressor(layers).fit(X, Y)
    gradients, step = input_gradient(model, X), 1e-6
    # To codes nothing can be added, and the gradient with respect to them is zero.
    for column in range(2 if "Category" in repr(layers) else 4):
        shift = step * (np.arange(4) == column)
        expected = (model.predict(X + shift) - model.predict(X - shift)) / (2 * step)
        np.testing.assert_allclose(gradients[:, column], expected, rtol=1e-5, atol=1e-8)
    if layers is LAYERS["embedding"]:
        assert not gradients[:, 2:].any()


@pytest.mark.trains
def test_searches():
    grid = {
        "input_layers__n_frequencies": [4, 40],
        "input_layers__scale": [0.1, 1.0],
        "learning_rate_init": [0.001, 0.01],
    }
    model = regressor(PeriodicEmbedding([0, 1]))
    ours, theirs = (
        kind(model, grid, cv=2, error_score="raise").fit(X, Y) for kind in (model_selection.GridSearchCV, GridSearchCV)
    )
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert len(np.unique(ours.cv_results_["mean_test_score"])) == 8
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    grid = {"input_layers": [None, *LAYERS.values()]}
    search = model_selection.GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, Y)
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 1 + len(LAYERS)
    with pytest.raises(
        ValueError, match="input_layers__scale cannot be set, because input_layers='periodic' is a name"
    ):
        regressor("periodic").set_params(input_layers__scale=1.0)
    with pytest.raises(
        ValueError, match=r"input_layers__scale cannot be set, because input_layers=\['scale'\] is no obj"
    ):
        regressor(["scale"]).set_params(input_layers__scale=1.0)


@pytest.mark.trains
@each
def test_embeddings_and_ensembles(layers, tmp_path):
    embedding = BackpropEmbedding(regressor(layers, activation="relu"), layer=0).fit(X, Y)
    units, network = embedding.transform(X), embedding.estimator_
    assert units.shape == (120, 7)
    z = np.maximum(units @ network.coefs_[1] + network.intercepts_[1], 0) @ network.coefs_[2] + network.intercepts_[2]
    np.testing.assert_allclose(z[:, 0], network.predict(X), rtol=1e-9)
    ensemble = BackpropEnsembleClassifier(classifier(layers), n_estimators=3, random_state=0).fit(X, CLASSES)
    mean = np.mean([member.predict_proba(X) for member in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, rtol=1e-12)
    for model, method in ((embedding, "transform"), (ensemble, "predict_proba")):
        model.save(tmp_path / "model.safetensors")
        loaded = skbackprop.load(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))


@pytest.mark.trains
def test_members_with_some_of_the_columns_choose_among_these():
    ensemble = BackpropEnsembleClassifier(classifier("periodic"), n_estimators=2, max_features=2, random_state=0)
    assert ensemble.fit(X, CLASSES).estimators_[0].coefs_[0].shape == (8, 7)
    with pytest.raises(ValueError, match=r"columns=\[1, 0\] of PeriodicEmbedding|columns=\[3\]"):
        ensemble.set_params(estimator__input_layers=PeriodicEmbedding([3])).fit(X, CLASSES)


@pytest.mark.trains
def test_weights_of_other_models():
    plain, layered = regressor(None).fit(X, Y), regressor("scale").fit(X, Y)
    ones = regressor("scale", weight_init=FrozenEstimator(plain), frozen_layers=[0, 1, 2], learning_rate_init=1e-9)
    # Weights of a network without the layer come with the layer's own initial parameters.
    np.testing.assert_allclose(ones.fit(X, Y).predict(X), plain.predict(X), rtol=1e-4)
    tuned = regressor("scale", weight_init=FrozenEstimator(layered), learning_rate_init=1e-9, max_iter=1).fit(X, Y)
    np.testing.assert_allclose(tuned.predict(X), layered.predict(X), rtol=1e-4)
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape \(4, 7\); this network needs \(16, 7\)"):
        regressor("periodic", weight_init=FrozenEstimator(plain)).fit(X, Y)
    for other in (None, "periodic", InputScale([0])):
        with pytest.raises(ValueError, match="weight_init comes from a network with input layers"):
            regressor(other, weight_init=FrozenEstimator(layered)).fit(X, Y)


@pytest.mark.trains
def test_a_fitted_network_keeps_its_layers():
    model = regressor("scale", warm_start=True).fit(X, Y)
    before = model.predict(X)
    for other in (None, "periodic", InputScale([0])):
        with pytest.raises(ValueError, match="the fitted network has"):
            model.set_params(input_layers=other).fit(X, Y)
        with pytest.raises(ValueError, match="the fitted network has"):
            model.partial_fit(X, Y)
        with pytest.raises(ValueError, match="the fitted network has"):
            model.predict(X)
    np.testing.assert_array_equal(model.set_params(input_layers="scale").predict(X), before)
    loss = model.loss_
    assert model.fit(X, Y).loss_ < loss


@pytest.mark.trains
def test_data_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1], "c": pd.Categorical(X[:, 2].astype(int)), "d": X[:, 3].astype("int8")}
    )
    layers = CategoryEmbedding([2, 3], [3, 4]), PeriodicEmbedding([0, 1])
    model = regressor(layers).fit(frame, Y)
    assert list(model.feature_names_in_) == list("abcd")
    np.testing.assert_array_equal(model.predict(frame), regressor(layers).fit(X, Y).predict(X))
    text = frame.assign(c=np.array(["u", "v", "w"], dtype=object)[X[:, 2].astype(int)])
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    pipeline = make_pipeline(encoder, classifier(CategoryEmbedding([2, 3], [3, 4]))).fit(text, CLASSES)
    text.loc[0, "c"] = "x"
    assert pipeline.predict(text).shape == (120,)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"n_categories=None of CategoryEmbedding must be .* each of its 4 columns"):
        regressor("embedding").fit(X, Y)
    for counts in ([3], [3, 0], [3, 2.5], 3):
        with pytest.raises((ValueError, TypeError), match="n_categories"):
            regressor(CategoryEmbedding([2, 3], counts)).fit(X, Y)
    for columns in ([4], [-1], [0, 0], [0.5], ["a", 1], [[0], [1]]):
        with pytest.raises(ValueError, match=r"of PeriodicEmbedding must be different indices of its 4 inputs"):
            regressor(PeriodicEmbedding(columns)).fit(X, Y)
    with pytest.raises(ValueError, match=r"column 0 of X has .* an input layer that takes codes of categories"):
        regressor(CategoryEmbedding([0, 2], [3, 3])).fit(X, Y)
    layers = PeriodicEmbedding([0]), CategoryEmbedding([4, 6], [5, 4])
    with pytest.raises(ValueError, match="column 1 of X has"):
        regressor(layers).fit(X, Y)
    with pytest.raises(ValueError, match="put layers that take codes first"):
        regressor((PeriodicEmbedding([0]), CategoryEmbedding([1], [3]))).fit(X, Y)
    model = regressor(CategoryEmbedding([2], [3]), restore_best_weights=True)
    with pytest.raises(ValueError, match=r"column 2 of X_val has 0\.5"):
        model.fit(X, Y, X_val=np.full((5, 4), 0.5), y_val=Y[:5])
    with pytest.raises(ValueError, match="n_outputs"):
        regressor(PeriodicEmbedding(n_outputs=1)).fit(X, Y)
    with pytest.raises(ValueError, match="input_layers='periodc' is not known; did you mean 'periodic'"):
        regressor(["periodc"]).fit(X, Y)
    with pytest.raises(TypeError, match="input_layers=3 is not a function of this kind"):
        regressor([3]).fit(X, Y)


def test_sparse_data_are_refused():
    data = sparse.csr_array(X)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        regressor("scale").fit(data, Y)
    with pytest.raises((TypeError, ValueError), match=r"[Ss]parse"):
        BackpropEnsembleClassifier(classifier("scale"), n_estimators=2).fit(data, CLASSES)
    with pytest.raises((TypeError, ValueError), match=r"[Ss]parse"):
        model_selection.GridSearchCV(regressor("scale"), {"max_iter": [1, 2]}, cv=2, error_score="raise").fit(data, Y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        regressor("scale").fit(X, Y).predict(data)
