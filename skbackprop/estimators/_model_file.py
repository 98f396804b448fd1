"""Estimators in files: which of their values a file holds, and what has to be right before they are believed."""

import json
from dataclasses import fields, replace
from numbers import Integral, Real

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

import skbackprop.estimators as estimators
from skbackprop.estimators._state import STATE_ATTRIBUTES, check_same_normalization, flat_state, state_attributes
from skbackprop.estimators._targets import CLASS_TARGETS, ColumnsOfClasses
from skbackprop.exceptions import ModelFileError
from skbackprop.functions.optimizers import Optimizer
from skbackprop.functions.schedules import Schedule
from skbackprop.persistence.container import FORMAT, read, write
from skbackprop.persistence.encoding import decode, encode
from skbackprop.training.progress import OptimizerState

__all__ = ["SavesToFile", "describe", "describe_parameters", "load", "name_only", "refuse", "restore", "save"]

# In pickles, the number of the format of the estimators' state.
_STATE_FORMAT = "_skbackprop_format"

#: Attributes of a fitted network. Those that follow from them are not in files.
_NETWORK = (
    *STATE_ATTRIBUTES,
    "classes_",
    "_target_type",
    "device_",
    "feature_names_in_",
    "target_mean_",
    "target_scale_",
    "loss_",
    "n_iter_",
    "t_",
    "loss_curve_",
    "history_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "_no_improvement_count",
    "_best_params",
    "_best_running",
    "_optimizer",
)
_EMBEDDING = ("estimator_", "feature_names_in_")
_ENSEMBLE = (
    "estimators_",
    "estimators_features_",
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "oob_score_",
    "oob_decision_function_",
    "oob_prediction_",
    # What the samples of each network are drawn from again.
    "_seeds",
    "_n_samples",
    "_max_samples",
    "_max_features",
    "_sample_weight",
)


def _attributes_of(estimator):
    if hasattr(estimator, "_hidden_units"):
        return _NETWORK
    return _ENSEMBLE if hasattr(estimator, "n_estimators") else _EMBEDDING


#: What the values of a file that contradicts itself may raise.
_CONTRADICTIONS = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)


def _without_times(history):
    """The history as it is kept: equal trainings take different times."""
    return [
        {**record, "seconds": None} if isinstance(record, dict) and "seconds" in record else record
        for record in history
    ]


def _new_strings(labels):
    """Labels or names as strings that are nobody else's: pickles tell apart whether one occurs elsewhere."""
    if isinstance(labels, list):
        return [_new_strings(column) for column in labels]
    if labels.dtype.kind != "O":
        return labels
    # Two parts make a new string.
    new = ["".join((item[:1], item[1:])) if type(item) is str else item for item in labels.ravel()]
    return np.array(new, dtype=object).reshape(labels.shape)


def _settled(value):
    """Empty arrays anew: they come out of a pickle with other strides, which joblib's hash takes for something else."""
    return np.empty(value.shape, value.dtype) if isinstance(value, np.ndarray) and not value.size else value


def _bare(optimizer):
    """An optimizer's state without what it has computed when it was asked; None if there is none."""
    if optimizer is None:
        return None
    return replace(optimizer, **{field.name: _settled(getattr(optimizer, field.name)) for field in fields(optimizer)})


# What an estimator's state is made of in the place of these attributes.
_CANONICAL = {
    "history_": _without_times,
    "classes_": _new_strings,
    "feature_names_in_": _new_strings,
    "_best_running": _settled,
    "_optimizer": _bare,
}


