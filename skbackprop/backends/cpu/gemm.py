"""Matrix products, summed over the inner index in order with fused multiply-adds.

Every element of a product is ``fma(a_k, b_k, ... fma(a_1, b_1, fma(a_0, b_0, start)))``, computed by one thread. So its
bits do not depend on the number of threads, the processor's vector width, or the division into tiles, blocks of the
inner index, or blocks of rows.

The right factor is packed into zero-padded panels of `panel_width` columns, so that the micro-kernel loads whole
vectors from consecutive addresses (Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication). A
tile of `TILE_ROWS` rows and one panel of accumulators stays in registers.
"""

import numpy as np

from skbackprop._compile import cgutils, formula, ir, native, types
from skbackprop._processor import features
from skbackprop.backends.cpu.memory import at, copy
from skbackprop.backends.cpu.vectors import fused, load, mask_below, splat, store
from skbackprop.functions.elementary import natural

__all__ = [
    "CACHED_BYTES",
    "SCRATCH_SIZE",
    "TILE_ROWS",
    "VECTOR_BYTES",
    "multiply",
    "multiply_row",
    "pack",
    "pack_transposed",
    "packed_size",
    "panel_width",
]


def _vectors():
    has = features()
    if "avx512f" in has:
        return 64, 32
    if "avx2" in has:
        return 32, 16
    return 16, 32 if "neon" in has else 16


#: Bytes of the micro-kernel's vectors, and number of vector registers.
VECTOR_BYTES, _N_REGISTERS = _vectors()
_VECTORS_PER_PANEL = 2  # of which `_half` uses one

#: Rows of a full tile: 6 x 2 vectors of accumulators, 2 of the right factor and one broadcast fit into 16 registers.
TILE_ROWS = 6
# With 32 registers, compute two tiles at a time: this halves the loads of the right factor and doubles the number of
# independent accumulations, which hides the latency of the multiply-adds.
_TALL_ROWS = TILE_ROWS if _N_REGISTERS < 32 else 2 * TILE_ROWS

# Extents of the block of the right factor that is reused from the L2 cache, which is larger on processors with AVX-512.
# Few blocks of the inner index: each passes once more over the sums, which are far apart in memory.
_BLOCK_INNER = 1024
_BLOCK_BYTES = 1 << (19 if VECTOR_BYTES == 64 else 18)

#: A factor of at most this size leaves half of the L1 cache free, wherever its numbers lie, and is not worth packing.
CACHED_BYTES = 1 << 14

# Pack a tile of a larger left factor if it is used for more panels than this.
_PANELS_UNPACKED = 2

# Rows of the left factor that are packed together: they stay in the L2 cache beside the right factor's block.
_BLOCK_ROWS = 8 * TILE_ROWS  # and whole tall tiles

#: Size of each thread's scratch memory, in numbers: packed tiles of the left factor.
SCRATCH_SIZE = _BLOCK_ROWS * _BLOCK_INNER


def panel_width(itemsize):
    """Return the columns per panel for numbers of `itemsize` bytes."""
    return _VECTORS_PER_PANEL * VECTOR_BYTES // itemsize


_width = formula(panel_width)


