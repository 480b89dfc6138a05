"""What the site remembers of passages: who is inside on which pass, how often, and who was refused lately.

A fold: the same passages in the same order give the same memory, whether they come one by one or after a
restart from the store (`gated.store.presence`). Pure; bounded; nothing here decides.

A missed exit heals: a vehicle that comes in again counts as having left, an exit under a credential that is
not known inside takes the one of the pass that has been there longest (it was misread on one of the two
ways), and after `forget` nobody counts as inside any more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from gated.domain import Credential, Direction, Outcome

FORGET = timedelta(hours=72)
REFUSED_WITHIN = timedelta(hours=1)
_REFUSED_MOST = 10_000
_REFUSALS_EACH = 50


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
    """The entries and exits on one pass. `inside`: credential value to since when; `entries`: in all;
    `today`: those on `day`, in the site's zone; `last`: the passage that was folded in last."""

    inside: dict[str, datetime] = field(default_factory=dict)
    entries: int = 0
    first_entry: datetime | None = None
    last_entry: datetime | None = None
    last_exit: datetime | None = None
    day: date | None = None
    today: int = 0
    last: str | None = None


def fold(known: Presence, passed: Passed, zone: tzinfo) -> None:
    """Takes a granted passage of the pass into account. A passage twice in a row, or one that only corrects
    the read of the one before it, counts once."""
    if passed.passage_id == known.last:
        return
    corrects = passed.continues is not None and passed.continues == known.last
    known.last = passed.passage_id
    value = "" if passed.credential is None else passed.credential.value
    if passed.direction is Direction.OUT:
        _left(known, value, passed.at)
    elif not corrects:
        _entered(known, value, passed.at, zone)


def _entered(known: Presence, value: str, at: datetime, zone: tzinfo) -> None:
    known.entries += 1
    if known.first_entry is None or at < known.first_entry:
        known.first_entry = at
    if known.last_entry is None or at > known.last_entry:
        known.last_entry = at
    day = at.astimezone(zone).date()
    if known.day is None or day > known.day:
        known.day, known.today = day, 1
    elif day == known.day:
        known.today += 1
    since = known.inside.get(value)
    if (since is None or at > since) and (known.last_exit is None or at >= known.last_exit):
        known.inside[value] = at


def _left(known: Presence, value: str, at: datetime) -> None:
    if known.last_exit is None or at > known.last_exit:
        known.last_exit = at
    if value not in known.inside:
        value = min(known.inside, key=lambda one: known.inside[one], default="")
    since = known.inside.get(value)
    if since is not None and since <= at:
        del known.inside[value]


class LaneMemory(NamedTuple):
    """The passage that was let through last at a lane."""

    at: datetime
    credential: Credential | None
    pass_id: str | None


class Memory:
    """All that is remembered, in memory. `zone`: the site's; days are counted in it."""

    def __init__(self, zone: tzinfo, *, forget: timedelta = FORGET) -> None:
        self.zone = zone
        self.forget = forget
        self._presence: dict[str, Presence] = {}
        self._inside: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        """(pass, credential) to since when, in the order of arrival: who is inside, for the count."""
        self._refused: OrderedDict[Credential, deque[datetime]] = OrderedDict()
        self._lanes: dict[str, LaneMemory] = {}

    def load(self, found: Iterable[tuple[str, Presence]]) -> None:
        """Takes in what the store knows of presence."""
        for pass_id, known in found:
            self._presence[pass_id] = known
        inside = [
            (since, pass_id, value)
            for pass_id, known in self._presence.items()
            for value, since in known.inside.items()
        ]
        self._inside = OrderedDict(((pass_id, value), since) for since, pass_id, value in sorted(inside))

    def passed(self, passed: Passed) -> None:
        """A passage was recorded."""
        if passed.outcome is not Outcome.GRANT:
            if passed.credential is not None:
                self._refuse(passed.credential, passed.at)
            return
        self._lanes[passed.lane] = LaneMemory(passed.at, passed.credential, passed.pass_id)
        if passed.pass_id is None:
            return
        known = self._presence.get(passed.pass_id)
        if known is None:
            known = self._presence[passed.pass_id] = Presence()
        before = list(known.inside)
        fold(known, passed, self.zone)
        for value in before:
            if value not in known.inside:
                self._inside.pop((passed.pass_id, value), None)
        for value, since in known.inside.items():
            key = (passed.pass_id, value)
            if self._inside.get(key) != since:
                self._inside[key] = since
                self._inside.move_to_end(key)

    def _refuse(self, credential: Credential, at: datetime) -> None:
        times = self._refused.get(credential)
        if times is None:
            times = self._refused[credential] = deque(maxlen=_REFUSALS_EACH)
        times.append(at)
        self._refused.move_to_end(credential)
        while len(self._refused) > _REFUSED_MOST:
            self._refused.popitem(last=False)

    # --- what may be asked --------------------------------------------------------------------------------

    def presence(self, pass_id: str) -> Presence | None:
        """The entries and exits on a pass; None if there were none."""
        return self._presence.get(pass_id)

    def inside(self, pass_id: str, now: datetime) -> Mapping[str, datetime]:
        """The credentials of a pass that are inside, with since when."""
        known = self._presence.get(pass_id)
        if known is None or not known.inside:
            return {}
        return {value: since for value, since in known.inside.items() if now - since <= self.forget}

    def others_inside(self, pass_id: str, credential: Credential, now: datetime) -> int:
        """How many credentials of the pass are inside besides this one."""
        return sum(value != credential.value for value in self.inside(pass_id, now))

    def occupancy(self, now: datetime) -> int:
        """How many are inside on passes."""
        while self._inside:
            key, since = next(iter(self._inside.items()))
            if now - since <= self.forget:
                break
            del self._inside[key]
        return len(self._inside)

    def refusals(self, credential: Credential, now: datetime) -> int:
        """How often this credential was not let through within the last hour."""
        times = self._refused.get(credential)
        if times is None:
            return 0
        return sum(timedelta(0) <= now - at <= REFUSED_WITHIN for at in times)

    def lane(self, lane_id: str) -> LaneMemory | None:
        """The passage that was let through last at a lane."""
        return self._lanes.get(lane_id)
