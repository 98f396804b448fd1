"""Initial weights."""

import numpy as np

__all__ = ["glorot_uniform"]


def glorot_uniform(random_state, fan_in, fan_out, factor=6.0):
    """Draw a layer's weights and intercepts, in scikit-learn's order.

    Both are uniform in ``(-b, b)`` with ``b = sqrt(factor / (fan_in + fan_out))``: equation 16 of Glorot and Bengio (2010)
    for factor 6; scikit-learn takes 2 for the logistic activation, and draws the intercepts, too, where
    the paper sets them to zero.

    Parameters
    ----------
    random_state : numpy.random.RandomState
        Advanced by ``(fan_in + 1) * fan_out`` draws.
    fan_in, fan_out : int
        Units before and after the layer.
    factor : float, default=6.0
        See above.

    Returns
    -------
    weights : ndarray of shape (fan_in, fan_out), float64
    intercepts : ndarray of shape (fan_out,), float64
    """
    bound = np.sqrt(factor / (fan_in + fan_out))
    weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
    return weights, random_state.uniform(-bound, bound, fan_out)
