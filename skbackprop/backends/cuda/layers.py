"""Steps of the forward and the backward pass.

All threads of all blocks call a step, and each does its part. Threads synchronize between steps if one needs what
another has written. All steps take the same arguments, see `steps`.
"""

from typing import NamedTuple

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.products import Factor, block_product, thread_product
from skbackprop.backends.cuda.state import (
    ACTIVATION,
    BATCH,
    DELTAS,
    EPOCH_END,
    FAN_IN,
    FAN_OUT,
    FIRST,
    INTERCEPTS,
    KEEPS,
    N_ROWS,
    START,
    STEP,
    UNITS,
    UNPENALISED,
    WEIGHTS,
)
from skbackprop.functions.elementary import natural, number
from skbackprop.functions.random import draw_units

__all__ = [
    "activations",
    "alpha_step",
    "constant_step",
    "dense_steps",
    "drop_step",
    "gather_step",
    "intercept_step",
    "loss_step",
    "target_step",
    "total_step",
]


class _Product(NamedTuple):
    """Context of a product's `begin` and `finish`: its layer, its row of `Batches.table`, and the arrays."""

    layer: int
    number: int
    batches: object
    plan: object
    model: object
    work: object


def activations(kinds):
    """Make formulas that dispatch to a network's activations by code.

    Parameters
    ----------
    kinds : tuple of (type, bool)
        Classes, and whether slopes are stored from the forward to the backward pass; indices are the codes.

    Returns
    -------
    activate : formula
        ``activate(code, z, settings)`` returns a unit's output, and its slope if that is stored; `settings` is an
        array.
    derive : formula
        ``derive(code, a, kept, settings)`` returns the slope, computed from the output or stored.
    """
    (kind, keeps), *rest = kinds
    value, slope, named, of_input = kind.value, kind.slope, kind.named(), kind.slope_of_input

    if keeps:

        @formula
        def first(z, settings):
            s = named(settings, z)
            a = value(z, s)
            return a, slope(z if of_input else a, s)

        @formula
        def first_slope(a, kept, settings):
            return kept

    else:

        @formula
        def first(z, settings):
            a = value(z, named(settings, z))
            return a, a

        @formula
        def first_slope(a, kept, settings):
            return slope(a, named(settings, a))

    others = activations(tuple(rest)) if rest else (None, None)
    next_activate, next_derive = others
    if not rest:

        @formula
        def activate(code, z, settings):
            return first(z, settings)

        @formula
        def derive(code, a, kept, settings):
            return first_slope(a, kept, settings)

    else:

        @formula
        def activate(code, z, settings):
            if code == 0:
                return first(z, settings)
            return next_activate(code - 1, z, settings)

        @formula
        def derive(code, a, kept, settings):
            if code == 0:
                return first_slope(a, kept, settings)
            return next_derive(code - 1, a, kept, settings)

    return activate, derive


def make_store(activate, parametric):
    """Make the formula that turns a unit's weighted input into its output.

    Parameters
    ----------
    activate : formula
        See `activations`.
    parametric : bool
        Whether input and output are mixed; see `cpu.parametric` for the equations.

    Returns
    -------
    store : formula
        ``store(layer, i, z, plan, model, work)`` for unit `i` of the layer's outputs, counted over all rows.
    """

    @formula
    def store(layer, i, z, plan, model, work):
        a, slope = activate(plan.layers[layer, ACTIVATION], z, plan.settings[layer])
        if parametric:
            change, n_units, one = a - z, plan.layers[layer, FAN_OUT], number(1.0, z)
            alpha = model.params[natural(_alphas_start(layer, plan) + i % n_units)]
            a, slope = (one - alpha) * z + alpha * a, (one - alpha) + alpha * slope
        work.units[natural(plan.layers[layer + 1, UNITS] + i)] = a
        if plan.layers[layer, KEEPS] != 0:
            place = plan.layers[layer + 1, DELTAS] + i
            work.slopes[natural(place)] = slope
            if parametric:
                work.normalized[_change(place, work)] = change

    return store


