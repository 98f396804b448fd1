"""One worker's part in a fit."""

from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from skbackprop.estimators._fit import Arguments
from skbackprop.estimators._on_disk import RowsOnDisk
from skbackprop.estimators._worker_checkpoints import WorkerCheckpoints
from skbackprop.estimators._workers import check_agreement

__all__ = ["fit_part"]

# Other versions may make other bits of the same numbers, with which updates would drift apart.
_PACKAGES = ("skbackprop", "numba", "numpy", "scipy", "scikit-learn")


def fit_part(
    estimator,
    workers,
    X,
    y,
    sample_weight=None,
    *,
    X_val=None,
    y_val=None,
    sample_weight_val=None,
    store=None,
    seconds=np.inf,
):
    """Fit an estimator to the rows of all workers, of which each calls this function with its own.

    Parameters
    ----------
    estimator : BaseBackprop
        The same on all workers. Its callbacks are not called.
    workers : Collective
    X : {ndarray, sparse matrix, dataframe, RowsOnDisk} of shape (n_rows, n_features)
        This worker's rows. There may be none.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
    sample_weight : ndarray of shape (n_rows,) or None, default=None
        None on all workers, or on none; as the following ones.
    X_val, y_val, sample_weight_val : default=None
        This worker's validation data, of which there may be none either.
    store : object or None, default=None
        Keeps this worker's checkpoints; see `WorkerCheckpoints`. None on all workers, or on none. If there are any of an
        earlier attempt at this training, it goes on from the newest one, with the same result as if there were none.
    seconds : float, default=inf
        Least time between two checkpoints of this worker; infinite for none.

    Returns
    -------
    estimator : BaseBackprop
        Fitted; bitwise the same on all workers.

    Raises
    ------
    ValueError
        If an argument of any worker is invalid; that worker raises the error, and the others `WorkerLostError`.
    WorkerLostError
        If another worker has left.
    """
    on_disk = [rows for rows in (X, X_val) if isinstance(rows, RowsOnDisk)]
    if workers.size == 1 and not on_disk:
        return estimator.fit(X, y, sample_weight, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val)
    check_agreement(workers, versions=", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    estimator._validate_params()
    arguments = Arguments(X, y, sample_weight, X_val, y_val, sample_weight_val)
    arguments = _with_rows(arguments, workers, "")
    if any(workers.gather(X_val is not None)):
        arguments = _with_rows(arguments, workers, "_val")
    checkpoints = None
    if store is not None and estimator.solver != "lbfgs":
        checkpoints = WorkerCheckpoints(workers, store, seconds)
    with ExitStack() as stack:
        for rows in on_disk:
            stack.enter_context(rows)
        return estimator._fit(arguments, workers=workers, checkpoints=checkpoints)


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # a source tree that is not installed
        return "from sources"


def _with_rows(arguments, workers, suffix):
    """Lend a row to a worker without rows, so that its data can be validated as all others'."""
    names = [f"X{suffix}", f"y{suffix}", f"sample_weight{suffix}"]
    given = [getattr(arguments, name) for name in names]
    n_rows = 0 if given[0] is None else given[0].shape[0]
    lent = workers.gather([None if array is None else array[:1] for array in given] if n_rows else None)
    lent = next((rows for rows in lent if rows is not None), None)
    if lent is None:
        raise ValueError(f"X{suffix} has no rows on any worker")
    if n_rows:
        return arguments
    if lent[2] is not None:
        # A positive one, because zeros alone might be refused.
        lent[2] = np.ones(1)
    return replace(arguments, **dict(zip(names, lent, strict=True)), **{f"borrowed{suffix}": True})
