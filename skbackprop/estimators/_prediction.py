"""Predictions of a fitted network."""

import threading
import weakref
from dataclasses import replace
from operator import is_
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from skbackprop.backends import get_prediction_backend, prediction_device
from skbackprop.backends.data import as_rows
from skbackprop.estimators._arrays import brought, library_of, refuse_misread
from skbackprop.estimators._choices import accepted_sparse, choose_network
from skbackprop.estimators._shared import SharedRows
from skbackprop.estimators._state import check_same_layers, copy_state, flat_state, layer_units, weights_dtype
from skbackprop.functions.losses import LOSSES
from skbackprop.network import Network

__all__ = ["Ready", "for_backend", "get_ready", "predict_hidden", "predict_ready", "predict_with_targets"]

# Predictions of arrays up to this size may take no longer than scikit-learn's validation.
_SMALL_SIZE = 100_000
# Models and numbers of rows that a thread knows at most.
_MOST_KNOWN = 32


def predict_with_targets(estimator, X, link=True):
    """Predict, with or without the link.

    Parameters
    ----------
    estimator : BaseBackprop
        Another thread may fit it meanwhile.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
    link : bool, default=True

    Returns
    -------
    targets : Targets
        Those of the model that made the predictions.
    predictions : ndarray of shape (n_samples, n_outputs)
        In the model's dtype and the array library of `X`.
    """
    key = None
    if type(X) is np.ndarray:
        key = id(estimator), X.shape, link
        known = _own.known.get(key)
        if known is not None and known.holds_for(estimator, X):
            predictions = known.predict(X)
            if predictions is not None:
                return known.targets, predictions
    # With the same attributes, whatever a fit in another thread does.
    model = copy_state(estimator)
    fitted = for_backend(model, X)
    if key is not None:
        _remember(key, estimator, model, X, fitted)
    network, params, running, rows = fitted
    return model._targets, _predict_rows(model, X, network, params, rows, link, running)


class _Own(threading.local):
    """What a thread knows of its predictions of a few rows, by estimator, shape and link; None after the first one."""

    def __init__(self):
        self.known = {}


_own = _Own()


def _remember(key, estimator, model, X, fitted):
    """Prepare to repeat a prediction, the second time that there are as many rows for the same model."""
    known = _own.known
    if key not in known:
        if len(known) == _MOST_KNOWN:
            known.pop(next(iter(known)), None)
        known[key] = None
        return
    network, params, _, rows = fitted
    chosen = model.activation, model.normalization, model.loss, model.input_layers
    # Objects and lists could change without being replaced.
    if not all(choice is None or type(choice) is str for choice in chosen) or not _is_valid(model, X, params.dtype):
        return
    backend = _backend_for(model, X, network, rows)
    predict = backend.repeated and backend.repeated(network, params, rows, model.n_jobs, key[-1])
    if predict:
        # Arrays of a model that is gone are not kept.
        place = weakref.ref(estimator, lambda _: known.pop(key, None))
        known[key] = _Known(place, model, X.dtype, network, params, predict)


class _Known:
    """A prediction that can be repeated without a look at the parameters, which takes longer than the arithmetic.

    Parameters
    ----------
    estimator : weakref.ref
        The estimator.
    model : BaseBackprop
        With the same attributes.
    dtype : numpy.dtype
        Of the rows.
    network : Network
    params : ndarray of shape (n_params,)
    predict : callable
        As `skbackprop.backends.cpu.repeated` returns it.
    """

    def __init__(self, estimator, model, dtype, network, params, predict):
        self.targets, self._predict = model._targets, predict
        self._estimator, self._dtype = estimator, dtype
        self._state = list(vars(model).values())
        # Users may replace what is in these lists.
        self._lists = [vars(model)[name] for name in network.attributes[0]]
        self._arrays = self._listed()
        # After unpickling, for example, the arrays are not views of `params`, and may change without it.
        views = network.arrays(params)
        places = [place for name in network.attributes[0] for place in views[name]]
        self._copied = [] if model.coefs_[0].base is params else list(zip(places, self._arrays, strict=True))

    def predict(self, X):
        """Predict rows for which `holds_for` is true; None if a number among them is not finite."""
        for place, array in self._copied:
            place[...] = array
        return self._predict(X)

    def _listed(self):
        return [array for arrays in self._lists for array in arrays]

    def holds_for(self, estimator, X):
        """Whether nothing has changed, and rows of this shape need no validation but for numbers that are not finite."""
        state, arrays, flags = list(vars(estimator).values()), self._listed(), X.flags
        return (
            X.dtype is self._dtype
            and flags.c_contiguous
            and flags.aligned
            and self._estimator() is estimator
            and len(state) == len(self._state)
            and all(map(is_, state, self._state))
            and len(arrays) == len(self._arrays)
            and all(map(is_, arrays, self._arrays))
        )


