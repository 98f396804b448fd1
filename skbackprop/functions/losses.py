"""Loss functions of raw predictions, and their gradients.

A loss takes the raw prediction (the output layer's pre-activations, before the link), so that loss and link are
evaluated together where their combination has a stable closed form. For the squared error, Poisson and the log losses
the link is canonical: the gradient with respect to the raw prediction is `prediction - target`.

To add one, write a class with the formula `loss_gradient`, a link and the NumPy form `naive`, and list it in `__all__`
and `LOSSES`. A loss that is not elementwise overrides the loop in `evaluation` instead. The estimators' checks, the
gradient tests and the documentation follow.
"""

import math
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
from scipy import special

from skbackprop._compile import JIT, formula, specialise, types
from skbackprop._sklearn import Interval
from skbackprop.functions._function import N_SETTINGS, Function, named
from skbackprop.functions._registry import Registry
from skbackprop.functions.elementary import exp, log, logistic, natural, number, tanh
from skbackprop.functions.links import (
    LINKS,
    ColumnLogits,
    GaussianLink,
    IdentityLink,
    Link,
    LogitLink,
    LogLink,
    MultinomialLogit,
    clip_log_variance,
    exponentiate,
    group_size,
    softmax,
    subtract_top,
)

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "Focal",
    "Gamma",
    "Gaussian",
    "Hinge",
    "Huber",
    "LogCosh",
    "LogLoss",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "SquaredHinge",
    "Tweedie",
    "loss_link",
    "loss_loops",
]


def epsilon(like: Any) -> Any:
    """Return the machine epsilon of the type of `like`."""
    return np.finfo(like.dtype).eps


if JIT:

    @specialise(epsilon)
    def _epsilon(like):
        single, double = np.finfo(np.float32).eps, np.finfo(np.float64).eps
        kind = getattr(like, "dtype", like)
        if kind == types.float32:
            return lambda like: single
        return (lambda like: double) if kind == types.float64 else None


# --- Templates: loops around the formulas


def loss_gradient(z: Any, y: Any, s: Any) -> Any:
    """Placeholder for the formula that the templates call."""
    return z, y


def row_scale(n_outputs: Any) -> Any:
    """Placeholder for the formula that the templates call."""
    return 1.0


@formula
def _replace(loss_gradient, z, y, n, delta, s):
    """Replace n raw predictions with their losses, and write the gradient."""
    for position in range(n):
        i = natural(position)
        value, gradient = loss_gradient(z[i], y[i], s)
        delta[i] = gradient
        z[i] = value


@formula
def _sum_rows(z, n_rows, n_outputs, scale, losses):
    """Sum the losses of each row's outputs in float64."""
    for row in range(n_rows):
        total = 0.0
        for k in range(row * n_outputs, (row + 1) * n_outputs):
            total += z[natural(k)]
        losses[natural(row)] = scale * total


