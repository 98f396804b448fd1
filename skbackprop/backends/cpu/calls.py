"""Addresses of compiled steps, and of the loops around the functions that the user chose, for a dtype."""

from functools import lru_cache

import numpy as np

from skbackprop._compile import ADDRESS_DTYPE, loop
from skbackprop.backends.cpu import normalization, parametric, penalties, steps
from skbackprop.backends.cpu.gemm import multiply, pack
from skbackprop.backends.cpu.layers import refresh_weights
from skbackprop.backends.cpu.state import BACK, FORM, FORTH, GRADIENT
from skbackprop.backends.cpu.sync import N_CONTROL, abort, await_done, post, serve
from skbackprop.functions.activations import activation_loops
from skbackprop.functions.input_layers import column_loops
from skbackprop.functions.losses import loss_loops
from skbackprop.functions.normalizations import BatchNormalization, LayerNormalization
from skbackprop.functions.optimizers import optimizer_loops
from skbackprop.layers import ActivationLayer, ColumnLayer

__all__ = [
    "activation_types",
    "compile_steps",
    "layer_calls",
    "program_rows",
    "shared_calls",
    "step_address",
    "update_calls",
]

# Numba's names of types.
_INDEX = "int64"
_NUMBER = "float64"
_NUMBERS = "float64*"
_TABLE = "int64*"

#: Parameters of a step: the record, the thread, the layer.
_STEP = _TABLE, _INDEX, _INDEX

# Steps that use the indices of sparse rows, which have one of two dtypes.
_SPARSE_STEPS = ("forward_sparse", "gradient_sparse")
# Steps needed only for some sizes of network and data, to predict as many rows again, or for weighted rows.
_OF_SOME_PREDICTIONS = ("forward", "forward_alone", "check_rows")
_OF_SOME_TRAININGS = ("backward", "backward_alone", "pack_deltas", "weigh")
# Steps that read a class's settings.
_SETTINGS = {"normalize_units": BatchNormalization, "normalize_rows": LayerNormalization}

_multiply, _pack, _refresh = loop(multiply), loop(pack), loop(refresh_weights)


def _pointer(dtype):
    return f"{np.dtype(dtype).name}*"


@lru_cache(maxsize=256)
def _step(name, dtype, index_dtype):
    modules = steps, normalization, parametric, penalties
    template = next(getattr(module, name) for module in modules if hasattr(module, name))
    make = _SETTINGS[name].loop if name in _SETTINGS else loop
    return make(template, opened=FORM.opened(dtype, index_dtype))


def step_address(name, dtype, index_dtype=None):
    """Return the address of a step's machine code.

    Parameters
    ----------
    name : str
        A function of `steps`, `normalization`, `parametric` or `penalties`; "wait" for none.
    dtype : numpy.dtype
    index_dtype : numpy.dtype or None, default=None
        Dtype of a sparse matrix's indices; None for dense rows.

    Returns
    -------
    address : int
        0 for none. If the JIT is disabled, the Python function.
    """
    if name == "wait":
        return 0
    index_dtype = index_dtype if name in _SPARSE_STEPS else np.dtype(np.int32)
    return _step(name, dtype.name, index_dtype.name).address(*_STEP)


def compile_steps(dtype, predict_only=False):
    """Compile what trainings and predictions need only for some numbers of rows, units, weights, threads and calls.

    Parameters
    ----------
    dtype : numpy.dtype
    predict_only : bool, default=False
        Whether predictions only.
    """
    for name in _OF_SOME_PREDICTIONS + (() if predict_only else _OF_SOME_TRAININGS):
        step_address(name, dtype)
    box = np.zeros(N_CONTROL, dtype=np.int64)  # of several threads
    serve(box)
    post(box, 0, box)
    await_done(box, 0)
    abort(box, 0, box)


def program_rows(calls, dtype, index_dtype):
    """Encode a list of calls for the kernels.

    Parameters
    ----------
    calls : list of Call
    dtype, index_dtype
        See `step_address`.

    Returns
    -------
    rows : ndarray of shape (n_calls, 4)
        See `state`.
    """
    rows = [(step_address(call.step, dtype, index_dtype), call.layer, call.when, call.waits) for call in calls]
    return np.array(rows, dtype=ADDRESS_DTYPE)


