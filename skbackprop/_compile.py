"""Compilation with Numba: the only module that sets Numba options.

It provides three decorators. `formula` marks a function that other compiled functions call. `kernel` marks an entry
point, whose machine code is cached on disk. `native` marks a function written in LLVM IR, with a Python twin that does
the same when the JIT is disabled (``NUMBA_DISABLE_JIT=1``).

Functions that users choose by name, such as activations and optimizers, are `loop` instances around formulas: machine
code of their own, compiled when first chosen. Kernels get their addresses and `invoke` them. So adding a function to
the package costs no compile time, and choosing another one recompiles no kernel.

The disk cache is our own because Numba's has known gaps: its key lacks the compile options, an edited callee does not
invalidate its callers, processes that compile concurrently can corrupt its index, and a damaged file is an error. Here
each compiled signature is one file, named by a digest of everything it depends on, written atomically, and verified
when read.
"""

import ctypes
import hashlib
import logging
import os
import pickle
import platform
import sys
import tempfile
import threading
import time
import types
import warnings
from pathlib import Path

import llvmlite
import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import caching, cgutils, config, serialize
from numba.extending import intrinsic, overload

__all__ = ["JIT", "SIMULATED", "Loop", "cache_folder", "formula", "invoke", "kernel", "loop", "native", "specialise"]

logger = logging.getLogger("skbackprop")

#: Whether Numba compiles; False in the test lane that measures line coverage.
JIT = not config.DISABLE_JIT  # type: ignore[attr-defined]

#: Whether CUDA kernels are simulated, as in the test lane that tests them without a GPU.
SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]

# No fast-math flags (nsz, arcp and the like), on purpose: results must not depend on how a loop is split or vectorized.
# Fused multiply-adds are written explicitly (functions/elementary.py). `_nrt` is off: kernels allocate nothing, and the
# caller holds all arrays. Atomic reference counting took a third of the time of a batch of one row.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
# Without the wrapper for calls from Python, a formula compiles in a third of the time.
_FORMULA_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True}
_LOOP_OPTIONS = {**_FORMULA_OPTIONS, "forceinline": True}

_SLOW_COMPILE_SECONDS = 2.0
_PACKAGE = Path(__file__).parent
_HEADER = b"skbackprop-kernel-1\n"
# Packages whose code is covered by the digests of sources and versions.
_COVERED = (__name__.partition(".")[0], "numba", "numpy")
# Maximum length of a file's name: names of formulas and settings may exceed the file system's limit.
_NAME_LENGTH = 120


def formula(function):
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
    return numba.njit(**_FORMULA_OPTIONS)(function)


