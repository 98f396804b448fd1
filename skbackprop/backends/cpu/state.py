"""What the kernels read and write, grouped by what it is for, and what their columns mean; the same names as `cuda.state`."""

from typing import NamedTuple

from skbackprop.backends.record import (
    Doubles,
    Doubles2D,
    Float,
    Form,
    Indices,
    Integer,
    Integers,
    Integers2D,
    Numbers,
    Numbers2D,
)

__all__ = ["FORM", "Data", "Model", "Plan", "Report", "Work", "opened"]

#: Columns of `Plan.offsets`, one row for each layer of units: where the layer's units and gradients lie, and, for the weights that
#: follow it, their panels for the forward and the backward product, and those of the gradients; where what its normalization keeps lies
#: in `Work.statistics`; how many rows of the weights are dealt to a thread together, and how many of these are updated together; and
#: where their penalties lie in `Work.squares`, whose size is in the last row.
UNITS, FORWARD, BACKWARD, DELTAS, STATISTICS, DEALT, STRIP, SQUARES = range(8)
#: In the place of an offset: there are no panels, because the layer's input is sparse, because the layer has one unit or a
#: batch one row, or because they would be used too few times.
SPARSE, UNPACKED, AS_IS = -1, -2, -3

#: Columns of `Plan.calls`, addresses of loops, one row for each layer: forward (activations, evaluation of the loss), backward
#: (derivatives, inverse link).
FORTH, BACK = range(2)

#: Columns of `Plan.program`: address and layer of a step, the batches and blocks in which it is taken, and what it waits for.
ADDRESS, LAYER, WHEN, WAITS = range(4)
#: When a step is taken, as bits: before the first batch, for each block of rows, for the last block of a batch, for that of an epoch's last
#: batch, for all blocks but the last.
AT_START, ALWAYS, AT_LAST, AT_END, NOT_LAST = 1, 2, 4, 8, 16
#: After a step: nothing, all threads meet, or they meet and end together once a loss was not finite.
ALL, ALL_FINITE = 1, 2

#: Entries of a thread's `Work.clock`: where its own rows of the block begin and end; the block's rows, its first place in the order, and
#: its first row in the batch; the batch's rows; updates made before; the epoch; where the thread's units begin.
FIRST, LAST, N_ROWS, START, BLOCK, BATCH_ROWS, STEP, EPOCH, BASE = range(9)
#: Entries of a thread's `Work.sums`: the batch's weight; by what its gradient is multiplied; the loss.
WEIGHT, FACTOR, LOSS = range(3)
#: A thread's part of either: two cache lines, so that no thread waits for another's.
N_CLOCK = N_SUMS = 16


class Data(NamedTuple):
    """Training data, and the order of the rows."""

    X: Numbers  # dense rows, flat
    entries: Numbers  # of sparse rows, with
    indices: Indices
    indptr: Integers
    Y: Numbers  # targets, flat
    weights: Numbers  # of the rows; empty: all ones
    order: Integers  # as dropout knows the rows: numbers among those to train on, of which the data may hold more
    places: Integers  # in the same order, where the rows lie in the data
    rates: Doubles  # learning rate of each batch


class Plan(NamedTuple):
    """What does not change during a call."""

    layout: Integers2D  # the network's
    offsets: Integers2D
    calls: Integers2D
    program: Integers2D
    settings: Doubles  # N_SETTINGS of each activation, of the loss, of the normalization
    dropout: Doubles  # share of each layer's inputs
    trained: Integers  # whether a layer's parameters are updated
    update_settings: Doubles  # the optimizer's
    n_threads: Integer
    n_targets: Integer
    n_epochs: Integer
    n_trained: Integer  # rows of an epoch
    batch_size: Integer
    block_rows: Integer  # of a batch, that the workspace holds
    seed: Integer
    centred: Integer  # whether hidden layers' intercepts have no effect, because a mean over the batch is subtracted
    control: Integers  # shared by the threads, see `sync`
    stride: Integer  # how far apart the optimizer's slots lie
    by_strips: Integer  # whether a strip of weights is updated as soon as its gradient is there
    l2: Float
    l1: Float
    clip_norm: Float
    clip_value: Float
    max_norm: Float
    decay: Float  # of the averaged parameters
    multiply: Integer  # addresses of loops that several steps need; 0 for those that are not called
    pack: Integer
    refresh: Integer
    weigh: Integer
    prepare: Integer
    update: Integer


class Model(NamedTuple):
    """What is trained."""

    params: Numbers
    grads: Numbers
    slots: Numbers
    average: Numbers
    running: Doubles  # means and variances, or what they are folded to for a prediction


class Work(NamedTuple):
    """Memory for a block of rows."""

    clock: Integers  # of each thread
    sums: Doubles  # of each thread
    constants: Doubles  # what the optimizer prepares, for each thread
    forward_panels: Numbers
    backward_panels: Numbers
    delta_panels: Numbers
    units: Numbers
    slopes: Numbers
    deltas: Numbers  # gradients with respect to the units
    normalized: Numbers
    statistics: Doubles
    targets: Numbers
    losses: Doubles
    squares: Doubles  # penalties of the weights
    gradient_squares: Doubles
    scratches: (
        Numbers2D  # of each thread: SCRATCH_SIZE numbers, a zero for each unit of the widest layer, a one for each row
    )


class Report(NamedTuple):
    """What is told of the training; predictions."""

    epoch_losses: Doubles  # (mean loss times rows), summed over an epoch's batches
    norms: Doubles2D  # of the gradient of each layer's weights, in each epoch's last batch
    constant_units: (
        Doubles2D  # (n_epochs * n_layers, n_threads): how many give the same for all rows of the epoch's last block
    )
    n_steps: Integers  # updates so far
    predictions: Numbers  # flat


FORM = Form(Data, Plan, Model, Work, Report)


def opened(record):
    """The groups of a record, in this order; the name under which steps call `FORM.opened`, see `calls`."""
    raise NotImplementedError
