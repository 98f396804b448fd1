"""Ensembles: members trained together, averaged, and their spread."""

import os
import threading
import warnings

import joblib
import numpy as np
import pytest
from joblib.parallel import get_active_backend
from sklearn import config_context, model_selection
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import skbackprop
from skbackprop import BackpropClassifier, BackpropEnsembleClassifier, BackpropEnsembleRegressor, BackpropRegressor
from skbackprop import model_selection as ours
from skbackprop.model_selection import seed_scores

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

WINE = load_wine(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
CLASSIFIER = BackpropClassifier((8,), max_iter=20, learning_rate_init=0.01)
REGRESSOR = BackpropRegressor(hidden_layer_sizes=(8,), max_iter=20, standardize_target=True)

_DRAWN = "samples are drawn by chance, and a weight is the probability of that"
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _DRAWN,
    "check_sample_weight_equivalence_on_sparse_data": _DRAWN,
}


def checks():
    for ensemble in (
        BackpropEnsembleClassifier(BackpropClassifier((16,), max_iter=60, learning_rate_init=0.01), n_estimators=3),
        BackpropEnsembleRegressor(
            BackpropRegressor(hidden_layer_sizes=(16,), max_iter=60, learning_rate_init=0.01), n_estimators=3
        ),
    ):
        for estimator, check in estimator_checks_generator(ensemble):
            name = check.func.__name__
            marks = pytest.mark.xfail(reason=EXPECTED_FAILURES[name], strict=True) if name in EXPECTED_FAILURES else ()
            yield pytest.param(estimator, check, marks=marks, id=f"{type(ensemble).__name__}-{name}")


@pytest.mark.filterwarnings("ignore:.*clipped.*", "ignore:Using the fractional value max_samples")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("settings", [{}, {"bootstrap": True, "oob_score": True}, {"max_features": 0.5}], ids=str)
@pytest.mark.parametrize(
    ("own", "theirs", "member", "data"),
    [
        (BackpropEnsembleClassifier, BaggingClassifier, CLASSIFIER, WINE),
        (BackpropEnsembleRegressor, BaggingRegressor, REGRESSOR, DIABETES),
    ],
)
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
def test_members_are_those_of_scikit_learns_bagging(own, theirs, member, data, settings):
    settings = {"n_estimators": 4, "random_state": 0, "bootstrap": False, **settings}
    with np.errstate(all="ignore"):
        ensembles = [kind(clone(member), **settings).fit(*data) for kind in (own, theirs)]
    for first, second in zip(*(ensemble.estimators_ for ensemble in ensembles), strict=True):
        np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    np.testing.assert_array_equal(*(ensemble.predict(data[0]) for ensemble in ensembles))
    if settings.get("oob_score"):
        assert ensembles[0].oob_score_ == ensembles[1].oob_score_


def test_bits_do_not_depend_on_the_threads():
    fits = [BackpropEnsembleClassifier(CLASSIFIER, 5, random_state=0, n_jobs=n).fit(*WINE) for n in (1, 2, 4, None)]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].predict_proba(WINE[0]), other.predict_proba(WINE[0]))


