"""Launches of resident networks: networks that train at the same time share a launch, with one block each."""

import math
import threading
from dataclasses import dataclass

import numpy as np

from skbackprop._compile import SIMULATED
from skbackprop.backends.cuda.device import Device, configure
from skbackprop.backends.cuda.state import ARRAYS, N_NUMBERS, N_WORDS

__all__ = ["RESIDENT_THREADS", "Launches", "Request", "launches_of"]

#: Maximum threads per block: leaves each thread the registers that the two-by-two products need.
RESIDENT_THREADS = 3 if SIMULATED else 512

# Minimum threads per block if several blocks share a multiprocessor. An estimate, not measured yet.
_LEAST_THREADS = 2 if SIMULATED else 128

# Alignment of arrays in bytes: suits vector loads of any size.
_ALIGNMENT = 16


@dataclass
class Request:
    """Kernel and arguments for training one network in a launch.

    Parameters
    ----------
    kernel : dispatcher
        One of `steps.Kernels`; requests with the same kernel are launched together.
    shared_bytes : int
        Dynamic shared memory.
    numbers : tuple of int
        See `state.TABLE_ROWS` and the entries after it.
    arrays : dict
        Keys are names of `state.ARRAYS`; values are host arrays, which are copied to the device, device arrays, or
        pairs of size and dtype for uninitialized memory.
    results : dict
        Host arrays by the same names, which are read back afterwards. Those missing in `arrays` start as zeros.
    """

    kernel: object
    shared_bytes: int
    numbers: tuple
    arrays: dict
    results: dict

    def __post_init__(self):
        for name, array in self.results.items():
            self.arrays.setdefault(name, array)

    def parts(self):
        """List order, name, content, size and bytes of each part of the launch's memory.

        Uninitialized memory comes first, results come last.

        Returns
        -------
        parts : list of tuple
        """
        found = []
        for name in ARRAYS:
            array = self.arrays[name]
            if isinstance(array, tuple):
                found.append((0, name, None, array[0], array[0] * np.dtype(array[1]).itemsize))
            elif isinstance(array, np.ndarray):
                found.append((2 if name in self.results else 1, name, array, array.size, array.nbytes))
        return found

    def n_bytes(self):
        """Return the device memory that the request takes in a launch.

        Returns
        -------
        n_bytes : int
        """
        return sum(_aligned(part[-1]) for part in self.parts())


def _aligned(n_bytes):
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


class Launches:
    """Launches on one device, one after the other.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device):
        self.device = device
        self._memory = None

    def run(self, requests):
        """Train networks; those with the same kernel share a launch if they fit the device's memory.

        Parameters
        ----------
        requests : list of Request

        Raises
        ------
        MemoryError
            If a single network does not fit.
        """
        with self.device.active():
            for kernel in dict.fromkeys(request.kernel for request in requests):
                alike = [request for request in requests if request.kernel is kernel]
                for together in self._fitting(alike):
                    self._launch(together)

    def _fitting(self, requests):
        """Split requests into groups that fit the memory."""
        sizes = np.cumsum([request.n_bytes() for request in requests])
        held = 0 if self._memory is None else self._memory.size
        if sizes[-1] <= held:
            return [requests]
        free = self.device.free_bytes() + held
        n_parts = max(1, math.ceil(sizes[-1] / max(free, 1.0)))
        n_each = -(-len(requests) // n_parts)
        return [requests[start : start + n_each] for start in range(0, len(requests), n_each)]

    def _launch(self, requests):
        device = self.device
        places, total, first, results = self._arrange(requests)
        with device.allocating(total, "this training"):
            if self._memory is None or self._memory.size < total:
                self._memory = None  # free the old memory before allocating
                device.require(total, "this training")
                self._memory = device.empty(total, np.uint8)
        base = device.address(self._memory)
        table = np.zeros((len(requests), N_WORDS), dtype=np.int64)
        memory = np.zeros(total - first, dtype=np.uint8)
        for row, request, own in zip(table, requests, places, strict=True):
            row[:N_NUMBERS] = request.numbers
            for index, name in enumerate(ARRAYS):
                if name in own:
                    start, array, size, n_bytes = own[name]
                    address = base + start
                    if array is not None:
                        memory[start - first :][:n_bytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                else:
                    array = request.arrays[name]
                    address, size = device.address(array), array.size
                row[N_NUMBERS + 2 * index :][:2] = address, size
        device.write(memory, self._memory[first:])
        n_threads = self._threads(len(requests))
        shared_bytes = max(request.shared_bytes for request in requests)
        launch = configure(requests[0].kernel, len(requests), n_threads, device.stream, shared_bytes)
        launch(device.upload(table))
        device.read(self._memory[results:], memory[results - first :])
        for request, own in zip(requests, places, strict=True):
            for name, array in request.results.items():
                start, _, _, n_bytes = own[name]
                array.reshape(-1)[:] = memory[start - first :][:n_bytes].view(array.dtype)

    def _arrange(self, requests):
        """Lay out the launch's memory: all offsets, the total size, and the start of contents and of results."""
        places = [{} for _ in requests]
        parts = [
            (kind, own, *part) for own, request in zip(places, requests, strict=True) for kind, *part in request.parts()
        ]
        total, starts = 0, []
        for kind in range(3):
            starts.append(total)
            for own, name, array, size, n_bytes in (part[1:] for part in parts if part[0] == kind):
                own[name] = total, array, size, n_bytes
                total += _aligned(n_bytes)
        return places, total, starts[1], starts[2]

    def _threads(self, n_models):
        """Choose the threads per block for `n_models` blocks; results do not depend on it."""
        n_waves = -(-n_models // self.device.n_processors)
        return max(_LEAST_THREADS, RESIDENT_THREADS // (1 << (n_waves - 1).bit_length()))


_making = threading.Lock()


def launches_of(share, index):
    """Return the launches on a device that the trainings of a population share.

    Parameters
    ----------
    share : Share
    index : int
        The device's number.

    Returns
    -------
    launches : Launches
    """
    with _making:
        if ("launches", index) not in share.copies:
            share.copies["launches", index] = Launches(Device(index))
        return share.copies["launches", index]
