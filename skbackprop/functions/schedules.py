"""Schedules of the learning rate: which rate each update takes, and what happens when training no longer improves.

A schedule keeps nothing between calls: the updates made and the rate in force are the caller's to remember, so that a
pickled or continued training goes on as if it had never stopped. It knows nothing of losses either; what counts as a
plateau is decided in `training`.

To add one: a class with `after_warmup`, and `on_plateau` if it answers plateaus, and its place in `SCHEDULES`. The
estimators' checks, the tests and the documentation follow.
"""

import math
from dataclasses import dataclass, replace
from numbers import Real

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
    "Exponential",
    "InverseScaling",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
]


@dataclass(frozen=True)
class Clock:
    """What a schedule may need to know of a training.

    Parameters
    ----------
    steps_per_epoch : int
        Updates in an epoch, at least 1.
    max_steps : int
        Updates in `max_iter` epochs.
    n_seen : int
        Rows trained on before the first of the updates asked for, in this call of `fit` or `partial_fit` and in those
        which it continues.
    rows_per_epoch : int
        Rows in an epoch.
    power_t : float
        The estimator's `power_t`.
    rate : float
        The rate that plateaus have left in force, at first the initial one; without warm-up.
    """

    steps_per_epoch: int
    max_steps: int
    n_seen: int
    rows_per_epoch: int
    power_t: float
    rate: float

    def steps(self, n_epochs):
        """Updates in a number of epochs, which need not be whole.

        Parameters
        ----------
        n_epochs : float
            Positive.

        Returns
        -------
        n_steps : int
            Rounded, and at least 1: half of an epoch of a single update is one update too.
        """
        return max(1, round(min(n_epochs * self.steps_per_epoch, _MAX_STEPS)))


#: Updates are counted in float64, which holds every whole number up to here.
_MAX_STEPS = 2.0**53

# The upper limits are infinity instead of None, which would let infinity itself pass.
_NON_NEGATIVE = [Interval(Real, 0, math.inf, closed="left")]
_POSITIVE = [Interval(Real, 0, math.inf, closed="neither")]
_ONE_OR_MORE = [Interval(Real, 1, math.inf, closed="left")]
_FRACTION = [Interval(Real, 0, 1, closed="both")]
_FACTOR = [Interval(Real, 0, 1, closed="right")]


