"""Blocks of Numba's CUDA simulator whose threads sleep until all have come to a barrier.

In Numba's own, the thread that manages a block asks all others again and again whether they wait, with Python's lock in its hands:
this takes most of a simulation's time, and several times as long where lines are counted.
"""

import threading

import numpy as np
from numba.cuda.simulator import kernel as simulator

__all__ = ["install"]


class _OtherThreadError(Exception):
    pass


class _Barrier:
    """A block's, which does not wait for threads that have returned."""

    def __init__(self, n_threads):
        self._n_threads = n_threads
        self._n_waiting = 0
        self._round = 0
        self._failed = False
        self._changed = threading.Condition()

    def wait(self):
        with self._changed:
            self._n_waiting += 1
            current = self._round
            self._open_if_all_are_here()
            while self._round == current and not self._failed:
                self._changed.wait()
            if self._failed:
                raise _OtherThreadError

    def leave(self, failed):
        with self._changed:
            self._n_threads -= 1
            self._failed |= failed
            self._open_if_all_are_here()
            self._changed.notify_all()

    def _open_if_all_are_here(self):
        if self._n_waiting == self._n_threads:
            self._n_waiting = 0
            self._round += 1
            self._changed.notify_all()


class _BlockThread(simulator.BlockThread):
    def run(self):
        super().run()
        self._manager.barrier.leave(failed=self.exception is not None)

    def syncthreads(self):
        self._manager.barrier.wait()


def _run(manager, block, *arguments):
    """Run a block: what `BlockManager.run` does."""
    threads = [
        _BlockThread(lambda: manager._f(*arguments), manager, block, thread, manager._debug)
        for thread in np.ndindex(*manager._block_dim)
    ]
    manager.barrier = _Barrier(len(threads))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [thread.exception for thread in threads if thread.exception]
    for error, traceback in sorted(errors, key=lambda found: isinstance(found[0], _OtherThreadError)):
        raise error.with_traceback(traceback)


def install():
    """Let all simulated kernels run in such blocks."""
    simulator.BlockManager.run = _run
