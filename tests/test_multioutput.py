"""Several columns of classes."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_sample_weight

from skbackprop import BackpropClassifier
from skbackprop.backends import cpu
from skbackprop.backends.data import as_rows
from skbackprop.functions import LogLoss
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.penalties import Penalties
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_raw_predict

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, DIGITS = load_digits(return_X_y=True)
X = X[:600] / 16
Y = np.column_stack([DIGITS[:600], DIGITS[:600] % 3, DIGITS[:600] > 4])
NAMES = np.column_stack([np.array(["zero", "one", "two"])[Y[:, 1]], np.array(["low", "high"])[Y[:, 2]]])


def make(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (30,), "max_iter": 40, "random_state": 0, **settings})


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient(smoothing, rng):
    counts = (3, 2, 4)
    network = Network((5, 6, 9), (ACTIVATIONS.get_key("tanh"),), LogLoss(smoothing).for_outputs(counts).key())
    params = rng.standard_normal(network.n_params)
    data = rng.standard_normal((20, 5))
    codes = np.column_stack([rng.integers(0, count, 20) for count in counts]).astype(float)

    def loss(values):
        total, start = 0.0, 0
        for column, count in enumerate(counts):
            z = reference_raw_predict(network, values, data)[:, start : start + count]
            log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            wanted = np.eye(count)[codes[:, column].astype(int)] * (1 - smoothing) + smoothing / count
            total -= (wanted * log_p).sum()
            start += count
        return total / 20

    rows = as_rows(data, np.dtype(float))
    with cpu.Session(network, np.dtype(float), rows, codes, None, 20, 20, 1, Penalties()) as session:
        value, gradient = session.loss_gradient(np.arange(20), params)
    assert value == pytest.approx(loss(params), rel=1e-12)
    np.testing.assert_allclose(gradient, numerical_gradient(loss, params), rtol=1e-5, atol=1e-8)


def test_predictions_of_each_column():
    model = make(learning_rate_init=0.01).fit(X, Y)
    assert [len(classes) for classes in model.classes_] == [10, 3, 2]
    predicted = model.predict(X)
    assert predicted.shape == Y.shape
    probabilities = model.predict_proba(X)
    for column, (classes, part) in enumerate(zip(model.classes_, probabilities, strict=True)):
        np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(classes[part.argmax(axis=1)], predicted[:, column])
        assert (predicted[:, column] == Y[:, column]).mean() > 0.95
    for logs, part, scores in zip(model.predict_log_proba(X), probabilities, model.decision_function(X), strict=True):
        np.testing.assert_allclose(np.exp(logs), part)
        np.testing.assert_array_equal(scores.argmax(axis=1), part.argmax(axis=1))
    assert model.score(X, Y) == (predicted == Y).all(axis=1).mean()


def test_one_column_is_what_it_was():
    """A column's gradient does not depend on the others, apart from the layers that they share."""
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 10.0, "max_iter": 2000, "tol": 1e-9}
    alone, together = make(**settings).fit(X, Y[:, 1]), make(**settings).fit(X, Y)
    np.testing.assert_allclose(together.predict_proba(X)[1], alone.predict_proba(X), atol=1e-3)


def test_labels_may_be_words():
    codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in NAMES.T])
    words, numbers = make(max_iter=5).fit(X, NAMES), make(max_iter=5).fit(X, codes)
    for column, predicted in zip(words.classes_, numbers.predict(X).T, strict=True):
        assert len(np.unique(predicted)) == len(column)
    expected = [classes[column] for classes, column in zip(words.classes_, numbers.predict(X).T, strict=True)]
    np.testing.assert_array_equal(words.predict(X), np.column_stack(expected))
    assert [list(classes) for classes in words.classes_] == [["one", "two", "zero"], ["high", "low"]]


@pytest.mark.parametrize("class_weight", ["balanced", [dict.fromkeys(range(10), 1.0), {0: 2.0}, {1: 3.0}]])
def test_class_weights_stand_for_weights_of_rows(class_weight):
    settings = {"max_iter": 3, "batch_size": 100, "shuffle": False}
    rows = compute_sample_weight(class_weight, Y)
    model, expected = make(class_weight=class_weight, **settings).fit(X, Y), make(**settings).fit(X, Y, rows)
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-9)
    assert np.abs(model.coefs_[0] - make(**settings).fit(X, Y).coefs_[0]).max() > 1e-3


def test_validation_data_and_searches():
    stopped = make(early_stopping=True).fit(X[:400], Y[:400], X_val=X[400:], y_val=Y[400:])
    assert stopped.best_validation_score_ == pytest.approx(stopped.score(X[400:], Y[400:]))
    search = GridSearchCV(make(learning_rate_init=0.01), {"alpha": [1e-4, 1e4]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"alpha": 1e-4}


def test_partial_fit():
    classes = [np.arange(10), np.arange(3), np.arange(2)]
    model = make().partial_fit(X[:50], Y[:50], classes=classes)
    before = model.score(X, Y)
    for _ in range(60):
        model.partial_fit(X, Y)
    assert model.score(X, Y) > before
    with pytest.raises(ValueError, match=r"column 0 of y has classes \[77\]"):
        model.partial_fit(X[:3], np.array([[77, 0, 0]] * 3))


def test_errors():
    with pytest.raises(ValueError, match="loss='hinge' is for one column of classes"):
        make(loss="hinge").fit(X, Y)
    for n_columns in (32, 33):
        with pytest.raises(ValueError, match=f"y has {n_columns} columns of classes; at most 31 are supported"):
            make().fit(X, np.column_stack([DIGITS[:600]] * n_columns))
    with pytest.raises(ValueError, match="3 columns of classes"):
        make(early_stopping=True).fit(X, Y, X_val=X, y_val=Y[:, :2])
