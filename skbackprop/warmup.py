"""Compilation ahead of the first fit."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier

__all__ = ["warmup"]


def warmup(*estimators, dtypes=("float32", "float64")):
    """Compile the kernels that estimators need, or load them from the disk cache, ahead of time.

    For container images, servers and benchmarks: the first fit then takes no longer than the second one. Activations,
    losses and solvers are compiled when they are first used, so pass estimators with those that will be used.

    Parameters
    ----------
    *estimators : BackpropClassifier or BackpropRegressor
        Estimators with the parameters that will be used; if none is given, both with all defaults.
    dtypes : iterable of {"float32", "float64"}, default=("float32", "float64")
        The dtypes that will be used.

    Examples
    --------
    >>> import skbackprop
    >>> skbackprop.warmup(dtypes=["float64"])
    >>> skbackprop.warmup(skbackprop.BackpropClassifier(activation="tanh", solver="lbfgs"), dtypes=["float32"])
    """
    from skbackprop.backends.cpu.calls import compile_steps
    from skbackprop.estimators import BackpropClassifier, BackpropRegressor

    X = np.eye(6)
    for estimator in estimators or (BackpropClassifier(), BackpropRegressor()):
        # Binary and multiclass targets have different losses.
        for y in ([1, 2, 3, 1, 2, 3], [1, 2, 1, 2, 1, 2])[: 2 if is_classifier(estimator) else 1]:
            for dtype in dtypes:
                model = clone(estimator).set_params(dtype=dtype, max_iter=1, early_stopping=False)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    for rows in (X, sparse.csr_array(X)):
                        model.fit(rows, y).predict(rows)
    for dtype in dtypes:
        compile_steps(np.dtype(dtype))
