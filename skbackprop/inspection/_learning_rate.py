"""The learning rate range test, which suggests an initial learning rate.

It uses only the public interface of the estimators, and does not depend on how they train.
"""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.multiclass import unique_labels

from skbackprop._sklearn import Interval, _num_samples, _safe_indexing, check_matplotlib_support, validate_params
from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.training.trainer import DivergenceError

__all__ = ["LearningRateDisplay", "learning_rate_range_test"]


class LearningRateDisplay:
    """Losses at increasing learning rates, and a suggested rate.

    Created by :func:`learning_rate_range_test`.

    Parameters
    ----------
    rates : ndarray of shape (n_steps,)
        Increasing learning rates.
    losses : ndarray of shape (n_steps,)
        Loss of one mini-batch for each rate, before the update.
    smoothed_losses : ndarray of shape (n_steps,)
        Moving average of the losses.
    suggested_rate : float or None
        The rate at which the smoothed loss falls most steeply; None if it never falls.
    estimator_name : str or None, default=None
        Name in the legend of the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    line_ : matplotlib Line2D
        Line of the smoothed losses.
    points_ : matplotlib Line2D
        Points of the losses.
    suggestion_ : matplotlib Line2D or None
        Line at the suggested rate.

    See Also
    --------
    learning_rate_range_test : Run the test.
    """

    # For type checkers only.
    ax_: Any
    figure_: Any
    line_: Any
    points_: Any
    suggestion_: Any

    def __init__(
        self,
        *,
        rates: np.ndarray,
        losses: np.ndarray,
        smoothed_losses: np.ndarray,
        suggested_rate: float | None,
        estimator_name: str | None = None,
    ) -> None:
        self.rates = rates
        self.losses = losses
        self.smoothed_losses = smoothed_losses
        self.suggested_rate = suggested_rate
        self.estimator_name = estimator_name

    def plot(self, ax: Any = None, *, line_kw: dict[str, Any] | None = None) -> Any:
        """Draw the losses over the logarithm of the rate.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        line_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.plot` for the line of the smoothed losses.

        Returns
        -------
        display : LearningRateDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        (self.line_,) = ax.plot(
            self.rates, self.smoothed_losses, **{"label": self.estimator_name or "Moving average", **(line_kw or {})}
        )
        (self.points_,) = ax.plot(
            self.rates, self.losses, ".", color=self.line_.get_color(), alpha=0.4, label="Mini-batches"
        )
        self.suggestion_ = None
        if self.suggested_rate is not None:
            self.suggestion_ = ax.axvline(
                self.suggested_rate,
                color=self.line_.get_color(),
                linestyle="--",
                label=f"Suggested: {self.suggested_rate:.2g}",
            )
        ax.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


@validate_params(
    {
        "min_rate": [Interval(Real, 0, math.inf, closed="neither")],
        "max_rate": [Interval(Real, 0, math.inf, closed="neither")],
        "n_steps": [Interval(Integral, 10, None, closed="left")],
        "window": [Interval(Integral, 1, None, closed="left")],
        "stop_factor": [Interval(Real, 0, math.inf, closed="right")],
        "random_state": ["random_state"],
    },
    # The estimator's own parameters have to be validated, too.
    prefer_skip_nested_validation=False,
)
def learning_rate_range_test(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    min_rate: float = 1e-6,
    max_rate: float = 10.0,
    n_steps: int = 100,
    window: int = 11,
    stop_factor: float = 4.0,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    r"""Find a learning rate by training at increasing rates, one mini-batch each.

    A copy of the estimator makes `n_steps` updates, each with one random mini-batch and a learning rate that is higher
    than the previous one by a constant factor. Rates that are too low do not change the loss, good rates lower it, and
    rates that are too high raise it again, which ends the test. It takes about as long as `n_steps` mini-batches of
    training.

    Parameters
    ----------
    estimator : BackpropClassifier or BackpropRegressor
        Its solver must have a learning rate, unlike 'lbfgs'. It is cloned: it may be fitted or not, and is not
        modified. Its `learning_rate`, `learning_rate_init` and `early_stopping` are not used.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Training data, scaled as for `fit`.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative sample weights; None for equal weights.
    min_rate : float, default=1e-6
        First rate; positive. Choose it low enough that the loss does not change at first.
    max_rate : float, default=10.0
        Last rate; above `min_rate`. Choose it high enough that the loss rises in the end.
    n_steps : int, default=100
        Number of rates to try; at least 10. More rates give a smoother curve, and more updates in each order of
        magnitude.
    window : int, default=11
        Window of the moving average, in losses; at least 1. Raise it if the curve is noisy; the suggestion is then less
        exact.
    stop_factor : float, default=4.0
        The test ends if the loss exceeds the lowest loss by more than this factor times the first loss; positive. With
        infinity, it ends only if the loss or a weight is not finite.
    random_state : int, RandomState instance or None, default=None
        Determines the mini-batches. The initial weights depend on the estimator's own `random_state`.

    Returns
    -------
    display : LearningRateDisplay
        Holds the rates, the losses and the suggested rate; `plot` draws them. The update that ended the test is left
        out.

    Raises
    ------
    TypeError
        If `estimator` is a pipeline, or anything else than a classifier or regressor of this package.
    ValueError
        If an argument is invalid, or if fewer than two updates give a finite loss.

    See Also
    --------
    LearningRateDisplay : Holds and plots the result.

    Notes
    -----
    The suggested rate minimizes the derivative of the smoothed loss :math:`\bar{L}` with respect to the logarithm of
    the rate, among the rates up to the one with the smallest :math:`\bar{L}`,

    .. math::
        \eta^* = \arg\min_{\eta} \frac{d \bar{L}}{d \ln \eta},

    and is None if the derivative is never negative. :math:`\bar{L}` is the moving average of `window` losses, centered,
    so that it does not lag; the derivative is computed by central differences. Smith (2017) reads off the range of
    rates in which accuracy rises; Howard and Gugger (2020) choose the rate of steepest descent. Earlier updates and
    momentum affect every loss, so treat the suggestion as an order of magnitude, and look at the plot.

    The largest useful rate, as for ``learning_rate="one_cycle"``, lies between the suggestion and the lowest loss.

    References
    ----------
    * L. N. Smith (2017). Cyclical learning rates for training neural networks. WACV. https://arxiv.org/abs/1506.01186
    * J. Howard and S. Gugger (2020). fastai: a layered API for deep learning. Information 11(2), 108.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import learning_rate_range_test
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BackpropClassifier(random_state=0)
    >>> display = learning_rate_range_test(model, scale(X), y, random_state=0)
    >>> bool(1e-4 < display.suggested_rate < 1)
    True
    """
    _check_estimator(estimator)
    if not min_rate < max_rate:
        raise ValueError(f"max_rate={max_rate!r} must be above min_rate={min_rate!r}")
    # Also converts sparse matrices to a format that can be indexed by rows.
    X, y, sample_weight = indexable(X, y, sample_weight)
    n_rows = _num_samples(X)
    model = clone(estimator).set_params(learning_rate="constant", early_stopping=False, verbose=False)
    batch_rows = min(200 if model.batch_size == "auto" else model.batch_size, n_rows)
    # One update per call of partial_fit, and no warning if there are fewer rows than the estimator's batch size.
    model.set_params(batch_size=batch_rows)
    # A mini-batch may lack some of the classes.
    first_call = {"classes": unique_labels(y)} if is_classifier(model) else {}
    batches = _draw_batches(n_rows, batch_rows, check_random_state(random_state))

    rates = np.geomspace(min_rate, max_rate, n_steps)
    losses: list[float] = []
    for rate, batch in zip(rates.tolist(), batches, strict=False):
        model.set_params(learning_rate_init=rate)
        weights = None if sample_weight is None else _safe_indexing(sample_weight, batch)
        try:
            model.partial_fit(_safe_indexing(X, batch), _safe_indexing(y, batch), weights, **first_call)
        except DivergenceError:
            break
        first_call = {}
        if losses and model.loss_ - min(losses) > stop_factor * abs(losses[0]):
            break
        losses.append(model.loss_)
    if len(losses) < 2:
        raise ValueError(
            f"training diverges at once, at min_rate={min_rate!r}: lower it, or scale the data (for example with "
            "StandardScaler)"
        )
    rates = rates[: len(losses)]
    smoothed = _moving_average(np.array(losses), window)
    return LearningRateDisplay(
        rates=rates,
        losses=np.array(losses),
        smoothed_losses=smoothed,
        suggested_rate=_steepest_descent(rates, smoothed),
        estimator_name=type(estimator).__name__,
    )


def _check_estimator(estimator):
    """Raise an error that says what to do if an estimator cannot be tested."""
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "learning_rate_range_test takes mini-batches of transformed data, which a Pipeline does not: give its last step "
            "and transformed X, learning_rate_range_test(pipeline[-1], pipeline[:-1].fit_transform(X, y), y)"
        )
    if not isinstance(estimator, BackpropClassifier | BackpropRegressor):
        raise TypeError(
            f"estimator={estimator!r} must be a BackpropClassifier or a BackpropRegressor; for a meta-estimator, give the "
            "one inside"
        )
    if not hasattr(estimator, "partial_fit"):
        raise ValueError(
            f"solver={estimator.solver!r} has no learning rate to test: choose another, such as 'adam' or 'sgd'"
        )


def _draw_batches(n_rows, batch_rows, random_state):
    """Endless mini-batches, drawn as in training: each pass has a new order, but here no short last batch."""
    while True:
        order = random_state.permutation(n_rows)
        for start in range(0, n_rows - batch_rows + 1, batch_rows):
            yield order[start : start + batch_rows]


def _moving_average(values, window):
    """Compute the mean over a centered window, which is truncated at the ends."""
    starts = np.arange(len(values)) - (window - 1) // 2
    # Differences of cumulative sums would lose the digits of small values next to large ones.
    return np.array([values[max(0, start) : start + window].mean() for start in starts])


def _steepest_descent(rates, losses):
    """Return the rate with the most negative derivative up to the smallest loss, or None."""
    slopes = np.gradient(losses, np.log(rates))[: losses.argmin() + 1]
    steepest = slopes.argmin()
    return float(rates[steepest]) if slopes[steepest] < 0 else None
