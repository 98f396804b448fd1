"""Layers in front of the first dense one, which transform the input columns one by one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skbackprop._lazy import lazy
from skbackprop.functions.groups import Group
from skbackprop.functions.input_layers import OUTPUT, SIZE, InputLayer
from skbackprop.layers._layer import Layer

__all__ = ["ColumnLayer"]


@dataclass(frozen=True)
class ColumnLayer(Layer):
    """An `InputLayer` with its place in a network.

    Parameters
    ----------
    stage, n_inputs, n_units : int
        See `Layer`.
    kind : type
        The class, with the formulas.
    settings : tuple of float
    sizes : tuple of (int, int)
        The transformed columns, in ascending order, and the number of parameters of each.
    n_outputs : int
        Outputs of each of these columns.
    """

    kind: type = InputLayer
    settings: tuple = ()
    sizes: tuple = ()
    n_outputs: int = 1

    attributes: ClassVar[tuple] = ("input_params_",)
    makes_units: ClassVar[bool] = True

    @classmethod
    def from_key(cls, stage, n_inputs, key):
        """Return the layer of an `InputLayer.bound` for so many inputs."""
        _, _, sizes, n_outputs = key
        return cls(stage, n_inputs, n_inputs + len(sizes) * (n_outputs - 1), *key)

    @lazy
    def groups(self):
        """Return the kernels' table.

        ndarray of shape (n_inputs, 3), int64; see `functions.input_layers` for its columns.
        """
        sizes, rows, output, start = dict(self.sizes), [], 0, 0
        for column in range(self.n_inputs):
            size = sizes.get(column, 0)
            rows.append((output, start, size))
            output += self.n_outputs if size else 1
            start += size
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def origins(self, before):
        """Return the column of `X` that each output copies.

        Parameters
        ----------
        before : ndarray of shape (n_inputs,), int64
            The same of the inputs; -1 for none.

        Returns
        -------
        after : ndarray of shape (n_units,), int64
        """
        _, copied, copies = self._outputs
        after = np.full(self.n_units, -1)
        after[copies] = before[copied]
        return after

    def shapes(self):
        """Return the shape of the array of all columns' parameters."""
        return ((sum(size for _, size in self.sizes),),)

    def forward_steps(self, trains):
        """Return the step that transforms all columns."""
        return ("transform",)

    def backward_steps(self):
        """Return the step of the gradient with respect to the inputs; that of the network's inputs is not needed."""
        return ("transform_backward",) if self.stage > 0 else ()

    def gradient_steps(self):
        """Return the step of the parameters' gradient."""
        return ("transform_gradient",)

    def parameter_groups(self, parametrization, degree):
        """Return that of all parameters, which do not decay: with the class's rate, unless all rates are the same."""
        return (Group(1.0 if parametrization == "standard" else self.kind.rate_factor, 0.0),) * 2

    def draw(self, arrays, initializer, random_state):
        """Draw as the class does, whatever the initializer of the weights."""
        sizes = [size for _, size in self.sizes]
        arrays["input_params_"][...] = self.kind.draw(random_state, sizes, *self.settings)

    @lazy
    def columns(self):
        """Indices of the transformed columns.

        ndarray of shape (n_columns,), intp.
        """
        return np.array([column for column, _ in self.sizes], dtype=np.intp)

    @lazy
    def _outputs(self):
        """Indices of the outputs of transformed columns, and of the copied columns with their outputs."""
        made = self.groups[:, SIZE] > 0
        first = self.groups[made, OUTPUT]
        return first[:, np.newaxis] + np.arange(self.n_outputs), np.flatnonzero(~made), self.groups[~made, OUTPUT]

    def _parts(self, arrays):
        ends = np.cumsum([size for _, size in self.sizes])[:-1]
        return np.split(arrays["input_params_"], ends)

    def naive(self, x, arrays):
        """Transform columns by the class's `naive`; copy the others."""
        made, copied, copies = self._outputs
        outputs = np.empty((len(x), self.n_units), dtype=x.dtype)
        outputs[:, copies] = x[:, copied]
        outputs[:, made] = self.kind.naive(x[:, self.columns], self._parts(arrays), *self.settings)
        return outputs

    def pull_back(self, x, arrays, deltas):
        """Backpropagate by the class's `naive_slope`."""
        made, copied, copies = self._outputs
        gradient = np.empty(x.shape, dtype=x.dtype)
        gradient[:, copied] = deltas[:, copies]
        gradient[:, self.columns] = self.kind.naive_slope(
            x[:, self.columns], self._parts(arrays), deltas[:, made], *self.settings
        )
        return gradient

    @property
    def title(self):
        """Name for error messages."""
        return f"the input layer {self.kind.__name__}"

    @property
    def has_onnx(self):
        """Whether the class has a form in ONNX of its own."""
        return "onnx" in vars(self.kind)

    def onnx(self, g, x, arrays):
        """Transform columns by the class's `onnx`; put their outputs and the copied columns in order."""
        made, copied, copies = self._outputs
        if not len(self.columns):
            return x
        parts = [np.ascontiguousarray(part) for part in self._parts(arrays)]
        name = self.kind.onnx(g, g("Gather", x, g.constant(self.columns), axis=1), parts, *self.settings)
        if not len(copied):
            return name
        order = np.argsort(np.concatenate([made.ravel(), copies]))
        both = g("Concat", name, g("Gather", x, g.constant(copied), axis=1), axis=1)
        return g("Gather", both, g.constant(order), axis=1)