class SavesToFile:
    """An estimator that can be saved; equal fits give equal files, pickles and joblib hashes."""

    def __getstate__(self):
        state = {**super().__getstate__(), _STATE_FORMAT: FORMAT}
        for name, change in _CANONICAL.items():
            if name in state:
                state[name] = change(state[name])
        # In the order of the alphabet: that of attributes depends on what was called before.
        return dict(sorted(state.items()))

    def __setstate__(self, state):
        state = dict(state)
        found = state.pop(_STATE_FORMAT, 0)
        if found > FORMAT:
            raise ModelFileError(
                f"this {type(self).__name__} was pickled by a later version of skbackprop, in format {found}; this version reads "
                f"formats up to {FORMAT}: install the version that pickled it, or a later one"
            )
        super().__setstate__(state)
        if found < 1 and hasattr(self, "_optimizer") and "optimizer" not in vars(self._optimizer):
            # Format 0 kept the optimizer's key only.
            self._optimizer.optimizer = self._start_optimizer(np.zeros(1)).optimizer

    def save(self, path):
        """Save the fitted estimator to a file that is safe to load.

        The file has safetensors' format and holds numbers and text only: parameters, weights, classes, history and the
        optimizer's state, so that `partial_fit` goes on as if nothing had been between. Whatever interrupts it, `path` is either
        the old file or the new one. Not in it are callbacks and metadata requests, and parameters that are other objects:
        functions, scikit-learn's splitters, or classes of your own, subclasses of this one included, for which there are
        :mod:`pickle` and skops.

        Parameters
        ----------
        path : str or path-like
            The file, by custom with the suffix ``.safetensors``. One that is there is replaced.

        Raises
        ------
        ValueError
            If a parameter or an attribute cannot be kept in the file, or if :func:`~skbackprop.load` would refuse it; the
            message names it. Nothing is written then.
        OSError
            If the file cannot be written.
        ImportError
            If safetensors is not installed.

        See Also
        --------
        skbackprop.load : Read the file.
        """
        check_is_fitted(self)
        if not _is_ours(type(self)):
            raise ValueError(
                f"{type(self).__name__} cannot be kept in a model file: it is a class of your own, and load makes objects of this "
                "package's classes only; use pickle or skops.io"
            )
        arrays = {}
        tree = describe(self, arrays)
        try:
            _build(json.loads(json.dumps(tree)), arrays)
        except _CONTRADICTIONS as error:
            raise ValueError(
                f"this {type(self).__name__} cannot be kept in a model file, as load would refuse it: {error}"
            ) from error
        write(path, "model", {"model": tree}, arrays)


def save(model, path):
    """Save a fitted estimator of this package to a file that is safe to load.

    The same as its method `save`. What is made of other estimators, too, such as a Pipeline or a search, is refused: skops stores
    it, and the error says how.

    Parameters
    ----------
    model : BackpropClassifier, BackpropRegressor, BackpropEmbedding, or an ensemble
        Fitted.
    path : str or path-like
        The file, by custom with the suffix ``.safetensors``. One that is there is replaced.

    Raises
    ------
    TypeError
        If `model` is not an estimator of this package.
    ValueError
        If a parameter or an attribute cannot be kept in the file, or if :func:`~skbackprop.load` would refuse it.
    OSError
        If the file cannot be written.
    ImportError
        If safetensors is not installed.

    See Also
    --------
    skbackprop.load : Read the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import skbackprop
    >>> from sklearn.datasets import load_iris
    >>> model = skbackprop.BackpropClassifier(random_state=0, solver="lbfgs").fit(*load_iris(return_X_y=True))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skbackprop.save(model, os.path.join(folder, "iris.safetensors"))
    """
    if not isinstance(model, SavesToFile):
        network = "" if not hasattr(model, "steps") else ", or save(model[-1], path), the last step by itself"
        raise TypeError(
            f"model files hold estimators of skbackprop, and no {type(model).__name__}: use skops.io.dump(model, path), and "
            "skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)) after a look at these types, which begin with "
            f"'skbackprop.' or 'sklearn.' if nothing of anybody else's is in it{network}"
        )
    model.save(path)


def load(path):
    """Load an estimator from a file.

    No code in the file is run, whoever wrote it: it can hold numbers, text, and names of this package's classes, from a list.
    Before an estimator is made of it, its checksum, its format's version, and the types, shapes and values of what it holds are
    checked. It takes no more memory than the file has bytes.

    Parameters
    ----------
    path : str or path-like
        A file that :meth:`BackpropClassifier.save` has written, or a :class:`~skbackprop.Checkpoint`, which gives the estimator
        after that epoch.

    Returns
    -------
    estimator : BackpropClassifier, BackpropRegressor, BackpropEmbedding, or an ensemble
        As it was saved: the same parameters, and the same predictions to the last bit.

    Raises
    ------
    ModelFileError
        If the file is damaged, was not written by this package or by a later version, or contradicts itself.
    OSError
        If it cannot be opened.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import skbackprop
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = skbackprop.BackpropClassifier(random_state=0, solver="lbfgs").fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "iris.safetensors")
    ...     model.save(path)
    ...     loaded = skbackprop.load(path)
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    kind, content, arrays = read(path)
    try:
        if kind not in ("model", "checkpoint"):
            raise ModelFileError(f"it holds a {kind!r}")
        return _build(content["model"], arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{path} holds no estimator that can be used: {error}") from error
    except _CONTRADICTIONS as error:
        raise ModelFileError(f"{path} holds no estimator that can be used: {error!r}") from error


def refuse(value, path):
    """Raise ValueError for a value that no file can hold."""
    raise ValueError(
        f"{path.removeprefix('model.')}={value!r} cannot be kept in a model file, which holds numbers, text and this package's own "
        "objects; set another value before you save, or use pickle or skops.io"
    )


def name_only(value, path):
    """A value that no file can hold as JSON from which nothing is made: its name, or its class's."""
    named = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    return {"unsupported": f"{named.__module__}.{named.__qualname__}"}


