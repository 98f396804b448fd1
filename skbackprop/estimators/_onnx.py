"""Export to ONNX: converters for skl2onnx, which converts pipelines and meta-estimators around a network.

Graphs consist of elementary operators that onnxruntime implements in float32 and float64, so that a network keeps its
dtype there.
"""

from functools import lru_cache, partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline

import skbackprop.estimators as estimators
from skbackprop._extras import how_to_install
from skbackprop.estimators._choices import choose_network
from skbackprop.estimators._onnx_tables import encode, table_inputs
from skbackprop.estimators._state import flat_state, layer_units
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.embedding import BackpropEmbedding
from skbackprop.estimators.regressor import BackpropRegressor
from skbackprop.functions import elementary
from skbackprop.functions.losses import loss_link
from skbackprop.preprocessing import TableEncoder

__all__ = ["register_onnx_converters", "to_onnx"]

# skl2onnx's options for classifiers. It sets `zipmap` itself for pipeline steps; probabilities are an array in any
# case.
_ZIPMAP_NOCL = {"zipmap": [True, False], "nocl": [True, False]}

#: Options of the supported estimators, by class name.
_OPTIONS = {
    "BackpropClassifier": {**_ZIPMAP_NOCL, "raw_scores": [True, False]},
    "BackpropRegressor": {},
    "BackpropEmbedding": {},
    "BackpropEnsembleClassifier": _ZIPMAP_NOCL,
    "BackpropEnsembleRegressor": {},
    "BackpropTabularClassifier": _ZIPMAP_NOCL,
    "BackpropTabularRegressor": {},
    "TableEncoder": {},
}


