"""Products for a layer of one unit, or for a batch of one row, straight from the weights as they lie.

Matrix times vector: to pack the weights would take longer than to use them once, and most of a tile would stay empty.
"""

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils

from skbackprop._compile import formula, native
from skbackprop.backends.cpu.gemm import multiply_row
from skbackprop.backends.cpu.memory import at, fill_zero
from skbackprop.functions.elementary import fma, natural

__all__ = ["backward_unpacked", "forward_unpacked", "gradient_unpacked", "inner_product"]

# Independent sums of an inner product, whatever vectors the processor has.
_LANES = 16


def _dot_twin(a, b, count):
    lanes = np.zeros(_LANES)
    for i in range(0, count, _LANES):
        lanes += np.multiply(a[i : i + _LANES], b[i : i + _LANES], dtype=np.float64)
    return lanes.sum()


@native(_dot_twin)
def _dot(typing_context, a, b, count):
    """Inner product of `count` numbers, a multiple of `_LANES`: so many interleaved parts, added in order."""

    def build(context, builder, signature, args):
        kind = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(kind, _LANES)
        name = f"llvm.fma.v{_LANES}f{signature.args[0].dtype.bitwidth}"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * _LANES))
        integer = args[2].type
        step = ir.Constant(integer, _LANES)
        with cgutils.for_range_slice(builder, ir.Constant(integer, 0), args[2], step, intp=integer) as (index, _):
            factors = []
            for pointer in args[:2]:
                factor = builder.load(builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer()))
                factor.align = signature.args[0].dtype.bitwidth // 8
                factors.append(factor)
            builder.store(builder.call(fused, [*factors, builder.load(sums)]), sums)
        total = ir.Constant(ir.DoubleType(), 0.0)
        lanes = builder.load(sums)
        for lane in range(_LANES):
            value = builder.extract_element(lanes, ir.Constant(ir.IntType(32), lane))
            total = builder.fadd(total, context.cast(builder, value, signature.args[0].dtype, types.float64))
        return total

    return types.float64(a, b, types.intp), build


@formula
def inner_product(a, a_start, b, b_start, count):
    """Sum of ``a[a_start + i] * b[b_start + i]`` for `i` below `count`, as a float64, always in the same order."""
    whole = count // _LANES * _LANES
    total = _dot(at(a, a_start), at(b, b_start), whole)
    for i in range(whole, count):
        total += np.float64(a[natural(a_start + i)]) * np.float64(b[natural(b_start + i)])
    return total


@formula
def forward_unpacked(units, source, first, last, params, weights, intercepts, target, fan_in, fan_out):
    """Weighted inputs of a layer for rows `first` to `last`: ``z = b + a W``.

    Parameters
    ----------
    units : ndarray, flat
        Holds the rows' a from `source` on; their z are written from `target` on.
    source, first, last : int
        Not more than one row, unless `fan_out` is 1.
    params : ndarray, flat
        Holds W, of shape (fan_in, fan_out), from `weights` on and b from `intercepts` on.
    weights, intercepts, target, fan_in, fan_out : int
    """
    if fan_out == 1:
        for row in range(first, last):
            total = inner_product(units, source + row * fan_in, params, weights, fan_in)
            units[natural(target + row)] = units.dtype.type(params[intercepts] + total)
    elif last > first:
        multiply_row(at(units, source), at(params, weights), fan_in, fan_out, at(params, intercepts), at(units, target))


@formula
def backward_unpacked(deltas, source, first, last, params, weights, target, fan_in, fan_out):
    """Gradient with respect to a layer's inputs for rows `first` to `last`: ``W d``.

    Parameters
    ----------
    deltas : ndarray, flat
        Holds the rows' d from `source` on; the gradient is written from `target` on.
    source, first, last : int
        Not more than one row, unless `fan_out` is 1.
    params : ndarray, flat
        Holds W, of shape (fan_in, fan_out), from `weights` on.
    weights, target, fan_in, fan_out : int
    """
    if fan_out == 1:
        for row in range(first, last):
            delta = deltas[natural(source + row)]
            start = target + row * fan_in
            for k in range(fan_in):
                deltas[natural(start + k)] = delta * params[natural(weights + k)]
    elif last > first:
        for k in range(fan_in):
            total = inner_product(params, weights + k * fan_out, deltas, source, fan_out)
            deltas[natural(target + k)] = deltas.dtype.type(total)


@formula
def gradient_unpacked(units, u_start, deltas, d_start, n_rows, fan_in, fan_out, first, last, grads, weights, fresh):
    """Gradient with respect to rows `first` to `last` of a layer's weights.

    Parameters
    ----------
    units, deltas : ndarray, flat
        Hold a and d of `n_rows` rows from `u_start` and from `d_start` on.
    u_start, d_start : int
    n_rows, fan_in, fan_out : int
        One row, unless `fan_out` is 1.
    first, last : int
    grads : ndarray, flat
        Holds the gradient of W, of shape (fan_in, fan_out), from `weights` on.
    weights : int
    fresh : bool
        Whether to overwrite the gradient, or, if `fan_out` is 1, to add to it.
    """
    if fan_out == 1:
        if fresh:
            fill_zero(grads, weights + first, weights + last)
        for row in range(n_rows):
            delta = deltas[natural(d_start + row)]
            start = u_start + row * fan_in
            for k in range(first, last):
                weight = natural(weights + k)
                grads[weight] = fma(delta, units[natural(start + k)], grads[weight])
    else:
        for k in range(first, last):
            x = units[natural(u_start + k)]
            start = weights + k * fan_out
            for j in range(fan_out):
                grads[natural(start + j)] = x * deltas[natural(d_start + j)]
