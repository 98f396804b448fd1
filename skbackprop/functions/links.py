"""Link functions between raw predictions, the output layer's pre-activations, and predictions.

A link is an object in a loss's attribute `link`. It has the inverse link as a formula for the kernels, in plain NumPy
for the tests and in ONNX; its name in `out_activation_`; the interval of the predictions; and the link itself in NumPy,
for intercepts that start from the targets' means. No other code distinguishes links.

To add one, write a class with these, and set it as the `link` of losses.
"""

import math
from typing import Any

import numpy as np
from scipy import special

from skbackprop._compile import formula, loop
from skbackprop.functions._function import named
from skbackprop.functions.elementary import exp, logistic, natural, number

__all__ = [
    "LINKS",
    "REALS",
    "Link",
    "clip_log_variance",
    "exponentiate",
    "group_size",
    "softmax",
    "subtract_top",
]

#: Domain of predictions that can be any number.
REALS = (-math.inf, math.inf)


# --- Templates and loops


def inverse(z: Any, s: Any) -> Any:
    """Placeholder for the formula that the template calls."""
    return z


def _invert(z, n_rows, n_outputs, settings):
    s = named(settings, z)
    for position in range(n_rows * n_outputs):
        i = natural(position)
        z[i] = inverse(z[i], s)


# Numbers in a group of rows, so that several passes over them stay in the first-level cache.
_GROUP_SIZE = 2048


