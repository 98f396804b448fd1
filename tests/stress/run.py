"""Long runs: threads, processes, signals and kills, as many rounds as are asked for.

    python tests/stress/run.py threads_omp --rounds 1000
    python tests/stress/run.py --list

Each round is one of many that have to end in the same bits; what differs, hangs or dies is counted and told, and the exit status is
then 1. Rounds are drawn from a seed that is printed. Where a kind cannot run, the reason is told, and the exit status is 2.
"""

import argparse
import ctypes
import faulthandler
import importlib.metadata
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from functools import partial
from itertools import cycle
from pathlib import Path

import joblib
import numba
import numpy as np
from clusters import NotHereError, dask_kills, spark_kills
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from skbackprop import BackpropClassifier, Checkpoint, load
from skbackprop.backends.cpu.threads import cores_in_use
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

X, Y = load_iris(return_X_y=True)
WIDE = np.tile(X, (20, 16))
Y_WIDE = np.tile(Y, 20)
FORK = multiprocessing.get_context("fork")

# A round that takes longer hangs.
HANGS = 120


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0, **settings})


def wide(**settings):
    """One whose kernels are parallel."""
    return classifier(**{"hidden_layer_sizes": (256, 64), "n_jobs": 2, "max_iter": 2, **settings})


def bits(model):
    return b"".join(coef.tobytes() for coef in model.coefs_)


class Signalled(BaseException):
    """Raised by a handler, as Ctrl-C raises KeyboardInterrupt: no `except Exception` may swallow it."""


def tasks_of_threads():
    """What a thread may do, as functions that compare the bits, and one that does after all."""
    shared, common = wide().fit(WIDE, Y_WIDE), classifier().fit(X, Y)
    small, large, proba, few = bits(common), bits(shared), shared.predict_proba(WIDE), common.predict_proba(X)

    def fits_own():
        assert bits(classifier().fit(X, Y)) == small

    def fits_own_in_parallel():
        assert bits(wide().fit(WIDE, Y_WIDE)) == large

    def predicts_shared():
        np.testing.assert_array_equal(shared.predict_proba(WIDE), proba)

    def fits_and_predicts_shared():
        # Others fit the same estimator to the same data: what they all end with is the same.
        common.fit(X, Y)
        assert np.isfinite(common.predict_proba(X)).all()

    def after():
        assert bits(common) == small
        np.testing.assert_array_equal(common.predict_proba(X), few)

    return [fits_own, fits_own_in_parallel, predicts_shared, fits_and_predicts_shared], after


@numba.njit(parallel=True)
def _of_the_user(values):
    """Parallel code that is not this package's, and runs on one of Numba's threading layers."""
    result = np.empty_like(values)
    for i in numba.prange(values.size):
        result[i] = np.sin(values[i]) * np.exp(-(values[i] ** 2))
    return result


def _choose_layer(layer):
    numba.config.THREADING_LAYER = layer
    if layer == "tbb" and sys.platform == "linux":
        # Where pip puts it, no loader looks; once loaded, its name is known.
        library = Path(sys.prefix, "lib", "libtbb.so.12")
        if library.exists():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        _of_the_user(np.zeros(3))
    except ValueError as error:
        raise NotHereError(f"Numba has no threading layer {layer!r} here: {error}") from error
    assert numba.threading_layer() == layer


def threads(layer, rng, state):
    """8 threads fit and predict with estimators of their own and shared ones, beside a user's code on Numba's threading layer."""
    if "tasks" not in state:
        _choose_layer(layer)
        state["tasks"], state["after"] = tasks_of_threads()
        state["values"] = np.linspace(-3, 3, 100_000)
        state["expected"] = _of_the_user(state["values"])
        state["calls of the user's code"] = 0
    wrong = []
    n_calls = [0, 0]

    def checked(work):
        try:
            work()
        except BaseException as error:
            wrong.append(error)

    def of_the_user(index):
        while True:
            assert (_of_the_user(state["values"]) == state["expected"]).all()
            n_calls[index] += 1
            if not any(worker.is_alive() for worker in workers):
                return

    order = rng.permutation(np.tile(np.arange(len(state["tasks"])), 2))
    workers = [threading.Thread(target=checked, args=(state["tasks"][index],)) for index in order]
    # Numba's own pool can be entered by one thread at a time, the others' by several.
    users = [
        threading.Thread(target=checked, args=(partial(of_the_user, index),))
        for index in range(1 + (layer != "workqueue"))
    ]
    for thread in (*workers, *users):
        thread.start()
    for thread in (*workers, *users):
        thread.join()
    state["calls of the user's code"] += sum(n_calls)
    checked(state["after"])
    assert not wrong, wrong


