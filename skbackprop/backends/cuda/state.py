"""What the kernels read and write: arrays of the device, grouped by what they are for, and what their columns mean."""

from typing import NamedTuple

__all__ = ["ARRAYS", "N_NUMBERS", "N_WORDS", "Batches", "Data", "Model", "Plan", "Report", "Work"]

#: Columns of `Plan.layers`, one row for each layer of weights, the first six as in `network.layout`. A last row holds, of the
#: outputs, the two places. Where the layer's inputs lie in `Work.units`, and their gradients and slopes in the other arrays of
#: units; the code of its activation and whether slopes are kept; where the sums of its normalization lie; whether it is
#: trained; and whether its products are those of blocks.
(
    FAN_IN,
    FAN_OUT,
    WEIGHTS,
    INTERCEPTS,
    UNPENALISED,
    RUNNING,
    UNITS,
    DELTAS,
    ACTIVATION,
    KEEPS,
    STATISTICS,
    TRAINED,
    LARGE,
) = range(13)
N_COLUMNS = 13

#: Entries of `Plan.limits`: strengths of the squares and of the absolute values of the weights; largest gradient norm, largest
#: component and largest norm of a unit's weights, or 0; decay of the averaged parameters and the rest to 1.
L2, L1, CLIP_NORM, CLIP_VALUE, MAX_NORM, AVERAGE, REST = range(7)

#: Columns of `Batches.table`, one row for each block of rows: its first place in the order, its rows, whether it is the first
#: and the last of its batch, the number of the batch, updates made before it, and 1 + the number of the epoch that ends with it.
START, N_ROWS, FIRST, LAST, BATCH, STEP, EPOCH_END = range(7)

#: Column of `Batches.constants` after the optimizer's: 1 / the batch's total weight.
SHARE = 8


class Data(NamedTuple):
    """Training data, uploaded once, and the order of the rows."""

    X: object  # dense rows, flat
    entries: object  # of sparse rows, with
    indices: object
    indptr: object
    Y: object  # targets, flat
    weights: object  # of the rows; not looked at where there are none
    order: object
    places: object  # in the same order, where the rows lie in X: others may lie between them


class Plan(NamedTuple):
    """What does not change during a fit."""

    layers: object
    settings: object  # of the functions, one row for each
    limits: object
    thresholds: object  # of the dropout: a unit is kept if a random number below 2**32 is at least that
    scales: object  # by which units that are kept are multiplied
    n_layers: int
    n_targets: int
    has_weights: int
    seed: int
    n_lanes: int  # sums of losses that are kept apart, so that their order does not depend on the threads
    n_weight_lanes: int  # the same of sums over weights


class Batches(NamedTuple):
    """Blocks of rows and batches of a call."""

    table: object
    constants: object


class Model(NamedTuple):
    """What is trained."""

    params: object
    grads: object
    slots: object
    average: object
    running: object


class Work(NamedTuple):
    """Memory for a block of rows."""

    units: object
    slopes: object
    deltas: object
    normalized: object
    statistics: object
    targets: object
    losses: object
    squares: object  # sums of squares of the gradient, and after them the factor that limits its norm


class Report(NamedTuple):
    """What is told of the training, summed on the host."""

    losses: object  # (n_batches, n_lanes)
    penalties: object  # (n_batches, n_weight_lanes)
    squares: object  # (n_epochs, n_layers, n_weight_lanes)
    constant: object  # (n_epochs, hidden units), flat


#: Numbers of a model in the table of a resident launch, the first of its row's: rows of `Batches.table`, steps of the program,
#: batches and epochs in the report; then those of `Plan`.
(
    TABLE_ROWS,
    N_CALLS,
    N_BATCHES,
    N_EPOCHS,
    N_LAYERS,
    N_TARGETS,
    HAS_WEIGHTS,
    SEED,
    N_LANES,
    N_WEIGHT_LANES,
) = range(10)
N_NUMBERS = 10

#: After these, addresses and sizes of a model's arrays, in this order.
ARRAYS = (
    "program",
    *Data._fields,
    *Batches._fields,
    *Plan._fields[:5],
    *Model._fields,
    *(f"work.{name}" for name in Work._fields),
    *(f"report.{name}" for name in Report._fields),
)

#: Entries of a row.
N_WORDS = N_NUMBERS + 2 * len(ARRAYS)
