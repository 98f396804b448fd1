"""Compilation with Numba: the only module that sets Numba options.

It provides decorators. `formula` marks a function that other compiled functions call. `entry` and `kernel` mark entry
points, whose machine code is cached on disk: Python passes numbers and addresses to an `entry`, and arrays to a
`kernel`. `native` marks a function written in LLVM IR, with a Python twin that does the same when the JIT is disabled
(``NUMBA_DISABLE_JIT=1``).

Functions that users choose by name, such as activations and optimizers, are `loop` instances around formulas: machine
code of their own, compiled when first chosen. Kernels get their addresses and `invoke` them. So adding a function to
the package costs no compile time, and choosing another one recompiles no kernel.

Numba is imported at the first compilation. Until then the decorators return placeholders, and machine code is loaded
from images on disk (`_machine_code`): most processes compile nothing, and Numba's import takes longer than all of that.

The disk cache is our own because Numba's has known gaps: its key lacks the compile options, an edited callee does not
invalidate its callers, processes that compile concurrently can corrupt its index, and a damaged file is an error. See
`_kernel_files`.
"""

import ctypes
import functools
import logging
import os
import pickle
import threading
import time
import types as python_types
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from skbackprop._kernel_files import KernelFiles, cache_folder, setting
from skbackprop._lazy import lazy
from skbackprop._machine_code import HAS_IMAGES, UnsuitableError, address, caller, image_of, load

__all__ = [
    "ADDRESS_DTYPE",
    "JIT",
    "SIMULATED",
    "Loop",
    "address",
    "bound",
    "cache_folder",
    "call_out",
    "callback",
    "cgutils",
    "entry",
    "formula",
    "invoke",
    "ir",
    "kernel",
    "loop",
    "native",
    "run",
    "settle",
    "specialise",
    "types",
]

logger = logging.getLogger("skbackprop")

#: Whether Numba compiles; False in the test lane that measures line coverage.
JIT = not setting("DISABLE_JIT")

#: Dtype of arrays of addresses; if the JIT is disabled, these are the functions and the arrays themselves.
ADDRESS_DTYPE = np.int64 if JIT else object

#: Whether CUDA kernels are simulated, as in the test lane that tests them without a GPU.
SIMULATED = bool(setting("ENABLE_CUDASIM"))

# No fast-math flags (nsz, arcp and the like), on purpose: results must not depend on how a loop is split or vectorized.
# Fused multiply-adds are written explicitly (functions/elementary.py). `_nrt` is off: kernels allocate nothing, and the
# caller holds all arrays. Atomic reference counting took a third of the time of a batch of one row.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
# Without the wrapper for calls from Python, a formula compiles in a third of the time.
_FORMULA_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True}
_LOOP_OPTIONS = {**_FORMULA_OPTIONS, "forceinline": True}

_SLOW_COMPILE_SECONDS = 2.0
# Stands for a function of which no image can be made: Numba loads it.
_NO_IMAGE = b""


class _Module:
    """A module that is imported when it is first used."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(self._name), name)


#: Numba's and LLVM's modules for functions that build code.
cgutils, ir, types = map(_Module, ("numba.core.cgutils", "llvmlite.ir", "numba.types"))


class _Placeholder:
    """Stands for an object of Numba's until something is compiled.

    Parameters
    ----------
    function : callable
        The Python function that the object is made of.
    """

    def __init__(self, function):
        functools.update_wrapper(self, function)

    @lazy
    def made(self):
        """Numba's object."""
        return self._make()

    def _make(self):
        raise NotImplementedError


class _Formula(_Placeholder):
    """A formula; its attributes are the dispatcher's."""

    def __init__(self, function, options):
        super().__init__(function)
        self.py_func = function
        self._options = options

    def _make(self):
        return import_module("numba").njit(**self._options)(self.py_func)

    def __call__(self, *arguments):
        return self._ready()(*arguments)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._ready(), name)

    def _ready(self):
        settle(self)
        return self.made


class _Native(_Placeholder):
    """A function written in LLVM IR."""

    def _make(self):
        return import_module("numba.extending").intrinsic(self.__wrapped__)


#: Registrations with Numba that wait for the first compilation.
_waiting: list = []
_settling = threading.RLock()
#: Held while a loop is loaded or compiled: threads that need it at the same time wait for one of them.
_compiling = threading.RLock()


