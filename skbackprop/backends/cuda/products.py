"""Matrix products, summed over the inner index in order with fused multiply-adds, or on tensor cores.

Every element of a product is ``fma(a_k, b_k, ... fma(a_1, b_1, fma(a_0, b_0, start)))``, computed by one thread, as on
the CPU: its bits do not depend on the number of threads or blocks, or on the tiles. On request, large products run on
tensor cores, which add eight products at a time, with their own order and rounding. Two formulas define the start value
and the epilogue of a sum, so that intercepts, activations and derivatives need no separate pass over memory.
"""

from typing import NamedTuple

import numba
import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cuda.device import cuda, device_function
from skbackprop.backends.cuda.tensor_cores import MMA_COLUMNS, MMA_DEPTH, MMA_ROWS, WARP, multiply_add, to_tf32
from skbackprop.functions.elementary import fma, natural

__all__ = ["Factor", "Tiles", "block_product", "thread_product"]


class Factor(NamedTuple):
    """A matrix in a flat array: row i, column j at ``numbers[start + i * row + j * column]``."""

    numbers: object
    start: int
    row: int
    column: int


class Tiles(NamedTuple):
    """Extents of a block's tile of a product.

    Parameters
    ----------
    size : int
        Rows and columns of the tile.
    depth : int
        Inner indices per k-tile in shared memory, which is double-buffered.
    micro : int
        Rows and columns of a thread's part.
    on_tensor_cores : bool
        Whether to multiply in TF32 on tensor cores. A warp's part is then ``8 * micro`` rows and ``4 * micro`` columns.
    """

    size: int
    depth: int
    micro: int
    on_tensor_cores: bool = False

    @property
    def n_threads(self):
        """Threads per block."""
        return (self.size // self.micro) ** 2

    @property
    def pitch(self):
        """Row stride in shared memory, padded to avoid bank conflicts.

        These would occur among the threads of a warp that store a column or, on tensor cores, load from four adjacent
        rows.
        """
        return self.size + (8 if self.on_tensor_cores else 4)

    @property
    def n_shared(self):
        """Size of shared memory in numbers: two k-tiles of both factors, which take turns."""
        return 4 * self.depth * self.pitch


@formula
def entry(factor, i, j):
    """Return an entry of a `Factor`."""
    return factor.numbers[natural(factor.start + i * factor.row + j * factor.column)]


def thread_product(begin, finish):
    """Make a product in which each thread computes tiles of two by two: for factors that are small or have few rows.

    Parameters
    ----------
    begin : formula
        ``begin(i, j, context)`` returns the start value of the sum of row i, column j.
    finish : formula
        ``finish(i, j, total, context)`` consumes the sum.

    Returns
    -------
    multiply : formula
        Takes the index of the thread among all and their count; the factors; the product's rows, inner extent and
        columns; and the context.
    """

    @formula
    def multiply(thread, n_threads, a, b, n_rows, n_inner, n_columns, context):
        across = (n_columns + 1) // 2
        for tile in range(thread, (n_rows + 1) // 2 * across, n_threads):
            i0, j0 = 2 * (tile // across), 2 * (tile % across)
            # At an edge, the second row or column repeats the first and is not stored.
            i1, j1 = min(i0 + 1, n_rows - 1), min(j0 + 1, n_columns - 1)
            s00, s01 = begin(i0, j0, context), begin(i0, j1, context)
            s10, s11 = begin(i1, j0, context), begin(i1, j1, context)
            for k in range(n_inner):
                a0, a1 = entry(a, i0, k), entry(a, i1, k)
                b0, b1 = entry(b, k, j0), entry(b, k, j1)
                s00, s01 = fma(a0, b0, s00), fma(a0, b1, s01)
                s10, s11 = fma(a1, b0, s10), fma(a1, b1, s11)
            finish(i0, j0, s00, context)
            if j1 > j0:
                finish(i0, j1, s01, context)
            if i1 > i0:
                finish(i1, j0, s10, context)
                if j1 > j0:
                    finish(i1, j1, s11, context)

    return multiply


def _thread_parts(tiles, dtype):
    """Divide a tile among threads, with their own sums, in groups of up to four neighbors that one instruction loads.

    Parameters
    ----------
    tiles : Tiles
    dtype : numpy.dtype

    Returns
    -------
    row, column : formula
        ``row(thread, u)`` and ``column(thread, v)`` return the position of a thread's sums in the tile.
    convert : formula
        Converts a number when it is stored to shared memory.
    add : device function
        ``add(sums, shared, a_half, b_half, thread)`` adds the product of two k-tiles in shared memory to a thread's
        sums.
    """
    depth, micro, pitch = tiles.depth, tiles.micro, tiles.pitch
    across = tiles.size // micro
    width = min(4, micro)
    stride = across * width
    kind = numba.from_dtype(np.dtype(dtype))

    @formula
    def row(thread, u):
        return u // width * stride + u % width + thread // across * width

    @formula
    def column(thread, v):
        return v // width * stride + v % width + thread % across * width

    @formula
    def convert(x):
        return x

    @device_function
    def add(sums, shared, a_half, b_half, thread):
        a_part = cuda.local.array(micro, kind)
        b_part = cuda.local.array(micro, kind)
        for k in range(depth):
            for u in range(micro):
                a_part[u] = shared[natural(a_half + k * pitch + row(thread, u))]
                b_part[u] = shared[natural(b_half + k * pitch + column(thread, u))]
            for u in range(micro):
                for v in range(micro):
                    sums[u, v] = fma(a_part[u], b_part[v], sums[u, v])

    return row, column, convert, add


def _warp_parts(tiles):
    """Like `_thread_parts`, on tensor cores: divide a tile among warps and their threads; see `tensor_cores`."""
    depth, micro, pitch = tiles.depth, tiles.micro, tiles.pitch
    n_down, n_across = micro // 2, micro // 2
    across = tiles.size // (n_across * MMA_COLUMNS)

    @formula
    def first_row(thread):
        return thread // WARP // across * (n_down * MMA_ROWS) + thread % WARP // 4

    @formula
    def first_column(thread):
        return thread // WARP % across * (n_across * MMA_COLUMNS)

    @formula
    def row(thread, u):
        return first_row(thread) + u // 2 * MMA_ROWS + u % 2 * 8

    @formula
    def column(thread, v):
        return first_column(thread) + v // 2 * MMA_COLUMNS + 2 * (thread % 4) + v % 2

    @device_function
    def add(sums, shared, a_half, b_half, thread):
        a_start = a_half + thread % 4 * pitch + first_row(thread)
        b_start = b_half + thread % 4 * pitch + first_column(thread) + thread % WARP // 4
        for k in range(0, depth, MMA_DEPTH):
            for u in range(0, micro, 2):
                a = a_start + k * pitch + u // 2 * MMA_ROWS
                a0, a1 = shared[natural(a)], shared[natural(a + 8)]
                a2, a3 = shared[natural(a + 4 * pitch)], shared[natural(a + 4 * pitch + 8)]
                for v in range(0, micro, 2):
                    b = b_start + k * pitch + v // 2 * MMA_COLUMNS
                    b0, b1 = shared[natural(b)], shared[natural(b + 4 * pitch)]
                    s00, s01, s10, s11 = multiply_add(
                        a0, a1, a2, a3, b0, b1, sums[u, v], sums[u, v + 1], sums[u + 1, v], sums[u + 1, v + 1]
                    )
                    sums[u, v], sums[u, v + 1] = s00, s01
                    sums[u + 1, v], sums[u + 1, v + 1] = s10, s11

    return row, column, to_tf32, add


def block_product(begin, finish, tiles, dtype):
    """Make a product in which each block computes tiles of `tiles`: for large factors.

    Shared memory is double-buffered: while a block computes with one k-tile of the factors, it loads the next into
    registers and stores it to the other half.

    Parameters
    ----------
    begin, finish : formula
        See `thread_product`.
    tiles : Tiles
    dtype : numpy.dtype

    Returns
    -------
    multiply : device function
        Like that of `thread_product`, but called by all threads of a block, with the index of the block and the number
        of blocks.
    """
    # Plain integers, which the compiler treats as constants: array shapes must be.
    size, depth, micro, n_threads = tiles.size, tiles.depth, tiles.micro, tiles.n_threads
    row, column, convert, add = _warp_parts(tiles) if tiles.on_tensor_cores else _thread_parts(tiles, dtype)
    n_loads = size * depth // n_threads
    kind = numba.from_dtype(np.dtype(dtype))
    pitch = tiles.pitch
    half_size = depth * pitch
    zero = np.dtype(dtype).type(0.0)
    # Padding beyond the edges: adding 0 times -0 leaves any number as it is, even -0.
    nothing = np.dtype(dtype).type(-0.0)

    @device_function
    def multiply(block, n_blocks, a, b, n_rows, n_inner, n_columns, context):
        # Dynamic, so that all products of a kernel use the same memory: A's two halves, then B's. Aligned for loads of
        # four numbers at once.
        shared = cuda.shared.array(0, kind, alignment=16)
        sums = cuda.local.array((micro, micro), kind)
        a_next = cuda.local.array(n_loads, kind)
        b_next = cuda.local.array(n_loads, kind)
        thread = cuda.threadIdx.x
        tiles_across = (n_columns + size - 1) // size
        n_k_tiles = (n_inner + depth - 1) // depth
        # Coalesced loads: adjacent threads read adjacent numbers, whichever index of the factor is contiguous in
        # memory.
        a_along_rows, b_along_columns = a.row == 1, b.column == 1
        for tile in range(block, (n_rows + size - 1) // size * tiles_across, n_blocks):
            top, left = tile // tiles_across * size, tile % tiles_across * size
            for u in range(micro):
                for v in range(micro):
                    i, j = top + row(thread, u), left + column(thread, v)
                    sums[u, v] = begin(i, j, context) if i < n_rows and j < n_columns else zero
            for k_tile in range(n_k_tiles + 1):
                if k_tile < n_k_tiles:
                    for load in range(n_loads):
                        at = thread + load * n_threads
                        k, i = (at // size, at % size) if a_along_rows else (at % depth, at // depth)
                        k, i = k_tile * depth + k, top + i
                        a_next[load] = entry(a, i, k) if i < n_rows and k < n_inner else nothing
                        k, j = (at // size, at % size) if b_along_columns else (at % depth, at // depth)
                        k, j = k_tile * depth + k, left + j
                        b_next[load] = entry(b, k, j) if k < n_inner and j < n_columns else zero
                if k_tile > 0:
                    a_half = (k_tile - 1) % 2 * half_size
                    add(sums, shared, a_half, a_half + 2 * half_size, thread)
                if k_tile < n_k_tiles:
                    a_half = k_tile % 2 * half_size
                    b_half = a_half + 2 * half_size
                    for load in range(n_loads):
                        at = thread + load * n_threads
                        k, i = (at // size, at % size) if a_along_rows else (at % depth, at // depth)
                        shared[natural(a_half + k * pitch + i)] = convert(a_next[load])
                        k, j = (at // size, at % size) if b_along_columns else (at % depth, at // depth)
                        shared[natural(b_half + k * pitch + j)] = convert(b_next[load])
                cuda.syncthreads()
            for u in range(micro):
                for v in range(micro):
                    i, j = top + row(thread, u), left + column(thread, v)
                    if i < n_rows and j < n_columns:
                        finish(i, j, sums[u, v], context)

    return multiply
