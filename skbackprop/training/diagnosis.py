"""Diagnosis of failed trainings: what went wrong, and what to change.

It reads the history of the epochs and a sample of the data, after training. The thresholds are chosen such that
ordinary trainings, even poor ones, cause no warning: networks of up to seven layers that learned iris, digits, wine or
breast cancer, with any activation and sensible learning rates, did not come near them.
"""

import math

import numpy as np

__all__ = ["MIN_EPOCHS", "badly_placed", "diagnose"]

#: A finding has to hold in each of this number of last epochs; shorter trainings get none.
MIN_EPOCHS = 5

# Ratio of the gradient norms of the first and the last layer. Successful trainings had more than 0.05; trainings with
# less than this learned nothing, or only the mean of the targets.
_VANISHED = 1e-3

# Growth from the first epoch to the last ones: of the gradient norm, and of the loss.
_EXPLODED = 100.0
_WORSE = 2.0

# Fraction of a layer's units. Up to 0.6 were constant in ReLU networks that learned well. In batches of fewer rows,
# units are constant by chance.
_DEAD = 0.9
_DEAD_MIN_ROWS = 10

# Root mean square of a column of X: too large in itself, or too large relative to the median column. Pixels from 0 to
# 255 are neither; breast cancer and wine have the latter, which costs several percent of accuracy.
_HUGE = 1e4
_LARGE = 100.0
_LARGER = 100.0

# Squared error of predictions for training rows, relative to that of their mean: networks that have learned nothing are
# near 1. The second number is how far the magnitude of the targets is from 1, where outputs start: otherwise
# predictions are poor for lack of epochs.
_WORSE_THAN_MEAN = 1.25
_FAR_FROM_ONE = 7.0
_SAMPLE_ROWS = 200
_SAMPLE_SIZE = 200_000


def diagnose(history, rows, train_rows, *, batch_rows, frozen, estimator, read=None):
    """Describe what went wrong in a training.

    Parameters
    ----------
    history : list of dict
        Entries of `history_` of this training only.
    rows : Rows
        The data.
    train_rows : ndarray of int64
        The training rows.
    batch_rows : int
        Rows of the last mini-batch of an epoch.
    frozen : tuple of int
        Layers that were not trained.
    estimator : object
        Provides the values of its parameters.
    read : callable or None, default=None
        Maps row indices to an ndarray of the rows, if the data are not in host memory.

    Returns
    -------
    findings : list of str
        Empty for an ordinary training.
    """
    findings = []
    if len(history) >= MIN_EPOCHS:
        dead = _dead_units(history, batch_rows, estimator)
        # No gradient passes through dead units, so vanishing gradients need no second finding.
        findings = [dead or _vanishing(history, frozen, estimator), _exploding(history, estimator)]
    findings.append(_badly_scaled(rows, train_rows, getattr(estimator, "feature_names_in_", None), read))
    return [finding for finding in findings if finding]


def _dead_units(history, batch_rows, estimator):
    if batch_rows < _DEAD_MIN_ROWS:
        return None
    for layer in range(_count(history, "constant_units")):
        share = min(row[f"constant_units_{layer}"] for row in history[-MIN_EPOCHS:])
        if share >= _DEAD:
            return (
                f"{share:.0%} of the units of hidden layer {layer} gave one output for all rows of a mini-batch, in each of "
                f"the last {MIN_EPOCHS} epochs: they are dead or saturated, and no gradient passes back through them. Lower "
                f"learning_rate_init (now {estimator.learning_rate_init:g}), change activation (now {estimator.activation!r}; units "
                "of 'leaky_relu' cannot die), or scale X, for example with StandardScaler."
                + _advice_for_targets(estimator)
            )
    return None


def _vanishing(history, frozen, estimator):
    n_layers = _count(history, "gradient_norm")
    trained = [layer for layer in range(n_layers - 1) if layer not in frozen]
    if n_layers < 3 or not trained:
        return None
    first, last = trained[0], n_layers - 1
    norms = [(row[f"gradient_norm_{first}"], row[f"gradient_norm_{last}"]) for row in history[-MIN_EPOCHS:]]
    if not all(below < _VANISHED * above for below, above in norms):
        return None
    ratio = max(below / above for below, above in norms)
    return (
        f"Gradients vanish: in each of the last {MIN_EPOCHS} epochs, the gradient of layer {first} was at most {ratio:.0e} times "
        f"that of the last layer, so that the first layers hardly learn. Change activation (now {estimator.activation!r}; "
        "'relu' and its like pass gradients on) or weight_init ('he_normal' goes with 'relu', 'glorot_normal' with 'tanh'), set "
        "normalization='batch', or take fewer layers in hidden_layer_sizes." + _advice_for_targets(estimator)
    )


