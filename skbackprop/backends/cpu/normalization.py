"""Normalizations of a layer's weighted inputs, and how a gradient passes back through them.

What only few trainings need: each is compiled as a loop of its own when it is needed. Two signatures are shared by all of them,
one of the forward pass, one of the backward pass, so that the kernels need not know which is which. Where a loop needs what other
threads have computed, all threads meet in it. Sums over a unit's rows, or over a row's units, are taken by one thread, in an order
that the width of vectors does not change; those over rows in float64.

In the formulas x is the normalized input, y the output, and g, h the gradients with respect to y and to x.
"""

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cpu.layers import share
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.sync import aborted, barrier
from skbackprop.backends.cpu.unpacked import inner_product, plain_sum
from skbackprop.functions._function import named
from skbackprop.functions.elementary import natural, number

__all__ = ["normalize_rows", "normalize_units", "pass_back_rows", "pass_back_units", "scale_units", "statistics_size"]

# Units that are dealt together: a cache line of them, for float32.
_GRANULE = np.int64(16)


def statistics_size(over_batch, n_units, block_rows):
    """Numbers in float64 that a layer's loops keep in `statistics` from the forward to the backward pass.

    Parameters
    ----------
    over_batch : bool
    n_units, block_rows : int

    Returns
    -------
    size : int
    """
    return 4 * n_units if over_batch else 2 * n_units + block_rows


