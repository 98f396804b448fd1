"""Learning rate schedules: the rate of each update, and the response to plateaus.

A schedule has no state: the caller keeps the number of updates and the current rate, so that a pickled or continued
training proceeds as if it had never stopped. It does not know the losses either; `training` decides what counts as a
plateau.

To add one, write a class with `after_warmup`, and `on_plateau` if it responds to plateaus, and list it in `SCHEDULES`.
The estimators' checks, the tests and the documentation follow.
"""

import math
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from skbackprop._sklearn import Interval
from skbackprop.functions._function import Function
from skbackprop.functions._registry import Registry

__all__ = [
    "SCHEDULES",
    "Adaptive",
    "Clock",
    "Constant",
    "Cosine",
    "CosineLog",
    "Exponential",
    "FlatCosine",
    "InverseScaling",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
]


@dataclass(frozen=True)
class Clock:
    """What a schedule may need to know about a training.

    Parameters
    ----------
    steps_per_epoch : int
        Number of updates in an epoch; at least 1.
    max_steps : int
        Number of updates in `max_iter` epochs.
    n_seen : int
        Number of rows trained on before the first of the requested updates, in this call of `fit` or `partial_fit` and
        in those that it continues.
    rows_per_epoch : int
        Number of rows in an epoch.
    power_t : float
        The estimator's `power_t`.
    rate : float
        The current rate, after reductions on plateaus; without warm-up.
    """

    steps_per_epoch: int
    max_steps: int
    n_seen: int
    rows_per_epoch: int
    power_t: float
    rate: float

    def steps(self, n_epochs: float) -> int:
        """Number of updates in a number of epochs, which may be fractional.

        Parameters
        ----------
        n_epochs : float
            Positive.

        Returns
        -------
        n_steps : int
            Rounded, and at least 1: half of an epoch of a single update is one update, too.
        """
        return max(1, round(min(n_epochs * self.steps_per_epoch, _MAX_STEPS)))


#: Updates are counted in float64, which represents every integer up to here.
_MAX_STEPS = 2.0**53

# The upper limits are infinity instead of None, which would accept infinity itself.
_NON_NEGATIVE = [Interval(Real, 0, math.inf, closed="left")]
_POSITIVE = [Interval(Real, 0, math.inf, closed="neither")]
_ONE_OR_MORE = [Interval(Real, 1, math.inf, closed="left")]
_FRACTION = [Interval(Real, 0, 1, closed="both")]
_FACTOR = [Interval(Real, 0, 1, closed="right")]


