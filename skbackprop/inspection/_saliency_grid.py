"""Plot of what the output depends on in single rows."""

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier

from skbackprop._sklearn import check_matplotlib_support
from skbackprop.estimators._arrays import as_numpy
from skbackprop.inspection._estimator import feature_names_of
from skbackprop.inspection._images import check_image_shape, signed_kw
from skbackprop.inspection._input_gradient import input_gradient

__all__ = ["SaliencyGridDisplay"]

# More rows make labels and images too small to read.
_MAX_ROWS = 40


class SaliencyGridDisplay:
    """Plot of how much the output depends on each feature, for single rows.

    Created by `from_estimator`.

    Parameters
    ----------
    gradients : ndarray of shape (n_rows, n_features)
        Gradient of the output with respect to the features, for each row.
    row_names : ndarray of shape (n_rows,)
        Labels of the rows.
    feature_names : ndarray of shape (n_features,)
        Labels of the features.
    images : ndarray of shape (n_rows, n_features) or None, default=None
        The rows themselves, to be drawn as images above their gradients.
    image_shape : tuple of (int, int) or None, default=None
        Height and width of the images.
    scaled : bool, default=False
        Whether gradients have been multiplied by the values of the features.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One Axes, or, with images, of shape (2, n_rows): the rows and their saliency.
    figure_ : matplotlib Figure
        Figure of the plot.
    images_ : list of matplotlib AxesImage
        The colours of the gradients: one, or one for each row.

    See Also
    --------
    InputGradientDisplay : The mean over many rows.
    input_gradient : The gradients themselves.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import SaliencyGridDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = BackpropClassifier((30,), alpha=1.0, random_state=0).fit(X / 16, y)
    >>> display = SaliencyGridDisplay.from_estimator(model, X[:6] / 16, image_shape=(8, 8))
    >>> plt.show()
    """

    def __init__(self, *, gradients, row_names, feature_names, images=None, image_shape=None, scaled=False):
        self.gradients = gradients
        self.row_names = row_names
        self.feature_names = feature_names
        self.images = images
        self.image_shape = image_shape
        self.scaled = scaled

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        target=None,
        multiply_by_input=False,
        row_names=None,
        feature_names=None,
        image_shape=None,
        ax=None,
        image_kw=None,
    ):
        """Draw the gradient of the output at each row of `X`.

        Parameters
        ----------
        estimator : BackpropClassifier or BackpropRegressor
            Fitted. For a pipeline, pass the last step and transformed `X`.
        X : {array-like, sparse matrix, dataframe} of shape (n_rows, n_features)
            At most 40 rows.
        target : label, int or array-like of shape (n_rows,), default=None
            The output, see :func:`input_gradient`. Required with several labels or several outputs.
        multiply_by_input : bool, default=False
            Whether to multiply the gradients by the values of the features: to first order the part of the output that
            each contributes, if zero means that a feature is absent.
        row_names : array-like of str of shape (n_rows,), default=None
            Labels of the rows; None for the classes or numbers that the estimator predicts, or, with several outputs,
            the numbers of the rows.
        feature_names : array-like of str of shape (n_features,), default=None
            Labels of the features; None for the column names of the data frame that the estimator was fitted on, or
            else "x0", "x1" and so on.
        image_shape : tuple of (int, int), default=None
            Height and width of an image whose pixels, row by row, are the features: each row is drawn as an image, and
            below it its saliency, the absolute gradient, from zero to its own maximum.
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure. With `image_shape`, its space is divided among the images.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow` for the gradients.

        Returns
        -------
        display : SaliencyGridDisplay

        Raises
        ------
        ValueError
            If there are too many rows or several outputs without `target`, or a shape or a number of names does not
            match.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        X = as_numpy(X)
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if not 0 < n_rows <= _MAX_ROWS:
            raise ValueError(
                f"X has {n_rows} rows: give from 1 to {_MAX_ROWS}, as InputGradientDisplay draws the mean of many"
            )
        gradients = input_gradient(estimator, X, target=target)
        if gradients.ndim > 2:
            raise ValueError(
                f"the gradients are those of {gradients.shape[1]} outputs, of which one can be drawn: set target to it"
            )
        if image_shape is not None:
            check_image_shape(image_shape, gradients.shape[1])
        values = X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
        if multiply_by_input:
            gradients = gradients * values
        if row_names is None:
            row_names = _predictions(estimator, X)
        if len(row_names) != n_rows:
            raise ValueError(f"row_names has {len(row_names)} names for {n_rows} rows")
        display = cls(
            gradients=gradients,
            row_names=np.asarray(row_names, dtype=object),
            feature_names=feature_names_of(estimator, feature_names, gradients.shape[1]),
            images=None if image_shape is None else values,
            image_shape=image_shape,
            scaled=multiply_by_input,
        )
        return display.plot(ax, image_kw=image_kw)

    def plot(self, ax=None, *, image_kw=None):
        """Draw the gradients: as a table of colours, or as images below the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow` for the gradients.

        Returns
        -------
        display : SaliencyGridDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n_rows = len(self.gradients)
        if ax is None:
            size = None if self.image_shape is None else (max(1.2 * n_rows, 3.0), 3.0)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.figure_ = ax.figure
        what = "Gradient times input" if self.scaled else "Gradient"
        if self.image_shape is not None:
            self._plot_images(ax, what, image_kw)
            return self
        self.axes_ = np.array([ax])
        self.images_ = [ax.imshow(self.gradients, **{"aspect": "auto", **signed_kw(self.gradients, image_kw)})]
        ax.set_xticks(np.arange(len(self.feature_names)), self.feature_names, rotation=90)
        ax.set_yticks(np.arange(n_rows), self.row_names)
        ax.set_ylabel("Row")
        self.figure_.colorbar(self.images_[0], ax=ax, label=what)
        return self

    def _plot_images(self, ax, what, image_kw):
        ax.set_axis_off()
        grid = ax.get_subplotspec()
        spec = (
            self.figure_.add_gridspec(2, len(self.gradients))
            if grid is None
            else grid.subgridspec(2, len(self.gradients))
        )
        self.axes_, self.images_ = spec.subplots(squeeze=False), []
        for (above, below), row, gradient, name in zip(
            self.axes_.T, self.images, self.gradients, self.row_names, strict=True
        ):
            above.imshow(row.reshape(self.image_shape), cmap="gray")
            above.set_title(name)
            saliency = np.abs(gradient).reshape(self.image_shape)
            self.images_.append(below.imshow(saliency, **{"vmin": 0.0, **(image_kw or {})}))
            for each in (above, below):
                each.set(xticks=[], yticks=[])
        self.axes_[0, 0].set_ylabel("Row")
        self.axes_[1, 0].set_ylabel(f"|{what}|")


def _predictions(estimator, X):
    """Return a label for each row: what the estimator predicts, where that is one class or number."""
    predicted = np.asarray(as_numpy(estimator.predict(X)))
    if predicted.ndim > 1:
        return np.arange(len(predicted))
    return predicted if is_classifier(estimator) else [f"{value:.3g}" for value in predicted]
