"""Threads for the kernels: choose their number and run them.

The kernels do not use Numba's thread pool (or its threading layers with their restrictions): plain Python threads enter
the same kernel, which releases the GIL. They belong to one fit or prediction at a time and wait some seconds for the
next one, because starting a thread takes longer than predicting a thousand rows. A forked child inherits none and
starts its own. Between two calls of a fit, threads poll for the next one for a moment before they sleep, because waking
a thread takes longer than a short epoch.

Ctrl-C may raise KeyboardInterrupt between any two steps of the calling thread. So completion is signaled by a number
that each helper writes, never by a message, which would be lost if the step that receives it is interrupted. Messages
only wake threads, and are sent again.
"""

import _thread
import multiprocessing
import os
import queue
import threading
import weakref
from functools import lru_cache

import joblib
import numpy as np

from skbackprop.backends.cpu.sync import ABORT, N_CONTROL, await_change
from skbackprop.backends.together import current_share

__all__ = ["Team", "available_threads", "cores_in_use"]

# Minimum work per thread: with less, another thread costs more than it gains. Two barriers and the cache traffic
# between cores take a few microseconds, in which a core does about this much arithmetic. Measured by `python -m
# benchmarks threads`.
_FLOPS_PER_THREAD = 800_000
# Starting another thread may take a tenth of a millisecond; a core does this much arithmetic in two tenths.
_FLOPS_PER_START = 20_000_000
# Shorter calls need not be interruptible: they return in well under 0.1 s, even on one slow core.
_FLOPS_INLINE = 500_000_000
# Entries of an int64 array, one cache line per thread: the last call that the caller posted, and the last one that each
# helper finished. A helper writes the latter again when it has released the GIL, for a caller that polls: one that has to
# wait for the GIL sleeps, and is woken late.
_POSTED, _DONE, _SAID = 0, 8, 9
# Interval at which the waiting thread checks for signals and wakes the helpers again.
_WAIT_SECONDS = 0.1

# How long an idle thread waits for a team.
_KEPT_SECONDS = 5.0

_budget = threading.Lock()
#: Weak references to the teams that use cores, so that a lost team frees its cores.
_in_use: set[weakref.ref] = set()
#: Queues from which idle threads take their next job.
_idle: list[queue.SimpleQueue] = []


def _reset():
    global _budget
    _budget = threading.Lock()
    _in_use.clear()
    _idle.clear()


def cores_in_use():
    """Return the number of cores that teams hold now.

    Returns
    -------
    n_cores : int
    """
    teams = {place: place() for place in list(_in_use)}
    _in_use.difference_update([place for place, team in teams.items() if team is None])
    return sum(team.n_threads for team in teams.values() if team is not None)


if hasattr(os, "register_at_fork"):
    # A forked child has none of its parent's threads.
    os.register_at_fork(after_in_child=_reset)


def _start(job, *arguments):
    """Call a function in an idle thread, or in a new one."""
    try:
        jobs = _idle.pop()
    except IndexError:
        jobs = queue.SimpleQueue()
        jobs.put((job, arguments))
        # Unlike `threading.Thread.start`, this does not wait until the thread runs.
        _thread.start_new_thread(_serve, (jobs,))
    else:
        jobs.put((job, arguments))


def _serve(jobs):  # pragma: no cover (not traced in a thread of this kind)
    while True:
        try:
            job, arguments = jobs.get(timeout=_KEPT_SECONDS)
        except queue.Empty:
            try:
                _idle.remove(jobs)
            except ValueError:
                # Meanwhile somebody has claimed this thread: its job is on the way.
                job, arguments = jobs.get()
            else:
                return
        job(*arguments)
        # Drop the references, so that the team can be freed.
        job = arguments = None
        _idle.append(jobs)


def _given():
    """Return what the core count depends on: the process's affinity, and its share as a joblib worker."""
    affinity = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return affinity, os.environ.get("LOKY_MAX_CPU_COUNT")


