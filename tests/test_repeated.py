"""Predictions of a few rows, again and again: what is remembered never gives another result than a new look would."""

import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends import cpu
from skbackprop.backends.cpu import threads as cpu_threads
from skbackprop.estimators import _prediction

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.RandomState(0).randn(60, 4)
Y = (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)
SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


@pytest.fixture(autouse=True)
def nothing_known():
    _prediction._own.known.clear()


def known(model, rows):
    """Predict until the thread knows the model."""
    for _ in range(2):
        model.predict(rows)
    (state,) = _prediction._own.known.values()
    return state


def anew(model, method, rows):
    """Predict with a copy, of which nothing is known."""
    return getattr(pickle.loads(pickle.dumps(model)), method)(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [1, 3, 60])
@pytest.mark.parametrize(
    ("make", "y", "methods"),
    [
        (BackpropClassifier, Y, ("predict", "predict_proba", "decision_function")),
        (BackpropClassifier, Y > 0, ("predict", "predict_proba", "decision_function", "predict_log_proba")),
        (BackpropClassifier, np.array(["one"] * 60), ("predict", "predict_proba")),
        (BackpropClassifier, np.column_stack([Y > 0, Y > 1]).astype(int), ("predict", "predict_proba")),
        (BackpropRegressor, X @ np.arange(4), ("predict",)),
        (BackpropRegressor, X[:, :2], ("predict",)),
    ],
    ids=["classes", "two", "one", "labels", "numbers", "columns"],
)
def test_other_rows_give_their_own_predictions(make, y, methods, n_rows, dtype):
    model, rows = make(**SETTINGS, dtype=dtype).fit(X, y), X.astype(dtype)
    for _ in range(3):
        for method in methods:
            for start in (0, 0, 60 - n_rows, 30 if n_rows < 30 else 0):
                own = rows[start : start + n_rows]
                np.testing.assert_array_equal(getattr(model, method)(own), anew(model, method, own))
    assert any(_prediction._own.known.values())


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.set_params(activation="tanh"),
        lambda model: model.set_params(loss="hinge"),
        lambda model: model.coefs_.__setitem__(0, model.coefs_[0] * 2),
        lambda model: model.intercepts_[1].__setitem__(0, 5.0),
        lambda model: setattr(model, "coefs_", [2 * coef for coef in model.coefs_]),
        lambda model: setattr(model, "classes_", np.array([7, 8, 9])),
        lambda model: model.classes_.__setitem__(0, -7),
        lambda model: model.fit(X, Y[::-1]),
        lambda model: model.partial_fit(X, Y),
        lambda model: model.set_params(warm_start=True).fit(X, Y),
    ],
    ids=["activation", "loss", "array", "number", "list", "classes", "label", "fit", "partial_fit", "warm_start"],
)
def test_changes_of_the_model_are_seen(change):
    model, rows = BackpropClassifier(**SETTINGS).fit(X, Y), X[:2]
    known(model, rows)
    change(model)
    for method in ("predict", "decision_function"):
        np.testing.assert_array_equal(getattr(model, method)(rows), anew(model, method, rows))


