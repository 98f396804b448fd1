"""The collective of XGBoost's distributed training, which adds numbers of processes on several machines.

It comes with the packages xgboost and xgboost-cpu, and has nothing to do with trees. A tracker brings the workers
together; after that they send numbers to each other, in a ring whose order is that of ranks.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from skbackprop._extras import how_to_install
from skbackprop.exceptions import WorkerLostError
from skbackprop.training.collective import Collective

__all__ = ["RabitCollective", "Tracker", "check_installed"]

# How long a worker waits for another one that neither answers nor is gone: as long as the slowest pass over its rows.
_TIMEOUT_SECONDS = 1800
_RETRIES = 1


def _xgboost():
    try:
        from xgboost import collective, core, tracker
    except ImportError:
        raise ImportError(f"training on several workers needs xgboost: {how_to_install('dask')}") from None
    return collective, core.XGBoostError, tracker


def check_installed():
    """Raise ImportError, which says what to install, if the collective is missing."""
    _xgboost()


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
        _, self._error, tracker = _xgboost()
        self._tracker = tracker.RabitTracker(n_workers=size, host_ip=host, sortby="task")
        self._tracker.start()
        arguments = self._tracker.worker_args()
        self.address = arguments["dmlc_tracker_uri"], arguments["dmlc_tracker_port"]

    def close(self):
        """Close its port."""
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
        self._collective, self._error, _ = _xgboost()
        self._is_stopped = False
        # XGBoost binds a collective to the thread that entered it, but kernels call from any of theirs.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="skbackprop-collective")

    def _call(self, function, *arguments, **settings):
        if self._is_stopped:
            raise WorkerLostError("the training was stopped")
        try:
            return self._thread.submit(function, *arguments, **settings).result()
        except self._error as error:
            # The first lines say what happened to the connection; the rest is a trace of C++.
            reason = str(error).partition("Stack trace")[0].strip().splitlines()
            raise WorkerLostError(f"another worker has left the training: {reason[-1] if reason else error}") from None

    def __enter__(self):
        uri, port = self._address
        settings = {"dmlc_tracker_uri": uri, "dmlc_tracker_port": port, "dmlc_task_id": f"{self.rank:08d}"}
        try:
            self._call(self._collective.init, dmlc_timeout=_TIMEOUT_SECONDS, dmlc_retry=_RETRIES, **settings)
            rank = self._call(self._collective.get_rank)
            if rank != self.rank:
                raise RuntimeError(f"the tracker gave worker {self.rank} the rank {rank}")
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    def __exit__(self, *exception):
        with suppress(self._error):  # another worker may have left before
            self._thread.submit(self._collective.finalize).result()
        self._thread.shutdown(wait=False)

    def stop(self):
        """Make the next call fail, from another thread."""
        self._is_stopped = True

    def sum(self, array):
        """Replace an array by its sum over the workers."""
        array[:] = self._call(self._collective.allreduce, array, self._collective.Op.SUM)

    def gather(self, value):
        """Return a list of every worker's value."""
        # In a tuple, because XGBoost takes None for no value.
        return [self._call(self._collective.broadcast, (value,), rank)[0] for rank in range(self.size)]
