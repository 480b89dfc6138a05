"""What is asked of a controller, each as one call. Every call raises DeviceUnavailable, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address
from typing import TypeVar

from adapters.uhppote import codec
from adapters.uhppote.entries import Entry
from adapters.uhppote.link import Link, NoAnswer, NotSent
from gated.ports import DeviceUnavailable, UnparsedLog

T = TypeVar("T")


class Calls:
    """Calls of one controller, by its serial number. `device`: its id, for what cannot be parsed."""

    def __init__(self, link: Link, controller: int, device: str, unparsed: UnparsedLog) -> None:
        self.link, self.controller = link, controller
        self._device, self._unparsed = device, unparsed

    async def identity(self) -> codec.Identity:
        return await self._ask(codec.ask_identity(self.controller), codec.identity)

    async def anyone(self) -> codec.Identity | None:
        """Whoever is at the address; None if nobody answers."""
        try:
            return codec.identity(await self.link.once(codec.ask_identity(codec.ANYONE)))
        except (NotSent, NoAnswer, ValueError):
            return None

    async def clock(self) -> datetime | None:
        return await self._ask(codec.ask_clock(self.controller), codec.clock)

    async def status(self) -> codec.Status:
        return await self._ask(codec.ask_status(self.controller), codec.status)

    async def door(self, door: int) -> codec.DoorControl:
        return await self._ask(codec.ask_door(self.controller, door), codec.door_control)

    async def set_door(self, door: int, delay: int) -> codec.DoorControl:
        return await self._ask(codec.set_door(self.controller, door, delay), codec.door_set)

    async def pc_control(self, on: bool) -> bool:
        return await self._tell(codec.set_pc_control(self.controller, on))

    async def listener(self) -> tuple[IPv4Address, int]:
        return await self._ask(codec.ask_listener(self.controller), codec.listener)

    async def set_listener(self, address: IPv4Address, port: int) -> bool:
        return await self._tell(codec.set_listener(self.controller, address, port))

    async def event(self, index: int) -> Entry | None:
        """None if the log has no such event. Raises `codec.Overwritten`, too."""
        return await self._ask(
            codec.ask_event(self.controller, index), lambda packet: codec.event(packet, index)
        )

    async def event_index(self) -> int:
        return await self._ask(codec.ask_event_index(self.controller), codec.event_index)

    async def set_event_index(self, index: int) -> None:
        """Its answer says whether that changed anything, which nobody needs to know."""
        await self._tell(codec.set_event_index(self.controller, index))

    async def profile(self, profile: int) -> int:
        return await self._ask(codec.ask_profile(self.controller, profile), codec.profile)

    async def cards(self) -> int:
        return await self._ask(codec.ask_cards(self.controller), codec.cards)

    async def card(self, number: int) -> codec.Card | None:
        return await self._ask(codec.ask_card(self.controller, number), codec.card)

    async def card_at(self, place: int) -> codec.Card | bool:
        return await self._ask(codec.ask_card_at(self.controller, place), codec.card_at)

    async def put_card(self, card: codec.Card) -> bool:
        return await self._tell(codec.put_card(self.controller, card))

    async def delete_card(self, number: int) -> bool:
        return await self._tell(codec.delete_card(self.controller, number))

    async def _tell(self, request: bytes) -> bool:
        return await self._ask(request, lambda packet: codec.done(packet, request))

    async def _ask(self, request: bytes, meaning: Callable[[bytes], T]) -> T:
        try:
            packet = await self.link.ask(request)
        except (NotSent, NoAnswer) as error:
            raise DeviceUnavailable(str(error)) from None
        try:
            return meaning(packet)
        except codec.Overwritten:
            raise
        except ValueError as error:
            self._unparsed(self._device, f"uhppote: function {request[1]:02x}", packet, str(error))
            raise DeviceUnavailable(f"it answers what cannot be read: {error}") from None
