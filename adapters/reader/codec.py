"""What a reader's bytes mean: lines, bodies, the text in them, card numbers.

Pure: no I/O and no clock; `at` is in seconds, of any clock that only goes forward.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl

import orjson

from gated.domain import CredentialKind

MAX_TEXT = 512
"""Bytes of one text. A pass as a QR code is 128."""
MAX_BODY = 16_384
_MOST_FIELDS = 64
_LONGEST_CARD = 20  # hex digits of the longest number of a card in use (ISO 14443, triple size)

Ending = Literal["any", "cr", "lf", "crlf", "etx", "none"]
BodyForm = Literal["text", "json", "form"]
CardForm = Literal["decimal", "hex", "hex_reversed"]

_ENDINGS: dict[Ending, re.Pattern[bytes] | None] = {
    "any": re.compile(rb"[\r\n\x03]"),
    "cr": re.compile(rb"\r"),
    "lf": re.compile(rb"\n"),
    "crlf": re.compile(rb"\r\n"),
    "etx": re.compile(rb"\x03"),
    "none": None,
}
_FRAME = "\x00\x02\x03 \t\r\n"  # what stands around a text: STX, ETX, space
_CARD_SEPARATORS = str.maketrans("", "", " :-")


class Malformed(ValueError):
    """It is not what such a reader sends. The message holds nothing of it."""


class Cut(NamedTuple):
    """Bytes that are no line; `why` for a person."""

    sample: bytes
    why: str


class Lines:
    """Cuts a stream of bytes into lines. Holds little more than MAX_TEXT bytes.

    What was begun and not ended within `gap_s` is dropped, so that it spoils no later line; with the ending
    "none" such a pause is itself the end of a line. Longer lines are dropped up to their end.
    """

    def __init__(self, ending: Ending, gap_s: float) -> None:
        self._end = _ENDINGS[ending]
        self._gap = gap_s
        self._held = b""
        self._skipping = False
        self._at = 0.0

    @property
    def begun(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._held) or self._skipping

    def feed(self, data: bytes, at: float) -> list[bytes | Cut]:
        """What came at `at`: the lines that it ends, without empty ones, and what had to be dropped."""
        found: list[bytes | Cut] = self.pause(at) if self.begun and at - self._at >= self._gap else []
        self._at = at
        self._held += data
        while self._end is not None and (end := self._end.search(self._held)):
            line, self._held = self._held[: end.start()], self._held[end.end() :]
            if len(line) > MAX_TEXT and not self._skipping:
                found.append(_too_long(line))
            elif line and not self._skipping:
                found.append(line)
            self._skipping = False
        if len(self._held) > MAX_TEXT + 1:
            if not self._skipping:
                found.append(_too_long(self._held))
            self._held, self._skipping = self._held[-1:], True  # it may be half of a line end
        return found

    def pause(self, at: float) -> list[bytes | Cut]:
        """To be called when nothing came for `gap_s`: what that ends."""
        held, skipping = self._held, self._skipping
        self._held, self._skipping, self._at = b"", False, at
        if not held or skipping:
            return []
        if self._end is not None:
            return [Cut(held, "a line without an end")]
        return [_too_long(held) if len(held) > MAX_TEXT else held]


def _too_long(line: bytes) -> Cut:
    return Cut(line, f"a line of more than {MAX_TEXT} bytes")


class Value(NamedTuple):
    """What one body holds. `serial`: which reader says so; `key`: its own number of the event."""

    raw: bytes
    serial: str | None = None
    key: str | None = None


def body(
    data: bytes,
    form: BodyForm,
    field: str = "",
    serial_field: str | None = None,
    key_field: str | None = None,
) -> Value:
    """The text in the body of a message. Fields of JSON may be inside of others: "data.code". Raises
    Malformed."""
    if len(data) > MAX_BODY:
        raise Malformed(f"a message of more than {MAX_BODY} bytes")
    if form == "text":
        return Value(data)
    fields = _json(data) if form == "json" else _form(data)
    found = _field(fields, field)
    if found is None:
        raise Malformed(f"no field {field!r} with a text in it")
    return Value(
        found.encode("utf-8", "replace"),
        _field(fields, serial_field) if serial_field else None,
        (_field(fields, key_field) or None) if key_field else None,
    )


def _json(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("it is no JSON") from None


def _form(data: bytes) -> object:
    try:
        pairs = parse_qsl(
            data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Malformed(f"a form of more than {_MOST_FIELDS} fields") from None
    return dict(pairs)


def _field(fields: object, path: str) -> str | None:
    whole = fields.get(path) if isinstance(fields, dict) else None
    found = whole
    if whole is None:
        found = fields
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found[: MAX_TEXT + 1] if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Style:
    """How a reader writes. `prefix` and `suffix` are cut off where they are there; `heartbeat` is the text
    by which it only says that it is there."""

    kind: CredentialKind
    card: CardForm = "decimal"
    prefix: str = ""
    suffix: str = ""
    heartbeat: str | None = None


def text(raw: bytes, style: Style) -> str | None:
    """The text as it was presented, None for an empty one or a heartbeat. Raises Malformed."""
    if len(raw) > MAX_TEXT:
        raise Malformed(f"a text of more than {MAX_TEXT} bytes")
    try:
        found = raw.decode("utf-8").strip(_FRAME)
    except UnicodeDecodeError:
        raise Malformed("bytes that are no text") from None
    if found == style.heartbeat:
        return None
    found = found.removeprefix(style.prefix).removesuffix(style.suffix).strip(_FRAME)
    if not found.isprintable():
        raise Malformed("a text with control characters")
    return found or None


def presented(found: str, style: Style) -> str:
    """The credential in a text: a code as it is, a card as its number in decimal. Raises Malformed."""
    return found if style.kind is CredentialKind.CODE else card(found, style.card)


def card(found: str, form: CardForm) -> str:
    """A card's number in decimal, without leading zeros. "hex": the most significant byte first;
    "hex_reversed": last, as many readers send what the card sent. Raises Malformed."""
    digits = found.translate(_CARD_SEPARATORS)
    if form != "decimal":
        digits = digits.removeprefix("0x").removeprefix("0X")
    allowed = "[0-9]" if form == "decimal" else "[0-9A-Fa-f]"
    longest = _LONGEST_CARD + 5 if form == "decimal" else _LONGEST_CARD
    if re.fullmatch(f"{allowed}{{1,{longest}}}", digits) is None:
        raise Malformed(f"no {'decimal' if form == 'decimal' else 'hexadecimal'} card number")
    if form == "hex_reversed":
        if len(digits) % 2:
            raise Malformed("a hexadecimal card number with half a byte")
        digits = bytes.fromhex(digits)[::-1].hex()
    number = int(digits, 10 if form == "decimal" else 16)
    if number == 0:
        raise Malformed("the card number 0")
    return str(number)


def sample(raw: bytes) -> bytes:
    """The shape of what could not be parsed, at most 64 bytes: it may be most of somebody's credential, so
    every digit is 0 and every letter A."""
    shape = re.sub(rb"[0-9]", b"0", raw[:64])
    return re.sub(rb"[A-Za-z]", b"A", shape)
