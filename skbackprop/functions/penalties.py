"""Regularization and stabilization apart from loss and optimizer: penalties, clipping, max-norm, dropout, averaging."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions.elementary import number

__all__ = ["Penalties", "clipped", "penalised_mean", "penalty"]


@dataclass(frozen=True)
class Penalties:
    """Penalties on the weights, gradient clipping, max-norm, dropout and weight averaging; None or 0 turns one off.

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the penalty ``alpha * ((1 - l1_ratio) / 2 * sum(w ** 2) + l1_ratio * sum(abs(w)))``, which is
        divided by the number of rows, like the loss.
    l1_ratio : float, default=0.0
    dropout : tuple of float, default=()
        Probability of dropping an input of each layer of weights; empty for no dropout.
    clip_norm, clip_value : float or None, default=None
        Maximum norm of the whole gradient, and maximum absolute value of each of its components.
    max_norm : float or None, default=None
        Maximum norm of the weights into a hidden unit.
    average : float or None, default=None
        Decay of the exponential moving average of the parameters.
    frozen : tuple of int, default=()
        Layers whose weights and intercepts are not trained.
    groups : tuple of tuple of Group, default=()
        For each stage of the network, how the optimizer treats its parameters; see `groups.group_tables`.
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    dropout: tuple[Any, ...] = ()
    clip_norm: float | None = None
    clip_value: float | None = None
    max_norm: float | None = None
    average: float | None = None
    frozen: tuple[Any, ...] = ()
    groups: tuple[Any, ...] = ()

    @property
    def finishes(self) -> Any:
        """Whether the gradient needs more than the L2 penalty before the optimizer uses it."""
        return bool(self.alpha * self.l1_ratio or self.clip_norm or self.clip_value)

    def dropout_by_stage(self, n_stages: Any, n_front: Any) -> Any:
        """Return the dropout rate of each stage's inputs, after `n_front` stages in front of the first dense layer."""
        return (0.0,) * n_front + (self.dropout or (0.0,) * (n_stages - n_front))

    def dropped_stages(self, n_front: Any, is_sparse: Any) -> Any:
        """Return the stages whose inputs a step drops; sparse inputs are dropped when they are read."""
        dropped = {n_front + layer for layer, rate in enumerate(self.dropout) if rate > 0}
        return dropped - {0} if is_sparse else dropped

    def frozen_stages(self, n_front: Any) -> Any:
        """Return the stages whose parameters are not trained."""
        return {n_front + layer for layer in self.frozen}

    def numbers(self) -> np.ndarray:
        """Strengths and limits as the kernels expect them.

        Returns
        -------
        numbers : ndarray of float64
            L2 and L1 strength, limits of gradient norm, gradient component and weight norm, decay of the average.
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
    """The penalty of a weight; `squares` and `absolutes` are the factors of its square and of its absolute value."""
    return squares * w * w + absolutes * abs(w)


@formula
def penalised_mean(g, w, squares, absolutes, ratio):
    """Gradient of the penalised mean, from the sum over the rows; the derivative of abs(w) at zero is zero."""
    zero = number(0.0, w)
    side = absolutes if w > zero else -absolutes
    side = zero if w == zero else side
    return (g + squares * w + side) * ratio


@formula
def clipped(g, bound):
    """A component of the gradient, clipped to a bound; NaN stays NaN."""
    g = bound if g > bound else g
    return -bound if g < -bound else g
