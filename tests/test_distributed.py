"""Training on several workers: here they are threads of one process, by which all engines are measured."""

import errno
import os
import threading
import time
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupShuffleSplit

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends import mapped
from skbackprop.backends.exchange import join_small, share_bounds
from skbackprop.distributed import FileStore, MemoryStore, PartWriter, fit_part
from skbackprop.exceptions import TrainingWarning, WorkerLostError
from skbackprop.training.collective import ThreadCollective
from skbackprop.training.shuffling import draw_orders_in_blocks

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
    pytest.mark.trains,
]

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = (X_IRIS - X_IRIS.mean(axis=0)) / X_IRIS.std(axis=0)
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
X_DIABETES = X_DIABETES[:150] / X_DIABETES.std(axis=0)
Y_DIABETES = Y_DIABETES[:150]
N_ROWS = len(X_IRIS)
#: Iris is sorted by label: the first workers of the third partitioning have one class each.
PARTITIONINGS = [[75], [10, 11, 140], [50, 50, 100, 149]]


def in_threads(functions):
    """Call functions in a thread each; return their results or exceptions."""
    results = [None] * len(functions)

    def call(index):
        try:
            results[index] = functions[index]()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def fit_in_threads(estimator, parts):
    """Fit the parts, which are tuples of arguments or dicts of them; return what each worker returns or raises."""
    collectives = ThreadCollective.team(len(parts))

    def fit(collective, part):
        try:
            arguments = part if isinstance(part, dict) else dict(zip(("X", "y", "sample_weight"), part, strict=False))
            return fit_part(clone(estimator), collective, **arguments)
        except BaseException:
            collective.leave()
            raise

    return in_threads([lambda pair=pair: fit(*pair) for pair in zip(collectives, parts, strict=True)])


def split(stops, **arrays):
    """Cut arrays at these rows, and return the workers' dicts of them."""
    bounds = [0, *stops, len(next(iter(arrays.values()))) if not sparse.issparse(arrays["X"]) else arrays["X"].shape[0]]
    return [{name: array[first:last] for name, array in arrays.items()} for first, last in pairwise(bounds)]


def fitted(estimator, parts):
    """Return the model of the first worker, which all others have to share."""
    first, *others = fit_in_threads(estimator, parts)
    for result in (first, *others):
        if isinstance(result, BaseException):
            raise result
    for other in others:
        assert_same(first, other, 0.0)
    return first


def assert_same(model, other, tolerance):
    names = "coefs_", "intercepts_", "input_params_", "scales_", "offsets_", "running_means_", "running_variances_"
    for name in (*names, "activation_alphas_"):
        for array, expected in zip(getattr(model, name, ()), getattr(other, name, ()), strict=True):
            np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)
    assert model.n_iter_ == other.n_iter_
    for name in ("loss_curve_", "validation_loss_curve_", "validation_scores_"):
        if getattr(model, name, None) is not None:
            np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=tolerance, atol=tolerance)


rng = np.random.RandomState(0)
WEIGHT = rng.rand(N_ROWS)
WEIGHT[100:] = 0.0
WEIGHT[120] = 1.0
LABELS = np.column_stack([Y_IRIS == 0, Y_IRIS > 0, rng.rand(N_ROWS) > 0.5]).astype(int)
COLUMNS = np.column_stack([Y_IRIS, (Y_IRIS + 1) % 2 + 2])
SETTINGS = {"hidden_layer_sizes": (16, 8), "max_iter": 15, "random_state": 3, "dtype": "float64", "batch_size": N_ROWS}
CLASSIFIER, REGRESSOR = BackpropClassifier(**SETTINGS), BackpropRegressor(**SETTINGS)

