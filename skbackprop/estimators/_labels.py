"""Checks of class labels: missing, mixed or ambiguous labels, and labels that are not among the classes."""

import numpy as np

from skbackprop.estimators._arrays import refuse_misread

__all__ = ["check_labels", "refuse_misread_labels", "refuse_other_classes", "unknown_labels"]


def _is_date(y):
    """Whether labels are NumPy dates, which are valid class labels."""
    return getattr(getattr(y, "dtype", None), "kind", "") in ("m", "M")


def check_labels(labels, name):
    """Raise ValueError for labels that scikit-learn would misread or refuse without a clear message.

    These are missing labels, labels of mixed types, which have no common order, and numbers in an array of dtype
    object.

    Parameters
    ----------
    labels : object
        As given by the user.
    name : str
        Name of the argument in error messages.
    """
    kinds, values = _types(labels)
    n_missing = _count_missing(labels, kinds, values)
    if n_missing:
        raise ValueError(
            f"{name} has missing labels ({n_missing} of {np.size(labels)}): leave these rows out, or give them a label of their own"
        )
    is_text = [issubclass(kind, str) for kind in kinds]
    if any(is_text) and not all(is_text):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"{name} has labels of mixed types ({names}), which have no common order: make them all text, for example with "
            f"numpy.asarray({name}, dtype=object).astype(str), or all numbers"
        )
    if kinds and all(issubclass(kind, _NUMBERS) for kind in kinds) and np.asarray(labels).dtype == object:
        dtype = np.asarray(values.tolist()).dtype
        raise ValueError(
            f"Unknown label type: {name} is an array of objects, which are numbers: give {name}.astype({dtype.name!r})"
        )


_NUMBERS = bool, int, float, np.bool_, np.integer, np.floating


def _types(labels):
    """Return the types of labels that are Python objects, and these labels; an empty set and None for other arrays."""
    if isinstance(labels, list | tuple):
        # Not converted to an array: NumPy would turn mixed labels into text.
        return {kind for kind in map(type, labels) if not issubclass(kind, list | tuple | np.ndarray)}, labels
    if getattr(getattr(labels, "dtype", None), "kind", "") == "O":
        values = np.asarray(labels, dtype=object)
        return set(map(type, np.ravel(values))), values
    return set(), None


def _count_missing(labels, kinds, values):
    """Return the number of missing labels."""
    if hasattr(labels, "isna"):  # pandas
        return int(np.sum(np.asarray(labels.isna())))
    if hasattr(labels, "null_count"):  # polars, pyarrow
        count = labels.null_count
        count = int(np.sum(np.asarray(count() if callable(count) else count)))
        return count or _count_missing(np.asarray(labels), kinds, values)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "fmM":
        return int(np.sum(np.isnan(labels) if labels.dtype.kind == "f" else np.isnat(labels)))
    if any(kind.__name__ in _MISSING or issubclass(kind, float | np.floating | np.datetime64) for kind in kinds):
        return sum(map(_is_missing, values if isinstance(values, list | tuple) else values.ravel()))
    return 0


# Type names of None, pandas.NA and pandas.NaT, which is not a numpy.datetime64.
_MISSING = ("NoneType", "NAType", "NaTType")


def _is_missing(label):
    if isinstance(label, np.datetime64):
        return bool(np.isnat(label))
    return type(label).__name__ in _MISSING or (isinstance(label, float | np.floating) and bool(np.isnan(label)))


def unknown_labels(labels, classes):
    """Return the labels that are not among the classes.

    Text never equals a number; NumPy would convert both to text and compare that.

    Parameters
    ----------
    labels, classes : ndarray
        Unique values.

    Returns
    -------
    unknown : ndarray
    """
    if (labels.dtype.kind in "UO") != (classes.dtype.kind in "UO"):
        return labels
    return np.setdiff1d(labels, classes, assume_unique=True)


def refuse_other_classes(classes, fitted):
    """Raise ValueError if the classes of a warm start differ from those of the previous fit.

    Parameters
    ----------
    classes, fitted : ndarray
        Unique labels of this fit and of the previous one.
    """
    if len(unknown_labels(classes, fitted)) or len(classes) != len(fitted):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
            f"got {fitted}, `y` has {classes}"
        )


def refuse_misread_labels(labels, name):
    """Raise TypeError or ValueError for labels that validation would misread, or refuse without a clear message.

    Parameters
    ----------
    labels : object
        As given by the user.
    name : str
        Name of the argument in error messages.
    """
    refuse_misread(**{name: None if _is_date(labels) else labels})
    check_labels(labels, name)
