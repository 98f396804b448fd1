"""Reference implementations that the kernels are tested against: a naive network and numerical gradients, in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from skbackprop.functions.losses import loss_link

__all__ = ["numerical_gradient", "reference_loss", "reference_predict", "reference_raw_predict"]


def reference_raw_predict(network: Any, params: np.ndarray, X: np.ndarray, running: np.ndarray | None = None) -> Any:
    """Raw predictions of a network, before the link, in the most straightforward way.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    X : ndarray of shape (n_rows, n_features)
    running : ndarray of shape (n_running,), optional
        Running means and variances for batch normalization; without them, the statistics of the rows are used, as in
        training.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs), float64
    """
    units = np.asarray(X, dtype=np.float64)
    running = running if network.n_running else None
    for layer, arrays in network.arrays_by_layer(np.asarray(params, dtype=np.float64), running):
        units = layer.naive(units, arrays)
    return units


def reference_predict(network: Any, params: Any, X: Any, running: Any = None) -> Any:
    """Predictions of a network.

    Parameters
    ----------
    network, params, X, running
        As for `reference_raw_predict`.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs), float64
    """
    kind, settings = network.loss
    return loss_link(kind).naive(reference_raw_predict(network, params, X, running), *settings)


def reference_loss(
    network: Any,
    params: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    penalties: Any = None,
) -> float:
    """The quantity whose gradient the kernels compute.

    For the squared error with several outputs, it is the sum over the outputs, while the reported loss is the mean.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    X : ndarray of shape (n_rows, n_features)
    Y : ndarray of shape (n_rows, n_targets)
        Targets as the kernels expect them: class indices in one column for the multiclass losses.
    sample_weight : ndarray of shape (n_rows,), optional
    penalties : Penalties, optional

    Returns
    -------
    loss : float
    """
    z = reference_raw_predict(network, params, X)
    kind, settings = network.loss
    rows = kind.naive(z, np.asarray(Y, dtype=np.float64), *settings).sum(axis=1)
    weights = np.ones(len(z)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    penalty = 0.0
    if penalties is not None:
        coefs, _ = network.views(np.asarray(params, dtype=np.float64))
        share = penalties.l1_ratio
        penalty = penalties.alpha * sum(
            (1 - share) / 2 * (coef**2).sum() + share * np.abs(coef).sum() for coef in coefs
        )
    return (weights @ rows + penalty) / weights.sum()


def numerical_gradient(function: Callable, x: Any, step: float = 1e-6) -> np.ndarray:
    """Gradient by central differences.

    Parameters
    ----------
    function : callable
        Maps an array like `x` to a number.
    x : ndarray of shape (n,), float64
    step : float, default=1e-6

    Returns
    -------
    gradient : ndarray of shape (n,)
    """
    gradient = np.empty_like(x)
    for i in range(x.size):
        shift = np.zeros_like(x)
        shift[i] = step
        gradient[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient
