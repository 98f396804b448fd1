"""Synchronization of the threads of one kernel: a barrier that spins briefly, then yields its core.

All threads run the same kernel on their shares of the work. They share `control`, an int64 array; see the constants
below. A thread pool with one parallel region per product would cost more than a small product itself.
"""

import os
import platform

from skbackprop._compile import JIT, cgutils, entry, formula, ir, native, types

__all__ = [
    "ABORT",
    "NEXT_BLOCK",
    "NON_FINITE",
    "N_CONTROL",
    "PACKED",
    "aborted",
    "add",
    "await_change",
    "await_nonzero",
    "barrier",
    "read",
]

#: Entries of `control`, each on a cache line of its own.
ABORT, _ARRIVED, _ROUND, NON_FINITE, NEXT_BLOCK, PACKED = 0, 8, 16, 24, 32, 40
N_CONTROL = 48

_SPINS_BEFORE_YIELD = 100
# How often an idle thread polls for work: it spins for about 0.1 ms, and then for about 1 ms more while it yields its
# core to other threads. The latter is how long SciPy's L-BFGS-B works between two calls.
_LOOKS_BEFORE_YIELD, _LOOKS_BEFORE_SLEEP = (5000, 7000) if JIT else (1, 1)

#: LLVM's intrinsics for the processors' pause instruction, and their arguments.
_PAUSES = {
    **dict.fromkeys(("x86_64", "amd64"), ("llvm.x86.sse2.pause", ())),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", (1,))),
}


def _pointer(context, builder, array_type, array, index):
    data = array
    if isinstance(array_type, types.Array):
        data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _read_twin(array, index):
    return array[index]


@native(_read_twin)
def read(typing_context, array, index):
    """Load ``array[index]`` atomically, so that it is never kept in a register across a loop."""

    def build(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.intp), build


def _add_twin(array, index, value):
    array[index] += value
    return array[index] - value


@native(_add_twin)
def add(typing_context, array, index, value):
    """Add to ``array[index]`` atomically and return the previous value."""

    def build(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2])
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), build


def _yield_twin():
    pass


@native(_yield_twin)
def yield_core(typing_context):
    """Yield: let the operating system run another thread on this core."""

    def build(context, builder, signature, args):
        name = "SwitchToThread" if os.name == "nt" else "sched_yield"
        function_type = ir.FunctionType(ir.IntType(32), [])
        function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), build


def _pause_twin():
    pass


@native(_pause_twin)
def pause(typing_context):
    """Pause briefly, which frees the core's resources for its other hardware thread."""

    def build(context, builder, signature, args):
        name, arguments = _PAUSES.get(platform.machine().lower(), (None, ()))
        if name is not None:
            arguments = [ir.Constant(ir.IntType(32), value) for value in arguments]
            function_type = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)
        return context.get_dummy_value()

    return types.void(), build


@formula
def aborted(control):
    """Return whether the kernel has to return at once."""
    return read(control, ABORT) != 0


@formula
def _spin(control, index, seen):
    """Wait until ``control[index]`` differs from `seen`, or until the kernel is aborted."""
    spins = 0
    while read(control, index) == seen:
        spins += 1
        pause()
        if spins > _SPINS_BEFORE_YIELD:
            if aborted(control):
                return
            yield_core()


@formula
def await_nonzero(control, index):
    """Wait until ``control[index]`` is not zero, or until the kernel is aborted."""
    _spin(control, index, 0)


@formula
def barrier(control, n_threads):
    """Wait until all threads have arrived, or until the kernel is aborted.

    Callers must check `aborted` afterwards before they rely on another thread's work.
    """
    if n_threads == 1:
        return
    current = read(control, _ROUND)
    if add(control, _ARRIVED, 1) == n_threads - 1:
        add(control, _ARRIVED, -n_threads)
        add(control, _ROUND, 1)
        return
    _spin(control, _ROUND, current)


@entry("int64*", "int64", "int64", "int64")
def await_change(array, index, seen, told):
    """Wait a moment for ``array[index]`` to differ from `seen`; it may time out.

    Parameters
    ----------
    array : ndarray of int64
        Shared by threads.
    index : int
    seen : int
    told : int
        Where to write `seen` before, for threads that wait there: they will find the GIL free. Negative for nowhere.
    """
    if told >= 0:
        add(array, told, seen - read(array, told))
    for look in range(_LOOKS_BEFORE_SLEEP):
        if read(array, index) != seen:
            return
        pause()
        if look >= _LOOKS_BEFORE_YIELD:
            yield_core()
