"""Data that many fits share: validated once, and each fit's rows a set of indices in the place of a copy."""

import copy
import threading

import numpy as np
from sklearn.utils.validation import validate_data

from skbackprop._sklearn import _safe_indexing, get_namespace
from skbackprop.backends.data import as_rows
from skbackprop.estimators._state import DATA_ATTRIBUTES

__all__ = ["IndexedRows", "SharedRows"]


# Targets of more rows are not worth their memory: to train on them takes far longer than to look at them.
_REMEMBERED_ROWS = 1_000_000


class _Table:
    """The whole data, as they were given, and validated once for each dtype that is asked for."""

    def __init__(self, given):
        self.given = given
        self._lock = threading.Lock()
        self._validated = {}
        self._rows = {}

    def validate(self, estimator, dtype):
        """Array or CSR matrix, and the attributes that validation sets.

        Parameters
        ----------
        estimator : object
            Not changed.
        dtype : dtype or tuple of dtype

        Returns
        -------
        X : ndarray or sparse matrix
        attributes : dict
        """
        with self._lock:
            if dtype not in self._validated:
                probe = copy.copy(estimator)
                X = validate_data(probe, self.given, accept_sparse="csr", dtype=dtype, reset=True)
                attributes = {name: getattr(probe, name) for name in DATA_ATTRIBUTES if hasattr(probe, name)}
                self._validated[dtype] = self._validated[X.dtype] = X, attributes
            return self._validated[dtype]

    def rows(self, X, dtype):
        """The whole as a backend takes it; `X` is one of the validated arrays."""
        with self._lock:
            if dtype not in self._rows:
                self._rows[dtype] = as_rows(X, dtype)
            return self._rows[dtype]


class IndexedRows:
    """What scikit-learn needs of data in the place of an array, in order to take rows of them; `shape` and `__getitem__` are a subclass's."""

    ndim = 2
    device = "cpu"

    def __len__(self):
        return self.shape[0]

    def take(self, rows, axis, **_):
        """Rows, as the array API's `take` calls it, which scikit-learn indexes with under `array_api_dispatch`."""
        return self[rows]

    def __array_namespace__(self, api_version=None):
        # Asked for with dispatch only; indices then stay the objects that they are, by which rows are known.
        return get_namespace(np.empty(0))[0]


class SharedRows(IndexedRows):
    """Rows of data that several fits have in common.

    To scikit-learn it is data that it can take rows of; the estimators' `fit` and `predict` know it. Rows of the whole are views,
    which hold indices only; rows of a view are copies, in the type that was given.

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
        # Kept with their indices, whose identity could be another's otherwise.
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
        """The rows in the type that was given."""
        whole = self._table.given
        return whole if self._index is None else _safe_indexing(whole, self._index)

    @property
    def dtype(self):
        """Of the validated data, or of what was given."""
        return self._X.dtype if self._X is not None else self._table.given.dtype

    def validate(self, estimator, dtype, reset):
        """The rows after the validation of an estimator, on which the attributes are set that come with it.

        Parameters
        ----------
        estimator : object
        dtype : dtype or tuple of dtype
        reset : bool
            Whether to set attributes; otherwise the data have to be like those of the fit.

        Returns
        -------
        rows : SharedRows
        """
        X, attributes = self._table.validate(estimator, dtype)
        if reset:
            vars(estimator).pop("feature_names_in_", None)
            vars(estimator).update(attributes)
        elif getattr(estimator, "n_features_in_", None) != X.shape[1]:
            # Raises the error that belongs to it.
            validate_data(estimator, self.given, accept_sparse="csr", dtype=dtype, reset=False)
        valid = copy.copy(self)
        valid._X = X
        return valid

    def memory_of(self, y):
        """What fits to the same rows and targets have found out about the targets, and may leave there for the next.

        Parameters
        ----------
        y : object
            Targets of these rows.

        Returns
        -------
        memory : dict
            Empty for other targets than those of the last call, for those that are not numbers in one dimension, and for very many.
        """
        if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biuf" or len(y) > _REMEMBERED_ROWS:
            return {}
        known, memory = self._memory
        if known is None or known.dtype != y.dtype or not np.array_equal(known, y):
            memory = {}
            # In one step, as other threads do the same; a copy, as `y` is its caller's.
            self._memory[:] = y.copy(), memory
        return memory

    def as_rows(self, dtype):
        """The rows as a backend takes them.

        Parameters
        ----------
        dtype : dtype

        Returns
        -------
        rows : Rows
        """
        rows = self._table.rows(self._X, np.dtype(dtype))
        return rows if self._index is None else rows.selected(self._index)
