"""What of a cross-validation goes to threads that train networks, and what is left to scikit-learn."""

import copy
from contextlib import contextmanager
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.callback import ProgressBar
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit
from sklearn.pipeline import Pipeline

from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._shared import SharedRows
from skbackprop.model_selection._memory import FittedSteps, Folds
from skbackprop.training.population import population

__all__ = ["trained_together"]

_OURS = BackpropClassifier, BackpropRegressor


@contextmanager
def trained_together(estimator, X, *, searched=(), scoring=None, cv=None, callbacks=()):
    """Let scikit-learn's cross-validation of an estimator train many networks at once.

    Parameters
    ----------
    estimator : object
        Anything; what is neither ours nor a pipeline that ends with ours is left to scikit-learn.
    X : object
        Data as the user gave them.
    searched : collection of str
        Names of parameters that change from fit to fit.
    scoring, cv : object
        scikit-learn's parameters.
    callbacks : sequence
        scikit-learn's callbacks.

    Yields
    ------
    estimator : object
        To be used in the place of the given one.
    X : object
        The same for the data.
    """
    own = type(estimator) in _OURS
    pipeline = type(estimator) is Pipeline and len(estimator.steps) > 1 and type(estimator.steps[-1][1]) in _OURS
    if not (own or pipeline):
        yield estimator, X
        return
    with population() as in_threads:
        # Functions and callbacks of the user's get data of the type that the user gave.
        hidden = in_threads and _is_table(X) and _is_known_splitter(cv) and _is_known_scoring(scoring)
        own_callbacks = getattr(estimator, "_skl_callbacks", ())
        hidden = hidden and all(type(callback) is ProgressBar for callback in (*callbacks, *own_callbacks))
        if own and hidden and _shares(estimator, searched):
            yield estimator, _shared(estimator, X)
        elif pipeline and hidden and estimator.memory is None:
            folds, steps = Folds(X), copy.copy(estimator)
            n_splits = cv if isinstance(cv, int) else getattr(cv, "n_splits", 5)
            # Two parameter sets at a time: threads pass from one to the next.
            steps.memory = FittedSteps(folds, 2 * n_splits * (len(estimator.steps) - 1))
            yield steps, folds
        else:
            yield estimator, X


def _shares(estimator, searched):
    own_splitter = isinstance(estimator.validation_fraction, Real) or _is_known_splitter(estimator.validation_fraction)
    return estimator.device == "cpu" and own_splitter and not {"device", "validation_fraction"} & set(searched)


def _shared(estimator, X):
    """The data validated once for all; where they are invalid, each fit is left to say so."""
    shared = SharedRows(X)
    dtype = (np.float64, np.float32) if estimator.dtype is None else np.dtype(estimator.dtype)
    try:
        shared.validate(copy.copy(estimator), dtype, reset=True)
    except Exception:
        return X
    return shared


def _is_table(X):
    is_array = isinstance(X, np.ndarray) and not np.ma.isMaskedArray(X)
    return (is_array or sparse.issparse(X) or hasattr(X, "iloc")) and len(X.shape) == 2


def _is_known_splitter(cv):
    """Whether it is scikit-learn's, which looks at the number of rows only, or a list of folds."""
    if isinstance(cv, BaseCrossValidator | BaseShuffleSplit):
        return type(cv).__module__.startswith("sklearn.")
    return not hasattr(cv, "split")


def _is_known_scoring(scoring):
    """Whether scikit-learn's scorers alone see the data, which give them to the estimator."""
    if isinstance(scoring, dict):
        return all(map(_is_known_scoring, scoring.values()))
    if isinstance(scoring, list | tuple | set):
        return all(map(_is_known_scoring, scoring))
    return scoring is None or isinstance(scoring, str | _BaseScorer)
