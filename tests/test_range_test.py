"""The learning rate range test."""

import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.inspection import LearningRateDisplay, learning_rate_range_test
from skbackprop.inspection._learning_rate import _draw_batches, _moving_average, _steepest_descent
from skbackprop.training.trainer import DivergenceError

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return scale(X), y


@pytest.fixture
def classifier():
    return BackpropClassifier(hidden_layer_sizes=(16,), batch_size=32, random_state=0)


class Recorder(BackpropClassifier):
    """Keeps what `partial_fit` is called with."""

    def partial_fit(self, X, y, sample_weight=None, classes=None):
        self.__dict__.setdefault("calls_", []).append((self.get_params(), X, y, sample_weight, classes))
        type(self).last = self
        return super().partial_fit(X, y, sample_weight, classes)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_classifier(iris, classifier, solver):
    display = learning_rate_range_test(classifier.set_params(solver=solver), *iris, random_state=0)
    assert isinstance(display, LearningRateDisplay)
    n = len(display.rates)
    assert 50 < n <= 100
    np.testing.assert_allclose(display.rates, np.geomspace(1e-6, 10, 100)[:n])
    assert display.losses.shape == display.smoothed_losses.shape == (n,)
    assert np.isfinite(display.losses).all()
    assert display.suggested_rate in display.rates
    assert 1e-4 < display.suggested_rate < 1
    # Nothing is learned at the first rates, and much further on.
    assert display.smoothed_losses[:20].std() < 0.1
    assert display.smoothed_losses.min() < 0.7 * display.smoothed_losses[0]
    # It is a good rate.
    fast = classifier.set_params(learning_rate_init=display.suggested_rate, max_iter=10, tol=0, n_iter_no_change=100)
    with pytest.warns(match="Maximum iterations"):
        assert fast.fit(*iris).score(*iris) > 0.85


def test_regressor():
    X, y = load_diabetes(return_X_y=True)
    model = BackpropRegressor(random_state=0)
    display = learning_rate_range_test(model, scale(X), scale(y), random_state=0)
    assert 1e-5 < display.suggested_rate < 1
    assert display.losses.max() < 6 * display.losses[0]


def test_each_rate_makes_one_update(iris):
    X, y = iris
    model = BackpropClassifier(hidden_layer_sizes=(4,), solver="sgd", momentum=0.0, random_state=0, batch_size=150)
    low = learning_rate_range_test(model, X, y, min_rate=1e-12, max_rate=1e-11, n_steps=10)
    np.testing.assert_allclose(low.losses, low.losses[0], rtol=1e-9)
    high = learning_rate_range_test(model, X, y, min_rate=1e-3, max_rate=1.0, n_steps=10)
    assert (np.diff(high.losses) < 0).all()
    # Gradient descent on all rows: at first the decrease is proportional to the rate.
    decreases = -np.diff(high.losses)
    np.testing.assert_allclose(decreases[1:4] / decreases[:3], 1000 ** (1 / 9), rtol=0.1)


def test_calls_partial_fit_with_mini_batches(iris):
    X, y = iris
    estimator = Recorder(
        hidden_layer_sizes=(4,),
        learning_rate="adaptive",
        early_stopping=True,
        batch_size=40,
        verbose=True,
        random_state=0,
    )
    before = estimator.get_params()
    weights = np.arange(150.0) + 1
    display = learning_rate_range_test(
        estimator, X, y, sample_weight=weights, n_steps=12, max_rate=1e-2, random_state=1
    )
    assert estimator.get_params() == before
    assert not hasattr(estimator, "calls_")
    calls = Recorder.last.calls_
    assert len(calls) == 12
    assert Recorder.last.t_ == 12 * 40
    np.testing.assert_allclose([call[0]["learning_rate_init"] for call in calls], display.rates)
    assert [call[4] is not None for call in calls] == [True] + [False] * 11
    used = []
    for params, batch_X, batch_y, batch_weight, _ in calls:
        assert (params["learning_rate"], params["early_stopping"], params["verbose"]) == ("constant", False, False)
        rows = batch_weight.astype(int) - 1
        assert len(rows) == params["batch_size"] == 40
        np.testing.assert_array_equal(batch_X, X[rows])
        np.testing.assert_array_equal(batch_y, y[rows])
        used.append(rows)
    # Three mini-batches of a pass have no row in common.
    assert len(np.unique(np.concatenate(used[:3]))) == 120
    assert set(used[0]) != set(used[3])


