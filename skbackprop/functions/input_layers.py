"""Layers in front of the first dense one: each input column is scaled or encoded by parameters of its own.

To add one: a class with its formulas, its place in `__all__` and in `INPUT_LAYERS`. `layers.inputs` gives it its place
in a network.
"""

from functools import cache
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from skbackprop._compile import formula
from skbackprop._sklearn import Interval
from skbackprop.functions._function import Function, named
from skbackprop.functions._registry import Registry
from skbackprop.functions.elementary import SCRATCH, cos_turns, fma, natural, number, scratch, sin_turns

__all__ = [
    "INPUT_LAYERS",
    "CategoryEmbedding",
    "InputLayer",
    "InputScale",
    "PeriodicEmbedding",
    "PiecewiseLinearEmbedding",
    "bound_layers",
    "column_loops",
]

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

    Instead of the second one it may have ``gradient_of_rows(units, u, u_step, n_rows, params, p, n, deltas, d, d_step,
    grads, is_first, part, n_parts, s)``, which sums over the rows itself: that of index `row` is ``units[u + row *
    u_step]`` with deltas from ``d + row * d_step`` on. It writes its part of the gradient: all for one of one; what it
    finds there does not count if `is_first`.

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
    takes_codes : bool
        Whether inputs are codes of categories: estimators then refuse training data that are no whole numbers.
    """

    rate_factor: float = 1.0
    takes_codes: bool = False

    _parameter_constraints: dict[Any, Any] = {"columns": ["array-like", None]}
    _sequences: tuple[Any, ...] = ("columns",)

    def __init__(self, columns: Any = None) -> None:
        self.columns = columns

    @classmethod
    def setting_names(cls) -> Any:
        """Return the names of the numbers among the parameters."""
        return tuple(name for name in cls._get_param_names() if name not in cls._sequences)

    def settings(self) -> Any:
        """Return the settings as numbers, in the alphabetical order of their names."""
        return tuple(float(getattr(self, name)) for name in self.setting_names())

    def outputs_per_column(self) -> Any:
        """Return the number of outputs of each transformed column."""
        return 1

    def n_params(self, column: Any) -> Any:
        """Return the number of parameters of a column."""
        raise NotImplementedError

    def n_units(self, n_inputs: Any) -> Any:
        """Return the number of units for so many inputs."""
        n_columns = n_inputs if self.columns is None else len(self.columns)
        return n_inputs + n_columns * (self.outputs_per_column() - 1)

    def n_inputs(self, n_units: Any) -> Any:
        """Return the number of inputs of a layer with so many units: the inverse of `n_units`."""
        if self.columns is None:
            return n_units // self.outputs_per_column()
        return n_units - len(self.columns) * (self.outputs_per_column() - 1)

    @staticmethod
    def draw(random_state: Any, sizes: Any, *settings: Any) -> np.ndarray:
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

    def bound(self, n_features: int) -> tuple[Any, ...]:
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
        columns = range(n_features) if self.columns is None else list(self.columns)
        are_columns = (
            isinstance(column, Integral) and not isinstance(column, bool) and 0 <= int(column) < n_features
            for column in columns
        )
        if not all(are_columns) or len(set(columns)) != len(columns):
            raise ValueError(
                f"columns={self.columns!r} of {type(self).__name__} must be different indices of its {n_features} inputs, "
                f"from 0 to {n_features - 1}"
            )
        sizes = tuple((int(column), int(self.n_params(column))) for column in sorted(columns))
        return self.kernel_kind(), self.settings(), sizes, int(self.outputs_per_column())


def bound_layers(layers: Any, n_features: int) -> tuple[Any, ...]:
    """Bind layers, one behind the other, to a number of features.

    Parameters
    ----------
    layers : iterable of InputLayer
    n_features : int

    Returns
    -------
    keys : tuple
        `InputLayer.bound` of each.
    """
    keys = []
    for layer in layers:
        keys.append(layer.bound(n_features))
        n_features = layer.n_units(n_features)
    return tuple(keys)


class InputScale(InputLayer):
    """A learned scale of each column, ``s x``: unimportant columns shrink (Holzmüller et al., 2024, section 3.2).

    The scales start at one. With a high learning rate they select columns: with ``parametrization='ntp'`` it is six
    times that of the weights.

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns that are scaled; None for all.
    """

    name = "scale"
    rate_factor: float = 6.0
    definition = r"s x"
    reference = "Holzmüller, Grinsztajn and Steinwart (2024)"

    def n_params(self, column: Any) -> Any:
        """Return one: the scale."""
        return 1

    @staticmethod
    def draw(random_state: Any, sizes: Any) -> Any:
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
    def naive(x: Any, params: Any) -> Any:
        """Multiply by the scales."""
        return (x * np.concatenate(params))[:, :, np.newaxis]

    @staticmethod
    def naive_slope(x: Any, params: Any, deltas: Any) -> Any:
        """Multiply the gradient by the scales."""
        return deltas[:, :, 0] * np.concatenate(params)

    @staticmethod
    def onnx(g: Any, x: Any, params: Any) -> Any:
        """Add a product."""
        return g("Mul", x, g.constant(np.concatenate(params)))


_TURN = 2 * np.pi


@formula
def _sum(numbers, n):
    """Sum `n` numbers of a `scratch`: four sums, then these."""
    zero = number(0.0, numbers)
    a, b, c, d = zero, zero, zero, zero
    whole = n - n % 4
    for j in range(0, whole, 4):
        a, b, c, d = a + numbers[j], b + numbers[j + 1], c + numbers[j + 2], d + numbers[j + 3]
    for j in range(whole, n):
        a += numbers[j]
    return (a + b) + (c + d)


@formula
def _angle(x, params, frequency, phase):
    """Return ``w1 x + b1 / (2 pi)``: the angle in turns."""
    return fma(params[natural(frequency)], x, params[natural(phase)] * number(1 / _TURN, x))


# Loops over frequencies take three outputs at a time, as many as there are by default: few loops with much in each.
@formula
def _three_rows(weights, k, n_sums, n_frequencies):
    """Return where the weights of three outputs begin; a row that is there, instead of those beyond the last."""
    a = weights + k * n_frequencies
    b = a + n_frequencies if k + 1 < n_sums else a
    return a, b, b + n_frequencies if k + 2 < n_sums else b


@formula
def _three_deltas(deltas, d, k, n_sums, zero):
    """Return the gradients of three outputs; zeros instead of those beyond the last."""
    a, b, c = deltas[natural(d + k)], zero, zero
    if k + 1 < n_sums:
        b = deltas[natural(d + k + 1)]
    if k + 2 < n_sums:
        c = deltas[natural(d + k + 2)]
    return a, b, c


class PeriodicEmbedding(InputLayer):
    """A number, and beside it a few sums of cosines of it: ``x`` and ``W2 cos(2 pi w1 x + b1) + b2``.

    Networks learn smooth functions of a number easily, and others, which jump here and there, after long training only;
    these are smooth functions of the cosines (Gorishniy et al., 2022). This is the variant "PBLD" of RealMLP
    (Holzmüller et al., 2024, section 3.2). Columns should be scaled, to variances of about 1.

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns that are embedded; None for all.
    n_frequencies : int, default=16
        Cosines per column.
    n_outputs : int, default=4
        Outputs per column: the number itself, and sums of the cosines.
    scale : float, default=0.1
        Standard deviation of the initial frequencies `w1`. The larger, the finer the differences of numbers that the
        network learns, and the more it learns by heart.
    """

    name = "periodic"
    definition = r"x, W_2 \cos(2 \pi w_1 x + b_1) + b_2"
    reference = "Gorishniy, Rubachev and Babenko (2022); Holzmüller, Grinsztajn and Steinwart (2024)"
    rate_factor: float = 0.1

    _parameter_constraints: dict[Any, Any] = {
        **InputLayer._parameter_constraints,
        "n_frequencies": [Interval(Integral, 1, None, closed="left")],
        "n_outputs": [Interval(Integral, 2, None, closed="left")],
        "scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, columns: Any = None, n_frequencies: int = 16, n_outputs: int = 4, scale: float = 0.1) -> None:
        self.columns = columns
        self.n_frequencies = n_frequencies
        self.n_outputs = n_outputs
        self.scale = scale

    def outputs_per_column(self) -> Any:
        """Return `n_outputs`."""
        return self.n_outputs

    def n_params(self, column: Any) -> Any:
        """Return the number of frequencies, phases, weights and intercepts, which follow one another."""
        n_sums = self.n_outputs - 1
        return self.n_frequencies * (2 + n_sums) + n_sums

    @staticmethod
    def draw(random_state: Any, sizes: Any, n_frequencies: Any, n_outputs: Any, scale: Any) -> Any:
        """Draw normal frequencies and uniform phases; weights and intercepts as PyTorch draws them."""
        n_frequencies, n_sums, bound = int(n_frequencies), int(n_outputs) - 1, 1 / np.sqrt(n_frequencies)
        parts: list[np.ndarray] = []
        for _ in sizes:
            parts += random_state.normal(0.0, scale, n_frequencies), random_state.uniform(-np.pi, np.pi, n_frequencies)
            parts.append(random_state.uniform(-bound, bound, (n_frequencies + 1) * n_sums))
        return np.concatenate(parts)

    @staticmethod
    @formula
    def forward(x, params, p, n, out, o, s):
        """Write the number and the sums."""
        n_frequencies, n_sums = np.int64(s.n_frequencies), np.int64(s.n_outputs) - 1
        weights, sums, one, two, three = p + 2 * n_frequencies, o + 1, scratch(x), scratch(x), scratch(x)
        out[natural(o)] = x
        for k in range(n_sums):
            out[natural(sums + k)] = params[natural(p + n - n_sums + k)]
        for first in range(0, n_frequencies, SCRATCH):
            n_waves, low, phases = min(SCRATCH, n_frequencies - first), p + first, p + n_frequencies + first
            for k in range(0, n_sums, 3):
                a, b, c = _three_rows(weights + first, k, n_sums, n_frequencies)
                for j in range(n_waves):
                    wave = cos_turns(_angle(x, params, low + j, phases + j))
                    one[j] = wave * params[natural(a + j)]
                    two[j] = wave * params[natural(b + j)]
                    three[j] = wave * params[natural(c + j)]
                out[natural(sums + k)] += _sum(one, n_waves)
                if k + 1 < n_sums:
                    out[natural(sums + k + 1)] += _sum(two, n_waves)
                if k + 2 < n_sums:
                    out[natural(sums + k + 2)] += _sum(three, n_waves)

    @staticmethod
    @formula
    def gradient_of_rows(units, u, u_step, n_rows, params, p, n, deltas, d, d_step, grads, is_first, part, n_parts, s):
        """Compute cosines again, and sines; sum over the rows what is added to the gradient of a part of the frequencies."""
        n_frequencies, n_sums = np.int64(s.n_frequencies), np.int64(s.n_outputs) - 1
        weights, zero, turn = p + 2 * n_frequencies, number(0.0, units), number(_TURN, units)
        by_frequency, by_phase, one, two, three = (
            scratch(zero),
            scratch(zero),
            scratch(zero),
            scratch(zero),
            scratch(zero),
        )
        if is_first:
            # Phases follow frequencies, then come the outputs' weights, and intercepts.
            for k in range(n_sums + 2):
                row = p + k * n_frequencies
                for i in range(row + part * n_frequencies // n_parts, row + (part + 1) * n_frequencies // n_parts):
                    grads[natural(i)] = zero
            for k in range(part, n_sums, n_parts):
                grads[natural(p + n - n_sums + k)] = zero
        for k in range(part, n_sums, n_parts):
            total = zero
            for row in range(n_rows):
                total += deltas[natural(d + row * d_step + 1 + k)]
            grads[natural(p + n - n_sums + k)] += total
        last = (part + 1) * n_frequencies // n_parts
        for first in range(part * n_frequencies // n_parts, last, SCRATCH):
            n_waves, low, phases = min(SCRATCH, last - first), p + first, p + n_frequencies + first
            for k in range(0, n_sums, 3):
                a, b, c = _three_rows(weights + first, k, n_sums, n_frequencies)
                for j in range(n_waves):
                    by_frequency[j], by_phase[j], one[j], two[j], three[j] = zero, zero, zero, zero, zero
                for row in range(n_rows):
                    x = units[natural(u + row * u_step)]
                    da, db, dc = _three_deltas(deltas, d + row * d_step + 1, k, n_sums, zero)
                    for j in range(n_waves):
                        angle = _angle(x, params, low + j, phases + j)
                        wave = cos_turns(angle)
                        pull = da * params[natural(a + j)]
                        pull = fma(dc, params[natural(c + j)], fma(db, params[natural(b + j)], pull))
                        pull *= -sin_turns(angle)
                        by_phase[j] += pull
                        by_frequency[j] = fma(x, pull, by_frequency[j])
                        one[j] = fma(da, wave, one[j])
                        two[j] = fma(db, wave, two[j])
                        three[j] = fma(dc, wave, three[j])
                for j in range(n_waves):
                    grads[natural(low + j)] += turn * by_frequency[j]
                    grads[natural(phases + j)] += by_phase[j]
                    grads[natural(a + j)] += one[j]
                    # Beyond the last output these are zeros.
                    grads[natural(b + j)] += two[j]
                    grads[natural(c + j)] += three[j]

    @staticmethod
    @formula
    def slope(x, params, p, n, deltas, d, s):
        """Return the number's gradient, with what follows from sines."""
        n_frequencies, n_sums = np.int64(s.n_frequencies), np.int64(s.n_outputs) - 1
        weights, zero, turn, pulls = p + 2 * n_frequencies, number(0.0, x), number(_TURN, x), scratch(x)
        total = zero
        for first in range(0, n_frequencies, SCRATCH):
            n_waves, low, phases = min(SCRATCH, n_frequencies - first), p + first, p + n_frequencies + first
            for k in range(0, n_sums, 3):
                a, b, c = _three_rows(weights + first, k, n_sums, n_frequencies)
                da, db, dc = _three_deltas(deltas, d + 1, k, n_sums, zero)
                for j in range(n_waves):
                    pull = da * params[natural(a + j)]
                    pull = fma(dc, params[natural(c + j)], fma(db, params[natural(b + j)], pull))
                    pulls[j] = pull * params[natural(low + j)] * sin_turns(_angle(x, params, low + j, phases + j))
                total += _sum(pulls, n_waves)
        return deltas[natural(d)] - turn * total

    @staticmethod
    def _parts(params, n_frequencies, n_outputs):
        """Return frequencies, phases, weights and intercepts of all columns."""
        n_frequencies, n_sums = int(n_frequencies), int(n_outputs) - 1
        parts = np.split(np.stack(params), n_frequencies * np.array([1, 2, 2 + n_sums]), axis=1)
        parts[2] = parts[2].reshape(-1, n_sums, n_frequencies)
        return parts

    @staticmethod
    def naive(x: Any, params: Any, n_frequencies: Any, n_outputs: Any, scale: Any) -> Any:
        """Compute the number and the sums."""
        frequencies, phases, weights, intercepts = PeriodicEmbedding._parts(params, n_frequencies, n_outputs)
        waves = np.cos(_TURN * frequencies * x[:, :, np.newaxis] + phases)
        sums = np.einsum("nch,ckh->nck", waves, weights) + intercepts
        return np.concatenate([x[:, :, np.newaxis], sums], axis=2)

    @staticmethod
    def naive_slope(x: Any, params: Any, deltas: Any, n_frequencies: Any, n_outputs: Any, scale: Any) -> Any:
        """Backpropagate through the cosines."""
        frequencies, phases, weights, _ = PeriodicEmbedding._parts(params, n_frequencies, n_outputs)
        sines = np.sin(_TURN * frequencies * x[:, :, np.newaxis] + phases)
        pulls = np.einsum("nck,ckh->nch", deltas[:, :, 1:], weights)
        return deltas[:, :, 0] - (_TURN * frequencies * sines * pulls).sum(axis=2)

    @staticmethod
    def onnx(g: Any, x: Any, params: Any, n_frequencies: Any, n_outputs: Any, scale: Any) -> Any:
        """Add cosines, and a product of matrices for each column."""
        frequencies, phases, weights, intercepts = PeriodicEmbedding._parts(params, n_frequencies, n_outputs)
        number_ = g("Unsqueeze", x, g.constant(np.array([2])))
        angles = g("Add", g("Mul", number_, g.constant(_TURN * frequencies)), g.constant(phases.copy()))
        waves = g("Transpose", g("Cos", angles), perm=[1, 0, 2])
        sums = g("MatMul", waves, g.constant(np.ascontiguousarray(weights.transpose(0, 2, 1))))
        sums = g("Add", g("Transpose", sums, perm=[1, 0, 2]), g.constant(intercepts.copy()))
        outputs = g("Concat", number_, sums, axis=2)
        return g("Reshape", outputs, g.constant(np.array([-1, len(params) * int(n_outputs)])))


