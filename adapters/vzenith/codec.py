"""VZ (臻识) and Alphadigi HTTP push: bodies to events, pulses to replies.

Pure: no I/O, no clock, no state. The vendor's push protocol (识别结果推送, "HTTP 推送") names the fields;
Alphadigi sends the same JSON without `plateid`. A heartbeat holds the camera's user and password: only the
fields named here are ever taken out of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from adapters.vzenith.forms import MAX_FORM, Malformed, multipart, urlencoded
from gated.domain import (
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    Heartbeat,
    InputChanged,
    Observed,
    OpeningOutcome,
    Read,
)
from gated.plates import credential
from gated.ports import Opened, Pulse
from gated.times import EPOCH, to_us

NO_PLATE = frozenset({"", "_无_", "无牌车", "无牌", "no plate", "noplate", "unknown", "unlicensed", "--"})
_COLORS = {1: "blue", 2: "yellow", 3: "white", 4: "black", 5: "green", 6: "yellow_green"}
_MOVES = {1: "left", 2: "right", 3: "up", 4: "down"}
_TRIGGERS = {1: "auto", 2: "input", 4: "software", 8: "virtual_loop"}
# a vehicle that stands, moves on, or turns back: no new arrival, so no read
_BEHAVIOUR = {64: ("vehicle_stays", True), 65: ("vehicle_stays", False), 66: ("vehicle_turned_back", True)}
_SECRET_WORDS = ("pass", "pwd", "token", "secret", "user_name")
_FIRST_SENSIBLE = 1_262_304_000  # 2010: a camera whose clock was never set says 1970 or 2000
_LAST_SENSIBLE = 4_102_444_800  # 2100
_MAX_RAW = 64
_MAX_JSON = 65536
_MAX_QUOTES = 8192
_MAX_STRING = 2048


@dataclass(frozen=True, slots=True)
class Reading:
    """How a camera is read. `directions`: what its "left", "right", "up" (away from it) and "down" (towards
    it) mean at its lane. `serial_data`: what is wired to its serial port; "observed" if no reader is."""

    directions: Mapping[str, Direction] = field(default_factory=dict)
    serial_data: CredentialKind | None = None


class Message(NamedTuple):
    """One push, parsed. `kind`: the vendor's name of it. `serial`, `model`: what the camera says of itself.
    `acts`: the camera acts on the reply to this kind (plate results; polls where they are on). `backlog_id`:
    its plateid if it is backlog. `poll`: a heartbeat. `unparsed`: why nothing was made of it, or None."""

    kind: str
    serial: str = ""
    model: str = ""
    events: tuple[DeviceEvent, ...] = ()
    acts: bool = False
    poll: bool = False
    backlog: bool = False
    backlog_id: int | None = None
    unparsed: str | None = None


def parse(body: bytes, content_type: str, device: str, received_at: datetime, how: Reading) -> Message:
    """One push. Raises Malformed if it is neither JSON of this protocol nor a heartbeat form."""
    declared, start = content_type.lower(), body.lstrip()[:2]
    if "multipart/" in declared or start == b"--":
        return _heartbeat(multipart(body, content_type), device, received_at)
    if "urlencoded" in declared and start[:1] != b"{":
        return _heartbeat(urlencoded(body), device, received_at)
    content = load(body)
    if isinstance(content.get("name"), str) and isinstance(content.get("payload"), dict):
        return _envelope(content, device, received_at, how)
    if "AlarmInfoPlate" in content:
        return _plate(_object(content, "AlarmInfoPlate"), device, received_at, how, encoded=False)
    if "AlarmGioIn" in content:
        return _input(_object(content, "AlarmGioIn"), device, received_at)
    if "SerialData" in content:
        return _serial(_object(content, "SerialData"), device, received_at, how)
    kind = next(iter(content), "")
    return Message(kind=_text(kind) or "empty", unparsed="not a message that is known")


def load(body: bytes) -> dict[str, object]:
    """A JSON object, without pictures, in UTF-8 or in GB18030 as older firmware sends it. Raises
    Malformed."""
    body = _slim(body).strip(b"\x00 \r\n\t")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            content = orjson.loads(body.decode("gb18030"))
        except (UnicodeDecodeError, orjson.JSONDecodeError, UnicodeEncodeError):
            raise Malformed("neither JSON in UTF-8 or GB18030 nor a form") from None
    if not isinstance(content, dict):
        raise Malformed("JSON, but not an object")
    return content


def _slim(body: bytes) -> bytes:
    """The JSON without its pictures (base64, megabytes), which nobody reads: what is left is small, and
    parsing it never holds the event loop for long, whatever was sent."""
    if len(body) > _MAX_JSON:
        parts = body.split(b'"', _MAX_QUOTES)
        if len(parts) <= _MAX_QUOTES:
            body = b'"'.join([b"" if len(part) > _MAX_STRING else part for part in parts])
        if len(body) > _MAX_JSON:
            raise Malformed("far larger than any such message is without its pictures")
    return body


# --- the kinds of message ---------------------------------------------------------------------------------


def _plate(
    alarm: dict[str, object], device: str, received_at: datetime, how: Reading, *, encoded: bool
) -> Message:
    result = _object(_object(alarm, "result"), "PlateResult")
    serial = _text(alarm.get("serialno"))
    raw = _text(result.get("license"))
    if encoded:
        raw = _text(_decoded(raw).decode("utf-8", "replace"))
    plate_id = _int(result.get("plateid"))
    time = _time(result)
    if plate_id is not None:
        key: str | None = f"{serial}:{plate_id}"
    elif time is not None:  # Alphadigi: a resend is the same plate at the same microsecond
        seconds, micro = divmod(to_us(time), 1_000_000)
        key = f"{serial}:{seconds}.{micro:06d}:{raw}"
    else:
        key = None
    backlog = _int(result.get("isoffline")) == 1
    trigger = _int(result.get("triggerType"))
    event: DeviceEvent
    if trigger in _BEHAVIOUR:
        what, active = _BEHAVIOUR[trigger]
        event = Observed(
            device=device, received_at=received_at, device_time=time, key=key and f"{key}:{trigger}",
            what=what, active=active,
        )  # fmt: skip
    else:
        confidence = _int(result.get("confidence"))
        moves = _MOVES.get(_int(result.get("direction")) or 0)
        event = Read(
            device=device,
            received_at=received_at,
            device_time=time,
            key=key,
            credential=_credential(CredentialKind.PLATE, raw),
            raw=raw,
            # documented as 1 to 100; 0 is "not measured"
            confidence=confidence / 100 if confidence and 0 < confidence <= 100 else None,
            backlog=backlog,
            channel=_text(alarm.get("channel")) or None,
            direction=how.directions.get(moves) if moves else None,
            details=_details(result, moves, trigger),
        )
    return Message(
        kind="AlarmInfoPlate",
        serial=serial,
        model=_text(alarm.get("deviceName")),
        events=(event,),
        acts=True,
        backlog=backlog,
        backlog_id=plate_id if backlog else None,
    )


def _details(result: dict[str, object], moves: str | None, trigger: int | None) -> dict[str, str]:
    """Small extra facts, under the names that the other adapters use too."""
    found: dict[str, str] = {}
    color = _COLORS.get(_int(result.get("colorType")) or 0)
    if color:
        found["plate_color"] = color
    plate_type = _int(result.get("type"))
    if plate_type:
        found["plate_type"] = str(plate_type)
    if moves:
        found["moves"] = moves
    if trigger in _TRIGGERS:
        found["trigger"] = _TRIGGERS[trigger]
    if _int(result.get("is_fake_plate")) == 1:
        found["fake_plate"] = "true"
    outputs = result.get("gioouts")
    if isinstance(outputs, list) and any(
        isinstance(each, dict) and _int(each.get("ctrltype")) == 2 for each in outputs
    ):
        found["opened_by"] = "own_list"  # the camera let it in alone while it could not reach us
    return found


def _input(alarm: dict[str, object], device: str, received_at: datetime) -> Message:
    trigger = _object(_object(alarm, "result"), "TriggerResult")
    source, value = _int(trigger.get("source")), _int(trigger.get("value"))
    if source is None or value is None:
        raise Malformed("AlarmGioIn without source and value")
    event = InputChanged(device=device, received_at=received_at, input=str(source), active=value != 0)
    return Message(
        kind="AlarmGioIn",
        serial=_text(alarm.get("serialno")),
        model=_text(alarm.get("deviceName")),
        events=(event,),
    )


def _serial(data: dict[str, object], device: str, received_at: datetime, how: Reading) -> Message:
    """What a device at the serial port sent. Only a port that is configured as a reader's makes a read:
    displays and voice boards answer on the same wire."""
    content = _decoded(_text(data.get("data"), 4096))
    channel = _text(data.get("serialChannel")) or None
    event: DeviceEvent
    text = "".join(c for c in content.decode("utf-8", "replace") if c.isprintable()).strip()
    if how.serial_data is not None:
        event = Read(
            device=device, received_at=received_at, credential=_credential(how.serial_data, text),
            raw=text[:512], channel=channel, details={"via": "serial"},
        )  # fmt: skip
    else:
        event = Observed(
            device=device, received_at=received_at, what="serial_data",
            details={"base64": base64.b64encode(content[:512]).decode(), "channel": channel or ""},
        )  # fmt: skip
    return Message(
        kind="SerialData",
        serial=_text(data.get("serialno")),
        model=_text(data.get("deviceName")),
        events=(event,),
    )


def _envelope(content: dict[str, object], device: str, at: datetime, how: Reading) -> Message:
    """The vendor's platform wraps the same messages, with texts in base64."""
    name, payload = _text(content.get("name")), _object(content, "payload")
    serial = _text(content.get("sn"))
    seconds = _int(content.get("timestamp"))
    time = _instant(seconds, 0) if seconds is not None else None
    event: DeviceEvent
    if name == "ivs_result" and "AlarmInfoPlate" in payload:
        return _plate(_object(payload, "AlarmInfoPlate"), device, at, how, encoded=True)
    if name == "keep_alive":
        event = Heartbeat(device=device, received_at=at, device_time=time)
        return Message(kind=name, serial=serial, events=(event,), poll=True)
    if name == "gpio_in" and "AlarmGioIn" in payload:
        return _input(_object(payload, "AlarmGioIn"), device, at)
    if name == "gpio_in":
        body = _object(payload, "body")
        source, value = _int(body.get("source", body.get("io"))), _int(body.get("value"))
        if source is None or value is None:
            raise Malformed("gpio_in without source and value")
        event = InputChanged(
            device=device, received_at=at, device_time=time, input=str(source), active=value != 0
        )
        return Message(kind=name, serial=serial, events=(event,))
    if name == "barr_gate_status":
        # the numbers are not documented where we could read it: reported, and not taken for a position
        body = _object(payload, "body")
        facts = {key[:_MAX_RAW]: _text(value) for key, value in list(body.items())[:16]}
        event = Observed(
            device=device, received_at=at, device_time=time, what="barrier_status", details=facts
        )
        return Message(kind=name, serial=serial, events=(event,))
    return Message(kind=name or "empty", serial=serial, unparsed="not a message that is known")