def test_draws_mini_batches():
    batches = _draw_batches(10, 4, np.random.RandomState(0))
    drawn = [next(batches) for _ in range(6)]
    assert all(len(np.unique(np.concatenate(drawn[i : i + 2]))) == 8 for i in (0, 2, 4))


def test_same_seed_same_result(iris, classifier):
    first, second, other = (
        learning_rate_range_test(classifier, *iris, n_steps=20, random_state=seed).losses for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other[: len(first)]).any()


def test_kinds_of_data(iris, classifier):
    X, y = iris
    expected = learning_rate_range_test(classifier, X, y, n_steps=20, max_rate=0.1, random_state=0).losses
    pd = pytest.importorskip("pandas")
    for data in (
        sparse.csr_array(X),
        sparse.csc_matrix(X),
        sparse.coo_array(X),
        X.tolist(),
        pd.DataFrame(X, columns=[*"abcd"]),
    ):
        losses = learning_rate_range_test(
            classifier, data, pd.Series(y), n_steps=20, max_rate=0.1, random_state=0
        ).losses
        np.testing.assert_allclose(losses, expected)
    names = np.array(["a", "b", "c"])[y]
    losses = learning_rate_range_test(classifier, X, names.tolist(), n_steps=20, max_rate=0.1, random_state=0).losses
    np.testing.assert_allclose(losses, expected)


def test_several_labels(classifier):
    X, y = make_multilabel_classification(random_state=0)
    dense, scarce = (
        learning_rate_range_test(classifier, scale(X), labels, random_state=0) for labels in (y, sparse.csr_array(y))
    )
    assert dense.suggested_rate is not None
    np.testing.assert_array_equal(scarce.losses, dense.losses)


def test_fewer_rows_than_a_mini_batch(iris, classifier):
    X, y = iris
    for batch_size in (500, "auto"):
        # Without a warning.
        display = learning_rate_range_test(classifier.set_params(batch_size=batch_size), X[::10], y[::10], n_steps=10)
        assert len(display.losses) > 2


def test_ends_when_the_loss_explodes(iris):
    X, y = iris
    model = BackpropRegressor(hidden_layer_sizes=(8,), solver="sgd", random_state=0)
    display = learning_rate_range_test(model, X, y, max_rate=1e6)
    assert len(display.rates) < 100
    assert (display.losses - np.minimum.accumulate(display.losses) <= 4 * display.losses[0]).all()
    longer = learning_rate_range_test(model, X, y, max_rate=1e6, stop_factor=np.inf)
    assert len(display.rates) < len(longer.rates) < 100
    assert np.isfinite(longer.losses).all()


def test_diverges_at_once(iris):
    model = BackpropRegressor(hidden_layer_sizes=(8,), solver="sgd", random_state=0)
    with pytest.raises(ValueError, match=r"diverges at once, at min_rate=1e\+200: lower it, or scale the data"):
        learning_rate_range_test(model, *iris, min_rate=1e200, max_rate=1e201)


def test_no_suggestion_where_the_loss_only_rises(iris):
    class Ascent(BackpropClassifier):
        def partial_fit(self, X, y, sample_weight=None, classes=None):
            self.loss_ = getattr(self, "loss_", 1.0) * 1.01
            return self

    display = learning_rate_range_test(Ascent(), *iris)
    assert display.suggested_rate is None