def _exploding(history, estimator):
    first, tail = history[0], history[-MIN_EPOCHS:]
    n_layers = _count(history, "gradient_norm")
    before = _norm(first, n_layers)
    after = max(_norm(row, n_layers) for row in tail)
    worse = tail[-1]["loss"] > _WORSE * abs(first["loss"])
    if not (worse and after > _EXPLODED * before > 0):
        return None
    return (
        f"Gradients explode: their norm grew from {before:.1e} in the first epoch to {after:.1e}, and the loss from "
        f"{first['loss']:.1e} to {tail[-1]['loss']:.1e}. Lower learning_rate_init (now "
        f"{estimator.learning_rate_init:g}), or set clip_norm, for example to 1.0 (now {estimator.clip_norm})."
    )


def _badly_scaled(rows, train_rows, names, read):
    columns, sizes = _column_sizes(rows, train_rows, read)
    if not sizes.size:
        return None
    largest = sizes.argmax()
    size, median = sizes[largest], np.median(sizes)
    uneven = size >= _LARGE and size >= _LARGER * median
    if not (uneven or size >= _HUGE):
        return None
    column = int(columns[largest])
    name = f"number {column}" if names is None else repr(str(names[column]))
    beside = f", and half of the columns of {_rounded(median)} at most" if uneven else ""
    return (
        f"X is badly scaled: column {name} has values of about {_rounded(size)}{beside}. Networks learn badly from such data; "
        "scale X, for example with StandardScaler in a pipeline."
    )


def _column_sizes(rows, train_rows, read=None):
    """Return the indices of the columns that are not zero in a sample of rows, and their root mean squares."""
    n_sampled = min(len(train_rows), max(10, min(_SAMPLE_ROWS, _SAMPLE_SIZE // max(rows.shape[1], 1))))
    sample = rows.places(train_rows[np.arange(n_sampled) * len(train_rows) // n_sampled])
    if rows.is_sparse:
        spans = [slice(rows.indptr[row], rows.indptr[row + 1]) for row in sample]
        entries = np.concatenate([rows.data[span] for span in spans]).astype(np.float64)
        columns, where = np.unique(np.concatenate([rows.indices[span] for span in spans]), return_inverse=True)
        with np.errstate(over="ignore"):
            squares = np.bincount(where, weights=entries**2, minlength=len(columns))
    else:
        # Squares that overflow become infinite, which marks a badly scaled column.
        with np.errstate(over="ignore"):
            entries = rows.X[sample] if read is None else read(sample)
            squares = np.square(entries, dtype=np.float64).sum(axis=0)
        columns = np.arange(len(squares))
    present = squares > 0
    return columns[present], np.sqrt(squares[present] / n_sampled)


def badly_placed(targets, predictions, weights, advice):
    """Describe predictions that are worse than the mean of the targets, whose scale training did not reach.

    Parameters
    ----------
    targets, predictions : ndarray of shape (n_rows, n_targets)
        Of a sample of the training rows.
    weights : ndarray of shape (n_rows,) or None
    advice : str
        The parameter to set.

    Returns
    -------
    finding : str or None
        None if there is nothing to report.
    """
    if weights is not None and not weights.any():
        return None
    targets, predictions = targets.astype(np.float64), predictions.astype(np.float64)
    with np.errstate(all="ignore"):
        means = np.average(targets, axis=0, weights=weights)
        variances = np.average((targets - means) ** 2, axis=0, weights=weights)
        errors = np.average((targets - predictions) ** 2, axis=0, weights=weights)
        # Columns that are constant up to rounding have no variance to compare with.
        varies = variances > (len(targets) * np.finfo(float).eps * means) ** 2
        ratios = np.where(varies & np.isfinite(errors), errors / variances, 0.0)
        sizes = np.sqrt(means**2 + variances)
        is_far = (sizes > _FAR_FROM_ONE) | (sizes < 1 / _FAR_FROM_ONE)
    ratios[~is_far] = 0.0
    worst = ratios.argmax()
    if ratios[worst] <= _WORSE_THAN_MEAN:
        return None
    return (
        f"Predictions of the rows trained on are worse than the mean of y would be (R^2 = {1 - ratios[worst]:.1f}): training has not "
        f"got to the values of y, whose mean is about {_rounded(means[worst])} and whose deviation is about "
        f"{_rounded(math.sqrt(variances[worst]))}. Set {advice}."
    )


def _count(history, prefix):
    return sum(key.startswith(f"{prefix}_") for key in history[-1])


def _norm(row, n_layers):
    return math.hypot(*(row[f"gradient_norm_{layer}"] for layer in range(n_layers)))


def _rounded(number):
    """Round to one digit, so that similar data cause the same message, which Python then shows once."""
    return f"{float(f'{number:.0e}'):g}"


def _advice_for_targets(estimator):
    if getattr(estimator, "standardize_target", True):
        return ""
    return " If the values of y are far from zero, set standardize_target=True."
