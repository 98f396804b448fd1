"""Forward and backward steps of the normalizations of a layer's weighted inputs.

They are steps (see `steps`). A step that needs results of other threads contains a barrier. One thread computes each
sum over a unit's rows or a row's units, in an order that does not depend on the vector width; sums over rows are in
float64. With several workers, sums over the rows of a batch are summed over the workers.

In the formulas x is the normalized input, y the output, and g, h are the gradients with respect to y and x.
"""

import numpy as np

from skbackprop._compile import call_out, formula
from skbackprop.backends.cpu.layers import share
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.state import (
    BASE,
    BLOCK,
    FIRST,
    LAST,
    N_CLOCK,
    N_ROWS,
    N_SUMS,
    STATISTICS,
    TOTAL_ROWS,
    UNITS,
    opened,
)
from skbackprop.backends.cpu.sync import aborted, barrier
from skbackprop.backends.cpu.unpacked import inner_product, plain_sum
from skbackprop.functions._function import N_SETTINGS, named
from skbackprop.functions.elementary import natural, number
from skbackprop.network import FAN_OUT, INTERCEPTS, RUNNING

__all__ = [
    "normalize_backward_rows",
    "normalize_backward_units",
    "normalize_rows",
    "normalize_units",
    "scale_units",
]

# Units that are assigned to a thread together: one cache line of float32.
_CHUNK = np.int64(16)


