"""What libosdp says of a reader: card numbers, digits of a keypad, tamper and inputs; keys; frames.

Pure: no I/O and no clock; `at` is in seconds, of any clock that only goes forward. Events are libosdp's own
dictionaries, of whose shape nothing is taken for granted. Wire facts: OSDP 2.2 (IEC 60839-11-5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

CARD, KEYS, STATUS, NOTIFICATION = "card", "keys", "status", "notification"

INSTALL_KEY = bytes(range(0x30, 0x40))
"""SCBK-D, with which every reader leaves its factory: it protects nothing."""

MAX_BITS = 512
_LONGEST = 10**32  # what a credential can hold
_PARITY = {26: 12, 34: 16, 37: 18}  # bits of the number in each half, between two parity bits
_FORMATS = {0: "raw", 1: "wiegand"}
_CLEAR, _ENTER = b"*\x7f", b"#\r"
_MOST_DIGITS = 16
_FORGET_S = 10.0  # between two digits


class Malformed(ValueError):
    """It is not what a reader says. The message holds no card number."""


class Card(NamedTuple):
    """A card: its number in decimal, and what the reader said of it."""

    number: str
    raw: str
    details: dict[str, str]


def key(text: str, *, insecure: bool) -> bytes:
    """The 16 bytes of a secure channel's key. Raises ValueError; the message never holds the key."""
    if re.fullmatch(r"[0-9A-Fa-f]{32}", text) is None:
        raise ValueError("a key (SCBK) is 32 hexadecimal digits")
    found = bytes.fromhex(text)
    if not insecure and (found == INSTALL_KEY or len(set(found)) == 1):
        raise ValueError("this is the key of install mode, or none at all: give the reader a key of its own")
    return found


def address(frame: bytes) -> int | None:
    """To or from which reader a frame is: start 0x53, with or without a mark 0xff before it, then the
    address, whose top bit says that it is a reply. None if it is none."""
    body = frame[1:] if frame[:1] == b"\xff" else frame
    return body[1] & 0x7F if len(body) >= 8 and body[0] == 0x53 else None


def challenge(frame: bytes) -> bool:
    """Whether a frame asks for a secure channel (osdp_CHLNG, 0x76, behind a security block of type 0x11)."""
    body = frame[1:] if frame[:1] == b"\xff" else frame
    return len(body) > 8 and bool(body[4] & 0x08) and body[6] == 0x11


def answers(data: bytes, reader: int) -> bool:
    """Whether these bytes begin as a reply of this reader does."""
    return data.lstrip(b"\xff")[:2] == bytes([0x53, 0x80 | reader])


def card(event: Mapping[str, Any], *, backwards: bool = False) -> Card:
    """A card read (osdp_RAW): bits, most significant first, left-justified. 26, 34 and 37 bits whose two
    parities are right are a number between parity bits; all others are a number as a whole.
    `backwards`: the number's last byte comes first. Raises Malformed."""
    data, bits, form = event.get("data"), event.get("length"), event.get("format")
    if not isinstance(data, bytes) or not isinstance(bits, int) or not 0 < bits <= MAX_BITS:
        raise Malformed("a card without bits")
    if len(data) * 8 < bits:
        raise Malformed("fewer bits than it says")
    value = int.from_bytes(data) >> (len(data) * 8 - bits)
    framed = _framed(value, bits)
    number = (value >> 1) & ((1 << (bits - 2)) - 1) if framed else value
    width = bits - 2 if framed else bits
    if backwards and width % 8 == 0:
        number = int.from_bytes(number.to_bytes(width // 8), "little")
    if not 0 < number < _LONGEST:
        raise Malformed("a card number of 0" if number == 0 else f"a card number of {bits} bits")
    known = {
        "format": _FORMATS.get(form, str(form)[:8]) if isinstance(form, int) else "",
        "bits": str(bits),
        "parity": "cut off" if framed else "none",
    }
    return Card(str(number), f"{value:0{(bits + 3) // 4}X}", known)


def _framed(value: int, bits: int) -> bool:
    """Whether the first bit makes the first half even, and the last bit the second half odd."""
    half = _PARITY.get(bits)
    if half is None:
        return False
    # 37 bits: the halves share the bit in the middle
    first = value >> (bits - 1 - half)
    last = value & ((1 << (half + 1)) - 1)
    return first.bit_count() % 2 == 0 and last.bit_count() % 2 == 1


class Keypad:
    """Collects digits of one reader until "#"; "*" clears. Digits are forgotten after ten seconds."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0.0

    def pressed(self, event: Mapping[str, Any], at: float) -> list[str]:
        """Codes that these keys complete: "*" is sent as 0x7f and "#" as 0x0d. Raises Malformed."""
        data = event.get("data")
        if not isinstance(data, bytes):
            raise Malformed("keys without data")
        if at - self._at > _FORGET_S:
            self._digits = ""
        self._at = at
        found = []
        for byte in data:
            if byte in _ENTER:
                if self._digits:
                    found.append(self._digits)
                self._digits = ""
            elif byte in _CLEAR:
                self._digits = ""
            elif 0x30 <= byte <= 0x39:
                self._digits = (self._digits + chr(byte))[: _MOST_DIGITS + 1]
            else:
                raise Malformed("a key that is no digit")
        return [each for each in found if len(each) <= _MOST_DIGITS]


class Status(NamedTuple):
    """What a reader reports of itself: name and whether it is so. `input`: of a contact, else a fault."""

    name: str
    active: bool
    input: bool


def status(event: Mapping[str, Any], local: int, inputs: int) -> list[Status]:
    """A status report; `local` and `inputs` are libosdp's numbers of the two types that mean something here.
    Raises Malformed."""
    kind, report = event.get("type"), event.get("report")
    if not isinstance(report, bytes) or len(report) > 64:
        raise Malformed("a status without a report")
    if kind == local and len(report) >= 2:  # osdp_LSTATR: tamper, power
        return [Status("tamper", bool(report[0]), False), Status("power_failure", bool(report[1]), False)]
    if kind == inputs:  # osdp_ISTATR
        return [Status(str(number), bool(each), True) for number, each in enumerate(report)]
    return []
