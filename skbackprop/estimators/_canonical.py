"""The forms in which equal fits have equal files, pickles and hashes."""

from dataclasses import fields, replace

import numpy as np

__all__ = ["as_it_is", "bare", "new_strings", "settled", "without_times"]


def as_it_is(value):
    """A value that has no other form."""
    return value


def without_times(history):
    """The history as it is kept: equal trainings take different times."""
    return [
        {**record, "seconds": None} if isinstance(record, dict) and "seconds" in record else record
        for record in history
    ]


def new_strings(labels):
    """Labels or names as strings that are nobody else's: pickles tell apart whether one occurs elsewhere."""
    if isinstance(labels, list):
        return [new_strings(column) for column in labels]
    if labels.dtype.kind != "O":
        return labels
    # Two parts make a new string.
    new = ["".join((item[:1], item[1:])) if type(item) is str else item for item in labels.ravel()]
    return np.array(new, dtype=object).reshape(labels.shape)


def settled(value):
    """Empty arrays anew: they come out of a pickle with other strides, which joblib's hash takes for something else."""
    return np.empty(value.shape, value.dtype) if isinstance(value, np.ndarray) and not value.size else value


def bare(optimizer):
    """An optimizer's state without what it has computed when it was asked; None if there is none."""
    if optimizer is None:
        return None
    return replace(optimizer, **{field.name: settled(getattr(optimizer, field.name)) for field in fields(optimizer)})
