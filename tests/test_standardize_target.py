"""`standardize_target`: trained on standardised targets, predicting in the user's units."""

import pickle

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import mean_absolute_error
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropRegressor
from skbackprop.estimators._validation import random_split
from skbackprop.exceptions import TrainingWarning

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4))
Y = np.column_stack([1000 + 300 * X[:, 0], 0.01 * X[:, 1] - 5])
WEIGHT = RNG.integers(0, 3, 80).astype(float)
COLUMNS = {"one": Y[:, 0], "two": Y}


def make(**settings):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 10, "learning_rate_init": 0.05, "random_state": 0, **settings}
    return BackpropRegressor(**settings)


def standardised(y, weights=None):
    scaler = StandardScaler().fit(y.reshape(len(y), -1), sample_weight=weights)
    return scaler.transform(y.reshape(len(y), -1)).reshape(y.shape), scaler


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_as_standardising_outside(name, solver, weighted):
    y, weights = COLUMNS[name], WEIGHT if weighted else None
    model = make(standardize_target=True, solver=solver).fit(X, y, weights)
    targets, scaler = standardised(y, weights)
    reference = make(solver=solver).fit(X, targets, weights)
    np.testing.assert_allclose(model.coefs_[0], reference.coefs_[0], rtol=1e-9)
    assert model.loss_ == pytest.approx(reference.loss_)
    expected = scaler.inverse_transform(reference.predict(X).reshape(80, -1)).reshape(y.shape)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
    assert model.score(X, y, weights) == pytest.approx(reference.score(X, targets, weights))


def test_same_as_scikit_learns_wrapper():
    model = make(standardize_target=True).fit(X, Y)
    wrapped = TransformedTargetRegressor(make(), transformer=StandardScaler()).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), wrapped.predict(X), rtol=1e-10)


def test_weight_two_is_a_row_twice():
    times = WEIGHT.astype(int)
    settings = {"standardize_target": True, "shuffle": False}
    weighted = make(batch_size=80, **settings).fit(X, Y, WEIGHT)
    repeated = make(batch_size=times.sum(), **settings).fit(np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0))
    np.testing.assert_allclose(weighted.target_scale_, repeated.target_scale_)
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)


@pytest.mark.parametrize("own", [False, True])
def test_statistics_are_of_the_rows_trained_on(own):
    settings = {"standardize_target": True, "early_stopping": True, "validation_fraction": 0.25, "max_iter": 1}
    if own:
        X_val, y_val, rows = X[60:] + 1, Y[60:] * 3, np.arange(60)
        model = make(**settings).fit(X[:60], Y[:60], X_val=X_val, y_val=y_val)
    else:
        model = make(**settings).fit(X, Y)
        random_state = np.random.RandomState(0)
        random_state.uniform(size=model.coefs_[0].base.size)  # the initial weights are drawn before the split
        rows, held_out = random_split(model._targets, Y, model.validation_fraction, random_state)
        X_val, y_val = X[held_out], Y[held_out]
    np.testing.assert_allclose(model.target_mean_, Y[rows].mean(axis=0))
    np.testing.assert_allclose(model.target_scale_, Y[rows].std(axis=0))
    assert model.validation_scores_ == [pytest.approx(model.score(X_val, y_val))]
    errors = (model.predict(X_val) - y_val) / model.target_scale_
    assert model.validation_loss_curve_ == [pytest.approx(0.5 * np.mean(errors**2))]


def test_scorers_get_the_users_units():
    model = make(standardize_target=True, early_stopping=True, scoring="neg_mean_absolute_error", max_iter=1)
    model.fit(X[:60], Y[:60], X_val=X[60:], y_val=Y[60:])
    assert model.validation_scores_ == [pytest.approx(-mean_absolute_error(Y[60:], model.predict(X[60:])))]


@pytest.mark.parametrize("go_on", ["partial_fit", "warm_start"])
def test_later_calls_keep_the_first_ones_numbers(go_on):
    model = make(standardize_target=True, warm_start=True)
    (model.partial_fit if go_on == "partial_fit" else model.fit)(X[:40], Y[:40])
    mean, scale = model.target_mean_.copy(), model.target_scale_.copy()
    (model.partial_fit if go_on == "partial_fit" else model.fit)(X[40:], Y[40:] + 50)
    np.testing.assert_array_equal(model.target_mean_, mean)
    np.testing.assert_array_equal(model.target_scale_, scale)
    np.testing.assert_allclose(mean, Y[:40].mean(axis=0))


def test_constant_column():
    y = np.column_stack([Y[:, 0], np.full(80, 0.1)])
    model = make(standardize_target=True, max_iter=100).fit(X, y)
    assert model.target_scale_[1] == 1
    np.testing.assert_allclose(model.predict(X)[:, 1], 0.1, atol=0.5)


def test_float32_keeps_small_differences_of_large_numbers():
    y = 1e8 + X[:, 0]
    targets = standardised(y)[0].astype(np.float32)
    model = make(standardize_target=True, dtype="float32")
    with pytest.warns(TrainingWarning, match="Predictions in float32 come in steps of 8 near the mean of y"):
        model.fit(X, y)
    reference = make(dtype="float32").fit(X, targets)
    assert model.loss_curve_ == pytest.approx(reference.loss_curve_)
    assert model.predict(X).dtype == np.float32


def test_new_fit_without_it_is_in_the_users_units():
    y = StandardScaler().fit_transform(Y)
    model = make(standardize_target=True).fit(X, y)
    model.set_params(standardize_target=False).fit(X, y)
    assert not hasattr(model, "target_mean_")
    np.testing.assert_array_equal(model.predict(X), make().fit(X, y).predict(X))


def test_pickles():
    model = make(standardize_target=True).fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_refused_with_other_links():
    with pytest.raises(ValueError, match=r"loss='poisson' has out_activation_='exp'; set standardize_target=False"):
        make(standardize_target=True, loss="poisson").fit(X, Y[:, 0])


@pytest.mark.parametrize("before", [False, True])
def test_cannot_change_between_calls(before):
    model = make(standardize_target=before).partial_fit(X, Y)
    with pytest.raises(ValueError, match=f"standardize_target={not before} is not what the network was fitted with"):
        model.set_params(standardize_target=not before).partial_fit(X, Y)


def test_refuses_squares_that_overflow():
    with pytest.raises(ValueError, match="too large for standardize_target=True"), np.errstate(all="ignore"):
        make(standardize_target=True).fit(X, Y * 1e200)
