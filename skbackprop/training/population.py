"""Many trainings at the same time: each in a thread of its own, with one core and one network in that core's cache.

Kernels release the GIL, so threads are enough: there are no processes, and no data are sent to them. This module does
not know what the trainings are: they are joblib tasks, which a function of the caller may run in its own way.
"""

import concurrent.futures
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial

import joblib
from joblib.parallel import (
    FallbackToBackend,
    LokyBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
    get_active_backend,
)
from sklearn import config_context
from threadpoolctl import threadpool_limits

from skbackprop._sklearn import unwrapped
from skbackprop.backends import is_usable, memory_limit
from skbackprop.backends.cpu.threads import available_threads
from skbackprop.backends.together import Share

__all__ = ["PopulationBackend", "is_one_of_many", "models_at_a_time", "observed", "population"]

# Trainings that share a device. Each has a thread; larger launches would not be faster per training.
_MOST_MODELS = 512

# Fraction of the memory that their copies of the data may take.
_COPIES = 0.25

_together = ContextVar("_together", default=False)


def is_one_of_many():
    """Whether the calling training belongs to a population.

    Ctrl-C then stops the whole population, so the training must not catch it to keep its current weights.
    """
    return _together.get()


def models_at_a_time(device, n_bytes):
    """Return the number of trainings worth running at the same time because they share a device.

    Parameters
    ----------
    device : str
        Device that they use, or may use.
    n_bytes : int
        Host memory that each takes for its own copy of the data.

    Returns
    -------
    n_models : int or None
        None for one per core.
    """
    if device == "cpu" or not is_usable(device):
        return None
    n_fitting = _COPIES * memory_limit() // max(n_bytes, 1)
    return int(max(available_threads(), min(_MOST_MODELS, n_fitting)))


