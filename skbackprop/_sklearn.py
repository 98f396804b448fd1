"""scikit-learn's private names, each with what it is for: where to look when another version of it has moved something.

No other module names one. Those that scikit-learn looks for on classes of ours stand where they are defined, and in
`HOOKS`. What is relied on without a name, such as the order in which joblib calls a backend, tests/test_relied_on.py
holds. The estimators need all of these modules when they are imported; what is imported on demand, such as the
ensembles, stays out.
"""
# ruff: noqa: F401 (to be imported from here)

from sklearn.base import _fit_context  # validates the parameters before a `fit`
from sklearn.metrics._scorer import _BaseScorer  # what `make_scorer` makes: it sees data only through the estimator
from sklearn.model_selection import cross_validate
from sklearn.utils import _safe_indexing  # rows of whatever users give as data
from sklearn.utils._array_api import (
    _is_numpy_namespace,  # whether arrays are NumPy's, wrapped or not
    _matching_numpy_dtype,  # NumPy's type for that of another library
    _modify_in_place_if_numpy,  # a function with `out=`, which other libraries lack
    _ravel,  # one dimension, in the library of the array
    get_namespace,  # the library of an array
    get_namespace_and_device,  # and the device that it is on
    indexing_dtype,  # the library's type for indices
    move_to,  # an array in another library, or on another device
)
from sklearn.utils._dataframe import is_pandas_df  # whether rows can be taken of it as of an array
from sklearn.utils._optional_dependencies import check_matplotlib_support  # an error that says what to install
from sklearn.utils._param_validation import (
    HasMethods,  # constraint of a parameter: an object with these methods
    Interval,  # a number between two others
    InvalidParameterError,  # raised for all others, and given advice in `NamedOnce`
    Options,  # one of these values
    StrOptions,  # one of these names
    validate_params,  # the same constraints for the arguments of a function
)
from sklearn.utils.metadata_routing import (
    _raise_for_params,  # without metadata routing no further arguments
    _routing_enabled,  # whether `fit` passes on only what is requested
)
from sklearn.utils.multiclass import _check_partial_fit_first_call  # sets `classes_`, or refuses other ones
from sklearn.utils.validation import (
    _check_categorical_features,  # names, indices or a mask as a mask, as in HistGradientBoosting
    _check_feature_names,  # sets `feature_names_in_`, or compares with it, without validation of the data
    _check_feature_names_in,  # those names, or ones with numbers
    _check_n_features,  # sets `n_features_in_`, or compares with it
    _check_sample_weight,  # weights as an array of the right length and type
    _num_samples,  # rows of whatever users give as data
)

#: Names that scikit-learn looks for on classes of ours, and what it takes from there.
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

#: In the state of a pickled estimator: the version of scikit-learn.
VERSION_KEY = "_sklearn_version"

#: Attributes that a bagging draws its members' samples from again. Model files have these names.
BAGGING_DRAWS = ("_seeds", "_n_samples", "_max_samples", "_max_features", "_sample_weight")


def callbacks_of(estimator):
    """The callbacks that are set on an estimator.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    callbacks : sequence
        Empty for none.
    """
    return getattr(estimator, "_skl_callbacks", ())


def callback_context(estimator, max_subtasks):
    """The context of the callbacks around a whole `fit`.

    Parameters
    ----------
    estimator : CallbackSupportMixin
    max_subtasks : int
        Tasks within it, at most.

    Returns
    -------
    context : CallbackContext
    """
    return estimator._init_callback_context(max_subtasks=max_subtasks)


def lower(context):
    """Let a task's callback context count as one level lower, where callbacks that see few levels pass it over.

    Parameters
    ----------
    context : CallbackContext
    """
    context._propagation_depth += 1


def is_validation_task(function):
    """Whether a function is one that scikit-learn's cross-validation runs for each fit, such as `_fit_and_score`.

    Parameters
    ----------
    function : callable

    Returns
    -------
    is_one : bool
    """
    return getattr(function, "__module__", None) == cross_validate.__module__


def unwrapped(task):
    """The function of a task of joblib's without what scikit-learn's `delayed` has put around it.

    Parameters
    ----------
    task : callable

    Returns
    -------
    function : callable
    config : dict
        scikit-learn's configuration to call it with; empty for none.
    """
    return (task.function, task.config) if hasattr(task, "config") else (task, {})
