"""Addresses of the loops around the functions that a user chose, compiled for a dtype."""

from functools import lru_cache

import numpy as np
from numba import types

from skbackprop._compile import JIT, loop
from skbackprop.backends.cpu.dropout import drop
from skbackprop.backends.cpu.gemm import multiply, pack
from skbackprop.backends.cpu.layers import refresh_weights
from skbackprop.backends.cpu.normalization import (
    normalize_rows,
    normalize_units,
    pass_back_rows,
    pass_back_units,
    scale_units,
)
from skbackprop.backends.cpu.penalties import finish_gradient, follow_average, limit_norms
from skbackprop.backends.cpu.sparse import add_gradient_rows, forward_rows
from skbackprop.functions.activations import activation_loops
from skbackprop.functions.losses import loss_loops
from skbackprop.functions.normalizations import BatchNormalization, LayerNormalization
from skbackprop.functions.optimizers import optimizer_loops

__all__ = ["layer_calls", "piece_calls", "update_calls"]

_INDEX = types.intp
_NUMBER = types.float64
_NUMBERS = types.CPointer(_NUMBER)
_ADDRESS = np.int64 if JIT else object


_LAYOUT = types.Array(types.int64, 2, "C")
_PIECES = {
    template.__name__: loop(template)
    for template in (
        multiply,
        pack,
        refresh_weights,
        forward_rows,
        add_gradient_rows,
        drop,
        finish_gradient,
        limit_norms,
        follow_average,
    )
}
# Loops of the normalizations: forward in training, backward, forward in predictions.
_OVER_BATCH = BatchNormalization.loop(normalize_units), loop(pass_back_units), loop(scale_units)
_rows = LayerNormalization.loop(normalize_rows)
_OVER_UNITS = _rows, loop(pass_back_rows), _rows


def _number(dtype):
    return types.float32 if dtype == np.float32 else types.float64


def _pointer(dtype):
    return types.CPointer(_number(dtype))


@lru_cache(maxsize=64)
def piece_calls(dtype, indices, penalties=None, finishes=False, over_batch=None, trains=False):
    """Addresses of the loops that do not depend on the network's functions.

    Parameters
    ----------
    dtype : numpy.dtype
    indices : numpy.dtype or None
        Of a sparse matrix's indices; None for dense rows.
    penalties : Penalties or None
        None for predictions.
    finishes : bool, default=False
        Whether the gradient is made ready before the optimizer's pass.
    over_batch : bool or None, default=None
        Whether hidden units are normalized over mini-batches, or over layers; None for no normalization.
    trains : bool, default=False
        Whether there is a gradient.

    Returns
    -------
    calls : ndarray of shape (11,)
        In the order of `epoch`'s constants; 0 for what is not needed.
    """
    own, vector = _pointer(dtype), types.Array(_number(dtype), 1, "C")
    data, narrow, whole = (
        types.Array(kind, 1, "C", readonly=True) for kind in (_number(dtype), types.int32, types.int64)
    )
    members, layout = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    signatures = {
        "multiply": (own, _INDEX, _INDEX, own, *[_INDEX] * 4, own, _INDEX, own, _INDEX, own),
        "pack": (own, *[_INDEX] * 4, own),
    }
    if indices is not None:
        rows = (data, whole if indices == np.int64 else narrow, whole, members, members)
        dropout = _NUMBER, _INDEX, _INDEX
        signatures["forward_rows"] = (*rows, _INDEX, _INDEX, vector, _INDEX, vector, _INDEX, _INDEX, *dropout)
    if penalties is not None:
        strengths = _NUMBER, _NUMBER, _NUMBERS
        signatures["refresh_weights"] = (own, *[_INDEX] * 5, *strengths, own, _INDEX, own, _INDEX)
        if indices is not None:
            signatures["add_gradient_rows"] = (*rows, vector, *[_INDEX] * 3, vector, _INDEX, _INDEX, *dropout)
        if penalties.dropout:
            signatures["drop"] = (_NUMBER, *[_INDEX] * 3, members, *[_INDEX] * 3, own, own, types.boolean)
        if finishes:
            signatures["finish_gradient"] = (layout, vector, vector, *[_NUMBER] * 4, _INDEX, _INDEX)
        if penalties.max_norm:
            signatures["limit_norms"] = (layout, vector, _NUMBER, _INDEX, _INDEX)
        if penalties.average:
            signatures["follow_average"] = (layout, vector, vector, _NUMBER, _INDEX, _INDEX)
    calls = np.zeros(len(_PIECES) + 2, dtype=_ADDRESS)
    for index, (name, piece) in enumerate(_PIECES.items()):
        if name in signatures:
            calls[index] = piece.address(*signatures[name])
    if over_batch is not None:
        normalize, pass_back, predict = _OVER_BATCH if over_batch else _OVER_UNITS
        common = (members, *[_INDEX] * 6, own, own, own)
        forward = normalize if trains else predict
        calls[-2] = forward.address(*common, _NUMBERS, _NUMBERS, _NUMBERS, types.boolean)
        if trains:
            calls[-1] = pass_back.address(*common, own, _NUMBERS, types.boolean)
    return calls


@lru_cache(maxsize=64)
def layer_calls(network, dtype, keeps, link=True):
    """Addresses for the layers of a network.

    Parameters
    ----------
    network : Network
    dtype : numpy.dtype
    keeps : tuple of bool or None
        Which hidden layers keep their slopes; None for predictions, which need no backward pass.

    link : bool, default=True
        Whether predictions go through the inverse link.

    Returns
    -------
    calls : ndarray of shape (n_layers, 2)
        Forward and backward, 0 for none; in the last row evaluation and inverse link of the loss.
    """
    own = _pointer(dtype)
    calls = np.zeros((len(network.activations) + 1, 2), dtype=_ADDRESS)
    for layer, (kind, _) in enumerate(network.activations):
        forth, back = activation_loops(kind, keeps is not None and keeps[layer])
        calls[layer, 0] = forth.address(own, own, _INDEX, _NUMBERS)
        if keeps is not None:
            calls[layer, 1] = back.address(own, own, own, _INDEX, _NUMBERS)
    evaluate, inverse_link = loss_loops(network.loss[0])
    if keeps is None and link:
        calls[-1, 1] = inverse_link.address(own, _INDEX, _INDEX, _NUMBERS)
    if keeps is not None:
        calls[-1, 0] = evaluate.address(own, own, _INDEX, _INDEX, _INDEX, own, _NUMBERS, _NUMBERS)
    return calls


@lru_cache(maxsize=64)
def update_calls(kind, dtype):
    """Addresses for an optimizer.

    Parameters
    ----------
    kind : type or None
        Its class; None for none.
    dtype : numpy.dtype

    Returns
    -------
    calls : ndarray of shape (2,)
        What prepares an update, and what makes it.
    """
    calls = np.zeros(2, dtype=_ADDRESS)
    if kind is not None:
        own = _pointer(dtype)
        prepare, step = optimizer_loops(kind)
        calls[0] = prepare.address(_NUMBER, _INDEX, _NUMBERS, _NUMBERS)
        calls[1] = step.address(_NUMBERS, _NUMBER, _NUMBER, _NUMBER, own, own, own, _INDEX, _INDEX)
    return calls
