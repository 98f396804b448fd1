"""Kernels for other processors: the same bits on each level of x86-64 that this machine supports as on its own."""

import os
import subprocess
import sys

import pytest

from skbackprop._compile import JIT
from skbackprop._processor import supported, variables

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not (JIT and supported()), reason="this machine has no levels, or kernels are interpreted"),
]

FITS = """
import hashlib, warnings
import numpy as np
from skbackprop import BackpropClassifier

warnings.simplefilter("ignore")
random = np.random.RandomState(0)
X, y = random.randn(90, 19), random.randint(0, 3, 90)
cases = [
    {},
    {"solver": "sgd", "activation": "tanh", "batch_size": 1},
    {"normalization": "batch", "dropout": 0.2, "activation": "logistic"},
    {"hidden_layer_sizes": (1,), "solver": "rmsprop", "batch_size": 30},
]
for dtype in ("float32", "float64"):
    for case in cases:
        settings = {"hidden_layer_sizes": (33, 17), "max_iter": 3, "random_state": 0, "n_jobs": 1} | case
        model = BackpropClassifier(**settings, dtype=dtype).fit(X.astype(dtype), y)
        found = hashlib.sha256()
        for array in (*model.coefs_, *model.intercepts_, model.predict_proba(X.astype(dtype))):
            found.update(array.tobytes())
        print(dtype, case, found.hexdigest())
"""


def bits(named):
    """Lines with the digests of fits, made by kernels for the processor that Numba's variables name."""
    environment = os.environ | named
    return subprocess.run(
        [sys.executable, "-c", FITS], env=environment, capture_output=True, text=True, check=True, timeout=500
    ).stdout.splitlines()


@pytest.mark.parametrize("level", supported())
def test_every_level_gives_the_same_bits(level):
    own = bits({})
    assert len(own) == 8
    assert bits(variables(level)) == own
