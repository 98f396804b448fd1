"""Processing of the gradient before an update and of the parameters after it, apart from the optimizer.

Functions without a decorator are steps, see `steps`.
"""

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cpu.layers import chunk, own_rows, share
from skbackprop.backends.cpu.state import FACTOR, N_SUMS, opened
from skbackprop.backends.cpu.unpacked import inner_product
from skbackprop.functions.elementary import natural
from skbackprop.functions.penalties import clipped, penalised_mean
from skbackprop.network import FAN_IN, FAN_OUT, INTERCEPTS, ROWS, UNPENALISED, WEIGHTS

__all__ = ["average_params", "finish_gradient", "limit_norms", "sum_squares", "total_norm", "write_norms"]


@formula
def _own_part(layout, layer, part, thread, n_threads):
    """Return a thread's range of the flat vector: weights (part 0) or other parameters (part 1)."""
    fan_out = layout[layer, FAN_OUT]
    if part == 0:
        first, last = own_rows(layout, layer, chunk(fan_out), thread, n_threads)
        return layout[layer, WEIGHTS] + first * fan_out, layout[layer, WEIGHTS] + last * fan_out
    first, last = share(layout[layer, UNPENALISED], np.int64(1), thread, n_threads)
    return layout[layer, INTERCEPTS] + first, layout[layer, INTERCEPTS] + last


def finish_gradient(record, thread, layer):
    """Turn a thread's part of the summed gradient into that of the penalized mean, clipped by `clip_value`."""
    _, plan, model, work, _ = opened(record)
    kind = model.params.dtype.type
    factor = thread * N_SUMS + FACTOR
    ratio, bound = kind(work.sums[factor]), kind(plan.clip_value)
    for part in range(2):
        squares = kind(plan.l2 * (1 - part))
        absolutes = kind(plan.l1 * (1 - part))
        low, high = _own_part(plan.layout, layer, part, thread, plan.n_threads)
        for position in range(low, high):
            i = natural(position)
            model.grads[i] = penalised_mean(model.grads[i], model.params[i], squares, absolutes, ratio)
        if plan.clip_value != 0.0:
            for position in range(low, high):
                i = natural(position)
                model.grads[i] = clipped(model.grads[i], bound)
    if layer == plan.layout.shape[0] - 1:
        work.sums[factor] = 1.0


@formula
def sum_squares(layout, grads, thread, n_threads, squares, s_start):
    """Sum the squares of a thread's part of the weights' gradient, per chunk of rows, written from `s_start` on."""
    for layer in range(layout.shape[0]):
        n_rows, fan_out = layout[layer, ROWS], layout[layer, FAN_OUT]
        step = chunk(fan_out)
        first, last = own_rows(layout, layer, step, thread, n_threads)
        for row in range(first, last, step):
            start = layout[layer, WEIGHTS] + row * fan_out
            count = (min(row + step, last) - row) * fan_out
            squares[s_start + row // step] = inner_product(grads, start, grads, start, count)
        s_start += (n_rows + step - 1) // step


@formula
def total_norm(layout, grads, squares, s_start):
    """Compute the norm of the whole gradient, intercepts included, from the weights' sums; the same on every thread."""
    total = 0.0
    for layer in range(layout.shape[0]):
        step = chunk(layout[layer, FAN_OUT])
        stop = s_start + (layout[layer, ROWS] + step - 1) // step
        for position in range(s_start, stop):
            total += squares[position]
        s_start = stop
        start = layout[layer, INTERCEPTS]
        total += inner_product(grads, start, grads, start, layout[layer, UNPENALISED])
    return np.sqrt(total)


@formula
def write_norms(layout, squares, total_weight, norms):
    """Write the gradient norm of each layer's weights, for the mean over the rows, from the squares of the sums."""
    s_start = 0
    for layer in range(layout.shape[0]):
        step = chunk(layout[layer, FAN_OUT])
        total = 0.0
        stop = s_start + (layout[layer, ROWS] + step - 1) // step
        for position in range(s_start, stop):
            total += squares[position]
        s_start = stop
        norms[layer] = np.sqrt(total) / total_weight


def limit_norms(record, thread, layer):
    """Rescale a hidden unit's incoming weights if their norm exceeds `max_norm` (Srivastava et al., 2014, sec. 5.1)."""
    _, plan, model, _, _ = opened(record)
    largest, weights = plan.max_norm, plan.layout[layer, WEIGHTS]
    fan_in, fan_out = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    first, last = share(fan_out, np.int64(1), thread, plan.n_threads)
    for j in range(first, last):
        total = 0.0
        for k in range(fan_in):
            w = np.float64(model.params[natural(weights + k * fan_out + j)])
            total += w * w
        if total > largest * largest:
            factor = model.params.dtype.type(largest / np.sqrt(total))
            for k in range(fan_in):
                model.params[natural(weights + k * fan_out + j)] *= factor


def average_params(record, thread, layer):
    """Update a thread's part of the exponential moving average (EMA) of a layer's parameters."""
    _, plan, model, _, _ = opened(record)
    rest = model.params.dtype.type(1.0 - plan.decay)
    for part in range(2):
        low, high = _own_part(plan.layout, layer, part, thread, plan.n_threads)
        for position in range(low, high):
            i = natural(position)
            # In this form, the average of a frozen layer is exactly its parameters.
            model.average[i] += rest * (model.params[i] - model.average[i])
