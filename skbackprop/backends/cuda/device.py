"""CUDA devices: detect them or say what is missing, manage their memory, compile and launch kernels.

This is the only module of the package that imports `numba.cuda`.
"""

import contextlib
import ctypes
import sys
import threading
import warnings
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from numba import cuda as _numba_cuda
from numba import types
from numba.core.errors import NumbaPerformanceWarning
from numba.np.numpy_support import as_dtype

from skbackprop._compile import JIT, SIMULATED, native, settle
from skbackprop._extras import how_to_install
from skbackprop.backends.record import made_array

__all__ = [
    "Device",
    "arrays_at",
    "compiled",
    "compute_capability",
    "configure",
    "cuda",
    "device_function",
    "part_of",
    "unavailable_reason",
]


class _SimulatedShared:
    """Shared memory of a block; the simulator cannot align it and need not."""

    # Without a lock, the simulator gives two threads that ask at the same time an array each.
    _lock = threading.Lock()

    @classmethod
    def array(cls, shape, kind, alignment=None):
        memory = _simulated("shared")
        if shape == 0:  # dynamic
            return memory.array(shape, kind)
        # Like the simulator, identify an array by the line of the call; the simulator itself would see this line.
        caller = sys._getframe(1)
        place = caller.f_code.co_filename, caller.f_lineno
        with cls._lock:
            return memory._allocations.setdefault(place, np.empty(shape, as_dtype(kind)))


class _Simulator:
    """`numba.cuda` as the current simulated thread sees it; the simulator patches only the kernel's own module."""

    shared = _SimulatedShared

    @staticmethod
    def as_cuda_array(array, sync):
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        # The two interfaces have the same keys.
        memory = SimpleNamespace(__array_interface__=array.__cuda_array_interface__)
        return FakeCUDAArray(np.asarray(memory))

    def __getattr__(self, name):
        return _simulated(name)


def _simulated(name):
    from numba.cuda.simulator.kernel import BlockThread, _get_kernel_context

    # Other threads of the host may use the device at the same time.
    is_kernel = isinstance(threading.current_thread(), BlockThread)
    return getattr(_get_kernel_context() if is_kernel else _numba_cuda, name)


#: `numba.cuda`, under the name that the rest of the package imports.
cuda = _Simulator() if SIMULATED else _numba_cuda

#: Device memory that is left to other processes and to the driver.
_SPARE_BYTES = 64 << 20


def unavailable_reason(index=0):
    """Return why a device cannot be used.

    Parameters
    ----------
    index : int, default=0
        The device's number.

    Returns
    -------
    reason : str or None
        Includes what to do about it; None if the device is usable.
    """
    if SIMULATED and JIT:
        # Simulated threads would run compiled code that does not know about them, which crashes the process.
        return "Numba's simulator of a GPU, NUMBA_ENABLE_CUDASIM=1, needs NUMBA_DISABLE_JIT=1, too: set both before Python starts"
    if SIMULATED:
        return None if index == 0 else "the simulator has one device"
    if getattr(cuda, "implementation", None) != "NVIDIA":
        return f"numba-cuda is not installed: {how_to_install('cuda')}"
    if not cuda.is_available():
        found = str(cuda.cuda_error() or "no device was found").strip().split("\n")
        reason = " ".join(line.strip() for line in found if line.strip())
        return f"no usable NVIDIA GPU and driver ({reason}); kernels need an NVIDIA driver and numba-cuda: {how_to_install('cuda')}"
    n_devices = len(cuda.gpus)
    if index >= n_devices:
        return f"there {'is 1 GPU' if n_devices == 1 else f'are {n_devices} GPUs'}, numbered from 0"
    return None


def compute_capability(index=0):
    """Return the compute capability of a usable device.

    Parameters
    ----------
    index : int, default=0
        The device's number.

    Returns
    -------
    capability : tuple of int
    """
    return (9, 0) if SIMULATED else tuple(cuda.gpus[index].compute_capability)


def device_function(function):
    """Mark a device function: kernels call it, and it uses features of devices; all other callees are formulas."""
    return function if SIMULATED else cuda.jit(device=True)(function)


