"""What `fit` says of a training that went wrong, and that it says nothing of others."""

import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends.data import as_rows
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import Quantile
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.training import diagnosis
from skbackprop.training.diagnosis import diagnose

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

ROWS = as_rows(np.random.default_rng(0).standard_normal((50, 3)), np.float64)
DEEP = {"hidden_layer_sizes": (32,) * 6, "activation": "logistic", "max_iter": 10, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def epoch(norms=(1.0, 1.0, 1.0), constant=(0.0, 0.0), loss=1.0):
    row = {"loss": loss}
    row.update({f"gradient_norm_{layer}": norm for layer, norm in enumerate(norms)})
    row.update({f"constant_units_{layer}": share for layer, share in enumerate(constant)})
    return row


def find(history, rows=ROWS, batch_rows=50, frozen=(), estimator=None, train_rows=None):
    train_rows = np.arange(rows.shape[0]) if train_rows is None else train_rows
    estimator = BackpropClassifier() if estimator is None else estimator
    return diagnose(history, rows, train_rows, batch_rows=batch_rows, frozen=frozen, estimator=estimator)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer, load_wine, load_diabetes])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_ordinary_trainings_are_silent(load, activation, solver):
    X, y = load(return_X_y=True)
    estimator = BackpropRegressor if load is load_diabetes else BackpropClassifier
    y = scale(y) if load is load_diabetes else y
    estimator(hidden_layer_sizes=(20,), activation=activation, solver=solver, max_iter=30, random_state=0).fit(
        scale(X), y
    )


@pytest.mark.parametrize("factor", [1.0, 1e4, 1e-4])
@pytest.mark.parametrize("settings", [{}, {"loss": "huber"}, {"loss": "quantile"}, {"loss": "gaussian_nll"}])
def test_targets_that_are_not_scaled_are_told(factor, settings):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), factor * y
    model = BackpropRegressor(max_iter=20, n_iter_no_change=np.inf, random_state=0, **settings)
    with pytest.warns(
        TrainingWarning, match=r"worse than the mean of y would be .*Set standardize_target=True\."
    ) as caught:
        model.fit(X, y)
    told = float(re.search(r"\(R\^2 = (\S+)\)", str(caught[0].message))[1])
    assert told == pytest.approx(model.score(X, y), rel=0.01, abs=0.06)
    assert model.set_params(standardize_target=True).fit(X, y).score(X, y) > 0.1


@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie"])
def test_targets_far_from_one_of_losses_with_a_logarithmic_link_are_told(loss):
    X, y = load_diabetes(return_X_y=True)
    model = BackpropRegressor(loss=loss, max_iter=20, random_state=0)
    with pytest.warns(TrainingWarning, match=r"worse than the mean of y would be .*Set output_bias='prior'\."):
        model.fit(scale(X), y)
    assert model.set_params(output_bias="prior").fit(scale(X), y).score(scale(X), y) > 0.1


def test_targets_that_predictions_are_not_meant_to_be_near_are_not_told():
    X, y = load_diabetes(return_X_y=True)
    BackpropRegressor(loss=Quantile(quantile=0.01), max_iter=20, random_state=0).fit(scale(X), y)
    rng = np.random.default_rng(0)
    noise = 20 * rng.standard_normal(500)
    BackpropRegressor(loss=Quantile(quantile=0.3), max_iter=100, learning_rate_init=0.01, random_state=0).fit(
        rng.standard_normal((500, 3)), noise
    )
    # A column that is constant but for rounding.
    targets = np.column_stack([scale(y), np.full(len(y), 0.1)])
    BackpropRegressor(max_iter=200, learning_rate_init=0.01, random_state=0).fit(scale(X), targets)
    # Nothing can be learned of noise, wherever it lies.
    BackpropRegressor(max_iter=20, random_state=0, standardize_target=True).fit(
        scale(X), 100 + rng.standard_normal(len(y))
    )


def test_targets_that_float32_cannot_tell_apart_are_told():
    X = np.random.default_rng(0).standard_normal((200, 3))
    y = X @ [1.0, 2.0, 3.0]
    model = BackpropRegressor(standardize_target=True, dtype="float32", random_state=0)
    assert model.fit(X, 1e10 + 1e4 * y).score(X, 1e10 + 1e4 * y) > 0.98
    with pytest.warns(TrainingWarning, match=r"Predictions in float32 come in steps of 1024 .*set dtype='float64'"):
        model.fit(X, 1e10 + 100 * y)
    assert model.set_params(dtype="float64").fit(X, 1e10 + 100 * y).score(X, 1e10 + 100 * y) > 0.98


