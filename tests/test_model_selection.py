"""Searches that train all candidates at once give what scikit-learn's give, bit for bit."""

import copy
import os
import pickle
import re
import signal
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy import sparse
from scipy.stats import loguniform
from sklearn import config_context, model_selection
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold, KFold, RepeatedStratifiedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop import model_selection as ours
from skbackprop.backends.cpu import threads
from skbackprop.estimators._shared import SharedRows
from skbackprop.exceptions import TrainingWarning
from skbackprop.model_selection._progress import _settings

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

IRIS = load_iris(return_X_y=True)
WINE = load_wine(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 8, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 8, "random_state": 0, **settings})


def assert_same_results(own, theirs):
    assert own.keys() == theirs.keys()
    for key, expected in theirs.items():
        if "_time" in key:
            assert np.isfinite(own[key]).all()
        elif key == "params":
            assert [repr(candidate) for candidate in own[key]] == [repr(candidate) for candidate in expected]
        elif not key.startswith("param_"):
            np.testing.assert_array_equal(own[key], expected, err_msg=key)


def compare(name, estimator, *arguments, data=IRIS, fit_params=None, n_jobs=2, **settings):
    """The search and scikit-learn's, after the check that they have the same results."""
    searches = []
    for module in (ours, model_selection):
        search = getattr(module, name)(clone(estimator), *arguments, n_jobs=n_jobs if module is ours else 1, **settings)
        # Steps of a pipeline may change their data.
        searches.append(search.fit(*copy.deepcopy(data), **(fit_params or {})))
    own, theirs = searches
    assert_same_results(own.cv_results_, theirs.cv_results_)
    if hasattr(theirs, "best_estimator_"):
        assert repr(own.best_params_) == repr(theirs.best_params_)
        assert own.best_index_ == theirs.best_index_
        np.testing.assert_array_equal(*(search.predict(copy.deepcopy(data[0])) for search in searches))
        assert vars(own.best_estimator_).keys() == vars(theirs.best_estimator_).keys()
    return own, theirs


GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-3, 1e-2]}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "lbfgs"},
        {"solver": "sgd", "learning_rate": "adaptive", "max_iter": 30, "tol": 1e-2},
        {"solver": "adamw", "learning_rate": "cosine"},
        {"early_stopping": True, "n_iter_no_change": 2},
        {"early_stopping": True, "scoring": "roc_auc_ovr", "validation_fraction": 0.3},
        {"early_stopping": True, "validation_fraction": ShuffleSplit(1, test_size=0.3, random_state=1)},
        {"restore_best_weights": True, "averaging": 0.9},
        {"class_weight": "balanced"},
        {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "output_bias": "prior"},
        {"dropout": 0.3},
        {"dropout": (0.2, 0.3), "batch_size": 16},
        {"normalization": "batch", "batch_size": 16},
        {"normalization": "layer"},
        {"dtype": "float32"},
        {"batch_size": 1, "max_iter": 2},
        {"hidden_layer_sizes": (), "shuffle": False},
        {"hidden_layer_sizes": (8, 4), "activation": "tanh", "l1_ratio": 0.5, "clip_norm": 1.0, "max_norm": 2.0},
        {"random_state": np.random.RandomState(5)},
        {"weight_init": "he_normal", "frozen_layers": (0,)},
        {"solver": "adamw", "dropout": 0.2, "dropout_schedule": "cosine", "weight_decay_schedule": "flat_cosine"},
        {"parametrization": "ntp", "hidden_layer_sizes": (8, 4), "solver": "adamw"},
        {"parametric_activation": True, "hidden_layer_sizes": (8, 4), "activation": "silu"},
    ],
    ids=lambda settings: "-".join(settings) or "default",
)
def test_scores_are_those_of_scikit_learn(settings):
    compare("GridSearchCV", classifier(**settings), GRID, cv=3, return_train_score=True)


def test_each_candidate_may_have_its_own_architecture_solver_and_dtype():
    grid = [
        {"hidden_layer_sizes": [(4,), (8, 4)], "dtype": ["float32", "float64"]},
        {"solver": ["lbfgs", "sgd"], "random_state": [1, 2], "dropout": [0.0], "class_weight": [None, "balanced"]},
    ]
    compare("GridSearchCV", classifier(), grid, cv=3)


@pytest.mark.parametrize("settings", [{}, {"standardize_target": True}, {"solver": "lbfgs"}, {"loss": "poisson"}])
def test_regression(settings):
    compare("GridSearchCV", regressor(**settings), GRID, data=DIABETES, cv=3)


