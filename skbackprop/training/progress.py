"""What a training has come to, and when it has come far enough."""

from dataclasses import dataclass, field

import numpy as np

from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

__all__ = ["OptimizerState", "Progress"]


@dataclass
class OptimizerState:
    """State of a stochastic optimizer between epochs.

    Parameters
    ----------
    solver : str
        A name in `OPTIMIZERS`.
    settings : tuple of float
        Its settings, in the registry's order.
    schedule : str
        A name in `SCHEDULES`; "constant" for solvers to which schedules do not apply.
    initial_rate, power_t : float
        The schedule's settings.
    slots : ndarray of shape (n_slots, n_params)
        What it remembers of each parameter.
    learning_rate : float
        The rate in force.
    n_steps : int
        Updates made.
    """

    solver: str
    settings: tuple
    schedule: str
    initial_rate: float
    power_t: float
    slots: np.ndarray
    learning_rate: float
    n_steps: int = 0

    @classmethod
    def start(cls, solver, parameters, params):
        """A new optimizer's state.

        Parameters
        ----------
        solver : str
            A name in `OPTIMIZERS`.
        parameters : dict
            The estimator's parameters.
        params : ndarray of shape (n_params,)
            The network's parameters.

        Returns
        -------
        state : OptimizerState
        """
        entry = OPTIMIZERS[solver]
        rate = float(parameters["learning_rate_init"])
        return cls(
            solver,
            tuple(float(parameters[name]) for name in entry.settings),
            parameters["learning_rate"] if entry.schedules else "constant",
            rate,
            parameters["power_t"],
            np.zeros((entry.n_slots, params.size), dtype=params.dtype),
            rate,
        )

    @property
    def code(self):
        """The kernels' code of the optimizer."""
        return OPTIMIZERS[self.solver].code

    def end_epoch(self, n_seen):
        """Set the next epoch's learning rate."""
        self.learning_rate = self._after_epoch(self.learning_rate, n_seen)

    def next_rates(self, n_epochs, n_seen, n_rows):
        """Learning rates of the next epochs, unless training stops improving.

        Parameters
        ----------
        n_epochs : int
        n_seen : int
            Rows trained on so far.
        n_rows : int
            Rows of an epoch.

        Returns
        -------
        rates : list of float
        """
        rates = [self.learning_rate]
        for epoch in range(1, n_epochs):
            rates.append(self._after_epoch(rates[-1], n_seen + epoch * n_rows))
        return rates

    def _after_epoch(self, rate, n_seen):
        return SCHEDULES[self.schedule].after_epoch(rate, self.initial_rate, n_seen, self.power_t)

    def reduce_rate(self):
        """Lower the rate because training no longer improves.

        Returns
        -------
        reduced : bool
            False if it is time to stop instead.
        """
        rate = SCHEDULES[self.schedule].on_plateau(self.learning_rate)
        if rate is None:
            return False
        self.learning_rate = rate
        return True


@dataclass
class Progress:
    """Losses and scores so far.

    Parameters
    ----------
    early_stopping : bool
        Whether scores on validation data decide, or training losses.
    """

    early_stopping: bool
    n_iter: int = 0
    n_seen: int = 0
    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    best_loss: float = np.inf
    best_score: float = -np.inf
    no_improvement_count: int = 0
    best_params: np.ndarray | None = None

    def record(self, loss, n_rows, score, params, tol):
        """Take note of an epoch.

        Parameters
        ----------
        loss : float
            Mean training loss.
        n_rows : int
            Rows trained on.
        score : float or None
            Validation score, with early stopping.
        params : ndarray of shape (n_params,)
            Copied if its score is the best.
        tol : float
            Least improvement that counts.
        """
        self.n_iter += 1
        self.n_seen += n_rows
        self.loss_curve.append(loss)
        if self.early_stopping:
            self.validation_scores.append(score)
            # Never true of NaN, so that a model whose predictions overflow comes to a stop.
            better = score >= self.best_score + tol
            if score > self.best_score:
                self.best_score = score
                self.best_params = params.copy()
        else:
            better = not loss > self.best_loss - tol
            self.best_loss = min(self.best_loss, loss)
        self.no_improvement_count = 0 if better else self.no_improvement_count + 1
