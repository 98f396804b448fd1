"""Networks as ONNX graphs: a converter for skl2onnx, which knows everything around them.

Graphs are made of elementary operators only, all of which onnxruntime has in float32 and float64, so that a network computes in its
own type there, too.
"""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np

import skbackprop.estimators as estimators
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.embedding import BackpropEmbedding
from skbackprop.estimators.regressor import BackpropRegressor
from skbackprop.functions import elementary
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.normalizations import NORMALIZATIONS

__all__ = ["to_onnx"]


def to_onnx(model, X=None, **settings):
    """Convert a fitted network, or a pipeline or another meta-estimator with networks in it, to ONNX.

    The graph computes in the network's own type: in float64, the probabilities are the same up to rounding, about 1e-15, where the
    data are given in float64, too; in float32 within 1e-6. Its outputs are

    - of a classifier: ``label``, the classes in their own type, and ``probabilities``, as `predict_proba` gives them, for several
      columns of classes a sequence of them; where the loss has no probabilities, ``decision_function`` takes their place;
    - of a regressor: ``variable``, of shape (n_samples, n_outputs) also for a single output, and ``std`` with
      ``loss='gaussian_nll'``;
    - of a :class:`~skbackprop.BackpropEmbedding`: ``variable``, the units;
    - of an ensemble: those of its kind, in float64, as the networks' predictions are averaged.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : {array-like, dataframe} of shape (n_samples, n_features), default=None
        Data as `model` takes them, a row is enough: their types and names become those of the graph's inputs. None makes one input
        ``X`` of the network's type.
    **settings : dict
        Further arguments of :func:`skl2onnx.to_onnx`, such as `target_opset`.

    Returns
    -------
    graph : onnx.ModelProto
        ``graph.SerializeToString()`` is what files hold and onnxruntime loads.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    ValueError
        If a function of your own has no form in ONNX, or the labels have none.

    Notes
    -----
    skl2onnx learns of these networks in the first call; from then on its own functions convert them as well.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbackprop import BackpropClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BackpropClassifier(solver="lbfgs", random_state=0)).fit(X, y)
    >>> graph = to_onnx(model)
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    _register()
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    if X is None and "initial_types" not in settings:
        network = _network_of(model[-1] if hasattr(model, "steps") else model)
        single = hasattr(network, "coefs_") and network.coefs_[0].dtype == np.float32
        kind = (FloatTensorType if single else DoubleTensorType)([None, model.n_features_in_])
        settings["initial_types"] = [("X", kind)]
    return skl2onnx.to_onnx(model, X, **settings)


@lru_cache(maxsize=1)
def _register():
    """Tell skl2onnx of the estimators, when it is first needed: to import it takes longer than all of this package."""
    try:
        from skl2onnx import update_registered_converter
    except ImportError:
        raise ImportError('to_onnx needs skl2onnx: pip install "skbackprop[onnx]", or pip install skl2onnx') from None
    for kind in (BackpropClassifier, BackpropRegressor, BackpropEmbedding):
        update_registered_converter(kind, f"Skbackprop{kind.__name__}", _set_types, _convert, parser=_parse)
    for kind in (estimators.BackpropEnsembleClassifier, estimators.BackpropEnsembleRegressor):
        update_registered_converter(kind, f"Skbackprop{kind.__name__}", _set_types, _convert_ensemble, parser=_parse)


def _parse(scope, model, inputs, custom_parsers=None):
    operator = scope.declare_local_operator(f"Skbackprop{type(model).__name__}", model)
    operator.inputs = inputs
    for name, kind in _outputs(model).items():
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _set_types(operator):
    for variable, kind in zip(operator.outputs, _outputs(operator.raw_operator).values(), strict=True):
        variable.type = kind


def _network_of(model):
    """The network itself: an embedding's may be wrapped twice, and those of an ensemble are of one type."""
    if _is_ensemble(model):
        return model.estimators_[0]
    network = getattr(model, "estimator_", model)
    return getattr(network, "estimator", network)


