"""CPU backend with Numba: allocates the workspace of a fit and calls its kernels."""

import threading
from functools import lru_cache, partial

import numpy as np

from skbackprop._compile import bound
from skbackprop.backends.batch_plan import plan_batches, row_flops
from skbackprop.backends.cpu.calls import layer_calls, program_rows, shared_calls, step_address, update_calls
from skbackprop.backends.cpu.epoch import predict_rows, train_batches
from skbackprop.backends.cpu.gemm import CACHED_BYTES, SCRATCH_SIZE, TILE_ROWS, packed_size
from skbackprop.backends.cpu.inputs import input_gradient
from skbackprop.backends.cpu.layers import chunk_rows
from skbackprop.backends.cpu.program import is_by_strips, prediction_calls, training_calls
from skbackprop.backends.cpu.state import (
    AS_IS,
    BACKWARD,
    DEALT,
    DELTAS,
    FORM,
    FORWARD,
    N_CLOCK,
    N_SUMS,
    SPARSE,
    SQUARES,
    START,
    STATISTICS,
    UNITS,
    UNPACKED,
    Model,
    Plan,
    Report,
    Work,
)
from skbackprop.backends.cpu.sync import ABORT, N_CONTROL, NON_FINITE
from skbackprop.backends.cpu.threads import Team, is_inline, wanted_threads
from skbackprop.backends.data import Epochs, check_data, check_state, frozen, unscheduled
from skbackprop.backends.exchange import Exchange
from skbackprop.backends.record import LINE_BYTES, Record, Workspace, aligned
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.groups import group_tables
from skbackprop.functions.optimizers import CARRIED, N_CONSTANTS
from skbackprop.functions.penalties import Penalties

__all__ = ["Session", "input_gradient", "predict", "repeated"]

# Limits the rows of a block, so that the units of all layers stay in the L2 cache. More rows reuse each weight that is
# loaded from memory more often, and each further block reads and writes the whole gradient once more.
_BLOCK_BYTES = 1 << 20
_BLOCK_MIN_ROWS = 171 * TILE_ROWS

# Gradients of a strip of weights: they stay in the L2 cache until the update.
_STRIP_BYTES = 96 * 1024 * 4

# Blocks of a prediction, unless these would be larger than those of training or have too few rows to reuse each weight.
_PREDICTION_BLOCKS = 32
_PREDICTION_MIN_ROWS = 6 * TILE_ROWS
_PREDICTION_MAX_ROWS = 42 * TILE_ROWS

# Operations per call of several short epochs: at most some hundredths of a second. Python's overhead per call is 0.15
# ms.
_CALL_FLOPS = 4e8

# The optimizer reads and writes several arrays in one pass. If a load follows a store to an address with the same low
# 12 bits, the processor stalls the load ("4K aliasing"), which doubles the time. So these arrays start at different
# offsets within a page: five of them (gradient, parameters and up to three of state), or more.
_PAGE_BYTES = 4096
_MIN_STAGGERED = 5

# Do not pack a right factor that is used for at most this many tiles of rows and whose rows are not far apart.
_UNPACKED_TILES = 6
_UNPACKED_BYTES = 1 << 10

_EMPTY_PLAN = Plan._make(
    np.zeros((0,) * kind.ndim, dtype=kind.dtype) if kind.ndim else 0
    for kind in (FORM.places[name][1] for name in Plan._fields)
)

_NO_NUMBERS = np.zeros(0)
_NO_INTEGERS = np.zeros(0, dtype=np.int64)
_NO_TOTALS = np.zeros((0, 2))

# Workspaces of predictions up to this size are cached.
_KEPT_BYTES = 1 << 20