def _renew_locks():
    """Forget who held the locks: in a process that was forked meanwhile, there is nobody to release them."""
    global _settling, _compiling
    _settling, _compiling = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def settle(function: Any) -> Any:
    """Put Numba's objects in the place of placeholders, wherever a function and its callees refer to them.

    To be called before Numba compiles the function.

    Parameters
    ----------
    function : callable

    Returns
    -------
    function : callable
        The same, or Numba's object for a placeholder.
    """
    with _settling:
        while _waiting:
            _waiting.pop()()
        functions, settled = [getattr(function, "py_func", function)], set()
        for current in functions:
            if not isinstance(current, python_types.FunctionType) or current in settled:
                continue
            settled.add(current)
            codes = [current.__code__]
            for code in codes:
                codes += [value for value in code.co_consts if isinstance(value, python_types.CodeType)]
            names = {name for code in codes for name in code.co_names}
            spaces = [current.__globals__]
            # Names of a module's attributes are also among the code's names.
            found = [spaces[0][name] for name in names & spaces[0].keys()]
            spaces += [vars(value) for value in found if isinstance(value, python_types.ModuleType)]
            for space in spaces:
                used = {name: space[name] for name in names & space.keys()}
                functions += [getattr(value, "py_func", None) for value in used.values()]
                space.update({name: value.made for name, value in used.items() if isinstance(value, _Placeholder)})
            for cell in current.__closure__ or ():
                functions.append(getattr(cell.cell_contents, "py_func", None))
                if isinstance(cell.cell_contents, _Placeholder):
                    cell.cell_contents = cell.cell_contents.made
    return function.made if isinstance(function, _Placeholder) else function


def formula(function: Callable) -> Any:
    """Compile a function for calls from compiled code; it cannot be called from Python unless the JIT is disabled.

    Parameters
    ----------
    function : callable
        A function within Numba's nopython subset.

    Returns
    -------
    dispatcher : callable
        The lazily compiled function.
    """
    return _Formula(function, _FORMULA_OPTIONS) if JIT else function


def kernel(function: Callable) -> Any:
    """Compile a function for calls from Python with arrays, and cache the machine code on disk.

    Kernels release the GIL.

    Parameters
    ----------
    function : callable
        A function within Numba's nopython subset, called from Python.

    Returns
    -------
    dispatcher : callable
        The lazily compiled function.
    """
    if not JIT:
        # Match compiled code, which reports no floating-point errors.
        return np.errstate(all="ignore")(function)
    return _Kernel(function, _OPTIONS)


class _Kernel(_Formula):
    """A kernel: a formula with a cache."""

    @lazy
    def _cache(self):
        return KernelCache(self.py_func)

    def _make(self):
        dispatcher = super()._make()
        # As `cache=True` does, but with our cache instead of Numba's.
        dispatcher._cache = self._cache
        return dispatcher


def entry(*signature: str) -> Callable[[Callable], Any]:
    """Compile a function for calls from Python with numbers and addresses, and cache the machine code on disk.

    Unlike a kernel, it is called without Numba. It releases the GIL.

    Parameters
    ----------
    *signature : str
        Numba's names of the parameters' types: "int64", "float64", and pointers such as "int64*".

    Returns
    -------
    decorator : callable
        Of a function within Numba's nopython subset that returns nothing. What it returns takes integers and floats,
        and arrays, of which it passes the address: they have to be contiguous and of the dtype that is meant.
    """

    def decorate(function):
        if not JIT:
            return np.errstate(all="ignore")(function)
        return _Entry(function, signature)

    return decorate


class _Entry:
    """What `entry` makes."""

    def __init__(self, function, signature):
        functools.update_wrapper(self, function)
        self._signature = signature

    @lazy
    def start(self):
        """Address of the machine code, for compiled functions that `invoke` it."""
        # Now that the module is complete.
        with _compiling:
            return vars(self).get("start") or loop(self.__wrapped__).address(*self._signature)

    @lazy
    def _call(self):
        return caller(self.start, self._signature)

    def __call__(self, *arguments):
        self._call(*[_passed(argument) for argument in arguments])

    def bound(self, *arguments):
        return functools.partial(self._call, *map(_passed, arguments))


def bound(called: Callable, *arguments: Any) -> Callable[[], None]:
    """Return a function without parameters that calls an `entry` with these arguments, of which the caller keeps the arrays."""
    return called.bound(*arguments) if JIT else functools.partial(called, *arguments)  # type: ignore[attr-defined]


def _passed(argument):
    return address(argument) if isinstance(argument, np.ndarray) else argument


def run(start: Any, signature: tuple[str, ...], *arguments: Any) -> None:
    """Call a `Loop` by its address from Python, with arrays for pointers.

    Parameters
    ----------
    start : int
        The address.
    signature : tuple of str
        For which it was compiled.
    *arguments
    """
    call = caller(start, signature) if JIT else start
    call(*[_passed(argument) if JIT else argument for argument in arguments])


