"""Sums over the workers of a training, each of which holds some of the rows.

The workers call the same methods of their collectives in the same order, and get the same results. It is engines that
provide collectives; this module only knows threads of one process, by which all others are tested.
"""

import threading
from abc import ABC, abstractmethod

import numpy as np

from skbackprop.exceptions import WorkerLostError

__all__ = ["Collective", "ThreadCollective"]


class Collective(ABC):
    """One worker's view of all workers.

    Attributes
    ----------
    rank : int
        Number of this worker, from 0.
    size : int
        Number of workers.
    """

    rank: int
    size: int

    @abstractmethod
    def sum(self, array):
        """Replace an array by its sum over the workers, whose order does not depend on which of them is faster.

        Parameters
        ----------
        array : ndarray of shape (n,), float64
            C-contiguous, of the same shape on every worker.

        Raises
        ------
        WorkerLostError
            If another worker has left.
        """

    @abstractmethod
    def gather(self, value):
        """Return a list of every worker's value, by rank; values can be pickled.

        Raises
        ------
        WorkerLostError
            If another worker has left.
        """

    def total(self, value):
        """Return the sum of every worker's value.

        Parameters
        ----------
        value : float or array-like

        Returns
        -------
        total : ndarray, float64
        """
        array = np.array(value, dtype=np.float64)
        self.sum(array.reshape(-1))
        return array


class _Meeting:
    """Where threads leave what others take.

    Unlike `threading.Barrier`, a round that is complete stays so if a thread leaves right after it.

    Parameters
    ----------
    size : int
        Number of threads.
    """

    def __init__(self, size):
        self.values = [None] * size
        self._condition = threading.Condition()
        self._n_waiting = self._n_rounds = 0
        self._is_broken = False

    def wait(self):
        """Wait for all threads; raise WorkerLostError if one has left."""
        with self._condition:
            n_rounds = self._n_rounds
            self._n_waiting += 1
            if self._n_waiting == len(self.values):
                self._n_waiting, self._n_rounds = 0, n_rounds + 1
                self._condition.notify_all()
            self._condition.wait_for(lambda: self._n_rounds != n_rounds or self._is_broken)
            if self._n_rounds == n_rounds:
                raise WorkerLostError("another worker has left the training")

    def leave(self):
        """Let all threads that wait, or will, know that one is not coming."""
        with self._condition:
            self._is_broken = True
            self._condition.notify_all()


class ThreadCollective(Collective):
    """A collective of threads of one process, whose sums go in the order of ranks.

    Parameters
    ----------
    meeting : _Meeting
    rank, size : int
    """

    def __init__(self, meeting, rank, size):
        self._meeting, self.rank, self.size = meeting, rank, size

    @classmethod
    def team(cls, size):
        """Return the collectives of as many threads.

        Parameters
        ----------
        size : int

        Returns
        -------
        collectives : list of ThreadCollective
        """
        meeting = _Meeting(size)
        return [cls(meeting, rank, size) for rank in range(size)]

    def gather(self, value):
        """Return a list of every thread's value."""
        self._meeting.values[self.rank] = value
        self._meeting.wait()
        values = list(self._meeting.values)
        # Nobody may leave the next value before all have taken these.
        self._meeting.wait()
        return values

    def sum(self, array):
        """Replace an array by its sum over the threads."""
        first, *others = self.gather(array.copy())
        array[:] = first
        for other in others:
            array += other

    def leave(self):
        """Let the other threads know that this one will not take part any more."""
        self._meeting.leave()