def test_spread_is_that_of_the_members():
    X, y = WINE
    X = StandardScaler().fit_transform(X)
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 5, random_state=0).fit(X, y)
    members = [member.predict_proba(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_spread(X), np.std(members, axis=0))
    np.testing.assert_allclose(ensemble.predict_proba(X), np.mean(members, axis=0))
    X, y = DIABETES
    ensemble = BackpropEnsembleRegressor(REGRESSOR, 5, random_state=0).fit(X, y)
    members = [member.predict(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_spread(X), np.std(members, axis=0))
    # Far from the data, networks with different weights disagree more.
    assert ensemble.predict_spread(20 * X).mean() > 2 * ensemble.predict_spread(X).mean()


def test_members_that_drew_some_classes_only():
    X, y = WINE
    labels = np.array(["common", "rare", "rarer"])[(np.arange(len(y)) >= 170).astype(int) + (np.arange(len(y)) >= 175)]
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 6, max_samples=20, bootstrap=True, random_state=0).fit(X, labels)
    assert ensemble.predict_spread(X).shape == (len(X), 3)
    np.testing.assert_allclose(ensemble.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("kind", "member", "data"),
    [(BackpropEnsembleClassifier, CLASSIFIER, WINE), (BackpropEnsembleRegressor, REGRESSOR, DIABETES)],
)
def test_members_draw_as_many_samples_whatever_the_weights_sum_to(kind, member, data, rng):
    X, y = data
    weight = rng.uniform(size=len(y))
    ensembles = [kind(member, 2, random_state=0).fit(X, y, weight * factor) for factor in (1.0, 1 / weight.sum())]
    for drawn in zip(*(ensemble.estimators_samples_ for ensemble in ensembles), strict=True):
        assert len(drawn[0]) == len(y)
        np.testing.assert_array_equal(*drawn)
    np.testing.assert_array_equal(*(ensemble.predict(X) for ensemble in ensembles))


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_class_weights_are_those_of_the_users_labels(in_pipeline, tmp_path):
    X, y = WINE
    labels = np.array(["b", "a", "c"])[y]
    class_weight = {"a": 5.0, "b": 1.0, "c": 0.5}
    fits = []
    for given, weights in (
        (labels, class_weight),
        (np.unique(labels, return_inverse=True)[1], {0: 5.0, 1: 1.0, 2: 0.5}),
    ):
        member = clone(CLASSIFIER).set_params(class_weight=weights)
        member = make_pipeline(StandardScaler(), member) if in_pipeline else member
        fits.append(BackpropEnsembleClassifier(member, 3, random_state=0).fit(X, given))
    np.testing.assert_array_equal(*(fit.predict_proba(X) for fit in fits))
    unweighted = BackpropEnsembleClassifier(CLASSIFIER, 3, random_state=0).fit(X, labels)
    assert (fits[0].predict_proba(X)[:, 0] != unweighted.predict_proba(X)[:, 0]).any()
    # What the user gave is left as it is.
    assert class_weight in fits[0].get_params().values()
    if not in_pipeline:
        fits[0].save(tmp_path / "model")
        np.testing.assert_array_equal(skbackprop.load(tmp_path / "model").predict(X), fits[0].predict(X))
    member = clone(CLASSIFIER).set_params(class_weight={"a": 1.0, "x": 1.0})
    with pytest.raises(ValueError, match=r"\['b', 'c'\], are not in class_weight, whose keys \['x'\] are no classes"):
        BackpropEnsembleClassifier(member, 3).fit(X, labels)


def test_validation_labels_are_the_users():
    X, y = WINE
    labels = np.array(["b", "a", "c"])[y]
    with config_context(enable_metadata_routing=True):
        member = clone(CLASSIFIER).set_params(early_stopping=True).set_fit_request(X_val=True, y_val=True)
        fits = [
            BackpropEnsembleClassifier(member, 2, random_state=0).fit(X, given, X_val=X[::3], y_val=given[::3])
            for given in (labels, np.unique(labels, return_inverse=True)[1])
        ]
        with pytest.raises(ValueError, match=r"y_val has labels that y has not: \['x'\]"):
            BackpropEnsembleClassifier(member, 2).fit(X, labels, X_val=X[:2], y_val=["a", "x"])
    assert max(fits[0].estimators_[0].validation_scores_) > 0.3
    np.testing.assert_array_equal(*(fit.predict_proba(X) for fit in fits))


def test_averaging_helps():
    X_train, X_test, y_train, y_test = train_test_split(*DIABETES, random_state=0)
    network = BackpropRegressor(
        hidden_layer_sizes=(32,), solver="lbfgs", alpha=1e-3, max_iter=60, standardize_target=True
    )
    ensemble = BackpropEnsembleRegressor(network, 10, random_state=0).fit(X_train, y_train)
    alone = np.mean([member.score(X_test, y_test) for member in ensemble.estimators_])
    assert ensemble.score(X_test, y_test) > alone


def test_in_pipelines_and_searches():
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 3, random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ensemble), {"backpropensembleclassifier__estimator__alpha": [1e-4, 1.0]}, cv=3
    )
    assert search.fit(*WINE).best_score_ > 0.8
    best = search.best_params_["backpropensembleclassifier__estimator__alpha"]
    assert {member.alpha for member in search.best_estimator_[-1].estimators_} == {best}
    assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_no_decision_function_beside_averaged_probabilities():
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 2).fit(*WINE)
    assert not hasattr(ensemble, "decision_function")
    log_probabilities = ensemble.predict_log_proba(WINE[0])
    np.testing.assert_allclose(np.exp(log_probabilities), ensemble.predict_proba(WINE[0]), rtol=1e-6)