def to_onnx(model: Any, X: Any = None, **settings: Any) -> Any:
    """Convert a fitted network, or a pipeline or another meta-estimator that contains networks, to ONNX.

    The graph computes in the network's dtype. With input of the same dtype, its probabilities agree with
    `predict_proba` within about 1e-15 in float64 and 1e-6 in float32. The outputs are

    - for a classifier: ``label``, the classes in their own type, and ``probabilities``, as from `predict_proba`; with
      several columns of classes, a sequence with one array per column; for a loss without probabilities,
      ``decision_function`` instead;
    - for a regressor: ``variable``, of shape (n_samples, n_outputs) even for a single output, and ``std`` with
      ``loss='gaussian_nll'``;
    - for a :class:`~skbackprop.BackpropEmbedding`: ``variable``, the activations;
    - for an ensemble or an estimator for tables: those of a classifier or regressor, in float64, because the predictions
      are averaged;
    - for a :class:`~skbackprop.preprocessing.TableEncoder`: ``variable``, the columns of its output;
    - for a search: those of its ``best_estimator_``.

    Graphs of :class:`~skbackprop.preprocessing.TableEncoder`, of estimators for tables, and of pipelines that begin with
    one, take the raw columns: an input of shape (n_samples, 1) for each, in their order, by its name, in which skl2onnx
    has "_" for spaces and the like; see Notes.

    skl2onnx converts some meta-estimators incorrectly without an error, for example isotonic calibration, tuned
    thresholds and stacking of labels. These are refused with an error that names the alternative.

    Parameters
    ----------
    model : estimator
        Fitted model.
    X : {array-like, dataframe} of shape (n_samples, n_features), default=None
        Example input of `model`, of which one row is enough: the graph's inputs get its types and names. None means a
        single input ``X`` of the network's dtype; models that take text, or select columns by name, need `X`.
    **settings : dict
        Further arguments of :func:`skl2onnx.to_onnx`, such as `target_opset` and `options`. Options of a classifier:
        ``zipmap=False``, the default if there are no options, for probabilities as an array from other models, too;
        ``nocl=True`` for labels as positions in `classes_`; ``raw_scores=True`` for the outputs of `decision_function` instead of probabilities, for two classes
        as two columns ``-z, z``.

    Returns
    -------
    graph : onnx.ModelProto
        Write ``graph.SerializeToString()`` to a file, or pass it to onnxruntime.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    ValueError
        If a custom function or the labels cannot be expressed in ONNX, if skl2onnx would produce a wrong graph or has
        no converter for a part of the model, or if the model needs `X`.

    See Also
    --------
    register_onnx_converters : For skl2onnx's own functions.

    Notes
    -----
    Inputs of tables are of the type

    - string for text and categories that are text; None and NaN in an array of objects, and the empty string, are
      missing, unless they are levels;
    - double for numbers, with NaN for missing ones, for durations in seconds, and for times of the day in seconds since
      midnight; with `X` the type that its numbers have: int64, float or bool;
    - int64 or bool for categories that are whole numbers or booleans; double where `X` has them in a column of floats;
    - int64 for dates, as from ``astype("datetime64[us]").astype("int64")``: microseconds since 1970 by the clock of the
      zone in `fit`, and the smallest integer for missing ones.

    Levels that were not in `fit` are unknown, as in `predict`. Arrays of numbers are a single input ``X``.

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
    register_onnx_converters()
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from skl2onnx.common.exceptions import MissingShapeCalculator

    if hasattr(model, "best_estimator_"):
        options = settings.get("options") or {}
        best = model.best_estimator_
        settings["options"] = {id(best) if key == id(model) else key: value for key, value in options.items()} or None
        model = best
    if is_classifier(model) and not settings.get("options"):
        # skl2onnx's default, a list of dicts, is invalid in float64.
        settings["options"] = {"zipmap": False}
    _refuse_misconverted(model)
    types = _types_of_columns(model, X) if settings.get("initial_types") is None else None
    if types is not None:
        settings["initial_types"] = types
    makes_input = X is None and "initial_types" not in settings
    try:
        if makes_input:
            network = _network_of(model[-1] if hasattr(model, "steps") else model)
            single = hasattr(network, "coefs_") and network.coefs_[0].dtype == np.float32
            kind = (FloatTensorType if single else DoubleTensorType)([None, model.n_features_in_])
            settings["initial_types"] = [("X", kind)]
        return skl2onnx.to_onnx(model, X, **settings)
    except (_NoFormError, MissingShapeCalculator):
        raise
    except KeyError as error:
        if not isinstance(error.args[0], type):
            raise
        raise _NoFormError(f"skl2onnx has no converter for {error.args[0].__name__}, which is in the model") from error
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        if types is not None and "at most 1 input" in str(error):
            raise _NoFormError(
                f"skl2onnx converts {type(model).__name__} around a single input, and a table has one for each column: convert the "
                "estimator for tables in it, or fit all to an array of numbers"
            ) from error
        if not makes_input or type(model).__name__ in _OPTIONS:
            raise
        raise ValueError(
            f"without X the graph gets one input of numbers, with which the conversion failed: {error}. If the model takes text, or "
            "columns by their names, pass X, of which a row is enough"
        ) from error


def _types_of_columns(model, X):
    """Return the inputs of a graph whose columns a table encoder takes, as `table_inputs`; None for other models."""

    def columns(part):
        return getattr(part, "n_features_in_", None), getattr(part, "feature_names_in_", np.array([])).tolist()

    encoders = (part for part in _parts(model) if isinstance(part, TableEncoder) and columns(part) == columns(model))
    return next((table_inputs(encoder, X) for encoder in encoders), None)


class _NoFormError(ValueError):
    """A part of the model cannot be expressed in ONNX, with any arguments."""


@lru_cache(maxsize=1)
def register_onnx_converters() -> None:
    """Register converters with skl2onnx, so that its own functions convert this package's estimators.

    :func:`to_onnx` calls this itself. The converters also refuse the meta-estimators around a network that skl2onnx
    converts incorrectly; see :func:`to_onnx`.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    to_onnx : Converts a model.

    Examples
    --------
    >>> import skl2onnx
    >>> from sklearn.datasets import load_iris
    >>> import skbackprop
    >>> X, y = load_iris(return_X_y=True)
    >>> model = skbackprop.BackpropClassifier(solver="lbfgs", random_state=0).fit(X, y)
    >>> skbackprop.register_onnx_converters()
    >>> graph = skl2onnx.to_onnx(model, X[:1])
    """
    # Not at import: importing skl2onnx takes longer than importing all of this package, and there is no hook for it.
    try:
        from skl2onnx import update_registered_converter
    except ImportError:
        raise ImportError(f"to_onnx needs skl2onnx: {how_to_install('onnx')}") from None
    for name, options in _OPTIONS.items():
        kind = TableEncoder if name == TableEncoder.__name__ else getattr(estimators, name)
        update_registered_converter(
            kind, f"Skbackprop{name}", _set_types, _converter_of(name), parser=_parse, options=options
        )


def _converter_of(name):
    kinds = {"Ensemble": _convert_ensemble, "Tabular": _convert_tabular, "Encoder": _convert_encoder}
    return next((convert for word, convert in kinds.items() if word in name), _convert)


def _refuse_misconverted(model):
    """Raise ValueError for models that skl2onnx converts incorrectly, or to a graph that cannot run."""
    for part in _parts(model):
        name = type(part).__name__
        problem = None
        # Compared by name, because these modules may not be imported.
        if name == "CalibratedClassifierCV":
            members = [calibrated.estimator for calibrated in part.calibrated_classifiers_]
            if part.method != "sigmoid":
                problem = f"method={part.method!r} is converted to something else, or not at all; use method='sigmoid'"
            elif not all(map(_gives_raw_scores, members)):
                problem = _NO_RAW_SCORES.format(type(members[0]).__name__)
        elif name == "StackingClassifier":
            methods = part.stack_method_
            wrong = [estimator for estimator in part.estimators_ if not _gives_raw_scores(estimator)]
            if "predict" in methods or ("decision_function" in methods and len(part.classes_) == 2):
                problem = f"stack_method_={methods} is converted to probabilities, or to too many columns; use stack_method='predict_proba'"
            elif "decision_function" in methods and wrong:
                problem = _NO_RAW_SCORES.format(type(wrong[0]).__name__)
        elif name == "TunedThresholdClassifierCV":
            problem = (
                "its threshold is left out; convert its estimator_, and compare the probabilities with best_threshold_"
            )
        elif name in ("VotingClassifier", "OneVsRestClassifier", "BaggingClassifier"):
            without = [
                e for e in part.estimators_ if isinstance(e, BackpropClassifier) and not hasattr(e, "predict_proba")
            ]
            if without:
                problem = f"it needs probabilities, and loss={without[0].loss!r} has none; use loss='log_loss'"
        if problem is not None:
            raise _NoFormError(f"skl2onnx cannot convert this {name}: {problem}")


_NO_RAW_SCORES = (
    "it takes the outputs of decision_function, and skl2onnx gives it the probabilities of a {}; let the BackpropClassifier be what "
    "it takes, or the last step of a Pipeline"
)


def _refuse_around(scope):
    """Call `_refuse_misconverted` for all models that skl2onnx converts together with a network."""
    for operator in list(scope.operators.values()):
        _refuse_misconverted(operator.raw_operator)


def _parts(model):
    """Iterate over a fitted model and the fitted models inside it."""
    if isinstance(model, list | tuple):
        for item in model:
            yield from _parts(item)
    elif isinstance(model, BaseEstimator):
        yield model
        for name, value in vars(model).items():
            if name in ("steps", "transformer_list") or (name.endswith("_") and name != "base_estimator_"):
                yield from _parts(value)
    elif hasattr(model, "calibrators"):
        yield from _parts(model.estimator)


def _gives_raw_scores(model):
    """Whether skl2onnx passes a model's `decision_function` on to a meta-estimator that needs it."""
    if not hasattr(model, "decision_function"):
        return True
    if isinstance(model, Pipeline):
        # Our converter reads the options of the pipelines that end with it, see `_options`.
        return isinstance(_last_step(model), BackpropClassifier)
    if hasattr(model, "best_estimator_"):
        return False
    return all(map(_gives_raw_scores, getattr(model, "estimators_", [])))


