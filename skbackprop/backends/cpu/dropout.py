"""Dropout: which units of which rows are set to zero in an update.

"Inverted" dropout: what is kept is multiplied by ``1 / (1 - rate)``, so that nothing has to be done for predictions
(Srivastava et al., 2014, section 10). Whether a unit is dropped depends on the seed, the update, the row of the data, the
layer and the unit alone.
"""

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions.elementary import natural, number
from skbackprop.functions.random import draw_units

__all__ = ["drop_entry", "drop_rows"]


@formula
def _threshold(rate):
    """Units with a smaller random number are dropped."""
    return np.uint64(rate * 4294967296.0)


@formula
def drop_rows(rate, seed, step, layer, numbers, first, last, n_units, units, slopes, keeps):
    """Drop units of a range of a block's rows.

    Parameters
    ----------
    rate : float
        Share of the units.
    seed, step, layer : int
    numbers : pointer to int64
        Which row of the training data each row of the block is.
    first, last : int
        Range of the block's rows.
    n_units : int
    units, slopes : pointer
        Outputs and slopes of these rows, changed in place; the gradient, which is multiplied by the slopes, passes back through
        what was kept.
    keeps : bool
        Whether there are slopes.
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
    """What `drop_rows` makes of one input, where only those that are not zero are stored.

    Parameters
    ----------
    rate : float
        Share of the inputs; 0 for no dropout.
    seed, step : int
    row, column : int
        Where the input stands in the training data.
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