def normalize_units(
    control,
    thread,
    n_threads,
    n_rows,
    first,
    last,
    n_units,
    units,
    normalized,
    scales,
    running,
    statistics,
    settings,
    keeps,
):
    """Batch normalization of a mini-batch, which is a single block (Ioffe and Szegedy, 2015, algorithm 1).

    Parameters
    ----------
    control : ndarray of int64
        Shared by the threads.
    thread, n_threads : int
    n_rows : int
        Rows of the block.
    first, last : int
        Range of the thread's own.
    n_units : int
    units : pointer
        The block's weighted inputs, row by row; changed to the outputs.
    normalized : pointer
        Their x, for the backward pass.
    scales : pointer
        The layer's scales, and after them its offsets.
    running : pointer
        The layer's running means, then its running variances, then the number of mini-batches so far; brought up to date.
    statistics : pointer
        The batch's means, then its inverse standard deviations, then two places for each unit.
    settings : pointer
        Epsilon and momentum.
    keeps : bool
        Not looked at.
    """
    barrier(control, n_threads)
    if aborted(control):
        return
    low, high = share(n_units, _GRANULE, thread, n_threads)
    s, means, inverses = named(settings, statistics), at(statistics, np.int64(0)), at(statistics, n_units)
    _set_zero(statistics, low, high)
    _set_zero(inverses, low, high)
    for row in range(n_rows):
        z = at(units, row * n_units)
        for unit in range(low, high):
            j = natural(unit)
            means[j] += np.float64(z[j])
    for unit in range(low, high):
        means[natural(unit)] /= n_rows
    for row in range(n_rows):
        z = at(units, row * n_units)
        for unit in range(low, high):
            j = natural(unit)
            difference = np.float64(z[j]) - means[j]
            inverses[j] += difference * difference
    # Of the first batches the plain average.
    rate = max(1.0 - s.momentum, 1.0 / (running[2 * n_units] + 1.0))
    for unit in range(low, high):
        j, k = natural(unit), natural(n_units + unit)
        running[j] = (1.0 - rate) * running[j] + rate * means[j]
        # Unbiased, as in the paper's algorithm 2.
        running[k] = (1.0 - rate) * running[k] + rate * (inverses[j] / (n_rows - 1))
        inverses[j] = 1.0 / np.sqrt(inverses[j] / n_rows + s.epsilon)
    barrier(control, n_threads)
    if aborted(control):
        return
    if thread == 0:
        running[2 * n_units] += 1.0
    for row in range(first, last):
        z, x = at(units, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            x[j] = number((np.float64(z[j]) - means[j]) * inverses[j], units)
            z[j] = scales[j] * x[j] + scales[k]


def pass_back_units(
    control, thread, n_threads, n_rows, first, last, n_units, deltas, normalized, scales, grads, statistics, adds
):
    """The gradient through batch normalization (Ioffe and Szegedy, 2015, section 3).

    With means over the rows of the batch: ``s / sigma * (g - mean(g) - x * mean(g x))``.

    Parameters
    ----------
    control, thread, n_threads, n_rows, first, last, n_units, normalized, scales, statistics
        As for `normalize_units`.
    deltas : pointer
        The rows' g; changed to the gradients with respect to the weighted inputs.
    grads : pointer
        Gradients of the scales, then of the offsets.
    adds : bool
        Whether `grads` hold the sums over blocks before this one.
    """
    barrier(control, n_threads)
    if aborted(control):
        return
    low, high = share(n_units, _GRANULE, thread, n_threads)
    inverses, sums = at(statistics, n_units), at(statistics, 2 * n_units)
    _sum_units(n_rows, low, high, n_units, deltas, normalized, sums, grads, adds)
    for unit in range(low, high):
        j, k = natural(unit), natural(n_units + unit)
        inverses[j] *= np.float64(scales[j])
        sums[j] /= n_rows
        sums[k] /= n_rows
    barrier(control, n_threads)
    if aborted(control):
        return
    for row in range(first, last):
        g, x = at(deltas, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            rest = np.float64(g[j]) - sums[k] - np.float64(x[j]) * sums[j]
            g[j] = number(inverses[j] * rest, deltas)


def scale_units(
    control,
    thread,
    n_threads,
    n_rows,
    first,
    last,
    n_units,
    units,
    normalized,
    scales,
    running,
    statistics,
    settings,
    keeps,
):
    """Batch normalization with running means and variances, which have been folded into factors and summands.

    Parameters
    ----------
    control, thread, n_threads, n_rows, first, last, n_units, units
        As for `normalize_units`.
    running : pointer
        The layer's factors, then its summands.
    normalized, scales, statistics, settings, keeps
        Not looked at.
    """
    for row in range(first, last):
        z = at(units, row * n_units)
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            z[j] = number(np.float64(z[j]) * running[j] + running[k], units)


def normalize_rows(
    control,
    thread,
    n_threads,
    n_rows,
    first,
    last,
    n_units,
    units,
    normalized,
    scales,
    running,
    statistics,
    settings,
    keeps,
):
    """Layer normalization (Ba, Kiros and Hinton, 2016, equation 4).

    Parameters
    ----------
    control, thread, n_threads, n_rows, first, last, n_units, units, normalized, scales
        As for `normalize_units`.
    running : pointer
        Not looked at.
    statistics : pointer
        Two places for each unit, then the rows' inverse standard deviations.
    settings : pointer
        Epsilon.
    keeps : bool
        Whether there will be a backward pass; without, neither `normalized` nor `statistics` is looked at.
    """
    zero, s = np.int64(0), named(settings, statistics)
    for row in range(first, last):
        z = at(units, row * n_units)
        mean = number(plain_sum(z, n_units) / n_units, units)
        for unit in range(n_units):
            j = natural(unit)
            z[j] = z[j] - mean
        inverse = 1.0 / np.sqrt(inner_product(z, zero, z, zero, n_units) / n_units + s.epsilon)
        factor = number(inverse, units)
        if keeps:
            statistics[2 * n_units + row] = inverse
            x = at(normalized, row * n_units)
            for unit in range(n_units):
                j = natural(unit)
                x[j] = z[j] * factor
        for unit in range(n_units):
            j, k = natural(unit), natural(n_units + unit)
            z[j] = scales[j] * (z[j] * factor) + scales[k]


def pass_back_rows(
    control, thread, n_threads, n_rows, first, last, n_units, deltas, normalized, scales, grads, statistics, adds
):
    """The gradient through layer normalization.

    With ``h = s * g`` and means over the units of the row: ``(h - mean(h) - x * mean(h x)) / sigma``.

    Parameters
    ----------
    control, thread, n_threads, n_rows, first, last, n_units, deltas, normalized, scales, grads, statistics, adds
        As for `pass_back_units`; `statistics` as for `normalize_rows`.
    """
    barrier(control, n_threads)
    if aborted(control):
        return
    zero = np.int64(0)
    low, high = share(n_units, _GRANULE, thread, n_threads)
    _sum_units(n_rows, low, high, n_units, deltas, normalized, statistics, grads, adds)
    barrier(control, n_threads)
    if aborted(control):
        return
    for row in range(first, last):
        g, x = at(deltas, row * n_units), at(normalized, row * n_units)
        for unit in range(n_units):
            j = natural(unit)
            g[j] = scales[j] * g[j]
        mean = number(plain_sum(g, n_units) / n_units, deltas)
        slope = number(inner_product(g, zero, x, zero, n_units) / n_units, deltas)
        inverse = number(statistics[2 * n_units + row], deltas)
        for unit in range(n_units):
            j = natural(unit)
            g[j] = inverse * (g[j] - mean - x[j] * slope)


@formula
def _set_zero(x, low, high):
    for i in range(low, high):
        x[natural(i)] = 0.0


@formula
def _sum_units(n_rows, low, high, n_units, deltas, normalized, sums, grads, adds):
    """Gradients of a range of scales and offsets: the sums over the rows of g x and of g, block after block."""
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
