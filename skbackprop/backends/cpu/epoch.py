"""The training and prediction kernels: many mini-batches in one compiled call.

Every thread runs the same kernel. Within a batch the rows are dealt to the threads for the forward and the backward
pass, which need nothing of each other; then the parameters are dealt for the gradient (a sum over all rows, in order)
and the update. Two barriers a batch are enough, except where layers are normalized (see `normalization`).
"""

import numpy as np

from skbackprop._compile import formula, invoke, kernel
from skbackprop.backends.cpu.gemm import SCRATCH_SIZE, TILE_ROWS, multiply_row
from skbackprop.backends.cpu.layers import count_constant, own_rows, set_intercepts, share
from skbackprop.backends.cpu.memory import at, copy, copy_row, fill_zero, prefetch
from skbackprop.backends.cpu.penalties import sum_squares, total_norm, write_norms
from skbackprop.backends.cpu.sync import NEXT_BLOCK, NON_FINITE, PACKED, aborted, add, await_nonzero, barrier, read
from skbackprop.backends.cpu.unpacked import backward_unpacked, forward_unpacked, outer_product
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.elementary import natural
from skbackprop.functions.optimizers import N_CONSTANTS
from skbackprop.network import FAN_IN, FAN_OUT, INTERCEPTS, RUNNING, UNPENALISED, WEIGHTS

__all__ = ["predict_rows", "train_batches"]

#: Entries of `codes`: updates made before, targets a row, what is done with the batches, the seed of the dropout, whether the
#: intercepts of hidden layers have no effect, because a mean over the batch is subtracted, how far apart the optimizer's slots lie.
STEP, N_TARGETS, MODE, SEED, CENTRED, STRIDE = range(6)
#: What is done: the loss is evaluated, the gradient, too, or the parameters are updated by it.
EVALUATE, DIFFERENTIATE, TRAIN = range(3)
#: Entries of `penalties`: strengths of the squares and of the absolute values of the weights; largest gradient norm, largest
#: component and largest norm of a unit's weights, or 0; decay of the averaged parameters.
L2, L1, CLIP_NORM, CLIP_VALUE, MAX_NORM, AVERAGE = range(6)
#: Columns of `calls`, addresses of loops, one row for each layer: forward (activations, evaluation of the loss), backward
#: (derivatives, inverse link).
FORTH, BACK = range(2)
#: Entries of `pieces`, addresses of loops that do not depend on the network's functions; 0 for those that a training does not
#: need: products, packing, what depends on weights brought up to date, sparse products, dropout, the gradient made ready before
#: the optimizer's pass, limits of the weights, the average, normalization forward and backward.
MULTIPLY, PACK, REFRESH, FORWARD_SPARSE, GRADIENT_SPARSE, DROP, FINISH, LIMIT, FOLLOW, NORMALIZE, PASS_BACK = range(11)
#: Entries of `update_calls`.
PREPARE, UPDATE = range(2)
#: Columns of a workspace's `plan`, one row for each layer of units: where the layer's units and deltas lie, and, for
#: the weights that follow it, their panels for the forward and the backward product, and those of the deltas; where what
#: its normalization keeps lies in `statistics`; how many rows of the weights are dealt to a thread together, and how
#: many of these are updated together; and where their penalties lie in `squares`, whose size is in the last row.
UNITS, FORWARD, BACKWARD, DELTAS, STATISTICS, DEALT, STRIP, SQUARES = range(8)
#: In the place of an offset: there are no panels, because the layer's input is sparse, because the layer has one unit or a
#: batch one row, or because they would be used too few times.
SPARSE, UNPACKED, AS_IS = -1, -2, -3

# The kernels below call their helpers directly and not through functions of the phases: each level of calls is
# optimised once more by LLVM, which doubled the time to compile.


# Rows of shuffled data are fetched this far ahead of their copies.
_ROWS_AHEAD = 8
# Rows of more numbers are left to the C library's copy.
_SHORT_ROW = 128


@formula
def _gather(source, n_columns, rows, first, last, target, t_start):
    """Copy rows ``rows[first:last]`` of a matrix into a flat array, and fetch the first of those that come after."""
    for position in range(first, last):
        if position + _ROWS_AHEAD < rows.size:
            prefetch(at(source, rows[position + _ROWS_AHEAD] * n_columns), n_columns)
        row, out = at(source, rows[position] * n_columns), at(target, t_start + (position - first) * n_columns)
        if n_columns <= _SHORT_ROW:
            copy_row(row, out, n_columns)
        else:
            copy(row, out, n_columns)


