"""What the machine allows: the best rates of arithmetic and of memory that were measured in the same run."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_GEMM_SIZE = 1536
_STREAM_NUMBERS = 1 << 25  # 256 MiB an array: more than any cache
_REPEATS = 5


def measure(n_threads):
    """Measure both.

    Parameters
    ----------
    n_threads : int
        Threads of the memory test; the products take those that BLAS has.

    Returns
    -------
    limits : dict
        "float32" and "float64": flops a second of NumPy's product of large matrices, the best GEMM rate measured.
        "memory": bytes a second of ``a = b + c`` (the add kernel of McCalpin's STREAM).
    """
    return {"float32": _gemm_rate(np.float32), "float64": _gemm_rate(np.float64), "memory": _bandwidth(n_threads)}


def time_limit(workload, dtype, limits):
    """Seconds below which no epoch can take, if no product is faster than the best one measured.

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
