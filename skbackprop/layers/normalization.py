"""Normalization layers: give the weighted inputs of a hidden layer mean 0 and variance 1, then a scale and an offset."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skbackprop.layers._layer import Layer

__all__ = ["BatchNormalizationLayer", "LayerNormalizationLayer"]


@dataclass(frozen=True)
class _Normalization(Layer):
    """A normalization with one scale and one offset per unit.

    Parameters
    ----------
    stage, n_inputs, n_units : int
        See `Layer`.
    key : tuple
        `Function.key` of the normalization.
    """

    key: tuple = ()

    attributes: ClassVar[tuple] = ("scales_", "offsets_")
    # Two in the forward and two in the backward pass.
    n_barriers: ClassVar[int] = 4

    def shapes(self):
        """Return the shapes of the scales and the offsets."""
        return (self.n_units,), (self.n_units,)

    def draw(self, arrays, initializer, random_state):
        """Set the scales to 1 and the offsets to 0."""
        arrays["scales_"][...], arrays["offsets_"][...] = 1, 0

    @property
    def _epsilon(self):
        return float(self.key[1][0])

    def _statistics(self, x, arrays):
        """Return means and variances that broadcast against `x`."""
        raise NotImplementedError

    def naive(self, x, arrays):
        """Normalize ``x``, then scale and shift it."""
        mean, variance = self._statistics(x, arrays)
        return arrays["scales_"] * (x - mean) / np.sqrt(variance + self._epsilon) + arrays["offsets_"]


@dataclass(frozen=True)
class BatchNormalizationLayer(_Normalization):
    """Normalize each unit over the rows of a mini-batch; predictions use running means and variances."""

    state_attributes: ClassVar[tuple] = ("running_means_", "running_variances_", "_running_counts")
    over_batch: ClassVar[bool] = True

    def state_shapes(self):
        """Return the shapes of the running means and variances, and of the number of mini-batches so far."""
        return (self.n_units,), (self.n_units,), (1,)

    def n_stored(self, block_rows):
        """Count means, inverse standard deviations, and two sums per unit."""
        return 4 * self.n_units

    def forward_steps(self, trains):
        """Return the step that normalizes a mini-batch, or the one that uses the folded running statistics."""
        return ("normalize_units",) if trains else ("scale_units",)

    def backward_steps(self):
        """Return the backward step."""
        return ("normalize_backward_units",)

    def start(self, arrays):
        """Set means to 0 and variances to 1, of no mini-batch yet."""
        arrays["running_means_"][:] = arrays["_running_counts"][:] = 0.0
        arrays["running_variances_"][:] = 1.0

    def fold(self, arrays, folded):
        """Fold scales, offsets and running statistics into factors, which replace the means, and summands."""
        kind, (epsilon, *_) = self.key
        names = "scales_", "offsets_", "running_means_", "running_variances_"
        factors, summands = kind.fold(*(arrays[name] for name in names), epsilon)
        folded["running_means_"][:], folded["running_variances_"][:] = factors, summands

    def _statistics(self, x, arrays):
        if "running_means_" in arrays:
            return arrays["running_means_"], arrays["running_variances_"]
        return x.mean(axis=0, keepdims=True), x.var(axis=0, keepdims=True)

    def pull_back(self, x, arrays, deltas):
        """Multiply by the slopes, which running statistics make constant."""
        deltas = deltas * arrays["scales_"] / np.sqrt(arrays["running_variances_"] + self._epsilon)
        return deltas.astype(x.dtype, copy=False)

    def onnx(self, g, x, arrays):
        """Add a product and a sum."""
        folded = {name: np.zeros_like(arrays[name], dtype=np.float64) for name in self.state_attributes}
        self.fold(arrays, folded)
        factors, summands = (folded[name].astype(g.dtype) for name in ("running_means_", "running_variances_"))
        return g("Add", g("Mul", x, g.constant(factors)), g.constant(summands))


@dataclass(frozen=True)
class LayerNormalizationLayer(_Normalization):
    """Normalize each row over the units of the layer."""

    def n_stored(self, block_rows):
        """Count two sums per unit, and the rows' inverse standard deviations."""
        return 2 * self.n_units + block_rows

    def forward_steps(self, trains):
        """Return the forward step."""
        return ("normalize_rows",)

    def backward_steps(self):
        """Return the backward step."""
        return ("normalize_backward_rows",)

    def _statistics(self, x, arrays):
        return x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)

    def pull_back(self, x, arrays, deltas):
        """Backpropagate through mean and variance of each row; see `backends.cpu.normalization`."""
        mean, variance = self._statistics(x, arrays)
        deviation = np.sqrt(variance + self._epsilon)
        normal = (x - mean) / deviation
        deltas = deltas * arrays["scales_"]
        along = (deltas * normal).mean(axis=1, keepdims=True)
        deltas = deltas - deltas.mean(axis=1, keepdims=True) - normal * along
        return (deltas / deviation).astype(x.dtype, copy=False)

    def onnx(self, g, x, arrays):
        """Add the means by products, and elementary operators."""
        means = g.constant(np.full((self.n_units, 1), 1 / self.n_units, dtype=g.dtype))
        x = g("Sub", x, g("MatMul", x, means))
        variance = g("MatMul", g("Mul", x, x), means)
        x = g("Div", x, g("Sqrt", g("Add", variance, self._epsilon)))
        scale, offset = (np.ascontiguousarray(arrays[name]) for name in ("scales_", "offsets_"))
        return g("Add", g("Mul", x, g.constant(scale)), g.constant(offset))