@formula
def group_size(n_rows, n_outputs):
    """Return the number of rows to process together: loops over one short row do not fill vector instructions."""
    # A GPU thread processes a single row; the division would take many registers.
    return 1 if n_rows == 1 else max(1, _GROUP_SIZE // n_outputs)


@formula
def subtract_top(z, start, stop):
    """Subtract the maximum of ``z[start:stop]`` in place and return it: exp overflows float32 beyond 88."""
    top = z[natural(start)]
    for k in range(start + 1, stop):
        value = z[natural(k)]
        # `not <=` propagates NaN.
        top = value if not value <= top else top
    for k in range(start, stop):
        z[natural(k)] -= top
    return top


@formula
def exponentiate(z, start, stop):
    """Replace ``z[start:stop]`` with its exponentials."""
    for k in range(start, stop):
        z[natural(k)] = exp(z[natural(k)])


@formula
def softmax(z, start, n_rows, n_outputs):
    """Replace the rows of `n_outputs` numbers from ``z[start]`` on with their softmax."""
    for row in range(n_rows):
        subtract_top(z, start + row * n_outputs, start + (row + 1) * n_outputs)
    exponentiate(z, start, start + n_rows * n_outputs)
    for row in range(n_rows):
        first, last = start + row * n_outputs, start + (row + 1) * n_outputs
        total = z[natural(first)]
        for k in range(first + 1, last):
            total += z[natural(k)]
        for k in range(first, last):
            z[natural(k)] = z[natural(k)] / total


def _invert_softmax(z, n_rows, n_outputs, settings):
    group = group_size(n_rows, n_outputs)
    for first in range(0, n_rows, group):
        softmax(z, first * n_outputs, min(group, n_rows - first), n_outputs)


def _invert_columns(z, n_rows, n_outputs, settings):
    for row in range(n_rows):
        start = row * n_outputs
        target = 0
        while start < (row + 1) * n_outputs:
            target += 1
            count = int(settings[target])
            softmax(z, start, 1, count)
            start += count


_LOG_VARIANCE_CLIP = 30.0


@formula
def clip_log_variance(s):
    """Clip the log-variance `s`; NaN stays NaN."""
    top = number(_LOG_VARIANCE_CLIP, s)
    s = -top if s < -top else s
    return top if s > top else s


def _invert_gaussian(z, n_rows, n_outputs, settings):
    for pair in range(n_rows * n_outputs // 2):
        j = natural(2 * pair + 1)
        z[j] = exp(number(0.5, z) * clip_log_variance(z[j]))


# --- The links


class Link:
    """Base class of links between raw predictions z and predictions.

    A class has static methods whose last arguments are the settings of the loss. An elementwise link needs the first;
    each of the others enables a feature:

    - ``inverse(z, s)``: the formula of a prediction; s is a named tuple of the settings. A link that is not
      elementwise, such as the softmax, overrides `loop` instead;
    - ``link(predictions, *settings)``: the raw predictions in NumPy, for predictions from the domain. For
      ``output_bias='prior'``;
    - ``onnx(g, raw, *settings)``: adds operators to a graph, as in ``g("Exp", raw)``, and returns the name of the
      predictions, or, if the loss has standard deviations, of the means and of these. `to_onnx` refuses a class without
      its own `onnx`; to inherit it, write ``onnx = staticmethod(LogLink.onnx)``;
    - ``naive(z, *settings)``: the predictions in plain NumPy. For the tests.

    Attributes
    ----------
    name : str
        Value of `out_activation_`.
    domain : tuple of float or None
        Open interval of the predictions; None if unknown.
    """

    name: str
    domain: tuple[float, float] | None = None

    def loop(self, kind: Any) -> Any:
        """Return the loop over rows of raw predictions, see `losses.loss_loops`.

        Parameters
        ----------
        kind : type
            Class of the loss, whose settings the formula takes.

        Returns
        -------
        loop : Loop
        """
        return kind.loop(_invert, inverse=self.inverse)  # type: ignore[attr-defined]

    def link(self, predictions: Any, *settings: Any) -> Any:
        """Raise ValueError, because this link has no such formula."""
        raise ValueError(
            f"output_bias='prior' needs the raw prediction of a mean, and {type(self).__name__} has no method link that gives it"
        )

    def prior(self, counts: np.ndarray, total: float, settings: tuple[float, ...]) -> np.ndarray:
        """Compute the raw predictions of class frequencies.

        Parameters
        ----------
        counts : ndarray
            Positive counts.
        total : float
            Greater than each of the counts.
        settings : tuple of float
            Settings of the loss.

        Returns
        -------
        raw : ndarray
        """
        return self.link(counts / total, *settings)

    def scores(self, raw: np.ndarray, xp: Any) -> np.ndarray:
        """Compute the output of `decision_function` for several classes with probabilities.

        Parameters
        ----------
        raw : ndarray of shape (n_rows, n_classes)
        xp : module
            Array API namespace.

        Returns
        -------
        scores : ndarray of shape (n_rows, n_classes)
        """
        return raw

    def onnx_scores(self, g: Any, raw: Any) -> Any:
        """Add the operators of `scores` to an ONNX graph."""
        return raw


class IdentityLink(Link):
    """Identity link: predictions are the raw predictions."""

    name = "identity"
    domain: tuple[float, float] = REALS

    @staticmethod
    @formula
    def inverse(z, s):
        return z

    @staticmethod
    def naive(z: Any, *settings: Any) -> Any:
        return z

    @staticmethod
    def link(predictions: Any, *settings: Any) -> Any:
        return predictions

    @staticmethod
    def onnx(g: Any, raw: Any, *settings: Any) -> Any:
        return raw


class LogLink(Link):
    """Log link, for positive predictions."""

    name = "exp"
    domain: tuple[float, float] = (0.0, math.inf)

    @staticmethod
    @formula
    def inverse(z, s):
        return exp(z)

    @staticmethod
    def naive(z: Any, *settings: Any) -> Any:
        return np.exp(z)

    @staticmethod
    def link(predictions: Any, *settings: Any) -> Any:
        # The mean is zero if all targets are.
        return np.log(np.maximum(predictions, np.finfo(np.float32).tiny))

    @staticmethod
    def onnx(g: Any, raw: Any, *settings: Any) -> Any:
        return g("Exp", raw)


class LogitLink(Link):
    """Logit link, for probabilities of independent labels."""

    name = "logistic"
    domain: tuple[float, float] = (0.0, 1.0)

    @staticmethod
    @formula
    def inverse(z, s):
        return logistic(z)

    @staticmethod
    def naive(z: Any, *settings: Any) -> Any:
        return special.expit(z)

    @staticmethod
    def link(predictions: Any, *settings: Any) -> Any:
        return np.log(predictions / (1 - predictions))

    @staticmethod
    def onnx(g: Any, raw: Any, *settings: Any) -> Any:
        return g("Sigmoid", raw)


class MultinomialLogit(Link):
    """Multinomial logit link, for probabilities of classes that sum to 1."""

    name = "softmax"
    domain: tuple[float, float] = (0.0, 1.0)

    def loop(self, kind: Any) -> Any:
        return loop(_invert_softmax)

    @staticmethod
    def naive(z: Any, *settings: Any) -> Any:
        return special.softmax(z, axis=1)

    @staticmethod
    def link(predictions: Any, *settings: Any) -> Any:
        return np.log(predictions)

    def prior(self, counts: Any, total: Any, settings: Any) -> Any:
        # A difference of logarithms, because the quotient would be rounded first.
        return np.log(counts) - np.log(total)

    def scores(self, raw: Any, xp: Any) -> Any:
        # Log-probabilities: raw predictions are only defined up to a constant per row.
        with np.errstate(under="ignore"):
            raw = raw - xp.max(raw, axis=1, keepdims=True)
            return raw - xp.log(xp.sum(xp.exp(raw), axis=1, keepdims=True))

    @staticmethod
    def onnx(g: Any, raw: Any, *settings: Any) -> Any:
        return g("Softmax", raw, axis=1)

    def onnx_scores(self, g: Any, raw: Any) -> Any:
        return g("LogSoftmax", raw, axis=1)


class ColumnLogits(MultinomialLogit):
    """Multinomial logit link of several columns of classes; the settings from the second on are the class counts."""

    def loop(self, kind: Any) -> Any:
        return loop(_invert_columns)

    @staticmethod
    def naive(z: Any, _: Any, *counts: Any) -> Any:
        parts = np.split(z, np.cumsum(counts[:-1], dtype=int), axis=1)
        return np.concatenate([special.softmax(part, axis=1) for part in parts], axis=1)

    # Applied to one column at a time.
    onnx: Any = staticmethod(MultinomialLogit.onnx)


class GaussianLink(Link):
    """Link of means and standard deviations in alternating columns, from means and log-variances."""

    name = "identity"
    domain: tuple[float, float] = REALS

    def loop(self, kind: Any) -> Any:
        return loop(_invert_gaussian)

    @staticmethod
    def naive(z: Any, *settings: Any) -> Any:
        deviations = np.exp(np.clip(z[:, 1::2], -_LOG_VARIANCE_CLIP, _LOG_VARIANCE_CLIP) / 2)
        return np.stack([z[:, 0::2], deviations], axis=2).reshape(z.shape)

    @staticmethod
    def onnx(g: Any, raw: Any, *settings: Any) -> Any:
        logarithms = g.clip(g.columns(raw, 1, step=2), -_LOG_VARIANCE_CLIP, _LOG_VARIANCE_CLIP)
        return g.columns(raw, 0, step=2), g("Exp", g("Mul", logarithms, 0.5))


#: Links by name.
LINKS = {link.name: link for link in (IdentityLink(), LogLink(), LogitLink(), MultinomialLogit())}
