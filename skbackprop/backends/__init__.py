"""Loops and memory: where the arithmetic of training and prediction runs.

A backend is a module that offers

- ``Session(network, dtype, rows, targets, sample_weight, batch_size, n_trained, n_jobs, penalties, seed, trains)``: a context
  manager for one fit over data that it holds, with ``max_epochs``, ``n_batches``, ``run_epochs``, ``loss_gradient`` and ``loss``;
- ``predict(network, params, rows, n_jobs, link, running)``: predictions of any number of rows;
- ``input_gradient(network, params, rows, outputs, running)``: gradients of outputs with respect to the rows.

Backends know no labels and nothing of scikit-learn.
"""

import math
import os
from importlib import import_module
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["DEVICES", "get_backend", "memory_limit"]

#: Backends by the estimators' `device`, imported when asked for.
DEVICES = {"cpu": "skbackprop.backends.cpu"}


def get_backend(device):
    """The backend of a device.

    Parameters
    ----------
    device : str
        A key of `DEVICES`.

    Returns
    -------
    backend : module

    Raises
    ------
    ValueError
        If there is no such backend.
    """
    if device not in DEVICES:
        known = ", ".join(map(repr, DEVICES))
        raise ValueError(
            f"device={device!r} is not available: this version of skbackprop has kernels for {known} only"
            + (", its CUDA kernels are still to come" if str(device).startswith(("cuda", "gpu")) else "")
            + "; use device='cpu'"
        )
    return import_module(DEVICES[device])


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
