"""What a Dahua camera's events mean, whichever stream or push they came by.

Pure: no I/O, no clock. The names of fields are those of the vendor's HTTP API (大华 HTTP API, chapter
Traffic) and of recordings; see `docs/devices/dahua.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from adapters.dahua import fields as shapes
from adapters.dahua.fields import Malformed, Told
from gated.domain import (
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    Heartbeat,
    InputChanged,
    Observed,
    Read,
)
from gated.plates import credential
from gated.times import EPOCH

NO_PLATE = frozenset(
    {
        "", "-", "--", "unlicensed", "unknown", "unknow", "noplate", "no plate", "null", "none", "无车牌",
        "无牌车", "无牌", "未知", "未识别", "无",
    }
)  # fmt: skip
_READS = frozenset({"trafficjunction", "trafficgate", "traffictollgate", "trafficmanualsnap"})
_COLORS = {
    "blue": "blue", "bluebottomwhitetext": "blue", "yellow": "yellow", "yellowbottomblacktext": "yellow",
    "white": "white", "black": "black", "blackbottomwhitetext": "black", "green": "green",
    "shadowgreen": "green", "yellowgreen": "yellow_green",
}  # fmt: skip
_CLASSES = (
    ("tricycle", "tricycle"), ("motorcycle", "motorcycle"), ("twowheel", "motorcycle"),
    ("bicycle", "bicycle"), ("bus", "bus"), ("passengercar", "car"), ("coach", "bus"), ("truck", "truck"),
    ("pickup", "truck"), ("tank", "truck"), ("mixer", "truck"), ("trailer", "truck"), ("van", "van"),
    ("saloon", "car"), ("suv", "car"), ("mpv", "car"), ("sedan", "car"), ("jeep", "car"), ("taxi", "car"),
    ("car", "car"),
)  # fmt: skip
"""Words within the vendor's words for kinds of vehicles; the first that fits."""
_WHAT = {
    "videomotion": "motion", "smartmotionhuman": "motion", "smartmotionvehicle": "motion",
    "crosslinedetection": "crossed", "crossregiondetection": "inside", "videoblind": "tamper",
    "scenechange": "scene_change", "videoloss": "video_loss", "trafficparking": "vehicle_stays",
    "parkingdetection": "vehicle_stays", "storagefailure": "disk_error", "storagelowspace": "disk_full",
}  # fmt: skip
_TRIGGERS = {"0": "coil", "1": "radar", "2": "video"}
_JITTER = timedelta(minutes=2)
_FIRST_SENSIBLE, _LAST_SENSIBLE = 1_262_304_000, 4_102_444_800  # 2010, 2100


@dataclass(frozen=True, slots=True)
class Reading:
    """How a camera is read. `zone`: of times without an offset. `ahead`: its clock minus ours, as measured.
    `directions`: what approach, leave, obverse and reverse mean at its lane."""

    zone: tzinfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    ahead: timedelta = timedelta()
    directions: Mapping[str, Direction] = field(default_factory=dict)


# --- parts of a stream ------------------------------------------------------------------------------------


def part(
    body: bytes, device: str, received_at: datetime, how: Reading
) -> tuple[list[DeviceEvent], str | None]:
    """The events of a text part of either stream, and why something of it was left out. Raises Malformed."""
    start = body[:64].lstrip()
    if start[:9].lower() == b"heartbeat":
        return [Heartbeat(device=device, received_at=received_at)], None
    if start[:5].lower() == b"error":
        raise Malformed("it answers Error in its stream")
    told = shapes.attached(body) if start[:5] == b"Code=" else shapes.snapped(body)
    events = [event(one, device, received_at, how) for one in told if one.code]
    unnamed = len(told) - len(events)
    return events, f"{unnamed} events without a code" if unnamed else None


def event(told: Told, device: str, received_at: datetime, how: Reading) -> DeviceEvent:
    """One event."""
    code = told.code.lower()
    time = moment(told.fields, received_at, how)
    active = told.action.lower() != "stop"
    if code in _READS:
        return _read(told, device, received_at, time, how)
    if code == "alarmlocal":
        return InputChanged(
            device=device, received_at=received_at, device_time=time, input=told.number or "0", active=active
        )
    what = _WHAT.get(code) or f"dahua_{''.join(c for c in code if c.isalnum() and c.isascii())[:40]}"
    return Observed(
        device=device,
        received_at=received_at,
        device_time=time,
        key=_scene_key(told),
        what=what,
        active=active,
        details=_scene(told),
    )


def _read(told: Told, device: str, received_at: datetime, time: datetime | None, how: Reading) -> Read:
    fields = told.fields
    raw = _plate_of(fields)
    moves = [
        word
        for name in ("TrafficCar.DrivingDirection[0]", "JunctionDirection", "TrafficCar.JunctionDirection")
        if (word := fields.get(name, "").lower()) and word.isalpha() and word not in ("unknown", "unknow")
    ]
    return Read(
        device=device,
        received_at=received_at,
        device_time=time,
        key=_key(fields, raw),
        credential=plate(raw),
        raw=raw,
        confidence=confidence(fields.get("Object.Confidence", "") if raw else ""),
        channel=fields.get("TrafficCar.Lane") or fields.get("Lane") or None,
        direction=next((how.directions[word] for word in moves if word in how.directions), None),
        details=_details(fields, moves),
    )


