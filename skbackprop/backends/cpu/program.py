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
        A layer of weights.
    when : int, default=ALWAYS
        Batches and blocks in which the step runs; see `state`.
    waits : int, default=0
        Synchronization after the step; see `state`.
    """

    step: str
    layer: int = 0
    when: int = ALWAYS
    waits: int = 0


def _forward_calls(network, offsets, normalize, dropout):
    calls = []
    last = len(network.layout) - 1
    if offsets[0, FORWARD] != SPARSE:
        calls.append(Call("gather"))
    for layer in range(last + 1):
        # Sparse inputs are dropped when they are read.
        if dropout and dropout[layer] > 0 and offsets[layer, FORWARD] != SPARSE:
            calls.append(Call("drop", layer))
        kinds = {SPARSE: "forward_sparse", UNPACKED: "forward_alone"}
        calls.append(Call(kinds.get(int(offsets[layer, FORWARD]), "forward"), layer))
        if layer < last:
            calls += [Call(normalize, layer)] if normalize else []
            calls.append(Call("activate", layer))
    return calls


def _normalization(network, trains):
    """Return the names of the forward and the backward step, or None."""
    if network.normalization is None:
        return None, None
    if network.over_batch:
        return ("normalize_units", "normalize_backward_units") if trains else ("scale_units", None)
    return "normalize_rows", "normalize_backward_rows"


def prediction_calls(network, offsets, link):
    """List the steps of a prediction.

    Parameters
    ----------
    network : Network
    offsets : ndarray
        See `state`.
    link : bool
        Whether to apply the inverse link.

    Returns
    -------
    calls : list of Call
    """
    layers = range(len(network.layout))
    calls = [Call("refresh", layer, AT_START) for layer in layers if offsets[layer, FORWARD] >= 0]
    calls += _forward_calls(network, offsets, _normalization(network, False)[0], ())
    calls += [Call("link", layers[-1])] if link else []
    return [*calls, Call("write", layers[-1])]


def training_calls(network, offsets, penalties, *, differentiates, updates):
    """List the steps of a mini-batch.

    An all-reduce over several machines would go after `gradient` and before `finish_gradient` and `update`, with
    `by_strips` off.

    Parameters
    ----------
    network : Network
    offsets : ndarray
        See `state`.
    penalties : Penalties
    differentiates, updates : bool
        Mode: loss only; loss and gradient (`differentiates`); full update (both).

    Returns
    -------
    calls : list of Call
    """
    layers = range(len(network.layout))
    normalize, normalize_backward = _normalization(network, differentiates)
    # What depends only on the weights is computed before the first batch, and after each update by the updating thread.
    calls = [Call("refresh", layer, AT_START) for layer in layers]
    calls += _forward_calls(network, offsets, normalize, penalties.dropout)
    calls.append(Call("evaluate", layers[-1]))
    for layer in reversed(layers) if differentiates else ():
        if offsets[layer, DELTAS] >= 0:
            calls.append(Call("pack_deltas", layer))
        if layer > 0:
            calls.append(Call("backward" if offsets[layer, BACKWARD] >= 0 else "backward_alone", layer))
            calls.append(Call("derive", layer - 1))
            calls += [Call(normalize_backward, layer - 1)] if normalize_backward else []
    calls[-1] = calls[-1]._replace(waits=ALL_FINITE)
    if differentiates:
        calls += [
            Call("gradient_sparse" if offsets[layer, DELTAS] == SPARSE else "gradient", layer) for layer in layers
        ]
    if updates:
        calls += [Call("count_dead", layer, AT_END) for layer in layers[:-1]]
    calls += [Call("add_losses"), Call("wait", when=NOT_LAST, waits=ALL)]
    if updates:
        calls.append(Call("square", when=AT_END))
    if differentiates and (penalties.finishes or not updates):
        calls += [Call("finish_gradient", layer, AT_LAST) for layer in layers]
    if updates and penalties.clip_norm:
        calls += [Call("square_again", when=AT_LAST, waits=ALL), Call("limit_gradient", when=AT_LAST)]
    if updates:
        calls += _update_calls(layers, penalties)
    return calls


def is_by_strips(penalties):
    """Return whether a strip of weights can be updated as soon as its gradient is known, whatever the others are."""
    return not penalties.finishes and not penalties.max_norm


def _update_calls(layers, penalties):
    calls = []
    by_strips = is_by_strips(penalties)
    if not by_strips:
        calls += [Call("update", layer, AT_LAST) for layer in layers if layer not in penalties.frozen]
    if penalties.max_norm:
        calls.append(Call("wait", when=AT_LAST, waits=ALL))
        calls += [Call("limit_norms", layer, AT_LAST) for layer in layers[:-1]]
        calls.append(Call("wait", when=AT_LAST, waits=ALL))
    if penalties.average:
        calls += [Call("average_params", layer, AT_LAST) for layer in layers]
    if not by_strips:
        calls += [Call("refresh", layer, AT_LAST) for layer in layers]
    return calls
