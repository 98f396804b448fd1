"""Kinds of targets: numbers, one column of classes, multilabel indicators, or several columns of classes.

Each kind is a class. Its objects encode targets for the kernels and decode predictions. They choose the form of the
loss, the strata of a split, the outputs that predict class frequencies or means, and the score.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from skbackprop._sklearn import get_namespace, indexing_dtype
from skbackprop.estimators._arrays import as_numpy, library_of
from skbackprop.estimators._class_weight import class_factors
from skbackprop.estimators._labels import refuse_other_classes, unknown_labels
from skbackprop.estimators._workers import average, count, weighted_sums
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions.links import REALS
from skbackprop.functions.losses import LOSSES, LogLoss, Loss, Quantile, loss_link
from skbackprop.training.diagnosis import badly_placed
from skbackprop.training.warned import warn

__all__ = ["CLASS_TARGETS", "ColumnsOfClasses", "Numbers", "Targets", "find_classes", "gives_proba", "one_dimension"]

# For the diagnosis after training: number of sampled rows, and the distance from the median up to which a quantile's
# predictions are expected near the mean.
_SAMPLE_ROWS = 1000
_NEAR_MEDIAN = 0.1

# Warn if adjacent floating-point predictions are further apart than this fraction of the targets' standard deviation:
# rounding then causes errors of a few percent.
_LARGEST_STEP = 1 / 8


def one_dimension(y):
    """Ravel validated targets of a single column, with a warning; return others as they are."""
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def gives_proba(loss):
    """Whether a loss, given as a name or an object, has probabilities."""
    # Every prediction calls this.
    return _named_gives_proba(loss) if isinstance(loss, str) else _gives_proba(LOSSES.get_function(loss))


def _gives_proba(loss):
    return all(kind.has_proba for kind in loss.kinds().values())


@lru_cache
def _named_gives_proba(loss):
    return _gives_proba(LOSSES[loss])


def _loss_key(loss, task):
    """Return the key of a loss, given as a name or an object, for a task."""
    if not isinstance(loss, str):
        return LOSSES.get_function(loss).for_task(task).key()
    return _named_loss_key(loss, task)


@lru_cache
def _named_loss_key(loss, task):
    return LOSSES[loss]().for_task(task).key()


@dataclass(eq=False)
class Targets(ABC):
    """Base class of the kinds of targets.

    Parameters
    ----------
    loss : str or Loss
        The estimator's parameter.
    """

    loss: str | Loss

    #: Properties of the loss that determine the meaning of the outputs; a fitted network needs the same ones.
    outputs_form = None

    @property
    @abstractmethod
    def attributes(self):
        """Fitted attributes by name, from which this object can be recreated."""

    @abstractmethod
    def loss_key(self):
        """Return the key of the loss, in its form for these targets."""

    @abstractmethod
    def n_outputs(self, n_columns):
        """Return the number of output units for `n_columns` columns of encoded targets."""

    @abstractmethod
    def read(self, y, name, same=False):
        """Encode validated targets.

        Parameters
        ----------
        y : ndarray
        name : {"y", "y_val"}
            Name of the argument in error messages.
        same : bool, default=False
            Whether every class has to occur.

        Returns
        -------
        encoded : ndarray of shape (n_rows, n_columns)

        Raises
        ------
        ValueError
            If the targets are not of this kind.
        """

    def fit_units(self, encoded, sample_weight, dtype, workers=None):
        """Return targets of the same kind, with units fitted to these encoded training targets and those of all workers."""
        return self

    def in_units(self, encoded, dtype):
        """Convert encoded targets to the units of the network's outputs."""
        return encoded.astype(dtype, copy=False)

    @abstractmethod
    def prior_outputs(self, encoded, weights, workers=None):
        """Compute the raw outputs that predict the targets' means or the class frequencies, over all workers."""

    def stratification(self, encoded, fraction):
        """Return the strata of a split whose validation part has this fraction of the rows; None for a plain split."""
        return None

    def rare_classes(self, strata):
        """Return the names of classes with a single row, for error messages."""
        return []

    def class_factors(self, encoded, sample_weight, workers=None):
        """Return class weights, see `class_factors`; None without `class_weight`."""
        return None

    @abstractmethod
    def decode(self, predictions):
        """Convert the network's predictions to the output of `predict`."""

    @abstractmethod
    def score(self, encoded, predictions, sample_weight):
        """Compute the estimator's own score of predictions."""

    @abstractmethod
    def score_of_all(self, encoded, predictions, sample_weight, workers):
        """Compute the estimator's own score of predictions for the rows of all workers, of which some may have none."""

    def diagnose(self, problem, output_bias, n_jobs):
        """Return messages about problems with the targets after training; see `skbackprop.training.diagnosis`."""
        return []


