"""The rows of a worker that has more of them than memory: written to its disk, partition by partition."""

import copy
import tempfile

import numpy as np
from scipy import sparse

from skbackprop.backends.mapped import MappedRows, uncache
from skbackprop.estimators._inputs import validate_rows
from skbackprop.estimators._on_disk import RowsOnDisk

__all__ = ["PartWriter"]


class PartWriter:
    """Takes a worker's part in a fit, partition by partition: writes rows to disk, and keeps targets and weights.

    Parameters
    ----------
    folder : str or path-like
        Where to write. The files have no names: they are gone once they are closed and no longer read, and with the
        process, however that ends.
    estimator : BaseBackprop
        Unfitted; checks the rows.
    dtype : numpy.dtype or None, default=None
        Dtype of weights that are there already, which rows are written in; None for the dtype that the first rows have
        after validation, as new weights.

    Attributes
    ----------
    n_partitions : int
        Number of partitions taken, those of validation data included.
    """

    def __init__(self, folder, estimator, dtype=None):
        self.n_partitions = 0
        self._folder = folder
        self._estimator = estimator
        self._dtype = dtype
        self._takes_any = dtype is not None
        self._files = {}
        self._kept = {}

    def append(self, X, y, sample_weight=None, suffix=""):
        """Take a partition.

        Parameters
        ----------
        X : {ndarray, dataframe} of shape (n_rows, n_features)
        y, sample_weight
            Of as many rows.
        suffix : {"", "_val"}, default=""
            The latter for validation data.

        Raises
        ------
        ValueError
            If the rows are invalid.
        OSError
            If the disk is full.
        """
        if sparse.issparse(X):
            raise ValueError(
                f"external_memory=True takes dense rows, and a partition of X{suffix} is a sparse matrix: set external_memory=False, "
                "or make the partitions dense"
            )
        if suffix not in self._files:
            self._files[suffix] = _RowsFile(self._folder, X.shape[1])
        if X.shape[0]:
            rows = validate_rows(self._estimator, X, not hasattr(self._estimator, "n_features_in_"), f"X{suffix}")
            self._files[suffix].write(rows.astype(self._dtype_for(rows, suffix), copy=False), copy.deepcopy(X[:1]))
        for name, given in (("y", y), ("sample_weight", sample_weight)):
            if given is not None:
                self._kept.setdefault(f"{name}{suffix}", []).append(np.asarray(given))
        self.n_partitions += 1

    def _dtype_for(self, rows, suffix):
        """Return the dtype to write validated rows in; raise ValueError if training data would lose digits."""
        if self._dtype is None:
            self._dtype = rows.dtype
        if not (self._takes_any or suffix or np.can_cast(rows.dtype, self._dtype)):
            raise ValueError(
                f"a partition of X has numbers of {rows.dtype}, and those before it of {self._dtype}, in which external_memory=True "
                "writes them: give all partitions the same dtype, or set dtype"
            )
        return self._dtype

    def close(self):
        """Take no more partitions; rows that `parts` has returned stay."""
        for file in self._files.values():
            file.close()

    def parts(self):
        """Return partitions by argument: rows on disk as a single one, as they were given otherwise.

        Returns
        -------
        parts : dict of list
        """
        return {f"X{suffix}": [file.rows()] for suffix, file in self._files.items()} | self._kept


class _RowsFile:
    """A file of rows without a name."""

    def __init__(self, folder, n_features):
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed with this object)
        self._shape = 0, n_features
        self._first = None

    def write(self, rows, first):
        """Append C-contiguous rows, of which the first is also given as the user gave it."""
        try:
            self._file.write(np.ascontiguousarray(rows))
            self._file.flush()
            uncache(self._file)
        except OSError as error:
            raise OSError(
                f"external_memory=True could not write rows to {self._folder}: {error}; make space there, or set Dask's "
                "temporary-directory to a folder of a larger disk"
            ) from error
        if self._first is None:
            self._first, self._dtype = first, rows.dtype
        self._shape = self._shape[0] + len(rows), self._shape[1]

    def close(self):
        self._file.close()

    def rows(self):
        """Return the rows on disk, or an array if there are none."""
        if not self._shape[0]:
            return np.empty(self._shape)
        return RowsOnDisk(MappedRows(self._file, self._dtype, self._shape), self._first)
