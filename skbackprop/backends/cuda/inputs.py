"""Steps of the input layers, around the loops of `functions.input_layers`."""

from skbackprop._compile import formula
from skbackprop.backends.cuda.state import DELTAS, FAN_IN, FAN_OUT, FIRST, GROUPS, INTERCEPTS, N_ROWS, UNITS
from skbackprop.functions.input_layers import column_loops

__all__ = ["input_steps"]


def input_steps(kind):
    """Make the steps of a class of input layers.

    Parameters
    ----------
    kind : type
        A class of `functions.input_layers`.

    Returns
    -------
    transform, gradient, backward : formula
    """
    loops = column_loops(kind)
    run_transform, run_gradient, run_backward = (made.formula() for made in loops[:3])
    n_parts = loops.n_parts

    @formula
    def transform(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_groups, n_outputs = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
        source, target = plan.layers[layer, UNITS], plan.layers[layer + 1, UNITS]
        params, groups = model.params[plan.layers[layer, INTERCEPTS] :], plan.groups[3 * plan.layers[layer, GROUPS] :]
        for row in range(thread, batches.table[number_, N_ROWS], n_threads):
            run_transform(
                work.units[source + row * n_groups :], work.units[target + row * n_outputs :], params, groups, n_groups,
                1, n_outputs, plan.settings[layer],
            )  # fmt: skip

    @formula
    def gradient(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_groups, n_outputs = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
        start, groups = plan.layers[layer, INTERCEPTS], plan.groups[3 * plan.layers[layer, GROUPS] :]
        units, deltas = work.units[plan.layers[layer, UNITS] :], work.deltas[plan.layers[layer + 1, DELTAS] :]
        for place in range(thread, n_groups * n_parts, n_threads):
            group = place // n_parts
            run_gradient(
                units, deltas, model.params[start:], model.grads[start:], groups, group, group + 1, n_groups,
                batches.table[number_, N_ROWS], n_outputs, batches.table[number_, FIRST] != 0, place % n_parts, n_parts,
                plan.settings[layer],
            )  # fmt: skip

    @formula
    def backward(thread, n_threads, layer, number_, data, batches, plan, model, work, report):
        n_groups, n_outputs = plan.layers[layer, FAN_IN], plan.layers[layer, FAN_OUT]
        units, source = plan.layers[layer, UNITS], plan.layers[layer + 1, DELTAS]
        target = plan.layers[layer, DELTAS]
        params, groups = model.params[plan.layers[layer, INTERCEPTS] :], plan.groups[3 * plan.layers[layer, GROUPS] :]
        for row in range(thread, batches.table[number_, N_ROWS], n_threads):
            run_backward(
                work.units[units + row * n_groups :], work.deltas[source + row * n_outputs :], params,
                work.deltas[target + row * n_groups :], groups, n_groups, 1, n_outputs, plan.settings[layer],
            )  # fmt: skip

    return transform, gradient, backward
