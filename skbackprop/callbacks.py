"""Callbacks that report each epoch of a training to other tools.

They are callbacks of scikit-learn: ``model.set_callbacks(...)`` sets them on a network, in a pipeline on its last step.
The callbacks of scikit-learn itself are in :mod:`sklearn.callback`.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any

from skbackprop._names import listed
from skbackprop.estimators._callbacks import IdleCallback

__all__ = ["EpochLogger", "OptunaPruning"]

#: Values of an epoch that a trial may be judged by, and the direction of a study that goes with each.
_MONITORED = {"validation_score": "maximize", "validation_loss": "minimize", "loss": "minimize"}


class _AfterEachEpoch(IdleCallback):
    """Base of callbacks that take the values of each epoch."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Take the values of an epoch, or of an iteration of L-BFGS.

        Parameters
        ----------
        estimator : BackpropClassifier or BackpropRegressor
            The network that is trained.
        context : sklearn.callback.CallbackContext
            The task that has ended.
        fitted_estimator : BackpropClassifier or BackpropRegressor
            The network as it is now.
        """
        if context.task_name not in ("epoch", "lbfgs-iter"):
            return
        if history := getattr(fitted_estimator, "history_", None):
            self._take(dict(history[-1]))
        else:
            # L-BFGS keeps no history.
            self._take({"epoch": context.task_id + 1, "loss": fitted_estimator.loss_})

    def _take(self, values):
        """Take the entries of `history_` for an epoch."""
        raise NotImplementedError


class EpochLogger(_AfterEachEpoch):
    """Callback that passes the values of each epoch to a function, such as MLflow's `log_metrics`.

    Parameters
    ----------
    log : callable
        Called as ``log(metrics, step=epoch)`` after each epoch. `metrics` is a dict with the numbers of the estimator's
        `history_`: 'loss', 'learning_rate', 'seconds', the norms of the gradients, and, if there is validation data,
        'validation_score' and 'validation_loss'. With ``solver='lbfgs'`` it has the 'loss' only. `epoch` counts from 1.
    names : sequence of str or None, default=None
        The values to pass, of those above; None for all.

    Raises
    ------
    TypeError
        If `log` is not callable.

    See Also
    --------
    skbackprop.inspection.LossCurveDisplay : Draws the same values after the training.

    Notes
    -----
    What `log` raises ends the training. In a search, all fits call the same function: log the search's results instead.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.callbacks import EpochLogger
    >>> def log(metrics, step):
    ...     if step % 10 == 0:
    ...         print(step, sorted(metrics))
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BackpropClassifier(max_iter=20, n_iter_no_change=np.inf, random_state=0)
    >>> logger = EpochLogger(log, names=["loss", "learning_rate"])
    >>> model = model.set_callbacks(logger).fit(X, y)
    10 ['learning_rate', 'loss']
    20 ['learning_rate', 'loss']
    """

    def __init__(self, log: Callable[..., Any], *, names=None):
        if not callable(log):
            raise TypeError(f"log={log!r} must be a function of the metrics and the step, such as mlflow.log_metrics")
        self.log = log
        self.names = names

    def _take(self, values):
        metrics = {
            name: value
            for name, value in values.items()
            if name != "epoch" and isinstance(value, Real) and (self.names is None or name in self.names)
        }
        self.log(metrics, step=values["epoch"])


class OptunaPruning(_AfterEachEpoch):
    """Callback that reports each epoch to an Optuna trial, and ends the training when its pruner says so.

    A training that is pruned raises :class:`optuna.TrialPruned`, which `study.optimize` expects.

    Parameters
    ----------
    trial : optuna.trial.Trial
        The trial of the objective function that calls `fit`. Make a new callback for each trial, and call `fit` once:
        Optuna takes one value per trial and epoch.
    monitor : {'validation_score', 'validation_loss', 'loss'}, default='validation_score'
        The value of each epoch to report. The first two need validation data: ``early_stopping=True``, or
        ``restore_best_weights=True`` and `X_val`. The study's direction has to be 'maximize' for the score and 'minimize' for a
        loss.

    Raises
    ------
    ValueError
        If `monitor` is another name or does not go with the study's direction; from `fit`, if epochs have no such
        value.

    See Also
    --------
    EpochLogger : Reports to other tools.

    Examples
    --------
    >>> import numpy as np
    >>> import optuna
    >>> from sklearn.datasets import load_digits
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.callbacks import OptunaPruning
    >>> X, y = load_digits(return_X_y=True)
    >>> def objective(trial):
    ...     rate = trial.suggest_float("learning_rate_init", 1e-4, 1e-1, log=True)
    ...     model = BackpropClassifier(learning_rate_init=rate, early_stopping=True, random_state=0)
    ...     return model.set_callbacks(OptunaPruning(trial)).fit(X, y).best_validation_score_
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    >>> study.optimize(objective, n_trials=5)
    >>> study.best_value > 0.9
    True
    """

    def __init__(self, trial: Any, monitor: str = "validation_score"):
        if monitor not in _MONITORED:
            raise ValueError(f"monitor={monitor!r} must be one of {listed(_MONITORED)}")
        # Trials with fixed parameters belong to no study.
        study = getattr(trial, "study", None)
        if study is not None and (direction := study.direction.name.lower()) != _MONITORED[monitor]:
            raise ValueError(
                f"monitor={monitor!r} goes with a study whose direction is {_MONITORED[monitor]!r}, got one with {direction!r}: its "
                "pruner would end the best trials"
            )
        self.trial = trial
        self.monitor = monitor

    def _take(self, values):
        value = values.get(self.monitor)
        if value is None:
            raise ValueError(
                f"OptunaPruning reports {self.monitor!r}, which this training does not have: set early_stopping=True, or "
                "restore_best_weights=True and pass X_val, with a solver other than 'lbfgs', or set monitor='loss'"
            )
        epoch = values["epoch"]
        # Pruners count the steps from zero.
        self.trial.report(value, step=epoch - 1)
        if self.trial.should_prune():
            from optuna import TrialPruned

            raise TrialPruned(f"The trial was pruned after epoch {epoch}.")
