"""Records: pass one pointer to a kernel instead of dozens of arguments.

A kernel's arrays and scalars are grouped by purpose, in named tuples whose annotations give the type of each field. A
`Form` lays the groups out as an array of 64-bit words: a scalar takes one word, an array one for its address and one
for each extent. The kernel passes a pointer to the words on to its steps. Each step opens the record; fields that it
does not use are never loaded.

Numba compiles a kernel for the types of its arguments, and an array of words has one type whatever it holds. So
`Form.opened` is generated for a dtype, and steps are compiled for an `opened`; see `skbackprop._compile.loop`.
"""

import copy
import math
import struct
import sys
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np

from skbackprop._compile import JIT, address, ir, native, types

__all__ = [
    "LINE_BYTES",
    "Doubles",
    "Doubles2D",
    "Float",
    "Form",
    "Indices",
    "Integer",
    "Integers",
    "Integers2D",
    "Numbers",
    "Numbers2D",
    "Record",
    "Workspace",
    "aligned",
    "made_array",
]

#: Memory, and each array in it, is aligned to cache lines.
LINE_BYTES = 64


class Kind(NamedTuple):
    """Type of a field: its dtype ("number" and "index" are resolved by `Form.opened`) and its number of dimensions."""

    dtype: str
    ndim: int


Numbers = Annotated[np.ndarray, Kind("number", 1)]
Numbers2D = Annotated[np.ndarray, Kind("number", 2)]
Doubles = Annotated[np.ndarray, Kind("float64", 1)]
Doubles2D = Annotated[np.ndarray, Kind("float64", 2)]
Integers = Annotated[np.ndarray, Kind("int64", 1)]
Integers2D = Annotated[np.ndarray, Kind("int64", 2)]
Indices = Annotated[np.ndarray, Kind("index", 1)]
Integer = Annotated[int, Kind("int64", 0)]
Float = Annotated[float, Kind("float64", 0)]


def _kinds(group):
    return [hint.__metadata__[0] for hint in group.__annotations__.values()]


class Form:
    """Layout of groups of fields in a record.

    Parameters
    ----------
    *groups : type
        Named tuples annotated with the types of this module.
    """

    def __init__(self, *groups):
        self.groups = groups
        #: First word and kind of each field.
        self.places = {}
        self.n_words = 0
        for group in groups:
            for name, kind in zip(group._fields, _kinds(group), strict=True):
                if name in self.places:
                    raise ValueError(f"two fields of a record are called {name!r}")
                self.places[name] = self.n_words, kind
                self.n_words += 1 + kind.ndim

    @lru_cache(maxsize=16)  # noqa: B019 (forms are made once, at import)
    def opened(self, dtype, index_dtype="int32"):
        """Return the intrinsic that opens a record in a kernel.

        Parameters
        ----------
        dtype, index_dtype : str
            Names of the dtypes of numbers and of the indices of sparse rows.

        Returns
        -------
        opened : callable
            ``opened(record)`` returns the groups; `record` is a pointer to the words.
        """
        chosen = {"number": dtype, "index": index_dtype}

        def numba_type(kind):
            scalar = getattr(types, chosen.get(kind.dtype, kind.dtype))
            return types.Array(scalar, kind.ndim, "C") if kind.ndim else scalar

        def opened(typing_context, record):
            """Return the groups of fields of a record."""
            made = types.Tuple(
                [types.NamedTuple([numba_type(kind) for kind in _kinds(group)], group) for group in self.groups]
            )

            def build(context, builder, signature, values):
                words = _Words(context, builder, values[0])
                groups = [
                    context.make_tuple(builder, group, [words.field(kind) for kind in group.types])
                    for group in signature.return_type.types
                ]
                return context.make_tuple(builder, signature.return_type, groups)

            return made(record), build

        opened.__qualname__ = f"opened_{dtype}_{index_dtype}"
        return native(_opened_twin)(opened)


def _opened_twin(record):
    return record[0]


def _replaced(groups, values):
    return tuple(group._replace(**{name: values[name] for name in group._fields if name in values}) for group in groups)