class Schedule(Function):
    """A learning rate schedule.

    Time is counted in updates from 0, since the optimizer was created: `fit` starts again, even with `warm_start`;
    `partial_fit` continues, and each call counts as one epoch. Schedules that span `max_iter` epochs (`Polynomial`,
    `OneCycle`, `CosineLog`, `FlatCosine`, `Cosine` without restarts) keep the rate of their last update if there are
    more updates; the others continue.

    A class has a method `after_warmup`, and `on_plateau` if it does not stop on a plateau.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs in which the rate rises linearly; non-negative, may be fractional. Update i of w has i / w of
        the schedule's first rate. The schedule itself starts afterwards, with the rest of `max_iter`. Useful for large
        batches and large rates, and for 'adam', whose first steps are based on few gradients.

    References
    ----------
    * P. Goyal et al. (2017). Accurate, large minibatch SGD: training ImageNet in 1 hour. Section 2.2.
      https://arxiv.org/abs/1706.02677
    """

    _parameter_constraints = {"warmup_epochs": _NON_NEGATIVE}

    #: Whether it spans `max_iter` epochs, so that training is meant to end there.
    ends_with_max_iter = False

    # Of a user's class whose constructor does not take it.
    warmup_epochs: float = 0.0

    def __init__(self, warmup_epochs: float = 0.0) -> None:
        self.warmup_epochs = warmup_epochs

    def rates(self, initial_rate: float, first_step: int, n_steps: int, clock: Any) -> np.ndarray:
        """Learning rates of consecutive updates.

        Parameters
        ----------
        initial_rate : float
            The estimator's `learning_rate_init`.
        first_step : int
            Number of previous updates. The first requested update has to begin an epoch.
        n_steps : int
            Number of requested updates, possibly of several epochs.
        clock : Clock

        Returns
        -------
        rates : ndarray of shape (n_steps,)
            float64; never negative, never NaN.
        """
        steps = np.arange(first_step, first_step + n_steps, dtype=np.float64)
        if not self.warmup_epochs:
            return self.after_warmup(float(initial_rate), steps, clock)
        warmup = clock.steps(self.warmup_epochs)
        # Neither the rows nor the updates of the warm-up count for the schedule.
        rows = round(min(self.warmup_epochs * clock.rows_per_epoch, _MAX_STEPS))
        clock = replace(clock, max_steps=clock.max_steps - warmup, n_seen=clock.n_seen - rows)
        rates = self.after_warmup(float(initial_rate), np.maximum(steps - warmup, 0.0), clock)
        return rates * np.minimum((steps + 1.0) / warmup, 1.0)

    def after_warmup(self, initial_rate: float, steps: np.ndarray, clock: Any) -> np.ndarray:
        """Learning rates of updates, without the warm-up factor.

        Parameters
        ----------
        initial_rate : float
        steps : ndarray of shape (n_steps,)
            Number of updates between the end of the warm-up and each update; 0 during the warm-up.
        clock : Clock
            With the warm-up subtracted: `max_steps` and `n_seen` may be negative.

        Returns
        -------
        rates : ndarray of shape (n_steps,)
        """
        raise NotImplementedError

    def on_plateau(self, rate: float) -> float | None:
        """Response to more than `n_iter_no_change` epochs without an improvement by `tol`.

        Parameters
        ----------
        rate : float
            The current rate, as in `Clock.rate`.

        Returns
        -------
        rate : float or None
            The new rate; None to stop training.
        """
        return None


class Constant(Schedule):
    """Always the same rate.

    Try this one first; it is enough for 'adam' on most data.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    """

    name = "constant"
    definition = r"\eta_0"

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), initial_rate)


class InverseScaling(Schedule):
    """Decay from epoch to epoch by a power of the number of rows seen, as in scikit-learn.

    The rate falls steeply after the first epoch, which has the initial rate, even if it continues a training by
    `warm_start`: start with a much larger rate, or lower the exponent, the estimator's `power_t`. Useful to reproduce
    scikit-learn's results; `Cosine` or `StepDecay` are easier to tune.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`. Their rows are not counted, and the epoch in
        which the warm-up ends continues with the initial rate.
    """

    name = "invscaling"
    definition = r"\eta_0 / (n_\text{seen} + 1)^{\text{power\_t}}"
    reference = "Bottou (2012), Stochastic Gradient Descent Tricks, where each update has a rate of its own"

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        epochs = np.arange(len(steps)) // clock.steps_per_epoch
        started = steps[:: clock.steps_per_epoch] > 0
        seen = np.maximum(clock.n_seen + clock.rows_per_epoch * np.arange(len(started), dtype=np.float64), 0.0)
        # A power that overflows float64 makes the rate zero.
        with np.errstate(over="ignore"):
            # One by one, because the last bit of NumPy's power of an array may differ from that of a Python float,
            # which scikit-learn uses.
            divisors = np.array([(n + 1.0) ** clock.power_t for n in seen])
        return np.where(started, initial_rate / divisors, initial_rate)[epochs]


class Adaptive(Schedule):
    r"""Constant rate that is divided by five on each plateau, as in scikit-learn.

    Training stops on a plateau once the rate is :math:`10^{-6}` or less. It does not depend on the length of the
    training: set a large `max_iter`.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    """

    name = "adaptive"
    definition = r"\eta / 5 \text{ on each plateau, down to } 10^{-6}"

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), float(clock.rate))

    def on_plateau(self, rate: Any) -> Any:
        """A fifth of the rate, or None to stop; see `Schedule.on_plateau`."""
        return None if rate <= 1e-6 else rate / 5.0


