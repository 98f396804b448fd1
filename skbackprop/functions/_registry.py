"""A registry: the named functions of one kind, from which checks, errors and docs derive."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What every registered function has.

    Parameters
    ----------
    name : str
        Public name, as users write it.
    code : int
        What the kernels branch on.
    formula : str
        The definition in reStructuredText mathematics, for the documentation's tables.
    reference : str
        The source.
    """

    name: str
    code: int
    formula: str
    reference: str


class Registry(Mapping):
    """Entries by name, in the order of registration.

    Parameters
    ----------
    kind : str
        What the entries are, for error messages.
    entries : iterable of Entry
        Names and codes must be unique.
    """

    def __init__(self, kind, entries):
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}
        if len({entry.code for entry in self._entries.values()}) != len(self._entries):
            raise ValueError(f"two entries of the registry of {kind} share a code")

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