def packed_size(n_inner, n_columns, itemsize):
    """Return the size of a packed right factor, in numbers."""
    width = panel_width(itemsize)
    return -(-n_columns // width) * width * n_inner


def _itemsize_twin(pointer):
    return pointer.itemsize


@native(_itemsize_twin)
def _itemsize(typing_context, pointer):
    """Return the size in bytes of a pointer's element type."""

    def build(context, builder, signature, args):
        return ir.Constant(ir.IntType(types.intp.bitwidth), pointer.dtype.bitwidth // 8)

    return types.intp(pointer), build


def _tile_twin(tile_rows, n_vectors, masked):
    def tile(a, a_row, a_inner, b, b_inner, b_panel, n_inner, start, s_row, c, c_row, n_rows, n_columns):
        width = n_vectors * (VECTOR_BYTES // b.itemsize)
        columns = min(n_columns, width)
        for panel in range(1 if masked else n_columns // width):
            for row in range(min(n_rows, tile_rows)):
                out = c[row * c_row + panel * width :][:columns]
                out[:] = start[row * s_row + panel * width :][:columns]
                for k in range(n_inner):
                    out += a[row * a_row + k * a_inner] * b[panel * b_panel + k * b_inner :][:columns]

    return tile


def _build_tile(builder, kind, itemsize, tile_rows, n_vectors, masked):
    """Emit the body of a micro-kernel, see `_make_tile`."""
    a, a_row, a_inner, b, b_inner, b_panel, inner, start, s_row, c, c_row, rows, columns = builder.function.args
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(kind, lanes)
    integer = inner.type

    def constant(value):
        return ir.Constant(integer, value)

    numbers = [constant(r) for r in range(tile_rows)]
    if masked:
        final = builder.sub(rows, constant(1))
        numbers = [builder.select(builder.icmp_signed("<", number, final), number, final) for number in numbers]

    def rows_of(base, stride):
        return [builder.gep(base, [builder.mul(number, stride)]) for number in numbers]

    parts = [part * lanes for part in range(n_vectors)]
    masks = [mask_below(builder, columns, lanes, first) if masked else None for first in parts]
    a_rows, starts, outs = rows_of(a, a_row), rows_of(start, s_row), rows_of(c, c_row)
    # Stack slots here; LLVM promotes them to registers.
    sums = {(r, part): cgutils.alloca_once(builder, vector) for r in range(tile_rows) for part in range(n_vectors)}
    width = constant(n_vectors * lanes)
    panels = constant(1) if masked else builder.udiv(columns, width)
    with cgutils.for_range(builder, panels, intp=integer) as panel:
        offset = builder.mul(panel.index, width)
        b_start = builder.gep(b, [builder.mul(panel.index, b_panel)])

        def part_of(row, part):
            return builder.gep(builder.gep(row, [offset]), [constant(parts[part])])

        for (r, part), slot in sums.items():
            builder.store(load(builder, part_of(starts[r], part), vector, masks[part]), slot)
        with cgutils.for_range(builder, inner, intp=integer) as loop:
            b_row = builder.gep(b_start, [builder.mul(loop.index, b_inner)])
            b_vectors = [
                load(builder, builder.gep(b_row, [constant(first)]), vector, mask)
                for first, mask in zip(parts, masks, strict=True)
            ]
            a_offset = builder.mul(loop.index, a_inner)
            for r in range(tile_rows):
                factor = splat(builder, builder.load(builder.gep(a_rows[r], [a_offset])), vector)
                for part in range(n_vectors):
                    slot = sums[r, part]
                    builder.store(fused(builder, factor, b_vectors[part], builder.load(slot)), slot)
        for (r, part), slot in sums.items():
            store(builder, builder.load(slot), part_of(outs[r], part), masks[part])
    builder.ret_void()


def _in_module(name, build_body):
    """Return a builder of calls to a separate LLVM function, whose name includes the item size.

    In a function of its own, pointers stay in registers, whatever else the caller keeps there.
    """

    def build(context, builder, signature, args):
        itemsize = signature.args[0].dtype.bitwidth // 8
        full_name = f"skbackprop.{name}.{itemsize}"
        function = builder.module.globals.get(full_name)
        if function is None:
            function_type = ir.FunctionType(ir.VoidType(), [value.type for value in args])
            function = ir.Function(builder.module, function_type, full_name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            body = ir.IRBuilder(function.append_basic_block())
            build_body(body, context.get_data_type(signature.args[0].dtype), itemsize)
        builder.call(function, args)
        return context.get_dummy_value()

    return build


def _make_tile(tile_rows, n_vectors, masked):
    """Make a micro-kernel: ``C[row, :] = start[row, :] + sum of A[row, k] * B[k, :]`` for a tile.

    Matrices are given by pointers. A has two strides; B has one between its rows, packed or not, and one between its
    panels; `start` and C have unit column stride. A tile has `tile_rows` rows and `n_vectors` vectors. One call
    computes the tiles of as many whole panels as `n_columns` columns hold. With `masked` it computes a single tile,
    which may have fewer rows and columns; the last row is computed again in place of missing ones.
    """

    @native(_tile_twin(tile_rows, n_vectors, masked))
    def tile(
        typing_context, a, a_row, a_inner, b, b_inner, b_panel, n_inner, start, s_row, c, c_row, n_rows, n_columns
    ):
        def build_body(builder, kind, itemsize):
            _build_tile(builder, kind, itemsize, tile_rows, n_vectors, masked)

        build = _in_module(f"tile.{tile_rows}.{n_vectors}.{masked}", build_body)
        index = types.intp
        return types.void(a, index, index, b, index, index, index, start, index, c, index, index, index), build

    return tile


_FEW_ROWS = TILE_ROWS // 2
_tile, _edge, _half = _make_tile(TILE_ROWS, 2, False), _make_tile(TILE_ROWS, 2, True), _make_tile(TILE_ROWS, 1, True)
_tall, _tall_edge, _tall_half = _tile, _edge, _half
if _TALL_ROWS > TILE_ROWS:
    _tall, _tall_edge = _make_tile(_TALL_ROWS, 2, False), _make_tile(_TALL_ROWS, 2, True)
    _tall_half = _make_tile(_TALL_ROWS, 1, True)
_few = _make_tile(_FEW_ROWS, 2, True)
_row_tile, _row_edge, _row_half = _make_tile(1, 2, False), _make_tile(1, 2, True), _make_tile(1, 1, True)
# For one row: more independent accumulations at a time hide latency.
_row_wide, _row_double = _make_tile(1, 8, False), _make_tile(1, 4, False)


def pack(b, first, last, n_inner, n_columns, panels):
    """Pack rows of a C-ordered right factor into panels.

    Parameters
    ----------
    b : pointer
        The factor, of shape (n_inner, n_columns).
    first, last : int
        Range of the factor's rows to pack.
    n_inner, n_columns : int
    panels : pointer
        Output. The padding is not written and must be finite.
    """
    width = _width(_itemsize(panels))
    for column in range(0, n_columns, width):
        count = n_columns - column
        for k in range(first, last):
            source = k * n_columns + column
            target = column * n_inner + k * width
            if count >= width:
                copy(at(b, source), at(panels, target), width)
            else:
                for j in range(count):
                    panels[natural(target + j)] = b[natural(source + j)]


def _transpose_twin(source, s_row, target, t_row, n_rows):
    lanes = VECTOR_BYTES // source.itemsize
    for row in range(n_rows):
        target[row : row + lanes * t_row : t_row][:lanes] = source[row * s_row :][:lanes]


def _build_transposition(builder, kind, itemsize):
    """Emit the body of `_transpose`: exchange blocks between pairs of rows, halving the blocks down to one number."""
    source, s_row, target, t_row, n_rows = builder.function.args
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(kind, lanes)

    def constant(value):
        return ir.Constant(n_rows.type, value)

    final = builder.sub(n_rows, constant(1))
    rows = []
    for r in range(lanes):
        number = builder.select(builder.icmp_signed("<", constant(r), final), constant(r), final)
        rows.append(load(builder, builder.gep(source, [builder.mul(number, s_row)]), vector))
    distance = lanes // 2
    while distance:
        upper = [j if j // distance % 2 == 0 else lanes + j - distance for j in range(lanes)]
        lower = [j + distance if j // distance % 2 == 0 else lanes + j for j in range(lanes)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), order) for order in (upper, lower)]
        for r in range(lanes):
            if r // distance % 2 == 0:
                pair = rows[r], rows[r + distance]
                rows[r], rows[r + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        distance //= 2

    def write(mask=None):
        for r, row in enumerate(rows):
            store(builder, row, builder.gep(target, [builder.mul(constant(r), t_row)]), mask)

    with builder.if_else(builder.icmp_signed("==", n_rows, constant(lanes))) as (whole, part):
        with whole:
            write()
        with part:
            write(mask_below(builder, n_rows, lanes))
    builder.ret_void()


@native(_transpose_twin)
def _transpose(typing_context, source, s_row, target, t_row, n_rows):
    """Transpose a square of one vector's length; there may be fewer rows."""
    index = types.intp
    return types.void(source, index, target, index, index), _in_module("transpose", _build_transposition)


def pack_transposed(b, first, last, n_inner, n_columns, panels):
    """Pack columns of a right factor that is stored transposed.

    Parameters
    ----------
    b : pointer
        The factor's transpose, of shape (n_columns, n_inner).
    first, last : int
        Range of the factor's columns to pack.
    n_inner, n_columns : int
    panels : pointer
        Output. The padding is not written and must be finite.
    """
    width = _width(_itemsize(panels))
    lanes = width // _VECTORS_PER_PANEL
    whole = n_inner // lanes * lanes
    start = first
    while start < last:
        # Up to the end of the vector.
        stop = min(last, start // lanes * lanes + lanes)
        panel = start // width * width
        source, target = start * n_inner, panel * n_inner + start - panel
        for k in range(0, whole, lanes):
            _transpose(at(b, source + k), n_inner, at(panels, target + k * width), width, stop - start)
        for column in range(stop - start):
            for k in range(whole, n_inner):
                panels[natural(target + column + k * width)] = b[natural(source + column * n_inner + k)]
        start = stop


@formula
def _single_row(a, a_inner, b, b_inner, n_inner, start, c, n_columns):
    """Run the micro-kernel for one row and at most one panel."""
    width = _width(_itemsize(c))
    if n_columns >= width:
        _row_tile(a, 0, a_inner, b, b_inner, 0, n_inner, start, 0, c, 0, 1, width)
    elif n_columns > width // 2:
        _row_edge(a, 0, a_inner, b, b_inner, 0, n_inner, start, 0, c, 0, 1, n_columns)
    else:
        _row_half(a, 0, a_inner, b, b_inner, 0, n_inner, start, 0, c, 0, 1, n_columns)


@formula
def multiply_row(a, b, b_row, n_inner, n_columns, start, c):
    """Multiply a row by an unpacked matrix and add a row: ``c = start + a B``.

    Parameters
    ----------
    a : pointer
        The row, of `n_inner` numbers.
    b : pointer
        The matrix: row i, column j at ``b[i * b_row + j]``.
    b_row, n_inner, n_columns : int
    start : pointer
        The row that the product is added to.
    c : pointer
        The result.
    """
    one = np.int64(1)  # int64, as variables are: a literal type would compile the callee again
    width = _width(_itemsize(c))
    column = 0
    while column < n_columns:
        left = n_columns - column
        right, sums, out = at(b, column), at(start, column), at(c, column)
        if left >= 4 * width:
            _row_wide(a, 0, one, right, b_row, 4 * width, n_inner, sums, 0, out, 0, 1, left)
            column += left // (4 * width) * (4 * width)
        elif left >= 2 * width:
            _row_double(a, 0, one, right, b_row, 2 * width, n_inner, sums, 0, out, 0, 1, left)
            column += 2 * width
        else:
            _single_row(a, one, right, b_row, n_inner, sums, out, left)
            column += width


def multiply(a, a_row, a_inner, b, b_row, n_rows, n_inner, n_columns, start, s_row, c, c_row, scratch):
    """Multiply two matrices and add a third: ``C = start + A B``.

    Parameters
    ----------
    a : pointer
        The left factor: row i, column k at ``a[i * a_row + k * a_inner]``.
    a_row, a_inner : int
    b : pointer
        The right factor.
    b_row : int
        0 if `b` is packed; otherwise row k, column j is at ``b[k * b_row + j]``.
    n_rows, n_inner, n_columns : int
        Extents of the product.
    start : pointer
        The matrix that the product is added to: row i, column j at ``start[i * s_row + j]``. It may be `c`, or a single
        row with ``s_row=0``.
    s_row : int
    c : pointer
        The result: row i, column j at ``c[i * c_row + j]``.
    c_row : int
    scratch : pointer
        This thread's own `SCRATCH_SIZE` numbers.
    """
    itemsize = _itemsize(c)
    width = _width(itemsize)
    block_columns = max(1, _BLOCK_BYTES // (_BLOCK_INNER * width * itemsize)) * width
    # With a single block of columns, pack each tile right before it is used.
    block_rows = _BLOCK_ROWS if n_columns > block_columns else _TALL_ROWS
    packs = a_row == 1 and n_columns > _PANELS_UNPACKED * width and n_inner * a_inner * itemsize > CACHED_BYTES
    b_column, b_inner = (n_inner, width) if b_row == 0 else (1, b_row)
    block_inner = n_inner
    if n_inner > _BLOCK_INNER:
        # Balance the blocks.
        n_blocks = (n_inner + _BLOCK_INNER - 1) // _BLOCK_INNER
        block_inner = (n_inner + n_blocks - 1) // n_blocks
    for k in range(0, n_inner, block_inner):
        n_k = min(block_inner, n_inner - k)
        if k > 0:
            start, s_row = c, c_row
        for top in range(0, n_rows, block_rows):
            bottom = min(n_rows, top + block_rows)
            whole_tiles = (bottom - top) // _TALL_ROWS * _TALL_ROWS
            if packs and whole_tiles > 0:
                # The micro-kernel reads a column of a tile for each k: contiguous if packed, far apart in A.
                for i in range(n_k):
                    of_k, packed = at(a, top + (k + i) * a_inner), at(scratch, i * _TALL_ROWS)
                    copy(of_k, packed, _TALL_ROWS)
                    for row in range(_TALL_ROWS, whole_tiles, _TALL_ROWS):
                        copy(at(of_k, row), at(packed, row * n_k), _TALL_ROWS)
            for block in range(0, n_columns, block_columns):
                block_stop = min(n_columns, block + block_columns)
                whole = (block_stop - block) // width * width
                row = top
                while row < bottom:
                    left = n_rows - row
                    is_tall = left >= _TALL_ROWS
                    source, step_row, step_inner = at(a, row * a_row + k * a_inner), a_row, a_inner
                    if is_tall and packs:
                        source, step_inner = at(scratch, (row - top) * n_k), _TALL_ROWS
                    first = block
                    if left >= TILE_ROWS:
                        panel = at(b, block * b_column + k * b_inner)
                        sums = at(start, row * s_row + block)
                        out = at(c, row * c_row + block)
                        if is_tall:
                            _tall(
                                source, step_row, step_inner, panel, b_inner, width * b_column, n_k,
                                sums, s_row, out, c_row, left, whole,
                            )  # fmt: skip
                        else:
                            _tile(
                                source, step_row, step_inner, panel, b_inner, width * b_column, n_k,
                                sums, s_row, out, c_row, left, whole,
                            )  # fmt: skip
                        first += whole
                    for column in range(first, block_stop, width):
                        panel = at(b, column * b_column + k * b_inner)
                        sums = at(start, row * s_row + column)
                        out = at(c, row * c_row + column)
                        n_c = n_columns - column
                        if left == 1:
                            _single_row(source, step_inner, panel, b_inner, n_k, sums, out, n_c)
                        elif n_c <= width // 2 and is_tall:
                            _tall_half(
                                source, step_row, step_inner, panel, b_inner, 0, n_k, sums, s_row, out, c_row, left, n_c
                            )
                        elif n_c <= width // 2:
                            _half(
                                source, step_row, step_inner, panel, b_inner, 0, n_k, sums, s_row, out, c_row, left, n_c
                            )
                        elif is_tall:
                            _tall_edge(
                                source, step_row, step_inner, panel, b_inner, 0, n_k, sums, s_row, out, c_row, left, n_c
                            )
                        elif left <= _FEW_ROWS:
                            _few(
                                source, step_row, step_inner, panel, b_inner, 0, n_k, sums, s_row, out, c_row, left, n_c
                            )
                        else:
                            _edge(
                                source, step_row, step_inner, panel, b_inner, 0, n_k, sums, s_row, out, c_row, left, n_c
                            )
                    row += _TALL_ROWS if is_tall else TILE_ROWS
