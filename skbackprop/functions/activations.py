"""Activations of the hidden layers: what a unit gives out, and how a gradient passes back through it.

To add one: write its two formulas, give them a branch in `activate` and in `derive`, and an
entry in `ACTIVATIONS`. The estimators' checks, the gradient tests and the documentation follow.
"""

from dataclasses import dataclass

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions._registry import Entry, Registry
from skbackprop.functions.elementary import logistic, tanh

__all__ = ["ACTIVATIONS", "Activation", "activate", "derive"]


@dataclass(frozen=True)
class Activation(Entry):
    """An activation function.

    Parameters
    ----------
    init_factor : float
        Numerator of the default initialisation's bound, see `functions.initializers`.
    """

    init_factor: float


IDENTITY, LOGISTIC, TANH, RELU = range(4)

ACTIVATIONS = Registry(
    "activation",
    [
        Activation("identity", IDENTITY, r"z", "", 6.0),
        Activation("logistic", LOGISTIC, r"1 / (1 + e^{-z})", "Rumelhart, Hinton and Williams (1986)", 2.0),
        Activation("tanh", TANH, r"\tanh z", "LeCun et al. (1998), Efficient BackProp", 6.0),
        Activation("relu", RELU, r"\max(0, z)", "Nair and Hinton (2010)", 6.0),
    ],
)


@formula
def activate(code, z):
    """Apply an activation in place.

    Parameters
    ----------
    code : int
        The activation.
    z : ndarray of shape (n,)
        Weighted inputs of any number of units; overwritten with the units' outputs.
    """
    zero = z.dtype.type(0.0)
    if code == IDENTITY:
        pass
    elif code == LOGISTIC:
        for i in range(z.size):
            z[i] = logistic(z[i])
    elif code == TANH:
        for i in range(z.size):
            z[i] = tanh(z[i])
    elif code == RELU:
        for i in range(z.size):
            # Not `max`: a NaN must stay a NaN. Without the addition LLVM stores conditionally, six times slower.
            z[i] = (zero if z[i] < zero else z[i]) + zero
    else:
        for i in range(z.size):
            z[i] = z.dtype.type(np.nan)


@formula
def derive(code, a, delta):
    """Multiply a gradient by an activation's derivative, in place.

    The derivative is taken from the output `a`, so the weighted inputs need not be kept.

    Parameters
    ----------
    code : int
        The activation.
    a : ndarray of shape (n,)
        Outputs of the units.
    delta : ndarray of shape (n,)
        Gradient with respect to `a`; overwritten with the one with respect to the weighted inputs.
    """
    one = a.dtype.type(1.0)
    zero = a.dtype.type(0.0)
    if code == IDENTITY:
        pass
    elif code == LOGISTIC:
        for i in range(a.size):
            delta[i] = delta[i] * a[i] * (one - a[i])
    elif code == TANH:
        for i in range(a.size):
            delta[i] = delta[i] * (one - a[i] * a[i])
    elif code == RELU:
        for i in range(a.size):
            delta[i] = zero if a[i] == zero else delta[i]
    else:
        for i in range(a.size):
            delta[i] = a.dtype.type(np.nan)