FITS = {
    "lbfgs": ("classifier", {"solver": "lbfgs"}, Y_IRIS, None),
    "sgd": ("classifier", {"solver": "sgd", "shuffle": False}, Y_IRIS, None),
    "adam": ("classifier", {}, Y_IRIS, None),
    "text": ("classifier", {}, np.array(["a", "b", "c"])[Y_IRIS], None),
    "two classes": ("classifier", {"output_bias": "prior"}, Y_IRIS > 1, None),
    "labels": ("classifier", {"output_bias": "prior"}, LABELS, None),
    "columns": ("classifier", {"output_bias": "prior", "class_weight": "balanced"}, COLUMNS, None),
    "weights": ("classifier", {"output_bias": "prior"}, Y_IRIS, WEIGHT),
    "weighted classes": ("classifier", {"class_weight": "balanced"}, Y_IRIS // 2, WEIGHT),
    "lbfgs with weights": ("classifier", {"solver": "lbfgs", "class_weight": "balanced"}, Y_IRIS // 2, WEIGHT),
    "penalties": ("classifier", {"l1_ratio": 0.5, "alpha": 0.1, "clip_norm": 0.3, "max_norm": 0.8}, Y_IRIS, None),
    "clipping": ("classifier", {"clip_value": 0.01, "averaging": 0.9, "frozen_layers": (0,)}, Y_IRIS, None),
    "batches": ("classifier", {"normalization": "batch"}, Y_IRIS, None),
    "weighted batches": ("classifier", {"normalization": "batch", "clip_norm": 0.3, "max_norm": 0.8}, Y_IRIS, WEIGHT),
    "batches of numbers": (
        "regressor",
        {"normalization": "batch", "input_layers": "periodic", "solver": "sgd", "standardize_target": True},
        Y_DIABETES,
        None,
    ),
    "layers": ("classifier", {"normalization": "layer", "input_layers": ("scale", "periodic")}, Y_IRIS, None),
    "parametric activations": ("classifier", {"parametric_activation": True, "clip_norm": 0.3}, Y_IRIS, None),
    "numbers": ("regressor", {"standardize_target": True, "output_bias": "prior"}, Y_DIABETES, None),
    "weighted numbers": ("regressor", {"standardize_target": True}, Y_DIABETES, WEIGHT),
    "spread": ("regressor", {"loss": "gaussian_nll", "output_bias": "prior"}, Y_DIABETES / 100, None),
    "lbfgs numbers": ("regressor", {"solver": "lbfgs", "standardize_target": True, "max_iter": 5}, Y_DIABETES, None),
    "constant numbers": ("regressor", {"standardize_target": True}, np.full(N_ROWS, 0.3), None),
}


def cases(name):
    kind, settings, y, weight = FITS[name]
    estimator = clone(CLASSIFIER if kind == "classifier" else REGRESSOR).set_params(**settings)
    data = {"X": X_IRIS if kind == "classifier" else X_DIABETES, "y": y}
    if weight is not None:
        data["sample_weight"] = weight
    return estimator, data


@pytest.mark.parametrize("stops", PARTITIONINGS, ids=str)
@pytest.mark.parametrize("name", FITS)
def test_full_batches_equal_one_machine(name, stops):
    estimator, data = cases(name)
    whole = clone(estimator).fit(**data)
    # A quasi-Newton method scales differences up from iteration to iteration.
    assert_same(fitted(estimator, split(stops, **data)), whole, 1e-9 if estimator.solver == "lbfgs" else 1e-12)


@pytest.mark.parametrize("stops", PARTITIONINGS, ids=str)
def test_loss_and_gradient_of_full_batches_equal_one_machine(stops):
    estimator, data = cases("lbfgs with weights")
    estimator.set_params(max_iter=1, max_fun=1)
    whole = clone(estimator).fit(**data)
    # One step along the gradient.
    assert_same(fitted(estimator, split(stops, **data)), whole, 1e-12)


def test_an_evaluation_of_lbfgs_is_one_sum(monkeypatch):
    n_sums = []

    def count(collective, array, sum_=ThreadCollective.sum):
        if collective.rank == 0:
            n_sums[-1] += 1
        return sum_(collective, array)

    monkeypatch.setattr(ThreadCollective, "sum", count)
    n_iterations = []
    for max_fun in (5, 15):
        n_sums.append(0)
        model = clone(CLASSIFIER).set_params(solver="lbfgs", max_iter=1000, max_fun=max_fun, tol=0.0)
        n_iterations.append(fitted(model, split([50, 100], X=X_IRIS, y=Y_IRIS)).n_iter_)
    assert n_sums[1] - n_sums[0] <= 1.5 * (n_iterations[1] - n_iterations[0])


def test_sparse_rows_equal_one_machine():
    X = sparse.csr_array(np.where(np.abs(X_IRIS) > 0.7, X_IRIS, 0.0))
    whole = clone(CLASSIFIER).fit(X, Y_IRIS)
    assert_same(fitted(CLASSIFIER, split([20, 90], X=X, y=Y_IRIS)), whole, 1e-12)


def test_dropout_equals_one_machine_without_shuffling():
    estimator = clone(CLASSIFIER).set_params(dropout=0.3, shuffle=False)
    whole = clone(estimator).fit(X_IRIS, Y_IRIS)
    assert_same(fitted(estimator, split([20, 90], X=X_IRIS, y=Y_IRIS)), whole, 1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"early_stopping": True}, {"restore_best_weights": True}, {"scoring": "loss"}, {"normalization": "batch"}],
)
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_validation_data_equal_one_machine(kind, settings):
    estimator, data = cases("adam" if kind == "classifier" else "numbers")
    estimator.set_params(**{"early_stopping": True, **settings}, class_weight="balanced") if kind == "classifier" else (
        estimator.set_params(**{"early_stopping": True, **settings})
    )
    rows = np.arange(0, N_ROWS, 3)
    validation = {"X_val": data["X"][rows], "y_val": data["y"][rows], "sample_weight_val": WEIGHT[rows] + 0.1}
    whole = clone(estimator).fit(**data, **validation)
    parts = [
        {**own, **{name: array[first:last] for name, array in validation.items()}}
        for own, (first, last) in zip(split([20, 90], **data), [(0, 0), (0, 30), (30, 50)], strict=True)
    ]
    model = fitted(estimator, parts)
    assert_same(model, whole, 1e-11)
    assert model.best_validation_score_ == pytest.approx(whole.best_validation_score_, rel=1e-11)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_workers_split_off_validation_rows_of_their_own(kind):
    estimator, data = cases("weights" if kind == "classifier" else "weighted numbers")
    estimator.set_params(early_stopping=True, batch_size=20, validation_fraction=0.2)
    model = fitted(estimator, split([1, 60, 140], **data))
    assert len(model.validation_scores_) == model.n_iter_
    assert model.t_ == model.n_iter_ * (N_ROWS - 0 - 12 - 16 - 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"solver": "sgd", "learning_rate": "adaptive"}, {"dropout": 0.2}, {"normalization": "batch"}],
    ids=str,
)
def test_the_same_partitions_give_the_same_bits(dtype, settings):
    estimator = clone(CLASSIFIER).set_params(batch_size=16, dtype=dtype, **settings)
    parts = split([7, 110], X=X_IRIS, y=Y_IRIS)
    model = fitted(estimator, parts)
    for n_jobs in (1, 2, 3):
        assert_same(fitted(estimator.set_params(n_jobs=n_jobs), parts), model, 0.0)


