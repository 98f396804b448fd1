"""What is done to a layer besides products and activations, for the part that belongs to one thread."""

from skbackprop._compile import formula
from skbackprop.backends.cpu.gemm import TILE_ROWS

__all__ = [
    "add_intercept_gradients",
    "fill_zero",
    "finish_gradients",
    "set_intercepts",
    "share",
    "square_tiles",
]


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
        for j in range(fan_out):
            units[target + row * fan_out + j] = params[source + j]


@formula
def fill_zero(x, start, stop):
    """``x[start:stop] = 0``."""
    for i in range(start, stop):
        x[i] = x.dtype.type(0.0)


@formula
def add_intercept_gradients(deltas, source, n_rows, fan_out, first, last, grads, target):
    """Add rows of deltas to the gradient of a range of a layer's intercepts."""
    for row in range(n_rows):
        for j in range(first, last):
            grads[target + j] += deltas[source + row * fan_out + j]


@formula
def finish_gradients(params, grads, start, stop, alpha, total_weight):
    """Turn a range of sums over rows into the gradient of the penalised mean, in place.

    ``grads = (grads + alpha * params) / total_weight``
    """
    kind = params.dtype.type
    total = kind(total_weight)
    if alpha == 0.0:
        for i in range(start, stop):
            grads[i] = grads[i] / total
    else:
        penalty = kind(alpha)
        for i in range(start, stop):
            grads[i] = (grads[i] + penalty * params[i]) / total


@formula
def square_tiles(params, weights, fan_out, first, last, squares, s_start, scratch):
    """Sums of the squares of a range of a layer's weights, one for each `TILE_ROWS` rows of them.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        Holds the layer's weights from `weights` on.
    weights, fan_out : int
    first, last : int
        Range of the weights' rows; `first` is a multiple of `TILE_ROWS`.
    squares : ndarray, flat, float64
        Written from ``s_start + first // TILE_ROWS`` on.
    s_start : int
    scratch : ndarray
        This thread's own.
    """
    for row in range(first, last, TILE_ROWS):
        start = weights + row * fan_out
        stop = weights + min(row + TILE_ROWS, last) * fan_out
        # Sixteen running sums, added in order: vector instructions without freedom of order.
        for lane in range(16):
            scratch[lane] = scratch.dtype.type(0.0)
        whole = start + (stop - start) // 16 * 16
        for i in range(start, whole, 16):
            for lane in range(16):
                scratch[lane] += params[i + lane] * params[i + lane]
        total = 0.0
        for lane in range(16):
            total += scratch[lane]
        for i in range(whole, stop):
            total += params[i] * params[i]
        squares[s_start + row // TILE_ROWS] = total
