"""Steps before the estimator of a pipeline, fitted once for each fold and parameter set."""

import copy
import threading
from collections import OrderedDict

import joblib

__all__ = ["FittedSteps"]


class FittedSteps:
    """What transformers made of folds, kept while a search lasts.

    Parameters
    ----------
    n_kept : int
        Transformed data that are kept at a time, those used last.
    """

    def __init__(self, n_kept):
        self._n_kept = n_kept
        self._lock = threading.Lock()
        self._kept = OrderedDict()

    def of_fold(self, train):
        """A `memory` for the pipeline that is going to be fitted to a fold, once.

        Parameters
        ----------
        train : ndarray of shape (n_rows,)
            The fold's indices; the same array for all pipelines that are fitted to it.

        Returns
        -------
        memory : object
            With the one method of joblib's that a pipeline needs.
        """
        return _FoldMemory(self, train)

    def step(self, key, train):
        """What is known of a step; `train` is held with it, because its identity, of which the key is made, could become another's."""
        with self._lock:
            step = self._kept.setdefault(key, _Step(train))
            self._kept.move_to_end(key)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
            return step


class _Step:
    """A transformer fitted to a fold, after others."""

    def __init__(self, train):
        self.train = train
        self.lock = threading.Lock()
        self.result = None


class _FoldMemory:
    """See `FittedSteps.of_fold`."""

    def __init__(self, fitted, train):
        self._fitted = fitted
        self._train = train
        self._used = False

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
        # A pipeline asks once in each fit. What else is fitted, by a scorer for example, is fitted to other data.
        if self._used:
            return func
        self._used = True
        # The fold, and each of the transformers that its rows have gone through so far; None if one of them is not known.
        source = id(self._train)

        def fit_transform(transformer, X, *arguments, **keywords):
            nonlocal source
            try:
                source = None if source is None else (source, joblib.hash(transformer))
            except Exception:  # not everything can be hashed, such as a function without a name
                source = None
            if source is None:
                return func(transformer, X, *arguments, **keywords)
            step = self._fitted.step(source, self._train)
            with step.lock:
                if step.result is None:
                    # A transformer may work in place, now and in predictions: what is kept must be nobody else's.
                    step.result = func(transformer, _copy(X), *arguments, **keywords)
                return step.result

        return fit_transform


def _copy(X):
    return X.copy() if hasattr(X, "copy") else copy.deepcopy(X)