def test_several_targets():
    X, y = DIABETES
    compare("GridSearchCV", regressor(), GRID, data=(X, np.column_stack([y, -y])), cv=3)


def test_several_labels(rng):
    X, _ = IRIS
    compare("GridSearchCV", classifier(), GRID, data=(X, rng.integers(0, 2, (len(X), 3))), cv=3)


def test_labels_as_strings_of_which_a_fold_may_miss_some():
    X, y = IRIS
    compare("GridSearchCV", classifier(), GRID, data=(X, np.array(["a", "b", "c"])[y]), cv=KFold(3))


SPARSE_KINDS = ["csr_array", "csc_matrix", "coo_array", "bsr_array", "dia_array", "lil_matrix", "dok_array"]


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("kind", SPARSE_KINDS)
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_sparse_data(kind, settings):
    X, y = WINE
    sparse_X = getattr(sparse, kind)(np.where(np.median(X, axis=0) < X, X, 0))
    compare("GridSearchCV", classifier(**settings), GRID, data=(sparse_X, y), cv=3)


@pytest.mark.parametrize(
    "make", [np.asfortranarray, lambda X: X.astype(np.float32), lambda X: X.astype(int), np.ndarray.tolist]
)
def test_other_arrays(make):
    X, y = IRIS
    compare("GridSearchCV", classifier(), GRID, data=(make(X), y), cv=3)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_dataframes_keep_their_names(early_stopping):
    X, y = load_iris(return_X_y=True, as_frame=True)
    own, theirs = compare(
        "GridSearchCV", classifier(early_stopping=early_stopping, scoring="accuracy"), GRID, data=(X, y), cv=3
    )
    assert list(own.feature_names_in_) == list(theirs.feature_names_in_) == list(X.columns)
    assert own.n_features_in_ == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"scoring": "f1_macro"},
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
        {"scoring": {"own": make_scorer(accuracy_score), "auc": "roc_auc_ovr"}, "refit": False},
        {"scoring": lambda estimator, X, y: estimator.score(X, y) + X.mean()},
        {"scoring": lambda estimator, X, y: {"a": estimator.score(X, y), "b": X.sum()}, "refit": "b"},
        {"refit": lambda results: 1},
        {"cv": RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)},
        {"cv": [(np.arange(0, 150, 2), np.arange(1, 150, 2)), (np.r_[0:150:3, 0:30], np.arange(1, 150, 3))]},
        {"error_score": "raise"},
        {"pre_dispatch": 3},
        {"n_jobs": None},
        {"n_jobs": 1},
    ],
    ids=str,
)
def test_parameters_of_the_search(settings):
    compare("GridSearchCV", classifier(), GRID, **{"cv": 3, **settings})


def test_sample_weight_is_taken_apart_with_the_data(rng):
    weight = rng.uniform(0.1, 2.0, len(IRIS[1]))
    for settings in ({}, {"early_stopping": True}, {"class_weight": "balanced"}):
        compare("GridSearchCV", classifier(**settings), GRID, fit_params={"sample_weight": weight}, cv=3)


def test_groups():
    groups = np.arange(len(IRIS[1])) % 7
    compare("GridSearchCV", classifier(), GRID, fit_params={"groups": groups}, cv=GroupKFold(3))


def test_metadata_are_routed(rng):
    weight = rng.uniform(0.1, 2.0, len(IRIS[1]))
    with config_context(enable_metadata_routing=True):
        estimator = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        compare("GridSearchCV", estimator, GRID, fit_params={"sample_weight": weight}, cv=3)


def test_other_searches():
    space = {"alpha": loguniform(1e-5, 1.0), "learning_rate_init": loguniform(1e-3, 1e-1)}
    compare("RandomizedSearchCV", classifier(), space, n_iter=5, random_state=0, cv=3)
    compare("HalvingGridSearchCV", classifier(), GRID, cv=3, random_state=0)
    compare("HalvingGridSearchCV", classifier(), GRID, cv=3, resource="max_iter", max_resources=9)
    compare("HalvingRandomSearchCV", classifier(), space, cv=3, random_state=0)


def test_each_fit_draws_from_a_copy_of_the_generator():
    estimator = classifier(random_state=np.random.RandomState(3))
    state = estimator.random_state.get_state()[1].copy()
    compare("GridSearchCV", estimator, GRID, cv=3, refit=False)
    np.testing.assert_array_equal(estimator.random_state.get_state()[1], state)