def _is_ensemble(model):
    return isinstance(model, estimators.BackpropEnsembleClassifier | estimators.BackpropEnsembleRegressor)


def _outputs(model):
    """Types of the outputs by name."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, SequenceType

    if _is_ensemble(model):
        if not hasattr(model, "classes_"):
            return {"variable": DoubleTensorType([None, 1])}
        _, labels = _labels([model.classes_])
        return {"label": labels([None]), "probabilities": DoubleTensorType([None, model.n_classes_])}
    single = _network_of(model).coefs_[0].dtype == np.float32
    numbers = FloatTensorType if single else DoubleTensorType
    if isinstance(model, BackpropEmbedding):
        return {"variable": numbers([None, model._n_features_out])}
    n_outputs = model.n_outputs_
    if isinstance(model, BackpropRegressor):
        names = ["variable", "std"] if model._loss().has_std else ["variable"]
        return {name: numbers([None, n_outputs // len(names)]) for name in names}
    _, labels = _labels(_classes_of_columns(model))
    binary = model._target_type == "binary"
    if model._has_columns:
        return {"label": labels([None, len(model.classes_)]), "probabilities": SequenceType(numbers([None, None]))}
    label = labels([None, n_outputs] if model._target_type == "multilabel-indicator" else [None])
    if not hasattr(model, "predict_proba"):
        return {"label": label, "decision_function": numbers([None] if binary else [None, n_outputs])}
    return {"label": label, "probabilities": numbers([None, len(model.classes_) if binary else n_outputs])}


def _classes_of_columns(model):
    """The classes of each column of labels; None where they are 0 and 1 in columns."""
    if model._target_type == "multilabel-indicator":
        return None
    return model.classes_ if model._has_columns else [model.classes_]


def _labels(columns):
    """The classes of columns as ONNX holds them, and their type."""
    from skl2onnx.common import data_types

    if columns is None:
        return None, data_types.Int64TensorType
    # As `predict` puts columns side by side: in the type that holds all of them.
    together = np.concatenate(columns)
    columns = [classes.astype(together.dtype) for classes in columns]
    if together.dtype.kind in "UO":
        if not all(isinstance(label, str) for label in together):
            raise ValueError(f"ONNX has no type for the labels {together.tolist()}; use text or numbers")
        return [
            np.array([label.encode() for label in classes], dtype=object) for classes in columns
        ], data_types.StringTensorType
    kinds = {
        "b": (np.bool_, data_types.BooleanTensorType),
        "f": (np.float64, data_types.DoubleTensorType),
        "u": (np.uint64, data_types.UInt64TensorType),
        "i": (np.int64, data_types.Int64TensorType),
    }
    kind = "i" if together.dtype.kind == "u" and together.max() < 2**63 else together.dtype.kind
    dtype, type_ = kinds[kind]
    return [classes.astype(dtype) for classes in columns], type_


class _Graph:
    """Adds operators to a graph.

    Parameters
    ----------
    scope, container
        skl2onnx's.
    dtype : numpy.dtype
        Of all numbers.
    """

    def __init__(self, scope, container, dtype):
        from onnx import TensorProto
        from onnx.helper import np_dtype_to_tensor_dtype

        self._scope = scope
        self._container = container
        self._proto = TensorProto
        self._proto_of = np_dtype_to_tensor_dtype
        self.dtype = np.dtype(dtype)

    def __call__(self, operator, *inputs, output=None, **attributes):
        """The name of an operator's output; inputs are names or numbers."""
        names = [self.constant(value) if isinstance(value, float) else value for value in inputs]
        output = output or self._scope.get_unique_variable_name(operator.lower())
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, names, output, name=name, **attributes)
        return output

    def constant(self, value):
        """The name of an array; numbers have the graph's type."""
        value = np.asarray(value, dtype=self.dtype if isinstance(value, float) else None)
        name = self._scope.get_unique_variable_name("constant")
        kind = self._proto.STRING if value.dtype == object else self._proto_of(value.dtype)
        self._container.add_initializer(name, kind, value.shape, value.ravel().tolist())
        return name

    def number(self, name, output=None):
        """Anything as numbers of the graph's type."""
        return self("Cast", name, to=self._proto_of(self.dtype), output=output)

    def columns(self, name, start, stop, step=1):
        """Some columns."""
        return self("Slice", name, *(self.constant(np.array([i])) for i in (start, stop, 1, step)))


