"""All that kernels read and write: device arrays, grouped by purpose, and the meaning of their columns."""

from typing import NamedTuple

__all__ = ["ARRAYS", "N_NUMBERS", "N_WORDS", "Batches", "Data", "Model", "Plan", "Report", "Work"]

#: Columns of `Plan.layers`, one row per stage of the network. The first eight are those of `network.layout`. The others
#: are: the offset of the stage's inputs in `Work.units`, and that of their gradients and slopes in the other arrays of
#: units; the code of its activation and whether slopes are stored; the offset of its normalization's sums; whether it
#: is trained; whether its products are per block; and the treatment of its weights and of its other parameters by the optimizer. A last
#: row holds the two offsets for the outputs.
(
    FAN_IN,
    FAN_OUT,
    WEIGHTS,
    INTERCEPTS,
    UNPENALISED,
    RUNNING,
    ROWS,
    GROUPS,
    UNITS,
    DELTAS,
    ACTIVATION,
    KEEPS,
    STATISTICS,
    TRAINED,
    LARGE,
    TREATMENT,
) = range(16)
#: Parts of a layer's parameters: its weights; the others, which are not penalized.
N_PARTS = 2
N_COLUMNS = TREATMENT + N_PARTS

#: Entries of `Plan.limits`: strengths of the L2 and the L1 penalty; maximum gradient norm, gradient component and norm
#: of a unit's weights, 0 for none; 1 minus the decay of the averaged parameters.
L2, L1, CLIP_NORM, CLIP_VALUE, MAX_NORM, REST = range(6)

#: Columns of `Batches.table`, one row per block of rows: its start in the order; its number of rows; whether it is the
#: first and the last of its batch; the index of the batch; number of previous updates; 1 + the index of the epoch that
#: ends with it.
START, N_ROWS, FIRST, LAST, BATCH, STEP, EPOCH_END = range(7)

#: Last entries of `Batches.constants`, after the optimizer's: 1 / the batch's total weight, and the factor of the
#: weight decay.
SHARE, DECAY = 8, 9
N_ENTRIES = 10


class Data(NamedTuple):
    """Training data, uploaded once, and the order of the rows."""

    X: object  # dense rows, flat
    entries: object  # of sparse rows, whose columns are
    indices: object
    indptr: object
    Y: object  # targets, flat
    weights: object  # sample weights; ignored if there are none
    order: object
    places: object  # in the same order, row indices in X, which may hold other rows, too


class Plan(NamedTuple):
    """Values that do not change during a fit."""

    layers: object
    settings: object  # of the functions, one row for each
    limits: object
    groups: object  # the network's, flat
    n_layers: int
    n_targets: int
    has_weights: int
    seed: int
    n_lanes: int  # number of partial sums of losses, so that the order of summation does not depend on the threads
    n_weight_lanes: int  # number of partial sums over weights


#: The first fields of `Plan` are arrays.
N_PLAN_ARRAYS = 4


class Batches(NamedTuple):
    """Blocks of rows and batches of a call."""

    table: object
    constants: object  # for each batch and treatment: each learning rate with each factor of the weight decay
    # Of dropout, for each batch and layer: a unit is kept if a random number below 2**32 is at least the threshold.
    thresholds: object
    scales: object  # factors of kept units


class Model(NamedTuple):
    """Arrays that training updates."""

    params: object
    grads: object
    slots: object
    average: object
    running: object


class Work(NamedTuple):
    """Workspace for a block of rows."""

    units: object
    slopes: object
    deltas: object
    normalized: object  # behind these the changes by parametric activations, see `cpu.parametric`
    statistics: object
    targets: object
    losses: object
    squares: object  # sums of squares of the gradient, then the factor that clips its norm


class Report(NamedTuple):
    """Results of training, summed on the host."""

    losses: object  # (n_batches, n_lanes)
    penalties: object  # (n_batches, n_weight_lanes)
    squares: object  # (n_epochs, n_layers, n_weight_lanes)
    constant: object  # (n_epochs, units of all stages but the last), flat


#: First entries of a model's row in the table of a resident launch: number of rows of `Batches.table`, of steps of the
#: program, of batches, of treatments, and of epochs in the report; then the scalars of `Plan`.
(
    TABLE_ROWS,
    N_CALLS,
    N_BATCHES,
    N_TREATMENTS,
    N_EPOCHS,
    N_LAYERS,
    N_TARGETS,
    HAS_WEIGHTS,
    SEED,
    N_LANES,
    N_WEIGHT_LANES,
) = range(11)
N_NUMBERS = 11

#: The next entries are addresses and sizes of a model's arrays, in this order.
ARRAYS = (
    "program",
    *Data._fields,
    *Batches._fields,
    *Plan._fields[:N_PLAN_ARRAYS],
    *Model._fields,
    *(f"work.{name}" for name in Work._fields),
    *(f"report.{name}" for name in Report._fields),
)

#: Number of entries per row.
N_WORDS = N_NUMBERS + 2 * len(ARRAYS)
