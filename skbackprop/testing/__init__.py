"""What the kernels are checked against: a naive network and numerical gradients, in plain NumPy."""

import numpy as np
from scipy.special import expit, xlogy

__all__ = ["numerical_gradient", "reference_loss", "reference_predict"]

_ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
}


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


_LINKS = {
    "squared_error": lambda z: z,
    "poisson": np.exp,
    "binary_log_loss": expit,
    "multiclass_log_loss": _softmax,
}


def reference_predict(network, params, X):
    """Predictions of a network, written as one would on a blackboard.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    X : ndarray of shape (n_rows, n_features)

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs), float64
    """
    coefs, intercepts = network.views(np.asarray(params, dtype=np.float64))
    units = np.asarray(X, dtype=np.float64)
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        units = units @ coef + intercept
        if layer < len(coefs) - 1:
            units = _ACTIVATIONS[network.activation](units)
    return _LINKS[network.loss](units)


def reference_loss(network, params, X, Y, sample_weight=None, alpha=0.0):
    """The quantity whose gradient the kernels compute.

    For several outputs of the squared error that is the sum over the outputs, where the reported loss is their mean.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    X : ndarray of shape (n_rows, n_features)
    Y : ndarray of shape (n_rows, n_targets)
        Targets as the kernels take them: class codes in one column for the multiclass loss.
    sample_weight : ndarray of shape (n_rows,), optional
    alpha : float, default=0.0

    Returns
    -------
    loss : float
    """
    p = reference_predict(network, params, X)
    Y = np.asarray(Y, dtype=np.float64)
    weights = np.ones(len(p)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if network.loss == "multiclass_log_loss":
        rows = -np.log(p[np.arange(len(p)), Y[:, 0].astype(int)])
    elif network.loss == "binary_log_loss":
        rows = -(xlogy(Y, p) + xlogy(1 - Y, 1 - p)).sum(axis=1)
    elif network.loss == "poisson":
        rows = (xlogy(Y, Y / p) - Y + p).sum(axis=1)
    else:
        rows = 0.5 * ((Y - p) ** 2).sum(axis=1)
    coefs, _ = network.views(np.asarray(params, dtype=np.float64))
    penalty = 0.5 * alpha * sum((coef**2).sum() for coef in coefs)
    return (weights @ rows + penalty) / weights.sum()


def numerical_gradient(function, x, step=1e-6):
    """Central differences.

    Parameters
    ----------
    function : callable
        From an array like `x` to a number.
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