def _sum(g, *terms):
    total = terms[0]
    for term in terms[1:]:
        total = g("Add", total, term)
    return total


def _polynomial(g, x, coefficients):
    total = float(coefficients[0])
    for coefficient in coefficients[1:]:
        total = g("Add", g("Mul", x, total), float(coefficient))
    return total


def _erf(g, x):
    if g.dtype == np.float32:
        return g("Erf", x)
    # onnxruntime has it in float32 only.
    size = g("Abs", x)
    small = g("Mul", x, _polynomial(g, g("Mul", x, x), elementary.ERF_BELOW_ONE))
    limited = g("Min", size, float(elementary.ERF_END))
    t = g("Div", g("Sub", limited, 2.0), g("Add", limited, 2.0))
    tail = g("Mul", g("Exp", g("Neg", g("Mul", limited, limited))), _polynomial(g, t, elementary.ERF_BEYOND_ONE))
    large = g("Mul", g("Sign", x), g("Sub", 1.0, tail))
    return g("Where", g("Less", size, 1.0), small, large)


def _gelu(g, z, approximate):
    if approximate == "tanh":
        cube = g("Mul", g("Mul", z, z), g("Mul", z, 0.044715))
        inner = g("Tanh", g("Mul", g("Add", z, cube), math.sqrt(2 / math.pi)))
    else:
        inner = _erf(g, g("Mul", z, math.sqrt(0.5)))
    return g("Mul", g("Mul", z, 0.5), g("Add", inner, 1.0))


def _softplus(g, z):
    # The exponential of a positive number could overflow.
    return g("Add", g("Relu", z), g("Log", g("Add", g("Exp", g("Neg", g("Abs", z))), 1.0)))


def _exponential_below(g, z, slope, scale):
    """``slope * z`` above 0, ``scale * (exp(z) - 1)`` below."""
    below = g("Mul", g("Sub", g("Exp", g("Min", z, 0.0)), 1.0), float(scale))
    return g("Add", g("Mul", g("Relu", z), float(slope)), below)


def _between(g, z, low, high):
    return g("Min", g("Max", z, low), high)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

#: For each activation, by name, its operators.
_ACTIVATIONS = {
    "identity": lambda g, z: z,
    "logistic": lambda g, z: g("Sigmoid", z),
    "tanh": lambda g, z: g("Tanh", z),
    "relu": lambda g, z: g("Relu", z),
    "leaky_relu": lambda g, z, negative_slope: _sum(g, g("Relu", z), g("Mul", g("Min", z, 0.0), float(negative_slope))),
    "elu": lambda g, z, alpha: _exponential_below(g, z, 1.0, alpha),
    "selu": lambda g, z: _exponential_below(g, z, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA),
    "gelu": _gelu,
    "silu": lambda g, z: g("Mul", z, g("Sigmoid", z)),
    "mish": lambda g, z: g("Mul", z, g("Tanh", _softplus(g, z))),
    "softplus": _softplus,
    "softsign": lambda g, z: g("Div", z, g("Add", g("Abs", z), 1.0)),
    "hard_sigmoid": lambda g, z: _between(g, g("Add", g("Div", z, 6.0), 0.5), 0.0, 1.0),
    "hard_tanh": lambda g, z: _between(g, z, -1.0, 1.0),
}


def _activation(g, z, choice):
    function = ACTIVATIONS.get_function(choice)
    if function.name not in _ACTIVATIONS:
        raise ValueError(f"activation={function!r} has no form in ONNX")
    return _ACTIVATIONS[function.name](g, z, **function.get_params(deep=False))


