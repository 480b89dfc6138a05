"""ISAPI: what alerts and answers of the camera mean, and what it is sent.

Pure: no I/O, no clock. The facts are those of `docs/devices/hikvision.md`; four XML namespaces are in use,
so none is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson
from lxml import etree

from adapters import _xml
from adapters._xml import Malformed, text
from gated.domain import (
    BarrierPosition,
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
from gated.ports import AllowEntry, Opened

NO_PLATE = frozenset({"", "unknown", "noplate", "no plate", "无车牌", "无牌车", "无牌", "unlicensed", "-"})
_COLORS = {
    "blue": "blue", "yellow": "yellow", "white": "white", "black": "black", "green": "green",
    "newenergygreen": "green", "newenergyyellowgreen": "yellow_green", "yellowgreen": "yellow_green",
}  # fmt: skip
_CLASSES = {
    "suvmpv": "car", "vehicle": "car", "car": "car", "salooncar": "car", "smallcar": "car", "suv": "car",
    "mpv": "car", "van": "van", "buggy": "van", "minibus": "van", "truck": "truck", "largetruck": "truck",
    "lighttruck": "truck", "pickuptruck": "truck", "pickup": "truck", "bus": "bus", "largebus": "bus",
    "mediumbus": "bus", "twowheelvehicle": "motorcycle", "threewheelvehicle": "tricycle",
    "motorcycle": "motorcycle",
}  # fmt: skip
_WHAT = {
    "vmd": "motion", "motion": "motion", "linedetection": "crossed", "fielddetection": "inside",
    "regionentrance": "inside", "regionexiting": "left", "shelteralarm": "tamper",
    "tamperdetection": "tamper",
    "scenechangedetection": "scene_change", "videoloss": "video_loss", "parking": "vehicle_stays",
    "diskerror": "disk_error", "diskfull": "disk_full",
}  # fmt: skip
_STATUS = {
    2: "busy", 3: "a fault of the device", 4: "not supported", 5: "it does not understand our XML (format)",
    6: "it does not understand our XML (content)", 7: "it must be restarted first",
}  # fmt: skip
_POSITIONS = {"1": BarrierPosition.CLOSED, "2": BarrierPosition.OPEN}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a camera is read. `zone`: of times without an offset. `directions`: what "forward" and "reverse"
    mean at its lane."""

    zone: tzinfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    directions: Mapping[str, Direction] = field(default_factory=dict)


class Alert(NamedTuple):
    """One alert. `mac`: of the camera. `unparsed`: why nothing was made of it."""

    kind: str
    event: DeviceEvent | None
    mac: str = ""
    unparsed: str | None = None


class Status(NamedTuple):
    """A ResponseStatus. `code` 1 is OK; 0 where the answer is none."""

    code: int
    why: str

    @property
    def unsupported(self) -> bool:
        """This firmware has no such route: it certainly did nothing."""
        return self.code == 4


# --- events -----------------------------------------------------------------------------------------------


def alert(data: bytes, device: str, received_at: datetime, how: Reading) -> Alert:
    """One EventNotificationAlert. Raises Malformed."""
    root = _xml.parse(data)
    if _xml.name(root) != "EventNotificationAlert":
        raise Malformed(f"{_xml.name(root)[:64]!r} is no alert")
    told = _xml.texts(root)
    kind = told.get("eventType", "")
    active = told.get("eventState", "").lower() != "inactive"
    mac = told.get("macAddress", "").lower()
    time = instant(told.get("dateTime", ""), how.zone)
    lower = kind.lower()
    if lower == "videoloss" and not active:  # what the stream sends while there is nothing to tell
        return Alert(kind, Heartbeat(device=device, received_at=received_at, device_time=time), mac)
    if lower == "anpr" or "ANPR" in told:
        return Alert(kind, _read(root, told, device, received_at, time, how), mac)
    channel = _channel(told)
    if lower == "io":
        port = told.get("inputIOPortID") or told.get("IOPortID")
        if not port:
            return Alert(kind, None, mac, "an input without its number")
        changed = InputChanged(
            device=device, received_at=received_at, device_time=time, input=port, active=active
        )
        return Alert(kind, changed, mac)
    if not lower:
        raise Malformed("an alert without eventType")
    known = _WHAT.get(lower)
    seen = Observed(
        device=device,
        received_at=received_at,
        device_time=time,
        what=known or f"hikvision_{''.join(c for c in lower if c.isalnum() and c.isascii())[:40]}",
        active=active,
        details=_scene(root, channel),
    )
    return Alert(kind, seen, mac)


def _scene(root: etree._Element, channel: str | None) -> dict[str, str]:
    found = {"channel": channel} if channel else {}
    for region in _xml.every(root, "DetectionRegionEntry")[:1]:
        for key, name in (("regionID", "region"), ("detectionTarget", "target")):
            if value := text(region, key, limit=32):
                found[name] = value
    return found


