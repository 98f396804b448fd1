"""Links: from the output layer's raw predictions to predictions, and back.

A link is an object that a loss names in its attribute `link`. It has the inverse link as a formula for the kernels, what
`out_activation_` calls it, the interval of the predictions, and the way back, in NumPy, for biases that start from the targets'
means. Two more forms are for what computes without the kernels: plain NumPy for the tests, and operators of ONNX. Nothing else in
the package tells links apart.

To add one: a class with these, and the losses that have it.
"""

import math

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

#: The domain of predictions that may be any number.
REALS = (-math.inf, math.inf)


# --- Templates and loops


def inverse(z, s):
    """Name under which the template calls the formula."""
    return z


def _invert(z, n_rows, n_outputs, settings):
    s = named(settings, z)
    for position in range(n_rows * n_outputs):
        i = natural(position)
        z[i] = inverse(z[i], s)


# Numbers of a group of rows: several passes over them stay in the first-level cache.
_GROUP_SIZE = 2048


@formula
def group_size(n_rows, n_outputs):
    """Rows that are taken together: a loop over all their numbers is worth vector instructions, one over a short row's is not."""
    # A thread of a GPU takes one row; a division would take many of its registers.
    return 1 if n_rows == 1 else max(1, _GROUP_SIZE // n_outputs)


@formula
def subtract_top(z, start, stop):
    """Subtract their maximum, which is returned, from ``z[start:stop]``: exp overflows float32 beyond 88."""
    top = z[natural(start)]
    for k in range(start + 1, stop):
        value = z[natural(k)]
        # `not <=` lets a NaN through.
        top = value if not value <= top else top
    for k in range(start, stop):
        z[natural(k)] -= top
    return top


@formula
def exponentiate(z, start, stop):
    """Replace ``z[start:stop]`` by exponentials."""
    for k in range(start, stop):
        z[natural(k)] = exp(z[natural(k)])


@formula
def softmax(z, start, n_rows, n_outputs):
    """Softmax of each of the rows of `n_outputs` numbers that begin with ``z[start]``, in place."""
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
    """`s` within the clip; NaN for NaN."""
    top = number(_LOG_VARIANCE_CLIP, s)
    s = -top if s < -top else s
    return top if s > top else s


def _invert_gaussian(z, n_rows, n_outputs, settings):
    for pair in range(n_rows * n_outputs // 2):
        j = natural(2 * pair + 1)
        z[j] = exp(number(0.5, z) * clip_log_variance(z[j]))


# --- The links


class Link:
    """A link between raw predictions z and predictions.

    A class has static methods, which take the settings of the loss last. An elementwise link needs the first, and for what else is
    said of it the others:

    - ``inverse(z, s)``: the formula of a prediction, with the settings, a named tuple of numbers. A link whose rows cannot be taken
      number by number, as softmax, brings a loop of its own instead, see `loop`;
    - ``link(predictions, *settings)``: in NumPy, the raw predictions of predictions from the domain; for ``output_bias='prior'``;
    - ``onnx(g, raw, *settings)``: adds operators to a graph, as in ``g("Exp", raw)``, and returns the name of the predictions; those
      of the means and of their spreads, if the loss has both. Without, and where a class inherits it and does not say so, as in
      ``onnx = staticmethod(LogLink.onnx)``, `to_onnx` refuses the network;
    - ``naive(z, *settings)``: the predictions in plain NumPy; for the tests.

    Attributes
    ----------
    name : str
        What `out_activation_` calls it.
    domain : tuple of float or None
        Open interval of the predictions; None if it is not known.
    """

    name: str
    domain: tuple[float, float] | None = None

    def loop(self, kind):
        """The loop over rows of raw predictions, see `losses.loss_loops`.

        Parameters
        ----------
        kind : type
            The class of the loss, whose settings the formula takes.

        Returns
        -------
        loop : Loop
        """
        return kind.loop(_invert, inverse=self.inverse)

    def link(self, predictions, *settings):
        """Refuse, as there is no way back."""
        raise ValueError(
            f"output_bias='prior' needs the raw prediction of a mean, and {type(self).__name__} has no method link that gives it"
        )

    def prior(self, counts, total, settings):
        """The raw predictions of shares.

        Parameters
        ----------
        counts : ndarray
            Positive.
        total : float
            More than each of them.
        settings : tuple of float
            Of the loss.

        Returns
        -------
        raw : ndarray
        """
        return self.link(counts / total, *settings)

    def scores(self, raw, xp):
        """What `decision_function` gives for several classes with probabilities.

        Parameters
        ----------
        raw : ndarray of shape (n_rows, n_classes)
        xp : module
            The array library.

        Returns
        -------
        scores : ndarray of shape (n_rows, n_classes)
        """
        return raw

    def onnx_scores(self, g, raw):
        """The same as operators of ONNX."""
        return raw


class IdentityLink(Link):
    """Predictions are the raw ones."""

    name = "identity"
    domain = REALS

    @staticmethod
    @formula
    def inverse(z, s):
        return z

    @staticmethod
    def naive(z, *settings):
        return z

    @staticmethod
    def link(predictions, *settings):
        return predictions

    @staticmethod
    def onnx(g, raw, *settings):
        return raw


class LogLink(Link):
    """Positive predictions."""

    name = "exp"
    domain = (0.0, math.inf)

    @staticmethod
    @formula
    def inverse(z, s):
        return exp(z)

    @staticmethod
    def naive(z, *settings):
        return np.exp(z)

    @staticmethod
    def link(predictions, *settings):
        # All targets may be zero.
        return np.log(np.maximum(predictions, np.finfo(np.float32).tiny))

    @staticmethod
    def onnx(g, raw, *settings):
        return g("Exp", raw)


class LogitLink(Link):
    """Probabilities of independent labels."""

    name = "logistic"
    domain = (0.0, 1.0)

    @staticmethod
    @formula
    def inverse(z, s):
        return logistic(z)

    @staticmethod
    def naive(z, *settings):
        return special.expit(z)

    @staticmethod
    def link(predictions, *settings):
        return np.log(predictions / (1 - predictions))

    @staticmethod
    def onnx(g, raw, *settings):
        return g("Sigmoid", raw)


class MultinomialLogit(Link):
    """Probabilities of classes, which sum to 1."""

    name = "softmax"
    domain = (0.0, 1.0)

    def loop(self, kind):
        return loop(_invert_softmax)

    @staticmethod
    def naive(z, *settings):
        return special.softmax(z, axis=1)

    @staticmethod
    def link(predictions, *settings):
        return np.log(predictions)

    def prior(self, counts, total, settings):
        # Shares are not rounded on the way.
        return np.log(counts) - np.log(total)

    def scores(self, raw, xp):
        # Logarithms of the probabilities: raw predictions are free up to a constant for each row.
        with np.errstate(under="ignore"):
            raw = raw - xp.max(raw, axis=1, keepdims=True)
            return raw - xp.log(xp.sum(xp.exp(raw), axis=1, keepdims=True))

    @staticmethod
    def onnx(g, raw, *settings):
        return g("Softmax", raw, axis=1)

    def onnx_scores(self, g, raw):
        return g("LogSoftmax", raw, axis=1)


class ColumnLogits(MultinomialLogit):
    """The same for each of several columns of classes, whose numbers of classes are the loss's settings from the second on."""

    def loop(self, kind):
        return loop(_invert_columns)

    @staticmethod
    def naive(z, _, *counts):
        parts = np.split(z, np.cumsum(counts[:-1], dtype=int), axis=1)
        return np.concatenate([special.softmax(part, axis=1) for part in parts], axis=1)

    # Of a column.
    onnx = staticmethod(MultinomialLogit.onnx)


class GaussianLink(Link):
    """Means, and beside each a standard deviation, from the logarithm of the variance."""

    name = "identity"
    domain = REALS

    def loop(self, kind):
        return loop(_invert_gaussian)

    @staticmethod
    def naive(z, *settings):
        deviations = np.exp(np.clip(z[:, 1::2], -_LOG_VARIANCE_CLIP, _LOG_VARIANCE_CLIP) / 2)
        return np.stack([z[:, 0::2], deviations], axis=2).reshape(z.shape)

    @staticmethod
    def onnx(g, raw, *settings):
        logarithms = g.clip(g.columns(raw, 1, step=2), -_LOG_VARIANCE_CLIP, _LOG_VARIANCE_CLIP)
        return g.columns(raw, 0, step=2), g("Exp", g("Mul", logarithms, 0.5))


#: The links with a name of their own.
LINKS = {link.name: link for link in (IdentityLink(), LogLink(), LogitLink(), MultinomialLogit())}
