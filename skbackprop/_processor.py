"""The processor that kernels are compiled for, described without LLVM, whose import takes longer than to load them."""

import os
import platform
import re
from functools import cache
from pathlib import Path

__all__ = ["LEVELS", "features", "identity", "identity_of", "level", "supported", "variables"]

_V3 = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
#: Levels of the x86-64 ABI, and of aarch64, that kernels may be packaged for, with the features that each adds.
LEVELS = {
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": _V3,
    "armv8-a": frozenset({"neon"}),
}
# Numba's variables for levels that LLVM has under another name.
_VARIABLES = {"armv8-a": ("generic", "+neon")}
# Features that LLVM may use in kernels. Others differ between systems on the same processor.
_OF_ARITHMETIC = re.compile(r"(abm|amx|avx|bmi|f16c|fma|gfni|lzcnt|movbe|popcnt|sse|ssse|vaes|vpclmul)")


@cache
def _cpuinfo():
    """Return what Linux says of the first core; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


@cache
def _flags():
    info = _cpuinfo()
    features = frozenset(info.get("Features", "").split())  # of aarch64
    # LLVM's name beside Linux's.
    features |= {"neon"} if "asimd" in features else set()
    return features.union(filter(_OF_ARITHMETIC.match, info.get("flags", "").split()))


@cache
def _llvm_features():
    from llvmlite import binding

    return binding.get_host_cpu_features()


def _named():
    """Return the processor that Numba's variables name; None, in one of the places, for this machine's."""
    return os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")


def features():
    """Return the features that kernels may use: this machine's, unless Numba's variables name another processor.

    Returns
    -------
    features : frozenset of str
    """
    name, given = _named()
    if given is not None:
        return frozenset(word[1:] for word in given.split(",") if word[:1] == "+") | LEVELS.get(name, frozenset())
    return _flags() or frozenset(word for word, has in _llvm_features().items() if has)


def identity():
    """Return what machine code depends on: equal for processors that may run each other's kernels.

    Returns
    -------
    identity : tuple of str
        If Numba's variables name a processor and its features, these alone: one image of a container then serves many
        machines.
    """
    name, given = _named()
    if name is not None and given is not None:
        return identity_of(name, given)
    info = _cpuinfo()
    keys = "vendor_id", "cpu family", "model", "CPU implementer", "CPU architecture", "CPU variant", "CPU part"
    model = [info[key] for key in keys if key in info]
    if not _flags():
        from llvmlite import binding

        model = [binding.get_host_cpu_name(), _llvm_features().flatten()]
    return platform.machine(), *map(str, (name, given)), *model, *sorted(_flags())


def identity_of(name, given=""):
    """Return the identity of a processor that Numba's variables name, such as a level.

    Parameters
    ----------
    name, given : str
        The values of the variables for the processor's name and features.

    Returns
    -------
    identity : tuple of str
    """
    return platform.machine(), name, given


def variables(level):
    """Return Numba's variables by which kernels are compiled for a level.

    Parameters
    ----------
    level : str

    Returns
    -------
    variables : dict of str to str
    """
    return dict(zip(("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"), _VARIABLES.get(level, (level, "")), strict=True))


def supported():
    """Return the levels that this machine supports, the highest first.

    Returns
    -------
    levels : list of str
    """
    return [name for name, needed in LEVELS.items() if needed <= _flags()]


def level():
    """Return the highest level that this machine supports, and whose vectors are as wide as its own.

    Returns
    -------
    level : str or None
        None also where Numba's variables name a processor.
    """
    if _named() != (None, None):
        return None
    name = next(iter(supported()), None)
    return name if name is None or ("avx512f" in LEVELS[name]) == ("avx512f" in _flags()) else None
