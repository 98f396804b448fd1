"""Fits of one estimator by several threads, one after another: each changes the same attributes."""

import os
import threading
import weakref
from functools import wraps

__all__ = ["one_at_a_time"]

#: Of those estimators that were fitted and still are there. Beside them, as locks can be neither copied nor pickled.
#: By their ids: a class may compare its estimators by value, which leaves them without a hash.
_locks: dict[int, threading.RLock] = {}

if hasattr(os, "register_at_fork"):
    # The threads that hold locks are the parent's.
    os.register_at_fork(after_in_child=_locks.clear)


def one_at_a_time(method):
    """Let a thread wait until another has left the method of the same estimator; a thread itself may enter it again.

    Parameters
    ----------
    method : callable

    Returns
    -------
    method : callable
    """

    @wraps(method)
    def taking_turns(estimator, *arguments, **settings):
        with _lock_of(estimator):
            return method(estimator, *arguments, **settings)

    return taking_turns


def _lock_of(estimator):
    key = id(estimator)
    if key not in _locks:
        weakref.finalize(estimator, _locks.pop, key, None)
    return _locks.setdefault(key, threading.RLock())
