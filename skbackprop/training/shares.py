"""Trainings on the workers of an engine behind joblib, such as Dask's or Ray's: one share of them for each worker.

joblib's engines run one training per task. Trainings that share data and work want to be in one process: all tasks of a
parallel call are collected, and the engine gets as many shares of them as it has jobs.
"""

import sys
from contextlib import contextmanager
from uuid import uuid4

import joblib
from joblib.parallel import (
    FallbackToBackend,
    LokyBackend,
    MultiprocessingBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
    get_active_backend,
)

from skbackprop.training.population import PopulationBackend

__all__ = ["SharesBackend", "active_engine", "wanted_by_dask"]


def active_engine():
    """Return the joblib backend that the user chose, if it is one of another package.

    Returns
    -------
    engine : ParallelBackendBase or None
    """
    backend = get_active_backend()[0]
    # Ray's is a subclass of the backend for processes.
    here = (LokyBackend, PopulationBackend, SequentialBackend, SharesBackend, ThreadingBackend)
    own = isinstance(backend, here) or type(backend) is MultiprocessingBackend
    return None if own or type(backend).__module__ == "skbackprop.training.population" else backend


class SharesBackend(ParallelBackendBase):
    """A joblib backend that passes the tasks of a parallel call to another one, as one share for each of its jobs.

    `pre_dispatch` has no effect, because a share is complete before it is sent.

    Parameters
    ----------
    engine : ParallelBackendBase
        Runs the shares.
    run : callable
        Called on a worker with a share, a list of joblib's tasks; returns the list of their results and a report. It is
        pickled.
    take : callable
        Called here with each report, in the order of the shares.
    """

    supports_retrieve_callback = True

    def __init__(self, engine, run, take, **settings):
        super().__init__(**{"nesting_level": engine.nesting_level} | settings)
        self._engine = engine
        self._run = run
        self._take = take
        self._waiting = []

    def effective_n_jobs(self, n_jobs):
        """Return the number of jobs of the engine."""
        return self._engine.effective_n_jobs(n_jobs)

    def configure(self, n_jobs=1, **settings):
        """Prepare for a parallel call; a single job runs in this process, as joblib does it."""
        self.parallel = settings["parallel"]
        self._n_shares = self.effective_n_jobs(n_jobs)
        if self._n_shares == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel.pre_dispatch = "all"
        return self._n_shares

    def submit(self, func, callback=None):
        """Keep a batch of tasks until all have come."""
        batch = _Batch(func.items, callback)
        self._waiting.append(batch)
        return batch

    apply_async = submit

    @contextmanager
    def retrieval_context(self):
        """Run what has been submitted."""
        batches, self._waiting = self._waiting, []
        tasks = [task for batch in batches for task in batch.tasks]
        results = iter(self._results(tasks))
        for batch in batches:
            batch.results = [next(results) for _ in batch.tasks]
            batch.callback(batch)
        yield

    def retrieve_result_callback(self, out):
        """Return the results of a batch."""
        return out.results

    def abort_everything(self, ensure_ready=True):
        """Forget what has not been sent; the engine's own parallel call has ended what has."""
        self._waiting = []

    def _results(self, tasks):
        # In turn: neighbours often take equally long, and with as many folds as workers each has a fold for itself.
        shares = [tasks[first :: self._n_shares] for first in range(min(self._n_shares, len(tasks)))]
        run = _Share(self._run)
        try:
            with joblib.parallel_config(self._engine):
                parallel = joblib.Parallel(n_jobs=self._n_shares, batch_size=1, pre_dispatch="all")
                done = parallel(joblib.delayed(run)(*_packed(share)) for share in shares)
        except BaseException:
            _cancel(self._engine, run.__name__)
            raise
        results = [None] * len(tasks)
        for first, (own, report) in enumerate(done):
            results[first :: self._n_shares] = own
            self._take(report)
        return results


class _Batch:
    """Tasks that have not run yet, and later their results."""

    def __init__(self, tasks, callback):
        self.tasks = tasks
        self.callback = callback
        self.results = None


class _Place(int):
    """Stands for an array in the arguments of a task."""


def _packed(tasks):
    """Return tasks without arrays, and the arrays, each once: engines send large arguments apart from their tasks."""
    arrays, places = [], {}

    def packed(value):
        if not hasattr(value, "shape"):
            return value
        if id(value) not in places:
            places[id(value)] = _Place(len(arrays))
            arrays.append(value)
        return places[id(value)]

    return [_mapped(packed, task) for task in tasks], *arrays


def _mapped(function, task):
    call, arguments, keywords = task
    return call, tuple(map(function, arguments)), {name: function(value) for name, value in keywords.items()}


class _Share:
    """Runs a share's tasks on a worker; its name tells Dask's tasks of one parallel call from all others."""

    def __init__(self, run):
        self.__name__ = f"share_{uuid4().hex}"
        self._run = run

    def __call__(self, tasks, *arrays):
        def unpacked(value):
            return arrays[value] if isinstance(value, _Place) else value

        return self._run([_mapped(unpacked, task) for task in tasks])


def _cancel(engine, name):
    """Cancel Dask's tasks of a parallel call that has failed: joblib forgets them only with its backend."""
    client = getattr(engine, "client", None)
    if client is not None and hasattr(client, "futures"):
        future = sys.modules["distributed"].Future
        client.cancel([future(key, client=client) for key in list(client.futures) if name in str(key)], force=True)


def wanted_by_dask():
    """Return a function that tells whether Dask still wants the calling task's result; without Dask it is always True.

    Dask cannot end a running task: one that takes long has to ask.
    """
    distributed = sys.modules.get("distributed")
    try:
        worker = distributed.get_worker()
        key = worker.get_current_task()
    except (AttributeError, ValueError):  # not on a worker
        return lambda: True
    tasks = worker.state.tasks
    return lambda: key in tasks and tasks[key].state != "cancelled"
