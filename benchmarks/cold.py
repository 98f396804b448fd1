"""Seconds of whole processes, and of the processor in them: imports, fitting 150 rows, and predicting with a model.

What the first fit costs depends on where its kernels come from: from the compiler, from the disk cache that an earlier
process has filled, or from the package (``python -m skbackprop.build_kernels``).
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
peer = PEERS[{peer!r}](Workload("iris-sized", 150, 4, (100,), 150, n_classes=3), {dtype!r}, {n_threads})
start = time.perf_counter()
peer.prepare()
for _ in range(2):
    peer.run({n_epochs})
    print(time.perf_counter() - start)
    start = time.perf_counter()
"""
_PACKAGED = """
from pathlib import Path
import skbackprop._kernel_files
skbackprop._kernel_files.PACKAGED = Path({folder!r})
"""
_MODEL = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_iris
from {module} import {kind}
model = {kind}(max_iter=5).fit(*load_iris(return_X_y=True))
with open({path!r}, "wb") as file:
    pickle.dump(model, file)
"""
_PREDICT = """
import pickle
import numpy
with open({path!r}, "rb") as file:
    model = pickle.load(file)
model.predict(numpy.zeros((150, 4)))
"""
_KINDS = {
    Skbackprop.name: ("skbackprop", "BackpropClassifier"),
    ScikitLearn.name: ("sklearn.neural_network", "MLPClassifier"),
}
_EMPTY_CACHE, _FLOAT32 = f"{Skbackprop.name}, empty cache", f"{Skbackprop.name}, empty cache, float32"
_WHEEL = f"{Skbackprop.name}, packaged kernels"


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    with tempfile.TemporaryDirectory() as folder:
        for name, cases in _groups(options, Path(folder)).items():
            if options.only and name not in options.only:
                continue
            whole, own, printed = _measure(cases, options)
            results.add(name, {case: {"times": times} for case, times in whole.items()}, unit="s")
            results.add(f"{name}: of the processor", {case: {"times": times} for case, times in own.items()}, unit="s")
            for position, title in enumerate(("first fit, imports included", "second fit")):
                times = {case: [line[position] for line in lines] for case, lines in printed.items() if lines[0]}
                if times:
                    results.add(
                        f"{name}: {title}", {case: {"times": values} for case, values in times.items()}, unit="ms"
                    )
    results.finish()


def _groups(options, folder):
    """Return the cases of each group: a process's code, and whether its disk cache is empty."""
    wanted = options.peers or [peer.name for peer in (Skbackprop, ScikitLearn, Torch, Jax)]
    peers = list(choose_peers(PEERS, wanted))

    def fit(peer, dtype="float64"):
        n_epochs = 2 if options.quick else 200  # 200 are scikit-learn's default
        return _FIT.format(peer=peer, dtype=dtype, n_threads=options.threads, n_epochs=n_epochs)

    fits, compiling = {peer: (fit(peer), False) for peer in peers}, {}
    if Skbackprop.name in fits:
        _python(fit(Skbackprop.name), options.threads)  # the cache is warm from here on
        compiling[_EMPTY_CACHE] = fit(Skbackprop.name), True
        compiling[_FLOAT32] = fit(Skbackprop.name, "float32"), True
        if not options.quick:
            command = [sys.executable, "-m", "skbackprop.build_kernels", "--folder", str(folder)]
            if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
                fits[_WHEEL] = _PACKAGED.format(folder=str(folder)) + fit(Skbackprop.name), True
    predictions = {}
    for peer in peers:
        if peer in _KINDS:
            path, (module, kind) = str(folder / f"{peer}.pickle"), _KINDS[peer]
            _python(_MODEL.format(module=module, kind=kind, path=path), options.threads)
            predictions[peer] = _PREDICT.format(path=path), False
            _python(predictions[peer][0], options.threads)
    imports = {name: (code, False) for name, code in _IMPORTS.items()}
    return {
        "import": imports,
        "process that fits": fits,
        "process that compiles and fits": compiling,
        "process that predicts": predictions,
    }


def _measure(cases, options):
    """Run the cases in turn; return the seconds of their processes, those of the processor, and what they print."""
    whole, own, printed = ({case: [] for case in cases} for _ in range(3))
    for _ in range(options.rounds):
        for case, (code, is_empty) in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                variables = {"NUMBA_CACHE_DIR": folder} if is_empty else {}
                seconds, processor, output = _python(code, options.threads, **variables)
            whole[case].append(seconds)
            own[case].append(processor)
            printed[case].append([float(line) for line in output.split()])
    return whole, own, printed


def _python(code, n_threads, **variables):
    """Seconds of a new process, of the processor in it, and its output."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(n_threads, **variables),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
