"""What happens in a mini-batch, as a list of steps, and the kernels that take them.

A step is called with the number of the thread among all and their count, or, for products of blocks, with those of the block; with
its layer, a row of `Batches.table`, and the arrays of `state`. A program is a table of steps. Three kernels run the same program:
one block of threads that waits for itself between steps (the resident tier), many blocks that wait for each other (the cooperative
tier), and, where a device cannot do that, a launch for each step (the stepwise tier).
"""

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.device import compiled, cuda, device_function
from skbackprop.backends.cuda.layers import (
    activations,
    constant_step,
    dense_steps,
    drop_step,
    gather_step,
    intercept_step,
    loss_step,
    make_store,
    target_step,
)
from skbackprop.backends.cuda.normalization import normalization_steps
from skbackprop.backends.cuda.penalties import (
    factor_step,
    finish_step,
    follow_step,
    limit_step,
    norm_step,
    penalty_step,
    square_step,
    update_step,
)
from skbackprop.backends.cuda.sparse import forward_sparse_step, gradient_sparse_step
from skbackprop.backends.cuda.state import EPOCH_END, FAN_OUT, FIRST, LARGE, LAST, N_ROWS, UNITS, Model, Work
from skbackprop.functions.losses import loss_loops

__all__ = ["Functions", "make_kernels", "prediction_calls", "program", "training_calls"]

#: When a step is taken: in each block of rows, or only in the first or last one of a batch, or in the last one of an epoch.
ALWAYS, AT_FIRST, AT_LAST, AT_END = range(4)

#: Columns of a program: the step, its layer, when it is taken, and whether all threads wait for each other after it.
CODE, LAYER, WHEN, WAITS = range(4)


class Call(NamedTuple):
    """A step of a program.

    Parameters
    ----------
    step : str
        Its name.
    layer : int
    when : int
    waits : bool
    """

    step: str
    layer: int = 0
    when: int = ALWAYS
    waits: bool = True


class Functions(NamedTuple):
    """What the steps are made of; kernels of the same steps and functions are compiled once.

    Parameters
    ----------
    kinds : tuple of (type, bool)
        See `layers.activations`.
    loss : type
    over_batch : bool or None
        What a normalization takes means over; None for no normalization.
    differentiates : bool
        Whether there is a gradient.
    optimizer : type or None
        From `Optimizer.kernel_kind`.
    finishes, clips_norm : bool
        Whether the gradient is changed before the update.
    tiles : Tiles or None
        Of the products of large layers.
    dtype : str
    """

    kinds: tuple
    loss: type
    over_batch: bool | None = None
    differentiates: bool = False
    optimizer: type | None = None
    finishes: bool = False
    clips_norm: bool = False
    tiles: object = None
    dtype: str = "float64"

    def normalization(self, store):
        """Forward and backward steps of the normalization; none without."""
        if self.over_batch is None:
            return [], []
        return normalization_steps(store, self.over_batch, self.differentiates)

    def steps(self, names):
        """Steps by their names.

        Parameters
        ----------
        names : tuple of str

        Returns
        -------
        steps : list of (formula, device function or None)
            By threads, and by blocks for layers that are large.
        """
        activate, derive = activations(self.kinds)
        store = make_store(activate)
        normalizes = self.over_batch is not None
        evaluate, link = loss_loops(self.loss)
        forward, backward, gradient = dense_steps(store, derive, normalizes, self.tiles, np.dtype(self.dtype))
        made = {"forward": forward, "backward": backward, "gradient": gradient}
        by_threads = {
            "gather": gather_step,
            "targets": target_step,
            "drop": drop_step,
            "forward_sparse": forward_sparse_step(store, normalizes),
            "loss": loss_step(evaluate.formula()),
            "link": _link_step(link.formula()),
            "gradient_sparse": gradient_sparse_step,
            "intercepts": intercept_step(bool(self.over_batch)),
            "penalty": penalty_step,
            "norm": norm_step,
            "constant": constant_step,
            "finish": finish_step,
            "square": square_step,
            "factor": factor_step,
            "limit": limit_step,
            "follow": follow_step,
        }
        for direction, steps in zip(("normalize", "pass_back"), self.normalization(store), strict=True):
            by_threads |= {f"{direction}_{index}": step for index, step in enumerate(steps)}
        if self.optimizer is not None:
            by_threads["update"] = update_step(self.optimizer, self.finishes, self.clips_norm)
        made |= {name: (step, None) for name, step in by_threads.items()}
        return [made[name] for name in names]

    def n_normalizing(self):
        """How many steps the normalization takes forward and backward."""
        return [len(steps) for steps in self.normalization(None)]


