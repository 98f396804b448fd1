"""Arrays of other libraries, such as PyTorch and CuPy: in, and the same kind out.

scikit-learn's convention holds: they are taken as what they are where ``array_api_dispatch`` is set, otherwise as NumPy arrays.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn import get_config

from skbackprop._sklearn import _is_numpy_namespace, get_namespace_and_device, move_to
from skbackprop.backends import gpu_of
from skbackprop.estimators._shared import SharedRows

__all__ = ["Library", "as_numpy", "brought", "library_of", "refuse_misread"]


class Library(NamedTuple):
    """Where an array comes from.

    Parameters
    ----------
    xp : module
        The library, with the names of the array API.
    device : object
        One of its devices.
    """

    xp: Any
    device: Any

    def take(self, array):
        """An array of NumPy's, or of this library, as one of this library on this device; without a copy where there is a way."""
        return move_to(array, xp=self.xp, device=self.device)

    def float_types(self, dtype):
        """The library's types for a name, or for None the two that networks have."""
        return (self.xp.float64, self.xp.float32) if dtype is None else getattr(self.xp, dtype)

    def empty(self, shape, dtype):
        """A new array of a NumPy dtype, not initialised."""
        return self.xp.empty(shape, dtype=getattr(self.xp, np.dtype(dtype).name), device=self.device)


def library_of(array):
    """Where an array comes from.

    Parameters
    ----------
    array : object
        Data as users give them.

    Returns
    -------
    library : Library or None
        None for what NumPy takes: its own arrays, lists, sparse matrices, data frames; and for everything without dispatch.
    """
    # Asked for each prediction.
    if isinstance(array, np.ndarray | SharedRows) or not get_config()["array_api_dispatch"]:
        return None
    xp, _, device = get_namespace_and_device(array)
    return None if _is_numpy_namespace(xp) else Library(xp, device)


def as_numpy(array):
    """An array of another library as one of NumPy's, without a copy where both can share memory; all else as it is."""
    return array if library_of(array) is None else move_to(array, xp=np, device="cpu")


def brought(X, device):
    """Data where kernels can read them: arrays on the GPU that computes as they are, those of other libraries as NumPy's."""
    return X if device != "cpu" and gpu_of(X) is not None else as_numpy(X)


def _refuse_undispatched(**arrays):
    """Raise TypeError for arrays on a GPU where nothing says that they are to be taken as they are."""
    for name, array in arrays.items():
        if gpu_of(array) is not None and not get_config()["array_api_dispatch"]:
            raise TypeError(
                f"{name} is an array on a GPU, and NumPy arrays are expected: to give the arrays of other libraries, and to "
                "get the same kind back, set the environment variable SCIPY_ARRAY_API=1 before scipy is imported, and call "
                f"sklearn.set_config(array_api_dispatch=True); or copy {name} to the host"
            )


def refuse_misread(**arrays):
    """Raise TypeError for what scikit-learn's validation would take for plain numbers, masked arrays and dates, or cannot take."""
    _refuse_undispatched(**arrays)
    for name, array in arrays.items():
        if type(array).__name__ == "LazyFrame":
            raise TypeError(f"{name} is a LazyFrame, which holds no data yet: give {name}.collect()")
        if _has_dates(array):
            raise TypeError(
                f"{name} has dates or durations, which are no numbers: turn them into some, for example into the days since the first "
                "one, or into columns for year, month and weekday"
            )
        if np.ma.isMaskedArray(array):
            raise TypeError(
                f"{name} is a masked array, whose mask would be lost; fill it first, for example with "
                f"{name}.filled(np.nan) and an imputer"
            )


def _has_dates(array):
    """Whether the columns of an array or of a DataFrame have such a type."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind in "mM"
    types = getattr(array, "dtypes", None)  # of a DataFrame, pandas' or polars'; of a Series, its own
    types = [getattr(array, "dtype", None)] if types is None else types
    types = [types] if not hasattr(types, "__iter__") else types
    return any(
        getattr(kind, "kind", "") in ("m", "M") or (hasattr(kind, "is_temporal") and kind.is_temporal())
        for kind in types
    )
