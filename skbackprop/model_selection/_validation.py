"""scikit-learn's cross-validation functions, with the networks of all folds and parameters trained at the same time."""

from typing import Any

import numpy as np
from sklearn import model_selection
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skbackprop.model_selection._population import trained_together

__all__ = [
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "seed_scores",
    "validation_curve",
]


def _call(function, estimator, X, *arguments, searched=(), **keywords):
    with trained_together(estimator, X, searched=searched, scoring=keywords.get("scoring"), cv=keywords.get("cv")):
        return function(estimator, X, *arguments, **keywords)


def cross_validate(estimator: Any, X: Any, y: Any = None, **arguments: Any) -> dict[str, Any]:
    """Compute the scores and times of an estimator on each fold.

    Parameters
    ----------
    estimator : object
        If it is one of this package, or a pipeline that ends with one, the networks are trained on threads, one per
        core; any other is passed on to scikit-learn.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        The data; networks of this package do not copy them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    **arguments
        Those of :func:`sklearn.model_selection.cross_validate`; `n_jobs` is the number of threads, and None means all
        cores.

    Returns
    -------
    results : dict of ndarray
        The result of scikit-learn's function, bit for bit.
    """
    return _call(model_selection.cross_validate, estimator, X, y, **arguments)


def cross_val_score(estimator: Any, X: Any, y: Any = None, **arguments: Any) -> np.ndarray:
    """Compute the scores of an estimator on each fold.

    Parameters
    ----------
    estimator : object
        If it is one of this package, or a pipeline that ends with one, the networks are trained on threads, one per
        core; any other is passed on to scikit-learn.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        The data; networks of this package do not copy them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    **arguments
        Those of :func:`sklearn.model_selection.cross_val_score`; `n_jobs` is the number of threads, and None means all
        cores.

    Returns
    -------
    scores : ndarray of shape (n_splits,)
        The result of scikit-learn's function, bit for bit.
    """
    return _call(model_selection.cross_val_score, estimator, X, y, **arguments)


def cross_val_predict(estimator: Any, X: Any, y: Any = None, **arguments: Any) -> np.ndarray:
    """Predict each sample with a network that was not trained on it.

    Parameters
    ----------
    estimator : object
        If it is one of this package, or a pipeline that ends with one, the networks are trained on threads, one per
        core; any other is passed on to scikit-learn.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        The data; networks of this package do not copy them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    **arguments
        Those of :func:`sklearn.model_selection.cross_val_predict`; `n_jobs` is the number of threads, and None means
        all cores.

    Returns
    -------
    predictions : ndarray
        The result of scikit-learn's function, bit for bit.
    """
    return _call(model_selection.cross_val_predict, estimator, X, y, **arguments)


def learning_curve(estimator: Any, X: Any, y: Any = None, **arguments: Any) -> tuple[np.ndarray, ...]:
    """Compute scores for different numbers of training samples.

    Parameters
    ----------
    estimator : object
        If it is one of this package, or a pipeline that ends with one, the networks are trained on threads, one per
        core; any other is passed on to scikit-learn.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        The data; networks of this package do not copy them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    **arguments
        Those of :func:`sklearn.model_selection.learning_curve`; `n_jobs` is the number of threads, and None means all
        cores.

    Returns
    -------
    curve : tuple of ndarray
        The result of scikit-learn's function, bit for bit.
    """
    return _call(model_selection.learning_curve, estimator, X, y, **arguments)


def validation_curve(
    estimator: Any, X: Any, y: Any = None, *, param_name: str, param_range: Any, **arguments: Any
) -> tuple[np.ndarray, ...]:
    """Compute scores for different values of a parameter.

    Parameters
    ----------
    estimator : object
        If it is one of this package, or a pipeline that ends with one, the networks are trained on threads, one per
        core; any other is passed on to scikit-learn.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        The data; networks of this package do not copy them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    param_name : str
        The parameter.
    param_range : array-like of shape (n_values,)
        Its values.
    **arguments
        Those of :func:`sklearn.model_selection.validation_curve`; `n_jobs` is the number of threads, and None means all
        cores.

    Returns
    -------
    curve : tuple of ndarray
        The result of scikit-learn's function, bit for bit.
    """
    return _call(
        model_selection.validation_curve,
        estimator,
        X,
        y,
        searched={param_name},
        param_name=param_name,
        param_range=param_range,
        **arguments,
    )


def seed_scores(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    n_seeds: int = 10,
    random_state: int | np.random.RandomState | None = None,
    **arguments: Any,
) -> np.ndarray:
    """Compute the scores of an estimator with different seeds, to see how much a result depends on the seed.

    Parameters
    ----------
    estimator : object
        An estimator with the parameter `random_state`, or a pipeline whose last step has it.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    n_seeds : int, default=10
        Number of different seeds.
    random_state : int, RandomState instance or None, default=None
        Draws the seeds.
    **arguments
        Those of :func:`sklearn.model_selection.validation_curve`, such as `cv` and `scoring`.

    Returns
    -------
    scores : ndarray of shape (n_seeds, n_splits)
        Score on the validation samples of each fold.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.model_selection import seed_scores
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BackpropClassifier((8,), solver="lbfgs", max_iter=1000)
    >>> scores = seed_scores(network, X, y, n_seeds=4, cv=3, random_state=0)
    >>> scores.shape
    (4, 3)
    >>> bool(scores.mean(axis=1).std() < 0.1)
    True
    """
    # Without replacement: repeated seeds would add no information.
    seeds = check_random_state(random_state).permutation(max(n_seeds, 2**16))[:n_seeds]
    name = "random_state"
    if isinstance(estimator, Pipeline):
        name = f"{estimator.steps[-1][0]}__{name}"
    return validation_curve(estimator, X, y, param_name=name, param_range=seeds.tolist(), **arguments)[1]
