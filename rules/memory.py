"""What the site remembers of passages: who is inside on which pass, how often, and who was refused lately.

A fold: the same passages in the same order give the same memory, whether they come one by one or after a
restart from the store (`gated.store.presence`). Pure; bounded; nothing here decides, and asking changes
nothing.

A missed exit heals: a vehicle that comes in again counts as having left; an exit under a credential that is
not known inside takes one of the pass that it may be (see `_meant`); and after `forget` nobody counts as
inside any more. Where it is not sure, it forgets rather than holds somebody up at the barrier.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from gated.domain import Credential, CredentialKind, Direction, Outcome

FORGET = timedelta(hours=72)
LATE = timedelta(minutes=10)
"""Passages may be recorded so far out of their order in time: devices are slow, a lane judges no read that is
older than 5 minutes. A longer step back is a clock that was put right, and the order of the record counts."""
REFUSED_WITHIN = timedelta(hours=1)
_REFUSED_MOST = 10_000
_REFUSALS_EACH = 50
_INSIDE_MOST = 256
"""Credentials of one pass that are known inside at once: misread ones would grow without end."""
_MISREAD_EDITS = 2
# looking up a member of an enum takes as long as the rest of a comparison
_OUT, _GRANT, _PLATE = Direction.OUT, Outcome.GRANT, CredentialKind.PLATE


class Passed(NamedTuple):
    """A passage that was decided."""

    passage_id: str
    lane: str
    direction: Direction
    at: datetime
    credential: Credential | None
    outcome: Outcome
    pass_id: str | None
    continues: str | None = None


@dataclass(slots=True)
class Presence:
    """The entries and exits on one pass. `inside`: credential value to since when; `left`: those that left of
    late, for passages that are recorded out of order; `entries`: in all; `today`: those on `day`, in the
    site's zone; `last`: the passage that was folded in last."""

    inside: dict[str, datetime] = field(default_factory=dict)
    left: dict[str, datetime] = field(default_factory=dict)
    entries: int = 0
    first_entry: datetime | None = None
    last_entry: datetime | None = None
    last_exit: datetime | None = None
    day: date | None = None
    today: int = 0
    last: str | None = None


Moved = tuple[Sequence[datetime], datetime | None]
"""Since when those were inside who are no longer, and since when somebody is now."""
_UNMOVED: Moved = ((), None)


def fold(known: Presence, passed: Passed, zone: tzinfo) -> Moved:
    """Takes a granted passage of the pass into account. A passage twice in a row, or one that only corrects
    the read of the one before it, counts once."""
    passage_id, _, direction, at, credential, _, _, continues = passed
    last = known.last
    if passage_id == last:
        return _UNMOVED
    known.last = passage_id
    corrects = continues is not None and continues == last
    value = "" if credential is None else credential.value
    if direction is _OUT:
        return _left(known, value, at, corrects=corrects)
    if not corrects:
        _count(known, at, zone)
    return _entered(known, value, at, corrects=corrects)


def _count(known: Presence, at: datetime, zone: tzinfo) -> None:
    known.entries += 1
    if known.first_entry is None or at < known.first_entry:
        known.first_entry = at
    latest = known.last_entry
    known.last_entry = at if latest is None or not _before(at, latest) else latest
    day = at.astimezone(zone).date()
    if day == known.day:
        known.today += 1
    elif known.day is None or day > known.day or known.last_entry is at:
        known.day, known.today = day, 1


def _entered(known: Presence, value: str, at: datetime, *, corrects: bool) -> Moved:
    inside = known.inside
    since, left = inside.get(value), known.left.get(value)
    if not value or (since is not None and _before(at, since)) or (left is not None and _before(at, left)):
        return _UNMOVED
    gone: tuple[datetime, ...] = ()
    if since is not None:
        gone = (since,)
    elif corrects and (worse := _misread(inside, value)):
        gone = (inside.pop(max(worse, key=lambda one: one[1:])[2]),)
    elif len(inside) >= _INSIDE_MOST:
        gone = (inside.pop(min(inside, key=lambda one: (inside[one], one))),)
    if left is not None:
        del known.left[value]
    inside[value] = at
    return gone, at


def _left(known: Presence, value: str, at: datetime, *, corrects: bool) -> Moved:
    inside, left = known.inside, known.left
    if known.last_exit is None or not _before(at, known.last_exit):
        known.last_exit = at
    since, before = inside.get(value), left.get(value)
    if not value or (since is not None and _before(at, since)):
        return _UNMOVED
    taken: str | None = value
    if since is None:
        seen_leaving = before is not None and abs(at - before) <= LATE
        taken = None if corrects or seen_leaving else _meant(inside, value, at)
    if before is None or not _before(at, before):
        left[value] = at
    if taken is None:
        moved = _UNMOVED
    else:
        left[taken] = at
        moved = (inside.pop(taken),), None
    if len(left) > 1:
        for one in [one for one, when in left.items() if abs(at - when) > LATE]:
            del left[one]
    return moved


def _meant(inside: Mapping[str, datetime], value: str, at: datetime) -> str | None:
    """Who left under a credential that is not known inside: a plate that is like it (one of the two was
    misread), else who has been inside longest under the other kind, plate or not (came by plate, left by
    card). Another plate altogether is another vehicle, whose entry was missed."""
    there = {one: since for one, since in inside.items() if not _before(at, since)}
    if misread := _misread(there, value):
        return min(misread)[2]
    other = [(since, one) for one, since in there.items() if one.isascii() is not value.isascii()]
    return min(other)[1] if other else None


