"""The first layer on compressed sparse rows: products that touch stored entries only.

Column indices within a row are sorted, so that a thread finds its range of features by bisection.
"""

from skbackprop.backends.cpu.dropout import drop_entry
from skbackprop.backends.data import first_at_least
from skbackprop.functions.elementary import fma, natural

__all__ = ["add_gradient_rows", "forward_rows"]


def forward_rows(
    data, indices, indptr, rows, numbers, first, last, params, weights, units, u_start, n_units, rate, seed, step
):
    """Add the weighted inputs of a range of a block's rows: ``Z += X W``.

    Parameters
    ----------
    data, indices, indptr : ndarray
        The matrix.
    rows : ndarray of shape (n_rows,)
        Its rows that form the block, in order.
    numbers : ndarray of shape (n_rows,)
        By which dropout knows them.
    first, last : int
        Range of them.
    params : ndarray, flat
        Holds W, of shape (n_features, n_units), from `weights` on.
    weights : int
    units : ndarray, flat
        Holds Z, of shape (last - first, n_units), from `u_start` on; updated in place.
    u_start, n_units : int
    rate : float
        Share of the inputs that is dropped.
    seed, step : int
        See `drop_entry`.
    """
    for position in range(first, last):
        row = rows[position]
        target = u_start + (position - first) * n_units
        for entry in range(indptr[row], indptr[row + 1]):
            x = drop_entry(rate, seed, step, numbers[position], indices[entry], data[entry])
            source = weights + indices[entry] * n_units
            for j in range(n_units):
                unit = natural(target + j)
                units[unit] = fma(x, params[natural(source + j)], units[unit])


def add_gradient_rows(
    data, indices, indptr, rows, numbers, delta, d_start, first, last, grads, weights, n_units, rate, seed, step
):
    """Add ``X^T delta`` for a range of features.

    Parameters
    ----------
    data, indices, indptr : ndarray
        The matrix.
    rows : ndarray of shape (n_rows,)
        Its rows that form the batch, in order.
    numbers : ndarray of shape (n_rows,)
        By which dropout knows them.
    delta : ndarray, flat
        Gradient with respect to the weighted inputs, (n_rows, n_units) from `d_start` on.
    d_start : int
    first, last : int
        Range of features.
    grads : ndarray, flat
        Holds the gradient of W from `weights` on; updated in place.
    weights, n_units : int
    rate, seed, step
        As for `forward_rows`.
    """
    for position in range(rows.size):
        row = rows[position]
        stop = indptr[row + 1]
        entry = first_at_least(indices, indptr[row], stop, first)
        source = d_start + position * n_units
        while entry < stop and indices[entry] < last:
            x = drop_entry(rate, seed, step, numbers[position], indices[entry], data[entry])
            target = weights + indices[entry] * n_units
            for j in range(n_units):
                weight = natural(target + j)
                grads[weight] = fma(x, delta[natural(source + j)], grads[weight])
            entry += 1