@lru_cache
def _cpu_count(affinity, share):
    """Return joblib's core count; cached because joblib reads files."""
    return joblib.cpu_count()


@lru_cache
def _physical_cores(affinity, share):
    """Return the count without hyperthreads: two share one core's arithmetic, and barriers would add to their cost."""
    return joblib.cpu_count(only_physical_cores=True)


def available_threads():
    """Return the number of cores that this process may use.

    This respects affinity, the cgroup quota, a joblib worker's share, and ``NUMBA_NUM_THREADS`` and
    ``OMP_NUM_THREADS``, by which schedulers assign shares.

    Returns
    -------
    n_threads : int
    """
    # Workers of a multiprocessing pool already share the cores. So do joblib's own, were it not for the environment
    # variables that joblib sets for them.
    limits = [1 if multiprocessing.current_process().daemon else _cpu_count(*_given())]
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    share = current_share()
    if share is not None:
        limits.append(share.n_threads)
    return max(1, min(limits))


def wanted_threads(n_jobs, flops, total_flops):
    """Return the number of threads for calls of a kernel.

    Parameters
    ----------
    n_jobs : int or None
        None chooses by the amount of work, up to the number of physical cores; negative numbers count back from the
        number of cores, as in joblib.
    flops : float
        Arithmetic between two of the kernel's barriers.
    total_flops : float
        Arithmetic of all calls.

    Returns
    -------
    n_threads : int
        At most `available_threads`.
    """
    worthwhile = min(flops / _FLOPS_PER_THREAD, total_flops / _FLOPS_PER_START)
    if n_jobs == 1 or (n_jobs is None and worthwhile < 2):
        return 1
    limit = available_threads()
    if n_jobs is None:
        return int(min(limit, _physical_cores(*_given()), worthwhile))
    if n_jobs < 0:
        return max(1, limit + 1 + n_jobs)
    return min(n_jobs, limit)


def is_inline(n_jobs, flops):
    """Whether a single call of a kernel, of so many operations, is best made by the calling thread alone."""
    return flops < _FLOPS_INLINE and wanted_threads(n_jobs, flops, flops) == 1


class Team:
    """Threads that run kernels together; a context manager.

    All teams of a process together use at most as many threads as it has cores. If cores are taken, a team uses fewer
    threads; results are bit-identical.

    Parameters
    ----------
    n_jobs : int or None
        See `wanted_threads`.
    flops : float
        Arithmetic between two barriers.
    call_flops : float
        Arithmetic of a whole call. In a short call the calling thread takes part; a long one runs on helpers only, so
        that the caller can handle Ctrl-C.
    total_flops : float, default=inf
        Arithmetic of all calls, if known.

    Attributes
    ----------
    n_threads : int
        Set on entry.
    control : ndarray of int64
        Shared by the kernel's threads.
    """

    def __init__(self, n_jobs, flops, call_flops, total_flops=np.inf):
        self._wanted = wanted_threads(n_jobs, flops, total_flops)
        self._inline = call_flops < _FLOPS_INLINE
        self.control = np.zeros(N_CONTROL, dtype=np.int64)
        self._helpers = None
        self._place = weakref.ref(self)

    def __enter__(self):
        if self._wanted == 1 and self._inline:
            # Too short to register the core as used.
            self.n_threads = 1
            return self
        limit = available_threads() if self._wanted > 1 else 1
        try:
            with _budget:
                self.n_threads = max(1, min(self._wanted, limit - cores_in_use()))
                _in_use.add(self._place)
            self._helpers = _Helpers(self._place, self.n_threads, self.n_threads - self._inline, self.control)
            self._helpers.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if self._helpers is not None:
            self._helpers.finish()
            self._helpers.end()
        _in_use.discard(self._place)

    def run(self, kernel, *arguments):
        """Run a kernel on every thread and wait for all.

        Parameters
        ----------
        kernel : callable
            Called as ``kernel(thread, n_threads, control, *arguments)``.
        *arguments
            Its further arguments.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, after the kernel has been aborted.
        Interrupted
            If the thread's `Share` was stopped.
        """
        self.control[:] = 0
        share = current_share()
        if share is not None:
            share.watch(self.control, ABORT)
        self._run(kernel, arguments)
        if share is not None:
            share.check()

    def _run(self, kernel, arguments):
        helpers = self._helpers
        if not helpers:
            kernel(0, 1, self.control, *arguments)
            return
        try:
            helpers.post(kernel, arguments)
            if self._inline:
                kernel(0, self.n_threads, self.control, *arguments)
            helpers.wait(looks=self._inline)
        except BaseException:
            helpers.finish()
            raise
        for error in helpers.errors:
            if error is not None:
                raise error


