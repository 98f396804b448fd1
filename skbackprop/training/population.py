"""Many trainings at the same time: each on a thread of its own, with one core and one network in that core's cache.

Kernels leave Python's lock to others, so threads are enough: no processes, and no data sent to them. Nothing here knows what the
trainings are: they come as joblib's tasks.
"""

import concurrent.futures
from contextlib import contextmanager
from contextvars import ContextVar

import joblib
from joblib.parallel import ParallelBackendBase, get_active_backend
from sklearn import config_context
from threadpoolctl import threadpool_limits

from skbackprop.backends import is_usable, memory_limit
from skbackprop.backends.cpu.threads import available_threads
from skbackprop.backends.together import Share

__all__ = ["PopulationBackend", "is_one_of_many", "models_at_a_time", "population"]

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
    report : callable or None, default=None
        Called with the keyword arguments and the result of each task, in its thread.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True
    default_n_jobs = -1

    def __init__(self, n_models=None, report=None, **settings):
        super().__init__(**settings)
        self._n_models = n_models
        self._report = report

    def effective_n_jobs(self, n_jobs):
        """Threads for a number of jobs; None for one a core, and a negative one counts from the number of cores."""
        n_threads = self._n_threads(n_jobs)
        # Tasks of a single job joblib would run itself, and nothing would be reported of them.
        return n_threads if self._report is None else max(2, n_threads)

    def _n_threads(self, n_jobs):
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        n_jobs = self.default_n_jobs if n_jobs is None else n_jobs
        if n_jobs == -1 and self._n_models is not None:
            return self._n_models
        return max(1, available_threads() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs=1, **settings):
        """Start the threads."""
        self.parallel = settings.get("parallel")
        self._n_workers = self._n_threads(n_jobs)
        self._start()
        return self.effective_n_jobs(n_jobs)

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

        future = self._executor.submit(_run, self._share, func.items, self._report)
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


def _run(share, tasks, report):
    results = []
    # The cores are taken: what the tasks would do in parallel, they do one after the other.
    with share.core(), joblib.parallel_config("sequential"):
        for function, arguments, keywords in tasks:
            results.append(_call(function, arguments, keywords))
            if report is not None:
                report(keywords, results[-1])
    return results


def _call(function, arguments, keywords):
    """A task without scikit-learn's wrapper, which would change the filters of warnings, and they are all threads'."""
    if not hasattr(function, "config"):
        return function(*arguments, **keywords)
    with config_context(**function.config):
        return function.function(*arguments, **keywords)


@contextmanager
def population(n_models=None, report=None):
    """Let joblib's parallel calls, and scikit-learn's, train on threads, unless the user chose another of joblib's backends.

    Parameters
    ----------
    n_models, report
        See `PopulationBackend`.

    Yields
    ------
    in_threads : bool
        Whether tasks run in this process.
    """
    active = get_active_backend()[0]
    if not isinstance(active, _default_backend()):
        yield bool(getattr(active, "supports_sharedmem", False))
        return
    # BLAS's threads, of the steps before the networks, would come on top.
    token = _together.set(True)
    try:
        with threadpool_limits(1, user_api="blas"), joblib.parallel_config(PopulationBackend(n_models, report)):
            yield True
    finally:
        _together.reset(token)


def _default_backend():
    return joblib.parallel.BACKENDS[joblib.parallel.DEFAULT_BACKEND]
