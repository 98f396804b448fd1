"""One thread's share of the work on a layer besides products and activations."""

import numpy as np

from skbackprop._compile import formula
from skbackprop.backends.cpu.gemm import TILE_ROWS, pack, pack_transposed
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.unpacked import inner_product
from skbackprop.functions.elementary import natural
from skbackprop.network import FAN_OUT, INTERCEPTS, ROWS, UNPENALISED, WEIGHTS

__all__ = [
    "chunk",
    "chunk_rows",
    "count_constant",
    "own_rows",
    "refresh_weights",
    "set_intercepts",
    "share",
]

_pack, _pack_transposed = formula(pack), formula(pack_transposed)

# Minimum number of weights that are assigned to a thread, and whose squares are summed, together; in a narrow layer,
# the rows of a tile hold few.
_CHUNK_SIZE = 512


def chunk_rows(fan_out):
    """Return the rows per chunk of a layer's weights: whole tiles, always assigned to one thread."""
    return TILE_ROWS * max(1, _CHUNK_SIZE // (TILE_ROWS * fan_out))


chunk = formula(chunk_rows)


@formula
def share(n, chunk, thread, n_threads):
    """Return a thread's range of `n` items that are divided among the threads in chunks.

    Returns
    -------
    first, last : int
    """
    if n_threads == 1:
        # Skip the divisions, which take a tenth of a step for a batch of one row.
        return 0, n
    chunks = (n + chunk - 1) // chunk
    first = min(n, chunks * thread // n_threads * chunk)
    last = min(n, chunks * (thread + 1) // n_threads * chunk)
    return first, last


@formula
def _rows_before(layout, layer, step, position):
    """Count a layer's rows of weights before a position in the flat vector, rounded up to chunks of `step` rows."""
    inside = position - layout[layer, WEIGHTS]
    if inside <= 0:
        return np.int64(0)
    size = step * layout[layer, FAN_OUT]
    return min(layout[layer, ROWS], (inside + size - 1) // size * step)


@formula
def own_rows(layout, layer, step, thread, n_threads):
    """Return a thread's rows of a layer's weights, in chunks of `step` rows.

    The parameters of all layers are divided among the threads as one sequence. This balances the load across layers,
    and a thread reads the units of few layers, which are partly in the other threads' caches.

    Returns
    -------
    first, last : int
    """
    if n_threads == 1:
        return np.int64(0), layout[layer, ROWS]
    end = layout.shape[0] - 1
    n_params = layout[end, INTERCEPTS] + layout[end, UNPENALISED]
    first = _rows_before(layout, layer, step, n_params * thread // n_threads)
    return first, _rows_before(layout, layer, step, n_params * (thread + 1) // n_threads)


@formula
def set_intercepts(params, source, units, target, n_rows, fan_out):
    """Initialize weighted inputs with the intercepts; the products are added to them."""
    for row in range(n_rows):
        start = target + row * fan_out
        for j in range(fan_out):
            units[natural(start + j)] = params[natural(source + j)]


def refresh_weights(
    weights, first, last, fan_in, fan_out, dealt, l2, l1, penalties, forward_panels, forward, backward_panels, backward
):
    """Update what depends on a range of rows of a layer's weights: their penalty and their panels.

    Parameters
    ----------
    weights : pointer
        Of shape (fan_in, fan_out).
    first, last : int
        Range of their rows; `first` is a multiple of `dealt`.
    fan_in, fan_out : int
    dealt : int
        Rows per chunk.
    l2, l1 : float
        Strengths of the penalties on half the squares and on the absolute values.
    penalties : pointer, float64
        The layer's penalties, one number per chunk; not written if both strengths are 0.
    forward_panels, backward_panels : pointer
        Packed weights and packed transposes of all layers.
    forward, backward : int
        Offsets of this layer's panels; negative if it has none.
    """
    if l2 != 0.0 or l1 != 0.0:
        # One thread starts at 0: skip the division.
        position = 0 if first == 0 else first // dealt
        for row in range(first, last, dealt):
            start = row * fan_out
            count = (min(row + dealt, last) - row) * fan_out
            penalty = 0.5 * l2 * inner_product(weights, start, weights, start, count)
            if l1 != 0.0:
                total = 0.0
                for i in range(start, start + count):
                    total += abs(weights[natural(i)])
                penalty += l1 * total
            penalties[natural(position)] = penalty
            position += 1
    if forward >= 0:
        _pack(weights, first, last, fan_in, fan_out, at(forward_panels, forward))
    if backward >= 0:
        _pack_transposed(weights, first, last, fan_out, fan_in, at(backward_panels, backward))


@formula
def count_constant(units, source, n_rows, fan_out, first, last):
    """Count the units `first` to `last` of a layer whose output is the same for every row."""
    count = 0
    for j in range(first, last):
        row = 1
        while row < n_rows and units[source + row * fan_out + j] == units[source + j]:
            row += 1
        count += row == n_rows
    return count
