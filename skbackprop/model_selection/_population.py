"""Shared data and steps of the fits of a cross-validation, which threads of one process train."""

import concurrent.futures
import copy
import inspect
import threading
import warnings
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from numbers import Integral, Real

import joblib
import numpy as np
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit
from sklearn.pipeline import Pipeline

from skbackprop._sklearn import _BaseScorer, callbacks_of, is_pandas_df, is_validation_task, unwrapped
from skbackprop.backends import memory_limit
from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._shared import SharedRows
from skbackprop.model_selection._memory import FittedSteps, FoldMemory
from skbackprop.model_selection._progress import BestSoFar, only_progress_bars
from skbackprop.training.population import models_at_a_time, observed, population
from skbackprop.training.shares import SharesBackend, active_engine, wanted_by_dask
from skbackprop.training.warned import WarningSummary, summarized

__all__ = ["trained_together"]

_OURS = BackpropClassifier, BackpropRegressor

# Fraction of the memory that the rows of all folds may take.
_KEPT = 0.25


@contextmanager
def trained_together(estimator, X, *, searched=(), scoring=None, cv=None, search=None):
    """Let scikit-learn's cross-validation train many networks at the same time, and combine their warnings.

    scikit-learn gets the user's objects. Shared data replace them only inside the individual tasks.

    Parameters
    ----------
    estimator : object
        Any estimator. One that is neither of this package nor a pipeline that ends with one of this package is trained
        as in scikit-learn.
    X : object
        The user's data.
    searched : collection of str
        Names of parameters that differ between fits.
    scoring, cv : object
        scikit-learn's parameters.
    search : object or None, default=None
        A search of scikit-learn or a subclass; None for the cross-validation functions.
    """
    task, running = _plan(estimator, X, searched, scoring, cv, search)
    with summarized(task.warnings), running:
        yield
    task.warnings.give(task.n_begun)


def _plan(estimator, X, searched, scoring, cv, search):
    """Return the object that runs the tasks, and the context manager in which joblib passes them to it."""
    own = type(estimator) in _OURS
    pipeline = type(estimator) is Pipeline and len(estimator.steps) > 1 and type(estimator.steps[-1][1]) in _OURS
    if not (own or pipeline):
        # It may still contain networks of this package: members of an ensemble, or those of a subclass.
        task = _Task(nullcontext, None)
        return task, observed(task)
    engine = active_engine()
    if engine is not None and not (callbacks_of(search) or callbacks_of(estimator)):
        task = _Task(nullcontext, None)
        train = partial(_train_share, estimator, searched, scoring, _n_splits(cv))
        return task, joblib.parallel_config(SharesBackend(engine, train, task.take))
    network = estimator if own else estimator.steps[-1][1]
    # Custom callbacks see every task, with data of the user's type.
    callbacks = callbacks_of(search)
    known = only_progress_bars((*callbacks, *callbacks_of(estimator)))
    shares_rows = own and known and _shares_rows(estimator, searched) and _is_known_scoring(scoring)
    is_searched = any(name.rpartition("__")[2] == "device" for name in searched)
    # A pipeline's fit has the rows before and after each step.
    n_bytes = 0 if shares_rows else _n_bytes(X) * (1 if own else len(estimator.steps))
    n_models = models_at_a_time("auto" if is_searched else network.device, n_bytes)
    share = nullcontext
    if shares_rows:
        share = _ShareRows(estimator)
    elif pipeline and known and estimator.memory is None:
        # A custom scorer gets its own copy of the rows.
        share = _ShareSteps(estimator, _n_splits(cv), n_models or 0, folds=_is_known_scoring(scoring))
    task = _Task(share, BestSoFar(search) if callbacks and known else None)
    return task, population(n_models, task)


def _train_share(estimator, searched, scoring, n_splits, tasks):
    """Train a worker's share of the fits as a population of its own.

    Parameters
    ----------
    estimator, searched, scoring : object
        See `trained_together`.
    n_splits : int
    tasks : list of tuple of (callable, tuple, dict)

    Returns
    -------
    results : list
    begun : tuple of (WarningSummary, int)
        Warnings, and the number of fits.
    """
    (function, arguments, keywords), wanted = tasks[0], wanted_by_dask()
    X = _signature(unwrapped(function)[0]).bind(*arguments, **keywords).arguments["X"]
    with warnings.catch_warnings(), joblib.parallel_config(joblib.parallel.DEFAULT_BACKEND):
        warnings.filters[:] = getattr(function, "warning_filters", warnings.filters)
        task, running = _plan(estimator, X, searched, scoring, n_splits, None)
        task.wanted = wanted
        with summarized(task.warnings), running:
            return joblib.Parallel()(tasks), (task.warnings, task.n_begun)