def test_without_seed_one_thread_draws_as_scikit_learn():
    results = []
    for module in (ours, model_selection):
        np.random.seed(7)  # noqa: NPY002
        search = module.GridSearchCV(classifier(random_state=None), GRID, cv=3, n_jobs=1)
        results.append(search.fit(*IRIS).cv_results_)
    assert_same_results(*results)


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate_init": [1e-2, 1e30]}, {"solver": ["adam", "unknown"]}, {"hidden_layer_sizes": [(4,), (0,)]}],
    ids=str,
)
def test_a_candidate_that_fails_gets_the_error_score(settings):
    results = []
    for module in (ours, model_selection):
        search = module.GridSearchCV(
            classifier(solver="sgd", learning_rate_init=1e-2),
            settings,
            cv=3,
            n_jobs=2 if module is ours else 1,
            error_score=-1,
        )
        with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
            search.fit(*IRIS)
        results.append(search.cv_results_)
    assert_same_results(*results)
    assert (results[0]["mean_test_score"] == -1).sum() == 1


def test_errors_can_be_raised():
    search = ours.GridSearchCV(classifier(), {"hidden_layer_sizes": [(4,), (0,)]}, cv=3, error_score="raise", n_jobs=2)
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        search.fit(*IRIS)
    assert isinstance(search.estimator, BackpropClassifier)


def test_invalid_data_fail_as_in_scikit_learn():
    X, y = IRIS
    X = X.copy()
    X[[3, 20], 1] = np.nan
    for module in (ours, model_selection):
        with pytest.raises(ValueError, match="All the 12 fits failed"):
            module.GridSearchCV(classifier(), GRID, cv=3).fit(X, y)


def pipeline(*steps, **settings):
    return make_pipeline(*steps, classifier(**settings))


@pytest.mark.parametrize("in_place", [False, True])
def test_pipelines(in_place):
    scaler = StandardScaler(copy=not in_place)
    grid = {
        "pca__n_components": [2, 3],
        "backpropclassifier__alpha": [1e-4, 1.0],
        "standardscaler__with_mean": [True, False],
    }
    own, _ = compare("GridSearchCV", pipeline(scaler, PCA(random_state=0)), grid, cv=3, return_train_score=not in_place)
    assert own.best_estimator_.memory is None
    assert own.estimator.memory is None


def test_pipelines_of_dataframes_and_replaced_steps():
    X, y = load_iris(return_X_y=True, as_frame=True)
    columns = make_column_transformer((StandardScaler(), ["sepal length (cm)"]), remainder="passthrough")
    compare("GridSearchCV", pipeline(columns), {"backpropclassifier__alpha": [1e-4, 1.0]}, data=(X, y), cv=3)
    steps = {"columntransformer": [columns, "passthrough", StandardScaler()]}
    compare("GridSearchCV", pipeline(columns), steps, data=(X, y), cv=3)
    compare("GridSearchCV", pipeline(FunctionTransformer(lambda X: X / 2)), GRID_OF_PIPELINE, data=(X, y), cv=3)


GRID_OF_PIPELINE = {"backpropclassifier__alpha": [1e-4, 1e-2, 1.0]}


class Counting(StandardScaler):
    fits = applications = 0

    def fit(self, X, y=None, sample_weight=None):
        Counting.fits += 1
        return super().fit(X, y, sample_weight)

    def transform(self, X, copy=None):
        Counting.applications += 1
        return super().transform(X, copy)


def count(estimator, grid, **settings):
    """How often a search fits and applies a step that counts both."""
    Counting.fits = Counting.applications = 0
    ours.GridSearchCV(estimator, grid, cv=3, refit=False, **settings).fit(*IRIS)
    return Counting.fits, Counting.applications


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_steps_before_the_network_are_fitted_and_applied_once_for_each_fold(n_jobs):
    grid = GRID_OF_PIPELINE
    # To the rows for training, and to those for the scores.
    assert count(pipeline(Counting()), grid, n_jobs=n_jobs) == (3, 2 * 3)
    assert count(pipeline(Counting()), grid, n_jobs=n_jobs, return_train_score=True) == (3, 3 * 3)
    grid = {**grid, "counting__with_mean": [True, False]}
    assert count(pipeline(Counting()), grid, n_jobs=n_jobs) == (6, 2 * 6)
    # Before and after other steps, those with other parameters and those that cannot be hashed among them.
    halve = FunctionTransformer(lambda X: X / 2)
    assert count(pipeline(halve, Counting(), PCA(2)), GRID_OF_PIPELINE, n_jobs=n_jobs) == (3, 2 * 3)
    grid = {"pca__n_components": [2, 3]}
    assert count(pipeline(Counting(), PCA()), grid, n_jobs=n_jobs) == (3, 2 * 3)
    assert count(pipeline(PCA(), Counting()), grid, n_jobs=n_jobs) == (6, 2 * 6)
    with parallel_config("threading"):
        assert count(pipeline(Counting()), GRID_OF_PIPELINE, n_jobs=n_jobs) == (3, 2 * 3)


