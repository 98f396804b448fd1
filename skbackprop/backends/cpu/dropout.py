"""Dropout: set random units to zero in each update.

This is "inverted" dropout: kept units are multiplied by ``1 / (1 - rate)``, so predictions need no correction
(Srivastava et al., 2014, section 10). Whether a unit is dropped depends only on the seed, the update, the row of the
data, the layer and the unit.
"""

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions.elementary import natural, number
from skbackprop.functions.random import draw_units

__all__ = ["drop_entry", "drop_rows"]


@formula
def _threshold(rate):
    """Return the threshold: units with a smaller random number are dropped."""
    return np.uint64(rate * 4294967296.0)


@formula
def drop_rows(rate, seed, step, layer, numbers, first, last, n_units, units, slopes, keeps):
    """Apply dropout to a range of a block's rows.

    Parameters
    ----------
    rate : float
        Fraction of the units to drop.
    seed, step, layer : int
    numbers : pointer to int64
        Index in the training data of each row of the block.
    first, last : int
        Range of the block's rows.
    n_units : int
    units, slopes : pointer
        Outputs and slopes of these rows, updated in place. The backward pass multiplies the gradient by the slopes, so
        it passes only through kept units.
    keeps : bool
        Whether slopes are stored.
    """
    threshold = _threshold(rate)
    zero, scale = number(0.0, units), number(1.0 / (1.0 - rate), units)
    for position in range(first, last):
        start = (position - first) * n_units
        for quad in range((n_units + 3) // 4):
            drawn = draw_units(seed, step, layer, numbers[position], quad)
            for lane in range(min(4, n_units - 4 * quad)):
                i = natural(start + 4 * quad + lane)
                factor = scale if drawn[lane] >= threshold else zero
                units[i] = units[i] * factor
                if keeps:
                    slopes[i] = slopes[i] * factor


@formula
def drop_entry(rate, seed, step, row, column, x):
    """Apply dropout to one stored input of a sparse row, exactly as `drop_rows` does.

    Parameters
    ----------
    rate : float
        Fraction of the inputs to drop; 0 for no dropout.
    seed, step : int
    row, column : int
        Position of the input in the training data.
    x : float

    Returns
    -------
    x : float
        Zero, or ``x / (1 - rate)``.
    """
    if rate == 0.0:
        return x
    drawn = draw_units(seed, step, 0, row, column // 4)
    kept = drawn[column % 4] >= _threshold(rate)
    return x * number(1.0 / (1.0 - rate) if kept else 0.0, x)
