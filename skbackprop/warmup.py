"""Compile everything ahead of the first fit."""

import warnings

import numpy as np
from scipy import sparse

__all__ = ["warmup"]


def warmup(dtypes=("float32", "float64")):
    """Compile the kernels, or load them from the disk cache, before they are needed.

    For container images, servers and benchmarks: a first fit then takes no longer than a second one.

    Parameters
    ----------
    dtypes : iterable of {"float32", "float64"}, default=("float32", "float64")
        The dtypes that will be used.

    Examples
    --------
    >>> import skbackprop
    >>> skbackprop.warmup(dtypes=["float64"])
    """
    from skbackprop.estimators import BackpropRegressor

    X = np.eye(4)
    y = np.arange(4.0)
    for dtype in dtypes:
        # Dense and sparse input share their kernels; a large array would differ in its index type only.
        model = BackpropRegressor(hidden_layer_sizes=(2,), max_iter=1, dtype=dtype, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(sparse.csr_array(X), y).predict(X)
