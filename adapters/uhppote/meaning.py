"""What a controller's log and state become: reads of cards, things observed, inputs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from adapters.uhppote import codec, entries
from adapters.uhppote.entries import Entry
from adapters.uhppote.journal import Lost
from gated.domain import CredentialKind, DeviceEvent, Direction, InputChanged, Observed, Read
from gated.plates import credential

_DIRECTIONS = {1: Direction.IN, 2: Direction.OUT}
_PLAUSIBLE = range(2010, 2100)


def instant(local: datetime | None, zone: ZoneInfo) -> datetime | None:
    """A time of the controller's clock in UTC; None where it is none, or cannot be true."""
    if local is None or local.year not in _PLAUSIBLE:
        return None
    return local.replace(tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """How entries are understood. `doors`: those that gated uses. `channels`: whether a read's channel is the
    door, or the reader: `1-in`. Only then the direction says something: a door's only reader is always in."""

    device: str
    zone: ZoneInfo
    doors: frozenset[int]
    channels: Literal["door", "reader"] = "door"

    def event(self, entry: Entry, now: datetime, *, past: bool) -> Read | Observed | None:
        """What an entry of the log means; None for doors that gated does not use. `past`: it happened before
        this connection. A card that the controller let in by itself opens nothing more."""
        if entry.door in codec.DOORS and entry.door not in self.doors:
            return None
        if entry.swipe and entry.reason not in entries.KEPT_OUT:
            return self._read(entry, now, past=past)
        what, active = entries.OBSERVED.get(entry.reason, ("other", True))
        details = {"reason": str(entry.reason), "said": entries.why(entry.reason), "door": str(entry.door)}
        if entry.swipe:
            what = "access_denied"
            details["card"] = str(entry.card)
        return Observed(
            device=self.device,
            received_at=now,
            device_time=instant(entry.at, self.zone),
            key=str(entry.index),
            what=what,
            active=active,
            initial=past,
            details=details,
        )

    def _read(self, entry: Entry, now: datetime, *, past: bool) -> Read:
        direction = _DIRECTIONS.get(entry.direction) if self.channels == "reader" else None
        channel = str(entry.door) if direction is None else f"{entry.door}-{direction.value}"
        details = {
            "access": "granted" if entry.granted else "denied",
            "reason": str(entry.reason),
            "said": entries.why(entry.reason),
        }
        if entry.granted:
            details["opened_by"] = "own_list"
        return Read(
            device=self.device,
            received_at=now,
            device_time=instant(entry.at, self.zone),
            key=str(entry.index),
            credential=credential(CredentialKind.CARD, str(entry.card)),
            raw=str(entry.card),
            backlog=past or entry.granted,
            channel=channel,
            direction=direction,
            details=details,
        )

    def lost(self, gap: Lost, now: datetime) -> Observed:
        """Events that were overwritten before anybody read them."""
        return Observed(
            device=self.device,
            received_at=now,
            key=f"lost-{gap.first}",
            what="events_lost",
            details={"first": str(gap.first), "last": str(gap.index)},
        )

    def inputs(
        self, status: codec.Status, before: codec.Status | None, now: datetime
    ) -> Iterator[DeviceEvent]:
        """`door1` (its contact is open) and `button1` of each door: all of them if there is no `before`, else
        those that changed."""
        for door in sorted(self.doors):
            for name in ("door", "button"):
                active = _contact(status, name, door)
                if before is None or active is not _contact(before, name, door):
                    yield InputChanged(
                        device=self.device,
                        received_at=now,
                        input=f"{name}{door}",
                        active=active,
                        initial=before is None,
                    )


def _contact(status: codec.Status, name: str, door: int) -> bool:
    return (status.doors if name == "door" else status.buttons)[door]