def describe(estimator, arrays, path="model", unsupported=refuse):
    """An estimator as JSON.

    Parameters
    ----------
    estimator : estimator
        Of this package.
    arrays : dict of ndarray
        The arrays that are met are added.
    path : str
        Names them.
    unsupported : callable, default=refuse
        Gives the JSON of a value that no file can hold, from the value and its path.

    Returns
    -------
    tree : dict
    """
    kind = type(estimator)
    names = _attributes_of(estimator)
    if names is _NETWORK and hasattr(estimator, "coefs_"):
        _check_network(estimator)
    attributes = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    if "history_" in attributes:
        attributes["history_"] = _without_times(attributes["history_"])
    state = attributes.get("_optimizer")
    if state is not None:
        attributes["_optimizer"] = {field.name: getattr(state, field.name) for field in fields(state)}
    return {
        "estimator": kind.__name__ if _is_ours(kind) else f"{kind.__module__}.{kind.__qualname__}",
        "parameters": describe_parameters(estimator.get_params(deep=False), arrays, path, unsupported),
        "attributes": {
            name: encode(value, f"{path}.{name}", arrays, _other(arrays, unsupported))
            for name, value in attributes.items()
        },
    }


def _is_ours(kind):
    return kind is getattr(estimators, kind.__name__, None)


def describe_parameters(parameters, arrays, path="model", unsupported=refuse):
    """Parameters as JSON; see `describe`."""
    return {
        name: encode(value, f"{path}.{name}", arrays, _other(arrays, unsupported)) for name, value in parameters.items()
    }


def _other(arrays, unsupported):
    def other(value, path):
        if _is_ours(type(value)):
            return describe(value, arrays, path, unsupported)
        if type(value) is FrozenEstimator:
            return {"frozen": other(value.estimator, path)}
        return unsupported(value, path)

    return other


def _build(tree, arrays):
    """The estimator that `describe` described."""

    def other(tree):
        if "frozen" in tree:
            return FrozenEstimator(other(tree["frozen"]))
        if "estimator" in tree:
            return _build(tree, arrays)
        if "unsupported" in tree:
            raise ModelFileError(f"the value {tree['unsupported']} of a parameter is not in the file")
        raise ModelFileError(f"the header has an entry of unknown kind, {list(tree)[:1]}")

    name = tree["estimator"]
    if name not in estimators.__all__ or not name.startswith("Backprop"):
        raise ModelFileError(f"{name!r} is no estimator of skbackprop")
    parameters = {key: decode(value, arrays, other) for key, value in tree["parameters"].items()}
    estimator = getattr(estimators, name)(**parameters)
    estimator._validate_params()
    return restore(estimator, tree["attributes"], arrays, other)


