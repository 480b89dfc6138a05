"""Packets of a UHPPOTE controller: requests as bytes, answers as values, on uhppoted's encode and decode.

Pure: no I/O, no clock. A packet is 64 bytes: 0x17, the function, two zero bytes, the serial number (little
endian), what it says. Every decoder raises ValueError, and nothing else. Facts: uhppoted-lib-python (MIT).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from ipaddress import IPv4Address
from typing import Any, TypeVar

from uhppoted import decode, encode

from adapters.uhppote.entries import Entry

T = TypeVar("T")

SIZE = 64
ANYONE = 0
"""The serial number with which every controller is meant."""
DOORS = (1, 2, 3, 4)
CONTROLLED = 3
"""The control mode in which a door is opened by cards, buttons and the host."""
MODES = {1: "normally open", 2: "normally closed", CONTROLLED: "controlled", 4: "first card only"}

MOST = 0xFFFFFFFE
"""The highest card number: 0 is none, 0xffffffff a card that was deleted."""
_DELETED = 0xFFFFFFFF
_MISSING, _OVERWRITTEN = 0x00, 0xFF  # types of an event that is none


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers. `firmware`: such as v8.92."""

    controller: int
    firmware: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a controller. `last`: index of the newest event, `latest`: that event, None while the log
    is empty. `clock`: local time, None if it is no time. `doors`, `buttons`: contact open, button pressed, by
    door."""

    last: int
    latest: Entry | None
    clock: datetime | None
    doors: Mapping[int, bool]
    buttons: Mapping[int, bool]


@dataclass(frozen=True, slots=True)
class DoorControl:
    """How a door is set. `delay`: for how many seconds it is unlocked."""

    door: int
    mode: int
    delay: int


@dataclass(frozen=True, slots=True)
class Card:
    """A card on the controller, valid from the first to the last day. `doors`: 0 never, 1 always, else a time
    profile. `pin`: 0 for none. `opener`: whether it is a "first card", by door."""

    number: int
    first: date | None
    last: date | None
    doors: Mapping[int, int]
    pin: int = 0
    opener: Mapping[int, bool] = field(default_factory=dict)


# --- packets in general -----------------------------------------------------------------------------------


def answers(packet: bytes, request: bytes) -> bool:
    """Whether a packet is the answer to a request: its function, from its controller."""
    return (
        len(packet) == SIZE
        and packet[0] == request[0]
        and packet[1] == request[1]
        and (packet[4:8] == request[4:8] or request[4:8] == bytes(4))
    )


def pushed_by(packet: bytes) -> int | None:
    """The controller of an event that was pushed to a listener; None if it is no such event. Firmware v6.62
    begins it with 0x19."""
    try:
        return int(_decoded(decode.event, packet).controller)
    except ValueError:
        return None


def _decoded(decoder: Callable[[bytes], T], packet: bytes) -> T:
    try:
        return decoder(packet)
    except (IndexError, OverflowError, TypeError, struct.error) as error:
        raise ValueError(f"not to be decoded: {error}") from None


# --- requests ---------------------------------------------------------------------------------------------


def ask_identity(controller: int) -> bytes:
    return bytes(encode.get_controller_request(controller))


def ask_clock(controller: int) -> bytes:
    return bytes(encode.get_time_request(controller))


def ask_status(controller: int) -> bytes:
    return bytes(encode.get_status_request(controller))


def ask_door(controller: int, door: int) -> bytes:
    return bytes(encode.get_door_control_request(controller, door))


def set_door(controller: int, door: int, delay: int) -> bytes:
    """Sets a door to "controlled", and for how many seconds it is unlocked."""
    return bytes(encode.set_door_control_request(controller, door, CONTROLLED, delay))


def open_door(controller: int, door: int) -> bytes:
    return bytes(encode.open_door_request(controller, door))


def set_pc_control(controller: int, on: bool) -> bytes:
    return bytes(encode.set_pc_control_request(controller, on))


def ask_listener(controller: int) -> bytes:
    return bytes(encode.get_listener_request(controller))


def set_listener(controller: int, address: IPv4Address, port: int) -> bytes:
    return bytes(encode.set_listener_request(controller, address, port, 0))


def ask_event(controller: int, index: int) -> bytes:
    return bytes(encode.get_event_request(controller, index))


def ask_event_index(controller: int) -> bytes:
    return bytes(encode.get_event_index_request(controller))


def set_event_index(controller: int, index: int) -> bytes:
    return bytes(encode.set_event_index_request(controller, index))


def ask_profile(controller: int, profile: int) -> bytes:
    return bytes(encode.get_time_profile_request(controller, profile))


def ask_cards(controller: int) -> bytes:
    return bytes(encode.get_cards_request(controller))


def ask_card(controller: int, number: int) -> bytes:
    return bytes(encode.get_card_request(controller, number))


def ask_card_at(controller: int, place: int) -> bytes:
    """The card at a place in the controller's list, from 1."""
    return bytes(encode.get_card_by_index_request(controller, place))


