"""Layers in front of the first dense one: each input column is scaled or encoded by parameters of its own.

To add one: a class with its formulas, its place in `__all__` and in `INPUT_LAYERS`. `layers.inputs` gives it its place
in a network.
"""

from functools import cache
from numbers import Integral
from typing import NamedTuple

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions._function import Function, named
from skbackprop.functions._registry import Registry
from skbackprop.functions.elementary import natural, number

__all__ = ["INPUT_LAYERS", "InputLayer", "InputScale", "column_loops"]

#: Columns of the kernels' table of groups, one row per input column: the column's first output; its first parameter
#: among the layer's, and their number, 0 for a column that is copied.
OUTPUT, START, SIZE = range(3)


class InputLayer(Function):
    """A layer in front of the first dense one, which transforms columns one by one; other columns are copied.

    A class has three formulas as static methods. `x` is an input; its column's `n` parameters begin at ``params[p]``;
    `s` are the settings, a named tuple of numbers.

    - ``forward(x, params, p, n, out, o, s)``: write the column's outputs from ``out[o]`` on;
    - ``gradient(x, params, p, n, deltas, d, grads, s)``: add to the gradient of the parameters, which begins at
      ``grads[p]``, given that of the outputs, which begins at ``deltas[d]``;
    - ``slope(x, params, p, n, deltas, d, s)``: the gradient with respect to `x`.

    For what computes without the kernels there are, with `params` as a list of one array per column:

    - ``naive(x, params, *settings)``: from inputs of shape (n_rows, n_columns) to outputs of shape (n_rows, n_columns,
      n_outputs);
    - ``naive_slope(x, params, deltas, *settings)``: the gradient with respect to the inputs;
    - ``onnx(g, x, params, *settings)``: add operators to a graph; return the name of outputs of shape (n_rows,
      n_columns * n_outputs).

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns that are transformed; None for all.

    Attributes
    ----------
    rate_factor : float
        Factor of the learning rate of the parameters with ``parametrization='ntp'``.
    """

    rate_factor = 1.0
    _parameter_constraints: dict = {"columns": ["array-like", None]}

    def __init__(self, columns=None):
        self.columns = columns

    @classmethod
    def setting_names(cls):
        """Return the names of the numbers among the parameters."""
        return tuple(name for name in cls._get_param_names() if name != "columns")

    def settings(self):
        """Return the settings as numbers, in the alphabetical order of their names."""
        return tuple(float(getattr(self, name)) for name in self.setting_names())

    def n_outputs(self):
        """Return the number of outputs per column."""
        return 1

    def n_params(self, column):
        """Return the number of parameters of a column."""
        raise NotImplementedError

    def n_units(self, n_inputs):
        """Return the number of units for so many inputs."""
        n_columns = n_inputs if self.columns is None else len(self.columns)
        return n_inputs + n_columns * (self.n_outputs() - 1)

    def n_inputs(self, n_units):
        """Return the number of inputs of a layer with so many units: the inverse of `n_units`."""
        if self.columns is None:
            return n_units // self.n_outputs()
        return n_units - len(self.columns) * (self.n_outputs() - 1)

    @staticmethod
    def draw(random_state, sizes, *settings):
        """Return initial parameters.

        Parameters
        ----------
        random_state : numpy.random.RandomState
        sizes : sequence of int
            Number of parameters per column.
        *settings : float

        Returns
        -------
        params : ndarray of shape (sum(sizes),)
        """
        raise NotImplementedError

    def bound(self, n_features):
        """Return what tells layers for so many inputs apart.

        Parameters
        ----------
        n_features : int

        Returns
        -------
        key : tuple
            The class, its settings, the transformed columns with their numbers of parameters, the outputs per column.

        Raises
        ------
        ValueError
            If `columns` has no such column, or one twice.
        """
        columns = range(n_features) if self.columns is None else sorted(self.columns)
        are_columns = (isinstance(column, Integral) and 0 <= column < n_features for column in columns)
        if not all(are_columns) or len(set(columns)) != len(columns):
            raise ValueError(
                f"columns={self.columns!r} of {type(self).__name__} must be different indices of its {n_features} inputs, "
                f"from 0 to {n_features - 1}"
            )
        sizes = tuple((int(column), int(self.n_params(column))) for column in columns)
        return self.kernel_kind(), self.settings(), sizes, int(self.n_outputs())


