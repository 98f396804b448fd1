"""scikit-learn's callbacks during a fit: one task per epoch or L-BFGS iteration."""

from typing import Any

import numpy as np

from skbackprop._sklearn import callback_context, callbacks_of
from skbackprop.estimators._state import state_attributes
from skbackprop.training.progress import OptimizerState

__all__ = ["Callbacks", "IdleCallback"]


class IdleCallback:
    """What scikit-learn calls on callbacks, and most of them need not do anything about."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing at the start of a fit."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing at the end of a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing at the start of a task."""


class Callbacks:
    """The callbacks of a fit.

    Parameters
    ----------
    estimator : BaseBackprop
        Estimator whose `fit` was called.
    arguments : Arguments
        Arguments of `fit`.

    Attributes
    ----------
    resumed : ResumedTraining or None
        Interrupted training that a callback found, and that this fit continues.
    """

    def __init__(self, estimator, arguments):
        self._estimator = estimator
        metadata = {name: value for name, value in vars(arguments).items() if value is not None}
        X, y = metadata.pop("X"), metadata.pop("y")
        self._arguments = {"estimator": estimator, "X": X, "y": y, "metadata": metadata or None}
        self._context = callback_context(estimator, estimator.max_iter)
        self._context.call_on_fit_task_begin(**self._arguments)
        self._task = None
        found = [c._resumed_training(estimator) for c in callbacks_of(estimator) if hasattr(c, "_resumed_training")]
        self.resumed = next((training for training in reversed(found) if training is not None), None)

    def begin_draws(self, random_state):
        """Return the generator to draw from; a resumed training restores the state that it began with."""
        if self.resumed is not None:
            # The resumed training repeats all draws. NumPy's global generator is not rewound: other code draws from it.
            random_state = np.random.RandomState() if self._estimator.random_state is None else random_state
            random_state.set_state(self.resumed.first_random_state)
        return random_state

    @property
    def active(self):
        """Whether there are callbacks to call."""
        return bool(callbacks_of(self._estimator))

    def begin_task(self):
        """Report the beginning of an epoch."""
        name = "lbfgs-iter" if self._estimator.solver == "lbfgs" else "epoch"
        self._task = self._context.subcontext(task_name=name)
        self._task.call_on_fit_task_begin(**self._arguments)

    def end_task(self, problem, params, attributes):
        """Report the end of an epoch; return True if a callback asks to stop.

        Parameters
        ----------
        problem : Problem
        params : ndarray of shape (n_params,)
            Parameters for the callbacks: those being trained, or their moving average.
        attributes : dict
            Other fitted attributes.
        """

        def reconstruct():
            arrays = state_attributes(problem.network, params.copy(), problem.running.copy())
            # Copied, because training continues to modify these lists and the optimizer's arrays in place.
            live = list, OptimizerState
            copies = {key: value.copy() if isinstance(value, live) else value for key, value in attributes.items()}
            return {**arrays, **copies}

        return self._task.call_on_fit_task_end(**self._arguments, reconstruction_attributes=reconstruct)

    def end_fit(self):
        """Report the end of the fit."""
        self._context.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})