def _hidden_layers(g, x, model, n_layers):
    """The outputs of the last of some hidden layers."""
    one_for_all = isinstance(model.activation, str | Activation)
    for layer in range(n_layers):
        z = _weighted(g, x, model, layer)
        if hasattr(model, "running_means_"):
            kind, settings = NORMALIZATIONS.get_key(model.normalization)
            factor, summand = kind.fold(
                model.scales_[layer],
                model.offsets_[layer],
                model.running_means_[layer],
                model.running_variances_[layer],
                settings[0],
            )
            z = g("Add", g("Mul", z, g.constant(factor.astype(g.dtype))), g.constant(summand.astype(g.dtype)))
        elif hasattr(model, "scales_"):
            z = _normalized_over_units(g, z, model, layer)
        x = _activation(g, z, model.activation if one_for_all else model.activation[layer])
    return x


def _weighted(g, x, model, layer):
    coef, intercept = (np.ascontiguousarray(arrays[layer]) for arrays in (model.coefs_, model.intercepts_))
    return g("Add", g("MatMul", x, g.constant(coef)), g.constant(intercept))


def _normalized_over_units(g, z, model, layer):
    n_units = len(model.scales_[layer])
    means = g.constant(np.full((n_units, 1), 1 / n_units, dtype=g.dtype))
    z = g("Sub", z, g("MatMul", z, means))
    variance = g("MatMul", g("Mul", z, z), means)
    epsilon = float(NORMALIZATIONS.get_key(model.normalization)[1][0])
    z = g("Div", z, g("Sqrt", g("Add", variance, epsilon)))
    scale, offset = (np.ascontiguousarray(arrays[layer]) for arrays in (model.scales_, model.offsets_))
    return g("Add", g("Mul", z, g.constant(scale)), g.constant(offset))


def _convert(scope, operator, container):
    """What skl2onnx calls to add a network to a graph."""
    model = operator.raw_operator
    network = _network_of(model)
    g = _Graph(scope, container, network.coefs_[0].dtype)
    x = _inputs(g, operator)
    if isinstance(model, BackpropEmbedding):
        units = _hidden_layers(g, x, network, range(len(network.coefs_) - 1)[model.layer] + 1)
        g("Identity", units, output=operator.output_full_names[0])
        return
    _convert_network(g, model, x, operator.output_full_names)


def _inputs(g, operator):
    """All columns in one matrix."""
    parts = [g.number(variable.full_name) for variable in operator.inputs]
    return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)


def _convert_ensemble(scope, operator, container):
    """The same for an ensemble: the mean of its networks' predictions, in float64, as scikit-learn computes it."""
    model = operator.raw_operator
    g = _Graph(scope, container, np.float64)
    x = _inputs(g, operator)
    predictions = []
    for network, features in zip(model.estimators_, model.estimators_features_, strict=True):
        if not isinstance(network, model._default_estimator):
            raise ValueError(
                f"an ensemble of {type(network).__name__} has no form in ONNX, only one of {model._default_estimator.__name__}"
            )
        own = _Graph(scope, container, network.coefs_[0].dtype)
        columns = own.number(g("Gather", x, g.constant(np.asarray(features, dtype=np.int64)), axis=1))
        names = [scope.get_unique_variable_name(name) for name in _outputs(network)]
        _convert_network(own, network, columns, names)
        if hasattr(model, "classes_"):
            predictions.append(_spread_over_classes(g, network, names, model.n_classes_))
        else:
            predictions.append(g.number(names[0]))
    outputs = operator.output_full_names
    mean = g("Div", _sum(g, *predictions), float(len(predictions)), output=outputs[-1])
    if hasattr(model, "classes_"):
        classes, _ = _labels([model.classes_])
        g("Identity", _best(g, mean, classes[0], keepdims=0), output=outputs[0])


