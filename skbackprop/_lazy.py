"""Attributes that are computed when they are first asked for."""

from typing import Any

__all__ = ["lazy"]


class lazy:  # noqa: N801 (a decorator)
    """An attribute that a method computes the first time, and that then is in the object's `__dict__`.

    :func:`functools.cached_property` without the lock that it has before Python 3.12: one for all objects of a class, which a
    process inherits locked, and for ever, when it is forked while another thread holds it. Without it, two threads may compute
    the same twice; both get what the first of them has stored.

    Parameters
    ----------
    method : callable
        Of the object alone.
    """

    def __init__(self, method):
        self._method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, instance, owner=None) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._name, self._method(instance))