@formula
def _clipped(x):
    return min(max(x, number(0.0, x)), number(1.0, x))


@formula
def _line(t):
    return t + t - number(1.0, t)


@formula
def _leaf(t, n_segments):
    """Return the leaf of a binary tree of intervals where `t` lies: ``leaf >> k`` is its ancestor k levels up, the root 1."""
    # The lower bound is for NaN, which predictions may notice only when they have read it.
    return n_segments + min(max(np.int64(t * number(n_segments, t)), np.int64(0)), n_segments - 1)


@formula
def _hat(t):
    """Return the hat function over an interval, at the fraction `t` of its length: 1 in the middle, 0 at the ends."""
    return number(1.0, t) - abs(_line(t))


@formula
def _in_half(t):
    """Return the fraction of the half of an interval where the fraction `t` of its length lies; exact."""
    doubled = t + t
    return doubled - number(1.0, t) if doubled >= number(1.0, t) else doubled


# One, two and eight outputs at a time, in registers: a loop over a number of outputs that the compiler does not know takes
# twice as long.


@formula
def _write_one(x, params, p, out, o, n_levels, n_outputs, level_scale):
    """Write the sum of the line and of the hat functions of all levels, for one output."""
    t, height = _clipped(x), number(1.0, x)
    leaf, total = _leaf(t, np.int64(1) << n_levels), _line(t) * params[natural(p)]
    for level in range(n_levels):
        row = p + (leaf >> (n_levels - level)) * n_outputs
        total = fma(_hat(t) * height, params[natural(row)], total)
        t, height = _in_half(t), height * level_scale
    out[natural(o)] = total


