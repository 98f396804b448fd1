"""Steps of a mini-batch and of a prediction: the work of one thread for one stage of the network.

All steps take the same three arguments: a pointer to the record (`state`), the index of the thread, and `layer`, the
index of a stage. `program` orders the steps; `epoch` calls them by address. Each step is compiled separately, when a
training first needs it.

The rows of a block are divided among the threads for the forward and the backward pass, in which rows are independent.
Then the parameters are divided among the threads for the gradient (a sum over all rows, in order) and the update.
"""

import numpy as np

from skbackprop._compile import call_out, formula, invoke
from skbackprop.backends.cpu.dropout import drop_entry, drop_rows
from skbackprop.backends.cpu.gemm import SCRATCH_SIZE, multiply_row
from skbackprop.backends.cpu.layers import count_constant, own_rows, set_intercepts, share
from skbackprop.backends.cpu.memory import at, copy, copy_row, fill_zero, prefetch
from skbackprop.backends.cpu.penalties import sum_squares, total_norm
from skbackprop.backends.cpu.state import (
    AS_IS,
    BACK,
    BACKWARD,
    BASE,
    BATCH_ROWS,
    BLOCK,
    DEALT,
    DECAY,
    DELTAS,
    DROPOUT,
    EPOCH,
    FACTOR,
    FIRST,
    FORTH,
    FORWARD,
    GRADIENT,
    LAST,
    LOSS,
    N_CLOCK,
    N_ROWS,
    N_SUMS,
    OF_OTHERS,
    OF_WEIGHTS,
    SQUARES,
    START,
    STEP,
    STRIP,
    UNITS,
    UNPACKED,
    WEIGHT,
    opened,
)
from skbackprop.backends.cpu.unpacked import backward_unpacked, forward_unpacked, outer_product
from skbackprop.backends.data import first_at_least
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.elementary import fma, natural, number
from skbackprop.functions.optimizers import N_CONSTANTS
from skbackprop.network import FAN_IN, FAN_OUT, GROUPS, INTERCEPTS, UNPENALISED, WEIGHTS

# Rows of shuffled data are prefetched this many rows ahead of their copies.
_ROWS_AHEAD = 8
# Longer rows are copied by memcpy.
_SHORT_ROW = 128


def gather(record, thread, layer):
    """Copy dense rows to the units of the first layer, and prefetch the first of the rows that follow."""
    data, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_columns = plan.layout[0, FAN_IN]
    begin, end = now[START] + now[FIRST], now[START] + now[LAST]
    target = now[BASE] + plan.offsets[0, UNITS] + now[FIRST] * n_columns
    for position in range(begin, end):
        if position + _ROWS_AHEAD < data.places.size:
            prefetch(at(data.X, data.places[position + _ROWS_AHEAD] * n_columns), n_columns)
        row, out = (
            at(data.X, data.places[position] * n_columns),
            at(work.units, target + (position - begin) * n_columns),
        )
        if n_columns <= _SHORT_ROW:
            copy_row(row, out, n_columns)
        else:
            copy(row, out, n_columns)


def check_rows(record, thread, layer):
    """Note whether a number is not finite among the rows of a block, which lie in their order."""
    data, plan, _, work, report = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_columns = plan.layout[0, FAN_IN]
    rows = at(data.X, (now[START] + now[FIRST]) * n_columns)
    found = np.int64(0)
    for index in range((now[LAST] - now[FIRST]) * n_columns):
        # Infinity less infinity is not a number, which equals nothing. A sum of integers, which is vectorized.
        found |= rows[index] - rows[index] != 0
    if found:
        report.non_finite[0] = 1


def drop(record, thread, layer):
    """Apply dropout to the inputs of a layer and to their stored slopes; the first layer's inputs have none."""
    data, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, last, n_units = now[FIRST], now[LAST], plan.layout[layer, FAN_IN]
    low = plan.offsets[layer, UNITS] + first * n_units
    rate = plan.dropout[layer] * work.sums[thread * N_SUMS + DROPOUT]
    drop_rows(
        rate, plan.seed, now[STEP], layer, at(data.order, now[START]), first, last, n_units,
        at(work.units, low), at(work.slopes, low), layer > 0,
    )  # fmt: skip
    if layer > 0 and work.changes.size > 0:
        drop_rows(
            rate, plan.seed, now[STEP], layer, at(data.order, now[START]), first, last, n_units,
            at(work.changes, low), at(work.slopes, low), False,
        )  # fmt: skip