def _evaluate(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    # Two passes: a float64 sum inside the first loop would prevent vectorization.
    _replace(loss_gradient, z, y, n_rows * n_outputs, delta, named(settings, z))
    _sum_rows(z, n_rows, n_outputs, row_scale(n_outputs), losses)


def _evaluate_one_versus_rest(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    s = named(settings, z)
    for row in range(n_rows):
        start = row * n_outputs
        label = start + int(y[natural(row)])
        total = 0.0
        for k in range(start, start + n_outputs):
            i = natural(k)
            target = number(1.0, z) if k == label else number(0.0, z)
            value, gradient = loss_gradient(z[i], target, s)
            delta[i] = gradient
            total += value
        losses[natural(row)] = total


# --- Base class


class _OfLink:
    """Descriptor of an attribute that a loss inherits from its link unless it defines its own."""

    def __init__(self, name: Any) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        return getattr(owner.link, self._name)


class Loss(Function):
    """Base class of losses of raw predictions z and targets y, with a link from raw predictions to predictions.

    An elementwise loss has a formula as a static method, ``loss_gradient(z, y, s)``: the loss and its derivative with
    respect to z, where s is a named tuple of the settings. The loss of a row is the sum over its outputs, times the
    formula ``row_scale(n_outputs)``, which is 1 by default. ``naive(z, y, *settings)`` computes the losses of all
    outputs in plain NumPy, for the tests.

    Instead of `link`, a loss may have the formula ``inverse_link(z, s)`` and the attribute `out_activation`.

    A classifier's loss has two variants, for binary labels and for classes; `for_task` returns the variant to run. A
    regressor's loss is its own variant.

    Attributes
    ----------
    public_name : str
        Name in the estimators' parameter, the `name` in `LOSSES`.
    task : {"regression", "binary", "multiclass"}
        Task of a variant. "binary" means one column of labels 0 or 1, or several independent ones (multilabel).
    link : Link
        Link from raw predictions to predictions.
    out_activation : str
        Name of the link.
    n_codes : bool
        Whether the targets are class codes in one column.
    has_proba : bool
        Whether the predictions are probabilities.
    has_std : bool
        Whether each target has two predictions, a mean and a standard deviation.
    threshold : float
        Binary labels are 1 for predictions above this.
    lower : float
        Lower bound of the targets.
    lower_inclusive : bool
        Whether targets may equal the bound.
    """

    public_name: str
    task: str
    link: Link = IdentityLink()
    out_activation: Any = _OfLink("name")
    inverse_link: Any = _OfLink("inverse")
    n_codes = False
    has_proba = False
    has_std = False
    threshold: float = 0.5
    lower: float = -math.inf
    lower_inclusive = True

    @staticmethod
    @formula
    def row_scale(n_outputs):
        """Return the factor of the sum over a row's outputs."""
        return 1.0

    @classmethod
    def kinds(cls) -> dict[str, Any]:
        """Return the variants by task.

        Returns
        -------
        kinds : dict of str to type
        """
        return {cls.task: cls}

    def for_task(self, task: str) -> Any:
        """Return the variant for a task, with the same settings.

        Parameters
        ----------
        task : {"regression", "binary", "multiclass"}

        Returns
        -------
        loss : Loss
            Object whose class `loss_loops` accepts.

        Raises
        ------
        ValueError
            If this loss has no variant for the task.
        """
        kinds = self.kinds()
        if task not in kinds:
            served = ", ".join(name for name, entry in LOSSES.items() if task in entry.kinds())
            raise ValueError(
                f"loss={self.public_name!r} is for {' and '.join(kinds)} targets, not for {task} ones: use one of {served}"
            )
        kind = kinds[task]
        return self if isinstance(self, kind) else kind(**self.get_params(deep=False))

    def outputs_per_target(self) -> int:
        """Return the number of predictions per target.

        Returns
        -------
        n : int
        """
        return 1

    @classmethod
    def takes(cls, n_targets: int, n_outputs: int, settings: tuple[float, ...]) -> bool:
        """Whether the loops support this number of target columns for this number of outputs.

        Parameters
        ----------
        n_targets, n_outputs : int
        settings : tuple of float

        Returns
        -------
        takes : bool
        """
        if cls.n_codes:
            return n_targets == len(cls.code_counts(n_outputs, settings))
        several = cls.outputs_per_target is not Loss.outputs_per_target
        return n_targets > 0 and n_outputs % n_targets == 0 and (several or n_targets == n_outputs)

    @classmethod
    def code_counts(cls, n_outputs: int, settings: tuple[float, ...]) -> tuple[float, ...]:
        """Return the number of classes in each column of targets, if these are class codes.

        Parameters
        ----------
        n_outputs : int
        settings : tuple of float

        Returns
        -------
        counts : tuple of float
            Codes are integers from 0 to one less than these.
        """
        return (n_outputs,)

    def check_targets(self, y: np.ndarray, name: str = "y") -> None:
        """Raise ValueError for targets outside the loss's domain.

        Parameters
        ----------
        y : ndarray
            Finite numbers.
        name : str, default="y"
            Name of the argument in error messages.

        Raises
        ------
        ValueError
            If a target is below the bound `lower`.
        """
        outside = y[y < self.lower if self.lower_inclusive else y <= self.lower]
        if outside.size:
            worst = outside.min()
            sign = ">=" if self.lower_inclusive else ">"
            settings = ", ".join(f"{name}={value!r}" for name, value in self.get_params(deep=False).items())
            # Poisson accepts zeros, but no negative targets.
            instead = "squared_error" if worst < self.lower else "poisson"
            raise ValueError(
                f"loss={self.public_name!r}{' with ' if settings else ''}{settings} is defined for {name} {sign} {self.lower:g}, "
                f"but {name} has {worst:g}; use loss={instead!r} for such targets"
            )

    @classmethod
    def evaluation(cls) -> Any:
        """Return the class's loop `evaluate`, see `loss_loops`."""
        return cls.loop(_evaluate, loss_gradient=cls.loss_gradient, row_scale=cls.row_scale)

    @classmethod
    def loops(cls) -> Any:
        """Return the class's loops `evaluate` and `link`, see `loss_loops`."""
        return cls.evaluation(), loss_link(cls).loop(cls)  # type: ignore[arg-type]


class _FormulaLink(Link):
    """Link of a loss that defines a formula or loops instead of a link; the rest follows from name and task."""

    def __init__(self, kind: Any) -> None:
        named: Any = LINKS.get(kind.out_activation)
        self.name, self.inverse = kind.out_activation, kind.inverse_link
        self.domain = named and named.domain
        of_task: dict[Any, Any] = {"binary": LogitLink(), "multiclass": MultinomialLogit()}
        like = of_task.get(getattr(kind, "task", None), named or IdentityLink())
        vars(self).update(link=like.link, prior=like.prior, scores=like.scores)


@cache
def loss_link(kind: Any) -> Any:
    """Return the link of a loss.

    Parameters
    ----------
    kind : type
        Class of a variant, see `Loss.for_task`.

    Returns
    -------
    link : Link
    """
    said = next(names for base in kind.__mro__ if (names := vars(base).keys() & {"link", "inverse_link", "loops"}))
    return kind.link if "link" in said else _FormulaLink(kind)


def _one_hot(z, y, smoothing=0.0):
    """Convert class codes to targets per output, with label smoothing."""
    return np.eye(z.shape[1])[y[:, 0].astype(int)] * (1 - smoothing) + smoothing / z.shape[1]


class _Logistic:
    """Mixin of losses of independent labels, with probabilities."""

    task = "binary"
    link: Link = LogitLink()
    has_proba = True


class _Softmax:
    """Mixin of losses of classes, with probabilities that sum to 1."""

    task = "multiclass"
    link: Link = MultinomialLogit()
    n_codes = True
    has_proba = True


# --- Classification


class LogLoss(Loss):
    r"""Cross-entropy, the default for classification; of these losses, it has the best calibrated probabilities.

    Label smoothing mixes each target with the uniform distribution: with K classes the target is
    ``1 - label_smoothing * (K - 1) / K`` for the row's class and ``label_smoothing / K`` for the others (K = 2 for
    binary labels and for each column of a multilabel target). Use 0.05 to 0.1 if some labels are wrong, or if training
    ends in probabilities of 0 and 1; predicted probabilities then stay away from both.

    For `loss_`, probabilities are clipped to [eps, 1 - eps] of their dtype inside the logarithms, as in scikit-learn;
    the gradient is that of the loss without clipping.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Weight of the uniform distribution in the targets; at least 0 and less than 1.
    """

    name = "log_loss"
    public_name = "log_loss"
    definition = r"-\sum_k t_k \ln p_k,\ t_k = (1 - s) [k = y] + s / K"
    reference = "Bishop (2006), equations 4.90 and 4.108; label smoothing: Szegedy et al. (2016), section 7"
    _parameter_constraints = {"label_smoothing": [Interval(Real, 0, 1, closed="left")]}

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    @classmethod
    def kinds(cls) -> Any:
        """Return the binary and the multiclass variant."""
        return {"binary": BinaryLogLoss, "multiclass": MulticlassLogLoss}

    def for_outputs(self, counts: Any) -> Any:
        """Return the loss for several columns of classes.

        Parameters
        ----------
        counts : sequence of int
            Number of classes of each column.

        Returns
        -------
        loss : MultioutputLogLoss

        Raises
        ------
        ValueError
            If there are more columns than the settings of a loss can hold.
        """
        if len(counts) >= N_SETTINGS:
            raise ValueError(f"y has {len(counts)} columns of classes; at most {N_SETTINGS - 1} are supported")
        return MultioutputLogLoss(self.label_smoothing, tuple(counts))


class BinaryLogLoss(_Logistic, LogLoss):
    """`LogLoss` for binary and multilabel targets."""

    name = "binary_log_loss"
    definition = r"-t \ln p - (1 - t) \ln (1 - p),\ p = 1 / (1 + e^{-z}),\ t = (1 - s) y + s / 2"

    @staticmethod
    def naive(z: Any, y: Any, smoothing: Any) -> Any:
        return np.logaddexp(0, z) - (y * (1 - smoothing) + smoothing / 2) * z

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        one, smoothing = number(1.0, z), s.label_smoothing
        p = logistic(z)
        target = y * (one - smoothing) + number(0.5, z) * smoothing
        gradient = p - target
        low = epsilon(z)
        high = one - low
        p = low if p < low else p
        p = high if p > high else p
        # ln p - ln (1 - p) equals z, so one logarithm is enough for both terms. z is clipped where p is.
        end = -log(low)
        odds = -end if z < -end else z
        odds = end if odds > end else odds
        # Both operands are selected here: a condition after the logarithm would be compiled to a branch around it.
        own = p if y == one else one - p
        odds = odds if y == one else -odds
        return number(0.5, z) * smoothing * odds - log(own), gradient


def _evaluate_log_loss(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    one, low = number(1.0, z), epsilon(z)
    high = one - low
    smoothing = named(settings, z).label_smoothing
    share = smoothing / number(n_outputs, z)
    group = group_size(n_rows, n_outputs)
    for first in range(0, n_rows, group):
        last = min(first + group, n_rows)
        softmax(z, first * n_outputs, last - first, n_outputs)
        for k in range(first * n_outputs, last * n_outputs):
            delta[natural(k)] = z[natural(k)] - share
        for row in range(first, last):
            label = natural(row * n_outputs + int(y[natural(row)]))
            p = z[label]
            delta[label] = p - (one - smoothing + share)
            p = low if p < low else p
            losses[natural(row)] = high if p > high else p
        for row in range(first, last):
            losses[natural(row)] = -(one - smoothing) * log(number(losses[natural(row)], z))
        if smoothing > number(0.0, z):
            for row in range(first, last):
                total = 0.0
                for k in range(row * n_outputs, (row + 1) * n_outputs):
                    q = z[natural(k)]
                    q = low if q < low else q
                    q = high if q > high else q
                    total += share * log(q)
                losses[natural(row)] -= total


class MulticlassLogLoss(_Softmax, LogLoss):
    """`LogLoss` for classes."""

    name = "multiclass_log_loss"
    definition = r"-\sum_k t_k \ln p_k,\ p_k = e^{z_k} / \sum_j e^{z_j},\ t_k = (1 - s) [k = y] + s / K"

    @staticmethod
    def naive(z: Any, y: Any, smoothing: Any) -> Any:
        return -_one_hot(z, y, smoothing) * special.log_softmax(z, axis=1)

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows."""
        return cls.loop(_evaluate_log_loss)


def _evaluate_multioutput(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    one, low = number(1.0, z), epsilon(z)
    high = one - low
    smoothing = named(settings, z).label_smoothing
    for row in range(n_rows):
        start = row * n_outputs
        total = 0.0
        for target in range(n_targets):
            count = int(settings[1 + target])
            stop = start + count
            softmax(z, start, 1, count)
            share = smoothing / number(count, z)
            label = start + int(y[natural(row * n_targets + target)])
            for k in range(start, stop):
                i = natural(k)
                p = z[i]
                wanted = share + (one - smoothing if k == label else number(0.0, z))
                delta[i] = p - wanted
                p = low if p < low else p
                p = high if p > high else p
                total -= wanted * log(p)
            start = stop
        losses[natural(row)] = total


class MultioutputLogLoss(LogLoss):
    """`LogLoss` for several columns of classes, each with its own softmax; the losses of the columns are summed.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        See `LogLoss`.
    counts : tuple of int, default=()
        Number of classes of each column; the outputs of a column are adjacent.
    """

    name = "multioutput_log_loss"
    definition = r"-\sum_t \ln p_{t, y_t},\ p_t \text{ the softmax of the outputs of column } t"
    task = "multioutput"
    link: Any = ColumnLogits()
    has_proba = True
    n_codes = True

    def __init__(self, label_smoothing: float = 0.0, counts: tuple[int, ...] = ()) -> None:
        super().__init__(label_smoothing)
        self.counts = counts

    def settings(self) -> Any:
        """Return the smoothing and the counts."""
        return (float(self.label_smoothing), *map(float, self.counts))

    @classmethod
    def setting_names(cls) -> Any:
        """Return the name of the smoothing; the counts, which may be many, are read by position."""
        return ("label_smoothing",)

    @classmethod
    def code_counts(cls, n_outputs: Any, settings: Any) -> Any:
        """Return the counts."""
        return settings[1:]

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows and columns."""
        return cls.loop(_evaluate_multioutput)


class Focal(Loss):
    r"""Cross-entropy with less weight on rows that are already classified well: for rare classes among many easy rows.

    The row's cross-entropy is multiplied by ``(1 - p) ** gamma``, where p is the probability of its class. ``gamma=0``
    is `LogLoss`; 1 to 3 are usual. The probabilities are less extreme than the class frequencies, so use `LogLoss` if
    they matter. For the paper's class weights, use the estimators' `class_weight` or `sample_weight`.

    Parameters
    ----------
    gamma : float, default=2.0
        Exponent; at least 0. The default is that of the paper.
    """

    name = "focal"
    public_name = "focal"
    definition = r"-(1 - p_y)^\gamma \ln p_y"
    reference = "Lin et al. (2017), equation 4"
    _parameter_constraints = {"gamma": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    @classmethod
    def kinds(cls) -> Any:
        """Return the binary and the multiclass variant."""
        return {"binary": BinaryFocal, "multiclass": MulticlassFocal}


@formula
def _log1p(x):
    """Compute ``log(1 + x)`` for x >= 0 to a few units in the last place, with Kahan's correction of rounding."""
    one = number(1.0, x)
    u = one + x
    return x if u == one else log(u) * (x / (u - one))


@formula
def _focal_weight(log_rest, gamma):
    """Compute ``(1 - p) ** gamma`` from the logarithm of 1 - p."""
    weight = exp(gamma * log_rest)
    # If gamma and 1 - p are 0, the exponent 0 * -inf is NaN.
    return number(1.0, gamma) if gamma == number(0.0, gamma) else weight


class BinaryFocal(_Logistic, Focal):
    """`Focal` for binary and multilabel targets."""

    name = "binary_focal"
    definition = r"-(1 - q)^\gamma \ln q,\ q = p \text{ if } y = 1, \text{ else } 1 - p;\ p = 1 / (1 + e^{-z})"

    @staticmethod
    def naive(z: Any, y: Any, gamma: Any) -> Any:
        right = np.where(y == 1, z, -z)
        return special.expit(-right) ** gamma * np.logaddexp(0, -right)

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one, gamma = number(0.0, z), number(1.0, z), s.gamma
        sign = y + y - one
        margin = sign * z
        # p, 1 - p and their logarithms from one exponential of a negative number, without overflow or cancellation.
        e = exp(-abs(margin))
        large, small = one / (one + e), e / (one + e)
        # Selected here for the reason given in the log loss.
        p = large if margin > zero else small
        rest = small if margin > zero else large
        over = zero if margin > zero else margin
        under = -margin if margin > zero else zero
        correction = _log1p(e)
        log_p, log_rest = over - correction, under - correction
        weight = _focal_weight(log_rest, gamma)
        return -weight * log_p, sign * weight * (gamma * p * log_p - rest)


def _evaluate_focal(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    zero, one = number(0.0, z), number(1.0, z)
    gamma = named(settings, z).gamma
    for row in range(n_rows):
        start = row * n_outputs
        stop = start + n_outputs
        label = natural(start + int(y[natural(row)]))
        raw = z[label]
        top = subtract_top(z, start, stop)
        exponentiate(z, start, stop)
        # Summed without the row's class, so that 1 - p does not suffer from cancellation.
        others = zero
        for k in range(start, stop):
            others += zero if natural(k) == label else z[natural(k)]
        own = z[label]
        total = own + others
        log_total = _log1p(others) if own == one else log(total)
        log_p = raw - top - log_total
        weight = _focal_weight(log(others) - log_total, gamma)
        slope = weight * (gamma * (own / total) * log_p - others / total)
        losses[natural(row)] = -weight * log_p
        share = zero if others == zero else -slope / others
        for k in range(start, stop):
            delta[natural(k)] = share * z[natural(k)]
        delta[label] = slope


class MulticlassFocal(_Softmax, Focal):
    """`Focal` for classes."""

    name = "multiclass_focal"
    definition = r"-(1 - p_y)^\gamma \ln p_y,\ p_k = e^{z_k} / \sum_j e^{z_j}"

    @staticmethod
    def naive(z: Any, y: Any, gamma: Any) -> Any:
        return -((1 - special.softmax(z, axis=1)) ** gamma) * special.log_softmax(z, axis=1) * _one_hot(z, y)

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows."""
        return cls.loop(_evaluate_focal)


class _Margin:
    """Mixin of margin losses, without probabilities: the raw prediction is the decision."""

    has_proba = False
    threshold: float = 0.0


class _OneVersusRest:
    """Mixin of losses of classes that sum a binary loss of each class against all others."""

    task = "multiclass"
    n_codes = True

    @classmethod
    def naive(cls, z: Any, y: Any) -> Any:
        return super().naive(z, _one_hot(z, y))  # type: ignore[misc]

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows."""
        return cls.loop(_evaluate_one_versus_rest, loss_gradient=cls.loss_gradient)  # type: ignore[attr-defined]


class Hinge(_Margin, Loss):
    """Hinge loss, that of support vector machines: zero for rows beyond the margin.

    For decisions without probabilities. Rows beyond the margin have no gradient, so the weights do not grow without
    bound if the classes are separable. Several classes are treated one-vs-rest; the raw prediction of a class is its
    decision value. The gradient at the kink is 0. `SquaredHinge` is smooth, and usually the better choice.
    """

    name = "hinge"
    public_name = "hinge"
    definition = r"\max(0, 1 - t z),\ t = \pm 1"
    reference = "Cortes and Vapnik (1995); one versus the rest in networks: Tang (2013)"

    @classmethod
    def kinds(cls) -> Any:
        """Return the binary and the multiclass variant."""
        return {"binary": BinaryHinge, "multiclass": MulticlassHinge}

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return np.maximum(0, 1 - (2 * y - 1) * z)

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        sign = y + y - one
        short = one - sign * z
        # A factor instead of a conditional result, which would be compiled to an unpredictable branch.
        inside = one if short > zero else zero
        # Zero times a NaN: it must stay one.
        return short * inside, zero * short - sign * inside


class BinaryHinge(Hinge):
    """`Hinge` for binary and multilabel targets."""

    name = "binary_hinge"
    task = "binary"


class MulticlassHinge(_OneVersusRest, Hinge):
    """`Hinge` for classes, one-vs-rest."""

    name = "multiclass_hinge"
    definition = r"\sum_k \max(0, 1 - t_k z_k),\ t_k = 1 \text{ if } k = y, \text{ else } -1"


class SquaredHinge(_Margin, Loss):
    """Squared hinge loss: smooth, and larger for rows far on the wrong side.

    For decisions without probabilities; scikit-learn's LinearSVC has this loss. Several classes are treated
    one-vs-rest.
    """

    name = "squared_hinge"
    public_name = "squared_hinge"
    definition = r"\max(0, 1 - t z)^2,\ t = \pm 1"
    reference = "Tang (2013), equations 5 and 11"

    @classmethod
    def kinds(cls) -> Any:
        """Return the binary and the multiclass variant."""
        return {"binary": BinarySquaredHinge, "multiclass": MulticlassSquaredHinge}

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return np.maximum(0, 1 - (2 * y - 1) * z) ** 2

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        sign = y + y - one
        short = one - sign * z
        short = zero if short <= zero else short
        return short * short, number(-2.0, z) * sign * short


class BinarySquaredHinge(SquaredHinge):
    """`SquaredHinge` for binary and multilabel targets."""

    name = "binary_squared_hinge"
    task = "binary"


class MulticlassSquaredHinge(_OneVersusRest, SquaredHinge):
    """`SquaredHinge` for classes, one-vs-rest."""

    name = "multiclass_squared_hinge"
    definition = r"\sum_k \max(0, 1 - t_k z_k)^2,\ t_k = 1 \text{ if } k = y, \text{ else } -1"


# --- Regression


class _LogLink:
    """Mixin of losses of positive predictions."""

    task = "regression"
    link: Link = LogLink()


class SquaredError(Loss):
    """Squared error, the default for regression: predicts the mean.

    For errors of similar size everywhere, without outliers, which would dominate it; otherwise use `Huber`, `LogCosh`
    or `AbsoluteError`. With several targets, the loss is their mean and the gradient that of their sum, as in
    scikit-learn.
    """

    name = "squared_error"
    public_name = "squared_error"
    definition = r"\tfrac{1}{2} (y - z)^2, \text{averaged over the outputs}"
    reference = "Bishop (2006), section 3.1"
    task = "regression"

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return 0.5 * (y - z) ** 2

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        error = z - y
        return error * error, error

    @staticmethod
    @formula
    def row_scale(n_outputs):
        return 0.5 / n_outputs


class AbsoluteError(Loss):
    """Absolute error: predicts the median; outliers have no more influence than other rows.

    The gradient does not shrink with the error, so the learning rate has to: use ``learning_rate="adaptive"`` or
    another schedule, or the smooth losses `Huber` or `LogCosh`. The gradient at an error of 0 is 0.
    """

    name = "absolute_error"
    public_name = "absolute_error"
    definition = "|y - z|"
    reference = "Bloomfield and Steiger (1983)"
    task = "regression"

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return np.abs(y - z)

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        error = z - y
        # The last case is 0 or NaN.
        return abs(error), (one if error > zero else (-one if error < zero else error))


class Huber(Loss):
    """Huber loss: squared for small errors and absolute for large ones. For targets with outliers.

    Parameters
    ----------
    delta : float, default=1.35
        Error from which the loss is absolute, in units of the target; positive. The default suits errors of standard
        deviation 1: for normal errors, the efficiency is then 95% of that of the squared error. Scale the targets, or
        adjust `delta` to them.
    """

    name = "huber"
    public_name = "huber"
    definition = (
        r"\tfrac{1}{2} r^2 \text{ if } |r| \le \delta, \text{ else } \delta (|r| - \tfrac{1}{2} \delta);\ r = z - y"
    )
    reference = "Huber (1964)"
    task = "regression"
    _parameter_constraints = {"delta": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, delta: float = 1.35) -> None:
        self.delta = delta

    @staticmethod
    def naive(z: Any, y: Any, delta: Any) -> Any:
        size = np.abs(y - z)
        return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        error = z - y
        gradient = -s.delta if error < -s.delta else error
        gradient = s.delta if gradient > s.delta else gradient
        # One formula for both pieces, without a branch.
        return gradient * (error - number(0.5, z) * gradient), gradient


class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine: similar to `Huber`, but smooth to all orders and without settings.

    About half the squared error for errors below 1, and the absolute error minus ln 2 for larger ones: scale the
    targets.
    """

    name = "log_cosh"
    public_name = "log_cosh"
    definition = r"\ln \cosh (z - y)"
    reference = "Green (1990)"
    task = "regression"

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return np.logaddexp(y - z, z - y) - np.log(2)

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        error = z - y
        size = abs(error)
        # Only exp of a negative number: cosh would overflow.
        loss = size + (log(one + exp(number(-2.0, z) * size)) - number(math.log(2.0), z))
        return (zero if loss < zero else loss) + zero, tanh(error)


def _evaluate_quantiles(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    zero, one = number(0.0, z), number(1.0, z)
    n_quantiles = n_outputs // n_targets
    for row in range(n_rows):
        total = 0.0
        for target in range(row * n_targets, (row + 1) * n_targets):
            for j in range(n_quantiles):
                i = natural(target * n_quantiles + j)
                level = number(settings[natural(j)], z)
                error = z[i] - y[natural(target)]
                above = one - level if error > zero else zero
                below = level if error < zero else zero
                # Zero times a NaN: it must stay one.
                gradient = above - below + zero * error
                delta[i] = gradient
                total += gradient * error
        losses[natural(row)] = total


class Quantile(Loss):
    """Pinball loss: predicts one or several quantiles. For prediction intervals, and for costs that differ by sign.

    With several quantiles, the network has one output per quantile on the same hidden layers, and the predictions of a
    target's quantiles are adjacent. They can cross; sort them if they do. ``quantile=0.5`` predicts the median, with
    half the `AbsoluteError` as loss; see there about the learning rate. The gradient at an error of 0 is 0.

    Parameters
    ----------
    quantile : float or sequence of float, default=0.5
        Levels, each between 0 and 1; at most 32.
    """

    name = "quantile"
    public_name = "quantile"
    definition = r"q (y - z) \text{ if } y \ge z, \text{ else } (1 - q) (z - y)"
    reference = "Koenker and Bassett (1978)"
    task = "regression"
    _parameter_constraints = {"quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"]}

    def __init__(self, quantile: Any = 0.5) -> None:
        self.quantile = quantile

    def _validate_params(self):
        super()._validate_params()
        levels = np.asarray(self.quantile)
        if levels.ndim > 1 or levels.dtype.kind not in "iuf" or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(
                f"quantile={self.quantile!r} of Quantile must be a number between 0 and 1, or a list of such"
            )
        if not 1 <= levels.size <= N_SETTINGS:
            raise ValueError(
                f"quantile={self.quantile!r} of Quantile has {levels.size} levels: one loss takes 1 to {N_SETTINGS}; fit "
                "another estimator for more"
            )

    def settings(self) -> Any:
        """Return the levels."""
        return tuple(float(level) for level in np.ravel(self.quantile))

    def outputs_per_target(self) -> Any:
        """Return the number of levels."""
        return np.size(self.quantile)

    @staticmethod
    def naive(z: Any, y: Any, *quantiles: Any) -> Any:
        levels = np.tile(quantiles, y.shape[1])
        residual = np.repeat(y, len(quantiles), axis=1) - z
        return np.maximum(levels * residual, (levels - 1) * residual)

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows."""
        return cls.loop(_evaluate_quantiles)


@formula
def _poisson(z, y, s):
    zero = number(0.0, z)
    p = exp(z)
    inner = y * (log(y) - z)
    inner = zero if y == zero else inner
    return inner - y + p, p - y


@formula
def _gamma(z, y, s):
    one = number(1.0, z)
    ratio = y * exp(-z)
    return ratio - (log(y) - z) - one, one - ratio


@formula
def _normal(z, y, s):
    p = exp(z)
    error = p - y
    return number(0.5, z) * error * error, p * error


@formula
def _tweedie(z, y, s):
    zero, one, two, power = number(0.0, z), number(1.0, z), number(2.0, z), s.power
    a, b = one - power, two - power
    first, second = y * exp(a * z), exp(b * z)
    # The value at z = ln y is subtracted, so that a perfect prediction has loss 0. For y = 0, exp(-inf) is 0.
    best = exp(b * log(zero if y < zero else y)) / (a * b)
    return best - first / a + second / b, second - first


def normal(z: Any, y: Any, s: Any) -> Any:
    """Placeholder for the formula that the template calls."""
    return z, y


poisson = gamma = tweedie = normal


def _evaluate_tweedie(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    s = named(settings, z)
    n = n_rows * n_outputs
    # Branches outside the loops, which could not be vectorized otherwise.
    if s.power == number(0.0, z):
        _replace(normal, z, y, n, delta, s)
    elif s.power == number(1.0, z):
        _replace(poisson, z, y, n, delta, s)
    elif s.power == number(2.0, z):
        _replace(gamma, z, y, n, delta, s)
    else:
        _replace(tweedie, z, y, n, delta, s)
    _sum_rows(z, n_rows, n_outputs, 1.0, losses)


class Poisson(_LogLink, Loss):
    """Half the Poisson deviance: for counts and rates, whose variance is proportional to the mean.

    Targets are non-negative; predictions are positive. For rates, pass the exposure as `sample_weight`.
    """

    name = "poisson"
    public_name = "poisson"
    definition = r"y \ln y - y z - y + e^z"
    reference = "half the Poisson deviance, McCullagh and Nelder (1989), section 2.3"
    lower: float = 0.0
    loss_gradient: Any = staticmethod(_poisson)

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return special.xlogy(y, y) - y * z - y + np.exp(z)


class Gamma(_LogLink, Loss):
    """Half the gamma deviance: for amounts whose standard deviation is proportional to the mean.

    For positive, skewed targets such as costs and waiting times: the same relative error has the same loss everywhere.
    Predictions are positive.
    """

    name = "gamma"
    public_name = "gamma"
    definition = r"y e^{-z} - \ln (y e^{-z}) - 1"
    reference = "half the gamma deviance, McCullagh and Nelder (1989), section 8.3"
    lower: float = 0.0
    lower_inclusive = False
    loss_gradient: Any = staticmethod(_gamma)

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        return y * np.exp(-z) - np.log(y) + z - 1


class Tweedie(_LogLink, Loss):
    r"""Half the Tweedie deviance: for amounts that are often exactly zero, such as yearly insurance claims.

    It assumes a variance proportional to ``mean ** power``. Powers between 1 and 2 allow zeros (a sum of a random
    number of amounts); 0 is the squared error with positive predictions, 1 `Poisson`, 2 `Gamma`, 3 inverse Gaussian.
    Targets can be any number for powers up to 0, non-negative below 2, and positive from 2 on. For powers close to 1 or
    2, but not equal to them, `loss_` is a small difference of large numbers, and inexact in float32 (in the third
    decimal at 1.01); the gradient is not affected.

    Parameters
    ----------
    power : float, default=1.5
        Exponent of the variance. There is no such distribution for powers between 0 and 1, but the loss still predicts
        the mean.
    """

    name = "tweedie"
    public_name = "tweedie"
    definition = (
        r"\frac{\max(y, 0)^{2 - p}}{(1 - p) (2 - p)} - \frac{y e^{(1 - p) z}}{1 - p} + \frac{e^{(2 - p) z}}{2 - p},"
        r"\text{ and its limits for } p = 1, 2;\ \tfrac{1}{2} (y - e^z)^2 \text{ for } p = 0"
    )
    reference = "half the Tweedie deviance, Jørgensen (1997), chapter 4, as scikit-learn's TweedieRegressor"
    _parameter_constraints = {"power": [Interval(Real, None, None, closed="neither")]}

    def __init__(self, power: float = 1.5) -> None:
        self.power = power

    @staticmethod
    def naive(z: Any, y: Any, power: Any) -> Any:
        p = np.exp(z)
        if power == 0:
            return 0.5 * (y - p) ** 2
        if power == 1:
            return Poisson.naive(z, y)
        if power == 2:
            return Gamma.naive(z, y)
        best = np.maximum(y, 0) ** (2 - power) / ((1 - power) * (2 - power))
        return best - y * p ** (1 - power) / (1 - power) + p ** (2 - power) / (2 - power)

    @property
    def lower(self) -> Any:  # type: ignore[override]
        """Lower bound of the targets."""
        return 0.0 if self.power > 0 else -math.inf

    @property
    def lower_inclusive(self) -> Any:  # type: ignore[override]
        """Whether targets may equal the bound."""
        return self.power < 2

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop that selects one of four formulas by the power."""
        return cls.loop(_evaluate_tweedie, normal=_normal, poisson=_poisson, gamma=_gamma, tweedie=_tweedie)


def _evaluate_gaussian(z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    zero, half, one = number(0.0, z), number(0.5, z), number(1.0, z)
    for row in range(n_rows):
        total = 0.0
        for target in range(row * n_targets, (row + 1) * n_targets):
            i = natural(2 * target)
            j = natural(2 * target + 1)
            raw = z[j]
            s = clip_log_variance(raw)
            error = z[i] - y[natural(target)]
            scaled = error * exp(-s)
            square = error * scaled
            slope = half * (one - square)
            # Beyond the clip, the gradient is kept only if a step against it leads back.
            outward = slope > zero if raw < s else (slope < zero if raw > s else False)
            delta[i] = scaled
            delta[j] = zero if outward else slope
            total += half * (s + square + number(math.log(2 * math.pi), z))
        losses[natural(row)] = total


class Gaussian(Loss):
    """Negative log-likelihood of a normal distribution: predicts a mean and a standard deviation for every row.

    For targets whose noise depends on the features, and for predictions with error bars. The network has two adjacent
    outputs per target, the mean and the log-variance, which the link converts to a standard deviation. Scale the
    targets: the log-variance is clipped to [-30, 30], so that float32 does not overflow; beyond, the gradient is 0
    unless it leads back. The constant term of the log-density is included, and the loss may be negative.
    """

    name = "gaussian_nll"
    public_name = "gaussian_nll"
    definition = r"\tfrac{1}{2} (s + (y - z)^2 e^{-s} + \ln 2 \pi),\ s \text{ the logarithm of the variance}"
    reference = "Nix and Weigend (1994)"
    task = "regression"
    link: Any = GaussianLink()
    has_std = True

    def outputs_per_target(self) -> Any:
        """Return 2: mean and standard deviation."""
        return 2

    @staticmethod
    def naive(z: Any, y: Any) -> Any:
        s = z[:, 1::2]
        return 0.5 * (s + (y - z[:, 0::2]) ** 2 / np.exp(s) + np.log(2 * np.pi))

    @classmethod
    def evaluation(cls) -> Any:
        """Return a loop over rows."""
        return cls.loop(_evaluate_gaussian)


LOSSES = Registry(
    "loss",
    Loss,
    [
        LogLoss,
        Hinge,
        SquaredHinge,
        Focal,
        SquaredError,
        AbsoluteError,
        Huber,
        LogCosh,
        Quantile,
        Poisson,
        Gamma,
        Tweedie,
        Gaussian,
    ],
)


@cache
def loss_loops(kind: Any) -> tuple[Any, Any]:
    """Return the loops of a loss.

    Parameters
    ----------
    kind : type
        Class of a variant, see `Loss.for_task`.

    Returns
    -------
    evaluate : Loop
        Called with pointers to ``n_rows * n_outputs`` raw predictions z, which are overwritten, and to ``n_rows *
        n_targets`` targets y; with n_rows, n_outputs and n_targets; with pointers to ``n_rows * n_outputs`` numbers, to
        which the gradient of the unweighted sum of the rows' losses with respect to z is written, and to `n_rows`
        float64, to which the loss of each row is written; and with a pointer to the settings. As in scikit-learn, the
        gradient of the squared error is that of the sum over the outputs, not of their mean.
    link : Loop
        Called with a pointer to ``n_rows * n_outputs`` raw predictions, which are overwritten with predictions; with
        n_rows and n_outputs; and with a pointer to the settings.
    """
    return kind.loops()
