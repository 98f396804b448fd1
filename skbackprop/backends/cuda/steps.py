"""Programs of steps for a mini-batch, and the kernels that run them.

A step takes the index of the thread among all and their count, or those of the block for per-block products; its layer;
a row of `Batches.table`; and the arrays of `state`. A program is a table of steps. Three kernels run the same program:
one block that synchronizes its threads between steps (resident tier); many blocks with grid-wide barriers (cooperative
tier); and, if a device does not support those, one launch per step (stepwise tier).
"""

import threading
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.device import arrays_at, compiled, cuda, device_function, part_of
from skbackprop.backends.cuda.inputs import input_steps
from skbackprop.backends.cuda.layers import (
    activations,
    alpha_step,
    constant_step,
    dense_steps,
    drop_step,
    gather_step,
    intercept_step,
    loss_step,
    make_store,
    target_step,
    total_step,
)
from skbackprop.backends.cuda.normalization import normalization_steps
from skbackprop.backends.cuda.penalties import (
    average_step,
    factor_step,
    finish_step,
    limit_step,
    norm_step,
    penalty_step,
    square_step,
    update_step,
)
from skbackprop.backends.cuda.sparse import forward_sparse_step, gradient_sparse_step
from skbackprop.backends.cuda.state import (
    ARRAYS,
    EPOCH_END,
    FAN_OUT,
    FIRST,
    HAS_WEIGHTS,
    LARGE,
    LAST,
    N_BATCHES,
    N_CALLS,
    N_COLUMNS,
    N_ENTRIES,
    N_EPOCHS,
    N_LANES,
    N_LAYERS,
    N_NUMBERS,
    N_ROWS,
    N_TARGETS,
    N_TREATMENTS,
    N_WEIGHT_LANES,
    N_WORDS,
    SEED,
    TABLE_ROWS,
    UNITS,
    Batches,
    Data,
    Model,
    Plan,
    Report,
    Work,
)
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.losses import loss_loops

__all__ = ["Functions", "make_kernels", "prediction_calls", "program", "training_calls"]

#: When a step runs: for each block of rows, or only for the first or last one of a batch, or the last one of an epoch.
ALWAYS, AT_FIRST, AT_LAST, AT_END = range(4)

#: Columns of a program: the step, its layer, when it runs, and whether a barrier follows.
CODE, LAYER, WHEN, WAITS = range(4)


class Call(NamedTuple):
    """A step of a program.

    Parameters
    ----------
    step : str
        The step's name.
    layer : int
    when : int
    waits : bool
    """

    step: str
    layer: int = 0
    when: int = ALWAYS
    waits: bool = True


