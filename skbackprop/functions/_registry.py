"""A registry: the functions of one kind, from which checks, errors and docs derive."""

from collections.abc import Mapping

from skbackprop.functions._function import Function

__all__ = ["Registry"]


class Registry(Mapping):
    """Classes of functions by name, in the order of registration.

    Parameters
    ----------
    kind : str
        The estimators' parameter that chooses one, for error messages.
    base : type
        What the classes derive from.
    entries : iterable of type
        Their names must be unique.
    """

    def __init__(self, kind, base, entries):
        self.kind = kind
        self.base = base
        entries = list(entries)
        self._entries = {entry.name: entry for entry in entries}
        self._keys = {}
        if len(self._entries) != len(entries):
            raise ValueError(f"two entries of the registry of {kind} share a name")

    def __getitem__(self, name):
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(map(repr, self._entries))
            raise ValueError(f"{self.kind}={name!r} is not known; choose one of {known}") from None

    def __contains__(self, name):
        return name in self._entries

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def get_function(self, choice):
        """The function that a name or an object stands for.

        Parameters
        ----------
        choice : str or Function

        Returns
        -------
        function : Function
            With valid settings.

        Raises
        ------
        ValueError
            If the name is not known, or a setting is invalid.
        TypeError
            If it is neither a name nor a function of this kind.
        """
        if isinstance(choice, str):
            return self[choice]()
        if not isinstance(choice, self.base) or not isinstance(choice, Function):
            known = ", ".join(map(repr, self._entries))
            raise TypeError(
                f"{self.kind}={choice!r} is not a function of this kind: give one of the names {known}, or an object of one of "
                f"the classes {', '.join(entry.__name__ for entry in self._entries.values())}"
            )
        choice._validate_params()
        return choice

    def get_key(self, choice):
        """`Function.key` of what a name or an object stands for.

        Parameters
        ----------
        choice : str or Function

        Returns
        -------
        key : tuple
        """
        if not isinstance(choice, str):
            return self.get_function(choice).key()
        # Asked for each prediction; to read an object's parameters takes longer than to predict a row.
        if choice not in self._keys:
            self._keys[choice] = self[choice]().key()
        return self._keys[choice]
