"""Validation rows: given to `fit`, or split off; their losses and scores."""

from functools import partial

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, f1_score, get_scorer, log_loss, make_scorer, mean_squared_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._validation import random_split
from skbackprop.functions.optimizers import OPTIMIZERS

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RNG = np.random.default_rng(0)
X_ALL = RNG.standard_normal((120, 4))
SIGNAL = X_ALL @ RNG.standard_normal((4, 3)) + 0.5 * RNG.standard_normal((120, 3))
X, X_VAL = X_ALL[:80], X_ALL[80:]
WEIGHT_VAL = RNG.uniform(0, 3, 40)
TARGETS = {
    "binary": np.array(["no", "yes"])[(SIGNAL[:, 0] > 0).astype(int)],
    "multiclass": SIGNAL.argmax(axis=1) * 10,
    "multilabel": (SIGNAL > 0).astype(int),
    "regression": SIGNAL[:, 0],
    "multioutput": SIGNAL[:, :2],
    "poisson": RNG.poisson(np.exp(0.3 * SIGNAL[:, 0])).astype(float),
}
PROBLEMS = list(TARGETS)


def make(problem, **settings):
    settings = {
        "hidden_layer_sizes": (6,),
        "max_iter": 8,
        "batch_size": 16,
        "learning_rate_init": 0.05,
        "random_state": 0,
        **settings,
    }
    if problem in ("binary", "multiclass", "multilabel"):
        return BackpropClassifier(**settings)
    if problem == "poisson":
        settings["loss"] = "poisson"
    return BackpropRegressor(**settings)


def split(problem):
    return TARGETS[problem][:80], TARGETS[problem][80:]


def mean_loss(problem, model, X, y, weights=None):
    """The loss as its formula says, without penalty."""
    weights = np.ones(len(X)) if weights is None else weights
    if problem in ("binary", "multiclass"):
        return log_loss(y, model.predict_proba(X), sample_weight=weights, labels=model.classes_)
    if problem == "multilabel":
        p = model.predict_proba(X)
        rows = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
    elif problem == "poisson":
        p = model.predict(X)
        rows = np.where(y > 0, y * np.log(np.maximum(y, 1) / p), 0) - y + p
    else:
        return 0.5 * mean_squared_error(y, model.predict(X), sample_weight=weights)
    return np.average(rows, weights=weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_loss_and_score_are_those_of_the_given_rows(problem, weighted):
    y, y_val = split(problem)
    weights = WEIGHT_VAL if weighted else None
    # One epoch: the fitted weights are those that were measured.
    model = make(problem, early_stopping=True, max_iter=1)
    model.fit(X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=weights)
    assert model.validation_scores_ == [pytest.approx(model.score(X_VAL, y_val, weights))]
    assert model.validation_loss_curve_ == [pytest.approx(mean_loss(problem, model, X_VAL, y_val, weights), rel=1e-9)]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_loss_of_rows_split_off(problem):
    y = TARGETS[problem]
    model = make(problem, early_stopping=True, max_iter=1, validation_fraction=0.3).fit(X_ALL, y)
    random_state = np.random.RandomState(0)
    random_state.uniform(size=model.coefs_[0].base.size)  # the initial weights are drawn before the split
    targets = {"binary": y == "yes", "multiclass": np.asarray(TARGETS["multiclass"]) / 10}.get(problem, y)
    rows = random_split(model._targets, np.asarray(targets).reshape(120, -1), model.validation_fraction, random_state)[
        1
    ]
    assert len(rows) == 36
    assert model.validation_loss_curve_ == [pytest.approx(mean_loss(problem, model, X_ALL[rows], y[rows]), rel=1e-9)]


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_all_rows_are_trained_on_and_the_best_weights_are_kept(problem):
    y, y_val = split(problem)
    settings = {"max_iter": 40, "n_iter_no_change": 3}
    model = make(problem, early_stopping=True, **settings).fit(X, y, X_val=X_VAL, y_val=y_val)
    assert model.t_ == 80 * model.n_iter_
    assert model.n_iter_ < 40
    assert model.best_validation_score_ == max(model.validation_scores_) > model.validation_scores_[-1]
    assert model.score(X_VAL, y_val) == pytest.approx(model.best_validation_score_)
    # The same weights as training without validation for as many epochs.
    n_best = int(np.argmax(model.validation_scores_)) + 1
    plain = make(problem, max_iter=n_best, n_iter_no_change=100).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])
    assert model.loss_curve_[:n_best] == plain.loss_curve_


