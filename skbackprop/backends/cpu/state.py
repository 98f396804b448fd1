"""All that kernels read and write, grouped by purpose, and the meaning of columns; same names as in `cuda.state`."""

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

#: Columns of `Plan.offsets`, one row per layer of units: offset of the layer's units and gradients; for the weights
#: that follow it, offsets of their panels for the forward and backward product, and of the panels of the gradients;
#: offset of its normalization's numbers in `Work.statistics`; rows of the weights per chunk, and how many of these
#: are updated together; and offset of their penalties in `Work.squares`, whose size is in the last row.
UNITS, FORWARD, BACKWARD, DELTAS, STATISTICS, DEALT, STRIP, SQUARES = range(8)
#: Instead of an offset, why there are no panels: the layer's input is sparse; the layer has one unit or a batch one
#: row; the panels would be used too few times.
SPARSE, UNPACKED, AS_IS = -1, -2, -3

#: Columns of `Plan.calls`, addresses of loops, one row per stage: forward (activation, columns of an input layer,
#: evaluation of the loss), backward (derivative, columns, inverse link), and gradient of an input layer's parameters.
FORTH, BACK, GRADIENT = range(3)

#: Columns of `Plan.rate_index` and `Plan.decays`, one row per layer.
OF_WEIGHTS, OF_OTHERS = range(2)

#: Columns of `Plan.program`: address and layer of a step, batches and blocks in which it runs, synchronization after
#: it.
ADDRESS, LAYER, WHEN, WAITS = range(4)
#: When a step runs, as bit flags: before the first batch; for each block of rows; for a batch's last block; for the
#: last block of an epoch's last batch; for all blocks but the last.
AT_START, ALWAYS, AT_LAST, AT_END, NOT_LAST = 1, 2, 4, 8, 16
#: Synchronization after a step: none (0); a barrier; a barrier after which all threads return if a loss was not finite.
ALL, ALL_FINITE = 1, 2

#: Entries of a thread's `Work.clock`: first and last of its own rows of the block; the block's number of rows, its
#: start in the order, and its first row within the batch; the batch's number of rows; number of previous updates; the
#: epoch; offset of the thread's units.
FIRST, LAST, N_ROWS, START, BLOCK, BATCH_ROWS, STEP, EPOCH, BASE = range(9)
#: Entries of a thread's `Work.sums`: the batch's weight; the factor of its gradient; the loss; the factors of the
#: dropout rates and of the weight decay; and the batch's number of rows, over all workers.
WEIGHT, FACTOR, LOSS, DROPOUT, DECAY, TOTAL_ROWS = range(6)
#: A thread's part of either: two cache lines, to avoid false sharing.
N_CLOCK = N_SUMS = 16


class Data(NamedTuple):
    """Training data and the order of the rows."""

    X: Numbers  # dense rows, flat
    entries: Numbers  # of sparse rows, whose columns are
    indices: Indices
    indptr: Integers
    Y: Numbers  # targets, flat
    weights: Numbers  # sample weights; empty: all ones
    order: Integers  # row indices among the training's rows, as dropout uses them; the data may hold more rows
    places: Integers  # in the same order, row indices in the data
    rates: Doubles  # learning rate of each batch
    factors: Doubles2D  # of the dropout rates and of the weight decay, for each batch; see `data.OF_DROPOUT`
    bounds: Integers  # first row of each batch of an epoch, and the epoch's number of rows
    totals: Doubles2D  # over all workers, the weight and the number of rows of each batch; empty for a single worker


class Plan(NamedTuple):
    """Values that do not change during a call."""

    layout: Integers2D  # the network's
    offsets: Integers2D
    calls: Integers2D
    program: Integers2D
    groups: Integers  # the network's, flat
    settings: Doubles  # the network's, flat
    dropout: Doubles  # rate for each layer's inputs
    trained: Integers  # whether a layer's parameters are updated
    update_settings: Doubles  # the optimizer's
    rate_factors: Doubles  # the different ones of groups of parameters
    rate_index: Integers2D  # of these, for each layer's weights, and for its other parameters
    decays: Doubles2D  # factors of the optimizer's weight decay, in the same places
    n_threads: Integer
    n_targets: Integer
    n_epochs: Integer
    n_trained: Integer  # rows per epoch
    block_rows: Integer  # rows of a batch that the workspace holds
    seed: Integer
    centred: Integer  # whether hidden intercepts have no effect, because a mean over the batch is subtracted
    control: Integers  # shared by the threads, see `sync`
    stride: Integer  # between the optimizer's slots
    by_strips: Integer  # whether a strip of weights is updated as soon as its gradient is known
    l2: Float
    l1: Float
    update_l2: Float  # what the update itself adds of l2: nothing if the gradient includes it already
    clip_norm: Float
    clip_value: Float
    max_norm: Float
    decay: Float  # of the averaged parameters
    multiply: Integer  # addresses of loops that several steps share; 0 if not called
    pack: Integer
    refresh: Integer
    weigh: Integer
    exchange: Integer  # a callback that sums over workers; 0 for a single one
    prepare: Integer
    update: Integer


class Model(NamedTuple):
    """Arrays that training updates."""

    params: Numbers
    grads: Numbers
    slots: Numbers
    average: Numbers
    running: Doubles  # means and variances; for predictions, folded into factors and summands


class Work(NamedTuple):
    """Workspace for a block of rows."""

    clock: Integers  # of each thread
    sums: Doubles  # of each thread
    constants: Doubles  # prepared by the optimizer, for each thread and rate
    forward_panels: Numbers
    backward_panels: Numbers
    delta_panels: Numbers
    units: Numbers
    slopes: Numbers
    deltas: Numbers  # gradients with respect to the units
    normalized: Numbers
    changes: Numbers  # of parametric activations, see `parametric`
    statistics: Doubles
    targets: Numbers
    losses: Doubles
    squares: Doubles  # penalties of the weights
    gradient_squares: Doubles
    exchanged: Doubles  # gradient and loss, to be summed over workers; empty for a single worker
    # Of each thread: SCRATCH_SIZE numbers, a zero per unit of the widest layer, a one per row. None for predictions.
    scratches: Numbers2D


class Report(NamedTuple):
    """Results of training, and predictions."""

    epoch_losses: Doubles  # (mean loss times rows), summed over an epoch's batches
    norms: Doubles2D  # of the gradient of each layer's weights, in each epoch's last batch
    constant_units: Doubles2D  # (n_epochs * n_layers, n_threads): number of constant units in the epoch's last block
    n_steps: Integers  # updates so far
    predictions: Numbers  # flat
    non_finite: Integers  # of predictions that check their rows: whether a number is not finite


FORM = Form(Data, Plan, Model, Work, Report)


def opened(record):
    """Return the groups of a record, in this order; steps call `FORM.opened` by this name, see `calls`."""
    raise NotImplementedError
