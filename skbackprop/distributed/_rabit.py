"""The collective of XGBoost's distributed training, which adds numbers of processes on several machines.

It comes with the packages xgboost and xgboost-cpu, and has nothing to do with trees. A tracker brings the workers
together; after that they send numbers to each other, in a ring whose order is that of ranks.
"""

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from contextlib import suppress
from functools import partial

import numpy as np

from skbackprop._extras import how_to_install
from skbackprop.exceptions import WorkerLostError
from skbackprop.training.collective import Collective

__all__ = ["RabitCollective", "Tracker", "check_installed"]

# How long a worker waits for another one that neither answers nor is gone: as long as the slowest pass over its rows.
_TIMEOUT_SECONDS = 1800
_RETRIES = 1
# How often a worker that waits for others looks whether the training was stopped, and how often until it leaves.
_SECONDS_BETWEEN_LOOKS = 0.25
_MOST_LOOKS = 40
# How long the tracker waits for workers that have all they need.
_SECONDS_TO_LEAVE = 10


def _xgboost():
    try:
        import xgboost
    except ImportError:
        raise ImportError(f"training on several workers needs xgboost: {how_to_install('dask')}") from None
    return xgboost


def check_installed():
    """Raise ImportError, which says what to install, if the collective is missing."""
    _xgboost()


def _inet_sockets():
    """Yield the sockets of the internet that this process has open, whoever opened them; none on systems without /dev/fd."""
    for name in os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else ():
        with suppress(OSError):  # closed in the meantime
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as own:
                    if own.family != socket.AF_UNIX:
                        yield own


def _listening_ports():
    """Return the TCP ports that this process listens on."""
    ports = set()
    for own in _inet_sockets():
        with suppress(OSError):
            if own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                ports.add(own.getsockname()[1])
    return ports


class Tracker:
    """Brings workers together; lives on one of them.

    Parameters
    ----------
    host : str
        Address of this machine in the network of the workers, which is the only one that the tracker listens on.
    size : int
        Number of workers.

    Attributes
    ----------
    address : tuple of (str, int)
        For `RabitCollective`.
    """

    def __init__(self, host, size):
        xgboost = _xgboost()
        self._error = xgboost.core.XGBoostError
        self._tracker = xgboost.RabitTracker(n_workers=size, host_ip=host, sortby="task")
        self._tracker.start()
        arguments = self._tracker.worker_args()
        self.address = arguments["dmlc_tracker_uri"], arguments["dmlc_tracker_port"]

    def wait(self):
        """Wait until all workers have taken leave of it, or for a while; those that come too late miss nothing."""
        with suppress(self._error):
            self._tracker.wait_for(_SECONDS_TO_LEAVE)

    def close(self):
        """Close its port."""
        # Otherwise XGBoost's tracker would go on waiting for a worker that has come and says no more.
        for own in _inet_sockets():
            with suppress(OSError):
                if own.getsockname()[1] == self.address[1]:
                    own.shutdown(socket.SHUT_RDWR)
        with suppress(self._error):  # workers that were lost did not say so
            self._tracker.free()


class RabitCollective(Collective):
    """One worker's view of all; a context manager, which all workers enter at about the same time.

    Parameters
    ----------
    address : tuple of (str, int)
        The tracker's.
    rank, size : int
    """

    def __init__(self, address, rank, size):
        self.rank, self.size = rank, size
        self._address = address
        xgboost = _xgboost()
        self._collective, self._error = xgboost.collective, xgboost.core.XGBoostError
        self._is_stopped = False
        # XGBoost binds a collective to the thread that entered it, but kernels call from any of theirs. What it would warn
        # of is raised here.
        self._thread = ThreadPoolExecutor(1, "skbackprop-collective", partial(xgboost.set_config, verbosity=0))

    def _call(self, function, *arguments, **settings):
        if self._is_stopped:
            raise WorkerLostError("the training was stopped")
        called = self._thread.submit(function, *arguments, **settings)
        try:
            return self._result(called)
        except self._error as error:
            # The first lines say what happened to the connection; the rest is a trace of C++.
            reason = str(error).partition("Stack trace")[0].strip().splitlines()
            raise WorkerLostError(f"another worker has left the training: {reason[-1] if reason else error}") from None

    def _result(self, called):
        """Wait for XGBoost, and no longer if the training is stopped: it may wait for a worker that never answers."""
        while True:
            try:
                return called.result(timeout=_SECONDS_BETWEEN_LOOKS)
            except FutureTimeoutError:
                if self._is_stopped:
                    raise WorkerLostError("the training was stopped") from None

    def __enter__(self):
        before = _listening_ports()
        try:
            self._call(self._join)
        except BaseException:
            self._leave(before)
            self._thread.shutdown(wait=False)
            raise
        self._close_ports(before)
        return self

    def _join(self):
        uri, port = self._address
        settings = {"dmlc_tracker_uri": uri, "dmlc_tracker_port": port, "dmlc_task_id": f"{self.rank:08d}"}
        self._collective.init(dmlc_timeout=_TIMEOUT_SECONDS, dmlc_retry=_RETRIES, **settings)
        rank = self._collective.get_rank()
        if rank != self.rank:
            raise RuntimeError(f"the tracker gave worker {self.rank} the rank {rank}")
        # After this, all have joined, and no worker needs to be reached any more.
        self._collective.allreduce(np.zeros(1), self._collective.Op.SUM)

    def _leave(self, before):
        """Make XGBoost give up joining: it may wait for a worker that was lost."""
        given_up = self._thread.submit(bool)
        for _ in range(_MOST_LOOKS):
            self._close_ports(before)
            with suppress(FutureTimeoutError):
                given_up.result(timeout=_SECONDS_BETWEEN_LOOKS)
                break
        self._close_ports(before)

    def _close_ports(self, before):
        """End XGBoost's threads that accept connections from any address; by the wrong one of them, they end the process."""
        for port in _listening_ports() - before:
            # Where others are to join, it waits for one connection of each.
            for _ in range(self.size):
                with suppress(OSError), socket.create_connection(("localhost", port), timeout=1) as knock:
                    knock.sendall(bytes(4))  # its signal of an orderly end

    def __exit__(self, *exception):
        # It takes leave of the tracker, closes its connections, and misses the port that is closed already. Another worker may
        # have left before.
        with suppress(self._error, WorkerLostError):
            self._result(self._thread.submit(self._collective.finalize))
        self._thread.shutdown(wait=False)

    def stop(self):
        """Make the call that waits for other workers fail, and each later one, from another thread."""
        self._is_stopped = True

    def sum(self, array):
        """Replace an array by its sum over the workers."""
        array[:] = self._call(self._collective.allreduce, array, self._collective.Op.SUM)

    def gather(self, value):
        """Return a list of every worker's value."""
        # In a tuple, because XGBoost takes None for no value.
        return [self._call(self._collective.broadcast, (value,), rank)[0] for rank in range(self.size)]