def _staggered_size(size, itemsize, n_arrays):
    """Return the stride between arrays of `size` numbers at which each starts at another offset within a page."""
    pages = -(-size * itemsize // _PAGE_BYTES)
    lines = -(-_PAGE_BYTES // (LINE_BYTES * max(n_arrays, _MIN_STAGGERED)))
    return (pages * _PAGE_BYTES + lines * LINE_BYTES) // itemsize


def _whole_lines(n, itemsize):
    """Round `n` numbers up to whole cache lines."""
    in_line = LINE_BYTES // itemsize
    return -(-n // in_line) * in_line


def _block_rows(network, itemsize, n_rows):
    most = max(_BLOCK_BYTES // (sum(network.stage_units) * itemsize), _BLOCK_MIN_ROWS)
    # Balance the blocks: a small last one would use each weight for few rows only.
    n_blocks = -(-n_rows // int(most))
    rows = -(-n_rows // max(n_blocks, 1))
    return min(-(-rows // TILE_ROWS) * TILE_ROWS, n_rows)


def _packs(n_rows, n_inner, n_columns, itemsize):
    """Return whether packing the right factor of a product into panels pays off."""
    near = n_columns * itemsize <= _UNPACKED_BYTES
    few = n_rows <= _UNPACKED_TILES * TILE_ROWS
    return n_inner * n_columns * itemsize > CACHED_BYTES and not (near and few)


class _Offsets:
    """Memory layout of what a network needs for a block of rows; see `state` for the columns."""

    def __init__(self, network, dtype, block_rows, is_sparse, training):
        itemsize = np.dtype(dtype).itemsize
        n_layers = len(network.layout)
        self.table = np.full((n_layers + 1, 8), UNPACKED, dtype=np.int64)
        self.n_units = self.n_forward = self.n_backward = self.n_deltas = self.n_statistics = self.n_chunks = 0
        for layer, n_units in enumerate(network.stage_units):
            self.table[layer, UNITS] = self.n_units
            if not (is_sparse and layer == 0):
                self.n_units += _whole_lines(n_units * block_rows, itemsize)
        for layer in network.layers if training else ():
            n_stored = layer.n_stored(block_rows)
            if n_stored:
                self.table[layer.stage + 1, STATISTICS] = self.n_statistics
                self.n_statistics += n_stored
        if is_sparse:
            self.table[0, FORWARD : STATISTICS + 1] = SPARSE
        for layer, (fan_in, fan_out, *_, n_rows, _) in enumerate(network.layout):
            dealt = chunk_rows(fan_out)
            strip = max(1, _STRIP_BYTES // (dealt * fan_out * itemsize)) * dealt
            if is_sparse and layer == 0:
                strip = fan_in  # each strip would scan all stored entries
            self.table[layer, DEALT:] = dealt, strip, self.n_chunks
            self.n_chunks += -(-n_rows // dealt)
            self.table[layer + 1, SQUARES] = self.n_chunks
            if block_rows == 1 or fan_out == 1 or not n_rows:
                continue
            if not (is_sparse and layer == 0):
                self.table[layer, FORWARD] = self.table[layer, DELTAS] = AS_IS
                if _packs(block_rows, fan_in, fan_out, itemsize):
                    self.table[layer, FORWARD] = self.n_forward
                    self.n_forward += packed_size(fan_in, fan_out, itemsize)
                if training and _packs(fan_in, block_rows, fan_out, itemsize):
                    self.table[layer, DELTAS] = self.n_deltas
                    self.n_deltas += packed_size(block_rows, fan_out, itemsize)
            if training and layer > 0:
                self.table[layer, BACKWARD] = self.n_backward
                self.n_backward += packed_size(fan_out, fan_in, itemsize)


_offsets_of = lru_cache(maxsize=64)(_Offsets)


@lru_cache(maxsize=64)
def _workspace_of(offsets, network, dtype, n_threads, block_rows, n_targets, keeps, normalizes, n_rates, exchanges):
    """Lay out the workspace of a training."""
    scratch = SCRATCH_SIZE + max(network.stage_units) + block_rows
    return Workspace(
        FORM,
        Work,
        dtype,
        clock=n_threads * N_CLOCK,
        sums=n_threads * N_SUMS,
        constants=n_threads * n_rates * N_CONSTANTS,
        forward_panels=offsets.n_forward,
        backward_panels=offsets.n_backward,
        delta_panels=offsets.n_deltas,
        units=offsets.n_units,
        slopes=offsets.n_units if keeps else 0,
        deltas=offsets.n_units,
        normalized=offsets.n_units if normalizes else 0,
        changes=offsets.n_units if network.parametric else 0,
        statistics=offsets.n_statistics,
        targets=block_rows * n_targets,
        losses=block_rows,
        squares=offsets.n_chunks,
        gradient_squares=2 * offsets.n_chunks,
        exchanged=network.n_params + 1 if exchanges else 0,
        scratches=(n_threads, _whole_lines(scratch, dtype.itemsize)),
    )


@lru_cache(maxsize=64)
def _prediction_workspace_of(offsets, network, dtype, n_threads):
    """Lay out the workspace of a prediction; each thread has its own units, and no product needs scratch memory."""
    return Workspace(
        FORM,
        Work,
        dtype,
        clock=n_threads * N_CLOCK,
        sums=n_threads * N_SUMS,
        forward_panels=offsets.n_forward,
        units=n_threads * offsets.n_units,
        changes=n_threads * offsets.n_units if network.parametric else 0,
        scratches=(n_threads, 0),
    )


@lru_cache(maxsize=256)
def _training_record(network, dtype, offsets, index_dtype, keeps, penalties, optimizer, differentiates, exchanges):
    """Build what trainings of one kind share: a record with the addresses of a plan, and that plan, which owns them."""
    updates = optimizer is not None
    kind, numbers = optimizer or (None, ())
    prepare, update = update_calls(kind, dtype)
    update_settings = np.zeros(N_SETTINGS)
    update_settings[: len(numbers)] = numbers
    trained = np.ones(len(network.layout), dtype=np.int64)
    trained[list(penalties.frozen_stages(network.n_front))] = 0
    rate_factors, rate_index, decays = group_tables(penalties.groups, len(network.layout))
    calls = training_calls(
        network, offsets.table, penalties, differentiates=differentiates, updates=updates, exchanges=exchanges
    )
    l2, l1, clip_norm, clip_value, max_norm, decay = penalties.numbers().tolist()
    plan = _EMPTY_PLAN._replace(
        layout=network.layout,
        offsets=offsets.table,
        calls=layer_calls(network, dtype, keeps),
        program=program_rows(calls, dtype, index_dtype),
        groups=network.groups.reshape(-1),
        settings=network.settings.reshape(-1),
        dropout=np.array(penalties.dropout_by_stage(len(network.layout), network.n_front)),
        trained=trained,
        update_settings=update_settings,
        rate_factors=rate_factors,
        rate_index=rate_index,
        decays=decays,
        centred=network.over_batch,
        by_strips=updates and is_by_strips(penalties, exchanges),
        l2=l2,
        l1=l1,
        update_l2=0.0 if penalties.finishes else l2,
        clip_norm=clip_norm,
        clip_value=clip_value,
        max_norm=max_norm,
        decay=decay,
        prepare=prepare,
        update=update,
        **shared_calls(dtype),
    )
    return Record(FORM, dtype, plan), plan


class Session:
    """Data, workspace and threads of one fit; a context manager.

    Parameters
    ----------
    network : Network
    dtype : numpy.dtype
        float32 or float64, for all arrays of numbers.
    rows : Rows
        Training data.
    targets : ndarray of shape (n_rows, n_targets)
    sample_weight : ndarray of shape (n_rows,) or None
    batch_size : int
        Rows per mini-batch.
    n_trained : int
        Rows per epoch.
    n_jobs : int or None
        Number of threads; None chooses by the amount of work.
    penalties : Penalties
    seed : int, default=0
        Seed of the dropout.
    trains : bool, default=True
        False if only losses are computed.
    workers : Collective or None, default=None
        All workers of a training on several, of which each calls the same methods in the same order. `batch_size` is
        that of all workers together; the rows are this worker's, as losses and gradients are all workers'.

    Raises
    ------
    ValueError
        If the data do not match the network, or if mini-batches of one row would be normalized. A last mini-batch of
        one row is dropped instead.
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
        workers=None,
    ):
        check_data(network, rows, targets, sample_weight)
        self._network = network
        self._penalties = penalties
        self._seed = seed
        self._rows = rows
        self._dtype = dtype = np.dtype(dtype)
        self._exchange = None
        if workers is not None:
            weighted, normalizes_batches = sample_weight is not None, network.over_batch and trains
            self._exchange = Exchange(workers, n_trained, batch_size, weighted, normalizes_batches)
        self._batches = batches = plan_batches(
            network, rows, batch_size, n_trained, penalties, trains, exchange=self._exchange,
            block_rows=partial(_block_rows, network, dtype.itemsize), call_flops=_CALL_FLOPS,
        )  # fmt: skip
        self.n_batches, self.max_epochs, self._bounds = batches.n_batches, batches.max_epochs, batches.bounds
        if self._exchange is not None:
            self.n_batches, self._bounds = self._exchange.n_batches, self._exchange.bounds
            self.max_epochs = self._exchange.least(self.max_epochs)
        self._normalizes = network.normalizes and trains
        self._targets = frozen(rows.spread(targets.astype(dtype, copy=False)))
        weights = np.zeros(0) if sample_weight is None else rows.spread(sample_weight)
        self._weights = frozen(weights.astype(dtype, copy=False))
        # Barriers per block: two, and those of the layers.
        n_barriers = 2 + network.n_barriers
        block_flops = 3.0 * row_flops(network, rows.density) * batches.block_rows
        self._team = Team(n_jobs, block_flops / n_barriers, batches.epoch_flops * batches.max_epochs)
        self._vectors = np.zeros((0, 0), dtype=dtype)
        self._offsets = _offsets_of(network, dtype, batches.block_rows, rows.is_sparse, training=True)

    def __enter__(self):
        try:
            self._team.__enter__()
            self._allocate()
        except BaseException:
            # Out of memory, or Ctrl-C: there is no session, so release the threads.
            self._team.__exit__(None, None, None)
            raise
        return self

    def _allocate(self):
        """Allocate the workspace."""
        #: Per mode (loss only, gradient, full update): a record and the arrays whose addresses it holds.
        self._records = {}
        self._workspace = _workspace_of(
            self._offsets, self._network, self._dtype, self._team.n_threads, self._batches.block_rows,
            self._targets.shape[1], any(self._batches.keeps), self._normalizes,
            len(group_tables(self._penalties.groups, len(self._network.layout))[0]), self._exchange is not None,
        )  # fmt: skip
        self._memory = self._workspace.allocate()
        self._work("scratches")[:, -self._batches.block_rows :] = 1

    def _work(self, name):
        """Return an array of the workspace."""
        return self._workspace.array(self._memory, name)

    def __exit__(self, *exception):
        self._team.__exit__(*exception)

    def run_epochs(self, order, rates, params, optimizer, factors=None):
        """Train on all mini-batches of one or several epochs.

        Parameters
        ----------
        order : ndarray of shape (n_epochs * n_trained,), int64
            Row indices in training order.
        rates : ndarray of shape (n_epochs * n_batches,)
            Learning rate of each batch.
        params : ndarray of shape (n_params,)
            Updated in place.
        optimizer : OptimizerState
            Updated in place, running means and variances included.
        factors : ndarray of shape (n_epochs * n_batches, 2) or None, default=None
            Factors of the dropout rates and of the optimizer's weight decay for each batch; None for 1.

        Returns
        -------
        epochs : Epochs
            Training stops at the first batch whose loss is not finite; the last loss is then NaN.
        """
        check_state(self._network, self._dtype, params, optimizer, bool(self._penalties.average))
        order = self._batches.trained(order)
        constants = self._work("constants").reshape(-1, N_CONSTANTS)
        constants[:, CARRIED:] = optimizer.carried
        gradient, own_params, *own_slots = self._reserve(2 + len(optimizer.slots))
        copies = [(params, own_params), *zip(optimizer.slots, own_slots, strict=True)]
        for array, own in copies:
            own[:] = array
        n_epochs, n_layers = len(rates) // self.n_batches, len(self._network.layout)
        report = self._report(n_epochs, optimizer.n_steps, np.zeros((n_epochs, n_layers)))
        model = Model(own_params, gradient, self._vectors[2:].reshape(-1), optimizer.average, optimizer.running)
        try:
            self._run(
                self._program(optimizer.key, self._penalties),
                order,
                rates,
                unscheduled(len(rates)) if factors is None else factors,
                self._bounds,
                model,
                report,
            )
        finally:
            # Also after Ctrl-C: keep what has been learned.
            for array, own in copies:
                array[:] = own
        optimizer.n_steps = int(report.n_steps[0])
        optimizer.carried[:] = constants[0, CARRIED:]
        hidden = np.array(self._network.layer_units[1:-1], dtype=float)
        n_front = self._network.n_front
        constant_units = report.constant_units.sum(axis=1).reshape(n_epochs, n_layers)[:, n_front:-1] / hidden
        if self._exchange is not None:
            constant_units = self._exchange.mean_of_last(constant_units)
        return Epochs(report.epoch_losses, report.norms[:, n_front:], constant_units)

    def loss_gradient(self, order, params):
        """Compute loss and gradient over all rows.

        Parameters
        ----------
        order : ndarray of int64
            Row indices.
        params : ndarray of shape (n_params,)

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_params,)
            The session's buffer; the next call overwrites it.
        """
        if self._network.over_batch and len(order) > self._batches.block_rows:
            raise ValueError(f"batch normalization of {len(order)} rows in a workspace for {self._batches.block_rows}")
        # Scratch: these batch statistics must not change the running ones.
        running = np.zeros(self._network.n_running)
        (gradient,) = self._reserve(1)
        return self._evaluate(order, params, gradient, running, self._penalties), gradient

    def loss(self, order, params, running=None):
        """Compute the loss over all rows, without penalty and without dropout.

        Parameters
        ----------
        order : ndarray of int64
            Row indices.
        params : ndarray of shape (n_params,)
        running : ndarray of shape (n_running,), float64
            Running means and variances; only with batch normalization.

        Returns
        -------
        loss : float
        """
        folded = self._network.fold(params, running)
        return self._evaluate(order, params, np.zeros(0, dtype=self._dtype), folded, Penalties())

    def _reserve(self, n_vectors):
        """Allocate the session's own parameter-sized arrays: the gradient, then those of training."""
        n_params = self._network.n_params
        if len(self._vectors) < n_vectors:
            stride = _staggered_size(n_params, self._dtype.itemsize, n_vectors)
            self._vectors = aligned((n_vectors, stride), self._dtype)
        return self._vectors[:n_vectors, :n_params]

    def _evaluate(self, order, params, gradient, running, penalties):
        nothing = np.zeros(0, dtype=self._dtype)
        model, report = Model(params, gradient, nothing, nothing, running), self._report(1, 0, np.zeros((0, 0)))
        record = self._program(None, penalties, gradient.size > 0)
        bounds = np.array([0, len(order)]) if self._exchange is None else self._exchange.whole(order)
        self._run(record, order, np.zeros(1), unscheduled(1), bounds, model, report)
        return float(report.epoch_losses[0])

    def _report(self, n_epochs, n_steps, norms):
        return Report(
            epoch_losses=np.zeros(n_epochs),
            norms=norms,
            constant_units=np.zeros((n_epochs * len(self._network.layout), self._team.n_threads)),
            n_steps=np.array([n_steps], dtype=np.int64),
            predictions=np.zeros(0, dtype=self._dtype),
            non_finite=_NO_INTEGERS,
        )

    def _program(self, optimizer, penalties, differentiates=True):
        """Return a program's record, without the arguments of a call; `optimizer` is a key, None for no updates."""
        key = optimizer, differentiates
        if key not in self._records:
            rows = self._rows
            template, plan = _training_record(
                self._network, self._dtype, self._offsets, rows.index_dtype, self._batches.keeps, penalties, optimizer,
                differentiates, self._exchange is not None
            )  # fmt: skip
            data = {
                "X": rows.X.reshape(-1),
                "entries": rows.data,
                "indices": rows.indices,
                "indptr": rows.indptr,
                "Y": self._targets.reshape(-1),
                "weights": self._weights,
            }
            record = template.copy()
            record.set(
                **data, n_targets=self._targets.shape[1], n_threads=self._team.n_threads, control=self._team.control,
                block_rows=self._batches.block_rows, seed=self._seed,
                weigh=step_address("weigh", self._dtype) if self._weights.size else 0,
                exchange=0 if self._exchange is None else self._exchange.address,
            )  # fmt: skip
            self._workspace.enter(record, self._memory)
            self._records[key] = record, plan, data
        return self._records[key][0]

    def _run(self, record, order, rates, factors, bounds, model, report):
        """Run a program over mini-batches and compute the final losses of the report."""
        if model.running.size != self._network.n_running:
            raise ValueError(f"{model.running.size} running numbers for a network with {self._network.n_running}")
        places, n_rows, totals = self._rows.places(order), int(bounds[-1]), _NO_TOTALS
        if self._exchange is not None:
            # Dropout uses the rows' numbers among those of all workers.
            weights = self._weights[places] if self._weights.size else None
            totals, n_rows = self._exchange.begin(bounds, len(report.epoch_losses), weights, self._team.control, ABORT)
            order = order + self._exchange.offset
        if self._rows.mapped is not None:
            self._rows.mapped.follow(places, self._work("clock")[START : START + 1])
        record.set(
            order=order, places=places, rates=rates, factors=factors, bounds=bounds, totals=totals,
            n_epochs=len(report.epoch_losses), n_trained=int(bounds[-1]), stride=self._vectors.shape[1],
            **model._asdict(), **report._asdict(),
        )  # fmt: skip
        self._team.run(train_batches, record.argument)
        if self._exchange is not None:
            self._exchange.check()
        losses = report.epoch_losses
        losses /= n_rows
        if self._team.control[NON_FINITE] != 0:
            losses[-1] = np.nan


def _prediction_rows(n_rows):
    """Return the maximum rows per block of predictions: small enough to leave work for threads that wake late."""
    rows = -(-n_rows // (_PREDICTION_BLOCKS * TILE_ROWS)) * TILE_ROWS
    return min(max(rows, _PREDICTION_MIN_ROWS), _PREDICTION_MAX_ROWS)


def predict(network, params, rows, n_jobs, link=True, running=None, out=None):
    """Predict rows.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
        The arithmetic uses its dtype.
    rows : Rows
        Data of the same dtype.
    n_jobs : int or None
        Number of threads; None chooses by the amount of work.
    link : bool, default=True
        Whether to apply the inverse link.
    running : ndarray of shape (n_running,), float64
        Running means and variances; only with batch normalization.
    out : ndarray of shape (n_rows, n_outputs) or None, default=None
        C-contiguous array for the predictions; None allocates one.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs)
        Means or probabilities with the link; raw predictions without.
    """
    n_rows = rows.shape[0]
    out = np.empty((n_rows, network.layer_units[-1]), dtype=params.dtype) if out is None else out
    offsets, plan = _forward(network, params.dtype, n_rows, rows.index_dtype, link)
    flops = row_flops(network, rows.density) * n_rows
    with Team(n_jobs, flops, flops, flops) as team:
        prediction = _prediction(offsets, plan, network, params.dtype, team.n_threads)
        folded = network.fold(params, running) if network.n_running else _NO_NUMBERS
        prediction.enter(params, folded, _all_rows(n_rows) if rows.index is None else rows.index)
        record = prediction.record
        record.point(X=rows.X, predictions=out)
        if rows.is_sparse:
            record.point(entries=rows.data, indices=rows.indices, indptr=rows.indptr)
        team.run(predict_rows, record.argument)
    return out


def repeated(network, params, rows, n_jobs, link):
    """Return a function that predicts as many rows each time, if they are few enough to keep the memory for that.

    Parameters
    ----------
    network, params, rows, n_jobs, link
        As for `predict`.

    Returns
    -------
    predict : callable or None
        ``predict(X)`` returns the predictions of an aligned, C-contiguous array of the shape and the dtype of these
        rows, or None if a number among them is not finite. It is for the calling thread only.
    """
    if rows.is_sparse or rows.index is not None or network.n_running:
        return None
    n_rows = rows.shape[0]
    flops = row_flops(network, rows.density) * n_rows
    n_threads = wanted_threads(n_jobs, flops, flops)
    offsets, plan = _forward(network, params.dtype, n_rows, None, link, checks=True)
    if _prediction_workspace_of(offsets, network, params.dtype, n_threads).n_bytes > _KEPT_BYTES:
        return None
    prediction = _Prediction(offsets, plan, network, params.dtype, n_threads)
    prediction.enter(params, _NO_NUMBERS, _all_rows(n_rows))
    out = (n_rows, network.layer_units[-1]), params.dtype
    # There is memory for so many threads; later there may be fewer.
    team = None if is_inline(n_threads, flops) else (n_threads, flops, flops, flops)
    return _Repeated(prediction, out, team)


class _Repeated:
    """What `repeated` returns.

    Parameters
    ----------
    prediction : _Prediction
        With a model.
    out : tuple
        Shape and dtype of the predictions.
    team : tuple or None
        Arguments of a `Team`; None if the calling thread predicts at once.
    """

    def __init__(self, prediction, out, team):
        self._prediction, self._out, self._team = prediction, out, team
        self._point = prediction.record.pointer("X", "predictions")
        self._non_finite = np.zeros(1, dtype=np.int64)
        prediction.record.point(non_finite=self._non_finite)
        self._control = np.zeros(N_CONTROL, dtype=np.int64)
        self._run = bound(predict_rows, 0, 1, self._control, prediction.record.argument)

    def __call__(self, X):
        out = np.empty(*self._out)
        self._point(X, out)
        if self._team is None:
            # Threads share out the blocks of rows there.
            self._control.fill(0)
            self._run()
        else:
            with Team(*self._team) as team:
                team.run(predict_rows, self._prediction.record.argument)
        if self._non_finite[0]:
            self._non_finite[0] = 0
            return None
        return out


@lru_cache(maxsize=64)
def _forward(network, dtype, n_rows, index_dtype, link, checks=False):
    """Build what all predictions of `n_rows` rows share: offsets and plan."""
    block_rows = max(1, min(_block_rows(network, dtype.itemsize, n_rows), _prediction_rows(n_rows)))
    offsets = _offsets_of(network, dtype, block_rows, index_dtype is not None, training=False)
    plan = _EMPTY_PLAN._replace(
        layout=network.layout,
        offsets=offsets.table,
        calls=layer_calls(network, dtype, None, link),
        program=program_rows(prediction_calls(network, offsets.table, link, checks), dtype, index_dtype),
        groups=network.groups.reshape(-1),
        settings=network.settings.reshape(-1),
        dropout=np.zeros(len(network.layout)),
        n_threads=1,
        block_rows=block_rows,
        stride=offsets.n_units,
        **shared_calls(dtype),
    )
    return offsets, plan


@lru_cache(maxsize=64)
def _all_rows(n_rows):
    return np.arange(n_rows)


class _Prediction:
    """What predictions of as many rows share: a record without data, and its memory."""

    def __init__(self, offsets, plan, network, dtype, n_threads):
        self.plan, self.n_threads = plan, n_threads
        workspace = _prediction_workspace_of(offsets, network, dtype, n_threads)
        self.record, self._memory = Record(FORM, dtype, plan), workspace.allocate()
        workspace.enter(self.record, self._memory)
        self.n_bytes = workspace.n_bytes
        self._entered = None, None, None

    def enter(self, params, running, places):
        """Enter a model and the places of its rows, unless they are the last ones, which are kept for this."""
        entered = params, running, places
        if any(new is not old for new, old in zip(entered, self._entered, strict=True)):
            self.record.point(params=params, running=running, order=places, places=places)
            self._entered = entered


_kept = threading.local()


def _prediction(offsets, plan, network, dtype, n_threads):
    """Return what a prediction needs; a thread reuses that of its last small one."""
    kept = getattr(_kept, "prediction", None)
    if kept is None or kept.plan is not plan or kept.n_threads != n_threads:
        kept = _Prediction(offsets, plan, network, dtype, n_threads)
        if kept.n_bytes <= _KEPT_BYTES:
            _kept.prediction = kept
    return kept
