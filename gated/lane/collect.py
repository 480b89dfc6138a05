"""From reads to passages: which read is a vehicle of its own, and which says again what is known.

Pure: every time is an argument. One `Collector` a lane. It never decides who may pass.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from gated.domain import Credential, CredentialKind, Disposition, Read
from gated.ids import event_id

_REMEMBERED = 4096
_NEAR_EDITS = 2
_FUTURE = timedelta(seconds=5)


class Relation(Enum):
    """How a read relates to the passage that is at the lane now."""

    NEW = "new"
    SAME = "same"  # the very same credential
    RELATED = "related"  # a misread of it, or a read without a plate


@dataclass(slots=True)
class Current:
    """The passage at the lane. `last`: monotonic seconds of its latest read. `settled`: let through, and the
    barrier was commanded; a further read of it opens nothing."""

    passage_id: str
    credential: Credential | None
    last: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Collected:
    """What a read is. `passage_id` is the id that a passage of this read has or would have."""

    disposition: Disposition
    passage_id: str
    relation: Relation = Relation.NEW
    current: str | None = None


def passage_id_of(read: Read) -> str:
    """The id of the passage that this read makes: a resend gives the same one.

    Without the device's own key its words stand in for it; without its time the arrival does, and a resend
    can then only be told by the lane's window.
    """
    key = read.key if read.key is not None else f"{read.channel}:{read.raw}"
    return event_id(read.device, key, read.device_time or read.received_at)


class Collector:
    """The reads of one lane in the order of their arrival."""

    def __init__(self, window_s: float, max_age: timedelta) -> None:
        self.window_s = window_s
        self.max_age = max_age
        self.current: Current | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()

    def collect(self, read: Read, at: datetime, now: datetime, monotonic: float) -> Collected:
        """Says what a read is. `at`: its corrected time; `now` may be later than its arrival, if it had to
        wait for the store. Changes nothing but what was seen; call `decided`
        or `merged` with what became of it."""
        passage_id = passage_id_of(read)
        repeat = f"{read.device}\0{read.key}" if read.key is not None and read.device_time is None else ""
        if passage_id in self._seen or repeat in self._seen:
            return Collected(Disposition.DUPLICATE, passage_id)
        if read.backlog:
            return Collected(Disposition.BACKLOG, passage_id)
        if not -_FUTURE <= now - at <= self.max_age:
            return Collected(Disposition.STALE, passage_id)
        current = self.current
        if current is None or monotonic - current.last > self.window_s:
            return Collected(Disposition.DECIDED, passage_id)
        relation = relate(current.credential, read.credential)
        return Collected(Disposition.DECIDED, passage_id, relation, current.passage_id)

    def remember(self, read: Read, passage_id: str) -> None:
        """This read is on record now; it, sent again, is a duplicate."""
        self._seen[passage_id] = None
        if read.key is not None and read.device_time is None:
            self._seen[f"{read.device}\0{read.key}"] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def decided(
        self, passage_id: str, credential: Credential | None, monotonic: float, settled: bool
    ) -> None:
        """A passage was made of the read: it is the one at the lane."""
        self.current = Current(passage_id, credential, monotonic, settled)

    def merged(self, monotonic: float) -> None:
        """The read belongs to the passage at the lane, which is therefore still there."""
        if self.current is not None:
            self.current.last = monotonic

    def unsettle(self, passage_id: str) -> None:
        """The barrier did not take the command: a further read of this vehicle may try again."""
        if self.current is not None and self.current.passage_id == passage_id:
            self.current.settled = False


def relate(known: Credential | None, seen: Credential | None) -> Relation:
    """Whether two reads within the lane's window may be one vehicle."""
    if known == seen:
        return Relation.SAME
    if known is None or seen is None:
        return Relation.RELATED
    if known.kind is not seen.kind or known.kind is not CredentialKind.PLATE:
        return Relation.NEW
    if edits(known.value, seen.value, _NEAR_EDITS) <= _NEAR_EDITS:
        return Relation.RELATED
    return Relation.NEW


def edits(one: str, other: str, limit: int) -> int:
    """Levenshtein distance of two short strings, or `limit` + 1 if it is larger."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