@lru_cache
def shared_calls(dtype):
    """Return the addresses of the loops that several steps share.

    Parameters
    ----------
    dtype : numpy.dtype

    Returns
    -------
    addresses : dict
        Keys are fields of `state.Plan`.
    """
    own = _pointer(dtype)
    return {
        "multiply": _multiply.address(own, _INDEX, _INDEX, own, *[_INDEX] * 4, own, _INDEX, own, _INDEX, own),
        "pack": _pack.address(own, *[_INDEX] * 4, own),
        "refresh": _refresh.address(own, *[_INDEX] * 5, _NUMBER, _NUMBER, _NUMBERS, own, _INDEX, own, _INDEX),
    }


def activation_types(dtype):
    """Return the types of the parameters of an activation's loop: units, slopes, their number and the settings.

    Parameters
    ----------
    dtype : numpy.dtype

    Returns
    -------
    names : tuple of str
        See `skbackprop._compile.entry`.
    """
    return _pointer(dtype), _pointer(dtype), _INDEX, _NUMBERS


@lru_cache(maxsize=64)
def layer_calls(network, dtype, keeps, link=True):
    """Return the addresses of the loops for each layer of a network.

    Parameters
    ----------
    network : Network
    dtype : numpy.dtype
    keeps : tuple of bool or None
        Which hidden layers store their slopes; None for predictions, which need no backward pass.

    link : bool, default=True
        Whether predictions go through the inverse link.

    Returns
    -------
    calls : ndarray of shape (n_stages, 3)
        Loops by the columns of `state.Plan.calls`, 0 for none; the last row has those of the loss.
    """
    own = _pointer(dtype)
    calls = np.zeros((len(network.stages), 3), dtype=ADDRESS_DTYPE)
    for layer in network.layers:
        if isinstance(layer, ActivationLayer):
            forth, back = activation_loops(layer.key[0], keeps is not None and keeps[layer.stage - network.n_front])
            calls[layer.stage, FORTH] = forth.address(*activation_types(dtype))
            if keeps is not None:
                calls[layer.stage, BACK] = back.address(own, own, own, _INDEX, _NUMBERS)
        elif isinstance(layer, ColumnLayer):
            loops = column_loops(layer.kind)
            calls[layer.stage, FORTH] = loops.transform.address(*[own] * 3, _TABLE, *[_INDEX] * 3, _NUMBERS)
            if keeps is not None:
                calls[layer.stage, BACK] = loops.backward.address(*[own] * 4, _TABLE, *[_INDEX] * 3, _NUMBERS)
                signature = *[own] * 4, _TABLE, *[_INDEX] * 5, "bool", _INDEX, _INDEX, _NUMBERS
                calls[layer.stage, GRADIENT] = loops.gradient.address(*signature)
    evaluate, inverse_link = loss_loops(network.loss[0])
    if keeps is None and link:
        calls[-1, BACK] = inverse_link.address(own, _INDEX, _INDEX, _NUMBERS)
    if keeps is not None:
        calls[-1, FORTH] = evaluate.address(own, own, _INDEX, _INDEX, _INDEX, own, _NUMBERS, _NUMBERS)
    return calls


@lru_cache(maxsize=64)
def update_calls(kind, dtype):
    """Return the addresses of an optimizer's loops.

    Parameters
    ----------
    kind : type or None
        The optimizer's class; None for none.
    dtype : numpy.dtype

    Returns
    -------
    calls : ndarray of shape (2,)
        Loops that prepare and that apply an update.
    """
    calls = np.zeros(2, dtype=ADDRESS_DTYPE)
    if kind is not None:
        own = _pointer(dtype)
        prepare, step = optimizer_loops(kind)
        calls[0] = prepare.address(_NUMBER, _INDEX, _NUMBERS, _NUMBERS)
        calls[1] = step.address(_NUMBERS, _NUMBER, _NUMBER, _NUMBER, own, own, own, _INDEX, _INDEX)
    return calls
