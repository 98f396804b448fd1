"""The process in which XGBoost's collective runs for one worker, or its tracker for all of them.

XGBoost waits in C++, where nothing but the end of its process can stop it: for workers that were lost before they joined, and
sometimes for itself, when a worker is lost in the middle of a sum. This script is run by `_rabit` with the role, the path of
XGBoost's library and settings as JSON. It starts in some 20 ms, because it has Python's own modules only and not XGBoost's
package, whose functions of these names it calls (https://xgboost.readthedocs.io, "XGBoost C API": "Collective").

Numbers are in memory that both processes have. What comes in are headers: XGBoost's number of their type, and how many bytes
they have. What goes out when they are added, and once at first, is a header too: 0 or 1, whether there was an error, and the
number of bytes that follow, of JSON or of the error's text. A process whose input is closed ends.
"""

import ctypes
import json
import mmap
import os
import socket
import stat
import struct
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue

HEADER = struct.Struct("<BQ")
#: XGBoost's numbers of types.
KINDS = {"float64": 2, "int64": 7}
_BYTES_PER_NUMBER = 8
_SUM = 2  # XGBoost's number of this operation


class _Library:
    """Calls functions of XGBoost's library; each may raise RuntimeError with XGBoost's text."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.XGBGetLastError.restype = ctypes.c_char_p

    def __call__(self, function, *arguments):
        if getattr(self._library, function)(*arguments):
            raise RuntimeError(self._library.XGBGetLastError().decode(errors="replace"))

    def rank(self):
        return self._library.XGCommunicatorGetRank()


def shared_memory(name, n_bytes):
    """Map memory that another process has, too.

    Parameters
    ----------
    name : str
        Number of the file descriptor, which has so many bytes at least; on Windows, the start of a name.
    n_bytes : int

    Returns
    -------
    memory : mmap
    """
    return mmap.mmap(-1, n_bytes, tagname=f"{name}-{n_bytes}") if os.name == "nt" else mmap.mmap(int(name), n_bytes)


def _read(commands):
    """Read what the parent writes; end with it, also while XGBoost waits for other workers."""
    while len(header := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
        commands.put(HEADER.unpack(header))
    os._exit(0)


def _write(is_error, content=b""):
    sys.stdout.buffer.write(HEADER.pack(is_error, len(content)) + content)
    sys.stdout.buffer.flush()


def _close_ports():
    """End XGBoost's thread that accepts connections from any address for as long as the training lasts."""
    for name in os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else ():
        with suppress(OSError):  # closed in the meantime
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as own:
                    if own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        with socket.create_connection(("localhost", own.getsockname()[1]), timeout=1) as knock:
                            knock.sendall(bytes(4))  # its signal of an orderly end


def _add(call, memory, kind, n_bytes):
    numbers = (ctypes.c_char * n_bytes).from_buffer(memory)
    call("XGCommunicatorAllreduce", numbers, ctypes.c_size_t(n_bytes // _BYTES_PER_NUMBER), kind, _SUM)


def track(call, settings, _):
    """Bring workers together, and end if that fails: they notice it."""
    tracker, address = ctypes.c_void_p(), ctypes.c_char_p()
    call("XGTrackerCreate", json.dumps(settings).encode(), ctypes.byref(tracker))
    call("XGTrackerRun", tracker, b"{}")
    call("XGTrackerWorkerArgs", tracker, ctypes.byref(address))
    _write(False, address.value)
    call("XGTrackerWaitFor", tracker, json.dumps({"timeout": settings["dmlc_timeout"]}).encode())


def work(call, settings, commands):
    """Join the other workers, tell the rank, and add numbers."""
    call("XGCommunicatorInit", json.dumps(settings).encode())
    # After this, all have joined, and no worker needs to be reached any more.
    _add(call, bytearray(_BYTES_PER_NUMBER), KINDS["float64"], _BYTES_PER_NUMBER)
    _close_ports()
    _write(False, json.dumps(call.rank()).encode())
    memory = b""
    while True:
        kind, n_bytes = commands.get()
        if n_bytes > len(memory):
            memory = shared_memory(settings["memory"], n_bytes)
        _add(call, memory, kind, n_bytes)
        _write(False)


def main(role, library, settings):
    """Do what the role is until the parent is gone, or closes this process's input."""
    commands = SimpleQueue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    try:
        call = _Library(library)
        call("XGBSetGlobalConfig", b'{"verbosity": 0}')
        {"tracker": track, "worker": work}[role](call, json.loads(settings), commands)
    except Exception as error:
        _write(True, str(error).encode())
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
