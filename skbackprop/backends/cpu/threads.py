"""Threads for the kernels: choose their number and run them.

The kernels do not use Numba's thread pool (or its threading layers with their restrictions): plain Python threads enter
the same kernel, which releases the GIL. They belong to one fit or prediction at a time and wait some seconds for the
next one, because starting a thread takes longer than predicting a thousand rows. A forked child inherits none and
starts its own. Between two calls, threads poll for the next one for a moment before they sleep, because waking a thread
takes longer than a short epoch. They poll in compiled code, without the GIL, and find the kernel in their box (`sync`):
a call then begins and ends without a step of Python in any thread but the caller's.

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
from functools import lru_cache, partial

import joblib
import numpy as np

from skbackprop._compile import ADDRESS_DTYPE, JIT, address
from skbackprop.backends.cpu.sync import (
    ABORT,
    BEGUN,
    DONE,
    KERNEL,
    N_BOX,
    N_CONTROL,
    POLLS,
    POSTED,
    WORDS,
    abort,
    await_done,
    post,
    serve,
)
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
# Interval at which the waiting thread checks for signals and wakes the helpers again.
_WAIT_SECONDS = 0.1

# How long an idle thread waits for a team.
_KEPT_SECONDS = 5.0

_budget = threading.Lock()
#: Weak references to the teams that use cores, so that a lost team frees its cores.
_in_use: set[weakref.ref] = set()
#: All threads but the callers', at work or idle.
_helpers: list["_Helper"] = []


def _reset():
    global _budget
    _budget = threading.Lock()
    _in_use.clear()
    _helpers.clear()


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
        self._helpers = []
        self._call = np.zeros(N_BOX, dtype=np.int64)
        self._place = weakref.ref(self)

    def __enter__(self):
        self.n_threads = 1
        if self._wanted == 1 and self._inline:
            # Too short to register the core as used.
            return self
        try:
            with _budget:
                n_taken = cores_in_use()
                if n_taken and self._wanted > 1:
                    self.n_threads = max(1, min(self._wanted, available_threads() - n_taken))
                else:
                    self.n_threads = self._wanted
                _in_use.add(self._place)
                idle = [helper for helper in _helpers if helper.is_idle()]
                while len(self._helpers) < self.n_threads - self._inline:
                    helper = idle.pop(0) if idle else _Helper()
                    helper.owner = self._place
                    self._helpers.append(helper)
            self._boxes = np.zeros(len(self._helpers), dtype=ADDRESS_DTYPE)
            for index, helper in enumerate(self._helpers):
                self._boxes[index] = helper.address
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self._finish()
        # Once: they may belong to another team as soon as they have left.
        helpers, self._helpers = self._helpers, []
        for helper in helpers:
            helper.leave()
        _in_use.discard(self._place)

    def run(self, kernel, *arguments):
        """Run a kernel on every thread and wait for all.

        Parameters
        ----------
        kernel : callable
            Called as ``kernel(thread, n_threads, control, *arguments)``. If it is an `entry`, of kernels' usual
            signature.
        *arguments
            Its further arguments: an `entry`'s is the address of a record.

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
        try:
            if helpers:
                self._post(kernel, *arguments)
            if self._inline:
                # The caller takes part, as thread 0.
                kernel(0, self.n_threads, self.control, *arguments)
                if helpers:
                    await_done(self._boxes, len(helpers))
            for helper in helpers:
                helper.wait()
        except BaseException:
            self._finish()
            raise
        for helper in helpers:
            if helper.error is not None:
                raise helper.error

    def _post(self, kernel, *arguments):
        """Have the helpers call a kernel."""
        helpers, first, call = self._helpers, self.n_threads - len(self._helpers), self._call
        start = getattr(kernel, "start", None)
        for thread, helper in enumerate(helpers, first):
            function = None if start else partial(kernel, thread, self.n_threads, self.control, *arguments)
            helper.expect(self.control, function)
        call[POLLS], call[KERNEL] = self._inline, 0
        if start:
            call[KERNEL : WORDS + 1] = start, first, self.n_threads, address(self.control), *arguments
        post(self._boxes, len(helpers), call)
        for helper in helpers:
            helper.wake()

    def _finish(self):
        """Abort a running call and wait for its end, whatever happens."""
        if all(helper.is_done() for helper in self._helpers):
            return
        abort(self._boxes, len(self._helpers) if self._call[KERNEL] else 0, self.control)
        # It may be a Python function, or wait for the workers of a cluster.
        for helper in self._helpers:
            while not helper.is_done():
                try:
                    helper.wait()
                except KeyboardInterrupt:
                    # Another interrupt: the first is already propagating.
                    continue


