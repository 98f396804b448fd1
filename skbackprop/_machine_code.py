"""Images of machine code: what the compiler has made, in a form that a process loads without it.

Numba's compiler takes longer to import than a small network to train. An image holds the code and the constants of one
compiled function as they lie in memory, and a list of the places where addresses have to be filled in. To load it means
to copy it, to fill in the addresses and to make the memory executable. That is what LLVM does with an object file, for
the kinds of addresses that it writes in code for x86-64 and aarch64 on Linux. Elsewhere there are no images.

References
----------
M. Matz, J. Hubicka, A. Jaeger, M. Mitchell: System V Application Binary Interface, AMD64 Architecture Processor
Supplement, chapter 4 (object files).

Arm: ELF for the Arm 64-bit Architecture (AArch64), section 5.7 (relocation).
"""

import ctypes
import json
import mmap
import platform
import struct
import sys
from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["HAS_IMAGES", "UnsuitableError", "address", "caller", "image_of", "load"]

#: Whether this system's object files can be made images.
HAS_IMAGES = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") and sys.maxsize > 2**32

# Constants of the ELF format.
_RELOCATABLE = 1
_SYMBOLS, _ADDENDS, _NO_BITS = 2, 4, 8
_WRITABLE, _ALLOCATED = 1, 2
_UNDEFINED = 0
# What is to be filled in: an address of 64 bits; 16 bits of one, in an instruction that moves them to their place in a
# register; the distance of a branch; the page, and the place in it, of a word that holds an address.
_ADDRESS, _MOVE, _BRANCH, _PAGE, _IN_PAGE = range(5)
#: Those that depend on where the image lies.
_FILLED = _ADDRESS, _MOVE, _PAGE, _IN_PAGE
#: By the processor of the file, and by the kind that the file names: R_X86_64_64; R_AARCH64_ABS64, R_AARCH64_MOVW_UABS_*,
#: R_AARCH64_JUMP26 and _CALL26, R_AARCH64_ADR_GOT_PAGE and R_AARCH64_LD64_GOT_LO12_NC.
_KINDS = {
    62: {1: _ADDRESS},
    183: {
        257: _ADDRESS, **dict.fromkeys((264, 266, 268, 269), _MOVE), **dict.fromkeys((282, 283), _BRANCH),
        311: _PAGE, 312: _IN_PAGE,
    },
}  # fmt: skip
# A branch on aarch64 reaches 128 MB, and goes to functions elsewhere by these instructions, before their address: load it
# into the register x16, branch there.
_FAR_BRANCH = struct.pack("<II", 0x58000050, 0xD61F0200)

# Beginnings of the names of Python's and Numba's own functions, which exist only where these are loaded, and in the same
# version. All others are the C library's.
_OWN = ("Py", "_Py", "numba", "NRT", "_ZN", ".")
# Where a function passes another one, Numba's object for it is an argument that nothing reads: zero does.
_PASSED = "numba.dynamic.globals."
# On aarch64, such symbols say where instructions and data begin.
_MARK = "$"
# The section for exceptions, which kernels do not have.
_UNWINDING = b".eh_frame"
_ALIGNMENT = 64

# Never freed: kernels are called by address, by daemon threads even while the interpreter ends.
_loaded: list[mmap.mmap] = []


class UnsuitableError(ValueError):
    """The object file, or the image, cannot be used here."""


