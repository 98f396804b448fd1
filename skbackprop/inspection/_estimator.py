"""Check of estimators to inspect, their features' names, and lookup of the network inside a pipeline or another meta-estimator."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbackprop._sklearn import _check_feature_names_in
from skbackprop.estimators import BackpropClassifier, BackpropRegressor

__all__ = ["check_network", "feature_names_of", "find_network"]

#: Attributes in which meta-estimators store the single estimator that they have fitted.
_FITTED = "best_estimator_", "regressor_", "estimator_"


def check_network(estimator: Any) -> None:
    """Raise an error unless the object is a fitted estimator of this package.

    Parameters
    ----------
    estimator : object

    Raises
    ------
    TypeError
        If it is not a classifier or regressor of this package.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    if not isinstance(estimator, BackpropClassifier | BackpropRegressor):
        raise TypeError(
            f"estimator must be a BackpropClassifier or a BackpropRegressor, got {type(estimator).__name__}; for a "
            "meta-estimator, give a network inside it, such as the best_estimator_ of a search"
        )
    check_is_fitted(estimator)


def find_network(estimator: Any) -> Any:
    """Return the fitted network in an estimator: last step of a pipeline, best of a search, or single fitted estimator.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    network : BackpropClassifier or BackpropRegressor

    Raises
    ------
    TypeError
        If there is no network of this package, or more than one.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    while (inner := _inside(estimator)) is not None:
        estimator = inner
    check_network(estimator)
    return estimator


def _inside(estimator):
    """Return the single estimator that a meta-estimator has fitted; None if there is none."""
    if isinstance(estimator, Pipeline):
        return estimator[-1]
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if isinstance(estimator, BaseEstimator) and {"estimator", "regressor"} & estimator.get_params(deep=False).keys():
        check_is_fitted(estimator)
    # With several fitted ones, `estimator_` is the template that they were cloned from.
    names = () if hasattr(estimator, "estimators_") else _FITTED
    return next((getattr(estimator, name) for name in names if hasattr(estimator, name)), None)


def feature_names_of(estimator: Any, names: Any, n_features: int) -> np.ndarray:
    """Return labels of the features.

    Parameters
    ----------
    estimator : BaseBackprop
        Fitted.
    names : array-like of str of shape (n_features,) or None
        None for the column names of the data frame that the estimator was fitted on, or else "x0", "x1" and so on.
    n_features : int

    Returns
    -------
    names : ndarray of object of shape (n_features,)

    Raises
    ------
    ValueError
        If there is another number of names.
    """
    if names is None:
        names = _check_feature_names_in(estimator)
    elif len(names) != n_features:
        raise ValueError(f"feature_names has {len(names)} names for {n_features} features")
    return np.asarray(names, dtype=object)
