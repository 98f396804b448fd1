"""Validation of the arguments of a fit: errors are raised here, before random numbers are drawn or callbacks called."""

import copy
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_consistent_length, validate_data

from skbackprop._sklearn import _check_sample_weight, _matching_numpy_dtype, callbacks_of
from skbackprop.backends import get_backend, training_device
from skbackprop.backends.data import as_rows
from skbackprop.estimators._arrays import as_numpy, brought, library_of, refuse_misread
from skbackprop.estimators._choices import accepted_dtypes, accepted_sparse, hidden_units
from skbackprop.estimators._class_weight import weigh_rows
from skbackprop.estimators._fit import Arguments
from skbackprop.estimators._on_disk import RowsOnDisk
from skbackprop.estimators._shared import SharedRows
from skbackprop.estimators._state import take_targets, weights_dtype
from skbackprop.estimators._targets import Targets
from skbackprop.estimators._validation import HeldOut, as_given, labels_like
from skbackprop.estimators._workers import check_agreement, is_any
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.training.warned import warn

__all__ = ["Inputs", "read", "validate_rows"]


@dataclass
class Inputs:
    """Validated arguments of a fit.

    Parameters
    ----------
    arguments : Arguments
        As given by the user, except that sample weights and groups are validated.
    X, y : array
        Validated.
    targets : Targets
        Kind of the targets.
    encoded : ndarray of shape (n_rows, n_columns)
        Targets for the kernels.
    loss_weight : ndarray of shape (n_rows,) or None
        Sample weights multiplied by class weights.
    held_out : HeldOut or None
        Validation data given by the user.
    splits : bool
        Whether to split rows off for validation.
    scorer : callable or None
        Scorer of the validation rows, from `scoring`.
    dtype : numpy.dtype
        Dtype of the weights.
    device : str
        Device to train on.
    n_own : int
        Number of rows to train on or to split off for validation: all, or none if they are borrowed.
    """

    arguments: Arguments
    X: Any
    y: Any
    targets: Targets
    encoded: np.ndarray
    loss_weight: np.ndarray | None
    held_out: HeldOut | None
    splits: bool
    scorer: Any
    dtype: np.dtype
    device: str
    n_own: int


def read(fit, arguments):
    """Validate the arguments of a fit.

    Parameters
    ----------
    fit : Fit
        The attributes of validation, such as `n_features_in_`, are set on its model.
    arguments : Arguments

    Returns
    -------
    inputs : Inputs
    """
    model = fit.model
    splits = _check_call(fit, arguments)
    scorer = None if model.scoring in (None, "loss") else check_scoring(model, scoring=model.scoring)
    device = training_device(model.device, arguments.X)
    X, y, groups = brought(arguments.X, device), as_numpy(arguments.y), as_numpy(arguments.groups)
    X, y = _validate(model, X, y, fit.first_pass)
    workers = fit.workers
    if workers is not None:
        _check_agreement(workers, model, arguments, X, y)
    if groups is not None:
        check_consistent_length(y, groups)
    memory = X.memory_of(y) if isinstance(X, SharedRows) else {}
    targets, encoded = model._read_targets(y, fit.first_pass, memory, fit.incremental, arguments.classes, workers)
    take_targets(model, targets)
    dtype = _dtype_of(X) if fit.first_pass else weights_dtype(model.coefs_)
    if model.precision == "tf32" and dtype != np.float32:
        raise ValueError(
            f"precision='tf32' is for weights of float32, and these are {dtype}: set dtype='float32', or precision='full'"
        )
    sample_weight = _read_weight("sample_weight", arguments.sample_weight, encoded, dtype, workers)
    n_own = 0 if arguments.borrowed else len(encoded)
    own_weight = None if sample_weight is None else sample_weight[:n_own]
    factors = targets.class_factors(encoded[:n_own], own_weight, workers)
    loss_weight = weigh_rows(factors, encoded, sample_weight, dtype)
    if not (fit.incremental or loss_weight is None or is_any(loss_weight[:n_own], workers)):
        raise ValueError("class_weight leaves no sample a weight: give a class a positive one")
    _check_size(loss_weight)
    _check_range(encoded, dtype, "y")
    held_out = None
    if arguments.X_val is not None:
        held_out = _read_held_out(model, arguments, targets, encoded.shape[1], factors, dtype, device, workers)
    arguments = replace(arguments, sample_weight=sample_weight, groups=groups)
    return Inputs(arguments, X, y, targets, encoded, loss_weight, held_out, splits, scorer, dtype, device, n_own)


