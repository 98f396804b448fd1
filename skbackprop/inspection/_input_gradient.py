"""Gradients of the outputs with respect to the inputs."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import check_array

from skbackprop._sklearn import check_matplotlib_support
from skbackprop.backends import get_prediction_backend
from skbackprop.estimators._arrays import as_numpy, library_of
from skbackprop.estimators._prediction import for_backend
from skbackprop.inspection._estimator import check_network, feature_names_of

__all__ = ["InputGradientDisplay", "input_gradient"]


def input_gradient(estimator: Any, X: Any, *, target: Any = None) -> Any:
    r"""Compute the gradient of the network's output with respect to its inputs.

    For each row, it shows how much the output changes with each feature, to first order: the *saliency* of the row
    (Simonyan, Vedaldi and Zisserman, 2014). Compare features by it only if they have similar scales.

    Parameters
    ----------
    estimator : BackpropClassifier or BackpropRegressor
        Fitted.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Rows at which to compute the gradient, as for `predict`.
    target : label, int or array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        The output; an array has one for each row.

        - For a classifier, a class; None for the predicted class of each row. With several columns of classes, an array
          with one class for each row and column.
        - For a multilabel classifier, a label; None for all.
        - For a regressor, the index of a column of `predict`; None for all.

    Returns
    -------
    gradients : ndarray of shape (n_samples, n_features) or (n_samples, n_outputs, n_features)
        In the model's dtype and the library of `X`; dense even for sparse `X`. It has the axis `n_outputs` with several
        columns of classes, and, if `target` is None, with several labels and for regressors with several outputs.

    Raises
    ------
    TypeError
        If `estimator` is a pipeline, or anything else than a classifier or regressor of this package.
    ValueError
        If there is no such output, or `X` does not match the estimator.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    InputGradientDisplay : Plots the mean absolute gradient.

    Notes
    -----
    For classifiers, the output is the raw prediction (logit), for several classes without the normalization of
    `decision_function`. With two classes there is one decision value, positive for the second class; that of the first
    class is its negative. For regressors, the output is that of `predict`, or its logarithm for losses with a
    logarithmic link, such as 'poisson', and the mean for 'gaussian_nll'; it is in the units of `y`, with
    `standardize_target`, too.

    With weights :math:`W_l`, pre-activations :math:`z_l` and activation function :math:`\varphi`, the gradient of
    output :math:`k` is

    .. math::
        \frac{\partial f_k}{\partial x} = W_1 \operatorname{diag}(\varphi'(z_1))\, W_2
        \operatorname{diag}(\varphi'(z_2)) \cdots W_L e_k,

    computed from the right: the backward pass of training, without a loss, and one layer further. Where an activation
    function is not differentiable, the derivative is the one that training uses.

    References
    ----------
    * K. Simonyan, A. Vedaldi and A. Zisserman (2014). Deep inside convolutional networks: visualising image
      classification models and saliency maps. ICLR workshop. https://arxiv.org/abs/1312.6034

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import input_gradient
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BackpropClassifier((10,), solver="lbfgs", random_state=0).fit(scale(X), y)
    >>> input_gradient(model, scale(X)).shape
    (150, 4)
    >>> input_gradient(model, scale(X), target=y).shape
    (150, 4)
    """
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "the gradient is the one with respect to the network's own inputs, which a Pipeline transforms: give its last "
            "step and transformed X, input_gradient(pipeline[-1], pipeline[:-1].transform(X))"
        )
    check_network(estimator)
    library, X = library_of(X), as_numpy(X)
    network, params, running, rows = for_backend(estimator, X)
    backend = get_prediction_backend(estimator.device)
    n_rows = rows.shape[0]
    columns, factors = _choose_outputs(estimator, X, as_numpy(target), n_rows)
    gradients = np.empty((n_rows, columns[0].size, rows.shape[1]), dtype=params.dtype)
    for index, column in enumerate(columns.reshape(n_rows, -1).T):
        gradients[:, index] = backend.input_gradient(network, params, rows, column, running)
    if columns.ndim == 1:
        gradients = gradients[:, 0]
    if factors is not None:
        gradients *= factors[..., np.newaxis]
    return gradients if library is None else library.take(gradients)


def _choose_outputs(estimator, X, target, n_rows):
    """Return columns of the raw prediction, one or several per row, and factors of their gradients or None."""
    if not is_classifier(estimator):
        return _choose_targets(estimator, target, n_rows)
    if estimator._target_type == "multilabel-indicator":
        return _choose(estimator.classes_.tolist(), target, n_rows), None
    labels = estimator.predict(X) if target is None else np.asarray(target)
    if isinstance(estimator.classes_, list):
        shape = (n_rows, len(estimator.classes_))
        if labels.shape != shape:
            raise ValueError(
                f"target of shape {labels.shape} must be of shape {shape}: a class for each row and column of y"
            )
        counts = [len(classes) for classes in estimator.classes_]
        parts = zip(estimator.classes_, labels.T, np.cumsum([0, *counts[:-1]]), strict=True)
        return np.stack([first + _choose(classes.tolist(), own, n_rows) for classes, own, first in parts], axis=1), None
    positions = _choose(estimator.classes_.tolist(), labels, n_rows)
    if estimator._target_type == "binary":
        # One decision value, positive for the second class.
        return np.zeros_like(positions), np.where(positions == 1, 1, -1)
    return positions, None


def _choose_targets(estimator, target, n_rows):
    """Return the same as `_choose_outputs`, for a regressor."""
    loss = estimator._loss()
    n = loss.outputs_per_target()
    # Each mean is followed by the logarithm of its variance.
    step = 2 if loss.has_std else 1
    columns = step * _choose(list(range(estimator.n_outputs_ // step)), target, n_rows)
    if not hasattr(estimator, "target_scale_"):
        return columns, None
    return columns, estimator.target_scale_[columns // n]


def _choose(names, target, n_rows):
    """Return indices of the targets among their names: one per row, or all for each row."""
    if target is None:
        positions = np.tile(np.arange(len(names)), (n_rows, 1))
        return positions[:, 0] if len(names) == 1 else positions
    given = np.asarray(target)
    if given.shape not in ((), (n_rows,)):
        raise ValueError(
            f"target of shape {given.shape} must be one for all rows, or one for each of the {n_rows} rows"
        )
    known = {name: position for position, name in enumerate(names)}
    chosen = given.reshape(-1).tolist()
    for name in chosen:
        if name not in known:
            raise ValueError(f"target={name!r} is not among the estimator's classes or outputs, {names}")
    return np.broadcast_to(np.array([known[name] for name in chosen]), n_rows)


class InputGradientDisplay:
    """Plot of how much the output depends on each feature.

    Created by `from_estimator`.

    Parameters
    ----------
    saliency : ndarray of shape (n_features,)
        Mean absolute gradient with respect to each feature.
    feature_names : ndarray of shape (n_features,)
        Labels of the bars.
    image_shape : tuple of int or None, default=None
        Height, width and, if there are any, number of channels; the features are then shown as an image.
    scaled : bool, default=False
        Whether gradients have been multiplied by the standard deviations of the features.
    estimator_name : str or None, default=None
        Title of the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    bars_ : matplotlib BarContainer or None
        The bars, from the bottom up.
    image_ : matplotlib AxesImage or None
        The image.

    See Also
    --------
    input_gradient : The gradients themselves.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import InputGradientDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = BackpropClassifier((10,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> display = InputGradientDisplay.from_estimator(model, X, multiply_by_std=True)
    >>> plt.show()
    """

    # For type checkers only.
    ax_: Any
    figure_: Any
    bars_: Any
    image_: Any

    def __init__(
        self,
        *,
        saliency: np.ndarray,
        feature_names: np.ndarray,
        image_shape: tuple[int, ...] | None = None,
        scaled: bool = False,
        estimator_name: str | None = None,
    ) -> None:
        self.saliency = saliency
        self.feature_names = feature_names
        self.image_shape = image_shape
        self.scaled = scaled
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        target: Any = None,
        multiply_by_std: bool = False,
        feature_names: Any = None,
        image_shape: tuple[int, ...] | None = None,
        max_features: int | None = 20,
        name: str | None = None,
        ax: Any = None,
        bar_kw: dict[str, Any] | None = None,
        image_kw: dict[str, Any] | None = None,
    ) -> Any:
        """Draw the mean absolute gradient of the output with respect to each feature.

        Parameters
        ----------
        estimator : BackpropClassifier or BackpropRegressor
            Fitted estimator. For a pipeline, pass the last step and transformed `X`.
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows over which the absolute gradients are averaged; pass a single row for its own saliency.
        target : label, int or array-like of shape (n_samples,), default=None
            The output, see :func:`input_gradient`. Required with several labels or several outputs.
        multiply_by_std : bool, default=False
            Whether to multiply by the standard deviations of the columns of `X`, so that features of different scales
            can be compared: the result is how much the output changes with a typical change of the feature.
        feature_names : array-like of str of shape (n_features,), default=None
            Labels of the bars; None for the column names of the data frame that the estimator was fitted on, or else
            "x0", "x1" and so on.
        image_shape : tuple of int, default=None
            Height and width of an image whose pixels are the features, row by row, or height, width and number of
            channels. The image is drawn instead of bars; as in the paper, with the largest value over the channels of
            each pixel.
        max_features : int or None, default=20
            Maximum number of bars; the longest are drawn. None for all.
        name : str, default=None
            Title of the plot; None for the class of the estimator.
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        bar_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.barh` for the bars.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow` for the image.

        Returns
        -------
        display : InputGradientDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        X = as_numpy(X)
        gradients = input_gradient(estimator, X, target=target)
        if gradients.ndim > 2:
            raise ValueError(
                f"the gradients are those of {gradients.shape[1]} outputs, of which one can be drawn: set target to it, or, "
                "for several columns of classes, give one column's saliency to InputGradientDisplay"
            )
        saliency = np.abs(gradients).mean(axis=0, dtype=np.float64)
        if multiply_by_std:
            saliency *= _standard_deviations(X)
        if image_shape is not None and np.prod(image_shape) != saliency.size:
            raise ValueError(f"image_shape={image_shape!r} does not hold the {saliency.size} features")
        display = cls(
            saliency=saliency,
            feature_names=feature_names_of(estimator, feature_names, saliency.size),
            image_shape=image_shape,
            scaled=multiply_by_std,
            estimator_name=type(estimator).__name__ if name is None else name,
        )
        return display.plot(ax, max_features=max_features, bar_kw=bar_kw, image_kw=image_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        max_features: int | None = 20,
        bar_kw: dict[str, Any] | None = None,
        image_kw: dict[str, Any] | None = None,
    ) -> Any:
        """Draw bars, the longest at the top, or an image if `image_shape` is set.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        max_features : int or None, default=20
            Maximum number of bars; the longest are drawn. None for all.
        bar_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.barh` for the bars.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow` for the image.

        Returns
        -------
        display : InputGradientDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.bars_ = self.image_ = None
        what = "Mean absolute gradient" + (" times standard deviation" if self.scaled else "")
        if self.image_shape is not None:
            height, width = self.image_shape[:2]
            pixels = self.saliency.reshape(height, width, -1).max(axis=2)
            self.image_ = ax.imshow(pixels, **(image_kw or {}))
            self.figure_.colorbar(self.image_, ax=ax, label=what)
            ax.set(xticks=[], yticks=[])
        else:
            # A stable sort keeps the order of equal features.
            order = np.argsort(-self.saliency, kind="stable")[:max_features][::-1]
            self.bars_ = ax.barh(np.arange(len(order)), self.saliency[order], **(bar_kw or {}))
            ax.set_yticks(np.arange(len(order)), self.feature_names[order])
            ax.set_xlabel(what)
        if self.estimator_name is not None:
            ax.set_title(self.estimator_name)
        return self


def _standard_deviations(X):
    if sparse.issparse(X):
        return np.sqrt(mean_variance_axis(X.tocsr().astype(np.float64), axis=0)[1])
    return check_array(X, dtype=np.float64).std(axis=0)
