"""The collective of XGBoost's distributed training, which adds numbers of processes on several machines.

It comes with the packages xgboost and xgboost-cpu, and has nothing to do with trees. A tracker brings the workers
together; after that they send numbers to each other, in a ring whose order is that of ranks. Of each worker, and of the
tracker, it runs in a process of its own, which is killed where a training is stopped.
"""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from skbackprop._extras import how_to_install
from skbackprop._lazy import lazy
from skbackprop.distributed import _rabit_process
from skbackprop.exceptions import WorkerLostError
from skbackprop.training.collective import Collective

__all__ = ["RabitCollective", "Tracker", "check_installed"]

# How long a worker waits for another one that neither answers nor is gone: as long as the slowest pass over its rows.
_TIMEOUT_SECONDS = 1800
_SETTINGS = {"dmlc_communicator": "rabit", "dmlc_timeout": _TIMEOUT_SECONDS, "dmlc_retry": 1}
_SORTED_BY_TASK = 1


def _library():
    """Return the path of XGBoost's library; to import its package would take seconds."""
    found = importlib.util.find_spec("xgboost")
    if found is None:
        raise ImportError(f"training on several workers needs xgboost: {how_to_install('dask')}")
    spec = importlib.util.spec_from_file_location("_xgboost_libpath", Path(found.origin).with_name("libpath.py"))
    libpath = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(libpath)
    return libpath.find_lib_path()[0]


def check_installed():
    """Raise ImportError, which says what to install, if the collective is missing."""
    _library()


class _FailedError(Exception):
    """XGBoost's process cannot do what it was asked for, and has ended; says why."""


class _Memory:
    """Memory in common with another process, which grows with the arrays that are put there.

    Attributes
    ----------
    name : str
        What the other process is to know it by.
    inherited : tuple of int
        File descriptors that it has to have.
    """

    def __init__(self):
        self._numbers = np.empty(0, dtype=np.uint8)
        self.name, self.inherited = uuid.uuid4().hex, ()
        if os.name != "nt":
            self.inherited = (_open_file(),)
            self.name = str(self.inherited[0])

    def of(self, array):
        """Return where the bytes of an array are put."""
        if array.nbytes > len(self._numbers):
            for file in self.inherited:
                os.truncate(file, array.nbytes)
            self._numbers = np.frombuffer(_rabit_process.shared_memory(self.name, array.nbytes), dtype=np.uint8)
        return self._numbers[: array.nbytes]

    def close(self):
        files, self.inherited = self.inherited, ()
        for file in files:
            os.close(file)


def _open_file():
    """Open a file that is in no folder, and on Linux in memory, and that is gone with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("skbackprop")
    file, path = tempfile.mkstemp()
    os.unlink(path)
    return file


class _Process:
    """A process of XGBoost, which ends with this one.

    Parameters
    ----------
    role : {"tracker", "worker"}
    settings : dict
        XGBoost's.
    """

    def __init__(self, role, settings):
        self._memory = _Memory()
        # Isolated and without site-packages, which makes the start 10 times as fast.
        python = [sys.executable, "-I", "-S", _rabit_process.__file__]
        self._process = subprocess.Popen(
            [*python, role, _library(), json.dumps(settings | {"memory": self._memory.name})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=self._memory.inherited,
            start_new_session=True,  # Ctrl-C is left to the engine
        )

    def sum(self, array):
        """Have it replace an array by its sum."""
        own, numbers = array.view(np.uint8), self._memory.of(array)
        numbers[:] = own
        with suppress(OSError):  # it has ended, and perhaps has said why
            self._process.stdin.write(_rabit_process.HEADER.pack(_rabit_process.KINDS[array.dtype.name], array.nbytes))
            self._process.stdin.flush()
        self._n_bytes()
        own[:] = numbers

    def first_answer(self):
        """Wait until it is ready; return what it says then."""
        return json.loads(self._process.stdout.read(self._n_bytes()))

    def _n_bytes(self):
        """Wait for an answer; return its length."""
        header = self._process.stdout.read(_rabit_process.HEADER.size)
        if len(header) < _rabit_process.HEADER.size:
            raise _FailedError("the process that sums over the workers has ended")
        is_error, n_bytes = _rabit_process.HEADER.unpack(header)
        if not is_error:
            return n_bytes
        # The first lines say what happened to the connection; the rest is a trace of C++.
        reason = self._process.stdout.read(n_bytes).decode().partition("Stack trace")[0].strip().splitlines()
        raise _FailedError(reason[-1] if reason else "no reason is known")

    def kill(self):
        """Make it end, from any thread."""
        self._process.kill()

    def close(self):
        """Make it end, and wait until it has."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()
        self._process.wait()
        self._memory.close()


class Tracker:
    """Brings workers together; lives at one of them or at Spark's driver, and is not needed any more once all have joined.

    Parameters
    ----------
    host : str
        Address of this machine in the network of the workers, which is the only one that the tracker listens on.
    size : int
        Number of workers.

    Attributes
    ----------
    address : tuple of (str, int)
        For `RabitCollective`. XGBoost needs a tenth of a second to begin, for which only the first look at this waits; it
        raises OSError if workers cannot meet at `host`.
    """

    def __init__(self, host, size):
        own = {"host": host, "n_workers": size, "port": 0, "sortby": _SORTED_BY_TASK, "timeout": 0}
        self._host = host
        self._process = _Process("tracker", _SETTINGS | own)

    @lazy
    def address(self):
        try:
            arguments = self._process.first_answer()
        except _FailedError as error:
            raise OSError(f"workers cannot meet at {self._host!r}, the address that the engine gave: {error}") from None
        return arguments["dmlc_tracker_uri"], arguments["dmlc_tracker_port"]

    def close(self):
        """Close its port."""
        self._process.close()


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
        self._process = None
        self._is_stopped = False

    def __enter__(self):
        uri, port = self._address
        own = {"dmlc_tracker_uri": uri, "dmlc_tracker_port": port, "dmlc_task_id": f"{self.rank:08d}"}
        self._process = _Process("worker", _SETTINGS | own)
        try:
            rank = self._call(self._process.first_answer)
            if rank != self.rank:
                raise RuntimeError(f"the tracker gave worker {self.rank} the rank {rank}")
        except BaseException:
            self._process.close()
            raise
        return self

    def __exit__(self, *exception):
        # What it has sent arrives nevertheless; none of the others waits for more.
        self._process.close()

    def _call(self, method, *arguments):
        try:
            # If it was stopped before there was a process, nobody has killed that.
            if not self._is_stopped:
                return method(*arguments)
        except _FailedError as error:
            if not self._is_stopped:
                raise WorkerLostError(f"another worker has left the training: {error}") from None
        raise WorkerLostError("the training was stopped")

    def stop(self):
        """Make the call that waits for other workers fail, and each later one, from another thread."""
        self._is_stopped = True
        # If there is none yet, its first call fails.
        if self._process is not None:
            self._process.kill()

    def sum(self, array):
        """Replace an array by its sum over the workers."""
        self._call(self._process.sum, array)

    def gather(self, value):
        """Return a list of every worker's value."""
        # As sums of numbers that are zero but for one worker.
        own = pickle.dumps(value)
        sizes = np.zeros(self.size, dtype=np.int64)
        sizes[self.rank] = len(own)
        self._call(self._process.sum, sizes)
        places = np.zeros((self.size, -(-int(sizes.max()) // 8)), dtype=np.int64)
        places[self.rank].view(np.uint8)[: len(own)] = np.frombuffer(own, dtype=np.uint8)
        self._call(self._process.sum, places.reshape(-1))
        return [pickle.loads(place) for place in places]