def forward(record, thread, layer):
    """Compute the weighted inputs of a layer: ``Z = b + A W``."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, last, base = now[FIRST], now[LAST], now[BASE]
    fan_in, fan_out = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    panels = plan.offsets[layer, FORWARD]
    zero, one = np.int64(0), np.int64(1)  # int64, as variables are
    right, r_row = at(model.params, plan.layout[layer, WEIGHTS]), fan_out
    if panels != AS_IS:
        right, r_row = at(work.forward_panels, panels), zero
    invoke(plan.multiply, (
        at(work.units, base + plan.offsets[layer, UNITS] + first * fan_in), fan_in, one, right, r_row,
        last - first, fan_in, fan_out, at(model.params, plan.layout[layer, INTERCEPTS]), zero,
        at(work.units, base + plan.offsets[layer + 1, UNITS] + first * fan_out), fan_out, at(work.scratches[thread], 0),
    ))  # fmt: skip


def forward_alone(record, thread, layer):
    """Like `forward`, for a layer of one unit or a single row."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    forward_unpacked(
        work.units, now[BASE] + plan.offsets[layer, UNITS], now[FIRST], now[LAST], model.params,
        plan.layout[layer, WEIGHTS], plan.layout[layer, INTERCEPTS], now[BASE] + plan.offsets[layer + 1, UNITS],
        plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT],
    )  # fmt: skip


def forward_sparse(record, thread, layer):
    """Like `forward`, for sparse rows: uses the stored entries only."""
    data, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, last, start, step = now[FIRST], now[LAST], now[START], now[STEP]
    n_units, weights = plan.layout[0, FAN_OUT], plan.layout[0, WEIGHTS]
    low = now[BASE] + plan.offsets[1, UNITS] + first * n_units
    rate = plan.dropout[0] * work.sums[thread * N_SUMS + DROPOUT]
    set_intercepts(model.params, plan.layout[0, INTERCEPTS], work.units, low, last - first, n_units)
    for position in range(first, last):
        row = data.places[start + position]
        target = low + (position - first) * n_units
        for entry in range(data.indptr[row], data.indptr[row + 1]):
            column = data.indices[entry]
            x = drop_entry(rate, plan.seed, step, data.order[start + position], column, data.entries[entry])
            source = weights + column * n_units
            for j in range(n_units):
                unit = natural(target + j)
                work.units[unit] = fma(x, model.params[natural(source + j)], work.units[unit])


