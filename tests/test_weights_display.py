"""Plots of weights and of the saliency of single rows."""

import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.inspection import SaliencyGridDisplay, WeightsDisplay, input_gradient

matplotlib = pytest.importorskip("matplotlib")

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_iris(return_X_y=True)
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS[:200] / 16


@pytest.fixture(autouse=True)
def _closed_figures():
    matplotlib.use("agg")
    yield
    matplotlib.pyplot.close("all")


def network(kind=BackpropClassifier, **settings):
    return kind(**{"hidden_layer_sizes": (6, 5), "max_iter": 3, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def iris():
    return network().fit(X, Y)


@pytest.fixture(scope="module")
def digits():
    return network(hidden_layer_sizes=(9,)).fit(DIGITS, DIGIT[:200])


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_weights_of_the_first_layer(iris):
    display = WeightsDisplay.from_estimator(iris)
    np.testing.assert_array_equal(display.image_.get_array(), iris.coefs_[0])
    assert labels(display.ax_.yaxis) == ["x0", "x1", "x2", "x3"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Unit", "Feature")
    assert display.ax_.get_title() == "BackpropClassifier"
    low, high = display.image_.get_clim()
    assert low == -high == -np.abs(iris.coefs_[0]).max()


def test_weights_of_another_layer(iris):
    display = WeightsDisplay.from_estimator(iris, layer=-1, name="outputs", image_kw={"cmap": "gray", "vmax": 3.0})
    np.testing.assert_array_equal(display.image_.get_array(), iris.coefs_[2])
    assert display.layer == 2
    assert display.input_names is None
    assert display.ax_.get_ylabel() == "Unit of hidden layer 2"
    assert (display.image_.get_cmap().name, display.image_.get_clim()[1]) == ("gray", 3.0)
    assert display.ax_.get_title() == "outputs"


def test_units_with_the_largest_weights(iris):
    display = WeightsDisplay.from_estimator(iris, max_units=2)
    norms = np.linalg.norm(iris.coefs_[0], axis=0)
    assert set(display.units_) == set(np.argsort(norms)[-2:])
    assert labels(display.ax_.xaxis) == [str(unit) for unit in sorted(display.units_)]
    np.testing.assert_array_equal(display.image_.get_array(), iris.coefs_[0][:, display.units_])
    assert len(display.plot(max_units=None).units_) == 6


def test_weights_as_images(digits):
    display = WeightsDisplay.from_estimator(digits, image_shape=(8, 8), max_units=5)
    image = np.ma.filled(display.image_.get_array(), np.nan)
    # Two lines of three, the last place empty, with gaps of one pixel.
    assert image.shape == (17, 26)
    weights = digits.coefs_[0]
    np.testing.assert_array_equal(image[:8, :8], weights[:, display.units_[0]].reshape(8, 8))
    np.testing.assert_array_equal(image[9:, 9:17], weights[:, display.units_[4]].reshape(8, 8))
    assert np.isnan(image[8]).all()
    assert np.isnan(image[9:, 18:]).all()


def test_the_network_in_a_meta_estimator(iris):
    frame = load_iris(as_frame=True).data
    search = GridSearchCV(make_pipeline(StandardScaler(), network()), {"backpropclassifier__alpha": [0.1]}, cv=2)
    display = WeightsDisplay.from_estimator(search.fit(frame, Y))
    assert labels(display.ax_.yaxis) == ["x0", "x1", "x2", "x3"]  # the scaler's output has no names
    display = WeightsDisplay.from_estimator(network().fit(frame, Y))
    assert labels(display.ax_.yaxis) == list(frame.columns)
    assert labels(WeightsDisplay.from_estimator(iris, feature_names=[*"abcd"]).ax_.yaxis) == [*"abcd"]


def test_weights_of_transformed_columns_have_no_names():
    model = network(BackpropRegressor, input_layers="periodic").fit(X, Y)
    assert WeightsDisplay.from_estimator(model).input_names is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3}, "layer=3 must be from -3 to 2"),
        ({"image_shape": (2, 3)}, r"image_shape=\(2, 3\) must be a height and a width, with 4 pixels"),
        ({"image_shape": 4}, "image_shape=4 must be"),
        ({"image_shape": (2, 2, 1)}, r"image_shape=\(2, 2, 1\) must be"),
        ({"feature_names": [*"abc"]}, "feature_names has 3 names for the 4 inputs of layer 0"),
    ],
)
def test_weights_that_are_not_there(iris, settings, message):
    with pytest.raises(ValueError, match=message):
        WeightsDisplay.from_estimator(iris, **settings)