class InputScale(InputLayer):
    """A learned scale of each column, ``s x``: unimportant columns shrink (Holzmüller et al., 2024, section 3.2).

    The scales start at one. With a high learning rate they select columns: with ``parametrization='ntp'`` it is six times
    that of the weights.

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns that are scaled; None for all.
    """

    name = "scale"
    rate_factor = 6.0
    definition = r"s x"
    reference = "Holzmüller, Grinsztajn and Steinwart (2024)"

    def n_params(self, column):
        """Return one: the scale."""
        return 1

    @staticmethod
    def draw(random_state, sizes):
        """Return ones."""
        return np.ones(sum(sizes))

    @staticmethod
    @formula
    def forward(x, params, p, n, out, o, s):
        """Write the scaled input."""
        out[natural(o)] = params[natural(p)] * x

    @staticmethod
    @formula
    def gradient(x, params, p, n, deltas, d, grads, s):
        """Add the product of the input and the output's gradient."""
        grads[natural(p)] += x * deltas[natural(d)]

    @staticmethod
    @formula
    def slope(x, params, p, n, deltas, d, s):
        """Return the scaled gradient."""
        return params[natural(p)] * deltas[natural(d)]

    @staticmethod
    def naive(x, params):
        """Multiply by the scales."""
        return (x * np.concatenate(params))[:, :, np.newaxis]

    @staticmethod
    def naive_slope(x, params, deltas):
        """Multiply the gradient by the scales."""
        return deltas[:, :, 0] * np.concatenate(params)

    @staticmethod
    def onnx(g, x, params):
        """Add a product."""
        return g("Mul", x, g.constant(np.concatenate(params)))


INPUT_LAYERS = Registry("input_layers", InputLayer, [InputScale])


def forward(x, params, p, n, out, o, s):
    """Stand in for a formula, which the templates call by this name, as the next two."""
    raise NotImplementedError


gradient = slope = forward


def _transform(units, made, params, groups, n_groups, n_rows, n_outputs, settings):
    s = named(settings, units)
    for row in range(n_rows):
        for group in range(n_groups):
            x = units[natural(row * n_groups + group)]
            o = row * n_outputs + groups[natural(3 * group + OUTPUT)]
            n = groups[natural(3 * group + SIZE)]
            if n > 0:
                forward(x, params, groups[natural(3 * group + START)], n, made, o, s)
            else:
                made[natural(o)] = x


def _transform_gradient(
    units, deltas, params, grads, groups, first, last, n_groups, n_rows, n_outputs, is_first, settings
):
    s = named(settings, units)
    for group in range(first, last):
        p, n = groups[natural(3 * group + START)], groups[natural(3 * group + SIZE)]
        if n > 0:
            if is_first:
                for i in range(p, p + n):
                    grads[natural(i)] = number(0.0, units)
            for row in range(n_rows):
                d = row * n_outputs + groups[natural(3 * group + OUTPUT)]
                gradient(units[natural(row * n_groups + group)], params, p, n, deltas, d, grads, s)


def _transform_backward(units, deltas, params, gradients, groups, n_groups, n_rows, n_outputs, settings):
    s = named(settings, units)
    for row in range(n_rows):
        for group in range(n_groups):
            d = row * n_outputs + groups[natural(3 * group + OUTPUT)]
            p, n = groups[natural(3 * group + START)], groups[natural(3 * group + SIZE)]
            i = natural(row * n_groups + group)
            gradients[i] = slope(units[i], params, p, n, deltas, d, s) if n > 0 else deltas[natural(d)]


class ColumnLoops(NamedTuple):
    """Loops over the rows and the columns of an input layer; see the templates above for their arguments."""

    transform: object
    gradient: object
    backward: object


@cache
def column_loops(kind):
    """Return the loops of a class of input layers.

    Parameters
    ----------
    kind : type
        A class of `INPUT_LAYERS`.

    Returns
    -------
    loops : ColumnLoops
    """
    return ColumnLoops(
        kind.loop(_transform, forward=kind.forward),
        kind.loop(_transform_gradient, gradient=kind.gradient),
        kind.loop(_transform_backward, slope=kind.slope),
    )
