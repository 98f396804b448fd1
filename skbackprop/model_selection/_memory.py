"""Steps before the estimator of a pipeline, fitted and applied once for each fold and parameter set."""

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
    """What transformers of a pipeline made of folds, kept while a search lasts.

    Parameters
    ----------
    n_splits : int
    n_steps : int
        Transformers of the pipeline.
    n_models : int
        Trainings at the same time.
    """

    def __init__(self, n_splits, n_steps, n_models):
        # Two parameter sets at a time: threads pass from one to the next. Or what all trainings at the same time may need.
        self._steps = _LastUsed(max(2 * n_splits, n_models) * n_steps)
        self._folds = _LastUsed(2 * n_splits)
        self._rows = weakref.WeakValueDictionary()

    def folds(self, X):
        """Data in the place of others, of whose rows fitted steps keep what they make.

        Parameters
        ----------
        X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)

        Returns
        -------
        folds : object
            Rows of it are in the type that was given, and nobody may change them.
        """
        return _Folds(X, self._folds, self.note)

    def step(self, key, train):
        """What is kept of a step."""
        return self._steps.get(key, lambda: _Step(train))

    def note(self, rows):
        """Take note of data that several have, and nobody changes."""
        with suppress(TypeError):  # of what has no weak references
            self._rows[id(rows)] = rows
        return rows

    def has(self, rows):
        """Whether data are such."""
        return self._rows.get(id(rows)) is rows


class _LastUsed:
    """Values by key, those that were used last."""

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
    """A result that the first who asks computes; `held` are objects whose identity is part of its key."""

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
    """The same rows for the same indices."""

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
    """A transformer fitted to a fold, after others, and what it makes of other rows."""

    def __init__(self, train):
        self.fitted = _Once(train)
        self.applied = _LastUsed(4)


class FoldMemory:
    """A `memory` for a pipeline that is going to be fitted to a fold, once.

    Parameters
    ----------
    shared : FittedSteps
    pipeline : Pipeline
    parameters : dict
        What distinguishes it from the others of the search.
    train : ndarray of shape (n_rows,)
        The fold's indices; the same array for all pipelines that are fitted to it.
    applies : bool
        Whether the fitted steps keep, too, what they make of rows of `FittedSteps.folds`.
    """

    # Of joblib's memory: a pipeline, which is a clone itself, then fits its transformers and not clones of them.
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
        # Of a pipeline that a scorer clones, for example.
        return None

    def cache(self, func, ignore=()):
        """Give a function that fits a transformer with a memory, as joblib.Memory does it.

        Parameters
        ----------
        func : callable
        ignore : list of str
            Arguments that the result does not depend on; others than data and transformer are the same for all.

        Returns
        -------
        func : callable
        """
        # A pipeline asks once in each fit. What else is fitted, by a scorer for example, is fitted to other data.
        if self._used:
            return func
        self._used = True
        # The fold, and each of the transformers that its rows have gone through so far; None if one of them is not known.
        source = id(self._train)

        def fit_transform(transformer, X, *arguments, **keywords):
            nonlocal source
            source = None if source is None else self._key(source, transformer)
            if source is None:
                return func(transformer, _copy(X), *arguments, **keywords)
            step = self._shared.step(source, self._train)
            # A transformer may work in place, now and in predictions: what is kept must be nobody else's.
            made, fitted = step.fitted.get(lambda: func(transformer, _copy(X), *arguments, **keywords))
            return made, self._applying(fitted, step) if self._applies else fitted

        return fit_transform

    def _key(self, source, transformer):
        name = next((name for name, step in self._pipeline.steps if step is transformer), None)
        own = {key: value for key, value in self._parameters.items() if key.partition("__")[0] == name}
        try:
            return None if name is None else (source, name, joblib.hash(own) if own else None)
        except Exception:  # not everything can be hashed, such as a function without a name
            return None

    def _applying(self, fitted, step):
        """A copy of a fitted transformer that makes of the same rows what others have made of them."""

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
        """Leave the pipeline as it would be without."""
        pipeline = self._pipeline
        pipeline.memory = None
        pipeline.steps = [(name, self._originals.get(id(step), step)) for name, step in pipeline.steps]


def _copy(X):
    return X.copy() if hasattr(X, "copy") else copy.deepcopy(X)
