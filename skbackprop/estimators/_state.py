"""The fitted arrays: attributes that are views into the two vectors which training changes."""

import numpy as np

__all__ = [
    "STATE_ATTRIBUTES",
    "check_same_normalization",
    "flat_state",
    "given_state",
    "initial_running",
    "state_attributes",
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
    coefs, intercepts = given if isinstance(given, tuple) else (given.coefs_, given.intercepts_)
    scales, offsets = initial_normalizers(network)
    return network.flatten(list(coefs), list(intercepts), dtype, scales, offsets), None


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
