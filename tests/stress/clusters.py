"""Long runs of kills on clusters of this machine: each round ends with the bits of an undisturbed training, or one clear error.

More kills than a training is begun anew after have to end with the error, as does the loss of all workers if the engine
brings none of them back. After each round, nothing may be left behind.
"""

import faulthandler
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import chain
from pathlib import Path

from sklearn.datasets import load_iris

sys.path.insert(0, str(Path(__file__).parent.parent))
import killing

from skbackprop.distributed import MOST_RESTARTS
from skbackprop.exceptions import WorkerLostError

X, Y = load_iris(return_X_y=True)

#: Seconds that a training may take, that Dask may take to start workers anew, and that what is over may take to go.
_HANGS, _COME_BACK, _GO = 200, 60, 15

#: Trainings, of 300 epochs of 5 batches; the second one's checkpoints have validation scores, and the third one has none.
_COMMON = {"hidden_layer_sizes": (16,), "batch_size": 30, "max_iter": 300, "n_iter_no_change": 400, "random_state": 0}
TRAININGS = [
    {},
    {"solver": "sgd", "momentum": 0.5, "early_stopping": True, "dropout": 0.1},
    {"solver": "lbfgs", "max_iter": 500, "tol": 0.0},
]


class NotHereError(Exception):
    """What a kind needs is missing."""


def _bits(model):
    return b"".join(array.tobytes() for array in (*model.coefs_, *model.intercepts_))


def _files(folder, n_files):
    """Make as many files in a new folder, one for each kill."""
    path = Path(tempfile.mkdtemp(dir=folder))
    for number in range(n_files):
        path.joinpath(str(number)).touch()
    return path


def _draw_kills(rng):
    """Draw how often workers are killed: mostly once, and sometimes more often than a training is begun anew."""
    return int(rng.choice([1, 2, MOST_RESTARTS, 100], p=[0.7, 0.1, 0.1, 0.1]))


def _in_time(function):
    """Call a function in a thread, which may not hang; return its result or exception."""
    found = []

    def call():
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_HANGS)
    if not found:
        faulthandler.dump_traceback()
        raise AssertionError(f"hangs for {_HANGS} s")
    return found[0]


def _wait_until_gone(left, where):
    """Wait until a function finds nothing that is left behind."""
    deadline = time.monotonic() + _GO
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not found, f"{where}: left behind: {found}"


def _check(outcome, errors, undisturbed, n_kills, where):
    """Compare the outcome of a round; return it in a word."""
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, errors), f"{where}: {type(outcome).__name__}: {outcome}"
        if "none has come back" in str(outcome):
            return "WorkerLostError: no worker has come back"
        assert n_kills > MOST_RESTARTS, f"{where}: an error after {n_kills} kills: {outcome}"
        return f"{type(outcome).__name__} after {n_kills} kills"
    assert _bits(outcome) == undisturbed, f"{where}: other bits"
    return "the same bits"


#: Where workers are killed, on any engine; each as often as it stands here.
_PLACES = ("tracker", "joining", "sum", "sum", "end", "moment", "moment")


def _draw_place(rng, places, n_sums, window):
    """Draw where a worker is killed, at which call, and how long after it."""
    place = places[rng.integers(len(places))]
    if place == "moment":
        return "joining", 0, float(rng.uniform(0.0, window))
    if place == "end":
        return "end", 0, float(rng.uniform(0.0, 0.05))
    highest = {"sum": n_sums, "loading": 2, "checkpoint": 20, "checkpoint file": 20}.get(place, 1)
    return place, int(rng.integers(highest)), None


def _arm(place, folder, number, seconds):
    """Prepare the kills of this worker."""
    act = (killing.kill, folder) if seconds is None else (killing.later, seconds, killing.kill, folder)
    killing.at(place, *act, number=number)


def _begin(state):
    state.update(undisturbed={}, kills=Counter(), outcomes=Counter(), folder=tempfile.TemporaryDirectory())
    state.update({"slowest": 0.0, "not reached": 0})