def test_seeds_by_chance_are_shared():
    fitted(clone(CLASSIFIER).set_params(random_state=None, batch_size=20, dropout=0.1), split([30], X=X_IRIS, y=Y_IRIS))


def test_one_worker_is_one_machine():
    estimator = clone(CLASSIFIER).set_params(batch_size=20)
    assert_same(fitted(estimator, split([], X=X_IRIS, y=Y_IRIS)), clone(estimator).fit(X_IRIS, Y_IRIS), 0.0)


@pytest.mark.parametrize("counts", [[3, 0, 100, 41], [5], [25, 25, 25, 25], [0, 1], [1, 10**9, 10**10]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 7, 100, 10**9])
def test_batches_are_shared_out_in_proportion(counts, batch_size):
    if sum(counts) // batch_size > 10_000:
        batch_size *= 10**6
    bounds = np.array([share_bounds(counts, rank, batch_size) for rank in range(len(counts))])
    assert (bounds[:, 0] == 0).all()
    assert bounds[:, -1].tolist() == counts
    assert (np.diff(bounds) >= 0).all()
    assert bounds.shape[1] - 1 == -(-sum(counts) // batch_size)
    stops = np.minimum(np.arange(bounds.shape[1]) * batch_size, sum(counts))
    assert (np.abs(bounds.sum(axis=0) - stops) < len(counts)).all()
    if len(set(counts)) == 1:
        assert (bounds.sum(axis=0) == stops).all()


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_batches_in_which_a_worker_has_no_rows(normalization):
    # The first worker has rows in 2 batches of 30, and the second in almost all.
    estimator = clone(CLASSIFIER).set_params(batch_size=5, learning_rate_init=0.01, normalization=normalization)
    model = fitted(estimator, split([2], X=X_IRIS, y=Y_IRIS))
    assert model.score(X_IRIS, Y_IRIS) > 0.9
    assert model.t_ == 15 * N_ROWS


def test_variances_of_batches_far_from_zero():
    """Deviations from the means are squared and summed, not squares, of which rounding would leave few digits."""
    estimator = clone(CLASSIFIER).set_params(normalization="batch", max_iter=1)
    whole = clone(estimator).fit(X_IRIS + 1e5, Y_IRIS)
    model = fitted(estimator, split([10, 90], X=X_IRIS + 1e5, y=Y_IRIS))
    np.testing.assert_allclose(model.running_variances_[0], whole.running_variances_[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "stops"),
    [
        ([5, 5, 1], [0, 1, 3]),
        ([1, 5, 0, 1, 2], [0, 2, 5]),
        ([0, 1, 1, 4, 0], [0, 3, 5]),
        ([1, 1, 1, 1], [0, 2, 4]),
        ([1, 1], [0, 2]),
        ([3, 2], [0, 1, 2]),
    ],
    ids=str,
)
def test_batches_of_one_row_are_joined_with_others(sizes, stops):
    bounds = np.arange(len(sizes) + 1) * 10
    assert (join_small(bounds, np.array(sizes, dtype=float), 2) == bounds[stops]).all()


@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("stops", [[1], [2, 2, 60], [75]], ids=str)
def test_normalized_batches_have_a_row_or_none_of_a_worker(batch_size, stops):
    estimator = clone(CLASSIFIER).set_params(normalization="batch", batch_size=batch_size)
    model = fitted(estimator, split(stops, X=X_IRIS, y=Y_IRIS))
    assert np.isfinite(model.running_variances_[0]).all()
    assert model.t_ == 15 * N_ROWS
    assert model.loss_ < model.loss_curve_[0]


@pytest.mark.parametrize("stops", [[75], [50, 100]], ids=str)
def test_a_last_row_is_normalized_with_the_batch_before(stops):
    whole = clone(CLASSIFIER).set_params(normalization="batch").fit(X_IRIS, Y_IRIS)
    estimator = clone(whole).set_params(batch_size=N_ROWS - 1)
    assert_same(fitted(estimator, split(stops, X=X_IRIS, y=Y_IRIS)), whole, 1e-12)


def test_normalized_batches_of_one_row_are_refused():
    estimator = clone(CLASSIFIER).set_params(normalization="batch")
    parts = [split([75], X=X_IRIS, y=Y_IRIS), split([1], X=X_IRIS[:1], y=Y_IRIS[:1])]
    for batch_size, own in zip((1, "auto"), parts, strict=True):
        for result in fit_in_threads(estimator.set_params(batch_size=batch_size), own):
            assert isinstance(result, ValueError)
            assert "at least 2 rows" in str(result)


def test_a_worker_without_rows_changes_nothing():
    whole = clone(CLASSIFIER).set_params(class_weight="balanced", output_bias="prior").fit(X_IRIS, Y_IRIS)
    for stops in ([0, 70], [70, 70], [150]):
        assert_same(fitted(whole, split(stops, X=X_IRIS, y=Y_IRIS)), whole, 1e-12)
    estimator = clone(CLASSIFIER).set_params(batch_size=10, early_stopping=True)
    fitted(estimator, split([70, 70], X=X_IRIS, y=Y_IRIS))
    for result in fit_in_threads(CLASSIFIER, split([0], X=X_IRIS[:0], y=Y_IRIS[:0])):
        assert isinstance(result, ValueError)


def test_rows_without_weight():
    # The last worker's weights are all zero, and so are those of some batches of all workers.
    weight = np.where(np.arange(N_ROWS) < 100, 1.0, 0.0)
    estimator = clone(CLASSIFIER).set_params(batch_size=10, shuffle=False)
    model = fitted(estimator, split([100], X=X_IRIS, y=Y_IRIS, sample_weight=weight))
    assert np.isfinite(model.loss_)
    results = fit_in_threads(CLASSIFIER, split([100], X=X_IRIS, y=Y_IRIS, sample_weight=np.zeros(N_ROWS)))
    assert all("zero for every sample of every worker" in str(result) for result in results)


@pytest.mark.parametrize("is_sorted", [False, True])
def test_curves_of_mini_batches_lie_within_the_spread_of_seeds(is_sorted):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    order = np.argsort(y, kind="stable") if is_sorted else np.arange(len(y))
    estimator = BackpropClassifier((32,), batch_size=64, max_iter=20, random_state=0, n_iter_no_change=30)
    curves = np.array([clone(estimator).set_params(random_state=seed).fit(X, y).loss_curve_ for seed in range(10)])
    parts = split([600, 1300], X=X[order], y=y[order])
    curve = np.array(fitted(estimator, parts).loss_curve_)
    # Three standard deviations, as of ten seeds the least and the largest leave out one of eleven in each epoch.
    assert (np.abs(curve - curves.mean(axis=0)) <= 3 * curves.std(axis=0)).all()


def test_a_plateau_and_a_schedule_follow_all_rows():
    estimator = clone(CLASSIFIER).set_params(solver="sgd", learning_rate="cosine", batch_size=25)
    model, whole = fitted(estimator, split([50], X=X_IRIS, y=Y_IRIS)), clone(estimator).fit(X_IRIS, Y_IRIS)
    rates = [[epoch["learning_rate"] for epoch in one.history_] for one in (model, whole)]
    assert rates[0] == rates[1]
    assert model.t_ == whole.t_


def test_a_fit_goes_on_from_fitted_weights():
    estimator = clone(CLASSIFIER).set_params(warm_start=True, shuffle=False)
    whole = clone(estimator).fit(X_IRIS, Y_IRIS)
    collectives = ThreadCollective.team(2)
    models = [clone(estimator).fit(X_IRIS, Y_IRIS) for _ in collectives]
    parts = split([50], X=X_IRIS, y=Y_IRIS)
    in_threads(
        [
            lambda model=model, collective=collective, part=part: fit_part(model, collective, **part)
            for model, collective, part in zip(models, collectives, parts, strict=True)
        ]
    )
    assert_same(models[0], whole.fit(X_IRIS, Y_IRIS), 1e-12)


def refused(estimator, parts):
    """Return the error that is not another worker's."""
    results = fit_in_threads(estimator, parts)
    assert all(isinstance(result, Exception) for result in results)
    return next(result for result in results if not isinstance(result, WorkerLostError))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"X": X_IRIS[:, :3]}, "differ in columns: worker 0 has 4, and worker 1 3"),
        ({"X": X_IRIS.astype(np.float32)}, "dtype of X: worker 0 has float64, and worker 1 float32"),
        ({"X": sparse.csr_array(X_IRIS)}, "kind of X"),
        ({"y": Y_IRIS.astype(str)}, "kind of y"),
        ({"y": LABELS}, "columns of y"),
        ({"sample_weight": np.ones(N_ROWS)}, "sample weight: worker 0 has none"),
        ({"X": np.where(X_IRIS > 2, np.nan, X_IRIS)}, "contains NaN"),
        ({"y": Y_IRIS[:-1]}, "inconsistent numbers of samples"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_data_of_one_worker_that_do_not_fit_are_refused(changes, words):
    data = {"X": X_IRIS, "y": Y_IRIS}
    error = refused(clone(CLASSIFIER).set_params(dtype=None), [data, data | changes])
    assert isinstance(error, ValueError)
    assert words in str(error)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "auto"}, "set device='cpu'"),
        ({"early_stopping": True, "batch_size": 20, "scoring": "accuracy"}, "set scoring=None"),
        ({"early_stopping": True, "validation_fraction": GroupShuffleSplit()}, "set it to a number"),
        ({"hidden_layer_sizes": (5, -1)}, "hidden_layer_sizes must be > 0"),
        ({"alpha": -1.0}, "'alpha' parameter"),
    ],
    ids=str,
)
def test_what_is_for_one_machine_is_refused(settings, words):
    error = refused(clone(CLASSIFIER).set_params(**settings), split([75], X=X_IRIS, y=Y_IRIS))
    assert isinstance(error, ValueError)
    assert words in str(error)