@pytest.mark.parametrize("hidden", [(), (2,), (2, 2, 2), (50, 50), (30,) * 4])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 3}, {"dropout": 0.5}, {"activation": "tanh"}])
def test_shapes_of_networks_that_are_silent(digits, hidden, settings):
    X, y = digits
    BackpropClassifier(hidden, max_iter=8, random_state=0, **settings).fit(X[:301], y[:301])


def test_vanishing_gradients(digits):
    with pytest.warns(
        TrainingWarning, match=r"Gradients vanish: in each of the last 5 epochs, the gradient of layer 0"
    ) as caught:
        BackpropClassifier(**DEEP).fit(*digits)
    message = str(caught.pop(TrainingWarning).message)
    assert "Change activation (now 'logistic'" in message
    assert "weight_init ('he_normal' goes with 'relu'" in message
    # The cure that it names.
    cured = BackpropClassifier(**{**DEEP, "activation": "relu", "weight_init": "he_normal"}).fit(*digits)
    assert cured.score(*digits) > 0.7
    BackpropClassifier(**DEEP, normalization="batch").fit(*digits)


def test_exploding_gradients():
    X, y = load_iris(return_X_y=True)
    model = BackpropClassifier(solver="sgd", learning_rate_init=5.0, random_state=0)
    with pytest.warns(
        TrainingWarning, match=r"Gradients explode: .* Lower learning_rate_init \(now 5\), or set clip_norm"
    ):
        model.fit(scale(X), y)
    model.set_params(learning_rate_init=0.1, clip_norm=1.0).fit(scale(X), y)


def test_dead_units(digits):
    model = BackpropClassifier((50, 50), solver="sgd", learning_rate_init=1.0, random_state=0)
    X, y = digits
    with pytest.warns(TrainingWarning, match=r"100% of the units of hidden layer 1 gave one output .* 'leaky_relu'"):
        model.fit(scale(X), y)


def test_targets_far_from_zero():
    X, y = load_diabetes(return_X_y=True)
    model = BackpropRegressor(hidden_layer_sizes=(64, 64, 64), activation="tanh", random_state=0)
    with pytest.warns(TrainingWarning, match=r"Gradients vanish: .* far from zero, set standardize_target=True\."):
        model.fit(scale(X), y)
    # The cure that it names.
    assert model.set_params(standardize_target=True).fit(scale(X), y).score(scale(X), y) > 0.5
    assert "standardize_target" not in find([epoch(norms=(0.0, 1.0, 1.0))] * 5, estimator=model)[0]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("load", "column"), [(load_breast_cancer, 23), (load_wine, 12)])
def test_badly_scaled_inputs(load, column, form):
    X, y = load(return_X_y=True)
    model = BackpropClassifier(random_state=0, max_iter=10)
    with pytest.warns(
        TrainingWarning, match=rf"X is badly scaled: column number {column} has values of about .* StandardScaler"
    ):
        model.fit(form(X), y)
    model.fit(form(scale(X)), y)


def test_names_the_column():
    frame, y = load_wine(return_X_y=True, as_frame=True)
    with pytest.warns(
        TrainingWarning, match=r"column 'proline' has values of about 800, and half of the columns of 3 at"
    ):
        BackpropClassifier(random_state=0, max_iter=10).fit(frame, y)


def test_one_warning_for_all():
    X, y = load_wine(return_X_y=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrainingWarning)
        BackpropClassifier(solver="sgd", random_state=0).fit(X, y)
    messages = [str(one.message) for one in caught if one.category is TrainingWarning]
    assert len(messages) == 1
    assert "units of hidden layer 0" in messages[0]
    assert "X is badly scaled" in messages[0]


def test_silent_in_partial_fit_and_lbfgs(digits):
    X, y = load_wine(return_X_y=True)
    BackpropClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    BackpropClassifier(random_state=0, solver="lbfgs", max_iter=5).fit(X, y)


def test_looks_at_this_training_only(digits):
    X, y = digits
    model = BackpropClassifier(**{**DEEP, "warm_start": True, "max_iter": 4})
    for _ in range(3):
        # Never as many epochs as it takes to tell.
        model.fit(X, y)
    assert len(model.history_) == 12


