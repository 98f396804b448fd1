"""Steps of the normalizations of a layer's weighted inputs; see `cpu.normalization` for the equations.

One thread computes each sum over a unit's rows or a row's units, in order; in float64 if the numbers are, or if there
are many rows.
"""

import math

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.state import (
    DELTAS,
    FAN_OUT,
    FIRST,
    INTERCEPTS,
    N_ROWS,
    RUNNING,
    STATISTICS,
    UNITS,
)
from skbackprop.functions.elementary import natural, number
from skbackprop.functions.normalizations import BatchNormalization, LayerNormalization

__all__ = ["normalization_steps"]


def normalization_steps(store, over_batch, trains):
    """List the steps after a layer's forward product, and those after its backward product.

    Parameters
    ----------
    store : formula
        See `layers.make_store`.
    over_batch : bool
        Whether means are taken over the rows of a mini-batch, or over a layer's units.
    trains : bool
        Whether to use the means of the current rows, or running means folded into factors and summands.

    Returns
    -------
    forward, backward : list of formula
        Called with the index of the layer of weights before the units.
    """
    named = (BatchNormalization if over_batch else LayerNormalization).named()

    @formula
    def take_statistics(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
        source, means = plan.layers[layer + 1, UNITS], plan.layers[layer, STATISTICS]
        running, s = plan.layers[layer, RUNNING], named(plan.settings[plan.n_layers], plan.settings)
        # The first batches are averaged with equal weights.
        rate = max(1.0 - s.momentum, 1.0 / (model.running[running + 2 * n_units] + 1.0))
        for unit in range(thread, n_units, n_threads):
            mean = np.float64(0.0)
            for row in range(n_rows):
                mean += np.float64(work.units[natural(source + row * n_units + unit)])
            mean /= n_rows
            square = np.float64(0.0)
            for row in range(n_rows):
                difference = np.float64(work.units[natural(source + row * n_units + unit)]) - mean
                square += difference * difference
            j, k = running + unit, running + n_units + unit
            model.running[j] = (1.0 - rate) * model.running[j] + rate * mean
            # Unbiased, as in the paper's algorithm 2.
            model.running[k] = (1.0 - rate) * model.running[k] + rate * (square / (n_rows - 1))
            work.statistics[means + unit] = mean
            work.statistics[means + n_units + unit] = 1.0 / math.sqrt(square / n_rows + s.epsilon)

    @formula
    def normalize_units(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
        means, running = plan.layers[layer, STATISTICS], plan.layers[layer, RUNNING]
        scales = plan.layers[layer, INTERCEPTS] + n_units
        if thread == 0:
            model.running[running + 2 * n_units] += 1.0
        for i in range(thread, n_rows * n_units, n_threads):
            unit = i % n_units
            z = np.float64(work.units[natural(plan.layers[layer + 1, UNITS] + i)]) - work.statistics[means + unit]
            x = number(z * work.statistics[means + n_units + unit], work.units)
            work.normalized[natural(plan.layers[layer + 1, DELTAS] + i)] = x
            store(layer, i, model.params[scales + unit] * x + model.params[scales + n_units + unit], plan, model, work)

    @formula
    def scale_units(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
        factors = plan.layers[layer, RUNNING]
        for i in range(thread, n_rows * n_units, n_threads):
            unit = i % n_units
            z = np.float64(work.units[natural(plan.layers[layer + 1, UNITS] + i)])
            z = z * model.running[factors + unit] + model.running[factors + n_units + unit]
            store(layer, i, number(z, work.units), plan, model, work)

    @formula
    def normalize_rows(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units = plan.layers[layer, FAN_OUT]
        scales = plan.layers[layer, INTERCEPTS] + n_units
        inverses = plan.layers[layer, STATISTICS] + 2 * n_units
        s = named(plan.settings[plan.n_layers], plan.settings)
        for row in range(thread, batches.table[number_, N_ROWS], n_threads):
            start = plan.layers[layer + 1, UNITS] + row * n_units
            total = np.float64(0.0)
            for unit in range(n_units):
                total += work.units[natural(start + unit)]
            mean = number(total / n_units, work.units)
            square = np.float64(0.0)
            for unit in range(n_units):
                z = np.float64(work.units[natural(start + unit)] - mean)
                square += z * z
            inverse = 1.0 / math.sqrt(square / n_units + s.epsilon)
            factor = number(inverse, work.units)
            if trains:
                work.statistics[inverses + row] = inverse
            for unit in range(n_units):
                i = row * n_units + unit
                x = (work.units[natural(start + unit)] - mean) * factor
                if trains:
                    work.normalized[natural(plan.layers[layer + 1, DELTAS] + i)] = x
                store(
                    layer, i, model.params[scales + unit] * x + model.params[scales + n_units + unit], plan, model, work
                )

    @formula
    def sum_units(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
        scales = plan.layers[layer, INTERCEPTS] + n_units
        sums = plan.layers[layer, STATISTICS] + (2 * n_units if over_batch else 0)
        for unit in range(thread, n_units, n_threads):
            is_first = batches.table[number_, FIRST] != 0
            sum_x = np.float64(0.0) if is_first else work.statistics[sums + unit]
            sum_g = np.float64(0.0) if is_first else work.statistics[sums + n_units + unit]
            for row in range(n_rows):
                i = natural(plan.layers[layer + 1, DELTAS] + row * n_units + unit)
                g = np.float64(work.deltas[i])
                sum_g += g
                sum_x += g * np.float64(work.normalized[i])
            work.statistics[sums + unit] = sum_x
            work.statistics[sums + n_units + unit] = sum_g
            model.grads[scales + unit] = number(sum_x, model.grads)
            model.grads[scales + n_units + unit] = number(sum_g, model.grads)

    @formula
    def normalize_backward_units(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
        scales = plan.layers[layer, INTERCEPTS] + n_units
        inverses = plan.layers[layer, STATISTICS] + n_units
        sums = inverses + n_units
        for item in range(thread, n_rows * n_units, n_threads):
            unit = item % n_units
            i = natural(plan.layers[layer + 1, DELTAS] + item)
            rest = np.float64(work.deltas[i]) - work.statistics[sums + n_units + unit] / n_rows
            rest -= np.float64(work.normalized[i]) * (work.statistics[sums + unit] / n_rows)
            factor = work.statistics[inverses + unit] * np.float64(model.params[scales + unit])
            work.deltas[i] = number(factor * rest, work.deltas)

    @formula
    def normalize_backward_rows(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_units = plan.layers[layer, FAN_OUT]
        scales = plan.layers[layer, INTERCEPTS] + n_units
        inverses = plan.layers[layer, STATISTICS] + 2 * n_units
        for row in range(thread, batches.table[number_, N_ROWS], n_threads):
            start = plan.layers[layer + 1, DELTAS] + row * n_units
            mean = slope = np.float64(0.0)
            for unit in range(n_units):
                i = natural(start + unit)
                h = model.params[scales + unit] * work.deltas[i]
                mean += h
                slope += np.float64(h) * np.float64(work.normalized[i])
            mean_g, mean_x = number(mean / n_units, work.deltas), number(slope / n_units, work.deltas)
            inverse = number(work.statistics[inverses + row], work.deltas)
            for unit in range(n_units):
                i = natural(start + unit)
                h = model.params[scales + unit] * work.deltas[i]
                work.deltas[i] = inverse * (h - mean_g - work.normalized[i] * mean_x)

    if not over_batch:
        return [normalize_rows], [sum_units, normalize_backward_rows] if trains else []
    return (
        ([take_statistics, normalize_units], [sum_units, normalize_backward_units]) if trains else ([scale_units], [])
    )
