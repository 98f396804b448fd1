"""Products on tensor cores: factors are rounded to TF32, sums are in float32.

TF32 has the exponent range of float32 and 10 fraction bits. One instruction of a warp multiplies a 16 x 8 by an 8 x 8
matrix: each of its 32 threads holds four numbers of the left and two of the right factor, and four of the sums.
NVIDIA's "PTX ISA", section "Matrix fragments for mma.m16n8k8", defines which.
"""

import numpy as np

from skbackprop._compile import ir, native, types
from skbackprop.backends.cuda.device import cuda

__all__ = ["MMA_COLUMNS", "MMA_DEPTH", "MMA_ROWS", "WARP", "multiply_add", "to_tf32"]

#: Extents of one instruction's product, and the number of threads of a warp.
MMA_ROWS, MMA_COLUMNS, MMA_DEPTH, WARP = 16, 8, 8, 32

# Maximum threads per block.
_MOST_THREADS = 1024


def _to_tf32_twin(x):
    bits = int(np.float32(x).view(np.uint32))
    if bits & 0x7F800000 == 0x7F800000:  # infinity and NaN
        return x
    return np.uint32((bits + 0x1000) & 0xFFFFE000).view(np.float32)


@native(_to_tf32_twin)
def to_tf32(typing_context, x):
    """Round a float32 to the nearest TF32 number, ties away from zero; return it as float32."""
    if x != types.float32:
        return None

    def build(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
        rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), args)
        return builder.bitcast(rounded, ir.FloatType())

    return x(x), build


def _multiply_add_twin(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    # Threads of a simulated block exchange their numbers through memory.
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
    """Compute a thread's share of its warp's ``A @ B + C``, with factors in TF32; all threads of the warp must call."""
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
        # Declare side effects, so that the compiler does not move it into code that only some threads of the warp run.
        product = ir.InlineAsm(kind, code, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", side_effect=True)
        factors = [builder.bitcast(number, word) for number in args[:6]]
        made = builder.call(product, [*factors, *args[6:]])
        sums = [builder.extract_value(made, place) for place in range(4)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, 4)(*arguments), build