def _parse(scope, model, inputs, custom_parsers=None):
    operator = scope.declare_local_operator(f"Skbackprop{type(model).__name__}", model)
    operator.inputs = inputs
    for name, kind in _outputs(model, **_options(scope, scope, model)).items():
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _set_types(operator):
    scope, model = operator.scope_inst, operator.raw_operator
    # Not strict: a meta-estimator may leave out the last outputs.
    for variable, kind in zip(
        operator.outputs, _outputs(model, **_options(scope, scope, model)).values(), strict=False
    ):
        # The meta-estimator continues in the float type that it has declared.
        is_number = _is_float(kind) and _is_float(variable.type)
        variable.type = type(variable.type)(kind.shape) if is_number else kind


def _is_float(kind):
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return isinstance(kind, DoubleTensorType | FloatTensorType)


def _options(scope, asked, model):
    """Return the skl2onnx options that change a model's outputs; `asked` is the scope or the container."""
    names = {"raw_scores", "nocl"} & _OPTIONS[type(model).__name__].keys()
    options = {
        name: bool(value)
        for name, value in asked.get_options(model, dict.fromkeys(names, False)).items()
        if name in names
    }
    above = [operator.raw_operator for operator in scope.operators.values()]
    pipelines = [other for other in above if isinstance(other, Pipeline) and _last_step(other) is model]
    if "raw_scores" in names and any(asked.get_options(p, {"raw_scores": False})["raw_scores"] for p in pipelines):
        # A meta-estimator asked the pipeline, which does not pass options on. It expects labels as numbers, and does
        # not use them.
        options = dict.fromkeys(names, True)
    return options


