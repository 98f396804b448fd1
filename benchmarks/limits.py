"""Limits of the machine: the best rates of arithmetic and memory, measured in the same run."""

import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from skbackprop._compile import settle
from skbackprop.backends.cpu import gemm
from skbackprop.backends.cpu.memory import at

_GEMM_SIZE = 1536
# Factors that stay in the caches of a core.
_CACHED_SHAPE = 192, 128, 128
_CACHED_CALLS = 2000
_STREAM_NUMBERS = 1 << 25  # 256 MiB per array: more than any cache
_REPEATS = 5


def measure(n_threads):
    """Measure both.

    Parameters
    ----------
    n_threads : int
        Threads; NumPy's product takes those that BLAS has.

    Returns
    -------
    limits : dict
        "float32" and "float64": flops per second, the best rate measured: NumPy's product of large matrices, or the
        package's own of matrices in each core's cache. BLAS may not support the processor's widest vectors. "memory":
        bytes per second of ``a = b + c`` (the add kernel of McCalpin's STREAM).
    """
    rates = {
        np.dtype(dtype).name: max(_gemm_rate(dtype), _cached_rate(dtype, n_threads))
        for dtype in (np.float32, np.float64)
    }
    return {**rates, "memory": _bandwidth(n_threads)}


def time_limit(workload, dtype, limits):
    """Lower bound of the seconds of an epoch, if no matrix product is faster than the best one measured.

    Parameters
    ----------
    workload : Workload
    dtype : str
    limits : dict
        From `measure`.

    Returns
    -------
    seconds : float
    """
    return max(workload.flops / limits[dtype], workload.n_bytes(np.dtype(dtype).itemsize) / limits["memory"])


def _gemm_rate(dtype):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, _GEMM_SIZE, _GEMM_SIZE)).astype(dtype)
    C = A @ B
    return 2 * _GEMM_SIZE**3 / _fastest(lambda: np.matmul(A, B, out=C))


def _cached_rate(dtype, n_threads):
    multiply = numba.njit(gemm.multiply)
    m, k, n = _CACHED_SHAPE

    def run(a, b, c, scratch, n_calls):
        for _ in range(n_calls):
            multiply(at(a, 0), k, 1, at(b, 0), 0, m, k, n, at(c, 0), n, at(c, 0), n, at(scratch, 0))

    def arrays():
        return [
            np.zeros(size, dtype)
            for size in (m * k, gemm.packed_size(k, n, np.dtype(dtype).itemsize), m * n, gemm.SCRATCH_SIZE)
        ]

    run = numba.njit(nogil=True)(settle(run))
    run(*arrays(), 1)
    own = [arrays() for _ in range(n_threads)]
    with ThreadPoolExecutor(n_threads) as pool:
        seconds = _fastest(lambda: list(pool.map(lambda parts: run(*parts, _CACHED_CALLS), own)))
    return 2 * m * k * n * _CACHED_CALLS * n_threads / seconds


def _bandwidth(n_threads):
    b, c = np.ones((2, _STREAM_NUMBERS))
    a = np.zeros(_STREAM_NUMBERS)
    parts = list(zip(*(np.array_split(array, n_threads) for array in (b, c, a)), strict=True))
    with ThreadPoolExecutor(n_threads) as pool:  # np.add releases the GIL
        return 3 * a.nbytes / _fastest(lambda: list(pool.map(lambda part: np.add(*part[:2], out=part[2]), parts)))


def _fastest(function):
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