@dataclass(eq=False)
class Numbers(Targets):
    """Continuous targets, in one column or several.

    Parameters
    ----------
    loss : str or Loss
    standardize : bool, default=False
        The estimator's `standardize_target`.
    mean, scale : ndarray of shape (n_columns,) or None, default=None
        Location and scale of the targets, which the network's outputs are standardized by; None without.
    """

    standardize: bool = False
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.function = LOSSES.get_function(self.loss)

    @property
    def per_target(self):
        """Number of outputs per target."""
        return self.function.outputs_per_target()

    @property
    def attributes(self):
        return {} if self.scale is None else {"target_mean_": self.mean, "target_scale_": self.scale}

    @property
    def outputs_form(self):
        return self.per_target, self.function.has_std

    def loss_key(self):
        return _loss_key(self.loss, "regression")

    def n_outputs(self, n_columns):
        return n_columns * self.per_target

    def read(self, y, name, same=False):
        y = one_dimension(y)
        if y.dtype.kind not in "biuf":
            raise ValueError(f"{name} has to hold numbers, got an array of type {y.dtype}")
        self.function.check_targets(y, name)
        return y.reshape(len(y), -1)

    def fit_units(self, encoded, sample_weight, dtype, workers=None):
        if not self.standardize:
            return self
        # Overflow raises a clearer error below.
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = _location_and_scale(encoded.astype(np.float64), sample_weight, workers)
        if not np.isfinite(scale).all():
            raise ValueError("y contains values too large for standardize_target=True: their squares overflow; scale y")
        steps = np.spacing(np.abs(mean).astype(dtype))
        if (steps > _LARGEST_STEP * scale).any():
            warn(
                f"Predictions in {dtype} come in steps of {steps.max():g} near the mean of y, {mean[steps.argmax()]:g}, whose "
                f"standard deviation is {scale[steps.argmax()]:g}: set dtype='float64', or subtract a number from y.",
                TrainingWarning,
            )
        return replace(self, mean=mean, scale=scale)

    def in_units(self, encoded, dtype):
        if self.scale is not None:
            # In float64, and converted last: float32 would lose small differences between large numbers.
            encoded = (encoded - self.mean) / self.scale
        return super().in_units(encoded, dtype)

    def prior_outputs(self, encoded, weights, workers=None):
        means = average(encoded, weights, workers)
        if self.function.has_std:
            # An overflow makes the loss infinite, which training reports.
            with np.errstate(over="ignore"):
                variances = average((encoded - means) ** 2, weights, workers)
            return np.column_stack([means, np.log(np.maximum(variances, np.finfo(float).tiny))]).ravel()
        return np.repeat(loss_link(type(self.function)).link(means, *self.function.settings()), self.per_target)

    def decode(self, predictions):
        """Convert predictions to the units of `y`."""
        if self.scale is None:
            return predictions
        scales, means = np.repeat(self.scale, self.per_target), np.repeat(self.mean, self.per_target)
        if self.function.has_std:
            # A standard deviation is scaled, but not shifted.
            means[1::2] = 0.0
        library = library_of(predictions)
        if library is None:
            with np.errstate(under="ignore"):
                return (predictions * scales + means).astype(predictions.dtype)
        return library.xp.astype(predictions * library.take(scales) + library.take(means), predictions.dtype)

    def points(self, predictions):
        """Select one prediction per target if the loss has several: the mean, or the quantile closest to the median."""
        levels = np.asarray(self.function.quantile) if isinstance(self.function, Quantile) else np.full(1, 0.5)
        return predictions[:, int(np.abs(levels - 0.5).argmin()) :: self.per_target]

    def score(self, encoded, predictions, sample_weight):
        return r2_score(encoded, self.points(predictions), sample_weight=sample_weight)

    def score_of_all(self, encoded, predictions, sample_weight, workers):
        encoded = encoded.astype(np.float64)
        spread = encoded - average(encoded, sample_weight, workers)
        errors = encoded - self.points(predictions)
        sums, _ = weighted_sums(np.hstack((errors, spread)) ** 2, sample_weight, workers)
        unexplained, variance = np.split(sums, 2)
        # As in r2_score, a constant target scores 1 or 0.
        is_varied = variance > 0
        ratios = np.divide(unexplained, variance, out=(unexplained > 0).astype(float), where=is_varied)
        return float(np.mean(1.0 - ratios))

    def diagnose(self, problem, output_bias, n_jobs):
        loss = self.function
        # Extreme quantiles are expected to differ from the mean.
        is_extreme = isinstance(loss, Quantile) and np.abs(np.asarray(loss.quantile) - 0.5).min() > _NEAR_MEDIAN
        domain = loss_link(type(loss)).domain
        is_placed = self.standardize if domain == REALS else output_bias == "prior"
        if is_extreme or is_placed or domain is None:
            return []
        advice = "standardize_target=True" if domain == REALS else "output_bias='prior'"
        rows = problem.train_rows[:: -(-len(problem.train_rows) // _SAMPLE_ROWS)]
        points = self.points(problem.predict(problem.rows.selected(rows), n_jobs))
        weights = None if problem.loss_weight is None else problem.loss_weight[rows]
        finding = badly_placed(problem.targets[rows], points, weights, advice)
        return [] if finding is None else [finding]


def _location_and_scale(encoded, sample_weight, workers):
    """Return the mean and the standard deviation of each column, as StandardScaler computes them."""
    if workers is None:
        scaler = StandardScaler().fit(encoded, sample_weight=sample_weight)
        return scaler.mean_, scaler.scale_
    sums, total = weighted_sums(encoded, sample_weight, workers)
    mean = sums / total
    variance = average((encoded - mean) ** 2, sample_weight, workers)
    # StandardScaler's bound of the rounding error of a constant column's variance.
    epsilon = np.finfo(np.float64).eps
    is_constant = variance <= total * epsilon * variance + (total * mean * epsilon) ** 2
    return mean, np.where(is_constant, 1.0, np.sqrt(variance))


@dataclass(eq=False)
class ClassTargets(Targets):
    """Base class of targets with classes, which are encoded as integers.

    Parameters
    ----------
    loss : str or Loss
    classes : ndarray of shape (n_classes,), or list of ndarray
        Sorted; a list has one array per column.
    class_weight : "balanced", dict, list of dict or None, default=None
        The estimator's parameter.
    """

    classes: np.ndarray | list
    class_weight: str | dict | list | None = None

    #: scikit-learn's `type_of_target`, and the task that selects the form of the loss.
    type_of_target: ClassVar[str]
    task: ClassVar[str] = "binary"

    @property
    def attributes(self):
        return {"classes_": self.classes, "_target_type": self.type_of_target}

    @property
    def columns(self):
        """Classes of each column of encoded targets."""
        return [self.classes]

    def loss_key(self):
        return _loss_key(self.loss, self.task)

    def n_outputs(self, n_columns=None):
        return len(self.classes)

    def read(self, y, name, same=False):
        y = one_dimension(y)
        if not self._is_form(y, name):
            fitted = "y" if name == "y_val" else "that of the fit before"
            raise ValueError(
                f"{name} has to be of the same kind as {fitted}, {self._form}, got an array of shape {y.shape}; to start anew with "
                "another kind, call fit with warm_start=False"
            )
        self._refuse_unknown(y, name, same)
        return self.encode(y)

    #: Description of valid targets, for error messages.
    _form = "labels in one dimension"

    def _is_form(self, y, name):
        return y.ndim != 2

    def _refuse_unknown(self, y, name, same):
        """Raise ValueError for unknown classes, or, if `same`, for missing ones."""
        found = unique_labels(y)
        unknown = unknown_labels(found, self.classes)
        if name == "y_val":
            if len(unknown):
                raise ValueError(f"y_val has classes that are not in y: {unknown}; those of y are {self.classes}")
            return
        if same:
            refuse_other_classes(found, self.classes)
        if len(unknown):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. 'y' has {found}."
            )

    @abstractmethod
    def encode(self, y):
        """Encode valid targets as integers for the kernels."""

    def class_factors(self, encoded, sample_weight, workers=None):
        if self.class_weight is None:
            return None
        return class_factors(self.class_weight, self.columns, encoded, sample_weight, workers)

    def prior_outputs(self, encoded, weights, workers=None):
        if not gives_proba(self.loss):
            raise ValueError(f"output_bias='prior' needs a loss with probabilities, but loss is {self.loss!r}")
        return self._log_shares(encoded, weights, workers)

    def _log_shares(self, encoded, weights, workers):
        """Compute the raw outputs that predict the class frequencies of each column."""
        # Adding half a row to each class keeps the logarithm finite if a class is missing.
        link, settings = self._link()
        outputs, n_rows = [], count(len(encoded), workers)
        for codes, classes in zip(encoded.T, self.columns, strict=True):
            own = count(np.bincount(codes.astype(np.intp), weights=weights, minlength=len(classes)), workers)
            counts = own / own.sum() * n_rows + 0.5
            outputs.append(link.prior(counts, n_rows + 0.5 * len(classes), settings))
        return np.concatenate(outputs)

    def _link(self):
        """Return the link of the loss, and the settings of the loss, which the link shares."""
        kind, settings = self.loss_key()
        return loss_link(kind), settings

    def _normalized(self, outputs):
        """Remove from raw outputs the constant per row that does not affect predictions."""
        xp, _ = get_namespace(outputs)
        return self._link()[0].scores(outputs, xp)

    def rare_classes(self, strata):
        codes, counts = np.unique(strata, return_counts=True)
        return [str(self.classes[int(code)]) for code in codes[counts < 2]]

    def score(self, encoded, predictions, sample_weight):
        found, expected = self._found(predictions), encoded.astype(np.intp)
        if self.type_of_target != "multilabel-indicator":
            expected = expected[:, 0]
        return accuracy_score(expected, found, sample_weight=sample_weight)

    def score_of_all(self, encoded, predictions, sample_weight, workers):
        weight = len(encoded) if sample_weight is None else sample_weight.sum()
        hits = weight * self.score(encoded, predictions, sample_weight) if weight else 0.0
        hits, weight = workers.total([hits, weight])
        return hits / weight

    def _found(self, predictions):
        """Return the predicted classes as integers."""
        return _namespace(predictions).argmax(predictions, axis=1)

    def scores(self, outputs):
        """Convert raw outputs to the output of `decision_function`."""
        return outputs

    def probabilities(self, predictions):
        """Convert predictions to the output of `predict_proba`."""
        return predictions


class _Logistic(ClassTargets):
    """Base class of binary and multilabel targets: one independent output per label."""

    def _log_shares(self, encoded, weights, workers):
        link, settings = self._link()
        n_rows = count(len(encoded), workers)
        positive = average(encoded, weights, workers) * n_rows
        return link.prior(positive + 0.5, n_rows + 1, settings)

    def _found(self, predictions):
        is_there = predictions > self.loss_key()[0].threshold
        if library_of(predictions) is None:
            return is_there.astype(np.intp)
        xp, _ = get_namespace(predictions)
        return xp.astype(is_there, indexing_dtype(xp))


class TwoClasses(_Logistic):
    """One column with one or two classes."""

    type_of_target = "binary"

    def n_outputs(self, n_columns=None):
        return 1

    def encode(self, y):
        return (y == self.classes[-1])[:, np.newaxis] & (len(self.classes) > 1)

    def stratification(self, encoded, fraction):
        return encoded.astype(bool)

    def _found(self, predictions):
        return super()._found(predictions)[:, 0]

    def decode(self, predictions):
        # There may be a single class.
        classes = self.classes if len(self.classes) == 2 else self.classes[[0, -1]]
        return _named(classes, self._found(predictions))

    def scores(self, outputs):
        return outputs[:, 0]

    def probabilities(self, predictions):
        xp = _namespace(predictions)
        if len(self.classes) == 1:
            return xp.ones_like(predictions)
        return xp.concat([1 - predictions, predictions], axis=1)


class Labels(_Logistic):
    """Multilabel targets: a binary indicator matrix."""

    type_of_target = "multilabel-indicator"

    @property
    def columns(self):
        return [np.arange(2)] * len(self.classes)

    @property
    def _form(self):
        return f"an indicator matrix with as many columns ({len(self.classes)})"

    def _is_form(self, y, name):
        is_matrix = y.ndim == 2 and y.shape[1] == len(self.classes)
        return is_matrix and type_of_target(y, input_name=name) == self.type_of_target

    def encode(self, y):
        y = y.toarray() if sparse.issparse(y) else y
        return y != 0

    def decode(self, predictions):
        return self._found(predictions)


class SeveralClasses(ClassTargets):
    """One column with three or more classes."""

    type_of_target = task = "multiclass"

    def encode(self, y):
        return np.searchsorted(self.classes, y)[:, np.newaxis]

    def stratification(self, encoded, fraction):
        # Stratification needs at least as many rows in either part as there are classes.
        n_validation = int(np.ceil(fraction * len(encoded)))
        enough = len(self.classes) <= min(n_validation, len(encoded) - n_validation)
        return encoded[:, 0].astype(np.intp) if enough else None

    def decode(self, predictions):
        return _named(self.classes, self._found(predictions))

    def scores(self, outputs):
        return self._normalized(outputs) if gives_proba(self.loss) else outputs


class ColumnsOfClasses(ClassTargets):
    """Several columns of classes, each with its own softmax."""

    type_of_target = "multiclass-multioutput"

    @property
    def columns(self):
        return self.classes

    def loss_key(self):
        loss = LOSSES.get_function(self.loss)
        if not isinstance(loss, LogLoss):
            raise ValueError(f"loss={self.loss!r} is for one column of classes, y has several; use loss='log_loss'")
        return loss.for_outputs([len(classes) for classes in self.classes]).key()

    def n_outputs(self, n_columns=None):
        return sum(len(classes) for classes in self.classes)

    @property
    def _form(self):
        return f"{len(self.classes)} columns of classes"

    def _is_form(self, y, name):
        return y.ndim == 2 and y.shape[1] == len(self.classes)

    def _refuse_unknown(self, y, name, same):
        for index, (classes, column) in enumerate(zip(self.classes, y.T, strict=True)):
            found = np.unique(column)
            unknown = unknown_labels(found, classes)
            if same and len(found) != len(classes):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                    f"column {index} of {name} had {classes}, now it has {found}"
                )
            if len(unknown):
                raise ValueError(
                    f"column {index} of {name} has classes {unknown}, which are not in classes_[{index}], {classes}"
                )

    def encode(self, y):
        return np.column_stack(
            [np.searchsorted(classes, column) for classes, column in zip(self.classes, y.T, strict=True)]
        )

    def _parts(self, outputs):
        """Split outputs by column of classes."""
        stops = np.cumsum([len(classes) for classes in self.classes]).tolist()
        return [outputs[:, start:stop] for start, stop in pairwise([0, *stops])]

    def decode(self, predictions):
        parts = zip(self.classes, self._parts(predictions), strict=True)
        labels = [_named(classes, self._found(part)) for classes, part in parts]
        if any(library_of(column) is None for column in labels):
            return np.column_stack([as_numpy(column) for column in labels])
        xp, _ = get_namespace(predictions)
        return xp.stack(labels, axis=1)

    def score(self, encoded, predictions, sample_weight):
        found = np.column_stack([self._found(part) for part in self._parts(predictions)])
        return np.average((found == encoded).all(axis=1), weights=sample_weight)

    def scores(self, outputs):
        return [self._normalized(part) for part in self._parts(outputs)]

    def probabilities(self, predictions):
        return self._parts(predictions)