def _counted(state, place, n_kills, outcome, seconds):
    """Count a round, and return True; one without a kill is none: a checkpoint was not made, or a moment came too late."""
    if not n_kills:
        state["not reached"] += 1
        return False
    state["slowest"] = max(state["slowest"], round(seconds, 1))
    state["kills"][place] += n_kills
    state["outcomes"][outcome] += 1
    return True


# On Dask.


def _listening():
    """Return how many ports this process listens on, and which objects of trainings it has."""
    import skbackprop.dask as own

    return len(killing.listening()), [*own._trackers, *own._collectives, *own._stores]


class _Dask:
    """A cluster, and what is known of it before the first kill."""

    def __init__(self, n_workers):
        import dask
        import dask.array as da
        import distributed
        import psutil

        # Not given up after 15 s, which a worker may take to come back on a busy machine.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10m"})
        self.n_workers = n_workers
        self.cluster = distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)
        self.client = distributed.Client(self.cluster)
        self._process = psutil.Process()
        self.client.wait_for_workers(n_workers, timeout=_COME_BACK)
        self.client.run(_listening)  # imports what it needs
        (self._n_ports,) = {n_ports for n_ports, _ in self.client.run(_listening).values()}
        self._n_processes = len(self._process.children(recursive=True))
        rows = da.from_array(X, chunks=(25, -1)).map_blocks(_read, dtype=X.dtype)
        self.data = rows, da.from_array(Y, chunks=25)

    def close(self):
        with suppress(Exception):
            self.client.close()
        with suppress(Exception):
            self.cluster.close()

    def is_whole(self):
        """Whether all workers are there and answer, and Dask would start each anew."""
        with suppress(Exception):
            self.client.wait_for_workers(self.n_workers, timeout=_COME_BACK)
            deadline = time.monotonic() + _COME_BACK
            while time.monotonic() < deadline:
                nannies = self.cluster.workers.values()
                pids = set(self.client.run(os.getpid).values())
                if len(pids) == self.n_workers and pids == {
                    nanny.pid for nanny in nannies if nanny.status.name == "running"
                }:
                    return True
                time.sleep(0.1)
        return False

    def left(self):
        """Return what is left of trainings: on the workers, in the scheduler, and of processes."""
        found = {}
        with suppress(OSError):
            workers = self.client.run(_listening, on_error="ignore")
            found = {address: own for address, own in workers.items() if own[0] > self._n_ports or own[1]}
        tasks = self.client.run_on_scheduler(lambda dask_scheduler: [*map(str, dask_scheduler.tasks)])
        n_processes = len(self._process.children(recursive=True))
        others = killing.processes_of_xgboost()
        return (
            found
            | ({"tasks": tasks} if tasks else {})
            | ({"processes": n_processes} if n_processes > self._n_processes else {})
            | ({"processes of XGBoost": others} if others else {})
        )


def _read(rows):
    return killing.Partition.read(rows)


def _plugin(addresses, *arguments):
    """Return a plugin that arms these workers, and all that are started later."""
    import distributed

    class Arms(distributed.WorkerPlugin):
        name = "kills"

        def __init__(self):
            self.others = addresses

        def setup(self, worker):
            if worker.address not in self.others:
                _arm(*arguments)

    return Arms()


