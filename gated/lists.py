"""Lists and dwellings in memory, for the rules: exact with the store once a change is committed. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gated.domain import Credential, Dwelling, ListEntry, ListName

_ON_NONE: frozenset[ListName] = frozenset()


class Lists:
    """Which lists a credential is on."""

    def __init__(self) -> None:
        self._on: dict[Credential, dict[ListName, datetime | None]] = {}
        self.version = 0
        """Differs after every change."""

    def load(self, entries: Iterable[ListEntry]) -> None:
        """Forgets everything, and takes in these."""
        self._on = {}
        self.version += 1
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: ListEntry) -> None:
        """A credential was put on a list, or its entry changed."""
        self.version += 1
        self._on.setdefault(entry.credential, {})[entry.list] = entry.until

    def remove(self, name: ListName, credential: Credential) -> None:
        """A credential was taken off a list."""
        self.version += 1
        on = self._on.get(credential)
        if on is not None:
            on.pop(name, None)
            if not on:
                del self._on[credential]

    def on(self, credential: Credential, now: datetime) -> frozenset[ListName]:
        """The lists that a credential is on at a time."""
        found = self._on.get(credential)
        if found is None:
            return _ON_NONE
        return frozenset(name for name, until in found.items() if until is None or now < until)

    def having(self, name: ListName, now: datetime) -> set[Credential]:
        """The credentials on a list at a time."""
        return {
            credential
            for credential, on in self._on.items()
            if name in on and ((until := on[name]) is None or now < until)
        }


class Dwellings:
    """The registered homes by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Dwelling] = {}

    def load(self, dwellings: Iterable[Dwelling]) -> None:
        """Forgets everything, and takes in these."""
        self._by_id = {one.id: one for one in dwellings}

    def apply(self, dwelling: Dwelling) -> None:
        """A dwelling was written."""
        self._by_id[dwelling.id] = dwelling

    def remove(self, dwelling_id: str) -> None:
        """A dwelling was taken out."""
        self._by_id.pop(dwelling_id, None)

    def get(self, dwelling_id: str) -> Dwelling | None:
        """The dwelling with this id."""
        return self._by_id.get(dwelling_id)
