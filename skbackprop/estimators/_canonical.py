"""Canonical forms of fitted attributes: equal fits give equal files, pickles and joblib hashes."""

from dataclasses import fields, replace

import numpy as np

__all__ = ["as_it_is", "bare", "new_strings", "settled", "without_times"]


def as_it_is(value):
    """Return the value itself, which is canonical already."""
    return value


def without_times(history):
    """Return the history without times, which differ between equal trainings."""
    return [
        {**record, "seconds": None} if isinstance(record, dict) and "seconds" in record else record
        for record in history
    ]


def new_strings(labels):
    """Copy labels or names to new string objects: a pickle depends on whether a string is shared with other objects."""
    if isinstance(labels, list):
        return [new_strings(column) for column in labels]
    if labels.dtype.kind != "O":
        return labels
    # Joining two parts creates a new object; a plain copy would return the same one.
    new = ["".join((item[:1], item[1:])) if type(item) is str else item for item in labels.ravel()]
    return np.array(new, dtype=object).reshape(labels.shape)


def settled(value):
    """Recreate empty arrays: unpickled ones have other strides, which change joblib's hash."""
    return np.empty(value.shape, value.dtype) if isinstance(value, np.ndarray) and not value.size else value


def bare(optimizer):
    """Copy an optimizer's state without its cached values; return None for None."""
    if optimizer is None:
        return None
    return replace(optimizer, **{field.name: settled(getattr(optimizer, field.name)) for field in fields(optimizer)})