def restore(estimator, attributes, arrays, other=None):
    """Make an estimator fitted.

    Parameters
    ----------
    estimator : estimator
        With its parameters set.
    attributes : dict
        As `describe` gives them.
    arrays : dict of ndarray
    other : callable, optional
        Gives what is of no common kind; see `decode`.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    ModelFileError
        If they do not go together.
    """
    known = _attributes_of(estimator)
    unknown = set(attributes) - set(known)
    if unknown:
        raise ModelFileError(f"the header has attributes that no estimator has: {sorted(unknown)}")
    for name, tree in attributes.items():
        setattr(estimator, name, decode(tree, arrays, other))
    if known is _NETWORK and attributes:
        network = _check_network(estimator)
        params, running = flat_state(estimator, network, estimator.coefs_[0].dtype)
        vars(estimator).update(state_attributes(network, params, running))
        estimator.n_features_in_, estimator.n_outputs_ = network.layer_units[0], network.layer_units[-1]
        estimator.n_layers_ = len(network.layer_units)
        estimator.out_activation_ = network.loss[0].out_activation
        estimator._outputs_form = estimator._targets.outputs_form
    elif known is _ENSEMBLE and attributes:
        _check_ensemble(estimator)
        estimator.estimator_ = estimator._get_estimator()
        if hasattr(estimator, "classes_"):
            estimator.n_classes_ = len(estimator.classes_)
    elif attributes:
        fitted = getattr(estimator.estimator_, "estimator", estimator.estimator_)
        _require(hasattr(fitted, "coefs_"), "estimator_ has to be a fitted network")
        estimator.n_features_in_ = fitted.n_features_in_
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        is_fitting = (
            isinstance(names, np.ndarray) and names.dtype.kind == "O" and names.shape == (estimator.n_features_in_,)
        )
        _require(is_fitting, "feature_names_in_ has to hold a name for each column")
    return estimator


def _require(condition, message):
    if not condition:
        raise ModelFileError(message)


def _check_network(estimator):
    """The network of fitted attributes; raises ModelFileError if they do not go together."""
    coefs = estimator.coefs_
    _require(isinstance(coefs, list) and coefs, "coefs_ has to be a list of arrays")
    _require(all(isinstance(coef, np.ndarray) and coef.ndim == 2 for coef in coefs), "coefs_ has to hold matrices")
    _require(all(coef.size for coef in coefs), "coefs_ has an empty matrix")
    _check_outputs(estimator)
    network = estimator._network((len(coefs[0]), *(coef.shape[1] for coef in coefs)))
    check_same_normalization(estimator, network)
    dtype = coefs[0].dtype
    _require(dtype in (np.float32, np.float64), f"coefs_ are of type {dtype}")
    for name in STATE_ATTRIBUTES:
        kind = np.dtype(np.float64) if "running" in name else dtype
        for array in getattr(estimator, name, ()):
            _check_array(array, np.shape(array), kind, name)
    params, running = flat_state(estimator, network, dtype)
    _require(all((variances >= 0).all() for variances in network.running_views(running)[1]), "a variance is negative")
    best = getattr(estimator, "_best_params", None), getattr(estimator, "_best_running", None)
    for array, like, name in zip(best, (params, running), ("_best_params", "_best_running"), strict=True):
        if array is not None:
            _check_array(array, like.shape, like.dtype, name)
    _require(isinstance(getattr(estimator, "device_", "cpu"), str), "device_ has to be a name")
    for name in ("n_iter_", "t_", "_no_improvement_count"):
        value = getattr(estimator, name, 0)
        _require(isinstance(value, Integral) and value >= 0, f"{name}={value!r} has to be a count")
    for name in ("loss_", "best_loss_", "best_validation_score_"):
        _require(isinstance(getattr(estimator, name, None), Real | None), f"{name} has to be a number")
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        values = getattr(estimator, name, None)
        is_curve = isinstance(values, list) and all(isinstance(value, Real) for value in values)
        _require(values is None or is_curve, f"{name} has to be a list of numbers")
    history = getattr(estimator, "history_", [])
    is_history = isinstance(history, list) and all(isinstance(record, dict) for record in history)
    _require(is_history, "history_ has to be a list of dicts")
    if getattr(estimator, "_optimizer", None) is not None:
        _check_optimizer(estimator, params, running)
    return network


def _check_ensemble(estimator):
    """Raise ModelFileError if an ensemble's networks do not go together with its other attributes."""
    networks, features = estimator.estimators_, estimator.estimators_features_
    kind = estimator._default_estimator
    _require(isinstance(networks, list) and networks, "estimators_ has to be a list of networks")
    _require(
        all(type(network) is kind and hasattr(network, "coefs_") for network in networks),
        f"estimators_ has to hold fitted networks, each a {kind.__name__}",
    )
    for name in ("n_features_in_", "_n_samples", "_max_samples", "_max_features"):
        value = getattr(estimator, name)
        _require(isinstance(value, Integral) and value >= 1, f"{name}={value!r} has to be a count")
    _require(len(features) == len(networks), "estimators_features_ has to hold the columns of each network")
    for network, columns in zip(networks, features, strict=True):
        _check_places(columns, (network.n_features_in_,), estimator.n_features_in_, "estimators_features_")
    _check_places(estimator._seeds, (len(networks),), np.iinfo(np.int32).max, "_seeds")
    if estimator._sample_weight is not None:
        _check_array(estimator._sample_weight, (estimator._n_samples,), np.float64, "_sample_weight")
    _require(isinstance(getattr(estimator, "oob_score_", 0.0), Real), "oob_score_ has to be a number")
    if not hasattr(estimator, "classes_"):
        _require(kind._numeric_targets, "classes_ is missing")
        _require(all(network.n_outputs_ == 1 for network in networks), "networks have to have one output")
        return
    _require(not kind._numeric_targets, "a regressor has no classes_")
    _check_classes(estimator.classes_)
    for network in networks:
        # Their classes are numbers of the ensemble's.
        _require(isinstance(network.classes_, np.ndarray), "networks have to have one column of classes")
        _check_places(network.classes_, network.classes_.shape, len(estimator.classes_), "classes_ of a network")


