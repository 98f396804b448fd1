"""Training by stochastic gradient descent, epoch by epoch."""

import time

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skbackprop.training.population import is_one_of_many
from skbackprop.training.shuffling import draw_orders
from skbackprop.training.warned import warn

__all__ = ["DivergenceError", "train"]


class DivergenceError(ValueError):
    """The loss or a weight is no longer finite, and there is no better state to restore."""


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
    tol,
    n_iter_no_change,
    verbose=False,
    schedules=(),
    validate=None,
    begin_epoch=None,
    end_epoch=None,
    after_epochs=None,
    ends_on_interrupt=True,
    n_rows=None,
    draw=draw_orders,
):
    """Run epochs until a stopping criterion is met.

    Parameters
    ----------
    session : Session
        Session of a backend.
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
        Maximum number of epochs.
    tol, n_iter_no_change : float
        Training stops when more than `n_iter_no_change` epochs in a row improve by less than `tol`.
    verbose : bool, default=False
        Whether to print the loss of each epoch.
    schedules : tuple of (Schedule or None), default=()
        Of the dropout and of the weight decay; empty for none.
    validate : callable, optional
        Returns the validation score and loss; called after each epoch.
    begin_epoch, end_epoch : callable, optional
        Called before and after each epoch. `end_epoch` gets the order of the epoch's rows and whether training is over;
        if it returns True, training stops.
    after_epochs : callable, optional
        Called between two epochs from time to time, after each call of the kernel.
    ends_on_interrupt : bool, default=True
        Whether Ctrl-C ends training with a warning and keeps what has been learned. Otherwise it is raised, after
        everything was restored to the end of the last kernel call.
    n_rows : int, optional
        Rows per epoch, if other workers train on rows of their own; those of this worker are `rows`.
    draw : callable, default=draw_orders
        Draws the orders of the next epochs, as `draw_orders` does.

    Returns
    -------
    converged : bool
        False if training ended because of `max_iter`.

    Raises
    ------
    DivergenceError
        If the loss or a weight becomes non-finite, and no weights of an earlier epoch were kept.
    KeyboardInterrupt
        On Ctrl-C without `ends_on_interrupt`, or if the training belongs to a population.
    """
    watched = verbose or validate is not None or progress.keeps_best or begin_epoch is not None or end_epoch is not None
    n_ahead = 1 if watched else session.max_epochs
    order, n_rows = rows, len(rows) if n_rows is None else n_rows
    orders = np.empty((0, len(rows)), dtype=np.int64)
    start = params.copy(), optimizer.copy()
    n_done = 0
    try:
        while n_done < max_iter:
            if begin_epoch is not None:
                begin_epoch()
            started = time.perf_counter()
            # One call may run all epochs up to the first one after which training could stop.
            patience = n_iter_no_change - progress.no_improvement_count + 1
            n_epochs = int(max(1, min(n_ahead, max_iter - n_done, patience)))
            n_missing = n_epochs - len(orders)
            if n_missing > 0:
                # scikit-learn shuffles the shuffled order again: the draws must be the same.
                drawn = draw(order, n_missing, random_state) if shuffle else np.tile(order, (n_missing, 1))
                orders = np.concatenate((orders, drawn)) if len(orders) else drawn
                order = orders[-1]
            ahead = n_epochs, session.n_batches, progress.n_seen, n_rows
            rates, factors = optimizer.next_rates(*ahead), optimizer.next_factors(schedules, *ahead)
            epochs = session.run_epochs(orders[:n_epochs].reshape(-1), rates, params, optimizer, factors)
            losses = epochs.losses
            if not (np.isfinite(losses).all() and np.isfinite(params).all()):
                params[:] = start[0]
                optimizer.restore(start[1])
                if n_epochs > 1:
                    # Run them again one by one, to find the epoch that diverged.
                    n_ahead = 1
                    continue
                validation = None if validate is None else (np.nan, np.nan)
                seconds = time.perf_counter() - started
                (seen,) = _facts(rates, seconds, epochs)
                progress.record(losses[0], n_rows, validation, params, optimizer.running, tol, seen)
                message = _DIVERGED.format(epoch=progress.n_iter, rate=optimizer.initial_rate)
                if progress.best_params is None:
                    raise DivergenceError(message)
                best = "validation score" if progress.validated else "training loss"
                warn(f"{message} The weights of the best {best} are kept.", ConvergenceWarning)
                return True
            start[0][:] = params
            optimizer.n_epochs += n_epochs
            start[1].restore(optimizer)
            orders = orders[n_epochs:]
            n_done += n_epochs
            validation = None if validate is None else validate()
            seconds = (time.perf_counter() - started) / n_epochs
            shown = optimizer.average if optimizer.average.size else params
            for loss, seen in zip(losses.tolist(), _facts(rates, seconds, epochs), strict=True):
                progress.record(loss, n_rows, validation, shown, optimizer.running, tol, seen)
                if verbose:
                    print(f"Iteration {progress.n_iter}, loss = {loss:.8f}")
                    if validate is not None:
                        print(f"Validation score: {progress.validation_scores[-1]:f}")
            stopping = progress.no_improvement_count > n_iter_no_change
            if stopping:
                stopping = not _reduce_rate(optimizer, progress, tol, n_iter_no_change, verbose)
            if end_epoch is not None and end_epoch(order, stopping):
                stopping = True
            if stopping:
                return True
            if after_epochs is not None:
                after_epochs()
    except KeyboardInterrupt:
        if not ends_on_interrupt:
            params[:] = start[0]
            optimizer.restore(start[1])
        if is_one_of_many() or not ends_on_interrupt:
            raise
        warn(f"Training interrupted by user in epoch {progress.n_iter + 1}; the estimator keeps the weights it has.")
        return True
    finally:
        optimizer.learning_rate = float(optimizer.next_rates(1, session.n_batches, progress.n_seen, n_rows)[0])
    return False


def _facts(rates, seconds, epochs):
    """Return entries of the history for each epoch of a call."""
    n_epochs, n_layers = epochs.gradient_norms.shape
    names = [f"gradient_norm_{layer}" for layer in range(n_layers)]
    names += [f"constant_units_{layer}" for layer in range(n_layers - 1)]
    last_rates = rates.reshape(n_epochs, -1)[:, -1].tolist()
    values = np.hstack((epochs.gradient_norms, epochs.constant_units)).tolist()
    return [
        {"learning_rate": rate, "seconds": seconds, **dict(zip(names, row, strict=True))}
        for rate, row in zip(last_rates, values, strict=True)
    ]


def _reduce_rate(optimizer, progress, tol, n_iter_no_change, verbose):
    """Respond to a plateau; return True if training continues at a lower rate."""
    reduced = optimizer.reduce_rate()
    if verbose:
        what = "Validation score" if progress.early_stopping else "Training loss"
        then = f"Setting learning rate to {optimizer.plateau_rate:f}" if reduced else "Stopping."
        print(f"{what} did not improve more than tol={tol:f} for {n_iter_no_change} consecutive epochs. {then}")
    if reduced:
        progress.no_improvement_count = 0
    return reduced
