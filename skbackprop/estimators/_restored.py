"""Networks from files: whether their attributes go together, and those that follow from them."""

from numbers import Real

import numpy as np

from skbackprop.estimators._checks import check_array, check_classes, check_count, require
from skbackprop.estimators._choices import choose_network
from skbackprop.estimators._state import (
    NETWORK,
    WEIGHTS,
    check_same_layers,
    flat_state,
    layer_attributes,
    layer_units,
    state_attributes,
)
from skbackprop.estimators._targets import CLASS_TARGETS, ColumnsOfClasses
from skbackprop.functions.optimizers import Optimizer
from skbackprop.functions.schedules import Schedule
from skbackprop.training.progress import OptimizerState

__all__ = ["check_network", "restore_network"]


def restore_network(estimator):
    """Make the attributes of a file those of a fitted network.

    Parameters
    ----------
    estimator : BaseBackprop
        With the attributes that are in the file.

    Raises
    ------
    ModelFileError
        If they do not go together.
    """
    network = check_network(estimator)
    params, running = flat_state(estimator, network, estimator.coefs_[0].dtype)
    vars(estimator).update(state_attributes(network, params, running) | layer_attributes(network, estimator._targets))
    estimator.n_features_in_ = network.layer_units[0]


def check_network(estimator):
    """The network of fitted attributes.

    Parameters
    ----------
    estimator : BaseBackprop

    Returns
    -------
    network : Network

    Raises
    ------
    ModelFileError
        If they do not go together.
    """
    coefs = estimator.coefs_
    require(isinstance(coefs, list) and coefs, "coefs_ has to be a list of arrays")
    require(all(isinstance(coef, np.ndarray) and coef.ndim == 2 for coef in coefs), "coefs_ has to hold matrices")
    require(all(coef.size for coef in coefs), "coefs_ has an empty matrix")
    _check_outputs(estimator)
    network = choose_network(estimator, layer_units(estimator))
    check_same_layers(estimator, network)
    dtype = coefs[0].dtype
    require(dtype in (np.float32, np.float64), f"coefs_ are of type {dtype}")
    for name in WEIGHTS:
        kind = np.dtype(np.float64) if "running" in name else dtype
        for array in getattr(estimator, name, ()):
            check_array(array, np.shape(array), kind, name)
    params, running = flat_state(estimator, network, dtype)
    variances = getattr(estimator, "running_variances_", ())
    require(all((variance >= 0).all() for variance in variances), "a variance is negative")
    best = getattr(estimator, "_best_params", None), getattr(estimator, "_best_running", None)
    for array, like, name in zip(best, (params, running), ("_best_params", "_best_running"), strict=True):
        if array is not None:
            check_array(array, like.shape, like.dtype, name)
    for entry in NETWORK:
        if entry.check is not None and hasattr(estimator, entry.name):
            entry.check(getattr(estimator, entry.name), entry.name)
    if getattr(estimator, "_optimizer", None) is not None:
        _check_optimizer(estimator, params, running)
    return network


def _check_outputs(estimator):
    """That there are as many outputs as the classes, or the targets, ask for."""
    n_outputs = estimator.coefs_[-1].shape[1]
    if hasattr(estimator, "classes_"):
        name = estimator._target_type
        kind = CLASS_TARGETS.get(name)
        labels = estimator.classes_ if kind is ColumnsOfClasses else [estimator.classes_]
        require(isinstance(labels, list), "classes_ has to be a list of arrays")
        for classes in labels:
            check_classes(classes)
        # Of two classes at most there is one output.
        fits = kind is not None and (name != "binary" or len(labels[0]) <= 2)
        fits = fits and kind(estimator.loss, estimator.classes_).n_outputs() == n_outputs
        require(fits, f"{n_outputs} outputs do not go with {name} targets and these classes")
        return
    require(estimator._numeric_targets, "classes_ is missing")
    n_targets, rest = divmod(n_outputs, estimator._loss().outputs_per_target())
    require(rest == 0, f"{n_outputs} outputs do not go with loss={estimator.loss!r}")
    require(
        hasattr(estimator, "target_mean_") == hasattr(estimator, "target_scale_"), "target_scale_ needs target_mean_"
    )
    for name in ("target_mean_", "target_scale_"):
        if hasattr(estimator, name):
            check_array(getattr(estimator, name), (n_targets,), np.float64, name)


def _check_optimizer(estimator, params, running):
    """Raise ModelFileError if the optimizer's state does not go together with the rest."""
    state = estimator._optimizer
    if isinstance(state, dict):
        state = estimator._optimizer = OptimizerState(**state)
    require(isinstance(state.optimizer, Optimizer), "the optimizer's state names no optimizer")
    require(isinstance(state.schedule, Schedule), "the optimizer's state names no schedule")
    state.optimizer._validate_params()
    state.schedule._validate_params()
    check_array(state.slots, (state.optimizer.n_slots, params.size), params.dtype, "slots")
    n_averaged = 0 if estimator.averaging is None else params.size
    if state.average.size != n_averaged:  # the parameter was changed after training
        n_averaged = params.size - n_averaged
    check_array(state.average, (n_averaged,), params.dtype, "average")
    check_array(state.carried, (2,), np.float64, "carried")
    check_array(state.running, running.shape, np.float64, "running")
    if state.raw_params is not None:
        check_array(state.raw_params, params.shape, params.dtype, "raw_params")
    for name in ("initial_rate", "power_t", "plateau_rate", "learning_rate"):
        value = getattr(state, name)
        require(isinstance(value, Real) and np.isfinite(value) and value >= 0, f"{name}={value!r} has to be a number")
    for name in ("max_epochs", "n_steps", "n_epochs"):
        check_count(getattr(state, name), name)