@formula
def _write_two(x, params, p, out, o, n_levels, n_outputs, level_scale):
    """Write the sums of the line and of the hat functions of all levels, for two outputs."""
    t, height = _clipped(x), number(1.0, x)
    leaf, line = _leaf(t, np.int64(1) << n_levels), _line(t)
    a, b = line * params[natural(p)], line * params[natural(p + 1)]
    for level in range(n_levels):
        hat, row = _hat(t) * height, p + (leaf >> (n_levels - level)) * n_outputs
        a, b = fma(hat, params[natural(row)], a), fma(hat, params[natural(row + 1)], b)
        t, height = _in_half(t), height * level_scale
    out[natural(o)], out[natural(o + 1)] = a, b


@formula
def _write_eight(x, params, p, out, o, n_levels, n_outputs, level_scale):
    """Write the sums of the line and of the hat functions of all levels, for eight outputs."""
    t, height = _clipped(x), number(1.0, x)
    leaf, line = _leaf(t, np.int64(1) << n_levels), _line(t)
    a, b = line * params[natural(p)], line * params[natural(p + 1)]
    c, d = line * params[natural(p + 2)], line * params[natural(p + 3)]
    e, f = line * params[natural(p + 4)], line * params[natural(p + 5)]
    g, h = line * params[natural(p + 6)], line * params[natural(p + 7)]
    for level in range(n_levels):
        hat, row = _hat(t) * height, p + (leaf >> (n_levels - level)) * n_outputs
        a, b = fma(hat, params[natural(row)], a), fma(hat, params[natural(row + 1)], b)
        c, d = fma(hat, params[natural(row + 2)], c), fma(hat, params[natural(row + 3)], d)
        e, f = fma(hat, params[natural(row + 4)], e), fma(hat, params[natural(row + 5)], f)
        g, h = fma(hat, params[natural(row + 6)], g), fma(hat, params[natural(row + 7)], h)
        t, height = _in_half(t), height * level_scale
    out[natural(o)], out[natural(o + 1)], out[natural(o + 2)], out[natural(o + 3)] = a, b, c, d
    out[natural(o + 4)], out[natural(o + 5)], out[natural(o + 6)], out[natural(o + 7)] = e, f, g, h