def _part_twin(array, start, size):
    return array[start : start + size]


@native(_part_twin)
def part_of(typing_context, array, start, size):
    """Return ``array[start : start + size]`` of a flat array without clamping the ends, which must lie within it."""

    def build(context, builder, signature, values):
        whole = context.make_array(signature.args[0])(context, builder, values[0])
        pointer = builder.gep(whole.data, [values[1]])
        return made_array(context, builder, signature.return_type, pointer, [values[2]])

    return array(array, types.int64, types.int64), build


def arrays_at(dtype):
    """Return the intrinsic that makes an array of its address, for kernels that get a table of addresses.

    Parameters
    ----------
    dtype : numpy.dtype

    Returns
    -------
    array_at : callable
        ``array_at(address, shape)`` returns an array; `shape` is a tuple.
    """
    dtype = np.dtype(dtype)
    kind = getattr(types, dtype.name)

    def twin(address, shape):
        size = int(np.prod(shape))
        memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(int(address)) if size else b""
        return np.frombuffer(memory, dtype=dtype).reshape([int(extent) for extent in shape])

    @native(twin)
    def array_at(typing_context, address, shape):
        made = types.Array(kind, shape.count, "C")

        def build(context, builder, signature, values):
            address, shape = values
            extents = [builder.extract_value(shape, axis) for axis in range(signature.return_type.ndim)]
            pointer = builder.inttoptr(address, context.get_data_type(kind).as_pointer())
            return made_array(context, builder, signature.return_type, pointer, extents)

        return made(address, shape), build

    return array_at


def compiled(function, max_registers=None):
    """Make a kernel, compiled at its first launch.

    Parameters
    ----------
    function : callable
    max_registers : int or None
        Limit of registers per thread, so that blocks of the desired number of threads can be launched.

    Returns
    -------
    kernel : dispatcher
    """
    if SIMULATED:
        # Silence floating-point warnings in each simulated thread: devices report none.
        return cuda.jit(np.errstate(all="ignore")(function))
    settle(function)
    return cuda.jit(**({} if max_registers is None else {"max_registers": max_registers}))(function)


_configuring = threading.Lock()


def configure(kernel, n_blocks, n_threads, stream, shared_bytes=0):
    """Configure a kernel for a launch.

    Parameters
    ----------
    kernel : dispatcher
    n_blocks, n_threads : int
        Number of blocks, and threads per block.
    stream : stream
    shared_bytes : int, default=0
        Dynamic shared memory.

    Returns
    -------
    launch : callable
    """
    if SIMULATED:
        # A simulated kernel has one configuration, and only one launch can run at a time.
        def simulate(*arguments):
            with _configuring:
                kernel[int(n_blocks), int(n_threads), stream, int(shared_bytes)](*arguments)

        return simulate
    # Small networks use one block on purpose: silence Numba's warning.
    with _configuring, warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)
        return kernel[int(n_blocks), int(n_threads), stream, int(shared_bytes)]