def put_card(controller: int, card: Card) -> bytes:
    """Adds a card, or replaces it; both days are included. Doors that are not given are 0."""
    rights = [card.doors.get(door, 0) for door in DOORS]
    packet = encode.put_card_request(
        controller, card.number, card.first, card.last, *rights, card.pin, dict(card.opener)
    )
    return bytes(packet)


def delete_card(controller: int, number: int) -> bytes:
    return bytes(encode.delete_card_request(controller, number))


# --- answers ----------------------------------------------------------------------------------------------


def identity(packet: bytes) -> Identity:
    said = _decoded(decode.get_controller_response, packet)
    return Identity(said.controller, said.version)


def clock(packet: bytes) -> datetime | None:
    """Local time of the controller, to the second; None if it says no time."""
    said: datetime | None = _decoded(decode.get_time_response, packet).datetime
    return said


def status(packet: bytes) -> Status:
    said = _decoded(decode.get_status_response, packet)
    told = None
    if said.system_date is not None and said.system_time is not None:
        told = datetime.combine(said.system_date, said.system_time)
    latest = None
    if said.event_index:
        latest = Entry(
            said.event_index,
            said.event_type,
            said.event_access_granted,
            said.event_door,
            said.event_direction,
            said.event_card,
            said.event_timestamp,
            said.event_reason,
        )
    return Status(
        said.event_index,
        latest,
        told,
        {door: getattr(said, f"door_{door}_open") for door in DOORS},
        {door: getattr(said, f"door_{door}_button") for door in DOORS},
    )


def door_control(packet: bytes) -> DoorControl:
    said = _decoded(decode.get_door_control_response, packet)
    return DoorControl(said.door, said.mode, said.delay)


def door_set(packet: bytes) -> DoorControl:
    """What a door is set to now, as the controller says after it was told."""
    said = _decoded(decode.set_door_control_response, packet)
    return DoorControl(said.door, said.mode, said.delay)


def event(packet: bytes, index: int) -> Entry | None:
    """The event with that index; None if it is not there. Raises `Overwritten`."""
    said = _decoded(decode.get_event_response, packet)
    if said.event_type == _OVERWRITTEN:
        raise Overwritten(f"event {index} was overwritten")
    if said.event_type == _MISSING or said.index == 0:
        return None
    if said.index != index:
        raise ValueError(f"asked for event {index}, and was told of {said.index}")
    return Entry(
        said.index,
        said.event_type,
        said.access_granted,
        said.door,
        said.direction,
        said.card,
        said.timestamp,
        said.reason,
    )


class Overwritten(ValueError):
    """The event was in the log, and is not any more."""


def event_index(packet: bytes) -> int:
    """What the last to read the log put down: the index up to which it has read."""
    return int(_decoded(decode.get_event_index_response, packet).event_index)


def listener(packet: bytes) -> tuple[IPv4Address, int]:
    said = _decoded(decode.get_listener_response, packet)
    return said.address, said.port


def profile(packet: bytes) -> int:
    """The number of the time profile; 0 if there is none."""
    return int(_decoded(decode.get_time_profile_response, packet).profile_id)


def cards(packet: bytes) -> int:
    """How many cards it holds."""
    return int(_decoded(decode.get_cards_response, packet).cards)


def card(packet: bytes) -> Card | None:
    """The card that was asked for by its number; None if it is not held."""
    said = _decoded(decode.get_card_response, packet)
    return None if said.card_number in (0, _DELETED) else _card(said)


def card_at(packet: bytes) -> Card | bool:
    """The card at a place; True where one was deleted, False after the last."""
    said = _decoded(decode.get_card_by_index_response, packet)
    return said.card_number == _DELETED if said.card_number in (0, _DELETED) else _card(said)


def _card(said: Any) -> Card:
    rights = {door: getattr(said, f"door_{door}") for door in DOORS}
    return Card(said.card_number, said.start_date, said.end_date, rights, said.pin, said.firstcard)


def done(packet: bytes, request: bytes) -> bool:
    """Whether the controller did what it was told: 1 at the ninth byte of an answer that says no more."""
    if not answers(packet, request):
        raise ValueError("it answers something else")
    return packet[8] != 0