def _last_step(model):
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def _network_of(model):
    """Return the network in a model: an embedding's, unwrapped, or the first of an ensemble's, which share a dtype."""
    if _is_ensemble(model):
        return model.estimators_[0]
    network = getattr(model, "estimator_", model)
    return getattr(network, "estimator", network)


def _is_ensemble(model):
    return isinstance(model, estimators.BackpropEnsembleClassifier | estimators.BackpropEnsembleRegressor)


def _is_tabular(model):
    return isinstance(model, estimators.BackpropTabularClassifier | estimators.BackpropTabularRegressor)


def _outputs(model, raw_scores=False, nocl=False):
    """Return the types of the outputs by name.

    Parameters
    ----------
    model : estimator
    raw_scores : bool, default=False
        For a classifier: whether scores are the outputs of `decision_function`, with two columns for two classes.
    nocl : bool, default=False
        For a classifier: whether labels are positions in `classes_`.
    """
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, SequenceType

    if isinstance(model, TableEncoder):
        numbers = FloatTensorType if np.dtype(model.dtype) == np.float32 else DoubleTensorType
        return {"variable": numbers([None, len(model.sources_)])}
    if _is_ensemble(model) or _is_tabular(model):
        # Predictions are averaged in float64.
        if not hasattr(model, "classes_"):
            return {"variable": DoubleTensorType([None, model.estimators_[0].n_outputs_])}
        _, labels = _labels([model.classes_], nocl)
        return {"label": labels([None]), "probabilities": DoubleTensorType([None, len(model.classes_)])}
    single = _network_of(model).coefs_[0].dtype == np.float32
    numbers = FloatTensorType if single else DoubleTensorType
    if isinstance(model, BackpropEmbedding):
        return {"variable": numbers([None, model._n_features_out])}
    n_outputs = model.n_outputs_
    if isinstance(model, BackpropRegressor):
        names = ["variable", "std"] if model._loss().has_std else ["variable"]
        return {name: numbers([None, n_outputs // len(names)]) for name in names}
    _, labels = _labels(_classes_of_columns(model), nocl)
    binary = model._target_type == "binary"
    if isinstance(model.classes_, list):
        return {"label": labels([None, len(model.classes_)]), "probabilities": SequenceType(numbers([None, None]))}
    label = labels([None, n_outputs] if model._target_type == "multilabel-indicator" else [None])
    if not (raw_scores or hasattr(model, "predict_proba")):
        return {"label": label, "decision_function": numbers([None] if binary else [None, n_outputs])}
    return {"label": label, "probabilities": numbers([None, len(model.classes_) if binary else n_outputs])}


def _classes_of_columns(model):
    """Return the classes of each column of labels; None for an indicator matrix."""
    if model._target_type == "multilabel-indicator":
        return None
    return model.classes_ if isinstance(model.classes_, list) else [model.classes_]


def _labels(columns, nocl=False):
    """Return the classes of each column, or with `nocl` their positions, as ONNX stores them, and their ONNX type."""
    from skl2onnx.common import data_types

    if columns is None:
        return None, data_types.Int64TensorType
    if nocl:
        columns = [np.arange(len(classes)) for classes in columns]
    # As in `predict`, all columns get the common dtype.
    together = np.concatenate(columns)
    columns = [classes.astype(together.dtype) for classes in columns]
    if together.dtype.kind in "UO":
        if not all(isinstance(label, str) for label in together):
            raise _NoFormError(
                f"ONNX has no type for the labels {together.tolist()}: use text or numbers, or set options={{'nocl': True}} for "
                "labels that are places in classes_"
            )
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
    if kind not in kinds:
        raise _NoFormError(
            f"ONNX has no type for labels of dtype {together.dtype}: fit with y.astype(str), or with numbers, or set "
            "options={'nocl': True} for labels that are places in classes_"
        )
    dtype, type_ = kinds[kind]
    return [classes.astype(dtype) for classes in columns], type_


class _Graph:
    """Builder that adds operators to a graph.

    Parameters
    ----------
    scope, container
        skl2onnx objects.
    dtype : numpy.dtype
        Dtype of all float constants.
    """

    def __init__(self, scope: Any, container: Any, dtype: np.dtype) -> None:
        from onnx import TensorProto
        from onnx.helper import np_dtype_to_tensor_dtype

        self._scope = scope
        self._container = container
        self._proto = TensorProto
        self._proto_of = np_dtype_to_tensor_dtype
        self.dtype = np.dtype(dtype)

    def __call__(self, operator: Any, *inputs: Any, output: Any = None, **attributes: Any) -> Any:
        """Add an operator, whose inputs are names or floats, and return the name of its output."""
        names = [self.constant(value) if isinstance(value, float) else value for value in inputs]
        output = output or self._scope.get_unique_variable_name(operator.lower())
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, names, output, name=name, **attributes)
        return output

    def constant(self, value: Any) -> Any:
        """Add a constant array and return its name; a float gets the graph's dtype."""
        value = np.asarray(value, dtype=self.dtype if isinstance(value, float) else None)
        name = self._scope.get_unique_variable_name("constant")
        kind = self._proto.STRING if value.dtype == object else self._proto_of(value.dtype)
        self._container.add_initializer(name, kind, value.shape, value.ravel().tolist())
        return name

    def new_name(self, name: Any) -> Any:
        """Return a unique variable name."""
        return self._scope.get_unique_variable_name(name)

    def number(self, name: Any, output: Any = None) -> Any:
        """Cast to the graph's dtype."""
        return self("Cast", name, to=self._proto_of(self.dtype), output=output)

    def integer(self, name: Any) -> Any:
        """Cast to int64."""
        return self("Cast", name, to=self._proto.INT64)

    def columns(self, name: Any, start: Any, stop: Any = 2**63 - 1, step: Any = 1) -> Any:
        """Slice columns."""
        return self("Slice", name, *(self.constant(np.array([i])) for i in (start, stop, 1, step)))

    def clip(self, name: Any, low: Any, high: Any, output: Any = None) -> Any:
        """Clip values to an interval."""
        return self("Min", self("Max", name, low), high, output=output)

    def polynomial(self, name: Any, coefficients: Any) -> Any:
        """Evaluate a polynomial by Horner's method, with the coefficient of the highest power first."""
        total = float(coefficients[0])
        for coefficient in coefficients[1:]:
            total = self("Add", self("Mul", name, total), float(coefficient))
        return total

    def erf(self, x: Any) -> Any:
        """Compute the error function, which onnxruntime implements in float32 only."""
        if self.dtype == np.float32:
            return self("Erf", x)
        size = self("Abs", x)
        small = self("Mul", x, self.polynomial(self("Mul", x, x), elementary.ERF_BELOW_ONE))
        limited = self("Min", size, float(elementary.ERF_END))
        t = self("Div", self("Sub", limited, 2.0), self("Add", limited, 2.0))
        exponential = self("Exp", self("Neg", self("Mul", limited, limited)))
        tail = self("Mul", exponential, self.polynomial(t, elementary.ERF_BEYOND_ONE))
        large = self("Mul", self("Sign", x), self("Sub", 1.0, tail))
        return self("Where", self("Less", size, 1.0), small, large)


def _sum(g, *terms):
    return reduce(partial(g, "Add"), terms)


def _link(kind):
    """Return the link of a loss class; raise ValueError if it cannot be expressed in ONNX."""
    link = loss_link(kind)
    if "onnx" in vars(type(link)):
        return link
    advice = f"its link {type(link).__name__} has no method onnx of its own"
    if link is not kind.link:
        advice = (
            "it defines its own inverse_link or loops; derive it from a loss with the same link, such as Poisson for exp, and define "
            "loss_gradient alone"
        )
    raise _NoFormError(f"the predictions of the loss {kind.__name__} have no form in ONNX: {advice}")


def _raw_outputs(g, x, model, n_hidden=None):
    """Add the layers up to the last one, or up to the last of some hidden layers."""
    network = choose_network(model, layer_units(model))
    params, running = flat_state(model, network, g.dtype)
    for layer, arrays in network.arrays_by_layer(params, running):
        if n_hidden is not None and layer.stage == network.n_front + n_hidden:
            break
        if not layer.has_onnx:
            raise _NoFormError(f"{layer.title} has no form in ONNX: it has no method onnx of its own")
        x = layer.onnx(g, x, arrays)
    return x


def _convert(scope, operator, container):
    """Convert a network or an embedding; called by skl2onnx."""
    _refuse_around(scope)
    model = operator.raw_operator
    network = _network_of(model)
    g = _Graph(scope, container, network.coefs_[0].dtype)
    x = _inputs(g, operator)
    if isinstance(model, BackpropEmbedding):
        units = _raw_outputs(g, x, network, range(len(network.coefs_) - 1)[model.layer] + 1)
        g("Identity", units, output=_output_names(g, operator)[0])
        return
    options = _options(scope, container, model)
    _convert_network(g, model, x, _output_names(g, operator, **options), **options)


def _output_names(g, operator, **options):
    """Return names of all outputs, also of those that a meta-estimator leaves out or declares in another type."""
    from skl2onnx.common.data_types import guess_proto_type

    names = []
    for name, kind in _outputs(operator.raw_operator, **options).items():
        declared = operator.outputs[len(names)] if len(names) < len(operator.outputs) else None
        if declared is not None and type(declared.type) is type(kind):
            names.append(declared.full_name)
            continue
        names.append(g.new_name(name))
        if declared is not None:
            g("Cast", names[-1], to=guess_proto_type(declared.type), output=declared.full_name)
    return names


def _inputs(g, operator):
    """Concatenate all inputs to one matrix."""
    parts = [g.number(variable.full_name) for variable in operator.inputs]
    return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)


def _convert_ensemble(scope, operator, container):
    """Convert an ensemble: the mean of the networks' predictions, in float64, as scikit-learn computes it."""
    _refuse_around(scope)
    model = operator.raw_operator
    options = _options(scope, container, model)
    g = _Graph(scope, container, np.float64)
    x = _inputs(g, operator)
    predictions = []
    for network, features in zip(model.estimators_, model.estimators_features_, strict=True):
        if not isinstance(network, model._default_estimator):
            raise _NoFormError(
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
    outputs = _output_names(g, operator, **options)
    mean = g("Div", _sum(g, *predictions), float(len(predictions)), output=outputs[-1])
    if hasattr(model, "classes_"):
        classes, _ = _labels([model.classes_], **options)
        g("Identity", _best(g, mean, classes[0], keepdims=0), output=outputs[0])


def _convert_encoder(scope, operator, container):
    """Convert an encoder of tables."""
    g = _Graph(scope, container, np.float64)
    model, variable = operator.raw_operator, operator.outputs[0]
    own = _Graph(scope, container, np.float32 if "Float" in type(variable.type).__name__ else np.float64)
    own.number(_encoded(g, operator, model), output=variable.full_name)


def _encoded(g, operator, encoder):
    """Add an encoder of the operator's inputs, which are a matrix or a column each."""
    columns = []
    for variable in operator.inputs:
        kind = type(variable.type).__name__
        type_ = "text" if "String" in kind else "number" if _is_float(variable.type) else "whole"
        width = variable.type.shape[1]
        names = [g.columns(variable.full_name, place, place + 1) for place in range(width)]
        columns += [(name, type_) for name in (names if width > 1 else [variable.full_name])]
    if len(columns) != encoder.n_features_in_:
        raise _NoFormError(
            f"the model takes tables of {encoder.n_features_in_} columns, and skl2onnx gives it {len(columns)}, as it passes on one input "
            "only in some meta-estimators: convert the estimator for tables in it"
        )
    return encode(g, encoder, columns)


def _convert_tabular(scope, operator, container):
    """Convert an estimator for tables: the mean of the networks' predictions, in float64."""
    _refuse_around(scope)
    model = operator.raw_operator
    options = _options(scope, container, model)
    g = _Graph(scope, container, np.float64)
    x = _encoded(g, operator, model.encoder_)
    outputs = _output_names(g, operator, **options)
    own = _Graph(scope, container, model.estimators_[0].coefs_[0].dtype)
    x, predict = own.number(x), _calibrated if hasattr(model, "classes_") else _in_units
    predictions = [predict(g, own, x, model, member) for member in range(len(model.estimators_))]
    mean = g("Div", _sum(g, *predictions), float(len(predictions)))
    if not hasattr(model, "classes_"):
        g.clip(mean, *(g.constant(np.atleast_1d(bound)) for bound in model.target_range_), output=outputs[0])
        return
    g("Identity", mean, output=outputs[1])
    classes, _ = _labels([model.classes_], **options)
    g("Identity", _best(g, mean, classes[0], keepdims=0), output=outputs[0])


def _calibrated(g, own, x, model, member):
    """A member's calibrated probabilities, in float64."""
    network = model.estimators_[member]
    logits = g("Div", g.number(_raw_outputs(own, x, network)), float(model.temperatures_[member]))
    if len(network.classes_) == 2:
        logits = g("Concat", g("Mul", logits, 0.0), logits, axis=1)
    elif len(network.classes_) == 1:
        # Of which the probability is one.
        logits = g("Mul", logits, 0.0)
    places = np.eye(len(model.classes_))[network.classes_]
    return g("MatMul", g("Softmax", logits, axis=1), g.constant(places))


def _in_units(g, own, x, model, member):
    """A member's prediction in the units of `y`, in float64."""
    network = model.estimators_[member]
    names = [g.new_name(name) for name in _outputs(network)]
    _convert_network(own, network, x, names)
    scaled = g("Mul", g.number(names[0]), g.constant(np.atleast_1d(model.target_scale_)))
    return g("Add", scaled, g.constant(np.atleast_1d(model.target_mean_)))


def _spread_over_classes(g, network, names, n_classes):
    """Expand a network's probabilities, or its vote, to all classes of the ensemble; it may have seen only some."""
    label, probabilities = names
    if hasattr(network, "predict_proba"):
        places = np.zeros((len(network.classes_), n_classes))
        places[np.arange(len(network.classes_)), network.classes_] = 1.0
        return g("MatMul", g.number(probabilities), g.constant(places))
    votes = g("Equal", g("Reshape", label, g.constant(np.array([-1, 1]))), g.constant(np.arange(n_classes)[None]))
    return g.number(votes)


def _convert_network(g, model, x, outputs, **options):
    """Add a network with these output names."""
    raw = _raw_outputs(g, x, model)
    convert = _convert_classifier if isinstance(model, BackpropClassifier) else _convert_regressor
    convert(g, model, raw, outputs, **options)


def _convert_regressor(g, model, raw, outputs):
    kind, settings = model._targets.loss_key()
    predictions = _link(kind).onnx(g, raw, *settings)
    scale = getattr(model, "target_scale_", None)
    n_outputs = model.n_outputs_

    def in_units(name, means, output):
        if scale is None:
            return g("Identity", name, output=output)
        # In float64, as in `predict`.
        wide = _Graph(g._scope, g._container, np.float64)
        factors = np.repeat(scale, n_outputs // len(scale) // len(outputs))
        name = wide("Mul", wide.number(name), wide.constant(factors))
        if means is not None:
            name = wide("Add", name, wide.constant(np.repeat(means, len(factors) // len(means))))
        return g.number(name, output=output)

    means = getattr(model, "target_mean_", None)
    if kind.has_std:
        predictions, deviations = predictions
        in_units(deviations, None, outputs[1])
    in_units(predictions, means, outputs[0])


def _convert_classifier(g, model, raw, outputs, raw_scores=False, nocl=False):
    kind, settings = model._targets.loss_key()
    link = _link(kind)
    classes, _ = _labels(_classes_of_columns(model), nocl)
    label, scores = outputs
    has_proba = hasattr(model, "predict_proba")
    if isinstance(model.classes_, list):
        ends = np.cumsum([0, *map(len, model.classes_)])
        parts = [g.columns(raw, *pair) for pair in pairwise(ends)]
        parts = [link.onnx_scores(g, part) if raw_scores else link.onnx(g, part, *settings) for part in parts]
        g("SequenceConstruct", *parts, output=scores)
        labels = [_best(g, part, labels, keepdims=1) for part, labels in zip(parts, classes, strict=True)]
        g("Concat", *labels, axis=1, output=label)
        return
    predictions = link.onnx(g, raw, *settings)
    if model._target_type == "multiclass":
        g("Identity", _best(g, predictions, classes[0], keepdims=0), output=label)
        if raw_scores or not has_proba:
            # The scores of `decision_function`.
            predictions = link.onnx_scores(g, raw) if has_proba else raw
        g("Identity", predictions, output=scores)
        return
    positive = g("Greater", predictions, float(kind.threshold))
    if model._target_type == "multilabel-indicator":
        g("Identity", predictions if has_proba and not raw_scores else raw, output=scores)
        g("Cast", positive, to=g._proto.INT64, output=label)
        return
    flat = g.constant(np.array([-1]))
    index = g("Reshape", g("Cast", positive, to=g._proto.INT64), flat)
    if len(model.classes_) == 1:
        index = g("Mul", index, g.constant(np.array(0)))
    g("Gather", g.constant(classes[0]), index, output=label)
    if len(model.classes_) == 1 and (raw_scores or has_proba):
        # The probability of a single class is one. Derived from the predictions, because the number of rows varies.
        g("Identity", raw if raw_scores else g("Add", g("Mul", predictions, 0.0), 1.0), output=scores)
    elif raw_scores:
        # Two columns, as skl2onnx's own converters return and its meta-estimators expect.
        g("Concat", g("Neg", raw), raw, axis=1, output=scores)
    elif has_proba:
        g("Concat", g("Sub", 1.0, predictions), predictions, axis=1, output=scores)
    else:
        g("Reshape", raw, flat, output=scores)


def _best(g, predictions, classes, keepdims):
    return g("Gather", g.constant(classes), g("ArgMax", predictions, axis=1, keepdims=keepdims))