def _details(fields: Mapping[str, str], moves: list[str]) -> dict[str, str]:
    found = vehicle(
        fields.get("TrafficCar.PlateColor") or fields.get("Object.Color", ""),
        fields.get("Vehicle.Category") or fields.get("NonMotor.Category", ""),
    )
    if moves:
        found["moves"] = moves[0][:32]
    if trigger := _TRIGGERS.get(fields.get("TriggerType", "")):
        found["trigger"] = trigger
    for source, name in (
        ("TrafficCar.VehicleColor", "vehicle_color"),
        ("TrafficCar.PlateType", "plate_type"),
        ("CommInfo.SnapCategory", "category"),
    ):
        if (value := fields.get(source, "").lower()[:32]) and value not in ("unknown", "unknow"):
            found[name] = value
    if (speed := fields.get("TrafficCar.Speed", "")[:8]) not in ("", "0"):
        found["speed"] = speed
    if fields.get("OpenStrobeState", "").lower() == "auto":
        found["opened_by"] = "own_list"
    return found


def _scene(told: Told) -> dict[str, str]:
    found = {"channel": told.number} if told.number else {}
    for source, name in (
        ("Name", "region"), ("Object.ObjectType", "target"), ("Direction", "moves"), ("Lane", "lane"),
    ):  # fmt: skip
        if value := told.fields.get(source, "")[:64]:
            found[name] = value if name == "region" else value.lower()
    if (raw := _plate_of(told.fields)) and raw.lower() not in NO_PLATE:
        found["plate"] = raw
        found |= vehicle(told.fields.get("TrafficCar.PlateColor", ""), "")
    return found


def vehicle(plate_color: str, category: str) -> dict[str, str]:
    """`plate_color` and `vehicle_class`, where the vendor's words say them."""
    found: dict[str, str] = {}
    if color := _COLORS.get(plate_color.lower()):
        found["plate_color"] = color
    words = category.lower()
    if kind := next((kind for word, kind in _CLASSES if word in words), None):
        found["vehicle_class"] = kind
    return found


# --- values -----------------------------------------------------------------------------------------------


def plate(raw: str) -> Credential | None:
    """A plate as gated compares it, None where the camera saw none."""
    if raw.strip().lower() in NO_PLATE:
        return None
    try:
        return credential(CredentialKind.PLATE, raw)
    except ValueError:
        return None


def confidence(value: str) -> float | None:
    """The vendor counts to 255; 0 is "not measured"."""
    if not (value.isascii() and value.isdigit() and len(value) < 4):
        return None
    return int(value) / 255 if 0 < int(value) <= 255 else None


def local(value: str, zone: tzinfo) -> datetime | None:
    """`2026-11-21 16:00:00.123` of the camera's own zone as UTC; None for nonsense and an unset clock."""
    try:
        told = datetime.fromisoformat(value.strip())
        if not 2010 <= told.year < 2100:
            return None
        return (told if told.tzinfo else told.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(fields: Mapping[str, str], received_at: datetime, how: Reading) -> datetime | None:
    """When it happened. `RealUTC` is what its name says. `UTC` is local time on some firmware, counted as if
    it were UTC: which it is shows beside `LocaleTime`, or because nothing can come from hours ahead."""
    milliseconds = min(_int(fields.get("UTCMS", "")) or 0, 999)
    real = _int(fields.get("RealUTC", ""))
    told = _int(fields.get("UTC", "")) or _int(fields.get("TrafficCar.UTC", ""))
    seconds = real or told
    if seconds is None or not _FIRST_SENSIBLE <= seconds < _LAST_SENSIBLE:
        return local(fields.get("LocaleTime", ""), how.zone)
    found = EPOCH + timedelta(seconds=seconds, milliseconds=milliseconds)
    if real:
        return found
    as_local = found.replace(tzinfo=how.zone)
    offset = as_local.utcoffset() or timedelta()
    if clock := local(fields.get("LocaleTime", ""), UTC):
        counted_locally = abs(clock - found) < _JITTER
    else:
        counted_locally = offset > timedelta() and abs(found - received_at - how.ahead - offset) < _JITTER
    return found - offset if counted_locally else found


def _plate_of(fields: Mapping[str, str]) -> str:
    names = ("TrafficCar.PlateNumber", "Object.Text", "NonMotor.Plate.Text", "PlateNumber")
    raw = next((fields[name] for name in names if fields.get(name)), "")
    return "".join(c for c in raw[:64] if c.isprintable()).strip()


def _key(fields: Mapping[str, str], raw: str) -> str | None:
    """The camera's number of the event. It begins anew when the camera is started, so its second is in the
    key, too."""
    utc = fields.get("UTC", "")[:20]
    for name in ("GroupID", "TrafficCar.GroupID", "EventID", "EventSeq", "TrafficCar.RecNo"):
        number = fields.get(name, "")[:20]
        if number not in ("", "0"):
            return f"{number}:{utc}" if utc else number
    if not utc:
        return None
    return f"{utc}.{fields.get('UTCMS', '')[:6]}:{fields.get('Lane', '')[:6]}:{raw}"


def _scene_key(told: Told) -> str | None:
    utc = told.fields.get("UTC", "")[:20]
    number = next((told.fields[name] for name in ("EventID", "EventSeq") if told.fields.get(name)), "")[:20]
    return f"{told.code}:{told.number}:{told.action}:{number}:{utc}" if utc or number else None


def _int(value: str) -> int | None:
    whole = value.split(".", 1)[0]
    return int(whole) if whole.isascii() and whole.isdigit() and len(whole) < 16 else None
