"""Shared fixtures. Threads are pinned before Numba is imported: an oversubscribed run is many times slower."""

import os
import signal

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from functools import partial
from importlib import import_module

import numpy as np
import pytest

from skbackprop._compile import SIMULATED
from skbackprop.backends import Backend, get_backend

# Where a shell starts the tests in the background, they may be made to ignore Ctrl-C, and some send it to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

if SIMULATED:
    import_module("simulator").install()


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(0)


def _make_backend(name):
    """The CPU's, or one tier of the first GPU's, which may be simulated."""
    if name == "cpu":
        return get_backend("cpu")
    cuda = import_module("skbackprop.backends.cuda")
    reason = cuda.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    session = partial(cuda.Session, tier=name)
    return Backend(name, session, cuda.predict, get_backend("cpu").input_gradient)


def _parameters(*tiers):
    """The simulator replaces all devices: its lane leaves out what other lanes run on the CPU."""
    if SIMULATED:
        return list(tiers)
    return ["cpu", *(pytest.param(tier, marks=pytest.mark.gpu) for tier in tiers)]


@pytest.fixture(params=_parameters("resident"))
def backend(request):
    """Each backend, in its simplest tier."""
    return _make_backend(request.param)


@pytest.fixture(params=_parameters("resident", "cooperative", "stepwise"))
def backend_tier(request):
    """Each backend in each of its tiers."""
    return _make_backend(request.param)


@pytest.fixture
def _everywhere_the_device(backend, monkeypatch):
    """Estimators with ``device="cuda"`` get the backend under test."""
    for name in ("_inputs.get_backend", "_problem.get_backend", "_prediction.get_prediction_backend"):
        monkeypatch.setattr(
            f"skbackprop.estimators.{name}",
            lambda device, flops=0.0, precision="full": get_backend("cpu") if device == "cpu" else backend,
        )


def pytest_collection_modifyitems(items):
    """Mark the tests that the simulator's lane runs."""
    for item in items:
        if {"backend", "backend_tier"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.backend)


@pytest.fixture(scope="module")
def cluster():
    """Two of Dask's workers, a process each."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    # On a busy machine a worker that was killed may take longer to come back than the 15 s after which the cluster gives it up.
    patience = {"distributed.comm.timeouts.connect": "10s", "distributed.deploy.lost-worker-timeout": "10m"}
    with dask.config.set(patience), distributed.LocalCluster(**settings) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of the cluster, the current one."""
    distributed = pytest.importorskip("distributed")
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=120)
        yield client