def test_workers_of_other_versions_are_refused(monkeypatch):
    versions = iter(range(100))
    monkeypatch.setattr("skbackprop.distributed._fit.version", lambda name: str(next(versions)))
    error = refused(CLASSIFIER, split([75], X=X_IRIS, y=Y_IRIS))
    assert "differ in versions: worker 0 has skbackprop" in str(error)


class _Leaves(ThreadCollective):
    """A collective whose second worker is lost after some sums."""

    def sum(self, array):
        self.n_sums = getattr(self, "n_sums", 0) + 1
        if self.rank == 1 and self.n_sums == 40:
            raise KeyboardInterrupt
        super().sum(array)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 10},
        {"solver": "lbfgs", "max_iter": 100},
        {"n_jobs": 2},
        {"normalization": "batch", "batch_size": 10},
    ],
    ids=str,
)
def test_a_worker_that_is_lost_in_the_middle_ends_the_training_of_all(settings):
    collectives = _Leaves.team(3)
    estimator = clone(CLASSIFIER).set_params(**{"max_iter": 200, **settings})

    def fit(collective, part):
        model = clone(estimator)
        try:
            return fit_part(model, collective, **part)
        except BaseException:
            collective.leave()
            raise
        finally:
            assert not hasattr(model, "loss_curve_") or len(model.loss_curve_) < 200

    parts = split([40, 90], X=X_IRIS, y=Y_IRIS)
    results = in_threads(
        [
            lambda collective=collective, part=part: fit(collective, part)
            for collective, part in zip(collectives, parts, strict=True)
        ]
    )
    assert isinstance(results[1], KeyboardInterrupt)
    assert isinstance(results[0], WorkerLostError)
    assert isinstance(results[2], WorkerLostError)


