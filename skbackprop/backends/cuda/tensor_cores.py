"""Products on tensor cores: factors rounded to TF32, which has the exponents of float32 and 10 bits of fraction; sums in float32.

A warp multiplies 16 rows by 8 with 8 by 8 columns in one instruction, to which each of its 32 threads brings four and two numbers
of the factors, and from which it takes four of the sums. Which these are is laid down by NVIDIA's "PTX ISA", section "Matrix
fragments for mma.m16n8k8".
"""

import numpy as np
from llvmlite import ir
from numba import types

from skbackprop._compile import native
from skbackprop.backends.cuda.device import cuda

__all__ = ["MMA_COLUMNS", "MMA_DEPTH", "MMA_ROWS", "WARP", "multiply_add", "to_tf32"]

#: Extents of what one instruction multiplies, and the threads that it takes.
MMA_ROWS, MMA_COLUMNS, MMA_DEPTH, WARP = 16, 8, 8, 32

# Of a block.
_MOST_THREADS = 1024


def _to_tf32_twin(x):
    bits = int(np.float32(x).view(np.uint32))
    if bits & 0x7F800000 == 0x7F800000:  # infinity and NaN
        return x
    return np.uint32((bits + 0x1000) & 0xFFFFE000).view(np.float32)


@native(_to_tf32_twin)
def to_tf32(typing_context, x):
    """The nearest number of TF32 to one of float32, ties away from zero; as float32."""
    if x != types.float32:
        return None

    def build(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
        rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), args)
        return builder.bitcast(rounded, ir.FloatType())

    return x(x), build


def _multiply_add_twin(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    # The threads of a simulated block show each other what they have.
    thread = int(cuda.threadIdx.x)
    shown = cuda.shared.array((_MOST_THREADS, 6), types.float32, alignment=16)
    shown[thread] = a0, a1, a2, a3, b0, b1
    cuda.syncthreads()
    first, row, column = thread // WARP * WARP, thread % WARP // 4, 2 * (thread % 4)
    sums = []
    for i, j, total in ((row, column, c0), (row, column + 1, c1), (row + 8, column, c2), (row + 8, column + 1, c3)):
        for k in range(MMA_DEPTH):
            a = shown[first + i % 8 * 4 + k % 4][i // 8 + 2 * (k // 4)]
            b = shown[first + j * 4 + k % 4][4 + k // 4]
            total += a * b
        sums.append(total)
    cuda.syncthreads()
    return tuple(sums)


@native(_multiply_add_twin)
def multiply_add(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """A thread's share of ``A @ B + C`` of its warp, all of whose threads have to call; factors are numbers of TF32."""
    arguments = (a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)
    if any(argument != types.float32 for argument in arguments):
        return None

    def build(context, builder, signature, args):
        single, word = ir.FloatType(), ir.IntType(32)
        kind = ir.FunctionType(ir.LiteralStructType([single] * 4), [word] * 6 + [single] * 4)
        code = (
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
        )
        # With side effects, so that it stays where all threads of the warp come by.
        product = ir.InlineAsm(kind, code, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", side_effect=True)
        factors = [builder.bitcast(number, word) for number in args[:6]]
        made = builder.call(product, [*factors, *args[6:]])
        sums = [builder.extract_value(made, place) for place in range(4)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, 4)(*arguments), build
