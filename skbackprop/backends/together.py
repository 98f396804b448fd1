"""What trainings in threads of one process have in common: cores, a way to stop, and what is done for many of them at once."""

import copy
import threading
from contextlib import contextmanager

__all__ = ["Gathering", "Interrupted", "Share", "current_share"]

# How long requests wait for those who do something else. In that time a launch of a kernel is over: to wait longer would cost
# more than to leave somebody out, and who is left out comes with the next.
_PATIENCE_SECONDS = 0.05

_own = threading.local()


def current_share():
    """What this thread shares with others.

    Returns
    -------
    share : Share or None
        None outside of a population.
    """
    return getattr(_own, "share", None)


class Interrupted(BaseException):
    """Work was given up because its caller was interrupted; no error of the work's own."""


class Gathering:
    """Requests of many threads, answered together: as soon as all have asked, or those who have not take long.

    Who asks waits in :meth:`ask`. Nobody waits for a thread that is not going to ask, be it that it failed, that it computes
    elsewhere, or that it waits for one of the others.

    Parameters
    ----------
    n_members : int
        Tasks that run at the same time at most.
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
        """Count one more task, whether it runs already or waits for a thread."""
        with self._changed:
            self._n_begun += 1

    def end(self):
        """Count one task less."""
        with self._changed:
            self._n_begun -= 1
            self._changed.notify()

    def hold(self):
        """Wait, until `release`, for those who are about to begin."""
        with self._changed:
            self._n_holding += 1

    def release(self):
        """See `hold`."""
        with self._changed:
            self._n_holding = max(0, self._n_holding - 1)
            self._changed.notify()

    def ask(self, request, answer):
        """Have a request answered, together with those of others.

        Parameters
        ----------
        request : object
        answer : callable
            Called in another thread with a list of requests, those that came with the same callable. What they ask for, it writes into
            them.

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
            # One of each thread's own: a traceback is written into it.
            raise copy.copy(ticket.error) from ticket.error

    def stop(self):
        """Let all who wait raise `Interrupted`, and those who are going to."""
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
            # Whatever happens, nobody waits for ever.
            self.stop()

    def _next(self):
        """Those who wait, as soon as they should be answered; None after the end."""
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
    """A request, and whoever waits for its answer."""

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
    """What one of several threads that all run kernels may use, and a way to stop them together.

    Parameters
    ----------
    n_threads : int
        Threads for the kernels of each of them.
    n_members : int, default=1
        Tasks at the same time.
    n_cores : int or None, default=None
        Of these, how many compute on the CPU, or on a device on their own; None for all.

    Attributes
    ----------
    gathering : Gathering
    copies : dict
        Copies of data on devices, which tasks share; changed under `lock`.
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
        """Let it hold for the thread that calls this."""
        _own.share = self

    @contextmanager
    def core(self):
        """Have one of the cores during a task, or until `leave_core`."""
        self._cores.acquire()
        _own.has_core = True
        try:
            self.check()
            yield
        finally:
            self.leave_core()

    def leave_core(self):
        """Let others compute: from now on this thread waits for most of the time."""
        if getattr(_own, "has_core", False):
            _own.has_core = False
            self._cores.release()

    def stop(self):
        """Make the kernels of all its threads return, with `Interrupted`, and let no new one begin."""
        self._stopped = True
        self.gathering.stop()
        for control, entry in list(self._controls.values()):
            control[entry] = 1

    def check(self):
        """Raise `Interrupted` if they have been stopped."""
        if self._stopped:
            raise Interrupted

    def watch(self, control, entry):
        """Take note of what stops the kernel that the thread is about to run: an array's entry that becomes 1."""
        self._controls[threading.get_ident()] = control, entry
        # Not before: between the two, somebody may stop them.
        self.check()
