"""The training and prediction kernels: many mini-batches in one compiled call.

Every thread runs the same kernel, which runs the steps of a program one after another (see `program` and `steps`). The
kernel handles batches, blocks and barriers; it does not know about layers. Two barriers per batch suffice, unless
layers are normalized (see `normalization`).
"""

import numpy as np

from skbackprop._compile import entry, invoke
from skbackprop.backends.cpu.gemm import TILE_ROWS
from skbackprop.backends.cpu.layers import share
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.penalties import write_norms
from skbackprop.backends.cpu.state import (
    ADDRESS,
    ALL_FINITE,
    ALWAYS,
    AT_END,
    AT_LAST,
    AT_START,
    BASE,
    BATCH_ROWS,
    BLOCK,
    DECAY,
    DROPOUT,
    EPOCH,
    FACTOR,
    FIRST,
    FORM,
    LAST,
    LAYER,
    LOSS,
    N_CLOCK,
    N_ROWS,
    N_SUMS,
    NOT_LAST,
    SQUARES,
    START,
    STEP,
    TOTAL_ROWS,
    WAITS,
    WEIGHT,
    WHEN,
)
from skbackprop.backends.cpu.sync import NEXT_BLOCK, NON_FINITE, PACKED, aborted, add, await_nonzero, barrier, read
from skbackprop.backends.data import OF_DECAY, OF_DROPOUT, OF_ROWS, OF_WEIGHT
from skbackprop.functions.optimizers import N_CONSTANTS

__all__ = ["predict_rows", "train_batches"]

# The kernels only read fields whose types do not depend on the dtype.
_open = FORM.opened("float32")


#: Types of a kernel's arguments.
_KERNEL = "int64", "int64", "int64*", "int64*"