def _child_fits(expected):
    os._exit(0 if bits(wide().fit(WIDE, Y_WIDE)) == expected else 3)


def fork(rng, state):
    """A child that is forked after a parallel kernel, at times while one runs, trains the same model."""
    if "bits" not in state:
        _choose_layer("omp" if sys.platform == "linux" else "workqueue")
        state["bits"] = bits(wide().fit(WIDE, Y_WIDE))
        state["while a kernel ran"] = 0
    busy = threading.Thread(target=wide().fit, args=(WIDE, Y_WIDE)) if rng.random() < 0.5 else None
    if busy is not None:
        busy.start()
        time.sleep(rng.uniform(0, 0.02))
    child = FORK.Process(target=_child_fits, args=(state["bits"],))
    child.start()
    state["while a kernel ran"] += busy is not None and busy.is_alive()
    exitcode = _ended(child)
    if busy is not None:
        busy.join()
    assert exitcode == 0, exitcode


def _ended(child, seconds=HANGS):
    child.join(seconds)
    hung = child.exitcode is None
    if hung:
        os.kill(child.pid, signal.SIGUSR1)  # tells what it waits for
        time.sleep(1)
        child.kill()
        child.join()
    assert not hung, "the child hangs"
    return child.exitcode


def nested(rng, state):
    """Searches within joblib's workers, with threads or processes."""
    if "score" not in state:
        state["score"] = _search(1)
    backend = ["threading", "loky"][rng.integers(2)]
    with joblib.parallel_config(backend=backend):
        scores = joblib.Parallel(n_jobs=2)(joblib.delayed(_search)(2) for _ in range(2))
    assert scores == [state["score"]] * 2, scores


def _search(n_jobs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=n_jobs).fit(X, Y)
    return search.best_score_


def _prepare_signals(state):
    model = wide()
    state["bits"] = bits(model.fit(WIDE, Y_WIDE))
    state["proba"] = model.predict_proba(WIDE)
    state["model"] = model
    state["moments"] = Counter()


def _at_work(what, model, seen=()):
    """Something that goes on until a signal is seen; at Ctrl-C a fit returns with the weights that it has, and a search goes on."""
    while not seen:
        if what == "fit":
            model.set_params(max_iter=10**6, n_iter_no_change=np.inf).fit(WIDE, Y_WIDE)
        elif what == "predict":
            model.predict_proba(WIDE)
        else:
            GridSearchCV(classifier(max_iter=30), {"alpha": [1e-4, 1.0]}, cv=3).fit(X, Y)


def _check_usable(model, state):
    """Predicts, and its next fit is as good as new."""
    assert cores_in_use() == 0, "cores are not given back"
    if hasattr(model, "coefs_"):
        assert np.isfinite(model.predict_proba(WIDE)).all()
    assert bits(model.set_params(max_iter=2, n_iter_no_change=10).fit(WIDE, Y_WIDE)) == state["bits"]
    assert (model.predict_proba(WIDE) == state["proba"]).all()


def sigint(rng, state):
    """Ctrl-C at a random moment of fit, search or predict: the estimator can be used, and its next fit is as good as new."""
    if "bits" not in state:
        _prepare_signals(state)
    what = ["fit", "search", "predict"][rng.integers(3)]
    model = wide() if what == "fit" and rng.random() < 0.5 else state["model"]
    sent, seen = [], []

    def handler(number, frame):
        seen.append(time.perf_counter() - sent[0])
        raise KeyboardInterrupt

    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    # Python's own would not do: a shell that starts this in the background makes it ignore Ctrl-C.
    signal.signal(signal.SIGINT, handler)
    timer = threading.Timer(rng.uniform(0.0, 0.15), send)
    try:
        timer.start()
        _at_work(what, model, seen)
    except KeyboardInterrupt:
        pass
    timer.join()
    state["moments"][what] += 1
    state["slowest"] = max(state.get("slowest", 0.0), round(seen[0], 3))
    _check_usable(model, state)
    state["model"] = model


def _told_to_end(what, handled, ready, state):
    """The child of `sigterm`."""
    model = state["model"]

    def handler(number, frame):
        raise Signalled

    signal.signal(signal.SIGTERM, handler if handled else signal.SIG_DFL)
    try:
        ready.set()
        _at_work(what, model)
    except Signalled:
        pass
    _check_usable(model, state)
    os._exit(0)