class _LeavesAt(ThreadCollective):
    """One whose last worker leaves at the sum `last`; counts the sums."""

    last = np.inf
    n_sums = 0

    def sum(self, array):
        self.n_sums += 1
        if self.rank == self.size - 1 and self.n_sums >= self.last:
            raise KeyboardInterrupt
        super().sum(array)


def attempt(estimator, parts, stores, last=np.inf):
    """Try to fit; return the results, and the number of the first worker's sums."""
    collectives = _LeavesAt.team(len(parts))
    collectives[-1].last = last

    def fit(collective, part, store):
        try:
            return fit_part(clone(estimator), collective, **part, store=store, seconds=0.0)
        except BaseException:
            collective.leave()
            raise

    given = zip(collectives, parts, stores, strict=True)
    return in_threads([lambda own=own: fit(*own) for own in given]), collectives[0].n_sums


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("more", range(7))
def test_a_worker_that_is_lost_at_any_sum_of_a_batch_ends_the_training_of_all(more, n_jobs):
    # Of two normalized layers: two sums each of the forward pass, one each of the backward pass, and one of the gradient.
    estimator = clone(CLASSIFIER).set_params(normalization="batch", n_jobs=n_jobs)
    lost, _ = attempt(estimator, split([40, 90], X=X_IRIS, y=Y_IRIS), [MemoryStore() for _ in range(3)], 50 + more)
    assert [type(result) for result in lost] == [WorkerLostError, WorkerLostError, KeyboardInterrupt]