def _heartbeat(fields: Mapping[str, str], device: str, received_at: datetime) -> Message:
    if not fields:
        raise Malformed("a form without any field of a heartbeat")
    return Message(
        kind="heartbeat",
        serial=fields.get("serialno", ""),
        model=fields.get("device_name", ""),
        events=(Heartbeat(device=device, received_at=received_at),),
        acts=True,
        poll=True,
    )


# --- replies ----------------------------------------------------------------------------------------------


def reply_plate(
    pulse: Pulse | None,
    *,
    opens_by_info: bool,
    backlog: bool = False,
    backlog_id: int | None = None,
    listing: Mapping[str, object] | None = None,
) -> bytes:
    """The reply to a plate result or poll.

    `info: ok` is itself the command to open, for as long as the camera's own page says: it is sent only to
    cameras that know no other (`opens_by_info`), and never beside `ivs_ioctrl`, which would open twice.
    `content: retransfer_stop` is what stops an Alphadigi from sending the same result for ever.
    """
    answer: dict[str, object] = {"content": "retransfer_stop"}
    if backlog:
        answer["info"] = "no"
        if backlog_id is not None:
            answer["ContinuePushOffline"] = {"plateid": backlog_id, "continue": 1}
    elif pulse is None:
        answer["info"] = "no"
    elif opens_by_info:
        answer["info"] = "ok"
    else:
        answer["ivs_ioctrl"] = {"io": output_number(pulse.output), "value": 2, "delay": pulse.milliseconds}
    if listing is not None:
        answer["white_list_operate"] = listing
    return orjson.dumps({"Response_AlarmInfoPlate": answer})