def test_steps_are_applied_for_each_scorer_of_the_users():
    """Which may change the rows that it gets, and look at the steps."""

    def scorer(estimator, X, y):
        assert "transform" not in vars(estimator[0])
        assert clone(estimator).memory is None
        score = estimator.score(X, y)
        X[:] = 0
        return score

    assert count(pipeline(Counting()), GRID_OF_PIPELINE, scoring=scorer, n_jobs=2) == (3, 3 + 9)
    compare("GridSearchCV", pipeline(StandardScaler()), GRID_OF_PIPELINE, cv=3, scoring=scorer)


@pytest.mark.parametrize("in_place", [False, True])
def test_data_and_what_steps_make_of_them_are_nobodys_to_change(in_place):
    X, y = (data.copy() for data in WINE)
    steps = StandardScaler(copy=not in_place), StandardScaler(with_mean=False, copy=not in_place)
    own = ours.cross_validate(pipeline(*steps), X, y, cv=3, return_estimator=True)
    theirs = model_selection.cross_validate(pipeline(*steps), X, y, cv=3, return_estimator=True)
    np.testing.assert_array_equal(X, WINE[0])
    for fitted, expected in zip(own["estimator"], theirs["estimator"], strict=True):
        assert [vars(step).keys() for step in fitted[:-1]] == [vars(step).keys() for step in expected[:-1]]
        np.testing.assert_array_equal(fitted.predict(X.copy()), expected.predict(X.copy()))
    search = {"backpropclassifier__alpha": [1e-4, 1.0], "standardscaler-2__with_std": [True, False]}
    compare("GridSearchCV", pipeline(*steps), search, cv=3, data=WINE)


def test_what_takes_the_networks_place_gets_data_of_its_own():
    grid = {"backpropregressor": [Ridge(copy_X=False), regressor()], "standardscaler__with_mean": [True, False]}
    own, theirs = (
        module.GridSearchCV(make_pipeline(StandardScaler(), regressor()), grid, cv=3).fit(*DIABETES)
        for module in (ours, model_selection)
    )
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_other_estimators_are_left_to_scikit_learn():
    compare("GridSearchCV", LogisticRegression(), {"C": [0.1, 1.0]}, n_jobs=1, cv=3)


@pytest.mark.parametrize("function", ["cross_validate", "cross_val_score", "cross_val_predict", "learning_curve"])
@pytest.mark.parametrize("make", [classifier, lambda: pipeline(StandardScaler())])
def test_functions(function, make):
    results = [getattr(module, function)(make(), *WINE, cv=3) for module in (ours, model_selection)]
    if function == "cross_validate":
        assert_same_results(*results)
    else:
        for own, expected in zip(*results, strict=True):
            np.testing.assert_array_equal(own, expected)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("kind", SPARSE_KINDS)
def test_pipelines_and_functions_of_sparse_data(kind):
    X, y = WINE
    X = getattr(sparse, kind)(np.where(np.median(X, axis=0) < X, X, 0))
    scaled = pipeline(StandardScaler(with_mean=False))
    compare("GridSearchCV", scaled, GRID_OF_PIPELINE, data=(X, y), cv=3)
    for make in (classifier(), scaled):
        np.testing.assert_array_equal(
            *(module.cross_val_predict(clone(make), X, y, cv=3) for module in (ours, model_selection))
        )


def test_steps_that_make_frames_of_polars():
    pytest.importorskip("polars")
    steps = pipeline(StandardScaler(), PCA(2)).set_output(transform="polars")
    own, _ = compare("GridSearchCV", steps, GRID_OF_PIPELINE, data=WINE, cv=3)
    assert type(own.best_estimator_[:-1].transform(WINE[0])).__module__.startswith("polars")
    compare("GridSearchCV", steps, {"pca__n_components": [2, 3]}, data=load_wine(return_X_y=True, as_frame=True), cv=3)


