"""Weight initializations."""

from typing import Any

import numpy as np

__all__ = ["INITIALIZERS", "draw_layer"]


def _glorot(fan_in, fan_out):
    return 2.0 / (fan_in + fan_out)


def _he(fan_in, fan_out):
    return 2.0 / fan_in


def _lecun(fan_in, fan_out):
    return 1.0 / fan_in


#: Names of `weight_init`, each with the variance of the weights as a function of fan in and fan out, and the
#: distribution.
INITIALIZERS: dict[str, tuple[Any, str]] = {
    "auto": (None, "uniform"),
    "glorot_uniform": (_glorot, "uniform"),
    "glorot_normal": (_glorot, "normal"),
    "he_uniform": (_he, "uniform"),
    "he_normal": (_he, "normal"),
    "lecun_uniform": (_lecun, "uniform"),
    "lecun_normal": (_lecun, "normal"),
    "orthogonal": (None, "orthogonal"),
    "ntp": (_lecun, "normal"),
}


def draw_layer(
    name: str, random_state: Any, fan_in: int, fan_out: int, factor: float = 6.0, is_last: bool = False
) -> tuple[Any, Any]:
    """Draw the weights and intercepts of a layer.

    'auto' is scikit-learn's: weights and intercepts are uniform in ``(-b, b)`` with ``b = sqrt(factor / (fan_in +
    fan_out))``, which is equation 16 of Glorot and Bengio (2010) for factor 6; scikit-learn uses 2 for the logistic
    activation, and also draws the intercepts, which the paper sets to zero. With the other names, intercepts are zero,
    and weights have mean 0 and the variance of Glorot and Bengio (2010), He et al. (2015) or LeCun et al. (1998).
    'orthogonal' draws a matrix with orthonormal rows or columns, whichever are fewer (Saxe, McClelland and Ganguli,
    2014). 'ntp', for the neural tangent parametrization, is 'lecun_normal' with intercepts of a standard normal
    distribution, and zeros in the last layer (Holzmüller, Grinsztajn and Steinwart, 2024).

    Parameters
    ----------
    name : str
        A key of `INITIALIZERS`.
    random_state : numpy.random.RandomState
        Advanced.
    fan_in, fan_out : int
        Units before and after the layer.
    factor : float, default=6.0
        See above; for 'auto' only.
    is_last : bool, default=False
        Whether the layer gives the network's outputs.

    Returns
    -------
    weights : ndarray of shape (fan_in, fan_out), float64
    intercepts : ndarray of shape (fan_out,), float64
    """
    if name == "auto":
        bound = np.sqrt(factor / (fan_in + fan_out))
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
        return weights, random_state.uniform(-bound, bound, fan_out)
    if name == "ntp" and is_last:
        return np.zeros((fan_in, fan_out)), np.zeros(fan_out)
    variance, how = INITIALIZERS[name]
    if how == "orthogonal":
        normal = random_state.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out)))
        q, r = np.linalg.qr(normal)
        # With the signs of the diagonal of R, Q is uniform over the orthogonal matrices (Mezzadri, 2007).
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        weights = q if fan_in >= fan_out else q.T
    elif how == "normal":
        weights = random_state.normal(scale=np.sqrt(variance(fan_in, fan_out)), size=(fan_in, fan_out))
    else:
        bound = np.sqrt(3.0 * variance(fan_in, fan_out))
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
    return weights, random_state.normal(size=fan_out) if name == "ntp" else np.zeros(fan_out)
