"""Numba on the CPU: the workspace of a fit, and how its kernels are called."""

import math
import threading
from functools import lru_cache

import numpy as np

from skbackprop.backends.cpu.calls import layer_calls, piece_calls, update_calls
from skbackprop.backends.cpu.epoch import (
    AS_IS,
    DIFFERENTIATE,
    EVALUATE,
    SPARSE,
    STEP,
    TRAIN,
    UNPACKED,
    predict_rows,
    train_batches,
)
from skbackprop.backends.cpu.gemm import CACHED_BYTES, SCRATCH_SIZE, TILE_ROWS, packed_size
from skbackprop.backends.cpu.inputs import input_gradient
from skbackprop.backends.cpu.layers import granule_rows
from skbackprop.backends.cpu.normalization import statistics_size
from skbackprop.backends.cpu.sync import NON_FINITE
from skbackprop.backends.cpu.threads import Team
from skbackprop.backends.data import Epochs, check_data, check_state, frozen
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.optimizers import CARRIED, N_CONSTANTS
from skbackprop.functions.penalties import Penalties

__all__ = ["Session", "input_gradient", "predict"]

# Rows of a block: as many as keep the units of all layers in the second-level cache, but enough to use each weight
# that is fetched from memory often; each block reads and writes the whole gradient once more.
_BLOCK_BYTES = 1 << 20
_BLOCK_MIN_ROWS = 171 * TILE_ROWS

# Gradients of a strip of weights: they stay in the second-level cache until the update.
_STRIP_BYTES = 96 * 1024 * 4

# Blocks of a prediction, unless they would be larger than those of training, or have fewer rows than a weight should be used for.
_PREDICTION_BLOCKS = 16
_PREDICTION_MIN_ROWS = 7 * TILE_ROWS
_PREDICTION_MAX_ROWS = 42 * TILE_ROWS

# A call of several short epochs lasts some hundredths of a second at most; what Python does around it takes 0.15 ms.
_CALL_FLOPS = 4e8
_MAX_EPOCHS = 64

# Workspaces begin, and each layer's part of them, where a cache line does: a vector that crosses two costs as much as two.
_LINE_BYTES = 64

# The optimizer's pass reads and writes several arrays side by side. Where a write and a later read agree in the last 12 bits of
# their addresses, processors let the read wait until they know better ("4K aliasing"), which takes twice the time. So these arrays
# begin at different places of a page: five of them, gradient, parameters and up to three numbers of state, or more.
_PAGE_BYTES = 4096
_MIN_STAGGERED = 5

# A right factor that is used for at most this many tiles of rows, and whose rows are not far apart, is not worth packing.
_UNPACKED_TILES = 6
_UNPACKED_BYTES = 1 << 10

# Workspaces of predictions up to this size are kept.
_KEPT_BYTES = 1 << 20


