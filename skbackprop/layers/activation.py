"""Activation layer: a function of each unit of a hidden layer."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skbackprop.layers._layer import Layer

__all__ = ["ActivationLayer", "ParametricActivationLayer"]


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """Apply one of `functions.activations` to each unit.

    Parameters
    ----------
    stage, n_inputs, n_units : int
        See `Layer`.
    key : tuple
        `Function.key` of the activation.
    """

    key: tuple = ()

    is_hidden: ClassVar[bool] = True

    def forward_steps(self, trains):
        """Return the activation's step."""
        return ("activate",)

    def backward_steps(self):
        """Return the step that multiplies by the slopes."""
        return ("derive",)

    def naive(self, x, arrays):
        """Apply the activation."""
        kind, settings = self.key
        return kind.naive(x, *settings)

    def mixed(self, before, after, arrays):
        """Return what becomes of the units, or of their slopes, when the activation has been applied.

        Parameters
        ----------
        before, after : array-like
            Units before and after the activation; or 1 and the slopes.
        arrays : dict of ndarray

        Returns
        -------
        mixed : ndarray
        """
        return after

    @property
    def title(self):
        """Name for error messages."""
        return f"the activation {self.key[0].__name__}"

    @property
    def has_onnx(self):
        """Whether the activation has a form in ONNX of its own: an inherited one is another activation's."""
        return "onnx" in vars(self.key[0])

    def onnx(self, g, x, arrays):
        """Add the activation."""
        kind, settings = self.key
        return kind.onnx(g, x, *settings)


@dataclass(frozen=True)
class ParametricActivationLayer(ActivationLayer):
    """Mix the activation of each unit with the identity, in a trained proportion: ``(1 - alpha) z + alpha f(z)``.

    With relu, this is the PReLU of He et al. (2015), whose slope for negative z is ``1 - alpha``; for any activation,
    the parametric activation of Holzmüller et al. (2024).
    """

    attributes: ClassVar[tuple] = ("activation_alphas_",)

    def shapes(self):
        """Return the shape of the proportions."""
        return ((self.n_units,),)

    def draw(self, arrays, initializer, random_state):
        """Begin with the activation alone."""
        arrays["activation_alphas_"][...] = 1

    def forward_steps(self, trains):
        """Return the activation's step between one that keeps its inputs and one that mixes."""
        return ("keep_inputs", *super().forward_steps(trains), "mix")

    def backward_steps(self):
        """Return the step that multiplies by the changes, and that which multiplies by the slopes."""
        return ("mix_backward", *super().backward_steps())

    def gradient_steps(self):
        """Return the step of the proportions' gradient."""
        return ("mix_gradient",)

    def naive(self, x, arrays):
        """Apply the activation, and mix."""
        return self.mixed(x, super().naive(x, arrays), arrays)

    def mixed(self, before, after, arrays):
        """Mix by the proportions."""
        alphas = arrays["activation_alphas_"]
        return (1 - alphas) * before + alphas * after

    def onnx(self, g, x, arrays):
        """Add the activation, and the mixture."""
        alphas = np.ascontiguousarray(arrays["activation_alphas_"])
        shares = g("Mul", x, g.constant(1 - alphas)), g("Mul", super().onnx(g, x, arrays), g.constant(alphas))
        return g("Add", *shares)
