"""Data in the one format that kernels accept, and checks before kernels run."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skbackprop._compile import formula

__all__ = [
    "OF_ROWS",
    "OF_WEIGHT",
    "Epochs",
    "Rows",
    "as_rows",
    "check_data",
    "check_state",
    "first_at_least",
    "unscheduled",
]

#: Columns of the factors that schedules give to each batch: of the dropout rates, and of the optimizer's weight decay.
OF_DROPOUT, OF_DECAY = range(2)
#: Columns of the totals of each batch over all workers.
OF_WEIGHT, OF_ROWS = range(2)


class Epochs(NamedTuple):
    """Results of training for one or several epochs.

    Parameters
    ----------
    losses : ndarray of shape (n_epochs,)
        Mean loss over the rows, penalty included.
    gradient_norms : ndarray of shape (n_epochs, n_layers)
        Gradient norm of each layer's weights in the last mini-batch, without penalty.
    constant_units : ndarray of shape (n_epochs, n_layers - 1)
        Fraction of each hidden layer's units that are dead or saturated: their output is the same for all rows of the
        last mini-batch, or of the part of it that was in memory together.
    """

    losses: np.ndarray
    gradient_norms: np.ndarray
    constant_units: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Dense or compressed sparse rows; all arrays are C-contiguous and read-only.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Dense data; of shape (0, 0) if sparse. The CUDA backend also accepts another library's array on its GPU, of any
        layout and dtype.
    data : ndarray of shape (n_stored,)
        Stored entries; empty if dense.
    indices : ndarray of shape (n_stored,)
        Column indices of the stored entries, sorted within each row.
    indptr : ndarray of shape (n_rows + 1,), int64
        Start of each row's entries.
    shape : tuple of int
        (n_rows, n_features).
    index : ndarray of shape (n_rows,), int64, or None
        Indices of the rows among the stored rows, of which there may be more; None selects all, in order.
    mapped : MappedRows or None
        The file that holds `X`, if that is not in memory.
    """

    X: np.ndarray
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple
    index: np.ndarray | None = None
    mapped: Any = None

    @property
    def is_sparse(self):
        """Whether the rows are sparse."""
        return self.X.shape[1] != self.shape[1]

    @property
    def n_stored(self):
        """Number of stored rows."""
        return len(self.indptr) - 1 if self.is_sparse else self.X.shape[0]

    @property
    def is_on_gpu(self):
        """Whether the rows are another library's array on a GPU."""
        return not isinstance(self.X, np.ndarray)

    @property
    def index_dtype(self):
        """Dtype of the indices of sparse rows; None for dense rows."""
        return self.indices.dtype if self.is_sparse else None

    def part(self, start, stop):
        """Return rows `start` to `stop` without a copy, except of `indptr` if they are sparse."""
        shape = stop - start, self.shape[1]
        if not self.is_sparse:
            return Rows(self.X[start:stop, :], self.data, self.indices, self.indptr, shape)
        low, high = self.indptr[start], self.indptr[stop]
        indptr = frozen(self.indptr[start : stop + 1] - low)
        return Rows(self.X, self.data[low:high], self.indices[low:high], indptr, shape)

    @property
    def density(self):
        """Fraction of the entries that is stored."""
        if not self.is_sparse:
            return 1.0
        size = self.n_stored * self.shape[1]
        return self.data.size / size if size else 1.0

    def places(self, rows):
        """Map indices of rows to indices of stored rows."""
        return rows if self.index is None else self.index[rows]

    def spread(self, values):
        """Scatter values of the rows to their stored rows; values of all other stored rows are zero."""
        if self.index is None:
            return values
        spread = np.zeros((self.n_stored, *values.shape[1:]), dtype=values.dtype)
        spread[self.index] = values
        return spread

    def selected(self, index):
        """Select rows without a copy.

        Parameters
        ----------
        index : ndarray of shape (n_selected,), int64

        Returns
        -------
        rows : Rows
        """
        return replace(self, shape=(len(index), self.shape[1]), index=self.places(index))

    def gathered(self):
        """Copy the selected rows, and only these, to memory of their own."""
        if self.index is None:
            return self
        if not self.is_sparse:
            return replace(self, X=frozen(self.X[self.index]), index=None, mapped=None)
        stored = sparse.csr_array((self.data, self.indices, self.indptr), shape=(self.n_stored, self.shape[1]))
        return as_rows(stored[self.index], self.data.dtype)