def _aligned(shape, dtype):
    """An array of zeros from the beginning of a cache line on."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    memory = np.zeros(n_bytes + _LINE_BYTES, dtype=np.uint8)
    first = -memory.ctypes.data % _LINE_BYTES
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def _staggered_size(size, itemsize, n_arrays):
    """Numbers from one of several arrays of `size` numbers to the next, so that each begins at another place of a page."""
    pages = -(-size * itemsize // _PAGE_BYTES)
    lines = -(-_PAGE_BYTES // (_LINE_BYTES * max(n_arrays, _MIN_STAGGERED)))
    return (pages * _PAGE_BYTES + lines * _LINE_BYTES) // itemsize


def _whole_lines(n, itemsize):
    """The smallest number from `n` on that fills whole cache lines."""
    in_line = _LINE_BYTES // itemsize
    return -(-n // in_line) * in_line


def _block_rows(network, itemsize, n_rows):
    most = max(_BLOCK_BYTES // (sum(network.layer_units) * itemsize), _BLOCK_MIN_ROWS)
    # Blocks of about the same size: a small last one would use each weight for few rows.
    n_blocks = -(-n_rows // int(most))
    rows = -(-n_rows // max(n_blocks, 1))
    return min(-(-rows // TILE_ROWS) * TILE_ROWS, n_rows)


def _packs(n_rows, n_inner, n_columns, itemsize):
    """Whether the right factor of a product is worth packing into panels."""
    near = n_columns * itemsize <= _UNPACKED_BYTES
    few = n_rows <= _UNPACKED_TILES * TILE_ROWS
    return n_inner * n_columns * itemsize > CACHED_BYTES and not (near and few)


class _Plan:
    """Offsets of what a network needs for a block of rows; see `epoch` for the columns."""

    def __init__(self, network, dtype, block_rows, is_sparse, training):
        itemsize = np.dtype(dtype).itemsize
        n_layers = len(network.layout)
        self.offsets = np.full((n_layers + 1, 8), UNPACKED, dtype=np.int64)
        self.n_units = self.n_forward = self.n_backward = self.n_deltas = self.n_statistics = self.n_granules = 0
        for layer, n_units in enumerate(network.layer_units):
            self.offsets[layer, 0] = self.n_units
            if not (is_sparse and layer == 0):
                self.n_units += _whole_lines(n_units * block_rows, itemsize)
        if network.normalization is not None and training:
            for layer, n_units in enumerate(network.layer_units[1:-1]):
                self.offsets[layer + 1, 4] = self.n_statistics
                self.n_statistics += statistics_size(network.over_batch, n_units, block_rows)
        if is_sparse:
            self.offsets[0, 1:5] = SPARSE
        for layer, (fan_in, fan_out) in enumerate(network.layout[:, :2]):
            dealt = granule_rows(fan_out)
            strip = max(1, _STRIP_BYTES // (dealt * fan_out * itemsize)) * dealt
            if is_sparse and layer == 0:
                strip = fan_in  # for each strip, all stored entries would be gone through
            self.offsets[layer, 5:] = dealt, strip, self.n_granules
            self.n_granules += -(-fan_in // dealt)
            self.offsets[layer + 1, 7] = self.n_granules
            if block_rows == 1 or fan_out == 1:
                continue
            if not (is_sparse and layer == 0):
                self.offsets[layer, 1] = self.offsets[layer, 3] = AS_IS
                if _packs(block_rows, fan_in, fan_out, itemsize):
                    self.offsets[layer, 1] = self.n_forward
                    self.n_forward += packed_size(fan_in, fan_out, itemsize)
                if training and _packs(fan_in, block_rows, fan_out, itemsize):
                    self.offsets[layer, 3] = self.n_deltas
                    self.n_deltas += packed_size(block_rows, fan_out, itemsize)
            if training and layer > 0:
                self.offsets[layer, 2] = self.n_backward
                self.n_backward += packed_size(fan_out, fan_in, itemsize)


_plan = lru_cache(maxsize=64)(_Plan)


def _scratches(team, network, dtype, n_ones=0):
    size = SCRATCH_SIZE + max(network.layer_units) + n_ones
    scratches = _aligned((team.n_threads, _whole_lines(size, np.dtype(dtype).itemsize)), dtype)
    scratches[:, scratches.shape[1] - n_ones :] = 1
    return scratches


def _row_flops(network, density):
    """Multiplications and additions of one row's forward pass."""
    first = network.layer_units[0] * network.layer_units[1]
    return 2.0 * (network.n_weights - first * (1.0 - density))


