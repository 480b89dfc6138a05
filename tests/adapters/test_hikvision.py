"""`adapters.hikvision.codec` in tables, fuzzed; the camera's own list against the double."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters._xml import Malformed
from adapters.hikvision import Config, codec, create
from gated.domain import (
    BarrierPosition,
    CredentialKind,
    Direction,
    Heartbeat,
    InputChanged,
    Observed,
    OpeningOutcome,
    Read,
)
from gated.ports import (
    AllowEntry,
    AllowList,
    BadPush,
    DeviceUnavailable,
    Handled,
    NotRecorded,
    Push,
    Receiver,
)
from tests.adapters.contract import CLOCK, Session, context
from tests.adapters.rig import push
from tests.adapters.test_hikvision_contract import HikvisionBench

HOW = codec.Reading(directions={"forward": Direction.IN, "reverse": Direction.OUT})
BEIJING = ZoneInfo("Asia/Shanghai")


def alert(inside: str, root: str = "EventNotificationAlert", namespace: str = "") -> bytes:
    return f"<{root}{namespace}><dateTime>2026-11-21T16:00:00+08:00</dateTime>{inside}</{root}>".encode()


def anpr(inside: str = "<licensePlate>津A12345</licensePlate>", more: str = "") -> bytes:
    return alert(f"<channelID>1</channelID><eventType>ANPR</eventType>{more}<ANPR>{inside}</ANPR>")


def read(body: bytes) -> Read:
    event = codec.alert(body, "cam", CLOCK, HOW).event
    assert isinstance(event, Read)
    return event


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        (anpr(), "raw", "津A12345"),
        (anpr(), "channel", "1"),
        (anpr(), "device_time", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        (anpr(), "key", "1:2026-11-21T16:00:00+08:00:津A12345"),
        (anpr(more="<UUID>a-b</UUID>"), "key", "a-b"),
        (anpr(), "backlog", False),
        (anpr(more="<isDataRetransmission>true</isDataRetransmission>"), "backlog", True),
        (anpr("<licensePlate>津A12345</licensePlate><alarmDataType>1</alarmDataType>"), "backlog", True),
        (anpr("<licensePlate>津A12345</licensePlate><alarmDataType>0</alarmDataType>"), "backlog", False),
        (anpr("<licensePlate>unknown</licensePlate>"), "credential", None),
        (anpr("<licensePlate>无车牌</licensePlate>"), "credential", None),
        (anpr("<licensePlate/>"), "credential", None),
        (anpr("<confidenceLevel>87.5</confidenceLevel>"), "confidence", 0.875),
        (anpr("<confidenceLevel>0</confidenceLevel>"), "confidence", None),
        (anpr("<confidenceLevel>very</confidenceLevel>"), "confidence", None),
        (anpr("<direction>forward</direction>"), "direction", Direction.IN),
        (anpr("<direction>reverse</direction>"), "direction", Direction.OUT),
        (anpr("<direction>unknown</direction>"), "direction", None),
        (anpr("<plateColor>newEnergyGreen</plateColor>"), "details", {"plate_color": "green"}),
        (anpr("<vehicleType>largeTruck</vehicleType>"), "details", {"vehicle_class": "truck"}),
        (
            anpr(more="<vehicleListName>allowList</vehicleListName>"),
            "details",
            {"list": "allowlist"},
        ),
        (
            anpr(
                more="<isDataRetransmission>true</isDataRetransmission>"
                "<vehicleListName>whiteList</vehicleListName>"
            ),
            "details",
            {"list": "whitelist", "opened_by": "own_list"},
        ),
    ],
)
def test_reads(body: bytes, field: str, value: object) -> None:
    assert getattr(read(body), field) == value


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-21T16:00:00", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("2026-11-21T16:00:00.5+08:00", datetime(2026, 11, 21, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("20261121T1600000000", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("1970-01-01T00:00:00", None),
        ("0000-00-00T00:00:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(time: str, expected: datetime | None) -> None:
    assert codec.instant(time, BEIJING) == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<eventType>videoloss</eventType><eventState>inactive</eventState>", Heartbeat),
        ("<eventType>videoloss</eventType><eventState>active</eventState>", ("video_loss", True)),
        ("<eventType>VMD</eventType><eventState>active</eventState>", ("motion", True)),
        ("<eventType>linedetection</eventType><eventState>inactive</eventState>", ("crossed", False)),
        ("<eventType>shelteralarm</eventType>", ("tamper", True)),
        ("<eventType>some-New/Event</eventType>", ("hikvision_somenewevent", True)),
    ],
)
def test_other_alerts(inside: str, expected: object) -> None:
    event = codec.alert(alert(inside), "cam", CLOCK, HOW).event
    if isinstance(expected, tuple):
        assert isinstance(event, Observed)
        assert (event.what, event.active) == expected
    else:
        assert isinstance(event, Heartbeat)


def test_inputs() -> None:
    body = alert("<eventType>IO</eventType><eventState>active</eventState><inputIOPortID>2</inputIOPortID>")
    event = codec.alert(body, "cam", CLOCK, HOW).event
    assert isinstance(event, InputChanged)
    assert (event.input, event.active) == ("2", True)
    assert codec.alert(alert("<eventType>IO</eventType>"), "cam", CLOCK, HOW).unparsed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        alert(""),
        b'<!DOCTYPE a [<!ENTITY x "y">]>' + anpr(),
        b"<EventNotificationAlert>" + b"<a>" * 1000,
        b"<a>" + b"x" * 300_000 + b"</a>",
    ],
)
def test_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        codec.alert(body, "cam", CLOCK, HOW)


STATUS = (
    '<ResponseStatus xmlns="{ns}"><statusCode>{code}</statusCode><subStatusCode>{sub}</subStatusCode>'
    "</ResponseStatus>"
)


@pytest.mark.parametrize(
    ("http", "body", "code", "outcome"),
    [
        (200, STATUS.format(ns="http://www.isapi.org/ver20/XMLSchema", code=1, sub="ok"), 1, "accepted"),
        (200, STATUS.format(ns="http://www.std-cgi.com/ver10/XMLSchema", code=1, sub="ok"), 1, "accepted"),
        (200, '{"statusCode":1,"statusString":"OK"}', 1, "accepted"),
        (200, STATUS.format(ns="x", code=2, sub="deviceBusy"), 2, "rejected"),
        (200, STATUS.format(ns="x", code=3, sub="deviceError"), 3, "rejected"),
        (403, STATUS.format(ns="x", code=4, sub="notSupport"), 4, "rejected"),
        (200, STATUS.format(ns="x", code=6, sub="badXmlContent"), 6, "rejected"),
        (404, "", 4, "rejected"),
        (500, STATUS.format(ns="x", code=1, sub="ok"), 0, "uncertain"),
        (200, "<html>OK</html>", 0, "uncertain"),
        (200, "", 0, "uncertain"),
        (200, '{"statusCode":"x"}', 0, "uncertain"),
        (200, "[1]", 0, "uncertain"),
    ],
)
def test_statuses(http: int, body: str, code: int, outcome: str) -> None:
    found = codec.status(http, body.encode())
    assert found.code == code
    assert codec.opened(found).outcome is OpeningOutcome(outcome)
    assert codec.opened(found).detail or outcome == "accepted"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<BarrierGate><barrierGateStatus>2</barrierGateStatus></BarrierGate>", BarrierPosition.OPEN),
        ("<BarrierGate><barrierGateStatus>1</barrierGateStatus></BarrierGate>", BarrierPosition.CLOSED),
        ("<BarrierGate><barrierGateStatus>0</barrierGateStatus></BarrierGate>", BarrierPosition.UNKNOWN),
        ("<BarrierGate/>", BarrierPosition.UNKNOWN),
        ("garbage", BarrierPosition.UNKNOWN),
    ],
)
def test_positions(body: str, expected: BarrierPosition) -> None:
    assert codec.position(body.encode()) is expected


@given(st.binary(max_size=400))
def test_bytes_become_alerts_or_malformed(body: bytes) -> None:
    for parse in (codec.alert, codec.plates):
        with contextlib.suppress(Malformed):
            parse(body, "cam", CLOCK, HOW)
    codec.status(200, body)
    codec.position(body)


_TAGS = st.sampled_from(
    ["licensePlate", "confidenceLevel", "direction", "UUID", "dateTime", "channelID", "alarmDataType",
     "eventType", "plateColor", "vehicleType", "isDataRetransmission", "ANPR", "inputIOPortID", "captureTime",
     "Plate", "plateNumber", "picName"]
)  # fmt: skip
_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="<>&\x00"), max_size=80)


@given(st.lists(st.tuples(_TAGS, _TEXT, st.booleans()), max_size=12))
def test_any_values_become_alerts_or_malformed(values: list[tuple[str, str, bool]]) -> None:
    outside = "".join(f"<{tag}>{text}</{tag}>" for tag, text, inner in values if not inner)
    inside = "".join(f"<{tag}>{text}</{tag}>" for tag, text, inner in values if inner)
    for body, parse in (
        (f"<EventNotificationAlert>{outside}<ANPR>{inside}</ANPR></EventNotificationAlert>", codec.alert),
        (f"<Plates><Plate>{inside}</Plate>{outside}</Plates>", codec.plates),
    ):
        with contextlib.suppress(Malformed):
            parse(body.encode(), "cam", CLOCK, HOW)


# --- the camera's own list --------------------------------------------------------------------------------


def entry(value: str, days: int = 30) -> AllowEntry:
    return AllowEntry(CredentialKind.PLATE, value, CLOCK, CLOCK + timedelta(days=days))


async def test_list_is_put_read_and_dropped(tmp_path: Path) -> None:
    async with HikvisionBench(tmp_path) as bench, Session(bench, device := bench.device()):
        assert isinstance(device, AllowList)
        assert await device.held() == frozenset()
        plates = [f"津A{number:05d}" for number in range(900)]
        for start in range(0, len(plates), device.list_batch):
            assert await device.put([entry(plate) for plate in plates[start : start + 50]]) == ()
        assert await device.held() == frozenset(plates)  # three pages
        assert await device.drop([plates[0], "津B99999"]) == ()
        assert await device.held() == frozenset(plates[1:])
        assert bench.double.list[plates[1]][1:] == ("allowList", "2026-12-21T15:59:59")


async def test_a_plate_that_is_refused_does_not_keep_the_others_out(tmp_path: Path) -> None:
    async with HikvisionBench(tmp_path) as bench, Session(bench, device := bench.device()):
        assert isinstance(device, AllowList)
        entries = [entry("津A00001"), entry("far too long for a plate"), entry("津A00002")]
        assert list(await device.put(entries)) == ["far too long for a plate"]
        assert await device.held() == {"津A00001", "津A00002"}


async def test_a_list_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    async with HikvisionBench(tmp_path) as bench, Session(bench, device := bench.device()):
        assert isinstance(device, AllowList)
        await device.put([entry("津A00001")])
        await bench.error_inside()
        with pytest.raises(DeviceUnavailable):
            await device.held()
        with pytest.raises(DeviceUnavailable):
            await device.drop(["津A00001"])


# --- pushes -----------------------------------------------------------------------------------------------


async def test_a_push_is_answered_only_once_recorded(tmp_path: Path) -> None:
    async with HikvisionBench(tmp_path, "push") as bench:
        device = bench.device()
        assert isinstance(device, Receiver)

        async def full(_event: object) -> object:
            raise NotRecorded("disk full")

        with pytest.raises(NotRecorded):
            await device.receive(push(anpr(), "application/xml"), full)  # type: ignore[arg-type]


CONFIG = {
    "id": "c", "type": "hikvision", "host": "h", "password": {"env": "X"}, "events": "push",
    "token": {"env": "X"},
}  # fmt: skip


@given(st.binary(max_size=300), st.sampled_from(["multipart/form-data; boundary=b", "application/xml", ""]))
def test_pushed_bytes_are_answered_or_refused(body: bytes, kind: str) -> None:
    async def handle(_event: object) -> Handled:
        return Handled()

    async def one() -> None:
        device = create(Config.model_validate(CONFIG), context("c"))
        assert isinstance(device, Receiver)
        with contextlib.suppress(BadPush):
            await device.receive(Push("POST", "", {"content-type": kind}, body, CLOCK), handle)

    asyncio.run(one())
