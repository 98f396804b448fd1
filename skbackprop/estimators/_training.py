"""Set up and run the training of a network: with stochastic solvers by mini-batches, or with SciPy's L-BFGS."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skbackprop._sklearn import _safe_indexing
from skbackprop.estimators._arrays import as_numpy
from skbackprop.estimators._choices import (
    batch_rows,
    choose_penalties,
    choose_schedules,
    patience,
    runs_to_the_end,
    start_optimizer,
)
from skbackprop.estimators._problem import Problem
from skbackprop.estimators._state import progress_attributes, read_progress, state_attributes, take_over
from skbackprop.estimators._validation import Validation, scorer_of
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions.penalties import Penalties
from skbackprop.training.diagnosis import MIN_EPOCHS, diagnose
from skbackprop.training.lbfgs import minimize
from skbackprop.training.progress import OptimizerState, Progress, TrainingPoint
from skbackprop.training.trainer import train
from skbackprop.training.warned import warn

__all__ = ["prepare"]


def prepare(fit, problem, scorer):
    """Create the training for the estimator's solver.

    Parameters
    ----------
    fit : Fit
    problem : Problem
    scorer : callable or None
        Scorer of the validation rows, from `scoring`.

    Returns
    -------
    training : StochasticTraining or LbfgsTraining
        Context manager; call `run` inside.
    """
    return _prepare_lbfgs(fit, problem) if fit.model.solver == "lbfgs" else _prepare_stochastic(fit, problem, scorer)


@dataclass
class LbfgsTraining:
    """Training with SciPy's L-BFGS-B.

    Parameters
    ----------
    problem : Problem
    session : Session
        Session of a backend.
    """

    problem: Problem
    session: Any

    def __enter__(self):
        self.session.__enter__()
        return self

    def __exit__(self, *exception):
        return self.session.__exit__(*exception)

    def run(self, fit):
        """Train and set `n_iter_` and `loss_`."""
        model, callbacks, problem = fit.model, fit.callbacks, self.problem
        watched = callbacks is not None and callbacks.active

        def end_iteration(loss):
            return callbacks.end_task(problem, problem.params, {"loss_": loss})

        model.n_iter_, model.loss_ = minimize(
            self.session,
            problem.params,
            rows=problem.train_rows,
            max_iter=model.max_iter,
            max_fun=model.max_fun,
            tol=model.tol,
            begin_iteration=callbacks.begin_task if watched else None,
            end_iteration=end_iteration if watched else None,
            ends_on_interrupt=fit.workers is None,
        )


def _prepare_lbfgs(fit, problem):
    model = fit.model
    if problem.network.over_batch:
        raise ValueError(
            f"normalization={model.normalization!r} is for stochastic solvers: solver='lbfgs' has no mini-batches; choose "
            "normalization='layer', or solver='adam'"
        )
    penalties = choose_penalties(model, problem.network)
    for name in ("dropout", "clip_norm", "clip_value", "max_norm", "average", "frozen"):
        if getattr(penalties, name):
            raise ValueError(f"{name} is for stochastic solvers; solver='lbfgs' needs it off, or choose solver='adam'")
    if penalties.groups:
        raise ValueError(
            f"parametrization={model.parametrization!r} is for stochastic solvers; solver='lbfgs' needs "
            "parametrization='standard', or choose solver='adam'"
        )
    model.n_iter_, model.loss_ = 0, np.nan  # kept if training fails
    return LbfgsTraining(problem, problem.session(problem.count_trained(), model.n_jobs, penalties))


@dataclass
class StochasticTraining:
    """Training by mini-batches.

    Parameters
    ----------
    problem : Problem
    session : Session
        Session of a backend.
    validation : Validation or None
    optimizer : OptimizerState
    progress : Progress
    penalties : Penalties
    schedules : tuple of (Schedule or None)
        Of the dropout and of the weight decay.
    shown : ndarray of shape (n_params,)
        Parameters for scores, callbacks and predictions: those being trained, or their moving average.
    order : ndarray of int64
        Row indices in the order that the next shuffle starts from.
    n_trained, batch_rows : int
        Number of rows per epoch and per mini-batch, those of other workers included.
    max_iter : int
        Maximum number of epochs.
    """

    problem: Problem
    session: Any
    validation: Validation | None
    optimizer: OptimizerState
    progress: Progress
    penalties: Penalties
    schedules: tuple[Any, ...]
    shown: np.ndarray
    order: np.ndarray
    n_trained: int
    batch_rows: int
    max_iter: int

    def __enter__(self):
        # No ExitStack: the exceptions that it raises form a reference cycle, which would keep the session's cores.
        self.session.__enter__()
        # A separate validation session is entered second: it gets the threads that training does not use.
        if self.validation is not None:
            try:
                self.validation.__enter__()
            except BaseException:
                self.session.__exit__(None, None, None)
                raise
        return self

    def __exit__(self, *exception):
        try:
            if self.validation is not None:
                self.validation.__exit__(*exception)
        finally:
            self.session.__exit__(*exception)

    def run(self, fit):
        """Train, set the fitted attributes, and warn of problems."""
        model, optimizer, progress = fit.model, self.optimizer, self.progress
        watched = fit.callbacks is not None and fit.callbacks.active
        try:
            converged = train(
                self.session,
                self.problem.params,
                optimizer,
                progress,
                rows=self.order,
                random_state=fit.row_draws,
                shuffle=model.shuffle,
                max_iter=self.max_iter,
                tol=model.tol,
                n_iter_no_change=patience(model, optimizer.schedule),
                verbose=model.verbose,
                schedules=self.schedules,
                validate=self.validation,
                begin_epoch=fit.callbacks.begin_task if watched else None,
                end_epoch=self._report_to(fit) if watched else None,
                after_epochs=None if fit.checkpoints is None else self._keep_in(fit),
                ends_on_interrupt=not (fit.incremental or fit.workers),
                n_rows=self.n_trained,
                draw=fit.draw_orders,
            )
        finally:
            vars(model).update(progress_attributes(progress))
            self._settle()
        if not fit.incremental and len(self.order):
            self._warn(fit, converged)

    def _report_to(self, fit):
        """Return a function that reports the end of an epoch to the callbacks."""
        problem = self.problem
        callbacks, random_state = fit.callbacks, fit.random_state

        def end_epoch(order, finished):
            point = TrainingPoint(fit.first_random_state, random_state.get_state(), order, finished)
            return callbacks.end_task(problem, self.shown, {**self._attributes(), "_point": point})

        return end_epoch

    def _keep_in(self, fit):
        """Return a function that keeps checkpoints of a training on several workers."""
        problem = self.problem

        def make_state():
            arrays = state_attributes(problem.network, self.shown, problem.running)
            return {"attributes": arrays | self._attributes(), "first_random_state": fit.first_random_state}

        return partial(fit.checkpoints.after_epochs, make_state)

    def _attributes(self):
        """Return the fitted attributes between two epochs, apart from the weights."""
        is_average = self.shown is not self.problem.params
        optimizer = replace(self.optimizer, raw_params=self.problem.params) if is_average else self.optimizer
        return {**progress_attributes(self.progress), "_optimizer": optimizer}

    def _settle(self):
        """Copy the final parameters into the model: the moving average, or those of the best epoch."""
        problem, progress = self.problem, self.progress
        if self.shown is not problem.params:
            # Further training continues from the raw parameters, not from the average.
            self.optimizer.raw_params = problem.params.copy()
            problem.params[:] = self.shown
        if progress.keeps_best and progress.best_params is not None:
            problem.params[:], problem.running[:] = progress.best_params, progress.best_running

    def _warn(self, fit, converged):
        """Warn if training did not converge, and of problems that the diagnosis finds."""
        model, problem, progress = fit.model, self.problem, self.progress
        was_finished = fit.resumed is not None and fit.resumed.finished
        if not (converged or was_finished or runs_to_the_end(model, self.optimizer.schedule)):
            warn(
                f"Stochastic Optimizer: Maximum iterations ({model.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
            )
        findings = diagnose(
            progress.history[len(progress.history) - progress.n_iter :],
            problem.rows,
            problem.train_rows,
            batch_rows=(len(problem.train_rows) - 1) % self.batch_rows + 1,
            frozen=self.penalties.frozen,
            estimator=model,
            read=(lambda rows: as_numpy(_safe_indexing(problem.rows.X, rows))) if problem.rows.is_on_gpu else None,
        )
        if progress.n_iter >= MIN_EPOCHS:
            findings += model._targets.diagnose(problem, model.output_bias, model.n_jobs)
        if findings:
            warn(" ".join(findings), TrainingWarning)


def _prepare_stochastic(fit, problem, scorer):
    model, resumed, random_state = fit.model, fit.resumed, fit.random_state
    if resumed is not None:
        take_over(model, resumed.model, problem)
    optimizer = model._optimizer = _optimizer(fit, problem)
    progress = Progress(
        bool(model.early_stopping),
        problem.held_out is not None,
        bool(model.early_stopping or model.restore_best_weights),
    )
    read_progress(model, progress)
    progress.n_iter = 0 if resumed is None else model.n_iter_
    penalties, schedules = choose_penalties(model, problem.network), choose_schedules(model)
    n_trained = problem.count_trained()
    n_rows = batch_rows(model, n_trained)
    # Drawn only with dropout: otherwise the order of draws is scikit-learn's.
    seed = random_state.randint(2**31) if penalties.dropout else 0
    session = problem.session(n_rows, model.n_jobs, penalties, seed)
    shown = problem.params if model.averaging is None else optimizer.average
    order, max_iter = problem.train_rows, 1 if fit.incremental else model.max_iter - progress.n_iter
    if resumed is not None:
        order = resumed.restore_order(fit, order)
        max_iter = 0 if resumed.finished else max_iter
    validation = None
    if problem.held_out is not None:
        validation = _validation(model, problem, shown, session, scorer)
    return StochasticTraining(
        problem,
        session,
        validation,
        optimizer,
        progress,
        penalties,
        schedules,
        shown,
        order,
        n_trained,
        n_rows,
        max_iter,
    )


def _optimizer(fit, problem):
    """Return the optimizer state to train with, and set the parameters that it starts from."""
    model, params = fit.model, problem.params
    present = getattr(model, "_optimizer", None)
    if fit.resumed is not None:
        optimizer = present
        optimizer.max_epochs = model.max_iter
    elif fit.incremental and present is not None and present.slots.shape[1] == params.size:
        optimizer = present.copy(params.dtype)
        optimizer.take_settings(model.learning_rate_init, model.averaging is not None, params)
    else:
        optimizer = start_optimizer(model, params)
    if optimizer.raw_params is not None:
        params[:] = optimizer.raw_params
    optimizer.running = problem.running
    return optimizer


def _validation(model, problem, params, session, scorer):
    """Return the validation of the parameters in `params`."""
    held_out, running = problem.held_out, problem.running
    score = scorer_of(model, problem, params, scorer)
    if held_out.order is not None:
        return Validation(params, running, session, held_out.order, score)
    n_rows = len(held_out.targets)
    return Validation(
        params, running, problem.validation_session(model.n_jobs), np.arange(n_rows), score, owns_session=True
    )