def normalize_units(record, thread, layer):
    """Batch-normalize a mini-batch, which is a single block on each worker (Ioffe and Szegedy, 2015, algorithm 1).

    `statistics` stores the batch's means, its inverse standard deviations, and two scratch numbers per unit. The step
    updates the running means and variances and the count of mini-batches, which follows them.
    """
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_rows, n_units = now[N_ROWS], plan.layout[layer, FAN_OUT]
    total_rows = work.sums[thread * N_SUMS + TOTAL_ROWS]
    s = named(_settings(plan), plan.settings)
    units, normalized = (
        at(work.units, plan.offsets[layer + 1, UNITS]),
        at(work.normalized, plan.offsets[layer + 1, UNITS]),
    )
    scales, running = _scales(plan, model.params, layer), at(model.running, plan.layout[layer, RUNNING])
    means = at(work.statistics, plan.offsets[layer + 1, STATISTICS])
    inverses = at(means, n_units)
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    low, high = share(n_units, _CHUNK, thread, plan.n_threads)
    _set_zero(means, low, high)
    _set_zero(inverses, low, high)
    for row in range(n_rows):
        z = at(units, row * n_units)
        for unit in range(low, high):
            j = natural(unit)
            means[j] += np.float64(z[j])
    if not _sum_over_workers(plan, thread, means, n_units):
        return
    for unit in range(low, high):
        means[natural(unit)] /= total_rows
    for row in range(n_rows):
        z = at(units, row * n_units)
        for unit in range(low, high):
            j = natural(unit)
            difference = np.float64(z[j]) - means[j]
            inverses[j] += difference * difference
    if not _sum_over_workers(plan, thread, inverses, n_units):
        return
    # The first batches are averaged with equal weights.
    rate = max(1.0 - s.momentum, 1.0 / (running[2 * n_units] + 1.0))
    for unit in range(low, high):
        j, k = natural(unit), natural(n_units + unit)
        running[j] = (1.0 - rate) * running[j] + rate * means[j]
        # Unbiased, as in the paper's algorithm 2.
        running[k] = (1.0 - rate) * running[k] + rate * (inverses[j] / (total_rows - 1.0))
        inverses[j] = 1.0 / np.sqrt(inverses[j] / total_rows + s.epsilon)
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    if thread == 0:
        running[2 * n_units] += 1.0
    for row in range(now[FIRST], now[LAST]):
        z, x = at(units, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            x[j] = number((np.float64(z[j]) - means[j]) * inverses[j], units)
            z[j] = scales[j] * x[j] + scales[k]


def normalize_backward_units(record, thread, layer):
    """Backpropagate through batch normalization (Ioffe and Szegedy, 2015, section 3).

    With means over the rows of the batch: ``s / sigma * (g - mean(g) - x * mean(g x))``.
    """
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_rows, n_units = now[N_ROWS], plan.layout[layer, FAN_OUT]
    total_rows = work.sums[thread * N_SUMS + TOTAL_ROWS]
    deltas, normalized, scales, grads = _backward_arrays(plan, model, work, layer)
    inverses = at(work.statistics, plan.offsets[layer + 1, STATISTICS] + n_units)
    sums = at(inverses, n_units)
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    low, high = share(n_units, _CHUNK, thread, plan.n_threads)
    _sum_units(n_rows, low, high, n_units, deltas, normalized, sums, grads, now[BLOCK] > 0)
    # The gradients of scales and offsets remain this worker's, as those of all parameters do until the update.
    if not _sum_over_workers(plan, thread, sums, 2 * n_units):
        return
    for unit in range(low, high):
        j, k = natural(unit), natural(n_units + unit)
        inverses[j] *= np.float64(scales[j])
        sums[j] /= total_rows
        sums[k] /= total_rows
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    for row in range(now[FIRST], now[LAST]):
        g, x = at(deltas, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            rest = np.float64(g[j]) - sums[k] - np.float64(x[j]) * sums[j]
            g[j] = number(inverses[j] * rest, deltas)


def scale_units(record, thread, layer):
    """Batch-normalize with running means and variances, which have been folded into factors and summands."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_units = plan.layout[layer, FAN_OUT]
    units, folded = (
        at(work.units, now[BASE] + plan.offsets[layer + 1, UNITS]),
        at(model.running, plan.layout[layer, RUNNING]),
    )
    for row in range(now[FIRST], now[LAST]):
        z = at(units, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            z[j] = number(np.float64(z[j]) * folded[j] + folded[k], units)


def normalize_rows(record, thread, layer):
    """Layer-normalize rows (Ba, Kiros and Hinton, 2016, equation 4).

    If there is a backward pass, `statistics` stores two numbers per unit, then the rows' inverse standard deviations.
    """
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_units, keeps = plan.layout[layer, FAN_OUT], work.normalized.size > 0
    s = named(_settings(plan), plan.settings)
    units, normalized = (
        at(work.units, now[BASE] + plan.offsets[layer + 1, UNITS]),
        at(work.normalized, plan.offsets[layer + 1, UNITS]),
    )
    scales, inverses = (
        _scales(plan, model.params, layer),
        at(work.statistics, plan.offsets[layer + 1, STATISTICS] + 2 * n_units),
    )
    zero = np.int64(0)
    for row in range(now[FIRST], now[LAST]):
        z = at(units, row * n_units)
        mean = number(plain_sum(z, n_units) / n_units, units)
        for unit in range(n_units):
            j = natural(unit)
            z[j] = z[j] - mean
        inverse = 1.0 / np.sqrt(inner_product(z, zero, z, zero, n_units) / n_units + s.epsilon)
        factor = number(inverse, units)
        if keeps:
            inverses[row] = inverse
            x = at(normalized, row * n_units)
            for unit in range(n_units):
                j = natural(unit)
                x[j] = z[j] * factor
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            z[j] = scales[j] * (z[j] * factor) + scales[k]


def normalize_backward_rows(record, thread, layer):
    """Backpropagate through layer normalization.

    With ``h = s * g`` and means over the units of the row: ``(h - mean(h) - x * mean(h x)) / sigma``.
    """
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_rows, n_units = now[N_ROWS], plan.layout[layer, FAN_OUT]
    deltas, normalized, scales, grads = _backward_arrays(plan, model, work, layer)
    sums = at(work.statistics, plan.offsets[layer + 1, STATISTICS])
    inverses = at(sums, 2 * n_units)
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    zero = np.int64(0)
    low, high = share(n_units, _CHUNK, thread, plan.n_threads)
    _sum_units(n_rows, low, high, n_units, deltas, normalized, sums, grads, now[BLOCK] > 0)
    barrier(plan.control, plan.n_threads)
    if aborted(plan.control):
        return
    for row in range(now[FIRST], now[LAST]):
        g, x = at(deltas, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j = natural(unit)
            g[j] = scales[j] * g[j]
        mean = number(plain_sum(g, n_units) / n_units, deltas)
        slope = number(inner_product(g, zero, x, zero, n_units) / n_units, deltas)
        inverse = number(inverses[row], deltas)
        for unit in range(n_units):
            j = natural(unit)
            g[j] = inverse * (g[j] - mean - x[j] * slope)


@formula
def _sum_over_workers(plan, thread, sums, count):
    """Replace sums, of which each thread has computed some, by those over all workers; False if the kernel is aborted."""
    if plan.exchange != 0:
        barrier(plan.control, plan.n_threads)
        if thread == 0 and not aborted(plan.control):
            call_out(plan.exchange, sums, count)
        barrier(plan.control, plan.n_threads)
        return not aborted(plan.control)
    return True


@formula
def _settings(plan):
    """Return a pointer to the normalization's settings, which follow those of all layers."""
    return at(plan.settings, plan.layout.shape[0] * N_SETTINGS)


@formula
def _backward_arrays(plan, model, work, layer):
    """Return pointers to a layer's gradients, normalized inputs, scales, and gradients of the scales."""
    start = plan.offsets[layer + 1, UNITS]
    scales, grads = _scales(plan, model.params, layer), _scales(plan, model.grads, layer)
    return at(work.deltas, start), at(work.normalized, start), scales, grads


@formula
def _scales(plan, params, layer):
    """Return a pointer to a layer's scales, or their gradients, which follow its intercepts; the offsets come next."""
    return at(params, plan.layout[layer, INTERCEPTS] + plan.layout[layer, FAN_OUT])


@formula
def _set_zero(x, low, high):
    for i in range(low, high):
        x[natural(i)] = 0.0


@formula
def _sum_units(n_rows, low, high, n_units, deltas, normalized, sums, grads, adds):
    """Compute the gradients of a range of scales and offsets: sums over the rows of g x and g, block after block."""
    sums_x, sums_g = at(sums, np.int64(0)), at(sums, n_units)
    if not adds:
        _set_zero(sums_x, low, high)
        _set_zero(sums_g, low, high)
    for row in range(n_rows):
        g, x = at(deltas, row * n_units), at(normalized, row * n_units)
        for unit in range(low, high):
            j = natural(unit)
            delta = np.float64(g[j])
            sums_g[j] += delta
            sums_x[j] += delta * np.float64(x[j])
    for unit in range(low, high):
        j, k = natural(unit), natural(n_units + unit)
        grads[j] = number(sums_x[j], grads)
        grads[k] = number(sums_g[j], grads)
