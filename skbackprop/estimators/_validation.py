"""Rows that are kept from training to see how it goes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbackprop.backends.data import Rows

__all__ = ["HeldOut", "Validation", "first_split"]


@dataclass
class HeldOut:
    """Validation rows.

    Parameters
    ----------
    rows : Rows
        The rows, as kernels take them.
    targets : ndarray of shape (n_rows, n_targets)
        In the model's dtype.
    sample_weight : ndarray of shape (n_rows,) or None
        The samples' own weights, for scorers that the user chose.
    loss_weight : ndarray of shape (n_rows,) or None
        The same with the classes' factors, for losses and the estimator's own score.
    X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)
        The rows, as scorers take them.
    y : ndarray
        The targets in the user's words, for scorers.
    order : ndarray of int64 or None
        Where the rows stand in the training data; None if they are not among them.
    """

    rows: Rows
    targets: np.ndarray
    sample_weight: np.ndarray | None
    loss_weight: np.ndarray | None
    X: Any
    y: np.ndarray
    order: np.ndarray | None = None


class Validation:
    """Loss and score of validation rows for the weights that are being trained; a context manager.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        The weights, which training changes.
    running : ndarray of shape (n_running,)
        Running means and variances, which it changes, too.
    session : Session
        One that holds the rows.
    order : ndarray of int64
        Where.
    score : callable
        From the loss of the rows to their score.
    owns_session : bool, default=False
        Whether the session has no other use, and is entered and left with this object.
    """

    def __init__(self, params, running, session, order, score, owns_session=False):
        self._params = params
        self._running = running
        self._session = session
        self._order = order
        self._score = score
        self._owns_session = owns_session

    def __enter__(self):
        if self._owns_session:
            self._session.__enter__()
        return self

    def __exit__(self, *exception):
        if self._owns_session:
            self._session.__exit__(*exception)

    def __call__(self):
        """Measure.

        Returns
        -------
        score : float
            NaN if a prediction or the loss is not finite.
        loss : float
            Weighted mean over the rows, without penalty.
        """
        loss = self._session.loss(self._order, self._params, self._running)
        return float(self._score(loss)), loss


def first_split(splitter, X, y, groups):
    """The rows of a splitter's first split.

    Parameters
    ----------
    splitter : object
        One of scikit-learn's kind, with a method `split`.
    X, y, groups
        Its arguments.

    Returns
    -------
    train_rows, validation_rows : ndarray of int64

    Raises
    ------
    ValueError
        If there is no split, or if it cannot be used.
    """
    name = f"validation_fraction={splitter!r}"
    try:
        sides = next(iter(splitter.split(X, y, groups)), None)
    except ValueError as error:
        raise ValueError(f"{name} could not split off a validation set: {error}") from error
    if sides is None:
        raise ValueError(f"{name} gives no split")
    train_rows, validation_rows = (np.asarray(side) for side in sides)
    for rows in (train_rows, validation_rows):
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                f"{name} has to give positions of rows, got an array of {rows.dtype} and shape {rows.shape}"
            )
        if rows.size and not 0 <= rows.min() <= rows.max() < X.shape[0]:
            raise ValueError(f"{name} gives rows from {rows.min()} to {rows.max()}, but X has {X.shape[0]}")
    n_common = np.intersect1d(train_rows, validation_rows).size
    if n_common:
        raise ValueError(f"{name} gives {n_common} rows both for training and for validation")
    if len(train_rows) < 1 or len(validation_rows) < 2:
        raise ValueError(
            f"{name} gives {len(train_rows)} rows for training and {len(validation_rows)} for validation; at least 1 and 2 are needed"
        )
    return train_rows.astype(np.int64), validation_rows.astype(np.int64)
