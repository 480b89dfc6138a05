"""Takes down one device's wire and what its adapter made of it, for some minutes, and writes it as one file.

Everything is kept until the end, for only then is it known which values are to be disguised. JSON, one object
a line: a head with the device's section (its secrets only by name), then what went over the wire (`way`: in,
out) and the events, each with the seconds since the beginning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from gated import __version__
from gated.domain import Credential, DeviceEvent, Read, type_of_event
from gated.ports import DeviceConfig, DeviceInfo
from gated.recording.disguise import Disguise, without_pictures

MOST_BYTES = 8 * 1024 * 1024
MOST_OF_ONE = 256 * 1024
"""Bytes of one message, pictures aside: a longer one would hold up everybody while it is disguised."""
_MOST_ENTRIES = 50_000
_PICTURES = (b"\xff\xd8\xff",)
SECRET_ENV = "GATED_RECORDED_SECRET"  # noqa: S105 - the name that stands for every secret
_WHICH = ("way", "exchange", "event")
_NOT_OF_THE_DEVICE = {"record", "watch", "name"}


class Recorder:
    """`wire` is the device's `gated.ports.Wire`, `event` is told its events. `seconds`: a clock that only
    goes forward."""

    def __init__(self, config: DeviceConfig, secrets: Collection[str], seconds: Callable[[], float]) -> None:
        self._config, self._secrets, self._seconds = config, secrets, seconds
        self._began = seconds()
        self._entries: list[tuple[float, dict[str, Any], bytes | None]] = []
        self._size = 0
        self._credentials: list[tuple[str, str]] = []
        self.full = False

    def wire(self, way: Literal["in", "out"], what: str, data: bytes, exchange: int = 0) -> None:
        """See `gated.ports.Wire`."""
        entry: dict[str, Any] = {"way": way, "what": what}
        if exchange:
            entry["exchange"] = exchange
        if data.startswith(_PICTURES):
            self._add({**entry, "omitted": f"a picture of {len(data)} bytes"}, None)
            return
        data = without_pictures(data)
        if len(data) > MOST_OF_ONE:
            self._add({**entry, "omitted": f"{len(data)} bytes"}, None)
        else:
            self._add(entry, data)

    def event(self, event: DeviceEvent) -> None:
        """What the adapter made of it."""
        if isinstance(event, Read):
            self._credentials.append((event.raw, event.credential.value if event.credential else ""))
        self._add(told(event), None)

    def lines(self, info: DeviceInfo) -> list[str]:
        """The recording, disguised. `info`: of the device."""
        disguise = Disguise(self._credentials, self._names(info), self._secrets)
        head = {
            "recording": 1, "gated": __version__, "seconds": round(self._seconds() - self._began, 1),
            "complete": not self.full, "vendor": info.vendor, "model": info.model,
            "firmware": info.firmware, "section": _section(self._config),
        }  # fmt: skip
        lines = [disguise.text(json.dumps(head, ensure_ascii=False))]
        for at, entry, data in self._entries:
            line = {"at": round(at, 3), **_disguised(entry, disguise)}
            if data is not None:
                line |= disguise.data(data)
            lines.append(json.dumps(line, ensure_ascii=False))
        return lines

    def _names(self, info: DeviceInfo) -> list[str]:
        named = [info.serial, getattr(self._config, "serial", None), getattr(self._config, "username", None)]
        return [name for name in named if name]

    def _add(self, entry: dict[str, Any], data: bytes | None) -> None:
        size = len(data or b"") + 200
        if self._size + size > MOST_BYTES or len(self._entries) >= _MOST_ENTRIES:
            self.full = True
        if not self.full:
            self._size += size
            self._entries.append((self._seconds() - self._began, entry, data))


def _disguised(entry: dict[str, Any], disguise: Disguise) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(disguise.text(json.dumps(entry, ensure_ascii=False)))
    except ValueError:  # what was masked went over the end of a string
        known: dict[str, Any] = {key: entry[key] for key in _WHICH if key in entry}
        return {**known, "omitted": "it could not be disguised"}
    return found


def told(event: DeviceEvent) -> dict[str, Any]:
    """An event as a recording has it: what it says, without empty fields and the time of its arrival."""
    found: dict[str, Any] = {"event": type_of_event.get(type(event), type(event).__name__)}
    for each in fields(event):
        value = getattr(event, each.name)
        if each.name not in ("device", "received_at") and value not in (None, {}, ""):
            found[each.name] = _plain(value)
    return found


def write(folder: Path, device: str, now: datetime, lines: list[str]) -> Path:
    """Writes a recording whole, readable by gated's user alone. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{device}-{now:%Y%m%dT%H%M%SZ}.jsonl"
    beside = file.with_suffix(".part")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as output:
        output.write("\n".join(lines) + "\n")
    beside.replace(file)
    return file


def _section(config: DeviceConfig) -> dict[str, Any]:
    section = config.model_dump(mode="json", exclude_unset=True, exclude=_NOT_OF_THE_DEVICE)
    return {key: _without_secrets(value) for key, value in section.items()}


def _without_secrets(value: Any) -> Any:
    """Where a secret is kept is the site's business, too."""
    if isinstance(value, dict):
        if value and set(value) <= {"env", "file"}:
            return {"env": SECRET_ENV}
        return {key: _without_secrets(each) for key, each in value.items()}
    return [_without_secrets(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Credential):
        return {"kind": value.kind.value, "value": value.value}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if hasattr(value, "items") else value
