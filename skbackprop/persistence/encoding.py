"""Python values as JSON and arrays, and back, restricted to the kinds listed here, so that nothing else can be created.

JSON's own values represent themselves; anything else is a JSON object whose first key names its kind. Arrays of numbers
are stored outside of the JSON, which holds their names.
"""

import numpy as np

import skbackprop.functions as functions
from skbackprop.exceptions import ModelFileError
from skbackprop.functions._function import Function

__all__ = ["decode", "encode"]

_NUMBERS = "biuf"

# Memory that an array of strings may take beyond the characters that it holds.
_SLACK_BYTES = 1 << 24


def encode(value, path, arrays, other):
    """Encode a value as JSON.

    Parameters
    ----------
    value : object
    path : str
        Prefix of the names of arrays.
    arrays : dict of ndarray
        Arrays in the value are added to it.
    other : callable
        Returns the JSON of a value of another kind, given the value and its path.

    Returns
    -------
    tree : object
        Values that JSON can represent.
    """

    def inner(value, name):
        return encode(value, f"{path}.{name}", arrays, other)

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [inner(item, index) for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [inner(item, index) for index, item in enumerate(value)]}
    if type(value) is dict:
        if all(type(key) is str for key in value):
            return {"map": {key: inner(item, key) for key, item in value.items()}}
        return {"dict": [[inner(key, "key"), inner(item, index)] for index, (key, item) in enumerate(value.items())]}
    if isinstance(value, np.generic) and value.dtype.kind in _NUMBERS:
        return {"number": value.item(), "dtype": value.dtype.str}
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return _encode_array(value, path, arrays, other)
    if isinstance(value, Function) and type(value) is getattr(functions, type(value).__name__, None):
        return {"function": type(value).__name__, "parameters": inner(value.get_params(deep=False), "settings")}
    if type(value) is np.random.RandomState:
        return {"random_state": inner(value.get_state(legacy=True), "state")}
    return other(value, path)


def _encode_array(array, path, arrays, other):
    dtype = array.dtype
    if dtype.kind in "UO" and all(type(item) in (str, np.str_) for item in array.ravel()):
        return {"strings": array.ravel().tolist(), "shape": list(array.shape), "dtype": dtype.str}
    # The file format lacks long double, and no fitted array has this dtype.
    if dtype.kind not in _NUMBERS or dtype.itemsize > 8:
        return other(array, path)
    arrays[path] = array.astype(dtype.newbyteorder("="))
    return {"array": path, "dtype": dtype.str}


def decode(tree, arrays, other):
    """Decode the result of `encode`.

    Parameters
    ----------
    tree : object
    arrays : dict of ndarray
    other : callable
        Returns the value of an object of another kind, given its dict.

    Returns
    -------
    value : object

    Raises
    ------
    ModelFileError
        If the tree does not represent a value.
    """

    def inner(tree):
        return decode(tree, arrays, other)

    if isinstance(tree, list):
        return [inner(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    try:
        match next(iter(tree), None):
            case "tuple":
                return tuple(inner(item) for item in tree["tuple"])
            case "map":
                return {key: inner(item) for key, item in tree["map"].items()}
            case "dict":
                return {inner(key): inner(item) for key, item in tree["dict"]}
            case "number":
                return _number_type(tree["dtype"]).type(tree["number"])
            case "strings":
                dtype = np.dtype(tree["dtype"])
                strings = tree["strings"]
                are_strings = all(type(item) is str for item in strings)
                # Strings of a fixed size take it each, however short they are.
                n_bytes = dtype.itemsize * len(strings) if dtype.kind == "U" else 0
                # Negative in versions of NumPy in which it overflows.
                is_small = are_strings and 0 <= n_bytes <= 4 * sum(map(len, strings)) + _SLACK_BYTES
                if dtype.kind not in "UO" or not is_small:
                    raise ModelFileError(f"the header has strings of type {tree['dtype']!r}")
                return np.array(strings, dtype=object).astype(dtype).reshape(tree["shape"])
            case "array":
                array, dtype = arrays[tree["array"]], _number_type(tree["dtype"])
                if array.dtype != dtype.newbyteorder("="):
                    raise ModelFileError(f"array {tree['array']!r} is of type {array.dtype}, not {dtype}")
                return array.astype(dtype, copy=False)
            case "function":
                if tree["function"] not in functions.__all__:
                    raise ModelFileError(f"the header names {tree['function']!r}, which is no function of skbackprop")
                function = getattr(functions, tree["function"])(**inner(tree["parameters"]))
                function._validate_params()
                return function
            case "random_state":
                random_state = np.random.RandomState()
                random_state.set_state(inner(tree["random_state"]))
                return random_state
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"the header has a value that skbackprop did not write: {error!r}") from error
    return other(tree)


def _number_type(name):
    dtype = np.dtype(name)
    if dtype.kind not in _NUMBERS:
        raise ModelFileError(f"the header has numbers of type {name!r}")
    return dtype
