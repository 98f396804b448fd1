"""Warnings and errors of this package."""

__all__ = ["ModelFileError", "TrainingWarning", "WorkerLostError"]


class TrainingWarning(UserWarning):
    """Training went wrong in a way that a change of a parameter, or scaling the data, can fix.

    `fit` issues at most one, after the last epoch of a stochastic solver, if gradients clearly vanish or explode, most
    units of a layer are dead or saturated, predictions did not reach the scale of the targets, or the columns of `X`
    are badly scaled. The message says what was observed, and which parameters to change. `partial_fit` issues it if
    callbacks are set, because it does not call them.

    Examples
    --------
    To turn it off:

    >>> import warnings
    >>> from skbackprop.exceptions import TrainingWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", TrainingWarning)
    """


class WorkerLostError(RuntimeError):
    """A worker of a training on several was lost, and so was the training; the estimator is as it was before."""


class ModelFileError(ValueError):
    """A model file or a checkpoint is damaged, was not written by this package, or is inconsistent.

    Raised by :func:`~skbackprop.load` before anything in the file is used.
    """