#: Kinds of targets with classes, by scikit-learn's `type_of_target`.
CLASS_TARGETS = {kind.type_of_target: kind for kind in (TwoClasses, SeveralClasses, Labels, ColumnsOfClasses)}


def find_classes(y):
    """Determine the kind of validated targets and their classes.

    Parameters
    ----------
    y : {ndarray, sparse matrix}

    Returns
    -------
    kind : type
        One of `CLASS_TARGETS`.
    classes : ndarray, or list of ndarray

    Raises
    ------
    ValueError
        If the targets are not classes.
    """
    name = type_of_target(y, input_name="y")
    if name == "multiclass-multioutput":
        return CLASS_TARGETS[name], [np.unique(column) for column in y.T]
    if "multioutput" in name:
        raise ValueError(f"y is of type {name!r}, but labels of classes are needed")
    classes = unique_labels(y)
    return CLASS_TARGETS[name], classes


def _namespace(array):
    # The shortcut matters: every prediction calls this.
    return np if type(array) is np.ndarray else get_namespace(array)[0]


def _named(classes, positions):
    """Look up classes by position: in the positions' array library if the classes are numbers, otherwise in NumPy.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    positions : array of shape (n_rows,)

    Returns
    -------
    labels : array of shape (n_rows,)
    """
    library = library_of(positions)
    if library is None or classes.dtype.kind not in "biuf":
        return classes[as_numpy(positions)]
    return library.xp.take(library.take(classes), positions)
