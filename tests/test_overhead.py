"""Guards of speed and memory that count instead of timing: Python's calls, bytes and page faults."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop._compile import JIT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROOT = Path(__file__).parents[1]
compiled_only = pytest.mark.skipif(not JIT, reason="interpreted kernels are Python calls themselves")

RNG = np.random.default_rng(0)


def count_calls(function):
    """Calls of Python and C functions, in this thread."""
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return n_calls


def calls_per_epoch(n_rows, batch_size, **settings):
    X = RNG.standard_normal((n_rows, 5))
    y = X[:, 0]

    def fit(n_epochs):
        model = BackpropRegressor(
            hidden_layer_sizes=(8,),
            batch_size=batch_size,
            max_iter=n_epochs,
            n_iter_no_change=10**6,
            random_state=0,
            n_jobs=1,
            **settings,
        )
        model.fit(X, y)

    fit(1)
    return (count_calls(lambda: fit(120)) - count_calls(lambda: fit(20))) / 100


@compiled_only
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_python_does_nothing_between_batches(solver):
    few, many = (calls_per_epoch(1000, batch_size, solver=solver) for batch_size in (500, 10))
    assert many <= few + 1
    assert many < 30


@compiled_only
def test_short_epochs_share_a_call(monkeypatch):
    together = calls_per_epoch(100, 50)
    monkeypatch.setattr("skbackprop.backends.batch_plan._MAX_EPOCHS", 1)
    assert together < 0.7 * calls_per_epoch(100, 50)


def peak_bytes(function):
    """The most that was allocated at any time in addition to what there was."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@compiled_only
@pytest.mark.parametrize("order", ["C", "sparse"])
def test_fit_and_predict_do_not_copy_the_data(order):
    X = RNG.standard_normal((50_000, 60), dtype=np.float32)
    y = (X[:, 0] > 0).astype(int)
    size = X.nbytes
    if order == "sparse":
        X = sparse.csr_array(X)
        size = X.data.nbytes + X.indices.nbytes
    model = BackpropClassifier(hidden_layer_sizes=(16,), max_iter=1, random_state=0, n_jobs=1)
    model.fit(X, y).predict(X)
    # What grows with the rows besides X: labels, targets, the order of the rows; for sparse data, 64-bit pointers.
    rows = 50_000 * 8
    assert peak_bytes(lambda: model.fit(X, y)) < 10 * rows < size
    assert peak_bytes(lambda: model.predict_proba(X)) < 6 * rows


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count page faults in other ways")
def test_an_import_maps_as_much_memory_from_any_depth_of_the_stack():
    code = """
import resource

def import_at(depth):
    if depth:
        return import_at(depth - 1)
    import skbackprop

import_at({})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

    def count_page_faults(depth):
        command = [sys.executable, "-c", code.format(depth)]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)

    counts = [count_page_faults(depth) for depth in (0, 16, 28, 32, 40)]
    assert max(counts) < 1.1 * min(counts)