def dask_kills(rng, state):
    """Workers of a Dask cluster are killed anywhere in a training: its bits are those of one undisturbed, or there is one clear error."""
    try:
        import distributed

        import skbackprop.dask
        from skbackprop.dask import DaskBackpropClassifier
    except ImportError as error:
        raise NotHereError(error) from None
    if "undisturbed" not in state:
        _begin(state)
        state.update({"clusters built anew": 0, "workers": Counter()})
        # Dask does not start a worker again that is killed before its start has been noted.
        skbackprop.dask._SECONDS_FOR_ONE = _COME_BACK
    cluster = state.get("cluster")
    # One in ten rounds begins with other workers.
    if cluster is None or rng.random() < 0.1 or not cluster.is_whole():
        if cluster is not None:
            cluster.close()
            state["clusters built anew"] += 1
        cluster = state["cluster"] = _Dask(int(rng.integers(2, 4)))
    client, training = cluster.client, int(rng.choice(len(TRAININGS), p=[0.6, 0.3, 0.1]))
    settings = _COMMON | TRAININGS[training]

    def fit():
        with client.as_current():
            return DaskBackpropClassifier(**settings).fit(*cluster.data)

    key = cluster.n_workers, training
    if key not in state["undisturbed"]:
        fit()  # the first one compiles
        client.run(killing.at, "sum", killing.tick)
        started = time.monotonic()
        model = fit()
        state["undisturbed"][key] = _bits(model), client.run(killing.ticks).popitem()[1], time.monotonic() - started
        client.run(killing.restore)
    undisturbed, n_sums, window = state["undisturbed"][key]
    place, number, seconds = _draw_place(rng, ["loading", *_PLACES, *["checkpoint"] * (training != 2)], n_sums, window)
    # All workers, or one and those that are started in its place.
    addresses, n_kills = sorted(client.run(os.getpid)), _draw_kills(rng)
    others = [] if n_kills > 1 and rng.integers(2) else rng.permutation(addresses)[1:].tolist()
    folder = _files(state["folder"].name, n_kills)
    client.register_plugin(_plugin(others, place, folder, number, seconds))
    # So that some go on from a checkpoint, and some begin again.
    skbackprop.dask.SECONDS_BETWEEN_CHECKPOINTS = 0.0 if place == "checkpoint" else [0.0, 10.0][rng.integers(2)]
    begun = skbackprop.dask._train_once
    n_groups = []

    def train_once(*arguments):
        n_groups.append(len(arguments[3]))
        return begun(*arguments)

    skbackprop.dask._train_once = train_once
    started = time.monotonic()
    try:
        outcome = _in_time(fit)
    except AssertionError:
        state.pop("cluster").close()
        raise
    finally:
        skbackprop.dask._train_once = begun
        with suppress(Exception):
            client.unregister_worker_plugin("kills")
            client.run(killing.restore, on_error="ignore")
    took = time.monotonic() - started
    n_done = n_kills - len(list(folder.iterdir()))
    name = "moment" if seconds is not None and place == "joining" else place
    where = (
        f"{name} {number} {seconds}, {n_done} kills, {cluster.n_workers} workers, training {training}, "
        f"checkpoints each {skbackprop.dask.SECONDS_BETWEEN_CHECKPOINTS} s, groups {n_groups}"
    )
    print(f"  {where}: {type(outcome).__name__} {took:.1f} s", file=sys.stderr, flush=True)
    assert not n_groups or set(n_groups) == {cluster.n_workers}, f"{where}: workers were missing at the start"
    word = _check(outcome, (WorkerLostError, distributed.KilledWorker), undisturbed, n_done, where)
    del outcome
    _wait_until_gone(cluster.left, where)
    if not _counted(state, name, n_done, word, took):
        return dask_kills(rng, state)
    state["workers"][cluster.n_workers] += 1
    return None


# On Spark.