def _read(
    root: etree._Element,
    told: Mapping[str, str],
    device: str,
    received_at: datetime,
    time: datetime | None,
    how: Reading,
) -> Read:
    found = _xml.child(root, "ANPR")
    if found is None:
        raise Malformed("an ANPR alert without ANPR")
    anpr = _xml.texts(found)
    raw = (anpr.get("licensePlate") or anpr.get("originalLicensePlate") or "")[:64]
    channel = _channel(told)
    unique = told.get("UUID", "")[:64]
    key = unique or (f"{channel}:{told.get('dateTime', '')}:{raw}" if time is not None else None)
    retransmitted = told.get("isDataRetransmission", "").lower() == "true"
    backlog = retransmitted or anpr.get("alarmDataType", "") not in ("", "0")
    move = anpr.get("direction", "").lower()
    details = _vehicle(anpr, move)
    listed = (told.get("vehicleListName") or anpr.get("vehicleListName") or "").lower()
    if listed:
        details["list"] = listed
        if backlog and listed in ("allowlist", "whitelist"):
            details["opened_by"] = "own_list"  # it let it in by itself, while we were away
    return Read(
        device=device,
        received_at=received_at,
        device_time=time,
        key=key,
        credential=plate(raw),
        raw=raw,
        confidence=_confidence(anpr.get("confidenceLevel", "")),
        backlog=backlog,
        channel=channel,
        direction=how.directions.get(move),
        details=details,
    )


