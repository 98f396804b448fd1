"""Validation rows: the split, and the loss and score during training."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from skbackprop._sklearn import _safe_indexing
from skbackprop.backends.data import Rows, as_rows
from skbackprop.estimators._arrays import library_of
from skbackprop.estimators._on_disk import RowsOnDisk
from skbackprop.estimators._state import copy_state, state_attributes
from skbackprop.estimators._workers import is_any

__all__ = ["HeldOut", "Validation", "as_given", "first_split", "labels_like", "random_split", "scorer_of", "split_off"]


@dataclass
class HeldOut:
    """Validation rows.

    Parameters
    ----------
    rows : Rows
        Rows for the kernels.
    targets : ndarray of shape (n_rows, n_targets)
        Encoded targets, in the model's dtype.
    sample_weight : ndarray of shape (n_rows,) or None
        Sample weights, for the scorer given by `scoring`.
    loss_weight : ndarray of shape (n_rows,) or None
        Sample weights multiplied by class weights, for the loss and the estimator's own score.
    X : {ndarray, sparse matrix, dataframe} of shape (n_rows, n_features)
        Rows for scorers.
    y : ndarray
        Targets for scorers, not encoded.
    order : ndarray of int64 or None
        Indices of the rows in the training data; None for separate validation data.
    """

    rows: Rows
    targets: np.ndarray
    sample_weight: np.ndarray | None
    loss_weight: np.ndarray | None
    X: Any
    y: np.ndarray
    order: np.ndarray | None = None

    def emptied(self):
        """Return the same without rows, for a worker that has none."""
        weights = (None if weight is None else weight[:0] for weight in (self.sample_weight, self.loss_weight))
        return HeldOut(self.rows.part(0, 0), self.targets[:0], *weights, self.X[:0], self.y[:0], self.order)


class Validation:
    """Loss and score of the validation rows for the parameters being trained; a context manager.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        Network parameters, which training changes in place.
    running : ndarray of shape (n_running,)
        Running means and variances, which training changes in place.
    session : Session
        Session that holds the rows.
    order : ndarray of int64
        Indices of the rows in the session.
    score : callable
        Computes the score; called with the loss.
    owns_session : bool, default=False
        Whether to enter and exit the session with this object.
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
        """Compute score and loss.

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
    """Return a function that computes the score of the validation rows, given their loss.

    Parameters
    ----------
    model : BaseBackprop
    problem : Problem
    params : ndarray of shape (n_params,)
        Network parameters, which training changes in place.
    scorer : callable or None
        Scorer given by `scoring`, if that is not "loss"; None for the estimator's own score.

    Returns
    -------
    score : callable
    """
    held_out, targets = problem.held_out, model._targets
    if model.scoring == "loss":
        return np.negative
    weight = held_out.sample_weight
    if problem.workers is not None:
        return _score_of_all(model, problem, params, scorer)
    if scorer is None and _has_own(model, "predict", "score"):
        scorer, weight = check_scoring(model, scoring=None), held_out.loss_weight
    if scorer is None:

        def score_predictions(loss):
            predictions = problem.predict(held_out.rows, model.n_jobs, params)
            if not np.isfinite(predictions).all():
                return np.nan
            # With class weights: otherwise the score would select network weights that the loss does not aim at.
            return targets.score(held_out.targets, predictions, held_out.loss_weight)

        return score_predictions
    # Scorers get a copy of the estimator whose coefs_ are views of `params`; attributes that they set on it are lost.
    view = copy_state(model)
    vars(view).update(state_attributes(problem.network, params, problem.running))
    weights = {} if weight is None else {"sample_weight": weight}

    def score_view(loss):
        # Scorers raise errors for non-finite predictions; these have a non-finite loss.
        return float(scorer(view, held_out.X, held_out.y, **weights)) if np.isfinite(loss) else np.nan

    return score_view


def _score_of_all(model, problem, params, scorer):
    """Like `scorer_of`, for the rows of all workers."""
    held_out, targets = problem.held_out, model._targets
    if scorer is not None or _has_own(model, "predict", "score"):
        raise ValueError(
            f"scoring={model.scoring!r} scores rows of one machine, and the validation rows are on several: set scoring=None for the "
            "estimator's own score, or scoring='loss'"
        )

    def score_predictions(loss):
        n_outputs = problem.network.layer_units[-1]
        predictions = np.empty((0, n_outputs), dtype=params.dtype)
        if len(held_out.targets):
            predictions = problem.predict(held_out.rows, model.n_jobs, params)
        if is_any(~np.isfinite(predictions), problem.workers):
            return np.nan
        return targets.score_of_all(held_out.targets, predictions, held_out.loss_weight, problem.workers)

    return score_predictions


def _has_own(estimator, *methods):
    """Whether a user's subclass overrides one of these methods."""
    return not all(getattr(type(estimator), name).__module__.startswith("skbackprop.") for name in methods)