def image_of(content, name):
    """Make an image of an object file.

    Parameters
    ----------
    content : bytes
        An ELF object file.
    name : str
        The symbol of the function to call.

    Returns
    -------
    image : bytes
        A line of JSON, the places to fill in, and the memory's content.

    Raises
    ------
    UnsuitableError
        If the file holds what images cannot: other kinds of addresses, variables, unknown functions.
    """
    sections = _sections(content)
    memory, starts = _laid_out(content, sections)
    symbols = _symbols(content, sections)
    for text, section, _ in symbols:
        if section in starts and sections[section].flags & _WRITABLE and text and not text.startswith((_PASSED, _MARK)):
            raise UnsuitableError(f"it has a variable {text!r}")
    entry = next(
        (starts[section] + value for text, section, value in symbols if text == name and section in starts), None
    )
    if entry is None:
        raise UnsuitableError(f"no function {name!r}")
    kinds = _KINDS[struct.unpack_from("<H", content, 18)[0]]
    places, functions, branches, words = {kind: [] for kind in _FILLED}, [], {}, {}
    for section in sections:
        if section.kind != _ADDENDS or section.info not in starts:
            continue
        for place, info, addend in struct.iter_unpack("<QQq", section.of(content)):
            text, target, value = symbols[info >> 32]
            place += starts[section.info]
            kind = kinds.get(info & 0xFFFFFFFF)
            if kind is None:
                raise UnsuitableError(f"an address of kind {info & 0xFFFFFFFF}")
            is_outside = target == _UNDEFINED and not text.startswith(_OWN) and not addend and _from_c(text)
            if target in starts:
                aim = starts[target] + value + addend
            elif is_outside and kind == _ADDRESS:
                functions.append((place, text))
                continue
            elif is_outside and kind == _BRANCH:
                if text not in branches:
                    branches[text] = _append(memory, _FAR_BRANCH + bytes(8))
                    functions.append((branches[text] + len(_FAR_BRANCH), text))
                aim = branches[text]
            else:
                raise UnsuitableError(f"it refers to {text!r}")
            if kind == _BRANCH:
                _branch(memory, place, aim)
                continue
            if kind in (_PAGE, _IN_PAGE):
                if aim not in words:
                    words[aim] = _append(memory, bytes(8))
                    places[_ADDRESS].append((words[aim], aim))
                aim = words[aim]
            places[kind].append((place, aim))
    header = {"entry": entry, "functions": functions, "places": [len(places[kind]) for kind in _FILLED]}
    filled = np.array([pair for kind in _FILLED for pair in places[kind]], dtype="<i8")
    return json.dumps(header).encode() + b"\n" + filled.tobytes() + memory