def test_rows_that_need_validation_get_it():
    model = BackpropRegressor(**SETTINGS).fit(X, X[:, 0])
    expected = model.predict(X[:2])
    state = known(model, X[:2])
    for rows in (np.asfortranarray(X[:2]), X[:2].astype(np.float32), X[:2].tolist(), X[:2].astype(">f8")):
        np.testing.assert_allclose(model.predict(rows), expected, rtol=1e-5)
    for number, word in ((np.nan, "NaN"), (np.inf, "infinity")):
        rows = X[:2].copy()
        rows[1, 2] = number
        with pytest.raises(ValueError, match=word):
            model.predict(rows)
    # Their squares overflow.
    assert np.isfinite(model.predict(np.full((2, 4), 1e200))).all()
    np.testing.assert_array_equal(model.predict(X[:2]), expected)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(X[:2, :3])
    rows = X[:2].copy()
    rows.setflags(write=False)
    assert state.holds_for(model, rows)
    np.testing.assert_array_equal(model.predict(rows), expected)
    memory = np.empty(2 * 4 * 8 + 1, dtype=np.uint8)
    rows = memory[1:].view(np.float64).reshape(2, 4)
    rows[:] = X[:2]
    assert not state.holds_for(model, rows)
    np.testing.assert_array_equal(model.predict(rows), expected)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_each_of_many_numbers_is_looked_at(number):
    model, rows = BackpropRegressor(**SETTINGS).fit(X, X[:, 0]), np.tile(X, (50, 1))
    expected = model.predict(rows)
    known(model, rows)
    for place in (0, 1, rows.size // 2, rows.size - 1):
        changed = rows.copy()
        changed.reshape(-1)[place] = number
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            model.predict(changed)
        np.testing.assert_array_equal(model.predict(rows), expected)


def test_several_threads_predict_again(monkeypatch):
    model, rows = BackpropRegressor(**SETTINGS, n_jobs=3).fit(X, X[:, 0]), np.tile(X, (10, 1))
    expected, sizes = model.predict(rows), []

    class Team(cpu_threads.Team):
        def __enter__(self):
            super().__enter__()
            sizes.append(self.n_threads)
            return self

    monkeypatch.setattr(cpu, "Team", Team)
    monkeypatch.setattr(cpu_threads, "available_threads", lambda: 4)
    state = known(model, rows)
    for n_available in (4, 2, 1, 4):
        monkeypatch.setattr(cpu_threads, "available_threads", lambda n=n_available: n)
        assert state.holds_for(model, rows)
        np.testing.assert_array_equal(model.predict(rows), expected)
        np.testing.assert_array_equal(model.predict(2 * rows), anew(model, "predict", 2 * rows))
    assert max(sizes) == 3
    assert min(sizes) == 1


def test_objects_that_may_change_are_looked_at_each_time():
    activations = ["relu", "relu"]
    model = BackpropRegressor(**SETTINGS | {"hidden_layer_sizes": (5, 5), "activation": activations}).fit(X, X[:, 0])
    for _ in range(3):
        model.predict(X[:1])
    assert not any(_prediction._own.known.values())
    activations[1] = "tanh"
    np.testing.assert_array_equal(model.predict(X[:1]), anew(model, "predict", X[:1]))


def test_weights_that_a_user_has_set_may_change_in_place():
    model = BackpropRegressor(**SETTINGS).fit(X, X[:, 0])
    model.coefs_ = [coef.copy() for coef in model.coefs_]
    for factor in (1, 1, 1, 2, 0.5):
        model.coefs_[0] *= factor
        np.testing.assert_array_equal(model.predict(X[:1]), anew(model, "predict", X[:1]))


@pytest.mark.parametrize("normalization", [None, "layer"])
def test_a_loaded_model_is_as_quick(normalization):
    fitted = BackpropRegressor(**SETTINGS, normalization=normalization).fit(X, X[:, 0])
    model = pickle.loads(pickle.dumps(fitted))
    for start in range(3):
        np.testing.assert_array_equal(model.predict(X[start : start + 1]), fitted.predict(X)[start : start + 1])
    assert any(_prediction._own.known.values())


def test_models_take_turns_and_are_let_go():
    models = [BackpropRegressor(**SETTINGS, alpha=number).fit(X, X[:, 0]) for number in range(3)]
    for model in models:
        model.predict(X[:1])
        model.predict(X[:1])
    assert sum(map(bool, _prediction._own.known.values())) == 3
    for _ in range(2):
        for model in models:
            np.testing.assert_array_equal(model.predict(X[:1]), anew(model, "predict", X[:1]))
    places = [weakref.ref(model) for model in models]
    del models, model
    gc.collect()
    assert not any(place() for place in places)
    assert not any(_prediction._own.known.values())
    # No more than a few.
    model = BackpropRegressor(**SETTINGS).fit(X, X[:, 0])
    for n_rows in range(1, 50):
        model.predict(X[:n_rows])
        model.predict(X[:n_rows])
    assert len(_prediction._own.known) <= _prediction._MOST_KNOWN


def test_threads_do_not_share_memory():
    model, results = BackpropRegressor(**SETTINGS).fit(X, X[:, 0]), {}
    expected = [model.predict(X[index : index + 1]) for index in range(60)]

    def predict(number):
        results[number] = all(
            np.array_equal(model.predict(X[index : index + 1]), expected[index]) for index in range(60)
        )

    threads = [threading.Thread(target=predict, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert results == dict.fromkeys(range(4), True)
