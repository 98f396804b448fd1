"""State of a training: the optimizer, losses and scores so far, and the position between two epochs."""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import clone

from skbackprop._lazy import lazy
from skbackprop.functions.optimizers import Optimizer
from skbackprop.functions.schedules import Clock, Schedule

__all__ = ["OptimizerState", "Progress", "TrainingPoint"]


@dataclass
class OptimizerState:
    """State of a stochastic optimizer between epochs.

    Parameters
    ----------
    optimizer : Optimizer
    schedule : Schedule
        Learning rate schedule.
    initial_rate, power_t : float
        The estimator's parameters.
    max_epochs : int
        Epochs that a schedule spans.
    slots : ndarray of shape (n_slots, n_params)
        State variables for each parameter, such as moments.
    average : ndarray of shape (n_params,) or (0,)
        Exponential moving average of the parameters; empty for none.
    plateau_rate : float
        The current base rate, after reductions on plateaus.
    learning_rate : float
        The rate of the next update.
    carried : ndarray of shape (2,), float64
        Scalars that the optimizer carries from one update to the next.
    n_steps, n_epochs : int
        Number of updates and of epochs so far.
    raw_params : ndarray of shape (n_params,) or None
        The parameters from which training continues, if those of the model are an average.
    running : ndarray of shape (n_running,), float64
        Running means and variances of batch normalization; empty for none.
    """

    optimizer: Optimizer
    schedule: Schedule
    initial_rate: float
    power_t: float
    max_epochs: int
    slots: np.ndarray
    average: np.ndarray
    plateau_rate: float
    learning_rate: float
    carried: np.ndarray = field(default_factory=lambda: np.zeros(2))
    n_steps: int = 0
    n_epochs: int = 0
    raw_params: np.ndarray | None = None
    running: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @lazy
    def key(self):
        """`Function.key` of the optimizer."""
        return self.optimizer.key()

    @classmethod
    def start(cls, optimizer, schedule, initial_rate, power_t, max_epochs, params, averages=False):
        """Create the state of a new optimizer.

        Parameters
        ----------
        optimizer : Optimizer
        schedule : Schedule
        initial_rate, power_t, max_epochs : float
            The estimator's parameters; the last is its `max_iter`.
        params : ndarray of shape (n_params,)
            The network's parameters.
        averages : bool, default=False
            Whether to keep an exponential moving average of them.

        Returns
        -------
        state : OptimizerState
        """
        slots = np.empty((optimizer.n_slots, params.size), dtype=params.dtype)
        slots[:] = np.reshape(optimizer.initial_slots(), (-1, 1))
        average = params.copy() if averages else np.zeros(0, dtype=params.dtype)
        return cls(
            clone(optimizer),
            clone(schedule),
            float(initial_rate),
            power_t,
            max_epochs,
            slots,
            average,
            *[float(initial_rate)] * 2,
        )

    def next_rates(self, n_epochs, n_batches, n_seen, n_rows):
        """Return the learning rates of the batches of the next epochs, as long as no plateau changes them.

        Parameters
        ----------
        n_epochs : int
        n_batches : int
            Batches per epoch.
        n_seen : int
            Rows trained on so far.
        n_rows : int
            Rows per epoch.

        Returns
        -------
        rates : ndarray of shape (n_epochs * n_batches,)
        """
        return self._scheduled(self.schedule, self.initial_rate, self.plateau_rate, n_epochs, n_batches, n_seen, n_rows)

    def next_factors(self, schedules, *epochs):
        """Factors of the dropout rates and of the weight decay in the batches of the next epochs.

        Parameters
        ----------
        schedules : tuple of (Schedule or None)
            Of the dropout and of the weight decay; None for a factor of 1.
        *epochs : int
            As for `next_rates`.

        Returns
        -------
        factors : ndarray of shape (n_epochs * n_batches, 2) or None
            From 0 to 1. None for 1 throughout.
        """
        if not any(schedules):
            return None
        n_epochs, n_batches, _, _ = epochs
        factors = np.ones((n_epochs * n_batches, len(schedules)))
        for column, schedule in zip(factors.T, schedules, strict=True):
            if schedule is not None:
                # A schedule of the user's own may leave the interval, with which no probability of dropping goes.
                column[:] = np.clip(self._scheduled(schedule, 1.0, 1.0, *epochs), 0.0, 1.0)
        return factors

    def _scheduled(self, schedule, initial, current, n_epochs, n_batches, n_seen, n_rows):
        clock = Clock(n_batches, self.max_epochs * n_batches, n_seen, n_rows, self.power_t, current)
        return schedule.rates(initial, self.n_epochs * n_batches, n_epochs * n_batches, clock)

    def reduce_rate(self):
        """Lower the learning rate on a plateau.

        Returns
        -------
        reduced : bool
            False if training should stop instead.
        """
        rate = self.schedule.on_plateau(self.plateau_rate)
        if rate is None:
            return False
        self.plateau_rate = rate
        return True

    def take_settings(self, initial_rate, averages, params):
        """Adopt the current parameters of an estimator, which may have changed since the last call.

        Parameters
        ----------
        initial_rate : float
        averages : bool
            Whether to keep an exponential moving average of the network's parameters from now on.
        params : ndarray of shape (n_params,)
            The network's parameters.
        """
        if self.initial_rate != initial_rate:
            self.initial_rate = self.plateau_rate = float(initial_rate)
        if averages != bool(self.average.size):
            self.average = params.copy() if averages else np.zeros(0, dtype=params.dtype)
            # The parameters of the model are the average up to now.
            self.raw_params = None

    def copy(self, dtype=None):
        """Return a copy that shares no arrays, and whose arrays are writable even if these are not.

        Parameters
        ----------
        dtype : numpy.dtype or None, default=None
            Dtype of the network's parameters, if it has changed.

        Returns
        -------
        state : OptimizerState
        """
        arrays = {name: np.array(getattr(self, name), order="C") for name in _ARRAYS}
        raw_params = None if self.raw_params is None else np.array(self.raw_params, dtype)
        if dtype is not None:
            arrays |= {name: arrays[name].astype(dtype, copy=False) for name in ("slots", "average")}
        return replace(self, raw_params=raw_params, **arrays)

    def restore(self, other):
        """Copy another state into the existing arrays."""
        for name in _ARRAYS:
            np.copyto(getattr(self, name), getattr(other, name))
        self.n_steps, self.n_epochs = other.n_steps, other.n_epochs