def loop(template: Callable, **formulas: Any) -> "Loop":
    """Instantiate a template: bind the global names under which it calls formulas.

    Parameters
    ----------
    template : callable
        A function within Numba's nopython subset, whose parameters are scalars and pointers.
    **formulas : callable
        Formulas and `native` functions, by the global names under which the template calls them.

    Returns
    -------
    loop : Loop
    """
    if JIT:
        # Force inlining: above some size LLVM keeps the call, and the loop is not vectorized. A log loss then takes 31
        # ns per number instead of 4.
        formulas = {
            name: _Formula(made.py_func, _LOOP_OPTIONS) if hasattr(made, "py_func") else made
            for name, made in formulas.items()
        }
    return Loop(template, formulas)


class Loop:
    """A loop around formulas, compiled for a signature when its address is first requested.

    Parameters
    ----------
    template : callable
        See `loop`.
    formulas : dict
        See `loop`.
    """

    def __init__(self, template: Callable, formulas: dict[str, Any]) -> None:
        names = ",".join(getattr(made, "py_func", made).__qualname__ for made in formulas.values())
        function = python_types.FunctionType(template.__code__, {**template.__globals__, **formulas}, template.__name__)
        function.__module__ = template.__module__
        function.__qualname__ = f"{template.__qualname__}[{names}]" if names else template.__qualname__
        self._function = function
        self._compiled = kernel(function)
        self._addresses: dict[tuple[str, ...], int] = {}

    @lazy
    def _files(self):
        return KernelFiles(self._function, "image")

    def __call__(self, *arguments: Any) -> None:
        """Run the loop from Python, with arrays instead of pointers."""
        return self._compiled(*arguments)

    def formula(self) -> Any:
        """Return the loop as a formula for other compiled functions, with arrays instead of pointers."""
        return formula(self._function)

    def address(self, *signature: Any) -> Any:
        """Return the address of the machine code; the Python function if the JIT is disabled.

        Parameters
        ----------
        *signature : str or types.Type
            Types of the parameters, or their names; see `entry`.
        """
        if not JIT:
            return self._compiled
        signature = tuple(map(str, signature))
        if signature not in self._addresses:
            with _compiling:
                if signature not in self._addresses:
                    made = self._image_address(signature) if HAS_IMAGES else self._kernel_address(signature)
                    self._addresses[signature] = made
        return self._addresses[signature]

    def _kernel_address(self, signature):
        kinds = tuple(map(_type_of, signature))
        kernel = settle(self._compiled)
        kernel.compile(kinds)
        return _pointer(kernel.overloads[kinds])

    def _image_address(self, signature):
        found = self._files.load(str(signature), _load)
        if found is None:
            start = time.perf_counter()
            result = self.compiled(signature)
            _report(self._files.name, time.perf_counter() - start)
            found = _load(self.keep(signature, result))
        return found or self._kernel_address(signature)

    def compiled(self, signature: tuple[str, ...]) -> Any:
        """Return what Numba compiles for a signature."""
        # Wrappers for calls from Python would take longer to compile than many a loop.
        made = settle(_Formula(self._function, _FORMULA_OPTIONS))
        kinds = tuple(map(_type_of, signature))
        made.compile(kinds)
        return made.overloads[kinds]

    def keep(self, signature: tuple[str, ...], result: Any) -> bytes:
        """Write an image of what Numba has compiled to disk; return the image."""
        image = _image(result, self._files.name)
        self._files.save(str(signature), image)
        return image


def _load(image):
    """Load an image; 0 if Numba has to load the function, which may work where a system refuses this."""
    try:
        return load(image) if image != _NO_IMAGE else 0
    except UnsuitableError as error:
        logger.info("an image cannot be loaded: %s", error)
        return 0


def _image(result, name):
    """Return an image of what Numba has compiled."""
    try:
        return image_of(result.library.serialize_using_object_code()[2][0], result.fndesc.llvm_func_name)
    except UnsuitableError as error:
        logger.info("%s cannot be loaded without Numba: %s", name, error)
        return _NO_IMAGE


def _pointer(result):
    """Return the address of what Numba has compiled."""
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


def _type_of(name):
    """Return Numba's type of this name."""
    if name.endswith("*"):
        return types.CPointer(_type_of(name[:-1]))
    return getattr(types, {"bool": "boolean"}.get(name, name))


def _invoke_twin(address, arguments):
    address(*arguments)


