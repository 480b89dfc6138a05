"""What rules may ask of the site, answered from memory: who is inside, what was refused, lists, dwellings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from gated.domain import BarrierPosition, Credential, Dwelling, ListName
from gated.lists import Dwellings, Lists
from gated.watched import Watched
from rules.memory import LaneMemory, Memory, Presence


class SiteSurroundings:
    """A `rules.Surroundings`. `boom`: where a lane's barrier is."""

    def __init__(
        self,
        memory: Memory,
        lists: Lists,
        dwellings: Dwellings,
        boom: Callable[[str], BarrierPosition],
        watched: Watched,
    ) -> None:
        self._memory = memory
        self._lists = lists
        self._dwellings = dwellings
        self._boom = boom
        self._watched = watched

    def presence(self, pass_id: str) -> Presence | None:
        """What is known of a pass's entries and exits."""
        return self._memory.presence(pass_id)

    def inside_since(self, pass_id: str, credential: Credential, now: datetime) -> datetime | None:
        """Since when this credential of the pass is inside; None if it is not."""
        return self._memory.inside(pass_id, now).get(credential.value)

    def others_inside(self, pass_id: str, credential: Credential, now: datetime) -> int:
        """How many other credentials of the pass are inside."""
        return self._memory.others_inside(pass_id, credential, now)

    def occupancy(self, now: datetime) -> int:
        """How many are inside on passes."""
        return self._memory.occupancy(now)

    def refusals(self, credential: Credential, now: datetime) -> int:
        """How often this credential was not let through lately."""
        return self._memory.refusals(credential, now)

    def last_granted(self, lane: str) -> LaneMemory | None:
        """The last passage that was let through at a lane."""
        return self._memory.lane(lane)

    def lists(self, credential: Credential, now: datetime) -> frozenset[ListName]:
        """The lists that a credential is on."""
        return self._lists.on(credential, now)

    def dwelling(self, dwelling_id: str) -> Dwelling | None:
        """A registered home."""
        return self._dwellings.get(dwelling_id)

    def seen(self, now: datetime, length: timedelta) -> list[str]:
        """What watching devices saw in the time before now, as "crossed cam-road"."""
        return self._watched.within(now, length)

    def boom_is_open(self, lane: str) -> bool | None:
        """Whether a lane's boom is up; None where it cannot be seen."""
        position = self._boom(lane)
        return None if position is BarrierPosition.UNKNOWN else position is not BarrierPosition.CLOSED
