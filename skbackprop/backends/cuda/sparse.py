"""Steps of the first layer on compressed sparse rows, which read stored entries only."""

from skbackprop._compile import formula
from skbackprop.backends.cuda.state import (
    BATCH,
    DELTAS,
    FAN_IN,
    FAN_OUT,
    FIRST,
    INTERCEPTS,
    N_ROWS,
    START,
    STEP,
    UNITS,
    WEIGHTS,
)
from skbackprop.backends.data import first_at_least
from skbackprop.functions.elementary import fma, natural, number
from skbackprop.functions.random import draw_units

__all__ = ["forward_sparse_step", "gradient_sparse_step"]


@formula
def _input(entry, member, number_, data, batches, plan):
    """Return a stored input after dropout."""
    batch = batches.table[number_, BATCH]
    x, threshold = data.entries[entry], batches.thresholds[batch, 0]
    if threshold == 0:
        return x
    column = data.indices[entry]
    r0, r1, r2, r3 = draw_units(plan.seed, batches.table[number_, STEP], 0, member, column // 4)
    lane = column % 4
    drawn = (r0 if lane == 0 else r1) if lane < 2 else (r2 if lane == 2 else r3)
    return x * (batches.scales[batch, 0] if drawn >= threshold else number(0.0, data.entries))


def forward_sparse_step(store, normalizes):
    """Make the step that computes the first layer's outputs.

    Parameters
    ----------
    store : formula
        See `layers.make_store`.
    normalizes : bool
        See `layers.dense_steps`.

    Returns
    -------
    step : formula
    """

    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        start, fan_out = batches.table[number_, START], plan.layers[0, FAN_OUT]
        for i in range(thread, batches.table[number_, N_ROWS] * fan_out, n_threads):
            row, j = i // fan_out, i % fan_out
            member, place = data.order[start + row], data.places[start + row]
            z = model.params[natural(plan.layers[0, INTERCEPTS] + j)]
            for entry in range(data.indptr[place], data.indptr[place + 1]):
                weight = model.params[natural(plan.layers[0, WEIGHTS] + data.indices[entry] * fan_out + j)]
                z = fma(_input(entry, member, number_, data, batches, plan), weight, z)
            if plan.n_layers == 1 or normalizes:
                work.units[natural(plan.layers[1, UNITS] + i)] = z
            else:
                store(0, i, z, plan, model, work)

    return step


@formula
def gradient_sparse_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Compute the gradient of the first layer's weights.

    Each thread handles a range of features for one unit and visits the rows in order.
    """
    start, n_rows = batches.table[number_, START], batches.table[number_, N_ROWS]
    fan_in, fan_out = plan.layers[0, FAN_IN], plan.layers[0, FAN_OUT]
    n_ranges = min(fan_in, max(1, n_threads // fan_out))
    for item in range(thread, n_ranges * fan_out, n_threads):
        part, j = item // fan_out, item % fan_out
        first, last = part * fan_in // n_ranges, (part + 1) * fan_in // n_ranges
        if batches.table[number_, FIRST] != 0:
            for feature in range(first, last):
                model.grads[natural(plan.layers[0, WEIGHTS] + feature * fan_out + j)] = number(0.0, model.params)
        for row in range(n_rows):
            member, place = data.order[start + row], data.places[start + row]
            stop = data.indptr[place + 1]
            entry = first_at_least(data.indices, data.indptr[place], stop, first)
            delta = work.deltas[natural(plan.layers[1, DELTAS] + row * fan_out + j)]
            while entry < stop and data.indices[entry] < last:
                at = natural(plan.layers[0, WEIGHTS] + data.indices[entry] * fan_out + j)
                x = _input(entry, member, number_, data, batches, plan)
                model.grads[at] = fma(x, delta, model.grads[at])
                entry += 1