class Session:
    """One fit: the data, the workspace and the threads; a context manager.

    Parameters
    ----------
    network : Network
    dtype : numpy.dtype
        float32 or float64, of all arrays of numbers.
    rows : Rows
        Training data.
    targets : ndarray of shape (n_rows, n_targets)
    sample_weight : ndarray of shape (n_rows,) or None
    batch_size : int
        Rows of a mini-batch.
    n_trained : int
        Rows of an epoch.
    n_jobs : int or None
        Threads; None decides by the work.
    penalties : Penalties
    seed : int, default=0
        Of the dropout.
    trains : bool, default=True
        Whether there is more to do than to compute losses.

    Raises
    ------
    ValueError
        If the data are not those of such a network, or if a mini-batch of one row would be normalized. A last mini-batch of one
        row is left out instead.
    """

    def __init__(
        self,
        network,
        dtype,
        rows,
        targets,
        sample_weight,
        batch_size,
        n_trained,
        n_jobs,
        penalties,
        seed=0,
        trains=True,
    ):
        check_data(network, rows, targets, sample_weight)
        self._network = network
        self._penalties = penalties
        self._seed = seed
        self._n_given = self._n_trained = n_trained
        normalizes_batches = network.over_batch and trains
        if normalizes_batches:
            if min(batch_size, n_trained) < 2:
                raise ValueError(
                    "normalization='batch' takes means over mini-batches of at least 2 rows, but here they have 1 sample: "
                    "set a larger batch_size, or give more rows"
                )
            self._n_trained = n_trained - (n_trained % batch_size == 1)
        n_layers = len(network.layout)
        self._dropout = np.array(penalties.dropout or [0.0] * n_layers)
        self._trained = np.ones(n_layers, dtype=bool)
        self._trained[list(penalties.frozen)] = False
        keeps = tuple(
            kind.slope_of_input or rate > 0
            for (kind, _), rate in zip(network.activations, self._dropout[1:], strict=True)
        )
        self._calls = layer_calls(network, np.dtype(dtype), keeps)
        self._keeps = any(keeps)
        self._normalizes = network.normalization is not None and trains
        self._rows = rows
        self._batch_size = int(batch_size)
        self._targets = frozen(rows.spread(targets.astype(dtype, copy=False)))
        weights = np.zeros(0) if sample_weight is None else rows.spread(sample_weight)
        self._weights = frozen(weights.astype(dtype, copy=False))
        itemsize = np.dtype(dtype).itemsize
        self._block_rows = self._batch_size if normalizes_batches else _block_rows(network, itemsize, self._batch_size)
        plan = _plan(network, np.dtype(dtype), self._block_rows, rows.is_sparse, training=True)
        row_flops = 3.0 * _row_flops(network, rows.density)
        # About ten operations a parameter for the update.
        batch_flops = row_flops * batch_size + 10.0 * network.n_params
        #: Batches of an epoch.
        self.n_batches = -(-self._n_trained // self._batch_size)
        epoch_flops = batch_flops * self.n_batches
        #: Epochs that one call should run at most: all of them together are short.
        self.max_epochs = int(max(1, min(_MAX_EPOCHS, _CALL_FLOPS // epoch_flops)))
        # Barriers of a block: two, and with a normalization up to four for each hidden layer.
        n_barriers = 2 if network.normalization is None else 4 * n_layers - 2
        self._team = Team(n_jobs, row_flops * self._block_rows / n_barriers, epoch_flops * self.max_epochs)
        self._vectors = np.zeros((0, 0), dtype=dtype)
        self._dtype = np.dtype(dtype)
        self._plan = plan

    def __enter__(self):
        plan, dtype, rows = self._plan, self._dtype, self._block_rows
        try:
            self._team.__enter__()
            self._allocate(plan, dtype, rows)
        except BaseException:
            # Without memory, or after Ctrl-C, there is no session: the threads are for others.
            self._team.__exit__(None, None, None)
            raise
        return self

    def _allocate(self, plan, dtype, rows):
        self._constants = _aligned(self._team.n_threads * N_CONSTANTS, np.float64)
        self._workspace = (
            _aligned(plan.n_forward, dtype),
            _aligned(plan.n_backward, dtype),
            _aligned(plan.n_deltas, dtype),
            _aligned(plan.n_units, dtype),
            _aligned(plan.n_units if self._keeps else 0, dtype),
            _aligned(plan.n_units, dtype),
            _aligned(rows * self._targets.shape[1], dtype),
            _aligned(rows, np.float64),
            _aligned(plan.n_granules, np.float64),
            _aligned(2 * plan.n_granules, np.float64),
            _scratches(self._team, self._network, dtype, n_ones=rows),
            _aligned(plan.n_units if self._normalizes else 0, dtype),
            _aligned(plan.n_statistics, np.float64),
        )

    def __exit__(self, *exception):
        self._team.__exit__(*exception)

    def run_epochs(self, order, rates, params, optimizer):
        """Train on all batches of one or several epochs.

        Parameters
        ----------
        order : ndarray of shape (n_epochs * n_trained,), int64
            Rows in the order of training.
        rates : ndarray of shape (n_epochs * n_batches,)
            Learning rate of each batch.
        params : ndarray of shape (n_params,)
            Updated in place.
        optimizer : OptimizerState
            Updated in place, running means and variances included.

        Returns
        -------
        epochs : Epochs
            As soon as the loss of a batch is not finite, no more batches are run, and the last loss is NaN.
        """
        check_state(self._network, self._dtype, params, optimizer, bool(self._penalties.average))
        if self._n_trained < self._n_given:
            order = np.ascontiguousarray(order.reshape(-1, self._n_given)[:, : self._n_trained]).reshape(-1)
        kind, numbers = optimizer.key
        settings = np.zeros(N_SETTINGS)
        settings[: len(numbers)] = numbers
        self._constants.reshape(-1, N_CONSTANTS)[:, CARRIED:] = optimizer.carried
        gradient, own_params, *own_slots = self._reserve(2 + len(optimizer.slots))
        copies = [(params, own_params), *zip(optimizer.slots, own_slots, strict=True)]
        for array, own in copies:
            own[:] = array
        codes = self._codes(optimizer.n_steps, TRAIN)
        try:
            epochs = self._run(
                order, rates, self._n_trained, self._batch_size, own_params, gradient, codes,
                self._pieces(self._penalties.finishes, True), update_calls(kind, self._dtype), settings, self._vectors[2:],
                optimizer.average, optimizer.running, self._penalties, self._dropout,
            )  # fmt: skip
        finally:
            # After Ctrl-C, too, what has been learned stays.
            for array, own in copies:
                array[:] = own
        optimizer.n_steps = int(codes[STEP])
        optimizer.carried[:] = self._constants[CARRIED:N_CONSTANTS]
        return epochs

    def loss_gradient(self, order, params):
        """Loss and gradient of all rows together.

        Parameters
        ----------
        order : ndarray of int64
            The rows.
        params : ndarray of shape (n_params,)

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_params,)
            The session's own array, overwritten by the next call.
        """
        # Of a mini-batch's means and variances nothing is kept.
        running = np.zeros(self._network.n_running)
        (gradient,) = self._reserve(1)
        loss = self._evaluate(order, params, gradient, running, DIFFERENTIATE, self._penalties, self._dropout)
        return loss, gradient

    def loss(self, order, params, running=None):
        """Loss of all rows together, without penalty and without dropout.

        Parameters
        ----------
        order : ndarray of int64
            The rows.
        params : ndarray of shape (n_params,)
        running : ndarray of shape (n_running,), float64
            Running means and variances; only for batch normalization.

        Returns
        -------
        loss : float
        """
        folded = self._network.fold(params, running)
        nothing = np.zeros(0, dtype=self._dtype)
        return self._evaluate(order, params, nothing, folded, EVALUATE, Penalties(), np.zeros_like(self._dropout))

    def _reserve(self, n_vectors):
        """The session's own arrays of parameters: the gradient, then those of training."""
        n_params = self._network.n_params
        if len(self._vectors) < n_vectors:
            stride = _staggered_size(n_params, self._dtype.itemsize, n_vectors)
            self._vectors = _aligned((n_vectors, stride), self._dtype)
        return self._vectors[:n_vectors, :n_params]

    def _evaluate(self, order, params, gradient, running, mode, penalties, dropout):
        differentiates = mode == DIFFERENTIATE
        if differentiates and self._network.over_batch and len(order) > self._block_rows:
            raise ValueError(f"batch normalization of {len(order)} rows in a workspace for {self._block_rows}")
        nothing = np.zeros(0, dtype=self._dtype)
        epochs = self._run(
            order, np.zeros(1), len(order), len(order), params, gradient, self._codes(0, mode),
            self._pieces(differentiates, differentiates), update_calls(None, self._dtype),
            np.zeros(N_SETTINGS), nothing, nothing, running, penalties, dropout,
        )  # fmt: skip
        return float(epochs.losses[0])

    def _codes(self, n_steps, mode):
        codes = n_steps, self._targets.shape[1], mode, self._seed, self._network.over_batch, self._vectors.shape[1]
        return np.array(codes, dtype=np.int64)

    def _pieces(self, finishes, trains):
        over_batch = None if self._network.normalization is None else self._network.over_batch
        return piece_calls(self._dtype, self._rows.index_dtype, self._penalties, finishes, over_batch, trains)

    def _run(
        self,
        order,
        rates,
        n_trained,
        batch_size,
        params,
        gradient,
        codes,
        pieces,
        calls,
        settings,
        slots,
        average,
        running,
        penalties,
        dropout,
    ):
        network, rows = self._network, self._rows
        n_layers = len(network.layout)
        if running.size != network.n_running:
            raise ValueError(f"{running.size} running numbers for a network with {network.n_running}")
        n_epochs = len(order) // n_trained
        losses = np.zeros(n_epochs)
        norms = np.zeros((n_epochs, n_layers))
        constant_units = np.zeros((n_epochs * n_layers, self._team.n_threads))
        self._team.run(
            train_batches,
            network.layout, self._calls, network.settings.reshape(-1), pieces, dropout, self._trained, self._plan.offsets, codes,
            penalties.numbers(), calls, settings, self._constants,
            rows.X.reshape(-1), rows.data, rows.indices, rows.indptr, self._targets.reshape(-1), self._weights,
            rows.places(order), order, rates, n_trained, batch_size, self._block_rows,
            params, gradient, slots.reshape(-1), average, running, *self._workspace, losses, norms, constant_units,
        )  # fmt: skip
        losses /= n_trained
        if self._team.control[NON_FINITE] != 0:
            losses[-1] = np.nan
        hidden = np.array(network.layer_units[1:-1], dtype=float)
        constant_units = constant_units.sum(axis=1).reshape(n_epochs, n_layers)[:, :-1] / hidden
        return Epochs(losses, norms, constant_units)


def _prediction_rows(n_rows):
    """Most rows of a block of predictions: a thread that begins late, as it must be woken first, still finds enough of them."""
    rows = -(-n_rows // (_PREDICTION_BLOCKS * TILE_ROWS)) * TILE_ROWS
    return min(max(rows, _PREDICTION_MIN_ROWS), _PREDICTION_MAX_ROWS)


def predict(network, params, rows, n_jobs, link=True, running=None, out=None):
    """Predict rows.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
        Its dtype is that of the arithmetic.
    rows : Rows
        Data of the same dtype.
    n_jobs : int or None
        Threads; None decides by the work.
    link : bool, default=True
        Whether the inverse link is applied.
    running : ndarray of shape (n_running,), float64
        Running means and variances; only for batch normalization.
    out : ndarray of shape (n_rows, n_outputs) or None, default=None
        Where predictions go, C-contiguous; None for a new array.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs)
        Means or probabilities, after the link; raw predictions without.
    """
    n_rows = rows.shape[0]
    out = np.empty((n_rows, network.layer_units[-1]), dtype=params.dtype) if out is None else out
    plan, block_rows, calls = _forward(network, params.dtype, n_rows, rows.index_dtype, link)
    flops = _row_flops(network, rows.density) * n_rows
    with Team(n_jobs, flops, flops, flops) as team:
        team.run(
            predict_rows, *calls,
            rows.X.reshape(-1), rows.data, rows.indices, rows.indptr, rows.places(np.arange(n_rows)), block_rows, params,
            network.fold(params, running),
            *_prediction_workspace(plan, network, params.dtype, team),
            out,
        )  # fmt: skip
    return out


@lru_cache(maxsize=64)
def _forward(network, dtype, n_rows, index_dtype, link):
    """What all predictions of so many rows have in common: the plan, the rows of a block, and the kernel's arguments up to the data."""
    block_rows = max(1, min(_block_rows(network, dtype.itemsize, n_rows), _prediction_rows(n_rows)))
    plan = _plan(network, dtype, block_rows, index_dtype is not None, training=False)
    over_batch = None if network.normalization is None else network.over_batch
    pieces = piece_calls(dtype, index_dtype, over_batch=over_batch)
    calls = network.layout, layer_calls(network, dtype, None, link), network.settings.reshape(-1), pieces, plan.offsets
    return plan, block_rows, calls


_kept = threading.local()


def _prediction_workspace(plan, network, dtype, team):
    """Panels, units and scratch memory; those of a thread's last small prediction are used again by its next one."""
    key = plan, team.n_threads
    if getattr(_kept, "key", None) == key:
        return _kept.workspace
    workspace = (
        _aligned(plan.n_forward, dtype),
        _aligned((team.n_threads, plan.n_units), dtype),
        _scratches(team, network, dtype),
    )
    if sum(array.nbytes for array in workspace) <= _KEPT_BYTES:
        _kept.key, _kept.workspace = key, workspace
    return workspace