def as_given(given, validated):
    """Return data for scorers: the given dataframe, to keep column names, otherwise the validated array."""
    return given if hasattr(given, "columns") else validated


def labels_like(X, y):
    """Return targets for scorers: a single column raveled, and numbers in the array library of `X`."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    library = library_of(X)
    return y if library is None or y.dtype.kind not in "biuf" else library.take(y)


def split_off(inputs, fraction, random_state, workers=None):
    """Split the rows into training and validation rows.

    Parameters
    ----------
    inputs : Inputs
    fraction : float or splitter
        The estimator's `validation_fraction`.
    random_state : numpy.random.RandomState
    workers : Collective or None, default=None
        Workers that split off rows of their own.

    Returns
    -------
    train_rows : ndarray of int64
    held_out : HeldOut

    Raises
    ------
    ValueError
        If the split fails, or if all rows of one part have zero weight.
    """
    if workers is not None:
        train_rows, rows = _own_split(inputs, fraction, random_state, workers)
    elif isinstance(fraction, Real):
        train_rows, rows = random_split(inputs.targets, inputs.encoded, fraction, random_state)
    else:
        train_rows, rows = first_split(fraction, inputs.X, inputs.y, inputs.arguments.groups)
    if isinstance(inputs.X, RowsOnDisk):
        # As they are read from there.
        train_rows, rows = np.sort(train_rows), np.sort(rows)
    sample_weight, loss_weight = inputs.arguments.sample_weight, inputs.loss_weight
    for side, place in ((train_rows, "outside"), (rows, "in")):
        if loss_weight is not None and not is_any(loss_weight[side], workers):
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


def _own_split(inputs, fraction, random_state, workers):
    """Draw training and validation rows of one of several workers, which may have few of a class, or none at all."""
    if not isinstance(fraction, Real):
        raise ValueError(
            f"validation_fraction={fraction!r} splits rows of one machine, and these are on several workers: set it to a number, or "
            "give X_val"
        )
    n_rows = inputs.n_own
    order = np.arange(n_rows)
    try:
        train_rows, rows = random_split(inputs.targets, inputs.encoded[:n_rows], fraction, random_state)
    except ValueError:  # too few rows for a part of each class
        random_state.shuffle(order)
        n_validation = min(int(np.ceil(fraction * n_rows)), max(n_rows - 1, 0))
        train_rows, rows = np.split(order, [n_rows - n_validation])
    n_train, n_validation = workers.total([len(train_rows), len(rows)])
    if n_train < 1 or n_validation < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train_rows, rows


def random_split(targets, encoded, fraction, random_state):
    """Draw training and validation rows, as scikit-learn's MLPs do.

    Parameters
    ----------
    targets : Targets
        Kind of the targets.
    encoded : ndarray of shape (n_rows, n_columns)
    fraction : float
    random_state : numpy.random.RandomState

    Returns
    -------
    train_rows, validation_rows : ndarray of int64

    Raises
    ------
    ValueError
        If there are too few rows, in total or of a class.
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
    """Return the rows of a splitter's first split.

    Parameters
    ----------
    splitter : object
        scikit-learn splitter, with a method `split`.
    X, y, groups
        Arguments of `split`.

    Returns
    -------
    train_rows, validation_rows : ndarray of int64

    Raises
    ------
    ValueError
        If the splitter yields no split or an unusable one.
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