def test_same_model_with_the_warning_ignored(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        model = BackpropClassifier(**DEEP).fit(*digits)
    with pytest.warns(TrainingWarning):
        other = BackpropClassifier(**DEEP).fit(*digits)
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])


def test_frozen_layers_do_not_vanish(digits):
    X, y = digits
    BackpropClassifier((20, 20, 20), frozen_layers=[0, 1], max_iter=8, random_state=0).fit(X, y)
    history = [epoch(norms=(0.0, 0.5, 1.0))] * 5
    assert len(find(history)) == 1
    assert find(history, frozen=(0,)) == []
    assert find([epoch(norms=(1.0, 1e-9, 1.0))] * 5, frozen=(0,))[0].startswith("Gradients vanish")
    assert find([epoch(norms=(1.0, 1.0, 0.0))] * 5, frozen=(0, 1, 2)) == []


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"norms": (1e-4, 1.0, 1.0)}, "vanish"),
        ({"constant": (0.0, 0.95)}, "95% of the units of hidden layer 1"),
        ({"norms": (1.0, 1000.0, 1.0), "loss": 3.0}, "explode"),
    ],
)
def test_holds_for_each_of_the_last_epochs(bad, word):
    good = epoch()
    (finding,) = find([good, *[epoch(**bad)] * 5])
    assert word in finding
    if word == "explode":
        # A loss that came down again is no failure.
        assert find([good, *[epoch(**bad)] * 5, good]) == []
    else:
        assert find([good, *[epoch(**bad)] * 4, good]) == []
        assert find([epoch(**bad)] * 4) == []


def test_thresholds():
    assert find([epoch(norms=(2e-3, 1.0, 1.0))] * 5) == []
    # With one hidden layer nothing can vanish on the way.
    assert find([epoch(norms=(1e-6, 1.0), constant=(0.0,))] * 5) == []
    assert find([epoch(norms=(0.0, 0.0, 0.0))] * 5) == []
    assert find([epoch(constant=(0.89, 0.0))] * 5) == []
    assert find([epoch(constant=(1.0, 1.0))] * 5, batch_rows=9) == []
    assert find([epoch(), *[epoch(norms=(1.0, 50.0, 1.0), loss=3.0)] * 5]) == []
    assert find([epoch(), *[epoch(norms=(1.0, 500.0, 1.0), loss=1.9)] * 5]) == []
    nothing = float("nan")
    assert find([epoch(norms=(nothing,) * 3, constant=(nothing,) * 2, loss=nothing)] * 6) == []
    # One cause, one finding: nothing passes back through dead units.
    (finding,) = find([epoch(norms=(0.0, 0.0, 1.0), constant=(0.0, 1.0))] * 5)
    assert "vanish" not in finding


def test_sizes_of_columns(monkeypatch):
    X = ROWS.X * [1, 1, 90]
    assert find([], as_rows(X, np.float64)) == []
    assert "number 2" in find([], as_rows(X * [1, 1, 10], np.float64))[0]
    # Constant columns count, zeros do not.
    assert find([], as_rows(np.full((50, 3), 2e4), np.float64))[0].startswith("X is badly scaled: column number 0")
    assert find([], as_rows(np.zeros((50, 3)), np.float64)) == []
    assert find([], as_rows(sparse.csr_array((50, 3)), np.float64)) == []
    # Rows that are not trained on do not count.
    X = ROWS.X.copy()
    X[0, 1] = 1e9
    assert find([], as_rows(X, np.float64), train_rows=np.arange(1, 50)) == []
    assert len(find([], as_rows(X, np.float64))) == 1
    # A sample of wide data.
    monkeypatch.setattr(diagnosis, "_SAMPLE_SIZE", 0)
    X[0, 1] = 0.0
    X[49] = 1e9
    assert find([], as_rows(X, np.float64)) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_columns_are_those_of_dense_rows(dtype, rng):
    X = np.where(rng.random((300, 6)) < 0.3, rng.standard_normal((300, 6)), 0.0) * [1, 2, 3, 0, 1e3, 1e30]
    for rows in (np.arange(300), np.arange(7, 200, 3)):
        dense, other = (
            diagnosis._column_sizes(as_rows(form(X), dtype), rows) for form in (np.asarray, sparse.csr_array)
        )
        assert dense[0].tolist() == other[0].tolist() == [0, 1, 2, 4, 5]
        np.testing.assert_allclose(dense[1], other[1])