class PopulationBackend(ParallelBackendBase):
    """A joblib backend of threads that share the cores among their kernels and can be stopped at once.

    Parameters
    ----------
    n_models : int or None, default=None
        Number of trainings at the same time, if more than one per core are worthwhile because they share a device.
        Trainings that turn out not to use the device still run one per core.
    call : callable or None, default=None
        Called instead of each task, in the task's thread, with the task's function and all its arguments; returns the
        result.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True
    default_n_jobs = -1

    def __init__(self, n_models=None, call=None, **settings):
        super().__init__(**settings)
        self._n_models = n_models
        self._call = call
        self._outer = get_active_backend()

    def effective_n_jobs(self, n_jobs):
        """Return the number of threads; None means one per core, negative numbers count from the number of cores."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        n_jobs = self.default_n_jobs if n_jobs is None else n_jobs
        if n_jobs == -1 and self._n_models is not None:
            return self._n_models
        return max(1, available_threads() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs=1, **settings):
        """Start the threads."""
        self.parallel = settings.get("parallel")
        self._n_workers = self.effective_n_jobs(n_jobs)
        if self._n_workers == 1 and self._call is not None:
            raise FallbackToBackend(_InTurn(self._call, self._outer))
        self._start()
        return self._n_workers

    def _start(self):
        n_cores = available_threads()
        n_cores, n_threads = (None if self._n_models is None else n_cores), max(1, n_cores // self._n_workers)
        self._share = Share(n_threads, self._n_workers, n_cores)
        self._executor = concurrent.futures.ThreadPoolExecutor(
            self._n_workers, thread_name_prefix="skbackprop", initializer=self._share.enter
        )

    def submit(self, func, callback=None):
        """Run a batch of tasks on one of the threads."""
        gathering = self._share.gathering
        gathering.begin()

        def end(future):
            # The callback may submit the next task: until then, the others must not conclude that there is none.
            try:
                callback(future)
            finally:
                gathering.end()

        future = self._executor.submit(_run, self._share, _calling(self._call, func).items)
        future.add_done_callback(end)
        return future

    apply_async = submit

    def start_call(self):
        """Start to submit tasks."""
        self._share.gathering.hold()

    @contextmanager
    def retrieval_context(self):
        """Wait for results, after the first tasks were submitted."""
        self._share.gathering.release()
        yield

    def retrieve_result_callback(self, out):
        """Return the results of a batch, or raise its exception."""
        return out.result()

    def abort_everything(self, ensure_ready=True):
        """Stop kernels in the middle of training, and start no further task; other code runs to its end."""
        self._share.stop()
        self.terminate()
        if ensure_ready:
            self._start()

    def terminate(self):
        """End the threads as soon as they are idle."""
        self._share.gathering.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Threads(ThreadingBackend):
    """joblib's thread backend, with a `call` as in `PopulationBackend`."""

    def __init__(self, call, **settings):
        super().__init__(**settings)
        self._call = call
        self._outer = get_active_backend()

    def configure(self, n_jobs=1, **settings):
        if self.effective_n_jobs(n_jobs) == 1:
            raise FallbackToBackend(_InTurn(self._call, self._outer))
        return super().configure(n_jobs, **settings)

    def submit(self, func, callback=None):
        return super().submit(_calling(self._call, func), callback)


class _Processes(LokyBackend):
    """joblib's process backend, with a `call` for a single job, which runs in this process."""

    def __init__(self, call, active):
        settings = getattr(active, "backend_kwargs", {})
        super().__init__(
            nesting_level=active.nesting_level, inner_max_num_threads=active.inner_max_num_threads, **settings
        )
        self._call = call
        self._outer = get_active_backend()

    def configure(self, n_jobs=1, **settings):
        try:
            return super().configure(n_jobs, **settings)
        except FallbackToBackend:
            raise FallbackToBackend(_InTurn(self._call, self._outer)) from None


class _InTurn(ParallelBackendBase):
    """Run tasks one after the other in the calling thread, with a `call`, which joblib's sequential backend lacks.

    Parameters
    ----------
    call : callable
    outer : tuple of (ParallelBackendBase, int or None)
        The backend and the number of jobs for parallel code inside the tasks.
    """

    uses_threads = True
    supports_sharedmem = True

    def __init__(self, call, outer, **settings):
        super().__init__(**settings)
        self._call = call
        self._outer = outer

    def effective_n_jobs(self, n_jobs):
        # With a single job, joblib would bypass its backend.
        return 2

    def submit(self, func, callback=None):
        return _Later(_calling(self._call, func), callback)

    def get_nested_backend(self):
        return self._outer


class _Later:
    """A batch of tasks that has not run yet."""

    def __init__(self, func, callback):
        self._func = func
        self._callback = callback

    def get(self):
        results = self._func()
        self._callback(self)
        return results


def _calling(call, batch):
    """Return a batch of joblib tasks in which each task goes through `call`."""
    batch.items[:] = [(partial(_run_task, call, task), *arguments) for task, *arguments in batch.items]
    return batch


def _run_task(call, task, *arguments, **keywords):
    """Run a task without scikit-learn's wrapper, which would change the warning filters, which all threads share."""
    function, config = unwrapped(task)
    with config_context(**config) if config else nullcontext():
        return function(*arguments, **keywords) if call is None else call(function, *arguments, **keywords)


def _run(share, tasks):
    # All cores are in use, so parallel code inside the tasks runs sequentially.
    with share.core(), joblib.parallel_config("sequential"):
        return [function(*arguments, **keywords) for function, arguments, keywords in tasks]


@contextmanager
def population(n_models=None, call=None):
    """Run joblib's parallel calls, and so scikit-learn's, on threads, unless the user chose another joblib backend.

    Parameters
    ----------
    n_models, call
        See `PopulationBackend`; other backends that run in this process get the `call`, too.
    """
    active, limit = get_active_backend()[0], nullcontext()
    if isinstance(active, (_default_backend(), PopulationBackend)):
        backend = PopulationBackend(n_models, call)
        # BLAS threads, used by the steps before the networks, would oversubscribe the cores.
        limit = threadpool_limits(1, user_api="blas")
    else:
        backend = None if call is None else _observed(active, call)
    if backend is None:
        yield
        return
    token = _together.set(True)
    try:
        with limit, joblib.parallel_config(backend):
            yield
    finally:
        _together.reset(token)


@contextmanager
def observed(call):
    """Pass the joblib tasks that run in this process through a function, without changing where they run.

    Parameters
    ----------
    call : callable
        See `PopulationBackend`.
    """
    backend = _observed(get_active_backend()[0], call)
    with nullcontext() if backend is None else joblib.parallel_config(backend):
        yield


def _observed(active, call):
    """Return a backend like the active one with a `call`; None if there is none."""
    if isinstance(active, ThreadingBackend):
        return _Threads(call)
    if isinstance(active, SequentialBackend | _InTurn):
        return _InTurn(call, get_active_backend())
    return _Processes(call, active) if isinstance(active, LokyBackend) else None


def _default_backend():
    return joblib.parallel.BACKENDS[joblib.parallel.DEFAULT_BACKEND]
