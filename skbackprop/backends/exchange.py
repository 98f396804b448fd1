"""A training on several workers, as one worker's session sees it: shares of the batches, and sums over the workers.

Each worker holds its own rows, and all do the same updates. A global mini-batch is the union of the workers' shares of
it, and its gradient is the sum of theirs, so that parameters are never sent.
"""

import numpy as np

from skbackprop._compile import callback
from skbackprop.backends.batch_plan import LEAST_NORMALIZED, check_normalized
from skbackprop.backends.data import OF_ROWS, OF_WEIGHT

__all__ = ["Exchange", "share_bounds"]


def share_bounds(counts, rank, batch_size):
    """Share out each mini-batch in proportion to the workers' numbers of rows.

    Parameters
    ----------
    counts : list of int
        Rows of each worker.
    rank : int
        Number of this worker.
    batch_size : int
        Rows of a mini-batch of all workers together.

    Returns
    -------
    bounds : ndarray of shape (n_batches + 1,), int64
        First of this worker's rows in each batch, and its number of rows. Every worker has the same number of batches,
        in which it may have no rows. With equal numbers of rows, global batches are exact (Hermite's identity);
        otherwise they may differ by a few rows, fewer than there are workers.
    """
    n_rows, n_workers = sum(counts), len(counts)
    # In Python's integers, because the products overflow int64.
    stops = (min(start, n_rows) for start in range(0, n_rows + batch_size, batch_size))
    own = [(counts[rank] * stop * n_workers + rank * n_rows) // (n_rows * n_workers) for stop in stops]
    return np.array(own, dtype=np.int64)


def join_small(bounds, sizes, least):
    """Join mini-batches that are too small with the next ones, and the last one with the one before it.

    Parameters
    ----------
    bounds : ndarray of shape (n_batches + 1,), int64
        See `share_bounds`.
    sizes : ndarray of shape (n_batches,)
        Rows of each batch, over all workers.
    least : int
        Least rows of a batch. There are as many rows.

    Returns
    -------
    bounds : ndarray of shape (n_joined + 1,), int64
    """
    kept, n_rows = [0], 0
    for stop, size in enumerate(sizes.tolist(), start=1):
        n_rows += size
        if n_rows >= least:
            kept.append(stop)
            n_rows = 0
    kept[-1] = len(sizes)
    return bounds[kept]


class Exchange:
    """The sums over workers that a session needs.

    Parameters
    ----------
    workers : Collective
        All workers; see `skbackprop.training.collective`.
    n_trained : int
        Rows per epoch of this worker.
    batch_size : int
        Rows per mini-batch of all workers.
    weighted : bool
        Whether this worker's rows have weights.
    normalizes_batches : bool, default=False
        Whether means are taken over mini-batches, which then have at least two rows.

    Attributes
    ----------
    bounds : ndarray of shape (n_batches + 1,), int64
        See `share_bounds`.
    n_batches : int
    most_rows : int
        Most rows of a batch on this worker, at least 1.
    offset : int
        Number of this worker's first row among those of all workers.
    address : int
        Address of the callback by which kernels sum numbers over the workers.

    Raises
    ------
    ValueError
        If mini-batches of one row would be normalized.
    """

    def __init__(self, workers, n_trained, batch_size, weighted, normalizes_batches=False):
        given = workers.gather((n_trained, weighted))
        counts = [count for count, _ in given]
        self._workers = workers
        self._weighted = any(weighted for _, weighted in given)
        self.offset = sum(counts[: workers.rank])
        # A session for losses only has batches of all its rows, of which there may be none.
        self.bounds = share_bounds(counts, workers.rank, max(batch_size, 1))
        if normalizes_batches:
            check_normalized(batch_size, sum(counts))
            self.bounds = join_small(self.bounds, workers.total(np.diff(self.bounds)), LEAST_NORMALIZED)
        self.n_batches = len(self.bounds) - 1
        self.most_rows = max(1, int(np.diff(self.bounds).max()))
        # Totals of batches without weights by the identity of their bounds, which are kept here as long.
        self._totals = {}
        self._order, self._whole = None, None
        self._error = None
        self._callback, self.address = callback(self._sum)

    def least(self, value):
        """Return the least of the workers' values."""
        return min(self._workers.gather(value))

    def whole(self, order):
        """Return the bounds of one batch of some rows: the same array if `order` is the same, for which totals are known.

        Every worker has to use the same object for its rows as often as all others do.
        """
        if order is not self._order:
            self._totals.pop(id(self._whole), None)
            self._order, self._whole = order, np.array([0, len(order)])
        return self._whole

    def begin(self, bounds, n_epochs, weights, control, abort):
        """Prepare a call of the training kernel.

        Parameters
        ----------
        bounds : ndarray of shape (n_batches + 1,), int64
            First of this worker's rows in each batch of an epoch, and its number of rows: `bounds` or of `whole`.
        n_epochs : int
        weights : ndarray of shape (n_epochs * n_rows,) or None
            Sample weights in the order of the rows; None for ones.
        control : ndarray of int64
            If a sum fails, index `abort` is set to 1.
        abort : int

        Returns
        -------
        totals : ndarray of shape (n_epochs * n_batches, 2)
            Weight and number of rows of each batch, over all workers.
        n_rows : int
            Rows per epoch of all workers.
        """
        self._error = None
        self._control, self._abort = control, abort
        totals = self._sum_totals(bounds, n_epochs, weights)
        return totals, int(totals[: len(bounds) - 1, OF_ROWS].sum())

    def _sum_totals(self, bounds, n_epochs, weights):
        if id(bounds) in self._totals:
            return np.tile(self._totals[id(bounds)], (n_epochs, 1))
        sizes = np.diff(bounds)
        totals = np.empty((n_epochs, len(sizes), 2))
        totals[:] = sizes[:, np.newaxis]
        if weights is not None and weights.size:
            filled = sizes > 0
            starts = np.arange(n_epochs)[:, np.newaxis] * bounds[-1] + bounds[:-1][filled]
            by_batch = np.add.reduceat(weights.astype(np.float64), starts.reshape(-1))
            totals[:, filled, OF_WEIGHT] = by_batch.reshape(n_epochs, -1)
        self._workers.sum(totals.reshape(-1))
        totals = totals.reshape(-1, 2)
        if not self._weighted and (bounds is self.bounds or bounds is self._whole):
            self._totals[id(bounds)] = totals[: len(sizes)].copy()
        return totals

    def _sum(self, numbers):
        """Replace numbers by their sums; called by the kernel, which cannot take exceptions."""
        try:
            self._workers.sum(numbers)
        except BaseException as error:
            self._error = error
            self._control[self._abort] = 1

    def check(self):
        """Raise the error of a sum that failed in the kernel."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def mean_of_last(self, fractions):
        """Average fractions of the workers' rows of an epoch's last batch.

        Parameters
        ----------
        fractions : ndarray of shape (n_epochs, n)

        Returns
        -------
        means : ndarray of shape (n_epochs, n)
        """
        n_rows = self.bounds[-1] - self.bounds[-2]
        weighted = np.append(fractions * n_rows, float(n_rows))
        self._workers.sum(weighted)
        return (weighted[:-1] / max(weighted[-1], 1.0)).reshape(fractions.shape)
