"""Data shared by many fits: validated once, with each fit's rows as indices instead of a copy."""

import copy
import threading

import numpy as np
from sklearn.utils.validation import validate_data

from skbackprop._sklearn import _safe_indexing, get_namespace
from skbackprop.backends.data import as_rows
from skbackprop.estimators._state import DATA_ATTRIBUTES

__all__ = ["IndexedRows", "SharedRows"]


# Targets of more rows are not cached: training on them takes far longer than validating them.
_REMEMBERED_ROWS = 1_000_000


class _Table:
    """All rows, as given by the user and validated once per requested dtype."""

    def __init__(self, given):
        self.given = given
        self._lock = threading.Lock()
        self._validated = {}
        self._rows = {}

    def validate(self, estimator, dtype):
        """Validate all rows.

        Parameters
        ----------
        estimator : object
            Estimator for error messages; not changed.
        dtype : dtype or tuple of dtype
            Accepted dtypes.

        Returns
        -------
        X : ndarray or sparse matrix
            Sparse data in CSR format.
        attributes : dict
            Attributes that validation would set on the estimator.
        """
        with self._lock:
            if dtype not in self._validated:
                probe = copy.copy(estimator)
                X = validate_data(probe, self.given, accept_sparse="csr", dtype=dtype, reset=True)
                attributes = {name: getattr(probe, name) for name in DATA_ATTRIBUTES if hasattr(probe, name)}
                self._validated[dtype] = self._validated[X.dtype] = X, attributes
            return self._validated[dtype]

    def rows(self, X, dtype):
        """Return all rows in the form that backends take; `X` is one of the validated arrays."""
        with self._lock:
            if dtype not in self._rows:
                self._rows[dtype] = as_rows(X, dtype)
            return self._rows[dtype]


class IndexedRows:
    """Array-like from which scikit-learn can select rows; subclasses define `shape` and `__getitem__`."""

    ndim = 2
    device = "cpu"

    def __len__(self):
        return self.shape[0]

    def take(self, rows, axis, **_):
        """Select rows; scikit-learn calls this array API function if `array_api_dispatch` is set."""
        return self[rows]

    def __array_namespace__(self, api_version=None):
        # Only called with dispatch. In NumPy's namespace index arrays are passed on as they are; views are cached by
        # their id.
        return get_namespace(np.empty(0))[0]


class SharedRows(IndexedRows):
    """Rows of a data set that several fits share.

    scikit-learn can select rows from it, and the estimators' `fit` and `predict` accept it. Rows selected from the
    whole data set are views, which only hold indices; rows selected from a view are copies, of the type of `X`.

    Parameters
    ----------
    X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)

    Attributes
    ----------
    shape : tuple of int
    """

    def __init__(self, X):
        self._table = _Table(X)
        self._index = None
        self._X = None
        self._views = {}
        self._memory = [None, {}]
        self.shape = X.shape
        if hasattr(X, "columns"):
            self.columns = X.columns

    def __getitem__(self, rows):
        # scikit-learn's indexing adds an ellipsis.
        rows = rows[0] if isinstance(rows, tuple) else rows
        if self._X is not None:
            return self._X[self._places(rows)]
        if self._index is not None:
            return _safe_indexing(self._table.given, self._places(rows))
        # The indices are kept with the view, so that their id stays taken.
        if id(rows) not in self._views:
            view = copy.copy(self)
            view._index = np.arange(len(self))[rows]
            view.shape = len(view._index), self.shape[1]
            view._memory = [None, {}]
            self._views[id(rows)] = rows, view
        return self._views[id(rows)][1]

    def _places(self, rows):
        return rows if self._index is None else self._index[rows]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.given, dtype=dtype, copy=copy)

    @property
    def given(self):
        """Rows of the type that the user gave."""
        whole = self._table.given
        return whole if self._index is None else _safe_indexing(whole, self._index)

    @property
    def dtype(self):
        """Dtype of the validated data; before validation, of the given data."""
        return self._X.dtype if self._X is not None else self._table.given.dtype

    def validate(self, estimator, dtype, reset):
        """Validate the rows for an estimator, as `sklearn.utils.validation.validate_data` does.

        Parameters
        ----------
        estimator : object
            Its attributes, such as `n_features_in_`, are set if `reset`.
        dtype : dtype or tuple of dtype
            Accepted dtypes.
        reset : bool
            Whether to set attributes; otherwise the data have to match those of `fit`.

        Returns
        -------
        rows : SharedRows
        """
        X, attributes = self._table.validate(estimator, dtype)
        if reset:
            vars(estimator).pop("feature_names_in_", None)
            vars(estimator).update(attributes)
        elif getattr(estimator, "n_features_in_", None) != X.shape[1]:
            # Called for its error.
            validate_data(estimator, self.given, accept_sparse="csr", dtype=dtype, reset=False)
        valid = copy.copy(self)
        valid._X = X
        return valid

    def memory_of(self, y):
        """Return a cache of results about the targets, which fits to the same rows and targets share.

        Parameters
        ----------
        y : object
            Targets of these rows.

        Returns
        -------
        memory : dict
            Empty if the targets differ from those of the last call, are not a 1-d numeric array, or are too many.
        """
        if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biuf" or len(y) > _REMEMBERED_ROWS:
            return {}
        known, memory = self._memory
        if known is None or known.dtype != y.dtype or not np.array_equal(known, y):
            memory = {}
            # One assignment, because other threads do the same; a copy, because the caller may change `y`.
            self._memory[:] = y.copy(), memory
        return memory

    def as_rows(self, dtype):
        """Return the rows in the form that backends take.

        Parameters
        ----------
        dtype : dtype

        Returns
        -------
        rows : Rows
        """
        rows = self._table.rows(self._X, np.dtype(dtype))
        return rows if self._index is None else rows.selected(self._index)
