"""The live passes in memory: what a credential may mean, found in the same time for a thousand or a million.

Holds one compact record a credential (about 200 bytes in all, nothing that the garbage collector walks),
not the people: only what deciding needs. It is exact with the store: every change of a pass has a number
(`change`), numbers are applied without gaps, and a passage decided on an older number is refused by the
store and decided again (see `gated.store`). Knows no I/O; `follow` is the one place that asks the store.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable

from gated.domain import Candidate, Credential, CredentialKind, HourWindow, Pass, PassFacts, PassState
from gated.times import from_us, to_us

_RECORD = struct.Struct("<qqqqIIB")  # change, valid from, until, revoked at (0: not); kind, shape; revoked
_ID_AT = _RECORD.size
_PAGE = 200
"""Passes taken in at once: about 1 ms of the event loop."""
_KINDS = {CredentialKind.PLATE: b"p", CredentialKind.CARD: b"c", CredentialKind.CODE: b"q"}

Shape = tuple[tuple[str, ...] | None, tuple[HourWindow, ...]]


def _key(credential: Credential) -> bytes:
    return _KINDS[credential.kind] + credential.value.encode()


class Passbook:
    """Looks up credentials. Used from one thread, the event loop's."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes | tuple[bytes, ...]] = {}
        # a pass that changed since the start: records of it with a smaller number are void
        self._latest: dict[bytes, int] = {}
        self._shapes: list[Shape] = []
        self._shape_index: dict[Shape, int] = {}
        self._kinds: list[str] = []
        self._kind_index: dict[str, int] = {}
        self.change = 0

    def __len__(self) -> int:
        """How many credentials are known."""
        return len(self._records)

    def load(self, facts: Iterable[tuple[Credential, PassFacts]], change: int) -> None:
        """Fills an empty book with all that the store has at `change`."""
        for credential, found in facts:
            self._add(_key(credential), self._pack(found, change))
        self.change = change

    def apply(self, changed: Pass) -> None:
        """Takes in one changed pass. Older than what is known: ignored. `change` advances only without a
        gap; a gap is closed by the next `follow`."""
        pass_id = changed.id.encode()
        if changed.change <= self._latest.get(pass_id, 0):
            return
        facts = facts_of(changed)
        self._latest[pass_id] = changed.change
        record = self._pack(facts, changed.change)
        for credential in changed.credentials:
            key = _key(credential)
            self._drop(key, pass_id)
            self._add(key, record)
        if changed.change == self.change + 1:
            self.change = changed.change

    def match(self, credential: Credential | None) -> list[Candidate]:
        """The passes that this credential is on, revoked and ended ones included (they explain a refusal)."""
        if credential is None:
            return []
        found = self._records.get(_key(credential))
        if found is None:
            return []
        records = found if type(found) is tuple else (found,)
        return [Candidate(self._unpack(record)) for record in records if self._current(record)]  # type: ignore[arg-type]

    # --- records ----------------------------------------------------------------------------------------

    def _pack(self, facts: PassFacts, change: int) -> bytes:
        shape: Shape = (facts.entrances, facts.hours)
        index = self._shape_index.get(shape)
        if index is None:
            index = self._shape_index[shape] = len(self._shapes)
            self._shapes.append(shape)
        kind = self._kind_index.get(facts.kind)
        if kind is None:
            kind = self._kind_index[facts.kind] = len(self._kinds)
            self._kinds.append(facts.kind)
        return (
            _RECORD.pack(
                change,
                to_us(facts.valid_from),
                to_us(facts.valid_until),
                to_us(facts.revoked_at) if facts.revoked_at else 0,
                kind,
                index,
                facts.state is PassState.REVOKED,
            )
            + facts.pass_id.encode()
        )

    def _unpack(self, record: bytes) -> PassFacts:
        _, since, until, revoked_at, kind, shape, revoked = _RECORD.unpack_from(record)
        entrances, hours = self._shapes[shape]
        return PassFacts(
            pass_id=record[_ID_AT:].decode(),
            kind=self._kinds[kind],
            state=PassState.REVOKED if revoked else PassState.ACTIVE,
            valid_from=from_us(since),
            valid_until=from_us(until),
            entrances=entrances,
            hours=hours,
            revoked_at=from_us(revoked_at) if revoked_at else None,
        )

    def _current(self, record: bytes) -> bool:
        latest = self._latest.get(record[_ID_AT:])
        return latest is None or int.from_bytes(record[:8], "little", signed=True) >= latest

    def _add(self, key: bytes, record: bytes) -> None:
        there = self._records.get(key)
        if there is None:
            self._records[key] = record
        else:
            self._records[key] = (*there, record) if type(there) is tuple else (there, record)  # type: ignore[assignment]

    def _drop(self, key: bytes, pass_id: bytes) -> None:
        """Forgets what this key knew of a pass, and whatever else has become void under it."""
        there = self._records.get(key)
        if there is None:
            return
        records = there if type(there) is tuple else (there,)
        kept = tuple(r for r in records if r[_ID_AT:] != pass_id and self._current(r))  # type: ignore[arg-type]
        if kept:
            self._records[key] = kept if len(kept) > 1 else kept[0]  # type: ignore[assignment]
        else:
            del self._records[key]


def facts_of(found: Pass) -> PassFacts:
    """The part of a pass that deciding needs."""
    return PassFacts(
        pass_id=found.id,
        kind=found.kind,
        state=found.state,
        valid_from=found.valid_from,
        valid_until=found.valid_until,
        entrances=found.entrances,
        hours=found.hours,
        revoked_at=found.revoked_at,
    )


ChangedSince = Callable[[int, int], Awaitable[list[Pass]]]
"""Asks the store: the passes changed after a number, in the order of their changes, so many at most."""


async def follow(book: Passbook, changed_since: ChangedSince) -> int:
    """Brings the book up to the store, in pages, so that a million renewals neither fill the memory nor hold
    up the event loop; returns how many passes were taken in. After each page the book is exact up to the last
    change in it, and the store refuses what was decided on less than all."""
    taken = 0
    while True:
        page = await changed_since(book.change, _PAGE)
        for one in page:
            book.apply(one)
        if page:
            book.change = max(book.change, page[-1].change)
        taken += len(page)
        # what has come since a page that was not full is left to the next time: it might never end
        if len(page) < _PAGE:
            return taken