class Functions(NamedTuple):
    """Functions and options from which steps are built; kernels of the same steps and functions are compiled once.

    Parameters
    ----------
    kinds : tuple of (type, bool)
        See `layers.activations`.
    loss : type
    input_kinds : tuple of type
        Distinct classes of input layers.
    over_batch : bool or None
        Whether a normalization takes means over the batch; None for no normalization.
    parametric : bool
        Whether activations are mixed with the identity.
    differentiates : bool
        Whether the gradient is computed.
    optimizer : type or None
        From `Optimizer.kernel_kind`.
    finishes, clips_norm : bool
        Whether the gradient is finished, and its norm clipped, before the update.
    tiles : Tiles or None
        Tiles of the products of large layers.
    dtype : str
    index_dtype : str
        Dtype of the column indices of sparse rows.
    """

    kinds: tuple
    loss: type
    input_kinds: tuple = ()
    over_batch: bool | None = None
    parametric: bool = False
    differentiates: bool = False
    optimizer: type | None = None
    finishes: bool = False
    clips_norm: bool = False
    tiles: object = None
    dtype: str = "float64"
    index_dtype: str = "int32"

    def normalization(self, store):
        """Return the forward and backward steps of the normalization; empty without one."""
        if self.over_batch is None:
            return [], []
        return normalization_steps(store, self.over_batch, self.differentiates)

    def steps(self, names):
        """Build steps by name.

        Parameters
        ----------
        names : tuple of str

        Returns
        -------
        steps : list of (formula, device function or None)
            Per-thread variant, and per-block variant for large layers.
        """
        activate, derive = activations(self.kinds)
        store = make_store(activate, self.parametric)
        normalizes = self.over_batch is not None
        evaluate, link = loss_loops(self.loss)
        forward, backward, gradient = dense_steps(
            store, derive, normalizes, self.parametric, self.tiles, np.dtype(self.dtype)
        )
        made = {"forward": forward, "backward": backward, "gradient": gradient}
        by_threads = {
            "gather": gather_step,
            "targets": target_step,
            "drop": drop_step(self.parametric),
            "forward_sparse": forward_sparse_step(store, normalizes),
            "loss": loss_step(evaluate.formula()),
            "total": total_step,
            "link": _link_step(link.formula()),
            "gradient_sparse": gradient_sparse_step,
            "mix_gradient": alpha_step,
            "intercepts": intercept_step(bool(self.over_batch)),
            "penalty": penalty_step,
            "norm": norm_step,
            "constant": constant_step,
            "finish": finish_step,
            "square": square_step,
            "factor": factor_step,
            "limit": limit_step,
            "average": average_step,
        }
        for index, kind in enumerate(self.input_kinds):
            names_ = (f"{name}_{index}" for name in ("transform", "transform_gradient", "transform_backward"))
            by_threads |= dict(zip(names_, input_steps(kind), strict=True))
        for direction, steps in zip(("normalize", "normalize_backward"), self.normalization(store), strict=True):
            by_threads |= {f"{direction}_{index}": step for index, step in enumerate(steps)}
        if self.optimizer is not None:
            by_threads["update"] = update_step(self.optimizer, self.finishes, self.clips_norm)
        made |= {name: (step, None) for name, step in by_threads.items()}
        return [made[name] for name in names]

    def layer_calls(self, layer, steps, is_sparse):
        """List a layer's steps as the device runs them.

        Parameters
        ----------
        layer : Layer
        steps : iterable of str
            Names of its steps; see `layers`.
        is_sparse : bool
            Whether the rows are sparse.

        Returns
        -------
        calls : list of Call
        """
        stage, calls = layer.stage, []
        n_forward, n_backward = (len(steps) for steps in self.normalization(None))
        for step in steps:
            if step in ("keep_inputs", "activate", "mix", "mix_backward", "derive"):
                continue  # the step that writes a unit or its gradient does this, too
            if step == "gradient":
                # Steps that read the same gradients need no barrier in between.
                calls.append(Call("gradient_sparse" if is_sparse and stage == 0 else "gradient", stage, waits=False))
                calls.append(Call("intercepts", stage, waits=stage == 0))
            elif step == "mix_gradient":
                calls.append(Call(step, stage, waits=False))
            elif step.startswith("transform"):
                name = f"{step}_{self.input_kinds.index(layer.kind)}"
                calls.append(Call(name, stage, waits=step != "transform_gradient" or stage == 0))
            elif step.startswith("normalize_backward"):
                calls += [Call(f"normalize_backward_{index}", stage) for index in range(n_backward)]
            elif step.startswith(("normalize", "scale")):
                calls += [Call(f"normalize_{index}", stage) for index in range(n_forward)]
            elif step == "forward" and is_sparse and stage == 0:
                calls.append(Call("forward_sparse", stage))
            else:
                calls.append(Call(step, stage))
        return calls


def _forward_calls(network, functions, is_sparse, trains, dropped):
    calls = [] if is_sparse else [Call("gather")]
    for layer, steps in network.forward_steps(trains, dropped):
        calls += functions.layer_calls(layer, steps, is_sparse)
    return calls


def prediction_calls(network, functions, is_sparse, link):
    """List the steps of a prediction.

    Parameters
    ----------
    network : Network
    functions : Functions
    is_sparse, link : bool
        Whether the rows are sparse, and whether to apply the inverse link.

    Returns
    -------
    calls : list of Call
    """
    return [*_forward_calls(network, functions, is_sparse, False, ()), *([Call("link")] if link else [])]


