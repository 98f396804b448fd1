"""Callback that writes checkpoints during training and resumes interrupted trainings from them."""

import json
import os
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import check_array

from skbackprop.estimators._arrays import as_numpy
from skbackprop.estimators._base import BaseBackprop
from skbackprop.estimators._choices import choose_schedules, start_optimizer
from skbackprop.estimators._identity import identify
from skbackprop.estimators._model_file import describe, describe_parameters, name_only, restore
from skbackprop.exceptions import ModelFileError
from skbackprop.functions.schedules import Clock
from skbackprop.layers import ATTRIBUTES
from skbackprop.persistence.container import SUFFIX, read, remove_stale, require_library, write
from skbackprop.persistence.encoding import decode, encode
from skbackprop.training.progress import TrainingPoint

__all__ = ["Checkpoint"]

# Parameters that do not affect the trained weights.
_WITHOUT_EFFECT = ("n_jobs", "verbose")


class Checkpoint:
    """Callback that saves checkpoints of a training to a folder, and resumes it when `fit` is called again.

    Set it on a network with `set_callbacks`. If the program is interrupted, run it again: `fit` finds the newest
    checkpoint of the same training and continues from it. The resulting model is bitwise identical to that of an
    uninterrupted training, for every stochastic solver and any number of threads. A completed training is not repeated.

    Each training has its own files in the folder. Two trainings are the same if all parameters of the estimator and all
    arguments of `fit` are equal, apart from `n_jobs`, `verbose`, and `max_iter`, which can be raised to continue
    training unless the learning rate schedule spans `max_iter`. Functions, for example in `scoring`, are equal if their
    code and all values that they use are, and objects, such as splitters, if their state is; see Notes. In a search,
    each candidate on each fold is a training. With ``warm_start``, the initial weights have to be equal, too.

    Files are written atomically, and older ones are removed only afterwards.

    Parameters
    ----------
    folder : str or path-like
        Folder of the checkpoints. It is created if necessary.

    epochs : int or None, default=None
        Save a checkpoint every `epochs` epochs; at least 1. None for no such rule.

    seconds : float or None, default=60
        Save a checkpoint at the end of an epoch if this many seconds have passed since the last one; non-negative. None
        for no such rule. With both rules, whichever comes first. A checkpoint is always saved after the last epoch.

    keep : int, default=2
        Number of files to keep per training, the newest ones; at least 1. If the newest file is damaged, the previous
        one is used, with a warning.

    resume : bool, default=True
        Whether `fit` resumes from the folder. If False, it starts from the beginning, and its first checkpoint replaces
        those of the same training.

    Raises
    ------
    ValueError
        From `fit`, with ``solver='lbfgs'``, because SciPy's L-BFGS-B has no state to resume from, or if a parameter
        cannot be compared between runs of the program.
    TypeError
        From `fit`, if set on anything but a :class:`~skbackprop.BackpropClassifier` or
        :class:`~skbackprop.BackpropRegressor`; in a Pipeline, set it on the last step.
    OSError
        From `fit`, at its beginning if the folder is not writable, or later if a file cannot be written, for example on
        a full disk. Earlier checkpoints are kept.
    ImportError
        From `fit`, if safetensors is not installed.

    See Also
    --------
    skbackprop.load : Load the estimator of a checkpoint.

    Notes
    -----
    Trainings with ``random_state=None`` count as the same although their random numbers would differ: `fit` resumes
    from the checkpoint that it finds. To repeat a training with other random numbers, use another folder or
    ``resume=False``.

    A function is compared by its code, its defaults, its attributes, the values of its closure, and the global
    functions and values that it uses; a :func:`functools.partial` by its parts; functions and classes of installed
    libraries by name. A module of your own is compared by its file and by those of its functions and values that are
    used, so any change of the file restarts training. A function imported by name, ``from scores import cost`` at the
    top of the program, is compared by itself. Modules that a function imports with :mod:`importlib` are not compared.
    Python versions compile to different bytecode, so another version restarts training.

    ``partial_fit`` calls no callbacks, and warns if there are any. Save the estimator between calls with
    :meth:`BackpropClassifier.save`; its attribute `t_` shows how many rows it has seen.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier, Checkpoint
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BackpropClassifier(learning_rate_init=0.01, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = model.set_callbacks(Checkpoint(folder, epochs=10)).fit(X, y)
    ...     epochs = first.n_iter_
    ...     again = model.fit(X, y)  # finds that training had ended
    >>> again.n_iter_ == epochs
    True
    """

    folder: str | os.PathLike[str]
    epochs: int | None
    seconds: float | None
    keep: int
    resume: bool

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        epochs: int | None = None,
        seconds: float | None = 60.0,
        keep: int = 2,
        resume: bool = True,
    ) -> None:
        for name, value, kind, least in (("epochs", epochs, Integral, 1), ("seconds", seconds, Real, 0)):
            if value is not None and not (isinstance(value, kind) and not isinstance(value, bool) and value >= least):
                raise ValueError(f"{name}={value!r} has to be a number of at least {least}, or None")
        if not (isinstance(keep, Integral) and keep >= 1):
            raise ValueError(f"keep={keep!r} has to be a whole number of at least 1")
        self.folder = folder
        self.epochs = epochs
        self.seconds = seconds
        self.keep = keep
        self.resume = resume
        self._series: dict[Any, Any] = {}

    def __getstate__(self) -> Any:
        # The state of running fits belongs to this process.
        return {**vars(self), "_series": {}}

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, epochs={self.epochs}, seconds={self.seconds}, keep={self.keep}, resume={self.resume})"

    def setup(self, estimator: Any, context: Any) -> None:
        """Raise errors for unsupported estimators and unwritable folders before training.

        Parameters
        ----------
        estimator : estimator
            The network.
        context : CallbackContext
            Context object of scikit-learn.
        """
        if not isinstance(estimator, BaseBackprop):
            raise TypeError(
                f"Checkpoint is for networks of skbackprop, not for {type(estimator).__name__}: set it on the network, "
                "for example pipeline[-1].set_callbacks(Checkpoint(folder))"
            )
        if estimator.solver == "lbfgs":
            raise ValueError(
                "Checkpoint needs a stochastic solver: solver='lbfgs' keeps no state to go on from; choose solver='adam', or "
                "leave the callback out"
            )
        require_library()
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            message = f"the folder of Checkpoint, {folder}, cannot be written ({error.strerror}); nothing was trained"
            raise type(error)(error.errno, message, str(folder)) from error

    def on_fit_task_begin(
        self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: dict[str, Any] | None
    ) -> None:
        """Look for checkpoints of the same training.

        Parameters
        ----------
        estimator : estimator
            The network.
        context : CallbackContext
            Context object of scikit-learn.
        X, y : array-like
            Arguments of `fit`.
        metadata : dict or None
            Other arguments of `fit`.
        """
        if context.task_name != "fit":
            return
        key = _key(estimator, X, y, metadata or {})
        series = self._series[id(estimator)] = _Series(Path(self.folder), f"{type(estimator).__name__}-{key[:16]}-")
        remove_stale(series.folder, series.prefix)
        if self.resume:
            series.resumed = series.find(estimator)

    def _resumed_training(self, estimator):
        """Return the interrupted training of this estimator; None if there is none."""
        return self._series[id(estimator)].resumed

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any) -> None:
        """Save a checkpoint if one is due.

        Parameters
        ----------
        estimator : estimator
            The network.
        context : CallbackContext
            Context object of scikit-learn.
        fitted_estimator : estimator
            The network after the epoch.
        """
        if context.task_name != "epoch":
            return
        series = self._series[id(estimator)]
        n_iter, point = fitted_estimator.n_iter_, fitted_estimator._point
        is_last = point.finished or n_iter >= estimator.max_iter
        by_epochs = self.epochs is not None and n_iter - series.n_iter >= self.epochs
        by_time = self.seconds is not None and time.monotonic() - series.time >= self.seconds
        if is_last or by_epochs or by_time:
            series.add(fitted_estimator, point, self.keep)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Release the state of the training.

        Parameters
        ----------
        estimator : estimator
            The network.
        context : CallbackContext
            Context object of scikit-learn.
        """
        self._series.pop(id(estimator), None)


@dataclass
class ResumedTraining:
    """A training to resume.

    Parameters
    ----------
    model : estimator
        Estimator at the checkpoint.
    point : TrainingPoint
        State of the random numbers and of the order of rows.
    """

    model: Any
    point: TrainingPoint

    @property
    def finished(self) -> bool:
        """Whether training is complete."""
        return self.point.finished

    @property
    def first_random_state(self) -> tuple[Any, ...]:
        """State of the generator before the first draw for this training."""
        return self.point.first_random_state

    def restore_order(self, fit: Any, train_rows: Any) -> Any:
        """Restore the generator, and return the order of rows in the last epoch.

        Parameters
        ----------
        fit : Fit
        train_rows : ndarray of int64

        Returns
        -------
        order : ndarray of int64

        Raises
        ------
        ValueError
            If these are not the training rows.
        """
        order = self.point.order
        if not np.array_equal(np.sort(order), np.sort(train_rows)):
            raise ValueError(
                f"validation_fraction={self.model.validation_fraction!r} does not give the rows that it gave before training was "
                "interrupted; set its random_state, or set resume=False in Checkpoint"
            )
        fit.random_state.set_state(self.point.random_state)
        return order


@dataclass
class _Series:
    """Checkpoint files of one training."""

    folder: Path
    prefix: str
    kept: list[Any] = field(default_factory=list)
    resumed: Any = None
    n_iter: int = 0
    time: float = field(default_factory=time.monotonic)

    def _files(self):
        """Return paths by number of epochs."""
        found = {}
        for path in self.folder.glob(f"{self.prefix}*{SUFFIX}"):
            number = path.name.removeprefix(self.prefix).removesuffix(SUFFIX)
            if number.isdecimal():
                found[int(number)] = path
        return dict(sorted(found.items()))

    def find(self, estimator: Any) -> Any:
        """Read the newest undamaged checkpoint with at most `max_iter` epochs; return None if there is none."""
        files = {n_iter: path for n_iter, path in self._files().items() if n_iter <= estimator.max_iter}
        while files:
            self.n_iter, path = files.popitem()
            try:
                resumed = _read(path, estimator)
            except ModelFileError as error:
                warnings.warn(f"A checkpoint is left out: {error}", stacklevel=2)
                continue
            self.kept = [*files.values(), path]
            return resumed
        self.n_iter = 0
        return None

    def add(self, fitted_estimator: Any, point: Any, keep: Any) -> None:
        """Write a checkpoint, then remove those beyond `keep`."""
        path = self.folder / f"{self.prefix}{fitted_estimator.n_iter_:06d}{SUFFIX}"
        arrays: dict[str, Any] = {}
        content = {
            "model": describe(fitted_estimator, arrays, unsupported=name_only),
            "point": encode(vars(point), "point", arrays, None),
        }
        write(path, "checkpoint", content, arrays)
        self.kept = [*(file for file in self.kept if file != path), path][-keep:]
        self.n_iter, self.time = fitted_estimator.n_iter_, time.monotonic()
        for file in self._files().values():
            if file not in self.kept:
                file.unlink(missing_ok=True)


def _read(path, estimator):
    kind, content, arrays = read(path)
    try:
        if kind != "checkpoint":
            raise ModelFileError(f"it holds a {kind!r}")
        model = restore(clone(estimator), content["model"]["attributes"], arrays, partial(_own, estimator))
        point = TrainingPoint(**decode(content["point"], arrays, None))
        for state in (point.random_state, point.first_random_state):
            np.random.RandomState().set_state(state)
        if not (isinstance(point.order, np.ndarray) and point.order.dtype == np.int64 and point.order.ndim == 1):
            raise ModelFileError("order has to be a list of rows")
        return ResumedTraining(model, point)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path} holds no checkpoint that can be used: {error}") from error


def _own(estimator, tree):
    """Return the estimator's custom solver or schedule that the file names; both trainings have equal parameters."""
    for value in (
        estimator.solver,
        estimator.learning_rate,
        estimator.dropout_schedule,
        estimator.weight_decay_schedule,
    ):
        if tree == name_only(value, ""):
            return value
    raise ModelFileError(f"the header has an entry of unknown kind, {list(tree)[:1]}")