def _forward_calls(network, functions, is_sparse, dropout):
    calls = [] if is_sparse else [Call("gather")]
    n_layers = len(network.layout)
    for layer in range(n_layers):
        # The inputs of a sparse layer are dropped as they are read.
        if dropout and dropout[layer] > 0 and not (is_sparse and layer == 0):
            calls.append(Call("drop", layer))
        calls.append(Call("forward_sparse" if is_sparse and layer == 0 else "forward", layer))
        if layer < n_layers - 1:
            calls += [Call(f"normalize_{index}", layer) for index in range(functions.n_normalizing()[0])]
    return calls


def prediction_calls(network, functions, is_sparse, link):
    """The steps of predictions, in order.

    Parameters
    ----------
    network : Network
    functions : Functions
    is_sparse, link : bool
        Whether the rows are sparse, and whether predictions go through the inverse link.

    Returns
    -------
    calls : list of Call
    """
    return [*_forward_calls(network, functions, is_sparse, ()), *([Call("link")] if link else [])]


def training_calls(network, functions, is_sparse, penalties):
    """The steps of a mini-batch, in order.

    Parameters
    ----------
    network, functions, is_sparse
        As for `prediction_calls`.
    penalties : Penalties

    Returns
    -------
    calls : list of Call
    """
    differentiates = functions.differentiates
    layers = range(len(network.layout))
    calls = [Call("targets", waits=False)]
    if penalties.alpha and differentiates:
        calls.append(Call("penalty", when=AT_FIRST, waits=False))
    calls += _forward_calls(network, functions, is_sparse, penalties.dropout if differentiates else ())
    calls.append(Call("loss"))
    for layer in reversed(layers) if differentiates else ():
        # What needs the same gradients is done without waiting in between.
        calls.append(Call("gradient_sparse" if is_sparse and layer == 0 else "gradient", layer, waits=False))
        calls.append(Call("intercepts", layer, waits=layer == 0))
        if layer > 0:
            calls.append(Call("backward", layer))
            calls += [Call(f"pass_back_{index}", layer - 1) for index in range(functions.n_normalizing()[1])]
    if functions.optimizer is not None:
        calls += [Call("norm", layer, AT_END, waits=False) for layer in layers]
        calls += [Call("constant", layer, AT_END, waits=False) for layer in layers[:-1]]
    if functions.finishes:
        # The squares of the gradient are taken before it is changed.
        calls[-1] = calls[-1]._replace(waits=True)
        calls += _on_all("finish", layers)
    if functions.clips_norm:
        calls += [Call("square", when=AT_LAST), Call("factor", when=AT_LAST)]
    if functions.optimizer is not None:
        calls += _on_all("update", layers)
        if penalties.max_norm and len(layers) > 1:
            calls += _on_all("limit", layers[:-1])
        if penalties.average:
            calls.append(Call("follow", when=AT_LAST))
    return calls


def _on_all(step, layers):
    """A step of several layers at once, at the end of a batch."""
    return [Call(step, layer, AT_LAST, waits=layer == layers[-1]) for layer in layers]