#: So long that a training has many calls of the kernel, after each of which there may be a checkpoint.
LONG = {"batch_size": 10, "max_iter": 200, "n_iter_no_change": 1000}


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.2, "averaging": 0.99},
        {"shuffle": False, "solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 5, "tol": 1e-3},
        {"early_stopping": True, "learning_rate": "one_cycle", "solver": "adamw"},
        {"normalization": "batch", "early_stopping": True},
    ],
    ids=str,
)
def test_a_training_goes_on_from_the_newest_checkpoint_with_the_same_bits(settings):
    estimator = clone(CLASSIFIER).set_params(**LONG | settings)
    parts = split([40, 90], X=X_IRIS, y=Y_IRIS, sample_weight=np.linspace(0.5, 1.5, N_ROWS))
    (undisturbed, *_), n_sums = attempt(estimator, parts, [MemoryStore() for _ in parts])
    stores = [MemoryStore() for _ in parts]
    lost, _ = attempt(estimator, parts, stores, last=3 * n_sums // 4)
    assert [type(result) for result in lost] == [WorkerLostError, WorkerLostError, KeyboardInterrupt]
    # The one that was lost has lost its checkpoint, too, and another one has none yet.
    stores[2], stores[0] = MemoryStore(), MemoryStore()
    results, n_more = attempt(estimator, parts, stores)
    assert n_more < n_sums // 2
    for model in results:
        assert_same(model, undisturbed, 0.0)
        assert model.loss_curve_ == undisturbed.loss_curve_
        assert model.n_iter_ == undisturbed.n_iter_


def test_a_training_by_chance_goes_on_with_its_own_draws():
    estimator = clone(CLASSIFIER).set_params(**LONG, random_state=None)
    parts = split([40], X=X_IRIS, y=Y_IRIS)
    stores = [MemoryStore(), MemoryStore()]
    attempt(estimator, parts, stores, last=1500)
    content = stores[0].read()
    assert content
    models = []
    for _ in range(2):
        stores[0].write(content)
        stores[1].write(content)
        models += attempt(estimator, parts, stores)[0]
    for model in models:
        assert_same(model, models[0], 0.0)


def _raises(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_a_checkpoint_is_warned_of_and_loses_nothing(tmp_path, monkeypatch):
    estimator = clone(CLASSIFIER).set_params(**LONG)
    parts = split([40], X=X_IRIS, y=Y_IRIS)
    stores = [FileStore(tmp_path / str(rank)) for rank in range(2)]
    (undisturbed, _), n_sums = attempt(estimator, parts, [MemoryStore() for _ in parts])
    attempt(estimator, parts, stores, last=n_sums // 2)
    monkeypatch.setattr(os, "replace", _raises)
    with pytest.warns(UserWarning, match="checkpoint could not be kept .*No space left.*Training goes on"):
        results, _ = attempt(estimator, parts, stores, last=n_sums // 2)
    assert isinstance(results[0], WorkerLostError)
    with pytest.warns(UserWarning, match="checkpoint could not be kept"):
        results, n_more = attempt(estimator, parts, stores)
    assert n_more < n_sums
    assert_same(results[0], undisturbed, 0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    for store in stores:
        store.remove()
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="checkpoint could not be kept"):
        results, _ = attempt(estimator, parts, [FileStore(tmp_path / "nowhere" / "0"), MemoryStore()])
    assert_same(results[0], undisturbed, 0.0)


def test_a_file_that_is_no_checkpoint_is_left_out(tmp_path):
    estimator = clone(CLASSIFIER).set_params(**LONG | {"max_iter": 2})
    parts = split([40], X=X_IRIS, y=Y_IRIS)
    path = tmp_path / "store"
    path.write_bytes(b"no checkpoint")
    results, _ = attempt(estimator, parts, [FileStore(path), MemoryStore()])
    assert_same(results[0], fitted(estimator, parts), 0.0)


def test_divergence_is_seen_by_all():
    estimator = clone(REGRESSOR).set_params(solver="sgd", learning_rate_init=1e6, batch_size=10)
    for result in fit_in_threads(estimator, split([3, 60], X=X_DIABETES, y=Y_DIABETES)):
        assert isinstance(result, ValueError)
        assert "no longer finite" in str(result)


def test_warnings_are_those_of_one_machine():
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        fitted(CLASSIFIER, split([75], X=X_IRIS, y=Y_IRIS))
    with pytest.warns(TrainingWarning, match="badly scaled|scale"):
        fitted(CLASSIFIER, split([75], X=X_IRIS * [1, 1, 1e6, 1], y=Y_IRIS))


# Rows on disk.


def on_disk(folder, part, n_partitions=3, **settings):
    """Write a worker's part to disk, and return its arguments."""
    with closing(PartWriter(folder, BackpropClassifier(**settings))) as writer:
        for suffix in ("", "_val"):
            if f"X{suffix}" in part:
                own = [np.array_split(part[f"{name}{suffix}"], n_partitions) for name in ("X", "y", "sample_weight")]
                for one in zip(*own, strict=True):
                    writer.append(*one, suffix)
        return {name: own[0] if name.startswith("X") else np.concatenate(own) for name, own in writer.parts().items()}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 3 rows of the four columns of iris, in windows of 12 rows, none of which stays mapped for long."""
    monkeypatch.setattr(mapped, "_BLOCK_BYTES", 3 * 4 * 8)
    monkeypatch.setattr(mapped, "_WINDOW_BLOCKS", 4)
    monkeypatch.setattr(mapped, "_MOST_BYTES", 0)


def in_blocks(order, n_epochs, random_state):
    """Draw orders as for rows on disk."""
    return draw_orders_in_blocks(np.sort(order), n_epochs, random_state, 3, 12)


@pytest.mark.parametrize("stops", [[75], [10, 11, 140]])
@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 20, "early_stopping": True},
        {"batch_size": 20, "early_stopping": True, "normalization": "batch"},
        {"solver": "lbfgs"},
    ],
    ids=["batches", "normalized", "lbfgs"],
)
def test_rows_on_disk_give_the_bits_of_memory(small_blocks, monkeypatch, tmp_path, stops, settings):
    estimator = BackpropClassifier((5,), max_iter=6, random_state=0, **settings)
    arrays = {"X": X_IRIS, "y": Y_IRIS, "sample_weight": np.linspace(0.5, 1.0, N_ROWS)}
    if "early_stopping" in settings:
        arrays |= {f"{name}_val": own for name, own in arrays.items()}
    parts = split(stops, **arrays)
    model = fitted(estimator, [on_disk(tmp_path, part) for part in parts])
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("skbackprop.estimators._fit.draw_orders", in_blocks)
    assert_same(model, fitted(estimator, parts), 0.0)


def test_rows_on_the_disk_of_a_single_worker(small_blocks, tmp_path):
    estimator = BackpropClassifier((5,), max_iter=6, random_state=0, solver="lbfgs")
    part = {"X": X_IRIS, "y": Y_IRIS, "sample_weight": np.ones(N_ROWS)}
    assert_same(fitted(estimator, [on_disk(tmp_path, part)]), estimator.fit(**part), 1e-12)


def test_rows_on_disk_are_split_for_early_stopping_without_a_copy(small_blocks, tmp_path):
    settings = {"early_stopping": True, "batch_size": 20, "max_iter": 4, "random_state": 0, "class_weight": "balanced"}
    parts = split([75], X=X_IRIS, y=Y_IRIS, sample_weight=np.ones(N_ROWS))
    estimator = BackpropClassifier((5,), **settings)
    model = fitted(estimator, [on_disk(tmp_path, part) for part in parts])
    assert_same(model, fitted(estimator, [on_disk(tmp_path, part) for part in parts]), 0.0)
    # The split is that in memory, whose order of rows differs.
    in_memory = fitted(estimator, parts)
    assert model.n_iter_ == in_memory.n_iter_
    np.testing.assert_allclose(model.validation_loss_curve_, in_memory.validation_loss_curve_, rtol=0.05)


def test_a_worker_without_rows_on_its_disk(small_blocks, tmp_path):
    parts = split([0], X=X_IRIS, y=Y_IRIS, sample_weight=np.ones(N_ROWS))
    estimator = BackpropClassifier((5,), max_iter=5, random_state=0, solver="lbfgs")
    assert_same(fitted(estimator, [on_disk(tmp_path, part) for part in parts]), fitted(estimator, parts), 0.0)


def test_rows_are_written_in_the_dtype_of_the_network(tmp_path):
    numbers = X_IRIS.astype("float32")
    written = [
        on_disk(tmp_path, {"X": X, "y": Y_IRIS, "sample_weight": Y_IRIS}, **settings)["X"].dtype
        for X in (numbers, X_IRIS, np.round(X_IRIS).astype(int))
        for settings in ({}, {"dtype": "float32"}, {"dtype": "float64"})
    ]
    assert written == ["float32", "float32", "float64"] + ["float64", "float32", "float64"] * 2
    with closing(PartWriter(tmp_path, BackpropClassifier(), np.dtype("float32"))) as writer:
        writer.append(X_IRIS, Y_IRIS)
        assert writer.parts()["X"][0].dtype == "float32"
    with closing(PartWriter(tmp_path, BackpropClassifier())) as writer:
        writer.append(numbers, Y_IRIS)
        with pytest.raises(ValueError, match="numbers of float64, and those before it of float32"):
            writer.append(X_IRIS, Y_IRIS)
        writer.append(X_IRIS, Y_IRIS, suffix="_val")
        assert writer.parts()["X_val"][0].dtype == "float32"


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    def is_full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("skbackprop.distributed._disk.uncache", is_full)
    with (
        closing(PartWriter(tmp_path, BackpropClassifier())) as writer,
        pytest.raises(
            OSError, match=r"external_memory=True could not write rows to .*No space left.* make space there"
        ),
    ):
        writer.append(X_IRIS, Y_IRIS)


@pytest.mark.skipif(np.isnan(mapped._mapped_bytes()), reason="the system does not say how much is mapped")
def test_no_more_rows_stay_mapped_than_are_to(monkeypatch, tmp_path):
    monkeypatch.setattr(mapped, "_MOST_BYTES", 1 << 22)
    with closing(PartWriter(tmp_path, BackpropClassifier())) as writer:
        for _ in range(4):
            writer.append(np.ones((4096, 512)), np.zeros(4096))
        (rows,) = writer.parts()["X"]
    before = mapped._mapped_bytes()
    with rows:
        mapped_rows = rows.as_rows(np.float64).mapped
        clock = np.zeros(1, dtype=np.int64)
        mapped_rows.follow(np.arange(len(rows)), clock)
        assert mapped_rows.array.sum() == rows.shape[0] * rows.shape[1]
        for _ in range(500):
            if mapped._mapped_bytes() < before + (1 << 23):
                break
            time.sleep(0.01)
        assert mapped._mapped_bytes() < before + (1 << 23)
        np.testing.assert_array_equal(rows[:3], np.ones((3, 512)))
    assert not [thread for thread in threading.enumerate() if thread.name == "skbackprop-rows"]