@entry(*_KERNEL)
def train_batches(thread, n_threads, control, words):
    """Run mini-batches: forward pass, loss, backward pass, update.

    Parameters
    ----------
    thread, n_threads : int
        Index of this thread, and number of threads.
    control : ndarray of int64
        Shared by the threads, see `sync`. Once a batch's loss is not finite, ``control[NON_FINITE]`` is set and the
        call returns.
    words : ndarray
        A record of `state.FORM`, which holds everything that is read and written.
    """
    record = at(words, 0)
    data, plan, _, work, report = _open(record)
    now, sums = at(work.clock, thread * N_CLOCK), at(work.sums, thread * N_SUMS)
    program, n_calls, n_layers = plan.program, plan.program.shape[0], plan.layout.shape[0]
    zero, one, tile_rows = np.int64(0), np.int64(1), np.int64(TILE_ROWS)  # int64, as variables are
    for call in range(n_calls):
        if program[call, WHEN] == AT_START:
            invoke(program[call, ADDRESS], (record, thread, program[call, LAYER]))
    barrier(control, n_threads)
    if aborted(control):
        return
    # Read once: the steps write to memory, after which the compiler would read them again for each batch.
    bounds, factors, rates, block_rows = data.bounds, data.factors, data.rates, plan.block_rows
    n_batches, n_rates, prepare = bounds.size - 1, plan.rate_factors.size, plan.prepare
    exchanges, is_weighted = plan.exchange != 0, data.weights.size > 0
    n_squares = plan.offsets[n_layers, SQUARES] if plan.l2 != 0.0 or plan.l1 != 0.0 else zero
    step = report.n_steps[0]
    # Incremented rather than computed: divisions are slow.
    epoch, batch = zero, -one
    for number in range(plan.n_epochs * n_batches):
        batch += 1
        if batch == n_batches:
            epoch, batch = epoch + 1, zero
        ends_epoch = batch == n_batches - 1
        batch_start = epoch * plan.n_trained + bounds[batch]
        batch_rows = bounds[batch + 1] - bounds[batch]
        now[START], now[BATCH_ROWS], now[STEP], now[EPOCH] = batch_start, batch_rows, step, epoch
        total_weight = total_rows = float(batch_rows)
        if exchanges:
            total_weight, total_rows = data.totals[number, OF_WEIGHT], data.totals[number, OF_ROWS]
        elif is_weighted:
            invoke(plan.weigh, (record, thread, zero))
            total_weight = sums[WEIGHT]
        if total_weight == 0.0:
            continue
        sums[FACTOR], sums[LOSS], sums[TOTAL_ROWS] = 1.0 / total_weight, 0.0, total_rows
        sums[DROPOUT], sums[DECAY] = factors[number, OF_DROPOUT], factors[number, OF_DECAY]
        if prepare != 0:
            for index in range(n_rates):
                rate = rates[number] * plan.rate_factors[index]
                constants = at(work.constants, (thread * n_rates + index) * N_CONSTANTS)
                invoke(prepare, (rate, step + one, at(plan.update_settings, zero), constants))
        penalty = 0.0
        if thread == 0:
            for position in range(n_squares):
                penalty += work.squares[position]
        # A worker without rows in this batch takes part in sums over workers and in the update only.
        for block in range(0, max(batch_rows, one), block_rows):
            n_rows = min(block_rows, batch_rows - block)
            first, last = share(n_rows, tile_rows, thread, n_threads)
            now[FIRST], now[LAST], now[N_ROWS], now[BLOCK], now[START] = first, last, n_rows, block, batch_start + block
            applies = ALWAYS | NOT_LAST
            if block + n_rows == batch_rows:
                applies = (ALWAYS if n_rows > 0 else 0) | AT_LAST | (AT_END if ends_epoch else 0)
            for call in range(n_calls):
                if program[call, WHEN] & applies == 0:
                    continue
                if program[call, ADDRESS] != 0:
                    invoke(program[call, ADDRESS], (record, thread, program[call, LAYER]))
                if program[call, WAITS] != 0:
                    barrier(control, n_threads)
                    if aborted(control) or (program[call, WAITS] == ALL_FINITE and read(control, NON_FINITE) != 0):
                        return
        step += 1
        barrier(control, n_threads)
        if aborted(control):
            return
        if thread == 0:
            loss = (sums[LOSS] + penalty) / total_weight
            report.epoch_losses[epoch] += loss * total_rows
            if ends_epoch and report.norms.size > 0:
                write_norms(plan.layout, work.gradient_squares, total_weight, report.norms[epoch])
            if not np.isfinite(loss):
                # The other threads read this only after the next barrier.
                add(control, NON_FINITE, one)
    if thread == 0:
        report.n_steps[0] = step


@entry(*_KERNEL)
def predict_rows(thread, n_threads, control, words):
    """Predict rows, block by block.

    Parameters
    ----------
    thread, n_threads, control, words
        As for `train_batches`; the record's `n_threads` is 1, because threads work independently.
    """
    record = at(words, 0)
    data, plan, _, work, _ = _open(record)
    now = at(work.clock, thread * N_CLOCK)
    program, n_calls, n_rows = plan.program, plan.program.shape[0], data.places.size
    # Never wait for a thread that has not started: thread 0 packs the weights, and free threads fetch the next block.
    if thread == 0:
        for call in range(n_calls):
            if program[call, WHEN] == AT_START:
                invoke(program[call, ADDRESS], (record, thread, program[call, LAYER]))
        add(control, PACKED, np.int64(1))
    else:
        await_nonzero(control, PACKED)
    now[FIRST], now[BASE] = 0, thread * plan.stride
    while not aborted(control):
        start = add(control, NEXT_BLOCK, plan.block_rows)
        if start >= n_rows:
            break
        now[START], now[N_ROWS] = start, min(plan.block_rows, n_rows - start)
        now[LAST] = now[N_ROWS]
        for call in range(n_calls):
            if program[call, WHEN] == ALWAYS:
                invoke(program[call, ADDRESS], (record, thread, program[call, LAYER]))
