"""What a fit works on, once its arguments are validated."""

from dataclasses import dataclass

import numpy as np

from skbackprop.backends import Backend
from skbackprop.backends.data import Rows
from skbackprop.estimators._validation import HeldOut
from skbackprop.functions.penalties import Penalties
from skbackprop.network import Network

__all__ = ["Problem"]


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
