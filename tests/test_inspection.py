"""Plots of a training's history."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop.functions import StepDecay
from skbackprop.inspection import GradientFlowDisplay, LossCurveDisplay

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = X[:, 0] + 0.1 * RNG.standard_normal(60)


@pytest.fixture(autouse=True)
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def make(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (5, 3), "max_iter": 12, "random_state": 0, **settings})


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_losses():
    model = make().fit(X, Y)
    display = LossCurveDisplay.from_estimator(model, line_kw={"color": "red"})
    np.testing.assert_array_equal(display.line_.get_xydata(), np.c_[np.arange(1, 13), model.loss_curve_])
    assert display.line_.get_color() == "red"
    assert display.validation_line_ is display.score_line_ is display.score_ax_ is display.best_line_ is None
    assert display.rate_lines_ == []
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Epoch", "Loss, with penalty")
    assert legend(display.ax_) == ["Training loss"]
    assert display.figure_ is display.ax_.figure


def test_validation():
    model = make(early_stopping=True, max_iter=30, learning_rate_init=0.2, n_iter_no_change=5).fit(X, Y)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert 1 < best < model.n_iter_
    display = LossCurveDisplay.from_estimator(
        model, validation_line_kw={"color": "blue"}, score_line_kw={"color": "green"}
    )
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), model.validation_loss_curve_)
    np.testing.assert_array_equal(display.score_line_.get_ydata(), model.validation_scores_)
    assert (display.validation_line_.get_color(), display.score_line_.get_color()) == ("blue", "green")
    assert display.score_line_.axes is display.score_ax_ is not display.ax_
    assert display.score_ax_.get_ylabel() == "Validation R²"
    assert display.best_epoch == best
    assert list(display.best_line_.get_xdata()) == [best, best]
    expected = ["Training loss", "Validation loss", "Validation R²", f"Best epoch: {best}"]
    assert legend(display.score_ax_) == expected


@pytest.mark.parametrize(
    ("scoring", "name"),
    [
        (None, "Validation accuracy"),
        ("neg_log_loss", "Validation neg_log_loss"),
        (lambda estimator, X, y: estimator.score(X, y), "Validation score"),
    ],
)
def test_names_of_scores(scoring, name):
    model = BackpropClassifier((5,), early_stopping=True, scoring=scoring, max_iter=4, random_state=0).fit(X, Y > 0)
    assert LossCurveDisplay.from_estimator(model).score_ax_.get_ylabel() == name


def test_losses_that_are_scores_are_drawn_once():
    model = make(early_stopping=True, scoring="loss").fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.score_ax_ is None
    assert display.validation_line_ is not None
    assert display.best_epoch == int(np.argmin(model.validation_loss_curve_)) + 1


def test_best_epoch_by_training_loss():
    model = make(restore_best_weights=True, solver="sgd", learning_rate_init=0.5).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.best_epoch == int(np.argmin(model.loss_curve_)) + 1
    assert display.score_ax_ is None


def test_epochs_that_were_not_validated():
    model = make(early_stopping=True, warm_start=True, max_iter=3).fit(X, Y)
    model.set_params(early_stopping=False).partial_fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert np.isnan(display.validation_scores).tolist() == [False] * 3 + [True]
    assert display.best_epoch is None


def test_steps_of_the_learning_rate_are_marked():
    model = make(solver="sgd", learning_rate=StepDecay(every=5)).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert [line.get_xdata()[0] for line in display.rate_lines_] == [6, 11]
    assert legend(display.ax_) == ["Training loss", "New learning rate"]
    assert LossCurveDisplay.from_estimator(make(solver="sgd", learning_rate="cosine").fit(X, Y)).rate_lines_ == []


def test_each_curve_has_a_colour_of_its_own_and_the_legend_is_outside(pyplot):
    model = make(early_stopping=True).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    lines = [display.line_, display.validation_line_, display.score_line_]
    assert len({line.get_color() for line in lines}) == 3
    display.figure_.canvas.draw()
    box = display.score_ax_.get_legend().get_window_extent()
    assert box.y0 >= display.ax_.get_window_extent().y1
    # Two estimators in one plot have six curves.
    _, ax = pyplot.subplots()
    both = [LossCurveDisplay.from_estimator(model, name=name, ax=ax) for name in "ab"]
    assert len({line.get_color() for one in both for line in (one.line_, one.validation_line_, one.score_line_)}) == 6


def test_the_axis_says_which_losses_have_a_penalty():
    assert LossCurveDisplay.from_estimator(make(alpha=0.0).fit(X, Y)).ax_.get_ylabel() == "Loss"
    model = make(early_stopping=True).fit(X, Y)
    assert LossCurveDisplay.from_estimator(model).ax_.get_ylabel() == "Loss, of the training with penalty"


def test_two_estimators_in_one_plot(pyplot):
    _, ax = pyplot.subplots()
    for name in ("One", "Two"):
        display = LossCurveDisplay.from_estimator(make().fit(X, Y), name=name, ax=ax)
        assert display.ax_ is ax
    assert legend(ax) == ["One: training loss", "Two: training loss"]


def test_a_single_epoch_can_be_seen():
    model = make().partial_fit(X, Y)
    assert LossCurveDisplay.from_estimator(model).line_.get_marker() == "o"
    assert GradientFlowDisplay.from_estimator(model).norm_lines_[0].get_marker() == "o"


def test_gradient_flow():
    model = make().fit(X, Y)
    display = GradientFlowDisplay.from_estimator(model, line_kw={"linewidth": 3})
    assert display.gradient_norms.shape == (12, 3)
    assert display.constant_units.shape == (12, 2)
    assert len(display.axes_) == 2
    for layer, line in enumerate(display.norm_lines_):
        np.testing.assert_array_equal(line.get_ydata(), [row[f"gradient_norm_{layer}"] for row in model.history_])
        assert line.axes is display.axes_[0]
    for layer, line in enumerate(display.constant_lines_):
        np.testing.assert_array_equal(line.get_ydata(), [row[f"constant_units_{layer}"] for row in model.history_])
        assert line.axes is display.axes_[1]
        # A layer has one colour in both.
        np.testing.assert_array_equal(line.get_color(), display.norm_lines_[layer].get_color())
    assert {line.get_linewidth() for line in display.norm_lines_ + display.constant_lines_} == {3}
    assert display.axes_[0].get_yscale() == "log"
    assert legend(display.axes_[0]) == ["Layer 0", "Layer 1", "Layer 2"]
    assert [ax.get_ylabel() for ax in display.axes_] == ["Gradient norm", "Constant units"]
    assert display.axes_[1].get_xlabel() == "Epoch"
    assert display.axes_[0].get_title() == "BackpropRegressor"


def test_gradient_flow_on_given_axes(pyplot):
    model = make().fit(X, Y)
    _, ax = pyplot.subplots()
    display = GradientFlowDisplay.from_estimator(model, ax=ax, name="Mine")
    assert list(display.axes_) == [ax]
    assert display.constant_lines_ == []
    assert ax.get_title() == "Mine"
    _, axes = pyplot.subplots(2)
    assert list(display.plot(axes).axes_) == list(axes)
    assert len(display.constant_lines_) == 2
    with pytest.raises(ValueError, match="ax holds 3 Axes; give one, or two"):
        display.plot(pyplot.subplots(3)[1])


def test_gradient_flow_without_hidden_layers_or_gradients():
    display = GradientFlowDisplay.from_estimator(make(hidden_layer_sizes=()).fit(X, Y))
    assert len(display.axes_) == 1
    assert display.constant_units.shape == (12, 0)
    zeros = GradientFlowDisplay(gradient_norms=np.zeros((3, 2)), constant_units=np.ones((3, 1))).plot()
    assert zeros.axes_[0].get_yscale() == "linear"
    zeros.figure_.canvas.draw()


@pytest.mark.parametrize("display", [LossCurveDisplay, GradientFlowDisplay])
def test_estimators(display):
    pipeline = make_pipeline(StandardScaler(), make()).fit(X, Y)
    assert isinstance(display.from_estimator(pipeline), display)
    assert isinstance(display.from_estimator(make_pipeline(pipeline)), display)
    with pytest.raises(NotFittedError):
        display.from_estimator(make())
    with pytest.raises(ValueError, match="solver='lbfgs' keeps no history of epochs"):
        display.from_estimator(make(solver="lbfgs").fit(X, Y))
    for estimator in (LogisticRegression(), make_pipeline(LogisticRegression()), 3):
        with pytest.raises(TypeError, match="must be a BackpropClassifier or a BackpropRegressor, got "):
            display.from_estimator(estimator)


@pytest.mark.parametrize("display", [LossCurveDisplay, GradientFlowDisplay])
def test_the_network_inside_a_meta_estimator(display):
    for meta, network in [
        (GridSearchCV(make_pipeline(StandardScaler(), make()), {}, cv=2), lambda meta: meta.best_estimator_[-1]),
        (TransformedTargetRegressor(make()), lambda meta: meta.regressor_),
        (make_pipeline(StandardScaler(), TransformedTargetRegressor(make())), lambda meta: meta[-1].regressor_),
        (BackpropEmbedding(make()), lambda meta: meta.estimator_),
        (TunedThresholdClassifierCV(BackpropClassifier((5,), max_iter=12)), lambda meta: meta.estimator_),
    ]:
        with pytest.raises(NotFittedError):
            display.from_estimator(meta)
        meta.fit(X, Y > 0 if hasattr(meta, "predict_proba") else Y)
        shown = display.from_estimator(meta)
        alone = display.from_estimator(network(meta))
        for name in ("line_",) if display is LossCurveDisplay else ("norm_lines_", "constant_lines_"):
            for line, expected in zip(np.ravel(getattr(shown, name)), np.ravel(getattr(alone, name)), strict=True):
                np.testing.assert_array_equal(line.get_xydata(), expected.get_xydata())
    assert display.from_estimator(FrozenEstimator(make().fit(X, Y)))


@pytest.mark.parametrize("display", [LossCurveDisplay, GradientFlowDisplay])
def test_meta_estimators_of_several_networks_or_none_are_refused_in_a_line(display):
    several = [
        CalibratedClassifierCV(BackpropClassifier((5,), max_iter=3), cv=2).fit(X, Y > 0),
        BaggingRegressor(make(), 2).fit(X, Y),
        GridSearchCV(make(), {}, cv=2, refit=False).fit(X, Y),
    ]
    for meta in several:
        message = f"got {type(meta).__name__}; for a meta-estimator, give a network inside it"
        with pytest.raises(TypeError, match=message) as caught:
            display.from_estimator(meta)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("display", [LossCurveDisplay, GradientFlowDisplay])
def test_without_matplotlib(display, monkeypatch):
    model = make().fit(X, Y)
    shown = display.from_estimator(model)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"{display.__name__}\.from_estimator requires matplotlib"):
        display.from_estimator(model)
    with pytest.raises(ImportError, match=rf"{display.__name__}\.plot requires matplotlib"):
        shown.plot()


@pytest.mark.process
def test_matplotlib_is_imported_lazily():
    code = "import sys, skbackprop.inspection; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
