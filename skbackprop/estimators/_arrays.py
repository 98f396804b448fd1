"""Array API support: input of other libraries, such as PyTorch and CuPy, and output of the same kind.

As in scikit-learn, arrays keep their library if ``array_api_dispatch`` is set; otherwise they are converted to NumPy.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn import get_config

from skbackprop._sklearn import _is_numpy_namespace, get_namespace_and_device, move_to
from skbackprop.backends import gpu_of
from skbackprop.estimators._shared import SharedRows

__all__ = ["Library", "as_numpy", "brought", "library_of", "refuse_misread"]


class Library(NamedTuple):
    """The library and the device of an array.

    Parameters
    ----------
    xp : module
        Array API namespace.
    device : object
        Device of this library.
    """

    xp: Any
    device: Any

    def take(self, array):
        """Convert an array of NumPy or of this library to this library and device, without a copy if possible."""
        return move_to(array, xp=self.xp, device=self.device)

    def float_types(self, dtype):
        """Return the library's dtype of this name; for None, its float64 and float32."""
        return (self.xp.float64, self.xp.float32) if dtype is None else getattr(self.xp, dtype)

    def empty(self, shape, dtype):
        """Allocate an uninitialized array of a NumPy dtype."""
        return self.xp.empty(shape, dtype=getattr(self.xp, np.dtype(dtype).name), device=self.device)


def library_of(array):
    """Return the library and the device of an array.

    Parameters
    ----------
    array : object
        Input data.

    Returns
    -------
    library : Library or None
        None for NumPy arrays, lists, sparse matrices and dataframes, and for everything if dispatch is off.
    """
    # Every prediction calls this: the cheap checks come first.
    if isinstance(array, np.ndarray | SharedRows) or not get_config()["array_api_dispatch"]:
        return None
    xp, _, device = get_namespace_and_device(array)
    return None if _is_numpy_namespace(xp) else Library(xp, device)


def as_numpy(array):
    """Convert an array of another library to NumPy, without a copy if memory can be shared; return other data as is."""
    return array if library_of(array) is None else move_to(array, xp=np, device="cpu")


def brought(X, device):
    """Return data that kernels can read: GPU arrays as they are if `device` is a GPU, otherwise NumPy arrays."""
    return X if device != "cpu" and gpu_of(X) is not None else as_numpy(X)


def _refuse_undispatched(**arrays):
    """Raise TypeError for GPU arrays if `array_api_dispatch` is not set."""
    for name, array in arrays.items():
        if gpu_of(array) is not None and not get_config()["array_api_dispatch"]:
            raise TypeError(
                f"{name} is an array on a GPU, and NumPy arrays are expected: to give the arrays of other libraries, and to "
                "get the same kind back, set the environment variable SCIPY_ARRAY_API=1 before scipy is imported, and call "
                f"sklearn.set_config(array_api_dispatch=True); or copy {name} to the host"
            )


def refuse_misread(**arrays):
    """Raise TypeError for masked arrays and dates, which scikit-learn would read as plain numbers, and lazy frames."""
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
    """Whether an array, or any column of a dataframe, has a date or duration type."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind in "mM"
    types = getattr(array, "dtypes", None)  # pandas and polars: a DataFrame's column dtypes; a pandas Series' own dtype
    types = [getattr(array, "dtype", None)] if types is None else types
    types = [types] if not hasattr(types, "__iter__") else types
    return any(
        getattr(kind, "kind", "") in ("m", "M") or (hasattr(kind, "is_temporal") and kind.is_temporal())
        for kind in types
    )
