"""Conversion to scikit-learn's own networks, for tools that only know these."""

import copy
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

import skbackprop.estimators as estimators
from skbackprop._names import listed
from skbackprop._sklearn import GENERATOR, LABEL_ENCODER
from skbackprop.estimators._choices import choose_network
from skbackprop.estimators._state import check_same_layers, flat_state, layer_units, names_of, weights_dtype
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.links import LINKS
from skbackprop.functions.losses import loss_link

__all__ = ["to_sklearn"]

_ACTIVATIONS = "identity", "logistic", "tanh", "relu"

#: Names that parameters of scikit-learn's networks may have.
_NAMES = {
    "solver": ("lbfgs", "sgd", "adam"),
    "learning_rate": ("constant", "invscaling", "adaptive"),
    "batch_size": ("auto",),
}


def to_sklearn(model: Any) -> Any:
    """Convert a fitted network to scikit-learn's `MLPClassifier` or `MLPRegressor`, with the same predictions.

    For tools that know scikit-learn's estimators and not this package's, such as hummingbird and sklearn2pmml. The
    weights are copied, in their dtype. Batch normalization and the scale of `standardize_target` become part of them,
    so that predictions then agree up to rounding.

    The result has the parameters that both packages share, as far as their values are scikit-learn's, and otherwise
    scikit-learn's defaults: it is meant for predictions, and a further `fit` trains a new network as scikit-learn does.

    Parameters
    ----------
    model : BackpropClassifier, BackpropRegressor, or Pipeline that ends with one
        Fitted.

    Returns
    -------
    converted : MLPClassifier, MLPRegressor, or Pipeline that ends with one
        A pipeline shares its other steps with `model`.

    Raises
    ------
    TypeError
        If `model` is of another kind.
    ValueError
        If no network of scikit-learn has the same predictions; the message names each reason: an activation other than
        'identity', 'logistic', 'tanh' and 'relu', or several different ones; parametric activations; layer
        normalization; layers in front of the first dense one; a loss without probabilities, or with other outputs than
        means; several columns of classes.
    sklearn.exceptions.NotFittedError
        If `model` is not fitted.

    See Also
    --------
    to_onnx : Converts every network, to run without Python.

    Notes
    -----
    A float32 network of scikit-learn computes in float64 if its input is float64; this package converts the input.
    Predictions then differ by float32's rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier, to_sklearn
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BackpropClassifier(solver="lbfgs", random_state=0).fit(X, y)
    >>> to_sklearn(model)
    MLPClassifier(random_state=0, solver='lbfgs')
    >>> np.allclose(to_sklearn(model).predict_proba(X), model.predict_proba(X))
    True
    """
    if isinstance(model, Pipeline):
        converted = copy.copy(model)
        converted.steps = [*model.steps[:-1], (model.steps[-1][0], to_sklearn(model[-1]))]
        return converted
    if not isinstance(model, estimators.BackpropClassifier | estimators.BackpropRegressor):
        raise TypeError(
            f"model must be a BackpropClassifier, a BackpropRegressor, or a Pipeline that ends with one, got {type(model).__name__}; "
            "for another meta-estimator, convert the network inside it, such as the best_estimator_ of a search"
        )
    check_is_fitted(model)
    network = choose_network(model, layer_units(model))
    check_same_layers(model, network)
    _refuse_other_predictions(model, network)
    coefs, intercepts = _dense_layers(model, network)
    converted = (MLPClassifier if is_classifier(model) else MLPRegressor)(**_parameters(model, network))
    fitted = {name: getattr(model, name) for name in _SHARED if hasattr(model, name)}
    fitted |= {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "n_outputs_": coefs[-1].shape[1],
        GENERATOR: np.random.RandomState(),
    }
    if is_classifier(model):
        fitted[LABEL_ENCODER] = LabelBinarizer().fit(_example_labels(model))
    vars(converted).update(copy.deepcopy(fitted))
    return converted