def test_warm_start_adds_networks():
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 2, random_state=0, warm_start=True).fit(*WINE)
    first = ensemble.estimators_[0]
    ensemble.set_params(n_estimators=4).fit(*WINE)
    assert ensemble.estimators_[0] is first
    assert len(ensemble.estimators_) == 4


def test_scores_of_seeds():
    X, y = WINE
    network = make_pipeline(StandardScaler(), CLASSIFIER)
    scores = seed_scores(network, X, y, n_seeds=3, cv=4, random_state=0)
    assert scores.shape == (3, 4)
    assert 0.5 < scores.mean() <= 1
    np.testing.assert_array_equal(scores, seed_scores(network, X, y, n_seeds=3, cv=4, random_state=0))
    one, other = (
        seed_scores(CLASSIFIER, X, y, n_seeds=1, cv=2, scoring="neg_log_loss", random_state=seed) for seed in (0, 1)
    )
    assert (one != other).all()
    assert len({tuple(row) for row in seed_scores(CLASSIFIER, X, y, n_seeds=3, cv=4, scoring="neg_log_loss")}) == 3


BOTH = pytest.mark.parametrize(
    ("kind", "member", "data"),
    [(BackpropEnsembleClassifier, CLASSIFIER, WINE), (BackpropEnsembleRegressor, REGRESSOR, DIABETES)],
    ids=["classifier", "regressor"],
)


def refused_fits(X, y):
    missing = X.copy()
    missing[0, 0] = np.nan
    yield {}, (missing, y), ValueError
    yield {}, (X, y[:-1]), ValueError
    yield {"max_features": X.shape[1] + 1}, (X[:50], y[:50]), ValueError
    yield {"n_estimators": 0}, (X, y), ValueError
    yield {"estimator__learning_rate_init": 1e300}, (1e3 * X, y), ValueError


@BOTH
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_refused_fit_leaves_the_ensemble_as_it_was(kind, member, data, warm_start):
    ensemble = kind(clone(member), 2, random_state=0, warm_start=warm_start).fit(*data)
    predictions, members = ensemble.predict(data[0]), list(ensemble.estimators_)
    for settings, arguments, error in refused_fits(*data):
        for fitted in (ensemble, kind(clone(member), 2)):
            before = fitted.get_params()
            fitted.set_params(**{"n_estimators": 3, **settings})
            attributes = dict(vars(fitted))
            with pytest.raises(error), np.errstate(all="ignore"):
                fitted.fit(*arguments)
            assert vars(fitted).keys() == attributes.keys()
            assert all(vars(fitted)[name] is value for name, value in attributes.items())
            fitted.set_params(**{name: before[name] for name in ("n_estimators", *settings)})
    assert ensemble.estimators_ == members
    np.testing.assert_array_equal(ensemble.predict(data[0]), predictions)


class Interrupted(BackpropClassifier):
    """A member whose training ends by Ctrl-C."""

    def fit(self, *arguments, **keywords):
        raise KeyboardInterrupt


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("warm_start", [False, True])
def test_an_interrupted_fit_leaves_the_ensemble_as_it_was(n_jobs, warm_start):
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 2, random_state=0, warm_start=warm_start, n_jobs=n_jobs)
    members = list(ensemble.fit(*WINE).estimators_)
    attributes = dict(vars(ensemble.set_params(n_estimators=4, estimator=Interrupted())))
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(*WINE)
    assert vars(ensemble).keys() == attributes.keys()
    assert all(vars(ensemble)[name] is value for name, value in attributes.items())
    assert ensemble.estimators_ == members


