"""Private names of scikit-learn, each with its purpose: the only module to adapt when a new version moves one.

No other module uses private names. Methods that scikit-learn calls on our classes are defined there and listed in
`HOOKS`. What is relied on without a name, such as the order in which joblib calls a backend, is covered by
tests/test_relied_on.py. The estimators import this module, so it imports nothing that is only needed on demand, such as
the ensembles.
"""
# ruff: noqa: F401 (to be imported from here)

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import sklearn
from sklearn.base import _fit_context  # validates the parameters before a `fit`
from sklearn.metrics._scorer import _BaseScorer  # class of `make_scorer`: passes data to the estimator only
from sklearn.model_selection import cross_validate
from sklearn.utils import _safe_indexing  # selects rows of any kind of data
from sklearn.utils._array_api import (
    _convert_to_numpy,  # converts an array of another library to NumPy
    _is_numpy_namespace,  # whether a namespace is NumPy, wrapped or not
    _modify_in_place_if_numpy,  # calls a function with `out=`, which other libraries lack
    _ravel,  # flattens an array in its own library
    get_namespace,  # array library of an array
    get_namespace_and_device,  # array library and device of an array
    indexing_dtype,  # the library's dtype of indices
)
from sklearn.utils._optional_dependencies import check_matplotlib_support  # raises an error that says what to install
from sklearn.utils._param_validation import (
    HasMethods,  # constraint of a parameter: an object with these methods
    Interval,  # constraint: a number in an interval
    InvalidParameterError,  # raised for invalid parameters; `NamedOnce` adds advice
    Options,  # constraint: one of these values
    StrOptions,  # constraint: one of these names
    validate_params,  # checks the arguments of a function against constraints
)
from sklearn.utils.metadata_routing import (
    _raise_for_params,  # refuses metadata without metadata routing
    _routing_enabled,  # whether metadata routing is enabled
)
from sklearn.utils.multiclass import _check_partial_fit_first_call  # sets `classes_`, or raises an error for other ones
from sklearn.utils.validation import (
    _check_feature_names,  # sets `feature_names_in_` or compares with it, without validating the data
    _check_feature_names_in,  # these names, or generated ones
    _check_n_features,  # sets `n_features_in_` or compares with it
    _check_sample_weight,  # validates sample weights
    _num_samples,  # number of rows of any kind of data
)

# A part of an HTML representation; `_sk_visual_block_` returns it.
try:
    from sklearn.utils._repr_html.estimator import _VisualBlock
except ImportError:  # where it was in earlier versions
    from sklearn.utils._estimator_html_repr import _VisualBlock

if TYPE_CHECKING:
    from typing import Self

_Method = TypeVar("_Method")

#: Whether scikit-learn has callbacks, which began with version 1.9.
HAS_CALLBACKS = find_spec("sklearn.callback") is not None


def refuse_older(name):
    """Raise an error for what takes a version of scikit-learn with callbacks.

    Parameters
    ----------
    name : str
        What is to be used.

    Raises
    ------
    NotImplementedError
    """
    if not HAS_CALLBACKS:
        raise NotImplementedError(
            f"{name} needs scikit-learn 1.9 or later, and this is {sklearn.__version__}: upgrade scikit-learn"
        )


# What earlier versions lack. Type checkers, who find no types in scikit-learn, read the signatures here.
if HAS_CALLBACKS and not TYPE_CHECKING:
    from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
    from sklearn.utils._array_api import (
        _matching_numpy_dtype,  # NumPy dtype of an array of another library
        move_to,  # converts an array to another library or device
    )
    from sklearn.utils._dataframe import is_pandas_df  # whether it is a pandas dataframe
    from sklearn.utils.validation import (
        _check_categorical_features,  # converts names, indices or a mask to a mask, as HistGradientBoosting does
    )