class ReduceOnPlateau(Schedule):
    """Constant rate that is multiplied by a factor on each plateau: `Adaptive` with settings.

    The estimator's `n_iter_no_change` and `tol` define a plateau; with `early_stopping`, it is one of the validation
    score instead of the training loss. Training stops on the first plateau at the smallest rate (PyTorch's and Keras's
    schedules of this name continue).

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    factor : float, default=0.1
        Factor by which the rate is multiplied; between 0 and 1, both excluded. The default is PyTorch's and Keras's;
        values closer to 1 are more cautious and take longer.
    min_rate : float, default=1e-6
        Smallest rate; non-negative. The default is the limit of `Adaptive`.
    """

    name = "reduce_on_plateau"
    definition = r"\max(\eta f, \eta_\text{min}) \text{ on each plateau}"
    reference = "He et al. (2016), Deep Residual Learning for Image Recognition, section 3.4"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "factor": [Interval(Real, 0, 1, closed="neither")],
        "min_rate": _NON_NEGATIVE,
    }

    def __init__(self, warmup_epochs: float = 0.0, factor: float = 0.1, min_rate: float = 1e-6) -> None:
        super().__init__(warmup_epochs)
        self.factor = factor
        self.min_rate = min_rate

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), float(clock.rate))

    def on_plateau(self, rate: Any) -> Any:
        """The reduced rate, or None to stop; see `Schedule.on_plateau`."""
        # Repeated multiplication by 0.1 gives 1.0000000000000004e-06, which exceeds the smallest rate by rounding only.
        if rate <= self.min_rate * (1.0 + 1e-9):
            return None
        return max(rate * self.factor, float(self.min_rate))