def made_array(context, builder, kind, pointer, extents):
    """Emit code for a C-contiguous array of a Numba type that starts at a pointer."""
    array = context.make_array(kind)(context, builder)
    strides = [extents[0].type(context.get_abi_sizeof(context.get_data_type(kind.dtype)))]
    for extent in reversed(extents[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    context.populate_array(array, data=pointer, shape=extents, strides=strides, itemsize=strides[-1], meminfo=None)
    return array._getvalue()


class _Words:
    """Emits LLVM code that reads a record field by field."""

    def __init__(self, context, builder, pointer):
        self._context, self._builder, self._pointer = context, builder, pointer
        self._n_read = 0

    def _next(self):
        place = ir.Constant(ir.IntType(64), self._n_read)
        self._n_read += 1
        return self._builder.load(self._builder.gep(self._pointer, [place]))

    def field(self, kind):
        """Emit code that reads the next field, of the given Numba type."""
        context, builder = self._context, self._builder
        word = self._next()
        if kind == types.float64:
            return builder.bitcast(word, ir.DoubleType())
        if not isinstance(kind, types.Array):
            return word
        pointer = builder.inttoptr(word, context.get_data_type(kind.dtype).as_pointer())
        return made_array(context, builder, kind, pointer, [self._next() for _ in range(kind.ndim)])


class Record:
    """A record and its values.

    Records store addresses only: the caller must keep the arrays alive until the kernel has returned.

    Parameters
    ----------
    form : Form
    dtype : numpy.dtype
        Of the numbers.
    *groups : tuple
        Instances of some of the form's groups, in any order.

    Attributes
    ----------
    words : ndarray of shape (n_words,), int64
        Of which kernels get the address, `argument`. If the JIT is disabled, an object array that holds the groups.
    """

    def __init__(self, form, dtype, *groups):
        self._form = form
        self._dtypes = {
            "number": (np.dtype(dtype),),
            "index": (np.dtype(np.int32), np.dtype(np.int64)),
            **{name: (np.dtype(name),) for name in ("float64", "int64")},
        }
        if JIT:
            self.words = np.zeros(form.n_words, dtype=np.int64)
        else:
            self.words = np.empty(1, dtype=object)
            self.words[0] = tuple(group(*[None] * len(group._fields)) for group in form.groups)
        #: What a kernel gets.
        self.argument = address(self.words) if JIT else self.words
        for group in groups:
            self.set(**group._asdict())

    def copy(self):
        """Return a record with the same values."""
        record = copy.copy(self)
        record.words = self.words.copy()
        record.argument = address(record.words) if JIT else record.words
        return record

    def set(self, **values):
        """Set fields.

        Raises
        ------
        TypeError
            If kernels, which only get addresses, would misread an array.
        """
        if not JIT:
            self.words[0] = _replaced(self.words[0], values)
            return
        words, places = self.words, self._form.places
        for name, value in values.items():
            place, kind = places[name]
            if kind.ndim:
                if (
                    value.dtype not in self._dtypes[kind.dtype]
                    or value.ndim != kind.ndim
                    or not value.flags.c_contiguous
                ):
                    raise TypeError(
                        f"{name}: an array of {value.dtype} and of shape {value.shape}, with\n{value.flags}"
                    )
                words[place] = address(value)
                words[place + 1 : place + 1 + kind.ndim] = value.shape
            else:
                words[place] = _bits(value) if kind.dtype == "float64" else value

    def point(self, **arrays):
        """Set contiguous arrays of any shape as flat ones: as `set`, in the microsecond that a prediction has for it."""
        words, places, dtypes = self.words, self._form.places, self._dtypes
        for name, array in arrays.items():
            place, kind = places[name]
            if JIT and array.dtype in dtypes[kind.dtype]:
                words[place] = address(array)
                words[place + 1] = array.size
            else:
                self.set(**{name: array.reshape(-1)})

    def pointer(self, *names):
        """Return a function that sets fields to contiguous arrays of any shape, which are right and as large as the ones before.

        Parameters
        ----------
        *names : str
            Of the fields, which are set.

        Returns
        -------
        point : callable
            Takes an array for each.
        """
        if not JIT:
            return lambda *arrays: self.point(**dict(zip(names, arrays, strict=True)))
        words, places = memoryview(self.words), [self._form.places[name][0] for name in names]

        def point(*arrays):
            for place, array in zip(places, arrays):  # noqa: B905 (a third of the time)
                words[place] = address(array)

        return point


class Workspace:
    """Layout of a group's arrays in one memory block.

    Parameters
    ----------
    form : Form
    group : type
        A group of the form with array fields only.
    dtype : numpy.dtype
        Dtype of numbers.
    **shapes : int or tuple of int
        Shapes of the arrays; arrays that are not named are empty.
    """

    def __init__(self, form, group, dtype, **shapes):
        first = form.places[group._fields[0]][0]
        words, is_address = [], []
        #: First byte, shape and dtype of each array.
        self._arrays = {}
        self.n_bytes = 0
        for name, kind in zip(group._fields, _kinds(group), strict=True):
            shape = shapes.get(name, 0)
            shape = shape if isinstance(shape, tuple) else (shape,)
            own_dtype = np.dtype(dtype if kind.dtype == "number" else kind.dtype)
            self._arrays[name] = self.n_bytes, shape, own_dtype
            words += [self.n_bytes, *shape]
            is_address += [1] + [0] * kind.ndim
            # Arrays are aligned to cache lines: loading a vector that crosses a line costs as much as two loads.
            self.n_bytes += -(-math.prod(shape) * own_dtype.itemsize // LINE_BYTES) * LINE_BYTES
        self._words, self._is_address = np.array(words), np.array(is_address)
        self._place = slice(first, first + len(words))

    def allocate(self):
        """Allocate zeroed memory for all arrays.

        Returns
        -------
        memory : ndarray of uint8
            Keep it alive as long as the records that it is entered into are in use.
        """
        return aligned(self.n_bytes, np.uint8)

    def enter(self, record, memory):
        """Set the group's fields in a record."""
        if JIT:
            record.words[self._place] = self._words + self._is_address * address(memory)
        else:
            record.set(**{name: self.array(memory, name) for name in self._arrays})

    def array(self, memory, name):
        """Return one of the arrays."""
        start, shape, dtype = self._arrays[name]
        return memory[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def aligned(shape, dtype):
    """Return an array of zeros aligned to a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    memory = np.zeros(n_bytes + LINE_BYTES, dtype=np.uint8)
    first = -address(memory) % LINE_BYTES
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def _bits(number):
    """Return the int64 with the same bits as a float64."""
    return int.from_bytes(struct.pack("=d", number), sys.byteorder, signed=True)