def test_rows_of_a_table(iris):
    display = SaliencyGridDisplay.from_estimator(iris, X[::50], target=1)
    np.testing.assert_array_equal(display.images_[0].get_array(), input_gradient(iris, X[::50], target=1))
    (ax,) = display.axes_
    assert labels(ax.xaxis) == ["x0", "x1", "x2", "x3"]
    assert labels(ax.yaxis) == [str(label) for label in iris.predict(X[::50])]
    assert display.images_[0].colorbar.ax.get_ylabel() == "Gradient"


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_contributions_of_rows(iris, form):
    display = SaliencyGridDisplay.from_estimator(iris, form(X[:3]), multiply_by_input=True, row_names=[*"abc"])
    np.testing.assert_allclose(display.gradients, input_gradient(iris, X[:3]) * X[:3])
    assert labels(display.axes_[0].yaxis) == [*"abc"]
    assert display.images_[0].colorbar.ax.get_ylabel() == "Gradient times input"


def test_rows_of_a_regressor_are_named_by_their_predictions():
    model = network(BackpropRegressor).fit(X, Y)
    display = SaliencyGridDisplay.from_estimator(model, X[:4])
    assert list(display.row_names) == [f"{value:.3g}" for value in model.predict(X[:4])]
    several = network(BackpropRegressor).fit(X, X[:, :2])
    display = SaliencyGridDisplay.from_estimator(several, X[:4], target=1)
    assert list(display.row_names) == [0, 1, 2, 3]


@pytest.mark.parametrize("within", [False, True])
def test_rows_that_are_images(digits, within):
    figure, axes = matplotlib.pyplot.subplots(1, 2) if within else (None, (None, None))
    display = SaliencyGridDisplay.from_estimator(digits, DIGITS[:3], image_shape=(8, 8), ax=axes[1])
    assert display.axes_.shape == (2, 3)
    gradients = np.abs(input_gradient(digits, DIGITS[:3]))
    for image, row, gradient, above in zip(display.images_, DIGITS, gradients, display.axes_[0], strict=False):
        np.testing.assert_array_equal(image.get_array(), gradient.reshape(8, 8))
        np.testing.assert_array_equal(above.images[0].get_array(), row.reshape(8, 8))
    assert [ax.get_title() for ax in display.axes_[0]] == [str(label) for label in digits.predict(DIGITS[:3])]
    assert (display.figure_ is figure) == within
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (150, {}, "X has 150 rows: give from 1 to 40"),
        (0, {}, "X has 0 rows"),
        (3, {"image_shape": (2, 3)}, "with 4 pixels"),
        (3, {"row_names": ["a"]}, "row_names has 1 names for 3 rows"),
        (3, {"feature_names": ["a"]}, "feature_names has 1 names for 4 features"),
    ],
)
def test_grids_that_cannot_be_drawn(iris, rows, settings, message):
    with pytest.raises(ValueError, match=message):
        SaliencyGridDisplay.from_estimator(iris, X[:rows], **settings)


def test_one_of_several_outputs_is_to_be_chosen():
    model = network(BackpropRegressor).fit(X, X[:, :2])
    with pytest.raises(ValueError, match="2 outputs, of which one can be drawn: set target"):
        SaliencyGridDisplay.from_estimator(model, X[:3])


@pytest.mark.parametrize("display", [WeightsDisplay, SaliencyGridDisplay])
def test_networks_have_to_be_fitted(display, monkeypatch):
    arguments = (X[:3],) if display is SaliencyGridDisplay else ()
    with pytest.raises(NotFittedError):
        display.from_estimator(network(), *arguments)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=f"{display.__name__}.from_estimator requires matplotlib"):
        display.from_estimator(network(), *arguments)