@pytest.mark.parametrize(
    "container",
    [partial(np.asarray, dtype=np.float32), np.asfortranarray, sparse.csr_array, sparse.csc_matrix, "pandas"],
)
def test_forms_of_data(container):
    y, y_val = split("multiclass")
    if container == "pandas":
        frames = pytest.importorskip("pandas")
        container = partial(frames.DataFrame, columns=list("abcd"))
    data = [container(part) for part in (X, X_VAL)]
    model = make("multiclass", early_stopping=True).fit(data[0], y, X_val=data[1], y_val=y_val.tolist())
    reference = make("multiclass", early_stopping=True).fit(X, y, X_val=X_VAL, y_val=y_val)
    np.testing.assert_allclose(model.validation_loss_curve_, reference.validation_loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_weights_of_classes_are_in_the_loss_and_the_own_score(scoring):
    y, y_val = split("binary")
    model = make("binary", early_stopping=True, max_iter=1, class_weight={"yes": 5.0}, scoring=scoring)
    model.fit(X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=WEIGHT_VAL)
    rows = compute_sample_weight({"yes": 5.0}, y_val) * WEIGHT_VAL
    assert model.validation_loss_curve_ == [pytest.approx(mean_loss("binary", model, X_VAL, y_val, rows))]
    weights = rows if scoring is None else WEIGHT_VAL
    expected = accuracy_score(y_val, model.predict(X_VAL), sample_weight=weights)
    assert model.validation_scores_ == [pytest.approx(expected)]


def test_balanced_factors_are_those_of_the_training_rows():
    y, y_val = split("multiclass")
    model = make("multiclass", early_stopping=True, max_iter=1, class_weight="balanced")
    keep = y_val == 10
    model.fit(X, y, X_val=X_VAL[keep], y_val=y_val[keep])
    # A single class in the validation rows: its factor cancels out.
    expected = mean_loss("multiclass", model, X_VAL[keep], y_val[keep])
    assert model.validation_loss_curve_ == [pytest.approx(expected)]
    model.fit(X, y, X_val=X_VAL, y_val=y_val)
    table = dict(zip(y, compute_sample_weight("balanced", y), strict=True))
    rows = np.array([table[label] for label in y_val])
    assert model.validation_loss_curve_ == [pytest.approx(mean_loss("multiclass", model, X_VAL, y_val, rows))]


def test_warm_start_takes_rows_without_some_class():
    y, y_val = split("multiclass")
    model = make("multiclass", early_stopping=True, warm_start=True, max_iter=2)
    keep = y_val != 0
    for _ in range(2):
        model.fit(X, y, X_val=X_VAL[keep], y_val=y_val[keep])
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == len(model.loss_curve_) == 4


def test_without_validation_there_is_no_curve():
    y, _ = split("regression")
    assert make("regression").fit(X, y).validation_loss_curve_ is None
    assert not hasattr(make("regression", solver="lbfgs").fit(X, y), "validation_loss_curve_")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_validation_data_go_with_any_solver(name):
    y, y_val = split("regression")
    settings = {"early_stopping": True, "max_iter": 2}
    curves = [
        make("regression", solver=solver, **settings).fit(X, y, X_val=X_VAL, y_val=y_val).validation_loss_curve_
        for solver in (name, OPTIMIZERS[name].from_parameters(BackpropRegressor().get_params()))
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 2


def test_sparse_rows_with_threads():
    y, y_val = split("regression")
    reference = make("regression", early_stopping=True, n_jobs=1).fit(X, y, X_val=X_VAL, y_val=y_val)
    model = make("regression", early_stopping=True, n_jobs=2)
    model.fit(sparse.csr_array(X), y, X_val=sparse.csr_array(X_VAL), y_val=y_val)
    np.testing.assert_allclose(model.validation_loss_curve_, reference.validation_loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("transform", [True, False])
def test_pipeline_carries_the_rows(transform):
    y, y_val = split("regression")
    settings = {"early_stopping": True, "max_iter": 3}
    with sklearn.config_context(enable_metadata_routing=True):
        network = make("regression", **settings).set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("network", network)]
        model = Pipeline(steps, transform_input=["X_val"] if transform else None)
        model.fit(X * 7, y, X_val=X_VAL * 7, y_val=y_val)
    scaler = StandardScaler().fit(X * 7)
    reference = make("regression", **settings).fit(
        scaler.transform(X * 7), y, X_val=scaler.transform(X_VAL * 7) if transform else X_VAL * 7, y_val=y_val
    )
    assert model[-1].validation_scores_ == reference.validation_scores_


def test_pipeline_takes_the_rows_by_the_steps_name():
    y, y_val = split("regression")
    model = make_pipeline(StandardScaler(with_mean=False, with_std=False), make("regression", early_stopping=True))
    model.fit(X, y, backpropregressor__X_val=X_VAL, backpropregressor__y_val=y_val)
    assert model[-1].best_validation_score_ == pytest.approx(r2_score(y_val, model.predict(X_VAL)))


@pytest.mark.parametrize(
    ("problem", "settings", "arguments", "message"),
    [
        ("binary", {}, {"X_val": X_VAL}, "X_val is provided, but y_val was not provided"),
        ("binary", {}, {"y_val": TARGETS["binary"]}, "y_val is provided, but X_val was not provided"),
        ("binary", {}, {"sample_weight_val": WEIGHT_VAL}, "sample_weight_val is provided, but X_val was not"),
        ("binary", {"early_stopping": False}, {}, "while at the same time early_stopping is False"),
        ("binary", {"solver": "lbfgs"}, {}, "solver='lbfgs' has no early stopping"),
        ("binary", {}, {"X_val": X_VAL[:, :3]}, r"X_val and y_val: X has 3 features, but .* is expecting 4"),
        ("binary", {}, {"X_val": X_VAL[:7]}, "X_val and y_val: Found input variables with inconsistent numbers"),
        ("binary", {}, {"X_val": X_VAL * np.nan}, "X_val and y_val: Input X contains NaN"),
        ("binary", {}, {"y_val": np.where(np.arange(40) > 1, "no", "maybe")}, r"not in y: \['maybe'\]; those of y are"),
        ("binary", {}, {"y_val": TARGETS["multilabel"][80:]}, "y_val has to be of the same kind as y"),
        ("multilabel", {}, {"y_val": TARGETS["binary"][80:]}, "y_val has to be of the same kind as y"),
        ("multilabel", {}, {"y_val": TARGETS["multilabel"][80:, :2]}, "as many columns"),
        ("multioutput", {}, {"y_val": TARGETS["regression"][80:]}, r"y_val has 1 column\(s\), but y has 2"),
        ("poisson", {}, {"y_val": -X_VAL[:, 0]}, "defined for y_val >= 0, but y_val has -"),
        ("regression", {"dtype": "float32"}, {"y_val": X_VAL[:, 0] * 1e300}, "y_val contains values too large"),
        ("binary", {}, {"sample_weight_val": -WEIGHT_VAL}, r"[Nn]egative"),
        ("binary", {}, {"sample_weight_val": WEIGHT_VAL * 0}, "at least one non-zero"),
        ("binary", {"class_weight": {"no": 0.0}}, {"y_val": np.full(40, "no")}, "no sample in X_val a weight"),
    ],
)
def test_errors(problem, settings, arguments, message):
    y, y_val = split(problem)
    complete = {} if "was not" in message else {"X_val": X_VAL, "y_val": y_val}
    with pytest.raises(ValueError, match=message):
        make(problem, **{"early_stopping": True, **settings}).fit(X, y, **{**complete, **arguments})


def test_masked_validation_data_are_refused():
    y, y_val = split("regression")
    model = make("regression", early_stopping=True)
    with pytest.raises(TypeError, match="X_val is a masked array"):
        model.fit(X, y, X_val=np.ma.masked_array(X_VAL), y_val=y_val)
    with pytest.raises(TypeError, match="sample_weight_val is a masked array"):
        model.fit(X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=np.ma.ones(40))


@pytest.mark.parametrize(
    ("problem", "scoring"),
    [
        ("binary", "roc_auc"),
        ("binary", "f1_macro"),
        ("binary", make_scorer(f1_score, pos_label="no")),
        ("multiclass", "neg_log_loss"),
        ("multiclass", "balanced_accuracy"),
        ("multilabel", "roc_auc"),
        ("regression", "neg_mean_absolute_error"),
        ("multioutput", "neg_mean_squared_error"),
        ("poisson", "neg_mean_poisson_deviance"),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_scorers_see_the_model_in_training(problem, scoring, weighted):
    y, y_val = split(problem)
    weights = WEIGHT_VAL if weighted else None
    model = make(problem, early_stopping=True, scoring=scoring, max_iter=4, learning_rate_init=0.2)
    model.fit(X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=weights)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    assert len(set(model.validation_scores_)) > 1
    expected = scorer(model, X_VAL, y_val, **({"sample_weight": weights} if weighted else {}))
    assert model.best_validation_score_ == pytest.approx(expected)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_scoring_by_loss_is_minus_the_validation_loss(problem):
    y, y_val = split(problem)
    model = make(problem, early_stopping=True, scoring="loss").fit(X, y, X_val=X_VAL, y_val=y_val)
    np.testing.assert_array_equal(model.validation_scores_, np.negative(model.validation_loss_curve_))
    assert model.best_validation_score_ == -min(model.validation_loss_curve_)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_own_score_by_name_gives_the_same_model(problem):
    y = TARGETS[problem]
    models = [
        make(problem, early_stopping=True, scoring=scoring, max_iter=20, n_iter_no_change=3).fit(X_ALL, y)
        for scoring in (None, "r2" if isinstance(make(problem), BackpropRegressor) else "accuracy")
    ]
    assert models[0].validation_scores_ == pytest.approx(models[1].validation_scores_)
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_callable_gets_the_data_as_given():
    frames = pytest.importorskip("pandas")
    names = list("abcd")
    seen = []

    def scorer(estimator, X, y):
        seen.append((list(X.columns), X["a"].to_numpy(), set(y), estimator.predict(X)))
        estimator.classes_ = None  # a scorer's own business
        return len(seen)

    data, data_val = (frames.DataFrame(part, columns=names) for part in (X, X_VAL))
    y, y_val = split("binary")
    model = make("binary", early_stopping=True, scoring=scorer, max_iter=1)
    model.fit(data, y, X_val=data_val, y_val=y_val)
    np.testing.assert_array_equal(seen[0][1], X_VAL[:, 0])
    assert [(entry[0], entry[2]) for entry in seen] == [(names, {"yes", "no"})]
    seen.clear()
    model.set_params(validation_fraction=0.25).fit(data, y)
    assert len(seen[0][1]) == 20
    assert model.validation_scores_[0] == 1
    assert list(model.classes_) == ["no", "yes"]


def test_scores_are_nan_where_the_loss_is_not_finite():
    y, y_val = split("regression")
    model = make("regression", early_stopping=True, scoring="neg_mean_squared_error", max_iter=3)
    with np.errstate(over="ignore"):
        model.fit(X, y, X_val=X_VAL * 1e200, y_val=y_val)
    assert np.isnan(model.validation_scores_).all()


@pytest.mark.parametrize("problem", ["binary", "multioutput"])
def test_splitter_chooses_the_rows(problem):
    y = TARGETS[problem]
    fold = np.where(np.arange(120) % 3 == 1, 0, -1)
    model = make(problem, early_stopping=True, validation_fraction=PredefinedSplit(fold)).fit(X_ALL, y)
    rows = fold == 0
    reference = make(problem, early_stopping=True).fit(X_ALL[~rows], y[~rows], X_val=X_ALL[rows], y_val=y[rows])
    np.testing.assert_allclose(model.validation_loss_curve_, reference.validation_loss_curve_, rtol=1e-12)
    np.testing.assert_array_equal(model.coefs_[0], reference.coefs_[0])


def test_splitter_may_leave_rows_out():
    model = make("regression", early_stopping=True, validation_fraction=TimeSeriesSplit(2, test_size=20))
    assert model.fit(X_ALL, TARGETS["regression"]).t_ == 80 * model.n_iter_


def test_splitter_sees_labels():
    y = np.where(np.arange(120) < 12, "rare", "common")
    seen = []

    def scorer(estimator, X, y):
        seen.append(np.mean(y == "rare"))
        return 0.0

    make("binary", early_stopping=True, validation_fraction=StratifiedKFold(4), scoring=scorer).fit(X_ALL, y)
    assert set(seen) == {0.1}


def test_groups_stay_together():
    groups = np.arange(120) // 4
    seen = []

    def scorer(estimator, X, y):
        seen.append(X)
        return 0.0

    splitter = GroupShuffleSplit(1, test_size=0.25, random_state=0)
    model = make("regression", early_stopping=True, validation_fraction=splitter, scoring=scorer, max_iter=1)
    model.fit(X_ALL, TARGETS["regression"], groups=groups.tolist())
    members = np.flatnonzero((X_ALL[:, np.newaxis] == seen[0]).all(axis=2).any(axis=1))
    assert len(members) == 32
    assert (np.bincount(groups[members])[np.unique(groups[members])] == 4).all()


def test_groups_are_routed_through_a_search():
    groups = np.arange(120) // 4
    splitter = GroupShuffleSplit(1, test_size=0.25, random_state=0)
    network = make("regression", early_stopping=True, validation_fraction=splitter, max_iter=1)
    with sklearn.config_context(enable_metadata_routing=True):
        network.set_fit_request(groups=True)
        GridSearchCV(network, {"alpha": [0.1]}, cv=2).fit(X_ALL, TARGETS["regression"], groups=groups)


class BadSplit:
    """Gives what it is told to."""

    def __init__(self, *splits):
        self.splits = splits

    def __repr__(self):
        return "BadSplit()"

    def split(self, X, y=None, groups=None):
        return iter(self.splits)

    def get_n_splits(self, X=None, y=None, groups=None):
        return len(self.splits)


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (BadSplit(), r"validation_fraction=BadSplit\(\) gives no split"),
        (BadSplit(([0, 1, 2], [2, 3, 1])), "gives 2 rows both for training and for validation"),
        (BadSplit(([0, 1, 2], [3, 120])), "gives rows from 3 to 120, but X has 120"),
        (BadSplit(([-1, 1, 2], [3, 4])), "gives rows from -1 to 2"),
        (BadSplit(([], [3, 4])), "positions of rows, got an array of float64"),
        (BadSplit((np.zeros(0, dtype=int), [3, 4])), "gives 0 rows for training"),
        (BadSplit((np.arange(120) < 60, np.arange(120) >= 60)), "positions of rows, got an array of bool"),
        (LeaveOneOut(), "119 rows for training and 1 for validation"),
        (KFold(200), "could not split off a validation set: Cannot have number of splits n_splits=200"),
        (GroupShuffleSplit(), "could not split off a validation set: The 'groups' parameter should not be None"),
        ("0.1", "validation_fraction"),
    ],
)
def test_splits_that_cannot_be_used(splitter, message):
    with pytest.raises(ValueError, match=message):
        make("regression", early_stopping=True, validation_fraction=splitter).fit(X_ALL, TARGETS["regression"])


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"validation_fraction": KFold()}])
def test_groups_that_nothing_uses_are_refused(settings):
    with pytest.raises(ValueError, match="groups are passed to fit, but nothing uses them"):
        make("regression", **settings).fit(X_ALL, TARGETS["regression"], groups=np.zeros(120))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scoring": "no_such_scorer"}, "no_such_scorer"),
        ({"scoring": accuracy_score}, "metric function rather than a scorer"),
        ({"scoring": 3}, "scoring"),
    ],
)
def test_bad_scoring(settings, message):
    with pytest.raises(ValueError, match=message):
        make("binary", early_stopping=True, **settings).fit(X_ALL, TARGETS["binary"])