@formula
def _gather_targets(source, n_columns, rows, first, last, target, t_start):
    """The same for few columns, which are not worth a call."""
    for position in range(first, last):
        if position + _ROWS_AHEAD < rows.size:
            prefetch(at(source, rows[position + _ROWS_AHEAD] * n_columns), 1)
        low = rows[position] * n_columns
        to = t_start + (position - first) * n_columns
        for j in range(n_columns):
            target[natural(to + j)] = source[natural(low + j)]


@formula
def _total_weight(sample_weight, rows, first, last):
    if sample_weight.size == 0:
        return float(last - first)
    total = 0.0
    for position in range(first, last):
        total += sample_weight[rows[position]]
    return total


@kernel
def train_batches(
    thread,
    n_threads,
    control,
    layout,
    calls,
    settings,
    pieces,
    dropout,
    trained,
    plan,
    codes,
    penalties,
    update_calls,
    update_settings,
    constants,
    X,
    data,
    indices,
    indptr,
    Y,
    sample_weight,
    order,
    numbers,
    rates,
    n_trained,
    batch_size,
    block_rows,
    params,
    grads,
    slots,
    average,
    running,
    forward_panels,
    backward_panels,
    delta_panels,
    units,
    slopes,
    deltas,
    targets,
    losses,
    squares,
    gradient_squares,
    scratches,
    normalized,
    statistics,
    result,
    norms,
    constant_units,
):
    """Run mini-batches: forward pass, loss, backward pass, update.

    Parameters
    ----------
    thread, n_threads : int
        Which of the threads this one is.
    control : ndarray of int64
        Shared by the threads, see `sync`. ``control[NON_FINITE]`` is set, and the call ends, once a batch's loss is not finite.
    layout : ndarray
        The network's layout.
    calls : ndarray of shape (n_layers, 2), int64
        Addresses of the layers' loops, see above; in the last row those of the loss.
    settings : ndarray, float64
        `N_SETTINGS` of each of them, and in a last row those of the normalization.
    pieces : ndarray of int64
        Addresses of loops, see above.
    dropout : ndarray of shape (n_layers,), float64
        Share of each layer's inputs that is dropped.
    trained : ndarray of shape (n_layers,), bool
        Which layers' weights and intercepts are updated.
    plan : ndarray
        The workspace's offsets, see above.
    codes : ndarray of int64
        See above; the number of updates is brought up to date.
    penalties : ndarray of float64
        See above.
    update_calls : ndarray of shape (2,), int64
        Addresses of the optimizer's loops.
    update_settings : ndarray of shape (N_SETTINGS,), float64
        Its settings.
    constants : ndarray of shape (n_threads * N_CONSTANTS,), float64
        What it prepares for an update, for each thread; the numbers that are carried on have been set for all.
    X : ndarray of shape (n_rows * n_features,)
        Dense data, row by row; ignored where ``plan[0, FORWARD] == SPARSE``.
    data, indices, indptr : ndarray
        Sparse data.
    Y : ndarray of shape (n_rows * n_targets,)
    sample_weight : ndarray of shape (n_rows,) or (0,)
        Empty: all ones.
    order : ndarray of shape (n_epochs * n_trained,), int64
        Rows in the order of training: where they lie in the data.
    numbers : ndarray of shape (n_epochs * n_trained,), int64
        The same as dropout knows them: numbers among the rows to train on, of which the data may hold more.
    rates : ndarray of shape (n_epochs * n_batches,), float64
        Learning rate of each batch.
    n_trained : int
        Rows of an epoch.
    batch_size, block_rows : int
        Rows of a batch, and those of its blocks that the workspace holds.
    params, grads : ndarray of shape (n_params,)
        Parameters, updated in place if there is an optimizer; if there is none, the gradient of the last batch.
    slots : ndarray of shape (n_slots * codes[STRIDE],)
        The optimizer's state, updated in place.
    average : ndarray of shape (n_params,) or (0,)
        Running average of the parameters, updated in place; empty for none.
    running : ndarray, float64
        With batch normalization, running means and variances, updated in place, or what they are folded to for an evaluation.
    forward_panels, backward_panels, delta_panels, units, slopes, deltas, targets, losses, squares, gradient_squares
        Workspace, flat arrays.
    scratches : ndarray of shape (n_threads, SCRATCH_SIZE + n)
        Workspace of each thread, then as many zeros as the widest layer has units, and at the end a one for each row of a block.
    normalized : ndarray, flat
        Workspace for normalized inputs, laid out as `units`; empty for none.
    statistics : ndarray, float64
        Workspace for the normalization.
    result : ndarray of shape (n_epochs,), float64
        The sum over an epoch's batches of (mean loss times rows) is added.
    norms : ndarray of shape (n_epochs, n_layers), float64
        Filled with the norm of the gradient of each layer's weights, without penalty, in the epoch's last batch.
    constant_units : ndarray of shape (n_epochs * n_layers, n_threads), float64
        To the entry of its thread is added how many of a hidden layer's units give the same for all rows of the epoch's last
        block.
    """
    n_layers = layout.shape[0]
    n_outputs = layout[n_layers - 1, FAN_OUT]
    n_targets = codes[N_TARGETS]
    scratch = at(scratches[thread], 0)
    zeros, ones = at(scratches[thread], SCRATCH_SIZE), at(scratches[thread], scratches.shape[1] - block_rows)
    own_constants = at(constants, thread * N_CONSTANTS)
    loss_settings = at(settings, (n_layers - 1) * N_SETTINGS)
    l2, l1 = penalties[L2], penalties[L1]
    step = codes[STEP]
    updates = codes[MODE] == TRAIN
    # Layers through which the gradient passes back.
    n_back = 0 if codes[MODE] == EVALUATE else n_layers
    # Most often the optimizer's pass takes the sum over the rows as it is, and nothing has to be done before.
    finishes = not updates or l1 != 0.0 or penalties[CLIP_NORM] != 0.0 or penalties[CLIP_VALUE] != 0.0
    n_batches = (n_trained + batch_size - 1) // batch_size
    zero, one = np.int64(0), np.int64(1)  # of the type that variables have: a literal would compile a callee again
    tile_rows = np.int64(TILE_ROWS)
    n_squares = plan[n_layers, SQUARES] if l2 != 0.0 or l1 != 0.0 else zero
    # Nothing has to be known of all weights between the gradient of some, their update, and what depends on them: the three are
    # done for a strip of rows at a time, while it is in the cache.
    by_strips = updates and not finishes and penalties[MAX_NORM] == 0.0
    # What depends on the weights only (their panels, their squares) is computed before the first batch, and after each update
    # by the thread that made it.
    for layer in range(n_layers):
        first, last = own_rows(layout, layer, plan[layer, DEALT], thread, n_threads)
        invoke(pieces[REFRESH], (
            at(params, layout[layer, WEIGHTS]), first, last, layout[layer, FAN_IN], layout[layer, FAN_OUT],
            plan[layer, DEALT], l2, l1, at(squares, plan[layer, SQUARES]),
            at(forward_panels, zero), plan[layer, FORWARD], at(backward_panels, zero), plan[layer, BACKWARD],
        ))  # fmt: skip
    barrier(control, n_threads)
    if aborted(control):
        return
    # Counted along: divisions are slow.
    epoch, batch = zero, -one
    for number in range(result.size * n_batches):
        batch += 1
        if batch == n_batches:
            epoch, batch = epoch + 1, zero
        ends_epoch = batch == n_batches - 1
        batch_start = epoch * n_trained + batch * batch_size
        batch_rows = min(batch_size, (epoch + 1) * n_trained - batch_start)
        total_weight = _total_weight(sample_weight, order, batch_start, batch_start + batch_rows)
        if total_weight == 0.0:
            continue
        factor = 1.0 / total_weight
        if updates:
            invoke(update_calls[PREPARE], (rates[number], step + one, at(update_settings, zero), own_constants))
        loss = 0.0
        penalty = 0.0
        if thread == 0:
            for position in range(n_squares):
                penalty += squares[position]
        for block in range(0, batch_rows, block_rows):
            n_rows = min(block_rows, batch_rows - block)
            block_start, block_stop = batch_start + block, batch_start + block + n_rows
            first, last = share(n_rows, tile_rows, thread, n_threads)
            if plan[0, FORWARD] != SPARSE:
                low = plan[0, UNITS] + first * layout[0, FAN_IN]
                _gather(X, layout[0, FAN_IN], order, block_start + first, block_start + last, units, low)
                if dropout[0] > 0.0:
                    invoke(
                        pieces[DROP],
                        (
                            dropout[0], codes[SEED], step, zero, numbers[block_start:block_stop],
                            first, last, layout[0, FAN_IN],
                            at(units, low), at(slopes, zero), False,
                        ),
                    )  # fmt: skip
            for layer in range(n_layers):
                fan_in = layout[layer, FAN_IN]
                fan_out = layout[layer, FAN_OUT]
                low = plan[layer + 1, UNITS] + first * fan_out
                if plan[layer, FORWARD] >= 0 or plan[layer, FORWARD] == AS_IS:
                    right, r_row = at(params, layout[layer, WEIGHTS]), fan_out
                    if plan[layer, FORWARD] >= 0:
                        right, r_row = at(forward_panels, plan[layer, FORWARD]), zero
                    invoke(pieces[MULTIPLY], (
                        at(units, plan[layer, UNITS] + first * fan_in), fan_in, one, right, r_row,
                        last - first, fan_in, fan_out,
                        at(params, layout[layer, INTERCEPTS]), zero, at(units, low), fan_out, scratch,
                    ))  # fmt: skip
                elif plan[layer, FORWARD] == UNPACKED:
                    forward_unpacked(
                        units, plan[layer, UNITS], first, last, params, layout[layer, WEIGHTS], layout[layer, INTERCEPTS],
                        plan[layer + 1, UNITS], fan_in, fan_out,
                    )  # fmt: skip
                else:
                    set_intercepts(params, layout[layer, INTERCEPTS], units, low, last - first, fan_out)
                    invoke(
                        pieces[FORWARD_SPARSE],
                        (
                            data,
                            indices,
                            indptr,
                            order[block_start:block_stop],
                            numbers[block_start:block_stop],
                            first,
                            last,
                            params,
                            layout[layer, WEIGHTS],
                            units,
                            low,
                            fan_out,
                            dropout[0],
                            codes[SEED],
                            step,
                        ),
                    )
                if layer < n_layers - 1:
                    if pieces[NORMALIZE] != 0:
                        invoke(pieces[NORMALIZE], (
                            control, thread, n_threads, n_rows, first, last, fan_out,
                            at(units, plan[layer + 1, UNITS]), at(normalized, plan[layer + 1, UNITS]),
                            at(params, layout[layer, INTERCEPTS] + fan_out), at(running, layout[layer, RUNNING]),
                            at(statistics, plan[layer + 1, STATISTICS]), at(settings, n_layers * N_SETTINGS), n_back > 0,
                        ))  # fmt: skip
                    invoke(
                        calls[layer, FORTH],
                        (at(units, low), at(slopes, low), (last - first) * fan_out, at(settings, layer * N_SETTINGS)),
                    )
                    if dropout[layer + 1] > 0.0:
                        invoke(
                            pieces[DROP],
                            (
                                dropout[layer + 1], codes[SEED], step, layer + one,
                                numbers[block_start:block_stop], first, last, fan_out,
                                at(units, low), at(slopes, low), True,
                            ),
                        )  # fmt: skip
            low = plan[n_layers, UNITS] + first * n_outputs
            _gather_targets(Y, n_targets, order, block_start + first, block_start + last, targets, first * n_targets)
            invoke(
                calls[n_layers - 1, FORTH],
                (
                    at(units, low), at(targets, first * n_targets), last - first, n_outputs, n_targets,
                    at(deltas, low), at(losses, first), loss_settings,
                ),
            )  # fmt: skip
            if sample_weight.size > 0:
                for position in range(first, last):
                    weight = sample_weight[order[block_start + position]]
                    losses[position] *= weight
                    low = plan[n_layers, UNITS] + position * n_outputs
                    for j in range(low, low + n_outputs):
                        deltas[j] *= weight
            for layer in range(n_back - 1, -1, -1):
                fan_in = layout[layer, FAN_IN]
                fan_out = layout[layer, FAN_OUT]
                if layer > 0:
                    low = plan[layer, UNITS] + first * fan_in
                    if plan[layer, BACKWARD] >= 0:
                        invoke(pieces[MULTIPLY], (
                            at(deltas, plan[layer + 1, UNITS] + first * fan_out), fan_out, one,
                            at(backward_panels, plan[layer, BACKWARD]), zero, last - first, fan_out, fan_in,
                            zeros, zero, at(deltas, low), fan_in, scratch,
                        ))  # fmt: skip
                    else:
                        backward_unpacked(
                            deltas, plan[layer + 1, UNITS], first, last, params, layout[layer, WEIGHTS],
                            plan[layer, UNITS], fan_in, fan_out,
                        )  # fmt: skip
                    invoke(
                        calls[layer - 1, BACK],
                        (
                            at(units, low), at(slopes, low), at(deltas, low), (last - first) * fan_in,
                            at(settings, (layer - 1) * N_SETTINGS),
                        ),
                    )  # fmt: skip
                    if pieces[PASS_BACK] != 0:
                        scales = layout[layer - 1, INTERCEPTS] + fan_in
                        invoke(pieces[PASS_BACK], (
                            control, thread, n_threads, n_rows, first, last, fan_in,
                            at(deltas, plan[layer, UNITS]), at(normalized, plan[layer, UNITS]),
                            at(params, scales), at(grads, scales), at(statistics, plan[layer, STATISTICS]), block > 0,
                        ))  # fmt: skip
                if plan[layer, DELTAS] >= 0:
                    invoke(pieces[PACK], (
                        at(deltas, plan[layer + 1, UNITS]), first, last, n_rows, fan_out,
                        at(delta_panels, plan[layer, DELTAS]),
                    ))  # fmt: skip
            barrier(control, n_threads)
            if aborted(control) or read(control, NON_FINITE) != 0:
                return
            for layer in range(n_back):
                fan_in = layout[layer, FAN_IN]
                fan_out = layout[layer, FAN_OUT]
                first, own_last = own_rows(layout, layer, plan[layer, DEALT], thread, n_threads)
                while first < own_last:
                    last = min(own_last, first + plan[layer, STRIP])
                    low = layout[layer, WEIGHTS] + first * fan_out
                    # The first block's product is added to zero, the others' to what there is.
                    out = at(grads, low)
                    start, s_row = (zeros, zero) if block == 0 else (out, fan_out)
                    if plan[layer, DELTAS] == SPARSE:
                        if block == 0:
                            fill_zero(grads, low, layout[layer, WEIGHTS] + last * fan_out)
                        invoke(pieces[GRADIENT_SPARSE], (
                            data, indices, indptr, order[block_start:block_stop], numbers[block_start:block_stop],
                            deltas, plan[1, UNITS], first, last,
                            grads, layout[0, WEIGHTS], fan_out, dropout[0], codes[SEED], step,
                        ))  # fmt: skip
                    elif fan_out == 1:
                        multiply_row(
                            at(deltas, plan[layer + 1, UNITS]), at(units, plan[layer, UNITS] + first), fan_in,
                            n_rows, last - first, start, out,
                        )  # fmt: skip
                    elif plan[layer, DELTAS] == UNPACKED:
                        outer_product(
                            at(units, plan[layer, UNITS] + first),
                            last - first,
                            at(deltas, plan[layer + 1, UNITS]),
                            fan_out,
                            out,
                        )
                    else:
                        right, r_row = at(deltas, plan[layer + 1, UNITS]), fan_out
                        if plan[layer, DELTAS] >= 0:
                            right, r_row = at(delta_panels, plan[layer, DELTAS]), zero
                        invoke(pieces[MULTIPLY], (
                            at(units, plan[layer, UNITS] + first), one, fan_in, right, r_row,
                            last - first, n_rows, fan_out, start, s_row, out, fan_out, scratch,
                        ))  # fmt: skip
                    if by_strips and block + n_rows == batch_rows and trained[layer]:
                        invoke(update_calls[UPDATE], (
                            own_constants, factor, l2, 1.0,
                            at(params, low), out, at(slots, low), codes[STRIDE], (last - first) * fan_out,
                        ))  # fmt: skip
                        invoke(pieces[REFRESH], (
                            at(params, layout[layer, WEIGHTS]), first, last, fan_in, fan_out,
                            plan[layer, DEALT], l2, l1, at(squares, plan[layer, SQUARES]),
                            at(forward_panels, zero), plan[layer, FORWARD], at(backward_panels, zero), plan[layer, BACKWARD],
                        ))  # fmt: skip
                    first = last
                # Those that the thread will update; scales and offsets have their gradient already.
                first, last = share(layout[layer, UNPENALISED], one, thread, n_threads)
                first, last = min(first, fan_out), min(last, fan_out)
                if block == 0:
                    fill_zero(grads, layout[layer, INTERCEPTS] + first, layout[layer, INTERCEPTS] + last)
                # What would be left by rounding, Adam would take for a gradient.
                n_added = zero if codes[CENTRED] != 0 and layer < n_layers - 1 else n_rows
                low = layout[layer, INTERCEPTS] + first
                multiply_row(
                    ones,
                    at(deltas, plan[layer + 1, UNITS] + first),
                    fan_out,
                    n_added,
                    last - first,
                    at(grads, low),
                    at(grads, low),
                )
                if ends_epoch and block + n_rows == batch_rows and layer < n_layers - 1:
                    constant_units[epoch * n_layers + layer, thread] = count_constant(
                        units, plan[layer + 1, UNITS], n_rows, fan_out, first, last
                    )
            if thread == 0:
                for position in range(n_rows):
                    loss += losses[position]
            if block + n_rows < batch_rows:
                barrier(control, n_threads)
                if aborted(control):
                    return
        step += 1
        if ends_epoch and n_back > 0:
            sum_squares(layout, grads, thread, n_threads, gradient_squares, zero)
        if finishes and n_back > 0:
            invoke(pieces[FINISH], (layout, params, grads, l2, l1, factor, penalties[CLIP_VALUE], thread, n_threads))
            factor = 1.0
            if penalties[CLIP_NORM] != 0.0:
                half = gradient_squares.size // 2
                sum_squares(layout, grads, thread, n_threads, gradient_squares, half)
                barrier(control, n_threads)
                if aborted(control):
                    return
                norm = total_norm(layout, grads, gradient_squares, half)
                factor = min(1.0, penalties[CLIP_NORM] / norm) if norm > 0.0 else 1.0
        if updates:
            for layer in range(n_layers):
                if not trained[layer]:
                    continue
                if not by_strips:
                    fan_out = layout[layer, FAN_OUT]
                    first, last = own_rows(layout, layer, plan[layer, DEALT], thread, n_threads)
                    low = layout[layer, WEIGHTS] + first * fan_out
                    invoke(update_calls[UPDATE], (
                        own_constants, factor, 0.0 if finishes else l2, 1.0,
                        at(params, low), at(grads, low), at(slots, low), codes[STRIDE], (last - first) * fan_out,
                    ))  # fmt: skip
                # The intercepts, scales and offsets have no penalty.
                first, last = share(layout[layer, UNPENALISED], one, thread, n_threads)
                low = layout[layer, INTERCEPTS] + first
                invoke(update_calls[UPDATE], (
                    own_constants, factor, 0.0, 0.0,
                    at(params, low), at(grads, low), at(slots, low), codes[STRIDE], last - first,
                ))  # fmt: skip
            if penalties[MAX_NORM] != 0.0:
                barrier(control, n_threads)
                if aborted(control):
                    return
                invoke(pieces[LIMIT], (layout, params, penalties[MAX_NORM], thread, n_threads))
                barrier(control, n_threads)
                if aborted(control):
                    return
            if average.size > 0:
                invoke(pieces[FOLLOW], (layout, params, average, penalties[AVERAGE], thread, n_threads))
            for layer in range(0 if by_strips else n_layers):
                first, last = own_rows(layout, layer, plan[layer, DEALT], thread, n_threads)
                invoke(pieces[REFRESH], (
                    at(params, layout[layer, WEIGHTS]), first, last, layout[layer, FAN_IN], layout[layer, FAN_OUT],
                    plan[layer, DEALT], l2, l1, at(squares, plan[layer, SQUARES]),
                    at(forward_panels, zero), plan[layer, FORWARD], at(backward_panels, zero), plan[layer, BACKWARD],
                ))  # fmt: skip
        barrier(control, n_threads)
        if aborted(control):
            return
        if thread == 0:
            loss = (loss + penalty) / total_weight
            result[epoch] += loss * batch_rows
            if ends_epoch and n_back > 0:
                write_norms(layout, gradient_squares, total_weight, norms[epoch])
            if not np.isfinite(loss):
                # Read by the other threads after the next barrier, which they cannot pass before.
                add(control, NON_FINITE, one)
    if thread == 0:
        codes[STEP] = step


