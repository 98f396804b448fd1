"""Fitted state: the attributes of a fitted network, declared once, and functions that iterate over the declaration."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.frozen import FrozenEstimator

from skbackprop.estimators._canonical import as_it_is, bare, new_strings, settled, without_times
from skbackprop.estimators._checks import check_count, check_curve, check_history, check_name, check_number
from skbackprop.estimators._choices import input_layers
from skbackprop.layers import ATTRIBUTES

__all__ = [
    "DATA_ATTRIBUTES",
    "NETWORK",
    "WEIGHTS",
    "Fitted",
    "check_same_layers",
    "copy_state",
    "flat_state",
    "given_state",
    "layer_attributes",
    "layer_units",
    "names_of",
    "progress_attributes",
    "publish_state",
    "read_progress",
    "reset_state",
    "state_attributes",
    "take_over",
    "take_targets",
    "weights_dtype",
]


@dataclass(frozen=True)
class Fitted:
    """A fitted attribute.

    Parameters
    ----------
    name : str
    group : str
        Attributes of a group are set, reset and copied together.
    check : callable or None
        Called with a value from a file and the name; raises ModelFileError if the value is invalid. None for values
        that are checked together with others.
    field : str or None
        Name of the attribute of `Progress`.
    unless : str or None
        Attribute of `Progress`; if it is true, the value is None.
    canonical : callable
        Returns the form of a value for files and pickles, so that equal fits give equal bytes.
    saved : bool
        Whether files store it; attributes that can be derived from others are not stored.
    """

    name: str
    group: str
    check: Callable | None = None
    field: str | None = None
    unless: str | None = None
    canonical: Callable = as_it_is
    saved: bool = True


#: All fitted attributes of a network, in the order in which files have them.
NETWORK = (
    *(Fitted(name, "weights") for name in ATTRIBUTES),
    Fitted("classes_", "targets", canonical=new_strings),
    Fitted("_target_type", "targets"),
    Fitted("device_", "device", check_name),
    Fitted("feature_names_in_", "data", canonical=new_strings),
    Fitted("target_mean_", "targets"),
    Fitted("target_scale_", "targets"),
    Fitted("loss_", "progress", check_number),
    Fitted("n_iter_", "progress", check_count, "n_iter"),
    Fitted("t_", "progress", check_count, "n_seen"),
    Fitted("loss_curve_", "progress", check_curve, "loss_curve"),
    Fitted("history_", "progress", check_history, "history", canonical=without_times),
    Fitted("best_loss_", "progress", check_number, "best_loss", "early_stopping"),
    Fitted("validation_scores_", "progress", check_curve, "validation_scores", "unvalidated"),
    Fitted("validation_loss_curve_", "progress", check_curve, "validation_loss_curve", "unvalidated"),
    Fitted("best_validation_score_", "progress", check_number, "best_score", "unvalidated"),
    Fitted("_no_improvement_count", "progress", check_count, "no_improvement_count"),
    Fitted("_best_params", "progress", field="best_params"),
    Fitted("_best_running", "progress", field="best_running", canonical=settled),
    Fitted("_optimizer", "optimizer", canonical=bare),
    Fitted("n_features_in_", "data", saved=False),
    Fitted("n_layers_", "layers", saved=False),
    Fitted("n_outputs_", "layers", saved=False),
    Fitted("out_activation_", "layers", saved=False),
    Fitted("_outputs_form", "layers", saved=False),
)


def names_of(*groups):
    """Return the names of the fitted attributes of some groups.

    Parameters
    ----------
    *groups : str

    Returns
    -------
    names : tuple of str
    """
    return tuple(entry.name for entry in NETWORK if entry.group in groups)


#: Attributes that are views into the two vectors that training updates.
WEIGHTS = names_of("weights")
DATA_ATTRIBUTES = names_of("data")
_PROGRESS = [entry for entry in NETWORK if entry.field is not None]


def take_targets(estimator, targets):
    """Set the attributes that describe the targets.

    Parameters
    ----------
    estimator : BaseBackprop
    targets : Targets
    """
    _drop(estimator, names_of("targets"), targets.attributes)
    vars(estimator).update(targets.attributes)


def reset_state(estimator):
    """Delete the weights and the training's attributes, so that training starts anew.

    Parameters
    ----------
    estimator : BaseBackprop
    """
    _drop(estimator, names_of("weights", "progress", "optimizer"))
    estimator.n_iter_, estimator.t_ = 0, 0


def _drop(estimator, names, kept=()):
    for name in names:
        if name not in kept:
            vars(estimator).pop(name, None)


def layer_attributes(network, targets):
    """Return the attributes that describe the layers.

    Parameters
    ----------
    network : Network
    targets : Targets

    Returns
    -------
    attributes : dict
    """
    n_units, link = network.layer_units, network.loss[0].out_activation
    return dict(zip(names_of("layers"), (len(n_units), n_units[-1], link, targets.outputs_form), strict=True))


def progress_attributes(progress):
    """Return the attributes that describe the training.

    Parameters
    ----------
    progress : Progress

    Returns
    -------
    attributes : dict
    """
    attributes = {
        entry.name: None if entry.unless and getattr(progress, entry.unless) else getattr(progress, entry.field)
        for entry in _PROGRESS
    }
    if progress.loss_curve:
        attributes["loss_"] = progress.loss_curve[-1]
    return attributes


def read_progress(estimator, progress):
    """Restore the progress of an estimator's training, to continue it.

    Parameters
    ----------
    estimator : BaseBackprop
    progress : Progress
        A new object, updated in place.
    """
    if not hasattr(estimator, "loss_curve_"):
        return
    for entry in _PROGRESS:
        value = getattr(estimator, entry.name)
        if value is not None:
            # Copy lists: a shallow copy of the estimator may share them.
            setattr(progress, entry.field, list(value) if isinstance(value, list) else value)
    if progress.unvalidated != (estimator.validation_scores_ is None):
        # The weights with the best score need not have the best loss.
        progress.best_params = progress.best_running = None


def take_over(estimator, model, problem):
    """Copy weights, progress and optimizer state from another estimator.

    Parameters
    ----------
    estimator : BaseBackprop
    model : BaseBackprop
    problem : Problem
        Its vectors are updated in place.
    """
    problem.params[:], problem.running[:] = flat_state(model, problem.network, problem.params.dtype)
    vars(estimator).update({name: getattr(model, name) for name in names_of("progress", "optimizer")})


def copy_state(estimator):
    """Return an estimator that shares all parameters and attributes with another one.

    `copy.copy` would go through the pickled state, which lacks some attributes.

    Parameters
    ----------
    estimator : BaseBackprop or BaseBagging

    Returns
    -------
    copied : BaseBackprop or BaseBagging
    """
    copied = object.__new__(type(estimator))
    copied.__dict__ = vars(estimator).copy()
    return copied


def publish_state(draft, before, estimator):
    """Copy the attributes that a fit changed from the draft to the estimator; nothing else changes an estimator's attributes.

    Parameters
    ----------
    draft : BaseBackprop or BaseBagging
        Made by `copy_state`.
    before : dict
        The draft's attributes at that time.
    estimator : BaseBackprop or BaseBagging
        Attributes that callbacks set on it in the meantime are kept.
    """
    # In a single update, because other threads may predict.
    vars(estimator).update(
        {name: value for name, value in vars(draft).items() if name not in before or before[name] is not value}
    )
    for name in before.keys() - vars(draft).keys():
        vars(estimator).pop(name, None)


def layer_units(estimator):
    """Return the number of units per layer, from inputs to outputs; the user may have set the weights.

    Parameters
    ----------
    estimator : BaseBackprop

    Returns
    -------
    n_units : tuple of int

    Raises
    ------
    TypeError
        If `coefs_` is not a list of matrices.
    """
    coefs = estimator.coefs_
    try:
        n_units = (len(coefs[0]), *[coef.shape[1] for coef in coefs])
    except (AttributeError, IndexError, TypeError):
        raise TypeError("coefs_ has to be a list of arrays, each of shape (n_inputs, n_outputs) of a layer") from None
    for layer in reversed(input_layers(estimator)):
        n_units = (layer.n_inputs(n_units[0]), *n_units[1:])
    return n_units


def weights_dtype(coefs):
    """Return the dtype of a model's arithmetic; the user may have set weights of another dtype or byte order.

    Parameters
    ----------
    coefs : list of array-like

    Returns
    -------
    dtype : numpy.dtype
        float32 for narrower floats, float64 for wider ones and for integers.

    Raises
    ------
    TypeError
        If the weights are not real numbers.
    """
    dtype = getattr(coefs[0], "dtype", None)
    if dtype in _COMPUTED:
        return dtype
    dtype = np.asarray(coefs[0]).dtype
    if dtype.kind not in "biuf":
        raise TypeError(
            f"coefs_[0] has to hold real numbers, got an array of {dtype}: set it to one of float32 or float64"
        )
    return np.dtype(np.float32) if dtype.kind == "f" and dtype.itemsize <= 4 else np.dtype(np.float64)


# In native byte order; dtypes of another byte order differ.
_COMPUTED = np.dtype(np.float32), np.dtype(np.float64)


def state_attributes(network, params, running):
    """Return the attributes that list the fitted arrays.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    running : ndarray of shape (n_running,)

    Returns
    -------
    attributes : dict of list of ndarray
        Views into the vectors; only the attributes that the network has.
    """
    return network.arrays(params, running)


def flat_state(source, network, dtype):
    """Return the flat vectors of an estimator's fitted arrays.

    Parameters
    ----------
    source : object
        An object with the attributes of `state_attributes`.
    network : Network
    dtype : numpy.dtype

    Returns
    -------
    params : ndarray of shape (n_params,)
        Not a copy if the attributes are views into one vector.
    running : ndarray of shape (n_running,), float64
        A copy.
    """
    params = network.flatten(network.params_of(source), dtype)
    if not network.n_running:
        return params, np.empty(0)
    return params, network.flatten_running([getattr(source, name) for name in network.attributes[1]])


def given_state(given, network, dtype, random_state):
    """Return the flat vectors of `weight_init` if it is an estimator or a tuple.

    Weights of a network without normalization may initialize one with it, but not the other way round, nor may weights
    of another normalization: they mean nothing to the other network. So it is with parametric activations.

    Parameters
    ----------
    given : estimator or tuple
    network : Network
    dtype : numpy.dtype
    random_state : numpy.random.RandomState
        Draws the parameters that are not given.

    Returns
    -------
    params, running : ndarray or None
        As from `flat_state`; the latter is None if there are no running means and variances yet.

    Raises
    ------
    ValueError
        If the arrays do not match the network.
    """
    # Layers that the given network lacks start as they do in a new one.
    if not isinstance(given, tuple) and hasattr(given, "scales_"):
        _check_normalization(given, network, "weight_init comes from")
    if not isinstance(given, tuple) and hasattr(given, "input_params_"):
        _check_input_layers(given, network, "weight_init comes from a network with")
    if not isinstance(given, tuple) and hasattr(given, "activation_alphas_"):
        _check_activations(given, network, "weight_init comes from a network with")
    names, state_names = network.attributes
    arrays = dict(zip(("coefs_", "intercepts_"), map(list, _given_weights(given)), strict=True))
    arrays |= {name: getattr(given, name) for name in names if hasattr(given, name)}
    params = np.empty(network.n_params, dtype=dtype)
    for layer, own in network.arrays_by_layer(params):
        if not arrays.keys() & own.keys():
            layer.draw(own, "auto", random_state)
    params = network.flatten([arrays.get(name, own) for name, own in network.arrays(params).items()], dtype)
    if not np.isfinite(params).all():
        raise ValueError("weight_init has values that are not finite")
    if not all(hasattr(given, name) for name in state_names):
        return params, None
    return params, network.flatten_running([getattr(given, name) for name in state_names])


def _given_weights(given):
    """Weights and intercepts of `weight_init`; raises ValueError if it has none."""
    if isinstance(given, tuple):
        if not (len(given) == 2 and all(hasattr(part, "__len__") for part in given)):
            raise ValueError("weight_init as a tuple has to be (coefs_, intercepts_), a list of arrays each")
        return given
    if hasattr(given, "coefs_"):
        return given.coefs_, given.intercepts_
    unfrozen = given.estimator if isinstance(given, FrozenEstimator) else given
    if not hasattr(unfrozen, "hidden_layer_sizes"):
        raise ValueError(
            f"weight_init={given!r} is no network: give the fitted network in it, such as pipeline[-1], search.best_estimator_ or "
            "embedding.estimator_"
        )
    raise ValueError(
        f"weight_init={given!r} is not fitted. scikit-learn's clone, which searches, pipelines and ensembles call, makes an "
        "unfitted copy of a fitted estimator in a parameter: give weight_init=sklearn.frozen.FrozenEstimator(estimator), or its "
        "weights, (estimator.coefs_, estimator.intercepts_)"
    )


def check_same_layers(estimator, network):
    """Raise ValueError if an estimator was fitted with other layers beside the dense ones than its parameters choose now."""
    _check_normalization(estimator, network, "the fitted network has")
    _check_input_layers(estimator, network, "the fitted network has")
    _check_activations(estimator, network, "the fitted network has")


def _check_input_layers(source, network, beginning):
    fitted = [np.shape(array) for array in getattr(source, "input_params_", ())]
    asked = [shape for first, *_ in network.stages[: network.n_front] for shape in first.shapes()]
    if fitted != asked:
        raise ValueError(
            f"{beginning} input layers with parameters of shapes {fitted}, but input_layers asks for {asked}: the weights of one mean "
            "nothing to the other. Set the same input_layers, or fit anew"
        )


def _check_normalization(source, network, beginning):
    fitted = "batch" if hasattr(source, "running_means_") else "layer" if hasattr(source, "scales_") else None
    asked = None if network.normalization is None else network.normalization[0].name
    if fitted != asked:
        raise ValueError(
            f"{beginning} normalization={fitted!r}, but normalization={asked!r} is asked for: the weights of one mean nothing "
            f"to the other. Set normalization={fitted!r}, or fit anew"
        )


def _check_activations(source, network, beginning):
    fitted = hasattr(source, "activation_alphas_")
    if fitted != network.parametric:
        raise ValueError(
            f"{beginning} parametric_activation={fitted}, but parametric_activation={network.parametric} is asked for: the "
            f"weights of one mean something else to the other. Set parametric_activation={fitted}, or fit anew"
        )
