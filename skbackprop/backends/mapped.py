"""Rows in a file that is mapped into memory: read ahead of the kernels, and let go before they fill the memory.

Kernels read mapped rows as any others. The system brings pages in where they are touched, and would keep as many as the
machine has memory, which engines count as the process's and kill it for. A thread asks for the pages that come next in
an epoch, and drops all that are mapped once there are too many: those still needed come back from the system's cache.
"""

import mmap
import os
import threading
from contextlib import suppress

import numpy as np

__all__ = ["MappedRows", "uncache"]

# Rows that are read together: few enough bytes that a window has rows of many places in the file, and enough that a disk
# reads them at about its full speed.
_BLOCK_BYTES = 1 << 19
# Blocks among which rows are shuffled: what is read ahead, too.
_WINDOW_BLOCKS = 256
# Most bytes that stay mapped: a window, and what is touched between two looks, with some space.
_MOST_BYTES = 1 << 28
_SECONDS_BETWEEN_LOOKS = 0.01
# What Linux reads ahead at most in one call, unless the disk is set otherwise.
_ADVISED_BYTES = 1 << 17
# Rows of a block that are looked at to find out whether an epoch's next part needs it; a block that is missed is read
# when it is touched.
_SAMPLED = 16


class MappedRows:
    """Rows in a file; a context manager, in which the rows that a session reads are read ahead, and let go.

    Parameters
    ----------
    file : file object
        Holds the rows, and nothing else.
    dtype : numpy.dtype
    shape : tuple of int
        (n_rows, n_features), both positive.

    Attributes
    ----------
    array : ndarray of shape (n_rows, n_features)
        Read-only. The file may be closed, and has to stay as it is.
    block_rows, window_rows : int
        Rows that are best read together, and among which an epoch shuffles them; see
        `skbackprop.training.shuffling.draw_orders_in_blocks`.
    """

    def __init__(self, file, dtype, shape):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array = np.frombuffer(self._map, dtype=dtype).reshape(shape)
        self._row_bytes = self.array.strides[0]
        self.block_rows = max(1, _BLOCK_BYTES // self._row_bytes)
        self.window_rows = self.block_rows * _WINDOW_BLOCKS
        self._places, self._clock, self._n_asked = np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64), 0
        self._lock = threading.Lock()

    def __enter__(self):
        self._ended = threading.Event()
        self._most = _mapped_bytes() + _MOST_BYTES
        self._thread = threading.Thread(target=self._watch, name="skbackprop-rows", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self._thread.join()
        self.follow(self._places[:0].copy(), np.zeros(1, dtype=np.int64))

    def follow(self, places, clock):
        """Read ahead of a kernel.

        Parameters
        ----------
        places : ndarray of int64
            Numbers of the rows in the order in which the kernel reads them.
        clock : ndarray of shape (1,), int64
            Position in `places` at which the kernel is, which it writes.
        """
        clock[0] = 0
        with self._lock:
            self._places, self._clock, self._n_asked = places, clock, 0
        self._read_ahead()

    def _watch(self):
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            self._read_ahead()
            # NaN, where the system does not say, is not below anything.
            if not _mapped_bytes() < self._most:
                self._advise("MADV_DONTNEED")

    def _read_ahead(self):
        """Ask for the blocks of the next window of rows."""
        with self._lock:
            first = max(self._n_asked, int(self._clock[0]))
            stop = min(int(self._clock[0]) + self.window_rows, len(self._places))
            # Block by block, except for the last one.
            if stop - first < (self.block_rows if stop < len(self._places) else 1):
                return
            sampled = self._places[first : stop : max(1, self.block_rows // _SAMPLED)]
            self._n_asked = stop
        for block in np.unique(sampled // self.block_rows).tolist():
            size = self.block_rows * self._row_bytes
            stop = min((block + 1) * size, len(self._map))
            for start in range(block * size // mmap.PAGESIZE * mmap.PAGESIZE, stop, _ADVISED_BYTES):
                self._advise("MADV_WILLNEED", start, min(_ADVISED_BYTES, stop - start))

    def _advise(self, advice, *span):
        # Not every system knows all advice, or any, as Windows, whose own rules for mapped memory do.
        if hasattr(mmap, advice):
            with suppress(OSError):
                self._map.madvise(getattr(mmap, advice), *span)


def uncache(file):
    """Have the system write a file to disk, and drop what it caches of it.

    Linux caches what is written in pages of up to 2 MB, and maps such a page as a whole when one row of it is read: a
    window of blocks would map much more than it has. What it reads ahead on request is in small pages.

    Parameters
    ----------
    file : file object
    """
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _mapped_bytes():
    """Return the size of the pages of all mapped files in this process's memory; NaN where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return np.nan
