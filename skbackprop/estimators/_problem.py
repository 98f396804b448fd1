"""What a fit works on, once its arguments are validated."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbackprop.backends import Backend
from skbackprop.backends.data import Rows
from skbackprop.estimators._validation import HeldOut, Validation
from skbackprop.functions.penalties import Penalties
from skbackprop.network import Network
from skbackprop.training.progress import Progress

__all__ = ["Problem", "Training"]


@dataclass
class Problem:
    """A network, the weights that training changes, and the data.

    Parameters
    ----------
    backend : Backend
        Where it is computed.
    network : Network
    params : ndarray of shape (n_params,)
        Changed by training, as the next.
    running : ndarray of shape (n_running,), float64
    rows : Rows
        All rows, those split off for validation included.
    targets : ndarray of shape (n_rows, n_targets)
        In the model's dtype.
    loss_weight : ndarray of shape (n_rows,) or None
        Weights of the samples with the classes' factors.
    train_rows : ndarray of int64
        The rows to train on.
    held_out : HeldOut or None
        Those to validate on.
    """

    backend: Backend
    network: Network
    params: np.ndarray
    running: np.ndarray
    rows: Rows
    targets: np.ndarray
    loss_weight: np.ndarray | None
    train_rows: np.ndarray
    held_out: HeldOut | None

    def predict(self, rows, n_jobs, params=None):
        """Predictions of rows, with the weights that training changes or with others."""
        params = self.params if params is None else params
        return self.backend.predict(self.network, params, rows, n_jobs, running=self.running)

    def session(self, batch_size, n_jobs, penalties, seed=0):
        """A session that trains on these data.

        Parameters
        ----------
        batch_size : int
        n_jobs : int or None
        penalties : Penalties
        seed : int, default=0
            Of the dropout.

        Returns
        -------
        session : Session
        """
        return self.backend.Session(
            self.network,
            self.params.dtype,
            self.rows,
            self.targets,
            self.loss_weight,
            batch_size,
            len(self.train_rows),
            n_jobs,
            penalties,
            seed,
        )

    def validation_session(self, n_jobs):
        """A session for the losses of validation rows that are not among `rows`."""
        held_out = self.held_out
        n_rows = len(held_out.targets)
        return self.backend.Session(
            self.network,
            self.params.dtype,
            held_out.rows,
            held_out.targets,
            held_out.loss_weight,
            n_rows,
            n_rows,
            n_jobs,
            Penalties(),
            trains=False,
        )


@dataclass
class Training:
    """What is ready to be trained.

    Parameters
    ----------
    problem : Problem
    session : Session
        A backend's, not entered yet.
    validation : Validation or None
        The same.
    callbacks : object or None
        The estimator's; None for `partial_fit`, which has none.
    progress : Progress or None
        This and what follows is None with SciPy's solver.
    penalties : Penalties
    random_state : numpy.random.RandomState
        Draws the order of the rows.
    order : ndarray of int64
        The order of the rows that is shuffled next.
    batch_rows : int
        Rows of a mini-batch.
    max_iter : int
        Epochs at most.
    incremental : bool
        Whether it is one of the calls of `partial_fit`.
    """

    problem: Problem
    session: Any
    validation: Validation | None
    callbacks: Any
    progress: Progress | None = None
    penalties: Penalties | None = None
    random_state: np.random.RandomState | None = None
    order: np.ndarray | None = None
    batch_rows: int = 0
    max_iter: int = 0
    incremental: bool = False