def _backend_for(estimator, X, network, rows):
    flops = 2.0 * rows.shape[0] * network.n_weights
    return get_prediction_backend(prediction_device(estimator.device, X), flops, estimator.precision)


def _predict_rows(estimator, X, network, params, rows, link, running):
    """Predict validated rows with a network."""
    backend = _backend_for(estimator, X, network, rows)
    library = library_of(X)
    if rows.is_on_gpu:
        out = library.empty((rows.shape[0], network.layer_units[-1]), params.dtype)
        return backend.predict(network, params, rows, estimator.n_jobs, link, running, out)
    predictions = backend.predict(network, params, rows, estimator.n_jobs, link, running)
    return predictions if library is None else library.take(predictions)


def predict_hidden(estimator, X, layer):
    """Return the outputs of a hidden layer, of shape (n_samples, n_units), in the model's dtype.

    They are the predictions of a network that ends there, followed by an identity matrix as its output layer: kernels
    apply no activation to the last layer, and multiplication by one and addition of zeros change no finite number.
    """
    whole, _, _, rows = for_backend(estimator, X)
    n_layers = range(len(estimator.coefs_) - 1)[layer] + 1
    dtype = weights_dtype(estimator.coefs_)
    units = whole.layer_units[: n_layers + 1]
    loss = LOSSES.get_key("squared_error")
    network = replace(whole, layer_units=(*units, units[-1]), activations=whole.activations[:n_layers], loss=loss)
    hidden = {}
    for name in (name for names in network.attributes for name in names):
        hidden[name] = getattr(estimator, name)[: whole.n_front if name == "input_params_" else n_layers]
    hidden["coefs_"] = [*hidden["coefs_"], np.eye(units[-1], dtype=dtype)]
    hidden["intercepts_"] = [*hidden["intercepts_"], np.zeros(units[-1], dtype=dtype)]
    params, running = flat_state(SimpleNamespace(**hidden), network, dtype)
    return _predict_rows(estimator, X, network, params, rows, True, running)


def for_backend(estimator, X):
    """Return the fitted network, its parameters and running statistics, and the validated rows."""
    if not hasattr(estimator, "coefs_"):
        check_is_fitted(estimator)
    dtype = weights_dtype(estimator.coefs_)
    if isinstance(X, SharedRows):
        X = X.validate(estimator, dtype, reset=False)
    elif not _is_valid(estimator, X, dtype):
        refuse_misread(X=X)
        X = brought(X, get_prediction_backend(prediction_device(estimator.device, X)).device)
        library = library_of(X)
        checked = dtype if library is None else library.float_types(dtype.name)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            X = validate_data(estimator, X, accept_sparse=accepted_sparse(estimator), dtype=checked, reset=False)
    return *_fitted_network(estimator, dtype), as_rows(X, dtype)


#: Fitted attributes of layers beside the dense ones.
_OF_OTHER_LAYERS = "scales_", "input_params_", "activation_alphas_"


def _fitted_network(estimator, dtype):
    """Return the fitted network, its parameters and running statistics."""
    network = choose_network(estimator, layer_units(estimator))
    fitted = vars(estimator)
    if len(network.attributes[0]) > 2 or not fitted.keys().isdisjoint(_OF_OTHER_LAYERS):
        check_same_layers(estimator, network)
    return network, *flat_state(estimator, network, dtype)


class Ready(NamedTuple):
    """What predictions of a fitted network look up and check each time, which for a row takes longer than the arithmetic.

    For networks inside of another estimator, whose parameters nobody sets.

    Parameters
    ----------
    coefs : list of ndarray
        The estimator's `coefs_`.
    targets : Targets
    network : Network
    params, running : ndarray
    """

    coefs: list
    targets: Any
    network: Network
    params: np.ndarray
    running: np.ndarray


def get_ready(estimator):
    """Return a fitted network that is ready to predict."""
    coefs = estimator.coefs_
    return Ready(coefs, estimator._targets, *_fitted_network(estimator, weights_dtype(coefs)))


def predict_ready(estimator, ready, rows, link):
    """Predict rows, as from `as_rows`, without a check; in the model's dtype.

    Returns
    -------
    targets : Targets
    predictions : ndarray of shape (n_samples, n_outputs)
    """
    if ready.coefs is not estimator.coefs_:
        ready = get_ready(estimator)
    predictions = _predict_rows(estimator, rows.X, ready.network, ready.params, rows, link, ready.running)
    return ready.targets, predictions


def _is_valid(estimator, X, dtype):
    """Whether `validate_data` would return X unchanged; for a few rows, the validation takes longer than the prediction."""
    return (
        type(X) is np.ndarray
        and X.dtype == dtype
        and X.ndim == 2
        and X.shape[1] == estimator.n_features_in_
        and 0 < X.size <= _SMALL_SIZE
        and X.flags.c_contiguous
        and not hasattr(estimator, "feature_names_in_")
        and bool(np.isfinite(X).all())
    )
