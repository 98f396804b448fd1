"""Steps from the gradient to the parameters: penalties, clipping, the optimizer's update and the running average."""

import math

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.state import (
    BATCH,
    CLIP_NORM,
    CLIP_VALUE,
    DECAY,
    EPOCH_END,
    FAN_IN,
    FAN_OUT,
    INTERCEPTS,
    L1,
    L2,
    MAX_NORM,
    N_PARTS,
    REST,
    SHARE,
    TRAINED,
    TREATMENT,
    UNPENALISED,
    WEIGHTS,
)
from skbackprop.functions._tuples import state_access
from skbackprop.functions.elementary import natural, number
from skbackprop.functions.optimizers import mean_gradient
from skbackprop.functions.penalties import clipped, penalised_mean, penalty

__all__ = [
    "average_step",
    "factor_step",
    "finish_step",
    "limit_step",
    "norm_step",
    "penalty_step",
    "square_step",
    "update_step",
]


@formula
def penalty_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Compute the penalty on all weights before they are updated."""
    squares, absolutes = number(0.5, model.params) * plan.limits[L2], plan.limits[L1]
    for lane in range(thread, plan.n_weight_lanes, n_threads):
        total = number(0.0, model.params)
        for one in range(plan.n_layers):
            n_weights = plan.layers[one, INTERCEPTS] - plan.layers[one, WEIGHTS]
            for i in range(lane, n_weights, plan.n_weight_lanes):
                total += penalty(model.params[natural(plan.layers[one, WEIGHTS] + i)], squares, absolutes)
        report.penalties[batches.table[number_, BATCH], lane] = total


@formula
def norm_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Sum the squares of the gradient of a layer's weights, without penalty, at the end of an epoch."""
    n_weights = plan.layers[layer, INTERCEPTS] - plan.layers[layer, WEIGHTS]
    for lane in range(thread, plan.n_weight_lanes, n_threads):
        total = number(0.0, model.params)
        for i in range(lane, n_weights, plan.n_weight_lanes):
            g = model.grads[natural(plan.layers[layer, WEIGHTS] + i)]
            total += g * g
        report.squares[batches.table[number_, EPOCH_END] - 1, layer, lane] = total


@formula
def finish_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Turn the summed gradient into that of the penalized mean, clipped by value."""
    ratio, bound = batches.constants[batches.table[number_, BATCH], 0, SHARE], plan.limits[CLIP_VALUE]
    zero = number(0.0, model.params)
    start = plan.layers[layer, WEIGHTS]
    n_weights = plan.layers[layer, INTERCEPTS] - start
    for i in range(thread, n_weights + plan.layers[layer, UNPENALISED], n_threads):
        at = natural(start + i)
        squares = plan.limits[L2] if i < n_weights else zero
        absolutes = plan.limits[L1] if i < n_weights else zero
        g = penalised_mean(model.grads[at], model.params[at], squares, absolutes, ratio)
        model.grads[at] = clipped(g, bound) if bound > zero else g


@formula
def square_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Sum the squares of the whole gradient."""
    for lane in range(thread, plan.n_weight_lanes, n_threads):
        total = number(0.0, model.params)
        for i in range(lane, model.params.size, plan.n_weight_lanes):
            g = model.grads[natural(i)]
            total += g * g
        work.squares[lane] = total


@formula
def factor_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Compute the factor that clips the gradient's norm, and write it after the squares."""
    if thread == 0:
        total = np.float64(0.0)
        for lane in range(plan.n_weight_lanes):
            total += work.squares[lane]
        norm = number(math.sqrt(total), model.params)
        one, limit = number(1.0, model.params), plan.limits[CLIP_NORM]
        work.squares[plan.n_weight_lanes] = limit / norm if norm > limit else one


def update_step(kind, finishes, clips_norm):
    """Make the step that updates a layer's parameters.

    Parameters
    ----------
    kind : type
        From `Optimizer.kernel_kind`.
    finishes : bool
        Whether `finish_step` has run before.
    clips_norm : bool
        Whether `factor_step` has run before.

    Returns
    -------
    step : formula
    """
    load, store = state_access(kind.n_slots)
    update, named_constants = kind.update, kind.named_constants()

    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        if plan.layers[layer, TRAINED] == 0:
            return
        batch, stride = batches.table[number_, BATCH], model.params.size
        zero, one = number(0.0, model.params), number(1.0, model.params)
        for part in range(N_PARTS):
            constants = batches.constants[batch, plan.layers[layer, TREATMENT + part]]
            c, decays = named_constants(constants, model.params), constants[DECAY]
            share = one if finishes else constants[SHARE]
            if clips_norm:
                share = work.squares[plan.n_weight_lanes]
            l2 = zero if finishes or part > 0 else plan.limits[L2]
            start, stop = plan.layers[layer, WEIGHTS], plan.layers[layer, INTERCEPTS]
            if part > 0:
                start, stop = stop, stop + plan.layers[layer, UNPENALISED]
            for position in range(start + thread, stop, n_threads):
                i = natural(position)
                w = model.params[i]
                made = update(w, mean_gradient(model.grads[i], w, l2, share), decays, load(model.slots, i, stride), c)
                model.params[i] = made[0]
                store(model.slots, i, stride, made)

    return step


@formula
def limit_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Rescale a hidden unit's incoming weights if their norm exceeds the limit."""
    fan_in, fan_out = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
    largest = np.float64(plan.limits[MAX_NORM])
    for j in range(thread, fan_out, n_threads):
        total = np.float64(0.0)
        for k in range(fan_in):
            w = np.float64(model.params[natural(plan.layers[layer, WEIGHTS] + k * fan_out + j)])
            total += w * w
        if total > largest * largest:
            factor = number(largest / math.sqrt(total), model.params)
            for k in range(fan_in):
                i = natural(plan.layers[layer, WEIGHTS] + k * fan_out + j)
                model.params[i] = model.params[i] * factor


@formula
def average_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Update the exponential moving average of the parameters."""
    rest = plan.limits[REST]
    for i in range(thread, model.params.size, n_threads):
        at = natural(i)
        model.average[at] += rest * (model.params[at] - model.average[at])