@pytest.mark.parametrize(
    "labels", [lambda y: y + 1, lambda y: y.astype(str), lambda y: np.minimum(y, 1), lambda y: np.r_[y[:-1], 3]]
)
def test_warm_start_refuses_other_classes(labels):
    X, y = WINE
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 2, random_state=0, warm_start=True).fit(X, y)
    probabilities = ensemble.predict_proba(X)
    ensemble.set_params(n_estimators=3)
    with pytest.raises(ValueError, match=r"same classes as in the previous .* Previously got \[0 1 2\], `y` has \["):
        ensemble.fit(X, labels(y))
    ensemble.set_params(n_estimators=2)
    np.testing.assert_array_equal(ensemble.predict_proba(X), probabilities)
    fitted = ensemble.set_params(warm_start=False).fit(X, labels(y))
    np.testing.assert_array_equal(fitted.classes_, np.unique(labels(y)))


@BOTH
def test_warm_start_refuses_other_features(kind, member, data):
    X, y = data
    ensemble = kind(member, 2, random_state=0, warm_start=True).fit(X, y).set_params(n_estimators=3)
    with pytest.raises(ValueError, match=f"X has 3 features, but {kind.__name__} is expecting {X.shape[1]}"):
        ensemble.fit(X[:, :3], y)


def assert_once_here(caught):
    assert len(caught) == len({warning.category for warning in caught})
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.filterwarnings("always::sklearn.exceptions.ConvergenceWarning")
@BOTH
@pytest.mark.parametrize("n_jobs", [1, 2, None])
@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_members_warn_once_at_the_users_line(kind, member, data, n_jobs, backend):
    ensemble = kind(clone(member).set_params(max_iter=2), 3, n_jobs=n_jobs, warm_start=True)
    with joblib.parallel_config(backend):
        with pytest.warns(ConvergenceWarning, match=r"^3 of 3 fits warned: Stochastic") as caught:
            ensemble.fit(*data)
        assert_once_here(caught)
        with pytest.warns(ConvergenceWarning, match=r"^2 of 2 fits warned: Stochastic") as caught:
            ensemble.set_params(n_estimators=5).fit(*data)
        assert_once_here(caught)
    assert not any("summary" in name for name in vars(ensemble))


def test_a_filter_that_makes_an_error_of_a_members_warning_ends_the_fit():
    ensemble = BackpropEnsembleClassifier(clone(CLASSIFIER).set_params(max_iter=2), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning, match=r"^Stochastic"):
            ensemble.fit(*WINE)
    assert not hasattr(ensemble, "estimators_")


class NetworkOfTheUsers(BackpropClassifier):
    """Like ours."""


class PipelineOfTheUsers(Pipeline):
    """Like scikit-learn's."""


