"""Transformer that uses the activations of a hidden layer as features."""

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from skbackprop._sklearn import HasMethods, _check_feature_names, _fit_context, _routing_enabled
from skbackprop.estimators._base import BaseBackprop
from skbackprop.estimators._canonical import new_strings
from skbackprop.estimators._checks import require
from skbackprop.estimators._choices import hidden_units
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._prediction import predict_hidden
from skbackprop.estimators._state import Fitted
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.regressor import BackpropRegressor

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackpropEmbedding"]

#: Values of `type_of_target` for which the default network is a regressor.
_NUMERIC = ("continuous", "continuous-multioutput", "multiclass-multioutput")


class BackpropEmbedding(
    SavesToFile, ClassNamePrefixFeaturesOutMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Activations of a hidden layer of a network, as features.

    Fits a :class:`~skbackprop.BackpropClassifier` or :class:`~skbackprop.BackpropRegressor` and transforms data to the
    activations of one of its hidden layers: a representation of `X` learned from `y`, for nearest neighbors, trees,
    clustering or a plot.

    Parameters
    ----------
    estimator : BackpropClassifier, BackpropRegressor or None, default=None
        The network. It is cloned and fitted; to use a fitted one as it is, wrap it in a
        :class:`~sklearn.frozen.FrozenEstimator`. None means a network with all defaults: a regressor if `y` has numbers
        with a fractional part or several columns of integers other than 0 and 1, otherwise a classifier.

    layer : int, default=-1
        Index of the hidden layer, from 0, or negative to count from the end. Later layers are closer to the targets,
        earlier ones to the data.

    random_state : int, RandomState instance or None, default=None
        Passed to the network if `estimator` is None; otherwise not used.

    Attributes
    ----------
    estimator_ : BackpropClassifier, BackpropRegressor or FrozenEstimator
        The fitted network.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    BackpropClassifier : The network for classes.
    BackpropRegressor : The network for continuous targets.
    sklearn.ensemble.RandomTreesEmbedding : Features from trees, without targets.

    Notes
    -----
    The features were fitted to `y`. A model that is trained on the features of the same rows uses targets that the
    network has already seen, and overfits more than its training score shows; to score it, put both into one
    :class:`~sklearn.pipeline.Pipeline` and cross-validate that.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbackprop import BackpropClassifier, BackpropEmbedding
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BackpropClassifier((8,), learning_rate_init=0.05, random_state=0)
    >>> model = make_pipeline(StandardScaler(), BackpropEmbedding(network), KNeighborsClassifier())
    >>> model.fit(X, y)[:-1].transform(X).shape
    (150, 8)
    """

    # For type checkers only: fitting sets them.
    estimator_: BackpropClassifier | BackpropRegressor | FrozenEstimator
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: dict[Any, Any] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "layer": [Integral],
        "random_state": ["random_state"],
    }

    _fitted = (Fitted("estimator_", "members"), Fitted("feature_names_in_", "data", canonical=new_strings))

    def __init__(
        self, estimator: Any = None, layer: int = -1, *, random_state: int | np.random.RandomState | None = None
    ) -> None:
        self.estimator = estimator
        self.layer = layer
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)  # a network is validated by its own fit
    def fit(self, X: Any, y: Any, **fit_params: Any) -> "Self":
        """Fit the network.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Target values.
        **fit_params : dict
            Further arguments of the network's `fit`, such as `sample_weight`; with metadata routing, those that it
            requests.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        TypeError
            If `estimator` is not a network of this package.
        ValueError
            If the network has no hidden layer with index `layer`.
        """
        network = clone(self.estimator) if self.estimator is not None else self._default_network(y)
        if not isinstance(_unfrozen(network), BaseBackprop):
            raise TypeError(
                "estimator has to be a BackpropClassifier or BackpropRegressor, or a FrozenEstimator of one, got "
                f"{type(network).__name__}"
            )
        n_hidden = len(hidden_units(network))
        if not -n_hidden <= self.layer < n_hidden:
            raise ValueError(
                f"layer={self.layer} is not one of the network's hidden layers, of which there are {n_hidden}"
            )
        if _routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        self.estimator_ = network.fit(X, y, **fit_params)
        self.n_features_in_ = self.estimator_.n_features_in_
        _check_feature_names(self, X, reset=True)
        return self

    def _restore(self):
        fitted = getattr(self.estimator_, "estimator", self.estimator_)
        require(hasattr(fitted, "coefs_"), "estimator_ has to be a fitted network")
        self.n_features_in_ = fitted.n_features_in_

    def _default_network(self, y):
        numeric = y is not None and type_of_target(y, input_name="y") in _NUMERIC
        return (BackpropRegressor if numeric else BackpropClassifier)(random_state=self.random_state)

    def transform(self, X: Any) -> np.ndarray:
        """Compute the activations of the hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the network's dtype.

        Returns
        -------
        units : ndarray of shape (n_samples, n_units)
            One column per unit of the layer, in the network's dtype.
        """
        check_is_fitted(self)
        _check_feature_names(self, X, reset=False)
        return predict_hidden(_unfrozen(self.estimator_), X, self.layer)

    @property
    def _n_features_out(self):
        return self.estimator_.coefs_[:-1][self.layer].shape[1]

    def get_metadata_routing(self) -> Any:
        """Return the metadata routing: `fit` passes metadata on to the network's `fit`.

        Returns
        -------
        routing : MetadataRouter
        """
        return MetadataRouter(owner=self).add(
            estimator=self.estimator if self.estimator is not None else BackpropClassifier(),
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _unfrozen(network):
    """Return the network without FrozenEstimator wrappers, of which there may be several."""
    while isinstance(network, FrozenEstimator):
        network = network.estimator
    return network
