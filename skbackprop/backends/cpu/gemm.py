"""Matrix products, summed over the inner index in order with fused multiply-adds.

Every element of a product is ``fma(a_k, b_k, ... fma(a_1, b_1, fma(a_0, b_0, c)))``, computed by one
thread. So its bits depend neither on the number of threads, nor on the processor's vector width, nor on
how the work is cut into tiles, blocks of the inner index, or blocks of rows.

The right factor is packed into panels of `panel_width` columns, zero-padded, so that the micro-kernel reads
whole vectors from consecutive addresses (Goto and van de Geijn 2008, Anatomy of high-performance matrix
multiplication). A tile of `TILE_ROWS` rows and one panel of accumulators stays in registers.
"""

import llvmlite.ir as ir
from llvmlite import binding
from numba import types
from numba.core import cgutils

from skbackprop._compile import formula, native
from skbackprop.functions.elementary import natural

__all__ = ["SCRATCH_SIZE", "TILE_ROWS", "multiply", "pack", "pack_transposed", "packed_size", "panel_width"]


def _vector_bytes():
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    if features.get("avx2"):
        return 32
    return 16


_VECTOR_BYTES = _vector_bytes()
_VECTORS_PER_PANEL = 2

#: Rows of a full tile: 6 x 2 vectors of accumulators, 2 of the right factor and one broadcast fit in 16 registers.
TILE_ROWS = 6

# Extents of the block of the right factor that is reused from the second-level cache.
_BLOCK_INNER = 256
_BLOCK_BYTES = 1 << 17

#: Numbers of each thread's scratch memory: a packed tile of the left factor.
SCRATCH_SIZE = TILE_ROWS * _BLOCK_INNER


def panel_width(itemsize):
    """Columns of a panel for numbers of `itemsize` bytes."""
    return _VECTORS_PER_PANEL * _VECTOR_BYTES // itemsize


_width = formula(panel_width)


