"""Searches on a device: networks that are trained in one launch have the bits of those that are trained alone."""

import threading
import time

import numpy as np
import pytest
from scipy import sparse
from sklearn import model_selection
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEnsembleClassifier
from skbackprop import model_selection as ours
from skbackprop._compile import SIMULATED
from skbackprop.backends import memory_limit, together
from skbackprop.backends.cpu.threads import available_threads
from skbackprop.training.population import PopulationBackend, models_at_a_time

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(not SIMULATED, reason="counts launches in the simulator"),
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::skbackprop.exceptions.TrainingWarning"
    ),
]


def network(**settings):
    defaults = {"hidden_layer_sizes": (2,), "max_iter": 1, "batch_size": 5, "random_state": 0, "device": "cuda"}
    return BackpropClassifier(**{**defaults, **settings})


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 2)), np.arange(12) % 2


@pytest.fixture
def launches(monkeypatch):
    """The number of networks in each launch, and the rows that were uploaded; nobody is left behind for being slow."""
    from skbackprop.backends.cuda import population, session

    monkeypatch.setattr(together, "_PATIENCE_SECONDS", 60.0)
    counts = []
    launch, upload = population.Launches._launch, session._upload_rows

    def counted(self, requests):
        counts.append(len(requests))
        counts.n_bytes = requests[0].n_bytes()
        launch(self, requests)

    def uploaded(device, rows):
        counts.uploads += rows.X.size > 0 or rows.data.size > 0
        return upload(device, rows)

    class Counts(list):
        uploads = n_bytes = 0

    counts = Counts()
    monkeypatch.setattr(population.Launches, "_launch", counted)
    monkeypatch.setattr(session, "_upload_rows", uploaded)
    return counts