def test_steepest_descent():
    rates = np.geomspace(1e-4, 1, 41)
    position = np.log10(rates)
    losses = -np.tanh(2 * (position + 2)) + np.exp(8 * (position + 0.5))
    # The analytic derivative of the first term is least at 1e-2, where the second is negligible.
    assert _steepest_descent(rates, losses) == pytest.approx(1e-2)
    # A steeper fall beyond the lowest loss does not count.
    assert _steepest_descent(np.geomspace(1, 1e5, 6), np.array([5.0, 4.0, 1.0, 50.0, 20.0, 20.0])) == pytest.approx(10)
    assert _steepest_descent(rates, rates) is None


@pytest.mark.parametrize("window", [1, 2, 3, 4, 99])
def test_moving_average(window, rng):
    values = rng.normal(size=20)
    averages = _moving_average(values, window)
    padded = np.concatenate([np.full(99, np.nan), values, np.full(99, np.nan)])
    starts = np.arange(99, 119) - (window - 1) // 2
    np.testing.assert_allclose(averages, [np.nanmean(padded[start : start + window]) for start in starts])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_rate": 0}, "'min_rate' parameter"),
        ({"max_rate": np.inf}, "'max_rate' parameter"),
        ({"min_rate": 1.0, "max_rate": 0.5}, "max_rate=0.5 must be above min_rate=1.0"),
        ({"n_steps": 9}, "'n_steps' parameter"),
        ({"window": 0}, "'window' parameter"),
        ({"stop_factor": 0}, "'stop_factor' parameter"),
        ({"sample_weight": [1, 2]}, "inconsistent numbers of samples"),
    ],
)
def test_invalid_arguments(iris, classifier, settings, message):
    with pytest.raises(ValueError, match=message):
        learning_rate_range_test(classifier, *iris, **settings)


def test_invalid_estimators(iris, classifier):
    X, y = iris
    with pytest.raises(TypeError, match=r"give its last step and transformed X, .*pipeline\[-1\]"):
        learning_rate_range_test(make_pipeline(StandardScaler(), classifier), X, y)
    for estimator in (LogisticRegression(), GridSearchCV(classifier, {}), BackpropClassifier):
        with pytest.raises(TypeError, match="must be a BackpropClassifier or a BackpropRegressor"):
            learning_rate_range_test(estimator, X, y)
    with pytest.raises(ValueError, match="solver='lbfgs' has no learning rate to test"):
        learning_rate_range_test(BackpropRegressor(solver="lbfgs"), X, y)
    with pytest.raises(ValueError, match="'alpha' parameter"):
        learning_rate_range_test(classifier.set_params(alpha=-1), X, y)
    # Errors other than divergence come through.
    assert issubclass(DivergenceError, ValueError)
    with pytest.raises(ValueError, match="NaN"):
        learning_rate_range_test(BackpropClassifier(), np.full_like(X, np.nan), y)


@pytest.fixture
def display():
    return LearningRateDisplay(
        rates=np.array([0.1, 1.0, 10.0]),
        losses=np.array([3.0, 1.0, 2.0]),
        smoothed_losses=np.array([2.0, 2.0, 1.5]),
        suggested_rate=1.0,
        estimator_name="Model",
    )


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_plot(display, pyplot):
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xscale() == "log"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Learning rate", "Loss")
    np.testing.assert_array_equal(display.line_.get_xydata(), np.c_[display.rates, display.smoothed_losses])
    np.testing.assert_array_equal(display.points_.get_ydata(), display.losses)
    assert list(display.suggestion_.get_xdata()) == [1.0, 1.0]
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["Model", "Mini-batches", "Suggested: 1"]


def test_plot_on_given_axes(display, pyplot):
    _, ax = pyplot.subplots()
    display.suggested_rate = None
    display.plot(ax, line_kw={"color": "red", "label": "mine"})
    assert display.ax_ is ax
    assert display.suggestion_ is None
    assert display.line_.get_color() == display.points_.get_color() == "red"
    assert display.line_.get_label() == "mine"


def test_plot_without_matplotlib(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"LearningRateDisplay\.plot requires matplotlib"):
        display.plot()
