"""Plot of the weights of a layer."""

import numpy as np

from skbackprop._sklearn import _check_feature_names_in, check_matplotlib_support
from skbackprop.inspection._estimator import find_network
from skbackprop.inspection._images import check_image_shape, mosaic, signed_kw

__all__ = ["WeightsDisplay"]


class WeightsDisplay:
    """Plot of the weights of a layer, as a table of colours or, if the inputs are pixels, one image per unit.

    Created by `from_estimator`.

    Parameters
    ----------
    weights : ndarray of shape (n_inputs, n_units)
        Weights of the layer.
    input_names : ndarray of shape (n_inputs,) or None, default=None
        Labels of the inputs; None for none.
    layer : int, default=0
        Index of the layer, for the labels.
    image_shape : tuple of (int, int) or None, default=None
        Height and width of an image whose pixels are the inputs; each unit's weights are then shown as an image.
    estimator_name : str or None, default=None
        Title of the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    image_ : matplotlib AxesImage
        The colours.
    units_ : ndarray of int
        The units that are drawn, in their order: the columns of the table, or the images row by row.

    See Also
    --------
    SaliencyGridDisplay : What the output depends on in single rows.
    GradientFlowDisplay : Gradients and units of each layer during the training.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.inspection import WeightsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = BackpropClassifier((16,), alpha=1.0, random_state=0).fit(X / 16, y)
    >>> display = WeightsDisplay.from_estimator(model, image_shape=(8, 8))
    >>> plt.show()
    """

    def __init__(self, *, weights, input_names=None, layer=0, image_shape=None, estimator_name=None):
        self.weights = weights
        self.input_names = input_names
        self.layer = layer
        self.image_shape = image_shape
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        layer=0,
        image_shape=None,
        feature_names=None,
        max_units=16,
        name=None,
        ax=None,
        image_kw=None,
    ):
        """Draw the weights of a layer of a fitted network.

        Parameters
        ----------
        estimator : BackpropClassifier, BackpropRegressor or a meta-estimator with one of them
            Fitted. The network is the last step of a :class:`~sklearn.pipeline.Pipeline`, the best estimator of a
            search, or the single fitted estimator of another meta-estimator.
        layer : int, default=0
            Index into `coefs_`; 0 for the weights of the features, -1 for those of the outputs.
        image_shape : tuple of (int, int), default=None
            Height and width of an image whose pixels, row by row, are the inputs of the layer: one image is drawn for
            each unit, instead of a table.
        feature_names : array-like of str of shape (n_features,), default=None
            Labels of the features, for the first layer; None for the column names of the data frame that the network
            was fitted on, or else "x0", "x1" and so on.
        max_units : int or None, default=16
            Maximum number of units, those with the largest norms of weights; None for all.
        name : str, default=None
            Title of the plot; None for the class of the network.
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : WeightsDisplay

        Raises
        ------
        ValueError
            If there is no such layer, or the image does not have as many pixels as the layer has inputs.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        network = find_network(estimator)
        n_layers = len(network.coefs_)
        if not -n_layers <= layer < n_layers:
            raise ValueError(f"layer={layer!r} must be from {-n_layers} to {n_layers - 1}: the network has {n_layers}")
        layer = range(n_layers)[layer]
        weights = np.asarray(network.coefs_[layer])
        if image_shape is not None:
            check_image_shape(image_shape, len(weights))
        names = None
        if feature_names is not None and len(feature_names) != len(weights):
            raise ValueError(
                f"feature_names has {len(feature_names)} names for the {len(weights)} inputs of layer {layer}"
            )
        if feature_names is not None:
            names = np.asarray(feature_names, dtype=object)
        elif layer == 0 and len(weights) == network.n_features_in_:
            # Layers in front of the first dense one make other inputs.
            names = np.asarray(_check_feature_names_in(network), dtype=object)
        display = cls(
            weights=weights,
            input_names=names,
            layer=layer,
            image_shape=image_shape,
            estimator_name=type(network).__name__ if name is None else name,
        )
        return display.plot(ax, max_units=max_units, image_kw=image_kw)

    def plot(self, ax=None, *, max_units=16, image_kw=None):
        """Draw the weights: red for positive ones, blue for negative ones, white for zero.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None for a new figure.
        max_units : int or None, default=16
            Maximum number of units, those with the largest norms of weights; None for all.
        image_kw : dict, default=None
            Keyword arguments of `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : WeightsDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        # A stable sort keeps the order of equal units; the chosen ones are drawn in theirs.
        norms = np.linalg.norm(self.weights.astype(np.float64), axis=0)
        self.units_ = np.sort(np.argsort(-norms, kind="stable")[:max_units])
        drawn = self.weights[:, self.units_]
        if self.image_shape is not None:
            self.image_ = ax.imshow(mosaic(drawn.T, self.image_shape), **signed_kw(drawn, image_kw))
            ax.set(xticks=[], yticks=[])
        else:
            self.image_ = ax.imshow(drawn, **{"aspect": "auto", **signed_kw(drawn, image_kw)})
            ax.set_xticks(np.arange(len(self.units_)), self.units_)
            ax.set(xlabel="Unit", ylabel="Feature" if self.layer == 0 else f"Unit of hidden layer {self.layer}")
            if self.input_names is not None:
                ax.set_yticks(np.arange(len(drawn)), self.input_names)
        self.figure_.colorbar(self.image_, ax=ax, label="Weight")
        if self.estimator_name is not None:
            ax.set_title(self.estimator_name)
        return self
