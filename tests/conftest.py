"""Shared fixtures. Threads are pinned before Numba is imported: an oversubscribed run is many times slower."""

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(0)