def program(calls, names):
    """A list of calls as the kernels take it.

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
    """Whether a step is taken for a block of rows."""
    if when == AT_FIRST:
        return batches.table[number_, FIRST] != 0
    if when == AT_LAST:
        return batches.table[number_, LAST] != 0
    if when == AT_END:
        return batches.table[number_, EPOCH_END] != 0
    return True


def _take(by_threads, by_blocks):
    """A step, by blocks for layers that are large."""
    if by_blocks is None:

        @formula
        def take(thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report):
            by_threads(thread, n_threads, layer, number_, data, batches, plan, model, work, report)

    else:

        @formula
        def take(thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report):
            if plan.layers[layer, LARGE] != 0:
                by_blocks(block, n_blocks, layer, number_, data, batches, plan, model, work, report)
            else:
                by_threads(thread, n_threads, layer, number_, data, batches, plan, model, work, report)

    return take


def _choose(steps):
    """A function that takes the step of a code."""
    first = _take(*steps[0])
    if len(steps) == 1:

        @formula
        def choose(code, thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report):
            first(thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report)

        return choose
    others = _choose(steps[1:])

    @formula
    def choose(code, thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report):
        if code == 0:
            first(thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report)
        else:
            others(
                code - 1, thread, n_threads, block, n_blocks, layer, number_, data, batches, plan, model, work, report
            )

    return choose


class Kernels(NamedTuple):
    """The kernels of a program; see this module.

    The resident one has a twin for networks that are small enough: it keeps parameters, gradient and units in the block's shared
    memory from its first step to its last.
    """

    resident: object
    staged: object
    cooperative: object
    stepwise: object


@lru_cache(maxsize=64)
def make_kernels(names, functions, resident_threads, cooperative_threads):
    """Kernels, compiled when they are first launched.

    Parameters
    ----------
    names : tuple of str
        The steps that the program has, in the order of their codes.
    functions : Functions
    resident_threads, cooperative_threads : int
        Threads of the blocks with which they will be launched.

    Returns
    -------
    kernels : Kernels
    """
    choose = _choose(functions.steps(names))
    kind = numba.float32 if functions.dtype == "float32" else numba.float64

    @device_function
    def take_all(program, n_numbers, data, batches, plan, model, work, report):
        thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
        for number_ in range(n_numbers):
            for call in range(program.shape[0]):
                if step_applies(program[call, WHEN], batches, number_):
                    choose(
                        program[call, CODE], thread, n_threads, 0, 1, program[call, LAYER], number_,
                        data, batches, plan, model, work, report,
                    )  # fmt: skip
                if program[call, WAITS] != 0:
                    cuda.syncthreads()

    def resident(program, n_numbers, data, batches, plan, model, work, report):
        take_all(program, n_numbers, data, batches, plan, model, work, report)

    def staged(program, n_numbers, data, batches, plan, model, work, report):
        thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
        shared = cuda.shared.array(0, kind, alignment=16)
        n_params, n_units, n_deltas = model.params.size, work.units.size, work.deltas.size
        units, deltas = 2 * n_params, 2 * n_params + n_units
        slopes = deltas + n_deltas
        own_model = Model(shared[:n_params], shared[n_params:units], model.slots, model.average, model.running)
        own_work = Work(
            shared[units:deltas], shared[slopes : slopes + work.slopes.size], shared[deltas:slopes],
            work.normalized, work.statistics, work.targets, work.losses, work.squares,
        )  # fmt: skip
        for i in range(thread, n_params, n_threads):
            shared[i] = model.params[i]
        cuda.syncthreads()
        take_all(program, n_numbers, data, batches, plan, own_model, own_work, report)
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
                        data, batches, plan, model, work, report,
                    )  # fmt: skip
                if program[call, WAITS] != 0:
                    grid.sync()

    def stepwise(code, layer, number_, data, batches, plan, model, work, report):
        choose(
            code, cuda.grid(1), cuda.gridsize(1), cuda.blockIdx.x, cuda.gridDim.x, layer, number_,
            data, batches, plan, model, work, report,
        )  # fmt: skip

    return Kernels(
        compiled(resident, _registers(resident_threads)),
        compiled(staged, _registers(resident_threads)),
        compiled(cooperative, _registers(cooperative_threads)),
        compiled(stepwise, _registers(cooperative_threads)),
    )


def _registers(n_threads):
    """Registers that a thread can have for its block to be launched, on all devices since 2012."""
    return min(65536 // n_threads, 255)
