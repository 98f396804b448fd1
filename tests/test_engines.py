"""Searches on joblib's engines: a real Dask cluster of two processes trains them as two populations."""

import os
import threading
import time
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier
from skbackprop.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
)

joblib = pytest.importorskip("joblib")
dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.process,
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:::dask"),
    pytest.mark.filterwarnings("ignore:::distributed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]
NETWORK = BackpropClassifier((8,), max_iter=3, random_state=0)
GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-3, 1e-2]}


@pytest.fixture
def sent(client, monkeypatch):
    """Tasks that joblib has submitted to Dask."""
    keys, submit = [], client.submit

    def noted(*arguments, **keywords):
        keys.append(keywords["key"])
        return submit(*arguments, **keywords)

    monkeypatch.setattr(client, "submit", noted)
    return keys


def assert_same_search(search, other):
    for name, values in search.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(values, other.cv_results_[name], err_msg=name)
    assert search.best_params_ == other.best_params_
    assert search.best_score_ == other.best_score_
    np.testing.assert_array_equal(search.predict_proba(X), other.predict_proba(X))


SEARCHES = {
    "grid": lambda: GridSearchCV(NETWORK, GRID, cv=3, return_train_score=True),
    "random": lambda: RandomizedSearchCV(NETWORK, GRID, n_iter=3, cv=2, random_state=0),
    "pipeline": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), NETWORK), {"backpropclassifier__alpha": [1e-4, 1.0]}, cv=3
    ),
    "halving": lambda: HalvingGridSearchCV(NETWORK, GRID, cv=2, factor=2, min_resources=100, random_state=0),
    "halving at random": lambda: HalvingRandomSearchCV(
        NETWORK, GRID, n_candidates=2, cv=2, factor=2, min_resources=200, random_state=0
    ),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_on_dask_has_the_results_of_one_here_in_a_task_per_worker(kind, sent):
    here = SEARCHES[kind]().fit(X, Y)
    with joblib.parallel_config("dask"):
        there = SEARCHES[kind]().fit(X, Y)
    assert_same_search(there, here)
    assert len(sent) == 2 * getattr(there, "n_iterations_", 1)


def test_cross_validation_on_dask(sent):
    here = cross_validate(NETWORK, X, Y, cv=4)["test_score"]
    with joblib.parallel_config("dask"):
        np.testing.assert_array_equal(cross_validate(NETWORK, X, Y, cv=4)["test_score"], here)
        predicted = cross_val_predict(NETWORK, X, Y, cv=4)
    np.testing.assert_array_equal(predicted, cross_val_predict(NETWORK, X, Y, cv=4))
    assert len(sent) == 4


def test_data_reach_a_worker_once(client, monkeypatch):
    rows = np.random.RandomState(0).rand(20_000, 50)  # 8 MB
    labels = np.arange(len(rows)) % 10
    network = BackpropClassifier((2,), max_iter=1, batch_size=1000, random_state=0)
    scattered, scatter = [], client.scatter

    def noted(data, **keywords):
        scattered.append(data)
        return scatter(data, **keywords)

    monkeypatch.setattr(client, "scatter", noted)
    before = _received(client)
    with joblib.parallel_config("dask"):
        GridSearchCV(network, {"alpha": np.logspace(-5, 0, 8)}, cv=2).fit(rows, labels)
    assert sum(data is rows for data in scattered) == 1
    # One worker has them from the client, the other from that worker, with labels and the folds' indices; not once a fit.
    assert _received(client) - before < 1.2 * rows.nbytes


def _received(client):
    """Return the number of bytes that workers have received from each other."""

    def total(dask_worker):
        return sum(transfer["total"] for transfer in dask_worker.transfer_incoming_log)

    return sum(client.run(total).values())


def test_errors_get_error_score_or_are_raised(client):
    grid = {"alpha": [1e-4, -1.0]}
    with joblib.parallel_config("dask"), pytest.warns(Warning, match="fits failed"):
        search = GridSearchCV(NETWORK, grid, cv=2, error_score=-3.0).fit(X, Y)
    assert search.cv_results_["mean_test_score"][1] == -3.0
    assert search.best_params_ == {"alpha": 1e-4}
    with joblib.parallel_config("dask"), pytest.raises(ValueError, match="alpha"):
        GridSearchCV(NETWORK, grid, cv=2, error_score="raise").fit(X, Y)


def test_warnings_of_all_workers_are_one(client):
    with joblib.parallel_config("dask"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GridSearchCV(NETWORK, GRID, cv=3).fit(X, Y)
    texts = [str(one.message) for one in caught if one.category is ConvergenceWarning]
    assert len(texts) == 1
    assert texts[0].startswith("12 of 12 fits and the fit with the best parameters warned")


def test_ctrl_c_leaves_no_task(client):
    network = BackpropClassifier((8,), max_iter=1000, n_iter_no_change=1000, random_state=0)
    grid = {"alpha": np.logspace(-5, 0, 300).tolist()}

    def interrupt():
        _until(lambda: any(client.processing().values()))
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with joblib.parallel_config("dask"), pytest.raises(KeyboardInterrupt):
        GridSearchCV(network, grid, cv=2).fit(X, Y)
    thread.join(timeout=60)
    _until(lambda: not any(client.run(_executing).values()))


def _executing(dask_worker):
    return dask_worker.state.executing_count


def _until(condition, seconds=30):
    for _ in range(seconds * 10):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"not after {seconds} seconds")
