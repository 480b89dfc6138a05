"""The controller's own cards: which days an entry of the list means, and how cards are put and removed.

A card that also opens doors which gated does not use is somebody else's: it is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from adapters.uhppote import codec
from adapters.uhppote.calls import Calls
from gated.domain import CredentialKind
from gated.ports import AllowEntry, DeviceUnavailable

BATCH = 20
_MOST = 200_000
"""More cards, or more places of deleted ones, are not believed."""


def number(value: str) -> int | None:
    """The card number of a credential, None if the controller cannot hold it: decimal, no leading zeros."""
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        return None
    found = int(value)
    return found if str(found) == value and 0 < found <= codec.MOST else None


def days(entry: AllowEntry, zone: ZoneInfo) -> tuple[date, date]:
    """The first and the last day of an entry, on the controller's clock."""
    first = entry.valid_from.astimezone(zone).date()
    last = (entry.valid_until - timedelta(microseconds=1)).astimezone(zone).date()
    return first, max(first, last)


class Cards:
    """Cards with the same right at some doors. `rights`: 1 or a time profile, by door."""

    def __init__(self, rights: Mapping[int, int], zone: ZoneInfo) -> None:
        self._rights, self._zone = dict(rights), zone

    async def held(self, calls: Calls) -> frozenset[str]:
        """Those that have just these rights at these doors."""
        count, seen, place = await calls.cards(), 0, 0
        found: set[str] = set()
        if count > _MOST:
            raise DeviceUnavailable(f"it says that it holds {count} cards")
        while seen < count:
            place += 1
            card = await calls.card_at(place)
            if card is False or place > count + _MOST:
                raise DeviceUnavailable(f"its list of cards ends at {seen} of {count}")
            if isinstance(card, codec.Card):
                seen += 1
                if all(card.doors[door] == right for door, right in self._rights.items()):
                    found.add(str(card.number))
        return frozenset(found)

    async def put(self, calls: Calls, entries: Sequence[AllowEntry]) -> list[str]:
        """The values that were not taken."""
        refused = []
        for entry in entries:
            card = number(entry.value) if entry.kind is CredentialKind.CARD else None
            if card is None or self._others(await calls.card(card)):
                refused.append(entry.value)
                continue
            first, last = days(entry, self._zone)
            if not await calls.put_card(codec.Card(card, first, last, self._rights)):
                refused.append(entry.value)
        return refused

    async def drop(self, calls: Calls, values: Sequence[str]) -> list[str]:
        """The values that were not removed."""
        kept = []
        for value in values:
            card = number(value)
            held = None if card is None else await calls.card(card)
            if card is None or held is None:
                continue
            others = self._others(held)
            if not others:
                gone = await calls.delete_card(card) or await calls.card(card) is None
            else:
                dated = held.first is not None and held.last is not None
                gone = dated and await calls.put_card(replace(held, doors=others))
            if not gone:
                kept.append(value)
        return kept

    def _others(self, card: codec.Card | None) -> dict[int, int]:
        """The rights of a card at other doors."""
        doors = {} if card is None else card.doors
        return {door: right for door, right in doors.items() if right and door not in self._rights}
