"""What keeps a network from overfitting, or its training from leaping, besides its loss and its optimizer."""

from dataclasses import dataclass

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions.elementary import number

__all__ = ["Penalties", "clipped", "penalised_mean", "penalty"]


@dataclass(frozen=True)
class Penalties:
    """Penalties on the weights, limits of gradients and weights, dropout, and averaging; None or 0 is off.

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the penalty ``alpha * ((1 - l1_ratio) / 2 * sum(w ** 2) + l1_ratio * sum(abs(w)))``, which is divided by the
        number of rows, as the loss is.
    l1_ratio : float, default=0.0
    dropout : tuple of float, default=()
        Share of the inputs of each layer of weights that is dropped; empty for none.
    clip_norm, clip_value : float or None, default=None
        Largest norm of the whole gradient, and largest size of each of its components.
    max_norm : float or None, default=None
        Largest norm of the weights into a hidden unit.
    average : float or None, default=None
        Decay of the running average of the parameters.
    frozen : tuple of int, default=()
        Layers whose weights and intercepts stay as they are.
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    dropout: tuple = ()
    clip_norm: float | None = None
    clip_value: float | None = None
    max_norm: float | None = None
    average: float | None = None
    frozen: tuple = ()

    @property
    def finishes(self):
        """Whether the gradient needs more than a squared penalty before an optimizer takes it."""
        return bool(self.alpha * self.l1_ratio or self.clip_norm or self.clip_value)

    def numbers(self):
        """Strengths and limits as the kernels take them.

        Returns
        -------
        numbers : ndarray of float64
            Strengths of the squares and of the absolute values, limits of norm, component and weights, decay.
        """
        return np.array(
            [
                self.alpha * (1.0 - self.l1_ratio),
                self.alpha * self.l1_ratio,
                self.clip_norm or 0.0,
                self.clip_value or 0.0,
                self.max_norm or 0.0,
                self.average or 0.0,
            ]
        )


@formula
def penalty(w, squares, absolutes):
    """What a weight adds to the penalty; `squares` and `absolutes` are the factors of its square and of its absolute value."""
    return squares * w * w + absolutes * abs(w)


@formula
def penalised_mean(g, w, squares, absolutes, ratio):
    """Gradient of the penalised mean over the rows, from the sum over them; that of an absolute value at zero is zero."""
    zero = number(0.0, w)
    side = absolutes if w > zero else -absolutes
    side = zero if w == zero else side
    return (g + squares * w + side) * ratio


@formula
def clipped(g, bound):
    """A component of the gradient within a bound; a NaN stays one."""
    g = bound if g > bound else g
    return -bound if g < -bound else g
