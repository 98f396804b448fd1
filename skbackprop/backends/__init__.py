"""Backends: run the loops of training and prediction on a device and manage its memory.

A `Backend` provides

- ``Session(network, dtype, rows, targets, sample_weight, batch_size, n_trained, n_jobs, penalties, seed, trains)``: a
  context manager for one fit, which holds the data, with ``max_epochs``, ``n_batches``, ``run_epochs``,
  ``loss_gradient`` and ``loss``;
- ``predict(network, params, rows, n_jobs, link, running, out)``: predict any number of rows;
- ``input_gradient(network, params, rows, outputs, running)``: compute gradients of outputs with respect to the inputs,
  always on the CPU.

Backends do not know about labels or scikit-learn.
"""

import math
import os
import re
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skbackprop._extras import how_to_install

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = [
    "Backend",
    "get_backend",
    "get_prediction_backend",
    "gpu_of",
    "is_usable",
    "memory_limit",
    "prediction_device",
    "training_device",
]

# "auto" chooses a GPU if an epoch, or a prediction, takes at least this many operations. Not measured yet: estimated
# from the time of the transfer of the data.
_AUTO_FLOPS = 1e9

# Compute capability of the first GPUs whose tensor cores support TF32.
_TF32_CAPABILITY = (8, 0)

# DLPack device types whose memory GPU kernels can read: CUDA and CUDA managed memory.
_GPU_MEMORY = (2, 13)

_DEVICES = r"cpu|auto|cuda(:\d+)?"


class Backend(NamedTuple):
    """The functions of a device; see the module's docstring.

    Parameters
    ----------
    device : str
        "cpu", "cuda:0", "cuda:1" and so on.
    Session, predict, input_gradient : callable
    repeated : callable or None
        Prepares predictions of a few rows, where the device has that.
    """

    device: str
    Session: Callable
    predict: Callable
    input_gradient: Callable
    repeated: Callable | None = None


@lru_cache
def _load(device, precision="full"):
    cpu = import_module("skbackprop.backends.cpu")
    if device == "cpu":
        return Backend(device, cpu.Session, cpu.predict, cpu.input_gradient, cpu.repeated)
    cuda = import_module("skbackprop.backends.cuda")
    index = _index(device)
    chosen = {"index": index, "precision": precision}
    return Backend(
        f"cuda:{index}", partial(cuda.Session, **chosen), partial(cuda.predict, **chosen), cpu.input_gradient
    )


def _index(device):
    return int(device.partition(":")[2] or 0)


def _reason(device):
    """Return why a device cannot be used; None if it can."""
    if device == "cpu":
        return None
    try:
        cuda = import_module("skbackprop.backends.cuda")
    except ImportError as error:
        return f"numba-cuda is not installed ({error}): {how_to_install('cuda')}"
    return cuda.unavailable_reason(_index(device))


def _capability(device):
    """Return the compute capability of a usable GPU."""
    return import_module("skbackprop.backends.cuda").compute_capability(_index(device))


def _check_name(device):
    if not re.fullmatch(_DEVICES, device):
        raise ValueError(
            f"device={device!r} is not known; choose 'cpu', 'cuda', 'cuda:N' for the GPU of number N, or 'auto'"
        )


def _usable(device, flops):
    """Resolve "auto" for a given amount of work."""
    if device != "auto":
        return device
    return "cuda" if flops >= _AUTO_FLOPS and _reason("cuda") is None else "cpu"


def is_usable(device):
    """Return whether a device can be used.

    Parameters
    ----------
    device : str
        "auto" means the first GPU.

    Returns
    -------
    usable : bool
        Also False for unknown devices.
    """
    device = "cuda" if device == "auto" else device
    return isinstance(device, str) and bool(re.fullmatch(_DEVICES, device)) and _reason(device) is None


def get_backend(device, flops=0.0, precision="full"):
    """Return the backend for training.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
        "auto" chooses "cuda" if it is usable and there is enough work.
    flops : float, default=0.0
        Operations per epoch.
    precision : {"full", "tf32"}, default="full"
        "tf32" is for GPUs; if "auto" chooses the CPU, it computes in full precision.

    Returns
    -------
    backend : Backend

    Raises
    ------
    ValueError
        If the device is unknown or does not support the precision.
    RuntimeError
        If the device cannot be used; the message says what is missing.
    """
    _check_name(device)
    if precision == "tf32" and device == "cpu":
        raise ValueError("precision='tf32' is for GPUs, but device='cpu': set precision='full', or device='cuda'")
    device = _usable(device, flops)
    reason = _reason(device)
    if reason is not None:
        raise RuntimeError(f"device={device!r} cannot be used: {reason}; or choose device='cpu', or 'auto'")
    if precision == "tf32" and device != "cpu" and _capability(device) < _TF32_CAPABILITY:
        found, least = (".".join(map(str, pair)) for pair in (_capability(device), _TF32_CAPABILITY))
        raise RuntimeError(
            f"precision='tf32' needs a GPU of compute capability {least} or later, and device={device!r} has {found}: "
            "set precision='full'"
        )
    return _load(device, precision)


def get_prediction_backend(device, flops=0.0, precision="full"):
    """Return the backend for prediction: the CPU if the training's device is not usable.

    The backend computes in full precision if the device does not support another. So a model trained on a GPU can be
    used on a machine without one.

    Parameters
    ----------
    device, flops, precision
        See `get_backend`; `flops` are the operations of the prediction.

    Returns
    -------
    backend : Backend

    Raises
    ------
    ValueError
        If the device is unknown.
    """
    # The shortcut matters: every prediction calls this function.
    if device == "cpu":
        return _load(device)
    _check_name(device)
    device = _usable(device, flops)
    if device == "cpu" or _reason(device) is not None:
        return _load("cpu")
    can_round = precision == "tf32" and _capability(device) >= _TF32_CAPABILITY
    return _load(device, precision if can_round else "full")


def gpu_of(array):
    """Return the GPU that holds an array, as reported through DLPack.

    Parameters
    ----------
    array : object

    Returns
    -------
    index : int or None
        The GPU's number; None for arrays elsewhere.
    """
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack_device__"):
        return None
    memory, index = array.__dlpack_device__()
    return int(index) if memory in _GPU_MEMORY else None


def training_device(device, X):
    """Return the device to train on, given data that may lie on a GPU.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
        "auto" chooses the GPU that holds the data, if it is usable.
    X : object
        Data as passed by the user.

    Returns
    -------
    device : str

    Raises
    ------
    ValueError
        If the data lie on another GPU.
    """
    gpu = gpu_of(X)
    if gpu is None or device == "cpu":
        return device
    if device == "auto":
        return f"cuda:{gpu}" if _reason(f"cuda:{gpu}") is None else "cpu"
    if gpu != _index(device):
        raise ValueError(f"X lies on GPU {gpu}, but device={device!r}: set device='cuda:{gpu}', or copy X")
    return device


def prediction_device(device, X):
    """Return the device to predict on: the GPU that already holds the data takes precedence over another one.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
    X : object
        Data as passed by the user.

    Returns
    -------
    device : str
    """
    gpu = gpu_of(X)
    return device if gpu is None or device == "cpu" else f"cuda:{gpu}"


def memory_limit():
    """Return the most bytes that this process may use: the least of physical memory, cgroup limit and resource limit.

    Returns
    -------
    n_bytes : int or float
        Infinity if no limit is known.
    """
    limits = [math.inf]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # another system, or "max"
            continue
    if resource is not None:
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits.append(math.inf if soft == resource.RLIM_INFINITY else soft)
    return min(limits)