def command(number: str, serial: str, name: str, body: Mapping[str, object], now: datetime) -> bytes:
    """A command over MQTT, in the envelope that all of them have."""
    return orjson.dumps(
        {
            "id": number,
            "sn": serial,
            "name": name,
            "version": "1.0",
            "timestamp": int(now.timestamp()),
            "payload": {"type": name, "body": body},
        }
    )


def gpio_out(output: int, milliseconds: int) -> dict[str, object]:
    """The command that closes an output; the camera times it (500 to 5000 ms)."""
    return {"delay": max(500, milliseconds), "io": output, "value": 2}


def reply(body: bytes) -> tuple[str, Opened] | None:
    """The answer to a command: its number and what it means; None if it is none."""
    try:
        content = load(body)
    except Malformed:
        return None
    number, code = content.get("id"), _int(content.get("code"))
    if not isinstance(number, str) or code is None:
        return None
    if code == 200:
        return number, Opened(OpeningOutcome.ACCEPTED)
    return number, Opened(OpeningOutcome.REJECTED, f"the camera answers with code {code}")


REPLY_OTHER = b'{"status":"ok"}'
"""To what the camera does not act on: heartbeats, inputs, serial data."""


def output_number(output: str | None) -> int:
    """The camera's number of an output: 0 to 3. Raises ValueError."""
    number = 0 if output is None else int(output) if output.isascii() and output.isdigit() else -1
    if not 0 <= number <= 3:
        raise ValueError(f"a camera has outputs 0 to 3, not {output!r}")
    return number


