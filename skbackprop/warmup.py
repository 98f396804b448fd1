"""Compile everything ahead of the first fit."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier

__all__ = ["warmup"]


def warmup(*estimators, dtypes=("float32", "float64")):
    """Compile what estimators need, or load it from the disk cache, before it is needed.

    For container images, servers and benchmarks: a first fit then takes no longer than a second one. Activations, losses and
    solvers are compiled when they are first used, so name estimators with those that will be.

    Parameters
    ----------
    *estimators : BackpropClassifier or BackpropRegressor
        Estimators whose parameters will be used; none for both with all defaults.
    dtypes : iterable of {"float32", "float64"}, default=("float32", "float64")
        The dtypes that will be used.

    Examples
    --------
    >>> import skbackprop
    >>> skbackprop.warmup(dtypes=["float64"])
    >>> skbackprop.warmup(skbackprop.BackpropClassifier(activation="tanh", solver="lbfgs"), dtypes=["float32"])
    """
    from skbackprop.estimators import BackpropClassifier, BackpropRegressor

    X = np.eye(6)
    for estimator in estimators or (BackpropClassifier(), BackpropRegressor()):
        # Two classes and several have losses of their own.
        for y in ([1, 2, 3, 1, 2, 3], [1, 2, 1, 2, 1, 2])[: 2 if is_classifier(estimator) else 1]:
            for dtype in dtypes:
                model = clone(estimator).set_params(dtype=dtype, max_iter=1, early_stopping=False)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    for rows in (X, sparse.csr_array(X)):
                        model.fit(rows, y).predict(rows)