@pytest.mark.parametrize("convert", [np.asarray, pd.DataFrame, sparse.csr_array, sparse.coo_array, np.ndarray.tolist])
@pytest.mark.parametrize("make", [classifier, lambda: pipeline(StandardScaler(with_mean=False))])
def test_arrays_of_other_libraries_may_be_dispatched(convert, make, monkeypatch):
    """With or without scikit-learn's `array_api_dispatch`, what NumPy takes leads to the same."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    X, y = convert(WINE[0]), WINE[1]
    name = next(name for name in make().get_params() if name.endswith("alpha"))
    results = []
    for dispatch in (False, True):
        with config_context(array_api_dispatch=dispatch):
            search = ours.GridSearchCV(make(), {name: [1e-4, 1.0]}, cv=3, n_jobs=2).fit(X, y)
            results.append(
                (
                    search.cv_results_["mean_test_score"],
                    search.predict(X),
                    ours.cross_val_predict(make(), X, y, cv=3, method="predict_proba"),
                    ours.cross_validate(make(), X, y, cv=3)["test_score"],
                    *ours.learning_curve(make(), X, y, cv=3, shuffle=True, random_state=0)[1:],
                    *ours.validation_curve(make(), X, y, cv=3, param_name=name, param_range=[1e-4, 1.0]),
                )
            )
    for without, dispatched in zip(*results, strict=True):
        np.testing.assert_array_equal(without, dispatched)


def test_rows_are_shared_under_dispatch_too(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    tables = []
    whole = SharedRows.__init__
    monkeypatch.setattr(SharedRows, "__init__", lambda self, X: (tables.append(self), whole(self, X))[1])
    with config_context(array_api_dispatch=True):
        ours.GridSearchCV(classifier(), GRID, cv=3).fit(*IRIS)
    assert len(tables) == 1
    assert len(tables[0]._views) == 6


class SplitterOfArrays(KFold):
    """One that looks at the data, as a user may write it."""

    def split(self, X, y=None, groups=None):
        assert isinstance(X, np.ndarray)
        return super().split(X, y, groups)


def test_splitters_of_users_get_the_data_themselves():
    X, y = load_iris(return_X_y=True)
    network = BackpropClassifier(4, max_iter=2, early_stopping=True, validation_fraction=SplitterOfArrays(3))
    search = ours.GridSearchCV(network, {"alpha": [1e-4, 1e-2]}, cv=2, error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_validation_curve():
    arguments = {"param_name": "alpha", "param_range": [1e-4, 1.0], "cv": 3}
    for own, expected in zip(
        ours.validation_curve(classifier(), *WINE, **arguments),
        model_selection.validation_curve(classifier(), *WINE, **arguments),
        strict=True,
    ):
        np.testing.assert_array_equal(own, expected)


def test_estimators_of_cross_validation_are_like_any_other():
    X, y = load_wine(return_X_y=True, as_frame=True)
    results = ours.cross_validate(pipeline(StandardScaler()), X, y, cv=3, return_estimator=True, return_indices=True)
    for fitted, test in zip(results["estimator"], results["indices"]["test"], strict=True):
        assert fitted.memory is None
        assert clone(fitted).fit(X, y).score(X.iloc[test], y.iloc[test]) > 0.5


def test_data_are_held_once(monkeypatch):
    """No fit of a fold copies the rows, nor does the prediction for its score."""
    X, y = load_breast_cancer(return_X_y=True)
    X = np.ascontiguousarray(X)
    seen = set()
    from skbackprop.backends import cpu

    session, predict = cpu.Session.__init__, cpu.predict

    def remember(self, network, dtype, rows, *arguments, **settings):
        seen.add(rows.X.__array_interface__["data"][0])
        session(self, network, dtype, rows, *arguments, **settings)

    def remember_too(network, params, rows, *arguments, **settings):
        seen.add(rows.X.__array_interface__["data"][0])
        return predict(network, params, rows, *arguments, **settings)

    monkeypatch.setattr(cpu.Session, "__init__", remember)
    monkeypatch.setattr(cpu, "predict", remember_too)
    ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2).fit(X, y)
    assert seen == {X.__array_interface__["data"][0]}


def test_threads_have_one_core_each():
    seen = []

    def scorer(estimator, X, y):
        seen.append(threads.available_threads())
        return 0.0

    ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2, scoring=scorer, refit=False).fit(*IRIS)
    assert set(seen) == {max(1, threads.available_threads() // 2)}


def test_another_backend_of_joblib_is_respected():
    names = set()

    def scorer(estimator, X, y):
        names.add(threading.current_thread().name)
        return 0.0

    search = ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2, scoring=scorer, refit=False)
    search.fit(*IRIS)
    assert all(name.startswith("skbackprop") for name in names)
    names.clear()
    with parallel_config("threading"):
        search.fit(*IRIS)
    assert not any(name.startswith("skbackprop") for name in names)


def test_searches_within_searches():
    search = ours.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2)
    own = ours.cross_val_score(search, *IRIS, cv=3)
    theirs = model_selection.cross_val_score(
        model_selection.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2), *IRIS, cv=3
    )
    np.testing.assert_array_equal(own, theirs)


def test_progress_is_shown_over_the_whole_search(capsys):
    pytest.importorskip("rich")
    search = ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2).set_callbacks(ProgressBar())
    plain = ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2).fit(*IRIS)
    search.fit(*IRIS)
    assert_same_results(search.cv_results_, plain.cv_results_)
    assert "GridSearchCV" in capsys.readouterr().out


def best_so_far(out):
    """The score and the parameters that each round of a search shows in the end."""
    rounds = re.split(r"best so far", out)[1:]
    return [(float(text.split()[0]), " ".join(text.split(" #")[0].split("\n")[1].split())) for text in rounds]


def test_progress_shows_the_search_and_the_best_so_far_with_its_parameters(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "100")
    # The first candidate fails; the scores rise and fall.
    grid = {"backpropclassifier__learning_rate_init": [-1.0, 1e-4, 0.05, 1e-3, 0.02]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
        search = ours.GridSearchCV(pipeline(StandardScaler()), grid, cv=3, n_jobs=1)
        search.set_callbacks(ProgressBar()).fit(*IRIS)
    out = capsys.readouterr().out
    ((score, parameters),) = best_so_far(out)
    np.testing.assert_allclose(score, np.nanmax(search.cv_results_["mean_test_score"]), rtol=1e-3)
    assert parameters == f"learning_rate_init={search.best_params_['backpropclassifier__learning_rate_init']}"
    # The search, its candidates, the best, and the network that is trained in the end; no line of a single fit's.
    bars = [line for line in out.splitlines() if "%" in line]
    assert len(bars) == 4
    assert all("100%" in line for line in bars)

    halving = ours.HalvingGridSearchCV(classifier(), GRID, cv=3, random_state=0)
    halving.set_callbacks(ProgressBar(max_propagation_depth=0)).fit(*IRIS)
    rounds = best_so_far(capsys.readouterr().out)
    results = halving.cv_results_
    best = [results["mean_test_score"][results["iter"] == number].max() for number in range(halving.n_iterations_)]
    np.testing.assert_allclose([score for score, _ in rounds], best, rtol=1e-3)


def test_progress_of_single_fits_is_shown_on_demand(capsys):
    pytest.importorskip("rich")
    search = ours.GridSearchCV(classifier(), {"alpha": [1.0]}, cv=2, refit=False)
    search.set_callbacks(ProgressBar(max_propagation_depth=2)).fit(*IRIS)
    assert capsys.readouterr().out.count("BackpropClassifier - fit") == 2


def test_parameters_beside_the_best_score_keep_what_tells_them_apart():
    assert _settings({"a__alpha": 1.0, "b__size": [8]}).split() == ["alpha=1.0,", "size=[8]"]
    assert _settings({"a__alpha": 1.0, "b__alpha": "[x]"}).split() == ["a__alpha=1.0,", r"b__alpha='\[x]'"]


@pytest.mark.parametrize("refit", ["loss", False])
def test_best_score_so_far_is_that_of_the_metric_that_decides(refit, capsys):
    pytest.importorskip("rich")
    scoring = {"accuracy": "accuracy", "loss": "neg_log_loss"}
    search = ours.GridSearchCV(classifier(), GRID, cv=3, scoring=scoring, refit=refit)
    search.set_callbacks(ProgressBar(max_propagation_depth=0)).fit(*IRIS)
    rounds = best_so_far(capsys.readouterr().out)
    if refit:
        np.testing.assert_allclose(rounds[0][0], search.best_score_, rtol=1e-3)
    else:
        assert rounds == []


def test_progress_passes_over_tasks_that_are_not_the_search_s_own(capsys):
    pytest.importorskip("rich")
    forest = SelectFromModel(RandomForestClassifier(4, n_jobs=2, random_state=0))
    search = ours.GridSearchCV(pipeline(forest), {"backpropclassifier__alpha": [1e-4, 1.0]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=0)).fit(*IRIS)
    ((score, _),) = best_so_far(capsys.readouterr().out)
    np.testing.assert_allclose(score, search.best_score_, rtol=1e-3)


def test_other_callbacks_see_the_tasks_of_scikit_learn_only():
    class Names:
        def __init__(self):
            self.names = []

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            self.names.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

    found = []
    for module in (ours, model_selection):
        callback = Names()
        module.GridSearchCV(classifier(), GRID, cv=3, n_jobs=1).set_callbacks(callback).fit(*IRIS)
        found.append(callback.names)
    assert found[0] == found[1]


def score_of_a_function(estimator, X, y):
    return estimator.score(X, y)


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("scoring", [None, "accuracy", score_of_a_function, ["accuracy", "neg_log_loss"]], ids=str)
@pytest.mark.parametrize("make", [classifier, lambda: pipeline(StandardScaler())])
@pytest.mark.parametrize("name", ["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"])
def test_fitted_searches_are_small_and_can_be_pickled_and_copied(name, make, scoring, refit):
    X, y = np.tile(IRIS[0], (4, 1)), np.tile(IRIS[1], 4)
    if isinstance(scoring, list):
        if name.startswith("Halving"):
            pytest.skip("one metric only")
        refit = refit and "accuracy"
    space = {next(name for name in make().get_params() if name.endswith("alpha")): [1e-4, 1.0]}
    settings = {"RandomizedSearchCV": {"n_iter": 2}, "HalvingRandomSearchCV": {"n_candidates": 2}}.get(name, {})
    search = getattr(ours, name)(make(), space, cv=3, scoring=scoring, refit=refit, **settings).fit(X, y)
    stored = pickle.dumps(search)
    assert len(stored) < 20_000 < X.nbytes * 2
    for other in (pickle.loads(stored), copy.deepcopy(search)):
        assert_same_results(other.cv_results_, search.cv_results_)
        if refit:
            np.testing.assert_array_equal(other.predict(X), search.predict(X))
    assert repr(clone(search)) == repr(search)


def test_fitted_searches_are_estimators_among_others():
    search = ours.GridSearchCV(pipeline(StandardScaler()), GRID_OF_PIPELINE, cv=2, n_jobs=1)
    ways = [model_selection.cross_validate(search, *IRIS, cv=2, n_jobs=n, return_estimator=True) for n in (1, 2)]
    np.testing.assert_array_equal(*(way["test_score"] for way in ways))
    for fitted in ways[1]["estimator"]:
        assert fitted.scorer_._estimator.memory is None
        assert fitted.best_estimator_.memory is None
    voting = VotingClassifier([("a", search), ("b", LogisticRegression(max_iter=1000))], voting="soft", n_jobs=2)
    assert voting.fit(*IRIS).score(*IRIS) > 0.5
    calibrated = CalibratedClassifierCV(FrozenEstimator(clone(search).fit(*IRIS))).fit(*IRIS)
    assert calibrated.score(*IRIS) > 0.5


@pytest.mark.parametrize("make", [classifier, lambda: pipeline(StandardScaler())])
@pytest.mark.parametrize("name", ["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV"])
def test_fit_of_scikit_learns_class_gets_what_the_user_gave(name, make, monkeypatch):
    """As those find it who log a search by a function in the place of that method."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    estimator = make()
    space = {next(name for name in estimator.get_params() if name.endswith("alpha")): [1e-4, 1.0]}
    theirs = getattr(model_selection, name)
    owner = next(kind for kind in theirs.__mro__ if "fit" in vars(kind))
    fit, seen = owner.fit, []

    def logged(self, *data, **params):
        seen.append((self.estimator, *data))
        before = self.estimator.get_params()
        fitted = fit(self, *data, **params)
        assert self.estimator is estimator
        assert self.estimator.get_params() == before
        self.score(*data)
        return fitted

    monkeypatch.setattr(owner, "fit", logged)
    settings = {"n_iter": 2} if name == "RandomizedSearchCV" else {}
    getattr(ours, name)(estimator, space, cv=3, **settings).fit(X, y)
    ((found, *data),) = seen
    assert found is estimator
    assert data[0] is X
    assert data[1] is y


