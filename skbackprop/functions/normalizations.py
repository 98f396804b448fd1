"""Normalizations of the hidden layers' pre-activations.

Pre-activations are standardized, and then get a trainable scale and offset per unit: ``y = scale * (z - mean) /
sqrt(variance + epsilon) + offset``. Normalizations differ in the axis of the mean and the variance. The loops are in
the backends.
"""

from numbers import Real
from typing import Any

import numpy as np

from skbackprop._sklearn import Interval
from skbackprop.functions._function import Function
from skbackprop.functions._registry import Registry

__all__ = [
    "NORMALIZATIONS",
    "BatchNormalization",
    "LayerNormalization",
    "Normalization",
]


class Normalization(Function):
    """Base class of normalizations of pre-activations.

    Attributes
    ----------
    over_batch : bool
        Whether means and variances are taken over the rows of a mini-batch. Predictions then use running means and
        variances.
    """

    over_batch = False


class BatchNormalization(Normalization):
    """Normalization of each unit over the rows of a mini-batch; predictions use running means and variances.

    Parameters
    ----------
    momentum : float, default=0.9
        Fraction of the running mean and variance that each update keeps, as in Keras; at least 0, less than 1.
        PyTorch's momentum is one minus this. The first updates average all mini-batches so far with equal weights, so
        that the initial values have no effect.
    epsilon : float, default=1e-5
        Added to the variance for numerical stability; positive.
    """

    name = "batch"
    definition = (
        r"\gamma (z - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta;\ \mu, \sigma \text{ of the unit over the batch}"
    )
    reference = "Ioffe and Szegedy (2015)"
    over_batch = True
    _parameter_constraints = {
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5) -> None:
        self.momentum = momentum
        self.epsilon = epsilon

    @staticmethod
    def fold(scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float) -> Any:
        """Fold the normalization into a factor and a summand per unit, for predictions.

        Parameters
        ----------
        scale, offset, mean, variance : ndarray of shape (n_units,)
        epsilon : float

        Returns
        -------
        factor, summand : ndarray of shape (n_units,), float64
        """
        factor = np.divide(scale, np.sqrt(variance + epsilon), dtype=np.float64)
        return factor, offset - mean * factor


class LayerNormalization(Normalization):
    """Normalization of each row over the units of a layer, in training and in predictions.

    Parameters
    ----------
    epsilon : float, default=1e-5
        Added to the variance for numerical stability; positive.
    """

    name = "layer"
    definition = r"\gamma (z - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta;\ \mu, \sigma \text{ of the row over the layer's units}"
    reference = "Ba, Kiros and Hinton (2016)"
    _parameter_constraints = {"epsilon": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, epsilon: float = 1e-5) -> None:
        self.epsilon = epsilon


NORMALIZATIONS = Registry("normalization", Normalization, [BatchNormalization, LayerNormalization])
