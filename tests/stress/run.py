"""Long runs: threads, processes, signals and kills, as many rounds as are asked for.

    python tests/stress/run.py threads --rounds 1000
    python tests/stress/run.py --list

Each round is one of many that have to end in the same bits; what differs, hangs or dies is counted and told, and the exit status is
then 1. Rounds are drawn from a seed that is printed.
"""

import argparse
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from skbackprop import BackpropClassifier, Checkpoint, load

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


def threads(rng, state):
    """8 threads fit estimators of their own and predict with a shared one."""
    if not state:
        shared = wide().fit(WIDE, Y_WIDE)
        state.update(shared=shared, proba=shared.predict_proba(WIDE), bits=bits(classifier().fit(X, Y)))
    wrong = []

    def work(index):
        try:
            if index % 2:
                same = bits(classifier().fit(X, Y)) == state["bits"]
            else:
                same = (state["shared"].predict_proba(WIDE) == state["proba"]).all()
            if not same:
                wrong.append(index)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong


def _child_fits(expected):
    os._exit(0 if bits(wide().fit(WIDE, Y_WIDE)) == expected else 3)


def fork(rng, state):
    """A child that is forked after a parallel kernel, at times while one runs, trains the same model."""
    if not state:
        state["bits"] = bits(wide().fit(WIDE, Y_WIDE))
    busy = threading.Thread(target=wide().fit, args=(WIDE, Y_WIDE)) if rng.random() < 0.5 else None
    if busy is not None:
        busy.start()
        time.sleep(rng.uniform(0, 0.02))
    child = FORK.Process(target=_child_fits, args=(state["bits"],))
    child.start()
    child.join(HANGS)
    hung = child.exitcode is None
    if hung:
        child.kill()
    if busy is not None:
        busy.join()
    assert not hung, "the child hangs"
    assert child.exitcode == 0, child.exitcode


def nested(rng, state):
    """Searches within joblib's workers, with threads or processes."""
    if not state:
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


def sigint(rng, state):
    """Ctrl-C at a random moment of fit, search or predict: the estimator can be used, and its next fit is as good as new."""
    if not state:
        model = wide(max_iter=2)
        state["bits"] = bits(model.fit(WIDE, Y_WIDE))
        state["proba"] = model.predict_proba(WIDE)
        state["model"] = model
    model = [wide(max_iter=40), state["model"]][rng.integers(2)]
    timer = threading.Timer(rng.uniform(0.0, 0.15), os.kill, (os.getpid(), signal.SIGINT))
    what = rng.integers(3)
    timer.start()
    try:
        if what == 0:
            model.set_params(max_iter=40).fit(WIDE, Y_WIDE)
        elif what == 1:
            for _ in range(10):
                state["model"].predict_proba(WIDE)
        else:
            GridSearchCV(classifier(max_iter=30), {"alpha": [1e-4, 1.0]}, cv=3).fit(X, Y)
        # It may come too late: then it comes here.
        time.sleep(0.3)
    except KeyboardInterrupt:
        pass
    timer.join()
    if hasattr(model, "coefs_"):
        assert np.isfinite(model.predict_proba(WIDE)).all()
    assert bits(model.set_params(max_iter=2).fit(WIDE, Y_WIDE)) == state["bits"]
    assert (model.predict_proba(WIDE) == state["proba"]).all()
    state["model"] = model


def _train(folder, settings):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    classifier(**settings).set_callbacks(Checkpoint(folder, epochs=1)).fit(X, Y)
    os._exit(0)


def kill(rng, state):
    """SIGKILL or SIGTERM at a random moment of a training with checkpoints; each file is whole, and the end has the same bits."""
    settings = {
        "max_iter": 40,
        "averaging": 0.9,
        "dropout": 0.2,
        "normalization": "batch",
        "n_jobs": 1,
        "n_iter_no_change": np.inf,
    }
    if not state:
        state["bits"] = bits(classifier(**settings).fit(X, Y))
        state["folder"] = tempfile.TemporaryDirectory()
        state["kills"] = state["trainings"] = 0
    folder = Path(state["folder"].name)
    child = FORK.Process(target=_train, args=(folder, settings))
    child.start()
    child.join(rng.uniform(0.02, 0.4))
    if child.exitcode is None:
        os.kill(child.pid, [signal.SIGKILL, signal.SIGTERM][rng.integers(2)])
        child.join()
    state["kills"] += child.exitcode < 0
    assert child.exitcode <= 0, child.exitcode
    for path in folder.glob("*.safetensors"):
        load(path)
    if child.exitcode == 0:
        state["trainings"] += 1
        assert bits(classifier(**settings).set_callbacks(Checkpoint(folder)).fit(X, Y)) == state["bits"]
        assert not list(folder.glob(".*")), "a temporary file is left"
        for path in folder.iterdir():
            path.unlink()


LIMITED = """
import resource, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from run import classifier, wide, bits, X, Y, WIDE, Y_WIDE
model = classifier().fit(X, Y)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for line in sys.stdin:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(line), hard))
    try:
        wide(max_iter=1).fit(WIDE, Y_WIDE)
        print("fits", end=" ")
    except (MemoryError, ValueError, RuntimeError, OSError) as error:
        print(type(error).__name__, end=" ")
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    print(bits(classifier().fit(X, Y)) == bits(model), flush=True)
"""


def memory(rng, state):
    """A limit of the address space at a random height: a fit works or raises, and the next one works."""
    if not state or state["child"].poll() is not None:
        state["child"] = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        state.setdefault("outcomes", {})
    child = state["child"]
    child.stdin.write(f"{int(rng.integers(0, 60e6))}\n")
    child.stdin.flush()
    answer = child.stdout.readline().split()
    assert answer[1:] == ["True"], answer if answer else f"the process ended with {child.wait()}"
    state["outcomes"][answer[0]] = state["outcomes"].get(answer[0], 0) + 1


KINDS = {kind.__name__: kind for kind in (threads, fork, nested, sigint, kill, memory)}


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
            print(f"{name:10}{kind.__doc__}")
        return 0
    warnings.simplefilter("ignore")
    rng, state, failures = np.random.default_rng(arguments.seed), {}, []
    started = time.monotonic()
    n_rounds = 0
    while n_rounds < arguments.rounds and time.monotonic() - started < arguments.seconds:
        faulthandler.dump_traceback_later(2 * HANGS, exit=True)
        try:
            KINDS[arguments.kind](rng, state)
        except (Exception, KeyboardInterrupt) as error:
            failures.append(f"round {n_rounds}: {type(error).__name__}: {error}")
        n_rounds += 1
    faulthandler.cancel_dump_traceback_later()
    counts = {name: value for name, value in state.items() if name in ("kills", "trainings", "outcomes")}
    print(f"{arguments.kind}: {n_rounds} rounds, seed {arguments.seed}, {len(failures)} failures {counts or ''}")
    print(*failures[:20], sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
