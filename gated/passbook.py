"""The live passes in memory: what a credential may mean, found in the same time for a thousand or a million.

Holds one compact record a credential (about 200 bytes in all, nothing that the garbage collector walks),
not the people: only what deciding needs. It is exact with the store: every change of a pass has a number
(`change`), numbers are applied without gaps, and a passage decided on an older number is refused by the
store and decided again (see `gated.store`). Knows no I/O; `follow` is the one place that asks the store.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date
from math import fsum
from typing import NamedTuple

from gated.domain import (
    Attestation,
    Candidate,
    Credential,
    CredentialKind,
    HourWindow,
    Pass,
    PassFacts,
    PassState,
)
from gated.nearplates import MOST, Near, NearPlates
from gated.times import from_us, to_us

# change, valid from, until, revoked at (0: not); kind, shape; revoked; length of the id, which follows; then,
# only where there is any of it, the dwelling's id, a zero byte and the attestations
_RECORD = struct.Struct("<qqqqIIBB")
_ID_AT = _RECORD.size
_LENGTH_AT = _ID_AT - 1
_PAGE = 200
"""Passes taken in at once: about 1 ms of the event loop."""
# a plate is its own key, and the very object that `NearPlates` has; no plate begins with a zero byte
_KINDS = {CredentialKind.PLATE: b"", CredentialKind.CARD: b"\0c", CredentialKind.CODE: b"\0q"}
_PLATE = CredentialKind.PLATE

Shape = tuple[tuple[str, ...] | None, tuple[HourWindow, ...], tuple[tuple[str, int], ...]]
_FAR = 2.0
"""What a read counts to which a plate is not near at all."""
_UNSAID = 0.5
"""What a read weighs whose device gives no confidence."""
_MOST_CANDIDATES = 8


class Seen(NamedTuple):
    """One read of a vehicle. `confidence`: 0..1, None where the device gives none."""

    credential: Credential
    confidence: float | None


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
        self._near = NearPlates()

    def __len__(self) -> int:
        """How many credentials are known."""
        return len(self._records)

    def load(self, facts: Iterable[tuple[Credential, PassFacts]], change: int) -> None:
        """Fills an empty book with all that the store has at `change`."""
        for credential, found in facts:
            self._add(_key(credential), self._pack(found, change))
        self._near.load((key for key in self._records if key[:1] != b"\0"), len(self._records))
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
            if credential.kind is _PLATE:
                self._near.add(key)
        if changed.change == self.change + 1:
            self.change = changed.change

    def match(self, credential: Credential | None) -> list[Candidate]:
        """The passes that this credential is on, revoked and ended ones included (they explain a refusal)."""
        if credential is None:
            return []
        found = self._records.get(_key(credential))
        if found is None:
            return []
        value = credential.value
        records = found if isinstance(found, tuple) else (found,)
        return [
            Candidate(self._unpack(record), 0.0, "", value) for record in records if self._current(record)
        ]

    def near(self, seen: Sequence[Seen]) -> list[Candidate]:
        """The passes whose plate is nearly, but not exactly, what was read; the nearest first. Ended and
        revoked ones are among them: whoever decides knows the time. More than eight only where it takes them
        to see, at any time, whether two passes in force could be meant.

        `seen`: the reads of one vehicle, the one that is asked for first; what is no plate is left out. With
        several, a plate's distance is the mean of its distances from each, weighed by how sure the device
        was of the read; a read to which it is not near counts as 2.0 away, so that a plate near to one read
        and far from another loses against one near to both. The order of the reads does not matter, but for
        the edits, which are those from the first read that is near to the plate and not equal, if any.
        """
        plates = [one for one in seen if one.credential.kind is _PLATE]
        nearest = self._near.near(plates[0].credential.value) if len(plates) == 1 else self._fused(plates)
        return self._candidates(nearest) if nearest else []

    def _fused(self, plates: Sequence[Seen]) -> list[Near]:
        weights = [_UNSAID if one.confidence is None else max(one.confidence, 0.01) for one in plates]
        each: list[dict[str, tuple[float, str]]] = []
        for one in plates:
            value = one.credential.value
            near = {plate: (distance, edits) for distance, plate, edits in self._near.near(value)}
            near[value] = (0.0, "")
            each.append(near)
        found: list[Near] = []
        for plate in {plate for near in each for plate in near}:
            ways = [near.get(plate, (_FAR, "")) for near in each]
            distance = fsum(weight * way[0] for weight, way in zip(weights, ways, strict=True))
            distance = round(distance / fsum(weights), 3)
            if 0 < distance <= MOST:
                found.append((distance, plate, next((edits for _, edits in ways if edits), "")))
        return sorted(found)

    def _candidates(self, nearest: list[Near]) -> list[Candidate]:
        found: list[Candidate] = []
        kept: list[bytes] = []
        for distance, plate, edits in nearest:
            there = self._records.get(plate.encode(), ())
            for record in there if isinstance(there, tuple) else (there,):
                if self._current(record) and (len(kept) < _MOST_CANDIDATES or _adds(record, kept)):
                    kept.append(record)
                    found.append(Candidate(self._unpack(record), distance, edits, plate))
        return found

    # --- records ----------------------------------------------------------------------------------------

    def _pack(self, facts: PassFacts, change: int) -> bytes:
        shape: Shape = (facts.entrances, facts.hours, facts.limits)
        index = self._shape_index.get(shape)
        if index is None:
            index = self._shape_index[shape] = len(self._shapes)
            self._shapes.append(shape)
        kind = self._kind_index.get(facts.kind)
        if kind is None:
            kind = self._kind_index[facts.kind] = len(self._kinds)
            self._kinds.append(facts.kind)
        pass_id = facts.pass_id.encode()
        record = (
            _RECORD.pack(
                change,
                to_us(facts.valid_from),
                to_us(facts.valid_until),
                to_us(facts.revoked_at) if facts.revoked_at else 0,
                kind,
                index,
                facts.state is PassState.REVOKED,
                len(pass_id),
            )
            + pass_id
        )
        if facts.dwelling_id is not None or facts.attestations:
            record += (facts.dwelling_id or "").encode() + b"\0" + _packed(facts.attestations)
        return record

    def _unpack(self, record: bytes) -> PassFacts:
        _, since, until, revoked_at, kind, shape, revoked, length = _RECORD.unpack_from(record)
        entrances, hours, limits = self._shapes[shape]
        end = _ID_AT + length
        dwelling: str | None = None
        attestations: tuple[Attestation, ...] = ()
        if len(record) > end:
            home, _, proofs = record[end:].partition(b"\0")
            dwelling, attestations = home.decode() or None, _unpacked(proofs)
        return PassFacts(
            record[_ID_AT:end].decode(),
            self._kinds[kind],
            PassState.REVOKED if revoked else PassState.ACTIVE,
            from_us(since),
            from_us(until),
            entrances,
            hours,
            from_us(revoked_at) if revoked_at else None,
            limits,
            attestations,
            dwelling,
        )

    def _current(self, record: bytes) -> bool:
        latest = self._latest.get(record[_ID_AT : _ID_AT + record[_LENGTH_AT]])
        return latest is None or int.from_bytes(record[:8], "little", signed=True) >= latest

    def _add(self, key: bytes, record: bytes) -> None:
        there = self._records.get(key)
        if there is None:
            self._records[key] = record
        else:
            self._records[key] = (*there, record) if isinstance(there, tuple) else (there, record)

    def _drop(self, key: bytes, pass_id: bytes) -> None:
        """Forgets what this key knew of a pass, and whatever else has become void under it."""
        there = self._records.get(key)
        if there is None:
            return
        records = there if isinstance(there, tuple) else (there,)
        kept = tuple(
            one for one in records if one[_ID_AT : _ID_AT + one[_LENGTH_AT]] != pass_id and self._current(one)
        )
        if kept:
            self._records[key] = kept if len(kept) > 1 else kept[0]
        else:
            del self._records[key]


def _adds(record: bytes, kept: list[bytes]) -> bool:
    """Whether there is a time at which this pass may be in force and not two of those kept are: unless two
    passes are in force all the while that it is."""
    _, since, until, _, _, _, revoked, _ = _RECORD.unpack_from(record)
    if revoked:
        return False
    covering = set()
    for one in kept:
        _, other_since, other_until, _, _, _, other_revoked, length = _RECORD.unpack_from(one)
        if not other_revoked and other_since <= since and until <= other_until:
            covering.add(one[_ID_AT : _ID_AT + length])
    return len(covering) < 2


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
        limits=tuple(sorted(found.limits.items())),
        attestations=found.attestations,
        dwelling_id=found.holder.dwelling_id,
    )


def _packed(attestations: tuple[Attestation, ...]) -> bytes:
    return b"\0".join(
        "/".join(
            (one.kind, one.issued_on.isoformat(), one.valid_until.isoformat() if one.valid_until else "")
        ).encode()
        for one in attestations
    )


@functools.lru_cache(4096)
def _unpacked(packed: bytes) -> tuple[Attestation, ...]:
    found = []
    for one in packed.decode().split("\0") if packed else ():
        kind, issued, until = one.rsplit("/", 2)
        found.append(
            Attestation(kind, date.fromisoformat(issued), date.fromisoformat(until) if until else None)
        )
    return tuple(found)


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
