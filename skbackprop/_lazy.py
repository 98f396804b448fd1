"""Attributes that are computed on first access."""

from collections.abc import Callable
from typing import Any

__all__ = ["lazy"]


class lazy:  # noqa: N801 (a decorator)
    """An attribute that a method computes on first access, and that is then stored in the object's `__dict__`.

    :func:`functools.cached_property` without the lock that it has before Python 3.12. That lock is shared by all
    objects of a class, and a process that is forked while another thread holds it inherits it locked forever. Without
    the lock, two threads may compute the same value twice; both get the value that is stored first.

    Parameters
    ----------
    method : callable
        Takes only the object.
    """

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._name, self._method(instance))
