"""What engines do when workers fail."""

from skbackprop.exceptions import WorkerLostError

__all__ = ["MOST_RESTARTS", "cause_of"]

#: How often a training is begun again after a worker was lost.
MOST_RESTARTS = 3


def cause_of(errors):
    """Return the error to raise: an error of one worker makes all others lose it.

    Parameters
    ----------
    errors : list of Exception
        By rank; not empty.

    Returns
    -------
    error : Exception
        The first that is no `WorkerLostError`, if there is one.
    """
    return next((error for error in errors if not isinstance(error, WorkerLostError)), errors[0])
