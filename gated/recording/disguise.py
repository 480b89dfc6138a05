"""Makes a recording fit to be shown: no plate, card, phone, address or secret of the site is left in it, and
it still parses as it did. Pure.

What the device's reads said is replaced by an invented value of the same length, the same one everywhere and
in every form in which wires carry it: as it is, in a URL, escaped in JSON, in Base64, as a number of four
bytes. What no read told of is found by its shape (`gated.redact`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterable
from urllib.parse import quote

from gated.plates import PROVINCES
from gated.redact import Redactor

_SHORTEST = 4
_JPEG = b"\xff\xd8\xff"
_TEXT = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)))
_MOST_BINARY = 4096
_TOKEN = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")
_LONG_TOKEN = 512
_PHONE = re.compile(r"(?<![0-9A-Za-z])1[3-9][0-9]{9}(?![0-9A-Za-z])")
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![0-9A-Fa-f:-])"
)
_KEEP_ADDRESSES = ("127.", "0.0.0.0", "255.", "192.0.2.")  # noqa: S104 - tells nothing of a site


_LENGTH = re.compile(rb"(Content-Length:[ \t]*)[0-9]+", re.IGNORECASE)
_LONGEST_HEAD = 512


def without_pictures(data: bytes) -> bytes:
    """A multipart body whose pictures are four letters, with their lengths; anything else as it is. Takes
    time in proportion to the body, whatever is in it: it runs in the event loop."""
    pieces: list[bytes] = []
    at, start = 0, data.find(_JPEG, 3)
    while start >= 0:
        if not data[max(at, start - 4) : start].endswith((b"\n\n", b"\n\r\n")):
            start = data.find(_JPEG, start + 3)
            continue
        end = data.find(b"\n--", start)
        if end < 0:
            break
        end -= data[end - 1 : end] == b"\r"
        cut = max(at, start - _LONGEST_HEAD)
        head = data[cut:start]
        text = head.rstrip(b"\r\n")
        cut += max(text.rfind(b"\n\n"), text.rfind(b"\n\r\n"), 0)
        pieces += (data[at:cut], _LENGTH.sub(rb"\g<1>4", data[cut:start]), b"JPEG")
        at, start = end, data.find(_JPEG, end)
    return b"".join((*pieces, data[at:]))


class Disguise:
    """`credentials`: what reads said, raw and in its normal form. `names`: other values of the site (serial
    numbers, user names). `secrets`: passwords and tokens."""

    def __init__(
        self,
        credentials: Iterable[tuple[str, str]],
        names: Iterable[str] = (),
        secrets: Collection[str] = (),
    ) -> None:
        self._invented: dict[str, str] = {}
        for raw, value in dict.fromkeys(credentials):
            if len(value) >= _SHORTEST and value not in self._invented:
                self._invented[value] = _alike(value, len(self._invented) + 1)
            if len(raw) >= _SHORTEST and raw not in self._invented:
                same = _written(raw, self._invented.get(value, ""))
                self._invented[raw] = same or _alike(raw, len(self._invented) + 1)
        for value in dict.fromkeys(names):
            if len(value) >= _SHORTEST and value not in self._invented:
                self._invented[value] = _numbered(value, len(self._invented) + 1)
        forms: dict[str, str] = {}
        for value, other in self._invented.items():
            forms |= {value: other, quote(value): quote(other), _escaped(value): _escaped(other)}
            forms[_escaped(value).upper().replace("\\U", "\\u")] = _escaped(other)
        self._forms = forms
        self._known, self._done = _any_of(forms), _any_of(forms.values())
        self._redactor = Redactor(secrets)
        self._addresses: dict[str, str] = {}

    def data(self, data: bytes) -> dict[str, str]:
        """What is written of some bytes: `text` (and `encoding`, if it is not UTF-8), `hex` or `omitted`."""
        if data.startswith(_JPEG):
            return {"omitted": f"a picture of {len(data)} bytes"}
        for encoding in ("utf-8", "gb18030"):
            if data.translate(None, _TEXT):
                break
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            told = {"text": self.text(text)}
            return told if encoding == "utf-8" else {**told, "encoding": encoding}
        if len(data) > _MOST_BINARY:
            return {"omitted": f"{len(data)} bytes"}
        return {"hex": self._numbers(data).hex()}

    def text(self, text: str) -> str:
        """A text without anything of the site."""
        text = _TOKEN.sub(self._token, text)
        if self._known is not None:
            text = self._known.sub(lambda found: self._forms[found.group()], text)
        kept: list[str] = []

        def aside(found: re.Match[str]) -> str:  # what is invented already is no plate of the site
            kept.append(found.group())
            return f"\x00{len(kept) - 1}\x00"

        if self._done is not None:
            text = self._done.sub(aside, text)
        text = self._redactor.sample(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
        text = _PHONE.sub("13800000000", text)
        text = _MAC.sub(lambda found: found[1].join(("02", "00", "5E", "00", "00", "01")), text)
        text = _IPV4.sub(self._address, text)
        return re.sub("\x00([0-9]+)\x00", lambda found: kept[int(found[1])], text)

    def _token(self, found: re.Match[str]) -> str:
        """Base64 of a picture is left out; of something known is replaced."""
        token = found.group()
        try:
            inside = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            return token
        if inside.startswith(_JPEG) or len(token) > _LONG_TOKEN:
            return ""
        for encoding in ("utf-8", "gb18030"):
            try:
                text = inside.decode(encoding)
            except UnicodeDecodeError:
                continue
            if self._known is not None and self._known.search(text):
                text = self._known.sub(lambda each: self._forms[each.group()], text)
                return base64.b64encode(text.encode(encoding)).decode()
            if text[:1] in PROVINCES:
                sample = self._redactor.sample(text.encode()).decode()
                return base64.b64encode(sample.encode(encoding)).decode()
        return token

    def _numbers(self, data: bytes) -> bytes:
        """Card numbers in binary messages: four bytes, in either order."""
        for value, other in self._invented.items():
            if value.isdigit() and (number := int(value)) > 0xFFFF and max(number, int(other)) < 2**32:
                for order in ("little", "big"):
                    old, new = (int(each).to_bytes(4, order) for each in (value, other))
                    data = data.replace(old, new)
        return data

    def _address(self, found: re.Match[str]) -> str:
        address = found.group()
        if address.startswith(_KEEP_ADDRESSES) or any(int(part) > 255 for part in address.split(".")):
            return address
        return self._addresses.setdefault(address, f"192.0.2.{len(self._addresses) % 250 + 1}")


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    either = "|".join(map(re.escape, sorted(set(texts), key=len, reverse=True)))
    return re.compile(either) if either else None


def _alike(value: str, number: int) -> str:
    """An invented credential of the same length."""
    if value[0] in PROVINCES and len(value) > 2:
        return "京A" + f"{number:0{len(value) - 2}d}"[-(len(value) - 2) :]
    return _numbered(value, number)


def _written(raw: str, invented: str) -> str | None:
    """The invented value in the way in which a device wrote the true one: with its dots and spaces."""
    if sum(character.isalnum() for character in raw) != len(invented):
        return None
    rest = iter(invented)
    return "".join(next(rest) if character.isalnum() else character for character in raw)


def _numbered(value: str, number: int) -> str:
    return "1" + f"{number:0{len(value) - 1}d}"[-(len(value) - 1) :]


def _escaped(value: str) -> str:
    return json.dumps(value)[1:-1]