class StepDecay(Schedule):
    """Multiplication of the rate by a factor every few epochs.

    For trainings known to reach plateaus at about these epochs; otherwise `ReduceOnPlateau` detects them, and `Cosine`
    does not need them.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    every : float, default=10
        Number of epochs between two reductions; positive. Two to five reductions per training are common.
    factor : float, default=0.5
        Factor by which the rate is multiplied; positive, at most 1. 0.1 to 0.5 are common.
    """

    name = "step"
    definition = r"\eta_0\, f^{\lfloor \text{epoch} / \text{every} \rfloor}"
    reference = "He et al. (2016), Deep Residual Learning for Image Recognition, section 4.2"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "every": _POSITIVE,
        "factor": _FACTOR,
    }

    def __init__(self, warmup_epochs: float = 0.0, every: float = 10, factor: float = 0.5) -> None:
        super().__init__(warmup_epochs)
        self.every = every
        self.factor = factor

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        return initial_rate * float(self.factor) ** (steps // clock.steps(self.every))


class Exponential(Schedule):
    """Exponential decay by the same factor in each epoch, smoothly from update to update.

    It does not depend on `max_iter`, like `StepDecay`, and has no jumps. The rate halves in ``log(0.5) / log(factor)``
    epochs: 14 with the default.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    factor : float, default=0.95
        Factor by which the rate is multiplied in the course of an epoch; positive, at most 1. To reach a fraction s of
        the initial rate in e epochs, use ``s ** (1 / e)``.
    """

    name = "exponential"
    definition = r"\eta_0\, f^{\text{step} / \text{steps per epoch}}"
    reference = (
        "Senior et al. (2013), An empirical study of learning rates in deep neural networks for speech recognition"
    )
    _parameter_constraints = {**Schedule._parameter_constraints, "factor": _FACTOR}

    def __init__(self, warmup_epochs: float = 0.0, factor: float = 0.95) -> None:
        super().__init__(warmup_epochs)
        self.factor = factor

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        return initial_rate * float(self.factor) ** (steps / clock.steps_per_epoch)


def _progress(steps, max_steps):
    """Fraction of a training, or of a cycle, that is completed before each update; always less than 1.

    After the last update it does not increase any more, because schedules could otherwise reach a rate of zero, at
    which nothing is learned.
    """
    max_steps = max(1, max_steps)
    return np.minimum(steps, max_steps - 1) / max_steps


def _cosine(share):
    """Half a cosine wave, from 1 at share 0 to 0 at share 1, never negative."""
    return 0.5 * (1.0 + np.cos(np.pi * share))


class Polynomial(Schedule):
    """Polynomial decay to a fraction of the rate in `max_iter` epochs; linear by default.

    Training runs to the end of the schedule: the default of `n_iter_no_change` takes effect only with `early_stopping`,
    other values always.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    power : float, default=1.0
        Exponent; positive. 1 is linear; larger values decay faster at the beginning.
    final_fraction : float, default=0.0
        Final rate as a fraction of the initial one; from 0 to 1. It is the rate that an update after the last one would
        have.
    """

    name = "polynomial"
    ends_with_max_iter = True
    definition = r"\eta_0 \left[ f + (1 - f) (1 - \text{step} / \text{max steps})^p \right]"
    reference = "Chen et al. (2018), DeepLab, with power 0.9"
    _parameter_constraints = {**Schedule._parameter_constraints, "power": _POSITIVE, "final_fraction": _FRACTION}

    def __init__(self, warmup_epochs: float = 0.0, power: float = 1.0, final_fraction: float = 0.0) -> None:
        super().__init__(warmup_epochs)
        self.power = power
        self.final_fraction = final_fraction

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        rest = (1.0 - _progress(steps, clock.max_steps)) ** float(self.power)
        return initial_rate * (self.final_fraction + (1.0 - self.final_fraction) * rest)


class Cosine(Schedule):
    """Decay along half a cosine wave: once in `max_iter` epochs, or repeatedly with restarts.

    Without restarts, it is a good choice if the number of epochs is known. Training then runs to the end of the
    schedule: the default of `n_iter_no_change` takes effect only with `early_stopping`, other values always. With
    restarts, each cycle begins with the initial rate, which helps to leave a bad minimum, and the end of any cycle is a
    good place to stop. Plateaus then stop training, and restarts may cause a plateau: set
    ``n_iter_no_change=numpy.inf`` to run all of `max_iter`.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    restart_epochs : float or None, default=None
        Number of epochs in the first cycle; positive. None for no restarts. Cycles are rounded to whole updates.
    restart_factor : float, default=1.0
        Ratio of the length of each cycle to that of the previous one; at least 1. The paper tries 1 and 2. Not used
        without restarts.
    final_fraction : float, default=0.0
        Final rate as a fraction of the initial one; from 0 to 1. It is the rate that an update after the last one of a
        cycle would have.
    """

    name = "cosine"
    definition = (
        r"\eta_0 \left[ f + (1 - f) (1 + \cos(\pi s / n)) / 2 \right]"
        r"\text{, update } s \text{ of a cycle of } n \text{ (all of them without restarts)}"
    )
    reference = "Loshchilov and Hutter (2017), SGDR, equation 5"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "restart_epochs": [*_POSITIVE, None],
        "restart_factor": _ONE_OR_MORE,
        "final_fraction": _FRACTION,
    }

    def __init__(
        self,
        warmup_epochs: float = 0.0,
        restart_epochs: float | None = None,
        restart_factor: float = 1.0,
        final_fraction: float = 0.0,
    ) -> None:
        super().__init__(warmup_epochs)
        self.restart_epochs = restart_epochs
        self.restart_factor = restart_factor
        self.final_fraction = final_fraction

    def settings(self) -> Any:
        """Its settings as numbers; 0 epochs, which is not a valid value, means no restarts."""
        restart_epochs = self.restart_epochs or 0
        return (
            float(self.warmup_epochs),
            float(restart_epochs),
            float(self.restart_factor),
            float(self.final_fraction),
        )

    @property
    def ends_with_max_iter(self) -> Any:  # type: ignore[override]
        """Whether there are no restarts."""
        return self.restart_epochs is None

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        if self.restart_epochs is None:
            share = _progress(steps, clock.max_steps)
        else:
            share = self._cycle_share(steps, clock)
        return initial_rate * (self.final_fraction + (1.0 - self.final_fraction) * _cosine(share))

    def _cycle_share(self, steps, clock):
        """Fraction of the current cycle that is completed before each update."""
        length = clock.steps(self.restart_epochs)
        if self.restart_factor == 1:
            return steps % length / length
        # The start and length of a cycle have no closed form, because lengths are rounded.
        starts, lengths = [0], [length]
        while len(steps) and starts[-1] + lengths[-1] <= steps[-1]:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(round(min(length * self.restart_factor ** len(lengths), _MAX_STEPS)))
        cycle = np.searchsorted(starts, steps, side="right") - 1
        return (steps - np.take(starts, cycle)) / np.take(lengths, cycle)


