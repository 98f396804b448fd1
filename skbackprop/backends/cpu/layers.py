"""What is done to a layer besides products and activations, for the part that belongs to one thread."""

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils

from skbackprop._compile import formula, native
from skbackprop.backends.cpu.gemm import TILE_ROWS
from skbackprop.functions.elementary import natural

__all__ = [
    "add_intercept_gradients",
    "fill_zero",
    "granule",
    "granule_rows",
    "set_intercepts",
    "share",
    "square_granules",
]

_LANES = 16
# Weights that are dealt to a thread, and whose squares are summed, together; a narrow layer has few in a tile's rows.
_GRANULE_SIZE = 512


def granule_rows(fan_out):
    """Rows of a layer's weights that are dealt together: whole tiles."""
    return TILE_ROWS * max(1, _GRANULE_SIZE // (TILE_ROWS * fan_out))


granule = formula(granule_rows)


@formula
def share(n, granule, thread, n_threads):
    """A thread's part of `n` things that are dealt in granules.

    Returns
    -------
    first, last : int
    """
    granules = (n + granule - 1) // granule
    first = min(n, granules * thread // n_threads * granule)
    last = min(n, granules * (thread + 1) // n_threads * granule)
    return first, last


@formula
def set_intercepts(params, source, units, target, n_rows, fan_out):
    """Start weighted inputs from the intercepts, to which the products are added."""
    for row in range(n_rows):
        start = target + row * fan_out
        for j in range(fan_out):
            units[natural(start + j)] = params[natural(source + j)]


@formula
def fill_zero(x, start, stop):
    """``x[start:stop] = 0``."""
    for i in range(start, stop):
        x[natural(i)] = x.dtype.type(0.0)


@formula
def add_intercept_gradients(deltas, source, n_rows, fan_out, first, last, grads, target):
    """Add rows of deltas to the gradient of a range of a layer's intercepts."""
    for row in range(n_rows):
        start = source + row * fan_out
        for j in range(first, last):
            grads[natural(target + j)] += deltas[natural(start + j)]


def _sum_squares_twin(x, start, stop):
    lanes = np.zeros(_LANES)
    for i in range(start, stop, _LANES):
        lanes += np.square(x[i : i + _LANES], dtype=np.float64)
    return lanes.sum()


@native(_sum_squares_twin)
def _sum_squares(typing_context, x, start, stop):
    """Sum of the squares of ``x[start:stop]``, whose length is a multiple of `_LANES`.

    The sums of `_LANES` interleaved parts are added in order, whatever vectors the processor has.
    """

    def build(context, builder, signature, args):
        kind = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(kind, _LANES)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        name = f"llvm.fma.v{_LANES}f{signature.args[0].dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * _LANES))
        step = ir.Constant(args[1].type, _LANES)
        with cgutils.for_range_slice(builder, args[1], args[2], step, intp=args[1].type) as (index, _):
            values = builder.load(builder.bitcast(builder.gep(data, [index]), vector.as_pointer()))
            values.align = signature.args[0].dtype.bitwidth // 8
            builder.store(builder.call(fma, [values, values, builder.load(sums)]), sums)
        total = ir.Constant(ir.DoubleType(), 0.0)
        lanes = builder.load(sums)
        for lane in range(_LANES):
            value = builder.extract_element(lanes, ir.Constant(ir.IntType(32), lane))
            total = builder.fadd(total, context.cast(builder, value, signature.args[0].dtype, types.float64))
        return total

    return types.float64(x, types.intp, types.intp), build


@formula
def square_granules(params, weights, fan_out, first, last, step, squares, s_start):
    """Sums of the squares of a range of a layer's weights, one for each granule of their rows.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        Holds the layer's weights from `weights` on.
    weights, fan_out : int
    first, last : int
        Range of the weights' rows; `first` is a multiple of `step`.
    step : int
        Rows of a granule.
    squares : ndarray, flat, float64
        Written from ``s_start + first // step`` on.
    s_start : int
    """
    for row in range(first, last, step):
        start = weights + row * fan_out
        stop = weights + min(row + step, last) * fan_out
        whole = start + (stop - start) // _LANES * _LANES
        total = _sum_squares(params, start, whole)
        for i in range(whole, stop):
            total += params[natural(i)] * params[natural(i)]
        squares[natural(s_start + row // step)] = total