@formula
def _alphas_start(layer, plan):
    """Return the offset of a layer's proportions of a parametric activation, the last of its parameters."""
    return plan.layers[layer, INTERCEPTS] + plan.layers[layer, UNPENALISED] - plan.layers[layer, FAN_OUT]


@formula
def _change(place, work):
    """Return the index of a parametric unit's change: one more array would take registers that the resident kernel lacks."""
    return natural(work.deltas.size + place)


def dense_steps(store, derive, normalizes, parametric, tiles, dtype):
    """Make the three products of a layer.

    Parameters
    ----------
    store, derive : formula
        See `make_store` and `activations`.
    normalizes : bool
        Whether hidden layers' weighted inputs are normalized; the normalization then applies the activation.
    parametric : bool
        See `make_store`.
    tiles : Tiles or None
        Tiles of the products of large layers; None if one block trains.
    dtype : numpy.dtype

    Returns
    -------
    forward, backward, gradient : tuple of (formula, device function or None)
        Per-thread and per-block variants. Their first arguments are the index and the count of threads or of blocks.
    """

    @formula
    def begin_forward(i, j, of):
        return of.model.params[natural(of.plan.layers[of.layer, INTERCEPTS] + j)]

    @formula
    def finish_forward(i, j, total, of):
        place = i * of.plan.layers[of.layer, FAN_OUT] + j
        if of.layer == of.plan.n_layers - 1 or normalizes:
            of.work.units[natural(of.plan.layers[of.layer + 1, UNITS] + place)] = total
        else:
            store(of.layer, place, total, of.plan, of.model, of.work)

    @formula
    def begin_backward(i, j, of):
        return number(0.0, of.model.params)

    @formula
    def finish_backward(i, j, total, of):
        place = i * of.plan.layers[of.layer, FAN_IN] + j
        at = natural(of.plan.layers[of.layer, DELTAS] + place)
        a = of.work.units[natural(of.plan.layers[of.layer, UNITS] + place)]
        settings = of.plan.settings[of.layer - 1]
        kept = of.work.slopes[at] if of.plan.layers[of.layer - 1, KEEPS] != 0 else a
        if parametric:
            change = _change(of.plan.layers[of.layer, DELTAS] + place, of.work)
            of.work.normalized[change] = of.work.normalized[change] * total
        of.work.deltas[at] = total * derive(of.plan.layers[of.layer - 1, ACTIVATION], a, kept, settings)

    @formula
    def begin_gradient(i, j, of):
        if of.batches.table[of.number, FIRST] != 0:
            return number(0.0, of.model.params)
        return of.model.grads[natural(of.plan.layers[of.layer, WEIGHTS] + i * of.plan.layers[of.layer, FAN_OUT] + j)]

    @formula
    def finish_gradient(i, j, total, of):
        of.model.grads[natural(of.plan.layers[of.layer, WEIGHTS] + i * of.plan.layers[of.layer, FAN_OUT] + j)] = total

    def forward_with(multiply):
        @formula
        def forward(part, n_parts, layer, number_, data, batches, plan, model, work, report):
            fan_in, fan_out = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
            a = Factor(work.units, plan.layers[layer, UNITS], fan_in, 1)
            b = Factor(model.params, plan.layers[layer, WEIGHTS], fan_out, 1)
            context = _Product(layer, number_, batches, plan, model, work)
            multiply(part, n_parts, a, b, batches.table[number_, N_ROWS], fan_in, fan_out, context)

        return forward

    def backward_with(multiply):
        @formula
        def backward(part, n_parts, layer, number_, data, batches, plan, model, work, report):
            fan_in, fan_out = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
            a = Factor(work.deltas, plan.layers[layer + 1, DELTAS], fan_out, 1)
            b = Factor(model.params, plan.layers[layer, WEIGHTS], 1, fan_out)
            context = _Product(layer, number_, batches, plan, model, work)
            multiply(part, n_parts, a, b, batches.table[number_, N_ROWS], fan_out, fan_in, context)

        return backward

    def gradient_with(multiply):
        @formula
        def gradient(part, n_parts, layer, number_, data, batches, plan, model, work, report):
            fan_in, fan_out = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
            a = Factor(work.units, plan.layers[layer, UNITS], 1, fan_in)
            b = Factor(work.deltas, plan.layers[layer + 1, DELTAS], fan_out, 1)
            context = _Product(layer, number_, batches, plan, model, work)
            multiply(part, n_parts, a, b, fan_in, batches.table[number_, N_ROWS], fan_out, context)

        return gradient

    made = []
    for step_with, begin, finish in (
        (forward_with, begin_forward, finish_forward),
        (backward_with, begin_backward, finish_backward),
        (gradient_with, begin_gradient, finish_gradient),
    ):
        by_threads = step_with(thread_product(begin, finish))
        by_blocks = None if tiles is None else step_with(block_product(begin, finish, tiles, dtype))
        made.append((by_threads, by_blocks))
    return made