def kernel(function):
    """Compile an entry point at its first call and cache the machine code on disk.

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
    dispatcher = numba.njit(**_OPTIONS)(function)
    # As `cache=True` does, but with our cache instead of Numba's.
    dispatcher._cache = KernelCache(function)
    return dispatcher


def loop(template, **formulas):
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
            name: numba.njit(**_LOOP_OPTIONS)(made.py_func) if hasattr(made, "py_func") else made
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

    def __init__(self, template, formulas):
        names = ",".join(getattr(made, "py_func", made).__qualname__ for made in formulas.values())
        function = types.FunctionType(template.__code__, {**template.__globals__, **formulas}, template.__name__)
        function.__module__ = template.__module__
        function.__qualname__ = f"{template.__qualname__}[{names}]" if names else template.__qualname__
        self._function = function
        self._compiled = kernel(function)
        self._addresses = {}

    def __call__(self, *arguments):
        """Run the loop from Python, with arrays instead of pointers."""
        return self._compiled(*arguments)

    def formula(self):
        """Return the loop as a formula for other compiled functions, with arrays instead of pointers."""
        return formula(self._function)

    def address(self, *signature):
        """Return the address of the machine code for Numba types; the Python function if the JIT is disabled."""
        if not JIT:
            return self._compiled
        if signature not in self._addresses:
            self._compiled.compile(signature)
            result = self._compiled.overloads[signature]
            self._addresses[signature] = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        return self._addresses[signature]


def _invoke_twin(address, arguments):
    address(*arguments)


def native(twin):
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
        return intrinsic(typing_function) if JIT else twin

    return decorate


@native(_invoke_twin)
def invoke(typing_context, address, arguments):
    """Call a `Loop` by its address; `arguments`, a tuple, must have exactly the types that it was compiled for."""

    def build(context, builder, signature, values):
        kinds = signature.args[1].types
        function = context.call_conv.get_function_type(numba.types.none, kinds)
        pointer = builder.inttoptr(values[0], function.as_pointer())
        context.call_conv.call_function(
            builder, pointer, numba.types.none, kinds, cgutils.unpack_tuple(builder, values[1])
        )
        return context.get_dummy_value()

    return numba.types.void(numba.types.intp, arguments), build


def _call_out_twin(address):
    address()


@native(_call_out_twin)
def call_out(typing_context, address):
    """Call a C function without arguments and result, such as a ctypes callback, by its address."""

    def build(context, builder, signature, values):
        function = ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.inttoptr(values[0], function.as_pointer()), [])
        return context.get_dummy_value()

    return numba.types.void(numba.types.intp), build


def callback(function):
    """Return a Python function in the form that `call_out` calls; whoever passes it on has to keep a reference.

    Parameters
    ----------
    function : callable
        Takes no arguments and raises no exceptions. It runs in the thread of the kernel that calls it, with the GIL.

    Returns
    -------
    callback : ctypes function, or `function` if the JIT is disabled
    address : int, or `function` if the JIT is disabled
    """
    if not JIT:
        return function, function
    made = ctypes.CFUNCTYPE(None)(function)
    return made, ctypes.cast(made, ctypes.c_void_p).value


def specialise(function):
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
    return overload(function, jit_options=_FORMULA_OPTIONS)


def _source_digest():
    """Digest the package's sources, so that no upgrade or edited callee finds outdated code."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest


def _code_digest(function):
    """Digest a function's code and the formulas and constants outside the package that it uses, such as a user's."""
    digest, functions = hashlib.sha256(), [function]
    for current in functions:
        codes = [current.__code__]
        for code in codes:
            codes += [value for value in code.co_consts if isinstance(value, types.CodeType)]
            digest.update(code.co_code)
        names = sorted({name for code in codes for name in code.co_names} & current.__globals__.keys())
        values = [value for code in codes for value in code.co_consts] + [current.__globals__[name] for name in names]
        values += [cell.cell_contents for cell in current.__closure__ or ()]
        # Names of a module's attributes are also among the code's names.
        for module in [value for value in values if isinstance(value, types.ModuleType)]:
            values += [getattr(module, name, None) for code in codes for name in code.co_names]
        for value in values:
            value = getattr(value, "py_func", value)
            if isinstance(value, types.FunctionType):
                if value not in functions and value.__module__.partition(".")[0] not in _COVERED:
                    functions.append(value)
            elif isinstance(value, tuple):
                values += value
            elif isinstance(value, np.ndarray):
                digest.update(value.tobytes())
            elif isinstance(value, int | float | str | np.generic):
                digest.update(repr(value).encode())
    return digest.hexdigest()


def _environment_digest():
    digest = _source_digest()
    versions = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag)
    options = (sorted(_OPTIONS.items()), config.BOUNDSCHECK, config.OPT, platform.machine())
    digest.update(repr((versions, options)).encode())
    return digest.hexdigest()[:16]


def _candidate_folders():
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / "skbackprop"
    yield _PACKAGE / "__pycache__" / "kernels"
    if os.name == "nt" and os.environ.get("LOCALAPPDATA"):
        yield Path(os.environ["LOCALAPPDATA"]) / "skbackprop" / "kernels"
    elif sys.platform == "darwin":
        yield Path("~/Library/Caches/skbackprop/kernels").expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        yield Path(base).expanduser() / "skbackprop" / "kernels"


