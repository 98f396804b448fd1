"""Files of compiled kernels: where they lie, how they are named, and how they are read and written.

A file holds one compiled signature. Its name, and that of its folder, are digests of everything that the machine code
depends on. It is written atomically and verified when read. Two kinds of folders are searched: one within the package,
which a wheel may bring along, and one that is written to. Nothing here needs Numba.
"""

import hashlib
import logging
import os
import platform
import sys
import tempfile
import threading
import time
import types
import warnings
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from skbackprop._processor import identity, identity_of, level, variables

__all__ = ["PACKAGED", "KernelFiles", "cache_folder", "package_digest", "packaged_folder", "setting"]

logger = logging.getLogger("skbackprop")

_PACKAGE = Path(__file__).parent
#: The folder of the kernels that a wheel brings along.
PACKAGED = _PACKAGE / "kernels"
_HEADER = b"skbackprop-kernel-2\n"
# Packages whose code is covered by the digests of sources and versions.
_COVERED = (__name__.partition(".")[0], "numba", "numpy")
# Maximum length of a file's name: names of formulas and settings may exceed the file system's limit.
_NAME_LENGTH = 120
# Numba's variables, beside those that name the processor, on which machine code depends.
_SETTINGS = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO")


def setting(name):
    """Return one of Numba's settings, without importing Numba.

    Parameters
    ----------
    name : str
        Without the prefix of the environment variable.

    Returns
    -------
    value : int or str or None
        None if it is not set.
    """
    config = sys.modules.get("numba.core.config")
    if config is None and Path(".numba_config.yaml").exists():
        from numba.core import config
    if config is not None:
        return getattr(config, name)
    value = os.environ.get(f"NUMBA_{name}")
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


@cache
def _sources_digest():
    """Digest the package's sources, once in a process: no upgrade or edited callee is to find outdated code."""
    paths = []
    # In less than half the time of Path.rglob.
    for folder, folders, files in os.walk(_PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        paths += [os.path.join(folder, name) for name in files if name.endswith(".py")]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(os.path.relpath(path, _PACKAGE).replace(os.sep, "/").encode())
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _digest(*facts):
    """Digest the package's sources and some facts."""
    return hashlib.sha256(repr((_sources_digest(), facts)).encode()).hexdigest()[:16]


@cache
def package_digest():
    """Return the name of the folder of packaged kernels: what they were compiled with does not matter.

    Returns
    -------
    digest : str
    """
    return _digest(sys.implementation.cache_tag)


def _environment_digest():
    versions = (metadata.version("numba"), metadata.version("llvmlite"), sys.implementation.cache_tag)
    settings = [os.environ.get(name) for name in _SETTINGS]
    return _digest(versions, settings, setting("BOUNDSCHECK"), platform.machine())


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


def _candidate_folders():
    if setting("CACHE_DIR"):
        yield Path(setting("CACHE_DIR")) / "skbackprop"
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


@cache
def packaged_folder():
    """Return the folder of the packaged kernels of these sources.

    Returns
    -------
    path : pathlib.Path or None
        None if there is none, or if others are asked for.
    """
    asked = setting("BOUNDSCHECK") or any(name in os.environ for name in _SETTINGS)
    if asked or level() is None or not PACKAGED.is_dir():
        return None
    folder = PACKAGED / package_digest()
    return folder if folder.is_dir() else None


class KernelFiles:
    """The files of one kernel: one for each signature and processor.

    Parameters
    ----------
    function : callable
        The Python function of the kernel.
    form : str
        What the files hold.
    """

    def __init__(self, function, form):
        if function.__closure__:
            raise ValueError(f"{function.__qualname__} closes over values, which the cache's key does not cover")
        name = f"{function.__module__.removeprefix('skbackprop.')}.{function.__qualname__}"
        #: The kernel's name, of which the files' names are made.
        self.name = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name)[:_NAME_LENGTH]
        # Distinguishes functions of the same name; the digest of the sources covers what they call in the package.
        self._code = (form, name, function.__code__.co_firstlineno, _code_digest(function))

    def _path(self, folder, signature, processor):
        key = repr((signature, self._code, processor))
        return folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.kernel"

    def _places(self, signature):
        packaged = packaged_folder()
        if packaged is not None:
            yield self._path(packaged, signature, identity_of(*variables(level()).values()))
        # Where all kernels are packaged, no folder is asked for.
        folder = cache_folder()
        if folder is not None:
            yield self._path(folder, signature, identity())

    def load(self, signature, rebuild):
        """Load a signature.

        Parameters
        ----------
        signature : str
        rebuild : callable
            Makes the result of the payload; whatever is wrong with a file, it is compiled again.

        Returns
        -------
        result : object or None
            None if it has to be compiled.
        """
        for path in self._places(signature):
            try:
                content = path.read_bytes()
                if not content.startswith(_HEADER):
                    raise ValueError("not a kernel file of this version")
                checksum, payload = content[len(_HEADER) : len(_HEADER) + 32], content[len(_HEADER) + 32 :]
                if hashlib.sha256(str(path.name).encode() + payload).digest() != checksum:
                    raise ValueError("the file is damaged")
                return rebuild(payload)
            except FileNotFoundError:
                pass
            except Exception as error:
                logger.info("recompiling %s: %s", self.name, error)
        return None

    def save(self, signature, payload):
        """Keep a signature's payload; a full or read-only disk is not an error.

        Parameters
        ----------
        signature : str
        payload : bytes
        """
        folder = cache_folder()
        if folder is None:
            return
        path = self._path(folder, signature, identity())
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
            with os.fdopen(handle, "wb") as stream:
                stream.write(_HEADER + hashlib.sha256(path.name.encode() + payload).digest() + payload)
            os.replace(temporary, path)
        except OSError as error:
            logger.info("could not keep the compiled %s: %s", self.name, error)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def remove(self):
        """Delete the files of all signatures."""
        folder = cache_folder()
        for path in folder.glob(f"{self.name}-*.kernel") if folder is not None else ():
            path.unlink(missing_ok=True)
