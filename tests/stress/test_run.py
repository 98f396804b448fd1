"""A few rounds of each kind of the long runs, of which `docs/promises.rst` tells."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skbackprop
from skbackprop._compile import JIT

RUN = Path(__file__).with_name("run.py")
ROOT = Path(skbackprop.__file__).parent.parent

#: Of those that take long, fewer.
ROUNDS = {"nested": 2, "orphans": 2, "dask_kills": 2, "spark_kills": 2}
KINDS = [
    *("threads_workqueue", "threads_omp", "threads_tbb"),
    *("fork", "nested", "sigint", "sigterm", "orphans", "kill", "memory", "dask_kills", "spark_kills"),
]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not JIT, reason="interpreted kernels run on one thread"),
    pytest.mark.skipif(os.name == "nt", reason="Windows has no fork, and other signals"),
]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(RUN), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_few_rounds(kind):
    n_rounds = ROUNDS.get(kind, 5)
    done = run(kind, "--rounds", str(n_rounds))
    if done.returncode == 2 and "left out" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"{kind}: {n_rounds} rounds, seed 0, 0 failures" in done.stdout


def test_no_kind_is_left_out():
    assert [line.split()[0] for line in run("--list").stdout.splitlines()] == KINDS