def _vehicle(anpr: Mapping[str, str], move: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if color := _COLORS.get(anpr.get("plateColor", "").lower()):
        found["plate_color"] = color
    if kind := _CLASSES.get(anpr.get("vehicleType", "").lower()):
        found["vehicle_class"] = kind
    if move and move != "unknown":
        found["moves"] = move[:32]
    for tag, name in (("line", "line"), ("plateType", "plate_type"), ("country", "country")):
        value = anpr.get(tag, "")[:32]
        if value and value != "unknown":
            found[name] = value
    if (control := anpr.get("barrierGateCtrlType", "")[:8]) != "":
        found["barrier_control"] = control
    return found


def plates(data: bytes, device: str, received_at: datetime, how: Reading) -> list[Read]:
    """The plates of a poll (`vehicleDetect/plates`), oldest first. Raises Malformed."""
    root = _xml.parse(data)
    if _xml.name(root) != "Plates":
        raise Malformed(f"{_xml.name(root)[:64]!r} is no list of plates")
    found = []
    for one in _xml.every(root, "Plate"):
        raw, name = text(one, "plateNumber", limit=64), text(one, "picName", limit=64)
        move = text(one, "direction").lower()
        found.append(
            Read(
                device=device,
                received_at=received_at,
                device_time=instant(text(one, "captureTime"), how.zone),
                key=f"pic:{name}" if name else None,
                credential=plate(raw),
                raw=raw,
                channel=None,
                direction=how.directions.get(move),
                details={"moves": move} if move and move != "unknown" else {},
            )
        )
    return sorted(found, key=lambda read: read.key or "")


def plate(raw: str) -> Credential | None:
    """A plate as gated compares it, None where the camera saw none."""
    if raw.lower() in NO_PLATE:
        return None
    try:
        return credential(CredentialKind.PLATE, raw)
    except ValueError:
        return None


def instant(value: str, zone: tzinfo) -> datetime | None:
    """A time of the camera: ISO 8601, or `20261121T1010100000` as polls have it. None for nonsense and for a
    clock that was never set."""
    compact = value.replace("-", "").replace(":", "")
    if len(compact) >= 15 and compact[:8].isdigit() and compact[8] == "T" and value[4:5] != "-":
        value = (
            f"{compact[:4]}-{compact[4:6]}-{compact[6:8]}T{compact[9:11]}:{compact[11:13]}:{compact[13:15]}"
        )
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not 2010 <= moment.year < 2100:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _channel(told: Mapping[str, str]) -> str | None:
    return told.get("channelID") or told.get("dynChannelID") or None


def _confidence(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number / 100 if 0 < number <= 100 else None


# --- answers ----------------------------------------------------------------------------------------------


def status(http_status: int, body: bytes) -> Status:
    """What an answer to a command says; never raises. An HTTP 200 may hold an error."""
    code, words = 0, ""
    try:
        if body.lstrip()[:1] == b"{":
            content = orjson.loads(body)
            code = int(content.get("statusCode", 0))
            words = str(content.get("subStatusCode") or content.get("statusString") or "")
        else:
            root = _xml.parse(body)
            code = int(text(root, "statusCode") or 0)
            words = text(root, "subStatusCode") or text(root, "statusString")
            if _xml.name(root) != "ResponseStatus":
                code = 0
    except (Malformed, ValueError, TypeError, AttributeError, orjson.JSONDecodeError):
        pass
    if code == 0 and http_status in (404, 405, 501):
        return Status(4, "no such route")
    words = "".join(c for c in words[:80] if c.isprintable())
    if words.lower() == "notsupport":
        return Status(4, words)
    if code == 1 and http_status < 300:
        return Status(1, "")
    if code in (0, 1):  # a yes inside an error is neither
        return Status(0, f"an answer that is none (HTTP {http_status})")
    return Status(
        code, f"{_STATUS.get(code, f'status {code}')} ({words})" if words else _STATUS.get(code, "")
    )


def opened(answer: Status) -> Opened:
    """What an answer to an opening means. OK is not "open": a locked barrier says OK, too."""
    if answer.code == 1:
        return Opened(OpeningOutcome.ACCEPTED)
    if answer.code == 0:
        return Opened(OpeningOutcome.UNCERTAIN, answer.why)
    return Opened(OpeningOutcome.REJECTED, answer.why)


def position(body: bytes) -> BarrierPosition:
    """`barrierGateStatus`: 0 no signal, 1 closed, 2 open; UNKNOWN for anything else."""
    try:
        root = _xml.parse(body)
    except Malformed:
        return BarrierPosition.UNKNOWN
    found = _xml.every(root, "barrierGateStatus")
    value = (found[-1].text or "").strip() if found else ""
    return _POSITIONS.get(value, BarrierPosition.UNKNOWN)


# --- opening ----------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """A way to open, which firmware has or has not. `release`: what ends the pulse, where the host has to."""

    name: str
    target: str
    body: bytes
    release: bytes | None = None


def routes(channel: int, gate: int) -> tuple[Route, ...]:
    """All ways to open a barrier, newest firmware first. `gate`: number of the barrier or alarm output."""
    return (
        Route(
            "barrierGate",
            f"/ISAPI/Parking/channels/{channel}/barrierGate",
            b"<BarrierGate><ctrlMode>open</ctrlMode></BarrierGate>",
        ),
        Route(
            "barrierGateCtrl",
            "/ISAPI/ITC/Entrance/barrierGateCtrl",
            # barriet: so the vendor spells it
            b'<BarrierGateCtrl version="2.0" xmlns="http://www.isapi.org/ver20/XMLSchema">'
            b"<barrietGateNum>%d</barrietGateNum><BarrierGateCtrlList><barrietGateOper>on</barrietGateOper>"
            b"</BarrierGateCtrlList></BarrierGateCtrl>" % gate,
        ),
        Route(
            "output",
            f"/ISAPI/System/IO/outputs/{gate}/trigger",
            b"<IOPortData><outputState>high</outputState></IOPortData>",
            b"<IOPortData><outputState>low</outputState></IOPortData>",
        ),
    )


# --- the camera's own list --------------------------------------------------------------------------------

LIST_BATCH = 50
PAGE = 400


def list_put(entries: list[AllowEntry], now: datetime, zone: tzinfo, list_type: str) -> bytes:
    """Adds entries to the allow-list, or replaces those of the same plate. `list_type`: "allowList", or
    "whiteList" on older firmware."""

    def local(moment: datetime) -> str:
        return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")

    return orjson.dumps(
        {
            "LicensePlateInfoList": [
                {
                    "LicensePlate": entry.value,
                    "listType": list_type,
                    "operationType": "add",
                    "createTime": local(now),
                    "effectiveStartDate": local(entry.valid_from),
                    # the camera's end is inclusive, a pass's is not
                    "effectiveTime": local(entry.valid_until - timedelta(seconds=1)),
                }
                for entry in entries
            ]
        }
    )


def list_search(position: int, most: int, search: str) -> bytes:
    """Asks for a page of the list."""
    return (
        f"<LPListAuditSearchDescription><searchID>{search}</searchID><maxResults>{most}</maxResults>"
        f"<searchResultPosition>{position}</searchResultPosition></LPListAuditSearchDescription>"
    ).encode()


class Listed(NamedTuple):
    """A page of the camera's list: plates with the camera's own ids, and how many there are in all."""

    ids: dict[str, str]
    rows: int
    total: int


def listed(body: bytes) -> Listed:
    """One page. Raises Malformed: an error is never taken for an empty list."""
    root = _xml.parse(body)
    if _xml.name(root) != "LPListAuditSearchResult":
        raise Malformed(f"{_xml.name(root)[:64]!r} is no list")
    total = text(root, "totalMatches") or text(root, "numOfMatches")
    if not total.isdigit():
        raise Malformed("a list that does not say how long it is")
    rows = _xml.every(root, "LicensePlateInfo")
    ids = {}
    for row in rows:
        value, number = text(row, "LicensePlate", limit=64), text(row, "id", limit=32)
        allowed = text(row, "type").lower() or text(row, "listType").lower()
        if value and number and allowed in ("", "whitelist", "allowlist"):
            ids[value] = number
    return Listed(ids, len(rows), int(total))


def list_drop(ids: list[str]) -> bytes:
    """Deletes by the camera's own ids, which must be texts: a number is answered OK, and deletes nothing."""
    return orjson.dumps({"id": ids})
