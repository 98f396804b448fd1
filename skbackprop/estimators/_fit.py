"""Context of a call of `fit` or `partial_fit`, which is passed from step to step."""

from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from skbackprop.estimators._callbacks import Callbacks
from skbackprop.estimators._state import copy_state, publish_state

__all__ = ["Arguments", "Fit"]


@dataclass
class Arguments:
    """Arguments of `fit` or `partial_fit`; None for those not given."""

    X: Any
    y: Any
    sample_weight: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    groups: Any = None
    classes: Any = None


class Fit:
    """The context of a call.

    Parameters
    ----------
    owner : BaseBackprop
        Estimator whose method was called; callbacks get this object.
    incremental : bool
        Whether the method is `partial_fit`.

    Attributes
    ----------
    model : BaseBackprop
        Estimator being fitted. At first a draft: a call that fails leaves the owner unchanged, and other threads can
        predict with the owner's old model until the new one is complete.
    first_pass : bool
        Whether training starts from new initial weights.
    callbacks : Callbacks or None
        None for `partial_fit`, which calls no callbacks.
    random_state : numpy.random.RandomState
        Draws the initial weights, the validation split and the order of the rows.
    """

    def __init__(self, owner, incremental):
        self.owner = owner
        self.model = copy_state(owner)
        self.incremental = incremental
        self.first_pass = not hasattr(owner, "coefs_") or not (owner.warm_start or incremental)
        self.callbacks = None
        self.random_state = None
        self._before = dict(vars(self.model))

    def begin(self, arguments):
        """Call the callbacks with these arguments, and set the generator to draw from."""
        if not self.incremental:
            self.callbacks = Callbacks(self.owner, arguments)
            # A callback may have changed the owner's parameters.
            vars(self.model).update(self.owner.get_params(deep=False))
        self.random_state = check_random_state(self.model.random_state)
        if self.callbacks is not None:
            self.random_state = self.callbacks.begin_draws(self.random_state)

    @property
    def resumed(self):
        """Interrupted training that this call continues; None for a new training."""
        return None if self.callbacks is None else self.callbacks.resumed

    def publish(self):
        """Copy the draft's changes to the owner; from now on the owner itself is fitted."""
        if self.model is not self.owner:
            publish_state(self.model, self._before, self.owner)
            self.model = self.owner

    def end(self):
        """Publish the fitted model and report the end of the fit to the callbacks."""
        self.publish()
        if self.callbacks is not None:
            self.callbacks.end_fit()