@kernel
def predict_rows(
    thread,
    n_threads,
    control,
    layout,
    calls,
    settings,
    pieces,
    plan,
    X,
    data,
    indices,
    indptr,
    rows,
    block_rows,
    params,
    running,
    forward_panels,
    units,
    scratches,
    out,
):
    """Predict rows, block by block.

    Parameters
    ----------
    thread, n_threads, control, layout, calls, settings, pieces, plan, X, data, indices, indptr, params, forward_panels, scratches
        As for `train_batches`.
    rows : ndarray of shape (n_rows,), int64
        Which rows to predict.
    block_rows : int
        Rows that the workspace holds.
    running : ndarray, float64
        What `Network.fold` gives.
    units : ndarray of shape (n_threads, n)
        Workspace of each thread.
    out : ndarray of shape (n_rows, n_outputs)
        Filled with the predictions.
    """
    n_layers = layout.shape[0]
    n_outputs = layout[n_layers - 1, FAN_OUT]
    own = units[thread]
    scratch = at(scratches[thread], 0)
    zero, one = np.int64(0), np.int64(1)
    # No thread waits for another that has not begun yet: the first packs, and blocks of rows are taken by whoever is free.
    if thread == 0:
        for layer in range(n_layers):
            if plan[layer, FORWARD] >= 0:
                fan_in = layout[layer, FAN_IN]
                invoke(pieces[PACK], (
                    at(params, layout[layer, WEIGHTS]), zero, fan_in, fan_in, layout[layer, FAN_OUT],
                    at(forward_panels, plan[layer, FORWARD]),
                ))  # fmt: skip
        add(control, PACKED, one)
    else:
        await_nonzero(control, PACKED)
    while not aborted(control):
        start = add(control, NEXT_BLOCK, block_rows)
        if start >= rows.size:
            break
        n_rows = min(block_rows, rows.size - start)
        members = rows[start : start + n_rows]
        if plan[0, FORWARD] != SPARSE:
            _gather(X, layout[0, FAN_IN], rows, start, start + n_rows, own, plan[0, UNITS])
        for layer in range(n_layers):
            fan_in = layout[layer, FAN_IN]
            fan_out = layout[layer, FAN_OUT]
            low = plan[layer + 1, UNITS]
            if plan[layer, FORWARD] >= 0 or plan[layer, FORWARD] == AS_IS:
                right, r_row = at(params, layout[layer, WEIGHTS]), fan_out
                if plan[layer, FORWARD] >= 0:
                    right, r_row = at(forward_panels, plan[layer, FORWARD]), zero
                invoke(pieces[MULTIPLY], (
                    at(own, plan[layer, UNITS]), fan_in, one, right, r_row, n_rows, fan_in, fan_out,
                    at(params, layout[layer, INTERCEPTS]), zero, at(own, low), fan_out, scratch,
                ))  # fmt: skip
            elif plan[layer, FORWARD] == UNPACKED:
                forward_unpacked(
                    own, plan[layer, UNITS], zero, n_rows, params, layout[layer, WEIGHTS], layout[layer, INTERCEPTS], low,
                    fan_in, fan_out,
                )  # fmt: skip
            else:
                set_intercepts(params, layout[layer, INTERCEPTS], own, low, n_rows, fan_out)
                invoke(
                    pieces[FORWARD_SPARSE],
                    (
                        data, indices, indptr, members, members, zero, n_rows, params, layout[layer, WEIGHTS], own, low, fan_out,
                        0.0, zero, zero,
                    ),
                )  # fmt: skip
            if layer < n_layers - 1:
                if pieces[NORMALIZE] != 0:
                    # What only training needs has any pointer of its type.
                    scales, numbers = (
                        at(params, layout[layer, INTERCEPTS] + fan_out),
                        at(running, layout[layer, RUNNING]),
                    )
                    invoke(pieces[NORMALIZE], (
                        control, thread, n_threads, n_rows, zero, n_rows, fan_out, at(own, low), at(own, low), scales,
                        numbers, numbers, at(settings, n_layers * N_SETTINGS), False,
                    ))  # fmt: skip
                # No slopes: of activations that keep them the plain form is used here.
                invoke(
                    calls[layer, FORTH],
                    (at(own, low), at(own, low), n_rows * fan_out, at(settings, layer * N_SETTINGS)),
                )
        low = plan[n_layers, UNITS]
        if calls[n_layers - 1, BACK] != 0:
            invoke(
                calls[n_layers - 1, BACK],
                (at(own, low), n_rows, n_outputs, at(settings, (n_layers - 1) * N_SETTINGS)),
            )
        for position in range(n_rows):
            for j in range(n_outputs):
                out[start + position, j] = own[low + position * n_outputs + j]
