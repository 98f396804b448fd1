"""Seconds of whole processes: imports, and fitting 150 rows; and the extra cost of the first fit of a process."""

import subprocess
import sys
import tempfile
import time

from benchmarks.measure import ROOT, Results, choose_peers, environment
from benchmarks.peers import PEERS, Jax, ScikitLearn, Skbackprop, Torch

_IMPORTS = {
    "python": "pass",
    "numpy": "import numpy",
    "numba": "import numba",
    "sklearn.neural_network": "import sklearn.neural_network",
    "skbackprop": "import skbackprop",
}
_FIT = """
import time
import warnings
warnings.simplefilter("ignore")
from benchmarks.peers import PEERS
from benchmarks.workloads import Workload
peer = PEERS[{peer!r}](Workload("iris-sized", 150, 4, (100,), 150, n_classes=3), "float64", {n_threads})
start = time.perf_counter()
peer.prepare()
for _ in range(2):
    peer.run({n_epochs})
    print(time.perf_counter() - start)
    start = time.perf_counter()
"""
_EMPTY_CACHE = "skbackprop, empty cache"


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    wanted = options.peers or [peer.name for peer in (Skbackprop, ScikitLearn, Torch, Jax)]
    n_epochs = 2 if options.quick else 200  # 200 are scikit-learn's default
    codes = {
        peer: _FIT.format(peer=peer, n_threads=options.threads, n_epochs=n_epochs)
        for peer in choose_peers(PEERS, wanted)
    }
    if Skbackprop.name in codes:
        _python(codes[Skbackprop.name], options.threads)  # the cache is warm from here on
        codes[_EMPTY_CACHE] = codes[Skbackprop.name]

    imports = {name: [] for name in _IMPORTS}
    whole, first, second = ({peer: [] for peer in codes} for _ in range(3))
    for _ in range(options.rounds):
        for name, code in _IMPORTS.items():
            imports[name].append(_python(code, options.threads)[0])
        for peer, code in codes.items():
            with tempfile.TemporaryDirectory() as folder:
                variables = {"NUMBA_CACHE_DIR": folder} if peer == _EMPTY_CACHE else {}
                seconds, output = _python(code, options.threads, **variables)
            whole[peer].append(seconds)
            for times, line in zip((first, second), output.split(), strict=True):
                times[peer].append(float(line))
    for name, times, unit in (
        ("import", imports, "s"),
        ("process that fits", whole, "s"),
        ("first fit, imports included", first, "ms"),
        ("second fit", second, "ms"),
    ):
        results.add(name, {column: {"times": values} for column, values in times.items()}, unit=unit)
    results.finish()


def _python(code, n_threads, **variables):
    """Seconds of a new process, and its output."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(n_threads, **variables),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, done.stdout