def test_frames_that_cannot_be_indexed_fail_as_in_scikit_learn():
    class Lazy:
        """A frame of Dask's, as far as scikit-learn looks."""

        shape = (object(), 4)
        iloc = columns = None

        def __len__(self):
            return 150

    for make in (classifier(), pipeline(StandardScaler())):
        errors = []
        for module in (ours, model_selection):
            with pytest.raises(AttributeError) as caught:
                module.cross_val_score(make, Lazy(), IRIS[1], cv=3)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]


@pytest.mark.filterwarnings(
    "always::sklearn.exceptions.ConvergenceWarning", "always::skbackprop.exceptions.TrainingWarning"
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_warns_once_at_the_users_line(n_jobs):
    grid = {"backpropclassifier__learning_rate_init": [1e-3, 10.0], "backpropclassifier__max_iter": [3, 500]}
    with pytest.warns(Warning) as caught:  # noqa: PT030
        search = ours.GridSearchCV(pipeline(StandardScaler(), solver="sgd"), grid, cv=3, n_jobs=n_jobs).fit(*IRIS)
    assert len(caught) == len({warning.category for warning in caught})
    assert {warning.filename for warning in caught} == {__file__}
    text = str(next(warning.message for warning in caught if warning.category is ConvergenceWarning))
    assert "of 12 fits" in text
    n_warned = int(re.match(r"(\d+) of", text)[1])
    with warnings.catch_warnings(record=True) as single:
        warnings.simplefilter("always")
        model_selection.GridSearchCV(pipeline(StandardScaler(), solver="sgd"), grid, cv=3, refit=False).fit(*IRIS)
    assert n_warned == sum("Maximum iterations" in str(warning.message) for warning in single) > 1
    best = search.best_estimator_[-1]
    assert ("the fit with the best parameters" in text) == (best.n_iter_ == best.max_iter)


@pytest.mark.filterwarnings("always::sklearn.exceptions.ConvergenceWarning")
def test_cross_validations_and_searches_within_searches_warn_once():
    for function in (ours.cross_val_score, ours.cross_validate, ours.cross_val_predict):
        with pytest.warns(ConvergenceWarning, match="^3 of 3 fits warned: Stochastic") as caught:
            function(classifier(), *IRIS, cv=3)
        assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(ConvergenceWarning, match="^6 of 6 fits warned") as caught:
        ours.seed_scores(classifier(), *IRIS, n_seeds=2, cv=3)
    assert [warning.filename for warning in caught] == [__file__]
    search = ours.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2)
    with pytest.warns(ConvergenceWarning, match="^4 of 4 fits and the fit with the best parameters warned") as caught:
        model_selection.cross_val_score(search, *IRIS, cv=3)
    assert [warning.filename for warning in caught] == [__file__] * 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_filters_that_make_errors_of_warnings_hold_in_each_fit(n_jobs):
    results = []
    for module in (ours, model_selection):
        search = module.GridSearchCV(
            classifier(learning_rate_init=0.1),
            {"max_iter": [3, 1000]},
            cv=3,
            n_jobs=n_jobs if module is ours else 1,
            refit=False,
        )
        with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):  # noqa: PT031
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
            search.fit(*IRIS)
        results.append(search.cv_results_)
    assert_same_results(*results)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum iterations")
        ours.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=3, n_jobs=n_jobs).fit(*IRIS)
    assert not [warning for warning in caught if warning.category is ConvergenceWarning]