@pytest.mark.filterwarnings("always::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_jobs", [1, None])
@pytest.mark.parametrize(
    "estimator",
    [
        BackpropEnsembleClassifier(BackpropClassifier((4,), max_iter=2), 2),
        make_pipeline(StandardScaler(), BackpropEnsembleClassifier(BackpropClassifier((4,), max_iter=2), 2)),
        NetworkOfTheUsers((4,), max_iter=2),
        PipelineOfTheUsers([("scale", StandardScaler()), ("network", BackpropClassifier((4,), max_iter=2))]),
        TransformedTargetRegressor(BackpropRegressor(hidden_layer_sizes=(4,), max_iter=2)),
        ours.GridSearchCV(BackpropClassifier((4,), max_iter=2), {"alpha": [1e-4, 1.0]}, cv=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_searches_over_whatever_has_networks_in_it_warn_once(estimator, n_jobs):
    X, y = WINE
    estimator = clone(estimator)
    for backend in ("loky", "threading", "sequential"):
        with joblib.parallel_config(backend):
            with pytest.warns(ConvergenceWarning, match=r"^3 of 3 fits warned: Stochastic") as caught:
                ours.cross_val_score(estimator, X, y, cv=3, n_jobs=n_jobs)
            assert_once_here(caught)
            name = next(name for name in estimator.get_params() if name.rpartition("__")[2] == "alpha")
            search = ours.GridSearchCV(estimator, {name: [1e-4, 1.0]}, cv=2, n_jobs=n_jobs)
            with pytest.warns(ConvergenceWarning, match=r"^4 of 4 fits and the fit with the best param") as caught:
                search.fit(X, y)
            assert_once_here(caught)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_searches_leave_other_estimators_where_they_were(n_jobs):
    places = []
    for module in (ours, model_selection):
        with joblib.parallel_config("loky", inner_max_num_threads=1, max_nbytes=None):
            results = module.cross_validate(Where(), *WINE, cv=2, n_jobs=n_jobs, return_estimator=True)
        places.append([estimator.place_ for estimator in results["estimator"]])
    is_here = [[(process == os.getpid(), *rest) for process, *rest in place] for place in places]
    assert is_here[0] == is_here[1]


class Where(DummyClassifier):
    """Tells where it was fitted."""

    def fit(self, X, y, sample_weight=None):
        backend, n_jobs = get_active_backend()
        kinds = [kind.__name__ for kind in type(backend).__mro__ if kind.__module__.startswith("joblib")]
        self.place_ = os.getpid(), threading.current_thread() is threading.main_thread(), kinds[0], n_jobs
        return super().fit(X, y, sample_weight)


@BOTH
def test_data_that_would_be_misread_are_refused(kind, member, data):
    X, y = data
    ensemble = kind(member, 2, random_state=0).fit(X, y)
    masked = np.ma.masked_array(X, X.mean() < X)
    lazy = type("LazyFrame", (), {})()
    for arguments, name in (
        ((masked, y), "X"),
        ((X, np.ma.masked_array(y, y > 1)), "y"),
        ((X, y, masked[:, 0]), "s.*"),
    ):
        with pytest.raises(TypeError, match=f"^{name} is a masked array"):
            ensemble.fit(*arguments)
    for arguments, name in (((lazy, y), "X"), ((X, lazy), "y")):
        with pytest.raises(TypeError, match=f"^{name} is a LazyFrame"):
            ensemble.fit(*arguments)
    with pytest.raises(TypeError, match=r"^X has dates"):
        ensemble.fit(X.astype("M8[D]"), y)
    names = [name for name in ("predict", "predict_proba", "predict_log_proba", "predict_spread") if name in dir(kind)]
    for name in names:
        with pytest.raises(TypeError, match=r"^X is a masked array"):
            getattr(ensemble, name)(masked)


def test_labels_that_are_none_are_refused():
    X, y = WINE
    dates = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "M8[D]")[y]
    ensemble = BackpropEnsembleClassifier(CLASSIFIER, 2, random_state=0)
    np.testing.assert_array_equal(ensemble.fit(X, dates).classes_, np.unique(dates))
    missing = np.r_[np.array(["NaT"], "M8[D]"), dates[1:]]
    for labels in (missing, [None, *y[1:]], np.r_[np.nan, y[1:]]):
        with pytest.raises(ValueError, match=r"^y has missing labels \(1 of 178\)"):
            ensemble.fit(X, labels)
    with pytest.raises(ValueError, match=r"^y has labels of mixed types"):
        ensemble.fit(X, ["a", *y[1:].tolist()])
    with pytest.raises(ValueError, match="y is an array of objects, which are numbers"):
        ensemble.fit(X, y.astype(object))
    with config_context(enable_metadata_routing=True):
        member = clone(CLASSIFIER).set_params(early_stopping=True).set_fit_request(X_val=True, y_val=True)
        ensemble = BackpropEnsembleClassifier(member, 2)
        with pytest.raises(ValueError, match=r"^y_val has missing labels \(1 of 2\)"):
            ensemble.fit(X, y.astype(str), X_val=X[:2], y_val=["0", None])
        with pytest.raises(TypeError, match=r"^y_val is a masked array"):
            ensemble.fit(X, y, X_val=X[:2], y_val=np.ma.masked_array(y[:2], [True, False]))
        with pytest.raises(ValueError, match=r"^y_val has labels that y has not: \['0', '1'\]"):
            ensemble.fit(X, y, X_val=X[:2], y_val=["0", "1"])
