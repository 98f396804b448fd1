"""Training by stochastic gradient descent, epoch by epoch."""

import warnings

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
    order = rows.copy()
    last_finite = params.copy()
    try:
        for _ in range(max_iter):
            if begin_epoch is not None:
                begin_epoch()
            if shuffle:
                # scikit-learn shuffles the shuffled order again: the draws must be the same.
                permutation = np.arange(len(order))
                random_state.shuffle(permutation)
                order = order[permutation]
            loss = session.run_epoch(order, params, optimizer, alpha)
            finite = np.isfinite(loss) and np.isfinite(params).all()
            if not finite:
                params[:] = last_finite
                progress.record(loss, len(order), np.nan, params, tol)
                message = _DIVERGED.format(epoch=progress.n_iter, rate=optimizer.initial_rate)
                if progress.best_params is None:
                    raise DivergenceError(message)
                warnings.warn(
                    f"{message} The weights of the best validation score are kept.", ConvergenceWarning, stacklevel=2
                )
                return True
            np.copyto(last_finite, params)
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