class _Helper:
    """A thread that runs kernels for one team after another.

    Attributes
    ----------
    address : int
        Of its box; if the JIT is disabled, the box.
    owner : weakref.ref or None
        The team; a lost one frees its helpers.
    error : BaseException or None
        Of the last call.
    """

    def __init__(self):
        self.owner = self.error = None
        self._box = np.zeros(N_BOX, dtype=np.int64)
        self.address = address(self._box) if JIT else self._box
        # The former is kept, even if the team is lost, until the kernel that reads it has returned.
        self._control = self._called = None
        # They wake the thread and the caller.
        self._alarm, self._ended = queue.SimpleQueue(), queue.SimpleQueue()
        # Unlike `threading.Thread.start`, this does not wait until the thread runs.
        _thread.start_new_thread(self._serve, ())
        _helpers.append(self)

    def is_idle(self):
        """Whether it waits for a team."""
        if self.owner is not None and self.owner() is not None:
            return False
        is_done = self.is_done()
        if not is_done:
            # Ctrl-C, again and again, interrupted even `Team._finish`. (A finalizer of the team would lose one itself.)
            self._control[ABORT] = 1
        return is_done

    def is_done(self):
        """Whether it has finished what it was given."""
        return self._box[DONE] == self._box[POSTED]

    def expect(self, control, function):
        """Get ready for a call, which is posted then: of a Python function, or of a kernel if this is None."""
        self._control, self._called, self.error = control, function, None
        _drain(self._ended)

    def wake(self):
        """Tell the thread, which may sleep, that a call has been posted."""
        if self._alarm.empty():
            self._alarm.put(None)

    def wait(self):
        """Sleep until it has finished."""
        while not self.is_done():
            self._box[POLLS] = 0
            try:
                # With a timeout: a signal just before the wait begins is handled only after it.
                self._ended.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                self.wake()

    def leave(self):
        """Wait for another team."""
        self._box[POLLS] = 0
        self.error = self.owner = None

    def _serve(self):  # pragma: no cover (not traced in a thread of this kind)
        n_done = 0
        while True:
            serve(self._box)
            called = self._called
            if called and not self.is_done():
                self._call(called)
            called = None
            if self._box[DONE] != n_done:
                n_done = self._box[DONE]
                self._ended.put(None)
            _drain(self._alarm)
            if not self.is_done():
                continue
            try:
                self._alarm.get(timeout=_KEPT_SECONDS)
            except queue.Empty:
                if self._ends():
                    return

    def _call(self, function):  # pragma: no cover
        try:
            function()
        except BaseException as caught:
            self._control[ABORT] = 1
            self.error = caught
        # Drop the references, so that the team can be freed.
        self._called = None
        self._box[BEGUN] = self._box[DONE] = self._box[POSTED]

    def _ends(self):  # pragma: no cover
        """Whether the thread ends, because nobody has needed it for some seconds."""
        with _budget:
            ends = self.is_idle()
            if ends and self in _helpers:
                _helpers.remove(self)
            return ends


def _drain(messages):
    """Empty a queue from which only this thread takes."""
    for _ in range(messages.qsize()):
        messages.get()
