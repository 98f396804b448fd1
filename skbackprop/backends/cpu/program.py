"""Programs: the sequence of steps of a training or a prediction for each block of rows."""

from typing import NamedTuple

from skbackprop.backends.cpu.state import (
    ALL,
    ALL_FINITE,
    ALWAYS,
    AT_END,
    AT_LAST,
    AT_START,
    BACKWARD,
    DELTAS,
    FORWARD,
    NOT_LAST,
    SPARSE,
    UNPACKED,
)

__all__ = ["Call", "is_by_strips", "prediction_calls", "training_calls"]


class Call(NamedTuple):
    """A step of a program.

    Parameters
    ----------
    step : str
        The step's name in `calls`.
    layer : int
        A stage of the network.
    when : int, default=ALWAYS
        Batches and blocks in which the step runs; see `state`.
    waits : int, default=0
        Synchronization after the step; see `state`.
    """

    step: str
    layer: int = 0
    when: int = ALWAYS
    waits: int = 0


# Of such a batch, which is a single block, a worker may have no rows, but it takes part in the sums over workers.
_OVER_BATCH = "normalize_units", "normalize_backward_units"


def _layer_calls(layer, steps, offsets):
    """List a layer's steps in their variants for the sizes of the network and of a block."""
    stage, calls = layer.stage, []
    for step in steps:
        if step == "forward":
            step = {SPARSE: "forward_sparse", UNPACKED: "forward_alone"}.get(int(offsets[stage, FORWARD]), "forward")
        elif step == "backward" and offsets[stage, BACKWARD] < 0:
            step = "backward_alone"
        elif step == "gradient" and offsets[stage, DELTAS] == SPARSE:
            step = "gradient_sparse"
        calls.append(Call(step, stage, ALWAYS | AT_LAST if step in _OVER_BATCH else ALWAYS))
    return calls


def _forward_calls(network, offsets, trains, dropped):
    calls = [] if offsets[0, FORWARD] == SPARSE else [Call("gather")]
    for layer, steps in network.forward_steps(trains, dropped):
        calls += _layer_calls(layer, steps, offsets)
    return calls


def prediction_calls(network, offsets, link, checks):
    """List the steps of a prediction.

    Parameters
    ----------
    network : Network
    offsets : ndarray
        See `state`.
    link : bool
        Whether to apply the inverse link.
    checks : bool
        Whether to look for numbers that are not finite among the rows, which are dense.

    Returns
    -------
    calls : list of Call
    """
    stages = range(len(network.stages))
    calls = [Call("refresh", stage, AT_START) for stage in stages if offsets[stage, FORWARD] >= 0]
    calls += [Call("check_rows")] if checks else []
    calls += _forward_calls(network, offsets, False, ())
    calls += [Call("link", stages[-1])] if link else []
    return [*calls, Call("write", stages[-1])]


def training_calls(network, offsets, penalties, *, differentiates, updates, exchanges=False):
    """List the steps of a mini-batch.

    Parameters
    ----------
    network : Network
    offsets : ndarray
        See `state`.
    penalties : Penalties
    differentiates, updates : bool
        Mode: loss only; loss and gradient (`differentiates`); full update (both).
    exchanges : bool, default=False
        Whether gradient and loss are summed over several workers.

    Returns
    -------
    calls : list of Call
    """
    stages = range(len(network.stages))
    # What depends only on the weights is computed before the first batch, and after each update by the updating thread.
    calls = [Call("refresh", stage, AT_START) for stage in stages]
    dropped = penalties.dropped_stages(network.n_front, offsets[0, FORWARD] == SPARSE)
    calls += _forward_calls(network, offsets, differentiates, dropped)
    calls.append(Call("evaluate", stages[-1]))
    for layer in reversed(network.layers) if differentiates else ():
        if layer.gradient_steps() and offsets[layer.stage, DELTAS] >= 0:
            calls.append(Call("pack_deltas", layer.stage))
        calls += _layer_calls(layer, layer.backward_steps(), offsets)
    calls[-1] = calls[-1]._replace(waits=ALL_FINITE)
    # The step of the dense layer updates all parameters of its stage: it comes last.
    for layer in (layer for stage in network.stages for layer in reversed(stage)) if differentiates else ():
        calls += _layer_calls(layer, layer.gradient_steps(), offsets)
    if updates:
        calls += [Call("count_dead", layer.stage, AT_END) for layer in network.layers if layer.is_hidden]
    calls.append(Call("add_losses"))
    # The parameters of input layers are divided among the threads by columns for the gradient, but not for the update.
    if exchanges:
        # A worker without rows comes here first, and returns as the others do.
        calls += [Call("wait", when=ALWAYS | AT_LAST, waits=ALL_FINITE), Call("exchange", when=AT_LAST, waits=ALL)]
    else:
        calls.append(Call("wait", when=ALWAYS if network.n_front else NOT_LAST, waits=ALL))
    if updates:
        calls.append(Call("square", when=AT_END))
    if differentiates and (penalties.finishes or not updates):
        calls += [Call("finish_gradient", stage, AT_LAST) for stage in stages]
    if updates and penalties.clip_norm:
        calls += [Call("square_again", when=AT_LAST, waits=ALL), Call("limit_gradient", when=AT_LAST)]
    if updates:
        calls += _update_calls(network, penalties, is_by_strips(penalties, exchanges))
    return calls


def is_by_strips(penalties, exchanges):
    """Return whether a strip of weights can be updated as soon as its gradient is known, whatever the others are."""
    return not (penalties.finishes or penalties.max_norm or exchanges)


def _update_calls(network, penalties, by_strips):
    stages = range(len(network.stages))
    frozen = penalties.frozen_stages(network.n_front)
    # `gradient` has updated by strips what it computes.
    updated = stages[: network.n_front] if by_strips else stages
    calls = [Call("update", stage, AT_LAST) for stage in updated if stage not in frozen]
    if penalties.max_norm:
        calls.append(Call("wait", when=AT_LAST, waits=ALL))
        hidden = [layer.stage for layer in network.layers if layer.is_hidden]
        calls += [Call("limit_norms", stage, AT_LAST) for stage in hidden if stage not in frozen]
        calls.append(Call("wait", when=AT_LAST, waits=ALL))
    if penalties.average:
        calls += [Call("average_params", stage, AT_LAST) for stage in stages]
    if not by_strips:
        calls += [Call("refresh", stage, AT_LAST) for stage in stages]
    return calls
