"""Removes secrets and plates from texts and records before anybody sees them: logs, samples, error messages.

Pure. Knows secrets by the names of their keys, by the shapes in which wires carry them, and by their values
where the configuration names them. A plate is masked so that two can still be told apart (津A***45).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from gated.plates import PROVINCES, SPECIAL

HIDDEN = "***"
MAX_TEXT = 8192
"""Longest text in a log line; a device that sends 100 MB fills no disk with logs."""

_MAX_DEPTH = 6
_MIN_SECRET = 4  # a shorter "secret" would blank out half of every line, and protects nothing
_SECRET_KEY = re.compile(
    r"(^|_)(password|passwd|pwd|secret|token|authorization|cookie|api_?key|private_key|key_hash|nonce)$",
    re.IGNORECASE,
)
# keys whose value is a credential or a person's data as a whole, whatever it looks like
_PERSONAL_KEY = frozenset({"plate", "plates", "credential", "credentials", "raw", "card", "code", "phone"})

_WORD = r"(?:[\w.-]*(?:pass_?w(?:or)?d|pwd|secret|token|authorization|api_?key)[\w.-]*)"
_WIRE: tuple[tuple[str, str], ...] = (
    # an HTTP header, in a dump of a request
    (r"(?im)((?:authorization|^x-device-token|^cookie|^set-cookie)[ \t]*:[ \t]*)[^\r\n]+", r"\1***"),
    (r"\b(Bearer|Basic)[ ]+[A-Za-z0-9+/=._~-]{4,}", r"\1 ***"),
    # a field of a multipart form: its head, an empty line, its value
    (rf'(?i)(name="{_WORD}"[^\r\n]{{0,200}}\r?\n(?:[^\r\n]{{1,200}}\r?\n){{0,8}}\r?\n)[^\r\n]*', r"\1***"),
    # JSON, also inside a quoted string
    (rf'(?i)("{_WORD}"\s*:\s*")(?:[^"\\]|\\.)*', r"\1***"),
    (rf'(?i)(\\"{_WORD}\\"\s*:\s*\\")[^"\\]*', r"\1***"),
    (rf'(?i)("{_WORD}"\s*:\s*)-?[0-9][0-9.]*', r"\g<1>0"),
    # XML, with or without a namespace and attributes
    (r"(?i)(<(?:[\w.-]+:)?(?:password|nonce|secret|token)(?:\s[^<>]*)?>)[^<]*", r"\1***"),
    # a query or a form; `key` is what cameras carry that can only be given a URL
    (rf"(?i)((?:^|[?&;\s])(?:key|{_WORD})=)[^&;\s\"'<>]+", r"\1***"),
    # user and password in a URL
    (r"(://[^/\s:@]*:)[^/\s@]+(@)", r"\1***\2"),
)
_SUSPICIOUS = re.compile(r'[=<"]|:[ /]|(?:Bearer|Basic) ')
"""Whether a text can match any of them at all: most words in a log cannot, and a line should cost little."""
_WIRE_TEXT = tuple((re.compile(pattern), with_) for pattern, with_ in _WIRE)
_WIRE_BYTES = tuple((re.compile(pattern.encode()), with_.encode()) for pattern, with_ in _WIRE)

_PROVINCES = "".join(sorted(PROVINCES))
_ENDS = "".join(sorted(SPECIAL))
_ESCAPED = "|".join(rf"\\u{ord(character):04x}" for character in sorted(PROVINCES))
_PLATE = re.compile(
    rf"(?:[{_PROVINCES}]|(?i:{_ESCAPED}))[A-Z][·•・.\s-]?[A-Z0-9]{{3,6}}(?:[A-Z0-9]|[{_ENDS}])?"
    rf"|[A-Z0-9]{{5,6}}[使领]|WJ[{_PROVINCES}]?[A-Z0-9·]{{5,6}}"
)
_GB = b"|".join(re.escape(character.encode("gb18030")) for character in sorted(PROVINCES))
_UTF8 = b"|".join(re.escape(character.encode()) for character in sorted(PROVINCES))
_UNICODE = _ESCAPED.encode()
_PLATE_BYTES = re.compile(
    rb"((?:" + _UTF8 + rb"|" + _GB + rb"|(?i:" + _UNICODE + rb"))[A-Z](?:\xc2\xb7|[.\s-])?)([A-Z0-9]{4,6})"
)


def mask(value: str) -> str:
    """The ends of a credential: 津A12345 as 津A***45; nothing of one that is too short for that."""
    return f"{value[:2]}{HIDDEN}{value[-2:]}" if len(value) >= 7 else HIDDEN


class Redactor:
    """Removes what must not be seen. `secrets`: values that appear nowhere. `plates`: True masks plates."""

    def __init__(self, secrets: Collection[str] = (), *, plates: bool = True) -> None:
        values = sorted((value for value in secrets if len(value) >= _MIN_SECRET), key=len, reverse=True)
        either = "|".join(map(re.escape, values))
        self.plates = plates
        self._values = re.compile(either) if values else None
        self._values_bytes = re.compile(either.encode()) if values else None

    def text(self, text: str, *, plates: bool | None = None) -> str:
        """The text without secrets, and without plates unless `plates` is False; cut at MAX_TEXT."""
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]}...[{len(text) - MAX_TEXT} more]"
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        if _SUSPICIOUS.search(text):
            for pattern, with_ in _WIRE_TEXT:
                text = pattern.sub(with_, text)
        if (self.plates if plates is None else plates) and not (
            text.isascii() and "WJ" not in text and "\\u" not in text
        ):
            text = _PLATE.sub(lambda found: mask(found.group()), text)
        return text

    def record(self, record: Mapping[str, Any], *, plates: bool | None = None) -> dict[str, Any]:
        """A log event, or any record of plain values, redacted by the names of its keys and by content."""
        hide = self.plates if plates is None else plates
        return {str(key): self._value(str(key), value, hide, 0) for key, value in record.items()}

    def sample(self, sample: bytes) -> bytes:
        """Something a device sent, so that it still parses as it did: secrets become `***`, and every letter
        and digit of a plate after the first two characters becomes A or 0."""
        if self._values_bytes is not None:
            sample = self._values_bytes.sub(HIDDEN.encode(), sample)
        for pattern, with_ in _WIRE_BYTES:
            sample = pattern.sub(with_, sample)
        if self.plates:
            sample = _PLATE_BYTES.sub(lambda found: found[1] + _alike(found[2]), sample)
        return sample

    def _value(self, key: str, value: Any, plates: bool, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return HIDDEN if value and _SECRET_KEY.search(key) else value
        if _SECRET_KEY.search(key.replace("-", "_")):
            return HIDDEN
        if isinstance(value, Shown):
            return str(value)
        if plates and key.lower() in _PERSONAL_KEY and isinstance(value, str):
            return mask(value)
        if isinstance(value, str):
            return self.text(value, plates=plates)
        if depth >= _MAX_DEPTH:
            return "..."
        if isinstance(value, Mapping):
            return {str(k): self._value(str(k), v, plates, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(key, item, plates, depth + 1) for item in value]
        if isinstance(value, (bytes, bytearray)):
            return self.text(repr(bytes(value[:MAX_TEXT])), plates=plates)
        return self.text(str(value), plates=plates)


class Shown(str):
    """A text that has been redacted already and is written as it is."""

    __slots__ = ()


def _alike(serial: bytes) -> bytes:
    return bytes(ord("0") if byte in b"0123456789" else ord("A") for byte in serial)
