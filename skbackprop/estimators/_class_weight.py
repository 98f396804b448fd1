"""Class weights, and sample weights multiplied by them."""

import math
from numbers import Real

import numpy as np

from skbackprop.estimators._workers import count

__all__ = ["class_factors", "weigh_rows"]


def class_factors(class_weight, labels, codes, sample_weight, workers=None):
    """Compute the weight of every class, as `sklearn.utils.class_weight.compute_sample_weight` does.

    Unlike scikit-learn's, "balanced" weights the counts by `sample_weight`, so that a row of weight two and a row
    given twice lead to the same class weights.

    Parameters
    ----------
    class_weight : "balanced", dict or list of dict
        A list has one dict per column of labels.
    labels : list of ndarray
        Classes of each column of labels.
    codes : ndarray of shape (n_rows, n_columns)
        Positions in `labels`.
    sample_weight : ndarray of shape (n_rows,) or None
    workers : Collective or None, default=None
        Workers with other rows, which count as well.

    Returns
    -------
    factors : list of ndarray, float64
        Weights of the classes of each column.

    Raises
    ------
    ValueError
        If the form does not match the number of columns, if a weight is negative, or if a dict has keys that are not
        classes and lacks classes.
    """
    if isinstance(class_weight, str):
        return [_balanced(len(own), codes[:, column], sample_weight, workers) for column, own in enumerate(labels)]
    if len(labels) == 1:
        if not isinstance(class_weight, dict):
            raise ValueError("For one column of labels, class_weight should be a dict, or the string 'balanced'.")
        return [_given(class_weight, labels[0])]
    if not isinstance(class_weight, list):
        raise ValueError("For multi-output, class_weight should be a list of dicts, or the string 'balanced'.")
    if len(class_weight) != len(labels):
        raise ValueError(
            "For multi-output, number of elements in class_weight should match number of outputs. "
            f"Got {len(class_weight)} element(s) while having {len(labels)} outputs."
        )
    return [_given(column, own) for column, own in zip(class_weight, labels, strict=True)]


def _balanced(n_classes, codes, sample_weight, workers):
    counts = count(np.bincount(codes.astype(np.intp), weights=sample_weight, minlength=n_classes), workers)
    present = counts > 0
    factors = np.ones(n_classes)
    factors[present] = counts.sum() / (present.sum() * counts[present])
    return factors


def _given(class_weight, labels):
    labels = labels.tolist()
    missing = [label for label in labels if label not in class_weight]
    unknown = [key for key in class_weight if key not in labels]
    if missing and unknown:
        raise ValueError(f"The classes, {missing}, are not in class_weight, whose keys {unknown} are no classes")
    invalid = {
        label: weight
        for label, weight in class_weight.items()
        if not (isinstance(weight, Real) and math.isfinite(weight) and weight >= 0)
    }
    if invalid:
        raise ValueError(f"class_weight must be non-negative, got {invalid}: give each class a finite number")
    return np.array([class_weight.get(label, 1.0) for label in labels], dtype=np.float64)


def weigh_rows(factors, codes, sample_weight, dtype):
    """Multiply the sample weights by the weights of the rows' classes.

    Parameters
    ----------
    factors : list of ndarray or None
        Class weights, see `class_factors`; None for ones.
    codes : ndarray of shape (n_rows, n_columns)
    sample_weight : ndarray of shape (n_rows,) or None
    dtype : numpy.dtype

    Returns
    -------
    weights : ndarray of shape (n_rows,) or None
        None if all weights are one.

    Raises
    ------
    ValueError
        If a product overflows.
    """
    if factors is None:
        return sample_weight
    weights = np.ones(len(codes)) if sample_weight is None else sample_weight.astype(np.float64)
    for column, own in enumerate(factors):
        weights *= own[codes[:, column].astype(np.intp)]
    with np.errstate(over="ignore"):
        weights = weights.astype(dtype)
    if not np.isfinite(weights).all():
        raise ValueError(f"class_weight and sample_weight give rows weights too large for {dtype}; give smaller ones")
    return weights
