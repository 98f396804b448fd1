"""What of a cross-validation goes to threads that train networks, and what is left to scikit-learn."""

import copy
from contextlib import contextmanager
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit
from sklearn.pipeline import Pipeline

from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._shared import SharedRows
from skbackprop.model_selection._memory import FittedSteps, Folds
from skbackprop.model_selection._progress import only_progress_bars
from skbackprop.training.population import models_at_a_time, population

__all__ = ["trained_together"]

_OURS = BackpropClassifier, BackpropRegressor


@contextmanager
def trained_together(estimator, X, *, searched=(), scoring=None, cv=None, callbacks=(), report=None):
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
    report : callable or None, default=None
        See `PopulationBackend`.

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
    network = estimator if own else estimator.steps[-1][1]
    # Functions and callbacks of the user's get data of the type that the user gave.
    own_callbacks = getattr(estimator, "_skl_callbacks", ())
    known = only_progress_bars((*callbacks, *own_callbacks))
    hidden = _is_table(X) and _is_known_splitter(cv) and _is_known_scoring(scoring) and known
    shares = own and hidden and _shares(estimator, searched)
    is_searched = any(name.rpartition("__")[2] == "device" for name in searched)
    # Of a pipeline's fit, the rows before and after each step.
    n_bytes = 0 if shares else _n_bytes(X) * (1 if own else len(estimator.steps))
    n_models = models_at_a_time("auto" if is_searched else network.device, n_bytes)
    with population(n_models, report) as in_threads:
        if in_threads and shares:
            yield estimator, _shared(estimator, X)
        elif in_threads and pipeline and hidden and estimator.memory is None:
            folds, steps = Folds(X), copy.copy(estimator)
            n_splits = cv if isinstance(cv, int) else getattr(cv, "n_splits", 5)
            # Two parameter sets at a time: threads pass from one to the next. Or what all trainings at the same time may need.
            steps.memory = FittedSteps(folds, max(2 * n_splits, n_models or 0) * (len(estimator.steps) - 1))
            yield steps, folds
        else:
            yield estimator, X


def _shares(estimator, searched):
    own_splitter = isinstance(estimator.validation_fraction, Real) or _is_known_splitter(estimator.validation_fraction)
    return own_splitter and "validation_fraction" not in searched


def _n_bytes(X):
    """About the memory of a fit's own copy of its rows."""
    if sparse.issparse(X):
        return 12 * X.nnz
    return 8 * int(np.prod(getattr(X, "shape", (0,))))


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