class _Task:
    """Runs the tasks of scikit-learn's cross-validation; each is a fit and its scores, or predictions.

    Parameters
    ----------
    share : callable
        Context manager around a task. It gets the dict of the task's arguments, and may replace them.
    best : BestSoFar or None
    """

    def __init__(self, share, best):
        self.warnings = WarningSummary()
        self.n_begun = 0
        self.wanted = lambda: True
        self._share = share
        self._best = best
        self._lock = threading.Lock()

    def __call__(self, function, *arguments, **keywords):
        if not is_validation_task(function):
            # For example, the trees of a forest that is a step of the pipeline, in the final fit.
            return function(*arguments, **keywords)
        if not self.wanted():
            raise concurrent.futures.CancelledError("nobody waits for the results of this search")
        bound = _signature(function).bind(*arguments, **keywords)
        task = bound.arguments
        with self._lock:
            self.n_begun += 1
            fit = self.n_begun
        if self._best is not None:
            self._best.begin(task)
        with summarized(self.warnings, fit), self._share(task):
            result = function(*bound.args, **bound.kwargs)
        if self._best is not None:
            self._best.end(task, result)
        return result

    def take(self, begun):
        """Take over the warnings and the number of fits of a worker's share."""
        given, n_begun = begun
        self.warnings.merge(given, self.n_begun)
        self.n_begun += n_begun


_signature = lru_cache(inspect.signature)


class _ShareRows:
    """Validates the data once for all fits and passes rows as indices; leaves errors about invalid data to each fit."""

    def __init__(self, estimator):
        self._estimator = estimator
        self._lock = threading.Lock()
        self._given = self._rows = None

    @contextmanager
    def __call__(self, task):
        X = task["X"]
        with self._lock:
            if self._given is None:
                self._given, self._rows = X, self._shared(X)
        # Other data come from a search inside a step.
        if X is self._given:
            task["X"] = self._rows
        yield

    def _shared(self, X):
        if not _is_table(X):
            return X
        shared = SharedRows(X)
        dtype = (np.float64, np.float32) if self._estimator.dtype is None else np.dtype(self._estimator.dtype)
        try:
            shared.validate(copy.copy(self._estimator), dtype, reset=True)
        except Exception:
            return X
        return shared


class _ShareSteps:
    """Fits the steps before the network once for each fold and set of their parameters, and applies them once."""

    def __init__(self, estimator, n_splits, n_models, folds):
        self._n_splits = n_splits
        self._folds = folds
        self._fitted = FittedSteps(n_splits, len(estimator.steps) - 1, n_models)
        self._lock = threading.Lock()
        self._given = None

    @contextmanager
    def __call__(self, task):
        X, pipeline, parameters = task["X"], task["estimator"], task.get("parameters") or {}
        with self._lock:
            if self._given is None:
                self._given = self._taken = X
                if self._folds and _is_table(X) and self._n_splits * _n_bytes(X) < _KEPT * memory_limit():
                    self._taken = self._fitted.folds(X)
        # Other data come from a search inside a step. A searched replacement of the network might modify its data.
        if X is not self._given or {"steps", "memory", pipeline.steps[-1][0]} & parameters.keys():
            yield
            return
        task["X"] = self._taken
        applies = self._taken is not X
        pipeline.memory = memory = FoldMemory(self._fitted, pipeline, parameters, task["train"], applies=applies)
        try:
            yield
        finally:
            memory.release()


def _shares_rows(estimator, searched):
    own_splitter = isinstance(estimator.validation_fraction, Real) or _is_known_splitter(estimator.validation_fraction)
    return own_splitter and "validation_fraction" not in searched


def _n_splits(cv):
    return cv if isinstance(cv, int) else getattr(cv, "n_splits", 5)


def _n_bytes(X):
    """Estimate the memory of a fit's own copy of its rows."""
    if sparse.issparse(X):
        return 12 * X.nnz
    shape = getattr(X, "shape", (0,))
    # Dask data frames do not know their number of rows.
    return 8 * int(np.prod(shape)) if all(isinstance(n, Integral) for n in shape) else 0


def _is_table(X):
    is_array = isinstance(X, np.ndarray) and not np.ma.isMaskedArray(X)
    return (is_array or sparse.issparse(X) or is_pandas_df(X)) and len(X.shape) == 2


def _is_known_splitter(cv):
    """Whether it is a list of folds or a splitter of scikit-learn, which only uses the number of rows."""
    if isinstance(cv, BaseCrossValidator | BaseShuffleSplit):
        return type(cv).__module__.startswith("sklearn.")
    return not hasattr(cv, "split")


def _is_known_scoring(scoring):
    """Whether only scikit-learn's scorers get the data, which pass them on to the estimator."""
    if isinstance(scoring, dict):
        return all(map(_is_known_scoring, scoring.values()))
    if isinstance(scoring, list | tuple | set):
        return all(map(_is_known_scoring, scoring))
    return scoring is None or isinstance(scoring, str | _BaseScorer)
