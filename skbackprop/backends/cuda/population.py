"""Launches of resident networks: those that are to be trained at the same time go to a device together, a block for each."""

import math
import threading
from dataclasses import dataclass

import numpy as np

from skbackprop._compile import SIMULATED
from skbackprop.backends.cuda.device import Device, configure
from skbackprop.backends.cuda.state import ARRAYS, N_NUMBERS, N_WORDS

__all__ = ["RESIDENT_THREADS", "Launches", "Request", "launches_of"]

#: Most threads of a block: as many as leave each of them the registers that the products of two by two need.
RESIDENT_THREADS = 3 if SIMULATED else 512

# Fewest, where more blocks than one are to fit a multiprocessor. An estimate, not measured yet.
_LEAST_THREADS = 2 if SIMULATED else 128

# Arrays begin where a vector of any size can be read.
_ALIGNMENT = 16


@dataclass
class Request:
    """What a network is to be trained with in a launch.

    Parameters
    ----------
    kernel : dispatcher
        One of `steps.Kernels`; requests with the same one are launched together.
    shared_bytes : int
        Dynamic shared memory.
    numbers : tuple of int
        See `state.TABLE_ROWS` and those after it.
    arrays : dict
        By the names in `state.ARRAYS`: arrays of the host, which are copied to the device; arrays of the device; or a pair of a
        size and a dtype for memory with no content.
    results : dict
        Arrays of the host by the same names, of what is read afterwards. What is not in `arrays`, too, begins with zeros.
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
        """Names, contents, sizes and bytes of what has a place in the launch's memory.

        Memory without content comes first, results come last.

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
        """Memory of the device that it takes in a launch.

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
        """Train networks, all those with the same kernel in one launch if the device's memory allows it.

        Parameters
        ----------
        requests : list of Request

        Raises
        ------
        MemoryError
            If not even one of them fits.
        """
        with self.device.active():
            for kernel in dict.fromkeys(request.kernel for request in requests):
                alike = [request for request in requests if request.kernel is kernel]
                for together in self._fitting(alike):
                    self._launch(together)

    def _fitting(self, requests):
        """The same requests, in parts that fit the memory."""
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
                self._memory = None  # first, so that there is room
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
        """Where in the launch's memory everything lies, how much it is, and where contents and results begin."""
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
        """Threads of each of so many blocks; results do not depend on it."""
        n_waves = -(-n_models // self.device.n_processors)
        return max(_LEAST_THREADS, RESIDENT_THREADS // (1 << (n_waves - 1).bit_length()))


_making = threading.Lock()


def launches_of(share, index):
    """The launches for a device that the trainings of a population have in common.

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
