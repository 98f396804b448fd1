"""Serialize fits of the same estimator in several threads, which would change the same attributes."""

import os
import threading
import weakref
from functools import wraps

__all__ = ["one_at_a_time"]

#: Locks of the live estimators that were fitted. Not attributes, because locks can be neither copied nor pickled. Keyed
#: by id, because a subclass that defines __eq__ may be unhashable.
_locks: dict[int, threading.RLock] = {}

if hasattr(os, "register_at_fork"):
    # The threads that hold the locks exist only in the parent.
    os.register_at_fork(after_in_child=_locks.clear)


def one_at_a_time(method):
    """Decorate a method so that only one thread at a time runs it on the same estimator; reentrant.

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
