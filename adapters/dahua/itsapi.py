"""ITSAPI: what a Dahua camera posts to a platform, and what it wants to hear.

Pure: no I/O, no clock. `POST NotificationInfo/{DeviceInfo,KeepAlive,TollgateInfo,AlarmInfo}`, JSON with the
pictures inside as base64. A push that is not answered with `Result` is sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from adapters import _multipart
from adapters.dahua import codec
from adapters.dahua.codec import Reading
from adapters.dahua.fields import Malformed, flat
from gated.domain import DeviceEvent, Heartbeat, Observed, Read

_MAX_JSON = 64 * 1024
_LATE = timedelta(minutes=1)
_PICTURE = re.compile(rb'("Content(?:_2nd)?"\s*:\s*")[^"]*"')


class Message(NamedTuple):
    """One push. `kind`: DeviceInfo, KeepAlive, TollgateInfo, AlarmInfo, or what else it is called. `device`:
    what the camera calls itself. `plate`: as it wrote it. `unparsed`: why nothing was made of it."""

    kind: str
    event: DeviceEvent | None
    device: str = ""
    plate: str = ""
    model: str = ""
    unparsed: str | None = None


def parse(
    body: bytes, content_type: str, path: str, device: str, received_at: datetime, how: Reading
) -> Message:
    """One push. Raises Malformed."""
    if "multipart" in content_type.lower():
        body = _json_part(body, content_type)
    content = _load(body)
    fields = flat(content)
    said = path.rstrip("/").rpartition("/")[2].lower()
    name = _clean(
        fields.get("Picture.SnapInfo.DeviceID")
        or fields.get("DeviceID")
        or fields.get("Picture.ParkingInfo.DeviceID", "")
    )
    if "Picture" in content and "parking" not in said and "Picture.ParkingInfo.SnapTime" not in fields:
        raw = _clean(fields.get("Picture.Plate.PlateNumber", ""))
        return Message("TollgateInfo", _read(fields, raw, name, device, received_at, how), name, raw)
    if "AlarmInfo" in content:
        return Message("AlarmInfo", _alarm(fields, device, received_at, how), name)
    beat = Heartbeat(device=device, received_at=received_at)
    if "Active" in content or said == "keepalive":
        return Message("KeepAlive", beat, name)
    if "DeviceModel" in content or "DeviceName" in content or said == "deviceinfo":
        model = _clean(fields.get("DeviceModel") or fields.get("DeviceName", ""))
        return Message("DeviceInfo", beat, name, model=model)
    kind = _clean(said or next(iter(content), ""))[:40]
    return Message(kind or "empty", None, name, unparsed="not a message that is known")


def reply(message: Message, *, opens: bool) -> bytes:
    """The answer that ends the matter for the camera. `OpenStrobe` true in the answer to a plate opens."""
    answer: dict[str, object] = {"Result": True, "DeviceID": message.device}
    if message.kind == "TollgateInfo":
        answer["PlateNumber"] = message.plate
        answer["OpenStrobe"] = opens
        if opens:
            answer["AllowUser"] = True
    elif message.kind == "KeepAlive":
        answer["Active"] = True
    else:
        answer["Message"] = "Success"
    return orjson.dumps(answer)


def sample(body: bytes) -> bytes:
    """A push for the log of what could not be parsed, without its pictures."""
    return _PICTURE.sub(rb'\1..."', body[:_MAX_JSON])[:2048]


def _read(
    fields: Mapping[str, str], raw: str, name: str, device: str, received_at: datetime, how: Reading
) -> Read:
    plate, snap = "Picture.Plate.", "Picture.SnapInfo."
    seen = fields.get(f"{plate}IsExist") != "false"
    when = fields.get(f"{snap}AccurateTime") or fields.get(f"{snap}SnapTime", "")
    time = codec.local(when, how.zone)
    lane = fields.get(f"{snap}LanNo") or fields.get(f"{plate}Channel", "")
    number = fields.get(f"{plate}UploadNum", "")
    moves = fields.get(f"{snap}Direction", "").lower()
    details = codec.vehicle(
        fields.get(f"{plate}PlateColor", ""), fields.get("Picture.Vehicle.VehicleType", "")
    )
    if moves.isalpha() and moves not in ("unknown", "unknow"):
        details["moves"] = moves[:32]
    for source, told in (
        (f"{snap}TriggerSource", "trigger"), (f"{snap}Source", "trigger"),
        (f"{plate}PlateType", "plate_type"), ("Picture.Vehicle.VehicleColor", "vehicle_color"),
        (f"{plate}Region", "country"),
    ):  # fmt: skip
        if (value := fields.get(source, "").lower()[:32]) and value not in ("unknown", "unknow"):
            details[told] = value
    if (speed := fields.get("Picture.Vehicle.Speed", "")[:8]) not in ("", "0"):
        details["speed"] = speed
    for source, told in ((f"{snap}AllowUser", "allow"), (f"{snap}BlockUser", "block")):
        if fields.get(source) == "true":
            details["list"] = told
    itself = fields.get(f"{snap}OpenStrobe") == "true"
    if itself:
        details["opened_by"] = "own_list"
    # whether UploadNum counts events or uploads is written nowhere; the moment is the same when sent again
    key = f"{name}:{lane}:{when}:{raw}" if time else f"{name}:{number}" if number else None
    return Read(
        device=device,
        received_at=received_at,
        device_time=time,
        key=key,
        credential=codec.plate(raw) if seen else None,
        raw=raw,
        confidence=codec.confidence(fields.get(f"{plate}Confidence", "")) if seen else None,
        # nothing says that a push is late; of those that the camera opened for itself it must be known
        backlog=itself and time is not None and received_at + how.ahead - time > _LATE,
        channel=lane or None,
        direction=how.directions.get(moves),
        details=details,
    )


def _alarm(fields: Mapping[str, str], device: str, received_at: datetime, how: Reading) -> Observed:
    kind = _clean(fields.get("AlarmInfo.Type", ""))[:8]
    return Observed(
        device=device,
        received_at=received_at,
        device_time=codec.local(fields.get("AlarmInfo.Time", ""), how.zone),
        what=f"dahua_alarm_{kind}" if kind.isalnum() and kind.isascii() else "dahua_alarm",
        active=fields.get("AlarmInfo.State", "").lower() != "stop",
    )


def _json_part(body: bytes, content_type: str) -> bytes:
    try:
        parts = _multipart.whole(body, content_type, keep=0)
    except _multipart.Malformed as error:
        raise Malformed(str(error)) from None
    for part in parts:
        if not part.cut and part.body.lstrip()[:1] == b"{":
            return part.body
    raise Malformed("no part of it is JSON")


def _load(body: bytes) -> dict[str, object]:
    slim = _PICTURE.sub(rb'\1"', body) if len(body) > 4096 else body
    slim = slim.strip(b"\x00 \r\n\t")
    if len(slim) > _MAX_JSON:
        raise Malformed("far larger than any such message is without its pictures")
    try:
        content = orjson.loads(slim)
    except orjson.JSONDecodeError:
        try:
            content = orjson.loads(slim.decode("gb18030"))
        except (UnicodeDecodeError, UnicodeEncodeError, orjson.JSONDecodeError):
            raise Malformed("neither JSON in UTF-8 nor in GB18030") from None
    if not isinstance(content, dict):
        raise Malformed("JSON, but not an object")
    return content


def _clean(value: str) -> str:
    return "".join(c for c in value[:64] if c.isprintable()).strip()
