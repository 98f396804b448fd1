"""One record of addresses in the place of dozens of arguments.

A kernel's arrays and numbers are grouped by what they are for, in named tuples whose annotations say what each field is. A `Form` lays the
groups out as one row of 64-bit words: a number takes one word, an array its address and its extents. A kernel gets the row's address,
hands it to its steps, and each step opens it: what it does not look at is never read.

Kernels compile for the types of their arguments, and a row of words has one type whatever it holds. So `Form.opened` is made for the type
of the numbers, and steps are made for an `opened`; see `skbackprop._compile.loop`.
"""

import struct
import sys
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from skbackprop._compile import JIT, native

__all__ = [
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
]


class Kind(NamedTuple):
    """What a field holds: a type of numbers ("number" and "index" are chosen with `Form.opened`), and how many axes they have."""

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
    """How groups of fields lie in a record.

    Parameters
    ----------
    *groups : type
        Named tuples, annotated with the types of this module.
    """

    def __init__(self, *groups):
        self.groups = groups
        self.kinds = [kind for group in groups for kind in _kinds(group)]
        self.n_words = sum(1 + kind.ndim for kind in self.kinds)

    @lru_cache(maxsize=16)  # noqa: B019 (forms are made once, at import)
    def opened(self, dtype, index_dtype="int32"):
        """What opens a record in a kernel.

        Parameters
        ----------
        dtype, index_dtype : str
            Names of the types of the numbers, and of the indices of sparse rows.

        Returns
        -------
        opened : callable
            ``opened(record)`` gives the groups, for a pointer to the words.
        """
        chosen = {"number": dtype, "index": index_dtype}

        def numba_type(kind):
            scalar = getattr(types, chosen.get(kind.dtype, kind.dtype))
            return types.Array(scalar, kind.ndim, "C") if kind.ndim else scalar

        made = types.Tuple(
            [types.NamedTuple([numba_type(kind) for kind in _kinds(group)], group) for group in self.groups]
        )

        def opened(typing_context, record):
            """The groups of fields of a record."""

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


class _Words:
    """LLVM code that reads a record, field by field."""

    def __init__(self, context, builder, pointer):
        self._context, self._builder, self._pointer = context, builder, pointer
        self._n_read = 0

    def _next(self):
        place = ir.Constant(ir.IntType(64), self._n_read)
        self._n_read += 1
        return self._builder.load(self._builder.gep(self._pointer, [place]))

    def field(self, kind):
        """The value of a Numba type that comes next."""
        context, builder = self._context, self._builder
        word = self._next()
        if kind == types.float64:
            return builder.bitcast(word, ir.DoubleType())
        if not isinstance(kind, types.Array):
            return word
        extents = [self._next() for _ in range(kind.ndim)]
        number = context.get_data_type(kind.dtype)
        itemsize = context.get_constant(types.intp, context.get_abi_sizeof(number))
        array = context.make_array(kind)(context, builder)
        context.populate_array(
            array,
            data=builder.inttoptr(word, number.as_pointer()),
            shape=extents,
            strides=[itemsize] if kind.ndim == 1 else [builder.mul(extents[1], itemsize), itemsize],
            itemsize=itemsize,
            meminfo=None,
        )
        return array._getvalue()


class Record:
    """A record with its values, which it keeps alive.

    Parameters
    ----------
    form : Form
    *groups : tuple
        An instance of each of its groups.

    Attributes
    ----------
    words : ndarray of shape (n_words,), int64
        What kernels are given. Where Numba does not compile, the groups themselves.
    """

    def __init__(self, form, *groups):
        self._groups = groups
        if not JIT:
            self.words = np.empty(1, dtype=object)
            self.words[0] = groups
            return
        words = []
        values = (value for group in groups for value in group)
        for kind, value in zip(form.kinds, values, strict=True):
            if kind.ndim:
                words += (value.__array_interface__["data"][0], *value.shape)
            else:
                words.append(_bits(value) if kind.dtype == "float64" else int(value))
        self.words = np.array(words, dtype=np.int64)


def _bits(number):
    """The integer of the same bits."""
    return int.from_bytes(struct.pack("=d", number), sys.byteorder, signed=True)
