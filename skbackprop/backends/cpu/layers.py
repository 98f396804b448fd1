"""What is done to a layer besides products and activations, for the part that belongs to one thread."""

from skbackprop._compile import formula
from skbackprop.backends.cpu.gemm import TILE_ROWS
from skbackprop.backends.cpu.unpacked import inner_product
from skbackprop.functions.elementary import natural

__all__ = [
    "count_constant",
    "granule",
    "granule_rows",
    "penalise_granules",
    "set_intercepts",
    "share",
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
    if n_threads == 1:
        # Without divisions, which are a tenth of a step with a batch of one row.
        return 0, n
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
def penalise_granules(params, weights, fan_out, first, last, step, half_l2, l1, penalties, p_start):
    """The penalty on a range of a layer's weights, one number for each granule of their rows.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        Holds the layer's weights from `weights` on.
    weights, fan_out : int
    first, last : int
        Range of the weights' rows; `first` is a multiple of `step`.
    step : int
        Rows of a granule.
    half_l2, l1 : float
        Factors of the squares and of the absolute values.
    penalties : ndarray, flat, float64
        Written from ``p_start + first // step`` on.
    p_start : int
    """
    # One thread begins at the first.
    position = p_start if first == 0 else p_start + first // step
    for row in range(first, last, step):
        start = weights + row * fan_out
        count = (min(row + step, last) - row) * fan_out
        penalty = half_l2 * inner_product(params, start, params, start, count)
        if l1 != 0.0:
            total = 0.0
            for i in range(start, start + count):
                total += abs(params[natural(i)])
            penalty += l1 * total
        penalties[natural(position)] = penalty
        position += 1


@formula
def count_constant(units, source, n_rows, fan_out, first, last):
    """How many of the units `first` to `last` of a layer give the same output for every row."""
    count = 0
    for j in range(first, last):
        row = 1
        while row < n_rows and units[source + row * fan_out + j] == units[source + j]:
            row += 1
        count += row == n_rows
    return count
