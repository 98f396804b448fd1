"""Plots of the training history, `history_`."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skbackprop._sklearn import check_matplotlib_support
from skbackprop.inspection._estimator import find_network

__all__ = ["GradientFlowDisplay", "LossCurveDisplay"]

# A rate that changes more often than this follows a curve instead of a few steps.
_MAX_RATE_CHANGES = 20


class LossCurveDisplay:
    """Plot of the losses and scores of a training.

    Created by `from_estimator`.

    Parameters
    ----------
    losses : ndarray of shape (n_epochs,)
        Mean training loss of each epoch, with penalty.
    validation_losses : ndarray of shape (n_epochs,) or None, default=None
        Loss on the validation rows after each epoch, without penalty; NaN where there was none.
    validation_scores : ndarray of shape (n_epochs,) or None, default=None
        Score on the validation rows.
    learning_rates : ndarray of shape (n_epochs,) or None, default=None
        Learning rate of the last update of each epoch.
    best_epoch : int or None, default=None
        The epoch whose weights were kept, counted from 1.
    score_name : str, default="Validation score"
        Label of the second axis.
    estimator_name : str or None, default=None
        Prefix of the curves' names in the legend.
    penalised : bool, default=True
        Whether the training losses include a penalty; the axis label then mentions it.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the losses.
    score_ax_ : matplotlib Axes or None
        The second axis, with the scores.
    figure_ : matplotlib Figure
        Figure of the plot.
    line_ : matplotlib Line2D
        Line of the training losses.
    validation_line_, score_line_ : matplotlib Line2D or None
        Lines of the validation losses and scores.
    rate_lines_ : list of matplotlib Line2D
        Lines at the epochs with a new learning rate.
    best_line_ : matplotlib Line2D or None
        Line at the best epoch.

    See Also
    --------
    GradientFlowDisplay : Plots the gradients and units of each layer.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_diabetes
    >>> from skbackprop import BackpropRegressor
    >>> from skbackprop.inspection import LossCurveDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BackpropRegressor(early_stopping=True, batch_size=32, learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> plt.show()
    """

    # For type checkers only.
    ax_: Any
    figure_: Any
    score_ax_: Any
    line_: Any
    validation_line_: Any
    score_line_: Any
    best_line_: Any
    rate_lines_: Any

    def __init__(
        self,
        *,
        losses: np.ndarray,
        validation_losses: np.ndarray | None = None,
        validation_scores: np.ndarray | None = None,
        learning_rates: np.ndarray | None = None,
        best_epoch: int | None = None,
        score_name: str = "Validation score",
        estimator_name: str | None = None,
        penalised: bool = True,
    ) -> None:
        self.losses = losses
        self.validation_losses = validation_losses
        self.validation_scores = validation_scores
        self.learning_rates = learning_rates
        self.best_epoch = best_epoch
        self.score_name = score_name
        self.estimator_name = estimator_name
        self.penalised = penalised

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        line_kw: dict[str, Any] | None = None,
        validation_line_kw: dict[str, Any] | None = None,
        score_line_kw: dict[str, Any] | None = None,
    ) -> Any:
        """Draw the losses, and the scores if there are any, over the epochs.

        Epochs with a new learning rate are marked, unless the rate follows a curve. The epoch whose weights the
        estimator has is marked, too, unless it always keeps the last weights.

        Parameters
        ----------
        estimator : BackpropClassifier, BackpropRegressor or a meta-estimator with one of them
            Fitted with a stochastic solver. The network is the last step of a :class:`~sklearn.pipeline.Pipeline`, the
            best estimator of a search, or the single fitted estimator of another meta-estimator.
        name : str, default=None
            Prefix of the curves' names in the legend, to distinguish estimators that are drawn in the same axes.
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        line_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.plot` for the line of the training losses.
        validation_line_kw : dict, default=None
            The same for the line of the validation losses.
        score_line_kw : dict, default=None
            The same for the line of the scores.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If the solver does not record a history.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        network, history = _find_history(estimator)
        validation_scores = _column(history, "validation_score")
        display = cls(
            losses=_column(history, "loss"),
            validation_losses=_column(history, "validation_loss"),
            # With scoring="loss", the scores are the negative losses.
            validation_scores=None if network.scoring == "loss" else validation_scores,
            learning_rates=_column(history, "learning_rate"),
            best_epoch=_best_epoch(network, validation_scores, _column(history, "loss")),
            score_name=_score_name(network),
            estimator_name=name,
            penalised=network.alpha > 0,
        )
        return display.plot(ax, line_kw=line_kw, validation_line_kw=validation_line_kw, score_line_kw=score_line_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: dict[str, Any] | None = None,
        validation_line_kw: dict[str, Any] | None = None,
        score_line_kw: dict[str, Any] | None = None,
    ) -> Any:
        """Draw the curves, each in a different color.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        line_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.plot` for the line of the training losses.
        validation_line_kw : dict, default=None
            The same for the line of the validation losses.
        score_line_kw : dict, default=None
            The same for the line of the scores.

        Returns
        -------
        display : LossCurveDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        # The legend goes above the curves, where it does not cover the tick labels of the second axis.
        place = {}
        if ax is None:
            place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_, self.score_ax_ = ax, ax.figure, None
        self.validation_line_ = self.score_line_ = self.best_line_ = None
        epochs = np.arange(1, len(self.losses) + 1)
        # A line through a single point is invisible.
        marker = {"marker": "o"} if len(epochs) == 1 else {}

        def label(text):
            return text if self.estimator_name is None else f"{self.estimator_name}: {text[0].lower()}{text[1:]}"

        (self.line_,) = ax.plot(epochs, self.losses, **{"label": label("Training loss"), **marker, **(line_kw or {})})
        if self.validation_losses is not None:
            defaults = {"label": label("Validation loss"), "linestyle": "--", **marker}
            (self.validation_line_,) = ax.plot(
                epochs, self.validation_losses, **{**defaults, **(validation_line_kw or {})}
            )
        handles = ax.get_legend_handles_labels()[0]
        if self.validation_scores is not None:
            # The second axis would restart the color cycle.
            (next_line,) = ax.plot([], [])
            next_line.remove()
            self.score_ax_ = ax.twinx()
            defaults = {"label": label(self.score_name), "color": next_line.get_color(), "linestyle": ":", **marker}
            (self.score_line_,) = self.score_ax_.plot(
                epochs, self.validation_scores, **{**defaults, **(score_line_kw or {})}
            )
            self.score_ax_.set_ylabel(self.score_name)
            handles.append(self.score_line_)
        self.rate_lines_ = [
            ax.axvline(epoch, color="gray", linewidth=0.8, alpha=0.6, zorder=0) for epoch in self._rate_changes()
        ]
        if self.rate_lines_:
            self.rate_lines_[0].set_label("New learning rate")
            handles.append(self.rate_lines_[0])
        if self.best_epoch is not None:
            self.best_line_ = ax.axvline(
                self.best_epoch,
                color=self.line_.get_color(),
                linestyle="-.",
                linewidth=0.8,
                label=label(f"Best epoch: {self.best_epoch}"),
            )
            handles.append(self.best_line_)
        whose = "with penalty" if self.validation_losses is None else "of the training with penalty"
        ax.set(xlabel="Epoch", ylabel=f"Loss, {whose}" if self.penalised else "Loss")
        # On the axes drawn last, so that no curve covers the legend.
        (self.score_ax_ or ax).legend(handles=handles, **place)
        return self

    def _rate_changes(self):
        """Return the epochs whose learning rate differs from the previous one; none if the rate follows a curve."""
        if self.learning_rates is None:
            return []
        epochs = np.flatnonzero(np.diff(self.learning_rates)) + 2
        few = len(epochs) <= min(_MAX_RATE_CHANGES, len(self.learning_rates) // 3)
        return epochs.tolist() if few else []


class GradientFlowDisplay:
    """Plot of the gradient norm and the fraction of constant units of each layer, over the epochs.

    Created by `from_estimator`.

    Parameters
    ----------
    gradient_norms : ndarray of shape (n_epochs, n_layers)
        Norm of the gradient of each layer's weights, without penalty, in the last mini-batch of each epoch.
    constant_units : ndarray of shape (n_epochs, n_layers - 1)
        Fraction of each hidden layer's units whose output is the same for all rows of that mini-batch: dead or
        saturated units.
    estimator_name : str or None, default=None
        Title of the plot.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One or two axes: gradients, and constant units if they are drawn.
    figure_ : matplotlib Figure
        Figure of the plot.
    norm_lines_ : list of matplotlib Line2D
        One for each layer of weights.
    constant_lines_ : list of matplotlib Line2D
        One for each hidden layer; empty if they are not drawn.

    See Also
    --------
    LossCurveDisplay : Plots the losses and scores.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import GradientFlowDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = BackpropClassifier((32, 32, 32), activation="tanh", random_state=0).fit(X, y)
    >>> display = GradientFlowDisplay.from_estimator(model)
    >>> plt.show()
    """

    # For type checkers only.
    axes_: Any
    figure_: Any
    norm_lines_: Any
    constant_lines_: Any

    def __init__(
        self, *, gradient_norms: np.ndarray, constant_units: np.ndarray, estimator_name: str | None = None
    ) -> None:
        self.gradient_norms = gradient_norms
        self.constant_units = constant_units
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None, line_kw: dict[str, Any] | None = None
    ) -> Any:
        """Draw the norm of each layer's gradient, and the fraction of constant units, over the epochs.

        Parameters
        ----------
        estimator : BackpropClassifier, BackpropRegressor or a meta-estimator with one of them
            Fitted with a stochastic solver. The network is the last step of a :class:`~sklearn.pipeline.Pipeline`, the
            best estimator of a search, or the single fitted estimator of another meta-estimator.
        name : str, default=None
            Title of the plot; None for the class of the network.
        ax : matplotlib Axes or array-like of two of them, default=None
            Axes to draw in: one for the gradients only, two for gradients and units. None for a new figure.
        line_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.plot` for all lines.

        Returns
        -------
        display : GradientFlowDisplay

        Raises
        ------
        ValueError
            If the solver does not record a history.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        network, history = _find_history(estimator)
        display = cls(
            gradient_norms=_columns(history, "gradient_norm"),
            constant_units=_columns(history, "constant_units"),
            estimator_name=type(network).__name__ if name is None else name,
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: Any = None, *, line_kw: dict[str, Any] | None = None) -> Any:
        """Draw the curves; colors go from dark for the first layer to light for the last.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of two of them, default=None
            Axes to draw in: one for the gradients only, two for gradients and units. None for a new figure.
        line_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.plot` for all lines.

        Returns
        -------
        display : GradientFlowDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n_epochs, n_layers = self.gradient_norms.shape
        # The legend goes next to the curves, where it covers nothing.
        place = {}
        if ax is None:
            place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            n_axes = 2 if n_layers > 1 else 1
            _, ax = plt.subplots(n_axes, sharex=True, squeeze=False, layout="constrained")
        self.axes_ = np.ravel(ax)
        if not 1 <= len(self.axes_) <= 2:
            raise ValueError(f"ax holds {len(self.axes_)} Axes; give one, or two to see constant units, too")
        self.figure_ = self.axes_[0].figure
        epochs = np.arange(1, n_epochs + 1)
        # The end of the color map is too light on white.
        colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, n_layers))
        marker = {"marker": "o"} if n_epochs == 1 else {}

        def draw(ax, curves):
            return [
                ax.plot(epochs, curve, **{"color": color, "label": f"Layer {layer}", **marker, **(line_kw or {})})[0]
                for layer, (curve, color) in enumerate(zip(curves.T, colors, strict=False))
            ]

        top = self.axes_[0]
        self.norm_lines_ = draw(top, self.gradient_norms)
        if (self.gradient_norms > 0).any():
            top.set_yscale("log", nonpositive="mask")
        top.set(ylabel="Gradient norm")
        if self.estimator_name is not None:
            top.set_title(self.estimator_name)
        top.legend(**place)
        self.constant_lines_ = []
        if len(self.axes_) > 1:
            self.constant_lines_ = draw(self.axes_[1], self.constant_units)
            self.axes_[1].set(ylabel="Constant units", ylim=(-0.05, 1.05))
        self.axes_[-1].set_xlabel("Epoch")
        return self


def _find_history(estimator):
    """Return the network in an estimator, and its history."""
    network = find_network(estimator)
    if not hasattr(network, "history_"):
        raise ValueError(
            f"solver={network.solver!r} keeps no history of epochs, only the last loss_: fit with a stochastic solver, such "
            "as 'adam' or 'sgd'"
        )
    return network, network.history_


def _column(history, key):
    """Return one entry of all epochs as an array, with NaN for None; return None if all are None."""
    values = [row[key] for row in history]
    if all(value is None for value in values):
        return None
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _columns(history, prefix):
    """Return one entry of all layers as an array of shape (n_epochs, n)."""
    keys = [key for key in history[0] if key.startswith(f"{prefix}_")]
    return np.array([[row[key] for key in keys] for row in history], dtype=np.float64).reshape(len(history), len(keys))


def _best_epoch(network, scores, losses):
    """Return the epoch whose weights the network keeps; None if it keeps the last ones."""
    if not (network.early_stopping or network.restore_best_weights):
        return None
    goodness = -losses if scores is None else scores
    return None if np.isnan(goodness).all() else int(np.nanargmax(goodness)) + 1


def _score_name(network):
    if network.scoring is None:
        return "Validation accuracy" if is_classifier(network) else "Validation R²"
    return f"Validation {network.scoring}" if isinstance(network.scoring, str) else "Validation score"