def _check_call(fit, arguments):
    """Raise ValueError for arguments that contradict the parameters; return whether to split off validation rows."""
    model = fit.model
    if fit.incremental and hasattr(model, "coefs_"):
        # scikit-learn's wrapper validates parameters in the first call of partial_fit only.
        model._validate_params()
    # Raises an error for an unusable device before any work is done.
    get_backend(model.device, precision=model.precision)
    hidden_units(model)
    if fit.incremental:
        _check_partial_fit(model)
    has_validation_data = _has_validation_data(model, arguments)
    splits = model.early_stopping and model.solver != "lbfgs" and not has_validation_data
    if arguments.groups is not None and (isinstance(model.validation_fraction, Real) or not splits):
        # A random split would not keep the groups together.
        raise ValueError(
            "groups are passed to fit, but nothing uses them: set early_stopping=True, set validation_fraction to a splitter "
            "for groups such as GroupShuffleSplit, and leave out X_val"
        )
    return splits


def _check_partial_fit(model):
    """Raise ValueError for parameters that only `fit` supports; warn of callbacks, which it does not call."""
    for name in ("early_stopping", "restore_best_weights"):
        if getattr(model, name):
            raise ValueError(f"partial_fit does not support {name}=True")
    callbacks = callbacks_of(model)
    if callbacks:
        names = ", ".join(type(callback).__name__ for callback in callbacks)
        warn(
            f"partial_fit calls no callbacks, and nothing comes of {names}. To be able to go on after an interruption, save the "
            "estimator between the calls, for example with its method save; set_callbacks() without arguments removes them.",
            TrainingWarning,
        )


def _has_validation_data(model, arguments):
    """Whether validation data were given; raises ValueError if they are incomplete, or if nothing would use them."""
    for name in ("X_val", "y_val", "sample_weight_val"):
        for needed in ("X_val", "y_val"):
            if getattr(arguments, name) is not None and getattr(arguments, needed) is None:
                raise ValueError(f"{name} is provided, but {needed} was not provided.")
    if arguments.X_val is None:
        return False
    if model.solver == "lbfgs":
        raise ValueError(
            f"X_val and y_val are passed to fit, but solver={model.solver!r} has no early stopping; leave them out, or use "
            f"one of {', '.join(map(repr, OPTIMIZERS))}"
        )
    if not (model.early_stopping or model.restore_best_weights):
        raise ValueError(
            "X_val and y_val are passed to fit while at the same time early_stopping is False. Set early_stopping=True, "
            "or restore_best_weights=True, for them to be used."
        )
    return True


def _validate(model, X, y, reset, suffix=""):
    """Validate data and targets with scikit-learn; set attributes such as `n_features_in_` if `reset`."""
    refuse_misread(**{f"X{suffix}": X})
    model._refuse_targets(y, f"y{suffix}")
    dtype = accepted_dtypes(model)
    library = library_of(X)
    if library is not None:
        dtype = library.float_types(model.dtype)
    y_checks = {"multi_output": True, "y_numeric": model._numeric_targets}
    # Values that overflow float32 are refused as infinite; NumPy's warning would only repeat the error.
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(X, RowsOnDisk):
            # On a copy: validate_data without X deletes feature_names_in_.
            return X.validate(model, reset), validate_data(copy.copy(model), y=y, **y_checks)
        if isinstance(X, SharedRows):
            # Targets first: validate_data without X deletes feature_names_in_.
            memory, checked = X.memory_of(y), ("valid", model._numeric_targets)
            if checked not in memory:
                y = validate_data(model, y=y, **y_checks)
                memory[checked] = True
            return X.validate(model, dtype, reset), y
        return validate_data(model, X, y, accept_sparse=accepted_sparse(model), dtype=dtype, reset=reset, **y_checks)


