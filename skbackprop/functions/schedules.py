"""Schedules of the learning rate: how it changes from epoch to epoch."""

from collections.abc import Callable
from dataclasses import dataclass

from skbackprop.functions._registry import Entry, Registry

__all__ = ["SCHEDULES", "Schedule"]


@dataclass(frozen=True)
class Schedule(Entry):
    """A learning rate schedule.

    Parameters
    ----------
    after_epoch : callable
        ``after_epoch(rate, initial_rate, n_seen, power_t)`` gives the rate of the next epoch; `n_seen` counts
        the training rows seen so far.
    on_plateau : callable
        ``on_plateau(rate)`` gives the new rate when the loss or the score no longer improves, or None to stop.
    """

    after_epoch: Callable
    on_plateau: Callable


def _keep(rate, initial_rate, n_seen, power_t):
    return rate


def _inverse_scaling(rate, initial_rate, n_seen, power_t):
    return float(initial_rate) / (n_seen + 1) ** power_t


def _stop(rate):
    return None


def _divide(rate):
    return None if rate <= 1e-6 else rate / 5.0


SCHEDULES = Registry(
    "learning_rate",
    [
        Schedule("constant", 0, r"\eta_0", "", _keep, _stop),
        Schedule(
            "invscaling",
            1,
            r"\eta_0 / (n_\text{seen} + 1)^{\text{power\_t}}",
            "Bottou (2012), Stochastic Gradient Descent Tricks",
            _inverse_scaling,
            _stop,
        ),
        Schedule("adaptive", 2, r"\eta / 5 \text{ on each plateau, down to } 10^{-6}", "", _keep, _divide),
    ],
)
