"""Warnings and errors of this package."""

__all__ = ["ModelFileError", "TrainingWarning"]


class TrainingWarning(UserWarning):
    """Training went wrong in a way that another parameter, or scaled data, would cure.

    `fit` issues at most one, after the last epoch of a stochastic solver, where it is beyond doubt that gradients vanish
    or explode, that most of a layer's units are dead or saturated, that predictions did not get to where the targets are, or that
    the columns of `X` are badly scaled. The message tells what was seen, and which parameters to change. `partial_fit` issues it
    for callbacks, which it does not call.

    Examples
    --------
    To do without:

    >>> import warnings
    >>> from skbackprop.exceptions import TrainingWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", TrainingWarning)
    """


class ModelFileError(ValueError):
    """A model file or a checkpoint is damaged, comes from elsewhere, or does not fit.

    Raised by :func:`~skbackprop.load` before anything of the file is used.
    """
