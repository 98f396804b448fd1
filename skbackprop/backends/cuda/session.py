"""Fit and predict on a device: lay out its memory and launch the kernels."""

import threading
import weakref
from functools import lru_cache, partial

import numpy as np

from skbackprop._compile import SIMULATED, loop
from skbackprop.backends.batch_plan import plan_batches, row_flops
from skbackprop.backends.cuda.device import Device, configure
from skbackprop.backends.cuda.population import RESIDENT_THREADS, Launches, Request, launches_of
from skbackprop.backends.cuda.products import Tiles
from skbackprop.backends.cuda.state import (
    ACTIVATION,
    DECAY,
    DELTAS,
    KEEPS,
    LARGE,
    N_COLUMNS,
    N_ENTRIES,
    N_PLAN_ARRAYS,
    N_WORDS,
    SHARE,
    STATISTICS,
    TRAINED,
    TREATMENT,
    UNITS,
    Batches,
    Data,
    Model,
    Plan,
    Report,
    Work,
)
from skbackprop.backends.cuda.steps import Functions, make_kernels, prediction_calls, program, training_calls
from skbackprop.backends.data import OF_DECAY, OF_DROPOUT, Epochs, check_data, check_state, unscheduled
from skbackprop.backends.together import current_share
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.activations import Identity
from skbackprop.functions.groups import group_tables
from skbackprop.functions.optimizers import CARRIED, N_CONSTANTS, optimizer_loops
from skbackprop.functions.penalties import Penalties
from skbackprop.network import N_LAYOUT

__all__ = ["TIERS", "Session", "predict"]

#: How the steps of a batch are synchronized: see `steps`.
TIERS = ("resident", "cooperative", "stepwise")

_TILES = {
    np.dtype(np.float32): Tiles(8, 4, 2) if SIMULATED else Tiles(64, 16, 4),
    np.dtype(np.float64): Tiles(8, 4, 2) if SIMULATED else Tiles(64, 8, 4),
}
# Tiles for products on tensor cores, in TF32.
_TENSOR_TILES = Tiles(16, 8, 2, True) if SIMULATED else Tiles(64, 16, 4, True)

# Crossovers, not measured yet: estimated from the time of a grid-wide barrier and of one block's arithmetic.
# Up to this many operations per batch, one block is faster than all blocks with their barriers.
_RESIDENT_FLOPS = 3e6
# Minimum number of multiplications of a product, and minimum of its extents, for the per-block variant.
_LARGE_PRODUCT = 256 if SIMULATED else 1 << 22
_LARGE_EXTENT = 6 if SIMULATED else 32

# Maximum memory for units, slopes and gradients of a block of rows.
_WORK_BYTES = 1 << 30

# Operations per call of several short epochs: some milliseconds.
_CALL_FLOPS = 1e9

# Dynamic shared memory per block that every device provides without opting in, which numba-cuda cannot do. The rest of
# it holds the network's row of the launch's table.
_SHARED_BYTES = (48 << 10) - 8 * N_WORDS

# Maximum number of partial sums, see `state.Plan`.
_MAX_LANES = 4096
_WEIGHTS_PER_LANE = 64


def _power_of_two(n):
    """Return the smallest power of two that is at least `n`."""
    return 1 << max(int(n) - 1, 0).bit_length()


def _row_numbers(network):
    """Return the workspace numbers per row: units, slopes, gradients, normalized units, changes."""
    return (4 + network.parametric) * sum(network.stage_units)


