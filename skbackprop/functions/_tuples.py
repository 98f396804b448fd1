"""Read numbers from memory into tuples: settings and constants of formulas by name, and the state of a parameter.

Formulas get named tuples, so they can also use the numbers by position. Neither leaves a trace in the machine code.
"""

import operator
from collections import namedtuple
from functools import cache

from skbackprop._compile import cgutils, native, types
from skbackprop.functions.elementary import number

__all__ = ["named_numbers", "state_access"]


@cache
def named_numbers(names, size, start=0):
    """Create a formula that reads consecutive numbers into a named tuple.

    Parameters
    ----------
    names : tuple of str
    size : int
        Minimum length of the tuple: numbers beyond the names are accessed by position.
    start : int, default=0
        Index of the first number.

    Returns
    -------
    named : formula
        ``named(numbers, like)`` reads from a pointer or an array and converts to the type of `like`, as `number` does.
    """
    n_numbers = max(size, len(names))
    kind = namedtuple("Numbers", [*names, *[""] * (n_numbers - len(names))], rename=True)

    def twin(numbers, like):
        return kind(*(number(numbers[start + k], like) for k in range(n_numbers)))

    def named(typing_context, numbers, like):
        item = typing_context.resolve_function_type(operator.getitem, (numbers, types.intp), {})
        made = types.NamedUniTuple(getattr(like, "dtype", like), n_numbers, kind)

        def build(context, builder, signature, args):
            load = context.get_function(operator.getitem, item)
            values = [load(builder, (args[0], cgutils.intp_t(start + k))) for k in range(n_numbers)]
            values = [context.cast(builder, value, item.return_type, made.dtype) for value in values]
            return context.make_tuple(builder, made, values)

        return made(numbers, like), build

    # The disk cache's key contains the names of the functions that a loop calls.
    named.__qualname__ = f"named({','.join(names)})"
    return native(twin)(named)


@cache
def state_access(n_slots):
    """Create formulas that read and write the optimizer state of a parameter.

    Parameters
    ----------
    n_slots : int

    Returns
    -------
    load : formula
        ``load(slots, i, stride)`` returns the tuple ``slots[i], slots[i + stride], ...``.
    store : formula
        ``store(slots, i, stride, made)`` writes the numbers of the tuple `made` from the second on.
    """

    def load_twin(slots, i, stride):
        return tuple(slots[i + k * stride] for k in range(n_slots))

    def store_twin(slots, i, stride, made):
        for k in range(n_slots):
            slots[i + k * stride] = made[1 + k]

    def places(builder, args):
        """Iterate over the indices of the slots."""
        place, stride = args[1:3]
        for _ in range(n_slots):
            yield place
            place = builder.add(place, stride)

    def load(typing_context, slots, i, stride):
        item = typing_context.resolve_function_type(operator.getitem, (slots, i), {})
        state = types.BaseTuple.from_types((item.return_type,) * n_slots)

        def build(context, builder, signature, args):
            get = context.get_function(operator.getitem, item)
            return context.make_tuple(
                builder, state, [get(builder, (args[0], place)) for place in places(builder, args)]
            )

        return state(slots, i, stride), build

    def store(typing_context, slots, i, stride, made):
        item = typing_context.resolve_function_type(operator.setitem, (slots, i, slots.dtype), {})

        def build(context, builder, signature, args):
            put = context.get_function(operator.setitem, item)
            for k, place in enumerate(places(builder, args), start=1):
                value = context.cast(builder, builder.extract_value(args[3], k), made.types[k], slots.dtype)
                put(builder, (args[0], place, value))
            return context.get_dummy_value()

        return types.void(slots, i, stride, made), build

    load.__qualname__ = store.__qualname__ = f"state({n_slots})"
    return native(load_twin)(load), native(store_twin)(store)
