"""Reference implementations that the kernels are tested against: a naive network and numerical gradients, in NumPy."""

import numpy as np
from scipy.special import expit, log_softmax, ndtr, softmax, xlogy

__all__ = ["numerical_gradient", "reference_loss", "reference_predict", "reference_raw_predict"]

_ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z, s: np.where(z > 0, z, s * z),
    "elu": lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z, _: z * ndtr(z),
    "silu": lambda z: z * expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "softplus": lambda z: np.logaddexp(0, z),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
}


def _one_hot(z, y, smoothing=0.0):
    hot = np.zeros_like(z)
    hot[np.arange(len(z)), y[:, 0].astype(int)] = 1
    return hot * (1 - smoothing) + smoothing / z.shape[1]


def _signs(z, y, n_codes):
    return 2 * (_one_hot(z, y) if n_codes else y) - 1


def _pinball(z, y, *settings):
    quantiles = np.array(settings[: z.shape[1] // y.shape[1]])
    residual = np.repeat(y, len(quantiles), axis=1) - z
    return np.maximum(np.tile(quantiles, y.shape[1]) * residual, (np.tile(quantiles, y.shape[1]) - 1) * residual)


def _huber(z, y, delta):
    size = np.abs(y - z)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def _tweedie(z, y, power):
    p = np.exp(z)
    if power == 0:
        return 0.5 * (y - p) ** 2
    if power == 1:
        return xlogy(y, y / p) - y + p
    if power == 2:
        return np.log(p / y) + y / p - 1
    own = np.maximum(y, 0) ** (2 - power) / ((1 - power) * (2 - power))
    return own - y * p ** (1 - power) / (1 - power) + p ** (2 - power) / (2 - power)


def _binary_focal(z, y, gamma):
    p = expit(z)
    right = np.where(y == 1, p, 1 - p)
    return -((1 - right) ** gamma) * np.log(right)


def _multiclass_focal(z, y, gamma):
    right = (softmax(z, axis=1) * _one_hot(z, y)).sum(axis=1, keepdims=True)
    return -((1 - right) ** gamma) * np.log(right)


#: Losses of raw predictions, one number for each output, by the classes that run.
_LOSSES = {
    "BinaryLogLoss": lambda z, y, s: np.logaddexp(0, z) - (y * (1 - s) + s / 2) * z,
    "MulticlassLogLoss": lambda z, y, s: -_one_hot(z, y, s) * log_softmax(z, axis=1),
    "BinaryHinge": lambda z, y: np.maximum(0, 1 - _signs(z, y, False) * z),
    "MulticlassHinge": lambda z, y: np.maximum(0, 1 - _signs(z, y, True) * z),
    "BinarySquaredHinge": lambda z, y: np.maximum(0, 1 - _signs(z, y, False) * z) ** 2,
    "MulticlassSquaredHinge": lambda z, y: np.maximum(0, 1 - _signs(z, y, True) * z) ** 2,
    "BinaryFocal": _binary_focal,
    "MulticlassFocal": _multiclass_focal,
    "SquaredError": lambda z, y: 0.5 * (y - z) ** 2,
    "AbsoluteError": lambda z, y: np.abs(y - z),
    "Huber": _huber,
    "LogCosh": lambda z, y: np.logaddexp(y - z, z - y) - np.log(2),
    "Quantile": _pinball,
    "Poisson": lambda z, y: _tweedie(z, y, 1),
    "Gamma": lambda z, y: _tweedie(z, y, 2),
    "Tweedie": _tweedie,
    "Gaussian": lambda z, y: 0.5 * (z[:, 1::2] + (y - z[:, 0::2]) ** 2 / np.exp(z[:, 1::2]) + np.log(2 * np.pi)),
}

_LINKS = {
    "identity": lambda z: z,
    "exp": np.exp,
    "logistic": expit,
    "softmax": lambda z: softmax(z, axis=1),
}


def _normalize(network, z, scale, offset, mean=None, variance=None):
    """Normalize the pre-activations of a layer, by their own statistics if there are no running ones."""
    kind, (epsilon, *_) = network.normalization
    if mean is None:
        over = 0 if kind.over_batch else 1
        mean, variance = z.mean(axis=over, keepdims=True), z.var(axis=over, keepdims=True)
    return scale * (z - mean) / np.sqrt(variance + epsilon) + offset


def reference_raw_predict(network, params, X, running=None):
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
    params = np.asarray(params, dtype=np.float64)
    coefs, intercepts = network.views(params)
    scales, offsets = network.normalizer_views(params)
    units = np.asarray(X, dtype=np.float64)
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        units = units @ coef + intercept
        if layer < len(coefs) - 1:
            if network.normalization is not None:
                has_running = running is not None and network.over_batch
                statistics = (views[layer] for views in network.running_views(running)[:2]) if has_running else ()
                units = _normalize(network, units, scales[layer], offsets[layer], *statistics)
            kind, settings = network.activations[layer]
            units = _ACTIVATIONS[kind.name](units, *settings)
    return units


def reference_predict(network, params, X, running=None):
    """Predictions of a network.

    Parameters
    ----------
    network, params, X, running
        As for `reference_raw_predict`.

    Returns
    -------
    predictions : ndarray of shape (n_rows, n_outputs), float64
    """
    z = reference_raw_predict(network, params, X, running)
    if network.loss[0].has_std:
        z[:, 1::2] = np.exp(0.5 * z[:, 1::2])
    return _LINKS[network.loss[0].out_activation](z)


def reference_loss(network, params, X, Y, sample_weight=None, penalties=None):
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
    rows = _LOSSES[kind.__name__](z, np.asarray(Y, dtype=np.float64), *settings).sum(axis=1)
    weights = np.ones(len(z)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    penalty = 0.0
    if penalties is not None:
        coefs, _ = network.views(np.asarray(params, dtype=np.float64))
        share = penalties.l1_ratio
        penalty = penalties.alpha * sum(
            (1 - share) / 2 * (coef**2).sum() + share * np.abs(coef).sum() for coef in coefs
        )
    return (weights @ rows + penalty) / weights.sum()


def numerical_gradient(function, x, step=1e-6):
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
