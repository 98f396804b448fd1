"""scikit-learn's estimator checks."""

import importlib.util

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor

_HAS_ARRAYS = importlib.util.find_spec("array_api_strict") is not None
_MINI_BATCHES = "a sample of weight 2 and a sample given twice fall into different mini-batches"
_BATCH_STATISTICS = "means and variances over a mini-batch count each row once, whatever its weight"
_ANY_LIBRARY = "the fitted arrays are NumPy's, so that data of any library are taken, whatever `fit` was given"
_SMALL_SPLIT = "early stopping splits a validation set off the check's few samples, or refuses partial_fit"
_WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
_EARLY_STOPPING = (
    "check_estimators_nan_inf",
    "check_estimators_partial_fit_n_features",
    "check_fit2d_1feature",
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
)


def _expected_failures(estimator):
    """Checks that cannot hold, with the reason; scikit-learn's own MLP fails those it runs, too, with the same settings.

    Strict: a check that passes unexpectedly is a failure.
    """
    failures = {"check_array_api_same_namespace": _ANY_LIBRARY} if _HAS_ARRAYS else {}
    if isinstance(estimator, BackpropEmbedding):
        return failures
    if estimator.batch_size != "auto":
        failures.update(dict.fromkeys(_WEIGHTS, _MINI_BATCHES))
    if estimator.normalization == "batch":
        failures.update(dict.fromkeys(_WEIGHTS, _BATCH_STATISTICS))
    # The regressor's single output is summed in float64, which is enough here.
    if estimator.dtype == "float32" and isinstance(estimator, BackpropClassifier):
        failures.update(
            dict.fromkeys(_WEIGHTS, "the check compares to 1e-7, but float32 rounds at 6e-8 in each operation")
        )
    if estimator.early_stopping:
        failures.update(dict.fromkeys(_EARLY_STOPPING, _SMALL_SPLIT))
        if isinstance(estimator, BackpropClassifier):
            failures["check_class_weight_classifiers"] = _SMALL_SPLIT
            failures["check_classifiers_one_label"] = _SMALL_SPLIT
            failures["check_classifiers_train"] = _SMALL_SPLIT
        else:
            failures["check_regressors_no_decision_function"] = _SMALL_SPLIT
        failures.update(dict.fromkeys(_WEIGHTS, _SMALL_SPLIT))
    return failures


def _settings():
    for cls in (BackpropClassifier, BackpropRegressor):
        yield cls(max_iter=100)
        yield cls(max_iter=100, solver="lbfgs")
        yield cls(max_iter=100, solver="sgd", learning_rate="adaptive", early_stopping=True)
        yield cls(max_iter=100, hidden_layer_sizes=(), activation="tanh", batch_size=5)
        yield cls(max_iter=100, dtype="float32", n_jobs=2)
        yield cls(max_iter=100, hidden_layer_sizes=(20, 10), normalization="layer")
    yield BackpropClassifier(max_iter=100, hidden_layer_sizes=(20, 10), normalization="batch")
    yield BackpropRegressor(max_iter=100, normalization="batch", dtype="float32", n_jobs=2)
    yield BackpropRegressor(max_iter=100, loss="poisson", solver="lbfgs")
    yield BackpropEmbedding()
    yield BackpropEmbedding(BackpropRegressor(hidden_layer_sizes=(5, 3), max_iter=20, random_state=0), layer=0)


@pytest.fixture(autouse=True)
def _array_libraries(monkeypatch):
    """The checks of other libraries' arrays ask for it."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


@pytest.mark.filterwarnings("default")
@parametrize_with_checks(list(_settings()), expected_failed_checks=_expected_failures, xfail_strict=True)
def test_estimator_checks(estimator, check):
    is_of_arrays = check.func.__name__ == "check_array_api_input" and check.keywords["array_namespace"] != "numpy"
    if is_of_arrays and getattr(estimator, "early_stopping", False):
        # The weights of the best epoch are NumPy's, as all fitted arrays are.
        with pytest.raises(AssertionError, match="'_best_params' attribute is in wrong namespace"):
            check(estimator)
    else:
        check(estimator)
