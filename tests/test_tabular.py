"""The estimators for tables: raw frames of every kind in, predictions out."""

import copy
import pickle
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skbackprop import BackpropTabularClassifier, BackpropTabularRegressor
from skbackprop.estimators import tabular
from skbackprop.estimators.tabular import _scaled_log_loss

pytestmark = pytest.mark.trains
pd = pytest.importorskip("pandas")

SMALL = {"n_estimators": 2, "hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0}
KINDS = [BackpropTabularClassifier, BackpropTabularRegressor]


def _expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": "rows are drawn for mini-batches and for validation, as for "
        "HistGradientBoosting's early stopping"
    }


@parametrize_with_checks(
    [kind(n_estimators=1, hidden_layer_sizes=(16,), max_iter=15) for kind in KINDS],
    expected_failed_checks=_expected_failures,
    xfail_strict=True,
)
def test_conformance(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("ours", "peer"), list(zip(KINDS, [HistGradientBoostingClassifier, HistGradientBoostingRegressor], strict=True))
)
def test_checks_beside_hist_gradient_boosting(ours, peer):
    """The same checks run for both, and scikit-learn expects boosted trees to fail the one that fails here."""
    names = [{check.func.__name__ for _, check in estimator_checks_generator(model)} for model in (ours(), peer())]
    assert names[0] == names[1]
    expected = pytest.importorskip("sklearn.utils._test_common.instance_generator").PER_ESTIMATOR_XFAIL_CHECKS
    assert set(_expected_failures(ours())) <= set(expected[peer])


@pytest.fixture
def table():
    """A table of every kind of column, and what depends on it."""
    rng = np.random.default_rng(0)
    n_rows = 240
    size, colour = rng.standard_normal(n_rows), rng.choice(["red", "blue", "green"], n_rows)
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n_rows) < 0.1, np.nan, size),
            "colour": pd.Series(colour).astype("category"),
            "is_new": rng.random(n_rows) < 0.5,
            "town": rng.choice([f"town {i}" for i in range(80)], n_rows),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 500, n_rows), unit="D"),
            "constant": 1.0,
        }
    )
    y = size + (colour == "red") + 0.1 * rng.standard_normal(n_rows)
    return frame, y


def test_regressor(table):
    X, y = table
    model = BackpropTabularRegressor(**{**SMALL, "max_iter": 100}).fit(X[:160], y[:160])
    assert model.score(X[160:], y[160:]) > 0.5
    predictions = model.predict(X)
    assert predictions.shape == (240,)
    assert y[:160].min() <= predictions.min() <= predictions.max() <= y[:160].max()
    assert (model.predict_spread(X) > 0).any()


def test_classifier(table):
    X, y = table
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [-0.3, 0.7])]
    model = BackpropTabularClassifier(**{**SMALL, "max_iter": 100}).fit(X[:160], labels[:160])
    assert model.score(X[160:], labels[160:]) > 0.5
    proba = model.predict_proba(X)
    assert proba.shape == model.predict_spread(X).shape == (240, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.classes_, ["high", "low", "middle"])
    assert len(model.temperatures_) == len(model.estimators_) == 2


