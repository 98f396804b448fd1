"""Gradients with respect to the inputs, and their plot."""

import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends.cpu import inputs
from skbackprop.functions import GELU, LeakyReLU, Quantile
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES, loss_link
from skbackprop.inspection import InputGradientDisplay, input_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 5))
CLASSES = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + 0.5 * X[:, 1], [-0.5, 0.5])]


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (7, 6), "max_iter": 5, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (7, 6), "max_iter": 5, "random_state": 0, **settings})


def differences(function, X, step=1e-6):
    """Central differences of a function of rows, of shape (n_rows, ..., n_features)."""
    columns = []
    for j in range(X.shape[1]):
        shift = np.zeros(X.shape[1])
        shift[j] = step
        columns.append((function(X + shift) - function(X - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


def raw_outputs(model):
    return lambda X: model._predict(X, link=False)[1]


def of_predicted(model, X):
    return raw_outputs(model)(X).max(axis=1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name):
    model = classifier(activation=name).fit(X, CLASSES)
    expected = differences(lambda X: of_predicted(model, X), X)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(input_gradient(model, X), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_in_single_precision(name):
    model = classifier(activation=name).fit(X, CLASSES)
    narrow = classifier(activation=name, weight_init=(model.coefs_, model.intercepts_), dtype="float32", max_iter=1)
    narrow.set_params(frozen_layers=[0, 1, 2]).fit(X, CLASSES)
    gradients = input_gradient(narrow, X, target="b")
    assert gradients.dtype == np.float32
    np.testing.assert_allclose(gradients, input_gradient(model, X, target="b"), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("activation", [(LeakyReLU(0.3), "tanh"), ("silu", GELU("tanh"))])
def test_settings_and_mixed_activations(activation):
    model = regressor(activation=activation).fit(X, X[:, 0])
    np.testing.assert_allclose(input_gradient(model, X), differences(model.predict, X), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalized_layers(normalization):
    model = classifier(normalization=normalization, activation="tanh").fit(X, CLASSES)
    expected = differences(lambda X: of_predicted(model, X), X)
    np.testing.assert_allclose(input_gradient(model, X), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus"])
def test_parametric_activations(activation):
    settings = {"activation": activation, "parametric_activation": True, "normalization": "layer"}
    model = regressor(**settings, learning_rate_init=0.02).fit(X, X[:, 0])
    assert np.ptp(model.activation_alphas_[0]) > 0.01
    np.testing.assert_allclose(input_gradient(model, X), differences(model.predict, X), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("hidden", [(), (1,), (4, 1, 3)])
def test_depths(hidden):
    model = regressor(hidden_layer_sizes=hidden, activation="tanh").fit(X, X[:, 0])
    np.testing.assert_allclose(input_gradient(model, X), differences(model.predict, X), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(input_gradient(model, X[:1]), input_gradient(model, X)[:1], rtol=1e-12)


def test_of_a_linear_model_is_its_weights():
    model = classifier(hidden_layer_sizes=()).fit(X, CLASSES)
    np.testing.assert_array_equal(input_gradient(model, X, target="c"), np.broadcast_to(model.coefs_[0][:, 2], X.shape))


def test_targets_of_classes():
    model = classifier(activation="tanh").fit(X, CLASSES)
    every = differences(raw_outputs(model), X)
    rows = np.arange(len(X))
    for index, name in enumerate("abc"):
        np.testing.assert_allclose(input_gradient(model, X, target=name), every[:, index], rtol=1e-5, atol=1e-8)
    positions = rows % 3
    for target in (np.array([*"abc"])[positions], np.array([*"abc"])[positions].tolist()):
        np.testing.assert_allclose(input_gradient(model, X, target=target), every[rows, positions], rtol=1e-5)
    np.testing.assert_array_equal(input_gradient(model, X), input_gradient(model, X, target=model.predict(X)))


def test_two_classes():
    y = np.where(X[:, 0] > 0, 7, -3)
    model = classifier(activation="tanh", max_iter=50, learning_rate_init=0.01).fit(X, y)
    expected = differences(model.decision_function, X)
    np.testing.assert_allclose(input_gradient(model, X, target=7), expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(input_gradient(model, X, target=-3), -input_gradient(model, X, target=7))
    predicted = model.predict(X)
    assert set(predicted) == {7, -3}
    signs = np.where(predicted == 7, 1, -1)
    np.testing.assert_allclose(input_gradient(model, X), signs[:, np.newaxis] * expected, rtol=1e-5, atol=1e-8)


def test_a_single_class():
    model = classifier().fit(X, np.zeros(len(X)))
    expected = -differences(model.decision_function, X)
    np.testing.assert_allclose(input_gradient(model, X), expected, rtol=1e-5, atol=1e-8)


def test_several_labels():
    X, Y = make_multilabel_classification(n_samples=30, n_features=6, n_classes=3, random_state=0)
    X = scale(X)
    model = classifier(activation="gelu").fit(X, Y)
    gradients = input_gradient(model, X)
    assert gradients.shape == (30, 3, 6)
    np.testing.assert_allclose(gradients, differences(model.decision_function, X), rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(input_gradient(model, X, target=1), gradients[:, 1])


def test_several_outputs():
    model = regressor(activation="silu").fit(X, X[:, :3] ** 2)
    gradients = input_gradient(model, X)
    assert gradients.shape == (40, 3, 5)
    np.testing.assert_allclose(gradients, differences(model.predict, X), rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(input_gradient(model, X, target=2), gradients[:, 2])
    picked = input_gradient(model, X, target=np.arange(40) % 3)
    np.testing.assert_array_equal(picked, gradients[np.arange(40), np.arange(40) % 3])


def test_several_columns_of_classes():
    Y = np.c_[CLASSES, np.where(X[:, 2] > 0, "yes", "no")]
    model = classifier(activation="tanh").fit(X, Y)
    every = differences(raw_outputs(model), X)
    rows = np.arange(40)
    for given in (None, Y):
        labels = model.predict(X) if given is None else given
        gradients = input_gradient(model, X, target=given)
        assert gradients.shape == (40, 2, 5)
        positions = np.searchsorted([*"abc"], labels[:, 0]), 3 + np.searchsorted(["no", "yes"], labels[:, 1])
        for index in range(2):
            np.testing.assert_allclose(gradients[:, index], every[rows, positions[index]], rtol=1e-5, atol=1e-8)
    for target in ("a", ["a", "yes"], Y[:, 0]):
        with pytest.raises(ValueError, match=r"must be of shape \(40, 2\): a class for each row and column"):
            input_gradient(model, X, target=target)
    with pytest.raises(ValueError, match="target='yes' is not among"):
        input_gradient(model, X, target=Y[:, ::-1])


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", Quantile((0.1, 0.5, 0.9))])
def test_standardized_targets(loss):
    y = np.c_[1000 + 200 * X[:, 0], -5 + 0.1 * X[:, 1]]
    model = regressor(loss=loss, activation="tanh", standardize_target=True).fit(X, y)
    expected = differences(model.predict, X)
    gradients = input_gradient(model, X)
    np.testing.assert_allclose(gradients, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(input_gradient(model, X, target=1), gradients[:, 1])


@pytest.mark.parametrize("loss", [name for name, kind in LOSSES.items() if "regression" in kind.kinds()])
def test_losses_of_the_regressor(loss):
    y = np.exp(X[:, :2] / 4)
    model = regressor(loss=loss, activation="tanh").fit(X, y)
    kind = LOSSES[loss]

    def raw(X):
        return model.predict(X) if kind.has_std else loss_link(kind).link(model.predict(X))

    gradients = input_gradient(model, X)
    assert gradients.shape == (40, model.predict(X).shape[1], 5)
    np.testing.assert_allclose(gradients, differences(raw, X), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_rows(form, dtype):
    rows = np.where(RNG.random(X.shape) < 0.6, 0, X)
    rows[3] = 0
    model = classifier(activation="mish", dtype=dtype).fit(rows, CLASSES)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    gradients = input_gradient(model, form(rows), target="a")
    assert isinstance(gradients, np.ndarray)
    assert gradients.dtype == dtype
    np.testing.assert_allclose(gradients, input_gradient(model, rows, target="a"), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_blocks_of_rows_make_no_difference(form, monkeypatch):
    model = classifier(activation="tanh").fit(X, CLASSES)
    whole = input_gradient(model, form(X))
    monkeypatch.setattr(inputs, "_BLOCK_BYTES", 2 * 8 * 21 * 7)
    np.testing.assert_allclose(input_gradient(model, form(X)), whole, rtol=1e-12)


def test_leaves_data_and_estimator_alone():
    model = classifier(activation="silu").fit(X, CLASSES)
    data, params = X.copy(), [coef.copy() for coef in model.coefs_]
    input_gradient(model, data)
    np.testing.assert_array_equal(data, X)
    for before, after in zip(params, model.coefs_, strict=True):
        np.testing.assert_array_equal(before, after)


def test_data_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[*"vwxyz"])
    model = classifier().fit(frame, CLASSES)
    expected = input_gradient(classifier().fit(X, CLASSES), X)
    np.testing.assert_allclose(input_gradient(model, frame), expected)
    np.testing.assert_allclose(input_gradient(model, frame, target=pd.Series(model.predict(frame))), expected)
    with pytest.raises(ValueError, match="feature names"):
        input_gradient(model, frame[[*"zyxwv"]])


def test_invalid_arguments():
    model = classifier().fit(X, CLASSES)
    with pytest.raises(TypeError, match=r"input_gradient\(pipeline\[-1\], pipeline\[:-1\]\.transform\(X\)\)"):
        input_gradient(make_pipeline(StandardScaler(), model), X)
    with pytest.raises(TypeError, match="must be a BackpropClassifier or a BackpropRegressor"):
        input_gradient(LogisticRegression(), X)
    with pytest.raises(NotFittedError):
        input_gradient(classifier(), X)
    with pytest.raises(
        ValueError, match=r"target='d' is not among the estimator's classes or outputs, \['a', 'b', 'c'\]"
    ):
        input_gradient(model, X, target="d")
    with pytest.raises(ValueError, match=r"target of shape \(3,\) must be one for all rows, or one for each of the 40"):
        input_gradient(model, X, target=["a", "b", "c"])
    with pytest.raises(ValueError, match="5 features"):
        input_gradient(model, X[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        input_gradient(model, np.full_like(X, np.nan))
    with pytest.raises(ValueError, match=r"target=-1 is not among the estimator's classes or outputs, \[0\]"):
        input_gradient(regressor().fit(X, X[:, 0]), X, target=-1)


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_display_of_bars(pyplot):
    model = classifier().fit(X, CLASSES)
    display = InputGradientDisplay.from_estimator(model, X, target="a", max_features=3, bar_kw={"color": "red"})
    saliency = np.abs(input_gradient(model, X, target="a")).mean(axis=0)
    np.testing.assert_allclose(display.saliency, saliency)
    order = np.argsort(saliency)[-3:]
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], saliency[order])
    assert display.bars_[0].get_facecolor() == (1, 0, 0, 1)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [f"x{i}" for i in order]
    assert display.ax_.get_xlabel() == "Mean absolute gradient"
    assert display.ax_.get_title() == "BackpropClassifier"
    assert display.image_ is None
    assert display.figure_ is display.ax_.figure
    _, ax = pyplot.subplots()
    assert display.plot(ax, max_features=None).ax_ is ax
    assert len(display.bars_) == 5


@pytest.mark.parametrize("form", [np.asarray, sparse.csc_array])
def test_display_times_standard_deviation(pyplot, form):
    data = X * [1, 10, 100, 1000, 0]
    model = regressor().fit(X, X[:, 0])
    display = InputGradientDisplay.from_estimator(model, form(data), multiply_by_std=True)
    plain = InputGradientDisplay.from_estimator(model, form(data))
    np.testing.assert_allclose(display.saliency, plain.saliency * data.std(axis=0))
    assert display.ax_.get_xlabel() == "Mean absolute gradient times standard deviation"


def test_display_names(pyplot):
    frame, y = load_iris(return_X_y=True, as_frame=True)
    model = classifier().fit(frame, y)
    display = InputGradientDisplay.from_estimator(model, frame, name="Iris")
    assert set(display.feature_names) == set(frame.columns)
    assert display.ax_.get_title() == "Iris"
    display = InputGradientDisplay.from_estimator(model, frame, feature_names=[*"abcd"])
    assert {label.get_text() for label in display.ax_.get_yticklabels()} == {*"abcd"}
    with pytest.raises(ValueError, match="feature_names has 3 names for 4 features"):
        InputGradientDisplay.from_estimator(model, frame, feature_names=[*"abc"])


@pytest.mark.trains
def test_display_of_an_image(pyplot):
    X, y = load_digits(return_X_y=True)
    model = classifier().fit(X, y)
    display = InputGradientDisplay.from_estimator(model, X[:1], image_shape=(8, 8), image_kw={"cmap": "gray"})
    expected = np.abs(input_gradient(model, X[:1]))
    np.testing.assert_allclose(display.image_.get_array(), expected.reshape(8, 8))
    assert display.image_.get_cmap().name == "gray"
    assert display.bars_ is None
    display = InputGradientDisplay.from_estimator(model, X[:1], image_shape=(4, 4, 4))
    np.testing.assert_allclose(display.image_.get_array(), expected.reshape(4, 4, 4).max(axis=2))
    with pytest.raises(ValueError, match=r"image_shape=\(8, 7\) does not hold the 64 features"):
        InputGradientDisplay.from_estimator(model, X, image_shape=(8, 7))


def test_display_wants_one_output(pyplot):
    model = regressor().fit(X, X[:, :2])
    with pytest.raises(ValueError, match="are those of 2 outputs, of which one can be drawn: set target"):
        InputGradientDisplay.from_estimator(model, X)
    assert InputGradientDisplay.from_estimator(model, X, target=1).saliency.shape == (5,)


def test_display_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"InputGradientDisplay\.from_estimator requires matplotlib"):
        InputGradientDisplay.from_estimator(None, X)