def training_calls(network, functions, is_sparse, penalties):
    """List the steps of a mini-batch.

    Parameters
    ----------
    network, functions, is_sparse
        See `prediction_calls`.
    penalties : Penalties

    Returns
    -------
    calls : list of Call
    """
    differentiates = functions.differentiates
    stages = range(len(network.stages))
    hidden = [layer.stage for layer in network.layers if layer.is_hidden]
    calls = [Call("targets", waits=False)]
    if penalties.alpha and differentiates:
        calls.append(Call("penalty", when=AT_FIRST, waits=False))
    dropped = penalties.dropped_stages(network.n_front, is_sparse)
    calls += _forward_calls(network, functions, is_sparse, differentiates, dropped)
    calls += [Call("loss", waits=False), Call("total")]
    for layer in reversed(network.layers) if differentiates else ():
        calls += functions.layer_calls(layer, (*layer.gradient_steps(), *layer.backward_steps()), is_sparse)
    if functions.optimizer is not None:
        calls += [Call("norm", stage, AT_END, waits=False) for stage in stages]
        calls += [Call("constant", stage, AT_END, waits=False) for stage in hidden]
    if functions.finishes:
        # Sum the squares of the gradient before it is modified.
        calls[-1] = calls[-1]._replace(waits=True)
        calls += _on_all("finish", stages)
    if functions.clips_norm:
        calls += [Call("square", when=AT_LAST), Call("factor", when=AT_LAST)]
    if functions.optimizer is not None:
        calls += _on_all("update", stages)
        limited = [stage for stage in hidden if stage not in penalties.frozen_stages(network.n_front)]
        if penalties.max_norm and limited:
            calls += _on_all("limit", limited)
        if penalties.average:
            calls.append(Call("average", when=AT_LAST))
    return calls


def _on_all(step, layers):
    """List a step for several layers without barriers in between, at the end of a batch."""
    return [Call(step, layer, AT_LAST, waits=layer == layers[-1]) for layer in layers]


def program(calls, names):
    """Encode a list of calls for the kernels.

    Parameters
    ----------
    calls : list of Call
    names : tuple of str
        The steps in the order of their codes.

    Returns
    -------
    rows : ndarray of shape (n_calls, 4), int64
    """
    return np.array([(names.index(call.step), call.layer, call.when, call.waits) for call in calls], dtype=np.int64)


def _link_step(link):
    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        last = plan.n_layers - 1
        n_outputs, units = plan.layers[last, FAN_OUT], plan.layers[last + 1, UNITS]
        for row in range(thread, batches.table[number_, N_ROWS], n_threads):
            start = units + row * n_outputs
            link(work.units[start : start + n_outputs], 1, n_outputs, plan.settings[last])

    return step


@formula
def step_applies(when, batches, number_):
    """Return whether a step runs for a block of rows."""
    if when == AT_FIRST:
        return batches.table[number_, FIRST] != 0
    if when == AT_LAST:
        return batches.table[number_, LAST] != 0
    if when == AT_END:
        return batches.table[number_, EPOCH_END] != 0
    return True


def _take(by_threads, by_blocks, unpack):
    """Make a step that runs per block for large layers."""
    if by_blocks is None:

        @formula
        def take(thread, n_threads, block, n_blocks, layer, number_, arrays):
            data, batches, plan, model, work, report = unpack(arrays)
            by_threads(thread, n_threads, layer, number_, data, batches, plan, model, work, report)

    else:

        @formula
        def take(thread, n_threads, block, n_blocks, layer, number_, arrays):
            data, batches, plan, model, work, report = unpack(arrays)
            if plan.layers[layer, LARGE] != 0:
                by_blocks(block, n_blocks, layer, number_, data, batches, plan, model, work, report)
            else:
                by_threads(thread, n_threads, layer, number_, data, batches, plan, model, work, report)

    return take


def _choose(steps, unpack):
    """Make a function that runs a step by its code; `unpack` turns its last argument into the arrays of `state`."""
    first = _take(*steps[0], unpack)
    if len(steps) == 1:

        @formula
        def choose(code, thread, n_threads, block, n_blocks, layer, number_, arrays):
            first(thread, n_threads, block, n_blocks, layer, number_, arrays)

        return choose
    others = _choose(steps[1:], unpack)

    @formula
    def choose(code, thread, n_threads, block, n_blocks, layer, number_, arrays):
        if code == 0:
            first(thread, n_threads, block, n_blocks, layer, number_, arrays)
        else:
            others(code - 1, thread, n_threads, block, n_blocks, layer, number_, arrays)

    return choose


class Kernels(NamedTuple):
    """The kernels of a program; see the module's docstring.

    The resident kernel trains one network per block and takes a table with a row for each. Its staged variant, for
    networks that are small enough, keeps parameters, gradient and units in the block's shared memory from first to last
    step.
    """

    resident: object
    staged: object
    cooperative: object
    stepwise: object


_making = threading.Lock()


