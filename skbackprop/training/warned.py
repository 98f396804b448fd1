"""Warnings of trainings: issued one by one, or summarized over many trainings."""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["WarningSummary", "begin_fit", "summarized", "warn"]

# Packages whose frames lie between the user's code and a warning.
_BETWEEN = {"contextlib", "joblib", "numpy", "skbackprop", "sklearn"}

_taking = ContextVar("_taking", default=None)


def warn(message, category=UserWarning):
    """Issue a warning, now or as part of a summary of many trainings.

    It points to the line in the user's code, so that Python's filters show it once per line. A filter that turns it
    into an error takes effect immediately, in the fit that caused it.

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
    """Return the action of the warning filters, which all threads share, for a warning."""
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
    """Counts of the fits that issued each warning. Inside another summary, the outer one collects them all."""

    def __init__(self):
        self._kinds = {}
        # Looked up here and not when a fit begins, because that may happen in another thread.
        self._wider = _taking.get()

    def take(self, fit, message, category, frame):
        """Record a warning.

        Parameters
        ----------
        fit : object
            The fit that issued it; None for the final fit to all data.
        message : str
        category : type
        frame : frame
            Its origin: warnings of the same kind come from the same line.
        """
        # Both steps are atomic, so no lock is needed.
        place = category, frame.f_code.co_filename, frame.f_lineno
        self._kinds.setdefault(place, (message, set()))[1].add(fit)

    def merge(self, other, n_earlier):
        """Record the warnings of another summary.

        Parameters
        ----------
        other : WarningSummary
            Of fits that are numbered from 1, perhaps in another process.
        n_earlier : int
            Number of fits before those.
        """
        for place, (message, fits) in other._kinds.items():
            summary, fit = self._wider or (self, None)
            own = {fit} if self._wider else {None if one is None else n_earlier + one for one in fits}
            summary._kinds.setdefault(place, (message, set()))[1].update(own)

    def messages(self):
        """Return the first warning of each kind.

        Returns
        -------
        messages : list of tuple of (str, type)
            Messages and categories.
        """
        return [(message, category) for (category, *_), (message, _) in self._kinds.items()]

    def give(self, n_fits):
        """Warn once per category, at the calling line of the user's code.

        Parameters
        ----------
        n_fits : int
            Number of fits, without the final fit to all data.
        """
        by_category = {}
        for (category, *_), (message, fits) in self._kinds.items():
            by_category.setdefault(category, []).append(f"{_count(fits, n_fits)} warned: {message}")
        for category, texts in by_category.items():
            warnings.warn("\n".join(texts), category, stacklevel=_users_stacklevel())


def _count(fits, n_fits):
    last = "the fit with the best parameters"
    n_warned = len(fits - {None})
    return " and ".join([f"{n_warned} of {n_fits} fits"] * bool(n_warned) + [last] * (None in fits))


def _users_stacklevel():
    """Return the `stacklevel`, for the calling function, of the first frame outside the packages in `_BETWEEN`."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    return level


@contextmanager
def summarized(summary, fit=None):
    """Collect the warnings of trainings in this context in a summary, or in the outer one that it was created in.

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
    """Inside `summarized`, attribute the following warnings to another fit, unless an outer summary collects them.

    Parameters
    ----------
    summary : WarningSummary
    fit : object
        See `WarningSummary.take`.
    """
    taking = _taking.get()
    if taking is not None and taking[0] is summary:
        _taking.set((summary, fit))
