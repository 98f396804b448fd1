"""Warnings and errors of this package."""

import sys
import warnings
from pathlib import Path

import numpy as np
import sklearn

__all__ = ["ModelFileError", "TrainingWarning", "warn_user"]

# Code between a user's line and a warning.
_BETWEEN = tuple(str(Path(path).parent) for path in (__file__, sklearn.__file__, np.__file__))


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


def warn_user(message, category=UserWarning):
    """Issue a warning that points to the user's line, and not into this package or those whose decorators it has.

    Python's filters show a warning once for each place, and an editor leads there.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    # In a thread of a search there is no user's line.
    warnings.warn(message, category, stacklevel=level)