class _Spark:
    """A session on this machine, with two tasks at a time, and the rows of a training in two partitions."""

    def __init__(self):
        from pyspark import cloudpickle
        from pyspark.ml.linalg import Vectors
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable
        # Tasks cannot import these modules.
        for module in (killing, sys.modules[__name__]):
            cloudpickle.register_pickle_by_value(module)
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
        }
        self.session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
        self.session.sparkContext.setLogLevel("OFF")
        rows = [(Vectors.dense(row), float(label)) for row, label in zip(X, Y, strict=True)]
        self.data = self.session.createDataFrame(rows, ["features", "label"]).repartition(2).cache()
        self.data.count()
        #: Checkpoints of trainings that have ended with an error, which Spark removes with the session.
        self.files = set()

    def close(self):
        with suppress(Exception):
            self.session.stop()

    def left(self):
        """Return what is left of trainings: jobs, checkpoints, ports and processes."""
        import psutil
        from pyspark import SparkFiles

        jobs = [*self.session.sparkContext.statusTracker().getActiveJobsIds()]
        files = set(Path(SparkFiles.getRootDirectory()).glob("skbackprop-fit*")) - self.files
        workers = {}
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                # Forked by one of Spark's daemons for a task, and kept for the next one.
                if "pyspark.daemon" in process.cmdline() and "pyspark.daemon" in process.parent().cmdline():
                    workers.setdefault(process.ppid(), []).append(process)
        ports, too_many = [], [own for own in workers.values() if len(own) > 2]
        for process in chain(*workers.values()):
            with suppress(psutil.Error):
                ports += killing.listening(process.pid)
        found = {"jobs": jobs, "files": files, "ports": ports, "workers": too_many}
        found["processes of XGBoost"] = killing.processes_of_xgboost()
        return {name: own for name, own in found.items() if own}


def spark_kills(rng, state):
    """Tasks of Spark are killed anywhere in a training: its bits are those of one undisturbed, or there is one clear error."""
    try:
        import psutil  # noqa: F401

        import skbackprop.spark
        from skbackprop.spark import SparkBackpropClassifier, _camel
    except ImportError as error:
        raise NotHereError(error) from None
    if shutil.which("java") is None:
        raise NotHereError("Java is not installed")
    if "undisturbed" not in state:
        _begin(state)
        state["cluster"] = _Spark()
    cluster, training = state["cluster"], int(rng.choice(len(TRAININGS), p=[0.6, 0.3, 0.1]))
    estimator = SparkBackpropClassifier(**{_camel(name): own for name, own in (_COMMON | TRAININGS[training]).items()})

    def fit():
        return estimator.fit(cluster.data).to_local()

    if training not in state["undisturbed"]:
        fit()  # the first one compiles
        started = time.monotonic()
        state["undisturbed"][training] = _bits(fit()), time.monotonic() - started
    undisturbed, window = state["undisturbed"][training]
    # The tracker is the driver's.
    places = [*(place for place in _PLACES if place != "tracker"), *["checkpoint file"] * (training != 2)]
    # 300 epochs of 5 batches.
    place, number, seconds = _draw_place(rng, places, 1500, window)
    n_kills = _draw_kills(rng)
    ranks = {0, 1} if n_kills > 1 and rng.integers(2) else {int(rng.integers(2))}
    folder = _files(state["folder"].name, n_kills)
    own = skbackprop.spark._Training

    class Armed(own):
        def _fit(self, rank, batches):
            if rank in ranks:
                _arm(place, folder, number, seconds)
            try:
                return super()._fit(rank, batches)
            finally:
                killing.restore()

    skbackprop.spark.SECONDS_BETWEEN_CHECKPOINTS = 0.0 if "checkpoint" in place else [0.0, 10.0][rng.integers(2)]
    skbackprop.spark._Training = Armed
    started = time.monotonic()
    try:
        outcome = _in_time(fit)
    finally:
        skbackprop.spark._Training = own
    took, n_done = time.monotonic() - started, n_kills - len(list(folder.iterdir()))
    name = "moment" if seconds is not None and place == "joining" else place
    where = (
        f"{name} {number} {seconds}, {n_done} kills, ranks {ranks}, training {training}, "
        f"checkpoints each {skbackprop.spark.SECONDS_BETWEEN_CHECKPOINTS} s"
    )
    print(f"  {where}: {type(outcome).__name__} {took:.1f} s", file=sys.stderr, flush=True)
    word = _check(outcome, WorkerLostError, undisturbed, n_done, where)
    if isinstance(outcome, WorkerLostError):
        cluster.files.update(cluster.left().get("files", ()))
    _wait_until_gone(cluster.left, where)
    return None if _counted(state, name, n_done, word, took) else spark_kills(rng, state)
