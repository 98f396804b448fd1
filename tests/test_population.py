"""Trainings at the same time, on data so small that interpreted kernels can do it, too."""

import threading
from contextlib import nullcontext

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import model_selection
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skbackprop import BackpropClassifier, BackpropEnsembleClassifier, BackpropEnsembleRegressor, BackpropRegressor
from skbackprop import model_selection as ours
from skbackprop.backends import together
from skbackprop.backends.cpu.threads import Team, available_threads
from skbackprop.backends.data import as_rows
from skbackprop.backends.together import Gathering, Interrupted, Share
from skbackprop.estimators._shared import SharedRows
from skbackprop.training.population import PopulationBackend, population

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::skbackprop.exceptions.TrainingWarning"
)

NETWORK = BackpropClassifier((2,), max_iter=1, batch_size=4, random_state=0)


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 3)), np.arange(24) % 2


@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.3}, {"early_stopping": True, "validation_fraction": 0.5}], ids=str
)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_a_search(data, settings, convert):
    X, y = convert(data[0]), data[1]
    grid = {"alpha": [1e-4, 1.0]}
    estimator = NETWORK.set_params(**{"dropout": 0.0, "early_stopping": False, **settings})
    own, theirs = (
        module.GridSearchCV(estimator, grid, cv=2, n_jobs=n_jobs).fit(X, y)
        for module, n_jobs in ((ours, 2), (model_selection, 1))
    )
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(own.predict(X), theirs.predict(X))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_pipeline_of_which_a_step_cannot_be_hashed(data, n_jobs):
    halve = FunctionTransformer(lambda X: X / 2)
    model = make_pipeline(StandardScaler(), halve, NETWORK)
    grid = {"backpropclassifier__alpha": [1e-4, 1.0]}
    own = ours.GridSearchCV(model, grid, cv=2, n_jobs=n_jobs).fit(*data)
    theirs = model_selection.GridSearchCV(model, grid, cv=2).fit(*data)
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_functions(data):
    model = make_pipeline(StandardScaler(), NETWORK)
    result = ours.cross_validate(model, *data, cv=2, return_estimator=True)
    assert [fitted.memory for fitted in result["estimator"]] == [None, None]
    np.testing.assert_array_equal(result["test_score"], model_selection.cross_val_score(model, *data, cv=2))
    assert ours.seed_scores(model, *data, n_seeds=2, cv=2).shape == (2, 2)
    with pytest.raises(ValueError, match="n_splits"):
        ours.cross_val_score(NETWORK, *data, cv=1)


class Splits(KFold):
    """A splitter that is not scikit-learn's."""