def test_the_same_bits_for_any_number_of_threads(table):
    X, y = table
    one, two = (BackpropTabularRegressor(**SMALL, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    other = BackpropTabularRegressor(**{**SMALL, "random_state": 1}).fit(X, y)
    assert (other.predict(X) != one.predict(X)).any()


def test_frames_of_other_libraries(table):
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    X, y = table
    expected = BackpropTabularRegressor(**SMALL).fit(X, y).predict(X)
    for frame in (polars.from_pandas(X), pyarrow.Table.from_pandas(X)):
        model = BackpropTabularRegressor(**SMALL).fit(frame, y)
        np.testing.assert_allclose(model.predict(frame), expected, rtol=1e-4)


def test_columns_that_differ(table):
    X, y = table
    model = BackpropTabularRegressor(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.drop(columns="town"))
    with pytest.raises(TypeError, match="tags"):
        BackpropTabularRegressor(**SMALL).fit(X.assign(tags=[["a"]] * len(X)), y)


@pytest.mark.parametrize("kind", KINDS)
def test_copies(kind, table):
    X, y = table
    y = np.digitize(y, [0.0]) if kind is BackpropTabularClassifier else y
    model = kind(**SMALL).fit(X, y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), clone(model).fit(X, y)):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_skops(table):
    io = pytest.importorskip("skops.io")
    X, y = table
    model = BackpropTabularRegressor(**SMALL).fit(X, y)
    dumped = io.dumps(model)
    loaded = io.loads(dumped, trusted=io.get_untrusted_types(data=dumped))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_searches_and_pipelines(table):
    X, y = table
    pipeline = make_pipeline(FunctionTransformer(), BackpropTabularRegressor(**SMALL))
    assert len(cross_val_score(pipeline, X, y, cv=2)) == 2
    search = GridSearchCV(BackpropTabularRegressor(**SMALL), {"learning_rate_init": [0.01, 0.07]}, cv=2).fit(X, y)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    assert permutation_importance(search, X, y, n_repeats=1, random_state=0).importances_mean[0] > 0


def test_calibrated_further(table):
    X, y = table
    labels = np.digitize(y, [0.0])
    model = CalibratedClassifierCV(BackpropTabularClassifier(**SMALL), cv=2).fit(X, labels)
    assert model.predict_proba(X).shape == (240, 2)


def test_weights(table):
    X, y = table
    labels = np.digitize(y, [0.0])
    weight = np.where(labels == 1, 20.0, 1.0)
    weighted = BackpropTabularClassifier(**SMALL).fit(X, labels, weight)
    balanced = BackpropTabularClassifier(**SMALL, class_weight={0: 1.0, 1: 20.0}).fit(X, labels)
    plain = BackpropTabularClassifier(**SMALL).fit(X, labels)
    for model in (weighted, balanced):
        assert model.predict(X).mean() > plain.predict(X).mean()
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        BackpropTabularClassifier(**SMALL).fit(X, labels, -weight)


def test_validation_data(table):
    X, y = table
    model = BackpropTabularRegressor(**SMALL).fit(X[:180], y[:180], X_val=X[180:], y_val=y[180:])
    assert all(len(network.validation_scores_) == network.n_iter_ for network in model.estimators_)
    with pytest.raises(ValueError, match="X_val and y_val belong together"):
        model.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match=r"y_val has classes that y has not: \[2\]"):
        BackpropTabularClassifier(**SMALL).fit(X[:4], [0, 1, 0, 1], X_val=X[4:6], y_val=[0, 2])


def test_groups(table):
    X, y = table
    groups = np.arange(240) // 40
    BackpropTabularRegressor(**SMALL).fit(X, y, groups=groups)
    BackpropTabularRegressor(**SMALL, validation_fraction=GroupKFold(3)).fit(X, y, groups=groups)


@pytest.mark.parametrize("n_rows", [2, 3, 5, 10, 11])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows(kind, n_rows, table):
    X, y = table
    y = np.arange(n_rows) % 2 if kind is BackpropTabularClassifier else y[:n_rows]
    assert len(kind(**SMALL).fit(X[:n_rows], y).predict(X)) == 240


def test_rare_classes(table):
    X, _ = table
    labels = np.repeat(["a", "b", "c", "d"], [237, 1, 1, 1])
    model = BackpropTabularClassifier(**SMALL).fit(X, labels)
    assert model.predict_proba(X).shape == (240, 4)
    assert all(len(network.classes_) == 4 for network in model.estimators_)


# Where nothing varies, units are constant.
@pytest.mark.filterwarnings("ignore:100% of the units")
def test_tables_of_one_kind_of_column_only():
    y = np.arange(40) % 2
    for X in (pd.DataFrame({"c": ["x", "y"] * 20}), pd.DataFrame({"a": [1.0] * 40}), np.arange(40.0)[:, np.newaxis]):
        assert BackpropTabularClassifier(**SMALL).fit(X, y).predict_proba(X).shape == (40, 2)
        assert BackpropTabularRegressor(**SMALL).fit(X, y * 1.5).predict(X).shape == (40,)


def test_several_targets():
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, -y])
    model = BackpropTabularRegressor(**SMALL).fit(X, Y)
    assert model.predict(X).shape == (442, 2)


def test_time_is_limited():
    X, y = load_diabetes(return_X_y=True)
    BackpropTabularRegressor(**SMALL).fit(X, y)  # compiled before it is timed
    model = BackpropTabularRegressor(
        **{**SMALL, "max_iter": 10**6, "n_estimators": 1}, max_time=0.5, early_stopping=False
    )
    begun = time.monotonic()
    model.fit(X, y)
    assert time.monotonic() - begun < 60
    assert 0 < model.n_iter_ < 10**6


def test_temperature():
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((4000, 3))
    p = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    loss, beta = _scaled_log_loss(5 * raw, labels, None)
    assert beta == pytest.approx(0.2, rel=0.1)
    assert loss == pytest.approx(log_loss(labels, p), rel=0.02)
    # For two classes raw predictions are one column.
    loss, beta = _scaled_log_loss(np.array([-1.0, 2.0, 1.0, -3.0]), np.array([0, 1, 0, 0]), None)
    assert 0 < loss < np.log(2)