@formula
def gather_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Gather the rows of a block."""
    start, n_rows = batches.table[number_, START], batches.table[number_, N_ROWS]
    n_features = plan.layers[0, FAN_IN]
    for i in range(thread, n_rows * n_features, n_threads):
        row = i // n_features
        work.units[natural(i)] = data.X[natural(data.places[start + row] * n_features + i - row * n_features)]


@formula
def target_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Gather the targets of a block."""
    start, n_rows = batches.table[number_, START], batches.table[number_, N_ROWS]
    for i in range(thread, n_rows * plan.n_targets, n_threads):
        row = i // plan.n_targets
        work.targets[natural(i)] = data.Y[natural(data.order[start + row] * plan.n_targets + i - row * plan.n_targets)]


def drop_step(parametric):
    """Make the step that applies dropout to the inputs of a layer of weights and to a hidden layer's stored slopes.

    Parameters
    ----------
    parametric : bool
        See `make_store`.

    Returns
    -------
    step : formula
    """

    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        start, n_rows = batches.table[number_, START], batches.table[number_, N_ROWS]
        n_units = plan.layers[layer, FAN_IN]
        n_quads = (n_units + 3) // 4
        batch = batches.table[number_, BATCH]
        zero, scale, threshold = number(0.0, work.units), batches.scales[batch, layer], batches.thresholds[batch, layer]
        for item in range(thread, n_rows * n_quads, n_threads):
            row, quad = item // n_quads, item % n_quads
            drawn = draw_units(plan.seed, batches.table[number_, STEP], layer, data.order[start + row], quad)
            for lane in range(min(4, n_units - 4 * quad)):
                factor = scale if drawn[lane] >= threshold else zero
                place = row * n_units + 4 * quad + lane
                i = natural(plan.layers[layer, UNITS] + place)
                work.units[i] = work.units[i] * factor
                if layer > 0:
                    i = natural(plan.layers[layer, DELTAS] + place)
                    work.slopes[i] = work.slopes[i] * factor
                    if parametric:
                        i = _change(plan.layers[layer, DELTAS] + place, work)
                        work.normalized[i] = work.normalized[i] * factor

    return step


def loss_step(evaluate):
    """Make the step that evaluates the loss.

    Parameters
    ----------
    evaluate : formula
        A loss's loop, see `functions.losses.loss_loops`.

    Returns
    -------
    step : formula
    """

    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_rows = batches.table[number_, N_ROWS]
        last = plan.n_layers - 1
        n_outputs, n_targets = plan.layers[last, FAN_OUT], plan.n_targets
        units, deltas = plan.layers[last + 1, UNITS], plan.layers[last + 1, DELTAS]
        one = np.int64(1)  # int64, as variables are: a literal type would compile a callee again
        for lane in range(thread, plan.n_lanes, n_threads):
            for row in range(lane, n_rows, plan.n_lanes):
                first, last_ = row * n_outputs, (row + 1) * n_outputs
                evaluate(
                    work.units[units + first : units + last_], work.targets[row * n_targets : (row + 1) * n_targets],
                    one, n_outputs, n_targets, work.deltas[deltas + first : deltas + last_], work.losses[row : row + 1],
                    plan.settings[last],
                )  # fmt: skip

    return step


