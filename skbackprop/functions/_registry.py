"""Registry of the functions of one kind; parameter checks, errors, tests and documentation derive from it."""

from collections.abc import Mapping
from typing import Any

from skbackprop._names import did_you_mean, listed
from skbackprop.functions._function import Function

__all__ = ["Registry"]


class Registry(Mapping):
    """Mapping from names to classes of functions, in the order of registration.

    Parameters
    ----------
    kind : str
        Name of the estimators' parameter, for error messages.
    base : type
        Base class of the entries.
    entries : iterable of type
        Classes with unique names.
    """

    def __init__(self, kind: str, base: Any, entries: Any) -> None:
        self.kind = kind
        self.base = base
        entries = list(entries)
        self._entries = {entry.name: entry for entry in entries}
        self._keys: dict[Any, Any] = {}
        if len(self._entries) != len(entries):
            raise ValueError(f"two entries of the registry of {kind} share a name")

    def __getitem__(self, name: Any) -> Any:
        try:
            return self._entries[name]
        except KeyError:
            meant = did_you_mean(name, self._entries) if isinstance(name, str) else None
            hint = "choose" if meant is None else f"did you mean {meant!r}? Choose"
            raise ValueError(f"{self.kind}={name!r} is not known; {hint} one of {listed(self._entries)}") from None

    def __contains__(self, name: Any) -> bool:
        # Unhashable objects are not names.
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Any:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def get_function(self, choice: Any) -> Any:
        """Return the function for a name or an object, with validated settings.

        Parameters
        ----------
        choice : str or Function

        Returns
        -------
        function : Function
            The object itself, or a new one with default settings.

        Raises
        ------
        ValueError
            If the name is unknown or a setting is invalid.
        TypeError
            If `choice` is neither a name nor a function of this kind.
        """
        if isinstance(choice, str):
            return self[choice]()
        if not isinstance(choice, self.base) or not isinstance(choice, Function):
            classes = ", ".join(sorted(entry.__name__ for entry in self._entries.values()))
            raise TypeError(
                f"{self.kind}={choice!r} is not a function of this kind: give one of the names {listed(self._entries)}, or an "
                f"object of one of the classes {classes}"
            )
        choice._validate_params()
        return choice

    def get_key(self, choice: Any) -> tuple[Any, ...]:
        """Return the `Function.key` for a name or an object.

        Parameters
        ----------
        choice : str or Function

        Returns
        -------
        key : tuple
        """
        if not isinstance(choice, str):
            return self.get_function(choice).key()
        # Cached for predictions of single rows: reading an object's parameters takes longer than predicting a row.
        if choice not in self._keys:
            self._keys[choice] = self[choice]().key()
        return self._keys[choice]
