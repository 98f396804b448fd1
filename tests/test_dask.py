"""Estimators on Dask: a real cluster of two processes."""

import os
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier, BackpropRegressor, load

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")
pytest.importorskip("xgboost", reason="xgboost is not installed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import killing  # noqa: E402
import pandas as pd  # noqa: E402

import skbackprop.dask  # noqa: E402
from skbackprop.backends import mapped  # noqa: E402
from skbackprop.dask import DaskBackpropClassifier, DaskBackpropRegressor  # noqa: E402
from skbackprop.distributed import PartWriter, _rabit  # noqa: E402
from skbackprop.exceptions import WorkerLostError  # noqa: E402

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.process,
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:::dask"),
    pytest.mark.filterwarnings("ignore:::distributed"),
    # Sockets of workers that were killed.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:600] / 16, Y[:600]
NUMBERS = X @ np.random.RandomState(0).rand(64)
#: For workers to start, on a machine that does other things.
PATIENCE_SECONDS = 120
SETTINGS = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0, "dtype": "float64", "batch_size": len(X)}


def arrays(*given, chunk=150):
    return [da.from_array(array, chunks=(chunk, *array.shape[1:])) for array in given]


def assert_same(model, other, tolerance=0.0):
    for name in ("coefs_", "intercepts_"):
        for array, expected in zip(getattr(model, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)


def test_arrays_give_the_model_of_one_machine(client, tmp_path):
    x, y = arrays(X, Y)
    model = DaskBackpropClassifier(**SETTINGS, client=client).fit(x, y)
    whole = BackpropClassifier(**SETTINGS).fit(X, Y)
    assert_same(model, whole, 1e-12)
    assert model.n_iter_ == whole.n_iter_
    local = model.to_local()
    assert type(local) is BackpropClassifier
    for method in ("predict", "predict_proba", "decision_function"):
        lazy = getattr(model, method)(x)
        assert lazy.chunks[0] == x.chunks[0]
        expected = getattr(local, method)(X)
        assert (lazy.dtype, lazy.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(lazy.compute(), expected)
        np.testing.assert_array_equal(getattr(model, method)(X), expected)
    assert model.score(x, y) == pytest.approx(local.score(X, Y))
    weight = np.random.RandomState(0).rand(len(X))
    assert model.score(x, y, *arrays(weight)) == pytest.approx(local.score(X, Y, weight))
    assert_same(pickle.loads(pickle.dumps(model)), model)
    model.save(tmp_path / "model")
    assert_same(load(tmp_path / "model"), model)


def test_the_current_client_and_parameters_as_of_one_machine(client):
    model = DaskBackpropClassifier((4,), alpha=0.1, client=client)
    assert model.get_params() == BackpropClassifier((4,), alpha=0.1).get_params() | {"external_memory": False}
    assert clone(model).client is None
    assert repr(clone(model)) == "DaskBackpropClassifier(alpha=0.1, hidden_layer_sizes=(4,))"
    assert clone(model).set_params(max_iter=1).fit(*arrays(X, Y)).n_iter_ == 1


def test_partitions_of_any_kind_give_the_same_bits(client):
    model = DaskBackpropClassifier(**SETTINGS | {"batch_size": 64}).fit(*arrays(X, Y))
    assert_same(clone(model).fit(*arrays(X, Y)), model)
    persisted = client.persist(arrays(X, Y))
    assert_same(clone(model).fit(*persisted), model)
    blocks = [dask.delayed(X[start : start + 150]) for start in range(0, 600, 150)]
    labels = [dask.delayed(Y[start : start + 150]) for start in range(0, 600, 150)]
    delayed = clone(model).fit(blocks, labels)
    assert_same(delayed, model)
    np.testing.assert_array_equal(np.concatenate(dask.compute(*delayed.predict(blocks))), model.predict(X))
    in_columns = da.from_array(X, chunks=(150, 30))
    assert_same(clone(model).fit(in_columns, da.from_array(Y, chunks=200)), model)
    np.testing.assert_array_equal(model.predict(in_columns).compute(), model.predict(X))


def test_sparse_blocks(client):
    x, y = arrays(X, Y)
    model = DaskBackpropClassifier(**SETTINGS).fit(x.map_blocks(sparse.csr_matrix), y)
    assert_same(model, BackpropClassifier(**SETTINGS).fit(sparse.csr_matrix(X), Y), 1e-12)
    np.testing.assert_array_equal(model.predict(x.map_blocks(sparse.csr_matrix)).compute(), model.predict(X))


def test_dataframes(client):
    frame = pd.DataFrame(X, columns=[f"pixel {index}" for index in range(64)])
    labels = pd.Series(np.array(list("abcdefghij"))[Y])
    x, y = (dd.from_pandas(one, npartitions=4) for one in (frame, labels))
    model = DaskBackpropClassifier(**SETTINGS).fit(x, y)
    whole = BackpropClassifier(**SETTINGS).fit(frame, labels)
    assert_same(model, whole, 1e-12)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    predictions = model.predict(x).compute()
    np.testing.assert_array_equal(predictions, whole.predict(frame))
    assert predictions.index.equals(frame.index)
    assert model.predict_proba(x).columns.tolist() == list("abcdefghij")
    assert model.score(x, y) == pytest.approx(whole.score(frame, labels))
    # Unknown sizes of chunks, and partitions without rows.
    some = x[x["pixel 2"] > 0.9]
    assert np.isnan(some.to_dask_array().chunks[0][0])
    chosen = frame["pixel 2"] > 0.9
    settings = SETTINGS | {"batch_size": int(chosen.sum())}
    model = DaskBackpropClassifier(**settings).fit(some.values, y[x["pixel 2"] > 0.9].values)
    assert_same(model, BackpropClassifier(**settings).fit(X[chosen], labels[chosen]), 1e-12)


def test_regression_with_weights_and_validation_data(client):
    weight = np.random.RandomState(0).rand(len(X))
    settings = SETTINGS | {"early_stopping": True, "standardize_target": True}
    x, y, w = arrays(X, NUMBERS, weight)
    x_val, y_val = arrays(X[:200], NUMBERS[:200], chunk=200)
    model = DaskBackpropRegressor(**settings).fit(x, y, w, X_val=x_val, y_val=y_val)
    whole = BackpropRegressor(**settings).fit(X, NUMBERS, weight, X_val=X[:200], y_val=NUMBERS[:200])
    assert_same(model, whole, 1e-12)
    np.testing.assert_allclose(model.validation_scores_, whole.validation_scores_, rtol=1e-9)
    assert model.score(x, y, w) == pytest.approx(whole.score(X, NUMBERS, weight))
    np.testing.assert_array_equal(model.predict(x).compute(), model.predict(X))
    with pytest.raises(ValueError, match="return_std"):
        model.predict(x, return_std=True)


def test_batches_are_normalized_over_all_workers(client):
    settings = SETTINGS | {"normalization": "batch", "early_stopping": True}
    x, y = arrays(X, Y)
    x_val, y_val = arrays(X[:200], Y[:200], chunk=200)
    model = DaskBackpropClassifier(**settings).fit(x, y, X_val=x_val, y_val=y_val)
    whole = BackpropClassifier(**settings).fit(X, Y, X_val=X[:200], y_val=Y[:200])
    assert_same(model, whole, 1e-12)
    for name in ("running_means_", "running_variances_"):
        np.testing.assert_allclose(getattr(model, name)[0], getattr(whole, name)[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.validation_scores_, whole.validation_scores_, rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(x).compute(), whole.predict_proba(X), rtol=1e-9, atol=1e-12)
    # By blocks of rows and mini-batches.
    settings = SETTINGS | {"normalization": "batch", "batch_size": 64, "learning_rate_init": 0.01, "max_iter": 20}
    on_disk = DaskBackpropClassifier(**settings, external_memory=True).fit(x, y)
    assert_same(clone(on_disk).fit(x, y), on_disk)
    assert on_disk.score(X, Y) > 0.95


def test_rows_of_this_process_are_fitted_in_it():
    assert_same(DaskBackpropClassifier(**SETTINGS).fit(X, Y), BackpropClassifier(**SETTINGS).fit(X, Y))


@pytest.mark.parametrize("external_memory", [False, True])
def test_a_fit_goes_on(client, external_memory):
    model = DaskBackpropClassifier(**SETTINGS, warm_start=True, shuffle=False, external_memory=external_memory)
    whole = BackpropClassifier(**SETTINGS, warm_start=True, shuffle=False)
    for _ in range(2):
        assert_same(model.fit(*arrays(X, Y)), whole.fit(X, Y), 1e-12)


def _fails(block):
    if block.size and block[0, 0] == X[300, 0] and (block == X[300:450]).all():
        raise OSError("the disk is gone")
    return block


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda x, y: (x, Y), TypeError, "y has to be a Dask Array"),
        (lambda x, y: (x, da.from_array(Y[:300], chunks=150).map_blocks(np.array)), ValueError, "."),
        (lambda x, y: ([x.to_delayed()[0, 0]], list(y.to_delayed())), ValueError, "y has 4 partitions, and its rows 1"),
        (lambda x, y: (x.map_blocks(_fails, dtype=x.dtype), y), OSError, "the disk is gone"),
        (lambda x, y: (da.where(x > 0.99, np.nan, x), y), ValueError, "contains NaN"),
        (
            lambda x, y: (list(x.to_delayed()[:, 0]), [y.to_delayed()[0]] * 3 + [y[:7].to_delayed()[0]]),
            ValueError,
            "7 rows",
        ),
    ],
    ids=["local", "shorter", "partitions", "disk", "nan", "rows"],
)
def test_data_that_do_not_fit_are_refused_at_the_client(client, make, error, words):
    model = DaskBackpropClassifier(**SETTINGS)
    with pytest.raises(error, match=words):
        model.fit(*make(*arrays(X, Y)))
    assert not hasattr(model, "coefs_")
    assert_nothing_left(client)


