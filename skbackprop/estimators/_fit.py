"""Context of a call of `fit` or `partial_fit`, which is passed from step to step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skbackprop.estimators._callbacks import Callbacks
from skbackprop.estimators._state import copy_state, publish_state
from skbackprop.training.shuffling import draw_orders, draw_orders_in_blocks

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
    #: Whether the rows are another worker's, lent to one that has none: they are validated, and not trained on.
    borrowed: Any = None
    borrowed_val: Any = None


class Fit:
    """The context of a call.

    Parameters
    ----------
    owner : BaseBackprop
        Estimator whose method was called; callbacks get this object.
    incremental : bool
        Whether the method is `partial_fit`.
    workers : Collective or None, default=None
        All workers that fit the same model, each to rows of its own; None for one machine.
    checkpoints : WorkerCheckpoints or None, default=None
        Checkpoints of a training on several workers; None for none.

    Attributes
    ----------
    model : BaseBackprop
        Estimator being fitted. At first a draft: a call that fails leaves the owner unchanged, and other threads can
        predict with the owner's old model until the new one is complete.
    first_pass : bool
        Whether training starts from new initial weights.
    callbacks : Callbacks or None
        None for `partial_fit`, which calls no callbacks.
    first_random_state : tuple
        State of the generator before its first draw; not for `partial_fit`.
    random_state : numpy.random.RandomState
        Draws the initial weights, the validation split and the order of the rows.
    row_draws : numpy.random.RandomState
        Draws the validation split and the order of the rows: the same generator, unless other workers draw for rows of
        their own.
    draw_orders : callable
        Draws the orders of the rows in epochs, as :func:`skbackprop.training.shuffling.draw_orders`.
    """

    def __init__(self, owner, incremental, workers=None, checkpoints=None):
        self.workers = workers
        self.checkpoints = checkpoints
        self.row_draws = None
        self.draw_orders = draw_orders
        self.owner = owner
        self.model = copy_state(owner)
        self.incremental = incremental
        self.first_pass = not hasattr(owner, "coefs_") or not (owner.warm_start or incremental)
        self.callbacks = None
        self.random_state = None
        self._before = dict(vars(self.model))

    def begin(self, arguments):
        """Call the callbacks with these arguments, and set the generator to draw from."""
        if not self.incremental and self.workers is None:
            self.callbacks = Callbacks(self.owner, arguments)
            # A callback may have changed the owner's parameters.
            vars(self.model).update(self.owner.get_params(deep=False))
        self.random_state = check_random_state(self.model.random_state)
        if self.callbacks is not None:
            self.random_state = self.callbacks.begin_draws(self.random_state)
        if self.workers is not None:
            # The first worker's generator; their own may be seeded by chance.
            state = self.workers.gather(self.random_state.get_state() if self.workers.rank == 0 else None)[0]
            self.random_state = np.random.RandomState()
            self.random_state.set_state(state if self.resumed is None else self.resumed.first_random_state)
        if not self.incremental:
            self.first_random_state = self.random_state.get_state()

    def begin_row_draws(self):
        """Set the generator of the draws for rows, after those that all workers make."""
        self.row_draws = self.random_state
        if self.workers is not None:
            # From a copy, so that what all workers draw next is what one machine draws.
            common = np.random.RandomState()
            common.set_state(self.random_state.get_state())
            seeds = np.random.SeedSequence((common.randint(2**31), self.workers.rank))
            self.row_draws = np.random.RandomState(seeds.generate_state(8))

    def draw_in_blocks(self, rows, mapped):
        """From now on, draw orders of these rows, which a file holds, so that it can be read in blocks."""
        sizes = mapped.block_rows, mapped.window_rows
        self.draw_orders = lambda order, n_epochs, random_state: draw_orders_in_blocks(
            rows, n_epochs, random_state, *sizes
        )

    @property
    def resumed(self):
        """Interrupted training that this call continues; None for a new training."""
        source = self.callbacks if self.workers is None else self.checkpoints
        return None if source is None else source.resumed

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
