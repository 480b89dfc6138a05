"""What the JSON of GA/T 1400 means, both ways: vehicles, registrations, statuses. Pure.

Shapes: GA/T 1400.3 (objects) and 1400.4 (interfaces), as far as public programs show them; senders write
numbers as texts and texts as numbers, and one object where a list belongs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

import orjson

from gated.domain import Credential, CredentialKind
from gated.plates import PROVINCES, credential
from gated.ports import SentPassage

CONTENT_TYPE = "application/VIID+JSON"
OK, OTHER, BUSY, INVALID_OPERATION, BAD_CONTENT, REBOOT = 0, 1, 2, 4, 8, 9  # ConfirmStatusType
NEVER = frozenset({5, 6, 7, 8})
"""Statuses by which a platform says that it will not take an object as it is."""
LATER = frozenset({BUSY, REBOOT})
"""Statuses by which it says that it may take it another time. The others may mean the one or the other."""
_TOLD_BEFORE = re.compile(r"重复|已存在|已经存在|already exist|duplicat", re.IGNORECASE)
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
_SPECIAL_CLASSES = {"使": "03", "领": "04", "挂": "15", "学": "16", "警": "23", "港": "26", "澳": "27"}
MOST_OBJECTS = 200
MOST_ANSWERED = 2000  # each has a status of its own in the answer
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


def objects(content: Mapping[str, Any], kind: str = "MotorVehicle") -> list[object]:
    """The objects of a list, whatever each of them is. Raises Malformed."""
    outer = content.get(f"{kind}ListObject", content)
    found = outer.get(f"{kind}Object") if isinstance(outer, dict) else None
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise Malformed(f"there is no {kind}ListObject")
    return found


def id_of(given: object) -> str:
    """The MotorVehicleID of whatever was given, for its status; empty if it has none."""
    return _clean(given.get("MotorVehicleID")) if isinstance(given, dict) else ""


def vehicle(given: object, zone: tzinfo) -> Vehicle:
    """A MotorVehicleObject. `zone`: of its times. Raises Malformed."""
    if not isinstance(given, dict):
        raise Malformed("a vehicle that is no object")
    id_, raw = id_of(given), _clean(given.get("PlateNo"))
    said = _clean(given.get("PassTime")) or _clean(given.get("AppearTime")) or _clean(given.get("MarkTime"))
    if not id_ and not raw:
        raise Malformed("a vehicle without MotorVehicleID and PlateNo")
    details = {
        "plate_color": _COLORS.get(_text(given.get("PlateColor")), ""),
        "vehicle_class": _CLASSES.get(_text(given.get("PlateClass")).zfill(2), ""),
        "lane_no": _clean(given.get("LaneNo")),
    }
    return Vehicle(
        id=id_,
        # some give every vehicle of a camera the same id
        key=f"{id_} {said} {raw}",
        device=_clean(given.get("TollgateID")) or _clean(given.get("DeviceID")),
        credential=_plate(given, raw),
        raw=raw,
        at=_moment(said, zone),
        confidence=_share(_text(given.get("PlateReliability"))),
        direction=_clean(given.get("Direction")),
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
    """0 to 100 as 0 to 1; some give a share, with its point."""
    try:
        number = float(text)
    except ValueError:
        return None
    if "." in text and 0 < number <= 1:
        return number
    return number / 100 if 0 < number <= 100 else None


def _clean(value: object) -> str:
    """What goes on record: printable, and no longer than anything of the kind."""
    return "".join(each for each in _text(value)[:64] if each.isprintable())


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


class Verdict(NamedTuple):
    """What became of one object: a status code and the platform's words."""

    code: int
    words: str

    @property
    def taken(self) -> bool:
        """It has it, if only from the time before."""
        return self.code == OK or (self.code not in LATER and bool(_TOLD_BEFORE.search(self.words)))


def judged(said: Sequence[tuple[str, int, str]], ids: Sequence[str]) -> dict[str, Verdict]:
    """Which status is about which of the objects that were sent: by its id; in their order, if there are as
    many and none has an id of ours; one alone about all, if it is good or says "later". Of what it does not
    tell, nothing is known."""
    ours = {id_: Verdict(code, words) for id_, code, words in said if id_ in ids}
    if ours:
        return ours
    if len(said) == len(ids):
        return {id_: Verdict(code, words) for id_, (_, code, words) in zip(ids, said, strict=True)}
    if len(said) == 1 and (said[0][1] == OK or said[0][1] in LATER):
        return dict.fromkeys(ids, Verdict(*said[0][1:]))
    return {}


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
    """The MotorVehicleListObject of passages: the plate, when, where. No picture, no person; which way a lane
    leads is written in the platform's own Lane object."""
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
        # the standard demands these of what is collected by itself; there is no picture
        "StorageUrl1": "",
        "LeftTopX": 0,
        "LeftTopY": 0,
        "RightBtmX": 0,
        "RightBtmY": 0,
        "HasPlate": "1",
        "PlateClass": _plate_class(passage.plate, passage.color),
        "PlateColor": _BY_COLOR.get(passage.color, _OTHER_COLOR),
        "PlateNo": passage.plate,
        "VehicleColor": _OTHER_COLOR,
        "PassTime": passage.at.astimezone(zone).strftime(_TIME),
    }


def _plate_class(plate: str, color: str) -> str:
    """GA 24.7, as far as the plate itself tells it; 99 is another kind."""
    if plate[:1] not in PROVINCES:
        return "99"
    if special := _SPECIAL_CLASSES.get(plate[-1]):
        return special
    if len(plate) == 8:  # of new energy: the letter of a large vehicle's stands at the end
        return "51" if color == "yellow_green" or plate[-1].isalpha() else "52"
    return "01" if color == "yellow" else "02"
