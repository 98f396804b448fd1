"""Loops and memory: where the arithmetic of training and prediction runs.

A backend is a module that offers

- ``Session(network, dtype, rows, targets, sample_weight, batch_size, n_trained, n_jobs, penalties, seed, trains)``: a context
  manager for one fit over data that it holds, with ``max_epochs``, ``n_batches``, ``run_epochs``, ``loss_gradient`` and ``loss``;
- ``predict(network, params, rows, n_jobs, link, running)``: predictions of any number of rows;
- ``input_gradient(network, params, rows, outputs, running)``: gradients of outputs with respect to the rows.

Backends know no labels and nothing of scikit-learn.
"""

from importlib import import_module

__all__ = ["DEVICES", "get_backend"]

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
