"""What the JSON of GA/T 1400 means, both ways: vehicles, registrations, statuses. Pure.

Shapes: GA/T 1400.3 (objects) and 1400.4 (interfaces), as far as public programs show them; senders write
numbers as texts and texts as numbers, and one object where a list belongs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson

from gated.domain import Credential, CredentialKind, Direction
from gated.plates import credential
from gated.ports import SentPassage

CONTENT_TYPE = "application/VIID+JSON"
OK, INVALID_OPERATION, BAD_CONTENT = 0, 4, 8
NEVER = frozenset({5, 6, 7, 8})
"""Statuses by which a platform says that it will not take an object as it is."""
_TEXTS = {
    0: "OK",
    2: "Device Busy",
    4: "Invalid Operation",
    7: "Invalid JSON Format",
    8: "Invalid JSON Content",
}
_NO_PLATE = frozenset(
    {"", "-", "--", "无", "无牌", "无车牌", "未识别", "车牌", "未知", "unknown", "unlicensed"}
)
_COLORS = {"1": "black", "2": "white", "5": "blue", "6": "yellow", "9": "green"}  # ColorType
_BY_COLOR = {**{name: code for code, name in _COLORS.items()}, "yellow_green": "9"}
_OTHER_COLOR = "99"
_CLASSES = {"01": "truck", "02": "car", "51": "truck", "52": "car", "07": "motorcycle", "08": "motorcycle"}
MOST_OBJECTS = 200
_TIME = "%Y%m%d%H%M%S"


class Malformed(ValueError):
    """It is not what the standard says. The message holds nothing of a person."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle that was seen. `key`: the same for a resend; `device`: the sender's number of the camera or
    tollgate; `at`: UTC; `direction`: the sender's word for it."""

    id: str
    key: str
    device: str
    credential: Credential | None
    raw: str
    at: datetime | None
    confidence: float | None
    direction: str
    details: Mapping[str, str] = field(default_factory=dict)


def load(body: bytes) -> dict[str, Any]:
    """The object that a body is. Raises Malformed."""
    try:
        content = orjson.loads(body)
    except ValueError:
        raise Malformed("it is not JSON") from None
    if not isinstance(content, dict):
        raise Malformed("it is not a JSON object")
    return content


def number_of(content: Mapping[str, Any], name: str) -> str:
    """The DeviceID of a RegisterObject, KeepaliveObject or UnRegisterObject; empty if there is none."""
    inside = content.get(name)
    return _text(inside.get("DeviceID")) if isinstance(inside, dict) else ""


def objects(content: Mapping[str, Any], kind: str = "MotorVehicle") -> list[Mapping[str, Any]]:
    """The objects of a list. Raises Malformed, also if there are too many."""
    outer = content.get(f"{kind}ListObject", content)
    found = outer.get(f"{kind}Object") if isinstance(outer, dict) else None
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed(f"there is no {kind}ListObject")
    if len(found) > MOST_OBJECTS:
        raise Malformed(f"more than {MOST_OBJECTS} objects at once")
    return found


def vehicle(given: Mapping[str, Any], zone: tzinfo) -> Vehicle:
    """A MotorVehicleObject. `zone`: of its times. Raises Malformed."""
    id_ = _text(given.get("MotorVehicleID"))
    raw = _text(given.get("PlateNo"))
    said = _text(given.get("PassTime")) or _text(given.get("AppearTime")) or _text(given.get("MarkTime"))
    if not id_ and not raw:
        raise Malformed("a vehicle without MotorVehicleID and PlateNo")
    details = {
        "plate_color": _COLORS.get(_text(given.get("PlateColor")), ""),
        "vehicle_class": _CLASSES.get(_text(given.get("PlateClass")).zfill(2), ""),
        "lane_no": _text(given.get("LaneNo")),
    }
    return Vehicle(
        id=id_,
        # some give every vehicle of a camera the same id
        key=f"{id_} {said} {raw}"[:200],
        device=_text(given.get("TollgateID")) or _text(given.get("DeviceID")),
        credential=_plate(given, raw),
        raw=raw[:64],
        at=_moment(said, zone),
        confidence=_share(_text(given.get("PlateReliability"))),
        direction=_text(given.get("Direction")),
        details={name: value[:64] for name, value in details.items() if value},
    )