class _CacheFolder:
    """Folder of this version's kernels, located once, at the first compilation."""

    def __init__(self):
        self._lock = threading.Lock()
        self._path = None
        self._searched = False

    def find(self):
        with self._lock:
            if not self._searched:
                self._path = self._search()
                self._searched = True
        return self._path

    @staticmethod
    def _search():
        tried = []
        for base in _candidate_folders():
            folder = base / _environment_digest()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError:
                tried.append(str(base))
            else:
                _remove_outdated(base, keep=folder)
                return folder
        warnings.warn(
            "skbackprop found no folder in which it may keep its compiled kernels (tried "
            f"{', '.join(tried)}): each process will compile them again. Set NUMBA_CACHE_DIR to a "
            "writable folder.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _remove_outdated(base, keep, older_than_days=30):
    """Delete folders of other versions that were not written to for a month; never fail."""
    limit = time.time() - older_than_days * 86400
    try:
        for folder in base.iterdir():
            if folder != keep and folder.is_dir() and folder.stat().st_mtime < limit:
                for file in folder.glob("*.kernel"):
                    file.unlink()
                folder.rmdir()
    except OSError:
        pass


_folder = _CacheFolder()


def cache_folder():
    """Return the folder of the compiled kernels.

    Returns
    -------
    path : pathlib.Path or None
        None if no folder is writable; each process then compiles anew.
    """
    return _folder.find()


class KernelCache(caching._Cache):
    """Disk cache of one kernel: one checksummed file per signature and processor.

    Parameters
    ----------
    function : callable
        The Python function of the kernel.
    """

    def __init__(self, function):
        if function.__closure__:
            raise ValueError(f"{function.__qualname__} closes over values, which the cache's key does not cover")
        name = f"{function.__module__.removeprefix('skbackprop.')}.{function.__qualname__}"
        self._name = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name)[:_NAME_LENGTH]
        # Distinguishes functions of the same name; the digest of the sources covers what they call in the package.
        self._code = (name, function.__code__.co_firstlineno, _code_digest(function))
        self._enabled = True
        self._started = None

    @property
    def cache_path(self):
        """Folder of the files; Numba reads this property."""
        return str(_folder.find() or "")

    def enable(self):
        """Read and write files (the default)."""
        self._enabled = True

    def disable(self):
        """Stop reading and writing files."""
        self._enabled = False

    def flush(self):
        """Delete this kernel's files."""
        folder = _folder.find()
        if folder is not None:
            for file in folder.glob(f"{self._name}-*.kernel"):
                file.unlink(missing_ok=True)

    def _file(self, signature, codegen):
        folder = _folder.find() if self._enabled else None
        if folder is None:
            return None
        key = repr((str(signature), self._code, codegen.magic_tuple()))
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.kernel"

    def load_overload(self, signature, target_context):
        """Load machine code from disk; None if it has to be compiled."""
        # Skip `target_context.refresh()`, which imports everything the compiler knows: kernels do not count references
        # and need none of it, and a process that compiles nothing starts 0.1 s sooner.
        file = self._file(signature, target_context.codegen())
        result = None
        if file is not None:
            try:
                content = file.read_bytes()
                if not content.startswith(_HEADER):
                    raise ValueError("not a kernel file of this version")
                checksum = content[len(_HEADER) : len(_HEADER) + 32]
                payload = content[len(_HEADER) + 32 :]
                if hashlib.sha256(payload).digest() != checksum:
                    raise ValueError("the file is damaged")
                result = numba.core.compiler.CompileResult._rebuild(target_context, *pickle.loads(payload))
                if str(result.signature.args) != str(tuple(signature)):
                    raise ValueError("the file holds another signature")
            except FileNotFoundError:
                pass
            except Exception as error:  # whatever is wrong with the file, recompiling fixes it
                logger.info("recompiling %s: %s", self._name, error)
                result = None
        self._started = None if result is not None else time.perf_counter()
        return result

    def save_overload(self, signature, data):
        """Save newly compiled machine code; a full or read-only disk is not an error."""
        if self._started is not None:
            _report(self._name, time.perf_counter() - self._started)
            self._started = None
        file = self._file(signature, data.codegen)
        if file is None:
            return
        payload = serialize.dumps(data._reduce())
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
            with os.fdopen(handle, "wb") as stream:
                stream.write(_HEADER + hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, file)
        except OSError as error:
            logger.info("could not keep the compiled %s: %s", self._name, error)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


def _report(name, seconds):
    if seconds > _SLOW_COMPILE_SECONDS:
        logger.warning(
            "skbackprop compiled %s for this processor in %.1f s; the next process finds it in %s",
            name,
            seconds,
            _folder.find() or "no folder (none is writable) and compiles it again",
        )
