"""Optimizers: from a gradient to a change of the parameters.

To add one: a branch in `step_params`, and an entry in `OPTIMIZERS`. Settings reach the kernels
as numbers, in the order that `Optimizer.settings` names; state lives in rows of `slots`.
"""

from dataclasses import dataclass

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions._registry import Entry, Registry
from skbackprop.functions.elementary import natural

__all__ = ["OPTIMIZERS", "Optimizer", "corrected_rate", "step_params"]


@dataclass(frozen=True)
class Optimizer(Entry):
    """A stochastic optimizer.

    Parameters
    ----------
    n_slots : int
        Numbers of state kept for each parameter.
    settings : tuple of str
        The estimators' parameters that it reads, in the order of the kernels' `settings`.
    schedules : bool
        Whether the learning rate schedules apply to it.
    """

    n_slots: int
    settings: tuple
    schedules: bool


NONE, SGD, ADAM = range(3)

OPTIMIZERS = Registry(
    "solver",
    [
        Optimizer(
            "sgd",
            SGD,
            r"v \leftarrow \mu v - \eta g,\quad w \leftarrow w + v "
            r"\ (\text{Nesterov: } w \leftarrow w + \mu v - \eta g)",
            "Sutskever, Martens, Dahl and Hinton (2013), equations 1-4",
            1,
            ("momentum", "nesterovs_momentum"),
            True,
        ),
        Optimizer(
            "adam",
            ADAM,
            r"m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,\quad "
            r"w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}",
            "Kingma and Ba (2015), Algorithm 1 in the more efficient order of section 2",
            2,
            ("beta_1", "beta_2", "epsilon"),
            False,
        ),
    ],
)

#: Length of the array of settings that kernels take.
N_SETTINGS = 4


@formula
def corrected_rate(code, rate, step, settings):
    """The learning rate of one update, with Adam's correction of the moments' bias in it.

    Parameters
    ----------
    code : int
        The optimizer.
    rate : float
        Learning rate.
    step : int
        Number of this update, from 1.
    settings : ndarray of shape (N_SETTINGS,), float64
        The optimizer's settings.

    Returns
    -------
    rate : float
    """
    if code == ADAM:
        return rate * np.sqrt(1.0 - settings[1] ** step) / (1.0 - settings[0] ** step)
    return rate


@formula
def _mean_gradient(total, weight, penalty, share):
    """Gradient of the penalised mean over the rows, from the sum over them."""
    return (total + penalty * weight) * share


@formula
def step_params(code, rate, settings, alpha, total_weight, params, grads, slots, start, stop):
    """Update a range of the parameters in one pass.

    Parameters
    ----------
    code : int
        The optimizer; `NONE` turns `grads` into the gradient of the penalised mean and leaves the parameters.
    rate : float
        Learning rate, from `corrected_rate`.
    settings : ndarray of shape (N_SETTINGS,), float64
        The optimizer's settings.
    alpha, total_weight : float
        The gradient is ``(grads + alpha * params) / total_weight``.
    params, grads : ndarray of shape (n_params,)
        Parameters, updated in place, and the sums of the rows' gradients.
    slots : ndarray of shape (n_slots, n_params)
        State, updated in place.
    start, stop : int
        The range.
    """
    kind = params.dtype.type
    eta = kind(rate)
    penalty = kind(alpha)
    share = kind(1.0 / total_weight)
    if code == NONE:
        for position in range(start, stop):
            i = natural(position)
            grads[i] = _mean_gradient(grads[i], params[i], penalty, share)
    elif code == SGD:
        momentum = kind(settings[0])
        velocity = slots[0]
        if settings[1] != 0.0:
            for position in range(start, stop):
                i = natural(position)
                change = eta * _mean_gradient(grads[i], params[i], penalty, share)
                velocity[i] = momentum * velocity[i] - change
                params[i] += momentum * velocity[i] - change
        else:
            for position in range(start, stop):
                i = natural(position)
                velocity[i] = momentum * velocity[i] - eta * _mean_gradient(grads[i], params[i], penalty, share)
                params[i] += velocity[i]
    elif code == ADAM:
        beta_1 = kind(settings[0])
        beta_2 = kind(settings[1])
        rest_1 = kind(1.0 - settings[0])
        rest_2 = kind(1.0 - settings[1])
        epsilon = kind(settings[2])
        first = slots[0]
        second = slots[1]
        for position in range(start, stop):
            i = natural(position)
            g = _mean_gradient(grads[i], params[i], penalty, share)
            m = beta_1 * first[i] + rest_1 * g
            v = beta_2 * second[i] + rest_2 * (g * g)
            first[i] = m
            second[i] = v
            params[i] -= eta * m / (np.sqrt(v) + epsilon)
    else:
        for position in range(start, stop):
            params[natural(position)] = kind(np.nan)
