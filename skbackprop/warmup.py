"""Compilation ahead of the first fit."""

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted

__all__ = ["warmup"]


# Numbers of rows with different steps: a single one, few, and so many that weights are packed.
_ROWS = (1, 2, 100, 1000)


def warmup(*estimators: Any, dtypes: Any = ("float32", "float64"), predict_only: bool = False) -> None:
    """Compile the kernels that estimators need, or load them from the disk cache, ahead of time.

    For container images, servers and benchmarks: the first fit then takes no longer than the second one. Activations,
    losses and solvers are compiled when they are first used, so pass estimators with those that will be used.

    Parameters
    ----------
    *estimators : BackpropClassifier or BackpropRegressor
        Estimators with the parameters that will be used; if none is given, both with all defaults.
    dtypes : iterable of {"float32", "float64"}, default=("float32", "float64")
        The dtypes that will be used.
    predict_only : bool, default=False
        Prepare only predictions, for which estimators have to be fitted: for servers that load a model. Takes a tenth
        of the time. The dtype is the model's.

    Raises
    ------
    ValueError
        If `predict_only` is set without estimators.
    sklearn.exceptions.NotFittedError
        If `predict_only` is set and an estimator is not fitted.

    Examples
    --------
    >>> import skbackprop
    >>> skbackprop.warmup(dtypes=["float64"])
    >>> skbackprop.warmup(skbackprop.BackpropClassifier(activation="tanh", solver="lbfgs"), dtypes=["float32"])
    """
    from skbackprop.backends.cpu.calls import compile_steps
    from skbackprop.estimators import BackpropClassifier, BackpropRegressor

    if predict_only:
        _warm_up_predictions(estimators)
        return
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


def _warm_up_predictions(estimators):
    from skbackprop.backends.cpu.calls import compile_steps

    if not estimators:
        raise ValueError("predict_only=True needs fitted estimators: warmup(model, predict_only=True)")
    for estimator in estimators:
        check_is_fitted(estimator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows without the names of features
            for n_rows in _ROWS:
                X = np.zeros((n_rows, estimator.n_features_in_), dtype=estimator.coefs_[0].dtype)
                estimator.predict(X)
                if hasattr(estimator, "decision_function"):
                    estimator.decision_function(X)
        compile_steps(estimator.coefs_[0].dtype, predict_only=True)