@formula
def _add(hat, delta, grads, i):
    grads[natural(i)] = fma(hat, delta, grads[natural(i)])


@formula
def _add_one(x, deltas, d, grads, p, n_levels, n_outputs, level_scale):
    """Add to the gradient what the line and the hat functions of all levels get from a row, for one output."""
    t, height, delta = _clipped(x), number(1.0, x), deltas[natural(d)]
    leaf = _leaf(t, np.int64(1) << n_levels)
    _add(_line(t), delta, grads, p)
    for level in range(n_levels):
        _add(_hat(t) * height, delta, grads, p + (leaf >> (n_levels - level)) * n_outputs)
        t, height = _in_half(t), height * level_scale


@formula
def _add_two(x, deltas, d, grads, p, n_levels, n_outputs, level_scale):
    """Add to the gradient what the line and the hat functions of all levels get from a row, for two outputs."""
    t, height = _clipped(x), number(1.0, x)
    leaf, first, second = _leaf(t, np.int64(1) << n_levels), deltas[natural(d)], deltas[natural(d + 1)]
    _add(_line(t), first, grads, p)
    _add(_line(t), second, grads, p + 1)
    for level in range(n_levels):
        hat, row = _hat(t) * height, p + (leaf >> (n_levels - level)) * n_outputs
        _add(hat, first, grads, row)
        _add(hat, second, grads, row + 1)
        t, height = _in_half(t), height * level_scale