class _Helpers:
    """A team's threads besides the caller's, and what they share with it.

    Parameters
    ----------
    place : weakref.ref
        The team.
    n_threads, n_helpers : int
    control : ndarray of int64
    """

    def __init__(self, place, n_threads, n_helpers, control):
        self._place = place
        self._n_threads = n_threads
        self._control = control
        self._signals = np.zeros(_DONE + 8 * n_helpers, dtype=np.int64)
        self._done = self._signals[_DONE::8]
        #: Number of the call, counted from 1, its kernel and arguments; the kernel is None at the end.
        self._call = (0, None, ())
        self._alarms = [queue.SimpleQueue() for _ in range(n_helpers)]
        self._alarm = queue.SimpleQueue()
        self.errors = [None] * n_helpers

    def __len__(self):
        return len(self._alarms)

    def start(self):
        for index in range(len(self)):
            _start(self._work, index)

    def post(self, kernel, arguments):
        """Have all helpers call a kernel."""
        _silence(self._alarm)
        self.errors = [None] * len(self)
        self._call = (self._call[0] + 1, kernel, arguments)
        self._wake()

    def _wake(self):
        for alarm in self._alarms:
            alarm.put(None)
        self._signals[_POSTED] = -1 if self._call is None else self._call[0]

    def wait(self, looks=False):
        """Wait until all helpers have finished the call; `looks` polls for a moment before sleeping."""
        number = self._call[0]
        for index in range(len(self)):
            if looks:
                await_change(self._signals, _SAID + 8 * index, number - 1, -1)
            while self._done[index] != number:
                try:
                    # With a timeout: a signal just before the wait begins is handled only after it.
                    self._alarm.get(timeout=_WAIT_SECONDS)
                except queue.Empty:
                    self._wake()

    def finish(self):
        """Abort a running call and wait for its end, whatever happens."""
        if self._call is None:
            return
        number = self._call[0]
        while any(done != number for done in self._done.tolist()):
            self._control[ABORT] = 1
            try:
                self.wait()
            except KeyboardInterrupt:
                # Another interrupt: the first is already propagating.
                continue

    def end(self):
        """Release the helpers."""
        self._call = None
        self._wake()

    def _work(self, index):  # pragma: no cover (not traced in a thread of this kind)
        thread = index + self._n_threads - len(self)
        alarm = self._alarms[index]
        n_done = 0
        while True:
            await_change(self._signals, _POSTED, n_done, _SAID + 8 * index)
            call = self._call
            if call is None:
                return
            number, kernel, arguments = call
            if number == n_done:
                try:
                    alarm.get(timeout=_KEPT_SECONDS)
                except queue.Empty:
                    if self._place() is None:
                        return
                continue
            _silence(alarm)
            try:
                kernel(thread, self._n_threads, self._control, *arguments)
            except BaseException as caught:
                self._control[ABORT] = 1
                self.errors[index] = caught
            n_done = number
            self._done[index] = number
            self._alarm.put(None)


def _silence(alarm):
    """Drain a queue from which only this thread takes."""
    for _ in range(alarm.qsize()):
        alarm.get()