def test_best_weights_by_validation_score_without_stopping():
    y, y_val = split("multiclass")
    # Nothing counts as an improvement: early stopping would end it at once.
    settings = {"max_iter": 15, "tol": 0.0, "learning_rate_init": 0.3}
    model = make("multiclass", restore_best_weights=True, **settings)
    model.fit(X, y, X_val=X_VAL, y_val=y_val)
    plain = make("multiclass", **settings).fit(X, y)
    assert model.loss_curve_ == plain.loss_curve_
    assert model.best_loss_ == plain.best_loss_
    assert model.score(X_VAL, y_val) == model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_validation_score_ > model.validation_scores_[-1]


def test_best_weights_by_training_loss():
    y = TARGETS["regression"]
    settings = {"batch_size": 5, "n_iter_no_change": 100}
    model = make("regression", restore_best_weights=True, max_iter=20, **settings).fit(X_ALL, y)
    n_best = int(np.argmin(model.loss_curve_)) + 1
    assert n_best < 20
    np.testing.assert_array_equal(
        model.coefs_[0], make("regression", max_iter=n_best, **settings).fit(X_ALL, y).coefs_[0]
    )
    assert model.validation_scores_ is None


def test_best_weights_survive_divergence():
    y = TARGETS["regression"]
    settings = {"solver": "sgd", "activation": "identity", "batch_size": 120, "learning_rate_init": 2.0}
    model = make("regression", restore_best_weights=True, max_iter=300, **settings)
    with pytest.warns(ConvergenceWarning, match="The weights of the best training loss are kept"):
        model.fit(X_ALL, y)
    n_best = int(np.nanargmin(model.loss_curve_)) + 1
    plain = make("regression", max_iter=n_best, **settings).fit(X_ALL, y)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("first", [{"early_stopping": True}, {"restore_best_weights": True}])
def test_best_by_scores_is_not_taken_for_best_by_losses(first):
    y = TARGETS["regression"]
    model = make("regression", warm_start=True, max_iter=3, **first).fit(X_ALL, y)
    second = {"early_stopping": False, "restore_best_weights": False}
    second |= {"restore_best_weights": True} if "early_stopping" in first else {"early_stopping": True}
    before = model.coefs_[0].copy()
    model.set_params(**second).fit(X_ALL, y)
    assert not np.array_equal(model.coefs_[0], before)
    if second["early_stopping"]:
        assert model.best_validation_score_ == max(model.validation_scores_)
    else:
        assert model.validation_scores_ is None


def test_partial_fit_refuses_to_restore():
    with pytest.raises(ValueError, match="partial_fit does not support restore_best_weights=True"):
        make("regression", restore_best_weights=True).partial_fit(X_ALL, TARGETS["regression"])