class FlatCosine(Schedule):
    """A constant rate, and then decay along half a cosine wave: once in `max_iter` epochs.

    More of the training has the full rate than with `Cosine`. It also suits `dropout_schedule` and
    `weight_decay_schedule`. As a schedule of the learning rate, training runs to its end: the default of
    `n_iter_no_change` takes effect only with `early_stopping`, other values always.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`.
    flat_fraction : float, default=0.5
        Fraction of the updates with the full rate; from 0 to 1.
    final_fraction : float, default=0.0
        Final rate as a fraction of the initial one; from 0 to 1. It is the rate that an update after the last one would
        have.
    """

    name = "flat_cosine"
    ends_with_max_iter = True
    definition = (
        r"\eta_0 \left[ f + (1 - f) (1 + \cos(\pi \max(0, t - a) / (1 - a))) / 2 \right]"
        r"\text{, fraction } t \text{ of the training, flat up to } a"
    )
    reference = "Howard and Gugger (2020), fastai; for dropout and weight decay: Holzmüller et al. (2024)"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "flat_fraction": _FRACTION,
        "final_fraction": _FRACTION,
    }

    def __init__(self, warmup_epochs: float = 0.0, flat_fraction: float = 0.5, final_fraction: float = 0.0) -> None:
        super().__init__(warmup_epochs)
        self.flat_fraction = flat_fraction
        self.final_fraction = final_fraction

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        beyond = np.maximum(_progress(steps, clock.max_steps) - self.flat_fraction, 0.0)
        # With nothing after the flat part, nothing is beyond it.
        share = beyond / (1.0 - self.flat_fraction) if self.flat_fraction < 1 else beyond
        return initial_rate * (self.final_fraction + (1.0 - self.final_fraction) * _cosine(share))


class CosineLog(Schedule):
    """Cosine waves in `max_iter` epochs, each twice as long as the one before, from zero to the rate and back.

    Short cycles at the beginning, when much is learned in few updates, and a long one for the end. At the valleys
    between two cycles the rate is almost zero, so that the weights come to rest there: good places to stop, or to keep
    the weights of (`valleys`). Made for Adam with a `beta_2` of 0.95, a large `learning_rate_init` and
    ``parametrization='ntp'``. Training runs to the end of the schedule: the default of `n_iter_no_change` takes effect
    only with `early_stopping`, other values always.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`. Best left at 0, because each cycle starts with
        a rise.
    n_cycles : int, default=4
        Number of cycles; from 1 to 50. The default is the paper's; the first one then takes a fifteenth of the
        training.
    """

    name = "cosine_log"
    ends_with_max_iter = True
    definition = (
        r"\eta_0\, (1 - \cos(2 \pi \log_2(1 + (2^c - 1) t))) / 2"
        r"\text{, } c \text{ cycles, fraction } t \text{ of the training at the middle of the update}"
    )
    reference = (
        "Holzmüller, Grinsztajn and Steinwart (2024), Better by default, where t is that at the start of the update"
    )
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "n_cycles": [Interval(Integral, 1, 50, closed="both")],
    }

    def __init__(self, warmup_epochs: float = 0.0, n_cycles: int = 4) -> None:
        super().__init__(warmup_epochs)
        self.n_cycles = n_cycles

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        n_steps = max(1, clock.max_steps)
        # No update lies with its middle on a valley, where nothing would be learned: fractions of odd numbers only.
        middles = (np.minimum(steps, n_steps - 1) + 0.5) / n_steps
        cycles = np.log2(1.0 + (2.0**self.n_cycles - 1.0) * middles)
        # The same as by the cosine, but without cancellation near the valleys.
        return initial_rate * np.sin(np.pi * cycles) ** 2

    def valleys(self) -> tuple[float, ...]:
        """Where the cycles end.

        Returns
        -------
        fractions : tuple of float
            Of the training without the warm-up, ``(2**k - 1) / (2**n_cycles - 1)`` for each cycle k; the last one is 1.
        """
        return tuple((2**k - 1) / (2**self.n_cycles - 1) for k in range(1, self.n_cycles + 1))


