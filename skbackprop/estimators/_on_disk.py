"""Rows on disk, which a fit reads anew in each epoch: no step of it copies them, or checks them once more."""

import copy
from dataclasses import replace

import numpy as np
from sklearn.utils.validation import validate_data

from skbackprop.backends.data import as_rows
from skbackprop.estimators._choices import accepted_dtypes
from skbackprop.estimators._shared import IndexedRows

__all__ = ["RowsOnDisk"]


class RowsOnDisk(IndexedRows):
    """Rows in a mapped file, validated when they were written; a context manager, see `MappedRows`.

    Arrays of indices select rows without a copy, and slices copy them.

    Parameters
    ----------
    mapped : MappedRows
    first : {ndarray, dataframe} of shape (1, n_features)
        The first row as the user gave it, for the names of the columns.
    """

    def __init__(self, mapped, first):
        self._mapped = mapped
        self._first = first
        self._index = None
        self.shape = mapped.array.shape
        self.dtype = mapped.array.dtype

    def __enter__(self):
        self._mapped.__enter__()
        return self

    def __exit__(self, *exception):
        self._mapped.__exit__(*exception)

    def __getitem__(self, rows):
        # scikit-learn's indexing adds an ellipsis.
        rows = rows[0] if isinstance(rows, tuple) else rows
        if isinstance(rows, slice):
            return np.array(self._mapped.array[rows])
        selected = copy.copy(self)
        selected._index = rows if self._index is None else self._index[rows]
        selected.shape = len(selected._index), self.shape[1]
        return selected

    def validate(self, model, reset):
        """Set attributes such as `n_features_in_` on a model if `reset`, and otherwise compare with them."""
        validate_data(model, self._first, dtype=accepted_dtypes(model), reset=reset)
        return self

    def as_rows(self, dtype):
        """Return the rows in the form that backends take; in memory if the dtype is another one than in the file."""
        rows = as_rows(self._mapped.array, dtype)
        if rows.X.dtype == self.dtype:
            rows = replace(rows, mapped=self._mapped)
        return rows if self._index is None else rows.selected(self._index)