def transform(record, thread, layer):
    """Transform the columns of an input layer."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, base = now[FIRST], now[BASE]
    n_groups, n_outputs = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    invoke(plan.calls[layer, FORTH], (
        at(work.units, base + plan.offsets[layer, UNITS] + first * n_groups),
        at(work.units, base + plan.offsets[layer + 1, UNITS] + first * n_outputs),
        at(model.params, plan.layout[layer, INTERCEPTS]), at(plan.groups, 3 * plan.layout[layer, GROUPS]), n_groups,
        now[LAST] - first, n_outputs, at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip


def transform_backward(record, thread, layer):
    """Compute the gradient with respect to the inputs of an input layer."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first = now[FIRST]
    n_groups, n_outputs = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    invoke(plan.calls[layer, BACK], (
        at(work.units, plan.offsets[layer, UNITS] + first * n_groups),
        at(work.deltas, plan.offsets[layer + 1, UNITS] + first * n_outputs),
        at(model.params, plan.layout[layer, INTERCEPTS]),
        at(work.deltas, plan.offsets[layer, UNITS] + first * n_groups), at(plan.groups, 3 * plan.layout[layer, GROUPS]),
        n_groups, now[LAST] - first, n_outputs, at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip


def transform_gradient(record, thread, layer):
    """Compute the gradient of a thread's share of an input layer's parameters: those of some columns."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_groups, n_outputs = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    first, last = share(n_groups, np.int64(1), thread, plan.n_threads)
    invoke(plan.calls[layer, GRADIENT], (
        at(work.units, plan.offsets[layer, UNITS]), at(work.deltas, plan.offsets[layer + 1, UNITS]),
        at(model.params, plan.layout[layer, INTERCEPTS]), at(model.grads, plan.layout[layer, INTERCEPTS]),
        at(plan.groups, 3 * plan.layout[layer, GROUPS]), first, last, n_groups, now[N_ROWS], n_outputs,
        now[BLOCK] == 0, np.int64(0), np.int64(1), at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip


def activate(record, thread, layer):
    """Apply the activation of a hidden layer, and store its slopes if the layer keeps them."""
    _, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    fan_out = plan.layout[layer, FAN_OUT]
    low = now[BASE] + plan.offsets[layer + 1, UNITS] + now[FIRST] * fan_out
    invoke(plan.calls[layer, FORTH], (
        at(work.units, low), at(work.slopes, low), (now[LAST] - now[FIRST]) * fan_out,
        at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip


def weigh(record, thread, layer):
    """Sum the sample weights of a batch."""
    data, _, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    total = 0.0
    for position in range(now[START], now[START] + now[BATCH_ROWS]):
        total += data.weights[data.places[position]]
    work.sums[thread * N_SUMS + WEIGHT] = total


def evaluate(record, thread, layer):
    """Compute the losses of the rows and their gradients with respect to the raw predictions."""
    data, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, last, start = now[FIRST], now[LAST], now[START]
    n_outputs, n_targets = plan.layout[layer, FAN_OUT], plan.n_targets
    # An inline loop: too few columns to be worth a call.
    for position in range(first, last):
        if start + position + _ROWS_AHEAD < data.places.size:
            prefetch(at(data.Y, data.places[start + position + _ROWS_AHEAD] * n_targets), 1)
        source, target = data.places[start + position] * n_targets, position * n_targets
        for j in range(n_targets):
            work.targets[natural(target + j)] = data.Y[natural(source + j)]
    low = plan.offsets[layer + 1, UNITS] + first * n_outputs
    invoke(plan.calls[layer, FORTH], (
        at(work.units, low), at(work.targets, first * n_targets), last - first, n_outputs, n_targets,
        at(work.deltas, low), at(work.losses, first), at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip
    if data.weights.size > 0:
        for position in range(first, last):
            weight = data.weights[data.places[start + position]]
            work.losses[position] *= weight
            row = plan.offsets[layer + 1, UNITS] + position * n_outputs
            for j in range(row, row + n_outputs):
                work.deltas[j] *= weight


def backward(record, thread, layer):
    """Compute the gradient with respect to a layer's inputs: ``D W^T``."""
    _, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    first, last = now[FIRST], now[LAST]
    fan_in, fan_out = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    zero, one = np.int64(0), np.int64(1)
    scratch = at(work.scratches[thread], 0)
    invoke(plan.multiply, (
        at(work.deltas, plan.offsets[layer + 1, UNITS] + first * fan_out), fan_out, one,
        at(work.backward_panels, plan.offsets[layer, BACKWARD]), zero, last - first, fan_out, fan_in,
        at(scratch, SCRATCH_SIZE), zero, at(work.deltas, plan.offsets[layer, UNITS] + first * fan_in), fan_in, scratch,
    ))  # fmt: skip


def backward_alone(record, thread, layer):
    """Like `backward`, for a layer of one unit or a single row."""
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    backward_unpacked(
        work.deltas, plan.offsets[layer + 1, UNITS], now[FIRST], now[LAST], model.params, plan.layout[layer, WEIGHTS],
        plan.offsets[layer, UNITS], plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT],
    )  # fmt: skip


def derive(record, thread, layer):
    """Backpropagate through the activation of a hidden layer."""
    _, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    fan_out = plan.layout[layer, FAN_OUT]
    low = plan.offsets[layer + 1, UNITS] + now[FIRST] * fan_out
    invoke(plan.calls[layer, BACK], (
        at(work.units, low), at(work.slopes, low), at(work.deltas, low), (now[LAST] - now[FIRST]) * fan_out,
        at(plan.settings, layer * N_SETTINGS),
    ))  # fmt: skip


def pack_deltas(record, thread, layer):
    """Pack the gradients with respect to a layer's weighted inputs: the right factor in the gradient of its weights."""
    _, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    invoke(plan.pack, (
        at(work.deltas, plan.offsets[layer + 1, UNITS]), now[FIRST], now[LAST], now[N_ROWS],
        plan.layout[layer, FAN_OUT], at(work.delta_panels, plan.offsets[layer, DELTAS]),
    ))  # fmt: skip


def gradient(record, thread, layer):
    """Compute the gradient of a layer's weights and intercepts, one strip of rows at a time.

    If an update needs nothing from the other weights, each strip is updated, and what depends on it refreshed, right
    after its gradient is computed, while it is in the cache.
    """
    _, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_rows, is_first = now[N_ROWS], now[BLOCK] == 0
    updates = plan.by_strips != 0 and plan.trained[layer] != 0 and now[BLOCK] + n_rows == now[BATCH_ROWS]
    fan_in, fan_out = plan.layout[layer, FAN_IN], plan.layout[layer, FAN_OUT]
    weights, units, deltas = plan.layout[layer, WEIGHTS], plan.offsets[layer, UNITS], plan.offsets[layer + 1, UNITS]
    panels = plan.offsets[layer, DELTAS]
    zero, one = np.int64(0), np.int64(1)
    scratch = at(work.scratches[thread], 0)
    first, own_last = own_rows(plan.layout, layer, plan.offsets[layer, DEALT], thread, plan.n_threads)
    while first < own_last:
        last = min(own_last, first + plan.offsets[layer, STRIP])
        # The first block's product starts from zero; the others accumulate.
        out = at(model.grads, weights + first * fan_out)
        start, s_row = (at(scratch, SCRATCH_SIZE), zero) if is_first else (out, fan_out)
        if fan_out == 1:
            multiply_row(
                at(work.deltas, deltas), at(work.units, units + first), fan_in, n_rows, last - first, start, out
            )
        elif panels == UNPACKED:
            outer_product(at(work.units, units + first), last - first, at(work.deltas, deltas), fan_out, out)
        else:
            right, r_row = at(work.deltas, deltas), fan_out
            if panels != AS_IS:
                right, r_row = at(work.delta_panels, panels), zero
            invoke(plan.multiply, (
                at(work.units, units + first), one, fan_in, right, r_row, last - first, n_rows, fan_out, start, s_row,
                out, fan_out, scratch,
            ))  # fmt: skip
        if updates:
            _update_weights(plan, model, work, thread, layer, first, last)
            _refresh(plan, model, work, layer, first, last)
        first = last
    _finish_layer(plan, model, work, thread, layer, n_rows, is_first, updates)


def gradient_sparse(record, thread, layer):
    """Like `gradient`, for sparse rows: stored entries only, in one strip, because each strip scans all of them."""
    data, plan, model, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_rows, is_first, start, step = now[N_ROWS], now[BLOCK] == 0, now[START], now[STEP]
    updates = plan.by_strips != 0 and plan.trained[0] != 0 and now[BLOCK] + n_rows == now[BATCH_ROWS]
    n_units, weights = plan.layout[0, FAN_OUT], plan.layout[0, WEIGHTS]
    rate = plan.dropout[0] * work.sums[thread * N_SUMS + DROPOUT]
    first, last = own_rows(plan.layout, layer, plan.offsets[0, DEALT], thread, plan.n_threads)
    if is_first:
        fill_zero(model.grads, weights + first * n_units, weights + last * n_units)
    for position in range(n_rows if first < last else 0):
        row, number = data.places[start + position], data.order[start + position]
        stop = data.indptr[row + 1]
        entry = first_at_least(data.indices, data.indptr[row], stop, first)
        source = plan.offsets[1, UNITS] + position * n_units
        while entry < stop and data.indices[entry] < last:
            column = data.indices[entry]
            x = drop_entry(rate, plan.seed, step, number, column, data.entries[entry])
            target = weights + column * n_units
            for j in range(n_units):
                weight = natural(target + j)
                model.grads[weight] = fma(x, work.deltas[natural(source + j)], model.grads[weight])
            entry += 1
    if updates and first < last:
        _update_weights(plan, model, work, thread, layer, first, last)
        _refresh(plan, model, work, layer, first, last)
    _finish_layer(plan, model, work, thread, layer, n_rows, is_first, updates)


@formula
def _update_range(plan, model, work, thread, low, count, l2, rate, decays):
    """Update `count` parameters from `low` on, with one of the rates."""
    constants = at(work.constants, (thread * plan.rate_factors.size + rate) * N_CONSTANTS)
    sums = at(work.sums, thread * N_SUMS)
    invoke(plan.update, (
        constants, sums[FACTOR], l2, decays * sums[DECAY],
        at(model.params, low), at(model.grads, low), at(model.slots, low), plan.stride, count,
    ))  # fmt: skip


@formula
def _update_weights(plan, model, work, thread, layer, first, last):
    """Update a range of rows of a layer's weights."""
    fan_out = plan.layout[layer, FAN_OUT]
    low = plan.layout[layer, WEIGHTS] + first * fan_out
    rate, decays = plan.rate_index[layer, OF_WEIGHTS], plan.decays[layer, OF_WEIGHTS]
    _update_range(plan, model, work, thread, low, (last - first) * fan_out, plan.update_l2, rate, decays)


@formula
def _refresh(plan, model, work, layer, first, last):
    """Refresh what depends on a range of rows of a layer's weights."""
    zero = np.int64(0)
    invoke(plan.refresh, (
        at(model.params, plan.layout[layer, WEIGHTS]), first, last, plan.layout[layer, FAN_IN],
        plan.layout[layer, FAN_OUT], plan.offsets[layer, DEALT], plan.l2, plan.l1,
        at(work.squares, plan.offsets[layer, SQUARES]), at(work.forward_panels, zero), plan.offsets[layer, FORWARD],
        at(work.backward_panels, zero), plan.offsets[layer, BACKWARD],
    ))  # fmt: skip


@formula
def _finish_layer(plan, model, work, thread, layer, n_rows, is_first, updates):
    """Compute the gradient of a thread's share of a layer's intercepts, and update them.

    The gradients of scales, offsets and parametric activations are computed already.
    """
    fan_out, intercepts = plan.layout[layer, FAN_OUT], plan.layout[layer, INTERCEPTS]
    own_first, own_last = share(plan.layout[layer, UNPENALISED], np.int64(1), thread, plan.n_threads)
    first, last = min(own_first, fan_out), min(own_last, fan_out)
    if is_first:
        fill_zero(model.grads, intercepts + first, intercepts + last)
    # Set the gradient to exactly zero: Adam would scale up the rounding error that is left.
    n_added = np.int64(0) if plan.centred != 0 and layer < plan.layout.shape[0] - 1 else n_rows
    out = at(model.grads, intercepts + first)
    multiply_row(
        at(work.scratches[thread], work.scratches.shape[1] - plan.block_rows),
        at(work.deltas, plan.offsets[layer + 1, UNITS] + first), fan_out, n_added, last - first, out, out,
    )  # fmt: skip
    if updates:
        _update_intercepts(plan, model, work, thread, layer)


@formula
def _update_intercepts(plan, model, work, thread, layer):
    """Update a thread's share of a layer's intercepts and other parameters that are not penalized."""
    first, last = share(plan.layout[layer, UNPENALISED], np.int64(1), thread, plan.n_threads)
    low = plan.layout[layer, INTERCEPTS] + first
    rate, decays = plan.rate_index[layer, OF_OTHERS], plan.decays[layer, OF_OTHERS]
    _update_range(plan, model, work, thread, low, last - first, 0.0, rate, decays)


def add_losses(record, thread, layer):
    """Add the losses of a block's rows to the batch's loss."""
    _, _, _, work, _ = opened(record)
    if thread == 0:
        loss = work.sums[LOSS]
        for position in range(work.clock[N_ROWS]):
            loss += work.losses[position]
        work.sums[LOSS] = loss


def exchange(record, thread, layer):
    """Replace a batch's gradient and loss by their sums over all workers; a worker without rows adds zeros."""
    _, plan, model, work, _ = opened(record)
    if thread == 0:
        grads, exchanged, n_params = at(model.grads, np.int64(0)), at(work.exchanged, np.int64(0)), model.grads.size
        if work.clock[BATCH_ROWS] == 0:
            fill_zero(model.grads, np.int64(0), n_params)
        for i in range(n_params):
            exchanged[natural(i)] = np.float64(grads[natural(i)])
        exchanged[n_params] = work.sums[LOSS]
        call_out(plan.exchange, exchanged, n_params + 1)
        for i in range(n_params):
            grads[natural(i)] = number(exchanged[natural(i)], grads)
        work.sums[LOSS] = exchanged[n_params]


def count_dead(record, thread, layer):
    """Count a hidden layer's units whose output is the same for all rows of the block."""
    _, plan, _, work, report = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    fan_out = plan.layout[layer, FAN_OUT]
    first, last = share(plan.layout[layer, UNPENALISED], np.int64(1), thread, plan.n_threads)
    report.constant_units[now[EPOCH] * plan.layout.shape[0] + layer, thread] = count_constant(
        work.units, plan.offsets[layer + 1, UNITS], now[N_ROWS], fan_out, min(first, fan_out), min(last, fan_out)
    )


def square(record, thread, layer):
    """Sum the squares of the weights' unmodified gradient, for the report."""
    _, plan, model, work, _ = opened(record)
    sum_squares(plan.layout, model.grads, thread, plan.n_threads, work.gradient_squares, np.int64(0))


def square_again(record, thread, layer):
    """Sum the squares of the weights' finished gradient, to clip its norm."""
    _, plan, model, work, _ = opened(record)
    half = work.gradient_squares.size // 2
    sum_squares(plan.layout, model.grads, thread, plan.n_threads, work.gradient_squares, half)


def limit_gradient(record, thread, layer):
    """Compute the factor that clips the gradient's norm."""
    _, plan, model, work, _ = opened(record)
    norm = total_norm(plan.layout, model.grads, work.gradient_squares, work.gradient_squares.size // 2)
    work.sums[thread * N_SUMS + FACTOR] = min(1.0, plan.clip_norm / norm) if norm > 0.0 else 1.0


def update(record, thread, layer):
    """Update a thread's share of a layer's parameters."""
    _, plan, model, work, _ = opened(record)
    first, last = own_rows(plan.layout, layer, plan.offsets[layer, DEALT], thread, plan.n_threads)
    _update_weights(plan, model, work, thread, layer, first, last)
    _update_intercepts(plan, model, work, thread, layer)


def refresh(record, thread, layer):
    """Refresh what depends on a thread's share of a layer's weights."""
    _, plan, model, work, _ = opened(record)
    first, last = own_rows(plan.layout, layer, plan.offsets[layer, DEALT], thread, plan.n_threads)
    _refresh(plan, model, work, layer, first, last)


def link(record, thread, layer):
    """Apply the inverse link to raw predictions."""
    _, plan, _, work, _ = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    low = now[BASE] + plan.offsets[layer + 1, UNITS]
    invoke(
        plan.calls[layer, BACK],
        (at(work.units, low), now[N_ROWS], plan.layout[layer, FAN_OUT], at(plan.settings, layer * N_SETTINGS)),
    )


def write(record, thread, layer):
    """Copy a block's predictions to the output."""
    _, plan, _, work, report = opened(record)
    now = at(work.clock, thread * N_CLOCK)
    n_outputs = plan.layout[layer, FAN_OUT]
    source, target = now[BASE] + plan.offsets[layer + 1, UNITS], now[START] * n_outputs
    for i in range(now[N_ROWS] * n_outputs):
        report.predictions[natural(target + i)] = work.units[natural(source + i)]
