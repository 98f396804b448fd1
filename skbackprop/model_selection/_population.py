"""What the fits of a cross-validation have in common when threads of one process train them."""

import copy
import inspect
import threading
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit
from sklearn.pipeline import Pipeline

from skbackprop._sklearn import _BaseScorer, callbacks_of, is_pandas_df, is_validation_task
from skbackprop.backends import memory_limit
from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._shared import SharedRows
from skbackprop.model_selection._memory import FittedSteps, FoldMemory
from skbackprop.model_selection._progress import BestSoFar, only_progress_bars
from skbackprop.training.population import models_at_a_time, observed, population
from skbackprop.training.warned import WarningSummary, summarized

__all__ = ["trained_together"]

_OURS = BackpropClassifier, BackpropRegressor

# Share of the memory that rows of all folds may take.
_KEPT = 0.25


@contextmanager
def trained_together(estimator, X, *, searched=(), scoring=None, cv=None, search=None):
    """Let scikit-learn's cross-validation of an estimator train many networks at once, and warn once for all.

    scikit-learn gets what the user gave. What the fits share takes its place in the single task, as long as that lasts.

    Parameters
    ----------
    estimator : object
        Anything; what is neither ours nor a pipeline that ends with ours is trained as scikit-learn has it.
    X : object
        Data as the user gave them.
    searched : collection of str
        Names of parameters that change from fit to fit.
    scoring, cv : object
        scikit-learn's parameters.
    search : object or None, default=None
        scikit-learn's, or a subclass; None for the functions.
    """
    task, running = _plan(estimator, X, searched, scoring, cv, search)
    with summarized(task.warnings), running:
        yield
    task.warnings.give(task.n_begun)


def _plan(estimator, X, searched, scoring, cv, search):
    """What runs the tasks, and the context manager in which joblib leaves them to it; see `trained_together`."""
    own = type(estimator) in _OURS
    pipeline = type(estimator) is Pipeline and len(estimator.steps) > 1 and type(estimator.steps[-1][1]) in _OURS
    if not (own or pipeline):
        # There may be networks of ours in it nevertheless: members of an ensemble, those of a subclass.
        task = _Task(nullcontext, None)
        return task, observed(task)
    network = estimator if own else estimator.steps[-1][1]
    # Callbacks of the user's see every task, with data of the type that the user gave.
    callbacks = callbacks_of(search)
    known = only_progress_bars((*callbacks, *callbacks_of(estimator)))
    shares_rows = own and known and _shares_rows(estimator, searched) and _is_known_scoring(scoring)
    is_searched = any(name.rpartition("__")[2] == "device" for name in searched)
    # Of a pipeline's fit, the rows before and after each step.
    n_bytes = 0 if shares_rows else _n_bytes(X) * (1 if own else len(estimator.steps))
    n_models = models_at_a_time("auto" if is_searched else network.device, n_bytes)
    share = nullcontext
    if shares_rows:
        share = _ShareRows(estimator)
    elif pipeline and known and estimator.memory is None:
        n_splits = cv if isinstance(cv, int) else getattr(cv, "n_splits", 5)
        # What a scorer of the user's gets is its own.
        share = _ShareSteps(estimator, n_splits, n_models or 0, folds=_is_known_scoring(scoring))
    task = _Task(share, BestSoFar(search) if callbacks and known else None)
    return task, population(n_models, task)


class _Task:
    """Runs the tasks of scikit-learn's cross-validation, of which each is a fit and its scores, or predictions.

    Parameters
    ----------
    share : callable
        Context manager around a task, of whose arguments it gets a dict, and in which it may exchange them.
    best : BestSoFar or None
    """

    def __init__(self, share, best):
        self.warnings = WarningSummary()
        self.n_begun = 0
        self._share = share
        self._best = best
        self._lock = threading.Lock()

    def __call__(self, function, *arguments, **keywords):
        if not is_validation_task(function):
            # Trees of a forest among the steps of a pipeline that is fitted once more in the end, for example.
            return function(*arguments, **keywords)
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


_signature = lru_cache(inspect.signature)


class _ShareRows:
    """Data validated once for all, and rows that are indices; where the data are invalid, each fit is left to say so."""

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
        # Others come from a search within a step.
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
    """Steps before the network, fitted once for each fold and set of their parameters, and applied once to its other rows."""

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
        # Others come from a search within a step. What takes the network's place might change the data that it gets.
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


def _n_bytes(X):
    """About the memory of a fit's own copy of its rows."""
    if sparse.issparse(X):
        return 12 * X.nnz
    shape = getattr(X, "shape", (0,))
    # Dask's frames do not know their number of rows.
    return 8 * int(np.prod(shape)) if all(isinstance(n, Integral) for n in shape) else 0


def _is_table(X):
    is_array = isinstance(X, np.ndarray) and not np.ma.isMaskedArray(X)
    return (is_array or sparse.issparse(X) or is_pandas_df(X)) and len(X.shape) == 2


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
