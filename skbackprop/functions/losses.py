"""Losses: from the raw predictions to a number per row and its gradient, and to predictions.

A loss takes the raw prediction (the output layer's weighted inputs, before the link), so that loss
and link can be evaluated together where their combination has a stable closed form. All four
pairs here are canonical: the gradient with respect to the raw prediction is `prediction - target`.

To add one: a branch in `evaluate` and in `link`, and an entry in `LOSSES`.
"""

from dataclasses import dataclass

import numpy as np

from skbackprop._compile import formula
from skbackprop.functions._registry import Entry, Registry
from skbackprop.functions.elementary import exp, log, logistic, natural

__all__ = ["LOSSES", "Loss", "evaluate", "link"]


@dataclass(frozen=True)
class Loss(Entry):
    """A loss with its link.

    Parameters
    ----------
    task : {"regression", "binary", "multiclass"}
        "binary" serves one column of labels or several independent ones (multilabel).
    out_activation : str
        The inverse link, as `out_activation_` names it.
    public_name : str
        The estimators' word for it.
    n_codes : bool
        Whether the targets are class codes in one column.
    lower : float
        Smallest target in the loss's domain.
    """

    task: str
    out_activation: str
    public_name: str
    n_codes: bool = False
    lower: float = -np.inf


SQUARED_ERROR, POISSON, BINARY_LOG_LOSS, MULTICLASS_LOG_LOSS = range(4)

LOSSES = Registry(
    "loss",
    [
        Loss(
            "squared_error",
            SQUARED_ERROR,
            r"\tfrac{1}{2} (y - z)^2, \text{averaged over the outputs}",
            "",
            "regression",
            "identity",
            "squared_error",
        ),
        Loss(
            "poisson",
            POISSON,
            r"y \ln y - y z - y + e^z",
            "half the Poisson deviance, McCullagh and Nelder (1989), section 2.3",
            "regression",
            "exp",
            "poisson",
            lower=0.0,
        ),
        Loss(
            "binary_log_loss",
            BINARY_LOG_LOSS,
            r"-y \ln p - (1 - y) \ln (1 - p),\ p = 1 / (1 + e^{-z})",
            "Bishop (2006), equation 4.90",
            "binary",
            "logistic",
            "log_loss",
        ),
        Loss(
            "multiclass_log_loss",
            MULTICLASS_LOG_LOSS,
            r"-\ln p_y,\ p_k = e^{z_k} / \sum_j e^{z_j}",
            "Bishop (2006), equation 4.108",
            "multiclass",
            "softmax",
            "log_loss",
            n_codes=True,
        ),
    ],
)


@formula
def _softmax(z, start, stop):
    """Softmax of ``z[start:stop]``, in place."""
    top = z[natural(start)]
    for k in range(start + 1, stop):
        value = z[natural(k)]
        # `not <=` lets a NaN through.
        top = value if not value <= top else top
    # Maximum subtracted first: exp overflows float32 beyond 88.
    for k in range(start, stop):
        z[natural(k)] = exp(z[natural(k)] - top)
    total = z[natural(start)]
    for k in range(start + 1, stop):
        total += z[natural(k)]
    for k in range(start, stop):
        z[natural(k)] = z[natural(k)] / total


@formula
def link(code, z, n_outputs):
    """Turn raw predictions into predictions, in place.

    Parameters
    ----------
    code : int
        The loss.
    z : ndarray of shape (n_rows * n_outputs,)
        Raw predictions, row by row; overwritten.
    n_outputs : int
    """
    if code == SQUARED_ERROR:
        pass
    elif code == POISSON:
        for i in range(z.size):
            z[i] = exp(z[i])
    elif code == BINARY_LOG_LOSS:
        for i in range(z.size):
            z[i] = logistic(z[i])
    elif code == MULTICLASS_LOG_LOSS:
        for start in range(0, z.size, n_outputs):
            _softmax(z, start, start + n_outputs)
    else:
        for i in range(z.size):
            z[i] = z.dtype.type(np.nan)


@formula
def evaluate(code, z, y, n_outputs, delta, losses):
    """Loss of each row and its gradient.

    Probabilities are clipped to [eps, 1 - eps] of their dtype inside the logarithms, not in the gradient.

    Parameters
    ----------
    code : int
        The loss.
    z : ndarray of shape (n_rows * n_outputs,)
        Raw predictions, row by row; overwritten.
    y : ndarray of shape (n_rows * n_outputs,) or (n_rows,)
        Targets; for the multiclass loss, one class code a row.
    n_outputs : int
    delta : ndarray of shape (n_rows * n_outputs,)
        Filled with the gradient of the unweighted sum of the rows' losses with respect to `z`. As in
        scikit-learn, that of the squared error is of the sum over the outputs, not of their mean.
    losses : ndarray of shape (n_rows,), float64
        Filled with the loss of each row.
    """
    kind = z.dtype.type
    one = kind(1.0)
    low = kind(np.finfo(z.dtype).eps)
    high = one - low
    scale = 1.0
    if code == MULTICLASS_LOG_LOSS:
        for row in range(losses.size):
            start = natural(row * n_outputs)
            _softmax(z, start, start + n_outputs)
            for k in range(start, start + n_outputs):
                delta[k] = z[k]
            label = start + int(y[row])
            p = z[label]
            delta[label] = p - one
            p = low if p < low else p
            p = high if p > high else p
            losses[row] = -log(p)
        return
    if code == SQUARED_ERROR:
        for i in range(z.size):
            delta[i] = z[i] - y[i]
            z[i] = delta[i] * delta[i]
        scale = 0.5 / n_outputs
    elif code == POISSON:
        for i in range(z.size):
            p = exp(z[i])
            delta[i] = p - y[i]
            inner = y[i] * (log(y[i]) - z[i])
            inner = kind(0.0) if y[i] == kind(0.0) else inner
            z[i] = inner - y[i] + p
    elif code == BINARY_LOG_LOSS:
        for i in range(z.size):
            p = logistic(z[i])
            delta[i] = p - y[i]
            p = low if p < low else p
            p = high if p > high else p
            # Targets are 0 or 1, so one of the two terms is zero.
            z[i] = -log(p if y[i] == one else one - p)
    else:
        for i in range(z.size):
            z[i] = kind(np.nan)
            delta[i] = kind(np.nan)
    for row in range(losses.size):
        total = 0.0
        for k in range(row * n_outputs, (row + 1) * n_outputs):
            total += z[k]
        losses[row] = scale * total
