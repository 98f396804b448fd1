"""Steps of parametric activations, around those of the activation itself; functions here are steps, see `steps`.

A unit is ``(1 - alpha) z + alpha f(z)``. What `changes` holds for it turns from z into the change ``f(z) - z``, the
derivative with respect to alpha, and then into the derivative of the loss, whose sum over the rows is the gradient.
"""

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cpu.gemm import multiply_row
from skbackprop.backends.cpu.layers import share
from skbackprop.backends.cpu.memory import at, copy, fill_zero
from skbackprop.backends.cpu.state import BASE, BLOCK, FIRST, LAST, N_CLOCK, N_ROWS, UNITS, opened
from skbackprop.functions.elementary import natural, number
from skbackprop.network import FAN_OUT, INTERCEPTS, UNPENALISED

__all__ = ["keep_inputs", "mix", "mix_backward", "mix_gradient"]


def keep_inputs(record, thread, layer):
    """Keep the inputs of the activation."""
    _, plan, _, work, _ = opened(record)
    low, count = _own_units(plan, at(work.clock, thread * N_CLOCK), layer)
    copy(at(work.units, low), at(work.changes, low), count)


def mix(record, thread, layer):
    """Mix inputs and outputs of the activation, and their slopes if these are kept."""
    _, plan, model, work, _ = opened(record)
    low, count = _own_units(plan, at(work.clock, thread * N_CLOCK), layer)
    n_units, keeps, one = plan.layout[layer, FAN_OUT], work.slopes.size > 0, number(1.0, work.units)
    alphas = at(model.params, _start(plan, layer))
    for start in range(low, low + count, n_units):
        a, z, slopes = at(work.units, start), at(work.changes, start), at(work.slopes, start)
        for unit in range(n_units):
            j = natural(unit)
            before, after = z[j], a[j]
            a[j] = (one - alphas[j]) * before + alphas[j] * after
            z[j] = after - before
        if keeps:
            for unit in range(n_units):
                j = natural(unit)
                slopes[j] = (one - alphas[j]) + alphas[j] * slopes[j]


def mix_backward(record, thread, layer):
    """Multiply the changes by the gradient with respect to the units."""
    _, plan, _, work, _ = opened(record)
    low, count = _own_units(plan, at(work.clock, thread * N_CLOCK), layer)
    changes, deltas = at(work.changes, low), at(work.deltas, low)
    for position in range(count):
        i = natural(position)
        changes[i] = changes[i] * deltas[i]


def mix_gradient(record, thread, layer):
    """Compute the gradient of the proportions in a thread's share of a layer's parameters, which it updates next."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_units, n_others = plan.layout[layer, FAN_OUT], plan.layout[layer, UNPENALISED] - plan.layout[layer, FAN_OUT]
    own_first, own_last = share(plan.layout[layer, UNPENALISED], np.int64(1), thread, plan.n_threads)
    first, last = max(own_first - n_others, 0), max(own_last - n_others, 0)
    start = _start(plan, layer)
    if now[BLOCK] == 0:
        fill_zero(model.grads, start + first, start + last)
    out = at(model.grads, start + first)
    multiply_row(
        at(work.scratches[thread], work.scratches.shape[1] - plan.block_rows),
        at(work.changes, plan.offsets[layer + 1, UNITS] + first), n_units, now[N_ROWS], last - first, out, out,
    )  # fmt: skip


@formula
def _own_units(plan, now, layer):
    """Return the offset and the number of the units of a thread's rows."""
    n_units = plan.layout[layer, FAN_OUT]
    low = now[BASE] + plan.offsets[layer + 1, UNITS] + now[FIRST] * n_units
    return low, (now[LAST] - now[FIRST]) * n_units


@formula
def _start(plan, layer):
    """Return the offset of a layer's proportions, the last of its parameters."""
    return plan.layout[layer, INTERCEPTS] + plan.layout[layer, UNPENALISED] - plan.layout[layer, FAN_OUT]
