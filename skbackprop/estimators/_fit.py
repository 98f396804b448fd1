"""A call of `fit` or `partial_fit`: what its steps pass on to each other."""

from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from skbackprop.estimators._callbacks import Callbacks
from skbackprop.estimators._state import copy_state, publish_state

__all__ = ["Arguments", "Fit"]


@dataclass
class Arguments:
    """What `fit` or `partial_fit` was given; None for what it was not."""

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
        The estimator whose method was called, as callbacks know it.
    incremental : bool
        Whether the method is `partial_fit`.

    Attributes
    ----------
    model : BaseBackprop
        The estimator that is being fitted. A draft at first: a call that is refused leaves no trace, and until the new model is
        there as a whole, other threads may predict with the present one.
    first_pass : bool
        Whether the network starts anew.
    callbacks : Callbacks or None
        None for `partial_fit`, which has none.
    random_state : numpy.random.RandomState
        Draws the weights, the split, the order of the rows.
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
        """Call the callbacks, which see these arguments, and get the generator to draw from."""
        if not self.incremental:
            self.callbacks = Callbacks(self.owner, arguments)
            # A callback may have set other parameters.
            vars(self.model).update(self.owner.get_params(deep=False))
        self.random_state = check_random_state(self.model.random_state)
        if self.callbacks is not None:
            self.random_state = self.callbacks.begin_draws(self.random_state)

    @property
    def resumed(self):
        """The interrupted training that goes on; None if it is a new one."""
        return None if self.callbacks is None else self.callbacks.resumed

    def publish(self):
        """Give the owner what has changed in the draft; from now on the owner itself is fitted."""
        if self.model is not self.owner:
            publish_state(self.model, self._before, self.owner)
            self.model = self.owner

    def end(self):
        """Publish what has been learned, and tell the callbacks."""
        self.publish()
        if self.callbacks is not None:
            self.callbacks.end_fit()
