"""Products for a layer of one unit or a batch of one row, without packing the weights.

These are matrix-vector products: packing the weights would take longer than using them once, and most of a tile would
stay empty.
"""

import numpy as np

from skbackprop._compile import cgutils, formula, ir, native, types
from skbackprop.backends.cpu.gemm import multiply_row
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.vectors import fused, load, mask_below, splat, store
from skbackprop.functions.elementary import natural

__all__ = ["backward_unpacked", "forward_unpacked", "inner_product", "outer_product", "plain_sum"]

# Independent sums of an inner product, whatever the processor's vector width.
_LANES = 32
_OUTER_LANES = 16


def _lanes_twin(terms):
    lanes = np.zeros(_LANES)
    for i in range(0, terms.size, _LANES):
        part = terms[i : i + _LANES]
        lanes[: part.size] += part
    return lanes.sum()


def _dot_twin(a, b, count):
    return _lanes_twin(np.multiply(a[:count], b[:count], dtype=np.float64))


def _sum_twin(a, count):
    return _lanes_twin(a[:count].astype(np.float64))


def _build_sum(context, builder, signature, args):
    """Emit a sum or an inner product: `_LANES` interleaved sums, which are then added by halves in float64."""
    *pointers, count = args
    kind = context.get_data_type(signature.args[0].dtype)
    vector = ir.VectorType(kind, _LANES)
    sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * _LANES))

    def add(index, mask=None):
        factors = [load(builder, builder.gep(pointer, [index]), vector, mask) for pointer in pointers]
        so_far = builder.load(sums)
        more = fused(builder, *factors, so_far) if len(factors) == 2 else builder.fadd(*factors, so_far)
        builder.store(more, sums)

    lanes = ir.Constant(count.type, _LANES)
    left = builder.srem(count, lanes)
    whole = builder.sub(count, left)
    with cgutils.for_range_slice(builder, ir.Constant(count.type, 0), whole, lanes, intp=count.type) as (index, _):
        add(index)
    with builder.if_then(cgutils.is_not_null(builder, left)):
        add(whole, mask_below(builder, left, _LANES))
    total = builder.load(sums)
    if kind != ir.DoubleType():
        total = builder.fpext(total, ir.VectorType(ir.DoubleType(), _LANES))
    n = _LANES
    while n > 1:
        n //= 2
        halves = [ir.Constant(ir.VectorType(ir.IntType(32), n), [*range(start, start + n)]) for start in (0, n)]
        total = builder.fadd(*(builder.shuffle_vector(total, total, half) for half in halves))
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


@native(_dot_twin)
def _dot(typing_context, a, b, count):
    """Compute the inner product of `count` numbers."""
    return types.float64(a, b, types.intp), _build_sum


@native(_sum_twin)
def plain_sum(typing_context, a, count):
    """Sum `count` numbers that start at a pointer, as float64, always in the same order."""
    return types.float64(a, types.intp), _build_sum


@formula
def inner_product(a, a_start, b, b_start, count):
    """Sum ``a[a_start + i] * b[b_start + i]`` for `i` below `count`, as float64, always in the same order."""
    return _dot(at(a, a_start), at(b, b_start), count)


def _outer_twin(a, n_rows, b, n_columns, c):
    c[: n_rows * n_columns] = np.outer(a[:n_rows], b[:n_columns]).reshape(-1)


@native(_outer_twin)
def outer_product(typing_context, a, n_rows, b, n_columns, c):
    """Compute ``C[i, j] = a[i] * b[j]``; matrices are in C order, given by pointers."""

    def build(context, builder, signature, args):
        a, n_rows, b, n_columns, c = args
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), _OUTER_LANES)
        integer = n_rows.type
        lanes = ir.Constant(integer, _OUTER_LANES)
        left = builder.srem(n_columns, lanes)
        whole = builder.sub(n_columns, left)
        mask = mask_below(builder, left, _OUTER_LANES)
        with cgutils.for_range(builder, n_rows, intp=integer) as row:
            factor = splat(builder, builder.load(builder.gep(a, [row.index])), vector)
            out = builder.gep(c, [builder.mul(row.index, n_columns)])

            def write(index, mask=None):
                product = builder.fmul(factor, load(builder, builder.gep(b, [index]), vector, mask))
                store(builder, product, builder.gep(out, [index]), mask)

            with cgutils.for_range_slice(builder, ir.Constant(integer, 0), whole, lanes, intp=integer) as (index, _):
                write(index)
            with builder.if_then(cgutils.is_not_null(builder, left)):
                write(whole, mask)
        return context.get_dummy_value()

    return types.void(a, types.intp, b, types.intp, c), build


@formula
def forward_unpacked(units, source, first, last, params, weights, intercepts, target, fan_in, fan_out):
    """Compute the weighted inputs of a layer for rows `first` to `last`: ``z = b + a W``.

    Parameters
    ----------
    units : ndarray, flat
        Holds the rows' a from `source` on; their z are written from `target` on.
    source, first, last : int
        At most one row, unless `fan_out` is 1.
    params : ndarray, flat
        Holds W, of shape (fan_in, fan_out), from `weights` on and b from `intercepts` on.
    weights, intercepts, target, fan_in, fan_out : int
    """
    if fan_out == 1:
        for row in range(first, last):
            total = inner_product(units, source + row * fan_in, params, weights, fan_in)
            units[natural(target + row)] = units.dtype.type(params[intercepts] + total)
    elif last > first:
        multiply_row(
            at(units, source), at(params, weights), fan_out, fan_in, fan_out, at(params, intercepts), at(units, target)
        )


@formula
def backward_unpacked(deltas, source, first, last, params, weights, target, fan_in, fan_out):
    """Compute the gradient with respect to a layer's inputs for rows `first` to `last`: ``W d``.

    Parameters
    ----------
    deltas : ndarray, flat
        Holds the rows' d from `source` on; the gradient is written from `target` on.
    source, first, last : int
        At most one row, unless `fan_out` is 1.
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
