"""Pointer arithmetic, copies of contiguous numbers, and prefetching."""

from skbackprop._compile import cgutils, formula, ir, native, types
from skbackprop.backends.cpu.vectors import load, store
from skbackprop.functions.elementary import natural

__all__ = ["at", "copy", "copy_row", "fill_zero", "prefetch"]

_CACHE_LINE = 64
_VECTOR_BYTES = 32


def _at_twin(base, offset):
    return base[offset:]


@native(_at_twin)
def at(typing_context, base, offset):
    """Return a pointer to element `offset` of a flat array or of a pointer's target.

    Passing pointers avoids reference counting, whose atomic operations on memory shared by threads are slow.
    """
    if isinstance(base, types.CPointer):
        pointer = base
    elif isinstance(base, types.Array) and base.ndim == 1:
        pointer = types.CPointer(base.dtype)
    else:
        return None

    def build(context, builder, signature, args):
        data = args[0]
        if isinstance(signature.args[0], types.Array):
            data = context.make_array(signature.args[0])(context, builder, data).data
        return builder.gep(data, [args[1]])

    return pointer(base, types.intp), build


def _copy_twin(source, target, count):
    target[:count] = source[:count]


@native(_copy_twin)
def copy(typing_context, source, target, count):
    """Copy `count` numbers from one pointer to another; the ranges must not overlap."""

    def build(context, builder, signature, args):
        source, target, count = args
        cgutils.raw_memcpy(builder, target, source, count, signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(source, target, types.intp), build


@native(_copy_twin)
def copy_row(typing_context, source, target, count):
    """Like `copy`, for a few cache lines: an inlined vector loop is faster there than calling memcpy."""

    def build(context, builder, signature, args):
        source, target, count = args
        vector = ir.VectorType(
            context.get_data_type(signature.args[0].dtype), 8 * _VECTOR_BYTES // signature.args[0].dtype.bitwidth
        )
        zero, lanes = ir.Constant(count.type, 0), ir.Constant(count.type, vector.count)

        def move(index):
            store(builder, load(builder, builder.gep(source, [index]), vector), builder.gep(target, [index]))

        with builder.if_else(builder.icmp_signed("<", count, lanes)) as (is_short, is_long):
            with is_short, cgutils.for_range(builder, count, intp=count.type) as loop:
                builder.store(builder.load(builder.gep(source, [loop.index])), builder.gep(target, [loop.index]))
            with is_long:
                # The last vector ends with the row and overlaps the one before.
                last = builder.sub(count, lanes)
                with cgutils.for_range_slice(builder, zero, last, lanes, intp=count.type) as (index, _):
                    move(index)
                move(last)
        return context.get_dummy_value()

    return types.void(source, target, types.intp), build


def _prefetch_twin(source, count):
    pass


@native(_prefetch_twin)
def prefetch(typing_context, source, count):
    """Prefetch the cache lines of `count` numbers that start at a pointer."""

    def build(context, builder, signature, args):
        pointer = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        fetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag]), "llvm.prefetch.p0"
        )
        step = ir.Constant(args[1].type, _CACHE_LINE // (signature.args[0].dtype.bitwidth // 8))
        with cgutils.for_range_slice(builder, ir.Constant(args[1].type, 0), args[1], step, intp=args[1].type) as (
            index,
            _,
        ):
            address = builder.bitcast(builder.gep(args[0], [index]), pointer)
            # Arguments: read, highest locality, data cache.
            builder.call(fetch, [address, ir.Constant(flag, 0), ir.Constant(flag, 3), ir.Constant(flag, 1)])
        return context.get_dummy_value()

    return types.void(source, types.intp), build


@formula
def fill_zero(x, start, stop):
    """``x[start:stop] = 0``."""
    for i in range(start, stop):
        x[natural(i)] = x.dtype.type(0.0)