class Schedule(Function):
    """A schedule of the learning rate.

    Time is counted in updates from 0, since the optimizer began: `fit` starts anew, also with `warm_start`;
    `partial_fit` goes on, and each of its calls counts as one epoch. Schedules that are laid out over `max_iter` epochs
    (`Polynomial`, `OneCycle`, `Cosine` without restarts) keep the rate of their last update if there are more, the
    others simply go on.

    A class has a method `after_warmup`, and `on_plateau` if it does not stop there.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs, non-negative and not necessarily whole, in which the rate rises linearly: update i of w takes i / w of
        the schedule's first rate. The schedule itself begins afterwards, with what is left of `max_iter`. For large
        batches and large rates, and for 'adam', whose first steps rest on few gradients.

    References
    ----------
    * P. Goyal et al. (2017). Accurate, large minibatch SGD: training ImageNet in 1 hour. Section 2.2.
      https://arxiv.org/abs/1706.02677
    """

    _parameter_constraints = {"warmup_epochs": _NON_NEGATIVE}

    #: Whether it is laid out over `max_iter` epochs, at the end of which training is then over as it was meant to be.
    ends_with_max_iter = False

    def __init__(self, warmup_epochs=0.0):
        self.warmup_epochs = warmup_epochs

    def rates(self, initial_rate, first_step, n_steps, clock):
        """Learning rates of consecutive updates.

        Parameters
        ----------
        initial_rate : float
            The estimator's `learning_rate_init`.
        first_step : int
            Updates made before. The first update asked for has to begin an epoch.
        n_steps : int
            Updates asked for; of several epochs, if need be.
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
        # The rows of the warm-up do not count for the schedule, nor do its updates.
        rows = round(min(self.warmup_epochs * clock.rows_per_epoch, _MAX_STEPS))
        clock = replace(clock, max_steps=clock.max_steps - warmup, n_seen=clock.n_seen - rows)
        rates = self.after_warmup(float(initial_rate), np.maximum(steps - warmup, 0.0), clock)
        return rates * np.minimum((steps + 1.0) / warmup, 1.0)

    def after_warmup(self, initial_rate, steps, clock):
        """Learning rates of updates, warm-up apart.

        Parameters
        ----------
        initial_rate : float
        steps : ndarray of shape (n_steps,)
            Updates between the end of the warm-up and each update; 0 within it.
        clock : Clock
            Without what the warm-up takes: `max_steps` and `n_seen` may be negative.

        Returns
        -------
        rates : ndarray of shape (n_steps,)
        """
        raise NotImplementedError

    def on_plateau(self, rate):
        """Answer to more than `n_iter_no_change` epochs without an improvement by `tol`.

        Parameters
        ----------
        rate : float
            The rate in force, as in `Clock.rate`.

        Returns
        -------
        rate : float or None
            The new one; None to stop training.
        """
        return None


class Constant(Schedule):
    """Always the same rate.

    The one to begin with; enough for 'adam' on most data.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    """

    name = "constant"
    definition = r"\eta_0"

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), initial_rate)


class InverseScaling(Schedule):
    """From epoch to epoch by a power of the rows seen, as scikit-learn does it.

    The rate falls steeply after the first epoch, which itself takes the initial rate, also when it continues a training
    by `warm_start`: start with a much larger rate, or lower the estimator's `power_t`, which is the exponent. Of use to
    reproduce scikit-learn's results; `Cosine` or `StepDecay` are easier to tune.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`. Their rows are not counted, and the epoch in which the
        warm-up ends goes on with the initial rate.
    """

    name = "invscaling"
    definition = r"\eta_0 / (n_\text{seen} + 1)^{\text{power\_t}}"
    reference = "Bottou (2012), Stochastic Gradient Descent Tricks, where each update has a rate of its own"

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        epochs = np.arange(len(steps)) // clock.steps_per_epoch
        started = steps[:: clock.steps_per_epoch] > 0
        seen = np.maximum(clock.n_seen + clock.rows_per_epoch * np.arange(len(started), dtype=np.float64), 0.0)
        # A power beyond float64 makes the rate zero.
        with np.errstate(over="ignore"):
            # One by one: the last bit of NumPy's power of an array may differ from that of scikit-learn's of a number.
            divisors = np.array([(n + 1.0) ** clock.power_t for n in seen])
        return np.where(started, initial_rate / divisors, initial_rate)[epochs]


class Adaptive(Schedule):
    r"""The same rate until training no longer improves, then a fifth of it, as scikit-learn does it.

    Training stops on a plateau once the rate is :math:`10^{-6}` or less. Needs no idea of how long training takes: give
    a large `max_iter`.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    """

    name = "adaptive"
    definition = r"\eta / 5 \text{ on each plateau, down to } 10^{-6}"

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), float(clock.rate))

    def on_plateau(self, rate):
        """A fifth, or None to stop; see `Schedule.on_plateau`."""
        return None if rate <= 1e-6 else rate / 5.0


class ReduceOnPlateau(Schedule):
    """The same rate until training no longer improves, then a share of it: `Adaptive` with settings.

    How many epochs without improvement make a plateau, and what improvement is, say the estimator's `n_iter_no_change`
    and `tol`; `early_stopping` watches the validation score instead of the training loss. On the plateau after the one
    that has brought the smallest rate, training stops (PyTorch's and Keras's schedules of this name go on).

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    factor : float, default=0.1
        What the rate is multiplied by; between 0 and 1, both excluded. PyTorch's and Keras's default; nearer to 1 is
        more careful and takes longer.
    min_rate : float, default=1e-6
        Smallest rate; non-negative. `Adaptive`'s limit.
    """

    name = "reduce_on_plateau"
    definition = r"\max(\eta f, \eta_\text{min}) \text{ on each plateau}"
    reference = "He et al. (2016), Deep Residual Learning for Image Recognition, section 3.4"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "factor": [Interval(Real, 0, 1, closed="neither")],
        "min_rate": _NON_NEGATIVE,
    }

    def __init__(self, warmup_epochs=0.0, factor=0.1, min_rate=1e-6):
        super().__init__(warmup_epochs)
        self.factor = factor
        self.min_rate = min_rate

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        return np.full(len(steps), float(clock.rate))

    def on_plateau(self, rate):
        """A share, or None to stop; see `Schedule.on_plateau`."""
        # 0.1 times 0.1 again and again comes to 1.0000000000000004e-06: no more than rounding above the smallest rate.
        if rate <= self.min_rate * (1.0 + 1e-9):
            return None
        return max(rate * self.factor, float(self.min_rate))


class StepDecay(Schedule):
    """A share of the rate every few epochs.

    For a training that is known to reach plateaus at about these epochs; otherwise `ReduceOnPlateau` finds them, or
    `Cosine` does without them.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    every : float, default=10
        Epochs between two reductions; positive. Such that there are two to five in a training.
    factor : float, default=0.5
        What the rate is multiplied by; positive, at most 1. 0.1 to 0.5 are common.
    """

    name = "step"
    definition = r"\eta_0\, f^{\lfloor \text{epoch} / \text{every} \rfloor}"
    reference = "He et al. (2016), Deep Residual Learning for Image Recognition, section 4.2"
    _parameter_constraints = {
        **Schedule._parameter_constraints,
        "every": _POSITIVE,
        "factor": _FACTOR,
    }

    def __init__(self, warmup_epochs=0.0, every=10, factor=0.5):
        super().__init__(warmup_epochs)
        self.every = every
        self.factor = factor

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        return initial_rate * float(self.factor) ** (steps // clock.steps(self.every))


class Exponential(Schedule):
    """By the same factor in each epoch, smoothly from update to update.

    Needs no `max_iter` laid out beforehand, like `StepDecay`, and has no jumps. The rate halves in
    ``log(0.5) / log(factor)`` epochs: 14 with the default.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    factor : float, default=0.95
        What the rate is multiplied by in the course of an epoch; positive, at most 1. For e epochs down to a share s of
        the initial rate, ``s ** (1 / e)``.
    """

    name = "exponential"
    definition = r"\eta_0\, f^{\text{step} / \text{steps per epoch}}"
    reference = (
        "Senior et al. (2013), An empirical study of learning rates in deep neural networks for speech recognition"
    )
    _parameter_constraints = {**Schedule._parameter_constraints, "factor": _FACTOR}

    def __init__(self, warmup_epochs=0.0, factor=0.95):
        super().__init__(warmup_epochs)
        self.factor = factor

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        return initial_rate * float(self.factor) ** (steps / clock.steps_per_epoch)


def _progress(steps, max_steps):
    """Share of a training, or of a cycle, that is over before each update; always less than 1.

    It stays at that of the last update, after which a schedule could come to a rate of zero, at which nothing is learned.
    """
    max_steps = max(1, max_steps)
    return np.minimum(steps, max_steps - 1) / max_steps


def _cosine(share):
    """Half a wave, from 1 at share 0 to 0 at share 1, never negative."""
    return 0.5 * (1.0 + np.cos(np.pi * share))


class Polynomial(Schedule):
    """Down to a share of the rate in `max_iter` epochs, in a straight line by default.

    Training runs to the end of it: the default of `n_iter_no_change` stops nothing here, unless `early_stopping` is set; another
    value does.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    power : float, default=1.0
        Exponent; positive. 1 is linear, more falls faster in the beginning.
    final_fraction : float, default=0.0
        Share of the rate to come down to; from 0 to 1. It is what an update after the last would have.
    """

    name = "polynomial"
    ends_with_max_iter = True
    definition = r"\eta_0 \left[ f + (1 - f) (1 - \text{step} / \text{max steps})^p \right]"
    reference = "Chen et al. (2018), DeepLab, with power 0.9"
    _parameter_constraints = {**Schedule._parameter_constraints, "power": _POSITIVE, "final_fraction": _FRACTION}

    def __init__(self, warmup_epochs=0.0, power=1.0, final_fraction=0.0):
        super().__init__(warmup_epochs)
        self.power = power
        self.final_fraction = final_fraction

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        rest = (1.0 - _progress(steps, clock.max_steps)) ** float(self.power)
        return initial_rate * (self.final_fraction + (1.0 - self.final_fraction) * rest)


class Cosine(Schedule):
    """Down half a cosine wave: in `max_iter` epochs, or again and again.

    Without restarts, a good choice once it is known how many epochs a training takes, and training runs to the end of it: the
    default of `n_iter_no_change` stops nothing then, unless `early_stopping` is set; another value does. With restarts, each
    cycle begins with the initial rate, which may leave a bad minimum, and the end of any cycle is a good place to stop. A plateau
    stops the training then, which restarts may bring about themselves: set ``n_iter_no_change=numpy.inf`` for all of `max_iter`.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`.
    restart_epochs : float or None, default=None
        Epochs in the first cycle; positive. None for no restarts. Cycles have whole numbers of updates.
    restart_factor : float, default=1.0
        By how much each cycle is longer than the one before; at least 1. The paper tries 1 and 2. Not used without
        restarts.
    final_fraction : float, default=0.0
        Share of the rate to come down to; from 0 to 1. It is what an update after a cycle's last would have.
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

    def __init__(self, warmup_epochs=0.0, restart_epochs=None, restart_factor=1.0, final_fraction=0.0):
        super().__init__(warmup_epochs)
        self.restart_epochs = restart_epochs
        self.restart_factor = restart_factor
        self.final_fraction = final_fraction

    def settings(self):
        """Its settings as numbers; 0 epochs, which are not valid, for no restarts."""
        restart_epochs = self.restart_epochs or 0
        return (
            float(self.warmup_epochs),
            float(restart_epochs),
            float(self.restart_factor),
            float(self.final_fraction),
        )

    @property
    def ends_with_max_iter(self):
        """Whether there are no restarts."""
        return self.restart_epochs is None

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        if self.restart_epochs is None:
            share = _progress(steps, clock.max_steps)
        else:
            share = self._cycle_share(steps, clock)
        return initial_rate * (self.final_fraction + (1.0 - self.final_fraction) * _cosine(share))

    def _cycle_share(self, steps, clock):
        """Share of its cycle that is over before each update."""
        length = clock.steps(self.restart_epochs)
        if self.restart_factor == 1:
            return steps % length / length
        # A cycle's beginning and length cannot be told from the update alone: lengths are rounded.
        starts, lengths = [0], [length]
        while len(steps) and starts[-1] + lengths[-1] <= steps[-1]:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(round(min(length * self.restart_factor ** len(lengths), _MAX_STEPS)))
        cycle = np.searchsorted(starts, steps, side="right") - 1
        return (steps - np.take(starts, cycle)) / np.take(lengths, cycle)


class OneCycle(Schedule):
    """Up to the rate and far down again, once in `max_iter` epochs.

    `learning_rate_init` is the peak, and may be several times what a constant rate could be; a range test
    (``skbackprop.inspection.learning_rate_range_test``) finds it. Trains in few epochs, and to the end of the cycle: the default of
    `n_iter_no_change` stops nothing here, unless `early_stopping` is set; another value does.

    The paper lowers the momentum while the rate rises; that is not done here, the momentum stays as it is.

    Parameters
    ----------
    warmup_epochs : float, default=0.0
        Epochs of linear warm-up, non-negative; see `Schedule`. Best left at 0: the cycle has a rise of its own, and the
        warm-up goes to its first rate, not to its peak.
    peak_fraction : float, default=0.3
        Share of the updates up to the peak; from 0 to 1.
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

    def __init__(self, warmup_epochs=0.0, peak_fraction=0.3, start_divisor=25, final_divisor=1e4):
        super().__init__(warmup_epochs)
        self.peak_fraction = peak_fraction
        self.start_divisor = start_divisor
        self.final_divisor = final_divisor

    def after_warmup(self, initial_rate, steps, clock):
        """Rates by the definition; see `Schedule.after_warmup`."""
        first = initial_rate / self.start_divisor
        final = first / self.final_divisor
        last = max(clock.max_steps, 1) - 1
        # PyTorch's place of the peak, which need not be an update. Where PyTorch divides by zero because there is no
        # update before it, the first takes the peak.
        peak = max(self.peak_fraction * (last + 1) - 1, 0.0)
        steps = np.minimum(steps, last)
        rising = _cosine(steps / peak if peak else np.ones(len(steps)))
        falling = _cosine(np.maximum(steps - peak, 0.0) / (last - peak) if last > peak else np.zeros(len(steps)))
        # Mixtures of the two ends, not one end plus a difference: rounding then cannot make a rate negative.
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
        OneCycle,
        ReduceOnPlateau,
    ],
)
