"""What becomes of numbers and dates: robust scales, the smooth clip, and the cycles of a calendar."""

import numpy as np

__all__ = [
    "CYCLES",
    "LIMIT",
    "STEEP",
    "angle",
    "cycles",
    "passed",
    "quantile_places",
    "robust_scale",
    "smooth_clip",
    "trend",
]

#: Where values bend away from a straight line, in units of the interquartile range: none leaves -3..3.
LIMIT = 3.0
#: Far beyond all that matters: the square of the one, and the sum of two of the other, are numbers.
STEEP, _HUGE = 1e150, 1e300

_DAY = np.timedelta64(1, "D")
_SECOND = np.timedelta64(1, "s")


def smooth_clip(z):
    r"""Bring numbers into -3..3, smoothly, those of ordinary size hardly changed.

    .. math:: z / \sqrt{1 + (z / 3)^2}

    Parameters
    ----------
    z : ndarray of float64
        Overwritten. Infinities become the limits; NaN stays.

    Returns
    -------
    clipped : ndarray
        The same array.

    References
    ----------
    D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs and boosted trees on tabular
    data. arXiv 2407.04491, section 3.
    """
    np.clip(z, -STEEP, STEEP, out=z)
    bend = z / LIMIT
    bend *= bend
    bend += 1.0
    np.sqrt(bend, out=bend)
    z /= bend
    return z


def quantile_places(values, n_quantiles):
    """Where quantiles lie, and their places from 0 to 1.

    Unlike :class:`~sklearn.preprocessing.QuantileTransformer`, which has a jump where several quantiles are the same number,
    this gives them the mean of their places: what lies between is linear in the number.

    Parameters
    ----------
    values : ndarray of float64, 1-D
        Finite numbers.
    n_quantiles : int
        Number of quantiles, the smallest and the largest number among them.

    Returns
    -------
    knots : ndarray of shape (2, n_knots)
        The different quantiles in ascending order, and their places.
    """
    every = np.linspace(0.0, 1.0, n_quantiles)
    quantiles, index, counts = np.unique(np.quantile(values, every), return_inverse=True, return_counts=True)
    return np.stack([quantiles, np.bincount(index, weights=every) / counts])


def robust_scale(values, zero_iqr="range"):
    """Where the middle of a column lies, and by what to multiply for a spread of about one.

    Parameters
    ----------
    values : ndarray of float64, 1-D
        NaN are left out, and infinities as long as there are other values.
    zero_iqr : {"range", "std", "rest"}, default="range"
        The spread of a column whose quartiles are equal: half its range, its standard deviation, or the interquartile
        range of the values other than the median.

    Returns
    -------
    center : float
        The median; 0 without values.
    scale : float
        1 / (upper quartile - lower quartile); if these are equal, one over the spread that `zero_iqr` says; 0 if all
        values are equal.
    is_flat : bool
        Whether the quartiles are equal, and there are at least two other values.
    """
    finite = values[np.isfinite(values)]
    # Beside a single number, infinities are information, too.
    alone = float(len(finite) < np.count_nonzero(~np.isnan(values)))
    if len(finite) == 0:
        return 0.0, alone, False
    finite = np.clip(finite, -_HUGE, _HUGE)
    low, center, high = np.percentile(finite, [25, 50, 75])
    spread, is_flat = high - low, False
    if not spread > 0:
        rest = finite[finite != center]
        is_flat = len(rest) > 0 and bool(np.any(rest != rest[0]))
        if zero_iqr == "std":
            spread = np.std(finite)
        elif zero_iqr == "rest" and is_flat:
            spread = np.subtract(*np.percentile(rest, [75, 25]))
    if not spread > 0:
        spread = (finite.max() - finite.min()) / 2
    if not spread > 0:
        return float(center), alone, False
    # One over the smallest numbers is infinite.
    return float(center), min(1 / float(spread), _HUGE), is_flat


def trend(dates):
    """Days since 1970.

    Parameters
    ----------
    dates : ndarray of datetime64[us]

    Returns
    -------
    days : ndarray of float64
        With fractions; NaN for NaT.
    """
    return (dates - np.datetime64(0, "us")) / _DAY


def _year(dates):
    years = dates.astype("datetime64[Y]")
    start = years.astype(dates.dtype)
    return (dates - start) / ((years + 1).astype(dates.dtype) - start)


def _week(dates):
    # 1970 began on a Thursday.
    return np.mod(trend(dates.astype("datetime64[D]").astype(dates.dtype)) + 3, 7) / 7


def _day(dates):
    return (dates - dates.astype("datetime64[D]").astype(dates.dtype)) / _DAY


#: The cycles of a calendar, with their length in days, and how much of it has passed, 0 to 1.
CYCLES = {"year": (365, _year), "week": (7, _week), "day": (1, _day)}


def passed(kind, values, cycle):
    """How much of a cycle of the calendar has passed.

    Parameters
    ----------
    kind : {"date", "time"}
    values : ndarray
        Of datetime64[us] for dates, of seconds since midnight for times.
    cycle : {"year", "week", "day"}
        Of a week, whole days count, so that it does not repeat what the day says. Times only have a day.

    Returns
    -------
    part : ndarray of float64
        0 at the start of the cycle, and 1 at its end; NaN for missing values.
    """
    return values / 86400 if kind == "time" else CYCLES[cycle][1](values)


def angle(kind, values, cycle):
    """The same as an angle.

    Parameters
    ----------
    kind, values, cycle : object
        As in `passed`.

    Returns
    -------
    angle : ndarray of float64
        0 at the start of the cycle, and 2 pi at its end; NaN for missing values.
    """
    return 2 * np.pi * passed(kind, values, cycle)


def cycles(kind, values):
    """The cycles that a column goes round, and in which its values differ.

    Parameters
    ----------
    kind : str
        That of the column.
    values : ndarray

    Returns
    -------
    names : list of str
        Of `CYCLES`, for dates; "day" or nothing for times; nothing for other kinds.
    """
    if kind not in ("date", "time"):
        return []
    values = values[values == values]
    days = np.inf if kind == "time" else np.ptp(trend(values))
    return [
        name
        for name, (length, _) in CYCLES.items()
        if days >= length and (kind == "date" or name == "day") and np.ptp(angle(kind, values, name)) > 0
    ]