def _plate(given: Mapping[str, Any], raw: str) -> Credential | None:
    has = _text(given.get("HasPlate")).lower()
    if has in ("0", "false", "no") or raw.strip().lower() in _NO_PLATE:
        return None
    try:
        return credential(CredentialKind.PLATE, raw)
    except ValueError:
        return None


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """`YYYYMMDDhhmmss`, with milliseconds behind it on some."""
    digits = text.strip()
    if len(digits) < 14 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        moment = datetime.strptime(digits[:14], _TIME).replace(tzinfo=zone)
        if len(digits) == 17:
            moment += timedelta(milliseconds=int(digits[14:]))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _share(text: str) -> float | None:
    """0 to 100 as 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number / 100 if 0 < number <= 100 else None


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "1", False: "0"}.get(value, "") if isinstance(value, bool) else ""
    return str(value).strip() if isinstance(value, (str, int, float)) else ""


# --- statuses ---------------------------------------------------------------------------------------------


def status(url: str, code: int, id_: str, now: datetime) -> dict[str, object]:
    """One ResponseStatusObject. `now`: local."""
    return {
        "RequestURL": url, "StatusCode": code, "StatusString": _TEXTS.get(code, "OtherError"), "Id": id_,
        "LocalTime": now.strftime(_TIME),
    }  # fmt: skip


def one_status(said: Mapping[str, object]) -> bytes:
    """The answer to what is no list."""
    return orjson.dumps({"ResponseStatusObject": said})


def statuses(said: Sequence[Mapping[str, object]]) -> bytes:
    """The answer to a list: one status an object, in its order."""
    return orjson.dumps({"ResponseStatusListObject": {"ResponseStatusObject": list(said)}})


def system_time(server: str, now: datetime, zone: str) -> bytes:
    """The answer to `System/Time`. `now`: local."""
    told = {"VIIDServerID": server, "TimeMode": "1", "LocalTime": now.strftime(_TIME), "TimeZone": zone}
    return orjson.dumps({"SystemTimeObject": told})


def verdicts(body: bytes) -> list[tuple[str, int, str]]:
    """What a platform answers: id, status code and words, of each object; one without an id is about all.
    Raises Malformed."""
    content = load(body)
    outer = content.get("ResponseStatusListObject", content)
    found = outer.get("ResponseStatusObject") if isinstance(outer, dict) else None
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not found:
        raise Malformed("its answer has no status")
    told = []
    for one in found:
        code = _text(one.get("StatusCode")) if isinstance(one, dict) else ""
        if not code.isascii() or not code.isdigit() or len(code) > 6:
            raise Malformed("a status without a code")
        words = _text(one.get("StatusString"))[:80]
        told.append((_text(one.get("Id")), int(code), words or f"status {code}"))
    return told


# --- what is sent -----------------------------------------------------------------------------------------


def registration(number: str, name: str = "Register") -> bytes:
    """The body of Register, UnRegister and Keepalive."""
    return orjson.dumps({f"{name}Object": {"DeviceID": number}})


def vehicle_id(passage: SentPassage, zone: tzinfo) -> str:
    """Its 48 digits: device, 02 (picture), time, five digits, 02 (motor vehicle), five digits. The same for a
    passage at every time, so that a platform can tell a resend."""
    drawn = int.from_bytes(hashlib.sha256(passage.id.encode()).digest()[:8], "big") % 10**10
    serial = f"{drawn:010d}"
    return f"{passage.lane}02{passage.at.astimezone(zone).strftime(_TIME)}{serial[:5]}02{serial[5:]}"


def sent(passages: Sequence[SentPassage], zone: tzinfo) -> bytes:
    """The MotorVehicleListObject of passages: the plate, when, where, which way. No picture, no person."""
    return orjson.dumps(
        {"MotorVehicleListObject": {"MotorVehicleObject": [_object(one, zone) for one in passages]}}
    )


def _object(passage: SentPassage, zone: tzinfo) -> dict[str, object]:
    id_ = vehicle_id(passage, zone)
    return {
        "MotorVehicleID": id_,
        "InfoKind": 1,  # collected by itself
        "SourceID": id_[:41],
        "TollgateID": passage.lane,
        "DeviceID": passage.lane,
        "LaneNo": 1 if passage.direction is Direction.IN else 2,
        "HasPlate": "1",
        "PlateClass": "52" if len(passage.plate) == 8 else "02",  # small vehicle, of new energy or not
        "PlateColor": _BY_COLOR.get(passage.color, _OTHER_COLOR),
        "PlateNo": passage.plate,
        "PassTime": passage.at.astimezone(zone).strftime(_TIME),
    }