@formula
def _add_eight(x, deltas, d, grads, p, n_levels, n_outputs, level_scale):
    """Add to the gradient what the line and the hat functions of all levels get from a row, for eight outputs."""
    t, height = _clipped(x), number(1.0, x)
    a, b, c, e = deltas[natural(d)], deltas[natural(d + 1)], deltas[natural(d + 2)], deltas[natural(d + 3)]
    f, g, h, i = deltas[natural(d + 4)], deltas[natural(d + 5)], deltas[natural(d + 6)], deltas[natural(d + 7)]
    leaf, hat, row = _leaf(t, np.int64(1) << n_levels), _line(t), p
    for level in range(n_levels + 1):
        _add(hat, a, grads, row)
        _add(hat, b, grads, row + 1)
        _add(hat, c, grads, row + 2)
        _add(hat, e, grads, row + 3)
        _add(hat, f, grads, row + 4)
        _add(hat, g, grads, row + 5)
        _add(hat, h, grads, row + 6)
        _add(hat, i, grads, row + 7)
        hat, row = _hat(t) * height, p + (leaf >> (n_levels - level)) * n_outputs
        t, height = _in_half(t), height * level_scale


class PiecewiseLinearEmbedding(InputLayer):
    """Piecewise linear functions of a number between 0 and 1, with knots at equal distances.

    So a network learns functions that change abruptly at one number, as trees do (Gorishniy et al., 2022, section 3.2).
    A function is a sum of a straight line and of hat functions, one over all inputs, two over a half each, and so on
    (Faber's basis): so few of its parameters matter for each input, and few inputs suffice to learn its large features.
    Inputs below 0 and above 1 count as these.

    Knots at quantiles, as in the paper, come from scikit-learn's :class:`~sklearn.preprocessing.QuantileTransformer` in
    front: ``QuantileTransformer(n_quantiles=2**n_levels + 1)`` maps the quantiles to equal distances, linearly between.

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns that are embedded; None for all.
    n_levels : int, default=5
        Levels of hat functions: the functions have ``2 ** n_levels`` segments.
    n_outputs : int, default=8
        Functions per column.
    level_scale : float, default=0.7
        Height of the hat functions of a level, relative to those of the level before. The smaller, the slower is learned
        what distinguishes numbers close to each other.
    """

    name = "piecewise_linear"
    definition = (
        r"w_0 (2 x - 1) + \sum_l \gamma^l w_{l, c} \max(1 - |2^{l + 1} x - 2 c - 1|, 0),"
        r"\quad c = \lfloor 2^l x \rfloor"
    )
    reference = "Gorishniy, Rubachev and Babenko (2022)"

    _parameter_constraints: dict = {
        **InputLayer._parameter_constraints,
        "n_levels": [Interval(Integral, 1, 16, closed="both")],
        "n_outputs": [Interval(Integral, 1, None, closed="left")],
        "level_scale": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(self, columns=None, n_levels=5, n_outputs=8, level_scale=0.7):
        self.columns = columns
        self.n_levels = n_levels
        self.n_outputs = n_outputs
        self.level_scale = level_scale

    def outputs_per_column(self):
        """Return `n_outputs`."""
        return self.n_outputs

    def n_params(self, column):
        """Return the number of weights: for each output, those of the line and of all hat functions."""
        return 2**self.n_levels * self.n_outputs

    @staticmethod
    def draw(random_state, sizes, level_scale, n_levels, n_outputs):
        """Draw normal weights, so that the variance of each level is half that of the one before: Brownian bridges."""
        index = np.arange(2 ** int(n_levels))
        level = np.floor(np.log2(np.maximum(index, 1)))
        scales = np.repeat((np.sqrt(0.5) / level_scale) ** level, int(n_outputs))
        return np.concatenate([scales * random_state.normal(size=size) for size in sizes])

    @staticmethod
    @formula
    def forward(x, params, p, n, out, o, s):
        """Write the sums of the line and of the hat functions of all levels."""
        n_levels, n_outputs, scale = np.int64(s.n_levels), np.int64(s.n_outputs), number(s.level_scale, x)
        k = np.int64(0)
        while n_outputs - k >= 8:
            _write_eight(x, params, p + k, out, o + k, n_levels, n_outputs, scale)
            k += 8
        while n_outputs - k >= 2:
            _write_two(x, params, p + k, out, o + k, n_levels, n_outputs, scale)
            k += 2
        if k < n_outputs:
            _write_one(x, params, p + k, out, o + k, n_levels, n_outputs, scale)

    @staticmethod
    @formula
    def gradient_of_rows(units, u, u_step, n_rows, params, p, n, deltas, d, d_step, grads, is_first, part, n_parts, s):
        """Sum over the rows what the line and the hat functions get, for a part of the outputs."""
        n_levels, n_outputs = np.int64(s.n_levels), np.int64(s.n_outputs)
        n_segments, scale = np.int64(1) << n_levels, number(s.level_scale, units)
        start, stop = part * n_outputs // n_parts, (part + 1) * n_outputs // n_parts
        if is_first:
            for index in range(n_segments):
                for k in range(start, stop):
                    grads[natural(p + index * n_outputs + k)] = number(0.0, units)
        while stop - start >= 8:
            for row in range(n_rows):
                x, own = units[natural(u + row * u_step)], d + row * d_step + start
                _add_eight(x, deltas, own, grads, p + start, n_levels, n_outputs, scale)
            start += 8
        while stop - start >= 2:
            for row in range(n_rows):
                x, own = units[natural(u + row * u_step)], d + row * d_step + start
                _add_two(x, deltas, own, grads, p + start, n_levels, n_outputs, scale)
            start += 2
        if start < stop:
            for row in range(n_rows):
                x, own = units[natural(u + row * u_step)], d + row * d_step + start
                _add_one(x, deltas, own, grads, p + start, n_levels, n_outputs, scale)

    @staticmethod
    @formula
    def slope(x, params, p, n, deltas, d, s):
        """Return the slope of the segment where the input lies; 0 outside."""
        n_levels, n_outputs, zero = np.int64(s.n_levels), np.int64(s.n_outputs), number(0.0, x)
        n_segments, total, t = np.int64(1) << n_levels, zero, _clipped(x)
        if t <= zero or t >= number(1.0, x):
            return zero
        leaf = _leaf(t, n_segments)
        for k in range(n_outputs):
            total = fma(number(2.0, x) * params[natural(p + k)], deltas[natural(d + k)], total)
        height = number(1.0, x)
        for level in range(n_levels):
            index = leaf >> (n_levels - level)
            steep = number(np.int64(2) << level, x) * height
            height *= number(s.level_scale, x)
            # Beyond the middle of its support, a hat function falls.
            if (leaf >> (n_levels - level - 1)) % 2 == 1:
                steep = -steep
            for k in range(n_outputs):
                weight = params[natural(p + index * n_outputs + k)]
                total = fma(steep * weight, deltas[natural(d + k)], total)
        return total

    @staticmethod
    def _basis(x, level_scale, n_levels, functions):
        """Return the line and the hat functions, or their slopes, of shape (n_rows, n_columns, 2 ** n_levels)."""
        line, hat = functions
        x = x[:, :, np.newaxis]
        parts = [line(x)]
        for level in range(n_levels):
            from_middle = x * 2.0 ** (level + 1) - 2 * np.arange(2**level) - 1
            parts.append(level_scale**level * hat(2.0 ** (level + 1), from_middle))
        return np.concatenate(parts, axis=2)

    @staticmethod
    def naive(x, params, level_scale, n_levels, n_outputs):
        """Compute the weighted sums."""
        weights = np.stack(params).reshape(-1, 2 ** int(n_levels), int(n_outputs))
        functions = lambda x: 2 * x - 1, lambda _, from_middle: np.maximum(1 - np.abs(from_middle), 0)
        basis = PiecewiseLinearEmbedding._basis(np.clip(x, 0, 1), level_scale, int(n_levels), functions)
        return np.einsum("nct,ctk->nck", basis, weights)

    @staticmethod
    def naive_slope(x, params, deltas, level_scale, n_levels, n_outputs):
        """Backpropagate through the hat functions where the inputs lie."""
        weights = np.stack(params).reshape(-1, 2 ** int(n_levels), int(n_outputs))
        functions = (
            lambda x: np.full_like(x, 2.0),
            lambda steep, from_middle: -steep * np.sign(from_middle) * (np.abs(from_middle) < 1),
        )
        slopes = PiecewiseLinearEmbedding._basis(x, level_scale, int(n_levels), functions)
        slopes *= ((x > 0) & (x < 1))[:, :, np.newaxis]
        return np.einsum("nct,ctk,nck->nc", slopes, weights, deltas)

    @staticmethod
    def onnx(g, x, params, level_scale, n_levels, n_outputs):
        """Add the hat functions of all levels, and a product of matrices for each column."""
        n_levels, n_outputs = int(n_levels), int(n_outputs)
        level = np.floor(np.log2(np.arange(1, 2**n_levels)))
        middle = 2 * (np.arange(1, 2**n_levels) - 2.0**level) + 1
        x = g.clip(g("Unsqueeze", x, g.constant(np.array([2]))), 0.0, 1.0)
        from_middle = g(
            "Sub", g("Mul", x, g.constant((2.0 ** (level + 1)).astype(g.dtype))), g.constant(middle.astype(g.dtype))
        )
        hats = g("Relu", g("Sub", 1.0, g("Abs", from_middle)))
        basis = g("Concat", g("Sub", g("Mul", x, 2.0), 1.0), hats, axis=2)
        heights = level_scale ** np.concatenate([[0], level])
        weights = np.stack(params).reshape(-1, 2**n_levels, n_outputs) * heights[:, np.newaxis].astype(g.dtype)
        sums = g("MatMul", g("Transpose", basis, perm=[1, 0, 2]), g.constant(np.ascontiguousarray(weights)))
        outputs = g("Transpose", sums, perm=[1, 0, 2])
        return g("Reshape", outputs, g.constant(np.array([-1, len(params) * n_outputs])))


@formula
def _category(x, n_categories):
    """Return the category whose code is `x`, or -1 for none."""
    if not (x >= number(0.0, x) and x < number(n_categories, x)):  # also for NaN
        return np.int64(-1)
    category = np.int64(x)
    return category if number(category, x) == x else np.int64(-1)


class CategoryEmbedding(InputLayer):
    """A learned vector for each category of a column, whose inputs are the categories' codes: 0, 1, 2 and so on.

    Other numbers, such as -1 for missing or unknown categories, have a vector of zeros, which is not trained.
    :class:`~sklearn.preprocessing.OrdinalEncoder`, with ``handle_unknown="use_encoded_value"``, ``unknown_value=-1`` and
    ``encoded_missing_value=-1``, makes such codes.

    Parameters
    ----------
    columns : sequence of int or None, default=None
        Indices of the columns of codes; None for all.
    n_categories : sequence of int
        The number of categories of each of the columns, in their order in `columns`. There is no default.
    n_outputs : int, default=8
        Length of the vectors, whose initial numbers are standard normal.
    """

    name = "embedding"
    definition = r"e_x"
    reference = "Guo and Berkhahn (2016)"

    takes_codes = True

    _parameter_constraints: dict[Any, Any] = {
        **InputLayer._parameter_constraints,
        "n_categories": ["array-like", None],
        "n_outputs": [Interval(Integral, 1, None, closed="left")],
    }
    _sequences = ("columns", "n_categories")

    def __init__(self, columns: Any = None, n_categories: Any = None, n_outputs: int = 8) -> None:
        self.columns = columns
        self.n_categories = n_categories
        self.n_outputs = n_outputs

    def outputs_per_column(self) -> Any:
        """Return `n_outputs`."""
        return self.n_outputs

    def n_params(self, column: Any) -> Any:
        """Return the size of the column's vectors, one after another."""
        index = column if self.columns is None else list(self.columns).index(column)
        return self.n_categories[index] * self.n_outputs

    def bound(self, n_features: Any) -> Any:
        """Return what tells layers for so many inputs apart, as the base class does; check `n_categories`, too."""
        n_columns = n_features if self.columns is None else len(self.columns)
        counts = () if self.n_categories is None else self.n_categories
        if len(counts) != n_columns or not all(isinstance(count, Integral) and int(count) > 0 for count in counts):
            raise ValueError(
                f"n_categories={self.n_categories!r} of CategoryEmbedding must be whole numbers from 1, the number of categories "
                f"of each of its {n_columns} columns: CategoryEmbedding(columns=[0, 3], n_categories=[5, 12]), for example"
            )
        return super().bound(n_features)

    @staticmethod
    def draw(random_state: Any, sizes: Any, n_outputs: Any) -> Any:
        """Draw standard normal numbers."""
        return random_state.normal(size=sum(sizes))

    @staticmethod
    @formula
    def forward(x, params, p, n, out, o, s):
        """Write the category's vector."""
        n_outputs = np.int64(s.n_outputs)
        category, zero = _category(x, n // n_outputs), number(0.0, x)
        for k in range(n_outputs):
            out[natural(o + k)] = params[natural(p + category * n_outputs + k)] if category >= 0 else zero

    @staticmethod
    @formula
    def gradient(x, params, p, n, deltas, d, grads, s):
        """Add the outputs' gradients to that of the category's vector."""
        n_outputs = np.int64(s.n_outputs)
        category = _category(x, n // n_outputs)
        if category >= 0:
            for k in range(n_outputs):
                grads[natural(p + category * n_outputs + k)] += deltas[natural(d + k)]

    @staticmethod
    @formula
    def slope(x, params, p, n, deltas, d, s):
        """Return zero: codes are not numbers to change a little."""
        return number(0.0, x)

    @staticmethod
    def naive(x: Any, params: Any, n_outputs: Any) -> Any:
        """Look the vectors up."""
        outputs = np.zeros((*x.shape, int(n_outputs)), dtype=params[0].dtype)
        for column, codes in enumerate(x.T):
            vectors = params[column].reshape(-1, int(n_outputs))
            known = np.isin(codes, np.arange(len(vectors)))
            outputs[known, column] = vectors[codes[known].astype(np.int64)]
        return outputs

    @staticmethod
    def naive_slope(x: Any, params: Any, deltas: Any, n_outputs: Any) -> Any:
        """Return zeros."""
        return np.zeros_like(x)

    @staticmethod
    def onnx(g: Any, x: Any, params: Any, n_outputs: Any) -> Any:
        """Look vectors up in a table of all columns', with zeros at its end."""
        vectors = np.concatenate([*params, np.zeros(int(n_outputs), dtype=g.dtype)]).reshape(-1, int(n_outputs))
        counts = np.array([part.size // int(n_outputs) for part in params])
        whole = g("Equal", x, g("Floor", x))
        known = g("And", whole, g("And", g("GreaterOrEqual", x, 0.0), g("Less", x, g.constant(counts.astype(g.dtype)))))
        # Cast to int64, as places in the table.
        codes = g("Cast", g("Where", known, x, 0.0), to=7)
        places = g("Add", codes, g.constant(np.cumsum(counts) - counts))
        places = g("Where", known, places, g.constant(np.array([len(vectors) - 1])))
        found = g("Gather", g.constant(vectors), places, axis=0)
        return g("Reshape", found, g.constant(np.array([-1, len(params) * int(n_outputs)])))


INPUT_LAYERS = Registry(
    "input_layers", InputLayer, [InputScale, PeriodicEmbedding, PiecewiseLinearEmbedding, CategoryEmbedding]
)


def forward(x: Any, params: Any, p: Any, n: Any, out: Any, o: Any, s: Any) -> Any:
    """Stand in for a formula, which the templates call by this name, as the next ones."""
    raise NotImplementedError


gradient = gradient_of_rows = slope = forward


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
    units, deltas, params, grads, groups, first, last, n_groups, n_rows, n_outputs, is_first, part, n_parts, settings
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


def _transform_gradient_of_rows(
    units, deltas, params, grads, groups, first, last, n_groups, n_rows, n_outputs, is_first, part, n_parts, settings
):
    s = named(settings, units)
    for group in range(first, last):
        p, n = groups[natural(3 * group + START)], groups[natural(3 * group + SIZE)]
        if n > 0:
            gradient_of_rows(
                units, group, n_groups, n_rows, params, p, n, deltas, groups[natural(3 * group + OUTPUT)], n_outputs,
                grads, is_first, part, n_parts, s,
            )  # fmt: skip


def _transform_backward(units, deltas, params, gradients, groups, n_groups, n_rows, n_outputs, settings):
    s = named(settings, units)
    for row in range(n_rows):
        for group in range(n_groups):
            d = row * n_outputs + groups[natural(3 * group + OUTPUT)]
            p, n = groups[natural(3 * group + START)], groups[natural(3 * group + SIZE)]
            i = natural(row * n_groups + group)
            gradients[i] = slope(units[i], params, p, n, deltas, d, s) if n > 0 else deltas[natural(d)]


class ColumnLoops(NamedTuple):
    """Loops over the rows and the columns of an input layer; see the templates above for their arguments.

    Parameters
    ----------
    transform, gradient, backward : Loop
    n_parts : int
        Parts in which `gradient` can be computed at the same time.
    """

    transform: object
    gradient: object
    backward: object
    n_parts: int


@cache
def column_loops(kind: Any) -> Any:
    """Return the loops of a class of input layers.

    Parameters
    ----------
    kind : type
        A class of `INPUT_LAYERS`.

    Returns
    -------
    loops : ColumnLoops
    """
    by_parts = hasattr(kind, "gradient_of_rows")
    if by_parts:
        gradient = kind.loop(_transform_gradient_of_rows, gradient_of_rows=kind.gradient_of_rows)
    else:
        gradient = kind.loop(_transform_gradient, gradient=kind.gradient)
    forward, backward = kind.loop(_transform, forward=kind.forward), kind.loop(_transform_backward, slope=kind.slope)
    return ColumnLoops(forward, gradient, backward, SCRATCH if by_parts else 1)
