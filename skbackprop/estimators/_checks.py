"""Checks of values read from files, which may be damaged or forged."""

from numbers import Integral, Real

import numpy as np

from skbackprop.exceptions import ModelFileError

__all__ = [
    "check_array",
    "check_classes",
    "check_count",
    "check_curve",
    "check_history",
    "check_name",
    "check_number",
    "check_places",
    "require",
]


def require(condition, message):
    """Raise ModelFileError with this message unless the condition holds."""
    if not condition:
        raise ModelFileError(message)


def check_name(value, name):
    """Raise ModelFileError unless the value is a str."""
    require(isinstance(value, str), f"{name} has to be a name")


def check_count(value, name, least=0):
    """Raise ModelFileError unless the value is an integer of at least `least`."""
    require(isinstance(value, Integral) and value >= least, f"{name}={value!r} has to be a count")


def check_number(value, name, or_none=True):
    """Raise ModelFileError unless the value is a number, or None if `or_none`."""
    require(isinstance(value, Real) or (or_none and value is None), f"{name} has to be a number")


def check_curve(values, name):
    """Raise ModelFileError unless the value is a list of numbers or None."""
    is_curve = isinstance(values, list) and all(isinstance(value, Real) for value in values)
    require(values is None or is_curve, f"{name} has to be a list of numbers")


def check_history(records, name):
    """Raise ModelFileError unless the value is a list of dicts."""
    is_history = isinstance(records, list) and all(isinstance(record, dict) for record in records)
    require(is_history, f"{name} has to be a list of dicts")


def check_array(array, shape, dtype, name):
    """Raise ModelFileError unless the value is a finite array of this shape and dtype."""
    require(
        isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape,
        f"{name} has to be an array of {dtype} and of shape {shape}",
    )
    require(np.isfinite(array).all(), f"{name} has values that are not finite")


def check_places(array, shape, stop, name):
    """Raise ModelFileError unless the value is an integer array of this shape, with values from 0 to `stop` - 1."""
    is_one = isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.shape == shape
    require(is_one and (array >= 0).all() and (array < stop).all(), f"{name} has to hold numbers below {stop}")


def check_classes(classes):
    """Raise ModelFileError unless the classes are unique and sorted."""
    require(isinstance(classes, np.ndarray) and classes.ndim == 1 and classes.size, "classes_ has to be an array")
    require(np.array_equal(np.unique(classes), classes), "classes_ have to be different and in order")