def sample(body: bytes) -> bytes | str:
    """A body for the log of what could not be parsed: pictures cut, anything that may be a password left
    out."""
    try:
        content = load(body)
    except Malformed:
        lower = body[:MAX_FORM].lower()
        if any(word.encode() in lower for word in _SECRET_WORDS):
            return "(withheld: it may hold a password)"
        return body[:512]
    return orjson.dumps(_scrubbed(content, 8)).decode()[:4096]


def _scrubbed(value: object, depth: int) -> object:
    if isinstance(value, dict):
        if depth == 0:
            return "..."
        return {
            key: "(withheld)"
            if any(word in key.lower() for word in _SECRET_WORDS)
            else _scrubbed(each, depth - 1)
            for key, each in list(value.items())[:64]
        }
    if isinstance(value, list):
        return [_scrubbed(each, depth - 1) for each in value[:8]] if depth else "..."
    if isinstance(value, str) and len(value) > 200:
        return f"{value[:40]}... ({len(value)} characters)"
    return value


# --- pieces -----------------------------------------------------------------------------------------------


def _object(container: dict[str, object], key: str) -> dict[str, object]:
    found = container.get(key)
    if not isinstance(found, dict):
        raise Malformed(f"{key} is missing or is no object")
    return found


def _int(value: object) -> int | None:
    """Cameras write numbers as numbers and as strings."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return None


def _text(value: object, limit: int = _MAX_RAW) -> str:
    if isinstance(value, str):
        cut = value[:limit]
        return (cut if cut.isprintable() else "".join([c for c in cut if c.isprintable()])).strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:limit]
    return ""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a text that should be base64 is not") from None


def _credential(kind: CredentialKind, raw: str) -> Credential | None:
    if raw.lower() in NO_PLATE:
        return None
    try:
        return credential(kind, raw)
    except ValueError:
        return None


def _time(result: dict[str, object]) -> datetime | None:
    """The device's time; nonsense (an unset clock) is None."""
    stamp = result.get("timeStamp")
    value = stamp.get("Timeval") if isinstance(stamp, dict) else None
    if not isinstance(value, dict):
        return None
    seconds = _int(value.get("sec"))
    return None if seconds is None else _instant(seconds, _int(value.get("usec")) or 0)


def _instant(seconds: int, micro: int) -> datetime | None:
    if not (_FIRST_SENSIBLE <= seconds < _LAST_SENSIBLE and 0 <= micro < 1_000_000):
        return None
    return EPOCH + timedelta(0, seconds, micro)