def packed_size(n_inner, n_columns, itemsize):
    """Numbers in a packed right factor."""
    width = panel_width(itemsize)
    return -(-n_columns // width) * width * n_inner


def _tile_twin(n_rows, masked):
    def tile(a, a_start, a_row, a_inner, b, b_start, n_inner, c, c_start, c_row, n_columns):
        width = panel_width(b.itemsize)
        columns = min(n_columns, width)
        for row in range(n_rows):
            out = c[c_start + row * c_row :][:columns]
            for k in range(n_inner):
                factor = a[a_start + row * a_row + k * a_inner]
                out += factor * b[b_start + k * width :][:columns]

    return tile


def _make_tile(n_rows, masked):
    """A micro-kernel: ``C[row, :] += A[row, k] * B[k, :]`` for `n_rows` rows and one panel.

    All arrays are flat; A is addressed by a start and two strides, B is one packed panel, C has unit column stride. With
    `masked`, only the first `n_columns` of the panel's columns are read from and written to C.
    """

    @native(_tile_twin(n_rows, masked))
    def tile(typing_context, a, a_start, a_row, a_inner, b, b_start, n_inner, c, c_start, c_row, n_columns):
        def build(context, builder, signature, args):
            array_types = signature.args
            kind = context.get_data_type(array_types[0].dtype)
            itemsize = array_types[0].dtype.bitwidth // 8
            lanes = _VECTOR_BYTES // itemsize
            vector = ir.VectorType(kind, lanes)
            integer = args[1].type

            def data(index):
                array = context.make_array(array_types[index])(context, builder, args[index])
                return array.data

            a_data, b_data, c_data = data(0), data(4), data(7)
            a0, a_row_, a_inner_, b0, inner, c0, c_row_, columns = (args[i] for i in (1, 2, 3, 5, 6, 8, 9, 10))

            def constant(value):
                return ir.Constant(integer, value)

            def at(base, offset):
                return builder.gep(base, [offset])

            masks = []
            if masked:
                bool_vector = ir.VectorType(ir.IntType(1), lanes)
                index_vector = ir.VectorType(ir.IntType(32), lanes)
                left = builder.trunc(columns, ir.IntType(32))
                splat = builder.insert_element(
                    ir.Constant(index_vector, ir.Undefined), left, ir.Constant(ir.IntType(32), 0)
                )
                splat = builder.shuffle_vector(
                    splat, ir.Constant(index_vector, ir.Undefined), ir.Constant(index_vector, [0] * lanes)
                )
                for part in range(_VECTORS_PER_PANEL):
                    lane = ir.Constant(index_vector, [part * lanes + i for i in range(lanes)])
                    masks.append(builder.icmp_signed("<", lane, splat))
                suffix = f"v{lanes}f{itemsize * 8}.p0"
                pointer = ir.IntType(8).as_pointer()
                int32 = ir.IntType(32)
                load_masked = cgutils.get_or_insert_function(
                    builder.module,
                    ir.FunctionType(vector, [pointer, int32, bool_vector, vector]),
                    f"llvm.masked.load.{suffix}",
                )
                store_masked = cgutils.get_or_insert_function(
                    builder.module,
                    ir.FunctionType(ir.VoidType(), [vector, pointer, int32, bool_vector]),
                    f"llvm.masked.store.{suffix}",
                )

            def load(address, part=None):
                if part is not None:
                    plain = builder.bitcast(address, ir.IntType(8).as_pointer())
                    align = ir.Constant(ir.IntType(32), itemsize)
                    zeros = ir.Constant(vector, [0.0] * lanes)
                    return builder.call(load_masked, [plain, align, masks[part], zeros])
                result = builder.load(builder.bitcast(address, vector.as_pointer()))
                result.align = itemsize
                return result

            def store(value, address, part=None):
                if part is not None:
                    plain = builder.bitcast(address, ir.IntType(8).as_pointer())
                    align = ir.Constant(ir.IntType(32), itemsize)
                    builder.call(store_masked, [value, plain, align, masks[part]])
                    return
                builder.store(value, builder.bitcast(address, vector.as_pointer())).align = itemsize

            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{itemsize * 8}"
            )
            rows = [at(c_data, builder.add(c0, builder.mul(constant(r), c_row_))) for r in range(n_rows)]
            sums = {}
            for r in range(n_rows):
                for part in range(_VECTORS_PER_PANEL):
                    # A stack slot here, a register after LLVM's promotion of memory.
                    sums[r, part] = cgutils.alloca_once(builder, vector)
                    address = at(rows[r], constant(part * lanes))
                    builder.store(load(address, part if masked else None), sums[r, part])
            a_rows = [at(a_data, builder.add(a0, builder.mul(constant(r), a_row_))) for r in range(n_rows)]
            panel = at(b_data, b0)
            with cgutils.for_range(builder, inner, intp=integer) as loop:
                b_start_ = builder.mul(loop.index, constant(_VECTORS_PER_PANEL * lanes))
                b_vectors = [
                    load(at(panel, builder.add(b_start_, constant(part * lanes)))) for part in range(_VECTORS_PER_PANEL)
                ]
                a_offset = builder.mul(loop.index, a_inner_)
                for r in range(n_rows):
                    value = builder.load(at(a_rows[r], a_offset))
                    splat = builder.insert_element(
                        ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
                    )
                    splat = builder.shuffle_vector(
                        splat,
                        ir.Constant(vector, ir.Undefined),
                        ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
                    )
                    for part in range(_VECTORS_PER_PANEL):
                        slot = sums[r, part]
                        builder.store(builder.call(fma, [splat, b_vectors[part], builder.load(slot)]), slot)
            for r in range(n_rows):
                for part in range(_VECTORS_PER_PANEL):
                    address = at(rows[r], constant(part * lanes))
                    store(builder.load(sums[r, part]), address, part if masked else None)
            return context.get_dummy_value()

        return types.void(
            a, types.intp, types.intp, types.intp, b, types.intp, types.intp, c, types.intp, types.intp, types.intp
        ), build

    return tile


_tile_6, _edge_6 = _make_tile(6, False), _make_tile(6, True)
_tile_2, _edge_2 = _make_tile(2, False), _make_tile(2, True)
_tile_1, _edge_1 = _make_tile(1, False), _make_tile(1, True)


