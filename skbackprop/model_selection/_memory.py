"""Steps before the estimator of a pipeline, fitted once for each fold and parameter set."""

import threading
import weakref
from collections import OrderedDict

import joblib
import numpy as np
from sklearn.utils import _safe_indexing

__all__ = ["FittedSteps", "Folds"]


class Folds:
    """Data of which scikit-learn takes rows: copies, of which is remembered whose indices they have.

    Parameters
    ----------
    X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)
    """

    def __init__(self, X):
        self.given = X
        self.shape = X.shape
        self.ndim = 2
        self._folds = {}
        self._copies = {}

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        # scikit-learn's indexing adds an ellipsis.
        rows = rows[0] if isinstance(rows, tuple) else rows
        taken = _safe_indexing(self.given, rows)
        # Held, because their identity could be another's otherwise.
        self._folds[id(rows)] = rows
        key = id(taken)
        self._copies[key] = weakref.ref(taken, lambda _: self._copies.pop(key, None)), id(rows)
        return taken

    def __array__(self, dtype=None, copy=None):
        return np.array(self.given, dtype=dtype, copy=copy)

    def fold(self, X):
        """What tells the rows of one of the copies from those of others; None for other data."""
        taken, fold = self._copies.get(id(X), (lambda: None, None))
        return fold if taken() is X else None


class FittedSteps:
    """A `memory` for a pipeline: what transformers made of folds, kept while the search lasts.

    Parameters
    ----------
    folds : Folds
    n_kept : int
        Transformed data that are kept at a time, those used last.
    """

    def __init__(self, folds, n_kept):
        self._folds = folds
        self._n_kept = n_kept
        self._lock = threading.Lock()
        self._kept = OrderedDict()

    def __sklearn_clone__(self):
        return self

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

        def fit_transform(transformer, X, *arguments, **keywords):
            if X is self._folds:
                return func(transformer, X.given, *arguments, **keywords)
            source = self._source(X)
            try:
                key = source, joblib.hash(transformer)
            except Exception:  # not everything can be hashed, such as a function without a name
                source = None
            if source is None:
                return func(transformer, X, *arguments, **keywords)
            with self._lock:
                step = self._kept.setdefault(key, _Step(source))
                self._kept.move_to_end(key)
                while len(self._kept) > self._n_kept:
                    self._kept.popitem(last=False)
            with step.lock:
                if step.result is None:
                    # A transformer may work in place, now and in predictions: what is kept must be nobody else's.
                    step.result = func(transformer, X.copy(), *arguments, **keywords)
                return step.result

        return fit_transform

    def _source(self, X):
        """Where data come from: the number of a fold, or the step that made them; None for anything else."""
        with self._lock:
            for step in self._kept.values():
                if step.result is not None and step.result[0] is X:
                    return step
        return self._folds.fold(X)


class _Step:
    """A transformer fitted to data from some source."""

    def __init__(self, source):
        self.source = source
        self.lock = threading.Lock()
        self.result = None
