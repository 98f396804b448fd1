"""`history_`: what each epoch brought."""

import time

import numpy as np
import pytest

from skbackprop import BackpropRegressor

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = X[:, 0] + 0.1 * RNG.standard_normal(60)
KEYS = ["epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds"]
KEYS += ["gradient_norm_0", "gradient_norm_1", "constant_units_0"]


def make(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (5,), "max_iter": 12, "random_state": 0, **settings})


def column(model, key):
    return [row[key] for row in model.history_]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_one_dict_an_epoch(early_stopping):
    model = make(early_stopping=early_stopping).fit(X, Y)
    assert all(list(row) == KEYS for row in model.history_)
    assert column(model, "epoch") == list(range(1, 13))
    assert column(model, "loss") == model.loss_curve_
    nothing = [None] * 12
    assert column(model, "validation_loss") == (model.validation_loss_curve_ or nothing)
    assert column(model, "validation_score") == (model.validation_scores_ or nothing)
    assert set(map(type, model.history_[0].values())) <= {int, float, type(None)}


def test_becomes_a_table():
    frames = pytest.importorskip("pandas")
    table = frames.DataFrame(make(early_stopping=True).fit(X, Y).history_)
    assert table.shape == (12, len(KEYS))
    assert set(map(str, table.dtypes[KEYS[1:]])) == {"float64"}


def test_learning_rates_are_those_in_force():
    model = make(solver="sgd", learning_rate="invscaling", learning_rate_init=0.5).fit(X, Y)
    assert column(model, "learning_rate") == pytest.approx([0.5, *(0.5 / (60 * n + 1) ** 0.5 for n in range(1, 12))])
    adaptive = make(solver="sgd", learning_rate="adaptive", tol=10.0, n_iter_no_change=3, max_iter=9).fit(X, Y)
    assert column(adaptive, "learning_rate") == pytest.approx([1e-3] * 5 + [2e-4] * 4)


@pytest.mark.parametrize("most", [1, 64])
def test_seconds_add_up(most, monkeypatch):
    monkeypatch.setattr("skbackprop.backends.batch_plan._MAX_EPOCHS", most)
    model = make(max_iter=40, n_iter_no_change=100).fit(X, Y)
    started = time.perf_counter()
    model.fit(X, Y)
    elapsed = time.perf_counter() - started
    assert 0 < sum(column(model, "seconds")) < elapsed
    assert all(seconds > 0 for seconds in column(model, "seconds"))
    # Epochs of one call share its time.
    assert (len(set(column(model, "seconds"))) == 1) == (most == 64)


def test_goes_on_with_warm_start_and_partial_fit():
    model = make(warm_start=True, max_iter=3).fit(X, Y)
    model.fit(X, Y)
    model.partial_fit(X, Y)
    assert column(model, "epoch") == list(range(1, 8))
    assert column(model, "loss") == model.loss_curve_
    assert len(model.set_params(warm_start=False).fit(X, Y).history_) == 3


def test_tells_of_divergence():
    model = make(solver="sgd", activation="identity", learning_rate_init=50.0)
    with pytest.raises(ValueError, match="no longer finite"):
        model.fit(X, Y)
    np.testing.assert_array_equal(column(model, "loss"), model.loss_curve_)


def test_lbfgs_has_none():
    assert not hasattr(make(solver="lbfgs").fit(X, Y), "history_")
