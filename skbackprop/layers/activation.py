"""Activation layer: a function of each unit of a hidden layer."""

from dataclasses import dataclass
from typing import ClassVar

from skbackprop.layers._layer import Layer

__all__ = ["ActivationLayer"]


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