def frozen(array):
    """Return a read-only view, so that Numba sees one array type whether or not the array is writeable."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.setflags(write=False)
    return view


@lru_cache
def _no_entries(dtype):
    return tuple(frozen(np.zeros(0, dtype=kind)) for kind in (dtype, np.int32, np.int64))


def as_rows(X, dtype):
    """Convert data to the kernels' format; copy only if necessary.

    Parameters
    ----------
    X : ndarray, scipy sparse matrix or array, or array on a GPU, of shape (n_rows, n_features)
        Validated data.
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    rows : Rows

    Raises
    ------
    ValueError
        If a sparse matrix's index arrays contradict each other or its shape.
    """
    dtype = np.dtype(dtype)
    if hasattr(X, "as_rows"):
        # Several fits share these data.
        return X.as_rows(dtype)
    if not sparse.issparse(X) and not isinstance(X, np.ndarray):
        return Rows(X, *_no_entries(dtype), X.shape)
    if not sparse.issparse(X):
        if X.dtype != dtype or not X.flags.carray:
            X = np.require(X, dtype=dtype, requirements=["C", "ALIGNED"])
        return Rows(frozen(X), *_no_entries(dtype), X.shape)
    X = X.tocsr()
    # Kernels do not check indices; a corrupt matrix must not reach them.
    X.check_format(full_check=True)
    if not X.has_sorted_indices:
        X = X.sorted_indices()
    indices = X.indices
    if indices.dtype != np.int32 and X.shape[1] <= np.iinfo(np.int32).max:
        indices = indices.astype(np.int32)
    return Rows(
        frozen(np.zeros((0, 0), dtype=dtype)),
        frozen(X.data.astype(dtype, copy=False)),
        frozen(indices),
        frozen(X.indptr.astype(np.int64, copy=False)),
        X.shape,
    )


def check_data(network, rows, targets, sample_weight):
    """Raise ValueError for data that training kernels, which check nothing, would misread or read out of bounds.

    Parameters
    ----------
    network : Network
    rows : Rows
    targets : ndarray
    sample_weight : ndarray or None
    """
    kind, settings = network.loss
    n_rows, n_outputs = rows.shape[0], network.layer_units[-1]
    if rows.shape[1] != network.layer_units[0]:
        raise ValueError(f"rows of {rows.shape[1]} columns for a network with {network.layer_units[0]} inputs")
    if rows.is_sparse and network.n_front:
        raise ValueError("sparse rows for a network with input layers, which need dense ones")
    if targets.ndim != 2 or len(targets) != n_rows or not kind.takes(targets.shape[1], n_outputs, settings):
        raise ValueError(
            f"targets of shape {targets.shape} for {n_rows} rows, {n_outputs} outputs and the loss {kind.__name__}"
        )
    if kind.n_codes and n_rows:
        counts = kind.code_counts(n_outputs, settings)
        if (targets.min(axis=0) < 0).any() or (targets.max(axis=0) >= counts).any():
            raise ValueError(f"targets that are no codes of {counts} classes")
    if sample_weight is not None and sample_weight.shape != (n_rows,):
        raise ValueError(f"sample weights of shape {sample_weight.shape} for {n_rows} rows")


def check_state(network, dtype, params, optimizer, averages):
    """Raise ValueError unless kernels can write to all arrays that training updates.

    Parameters
    ----------
    network : Network
    dtype : numpy.dtype
    params : ndarray
    optimizer : OptimizerState
    averages : bool
        Whether a running average of the parameters is kept.
    """
    n_params = network.n_params
    average = (n_params if averages else 0,)
    expected = {
        "params": (params, (n_params,), dtype),
        "slots": (optimizer.slots, (optimizer.optimizer.n_slots, n_params), dtype),
        "average": (optimizer.average, average, dtype),
        "running": (optimizer.running, (network.n_running,), np.float64),
        "carried": (optimizer.carried, (2,), np.float64),
    }
    for name, (array, shape, kind) in expected.items():
        # carray: C-contiguous, aligned and writeable.
        if not (type(array) is np.ndarray and array.shape == shape and array.dtype == kind and array.flags.carray):
            raise ValueError(
                f"{name} has to be an array of {np.dtype(kind)} and of shape {shape} that a kernel may write to, got one of "
                f"{array.dtype} and {array.shape} with\n{array.flags}"
            )


def unscheduled(n_batches):
    """Factors for batches of which all are treated alike; see `OF_DROPOUT`.

    Returns
    -------
    factors : ndarray of shape (n_batches, 2)
    """
    return np.ones((n_batches, 2))


@formula
def first_at_least(indices, start, stop, column):
    """Return the first sparse entry in ``[start, stop)`` whose column is at least `column`; `stop` if none is."""
    while start < stop:
        middle = (start + stop) // 2
        if indices[middle] < column:
            start = middle + 1
        else:
            stop = middle
    return start