class Looks:
    """A callback that may look at the data."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, X):
        assert X is None or type(X) is np.ndarray


def test_what_the_user_wrote_gets_the_users_data(data):
    X, y = data

    class Checks(Splits):
        def split(self, X, y=None, groups=None):
            assert type(X) is np.ndarray
            return super().split(X, y, groups)

    def scorer(estimator, X, y):
        assert type(X) is np.ndarray
        return 0.0

    ours.cross_val_score(NETWORK, X, y, cv=Checks(2))
    ours.cross_val_score(NETWORK, X, y, cv=2, scoring=scorer)
    ours.GridSearchCV(NETWORK, {"alpha": [1.0]}, cv=2, scoring={"a": scorer}, refit="a").fit(X, y)
    ours.GridSearchCV(NETWORK, {"alpha": [1.0]}, cv=2).set_callbacks(Looks()).fit(X, y)
    ours.cross_val_score(LogisticRegression(), X, y, cv=2)


def test_ensembles(data):
    X, y = data
    ensemble = BackpropEnsembleClassifier(NETWORK, 2, bootstrap=True, random_state=0).fit(X, y)
    assert ensemble.predict_spread(X).shape == (24, 2)
    np.testing.assert_array_equal(ensemble.predict(X), ensemble.classes_[ensemble.predict_proba(X).argmax(axis=1)])
    network = BackpropRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0)
    assert BackpropEnsembleRegressor(network, 2).fit(X, X[:, 0]).predict_spread(X).shape == (24,)
    assert isinstance(BackpropEnsembleClassifier()._get_estimator(), BackpropClassifier)
    assert isinstance(BackpropEnsembleRegressor()._get_estimator(), BackpropRegressor)


def test_selected_rows(rng):
    X = rng.normal(size=(6, 3)) * (rng.random((6, 3)) < 0.5)
    index = np.array([4, 1, 1])
    for table in (X, sparse.csr_array(X)):
        rows = as_rows(table, np.float64).selected(index)
        assert rows.shape == (3, 3)
        assert rows.gathered().shape == (3, 3)
        assert rows.selected(np.array([0, 2])).index.tolist() == [4, 1]
        assert rows.spread(np.array([1.0, 2.0, 2.0])).tolist() == [0, 2, 0, 0, 1, 0]
        assert rows.places(np.array([0, 1])).tolist() == [4, 1]
    np.testing.assert_array_equal(as_rows(X, np.float64).selected(index).gathered().X, X[index])


def test_targets_of_shared_rows_are_encoded_once_for_equal_ones_only(data):
    X, y = data
    rows = SharedRows(X)[np.arange(len(y))]
    first, again = clone(NETWORK).fit(rows, y), clone(NETWORK).fit(rows, y.copy())
    np.testing.assert_array_equal(first.coefs_[0], again.coefs_[0])
    assert first.classes_ is not again.classes_
    first.classes_[:] = 0
    np.testing.assert_array_equal(clone(NETWORK).fit(rows, y).classes_, np.unique(y))

    for other in (np.roll(y, 1), y + 5, (y > 0).astype(int), y.astype(float), y.astype(str), np.column_stack([y, y])):
        own, plain = (clone(NETWORK).fit(given, other) for given in (rows, X))
        np.testing.assert_array_equal(own.coefs_[0], plain.coefs_[0])
        np.testing.assert_array_equal(own.classes_, plain.classes_)
    changed = y.copy()
    clone(NETWORK).fit(rows, changed)
    changed[:] = changed[::-1].copy()
    # Whoever passed the first ones may have changed them since.
    for targets in (y, changed):
        own, plain = (clone(NETWORK).fit(given, targets) for given in (rows, X))
        np.testing.assert_array_equal(own.coefs_[0], plain.coefs_[0])


def test_shared_rows_are_data_to_numpy(data):
    shared = SharedRows(data[0])
    fold = np.array([3, 5, 7])
    np.testing.assert_array_equal(np.asarray(shared[fold]), data[0][fold])
    np.testing.assert_array_equal(shared[fold][[0, 2]], data[0][[3, 7]])
    assert len(shared[fold]) == 3
    assert shared[fold].dtype == np.float64
    with pytest.raises(ValueError, match="expecting 3 features"):
        SharedRows(data[0][:, :2]).validate(NETWORK.fit(*data), np.dtype(float), reset=False)


def test_backend_counts_jobs():
    backend = PopulationBackend()
    n_cores = available_threads()
    assert backend.effective_n_jobs(None) == backend.effective_n_jobs(-1) == n_cores
    assert backend.effective_n_jobs(-2) == max(1, n_cores - 1)
    assert backend.effective_n_jobs(5) == 5
    with pytest.raises(ValueError, match="n_jobs == 0"):
        backend.effective_n_jobs(0)


def test_tasks_of_joblib_itself():
    squares = [joblib.delayed(pow)(i, 2) for i in range(5)]
    names = set()

    def call(function, *arguments):
        names.add(threading.current_thread().name)
        return function(*arguments)

    for backend, n_jobs, called_in in (
        (None, 2, "skbackprop"),
        (None, 1, "MainThread"),
        ("threading", 2, "Thread-"),
        ("threading", 1, "MainThread"),
        ("sequential", 2, "MainThread"),
        ("multiprocessing", 1, None),
    ):
        names.clear()
        with joblib.parallel_config(backend) if backend else nullcontext(), population(call=call):
            assert joblib.Parallel(n_jobs=n_jobs)(squares) == [0, 1, 4, 9, 16]
        assert all(name.startswith(called_in) for name in names)
        assert bool(names) == (called_in is not None)


def test_stopped_threads_run_no_kernel():
    share, raised = Share(1), []

    def work():
        share.enter()
        assert available_threads() == 1
        with Team(1, 0, 0) as team:
            team.run(lambda *arguments: None)
            for stopping in (lambda *arguments: share.stop(), lambda *arguments: raised.append("ran")):
                try:
                    team.run(stopping)
                except Interrupted:
                    raised.append("stopped")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == ["stopped", "stopped"]


def test_progress(data, capsys):
    pytest.importorskip("rich")
    ours.GridSearchCV(NETWORK, {"alpha": [1.0]}, cv=2).set_callbacks(ProgressBar()).fit(*data)
    assert "GridSearchCV" in capsys.readouterr().out


def ask_at_once(gathering, n_threads, answer, end=lambda: None):
    """What each of some threads is told: the number of requests that were answered with its own, or its error."""
    told = []

    def work():
        request = []
        try:
            gathering.ask(request, answer)
            told.append(request[0])
        except BaseException as error:
            told.append(type(error))
        end()

    workers = [threading.Thread(target=work) for _ in range(n_threads)]
    for _ in workers:
        gathering.begin()
    for worker in workers:
        worker.start()
    return workers, told


def count_requests(requests):
    for request in requests:
        request.append(len(requests))


def test_requests_are_answered_together(monkeypatch):
    monkeypatch.setattr(together, "_PATIENCE_SECONDS", 60.0)
    gathering = Gathering(n_members=3)
    gathering.hold()
    workers, told = ask_at_once(gathering, 3, count_requests)
    gathering.begin()  # one for which there is no thread
    gathering.release()
    for worker in workers:
        worker.join()
    assert told == [3, 3, 3]
    for _ in range(2):
        gathering.end()
    # Two are left, of which one fails before it asks.
    workers, told = ask_at_once(gathering, 1, count_requests)
    gathering.end()
    gathering.end()
    workers[0].join()
    assert told == [1]
    gathering.stop()
    with pytest.raises(Interrupted):
        gathering.ask([], count_requests)


def test_nobody_waits_for_a_thread_that_waits_for_it():
    """Nor for one that takes long."""
    gathering = Gathering(n_members=2)
    lock = threading.Lock()
    lock.acquire()
    workers, told = ask_at_once(gathering, 1, count_requests, lock.release)
    gathering.begin()
    with lock:
        assert told == [1]
    workers[0].join()
    gathering.stop()


def test_errors_of_an_answer_and_the_end_of_waiting(monkeypatch):
    monkeypatch.setattr(together, "_PATIENCE_SECONDS", 60.0)

    def fails(requests):
        raise MemoryError("no room")

    gathering = Gathering(n_members=3)
    workers, told = ask_at_once(gathering, 2, fails)
    for worker in workers:
        worker.join()
    assert told == [MemoryError, MemoryError]
    gathering.begin()
    workers, told = ask_at_once(gathering, 1, count_requests)
    while not gathering._waiting:
        pass
    gathering.stop()
    workers[0].join()
    assert told == [Interrupted]


def test_cores_are_for_those_who_compute():
    share = Share(1, n_members=3, n_cores=1)
    with share.core():
        waits = threading.Thread(target=lambda: share.core().__enter__())
        waits.start()
        waits.join(0.05)
        assert waits.is_alive()
        share.leave_core()
        waits.join()
    share.stop()
    with pytest.raises(Interrupted):
        share.check()
