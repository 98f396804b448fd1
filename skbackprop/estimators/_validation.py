"""Rows that are kept from training to see how it goes."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from skbackprop._sklearn import _safe_indexing
from skbackprop.backends.data import Rows, as_rows
from skbackprop.estimators._arrays import library_of
from skbackprop.estimators._state import copy_state, state_attributes

__all__ = ["HeldOut", "Validation", "as_given", "first_split", "labels_like", "random_split", "scorer_of", "split_off"]


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


def scorer_of(model, problem, params, scorer):
    """The score of the validation rows for some weights, as a function of their loss.

    Parameters
    ----------
    model : BaseBackprop
    problem : Problem
    params : ndarray of shape (n_params,)
        The weights, which training changes.
    scorer : callable or None
        The one that the user chose, if `scoring` is not "loss"; None for the estimator's own score.

    Returns
    -------
    score : callable
    """
    held_out, targets = problem.held_out, model._targets
    if model.scoring == "loss":
        return np.negative
    weight = held_out.sample_weight
    if scorer is None and _has_own(model, "predict", "score"):
        scorer, weight = check_scoring(model, scoring=None), held_out.loss_weight
    if scorer is None:

        def score_predictions(loss):
            predictions = problem.predict(held_out.rows, model.n_jobs, params)
            if not np.isfinite(predictions).all():
                return np.nan
            # With the classes' factors: the score would otherwise choose weights against them.
            return targets.score(held_out.targets, predictions, held_out.loss_weight)

        return score_predictions
    # A view of the estimator: its coefs_ are those being trained, or their average, and what a scorer sets on it is lost.
    view = copy_state(model)
    vars(view).update(state_attributes(problem.network, params, problem.running))
    weights = {} if weight is None else {"sample_weight": weight}

    def score_view(loss):
        # Scorers are not made for predictions that are not finite, of which the loss tells.
        return float(scorer(view, held_out.X, held_out.y, **weights)) if np.isfinite(loss) else np.nan

    return score_view


def _has_own(estimator, *methods):
    """Whether a subclass of a user's has one of these methods of its own."""
    return not all(getattr(type(estimator), name).__module__.startswith("skbackprop.") for name in methods)


def as_given(given, validated):
    """Data for scorers: the user's own DataFrame, with its names, otherwise what validation made of it."""
    return given if hasattr(given, "columns") else validated


def labels_like(X, y):
    """Targets for scorers: a single column in one dimension, and in the library of validated data if it has such a type."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    library = library_of(X)
    return y if library is None or y.dtype.kind not in "biuf" else library.take(y)


def split_off(inputs, fraction, random_state):
    """The rows to train on, and those kept from training.

    Parameters
    ----------
    inputs : Inputs
    fraction : float or splitter
        The estimator's `validation_fraction`.
    random_state : numpy.random.RandomState

    Returns
    -------
    train_rows : ndarray of int64
    held_out : HeldOut

    Raises
    ------
    ValueError
        If there is no such split, or if the rows of one side weigh nothing.
    """
    if isinstance(fraction, Real):
        train_rows, rows = random_split(inputs.targets, inputs.encoded, fraction, random_state)
    else:
        train_rows, rows = first_split(fraction, inputs.X, inputs.y, inputs.arguments.groups)
    sample_weight, loss_weight = inputs.arguments.sample_weight, inputs.loss_weight
    for side, place in ((train_rows, "outside"), (rows, "in")):
        if loss_weight is not None and not loss_weight[side].any():
            raise ValueError(
                f"sample_weight is zero for every sample {place} early stopping's validation set; weigh more samples, "
                f"or change validation_fraction={fraction} or random_state"
            )
    X = inputs.X
    held_out = HeldOut(
        as_rows(X[rows] if library_of(X) is None else _safe_indexing(X, rows), inputs.dtype),
        inputs.encoded[rows],
        None if sample_weight is None else sample_weight[rows],
        None if loss_weight is None else loss_weight[rows],
        _safe_indexing(as_given(inputs.arguments.X, X), rows),
        labels_like(X, inputs.y[rows]),
        rows,
    )
    return train_rows, held_out


def random_split(targets, encoded, fraction, random_state):
    """Rows for training and for validation, drawn as scikit-learn draws them.

    Parameters
    ----------
    targets : Targets
        The kind of targets.
    encoded : ndarray of shape (n_rows, n_columns)
    fraction : float
    random_state : numpy.random.RandomState

    Returns
    -------
    train_rows, validation_rows : ndarray of int64

    Raises
    ------
    ValueError
        If there are too few rows, or too few of a class.
    """
    strata = targets.stratification(encoded, fraction)
    try:
        train_rows, validation_rows = train_test_split(
            np.arange(len(encoded)), random_state=random_state, test_size=fraction, stratify=strata
        )
    except ValueError as error:
        rare = [] if strata is None else targets.rare_classes(strata)
        named = f" (in the words of y: {', '.join(rare)})" if rare else ""
        raise ValueError(f"early_stopping=True could not split off a validation set: {error}{named}") from error
    if len(validation_rows) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train_rows, validation_rows


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