def make_kernels(names, functions, resident_threads, cooperative_threads):
    """Return the kernels for given steps, compiled at their first launch.

    Equal arguments return the same kernels, also across threads: only networks with the same kernel share a launch.

    Parameters
    ----------
    names : tuple of str
        The program's steps, in the order of their codes.
    functions : Functions
    resident_threads, cooperative_threads : int
        Threads per block of the launches.

    Returns
    -------
    kernels : Kernels
    """
    with _making:
        return _make_kernels(names, functions, resident_threads, cooperative_threads)


@lru_cache(maxsize=64)
def _make_kernels(names, functions, resident_threads, cooperative_threads):
    steps = functions.steps(names)
    choose = _choose(steps, _as_they_are)
    # Each step looks up its own arrays: all addresses together would not fit into registers.
    call_of, arrays_of = _in_table(functions)
    take_all = _resident_loop(call_of, _choose(steps, arrays_of))
    take_all_staged = _resident_loop(call_of, _choose(steps, _in_shared_memory(arrays_of)))
    kind = numba.float32 if functions.dtype == "float32" else numba.float64

    def resident(models):
        row = cuda.shared.array(N_WORDS, numba.int64)
        take_row(models, row)
        take_all(row, row)

    def staged(models):
        row = cuda.shared.array(N_WORDS, numba.int64)
        shared = cuda.shared.array(0, kind, alignment=16)
        take_row(models, row)
        _, _, _, model, _, _ = arrays_of(row)
        thread, n_threads, n_params = cuda.threadIdx.x, cuda.blockDim.x, model.params.size
        for i in range(thread, n_params, n_threads):
            shared[i] = model.params[i]
        cuda.syncthreads()
        take_all_staged(row, (row, shared))
        cuda.syncthreads()
        for i in range(thread, n_params, n_threads):
            model.params[i] = shared[i]
            model.grads[i] = shared[n_params + i]

    def cooperative(program, n_numbers, data, batches, plan, model, work, report):
        thread, n_threads = cuda.grid(1), cuda.gridsize(1)
        block, n_blocks = cuda.blockIdx.x, cuda.gridDim.x
        grid = cuda.cg.this_grid()
        for number_ in range(n_numbers):
            for call in range(program.shape[0]):
                if step_applies(program[call, WHEN], batches, number_):
                    choose(
                        program[call, CODE], thread, n_threads, block, n_blocks, program[call, LAYER], number_,
                        (data, batches, plan, model, work, report),
                    )  # fmt: skip
                if program[call, WAITS] != 0:
                    grid.sync()

    def stepwise(code, layer, number_, data, batches, plan, model, work, report):
        choose(
            code, cuda.grid(1), cuda.gridsize(1), cuda.blockIdx.x, cuda.gridDim.x, layer, number_,
            (data, batches, plan, model, work, report),
        )  # fmt: skip

    return Kernels(
        compiled(resident, _registers(resident_threads)),
        compiled(staged, _registers(resident_threads)),
        compiled(cooperative, _registers(cooperative_threads)),
        compiled(stepwise, _registers(cooperative_threads)),
    )


@formula
def _as_they_are(arrays):
    return arrays


@device_function
def take_row(models, row):
    """Copy a block's row of a resident launch's table to shared memory."""
    for word in range(cuda.threadIdx.x, row.size, cuda.blockDim.x):
        row[word] = models[cuda.blockIdx.x, word]
    cuda.syncthreads()


def _resident_loop(call_of, choose):
    """Make a function in which the threads of a block run all steps; `choose` gets its last argument."""

    @device_function
    def take_all(row, arrays):
        for number_ in range(row[TABLE_ROWS]):
            for place in range(row[N_CALLS]):
                code, layer, applies, waits = call_of(row, number_, place)
                if applies:
                    choose(code, cuda.threadIdx.x, cuda.blockDim.x, 0, 1, layer, number_, arrays)
                if waits:
                    cuda.syncthreads()

    return take_all


