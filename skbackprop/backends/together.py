"""Coordination of trainings in threads of one process: share cores, stop together, answer requests in batches."""

import copy
import threading
from contextlib import contextmanager

__all__ = ["Gathering", "Interrupted", "Share", "current_share"]

# Maximum time that requests wait for threads which are busy otherwise. A kernel launch takes about as long: waiting
# longer would cost more than leaving a request to the next launch.
_PATIENCE_SECONDS = 0.05

_own = threading.local()


def current_share():
    """Return what this thread shares with others.

    Returns
    -------
    share : Share or None
        None outside a population.
    """
    return getattr(_own, "share", None)


class Interrupted(BaseException):
    """Work was abandoned because its caller was interrupted; the work itself did not fail."""


class Gathering:
    """Collect requests of many threads and answer them together: once all have asked, or after a timeout.

    A thread that asks blocks in :meth:`ask`. Nobody waits for a thread that will not ask because it failed, computes
    elsewhere, or waits for another thread.

    Parameters
    ----------
    n_members : int
        Maximum number of tasks that run at the same time.
    """

    def __init__(self, n_members):
        self._n_members = n_members
        self._n_begun = 0
        self._n_holding = 0
        self._waiting = []
        self._stopped = False
        self._changed = threading.Condition()
        self._server = None

    def begin(self):
        """Register a task, running or still waiting for a thread."""
        with self._changed:
            self._n_begun += 1

    def end(self):
        """Unregister a task."""
        with self._changed:
            self._n_begun -= 1
            self._changed.notify()

    def hold(self):
        """Until `release`, answer only after the timeout: more tasks are about to begin."""
        with self._changed:
            self._n_holding += 1

    def release(self):
        """Undo one `hold`."""
        with self._changed:
            self._n_holding = max(0, self._n_holding - 1)
            self._changed.notify()

    def ask(self, request, answer):
        """Submit a request and wait until it is answered, together with those of other threads.

        Parameters
        ----------
        request : object
        answer : callable
            Called in another thread with the list of all requests that came with the same callable. It writes the
            results into the requests.

        Raises
        ------
        Interrupted
            If the gathering is stopped.
        Exception
            What `answer` raises.
        """
        ticket = _Ticket(request, answer)
        with self._changed:
            if self._stopped:
                raise Interrupted
            if self._server is None:
                self._server = threading.Thread(target=self._serve, name="skbackprop-gathering", daemon=True)
                self._server.start()
            self._waiting.append(ticket)
            self._changed.notify()
        ticket.done.wait()
        if ticket.error is not None:
            # Each thread raises a copy of its own, because raising writes the traceback into the exception.
            raise copy.copy(ticket.error) from ticket.error

    def stop(self):
        """Raise `Interrupted` in all threads that wait, and in those that ask later."""
        with self._changed:
            self._stopped = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify()
        for ticket in waiting:
            ticket.give(Interrupted())

    def _serve(self):
        try:
            while True:
                tickets = self._next()
                if tickets is None:
                    return
                for answer in dict.fromkeys(ticket.answer for ticket in tickets):
                    _answer([ticket for ticket in tickets if ticket.answer == answer], answer)
        finally:
            # Whatever happens, no thread waits forever.
            self.stop()

    def _next(self):
        """Wait until requests are due and return them; None once stopped."""
        with self._changed:
            while not self._stopped:
                n_expected = min(self._n_begun, self._n_members)
                if self._waiting and len(self._waiting) >= n_expected and not self._n_holding:
                    break
                if not self._changed.wait(_PATIENCE_SECONDS if self._waiting else None) and self._waiting:
                    break
            if self._stopped:
                return None
            tickets, self._waiting = self._waiting, []
            return tickets


class _Ticket:
    """A request and the event that its thread waits for."""

    def __init__(self, request, answer):
        self.request = request
        self.answer = answer
        self.error = None
        self.done = threading.Event()

    def give(self, error=None):
        self.error = error
        self.done.set()


def _answer(tickets, answer):
    error = None
    try:
        answer([ticket.request for ticket in tickets])
    except BaseException as caught:
        error = caught
    for ticket in tickets:
        ticket.give(error)


class Share:
    """Resources of concurrent tasks that all run kernels, and a way to stop them together.

    Parameters
    ----------
    n_threads : int
        Threads for the kernels of each task.
    n_members : int, default=1
        Number of concurrent tasks.
    n_cores : int or None, default=None
        How many of these compute at a time on the CPU, or alone on a device; None for all.

    Attributes
    ----------
    gathering : Gathering
    copies : dict
        Copies of data on devices, shared by the tasks; guarded by `lock`.
    lock : Lock
    """

    def __init__(self, n_threads, n_members=1, n_cores=None):
        self.n_threads = n_threads
        self.gathering = Gathering(n_members)
        self.copies = {}
        self.lock = threading.RLock()
        self._cores = threading.Semaphore(n_members if n_cores is None else n_cores)
        self._stopped = False
        self._controls = {}

    def enter(self):
        """Make this the share of the calling thread."""
        _own.share = self

    @contextmanager
    def core(self):
        """Hold a core during a task, or until `leave_core`."""
        self._cores.acquire()
        _own.has_core = True
        try:
            self.check()
            yield
        finally:
            self.leave_core()

    def leave_core(self):
        """Release the core: from now on this thread mostly waits."""
        if getattr(_own, "has_core", False):
            _own.has_core = False
            self._cores.release()

    def stop(self):
        """Abort the kernels of all threads with `Interrupted` and let no new kernel start."""
        self._stopped = True
        self.gathering.stop()
        for control, entry in list(self._controls.values()):
            control[entry] = 1

    def check(self):
        """Raise `Interrupted` after `stop`."""
        if self._stopped:
            raise Interrupted

    def watch(self, control, entry):
        """Register what aborts the kernel that this thread is about to run: ``control[entry]`` set to 1."""
        self._controls[threading.get_ident()] = control, entry
        # Check after registering: otherwise a `stop` between the two would be missed.
        self.check()