def test_parameters_are_refused_at_the_client(client):
    with pytest.raises(ValueError, match="alpha"):
        DaskBackpropClassifier(alpha=-1.0).fit(*arrays(X, Y))
    with pytest.raises(ValueError, match="set device='cpu'"):
        DaskBackpropClassifier(device="auto").fit(*arrays(X, Y))
    assert_nothing_left(client)


def _left():
    """Return what this process has of trainings."""
    return [name for own in ("_trackers", "_collectives", "_stores", "_written") for name in vars(skbackprop.dask)[own]]


def wait_until(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within 10 seconds")


def assert_nothing_left(client):
    """Neither a tracker nor a training nor a task nor a process is left on the workers."""
    wait_until(lambda: not any(client.run(_left).values()))
    wait_until(lambda: not killing.processes_of_xgboost())
    wait_until(
        lambda: (
            not client.run_on_scheduler(
                lambda dask_scheduler: [key for key in dask_scheduler.tasks if "skbackprop" in str(key)]
            )
        )
    )


def _reach(path):
    """Tell the client by a file that this worker is in the middle of a training, and give it time to act."""
    Path(path).touch()
    time.sleep(0.01)


def while_training(client, path, act):
    """Call a function in the middle of the next training; return the thread that does so."""
    client.run(killing.at, "sum", _reach, str(path), number=300)

    def wait():
        for _ in range(6000):
            if path.exists():
                act()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def assert_acted(thread):
    thread.join(timeout=PATIENCE_SECONDS)
    assert not thread.is_alive()


#: Of more than 600 sums.
LONG = SETTINGS | {"batch_size": 40, "max_iter": 120, "n_iter_no_change": 1000}


@pytest.mark.parametrize(("number", "normalization"), [(0, None), (1, None), (1, "batch")])
def test_a_worker_that_is_killed_changes_no_bit(client, number, normalization):
    x, y = arrays(X, Y)
    undisturbed = DaskBackpropClassifier(**LONG, normalization=normalization).fit(x, y)
    address, pid = sorted(client.run(os.getpid).items())[number]
    client.run(killing.at, "sum", killing.kill, number=300, workers=[address])
    model = clone(undisturbed).fit(x, y)
    client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
    assert pid not in client.run(os.getpid).values()
    assert_same(model, undisturbed)
    assert_nothing_left(client)


@pytest.mark.parametrize("number", [0, 1])
def test_a_training_goes_on_from_the_last_checkpoint(client, number, monkeypatch):
    monkeypatch.setattr(skbackprop.dask, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    x, y = arrays(X, Y)
    lost, left = (sorted(client.run(os.getpid))[index] for index in (number, 1 - number))
    try:
        client.run(killing.at, "sum", killing.tick, workers=[left])
        undisturbed = DaskBackpropClassifier(**LONG).fit(x, y)
        n_sums = client.run(killing.ticks, workers=[left])[left]
        client.run(killing.at, "sum", killing.kill, number=9 * n_sums // 10, workers=[lost])
        model = DaskBackpropClassifier(**LONG).fit(x, y)
        n_more = client.run(killing.ticks, workers=[left])[left] - 2 * n_sums
    finally:
        client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
        client.run(killing.restore)
    assert_same(model, undisturbed)
    assert 0 < n_more < n_sums // 2
    assert_nothing_left(client)


def test_a_cluster_that_shrinks_changes_no_bit(client, cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(skbackprop.dask, "_SECONDS_TO_COME_BACK", 0.5)
    x, y = arrays(X, Y)
    undisturbed = DaskBackpropClassifier(**LONG).fit(x, y)
    try:
        thread = while_training(client, tmp_path / "reached", lambda: cluster.scale(1))
        assert_same(DaskBackpropClassifier(**LONG).fit(x, y), undisturbed)
        assert_acted(thread)
        assert len(client.run(os.getpid)) == 1
    finally:
        client.run(killing.restore)
        cluster.scale(2)
        client.wait_for_workers(2, timeout=PATIENCE_SECONDS)


def test_ctrl_c_at_the_client_ends_the_training(client, tmp_path):
    x, y = arrays(X, Y)
    model = DaskBackpropClassifier(**LONG | {"max_iter": 100_000})
    main = threading.main_thread().ident
    thread = while_training(client, tmp_path / "reached", lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y)
    assert_acted(thread)
    client.run(killing.restore)
    assert not hasattr(model, "coefs_")
    assert_nothing_left(client)
    assert DaskBackpropClassifier(**SETTINGS).fit(x, y).n_iter_ == 5


def test_workers_that_train_listen_only_where_dask_does(client, tmp_path):
    hosts = {distributed.comm.get_address_host(address) for address in client.run(os.getpid)}
    for number, address in enumerate(client.run(os.getpid)):
        client.run(killing.at, "sum", killing.write_hosts, tmp_path / str(number), number=100, workers=[address])
    try:
        DaskBackpropClassifier(**LONG).fit(*arrays(X, Y))
    finally:
        client.run(killing.restore)
    found = [set(path.read_text(encoding="utf-8").split()) for path in tmp_path.iterdir()]
    assert len(found) == 2
    assert set().union(*found) == hosts


def test_a_task_that_begins_after_its_training_is_refused(client, monkeypatch):
    given, submit = [], client.submit

    def submitted(function, *arguments, **settings):
        given.append((function, arguments, settings["workers"]))
        return submit(function, *arguments, **settings)

    monkeypatch.setattr(client, "submit", submitted)
    model = DaskBackpropClassifier(**SETTINGS).fit(*arrays(X, Y))
    assert len(given) == 2
    # As Dask runs it when a worker that was lost has come back, or another one has come to it only now.
    rows = {"X": [X], "y": [Y], "sample_weight": None, "X_val": None, "y_val": None, "sample_weight_val": None}
    for function, (*arguments, groups, seconds), workers in given:
        late = submit(function, *arguments, dict.fromkeys(groups, rows), seconds, workers=workers, pure=False)
        with pytest.raises(WorkerLostError, match="was over before"):
            late.result(timeout=30)
        client.cancel(late)
    assert_nothing_left(client)
    assert_same(DaskBackpropClassifier(**SETTINGS).fit(*arrays(X, Y)), model)


def test_a_training_that_is_stopped_while_workers_join(client):
    address = client.run(lambda dask_worker: dask_worker.address).popitem()[0]
    before = client.run(killing.listening)[address]
    tracker = client.run(skbackprop.dask._start_tracker, "training", 2, workers=[address])[address]
    client.run(skbackprop.dask._announce, "fit", "training", workers=[address])
    settings = {"key": "skbackprop-joins", "workers": [address], "pure": False}
    groups = {0: {name: None for name in skbackprop.dask._ARGUMENTS}}
    joins = client.submit(skbackprop.dask._fit_groups, "fit", "training", None, tracker, 2, groups, 10.0, **settings)
    # It listens for the others.
    wait_until(lambda: len(client.run(killing.listening)[address] - before) > 1)
    for function in ("_stop", "_close_tracker"):
        client.run(getattr(skbackprop.dask, function), "training")
    with pytest.raises(WorkerLostError):
        joins.result(timeout=30)
    client.cancel(joins)
    client.run(skbackprop.dask._forget, "fit")
    assert_nothing_left(client)
    wait_until(lambda: client.run(killing.listening)[address] <= before)


def test_workers_that_are_lost_again_and_again(client, monkeypatch):
    def lost(*arguments):
        raise WorkerLostError("gone")

    monkeypatch.setattr(skbackprop.dask, "_train_once", lost)
    with pytest.raises(WorkerLostError, match="4 trainings in a row; the last one ended with: gone"):
        DaskBackpropClassifier(**SETTINGS).fit(*arrays(X, Y))


def test_a_worker_that_is_lost_with_the_model_changes_no_bit(client, monkeypatch):
    x, y = arrays(X, Y)
    undisturbed = DaskBackpropClassifier(**SETTINGS).fit(x, y)
    awaited, pids = skbackprop.dask._await, client.run(os.getpid)

    def wait_and_kill(client, futures):
        awaited(client, futures)
        if pids:
            address = next(iter(futures))
            os.kill(pids.pop(address), signal.SIGKILL)
            pids.clear()
            wait_until(lambda: address not in skbackprop.dask._workers(client))

    monkeypatch.setattr(skbackprop.dask, "_await", wait_and_kill)
    assert_same(DaskBackpropClassifier(**SETTINGS).fit(x, y), undisturbed)
    assert not pids
    assert_nothing_left(client)


def test_workers_are_known_at_any_time(client):
    # The client refreshes what it knows of the scheduler, but not of the workers, all the time.
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        distributed.Client(client.scheduler.address, set_as_default=False) as busy,
    ):
        found = {tuple(skbackprop.dask._workers(busy)) for _ in range(1000)}
    assert found == {tuple(sorted(client.run(os.getpid)))}


def test_no_worker_comes_back(client, monkeypatch):
    def lost(*arguments):
        raise WorkerLostError("gone")

    monkeypatch.setattr(skbackprop.dask, "_train_once", lost)
    monkeypatch.setattr(skbackprop.dask, "_SECONDS_FOR_ONE", 0.1)
    monkeypatch.setattr(client, "wait_for_workers", lambda n_workers, timeout: (_ for _ in ()).throw(TimeoutError))
    with pytest.raises(WorkerLostError, match=r"none has come back in 20.1 seconds"):
        DaskBackpropClassifier(**SETTINGS).fit(*arrays(X, Y))


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_never_joins_keeps_nobody_waiting(client, number):
    x, y = arrays(X, Y)
    undisturbed = DaskBackpropClassifier(**SETTINGS).fit(x, y)
    address = sorted(client.run(os.getpid))[number]
    client.run(killing.at, "joining", killing.kill, workers=[address])
    started = time.monotonic()
    assert_same(DaskBackpropClassifier(**SETTINGS).fit(x, y), undisturbed)
    assert time.monotonic() - started < _rabit._TIMEOUT_SECONDS / 4
    assert_nothing_left(client)


def test_a_slow_worker_changes_no_bit(client, tmp_path):
    x, y = arrays(X, Y)
    undisturbed = DaskBackpropClassifier(**LONG).fit(x, y)
    for number, address in enumerate(client.run(os.getpid)):
        path = tmp_path / str(number)
        client.run(killing.at, "sum", killing.stall, path, 1.0, number=200 * number + 200, workers=[address])
    started = time.monotonic()
    try:
        assert_same(DaskBackpropClassifier(**LONG).fit(x, y), undisturbed)
    finally:
        client.run(killing.restore)
    assert len(list(tmp_path.iterdir())) == 2
    assert time.monotonic() - started > 2.0
    assert_nothing_left(client)


def test_two_trainings_at_a_time_take_turns(client):
    x, y = arrays(X, Y)
    models = [DaskBackpropClassifier(**SETTINGS, client=client) for _ in range(3)]
    threads = [threading.Thread(target=model.fit, args=(x, y)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        assert_same(model, models[0])


def test_a_client_that_is_not_the_current_one(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
        x, y = arrays(X, Y)
        model = DaskBackpropClassifier(**SETTINGS, client=client).fit(x, y)
        assert model.score(x, y) == pytest.approx(model.to_local().score(X, Y))


# Rows on disk.


def _set_sizes(block_bytes, window_blocks, most_bytes):
    mapped._BLOCK_BYTES, mapped._WINDOW_BLOCKS, mapped._MOST_BYTES = block_bytes, window_blocks, most_bytes


@pytest.fixture
def small_blocks(client):
    """Let workers read blocks of 10 rows, shuffle within windows of 4 blocks, and keep nothing mapped for long."""
    sizes = [getattr(mapped, name) for name in ("_BLOCK_BYTES", "_WINDOW_BLOCKS", "_MOST_BYTES")]
    client.run(_set_sizes, 10 * 64 * 8, 4, 0)
    yield
    client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
    client.run(_set_sizes, *sizes)


ON_DISK = SETTINGS | {"batch_size": 64, "external_memory": True}


def test_rows_on_disk_give_the_same_bits_on_every_run(client, small_blocks):
    x, y = arrays(X, Y)
    model = DaskBackpropClassifier(**ON_DISK).fit(x, y)
    assert clone(model).external_memory
    assert_same(clone(model).fit(x, y), model)
    names = [f"pixel {index}" for index in range(64)]
    frame, labels = (dd.from_pandas(one, npartitions=4) for one in (pd.DataFrame(X, columns=names), pd.Series(Y)))
    of_frame = clone(model).fit(frame, labels)
    assert_same(of_frame, model)
    assert of_frame.feature_names_in_.tolist() == names
    assert model.score(x, y) == pytest.approx(model.to_local().score(X, Y))
    assert_nothing_left(client)


def test_rows_on_disk_give_the_model_of_one_machine(client, small_blocks):
    x, y = arrays(X, Y)
    x_val, y_val = arrays(X[:200], Y[:200], chunk=200)
    settings = SETTINGS | {"early_stopping": True}
    model = DaskBackpropClassifier(**settings, external_memory=True).fit(x, y, X_val=x_val, y_val=y_val)
    whole = BackpropClassifier(**settings).fit(X, Y, X_val=X[:200], y_val=Y[:200])
    assert_same(model, whole, 1e-12)
    np.testing.assert_allclose(model.validation_scores_, whole.validation_scores_)


def _record_partitions(path):
    """Let a worker write down how many partitions it has in memory whenever it writes one to disk."""
    append = PartWriter.append

    def append_(self, *arguments):
        data = distributed.get_worker().data
        n_partitions = sum(getattr(value, "ndim", 0) == 2 for value in list(data.values()))
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{n_partitions}\n")
        append(self, *arguments)

    PartWriter.append, PartWriter.own_append = append_, append


def _stop_recording():
    PartWriter.append = PartWriter.own_append


def test_one_partition_of_a_worker_is_in_memory_at_a_time(client, tmp_path):
    x, y = da.random.random((600, 64), chunks=(25, 64)), da.from_array(Y, chunks=25)
    client.run(_record_partitions, str(tmp_path / "partitions"))
    try:
        DaskBackpropClassifier(**ON_DISK).fit(x, y)
    finally:
        client.run(_stop_recording)
    counts = list(map(int, (tmp_path / "partitions").read_text(encoding="utf-8").split()))
    assert len(counts) == 24
    assert max(counts) <= 1


@pytest.mark.parametrize("at_writing", [True, False])
def test_a_worker_that_is_killed_with_rows_on_disk_changes_no_bit(client, small_blocks, at_writing):
    x, y = arrays(X, Y)
    settings = ON_DISK | {"max_iter": 60, "n_iter_no_change": 1000}
    undisturbed = DaskBackpropClassifier(**settings).fit(x, y)
    address = sorted(client.run(os.getpid))[1]
    if at_writing:
        client.run(_kill_at_writing, workers=[address])
    else:
        client.run(killing.at, "sum", killing.kill, number=300, workers=[address])
    # The worker that comes back has the usual sizes.
    client.register_plugin(_SmallBlocks(), name="small-blocks")
    try:
        model = DaskBackpropClassifier(**settings).fit(x, y)
    finally:
        client.unregister_worker_plugin("small-blocks")
    assert address not in client.run(os.getpid)
    assert_same(model, undisturbed)
    assert_nothing_left(client)


class _SmallBlocks(distributed.WorkerPlugin):
    def setup(self, worker):
        _set_sizes(10 * 64 * 8, 4, 0)


def test_workers_that_are_lost_again_and_again_while_they_write(client, monkeypatch):
    def lost(*arguments):
        raise WorkerLostError("gone")

    monkeypatch.setattr(skbackprop.dask, "_write", lost)
    with pytest.raises(WorkerLostError, match=r"4 times in a row while external_memory=True .* the last time: gone"):
        DaskBackpropClassifier(**ON_DISK).fit(*arrays(X, Y))


def test_workers_that_are_lost_at_first(client, monkeypatch):
    write, n_calls = skbackprop.dask._write, []

    def lost(*arguments):
        n_calls.append(1)
        if len(n_calls) < 4:
            raise WorkerLostError("gone")
        write(*arguments)

    monkeypatch.setattr(skbackprop.dask, "_write", lost)
    assert DaskBackpropClassifier(**ON_DISK).fit(*arrays(X, Y)).n_iter_ == 5
    assert len(n_calls) == 4


def _kill_at_writing():
    PartWriter.append = lambda *arguments: killing.kill()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda x: x.map_blocks(sparse.csr_matrix), ValueError, "external_memory=True takes dense rows"),
        (lambda x: da.where(x > 0.99, np.nan, x), ValueError, "contains NaN"),
        (lambda x: x.map_blocks(_fails, dtype=x.dtype), OSError, "the disk is gone"),
        (
            lambda x: x.map_blocks(_mixed, dtype=x.dtype),
            ValueError,
            "numbers of float64, and those before it of float32",
        ),
    ],
    ids=["sparse", "nan", "disk", "dtypes"],
)
def test_rows_that_cannot_be_written_are_refused_at_the_client(client, make, error, words):
    x, y = arrays(X, Y)
    model = DaskBackpropClassifier(**ON_DISK | {"dtype": None})
    with pytest.raises(error, match=words):
        model.fit(make(x), y)
    assert not hasattr(model, "coefs_")
    assert_nothing_left(client)


def _mixed(block):
    is_first = block.shape == (150, 64) and (block == X[:150]).all()
    return block.astype("float32") if is_first else block