def native(twin: Callable) -> Callable[[Callable], Any]:
    """Compile a function written in LLVM IR.

    Parameters
    ----------
    twin : callable
        The Python function that does the same; used if the JIT is disabled.

    Returns
    -------
    decorator : callable
        Turns a Numba intrinsic's typing function into the intrinsic, or into `twin`.
    """

    def decorate(typing_function):
        return _Native(typing_function) if JIT else twin

    return decorate


@native(_invoke_twin)
def invoke(typing_context, address, arguments):
    """Call a `Loop` by its address; `arguments`, a tuple, must have exactly the types that it was compiled for."""

    def build(context, builder, signature, values):
        kinds = signature.args[1].types
        function = context.call_conv.get_function_type(types.none, kinds)
        pointer = builder.inttoptr(values[0], function.as_pointer())
        context.call_conv.call_function(builder, pointer, types.none, kinds, cgutils.unpack_tuple(builder, values[1]))
        return context.get_dummy_value()

    return types.void(types.intp, arguments), build


def _call_out_twin(address, numbers, count):
    address(numbers[:count])


@native(_call_out_twin)
def call_out(typing_context, address, numbers, count):
    """Call a `callback` by its address with `count` float64 from a pointer on."""

    def build(context, builder, signature, values):
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values[1:]])
        builder.call(builder.inttoptr(values[0], function.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.CPointer(types.float64), types.int64), build


def callback(function: Callable) -> tuple[Any, Any]:
    """Return a Python function in the form that `call_out` calls; whoever passes it on has to keep a reference.

    Parameters
    ----------
    function : callable
        Takes an array of float64, the memory of its caller, and raises no exceptions. It runs in the thread of the
        kernel that calls it, with the GIL.

    Returns
    -------
    callback : ctypes function, or `function` if the JIT is disabled
    address : int, or `function` if the JIT is disabled
    """
    if not JIT:
        return function, function

    def call(first, count):
        function(np.frombuffer((ctypes.c_double * count).from_address(first)))

    made = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(call)
    return made, ctypes.cast(made, ctypes.c_void_p).value


def specialise(function: Callable) -> Callable[[Callable], Callable]:
    """Overload a Python function: choose the compiled implementation by the argument types.

    Parameters
    ----------
    function : callable
        Runs if the JIT is disabled.

    Returns
    -------
    decorator : callable
        Registers a function that maps Numba types to the implementation.
    """

    def decorate(choose):
        @functools.wraps(choose)
        def chosen(*arguments, **named):
            implementation = choose(*arguments, **named)
            return None if implementation is None else settle(implementation)

        _waiting.append(
            lambda: import_module("numba.extending").overload(function, jit_options=_FORMULA_OPTIONS)(chosen)
        )
        return choose

    return decorate


class KernelCache:
    """Disk cache of one kernel, as Numba's dispatchers ask for.

    Parameters
    ----------
    function : callable
        The Python function of the kernel.
    """

    def __init__(self, function):
        self._files = KernelFiles(function, "kernel")
        self._name = self._files.name
        self._enabled = True
        self._started = None

    @property
    def cache_path(self):
        """Folder of the files; Numba reads this property."""
        return str(cache_folder() or "")

    def enable(self):
        """Read and write files (the default)."""
        self._enabled = True

    def disable(self):
        """Stop reading and writing files."""
        self._enabled = False

    def flush(self):
        """Delete this kernel's files."""
        self._files.remove()

    def load_overload(self, signature, target_context):
        """Load machine code from disk; None if it has to be compiled."""
        # Skip `target_context.refresh()`, which imports everything the compiler knows: kernels do not count references
        # and need none of it, and a process that compiles nothing starts 0.1 s sooner.
        rebuild = import_module("numba.core.compiler").CompileResult._rebuild
        result = None
        if self._enabled:
            result = self._files.load(str(signature), lambda payload: rebuild(target_context, *pickle.loads(payload)))
        self._started = None if result is not None else time.perf_counter()
        return result

    def save_overload(self, signature, data):
        """Save newly compiled machine code."""
        if self._started is not None:
            _report(self._name, time.perf_counter() - self._started)
            self._started = None
        if self._enabled:
            self._files.save(str(signature), import_module("numba.core.serialize").dumps(data._reduce()))


def _report(name, seconds):
    if seconds > _SLOW_COMPILE_SECONDS:
        logger.warning(
            "skbackprop compiled %s for this processor in %.1f s; the next process finds it in %s",
            name,
            seconds,
            cache_folder() or "no folder (none is writable) and compiles it again",
        )
