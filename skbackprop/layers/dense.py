"""Dense layer: a weighted sum of all inputs for each unit."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skbackprop.functions.groups import PARAMETRIZATIONS
from skbackprop.functions.initializers import draw_layer
from skbackprop.layers._layer import Layer

__all__ = ["Dense"]


@dataclass(frozen=True)
class Dense(Layer):
    """``Z = X W + b``.

    Parameters
    ----------
    stage, n_inputs, n_units : int
        See `Layer`.
    init_factor : float
        Factor of the variance of initial weights, see `draw_layer`.
    is_last : bool
        Whether the units are the network's outputs.
    """

    init_factor: float = 6.0
    is_last: bool = False

    attributes: ClassVar[tuple] = ("coefs_", "intercepts_")
    makes_units: ClassVar[bool] = True

    def shapes(self):
        """Return the shapes of the weights and the intercepts."""
        return (self.n_inputs, self.n_units), (self.n_units,)

    @property
    def n_weights(self):
        """Number of weights."""
        return self.n_inputs * self.n_units

    def forward_steps(self, trains):
        """Return the product's step."""
        return ("forward",)

    def backward_steps(self):
        """Return the step of ``D W^T``; the gradient with respect to the network's inputs is not needed."""
        return ("backward",) if self.stage > 0 else ()

    def gradient_steps(self):
        """Return the step of ``X^T D``."""
        return ("gradient",)

    def parameter_groups(self, parametrization, degree):
        """Return those of the weights, and of the stage's other parameters."""
        return PARAMETRIZATIONS[parametrization](self.n_inputs, degree)

    def draw(self, arrays, initializer, random_state):
        """Draw weights and intercepts."""
        drawn = draw_layer(initializer, random_state, self.n_inputs, self.n_units, self.init_factor, self.is_last)
        arrays["coefs_"][...], arrays["intercepts_"][...] = drawn

    def naive(self, x, arrays):
        """Compute ``X W + b``."""
        return x @ arrays["coefs_"] + arrays["intercepts_"]

    def pull_back(self, x, arrays, deltas):
        """Compute ``D W^T``."""
        return deltas @ arrays["coefs_"].T

    def onnx(self, g, x, arrays):
        """Add a product and a sum."""
        coef, intercept = (np.ascontiguousarray(arrays[name]) for name in ("coefs_", "intercepts_"))
        return g("Add", g("MatMul", x, g.constant(coef)), g.constant(intercept))
