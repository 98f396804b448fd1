"""Loops and memory: where the arithmetic of training and prediction runs.

A `Backend` offers

- ``Session(network, dtype, rows, targets, sample_weight, batch_size, n_trained, n_jobs, penalties, seed, trains)``: a context
  manager for one fit over data that it holds, with ``max_epochs``, ``n_batches``, ``run_epochs``, ``loss_gradient`` and ``loss``;
- ``predict(network, params, rows, n_jobs, link, running, out)``: predictions of any number of rows;
- ``input_gradient(network, params, rows, outputs, running)``: gradients of outputs with respect to the rows, always on the CPU.

Backends know no labels and nothing of scikit-learn.
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

# Operations of an epoch, or of a prediction, from which on "auto" chooses a GPU. Not measured yet: an estimate from the time
# that the data take to get there.
_AUTO_FLOPS = 1e9

# Of the first GPUs whose tensor cores multiply numbers of TF32.
_TF32_CAPABILITY = (8, 0)

# DLPack's numbers of the kinds of memory that kernels on a GPU can read: its own, and managed memory.
_GPU_MEMORY = (2, 13)

_DEVICES = r"cpu|auto|cuda(:\d+)?"

_INSTALL = 'pip install "skbackprop[cuda]"'


class Backend(NamedTuple):
    """A device's functions; see this module.

    Parameters
    ----------
    device : str
        "cpu", or "cuda:0" and so on.
    Session, predict, input_gradient : callable
    """

    device: str
    Session: Callable
    predict: Callable
    input_gradient: Callable


@lru_cache
def _load(device, precision="full"):
    cpu = import_module("skbackprop.backends.cpu")
    if device == "cpu":
        return Backend(device, cpu.Session, cpu.predict, cpu.input_gradient)
    cuda = import_module("skbackprop.backends.cuda")
    index = _index(device)
    chosen = {"index": index, "precision": precision}
    return Backend(
        f"cuda:{index}", partial(cuda.Session, **chosen), partial(cuda.predict, **chosen), cpu.input_gradient
    )


def _index(device):
    return int(device.partition(":")[2] or 0)


def _reason(device):
    """Why a device cannot be used; None if it can."""
    if device == "cpu":
        return None
    try:
        cuda = import_module("skbackprop.backends.cuda")
    except ImportError as error:
        return f"numba-cuda is not installed ({error}): {_INSTALL}"
    return cuda.unavailable_reason(_index(device))


def _capability(device):
    """Compute capability of a GPU that can be used."""
    return import_module("skbackprop.backends.cuda").compute_capability(_index(device))


def _check_name(device):
    if not re.fullmatch(_DEVICES, device):
        raise ValueError(
            f"device={device!r} is not known; choose 'cpu', 'cuda', 'cuda:N' for the GPU of number N, or 'auto'"
        )


def _usable(device, flops):
    """A device that is not "auto", for work of that size."""
    if device != "auto":
        return device
    return "cuda" if flops >= _AUTO_FLOPS and _reason("cuda") is None else "cpu"


def is_usable(device):
    """Whether some work can be done on a device.

    Parameters
    ----------
    device : str
        "auto" stands for the first GPU.

    Returns
    -------
    usable : bool
        False for what is not known, too.
    """
    device = "cuda" if device == "auto" else device
    return isinstance(device, str) and bool(re.fullmatch(_DEVICES, device)) and _reason(device) is None


def get_backend(device, flops=0.0, precision="full"):
    """The backend to train with.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
        "auto" chooses "cuda" where it can be used and there is enough work.
    flops : float, default=0.0
        Operations of an epoch.
    precision : {"full", "tf32"}, default="full"
        "tf32" is for GPUs; the CPU, if "auto" chooses it, computes in full.

    Returns
    -------
    backend : Backend

    Raises
    ------
    ValueError
        If there is no such device, or none for this precision.
    RuntimeError
        If it cannot be used; with what is missing.
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
    """The backend to predict with: the CPU where the device of the training cannot be used, in full precision where it has no other.

    So a model can be trained where there is a GPU, and used where there is none.

    Parameters
    ----------
    device, flops, precision
        As for `get_backend`; the operations of the prediction.

    Returns
    -------
    backend : Backend

    Raises
    ------
    ValueError
        If there is no such device.
    """
    # Asked for each prediction.
    if device == "cpu":
        return _load(device)
    _check_name(device)
    device = _usable(device, flops)
    if device == "cpu" or _reason(device) is not None:
        return _load("cpu")
    can_round = precision == "tf32" and _capability(device) >= _TF32_CAPABILITY
    return _load(device, precision if can_round else "full")


def gpu_of(array):
    """The GPU on which an array lies, as the libraries tell each other by DLPack.

    Parameters
    ----------
    array : object

    Returns
    -------
    index : int or None
        Its number; None for what lies elsewhere.
    """
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack_device__"):
        return None
    memory, index = array.__dlpack_device__()
    return int(index) if memory in _GPU_MEMORY else None


def training_device(device, X):
    """The device to train on with data that may lie on a GPU.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
        "auto" stays where the data are, if that GPU can be used.
    X : object
        Data as users give them.

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
    """The device to predict on: a GPU on which the data lie already in the place of another one.

    Parameters
    ----------
    device : {"cpu", "cuda", "cuda:N", "auto"}
    X : object
        Data as users give them.

    Returns
    -------
    device : str
    """
    gpu = gpu_of(X)
    return device if gpu is None or device == "cpu" else f"cuda:{gpu}"


def memory_limit():
    """Bytes that this process may have at most: of the machine, its container and its limits.

    Returns
    -------
    n_bytes : int or float
        Infinity where nothing is known.
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