@formula
def pack(b, b_start, first, last, n_inner, n_columns, panels, p_start):
    """Pack rows of a C-ordered right factor into panels.

    Parameters
    ----------
    b : ndarray, flat
        Holds the factor, of shape (n_inner, n_columns), from `b_start` on.
    b_start : int
    first, last : int
        Range of the factor's rows to pack.
    n_inner, n_columns : int
    panels : ndarray, flat
        Written from `p_start` on; columns beyond `n_columns` become zero.
    p_start : int
    """
    width = _width(panels.itemsize)
    for column in range(0, n_columns, width):
        count = natural(min(width, n_columns - column))
        for k in range(first, last):
            source = natural(b_start + k * n_columns + column)
            target = natural(p_start + column * n_inner + k * width)
            for j in range(count):
                panels[target + j] = b[source + j]
            for j in range(count, width):
                panels[target + j] = panels.dtype.type(0.0)


@formula
def pack_transposed(b, b_start, first, last, n_inner, n_columns, panels, p_start):
    """Pack columns of a right factor that is stored transposed.

    Parameters
    ----------
    b : ndarray, flat
        Holds the factor's transpose, of shape (n_columns, n_inner), from `b_start` on.
    b_start : int
    first, last : int
        Range of the factor's columns to pack.
    n_inner, n_columns : int
    panels : ndarray, flat
        Written from `p_start` on. The padding is left as it is: it must be finite.
    p_start : int
    """
    width = _width(panels.itemsize)
    for column in range(first, last):
        source = natural(b_start + column * n_inner)
        target = natural(p_start + (column // width) * width * n_inner + column % width)
        for k in range(natural(n_inner)):
            panels[target + k * width] = b[source + k]


@formula
def multiply(a, a_start, a_row, a_inner, panels, p_start, n_rows, n_inner, n_columns, c, c_start, c_row, scratch):
    """Add a product to a matrix: ``C += A B``.

    Parameters
    ----------
    a : ndarray, flat
        Holds the left factor: row i, column k at ``a_start + i * a_row + k * a_inner``.
    a_start, a_row, a_inner : int
    panels : ndarray, flat
        Holds the packed right factor from `p_start` on.
    p_start : int
    n_rows, n_inner, n_columns : int
        Extents of the product.
    c : ndarray, flat
        Row i, column j at ``c_start + i * c_row + j``; updated in place.
    c_start, c_row : int
    scratch : ndarray of shape (SCRATCH_SIZE,)
        This thread's own.
    """
    width = _width(c.itemsize)
    block_columns = max(1, _BLOCK_BYTES // (_BLOCK_INNER * width * c.itemsize)) * width
    for k in range(0, n_inner, _BLOCK_INNER):
        n_k = min(_BLOCK_INNER, n_inner - k)
        for block in range(0, n_columns, block_columns):
            block_stop = min(n_columns, block + block_columns)
            row = 0
            while row < n_rows:
                left = n_rows - row
                source, start, step_row, step_inner = a, a_start + row * a_row + k * a_inner, a_row, a_inner
                if left >= 6 and a_row == 1:
                    # A column of the left factor is read for each k: neighbours in the pack, far apart in A.
                    for i in range(n_k):
                        position = natural(start + i * a_inner)
                        for r in range(6):
                            scratch[natural(i * 6) + r] = a[position + r]
                    source, start, step_inner = scratch, 0, 6
                for column in range(block, block_stop, width):
                    b_start = p_start + column * n_inner + k * width
                    c0 = c_start + row * c_row + column
                    n_c = n_columns - column
                    if left >= 6:
                        if n_c >= width:
                            _tile_6(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                        else:
                            _edge_6(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                    elif left >= 2:
                        if n_c >= width:
                            _tile_2(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                        else:
                            _edge_2(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                    elif n_c >= width:
                        _tile_1(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                    else:
                        _edge_1(source, start, step_row, step_inner, panels, b_start, n_k, c, c0, c_row, n_c)
                if left >= 6:
                    row += 6
                elif left >= 2:
                    row += 2
                else:
                    row += 1
