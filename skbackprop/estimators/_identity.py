"""Fingerprints of functions and objects by their code and state, equal in every process.

Checkpoints use them to find out whether parameters that no file can hold are the same as before.
"""

import contextlib
import dis
import functools
import hashlib
import importlib.util
import json
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import numpy as np

from skbackprop._sklearn import VERSION_KEY
from skbackprop.persistence.encoding import encode

__all__ = ["identify"]

# Folders of installed libraries; their functions and classes are identified by name.
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]

# CPython's Py_TPFLAGS_HEAPTYPE: set for all classes written in Python, and for some others.
_HEAP_TYPE = 1 << 9

# Class attributes that are not code: where the class was defined, and what Python adds.
_NO_CODE = (
    "__module__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__firstlineno__",
    "__static_attributes__",
    "__qualname__",
)

# Versions that scikit-learn and this package add to the state of estimators.
_VERSIONS = (VERSION_KEY, "_skbackprop_format")


def identify(value, path, arrays):
    """Encode a value as JSON that is equal for equal values only.

    A function is identified by its code, its defaults, its attributes, the values of its closure and the global values
    that it uses; a `functools.partial`, a bound method or another object by its class and its state, as :mod:`pickle`
    would store it; a module by its source, and by those of its attributes that a function uses. Functions, classes and
    modules of libraries are identified by name.

    Parameters
    ----------
    value : object
    path : str
        Prefix of the arrays' names.
    arrays : dict of ndarray
        Arrays in the value are added here.

    Returns
    -------
    tree : object
        JSON-compatible.

    Raises
    ------
    TypeError
        If a part of the value has no state that can be compared.
    """
    return encode(value, path, arrays, _Identity(arrays))


class _Identity:
    """Encoder of the types that `encode` does not support."""

    def __init__(self, arrays):
        self._arrays = arrays
        self._met: dict = {}

    def __call__(self, value, path):
        # Each object is described once: a function may refer to itself. The object is kept so that its id stays taken.
        place, _ = self._met.setdefault(id(value), (len(self._met), value))
        if place < len(self._met) - 1:
            return {"met": place}
        return self._describe(value, lambda part, name: encode(part, f"{path}.{name}", self._arrays, self))

    def _describe(self, value, inner):
        if isinstance(value, complex):
            return {"complex": repr(value)}
        if isinstance(value, bytes | bytearray):
            return {"bytes": value.hex()}
        if isinstance(value, set | frozenset):
            return {"set": sorted(json.dumps(inner(item, "item")) for item in value)}
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__} | ({} if _is_library(value) else {"source": _source(value)})
        if isinstance(value, types.CodeType):
            return {"code": _code(value, inner)}
        if _has_known_name(value):
            return {"name": f"{value.__module__}.{value.__qualname__}"}
        if isinstance(value, type):
            own = {name: item for name, item in sorted(vars(value).items()) if _is_code(name, item)}
            return {
                "class": [inner(base, f"base{index}") for index, base in enumerate(value.__bases__)],
                "has": inner(own, "has"),
            }
        if isinstance(value, types.FunctionType):
            return {"function": inner(_function_parts(value), "function")}
        if isinstance(value, types.MethodType | staticmethod | classmethod):
            return {
                "method": type(value).__name__,
                "of": inner([getattr(value, "__self__", None), value.__func__], "of"),
            }
        if isinstance(value, property):
            return {"property": inner([value.fget, value.fset, value.fdel], "property")}
        if type(value).__module__.partition(".")[0] in ("functools", "numba"):
            for name in ("__wrapped__", "py_func"):
                if hasattr(value, name):
                    return {"wrapped": inner(getattr(value, name), "wrapped")}
        return {"state": inner(_state(value), "state"), "of": inner(type(value), "of")}