def assert_same(own, theirs, X):
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(own.best_estimator_.predict_proba(X), theirs.best_estimator_.predict_proba(X))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.3}, {"dtype": "float32"}], ids=str)
def test_a_search_is_one_launch_for_each_call(data, launches, convert, settings):
    X, y = convert(data[0]), data[1]
    grid = {"alpha": [1e-4, 1.0]}
    own = ours.GridSearchCV(network(max_iter=2, **settings), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    # Two epochs at once for all folds and candidates, and the refit; the data once for the former, and once for the latter.
    assert list(launches) == [4, 1]
    assert launches.uploads == 2
    theirs = model_selection.GridSearchCV(network(max_iter=2, **settings), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    assert_same(own, theirs, X)


def test_networks_may_differ_in_shape_batches_and_epochs(data, launches):
    grid = [{"hidden_layer_sizes": [(3, 2)]}, {"batch_size": [4], "max_iter": [2]}, {"solver": ["adam"]}]
    own = ours.GridSearchCV(network(), grid, cv=2, scoring="neg_log_loss").fit(*data)
    # What a kernel is compiled for is the same for all.
    assert launches[0] == 6
    assert_same(own, model_selection.GridSearchCV(network(), grid, cv=2, scoring="neg_log_loss").fit(*data), data[0])


def test_kernels_that_differ_are_launched_one_after_the_other(data, launches):
    grid = {"activation": ["relu", "tanh"]}
    own = ours.GridSearchCV(network(), grid, cv=2, scoring="neg_log_loss", refit=False).fit(*data)
    assert list(launches) == [2, 2]
    theirs = model_selection.GridSearchCV(network(), grid, cv=2, scoring="neg_log_loss", refit=False).fit(*data)
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_networks_that_have_stopped_are_in_no_launch(data, launches):
    settings = {"early_stopping": True, "validation_fraction": 0.5, "batch_size": 3, "scoring": "loss"}
    grid = {"max_iter": [1, 2]}
    own = ours.GridSearchCV(network(**settings), grid, cv=2, refit=False).fit(*data)
    theirs = model_selection.GridSearchCV(network(**settings), grid, cv=2, refit=False).fit(*data)
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    # Of each epoch the training and the validation.
    assert launches[:4] == [4, 4, 2, 2]


def test_a_candidate_that_fails_or_diverges_leaves_the_others_alone(data, launches):
    grid = {"learning_rate_init": [1e-2, 1e300], "hidden_layer_sizes": [(2,), (0,)]}
    estimator = network(solver="sgd")
    results = []
    for module in (ours, model_selection):
        with pytest.warns(FitFailedWarning, match="6 fits failed out of a total of 8"):
            search = module.GridSearchCV(estimator, grid, cv=2, error_score=-1.0, refit=False).fit(*data)
        results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*results)
    assert (results[0] == -1).sum() == 3
    assert launches[0] == 4


def test_an_error_of_a_launch_is_that_of_each_fit(data, monkeypatch):
    from skbackprop.backends.cuda import population

    def fails(self, requests):
        raise MemoryError("no room")

    monkeypatch.setattr(population.Launches, "_launch", fails)
    with pytest.raises(MemoryError, match="no room"):
        ours.cross_val_score(network(), *data, cv=2, error_score="raise")


def test_launches_are_cut_to_the_memory(data, launches, monkeypatch):
    from skbackprop.backends.cuda.device import Device

    grid = {"alpha": [1e-4, 1.0]}
    search = ours.GridSearchCV(network(), grid, cv=2, scoring="neg_log_loss", refit=False)
    expected = search.fit(*data).cv_results_["mean_test_score"]
    monkeypatch.setattr(Device, "free_bytes", lambda self: 2.5 * launches.n_bytes)
    np.testing.assert_array_equal(search.fit(*data).cv_results_["mean_test_score"], expected)
    assert list(launches) == [4, 2, 2]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_pipelines_share_what_their_steps_make(data, launches, solver):
    model = make_pipeline(StandardScaler(), network(solver=solver, max_iter=1))
    grid = {"backpropclassifier__alpha": [1e-4, 1.0]}
    own = ours.GridSearchCV(model, grid, cv=2, scoring="neg_log_loss", refit=False).fit(*data)
    theirs = model_selection.GridSearchCV(model, grid, cv=2, scoring="neg_log_loss", refit=False).fit(*data)
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert launches[0] == 4


def test_cross_validation_curves_and_ensembles(data, launches):
    X, y = data
    np.testing.assert_array_equal(
        ours.cross_val_score(network(), X, y, cv=4, scoring="neg_log_loss"),
        model_selection.cross_val_score(network(), X, y, cv=4, scoring="neg_log_loss"),
    )
    assert launches[0] == 4
    del launches[:]
    assert ours.seed_scores(network(), X, y, n_seeds=3, cv=2, random_state=0).shape == (3, 2)
    assert launches[0] == 6
    del launches[:]
    ensemble = BackpropEnsembleClassifier(network(random_state=None), 3, random_state=0).fit(X, y)
    assert launches[0] == 3
    for member, samples in zip(ensemble.estimators_, ensemble.estimators_samples_, strict=True):
        weight = np.bincount(samples, minlength=len(X)).astype(float)
        alone = network(random_state=member.random_state).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(alone.coefs_[0], member.coefs_[0])


def test_other_tiers_and_the_cpu_are_one_a_core(data, monkeypatch):
    """They compute on their own, beside those that wait for each other."""
    from skbackprop.backends.cuda import session

    monkeypatch.setattr(together, "_PATIENCE_SECONDS", 0.01)
    choose = session._choose_tier
    monkeypatch.setattr(
        session, "_choose_tier", lambda net, *a: "stepwise" if net.layer_units[1] == 4 else choose(net, *a)
    )
    grid = {"device": ["cpu", "cuda"], "hidden_layer_sizes": [(2,), (4,)]}
    own = ours.GridSearchCV(network(max_iter=1), grid, cv=2, scoring="neg_log_loss", refit=False).fit(*data)
    theirs = model_selection.GridSearchCV(network(max_iter=1), grid, cv=2, scoring="neg_log_loss", refit=False)
    np.testing.assert_array_equal(own.cv_results_["mean_test_score"], theirs.fit(*data).cv_results_["mean_test_score"])


def test_models_at_a_time():
    assert models_at_a_time("cpu", 0) is None
    assert models_at_a_time("cuda:99", 0) is None
    assert models_at_a_time("tpu", 0) is None
    assert models_at_a_time("cuda", 0) == models_at_a_time("auto", 10**3) == 512
    # As many copies of the data as there is memory for, but no fewer than cores.
    assert models_at_a_time("cuda", memory_limit() // 100) == max(25, available_threads())
    assert models_at_a_time("cuda", 10**20) == available_threads()
    backend = PopulationBackend(300)
    assert backend.effective_n_jobs(None) == backend.effective_n_jobs(-1) == 300
    assert backend.effective_n_jobs(7) == 7


def test_interrupts_end_a_search(data, monkeypatch):
    """Who waits for a launch stops waiting, and no launch follows."""
    from skbackprop.backends.cuda import population

    monkeypatch.setattr("skbackprop.backends.batch_plan._MAX_EPOCHS", 1)
    launched, count = threading.Event(), []
    launch = population.Launches._launch

    def noted(self, requests):
        count.append(len(requests))
        launch(self, requests)
        launched.set()

    monkeypatch.setattr(population.Launches, "_launch", noted)
    search = ours.GridSearchCV(network(max_iter=10**6, tol=0, n_iter_no_change=np.inf), {"alpha": [1e-4, 1.0]}, cv=2)

    def interrupt():
        launched.wait()
        import _thread

        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        search.fit(*data)
    thread.join()
    deadline = time.perf_counter() + 60
    while any(thread.name.startswith("skbackprop") for thread in threading.enumerate()):
        assert time.perf_counter() < deadline
        time.sleep(0.01)
    n_launches = len(count)
    time.sleep(0.05)
    assert len(count) == n_launches
    assert not hasattr(search, "cv_results_")
