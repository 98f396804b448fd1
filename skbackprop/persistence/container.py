"""The file format: a JSON header and named arrays, written atomically, and verified before use.

The layout is that of safetensors: the length of the header, a JSON header with the dtype, shape and offset of each
array, and the bytes. The metadata of the format hold what this package adds: its own header and a checksum of
everything. safetensors reads no objects and runs no code, and refuses arrays that lie outside the file, overlap or
leave gaps, before it allocates memory.
"""

import hashlib
import json
import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from skbackprop._extras import how_to_install
from skbackprop.exceptions import ModelFileError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["FORMAT", "SUFFIX", "read", "remove_stale", "require_library", "write"]

#: Version of the header's format. It is raised by changes that older versions would misread.
FORMAT = 1

SUFFIX = ".safetensors"

# Largest header, in bytes, that safetensors reads.
_LARGEST_HEADER = 100_000_000

_HEADER, _CHECKSUM = "skbackprop", "sha256"

# Names of unfinished files: hidden, and unique by the process id and a count.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-\d+\.tmp")


def require_library():
    """Import safetensors; raise an ImportError that says what to install if it is missing."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(f"model files and checkpoints need safetensors: {how_to_install('files')}") from None
    return safetensors


def _checksum(header, arrays):
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def write(path, kind, content, arrays):
    """Write a file atomically: if it fails, an existing file is unchanged.

    The bytes go to a new file in the same folder, are flushed to disk, and replace `path` in one step, which is flushed
    to disk, too. Whenever the process or the machine stops, `path` is the old file or the new one.

    Parameters
    ----------
    path : str or path-like
    kind : str
        Kind of contents.
    content : dict
        Values that JSON can represent.
    arrays : dict of ndarray
        Arrays of numbers or bool, by name.

    Raises
    ------
    OSError
        If the file cannot be written; the message names the file, and says that nothing has changed.
    ValueError
        If there is more text than the format allows.
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
        # Earlier versions of safetensors write headers that they then refuse to read.
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
    """Put the metadata in a fixed order, which the library does not do, so that equal contents are equal bytes."""
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
        # Without the lock, another process may have removed it already.
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _open_temporary(path):
    """Create a file next to `path`, which is locked while it is open."""
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
        # `remove_stale` removed it between the two calls.
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
    """Remove the unfinished files of processes that were killed while writing.

    Parameters
    ----------
    folder : path-like
    prefix : str
        Prefix of the names of the intended files.
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
    """Read a file written by `write`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    kind : str
    content : dict
    arrays : dict of ndarray
        With no more bytes in total than the file.

    Raises
    ------
    ModelFileError
        If it is not such a file, is damaged, or was written in another version of the format.
    OSError
        If the file cannot be opened.
    """
    library = require_library()
    path = Path(path)
    with open(path, "rb") as file:  # raises Python's own errors if there is no such file
        is_zip = file.read(4) == b"PK\3\4"
    try:
        with library.safe_open(path, framework="numpy") as file:
            text = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # whatever the library raises on hostile bytes
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