def _copy_elements(source, target):
    n_columns = source.shape[1]
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = source[i // n_columns, i % n_columns]


@lru_cache
def _copy_kernel():
    return compiled(_copy_elements)


class Device:
    """A device with its own stream, and memory on it.

    Parameters
    ----------
    index : int
    """

    def __init__(self, index):
        self.index = index
        with self.active():
            self.stream = cuda.stream()
            #: Number of multiprocessors.
            self.n_processors = 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT

    def active(self):
        """Return a context manager that makes the device this thread's current one."""
        return contextlib.nullcontext() if SIMULATED else cuda.gpus[self.index]

    def cooperative_blocks(self, kernel, arguments, n_threads, shared_bytes):
        """Return how many blocks of a kernel can be resident at once, as a cooperative launch requires.

        Parameters
        ----------
        kernel : dispatcher
        arguments : tuple
            Arguments of the later launch.
        n_threads, shared_bytes : int

        Returns
        -------
        n_blocks : int
        """
        if SIMULATED:
            return 1
        # Compiles now what the launch would compile later.
        made = kernel.compile(tuple(kernel.typeof_pyval(argument) for argument in arguments))
        return made.max_cooperative_grid_blocks(n_threads, shared_bytes)

    def free_bytes(self):
        """Return how much memory can be allocated.

        Returns
        -------
        n_bytes : float
        """
        return float(cuda.current_context().get_memory_info()[0]) - _SPARE_BYTES

    def require(self, n_bytes, what):
        """Raise MemoryError for an allocation that does not fit, before anything is allocated.

        Parameters
        ----------
        n_bytes : int
        what : str
            What needs the memory, for the message.

        Raises
        ------
        MemoryError
        """
        free = self.free_bytes()
        if n_bytes > free:
            raise MemoryError(_too_large(what, n_bytes, free))

    @contextlib.contextmanager
    def allocating(self, n_bytes, what):
        """Turn the driver's out-of-memory error into a MemoryError that says what to do; the device stays usable.

        Parameters
        ----------
        n_bytes : int
        what : str
            See `require`.
        """
        try:
            yield
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            raise MemoryError(_too_large(what, n_bytes, self.free_bytes())) from error

    def upload(self, array):
        """Copy an array to the device.

        Parameters
        ----------
        array : ndarray
            An empty array becomes a single zero: devices have no empty arrays.

        Returns
        -------
        array : device array
        """
        array = np.ascontiguousarray(array) if array.size else np.zeros(1, dtype=array.dtype)
        return cuda.to_device(array, stream=self.stream)

    def adopt(self, array):
        """Return Numba's view of another library's array on this device, without a copy.

        Parameters
        ----------
        array : array with ``__cuda_array_interface__``

        Returns
        -------
        array : device array

        Raises
        ------
        TypeError
            If the array has no such interface.
        """
        if not hasattr(array, "__cuda_array_interface__"):
            raise TypeError(
                f"X is a {type(array).__module__}.{type(array).__qualname__} on a GPU without __cuda_array_interface__: give "
                "cupy.from_dlpack(X) or torch.from_dlpack(X), which copy nothing"
            )
        # Other libraries queue work on their own streams, and not all of them report which.
        cuda.synchronize()
        return cuda.as_cuda_array(array, sync=False)

    def flat(self, array, dtype):
        """Flatten another library's 2-D array in row-major order; copy only if dtype or layout differ.

        Parameters
        ----------
        array : array with ``__cuda_array_interface__``
        dtype : numpy.dtype

        Returns
        -------
        flat : device array
        """
        source = self.adopt(array)
        if source.dtype == dtype and source.flags["C_CONTIGUOUS"]:
            return source.reshape(-1)
        target = self.empty(source.shape, dtype)
        n_blocks, n_threads = (2, 2) if SIMULATED else (4 * self.n_processors, 256)
        configure(_copy_kernel(), n_blocks, n_threads, self.stream)(source, target)
        return target

    def empty(self, shape, dtype):
        """Allocate an uninitialized array on the device, of at least one number."""
        size = max(1, int(np.prod(shape)))
        return cuda.device_array(size, dtype=dtype, stream=self.stream)

    def zeros(self, size, dtype):
        """Allocate an array of zeros on the device, of at least one number."""
        return self.upload(np.zeros(size, dtype=dtype))

    def address(self, array):
        """Return the address of a device array."""
        return getattr(array, f"__{'' if SIMULATED else 'cuda_'}array_interface__")["data"][0]

    def write(self, source, target):
        """Copy a flat host array to the beginning of a device array."""
        if source.size:
            target[: source.size].copy_to_device(np.ascontiguousarray(source), stream=self.stream)

    def read(self, source, target):
        """Fill a flat host array from the beginning of a device array."""
        if target.size:
            source[: target.size].copy_to_host(target, stream=self.stream)
            self.stream.synchronize()


def _too_large(what, n_bytes, free):
    return (
        f"{what} needs {_gigabytes(n_bytes)} of memory on the GPU, of which {_gigabytes(max(free, 0.0))} is free: use "
        "dtype='float32', a smaller batch_size or network, fewer rows at a time with partial_fit, or device='cpu'"
    )


def _gigabytes(n_bytes):
    return f"{n_bytes / 2**30:.2f} GiB"