@formula
def total_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Weight the losses and their gradients, and sum the losses.

    Each row belongs to the thread that evaluated its loss. The evaluation needs so many registers that the rest is done
    in this step.
    """
    start, n_rows = batches.table[number_, START], batches.table[number_, N_ROWS]
    n_outputs = plan.layers[plan.n_layers - 1, FAN_OUT]
    deltas = plan.layers[plan.n_layers, DELTAS]
    for lane in range(thread, plan.n_lanes, n_threads):
        total = np.float64(0.0)
        for row in range(lane, n_rows, plan.n_lanes):
            loss = work.losses[row]
            if plan.has_weights != 0:
                weight = data.weights[data.order[start + row]]
                loss *= weight
                for k in range(row * n_outputs, (row + 1) * n_outputs):
                    work.deltas[natural(deltas + k)] *= weight
            total += loss
        if batches.table[number_, FIRST] == 0:
            total += report.losses[batches.table[number_, BATCH], lane]
        report.losses[batches.table[number_, BATCH], lane] = total


def intercept_step(is_centred):
    """Make the step for the gradient of a layer's intercepts.

    Parameters
    ----------
    is_centred : bool
        Whether hidden intercepts have no effect, because a mean over the batch is subtracted. Their gradient is then
        set to zero: Adam would scale up the rounding error that is left.

    Returns
    -------
    step : formula
    """

    @formula
    def step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        fan_out = plan.layers[layer, FAN_OUT]
        n_rows = batches.table[number_, N_ROWS]
        if is_centred and layer < plan.n_layers - 1:
            n_rows = 0
        source, target = plan.layers[layer + 1, DELTAS], plan.layers[layer, INTERCEPTS]
        for j in range(thread, fan_out, n_threads):
            total = number(0.0, model.params) if batches.table[number_, FIRST] != 0 else model.grads[target + j]
            for row in range(n_rows):
                total += work.deltas[natural(source + row * fan_out + j)]
            model.grads[target + j] = total

    return step


@formula
def alpha_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Compute the gradient of a layer's proportions of a parametric activation."""
    fan_out, source, target = plan.layers[layer, FAN_OUT], plan.layers[layer + 1, DELTAS], _alphas_start(layer, plan)
    for j in range(thread, fan_out, n_threads):
        total = number(0.0, model.params) if batches.table[number_, FIRST] != 0 else model.grads[target + j]
        for row in range(batches.table[number_, N_ROWS]):
            total += work.normalized[_change(source + row * fan_out + j, work)]
        model.grads[target + j] = total


@formula
def constant_step(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
    """Flag the units of a hidden layer whose output is the same for all rows of the block."""
    fan_out, n_rows = plan.layers[layer, FAN_OUT], batches.table[number_, N_ROWS]
    source = plan.layers[layer + 1, UNITS]
    # In the report, the units of all stages but the last are consecutive.
    target = 0
    n_hidden = 0
    for other in range(plan.n_layers - 1):
        if other < layer:
            target += plan.layers[other, FAN_OUT]
        n_hidden += plan.layers[other, FAN_OUT]
    target += (batches.table[number_, EPOCH_END] - 1) * n_hidden
    for j in range(thread, fan_out, n_threads):
        row = 1
        while row < n_rows and work.units[natural(source + row * fan_out + j)] == work.units[natural(source + j)]:
            row += 1
        report.constant[target + j] = row == n_rows