def _key(estimator, X, y, metadata):
    """Return the hash that identifies a training, in hexadecimal digits."""
    parameters = estimator.get_params(deep=False)
    without_effect = _WITHOUT_EFFECT if _depends_on_max_iter(estimator) else (*_WITHOUT_EFFECT, "max_iter")
    for name in without_effect:
        parameters.pop(name)
    arrays = {}

    def unsupported(value, path):
        try:
            return identify(value, path, arrays)
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"Checkpoint cannot tell whether {path.removeprefix('model.')}={value!r} is the same when the program is run again: "
                f"{error}. Pass a function, or an object whose state pickle can store, or leave the callback out"
            ) from error

    tree = describe_parameters(parameters, arrays, unsupported=unsupported)
    kind = type(estimator)
    # This package's own classes by name only: the key must not change with their code.
    kind = kind.__name__ if kind.__module__.startswith("skbackprop.") else unsupported(kind, "type")
    start = None
    if _goes_on(estimator):
        start = estimator.t_, {name: value for name, value in vars(estimator).items() if name in ATTRIBUTES}
    data = [_plain(X), _plain(y), {name: _plain(value) for name, value in metadata.items()}]
    return joblib.hash([kind, json.dumps(tree, sort_keys=True), arrays, start, data])


def _goes_on(estimator):
    return estimator.warm_start and hasattr(estimator, "coefs_")


def _depends_on_max_iter(estimator):
    """Whether a larger `max_iter` would change the schedules' rates of earlier epochs."""
    state = start_optimizer(estimator, np.zeros(1))
    n_epochs = min(estimator.max_iter, 10_000)
    clocks = [Clock(1, factor * n_epochs, 0, 1, state.power_t, state.plateau_rate) for factor in (1, 2)]
    return any(
        not np.array_equal(*(schedule.rates(state.initial_rate, 0, n_epochs, clock) for clock in clocks))
        for schedule in (state.schedule, *choose_schedules(estimator))
        if schedule is not None
    )


def _plain(data):
    """Convert data to arrays whose hash depends only on values, names and dtypes."""
    if data is None:
        return None
    data = check_array(
        as_numpy(data),
        accept_sparse="csr",
        dtype=None,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,
        ensure_min_samples=0,
    )
    return (data.shape, data.data, data.indices, data.indptr) if sparse.issparse(data) else data
