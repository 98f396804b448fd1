"""Training by L-BFGS-B over the compiled full-batch loss and gradient."""

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skbackprop.training.population import is_one_of_many
from skbackprop.training.warned import warn

__all__ = ["minimize"]


def minimize(
    session, params, *, rows, max_iter, max_fun, tol, begin_iteration=None, end_iteration=None, ends_on_interrupt=True
):
    """Minimize the penalized loss with SciPy's L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995).

    SciPy works in float64; loss and gradient are computed in the dtype of `params`.

    Parameters
    ----------
    session : Session
        Session of a backend.
    params : ndarray of shape (n_params,)
        Starting point; overwritten with the best point found.
    rows : ndarray of int64
        The rows to train on.
    max_iter, max_fun : int
        Maximum number of iterations and of loss evaluations.
    tol : float
        Training stops when no component of the projected gradient is larger.
    begin_iteration, end_iteration : callable, optional
        Called around each iteration; `end_iteration` may return True to stop.
    ends_on_interrupt : bool, default=True
        Whether Ctrl-C ends training with a warning and keeps the best point found; otherwise it is raised.

    Returns
    -------
    n_iter : int
    loss : float

    Raises
    ------
    ValueError
        If the solution is not finite.
    """
    point = np.empty_like(params)
    accepted = params.astype(np.float64)
    latest = [np.inf]
    n_done = 0

    def loss_gradient(x):
        np.copyto(point, x, casting="same_kind")
        loss, gradient = session.loss_gradient(rows, point)
        latest[0] = loss
        return loss, gradient.astype(np.float64)

    def after_iteration(intermediate_result):
        nonlocal n_done
        n_done += 1
        accepted[:] = intermediate_result.x
        latest[0] = intermediate_result.fun
        if end_iteration is not None:
            np.copyto(params, accepted, casting="same_kind")
            if end_iteration(intermediate_result.fun):
                raise StopIteration
        if begin_iteration is not None and n_done < max_iter:
            begin_iteration()

    if begin_iteration is not None:
        begin_iteration()
    try:
        # SciPy's own products are small; BLAS threads would keep spinning while the kernels run, and double the time.
        with threadpool_limits(limits=1, user_api="blas"):
            result = scipy.optimize.minimize(
                loss_gradient,
                accepted.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=after_iteration,
                options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
            )
    except KeyboardInterrupt:
        if is_one_of_many() or not ends_on_interrupt:
            raise
        warn(f"Training interrupted by user in iteration {n_done + 1}; the estimator keeps the weights it has.")
        np.copyto(params, accepted, casting="same_kind")
        return n_done, float(latest[0])
    n_iter = min(result.nit, max_iter)
    stopped_by_callback = result.status == 99
    if not (np.isfinite(result.fun) and np.isfinite(result.x).all()):
        np.copyto(params, accepted, casting="same_kind")
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
            f"preprocessed. The loss was no longer finite after iteration {n_done}; the weights were set back to "
            "the last finite ones. Scale the data, for example with StandardScaler."
        )
    if result.status != 0 and not stopped_by_callback:
        advice = (
            f" Increase max_iter={max_iter}."
            if n_iter == max_iter
            else f" Increase max_fun={max_fun}."
            if result.nfev >= max_fun
            else ""
        )
        warn(
            f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}): {result.message}.{advice} "
            "Scaling the data, for example with StandardScaler, may also help.",
            ConvergenceWarning,
        )
    np.copyto(params, result.x, casting="same_kind")
    return n_iter, float(result.fun)