def sigterm(rng, state):
    """SIGTERM at a random moment of fit, search or predict ends a process at once; where a handler raises, the estimator can be used."""
    if "bits" not in state:
        _prepare_signals(state)
    what = ["fit", "search", "predict"][rng.integers(3)]
    handled = bool(rng.integers(2))
    ready = FORK.Event()
    child = FORK.Process(target=_told_to_end, args=(what, handled, ready, state))
    child.start()
    assert ready.wait(HANGS)
    time.sleep(rng.uniform(0.0, 0.1))
    child.terminate()
    exitcode = _ended(child)
    state["moments"][f"{what}, handled" if handled else what] += 1
    assert exitcode == (0 if handled else -signal.SIGTERM), exitcode


def _searches_in_processes(ready):
    """The child of `orphans`, which leads a group of processes, as a command in a shell does."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # the tracebacks of its workers
    ready.set()
    # Each process gives up the fit that it is at; without an end, they would go through all the others.
    endless = classifier(max_iter=10**6, n_iter_no_change=np.inf)
    GridSearchCV(endless, {"alpha": np.geomspace(1e-4, 1.0, 100)}, cv=3, n_jobs=2).fit(X, Y)


def _members(group):
    """The living processes of a group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(int(stat.parent.name))
    return members


def orphans(rng, state):
    """Ctrl-C, which a terminal sends to all, at a random moment of a search with joblib's processes: none of them stays."""
    if sys.platform != "linux":
        raise NotHereError("/proc, where processes are counted, is Linux's")
    ready = FORK.Event()
    child = FORK.Process(target=_searches_in_processes, args=(ready,))
    child.start()
    assert ready.wait(HANGS)
    # Half of the moments are while joblib starts them.
    if rng.integers(2):
        begun = time.monotonic()
        while len(_members(child.pid)) < 3 and time.monotonic() - begun < HANGS:
            child.join(0.01)
    time.sleep(rng.uniform(0.0, 2.0))
    n_processes = len(_members(child.pid))
    os.killpg(child.pid, signal.SIGINT)
    sent = time.monotonic()
    while (left := _members(child.pid)) and time.monotonic() - sent < HANGS:
        child.join(0.02)
    state["slowest"] = max(state.get("slowest", 0.0), round(time.monotonic() - sent, 2))
    state.setdefault("processes", Counter())[n_processes] += 1
    for process in left:
        os.kill(process, signal.SIGKILL)
    child.join()
    assert not left, f"{len(left)} processes of {n_processes} were left"
    assert child.exitcode == 1, child.exitcode  # by KeyboardInterrupt


#: Trainings that are killed: each solver once, and each schedule, with what else makes up their state.
TRAININGS = [
    {
        "solver": solver,
        "learning_rate": schedule,
        "normalization": normalization,
        "dropout": dropout,
        "averaging": averaging,
        "early_stopping": early_stopping,
        "max_iter": 40,
        "n_iter_no_change": np.inf,
    }
    for solver, schedule, normalization, dropout, averaging, early_stopping in zip(
        OPTIMIZERS,
        cycle(SCHEDULES),
        cycle([None, "batch", "layer"]),
        cycle([0.2, 0.0]),
        cycle([0.9, 0.9, None]),
        cycle([False, True]),
        strict=False,
    )
]


def _train(folder, settings):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    classifier(**settings).set_callbacks(Checkpoint(folder, epochs=1)).fit(X, Y)
    os._exit(0)


def kill(rng, state):
    """SIGKILL or SIGTERM at a random moment of a training with checkpoints; each file is whole, and the end has the same bits."""
    if "folder" not in state:
        state.update(folder=tempfile.TemporaryDirectory(), bits={}, kills=Counter(), trainings=0, reached=0, window=0.1)
        state["number"] = rng.integers(len(TRAININGS))
    folder = Path(state["folder"].name)
    exitcode = 0
    # A round ends with a kill; trainings that come to their end before are compared, and followed by others.
    while exitcode == 0:
        number = state["number"]
        settings = TRAININGS[number]
        if number not in state["bits"]:
            state["bits"][number] = bits(classifier(**settings).fit(X, Y))
        child = FORK.Process(target=_train, args=(folder, {**settings, "n_jobs": int(rng.integers(1, 3))}))
        child.start()
        child.join(rng.uniform(0.0, state["window"]))
        if child.exitcode is None:
            os.kill(child.pid, [signal.SIGKILL, signal.SIGTERM][rng.integers(2)])
            child.join()
        exitcode = child.exitcode
        assert exitcode in (0, -signal.SIGKILL, -signal.SIGTERM), exitcode
        reached = max([load(path).n_iter_ for path in folder.glob("*.safetensors")], default=0)
        assert reached >= state["reached"], f"the checkpoint after {state['reached']} epochs was lost"
        # So long that some get further and some do not, on any machine.
        state["window"] *= 1.2 if reached == state["reached"] else 0.8
        state["reached"] = reached
        if exitcode == 0:
            _check_end(folder, settings, state)
            state["number"] = rng.integers(len(TRAININGS))
    state["kills"][signal.Signals(-exitcode).name] += 1


