"""What tells values apart that no file can hold: functions and objects, by their code and state, in every process alike."""

import dis
import functools
import json
import sys
import sysconfig
import types
from pathlib import Path

import numpy as np

from skbackprop.persistence.encoding import encode

__all__ = ["identify"]

# Where libraries are, whose functions and classes are known by their names.
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]

# Flag of classes that are written in Python, and of some others.
_HEAP_TYPE = 1 << 9

# What a class has beside its code: where it was written, and what Python makes of it.
_NO_CODE = (
    "__module__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__firstlineno__",
    "__static_attributes__",
    "__qualname__",
)

# What scikit-learn and this package add to the state of estimators: versions.
_VERSIONS = ("_sklearn_version", "_skbackprop_format")


def identify(value, path, arrays):
    """A value as JSON that is the same for the same value, and another one for any other.

    A function is its code, its defaults, the values of its closure and the global values that it uses; `functools.partial`, a bound
    method or another object is its class and its state, which is what :mod:`pickle` would store. Functions and classes of
    libraries are their names.

    Parameters
    ----------
    value : object
    path : str
        Names the arrays.
    arrays : dict of ndarray
        Those that are met are added.

    Returns
    -------
    tree : object
        Of what JSON knows.

    Raises
    ------
    TypeError
        If a part of it has no state that could be compared.
    """
    return encode(value, path, arrays, _Identity(arrays))


class _Identity:
    """The JSON of what `encode` does not know."""

    def __init__(self, arrays):
        self._arrays = arrays
        self._met: dict = {}

    def __call__(self, value, path):
        # Each once: a function may call itself. With the object, whose number would else be another's later.
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
            return {"module": value.__name__}
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
            names = sorted(_global_names(value.__code__) & value.__globals__.keys())
            parts = {
                "code": value.__code__,
                "defaults": [value.__defaults__, value.__kwdefaults__],
                "closure": [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()],
                "globals": {name: value.__globals__[name] for name in names},
            }
            return {"function": inner(parts, "function")}
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


def _state(value):
    """What a copy would be made of."""
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
    """Whether a name says which function or class it is, one of a library or written in another language."""
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
    file = getattr(module, "__file__", None)
    is_library = name.partition(".")[0] == "skbackprop" or file is None
    return found is value and (is_library or any(Path(file).is_relative_to(folder) for folder in _LIBRARIES))


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
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_global_names(item) for item in code.co_consts if isinstance(item, types.CodeType)))
