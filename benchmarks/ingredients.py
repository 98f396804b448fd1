"""Estimators for tables with ingredients that are no settings of theirs: tried, and left out."""

from functools import partial

import numpy as np
from scipy.special import softmax
from sklearn.base import is_classifier
from sklearn.metrics import log_loss, mean_squared_error

from skbackprop.estimators._callbacks import IdleCallback
from skbackprop.estimators.tabular import _logits

#: Choices of a greedy selection, with repetitions.
_N_CHOICES = 12


class ParametricActivation:
    """Each hidden unit mixes its activation with the identity in a proportion that is learned."""

    def _settings(self, attributes):
        return super()._settings(attributes) | {"parametric_activation": True}


class _Keep(IdleCallback):
    """Callback that keeps the networks of some epochs."""

    max_propagation_depth = 0

    def __init__(self, epochs):
        self._epochs, self.networks = epochs, []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch" and fitted_estimator.n_iter_ in self._epochs:
            self.networks.append(fitted_estimator)
        return False


class Snapshots:
    """Means over the networks at all valleys of the learning rate of each training, instead of its best epoch."""

    def _network(self, *arguments):
        network = super()._network(*arguments)
        (watch,) = network._skl_callbacks
        return network.set_callbacks(watch, _Keep(watch._valleys))

    def _fit_member(self, network, rows):
        _, keep = network._skl_callbacks
        best = super()._fit_member(network, rows)
        _, held = self._split(rows, network.random_state)
        X_val, y_val = rows.Z[held], rows.targets[held]
        others = [(other, self._temperature(other, (X_val, y_val, None))) for other in keep.networks]
        return self._choose(best, others, X_val, y_val)

    def _choose(self, best, others, X_val, y_val):
        return others

    def _train(self, *arguments):
        return [pair for chosen in super()._train(*arguments) for pair in chosen]


class GreedySelection(Snapshots):
    """Of these networks and that of the best epoch, those whose mean has the lowest validation loss (Caruana, 2004)."""

    def _choose(self, best, others, X_val, y_val):
        pairs = [best, *others]
        if is_classifier(self):
            predictions = [softmax(_logits(network.decision_function(X_val)) / t, axis=1) for network, t in pairs]
            loss = partial(log_loss, y_val, labels=best[0].classes_)
        else:
            predictions = [network.predict(X_val) for network, _ in pairs]
            loss = partial(mean_squared_error, y_val)
        chosen, total = [], 0.0
        for n_chosen in range(1, _N_CHOICES + 1):
            losses = [loss((total + prediction) / n_chosen) for prediction in predictions]
            chosen.append(int(np.argmin(losses)))
            total = total + predictions[chosen[-1]]
        return [pairs[index] for index in chosen]


def variant(ingredient, kind):
    """Return a class of estimators with an ingredient.

    Parameters
    ----------
    ingredient : {"ParametricActivation", "Snapshots", "GreedySelection"}
    kind : type
        `BackpropTabularClassifier` or `BackpropTabularRegressor`.

    Returns
    -------
    variant : type
    """
    return type(ingredient + kind.__name__, (globals()[ingredient], kind), {})