def _check_places(array, shape, stop, name):
    is_one = isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.shape == shape
    _require(is_one and (array >= 0).all() and (array < stop).all(), f"{name} has to hold numbers below {stop}")


def _check_classes(classes):
    _require(isinstance(classes, np.ndarray) and classes.ndim == 1 and classes.size, "classes_ has to be an array")
    _require(np.array_equal(np.unique(classes), classes), "classes_ have to be different and in order")


def _check_array(array, shape, dtype, name):
    _require(
        isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape,
        f"{name} has to be an array of {dtype} and of shape {shape}",
    )
    _require(np.isfinite(array).all(), f"{name} has values that are not finite")


def _check_outputs(estimator):
    """That there are as many outputs as the classes, or the targets, ask for."""
    n_outputs = estimator.coefs_[-1].shape[1]
    if hasattr(estimator, "classes_"):
        name = estimator._target_type
        kind = CLASS_TARGETS.get(name)
        labels = estimator.classes_ if kind is ColumnsOfClasses else [estimator.classes_]
        _require(isinstance(labels, list), "classes_ has to be a list of arrays")
        for classes in labels:
            _check_classes(classes)
        # Of two classes at most there is one output.
        fits = kind is not None and (name != "binary" or len(labels[0]) <= 2)
        fits = fits and kind(estimator.loss, estimator.classes_).n_outputs() == n_outputs
        _require(fits, f"{n_outputs} outputs do not go with {name} targets and these classes")
        return
    _require(estimator._numeric_targets, "classes_ is missing")
    n_targets, rest = divmod(n_outputs, estimator._loss().outputs_per_target())
    _require(rest == 0, f"{n_outputs} outputs do not go with loss={estimator.loss!r}")
    _require(
        hasattr(estimator, "target_mean_") == hasattr(estimator, "target_scale_"), "target_scale_ needs target_mean_"
    )
    for name in ("target_mean_", "target_scale_"):
        if hasattr(estimator, name):
            _check_array(getattr(estimator, name), (n_targets,), np.float64, name)


def _check_optimizer(estimator, params, running):
    state = estimator._optimizer
    if isinstance(state, dict):
        state = estimator._optimizer = OptimizerState(**state)
    _require(isinstance(state.optimizer, Optimizer), "the optimizer's state names no optimizer")
    _require(isinstance(state.schedule, Schedule), "the optimizer's state names no schedule")
    state.optimizer._validate_params()
    state.schedule._validate_params()
    _check_array(state.slots, (state.optimizer.n_slots, params.size), params.dtype, "slots")
    n_averaged = 0 if estimator.averaging is None else params.size
    if state.average.size != n_averaged:  # the parameter was changed after training
        n_averaged = params.size - n_averaged
    _check_array(state.average, (n_averaged,), params.dtype, "average")
    _check_array(state.carried, (2,), np.float64, "carried")
    _check_array(state.running, running.shape, np.float64, "running")
    if state.raw_params is not None:
        _check_array(state.raw_params, params.shape, params.dtype, "raw_params")
    for name in ("initial_rate", "power_t", "plateau_rate", "learning_rate"):
        value = getattr(state, name)
        _require(isinstance(value, Real) and np.isfinite(value) and value >= 0, f"{name}={value!r} has to be a number")
    for name in ("max_epochs", "n_steps", "n_epochs"):
        value = getattr(state, name)
        _require(isinstance(value, Integral) and value >= 0, f"{name}={value!r} has to be a count")
