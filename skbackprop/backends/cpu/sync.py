"""Synchronization of the threads of one kernel: a barrier that spins briefly, then yields its core.

All threads run the same kernel on their shares of the work. They share `control`, an int64 array; see the constants
below. A thread pool with one parallel region per product would cost more than a small product itself.
"""

import os
import platform

import numpy as np

from skbackprop._compile import JIT, cgutils, entry, formula, invoke, ir, native, types

__all__ = [
    "ABORT",
    "NEXT_BLOCK",
    "NON_FINITE",
    "N_CONTROL",
    "PACKED",
    "abort",
    "aborted",
    "add",
    "await_done",
    "await_nonzero",
    "barrier",
    "post",
    "read",
    "serve",
]

#: Entries of `control`, each on a cache line of its own.
ABORT, _ARRIVED, _ROUND, NON_FINITE, NEXT_BLOCK, PACKED = 0, 8, 16, 24, 32, 40
N_CONTROL = 48

#: Entries of a helper's box, by which a caller gives it calls of a kernel: the number of calls so far; the kernel's
#: address (0: a Python function) and arguments; whether the caller polls for the end and for the next call, and does not
#: sleep; the number of calls that were begun, or taken back; and of those that are done. Each group is on a cache line of
#: its own.
POSTED, KERNEL, THREAD, N_THREADS, CONTROL, WORDS = range(6)
POLLS = 8
BEGUN = 16
DONE = 24
N_BOX = 32

_SPINS_BEFORE_YIELD = 100
# How often an idle thread polls for work: it spins for about 0.1 ms, and then, within a fit, for about 1 ms more while it
# yields its core to other threads. The latter is how long SciPy's L-BFGS-B works between two calls.
_LOOKS_BEFORE_YIELD, _LOOKS_BEFORE_SLEEP = (5000, 7000) if JIT else (1, 1)
# How often a caller that is interrupted looks whether a kernel has returned, before it sleeps: for some tenths of a second.
_LOOKS_BEFORE_LOSS = 500_000 if JIT else 1

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


def _replace_twin(array, index, old, new):
    replaces = array[index] == old
    if replaces:
        array[index] = new
    return replaces


@native(_replace_twin)
def replace(typing_context, array, index, old, new):
    """Set ``array[index]`` to `new` if it is `old`, atomically; return whether it was."""

    def build(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2])
        return builder.extract_value(builder.cmpxchg(pointer, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(array, types.intp, types.int64, types.int64), build


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


def _words_twin(address):
    return address


@native(_words_twin)
def _words(typing_context, address):
    """Return the pointer to the int64 at an address."""

    def build(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(64).as_pointer())

    return types.CPointer(types.int64)(types.int64), build


@entry("int64*", "int64", "int64*")
def post(boxes, n_boxes, call):
    """Give helpers a call.

    Parameters
    ----------
    boxes : ndarray
        Addresses of their boxes.
    n_boxes : int
    call : ndarray of int64
        What goes into each box; the thread is that of the first one.
    """
    for index in range(n_boxes):
        box = _words(boxes[index])
        for place in (KERNEL, N_THREADS, CONTROL, WORDS, POLLS):
            box[place] = call[place]
        box[THREAD] = call[THREAD] + index
        add(box, POSTED, np.int64(1))


@entry("int64*")
def serve(box):
    """Run the kernels that are posted, without the GIL.

    Returns when none has come for a moment, when the caller sleeps until the end, or to call a Python function.
    """
    looks = 0
    while looks < (_LOOKS_BEFORE_SLEEP if read(box, POLLS) else _LOOKS_BEFORE_YIELD):
        posted = read(box, POSTED)
        if read(box, BEGUN) == posted:
            _look(looks)
            looks += 1
            continue
        if box[KERNEL] == 0:
            return
        if not replace(box, BEGUN, posted - 1, posted):
            continue
        invoke(box[KERNEL], (box[THREAD], box[N_THREADS], _words(box[CONTROL]), _words(box[WORDS])))
        add(box, DONE, np.int64(1))
        if not read(box, POLLS):
            return
        looks = 0


@entry("int64*", "int64")
def await_done(boxes, n_boxes):
    """Wait a moment for helpers to finish the call that they were given; it may time out.

    For callers that have finished their own part. A kernel that a helper has not yet begun is taken back: the others have
    done all the work. It would have taken its share before, and to wake a thread may take longer than the kernel.

    Parameters
    ----------
    boxes, n_boxes
        As for `post`.
    """
    _take_back(boxes, n_boxes)
    _await(boxes, n_boxes, _LOOKS_BEFORE_SLEEP)


@entry("int64*", "int64", "int64*")
def abort(boxes, n_boxes, control):
    """Have helpers return from a kernel, and wait for that; it may time out, if a kernel waits for another process.

    Within a single call, because Ctrl-C may interrupt a caller in Python anywhere, again and again.

    Parameters
    ----------
    boxes, n_boxes
        As for `post`.
    control : ndarray of int64
        The kernel's.
    """
    add(control, ABORT, np.int64(1))
    _take_back(boxes, n_boxes)
    _await(boxes, n_boxes, _LOOKS_BEFORE_LOSS)


@formula
def _await(boxes, n_boxes, most):
    """Wait for calls to be done, for so many looks at most."""
    looks = 0
    for index in range(n_boxes):
        box = _words(boxes[index])
        while read(box, DONE) != box[POSTED]:
            if looks >= most:
                return
            _look(looks)
            looks += 1


@formula
def _take_back(boxes, n_boxes):
    """Take back the kernels that have not begun."""
    for index in range(n_boxes):
        box = _words(boxes[index])
        posted = box[POSTED]
        if box[KERNEL] != 0 and replace(box, BEGUN, posted - 1, posted):
            add(box, DONE, np.int64(1))


@formula
def _look(looks):
    """Wait between two looks, the longer the more there have been."""
    pause()
    if looks >= _LOOKS_BEFORE_YIELD:
        yield_core()