def _check_end(folder, settings, state):
    """What was killed many times ends with the bits of what was not."""
    model = classifier(**settings).set_callbacks(Checkpoint(folder)).fit(X, Y)
    assert bits(model) == state["bits"][state["number"]]
    assert not list(folder.glob(".*")), "a temporary file is left"
    for path in folder.iterdir():
        path.unlink()
    state["trainings"] += 1
    state["reached"] = 0


LIMITED = """
import resource, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from run import classifier, wide, bits, X, Y, WIDE, Y_WIDE
model = classifier().fit(X, Y)
for line in sys.stdin:
    units, growth = map(int, line.split())
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + growth, hard))
    try:
        wide(hidden_layer_sizes=(units, 64), max_iter=1).fit(WIDE, Y_WIDE)
        outcome = "fits"
    except (MemoryError, ValueError, RuntimeError, OSError) as error:
        outcome = type(error).__name__
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    print(outcome, bits(classifier().fit(X, Y)) == bits(model), flush=True)
"""


def memory(rng, state):
    """A limit of the address space at a random height: a fit works or raises, and the next one works."""
    if sys.platform != "linux":
        raise NotHereError("limits of the address space are Linux's")
    if "child" not in state or state["child"].poll() is not None:
        state["child"] = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        state.setdefault("outcomes", Counter())
    child = state["child"]
    child.stdin.write(f"{rng.integers(64, 4000)} {int(10 ** rng.uniform(4, 8.3))}\n")
    child.stdin.flush()
    answer = child.stdout.readline().split()
    assert answer[1:] == ["True"], answer if answer else f"the process ended with {child.wait()}"
    state["outcomes"][answer[0]] += 1


KINDS = {
    **{f"threads_{layer}": partial(threads, layer) for layer in ("workqueue", "omp", "tbb")},
    **{kind.__name__: kind for kind in (fork, nested, sigint, sigterm, orphans, kill, memory, dask_kills, spark_kills)},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument(
        "--seconds", type=float, default=np.inf, help="end after this time, with the rounds done so far"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="tell what there is")
    arguments = parser.parse_args()
    if arguments.list or arguments.kind is None:
        for name, kind in KINDS.items():
            print(f"{name:20}{getattr(kind, 'func', kind).__doc__}")
        return 0
    warnings.simplefilter("ignore")
    rng, state, failures = np.random.default_rng(arguments.seed), {}, []
    started = time.monotonic()
    n_rounds = 0
    faulthandler.register(signal.SIGUSR1)
    while n_rounds < arguments.rounds and time.monotonic() - started < arguments.seconds:
        faulthandler.dump_traceback_later(2 * HANGS, exit=True)
        try:
            KINDS[arguments.kind](rng, state)
        except NotHereError as reason:
            print(f"{arguments.kind}: left out: {reason}")
            return 2
        except (Exception, KeyboardInterrupt) as error:
            failures.append(f"round {n_rounds}: {type(error).__name__}: {error}")
        n_rounds += 1
    if "cluster" in state:
        state["cluster"].close()
    faulthandler.cancel_dump_traceback_later()
    counts = {name: value for name, value in state.items() if name in COUNTS}
    seconds = time.monotonic() - started
    print(f"{arguments.kind}: {n_rounds} rounds, seed {arguments.seed}, {len(failures)} failures, {seconds:.0f} s")
    for name, value in counts.items():
        print(f"  {name}: {dict(value) if isinstance(value, Counter) else value}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "numpy", "scikit-learn"))
    print(f"  Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, {platform.platform()}")
    print(*failures[:20], sep="\n")
    return bool(failures)


#: What is told at the end.
COUNTS = (
    "calls of the user's code",
    "while a kernel ran",
    "moments",
    "slowest",
    "processes",
    "kills",
    "workers",
    "clusters built anew",
    "not reached",
    "trainings",
    "outcomes",
)


if __name__ == "__main__":
    sys.exit(main())