else:

    class CallbackSupportMixin:
        """Refuses callbacks."""

        def set_callbacks(self, *callbacks: Any) -> "Self":
            """Raise NotImplementedError."""
            refuse_older("set_callbacks")
            return self

    class ProgressBar:
        """Of which there are no objects."""

    def with_callbacks(method: _Method) -> _Method:
        """Return the method."""
        return method

    def _matching_numpy_dtype(X):
        return _convert_to_numpy(X[:0], get_namespace(X)[0]).dtype

    def move_to(array: Any, *, xp: Any, device: Any) -> Any:
        """Convert an array to another library or device."""
        own = get_namespace(array)[0]
        return _convert_to_numpy(array, own) if _is_numpy_namespace(xp) else xp.asarray(array, device=device)

    def is_pandas_df(X: Any) -> bool:
        """Return whether X is a pandas dataframe."""
        pandas = sys.modules.get("pandas")
        return pandas is not None and isinstance(X, pandas.DataFrame)

    _check_any_weight = _check_sample_weight

    def _check_sample_weight(sample_weight, X, *, allow_all_zero_weights=False, **settings):
        """Validate sample weights; all of them may be zero."""
        return _check_any_weight(sample_weight, X, **settings)

    def _check_categorical_features(X, categorical_features):
        from sklearn.ensemble import HistGradientBoostingRegressor

        trees = HistGradientBoostingRegressor(categorical_features=categorical_features)
        return trees._check_categorical_features(X)


class _NoContext:
    """The context of a `fit` that has no callbacks."""

    def call_on_fit_task_begin(self, **arguments):
        """Do nothing."""

    def call_on_fit_task_end(self, **arguments):
        """Return that nobody asks to stop."""
        return False

    def subcontext(self, **arguments):
        """Return a task's context."""
        return self


#: Private methods and attributes of our classes that scikit-learn uses, and what for.
HOOKS = {
    "_parameter_constraints": "the values that each parameter may have",
    "_validate_params": "called by `_fit_context`; ours adds advice to the errors",
    "_get_param_names": "parameters' names; ours remembers them",
    "_doc_link_module": "the package of which the HTML representation shows documentation",
    "_doc_link_template": "where its link leads",
    "_n_features_out": "columns that `get_feature_names_out` names",
    "_get_estimator": "bagging: the estimator to clone, or the default one",
    "_make_estimator": "bagging: makes a member, which the same thread fits next",
    "_validate_estimator": "bagging: sets `estimator_`; ours after the classes are known",
    "_validate_y": "bagging: sets `classes_`, and gives the members numbers for labels",
}

#: Key of scikit-learn's version in the state of a pickled estimator.
VERSION_KEY = "_sklearn_version"

#: Types in every fitted search, which skops does not know: the scorer that calls `score`, and the default splitters.
TYPES_IN_SEARCHES = (
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
)

#: Attributes of bagging from which `estimators_samples_` draws again. Model files use these names.
BAGGING_DRAWS = ("_seeds", "_n_samples", "_max_samples", "_max_features", "_sample_weight")

#: Attributes of scikit-learn's networks without which they neither predict classes nor train on.
LABEL_ENCODER, GENERATOR = "_label_binarizer", "_random_state"


def callbacks_of(estimator):
    """Return the callbacks that are set on an estimator.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    callbacks : sequence
        Empty if there are none.
    """
    return getattr(estimator, "_skl_callbacks", ())


def callback_context(estimator, max_subtasks):
    """Create the callback context of a `fit`.

    Parameters
    ----------
    estimator : CallbackSupportMixin
    max_subtasks : int
        Maximum number of tasks in the context.

    Returns
    -------
    context : CallbackContext
    """
    return estimator._init_callback_context(max_subtasks=max_subtasks) if HAS_CALLBACKS else _NoContext()


def lower(context):
    """Make a task's callback context one level deeper, so that callbacks with a limited depth ignore it.

    Parameters
    ----------
    context : CallbackContext
    """
    context._propagation_depth += 1


def is_validation_task(function):
    """Whether a function is one of those that scikit-learn's cross-validation runs per fit, such as `_fit_and_score`.

    Parameters
    ----------
    function : callable

    Returns
    -------
    is_one : bool
    """
    return getattr(function, "__module__", None) == cross_validate.__module__


def unwrapped(task):
    """Return the function of a joblib task without the wrapper of scikit-learn's `delayed`.

    Parameters
    ----------
    task : callable

    Returns
    -------
    function : callable
    config : dict
        scikit-learn configuration to call it with; empty if there is none.
    """
    return (task.function, task.config) if hasattr(task, "config") else (task, {})