def _in_shared_memory(arrays_of):
    """Make a variant of `arrays_of` that places parameters, gradient and units in a block's shared memory.

    Its argument is a pair; the shared memory comes second.
    """

    @formula
    def staged_arrays_of(arrays):
        row, shared = arrays
        data, batches, plan, model, work, report = arrays_of(row)
        n_params, n_units, n_deltas = model.params.size, work.units.size, work.deltas.size
        units, deltas = 2 * n_params, 2 * n_params + n_units
        params, grads = part_of(shared, 0, n_params), part_of(shared, n_params, n_params)
        own_model = Model(params, grads, model.slots, model.average, model.running)
        own_work = Work(
            part_of(shared, units, n_units), part_of(shared, deltas + n_deltas, work.slopes.size), part_of(shared,
            deltas, n_deltas), work.normalized, work.statistics, work.targets, work.losses, work.squares,
        )  # fmt: skip
        return data, batches, plan, own_model, own_work, report

    return staged_arrays_of


def _in_table(functions):
    """Make functions that read a call of the program and the model's arrays from a row of a resident launch's table."""
    number_at, double_at, integer_at, unsigned_at, index_at = (
        arrays_at(dtype) for dtype in (functions.dtype, "float64", "int64", "uint64", functions.index_dtype)
    )
    (
        program, X, entries, indices, indptr, Y, weights, order, places, table, constants, thresholds, scales, layers,
        settings, limits, groups, params, grads, slots, average, running, units, slopes, deltas, normalized,
        statistics,
        targets, losses, squares, lane_losses, penalties, layer_squares, constant,
    ) = (N_NUMBERS + 2 * place for place in range(len(ARRAYS)))  # fmt: skip

    @formula
    def arrays_of(row):
        n_layers, n_batches = row[N_LAYERS], row[N_BATCHES]
        n_lanes, n_weight_lanes = row[N_LANES], row[N_WEIGHT_LANES]
        data = Data(
            number_at(row[X], (row[X + 1],)), number_at(row[entries], (row[entries + 1],)),
            index_at(row[indices], (row[indices + 1],)), integer_at(row[indptr], (row[indptr + 1],)),
            number_at(row[Y], (row[Y + 1],)), number_at(row[weights], (row[weights + 1],)),
            integer_at(row[order], (row[order + 1],)), integer_at(row[places], (row[places + 1],)),
        )  # fmt: skip
        batches = Batches(
            integer_at(row[table], (row[TABLE_ROWS], 7)),
            number_at(row[constants], (n_batches, row[N_TREATMENTS], N_ENTRIES)),
            unsigned_at(row[thresholds], (n_batches, n_layers)),
            number_at(row[scales], (n_batches, n_layers)),
        )
        plan = Plan(
            integer_at(row[layers], (n_layers + 1, N_COLUMNS)), number_at(row[settings], (row[settings + 1] //
            N_SETTINGS, N_SETTINGS)), number_at(row[limits], (row[limits + 1],)), integer_at(row[groups], (row[groups +
            1],)), n_layers, row[N_TARGETS], row[HAS_WEIGHTS], row[SEED], n_lanes, n_weight_lanes,
        )  # fmt: skip
        model = Model(
            number_at(row[params], (row[params + 1],)), number_at(row[grads], (row[grads + 1],)),
            number_at(row[slots], (row[slots + 1],)), number_at(row[average], (row[average + 1],)),
            double_at(row[running], (row[running + 1],)),
        )  # fmt: skip
        work = Work(
            number_at(row[units], (row[units + 1],)), number_at(row[slopes], (row[slopes + 1],)),
            number_at(row[deltas], (row[deltas + 1],)), number_at(row[normalized], (row[normalized + 1],)),
            double_at(row[statistics], (row[statistics + 1],)), number_at(row[targets], (row[targets + 1],)),
            double_at(row[losses], (row[losses + 1],)), number_at(row[squares], (row[squares + 1],)),
        )  # fmt: skip
        report = Report(
            double_at(row[lane_losses], (n_batches, n_lanes)), number_at(row[penalties], (n_batches, n_weight_lanes)),
            number_at(row[layer_squares], (row[N_EPOCHS], n_layers, n_weight_lanes)),
            integer_at(row[constant], (row[constant + 1],)),
        )  # fmt: skip
        return data, batches, plan, model, work, report

    @formula
    def call_of(row, number_, place):
        _, batches, _, _, _, _ = arrays_of(row)
        call = integer_at(row[program] + place * 32, (4,))
        return call[CODE], call[LAYER], step_applies(call[WHEN], batches, number_), call[WAITS] != 0

    return call_of, arrays_of


def _registers(n_threads):
    """Return the maximum registers per thread with which a block can be launched, on all devices since 2012."""
    return min(65536 // n_threads, 255)