#: Fitted attributes that scikit-learn's networks have, too.
_SHARED = (
    *names_of("data"),
    *("classes_", "n_layers_", "out_activation_", "loss_", "n_iter_", "t_", "loss_curve_", "best_loss_"),
    *("validation_scores_", "best_validation_score_", "_no_improvement_count"),
)


def _refuse_other_predictions(model, network):
    """Raise ValueError with everything for which no network of scikit-learn has the same predictions."""
    reasons = []
    names = [_activation_name(key) for key in network.activations]
    if None in names or len(set(names)) > 1:
        reasons.append(f"activation={model.activation!r}: it has one of {listed(_ACTIVATIONS)} for all hidden layers")
    if network.normalizes and not network.over_batch:
        reasons.append(
            f"normalization={model.normalization!r}: it has none, and only that over batches becomes weights"
        )
    if network.parametric:
        reasons.append(f"parametric_activation={model.parametric_activation!r}: it has none")
    if network.inputs:
        reasons.append(f"input_layers={model.input_layers!r}: it has none")
    link = loss_link(network.loss[0])
    if is_classifier(model) and not hasattr(model, "predict_proba"):
        reasons.append(f"loss={model.loss!r}: it always has probabilities, and this loss has none")
    elif is_classifier(model) and isinstance(model.classes_, list):
        reasons.append(f"y with {len(model.classes_)} columns of classes: it takes one column, or labels")
    elif type(link) is not type(LINKS.get(link.name)) or (
        link.name == "exp" and "loss" not in _parameter_names(MLPRegressor)
    ):
        reasons.append(f"loss={model.loss!r}: it has no outputs of this kind")
    if reasons:
        raise ValueError(
            f"no network of scikit-learn has the predictions of this {type(model).__name__}, because of {'; '.join(reasons)}. "
            "skbackprop.to_onnx converts it to ONNX"
        )


def _activation_name(key):
    return next((name for name in _ACTIVATIONS if ACTIVATIONS.get_key(name) == key), None)


def _dense_layers(model, network):
    """Return weights and intercepts of dense layers that compute the same as all layers and the scale of the targets."""
    dtype = weights_dtype(model.coefs_)
    params, running = flat_state(model, network, dtype)
    folded = network.fold(params, running)
    coefs, intercepts = [], []
    factors, summands = "running_means_", "running_variances_"  # where `fold` writes them
    for _, arrays in network.arrays_by_layer(params, folded):
        if "coefs_" in arrays:
            coefs.append(arrays["coefs_"])
            intercepts.append(arrays["intercepts_"])
        elif factors in arrays:
            coefs[-1] = coefs[-1] * arrays[factors]
            intercepts[-1] = intercepts[-1] * arrays[factors] + arrays[summands]
    if hasattr(model, "target_scale_"):
        scale = np.repeat(model.target_scale_, coefs[-1].shape[1] // len(model.target_scale_))
        mean = np.repeat(model.target_mean_, len(scale) // len(model.target_mean_))
        coefs[-1], intercepts[-1] = coefs[-1] * scale, intercepts[-1] * scale + mean
    return [array.astype(dtype) for array in coefs], [array.astype(dtype) for array in intercepts]


def _parameters(model, network):
    """Return the parameters of scikit-learn's network."""
    known = _parameter_names(MLPClassifier if is_classifier(model) else MLPRegressor)
    parameters = {
        name: value
        for name, value in model.get_params(deep=False).items()
        if name in known and (value is None or isinstance(value, Real) or value in _NAMES.get(name, ()))
    }
    parameters["hidden_layer_sizes"] = network.layer_units[1:-1]
    if network.activations:
        parameters["activation"] = _activation_name(network.activations[0])
    if "loss" in known:
        parameters["loss"] = "poisson" if network.loss[0].out_activation == "exp" else "squared_error"
    return parameters


def _parameter_names(kind):
    return kind().get_params(deep=False).keys()


def _example_labels(model):
    """Return labels from which scikit-learn's encoder learns the classes."""
    if model._target_type == "multilabel-indicator":
        return np.eye(len(model.classes_), dtype=int)
    return model.classes_
