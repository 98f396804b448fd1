"""`class_weight`: scikit-learn's meaning, and the same model as the rows' weights it stands for."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.class_weight import compute_sample_weight

from skbackprop import BackpropClassifier
from skbackprop.estimators._class_weight import class_factors, weigh_rows
from skbackprop.estimators._validation import random_split

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y_BINARY = np.array(["no", "yes"])[(X[:, 0] + 0.5 * RNG.standard_normal(60) > 0.8).astype(int)]
Y_MULTICLASS = np.digitize(X[:, 0] + 0.5 * RNG.standard_normal(60), [-0.5, 1.0]) * 10
Y_MULTILABEL = (X[:, :2] > 0.5).astype(int)
WEIGHT = RNG.integers(0, 3, 60).astype(float)

PROBLEMS = {
    "binary": (Y_BINARY, {"yes": 3.0, "no": 0.5}),
    "left out": (Y_BINARY, {"yes": 3.0}),
    "multiclass": (Y_MULTICLASS, {0: 2.0, 10: 1.0, 20: 0.0}),
    "multilabel": (Y_MULTILABEL, [{0: 1.0, 1: 4.0}, {0: 0.5, 1: 2.0}]),
    "balanced binary": (Y_BINARY, "balanced"),
    "balanced multiclass": (Y_MULTICLASS, "balanced"),
    "balanced multilabel": (Y_MULTILABEL, "balanced"),
}


def classifier(**settings):
    """Batches of all rows: an update does not depend on the order of the rows or on how often one is given."""
    settings = {"hidden_layer_sizes": (5,), "max_iter": 6, "shuffle": False, "random_state": 0, **settings}
    return BackpropClassifier(**{"batch_size": len(X), "learning_rate_init": 0.05, **settings})


def assert_same_model(model, reference, rtol=1e-9):
    for own, other in zip(model.coefs_, reference.coefs_, strict=True):
        np.testing.assert_allclose(own, other, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_stands_for_weights_of_rows(name, solver):
    y, class_weight = PROBLEMS[name]
    rows = compute_sample_weight(class_weight, y)
    assert len(np.unique(rows)) > 1
    model = classifier(class_weight=class_weight, solver=solver).fit(X, y)
    assert_same_model(model, classifier(solver=solver).fit(X, y, rows))
    assert not np.allclose(model.coefs_[0], classifier(solver=solver).fit(X, y).coefs_[0])


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_weight_two_is_a_row_twice(name, solver):
    y, class_weight = PROBLEMS[name]
    times = WEIGHT.astype(int)
    weighted = classifier(class_weight=class_weight, solver=solver).fit(X, y, WEIGHT)
    repeated = classifier(class_weight=class_weight, solver=solver, batch_size=times.sum())
    assert_same_model(weighted, repeated.fit(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0)))


def test_factors_multiply_weights_of_samples():
    rows = compute_sample_weight({"yes": 3.0}, Y_BINARY)
    model = classifier(class_weight={"yes": 3.0}).fit(X, Y_BINARY, WEIGHT)
    assert_same_model(model, classifier().fit(X, Y_BINARY, WEIGHT * rows))


def test_balanced_counts_only_rows_of_some_weight():
    weights = np.where(Y_MULTICLASS == 20, 0.0, 1.0)
    factors = class_factors("balanced", [np.arange(3)], Y_MULTICLASS[:, np.newaxis] // 10, weights)
    assert np.isfinite(factors[0]).all()
    counts = np.bincount(Y_MULTICLASS // 10)[:2]
    np.testing.assert_allclose(factors[0][:2], counts.sum() / (2 * counts))


def test_sparse_indicator():
    settings = {"class_weight": PROBLEMS["multilabel"][1]}
    dense = classifier(**settings).fit(X, Y_MULTILABEL)
    assert_same_model(classifier(**settings).fit(X, sparse.csr_array(Y_MULTILABEL)), dense, rtol=0)


def test_strings_of_digits_are_labels_like_any_other():
    y = np.where(Y_BINARY == "yes", "1", "0")
    rows = np.where(y == "1", 4.0, 1.0)
    assert_same_model(classifier(class_weight={"1": 4.0}).fit(X, y), classifier().fit(X, y, rows))


def test_keeps_the_models_dtype():
    model = classifier(class_weight="balanced").fit(X.astype(np.float32), Y_BINARY, WEIGHT)
    assert model.coefs_[0].dtype == np.float32
    assert weigh_rows([np.ones(2)], np.zeros((3, 1)), None, np.dtype(np.float32)).dtype == np.float32


def test_partial_fit_uses_factors_also_where_a_class_is_missing():
    only = Y_BINARY == "no"
    class_weight = {"no": 0.5, "yes": 3.0}
    model, reference = classifier(class_weight=class_weight, batch_size="auto"), classifier(batch_size="auto")
    for rows in (np.full(60, True), only):
        weights = compute_sample_weight({"no": 0.5, "yes": 3.0}, Y_BINARY)[rows]
        model.partial_fit(X[rows], Y_BINARY[rows], classes=["no", "yes"])
        reference.partial_fit(X[rows], Y_BINARY[rows], weights, classes=["no", "yes"])
    assert_same_model(model, reference)


def test_partial_fit_refuses_balanced():
    with pytest.raises(ValueError, match=r"'balanced' is not supported for partial_fit.*compute_class_weight"):
        classifier(class_weight="balanced").partial_fit(X, Y_BINARY, classes=["no", "yes"])


def test_partial_fit_of_a_batch_without_weight_changes_nothing():
    model = classifier(class_weight={"no": 0.0}, batch_size="auto").partial_fit(X, Y_BINARY, classes=["no", "yes"])
    before = model.coefs_[0].copy()
    model.partial_fit(X[Y_BINARY == "no"], Y_BINARY[Y_BINARY == "no"])
    np.testing.assert_array_equal(model.coefs_[0], before)


def test_accuracy_of_early_stopping_uses_it():
    settings = {"early_stopping": True, "validation_fraction": 0.4, "batch_size": 20, "max_iter": 10}
    model = classifier(class_weight={"no": 9.0}, **settings).fit(X, Y_BINARY)
    random_state = np.random.RandomState(0)
    random_state.uniform(size=model.coefs_[0].base.size)  # the initial weights are drawn before the split
    rows = random_split(model._targets, (Y_BINARY == "yes")[:, np.newaxis], model.validation_fraction, random_state)[1]
    weights = compute_sample_weight({"no": 9.0}, Y_BINARY[rows])
    assert model.best_validation_score_ == pytest.approx(model.score(X[rows], Y_BINARY[rows], weights))
    assert model.best_validation_score_ != pytest.approx(model.score(X[rows], Y_BINARY[rows]))


def test_early_stopping_does_not_give_up_a_rare_class():
    rng = np.random.default_rng(3)
    data = rng.standard_normal((800, 2))
    y = (data[:, 0] + rng.standard_normal(800) > 2).astype(int)
    assert y.mean() < 0.1
    settings = {"early_stopping": True, "validation_fraction": 0.3, "batch_size": 40, "max_iter": 60}
    settings |= {"class_weight": "balanced", "random_state": 3, "learning_rate_init": 0.02, "shuffle": True}
    # By plain accuracy the best epoch is one that leaves the rare class out.
    assert classifier(**settings, scoring="accuracy").fit(data, y).predict(data).sum() == 0
    assert classifier(**settings).fit(data, y).predict(data).mean() > 0.2


@pytest.mark.parametrize(
    ("class_weight", "y", "message"),
    [
        ("balance", Y_BINARY, "class_weight"),
        ({"yes": -1.0}, Y_BINARY, "class_weight must be non-negative, got {'yes': -1.0}"),
        *(
            (
                {"yes": weight},
                Y_BINARY,
                r"class_weight must be non-negative, got {'yes': .*}: give each class a finite number",
            )
            for weight in (np.nan, np.inf, None, "2")
        ),
        ({"Yes": 2.0, "no": 1.0}, Y_BINARY, r"The classes, \['yes'\], are not in class_weight, whose keys \['Yes'\]"),
        ({"yes": 0.0, "no": 0.0}, Y_BINARY, "class_weight leaves no sample a weight"),
        ([{"yes": 2.0}], Y_BINARY, "For one column of labels, class_weight should be a dict"),
        ({0: 1.0, 1: 2.0}, Y_MULTILABEL, "list of dicts, or the string 'balanced'"),
        ([{0: 1.0}], Y_MULTILABEL, r"Got 1 element\(s\) while having 2 outputs"),
    ],
)
def test_errors(class_weight, y, message):
    with pytest.raises(ValueError, match=message):
        classifier(class_weight=class_weight).fit(X, y)
