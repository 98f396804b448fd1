"""Many trainings at the same time: each on a thread of its own, with one core and one network in that core's cache.

Kernels leave Python's lock to others, so threads are enough: no processes, and no data sent to them. Nothing here knows what the
trainings are: they come as joblib's tasks, which a function of the caller's may run in its own way.
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

# Trainings that wait for a device together. Each has a thread; a launch of more would not be faster for each.
_MOST_MODELS = 512

# Share of the memory that their copies of data may take.
_COPIES = 0.25

_together = ContextVar("_together", default=False)


def is_one_of_many():
    """Whether the training that asks is one of a population's, in the thread of its caller.

    Ctrl-C is then for all of them, and not only for this one, which would keep what it has.
    """
    return _together.get()


def models_at_a_time(device, n_bytes):
    """How many trainings are worth while at the same time, because they wait for a device together.

    Parameters
    ----------
    device : str
        Where they compute, or may compute.
    n_bytes : int
        Memory of the host that each takes for data of its own.

    Returns
    -------
    n_models : int or None
        None for one a core.
    """
    if device == "cpu" or not is_usable(device):
        return None
    n_fitting = _COPIES * memory_limit() // max(n_bytes, 1)
    return int(max(available_threads(), min(_MOST_MODELS, n_fitting)))


class PopulationBackend(ParallelBackendBase):
    """A backend of joblib whose workers are threads that share out the cores among their kernels, and stop at once.

    Parameters
    ----------
    n_models : int or None, default=None
        Trainings at the same time, if more than one a core are worth while because they wait for a device together. Of those that
        turn out to compute on their own, there is one a core nevertheless.
    call : callable or None, default=None
        Called in the place of each task, in its thread: with the task's function and all its arguments, and returns its result.
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
        """Threads for a number of jobs; None for one a core, and a negative one counts from the number of cores."""
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
            # The callback may bring the next task: nobody is to think that there is none.
            try:
                callback(future)
            finally:
                gathering.end()

        future = self._executor.submit(_run, self._share, _calling(self._call, func).items)
        future.add_done_callback(end)
        return future

    apply_async = submit

    def start_call(self):
        """Begin to hand out tasks."""
        self._share.gathering.hold()

    @contextmanager
    def retrieval_context(self):
        """Wait for results, after the first tasks were handed out."""
        self._share.gathering.release()
        yield

    def retrieve_result_callback(self, out):
        """Results of a batch, or its exception."""
        return out.result()

    def abort_everything(self, ensure_ready=True):
        """Stop kernels in mid-training, and begin no further task; what is not a kernel runs on until its end."""
        self._share.stop()
        self.terminate()
        if ensure_ready:
            self._start()

    def terminate(self):
        """End the threads as soon as they have nothing to do."""
        self._share.gathering.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Threads(ThreadingBackend):
    """joblib's own threads, with a `call` as that of `PopulationBackend`."""

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
    """joblib's own processes; a `call` as that of `PopulationBackend` has what a single job does in this one."""

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
    """Tasks one after the other in the thread that asks for their results, with a `call`, of which joblib's own way has none.

    Parameters
    ----------
    call : callable
    outer : tuple of (ParallelBackendBase, int or None)
        The backend and the number of jobs for what is parallel within the tasks.
    """

    uses_threads = True
    supports_sharedmem = True

    def __init__(self, call, outer, **settings):
        super().__init__(**settings)
        self._call = call
        self._outer = outer

    def effective_n_jobs(self, n_jobs):
        # Of a single job joblib would tell its backend nothing.
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
    """A batch of joblib's tasks, each of which goes through `call`."""
    batch.items[:] = [(partial(_run_task, call, task), *arguments) for task, *arguments in batch.items]
    return batch


def _run_task(call, task, *arguments, **keywords):
    """A task without scikit-learn's wrapper, which would change the filters of warnings, and they are all threads'."""
    function, config = unwrapped(task)
    with config_context(**config) if config else nullcontext():
        return function(*arguments, **keywords) if call is None else call(function, *arguments, **keywords)


def _run(share, tasks):
    # The cores are taken: what the tasks would do in parallel, they do one after the other.
    with share.core(), joblib.parallel_config("sequential"):
        return [function(*arguments, **keywords) for function, arguments, keywords in tasks]


@contextmanager
def population(n_models=None, call=None):
    """Let joblib's parallel calls, and scikit-learn's, train on threads, unless the user chose another of joblib's backends.

    Parameters
    ----------
    n_models, call
        See `PopulationBackend`; other backends within this process have the `call`, too.
    """
    active, limit = get_active_backend()[0], nullcontext()
    if isinstance(active, (_default_backend(), PopulationBackend)):
        backend = PopulationBackend(n_models, call)
        # BLAS's threads, of the steps before the networks, would come on top.
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
    """Let those of joblib's tasks that run in this process go through a function; where they run stays as it is.

    Parameters
    ----------
    call : callable
        See `PopulationBackend`.
    """
    backend = _observed(get_active_backend()[0], call)
    with nullcontext() if backend is None else joblib.parallel_config(backend):
        yield


def _observed(active, call):
    """A backend like the active one with a `call`; None if there is none."""
    if isinstance(active, ThreadingBackend):
        return _Threads(call)
    if isinstance(active, SequentialBackend | _InTurn):
        return _InTurn(call, get_active_backend())
    return _Processes(call, active) if isinstance(active, LokyBackend) else None


def _default_backend():
    return joblib.parallel.BACKENDS[joblib.parallel.DEFAULT_BACKEND]