_ARRAYS = ("slots", "average", "carried", "running")


@dataclass
class Progress:
    """Losses and scores so far, and the best weights.

    Parameters
    ----------
    early_stopping : bool
        Whether validation scores decide when to stop, instead of training losses.
    validated : bool
        Whether there are validation scores; they then decide which weights are best.
    keeps_best : bool
        Whether the best weights are kept.
    """

    early_stopping: bool
    validated: bool
    keeps_best: bool
    n_iter: int = 0
    n_seen: int = 0
    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    validation_loss_curve: list = field(default_factory=list)
    history: list = field(default_factory=list)
    best_loss: float = np.inf
    best_score: float = -np.inf
    no_improvement_count: int = 0
    best_params: np.ndarray | None = None
    best_running: np.ndarray | None = None

    @property
    def unvalidated(self):
        """Whether there is no validation data."""
        return not self.validated

    def record(self, loss, n_rows, validation, params, running, tol, seen):
        """Record an epoch.

        Parameters
        ----------
        loss : float
            Mean training loss.
        n_rows : int
            Rows trained on.
        validation : tuple of float or None
            Validation score and loss, if there is validation data.
        params : ndarray of shape (n_params,)
            Copied if they are the best so far.
        running : ndarray of shape (n_running,)
            Running means and variances, copied with them.
        tol : float
            Smallest improvement that counts.
        seen : dict
            Further entries of the epoch in the history.
        """
        self.n_iter += 1
        self.n_seen += n_rows
        self.loss_curve.append(loss)
        is_best = loss < self.best_loss
        better = not loss > self.best_loss - tol
        self.best_loss = min(self.best_loss, loss)
        if validation is not None:
            score, validation_loss = validation
            self.validation_scores.append(score)
            self.validation_loss_curve.append(validation_loss)
            # Never true for NaN, so that training stops if predictions overflow.
            is_best = score > self.best_score
            if self.early_stopping:
                better = score >= self.best_score + tol
            if is_best:
                self.best_score = score
        if is_best and self.keeps_best:
            self.best_params, self.best_running = params.copy(), running.copy()
        score, validation_loss = validation or (None, None)
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "loss": loss,
                "validation_loss": validation_loss,
                "validation_score": score,
                **seen,
            }
        )
        self.no_improvement_count = 0 if better else self.no_improvement_count + 1


@dataclass
class TrainingPoint:
    """State of a training between two epochs, apart from the model, its optimizer and its progress.

    Parameters
    ----------
    first_random_state, random_state : tuple
        States of the generator, as returned by NumPy: before the first draw for this training, and now.
    order : ndarray of shape (n_rows,), int64
        Rows in the order of the last epoch, which the next epoch shuffles again.
    finished : bool
        Whether training is complete.
    """

    first_random_state: tuple
    random_state: tuple
    order: np.ndarray
    finished: bool
