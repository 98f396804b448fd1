"""Training by stochastic gradient descent, epoch by epoch."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

__all__ = ["DivergenceError", "train"]


class DivergenceError(ValueError):
    """Loss or weights are no longer finite, and there is no better state to fall back on."""


_DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed. The loss or a weight was no longer finite in epoch {epoch}; the weights were set back to those "
    "at the start of it. Scale the data (for example with StandardScaler), or lower "
    "learning_rate_init={rate:g}."
)


@dataclass
class _State:
    """A copy of what an epoch changes."""

    params: np.ndarray
    slots: np.ndarray
    n_steps: int

    @classmethod
    def of(cls, params, optimizer):
        return cls(params.copy(), optimizer.slots.copy(), optimizer.n_steps)

    def update(self, params, optimizer):
        np.copyto(self.params, params)
        np.copyto(self.slots, optimizer.slots)
        self.n_steps = optimizer.n_steps

    def restore(self, params, optimizer):
        np.copyto(params, self.params)
        np.copyto(optimizer.slots, self.slots)
        optimizer.n_steps = self.n_steps


def train(
    session,
    params,
    optimizer,
    progress,
    *,
    rows,
    random_state,
    shuffle,
    max_iter,
    alpha,
    tol,
    n_iter_no_change,
    verbose=False,
    score=None,
    begin_epoch=None,
    end_epoch=None,
):
    """Run epochs until one of the reasons to stop.

    Parameters
    ----------
    session : Session
        A backend's.
    params : ndarray of shape (n_params,)
        Updated in place.
    optimizer : OptimizerState
        Updated in place.
    progress : Progress
        Updated in place.
    rows : ndarray of int64
        The rows to train on.
    random_state : numpy.random.RandomState
        Draws the order of the rows.
    shuffle : bool
        Whether to draw a new order for each epoch.
    max_iter : int
        Largest number of epochs.
    alpha : float
        Strength of the L2 penalty.
    tol, n_iter_no_change : float
        Training stops when more than `n_iter_no_change` epochs in a row improve by less than `tol`.
    verbose : bool, default=False
        Whether to print each epoch's loss.
    score : callable, optional
        Gives the validation score; called after each epoch.
    begin_epoch, end_epoch : callable, optional
        Called around each epoch, `end_epoch` with True if it is known to be the last; if it returns True, training
        stops.

    Returns
    -------
    converged : bool
        False if `max_iter` epochs ended it.

    Raises
    ------
    DivergenceError
        If the loss or a weight becomes non-finite, and no epoch before had a validation score.
    """
    watched = verbose or score is not None or begin_epoch is not None or end_epoch is not None
    n_ahead = 1 if watched else session.max_epochs
    order = rows.copy()
    orders = []
    start = _State.of(params, optimizer)
    n_done = 0
    try:
        while n_done < max_iter:
            if begin_epoch is not None:
                begin_epoch()
            # Epochs after which training cannot stop yet may be run in one call, up to the first after which it can.
            patience = n_iter_no_change - progress.no_improvement_count + 1
            n_epochs = int(max(1, min(n_ahead, max_iter - n_done, patience)))
            while len(orders) < n_epochs:
                if shuffle:
                    # scikit-learn shuffles the shuffled order again: the draws must be the same.
                    permutation = np.arange(len(order))
                    random_state.shuffle(permutation)
                    order = order[permutation]
                orders.append(order)
            rates = optimizer.next_rates(n_epochs, progress.n_seen, len(order))
            losses = session.run_epochs(np.concatenate(orders[:n_epochs]), rates, params, optimizer, alpha)
            if not (np.isfinite(losses).all() and np.isfinite(params).all()):
                start.restore(params, optimizer)
                if n_epochs > 1:
                    # Once more, one by one, to see in which it happens.
                    n_ahead = 1
                    continue
                progress.record(losses[0], len(order), np.nan, params, tol)
                message = _DIVERGED.format(epoch=progress.n_iter, rate=optimizer.initial_rate)
                if progress.best_params is None:
                    raise DivergenceError(message)
                warnings.warn(
                    f"{message} The weights of the best validation score are kept.", ConvergenceWarning, stacklevel=2
                )
                return True
            start.update(params, optimizer)
            del orders[:n_epochs]
            n_done += n_epochs
            for loss in losses.tolist():
                progress.record(loss, len(order), score() if score is not None else None, params, tol)
                if verbose:
                    print(f"Iteration {progress.n_iter}, loss = {loss:.8f}")
                    if score is not None:
                        print(f"Validation score: {progress.validation_scores[-1]:f}")
                optimizer.end_epoch(progress.n_seen)
            stopping = progress.no_improvement_count > n_iter_no_change
            if stopping:
                stopping = not _reduce_rate(optimizer, progress, tol, n_iter_no_change, verbose)
            if end_epoch is not None and end_epoch():
                stopping = True
            if stopping:
                return True
    except KeyboardInterrupt:
        warnings.warn(
            f"Training interrupted by user in epoch {progress.n_iter + 1}; the estimator keeps the weights it has.",
            stacklevel=2,
        )
        return True
    return False


def _reduce_rate(optimizer, progress, tol, n_iter_no_change, verbose):
    """Answer a plateau: True if training goes on at a lower rate."""
    reduced = optimizer.reduce_rate()
    if verbose:
        what = "Validation score" if progress.early_stopping else "Training loss"
        then = f"Setting learning rate to {optimizer.learning_rate:f}" if reduced else "Stopping."
        print(f"{what} did not improve more than tol={tol:f} for {n_iter_no_change} consecutive epochs. {then}")
    if reduced:
        progress.no_improvement_count = 0
    return reduced
