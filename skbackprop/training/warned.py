"""Warnings of trainings: one by one, or those of many trainings in one summary."""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["WarningSummary", "begin_fit", "summarized", "warn"]

# Packages between a user's line and a warning.
_BETWEEN = {"contextlib", "joblib", "numpy", "skbackprop", "sklearn"}

_taking = ContextVar("_taking", default=None)


def warn(message, category=UserWarning):
    """Give a warning, now or in the summary of those who train many networks.

    It points to the user's line, so that Python's filters show it once for each, and an editor leads there. A filter that makes an
    error of it does so now, in the fit that it comes from.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
        A subclass of Warning.
    """
    taking = _taking.get()
    level = _users_stacklevel()
    action = None if taking is None else _action(message, category, sys._getframe(level - 1))
    if action in (None, "error"):
        warnings.warn(message, category, stacklevel=level)
    elif action != "ignore":
        summary, fit = taking
        summary.take(fit, message, category, sys._getframe(1))


def _action(message, category, frame):
    """What the filters of warnings, which are all threads', say of one."""
    module = frame.f_globals.get("__name__", "")
    for action, text, kind, name, line in warnings.filters:
        if (
            issubclass(category, kind)
            and (text is None or text.match(message))
            and (name is None or name.match(module))
            and line in (0, frame.f_lineno)
        ):
            return action
    return warnings.defaultaction


class WarningSummary:
    """How many fits gave which warning; if it is made in the context of another summary, that one has them all."""

    def __init__(self):
        self._kinds = {}
        # Asked here, and not where a fit begins, which may be in another thread.
        self._wider = _taking.get()

    def take(self, fit, message, category, frame):
        """Take note of a warning.

        Parameters
        ----------
        fit : object
            Which fit gave it; None for the last one, to all the data.
        message : str
        category : type
        frame : frame
            Where it comes from: warnings of the same kind come from the same line.
        """
        # Two steps that each are one for other threads.
        place = category, frame.f_code.co_filename, frame.f_lineno
        self._kinds.setdefault(place, (message, set()))[1].add(fit)

    def give(self, n_fits):
        """Warn once for each category, at the line of the user's that has led here.

        Parameters
        ----------
        n_fits : int
            Fits that there were, without the last one to all the data.
        """
        told = {}
        for (category, *_), (message, fits) in self._kinds.items():
            told.setdefault(category, []).append(f"{_count(fits, n_fits)} warned: {message}")
        for category, texts in told.items():
            warnings.warn("\n".join(texts), category, stacklevel=_users_stacklevel())


def _count(fits, n_fits):
    last = "the fit with the best parameters"
    n_warned = len(fits - {None})
    return " and ".join([f"{n_warned} of {n_fits} fits"] * bool(n_warned) + [last] * (None in fits))


def _users_stacklevel():
    """The level, for the function that asks, of the line outside of this package and those that it is called through."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    return level


@contextmanager
def summarized(summary, fit=None):
    """Leave the warnings of trainings in this context to a summary, or to the wider one that it was made in.

    Parameters
    ----------
    summary : WarningSummary
    fit : object, default=None
        See `WarningSummary.take`.

    Yields
    ------
    summary : WarningSummary
    """
    token = _taking.set(summary._wider or (summary, fit))
    try:
        yield summary
    finally:
        _taking.reset(token)


def begin_fit(summary, fit):
    """Within the context of `summarized`: the warnings that follow are those of another fit, unless a wider summary has them.

    Parameters
    ----------
    summary : WarningSummary
    fit : object
        See `WarningSummary.take`.
    """
    taking = _taking.get()
    if taking is not None and taking[0] is summary:
        _taking.set((summary, fit))
