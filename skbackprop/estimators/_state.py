"""The fitted arrays: attributes that are views into the two vectors which training changes."""

import numpy as np
from sklearn.frozen import FrozenEstimator

__all__ = [
    "STATE_ATTRIBUTES",
    "check_same_normalization",
    "copy_state",
    "flat_state",
    "given_state",
    "initial_running",
    "layer_units",
    "publish_state",
    "state_attributes",
    "weights_dtype",
]

#: All attributes that `state_attributes` may name.
STATE_ATTRIBUTES = (
    "coefs_",
    "intercepts_",
    "scales_",
    "offsets_",
    "running_means_",
    "running_variances_",
    "_running_counts",
)


def copy_state(estimator):
    """Another estimator with the same parameters and attributes, none of them copied.

    Unlike a shallow copy it is not made from what a pickle holds, which is less.

    Parameters
    ----------
    estimator : BaseBackprop or BaseBagging

    Returns
    -------
    copied : BaseBackprop or BaseBagging
    """
    copied = object.__new__(type(estimator))
    vars(copied).update(vars(estimator))
    return copied


def publish_state(draft, before, estimator):
    """Give an estimator what has changed in its draft: the one place where a fit changes its estimator's attributes.

    Parameters
    ----------
    draft : BaseBackprop or BaseBagging
        Made by `copy_state`.
    before : dict
        The draft's attributes as they were then.
    estimator : BaseBackprop or BaseBagging
        Keeps what callbacks have set on it in the meantime.
    """
    # In one step: other threads may predict.
    vars(estimator).update(
        {name: value for name, value in vars(draft).items() if name not in before or before[name] is not value}
    )
    for name in before.keys() - vars(draft).keys():
        vars(estimator).pop(name, None)


def layer_units(coefs):
    """Units of each layer, from the inputs to the outputs, of a model whose weights may have been set by hand.

    Parameters
    ----------
    coefs : list of ndarray

    Returns
    -------
    n_units : tuple of int

    Raises
    ------
    TypeError
        If they are not matrices.
    """
    try:
        return (len(coefs[0]), *(coef.shape[1] for coef in coefs))
    except (AttributeError, IndexError, TypeError):
        raise TypeError("coefs_ has to be a list of arrays, each of shape (n_inputs, n_outputs) of a layer") from None


def weights_dtype(coefs):
    """The dtype in which a model computes whose weights may have been set by hand: of integers, say, or in another byte order.

    Parameters
    ----------
    coefs : list of array-like

    Returns
    -------
    dtype : numpy.dtype
        float32 for narrower numbers, too; float64 for wider ones and integers.

    Raises
    ------
    TypeError
        If they are no real numbers.
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


# In the machine's byte order: another one makes another dtype.
_COMPUTED = np.dtype(np.float32), np.dtype(np.float64)


def state_attributes(network, params, running):
    """An estimator's attributes that hold its fitted arrays.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
    running : ndarray of shape (n_running,)

    Returns
    -------
    attributes : dict of list of ndarray
        Views; only those that the network has.
    """
    names = STATE_ATTRIBUTES[: 2 if network.normalization is None else 7 if network.over_batch else 4]
    views = (*network.views(params), *network.normalizer_views(params), *network.running_views(running))
    return dict(zip(names, views, strict=False))


def flat_state(source, network, dtype):
    """The vectors of an estimator's fitted arrays.

    Parameters
    ----------
    source : object
        With the attributes that `state_attributes` names.
    network : Network
    dtype : numpy.dtype

    Returns
    -------
    params : ndarray of shape (n_params,)
        No copy, if the attributes are views into one vector.
    running : ndarray of shape (n_running,), float64
        A copy.
    """
    if network.normalization is None:
        return network.flatten(source.coefs_, source.intercepts_, dtype), np.empty(0)
    params = network.flatten(source.coefs_, source.intercepts_, dtype, source.scales_, source.offsets_)
    running = [getattr(source, name) for name in STATE_ATTRIBUTES[4:]] if network.over_batch else ((), (), ())
    return params, network.flatten_running(*running)


def given_state(given, network, dtype):
    """The vectors of `weight_init`, where it is an estimator or a tuple.

    Weights of a network without normalization may be given to one with it, but not the other way round, nor may those of another
    normalization: to other networks they mean nothing.

    Parameters
    ----------
    given : estimator or tuple
    network : Network
    dtype : numpy.dtype

    Returns
    -------
    params, running : ndarray or None
        As from `flat_state`; the latter is None if there are no running means and variances yet.

    Raises
    ------
    ValueError
        If the arrays are not those of such a network.
    """
    if not isinstance(given, tuple) and hasattr(given, "scales_"):
        _check_normalization(given, network, "weight_init comes from")
        return flat_state(given, network, dtype)
    coefs, intercepts = _given_weights(given)
    scales, offsets = initial_normalizers(network)
    params = network.flatten(list(coefs), list(intercepts), dtype, scales, offsets)
    if not np.isfinite(params).all():
        raise ValueError("weight_init has values that are not finite")
    return params, None


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


def initial_normalizers(network):
    """Scales of 1 and offsets of 0."""
    n_units = () if network.normalization is None else network.layer_units[1:-1]
    return [np.ones(n) for n in n_units], [np.zeros(n) for n in n_units]


def initial_running(network):
    """Means of 0 and variances of 1, of no mini-batch yet."""
    running = np.zeros(network.n_running)
    for variances in network.running_views(running)[1]:
        variances[:] = 1.0
    return running


def check_same_normalization(estimator, network):
    """Raise ValueError if an estimator was fitted with another normalization than the one that its parameters choose now."""
    _check_normalization(estimator, network, "the fitted network has")


def _check_normalization(source, network, beginning):
    fitted = "batch" if hasattr(source, "running_means_") else "layer" if hasattr(source, "scales_") else None
    asked = None if network.normalization is None else network.normalization[0].name
    if fitted != asked:
        raise ValueError(
            f"{beginning} normalization={fitted!r}, but normalization={asked!r} is asked for: the weights of one mean nothing "
            f"to the other. Set normalization={fitted!r}, or fit anew"
        )