def _branch(memory, place, aim):
    """Write the distance, in instructions, into the last 26 bits of a branch."""
    (instruction,) = struct.unpack_from("<I", memory, place)
    struct.pack_into("<I", memory, place, instruction & 0xFC000000 | (aim - place) // 4 & 0x03FFFFFF)


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    def of(self, content):
        """Return the section's part of the file."""
        return content[self.offset : self.offset + self.size]


def _sections(content):
    kind, processor = struct.unpack_from("<HH", content, 16)
    if content[:6] != b"\x7fELF\x02\x01" or kind != _RELOCATABLE or processor not in _KINDS:
        raise UnsuitableError("not an object file for x86-64 or aarch64")
    (table,) = struct.unpack_from("<Q", content, 40)
    size, count, _ = struct.unpack_from("<HHH", content, 58)
    return [_Section(*struct.unpack_from("<IIQQQQIIQQ", content, table + size * index)) for index in range(count)]


def _laid_out(content, sections):
    """Return what is in memory of the sections, one after another, and where each starts."""
    memory, starts = bytearray(), {}
    (table,) = struct.unpack_from("<H", content, 62)
    names = sections[table].of(content)
    for index, section in enumerate(sections):
        name = names[section.name : names.index(b"\0", section.name)]
        if section.flags & _ALLOCATED and section.size and name != _UNWINDING:
            if section.kind == _NO_BITS or section.alignment > _ALIGNMENT:
                raise UnsuitableError("it has variables, or constants of a wide alignment")
            own = bytes(section.size) if section.flags & _WRITABLE else section.of(content)
            starts[index] = _append(memory, own)
    return memory, starts


def _append(memory, content):
    """Append to the memory, aligned; return where."""
    memory += bytes(-len(memory) % _ALIGNMENT)
    start = len(memory)
    memory += content
    return start


def _symbols(content, sections):
    """Return the name of each symbol, the index of its section and its place there."""
    table = next(section for section in sections if section.kind == _SYMBOLS)
    names = sections[table.link].of(content)
    return [
        (names[start : names.index(b"\0", start)].decode(), section, value)
        for start, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", table.of(content))
    ]


def load(image):
    """Load an image for the rest of the process.

    Parameters
    ----------
    image : bytes
        As `image_of` made it.

    Returns
    -------
    address : int
        The function's.

    Raises
    ------
    UnsuitableError
        If a function of the C library is missing, or memory cannot be made executable.
    """
    line, _, rest = image.partition(b"\n")
    header = json.loads(line)
    filled = np.frombuffer(rest, "<i8", 2 * sum(header["places"])).reshape(-1, 2)
    parts = np.split(filled, np.cumsum(header["places"])[:-1])
    (places, targets), moves, pages, in_pages = (part.T for part in parts)
    content = np.frombuffer(rest, np.uint8, offset=filled.nbytes).copy()
    # Begin where in its page the previous image ended. If all began at a page's first byte, the functions of a program,
    # which take turns, would compete for the same few lines of the processor's caches.
    end = len(_loaded[-1]) if _loaded else 0
    offset = (end + -end % _ALIGNMENT) % mmap.PAGESIZE
    memory = mmap.mmap(-1, offset + len(content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    start = base + offset
    for place, name in header["functions"]:
        content[place : place + 8] = np.array([_from_c(name)]).view(np.uint8)
    # Places are not aligned.
    content[places[:, np.newaxis] + np.arange(8)] = (targets + start)[:, np.newaxis].view(np.uint8)
    words = content[: len(content) // 4 * 4].view("<u4")
    _move(words, *moves, start)
    _point(words, pages, in_pages, start)
    memory[offset:] = content.tobytes()
    # Never writable and executable at the same time.
    if _library().mprotect(ctypes.c_void_p(base), ctypes.c_size_t(len(memory)), mmap.PROT_READ | mmap.PROT_EXEC):
        raise UnsuitableError(f"memory cannot be made executable (error {ctypes.get_errno()})")
    _loaded.append(memory)
    # One reference more than the list's, which the interpreter frees when it ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return start + header["entry"]


def _move(words, places, targets, start):
    """Write 16 bits of each target's address into bits 5 to 20 of an instruction, whose bits 21 and 22 say which."""
    instructions = words[places // 4]
    parts = (targets + start) >> (instructions >> 21 & 3) * 16 & 0xFFFF
    words[places // 4] = instructions & 0xFFE0001F | (parts << 5).astype("<u4")


def _point(words, pages, in_pages, start):
    """Write how many pages of 4 KB away a word is, and how many words from its page's start, into two instructions."""
    places, targets = pages
    distances = ((targets + start) >> 12) - ((places + start) >> 12)
    bits = (distances & 3) << 29 | (distances >> 2 & 0x7FFFF) << 5
    words[places // 4] = words[places // 4] & 0x9F00001F | bits.astype("<u4")
    places, targets = in_pages
    bits = ((targets + start) >> 3 & 0x1FF) << 10
    words[places // 4] = words[places // 4] & 0xFFC003FF | bits.astype("<u4")


@cache
def _library():
    return ctypes.CDLL(None, use_errno=True)


@cache
def _from_c(name):
    try:
        return ctypes.cast(getattr(_library(), name), ctypes.c_void_p).value
    except AttributeError:
        raise UnsuitableError(f"no function {name!r} in the C library") from None


# By NumPy's ABI, the address of an array's data follows the head that all objects have.
_HEAD = object.__basicsize__


def _by_interface(array):
    return array.__array_interface__["data"][0]


def _by_memory(array):
    return ctypes.c_size_t.from_address(id(array) + _HEAD).value


def _is_known():
    """Return whether arrays have this memory layout."""
    array = np.zeros((2, 3))[1:]
    return platform.python_implementation() == "CPython" and _by_memory(array) == _by_interface(array)


#: ``address(array)`` returns the address of an array's data; through NumPy's interface it would take two microseconds.
address = _by_memory if _is_known() else _by_interface


#: By Numba's convention a function returns a status, and writes its result and an error's description to two addresses.
#: No kernel has a result.
_ignored = ctypes.create_string_buffer(16)
_TYPES = {"bool": ctypes.c_bool, "float32": ctypes.c_float, "float64": ctypes.c_double, "int64": ctypes.c_int64}


@cache
def _prototype(signature):
    kinds = [_TYPES.get(kind, ctypes.c_void_p) for kind in signature]
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)


def caller(start, signature):
    """Return a function that calls machine code from Python, without the GIL.

    Parameters
    ----------
    start : int
        Address of a function that Numba compiled.
    signature : tuple of str
        Numba's names of the arguments' types; a pointer is passed as an address.

    Returns
    -------
    call : callable
    """
    function = _prototype(signature)(int(start))
    result = ctypes.addressof(_ignored)
    error = result + 8

    def call(*arguments):
        status = function(result, error, *arguments)
        if status:
            raise SystemError(f"a compiled function returned the status {status}")

    return call
