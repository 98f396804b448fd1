"""Helpers for kernels written in LLVM IR: whole and masked vectors."""

from skbackprop._compile import cgutils, ir

__all__ = ["fused", "load", "mask_below", "splat", "store"]


def _int32():
    return ir.IntType(32)


def _bytes():
    return ir.IntType(8).as_pointer()


def _name(vector):
    """Return a vector type's suffix in the names of LLVM's intrinsics."""
    return f"v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"


def _itemsize(vector):
    return 8 if vector.element == ir.DoubleType() else 4


def splat(builder, value, vector):
    """Broadcast a number to a vector."""
    lane = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_int32(), 0))
    first = ir.Constant(ir.VectorType(_int32(), vector.count), [0] * vector.count)
    return builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), first)


def mask_below(builder, count, lanes, first=0):
    """Mask the numbers from `first` to ``first + lanes`` that are less than an integer `count`."""
    indices = ir.VectorType(_int32(), lanes)
    numbers = ir.Constant(indices, [first + lane for lane in range(lanes)])
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(count, _int32()), indices))


def load(builder, address, vector, mask=None):
    """Load a vector from an address of any alignment; masked-out elements are zero and their memory is not read."""
    if mask is None:
        result = builder.load(builder.bitcast(address, vector.as_pointer()))
        result.align = _itemsize(vector)
        return result
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [_bytes(), _int32(), mask.type, vector]),
        f"llvm.masked.load.{_name(vector)}.p0",
    )
    align = ir.Constant(_int32(), _itemsize(vector))
    return builder.call(
        function, [builder.bitcast(address, _bytes()), align, mask, ir.Constant(vector, [0.0] * vector.count)]
    )


def store(builder, value, address, mask=None):
    """Store a vector to an address of any alignment; masked-out elements are not written."""
    vector = value.type
    if mask is None:
        builder.store(value, builder.bitcast(address, vector.as_pointer())).align = _itemsize(vector)
        return
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [vector, _bytes(), _int32(), mask.type]),
        f"llvm.masked.store.{_name(vector)}.p0",
    )
    align = ir.Constant(_int32(), _itemsize(vector))
    builder.call(function, [value, builder.bitcast(address, _bytes()), align, mask])


def fused(builder, a, b, c):
    """Emit a fused multiply-add: ``a * b + c``, rounded once."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.{_name(a.type)}"
    )
    return builder.call(function, [a, b, c])