def _function_parts(function):
    """Return what a function's result depends on: code, defaults, closure, globals, attributes and modules."""
    names = sorted(_global_names(function.__code__) & function.__globals__.keys())
    parts = {
        "code": function.__code__,
        "defaults": [function.__defaults__, function.__kwdefaults__],
        "closure": [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()],
        "globals": {name: function.__globals__[name] for name in names},
    }
    values = [*parts["closure"], *parts["globals"].values(), *(function.__defaults__ or ())]
    values += [*(function.__kwdefaults__ or {}).values(), *_imported(function)]
    # Only if there are any: otherwise the keys of existing checkpoints would change. Attributes that decorators set
    # (dunder names such as __wrapped__) are in the closure, too.
    if attributes := {name: item for name, item in vars(function).items() if not name.startswith("__")}:
        parts["attributes"] = attributes
    if modules := _modules_used(values, set().union(*(code.co_names for code in _codes(function.__code__)))):
        parts["modules"] = modules
    return parts


def _codes(code):
    """Iterate over a function's code objects, those of nested functions and classes included."""
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _codes(item)


def _imported(function):
    """Iterate over the modules that a function imports in its body, without those of libraries."""
    for code in _codes(function.__code__):
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for index, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, names = (before.argval for before in steps[index - 2 : index])
            if level == 0 and _is_library_name(step.argval.partition(".")[0]):
                continue
            with contextlib.suppress(ImportError):
                # The same import that the function will execute.
                yield __import__(step.argval, function.__globals__, None, names, level)


def _modules_used(values, names):
    """Find the user's own modules among values and their attributes, each with its attributes of these names."""
    found: dict[Any, Any] = {}
    values = list(values)
    while values:
        value = values.pop()
        if isinstance(value, types.ModuleType) and not _is_library(value) and value.__name__ not in found:
            used = {name: vars(value)[name] for name in sorted(names & vars(value).keys())}
            found[value.__name__] = [value, used]
            values.extend(used.values())
    return dict(sorted(found.items()))


def _source(module):
    """Return the hash of a module's file; None if it has none."""
    file = getattr(module, "__file__", None)
    try:
        return file and hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise TypeError(f"the source of the module {module.__name__!r} cannot be read ({error})") from error


def _state(value):
    """Return the state from which pickle would recreate an object."""
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords, vars(value)]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, value.tolist()]
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return reduced
    function, arguments, state, *items = (*reduced, None, None, None)[:5]
    if isinstance(state, dict):
        state = {name: item for name, item in state.items() if name not in _VERSIONS}
    return [_name(function), arguments, state, [None if some is None else list(some) for some in items]]


def _name(function):
    return f"{function.__module__}.{function.__qualname__}"


def _has_known_name(value):
    """Whether a function or class is identified by its name: it belongs to a library or is not written in Python."""
    if not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc):
        return False
    name = getattr(value, "__module__", None) or "builtins"
    if isinstance(value, type) and not value.__flags__ & _HEAP_TYPE:
        return True
    if name == "__main__" or not hasattr(value, "__qualname__"):
        return False
    found = module = sys.modules.get(name)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value and _is_library(module)


def _is_library(module):
    """Whether a module belongs to a library, or has no file that could change."""
    file = getattr(module, "__file__", None)
    # A namespace package has no file, but its modules do.
    files = [file] if file is not None else list(getattr(module, "__path__", ()))
    return module is None or module.__name__.partition(".")[0] == "skbackprop" or all(map(_is_in_library, files))


def _is_library_name(name):
    """Whether a name is that of a library's module or of no module, without importing it."""
    if name in sys.modules:
        return _is_library(sys.modules[name])
    spec = importlib.util.find_spec(name)
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return True
    files = [spec.origin] if spec.has_location else spec.submodule_search_locations
    return all(map(_is_in_library, files))


def _is_in_library(file):
    return any(Path(file).is_relative_to(folder) for folder in _LIBRARIES)


def _is_code(name, item):
    return (
        name not in _NO_CODE
        and not name.startswith(("_abc_", "__annot"))
        and not isinstance(item, types.MemberDescriptorType | types.GetSetDescriptorType)
    )


def _code(code, inner):
    counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    names = [list(some) for some in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)]
    return [code.co_code.hex(), counts, names, inner(code.co_consts, "constants")]


def _global_names(code):
    steps = (step for part in _codes(code) for step in dis.get_instructions(part))
    return {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