def _block_rows(network, itemsize, n_rows):
    most = max(1, _WORK_BYTES // (_row_numbers(network) * itemsize))
    n_blocks = -(-n_rows // most)
    return -(-n_rows // max(n_blocks, 1))


class _Layout:
    """Memory layout of a network's units, and the kernels' table of its layers."""

    def __init__(self, network, keeps, trained, is_sparse, block_rows, has_blocks, trains):
        # Gradients go unchanged from the first dense layer to an input layer.
        kinds = [((Identity, False)) for _ in network.inputs]
        kinds += [(kind, keep) for (kind, _), keep in zip(network.activations, keeps, strict=True)]
        #: Distinct activations, with whether their slopes are stored; see `layers.activations`.
        self.kinds = tuple(dict.fromkeys(kinds)) or ((Identity, False),)
        self.layers = np.zeros((len(network.layout) + 1, N_COLUMNS), dtype=np.int64)
        self.layers[:-1, :N_LAYOUT] = network.layout
        self.n_units = self.n_deltas = self.n_statistics = 0
        for layer, n_units in enumerate(network.stage_units):
            self.layers[layer, [UNITS, DELTAS]] = self.n_units, self.n_deltas
            if not (is_sparse and layer == 0):
                self.n_units += n_units * block_rows
            # The gradient with respect to the inputs is not needed.
            self.n_deltas += n_units * block_rows if layer > 0 else 0
        for stage, kind in enumerate(kinds):
            self.layers[stage, [ACTIVATION, KEEPS]] = self.kinds.index(kind), kind[1]
        for layer in network.layers if trains else ():
            n_stored = layer.n_stored(block_rows)
            if n_stored:
                self.layers[layer.stage, STATISTICS] = self.n_statistics
                self.n_statistics += n_stored
        self.layers[:-1, TRAINED] = trained
        for layer, (fan_in, fan_out) in enumerate(network.layout[:, :2]):
            is_large = (
                fan_in * fan_out * block_rows >= _LARGE_PRODUCT and min(fan_in, fan_out, block_rows) >= _LARGE_EXTENT
            )
            self.layers[layer, LARGE] = has_blocks and is_large and not (is_sparse and layer == 0)


def prepare(rate, step, settings, constants):
    """Stand in for the optimizer's loop, which the template calls by this name."""
    raise NotImplementedError


def _prepare_updates(rates, steps, settings, constants):
    for batch in range(rates.size):
        for position in range(CARRIED, N_CONSTANTS):
            constants[batch + 1, position] = constants[batch, position]
        prepare(rates[batch], steps[batch], settings, constants[batch + 1])


@lru_cache(maxsize=64)
def _preparation(kind):
    """Return the loop that computes an optimizer's constants on the CPU, whose power functions devices lack."""
    return loop(_prepare_updates, prepare=optimizer_loops(kind)[0].formula())


def _kernels(calls, functions):
    """Return the program of a list of calls, and its kernels."""
    names = tuple(dict.fromkeys(call.step for call in calls))
    threads = (functions.tiles or _TILES[np.dtype(functions.dtype)]).n_threads
    return program(calls, names), make_kernels(names, functions, RESIDENT_THREADS, threads)


class _Launcher:
    """Launches the kernels of a program on all blocks of a device."""

    def __init__(self, device, calls, functions, tier, most_parts):
        self._device = device
        self._tier = tier
        self._most_parts = most_parts
        self._rows, kernels = _kernels(calls, functions)
        tiles = functions.tiles or _TILES[np.dtype(functions.dtype)]
        self._kernel = getattr(kernels, tier)
        self._threads, self._shared_bytes = tiles.n_threads, tiles.n_shared * np.dtype(functions.dtype).itemsize
        self._on_device = None
        self._launch = None

    def run(self, table, *arrays):
        """Run the program's steps for each row of a table, see `state.Batches`."""
        if self._on_device is None:
            self._on_device = self._device.upload(self._rows)
        if self._tier == "stepwise":
            self._run_steps(table, arrays)
            return
        arguments = (self._on_device, len(table), *arrays)
        if self._launch is None:
            n_blocks = 1
            if self._tier == "cooperative":
                n_blocks = self._device.cooperative_blocks(self._kernel, arguments, self._threads, self._shared_bytes)
                n_blocks = max(1, min(n_blocks, -(-self._most_parts // self._threads)))
            self._launch = configure(self._kernel, n_blocks, self._threads, self._device.stream, self._shared_bytes)
        self._launch(*arguments)

    def _run_steps(self, table, arrays):
        if self._launch is None:
            n_blocks = 2 if SIMULATED else 2 * self._device.n_processors
            self._launch = configure(self._kernel, n_blocks, self._threads, self._device.stream, self._shared_bytes)
        # As in `step_applies`: always; at a batch's first block; at its last block; at an epoch's end.
        when = np.column_stack([np.ones(len(table)), table[:, 2], table[:, 3], table[:, 6]]) > 0
        for number, applies in enumerate(when):
            for code, layer, kind, _ in self._rows:
                if applies[kind]:
                    self._launch(int(code), int(layer), number, *arrays)


def _tiles(dtype, precision):
    return _TENSOR_TILES if precision == "tf32" else _TILES[dtype]


def _input_kinds(network):
    """Return the distinct classes of a network's input layers."""
    return tuple(dict.fromkeys(kind for kind, *_ in network.inputs))


def _settings(network, dtype):
    return network.settings.astype(dtype)


def _choose_tier(network, batch_rows, density=1.0):
    """Choose the tier for mini-batches of a network."""
    flops = 6.0 * batch_rows * row_flops(network, density) / 2.0
    return "resident" if flops <= _RESIDENT_FLOPS else "cooperative"


def _most_parts(network, block_rows):
    """Return the maximum number of parts, tiles of two by two, into which a step can be divided."""
    largest = max(fan_in * fan_out for fan_in, fan_out in network.layout[:, :2])
    return max(block_rows * max(network.stage_units), largest) // 4 + 1


def _upload_rows(device, rows):
    """Upload the arrays of `Rows`, each of at least one number."""
    X = device.flat(rows.X, rows.data.dtype) if rows.is_on_gpu else device.upload(rows.X.reshape(-1))
    return [X, *(device.upload(array) for array in (rows.data, rows.indices, rows.indptr))]


def _identity(array):
    return array.__array_interface__["data"][0], array.nbytes, array.dtype


def _held_rows(device, rows, share):
    """Return the uploaded rows that the trainings of a population share.

    The first training uploads the rows; they are kept as long as the data. None outside a population, and for rows that
    are on a GPU already.
    """
    if share is None or rows.is_on_gpu:
        return None
    # The arrays are views: watch the lifetime of the owner of their memory.
    owner = rows.data if rows.is_sparse else rows.X
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    key = device.index, *map(_identity, (rows.X, rows.data, rows.indices, rows.indptr))
    with share.lock:
        if key not in share.copies:
            arrays = _upload_rows(device, rows)
            device.stream.synchronize()
            share.copies[key] = arrays, weakref.ref(owner, lambda _: share.copies.pop(key, None))
        return share.copies[key][0]


class Session:
    """Data and workspace of one fit on a device; a context manager.

    Parameters
    ----------
    network, dtype, rows, targets, sample_weight, batch_size, n_trained, n_jobs, penalties, seed, trains
        As for the CPU's `Session`; `n_jobs` is ignored.
    index : int, default=0
        The device's number.
    precision : {"full", "tf32"}, default="full"
        "tf32" computes the products of large layers on tensor cores, for dtype float32.
    tier : {"resident", "cooperative", "stepwise"} or None, default=None
        None chooses by the amount of work.

    Raises
    ------
    ValueError
        If the data do not match the network, or if mini-batches of one row would be normalized. A last mini-batch of
        one row is dropped instead.
    MemoryError
        If the device does not have enough memory.
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
        *,
        index=0,
        precision="full",
        tier=None,
    ):
        check_data(network, rows, targets, sample_weight)
        self._network = network
        self._dtype = np.dtype(dtype)
        self._penalties = penalties
        self._seed = seed
        self._index = index
        self._tiles = _tiles(self._dtype, precision)
        self._share = current_share()
        self._rows = rows
        self._batches = batches = plan_batches(
            network, rows, batch_size, n_trained, penalties, trains,
            block_rows=partial(_block_rows, network, self._dtype.itemsize), call_flops=_CALL_FLOPS,
        )  # fmt: skip
        self.n_batches, self.max_epochs = batches.n_batches, batches.max_epochs
        self._targets = np.ascontiguousarray(targets, dtype=dtype)
        self._weights = None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=dtype)
        self._tier = tier or _choose_tier(network, batches.batch_size, rows.density)
        frozen = penalties.frozen_stages(network.n_front)
        trained = [stage not in frozen for stage in range(len(network.stages))]
        has_blocks = self._tier != "resident"
        self._layout = _Layout(network, batches.keeps, trained, rows.is_sparse, batches.block_rows, has_blocks, trains)
        self._rate_factors, index, decays = group_tables(penalties.groups, len(network.layout))
        # Pairs of the index of a rate and a factor of the weight decay.
        pairs = np.stack([index, decays], axis=-1).reshape(-1, 2)
        self._treatments, members = np.unique(pairs, axis=0, return_inverse=True)
        self._layout.layers[:-1, TREATMENT:] = members.reshape(index.shape)
        self._trains = trains
        self._n_lanes = min(_power_of_two(min(batches.block_rows, batches.n_given)), _MAX_LANES)
        self._n_weight_lanes = min(_power_of_two(network.n_weights // _WEIGHTS_PER_LANE), _MAX_LANES)

    def memory_bytes(self):
        """Return the device memory that the session takes, apart from a call's memory for its batches.

        Returns
        -------
        n_bytes : int
        """
        rows, layout, itemsize = self._rows, self._layout, self._dtype.itemsize
        # Rows that are on the device already take no more memory.
        X = () if rows.is_on_gpu else (rows.X,)
        data = sum(array.nbytes for array in (*X, rows.data, rows.indices, rows.indptr, self._targets))
        data += 0 if self._weights is None else self._weights.nbytes
        # Parameters, gradient, three arrays of optimizer state (few optimizers need more), average.
        model = 6 * self._network.n_params * itemsize
        work = (layout.n_units + (3 + self._network.parametric) * layout.n_deltas) * itemsize + 8 * layout.n_statistics
        return data + model + work + 8 * self._batches.n_given

    def __enter__(self):
        joins = self._share is not None and self._tier == "resident"
        if joins:
            self._launches = launches_of(self._share, self._index)
            self._device = self._launches.device
        else:
            self._device = Device(self._index)
            self._launches = Launches(self._device)
        device = self._device
        with device.active():
            needed = self.memory_bytes()
            device.require(needed, "this training")
            with device.allocating(needed, "this training"):
                self._allocate(device)
        self._launchers = {}
        if joins:
            # From now on, this thread mostly waits.
            self._share.leave_core()
        return self

    def _allocate(self, device):
        network, dtype, layout, rows = self._network, self._dtype, self._layout, self._batches.block_rows
        self._arrays = _held_rows(device, self._rows, self._share) or _upload_rows(device, self._rows)
        self._Y = device.upload(self._targets.reshape(-1))
        self._row_weights = device.upload(np.zeros(0, dtype) if self._weights is None else self._weights)
        has_slopes = layout.layers[:, KEEPS].any()
        n_outputs = self._targets.shape[1]
        n_normalized = 2 if network.parametric else int(network.normalizes and self._trains)
        #: Sizes and dtypes of the workspace.
        self._work = Work(
            (layout.n_units, dtype),
            (layout.n_deltas if has_slopes else 0, dtype),
            (layout.n_deltas, dtype),
            (n_normalized * layout.n_deltas, dtype),
            (layout.n_statistics, np.float64),
            (rows * n_outputs, dtype),
            (rows, np.float64),
            (self._n_weight_lanes + 1, dtype),
        )
        limits = self._penalties.numbers()
        self._plan = Plan(
            layout.layers,
            _settings(network, dtype),
            np.array([*limits[:-1], 1.0 - limits[-1]], dtype=dtype),
            network.groups.reshape(-1),
            len(network.layout),
            n_outputs,
            int(self._weights is not None),
            int(self._seed),
            self._n_lanes,
            self._n_weight_lanes,
        )
        self._gradient = np.zeros(network.n_params, dtype=dtype)
        if self._tier != "resident":
            self._order = self._places = device.empty(self._batches.n_given, np.int64)
            self._device_work = Work(*(device.zeros(*part) for part in self._work))
            self._device_plan = Plan(*map(device.upload, self._plan[:N_PLAN_ARRAYS]), *self._plan[N_PLAN_ARRAYS:])
            self._params = device.empty(network.n_params, dtype)
            self._grads = device.empty(network.n_params, dtype)
            self._slots = self._average = device.zeros(0, dtype)

    def __exit__(self, *exception):
        with self._device.active():
            self._device.stream.synchronize()
            for name in ("arrays", "Y", "row_weights", "launches", "launchers"):
                setattr(self, f"_{name}", None)
            for name in (
                "order",
                "places",
                "device_work",
                "device_plan",
                "params",
                "grads",
                "slots",
                "average",
            ):
                vars(self).pop(f"_{name}", None)

    def run_epochs(self, order, rates, params, optimizer, factors=None):
        """Train on all mini-batches of one or several epochs, as on the CPU.

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
            The last loss is NaN if a batch's loss is not finite.
        """
        check_state(self._network, self._dtype, params, optimizer, bool(self._penalties.average))
        order = self._batches.trained(order)
        kind, _ = optimizer.key
        batches = self._blocks(order, self._batches.n_trained, self._batches.batch_size, optimizer.n_steps)
        if not batches.n_updates:
            return self._no_epochs(batches.n_epochs)
        model = Model(params, self._gradient, optimizer.slots.reshape(-1), optimizer.average, optimizer.running)
        factors = (unscheduled(len(rates)) if factors is None else factors)[batches.numbers]
        constants = self._constants(batches, rates, factors[:, OF_DECAY], optimizer)
        finishes, clips_norm = self._penalties.finishes, bool(self._penalties.clip_norm)
        arrays = self._batch_arrays(batches, constants, factors[:, OF_DROPOUT])
        epochs = self._run(order, batches, arrays, model, self._penalties, kind, True, finishes, clips_norm)
        optimizer.n_steps += batches.n_updates
        return epochs

    def loss_gradient(self, order, params):
        """Compute loss and gradient over all rows, as on the CPU.

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
        return self._evaluate(order, params, np.zeros(self._network.n_running), self._penalties, True), self._gradient

    def loss(self, order, params, running=None):
        """Compute the loss over all rows, without penalty and without dropout, as on the CPU.

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
        return self._evaluate(order, params, self._network.fold(params, running), Penalties(), False)

    def _evaluate(self, order, params, running, penalties, differentiates):
        batches = self._blocks(order, len(order), len(order), 0)
        constants = np.zeros((1, 1, N_ENTRIES))
        constants[..., SHARE] = 1.0 / batches.weights
        # A loss alone is computed without dropout.
        arrays = self._batch_arrays(batches, constants, np.full(1, float(differentiates)))
        nothing = np.zeros(0, dtype=self._dtype)
        model = Model(params, self._gradient, nothing, nothing, running)
        epochs = self._run(order, batches, arrays, model, penalties, None, differentiates, differentiates, False)
        return float(epochs.losses[0])

    def _blocks(self, order, n_trained, batch_size, n_steps):
        return _Blocks(order, n_trained, batch_size, self._batches.block_rows, self._weights, n_steps)

    def _batch_arrays(self, batches, constants, dropout_factors):
        """Return `state.Batches` of batches of nonzero weight."""
        dropout = np.outer(dropout_factors, self._batches.dropout)
        thresholds, scales = (dropout * 4294967296.0).astype(np.uint64), 1.0 / (1.0 - dropout)
        return Batches(batches.table, constants.astype(self._dtype), thresholds, scales.astype(self._dtype))

    def _constants(self, batches, rates, decay_factors, optimizer):
        """Compute `Batches.constants` for each batch with nonzero weight and each treatment of parameters."""
        kind, numbers_ = optimizer.key
        settings = np.zeros(N_SETTINGS)
        settings[: len(numbers_)] = numbers_
        made = np.zeros((len(self._rate_factors), 1 + len(batches.weights), N_CONSTANTS))
        made[:, 0, CARRIED:] = optimizer.carried
        steps = optimizer.n_steps + 1 + np.arange(len(batches.weights))
        rates = np.ascontiguousarray(np.asarray(rates, dtype=np.float64)[batches.numbers])
        for factor, of_rate in zip(self._rate_factors, made, strict=True):
            _preparation(kind)(rates * factor, steps, settings, of_rate)
        optimizer.carried[:] = made[0, -1, CARRIED:]
        index, decays = self._treatments.T
        constants = np.empty((len(batches.weights), len(index), N_ENTRIES))
        constants[..., :N_CONSTANTS] = made[index.astype(np.intp), 1:].swapaxes(0, 1)
        constants[..., SHARE] = 1.0 / batches.weights[:, np.newaxis]
        constants[..., DECAY] = np.outer(decay_factors, decays)
        return constants

    def _no_epochs(self, n_epochs):
        """Return the report of epochs without an update."""
        n_hidden = len(self._network.activations)
        return Epochs(np.zeros(n_epochs), np.zeros((n_epochs, n_hidden + 1)), np.zeros((n_epochs, n_hidden)))

    def _run(self, order, batches, arrays, model, penalties, optimizer, differentiates, finishes, clips_norm):
        """Run all steps; update the model's arrays, which are on the host, in place."""
        if self._share is not None:
            self._share.check()
        network, dtype = self._network, self._dtype
        n_layers, n_epochs, n_batches = len(network.layout), batches.n_epochs, len(batches.weights)
        n_units = sum(network.stage_units[1:-1])
        trains = optimizer is not None
        report = Report(
            np.zeros((n_batches, self._n_lanes)),
            np.zeros((n_batches, self._n_weight_lanes), dtype=dtype),
            np.zeros((n_epochs, n_layers, self._n_weight_lanes) if trains else (1, 1, 1), dtype=dtype),
            np.zeros(max(n_epochs * n_units, 1), dtype=np.int64),
        )
        over_batch = None if network.normalization is None else network.over_batch
        resident = self._tier == "resident"
        functions = Functions(
            self._layout.kinds, network.loss[0], _input_kinds(network), over_batch, network.parametric, differentiates,
            optimizer, finishes, clips_norm, None if resident else self._tiles, dtype.name,
            self._rows.indices.dtype.name,
        )  # fmt: skip
        run = self._run_together if resident else self._run_alone
        run(order.astype(np.int64, copy=False), arrays, model, penalties, functions, report)
        _, norms, constant_units = self._no_epochs(n_epochs)
        totals = report.losses.sum(axis=1)
        if penalties.alpha and differentiates:
            totals += report.penalties.sum(axis=1, dtype=np.float64)
        if trains:
            norms = np.sqrt(report.squares.sum(axis=2, dtype=np.float64)) / batches.last_weights[:, None]
            norms = norms[:, network.n_front :]
            constant = report.constant[: n_epochs * n_units].reshape(n_epochs, n_units)
            parts = np.split(constant, np.cumsum(network.stage_units[1:-1])[:-1], axis=1)[network.n_front :]
            if network.activations:
                constant_units = np.column_stack([part.mean(axis=1) for part in parts])
        return Epochs(batches.epoch_losses(totals), norms, constant_units)

    def _calls(self, functions, penalties):
        return training_calls(self._network, functions, self._rows.is_sparse, penalties)

    def _run_together(self, order, batches, model, penalties, functions, report):
        """Run in one block, in a launch shared with other waiting networks."""
        if functions not in self._launchers:
            rows, kernels = _kernels(self._calls(functions, penalties), functions)
            size = 2 * self._network.n_params + sum(size for size, _ in self._work[:3])
            shared_bytes = size * self._dtype.itemsize
            fits = shared_bytes <= _SHARED_BYTES
            self._launchers[functions] = rows, kernels.staged if fits else kernels.resident, shared_bytes * fits
        rows, kernel, shared_bytes = self._launchers[functions]
        arrays = {
            "program": rows,
            **dict(zip(Data._fields[:6], (*self._arrays, self._Y, self._row_weights), strict=True)),
            "order": order,
            "places": order if self._rows.index is None else self._rows.places(order),
            **batches._asdict(),
            **dict(zip(Plan._fields[:N_PLAN_ARRAYS], self._plan, strict=False)),
            **{f"work.{name}": part for name, part in self._work._asdict().items()},
        }
        results = {**model._asdict(), **{f"report.{name}": array for name, array in report._asdict().items()}}
        n_batches, n_treatments, _ = batches.constants.shape
        numbers_ = (
            len(batches.table),
            len(rows),
            n_batches,
            n_treatments,
            len(report.squares),
            *self._plan[N_PLAN_ARRAYS:],
        )
        request = Request(kernel, shared_bytes, numbers_, arrays, results)
        if self._share is None:
            self._launches.run([request])
        else:
            self._share.gathering.ask(request, self._launches.run)

    def _run_alone(self, order, batches, model, penalties, functions, report):
        """Run on all blocks of the device."""
        device = self._device
        with device.active(), device.allocating(self.memory_bytes(), "this training"):
            if functions not in self._launchers:
                most_parts = _most_parts(self._network, self._batches.block_rows)
                calls = self._calls(functions, penalties)
                self._launchers[functions] = _Launcher(device, calls, functions, self._tier, most_parts)
            if self._order.size < len(order):
                self._order = self._places = device.empty(len(order), np.int64)
            device.write(order, self._order)
            if self._rows.index is not None:
                if self._places is self._order or self._places.size < len(order):
                    self._places = device.empty(len(order), np.int64)
                device.write(self._rows.places(order), self._places)
            if self._slots.size < model.slots.size:
                self._slots = device.empty(model.slots.size, self._dtype)
            if self._average.size < model.average.size:
                self._average = device.empty(model.average.size, self._dtype)
            for source, target in (
                (model.params, self._params),
                (model.slots, self._slots),
                (model.average, self._average),
            ):
                device.write(source, target)
            there = Model(self._params, self._grads, self._slots, self._average, device.upload(model.running))
            device_report = Report(*(device.upload(array) for array in report))
            data = Data(*self._arrays, self._Y, self._row_weights, self._order, self._places)
            arrays = Batches(*map(device.upload, batches))
            plan, work = self._device_plan, self._device_work
            self._launchers[functions].run(batches.table, data, arrays, plan, there, work, device_report)
            for source, target in (*zip(device_report, report, strict=True), *zip(there, model, strict=True)):
                device.read(source.reshape(-1), target.reshape(-1))


class _Blocks:
    """The batches of a call, cut into blocks of rows that fit the workspace; batches of zero weight are left out."""

    def __init__(self, order, n_trained, batch_size, block_rows, sample_weight, n_steps):
        self.n_epochs = len(order) // n_trained
        self._n_trained = n_trained
        starts = np.arange(0, n_trained, batch_size)
        stops = np.minimum(starts + batch_size, n_trained)
        firsts = (np.arange(self.n_epochs)[:, None] * n_trained + starts).reshape(-1)
        sizes = np.tile(stops - starts, self.n_epochs)
        epochs = np.repeat(np.arange(self.n_epochs), len(starts))
        weights = sizes.astype(np.float64)
        if sample_weight is not None:
            weights = np.add.reduceat(sample_weight[order].astype(np.float64), firsts)
        ends = np.tile(np.arange(len(starts)) == len(starts) - 1, self.n_epochs)
        kept = np.flatnonzero(weights != 0.0)
        #: Indices of the remaining batches, the total weight of each, and that of each epoch's last one.
        self.numbers = kept
        self.weights = weights[kept]
        self.last_weights = np.where(
            weights.reshape(self.n_epochs, -1)[:, -1] != 0, weights.reshape(self.n_epochs, -1)[:, -1], 1.0
        )
        self.n_updates = len(kept)
        self._sizes, self._epochs = sizes[kept], epochs[kept]
        # One row per block of rows of a batch.
        n_blocks = -(-self._sizes // block_rows)
        batch = np.repeat(np.arange(len(kept)), n_blocks)
        shift = block_rows * (np.arange(len(batch)) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks))
        is_last = shift + block_rows >= self._sizes[batch]
        #: See `state.Batches`.
        self.table = np.column_stack(
            [
                firsts[kept][batch] + shift,
                np.minimum(block_rows, self._sizes[batch] - shift),
                shift == 0,
                is_last,
                batch,
                n_steps + batch,
                np.where(is_last & ends[kept][batch], self._epochs[batch] + 1, 0),
            ]
        ).astype(np.int64)

    def epoch_losses(self, totals):
        """Compute the epochs' mean losses from the sums of the batches; the last is NaN if one is not finite."""
        means = totals / self.weights
        losses = np.bincount(self._epochs, weights=means * self._sizes, minlength=self.n_epochs) / self._n_trained
        if not np.isfinite(means).all():
            losses[-1] = np.nan
        return losses


def predict(network, params, rows, n_jobs=None, link=True, running=None, out=None, *, index=0, precision="full"):
    """Predict rows, as on the CPU.

    Parameters
    ----------
    network, params, rows, n_jobs, link, running, out
        As for the CPU's `predict`; `n_jobs` is ignored, and `out` may be another library's array on the device.
    index : int, default=0
        The device's number.
    precision : {"full", "tf32"}, default="full"
        See `Session`.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs)
        `out` if given.
    """
    with _predicting:
        return _predict(network, params, rows, link, running, out, index, precision)


# Maximum number of concurrent predictions, each of which needs its own memory.
_predicting = threading.BoundedSemaphore(4)


def _predict(network, params, rows, link, running, out, index, precision):
    dtype, n_rows, n_outputs = params.dtype, rows.shape[0], network.layer_units[-1]
    out = np.empty((n_rows, n_outputs), dtype=dtype) if out is None else out
    block_rows = max(1, min(_block_rows(network, dtype.itemsize, n_rows), n_rows))
    n_layers, n_hidden = len(network.layout), len(network.activations)
    layout = _Layout(network, (False,) * n_hidden, [True] * n_layers, rows.is_sparse, block_rows, True, False)
    over_batch = None if network.normalization is None else network.over_batch
    functions = Functions(
        layout.kinds, network.loss[0], _input_kinds(network), over_batch, network.parametric,
        tiles=_tiles(dtype, precision), dtype=dtype.name,
    )  # fmt: skip
    device = Device(index)
    needed = (layout.n_units + network.n_params) * dtype.itemsize
    with device.active():
        device.require(needed, "this prediction")
        with device.allocating(needed, "this prediction"):
            nothing, none = device.zeros(0, dtype), device.zeros(0, np.float64)
            nothing_dropped = device.zeros(1, np.uint64).reshape(1, 1)
            units = device.empty(layout.n_units, dtype)
            work = Work(units, nothing, nothing, nothing, none, nothing, none, nothing)
            plan = Plan(
                device.upload(layout.layers), device.upload(_settings(network, dtype)), nothing,
                device.upload(network.groups.reshape(-1)), n_layers, 1, 0, 0, 1, 1,
            )  # fmt: skip
            model = Model(
                device.upload(params), nothing, nothing, nothing, device.upload(network.fold(params, running))
            )
            report = Report(
                none.reshape(1, 1), nothing.reshape(1, 1), nothing.reshape(1, 1, 1), device.zeros(0, np.int64)
            )
            # Subsets of rows that others train on are already uploaded.
            held = None if rows.index is None else _held_rows(device, rows, current_share())
            places = order = device.upload(np.arange(block_rows))
            rows = rows if held is not None else rows.gathered()
            calls = prediction_calls(network, functions, rows.is_sparse, link)
            launcher = _Launcher(device, calls, functions, "stepwise", 0)
            start_of_outputs = layout.layers[n_layers, UNITS]
            stays = not isinstance(out, np.ndarray)
            flat = device.adopt(out).reshape(-1) if stays else out.reshape(-1)
            for start in range(0, n_rows, block_rows):
                stop = min(start + block_rows, n_rows)
                table = np.array([(0, stop - start, 1, 1, 0, 0, 0)], dtype=np.int64)
                if held is not None:
                    places = device.upload(rows.index[start:stop])
                arrays = held or _upload_rows(device, rows.part(start, stop))
                data = Data(*arrays, nothing, nothing, order, places)
                batches = Batches(
                    device.upload(table), nothing.reshape(1, 1, 1), nothing_dropped, nothing.reshape(1, 1)
                )
                launcher.run(table, data, batches, plan, model, work, report)
                part = flat[start * n_outputs : stop * n_outputs]
                made = units[start_of_outputs : start_of_outputs + part.size]
                if stays:
                    part.copy_to_device(made, stream=device.stream)
                else:
                    device.read(made, part)
            device.stream.synchronize()
    return out
