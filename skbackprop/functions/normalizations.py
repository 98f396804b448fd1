"""Normalizations of the hidden layers' weighted inputs, before the activation.

Each subtracts a mean, divides by a standard deviation, and then gives every unit a scale and an offset, which are trained like
the weights: ``y = scale * (z - mean) / sqrt(variance + epsilon) + offset``. They differ in what mean and variance are taken
over. The loops are those of the backends.
"""

from numbers import Real

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
    """A normalization of weighted inputs.

    Attributes
    ----------
    over_batch : bool
        Whether means and variances are taken over the rows of a mini-batch. Predictions then need running ones.
    """

    over_batch = False


class BatchNormalization(Normalization):
    """Each unit has mean 0 and variance 1 over the rows of a mini-batch; in predictions, by running means and variances.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the running mean and variance that each update keeps, as in Keras; at least 0, less than 1. PyTorch gives the
        other share, 0.1, this name. The first updates take the plain average of all mini-batches so far, so that nothing is
        left of where the running values began.
    epsilon : float, default=1e-5
        Added to the variance; positive.
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

    def __init__(self, momentum=0.9, epsilon=1e-5):
        self.momentum = momentum
        self.epsilon = epsilon

    @staticmethod
    def fold(scale, offset, mean, variance, epsilon):
        """What is left of it in predictions: a factor and a summand for each unit.

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
    """Each row has mean 0 and variance 1 over the units of a layer, in training and in predictions alike.

    Parameters
    ----------
    epsilon : float, default=1e-5
        Added to the variance; positive.
    """

    name = "layer"
    definition = r"\gamma (z - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta;\ \mu, \sigma \text{ of the row over the layer's units}"
    reference = "Ba, Kiros and Hinton (2016)"
    _parameter_constraints = {"epsilon": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, epsilon=1e-5):
        self.epsilon = epsilon


NORMALIZATIONS = Registry("normalization", Normalization, [BatchNormalization, LayerNormalization])