def _spread_over_classes(g, network, names, n_classes):
    """Probabilities of all of an ensemble's classes, of which a network may have seen some only, or its vote."""
    label, probabilities = names
    if hasattr(network, "predict_proba"):
        places = np.zeros((len(network.classes_), n_classes))
        places[np.arange(len(network.classes_)), network.classes_] = 1.0
        return g("MatMul", g.number(probabilities), g.constant(places))
    votes = g("Equal", g("Reshape", label, g.constant(np.array([-1, 1]))), g.constant(np.arange(n_classes)[None]))
    return g.number(votes)


def _convert_network(g, model, x, outputs):
    """Outputs of a network by name."""
    n_hidden = len(model.coefs_) - 1
    raw = _weighted(g, _hidden_layers(g, x, model, n_hidden), model, n_hidden)
    (_convert_classifier if isinstance(model, BackpropClassifier) else _convert_regressor)(g, model, raw, outputs)


def _convert_regressor(g, model, raw, outputs):
    loss = model._loss()
    scale = getattr(model, "target_scale_", None)
    n_outputs = model.n_outputs_

    def in_units(name, means, output):
        if scale is None:
            return g("Identity", name, output=output)
        # In float64, as `predict` does it.
        wide = _Graph(g._scope, g._container, np.float64)
        factors = np.repeat(scale, n_outputs // len(scale) // (2 if loss.has_std else 1))
        name = wide("Mul", wide.number(name), wide.constant(factors))
        if means is not None:
            name = wide("Add", name, wide.constant(np.repeat(means, len(factors) // len(means))))
        return g.number(name, output=output)

    means = getattr(model, "target_mean_", None)
    if loss.has_std:
        in_units(g.columns(raw, 0, n_outputs, 2), means, outputs[0])
        logarithms = _between(g, g.columns(raw, 1, n_outputs, 2), -30.0, 30.0)
        in_units(g("Exp", g("Mul", logarithms, 0.5)), None, outputs[1])
        return
    in_units(g("Exp", raw) if loss.out_activation == "exp" else raw, means, outputs[0])


def _convert_classifier(g, model, raw, outputs):
    kind = model._loss_key()[0]
    classes, _ = _labels(_classes_of_columns(model))
    label, scores = outputs
    has_proba = hasattr(model, "predict_proba")
    if model._has_columns:
        ends = np.cumsum([0, *map(len, model.classes_)])
        parts = [g("Softmax", g.columns(raw, start, end), axis=1) for start, end in pairwise(ends)]
        g("SequenceConstruct", *parts, output=scores)
        labels = [_best(g, part, labels, keepdims=1) for part, labels in zip(parts, classes, strict=True)]
        g("Concat", *labels, axis=1, output=label)
        return
    if model._target_type == "multiclass":
        predictions = g("Softmax", raw, axis=1) if has_proba else raw
        g("Identity", predictions, output=scores)
        g("Identity", _best(g, predictions, classes[0], keepdims=0), output=label)
        return
    predictions = g("Sigmoid", raw) if has_proba else raw
    positive = g("Greater", predictions, float(kind.threshold))
    if model._target_type == "multilabel-indicator":
        g("Identity", predictions, output=scores)
        g("Cast", positive, to=g._proto.INT64, output=label)
        return
    flat = g.constant(np.array([-1]))
    index = g("Reshape", g("Cast", positive, to=g._proto.INT64), flat)
    if len(model.classes_) == 1:
        index = g("Mul", index, g.constant(np.array(0)))
    g("Gather", g.constant(classes[0]), index, output=label)
    if not has_proba:
        g("Reshape", predictions, flat, output=scores)
    elif len(model.classes_) == 1:
        # Of the shape of the predictions, which depends on the rows.
        g("Add", g("Mul", predictions, 0.0), 1.0, output=scores)
    else:
        g("Concat", g("Sub", 1.0, predictions), predictions, axis=1, output=scores)


def _best(g, predictions, classes, keepdims):
    return g("Gather", g.constant(classes), g("ArgMax", predictions, axis=1, keepdims=keepdims))