def validate_rows(model, X, reset, name):
    """Validate dense rows of an argument of this name, without targets; see `_validate`."""
    refuse_misread(**{name: X})
    with np.errstate(over="ignore", invalid="ignore"):
        return validate_data(model, X, dtype=accepted_dtypes(model), reset=reset)


def _check_agreement(workers, model, arguments, X, y):
    """Raise ValueError if the workers cannot fit the same model to their data."""
    if model.device != "cpu":
        raise ValueError(f"device={model.device!r} is for fits on one machine: set device='cpu'")
    check_agreement(
        workers,
        columns=X.shape[1],
        names_of_columns=getattr(model, "feature_names_in_", np.empty(0)).tolist(),
        dtype_of_X=str(X.dtype),
        kind_of_X="sparse" if sparse.issparse(X) else "dense",
        columns_of_y=y.shape[1:],
        kind_of_y="text" if y.dtype.kind in "OSU" else "numbers",
        sample_weight="none" if arguments.sample_weight is None else "weights",
        X_val="none" if arguments.X_val is None else "rows",
        sample_weight_val="none" if arguments.sample_weight_val is None else "weights",
    )


def _read_weight(name, weight, encoded, dtype, workers):
    """Validate sample weights for these encoded targets; return None for None."""
    if weight is None:
        return None
    refuse_misread(**{name: weight})
    # All weights of a worker may be zero, but not those of all workers.
    weight = _check_sample_weight(
        as_numpy(weight), encoded, dtype=dtype, ensure_non_negative=True, allow_all_zero_weights=workers is not None
    )
    if workers is not None and not is_any(weight, workers):
        raise ValueError(f"{name} is zero for every sample of every worker")
    return weight


def _read_held_out(model, arguments, targets, n_columns, factors, dtype, device, workers):
    """Validate `X_val`, `y_val` and `sample_weight_val`."""
    X_val = brought(arguments.X_val, device)
    try:
        X, y = _validate(model, X_val, as_numpy(arguments.y_val), reset=False, suffix="_val")
    except ValueError as error:
        raise ValueError(f"In the validation data, X_val and y_val: {error}") from error
    encoded = targets.read(y, "y_val", same=model.warm_start and workers is None)
    if encoded.shape[1] != n_columns:
        raise ValueError(f"y_val has {encoded.shape[1]} column(s), but y has {n_columns}")
    try:
        sample_weight = _read_weight("sample_weight_val", arguments.sample_weight_val, encoded, dtype, workers)
    except ValueError as error:
        raise ValueError(f"In the validation data, sample_weight_val: {error}") from error
    _check_range(encoded, dtype, "y_val")
    loss_weight = weigh_rows(factors, encoded, sample_weight, dtype)
    if loss_weight is not None and not is_any(loss_weight, workers):
        raise ValueError(
            "class_weight leaves no sample in X_val a weight: give one of the classes in y_val a positive one"
        )
    rows, given = as_rows(X, dtype), as_given(arguments.X_val, X)
    held_out = HeldOut(rows, encoded, sample_weight, loss_weight, given, labels_like(X, y))
    return held_out.emptied() if arguments.borrowed_val else held_out


def _dtype_of(X):
    """Return the NumPy dtype of validated data."""
    return X.dtype if isinstance(X.dtype, np.dtype) else _matching_numpy_dtype(X)


def _check_range(encoded, dtype, name):
    """Raise ValueError for targets that overflow the network's dtype."""
    if encoded.dtype.kind == "f" and max(encoded.max(), -encoded.min()) > np.finfo(dtype).max:
        raise ValueError(f"{name} contains values too large for {dtype}; scale y, or use dtype='float64'")


def _check_size(weights):
    """Raise ValueError for sample weights that are subnormal, or whose sum, the loss's divisor, overflows."""
    if weights is None or not weights.any():
        return
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or weights.max() < np.finfo(weights.dtype).tiny:
        raise ValueError(
            f"sample_weight, with class_weight, is too {'small' if np.isfinite(total) else 'large'} for {weights.dtype}: multiply all "
            "weights by a number that brings them near 1"
        )
