"""The process of one peer: waits for a request, answers it, waits again.

Requests and answers are lines of JSON on standard input and output. In a separate process, a peer keeps its own thread
pool, which is idle while others are measured, and its threads are limited before its libraries are loaded.
"""

import ctypes
import gc
import json
import math
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Worker:
    """Answers requests about one peer.

    Parameters
    ----------
    make : callable
        ``make(case, n_threads)`` creates the peer for a case.
    n_threads : int
    """

    def __init__(self, make, n_threads):
        self._make = make
        self._n_threads = n_threads
        self._peer = None

    def prepare(self, case, min_seconds):
        """Load data, compile, check the result, and find how often to repeat for `min_seconds`; 0 is once."""
        self.forget()
        start = time.perf_counter()
        self._peer = self._make(case, self._n_threads)
        self._peer.prepare()
        n = case.get("loss_epochs", 1)
        seconds, n_done = self._peer.run(n)
        check, warmup_seconds = self._peer.check(), time.perf_counter() - start
        if case.get("solver") == "lbfgs":
            # The same iterations for all, because later ones may take more evaluations each.
            seconds, n_done = self._peer.run(n)
        elif min_seconds:
            n = 1
            while (seconds := self._peer.run(n)[0]) < min_seconds:
                n = math.ceil(n * min(100, max(1.2 * min_seconds / seconds, 1.5)))
            n_done = n
        return {"n": n, "seconds": seconds / n_done, "check": check, "warmup_seconds": warmup_seconds}

    def run(self, n):
        """Seconds of one repetition, from `n` of them."""
        seconds, n_done = self._peer.run(n)
        return {"seconds": seconds / n_done}

    def scores(self, case):
        """Scores and CPU seconds of an estimator; see `tables.Trial.scores`."""
        return self._make(case, self._n_threads).scores()

    def forget(self):
        """Free the data."""
        self._peer = None
        gc.collect()
        return {}

    def added_memory(self, case, warmup_case):
        """Bytes by which the peak of memory exceeds the data, after everything has been loaded and compiled."""
        for small in (warmup_case, case):
            peer = self._make(small, self._n_threads)
            gc.collect()
            before = _reset_peak()
            peer.prepare()
            peer.run(1)
            added = _peak() - before
        return {"bytes": added}

    def first_search(self, case):
        """Seconds of a search in a process that has made none; see `search.Search.first`."""
        return {"seconds": self._make(case, self._n_threads).first()}

    def search_memory(self, case):
        """Bytes that a search adds at its peak, in this process and its workers, after everything has been compiled."""
        from benchmarks.search import added_memory

        self.forget()
        peer = self._make(case, self._n_threads)
        peer.prepare()
        return {"bytes": added_memory(lambda: peer.run(1))}

    def limits(self):
        """Rates of arithmetic and of memory; see `limits.measure`."""
        from benchmarks.limits import measure

        return measure(self._n_threads)

    def device_limits(self):
        """The same of a GPU; see `gpu.measure_device`."""
        from benchmarks.gpu import measure_device

        return measure_device()


def _reset_peak():
    """Reset the peak to the memory in use, and return it; without /proc, return the peak so far."""
    if not _CLEAR_REFS.exists():
        return _peak()
    # Memory freed after loading the data must be returned to the system, or fit would reuse it unnoticed.
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    _CLEAR_REFS.write_text("5")  # proc(5): resets the peak to the current value
    return _kilobytes("VmRSS") << 10


def _peak():
    if _STATUS.exists():
        return _kilobytes("VmHWM") << 10
    import resource

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kilobytes(field):
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def _factory(benchmark, peer):
    """The function that creates the peer of a benchmark, with its imports in this process only."""
    if benchmark == "predict":
        from benchmarks.predict import make_peer

        return lambda case, n_threads: make_peer(peer, case, n_threads)
    if benchmark == "gpu":
        from benchmarks.gpu import make_peer

        return lambda case, n_threads: make_peer(case, peer, n_threads)
    if benchmark == "search":
        from benchmarks.search import GPU_PEERS, PEERS

        return lambda case, n_threads: {**PEERS, **GPU_PEERS}[peer](**case)
    if benchmark == "tables":
        from benchmarks.tables import PEERS

        return PEERS[peer]
    from benchmarks.peers import PEERS
    from benchmarks.workloads import Workload

    def make(case, n_threads):
        fields = {key: value for key, value in case.items() if key != "dtype"}
        workload = Workload(**{**fields, "hidden": tuple(fields["hidden"])})
        return PEERS[peer](workload, case["dtype"], n_threads)

    return make


def main(benchmark, peer, n_threads):
    """Serve until standard input ends."""
    n_threads = int(n_threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n_threads:])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    warnings.simplefilter("ignore")
    worker = Worker(_factory(benchmark, peer), n_threads)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except NotImplementedError as reason:
            answer = {"error": f"left out: {reason}"}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