def test_verbose_search_tells_of_each_fit(capsys):
    ours.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2, verbose=2).fit(*IRIS)
    out = capsys.readouterr().out
    assert "Fitting 3 folds for each of 4 candidates, totalling 12 fits" in out
    assert out.count("[CV] END") == 12


def test_filters_of_warnings_are_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", TrainingWarning)
        before = list(warnings.filters)
        ours.GridSearchCV(classifier(), GRID, cv=5, n_jobs=4).fit(*IRIS)
        assert warnings.filters == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals are sent another way there")
@pytest.mark.parametrize(
    "settings",
    [{}, {"solver": "lbfgs", "max_fun": 10**9, "hidden_layer_sizes": (300,) * 3}, {"hidden_layer_sizes": (300,) * 3}],
    ids=["small", "lbfgs", "large"],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupts_end_a_search(settings, n_jobs):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 20)), rng.integers(0, 2, 2000)
    endless = classifier(**{"max_iter": 10**6, "tol": 0, "n_iter_no_change": np.inf, **settings})
    search = ours.GridSearchCV(endless, GRID, cv=3, n_jobs=n_jobs)

    def interrupt():
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    clone(endless).set_params(max_iter=2).fit(X, y)  # what is compiled cannot be interrupted
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    thread.join()
    # Threads are gone, and the search can be used again.
    deadline = time.perf_counter() + 30
    while any(thread.name.startswith("skbackprop") for thread in threading.enumerate()):
        assert time.perf_counter() < deadline
        time.sleep(0.01)
    assert not hasattr(search, "cv_results_")
    search.set_params(estimator__max_iter=2, estimator__solver="adam").fit(X, y)
