"""Faults at fixed places of a training on several workers: what tests and long runs have in common.

All functions are called in the processes of the workers, whose methods they change until `restore` is called. Engines
have to pickle this module by value where their workers cannot import it.
"""

import os
import signal
import subprocess
import threading
from contextlib import suppress

from skbackprop.distributed import FileStore, MemoryStore, _rabit_process
from skbackprop.distributed._rabit import RabitCollective, Tracker

#: What was changed in this process, and timers that have not been heard of again.
_changed, _timers = [], []
#: How often `tick` was called.
_n_ticks = [0]


class Partition:
    """Where the rows of a lazy partition come from."""

    @staticmethod
    def read(rows):
        """Return them."""
        return rows


#: Methods at whose calls a worker may be lost: as a partition is loaded, as the tracker, between its assignment and joining
#: the others, at a sum, at a checkpoint, after its part.
PLACES = {
    "loading": (Partition, "read"),
    "tracker": (Tracker, "__init__"),
    "joining": (RabitCollective, "__enter__"),
    "sum": (RabitCollective, "sum"),
    "checkpoint": (MemoryStore, "write"),
    "checkpoint file": (FileStore, "write"),
    "end": (RabitCollective, "__exit__"),
}


def at(place, act, *arguments, number=0):
    """Call a function at a place: before the call with this number, counted from now on, and before each later one.

    Parameters
    ----------
    place : str
        One of `PLACES`.
    act : callable
    *arguments
        For `act`.
    number : int, default=0
        A training of the tests has at least 600 sums.
    """
    owner, name = PLACES[place]
    own, calls = vars(owner)[name], iter(range(number))

    def changed(*given, **settings):
        if next(calls, None) is None:
            act(*arguments)
        return getattr(own, "__func__", own)(*given, **settings)

    _changed.append((owner, name, own))
    setattr(owner, name, staticmethod(changed) if isinstance(own, staticmethod) else changed)


def restore():
    """Undo all changes, and stop what `later` has begun."""
    while _timers:
        _timers.pop().cancel()
    while _changed:
        setattr(*_changed.pop())
    _n_ticks[0] = 0


def kill(folder=None):
    """Kill this process.

    Parameters
    ----------
    folder : Path or None, default=None
        If given, a file is taken from it for each kill, and without one there is none.
    """
    for path in [None] if folder is None else folder.iterdir():
        try:
            if path is not None:
                path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def later(seconds, act, *arguments):
    """Call a function after some time."""
    timer = threading.Timer(seconds, act, arguments)
    timer.daemon = True
    _timers.append(timer)
    timer.start()


def stall(path, seconds):
    """Stop this process for some time, once, as if its machine had other work: all of its threads stand still.

    Parameters
    ----------
    path : Path
        A file, which tells that this has been done.
    seconds : float
    """
    if path.exists():
        return
    path.touch()
    # Nothing in this process could wake it.
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def tick():
    """Count calls."""
    _n_ticks[0] += 1


def ticks():
    """Return how often `tick` was called since the last `restore`."""
    return _n_ticks[0]


def listening(pid=None):
    """Return the addresses and ports that a process, by default this one, and what it has started listen on."""
    import psutil

    ports = set()
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.Error):  # ended in the meantime
            connections = process.net_connections("inet")
            ports |= {tuple(connection.laddr) for connection in connections if connection.status == psutil.CONN_LISTEN}
    return ports


def processes_of_xgboost():
    """Return the numbers of all processes of this machine that sum over workers, or bring these together."""
    import psutil

    # One that has ended, and whose parent does not know it yet, has no command.
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if _rabit_process.__file__ in (process.info["cmdline"] or ())
    }


def write_hosts(path):
    """Write the addresses that this process listens on to a file."""
    path.write_text("\n".join(host for host, _ in listening()), encoding="utf-8")
