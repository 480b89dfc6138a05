"""What is known when a passage is decided: the read, the passes that it may mean, and what the site
remembers.

Records and one Protocol; nothing is decided or computed here. The daemon fills it from memory, a replay from
what was recorded, a test by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gated.domain import Candidate, Credential, Direction, Dwelling, LaneMode, ListName

if TYPE_CHECKING:
    from rules.memory import Presence

_NONE: Mapping[str, str] = MappingProxyType({})


class LastGranted(Protocol):
    """The passage that was let through last at a lane."""

    @property
    def at(self) -> datetime: ...
    @property
    def credential(self) -> Credential | None: ...


class Surroundings(Protocol):
    """What a rule may ask of the site beyond the read and its passes. Answers come from memory, at once."""

    def presence(self, pass_id: str) -> Presence | None: ...
    def inside_since(self, pass_id: str, credential: Credential, now: datetime) -> datetime | None: ...
    def others_inside(self, pass_id: str, credential: Credential, now: datetime) -> int: ...
    def occupancy(self, now: datetime) -> int: ...
    def refusals(self, credential: Credential, now: datetime) -> int: ...
    def last_granted(self, lane: str) -> LastGranted | None: ...
    def lists(self, credential: Credential, now: datetime) -> frozenset[ListName]: ...
    def dwelling(self, dwelling_id: str) -> Dwelling | None: ...
    def boom_is_open(self, lane: str) -> bool | None: ...
    def seen(self, now: datetime, length: timedelta) -> Sequence[str]: ...


class Nothing:
    """Surroundings of which nothing is known: a site's first morning."""

    def presence(self, pass_id: str) -> Presence | None:
        return None

    def inside_since(self, pass_id: str, credential: Credential, now: datetime) -> datetime | None:
        return None

    def others_inside(self, pass_id: str, credential: Credential, now: datetime) -> int:
        return 0

    def occupancy(self, now: datetime) -> int:
        return 0

    def refusals(self, credential: Credential, now: datetime) -> int:
        return 0

    def last_granted(self, lane: str) -> LastGranted | None:
        return None

    def lists(self, credential: Credential, now: datetime) -> frozenset[ListName]:
        return frozenset()

    def dwelling(self, dwelling_id: str) -> Dwelling | None:
        return None

    def boom_is_open(self, lane: str) -> bool | None:
        return None

    def seen(self, now: datetime, length: timedelta) -> Sequence[str]:
        return ()


NOTHING = Nothing()


def nobody_near() -> Sequence[Candidate]:
    """No pass is nearly meant."""
    return ()


class Situation(NamedTuple):  # made for every passage, in half the time of a frozen dataclass
    """A passage before it is decided (情形).

    `candidates`: the passes that the credential is on. `near`: gives those that it may nearly mean, nearest
    first; asked at most once, and only where there is no exact one. `details`: what else the device said of
    the vehicle (see `Read.details`).
    """

    lane: str
    entrance: str
    direction: Direction
    credential: Credential | None
    confidence: float | None
    candidates: Sequence[Candidate]
    lane_mode: LaneMode = LaneMode.NORMAL
    near: Callable[[], Sequence[Candidate]] = nobody_near
    details: Mapping[str, str] = _NONE
    site: Surroundings = NOTHING
