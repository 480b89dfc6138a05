"""From reads to passages: which read is a vehicle of its own, and which says again what is known.

Pure: every time is an argument. One `Collector` a lane. It never decides who may pass.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from rapidfuzz.distance.Levenshtein import distance

from gated.domain import Credential, CredentialKind, Disposition, Read
from gated.ids import event_id
from gated.passbook import Seen

FUTURE = timedelta(seconds=-5)
"""The age of a read that is as far ahead of our clock as it may be."""

_REMEMBERED = 1024  # of each lane; together with the device's own numbers 200 bytes each
_AT_ONCE = 8  # vehicles that a lane has in sight, with room
_NEAR_EDITS = 2
_READS_KEPT = 6
_PLATE = CredentialKind.PLATE  # looking up a member of an enum takes as long as comparing two plates


class Relation(Enum):
    """How a read relates to the passage that is at the lane now."""

    NEW = "new"
    SAME = "same"  # the very same credential
    RELATED = "related"  # a misread of it, or a read without a plate


@dataclass(slots=True)
class Current:
    """A passage at the lane. In monotonic seconds `last`: when its latest read came, `seen`: when that had
    happened. `settled`: let through, and the barrier was commanded; a further read of it opens nothing.
    `pass_id`: the pass that it was let through on. `reads`: what was read of it so far, for matching."""

    passage_id: str
    credential: Credential | None
    last: float
    seen: float
    settled: bool
    pass_id: str | None = None
    reads: tuple[Seen, ...] = ()


class Collected(NamedTuple):
    """What a read is. `passage_id` is the id that a passage of this read has or would have. `seen`: when it
    happened, in monotonic seconds. `current`: the passage at the lane that it is related to; `settled`: that
    was let through, on the pass `pass_id`. `reads`: the earlier reads of that vehicle."""

    disposition: Disposition
    passage_id: str
    seen: float = 0.0
    relation: Relation = Relation.NEW
    current: str | None = None
    settled: bool = False
    pass_id: str | None = None
    reads: tuple[Seen, ...] = ()


def passage_id_of(read: Read) -> str:
    """The id of the passage that this read makes: a resend gives the same one.

    Without the device's own key its words stand in for it; without its time the arrival does, and a resend
    can then only be told by the lane's window.
    """
    key = read.key if read.key is not None else f"{read.channel}:{read.raw}"
    return event_id(read.device, key, read.device_time or read.received_at)


class Collector:
    """The reads of one lane in the order of their arrival.

    Several vehicles may be at a lane: two in one picture, or one that its rear camera reads when the front
    camera reads the next already. Each is known for the window since its latest read, and to a read that was
    held up on its way, for the window around the time at which it was seen.
    """

    def __init__(self, window_s: float, max_age: timedelta) -> None:
        self.window_s = window_s
        self.max_age = max_age
        self._here: list[Current] = []  # in the order of their latest reads
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
        age = now - at
        if not FUTURE <= age <= self.max_age:
            return Collected(Disposition.STALE, passage_id)
        seen = monotonic - age.total_seconds()
        relation, current = self._related(read.credential, seen, monotonic)
        if current is None:
            return Collected(Disposition.DECIDED, passage_id, seen)
        return Collected(
            Disposition.DECIDED,
            passage_id,
            seen,
            relation,
            current.passage_id,
            current.settled,
            current.pass_id,
            current.reads,
        )

    def _related(
        self, credential: Credential | None, seen: float, monotonic: float
    ) -> tuple[Relation, Current | None]:
        """The vehicle at the lane whose read this may be: the very same, else the latest that is alike."""
        found: Current | None = None
        for one in reversed(self._here):
            if monotonic - one.last > self.window_s and abs(seen - one.seen) > self.window_s:
                continue
            relation = relate(one.credential, credential)
            if relation is Relation.SAME:
                return relation, one
            if relation is Relation.RELATED and found is None:
                found = one
        return (Relation.NEW, None) if found is None else (Relation.RELATED, found)

    def remember(self, read: Read, passage_id: str) -> None:
        """This read is on record now; it, sent again, is a duplicate."""
        self._seen[passage_id] = None
        if read.key is not None and read.device_time is None:
            self._seen[f"{read.device}\0{read.key}"] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def decided(
        self,
        read: Collected,
        credential: Credential | None,
        monotonic: float,
        settled: bool,
        pass_id: str | None = None,
        seen: Seen | None = None,
    ) -> None:
        """A passage was made of the read: its vehicle is at the lane. If it corrects one that was not let
        in, it takes its place. `seen`: what the read adds to what is known of the vehicle."""
        known = self.window_s + self.max_age.total_seconds()
        self._here = [
            one
            for one in self._here[-_AT_ONCE + 1 :]
            if monotonic - one.last <= known and (one.settled or one.passage_id != read.current)
        ]
        reads = _with(read.reads, seen)
        self._here.append(Current(read.passage_id, credential, monotonic, read.seen, settled, pass_id, reads))

    def restore(
        self,
        passage_id: str,
        credential: Credential | None,
        ago_s: float,
        monotonic: float,
        settled: bool,
        pass_id: str | None = None,
    ) -> None:
        """A vehicle that was at the lane before a restart; the oldest first."""
        then = monotonic - ago_s
        current = Current(passage_id, credential, then, then, settled, pass_id)
        self._here = [*self._here[-_AT_ONCE + 1 :], current]

    def merged(self, read: Collected, monotonic: float, seen: Seen | None = None) -> None:
        """The read belongs to a passage at the lane, whose vehicle is therefore still there; unless the read
        is an old one that was held up."""
        for index, one in enumerate(self._here):
            if one.passage_id == read.current:
                one.reads = _with(one.reads, seen)
                one.seen = max(one.seen, read.seen)
                if monotonic - one.last <= self.window_s:
                    one.last = monotonic
                    self._here.append(self._here.pop(index))
                return

    def unsettle(self, passage_id: str) -> None:
        """The barrier did not take the command: a further read of this vehicle may try again."""
        for one in self._here:
            if one.passage_id == passage_id:
                one.settled = False


def _with(reads: tuple[Seen, ...], seen: Seen | None) -> tuple[Seen, ...]:
    """The latest few reads of a vehicle, each credential with its surest read."""
    if seen is None:
        return reads
    for one in reads:
        if one.credential == seen.credential:
            if (one.confidence or 0.0) >= (seen.confidence or 0.0):
                return reads
            reads = tuple(other for other in reads if other is not one)
            break
    return (*reads[-_READS_KEPT + 1 :], seen)


def relate(known: Credential | None, seen: Credential | None) -> Relation:
    """Whether two reads within the lane's window may be one vehicle."""
    if known is None or seen is None:
        return Relation.SAME if known is seen else Relation.RELATED
    if known.kind is not seen.kind:
        return Relation.NEW
    if known.value == seen.value:
        return Relation.SAME
    if known.kind is not _PLATE:
        return Relation.NEW
    if distance(known.value, seen.value, score_cutoff=_NEAR_EDITS) <= _NEAR_EDITS:
        return Relation.RELATED
    return Relation.NEW
