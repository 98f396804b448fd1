"""One file: a header in JSON and named arrays, written as a whole or not at all, and checked before it is believed.

The layout is safetensors': the header's length, a header in JSON that tells each array's type, shape and place, and the bytes. It
has room for text, which holds what this package adds: its own header and a checksum of everything. That library reads no
objects and runs no code, and refuses arrays that lie outside the file, overlap or leave gaps, before it takes any memory.
"""

import hashlib
import json
import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from skbackprop.exceptions import ModelFileError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["FORMAT", "SUFFIX", "read", "remove_stale", "require_library", "write"]

#: Number of the header's format. A change that older versions would misread raises it.
FORMAT = 1

SUFFIX = ".safetensors"

# Bytes that safetensors reads of a header, at most.
_LARGEST_HEADER = 100_000_000

_HEADER, _CHECKSUM = "skbackprop", "sha256"

# Names of unfinished files: hidden, and told apart by the process and a count.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-\d+\.tmp")


def require_library():
    """The library that the files need; raises ImportError with what to do if there is none."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            'model files and checkpoints need safetensors: pip install "skbackprop[files]", or pip install safetensors'
        ) from None
    return safetensors


def _checksum(header, arrays):
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def write(path, kind, content, arrays):
    """Write a file, or leave what is there as it was.

    The bytes go to a new file in the same folder, are brought to the disk, and take the place of `path` in one step, which is
    brought to the disk, too. Whenever the process or the machine stops, `path` is the old file or the new one.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What the file holds.
    content : dict
        Of what JSON knows.
    arrays : dict of ndarray
        Of numbers or bool, by name.

    Raises
    ------
    OSError
        If it cannot be written; the message names the file, and says that nothing has changed.
    ValueError
        If there is more text than such a file may have.
    """
    library = require_library()
    path = Path(path)
    try:
        own_version = version("skbackprop")
    except PackageNotFoundError:
        own_version = "unknown"
    header = json.dumps({"format": FORMAT, "version": own_version, "kind": kind, "content": content})
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = {_HEADER: header, _CHECKSUM: _checksum(header, arrays)}
    try:
        data = library.numpy.save(arrays, metadata=text)
        # Earlier versions write what they then refuse to read.
        fits = int.from_bytes(data[:8], "little") <= _LARGEST_HEADER
    except library.SafetensorError:
        fits = False
    if not fits:
        raise ValueError(
            f"{path} was not written: {len(header):,} characters of text, as of history_ or of labels, are too many for a model file; "
            "use pickle"
        )
    try:
        _replace(path, _in_order(data))
    except OSError as error:
        kept = "the file that was there is as it was" if path.exists() else "nothing is left of it"
        raise type(error)(error.errno, f"{path} could not be written ({error.strerror}); {kept}", str(path)) from error


def _in_order(data):
    """The bytes with the metadata in a fixed order, which the library does not give them: the same contents are the same bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # for the arrays' alignment
    return len(text).to_bytes(8, "little"), text, memoryview(data)[8 + length :]


def _replace(path, parts):
    descriptor, temporary = _open_temporary(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(temporary, path)  # while the lock is held, see `remove_stale`
        if fcntl is None:
            os.replace(temporary, path)
    except BaseException:
        # With the lock given up, somebody else may have been faster.
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _open_temporary(path):
    """A new file beside `path`, locked for as long as it is open."""
    count = 0
    while True:
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{count}.tmp")
        count += 1
        try:
            descriptor = os.open(
                temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), mode=0o666
            )
        except FileExistsError:
            continue
        if fcntl is None:
            return descriptor, temporary
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        # `remove_stale` came between the two calls.
        os.close(descriptor)


def _sync_folder(folder):
    if os.name == "nt":  # folders cannot be opened there; NTFS keeps a journal of its own
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder, prefix):
    """Remove what processes that were killed while they wrote have left.

    Parameters
    ----------
    folder : path-like
    prefix : str
        Of the names of the files that were to be written.
    """
    for temporary in Path(folder).glob(f".{prefix}*.tmp"):
        if _TEMPORARY.fullmatch(temporary.name) is None:
            continue
        try:
            with open(temporary, "rb") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
                    temporary.unlink(missing_ok=True)
            if fcntl is None:
                temporary.unlink(missing_ok=True)
        except OSError:
            continue


def read(path):
    """Read a file that `write` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    kind : str
    content : dict
    arrays : dict of ndarray
        Of at most as many bytes as the file has.

    Raises
    ------
    ModelFileError
        If it is no such file, is damaged, or comes from a version with another format.
    OSError
        If it cannot be opened.
    """
    library = require_library()
    path = Path(path)
    with open(path, "rb") as file:  # for Python's own errors if there is no such file
        is_zip = file.read(4) == b"PK\3\4"
    try:
        with library.safe_open(path, framework="numpy") as file:
            text = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # whatever the library makes of hostile bytes
        other = "; it is a zip archive: skops.io.load reads those of skops" if is_zip else ""
        raise ModelFileError(f"{path} is no file of skbackprop, or is damaged: {error}{other}") from error
    header = text.get(_HEADER)
    if header is None or _CHECKSUM not in text:
        raise ModelFileError(f"{path} is a file of safetensors, but not one that skbackprop has written")
    if _checksum(header, arrays) != text[_CHECKSUM]:
        raise ModelFileError(f"{path} is damaged: its contents do not have the checksum that was written with them")
    try:
        header = json.loads(header)
        found, kind, content = header["format"], header["kind"], header["content"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path} has a header that skbackprop did not write: {error!r}") from error
    if found != FORMAT:
        raise ModelFileError(
            f"{path} was written by skbackprop {header.get('version')} in format {found!r}, but this version reads format "
            f"{FORMAT}; install the version that wrote it, or a later one"
        )
    return kind, content, arrays
