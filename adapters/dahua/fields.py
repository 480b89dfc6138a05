"""The shapes in which a Dahua camera writes its facts, all made one: flat fields, `TrafficCar.PlateNumber`.

Pure and bounded. Three shapes: lines of `Events[0].TrafficCar.PlateNumber=...` (snapManager), lines of
`Code=...;action=...;index=...;data={...}` (eventManager), and lines of `name=value` (answers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

MAX_TEXT = 256 * 1024
_MAX_ANSWER = 4 * 1024 * 1024
_MAX_EVENTS = 64
_MAX_FIELDS = 4096
_MAX_DEPTH = 16
_LINE = re.compile(r"Events\[(\d{1,4})\]\.([^=\s]{1,200})=(.*)")
_ATTACHED = re.compile(r"^[ \t]*Code=", re.MULTILINE)
_HEAD = re.compile(
    r"\s*([A-Za-z0-9_]{1,64})\s*(?:;\s*action=([A-Za-z]{0,32}))?\s*(?:;\s*index=(-?\d{1,6}))?\s*"
)


class Malformed(ValueError):
    """Not what such a camera sends. The message holds nothing of it."""


class Told(NamedTuple):
    """One event as it was told: its code, its action (Start, Stop, Pulse), its index (of a video channel, an
    input or a rule) and its fields."""

    code: str
    action: str
    number: str
    fields: Mapping[str, str]


def text(body: bytes, limit: int = MAX_TEXT) -> str:
    """As UTF-8, or as GB18030, which older firmware writes. Raises Malformed if it is too long."""
    if len(body) > limit:
        raise Malformed("far longer than any such text")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("gb18030", "replace")


def snapped(body: bytes) -> list[Told]:
    """The events of a part of snapManager's stream. Raises Malformed if there is none."""
    events: dict[str, dict[str, str]] = {}
    for line in text(body).splitlines():
        found = _LINE.match(line.strip())
        if found is None:
            continue
        number, name, value = found.groups()
        fields = events.setdefault(number, {})
        if len(events) > _MAX_EVENTS or len(fields) > _MAX_FIELDS:
            raise Malformed("more events, or more of one, than any such message has")
        fields[name] = value.strip()
    if not events:
        raise Malformed("a text without Events[...]")
    return [
        Told(
            code=_first(fields, "EventBaseInfo.Code", "Code", "TrafficCar.Event"),
            action=_first(fields, "EventBaseInfo.Action", "Action"),
            number=_first(fields, "EventBaseInfo.Index", "Index"),
            fields=fields,
        )
        for fields in events.values()
    ]


def attached(body: bytes) -> list[Told]:
    """The events of a part of eventManager's stream. Raises Malformed if there is none, or one is broken."""
    words = text(body)
    starts = [found.start() for found in _ATTACHED.finditer(words)]
    if not starts:
        raise Malformed("a text without Code=")
    if len(starts) > _MAX_EVENTS:
        raise Malformed("more events than any such message has")
    found = []
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        head, _, data = words[start:end].partition("data=")
        named = _HEAD.match(head.strip().removeprefix("Code="))
        if named is None:
            raise Malformed("an event without its code")
        code, action, index = named.groups()
        found.append(Told(code, action or "", index or "", flat(_json(data)) if data.strip() else {}))
    return found


def _json(data: str) -> object:
    try:
        return orjson.loads(data.strip())
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise Malformed("data that is no JSON") from None


def flat(value: object) -> dict[str, str]:
    """JSON as flat fields: `{"A": {"B": [1]}}` is `A.B[0]`. Raises Malformed if it is too much."""
    found: dict[str, str] = {}
    _flatten(value, "", _MAX_DEPTH, found)
    return found


def _flatten(value: object, name: str, depth: int, into: dict[str, str]) -> None:
    if depth == 0 or len(into) > _MAX_FIELDS:
        raise Malformed("deeper, or more, than any such event")
    if isinstance(value, dict):
        for key, each in value.items():
            _flatten(each, f"{name}.{key}" if name else str(key), depth - 1, into)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _flatten(each, f"{name}[{number}]", depth - 1, into)
    elif isinstance(value, bool):
        into[name] = "true" if value else "false"
    elif value is not None:
        into[name] = str(value).strip()


def lines(body: bytes) -> dict[str, str]:
    """The `name=value` lines of an answer; the first of each name."""
    found: dict[str, str] = {}
    for line in text(body, _MAX_ANSWER).splitlines():
        name, equals, value = line.partition("=")
        if equals and len(found) < 262_144:
            found.setdefault(name.strip(), value.strip())
    return found


def _first(fields: Mapping[str, str], *names: str) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")