def test_calibration_beats_label_smoothing():
    X, y = load_iris(return_X_y=True)
    model = BackpropTabularClassifier(n_estimators=2, max_iter=60, random_state=0).fit(X, y)
    assert log_loss(y, model.predict_proba(X)) < 0.2


def test_targets_far_from_zero():
    X, y = load_diabetes(return_X_y=True)
    near, far = (BackpropTabularRegressor(**SMALL).fit(X, y + shift).predict(X) for shift in (0.0, 1.7e9))
    assert np.ptp(far) > 10
    np.testing.assert_allclose(far - 1.7e9, near, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_classes_that_a_split_leaves_out():
    X, y = load_iris(return_X_y=True)
    for settings in ({"groups": y}, {"groups": np.zeros(150)}):
        model = BackpropTabularClassifier(**SMALL).fit(X, y, **settings)
        assert model.predict_proba(X).shape == (150, 3)
    few = np.r_[np.arange(60), np.repeat(np.arange(60, 80), 2)]
    assert len(BackpropTabularClassifier(**SMALL).fit(X[:100], few).classes_) == 80
    with pytest.raises(ValueError, match="leave them out with X_val"):
        BackpropTabularClassifier(**SMALL).fit(X, y, X_val=X, y_val=y, groups=y)
    with pytest.raises(ValueError, match="sample_weight_val is for X_val"):
        BackpropTabularClassifier(**SMALL).fit(X, y, sample_weight_val=np.ones(150))


def test_dropout_of_inputs_is_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="set the first of the rates to 0"):
        BackpropTabularClassifier(**SMALL, dropout=(0.1, 0.1)).fit(X, y)
    BackpropTabularClassifier(**SMALL, dropout=0.1).fit(X, y)


WIDE = {"n_estimators": 1, "hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 0}


@pytest.mark.parametrize(("chosen", "is_smooth"), [(None, True), ("piecewise_linear", False)])
@pytest.mark.parametrize("kind", KINDS)
def test_many_numbers_are_embedded_if_that_is_better(kind, chosen, is_smooth, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 16))
    y = X.sum(axis=1) if is_smooth else (np.abs(X[:, :2]) > 0.7).sum(axis=1)
    if kind is BackpropTabularClassifier:
        y = y > 0
    model = kind(**WIDE, verbose=True).fit(X, y)
    assert f"numerical_embeddings={chosen!r}" in capsys.readouterr().out
    expected = kind(**WIDE, numerical_embeddings=chosen).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_more_rows_take_fewer_epochs():
    epochs = [tabular._n_epochs(n_rows) for n_rows in (1, 100_000, 100_001, 200_000, 640_000, 10**9)]
    assert epochs == [64, 64, 64, 32, 10, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_automatic_epochs_are_those_of_the_rows(kind, monkeypatch):
    monkeypatch.setattr(tabular, "_ROWS_OF_MOST_EPOCHS", 50)
    X = np.random.default_rng(0).standard_normal((100, 3))
    y = X[:, 0] > 0
    model = kind(**{**SMALL, "max_iter": "auto"}, early_stopping=False).fit(X, y)
    expected = kind(**{**SMALL, "max_iter": 32}, early_stopping=False).fit(X, y)
    assert model.n_iter_ == expected.n_iter_ == 32
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_trials_of_few_of_many_rows_have_all_classes(monkeypatch):
    monkeypatch.setattr(tabular, "_TRIAL_ROWS", 50)
    X = np.random.default_rng(0).standard_normal((400, 16))
    y = np.repeat(["a", "b", "c"], [300, 99, 1])
    weights = np.r_[np.zeros(200), np.ones(200)]
    model = BackpropTabularClassifier(**WIDE, class_weight={"a": 1.0, "b": 2.0, "c": 3.0}).fit(X, y, weights)
    assert model.predict_proba(X).shape == (400, 3)


@pytest.mark.parametrize("n_rows", [2, 4, 30])
def test_few_rows_of_many_numbers(n_rows):
    X = np.random.default_rng(0).standard_normal((n_rows, 20))
    y = X[:, 0]
    model = BackpropTabularRegressor(**WIDE)
    assert model.fit(X, y).predict(X).shape == (n_rows,)
    assert model.fit(X, y, X_val=X, y_val=y).predict(X).shape == (n_rows,)


def test_groups_are_not_divided_in_trials():
    X = np.random.default_rng(0).standard_normal((60, 20))
    groups = np.repeat(np.arange(6), 10)
    folds = BackpropTabularRegressor(**WIDE, validation_fraction=GroupKFold(3)).fit(X, X[:, 0], groups=groups)
    fraction = BackpropTabularRegressor(**WIDE).fit(X, X[:, 0], groups=groups)
    assert folds.predict(X).shape == fraction.predict(X).shape == (60,)