def _misread(inside: Mapping[str, datetime], value: str) -> list[tuple[int, datetime, str]]:
    """Those that a misread plate may be: edits, since when, value. Cards and codes are never misread."""
    found = []
    for one, since in inside.items():
        edits = _MISREAD_EDITS + 1 if one.isascii() and value.isascii() else _edits(one, value)
        if 0 < edits <= _MISREAD_EDITS:
            found.append((edits, since, one))
    return found


def _edits(one: str, other: str) -> int:
    """Characters that differ, or one that was added; of less alike ones, more than `_MISREAD_EDITS`."""
    if len(one) == len(other):
        return sum(a != b for a, b in zip(one, other, strict=True))
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) == 1 and any(long[:n] + long[n + 1 :] == short for n in range(len(long))):
        return 1
    return _MISREAD_EDITS + 1


def _before(at: datetime, known: datetime) -> bool:
    """Whether something that is recorded after `known` happened before it."""
    return at < known and known - at <= LATE


class LaneMemory(NamedTuple):
    """The passage that was let through last at a lane."""

    at: datetime
    credential: Credential | None
    pass_id: str | None


class Memory:
    """All that is remembered, in memory. `zone`: the site's; days are counted in it. `forget`: a longer stay
    is a missed exit."""

    def __init__(self, zone: tzinfo, *, forget: timedelta = FORGET) -> None:
        self.zone = zone
        self.forget = forget
        self._presence: dict[str, Presence] = {}
        self._inside: list[datetime] = []
        """Since when, of all who are inside, sorted: an occupancy is two looks into it."""
        self._refused: OrderedDict[str, list[datetime]] = OrderedDict()
        self._lanes: dict[str, Passed | LaneMemory] = {}
        self._told: str | None = None

    def load(
        self, found: Iterable[tuple[str, Presence]], lanes: Iterable[tuple[str, LaneMemory]] = ()
    ) -> None:
        """Takes in what the store knows of presence, and of what passed last at the lanes."""
        self._presence.update(found)
        self._inside = sorted(since for known in self._presence.values() for since in known.inside.values())
        self._lanes.update(lanes)

    def drop(self, pass_ids: Iterable[str], before: datetime) -> None:
        """Forgets the presence on passes that are over, and were not used since a time."""
        for pass_id in pass_ids:
            known = self._presence.get(pass_id)
            if known is not None and not used_since(known, before):
                del self._presence[pass_id]
                for since in known.inside.values():
                    self._took(since)

    def passed(self, passed: Passed) -> None:
        """A passage was recorded."""
        passage_id, lane, _, at, credential, outcome, pass_id, _ = passed
        if passage_id == self._told:
            return
        self._told = passage_id
        if outcome is not _GRANT:
            if credential is not None:
                self._refuse(credential, at)
            return
        self._lanes[lane] = passed
        if pass_id is None:
            return
        known = self._presence.get(pass_id)
        if known is None:
            known = self._presence[pass_id] = Presence()
        gone, since = fold(known, passed, self.zone)
        for one in gone:
            self._took(one)
        if since is not None:
            inside = self._inside
            if inside and since < inside[-1]:
                insort(inside, since)
            else:
                inside.append(since)

    def _took(self, since: datetime) -> None:
        del self._inside[bisect_left(self._inside, since)]

    def _refuse(self, credential: Credential, at: datetime) -> None:
        key, refused = _key(credential), self._refused
        times = refused.get(key)
        if times is None:
            refused[key] = [at]
            if len(refused) > _REFUSED_MOST:
                refused.popitem(last=False)
            return
        times.append(at)
        if len(times) > _REFUSALS_EACH:
            del times[0]
        refused.move_to_end(key)

    # --- what may be asked --------------------------------------------------------------------------------

    def presence(self, pass_id: str) -> Presence | None:
        """The entries and exits on a pass; None if there were none."""
        return self._presence.get(pass_id)

    def inside(self, pass_id: str, now: datetime) -> Mapping[str, datetime]:
        """The credentials of a pass that are inside, with since when."""
        known = self._presence.get(pass_id)
        if known is None or not known.inside:
            return {}
        first, last = now - self.forget, now + LATE
        return {value: since for value, since in known.inside.items() if first <= since <= last}

    def others_inside(self, pass_id: str, credential: Credential, now: datetime) -> int:
        """How many credentials of the pass are inside besides this one."""
        return sum(value != credential.value for value in self.inside(pass_id, now))

    def occupancy(self, now: datetime) -> int:
        """How many are inside on passes."""
        inside = self._inside
        return bisect_right(inside, now + LATE) - bisect_left(inside, now - self.forget)

    def refusals(self, credential: Credential, now: datetime) -> int:
        """How often this credential was not let through within the last hour."""
        times = self._refused.get(_key(credential))
        if times is None:
            return 0
        first = now - REFUSED_WITHIN
        return sum(first <= at <= now for at in times)

    def lane(self, lane_id: str) -> LaneMemory | None:
        """The passage that was let through last at a lane."""
        last = self._lanes.get(lane_id)
        return None if last is None else LaneMemory(last.at, last.credential, last.pass_id)


def used_since(known: Presence, when: datetime) -> bool:
    """Whether anybody came or went on the pass since a time."""
    return any(at is not None and at >= when for at in (known.last_entry, known.last_exit))


def _key(credential: Credential) -> str:
    """A hash of a text is kept with it; that of a record is worked out each time."""
    if credential.kind is _PLATE:
        return credential.value
    return f"{credential.kind}\0{credential.value}"