class OneCycle(Schedule):
    """One cycle in `max_iter` epochs: up to the peak rate and far down again.

    `learning_rate_init` is the peak, and may be several times the best constant rate; a range test
    (``skbackprop.inspection.learning_rate_range_test``) finds it. It needs few epochs. Training runs to the end of the
    cycle: the default of `n_iter_no_change` takes effect only with `early_stopping`, other values always.

    The paper lowers the momentum while the rate rises; here, the momentum stays constant.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Number of epochs of linear warm-up; non-negative. See `Schedule`. Best left at 0, because the cycle already
        starts with a rise, and the warm-up leads to its first rate, not to its peak.
    peak_fraction : float, default=0.3
        Fraction of the updates before the peak; from 0 to 1.
    start_divisor : float, default=25
        The first rate is the peak divided by this; at least 1.
    final_divisor : float, default=1e4
        The last rate is the first divided by this; at least 1. All three are PyTorch's defaults, from fastai.
    """

    name = "one_cycle"
    ends_with_max_iter = True
    definition = (
        r"\eta_0 / d_\text{start} \rightarrow \eta_0 \rightarrow \eta_0 / (d_\text{start}\, d_\text{final})"
        r"\text{, each along half a cosine wave}"
    )
    reference = "Smith and Topin (2018), Super-Convergence, with cosines instead of straight lines, as in PyTorch"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "peak_fraction": _FRACTION,
        "start_divisor": _ONE_OR_MORE,
        "final_divisor": _ONE_OR_MORE,
    }

    def __init__(
        self,
        warmup_epochs: float = 0.0,
        peak_fraction: float = 0.3,
        start_divisor: float = 25,
        final_divisor: float = 1e4,
    ) -> None:
        super().__init__(warmup_epochs)
        self.peak_fraction = peak_fraction
        self.start_divisor = start_divisor
        self.final_divisor = final_divisor

    def after_warmup(self, initial_rate: Any, steps: Any, clock: Any) -> Any:
        """Rates by the definition; see `Schedule.after_warmup`."""
        first = initial_rate / self.start_divisor
        final = first / self.final_divisor
        last = max(clock.max_steps, 1) - 1
        # PyTorch's position of the peak, which may lie between updates. If no update precedes it, where PyTorch divides
        # by zero, the first update has the peak rate.
        peak = max(self.peak_fraction * (last + 1) - 1, 0.0)
        steps = np.minimum(steps, last)
        rising = _cosine(steps / peak if peak else np.ones(len(steps)))
        falling = _cosine(np.maximum(steps - peak, 0.0) / (last - peak) if last > peak else np.zeros(len(steps)))
        # Weighted means of the two ends, not one end plus a difference, so that rounding cannot make a rate negative.
        return np.where(
            steps <= peak,
            first * rising + initial_rate * (1.0 - rising),
            final * (1.0 - falling) + initial_rate * falling,
        )


SCHEDULES = Registry(
    "learning_rate",
    Schedule,
    [
        Constant,
        InverseScaling,
        Adaptive,
        StepDecay,
        Exponential,
        Polynomial,
        Cosine,
        FlatCosine,
        CosineLog,
        OneCycle,
        ReduceOnPlateau,
    ],
)
