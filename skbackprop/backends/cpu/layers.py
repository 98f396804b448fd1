"""What is done to a layer besides products and activations, for the part that belongs to one thread."""

from skbackprop._compile import formula
from skbackprop.backends.cpu.gemm import TILE_ROWS
from skbackprop.backends.cpu.unpacked import inner_product
from skbackprop.functions.elementary import natural

__all__ = [
    "add_intercept_gradients",
    "granule",
    "granule_rows",
    "set_intercepts",
    "share",
    "square_granules",
]

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
def add_intercept_gradients(deltas, source, n_rows, fan_out, first, last, grads, target):
    """Add rows of deltas to the gradient of a range of a layer's intercepts."""
    for row in range(n_rows):
        start = source + row * fan_out
        for j in range(first, last):
            grads[natural(target + j)] += deltas[natural(start + j)]


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
        count = (min(row + step, last) - row) * fan_out
        squares[natural(s_start + row // step)] = inner_product(params, start, params, start, count)
