"""Cache of a pipeline's transformers, which are fitted and applied once per fold and parameter set."""

import copy
import threading
import weakref
from collections import OrderedDict
from contextlib import suppress

import joblib

from skbackprop._sklearn import _safe_indexing
from skbackprop.estimators._shared import IndexedRows

__all__ = ["FittedSteps"]


class FittedSteps:
    """Cache of a pipeline's fitted transformers and their outputs for each fold, for the duration of a search.

    Parameters
    ----------
    n_splits : int
    n_steps : int
        Number of transformers of the pipeline.
    n_models : int
        Number of trainings at the same time.
    """

    def __init__(self, n_splits, n_steps, n_models):
        # Two parameter sets, because threads move on from one to the next, or as many as simultaneous trainings may
        # need.
        self._steps = _LastUsed(max(2 * n_splits, n_models) * n_steps)
        self._folds = _LastUsed(2 * n_splits)
        self._rows = weakref.WeakValueDictionary()

    def folds(self, X):
        """Wrap data so that fitted steps cache their outputs for its rows.

        Parameters
        ----------
        X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)

        Returns
        -------
        folds : object
            Its rows have the original type and must not be modified.
        """
        return _Folds(X, self._folds, self.note)

    def step(self, key, train):
        """Return the cache entry of a step."""
        return self._steps.get(key, lambda: _Step(train))

    def note(self, rows):
        """Record data that are shared and never modified."""
        with suppress(TypeError):  # types without weak references
            self._rows[id(rows)] = rows
        return rows

    def has(self, rows):
        """Whether data are shared."""
        return self._rows.get(id(rows)) is rows


class _LastUsed:
    """Least-recently-used cache."""

    def __init__(self, n_kept):
        self._n_kept = n_kept
        self._lock = threading.Lock()
        self._kept = OrderedDict()

    def get(self, key, make):
        with self._lock:
            value = self._kept.get(key)
            if value is None:
                value = self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
            return value


class _Once:
    """A result computed by the first caller; `held` keeps objects alive whose `id` is part of the key."""

    def __init__(self, *held):
        self.held = held
        self._lock = threading.Lock()
        self._result = None

    def get(self, compute):
        with self._lock:
            if self._result is None:
                self._result = (compute(),)
            return self._result[0]


class _Folds(IndexedRows):
    """Data that return the same rows object for the same indices object."""

    def __init__(self, X, kept, note):
        self.given = X
        self.shape = X.shape
        self._kept = kept
        self._note = note

    def __getitem__(self, rows):
        # scikit-learn's indexing adds an ellipsis.
        rows = rows[0] if isinstance(rows, tuple) else rows
        return self._note(self._kept.get(id(rows), lambda: _Once(rows)).get(lambda: _safe_indexing(self.given, rows)))


class _Step:
    """A transformer fitted to a fold, after earlier steps, and its outputs for other rows."""

    def __init__(self, train):
        self.fitted = _Once(train)
        self.applied = _LastUsed(4)


class FoldMemory:
    """A `memory` for a pipeline that will be fitted once, to a fold.

    Parameters
    ----------
    shared : FittedSteps
    pipeline : Pipeline
    parameters : dict
        The parameters that distinguish it from the other candidates of the search.
    train : ndarray of shape (n_rows,)
        Indices of the fold; the same array object for all pipelines that are fitted to it.
    applies : bool
        Whether the fitted steps also cache their outputs for rows of `FittedSteps.folds`.
    """

    # joblib.Memory's attribute: with None, a pipeline, itself a clone, fits its transformers without cloning them.
    location = None

    def __init__(self, shared, pipeline, parameters, train, *, applies):
        self._shared = shared
        self._pipeline = pipeline
        self._parameters = parameters
        self._train = train
        self._applies = applies
        self._used = False
        self._originals = {}

    def __sklearn_clone__(self):
        # When a scorer clones the pipeline, for example.
        return None

    def cache(self, func, ignore=()):
        """Wrap a function that fits a transformer in a cache, as joblib.Memory does.

        Parameters
        ----------
        func : callable
        ignore : list of str
            Arguments that the result does not depend on. All arguments other than data and transformer are the same for
            all fits.

        Returns
        -------
        func : callable
        """
        # A pipeline asks once per fit. Later fits, by a scorer for example, are fits to other data.
        if self._used:
            return func
        self._used = True
        # Key: the fold, and the transformers that its rows have gone through so far; None if one of them is unknown.
        source = id(self._train)

        def fit_transform(transformer, X, *arguments, **keywords):
            nonlocal source
            source = None if source is None else self._key(source, transformer)
            if source is None:
                return func(transformer, _copy(X), *arguments, **keywords)
            step = self._shared.step(source, self._train)
            # A transformer may modify its input in place, now and in predictions, so the cache keeps its own copies.
            made, fitted = step.fitted.get(lambda: func(transformer, _copy(X), *arguments, **keywords))
            return made, self._applying(fitted, step) if self._applies else fitted

        return fit_transform

    def _key(self, source, transformer):
        name = next((name for name, step in self._pipeline.steps if step is transformer), None)
        own = {key: value for key, value in self._parameters.items() if key.partition("__")[0] == name}
        try:
            return None if name is None else (source, name, joblib.hash(own) if own else None)
        except Exception:  # some objects cannot be hashed, such as a function without a name
            return None

    def _applying(self, fitted, step):
        """Copy a fitted transformer; the copy reuses cached outputs for known rows."""

        def transform(X, **metadata):
            if metadata or not self._shared.has(X):
                return fitted.transform(X, **metadata)
            once = step.applied.get(id(X), lambda: _Once(X))
            return self._shared.note(once.get(lambda: fitted.transform(_copy(X))))

        copied = copy.copy(fitted)
        copied.transform = transform
        self._originals[id(copied)] = fitted
        return copied

    def release(self):
        """Restore the pipeline to its state without the cache."""
        pipeline = self._pipeline
        pipeline.memory = None
        pipeline.steps = [(name, self._originals.get(id(step), step)) for name, step in pipeline.steps]


def _copy(X):
    return X.copy() if hasattr(X, "copy") else copy.deepcopy(X)
