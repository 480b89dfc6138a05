"""`adapters.dahua` in tables, fuzzed; times, the camera's own list, RPC2's login, and the configuration."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters._camera import HttpLink
from adapters.dahua import Config, cgi, codec, create, fields, itsapi, probe, rpc2
from adapters.dahua.fields import Malformed
from adapters.simulator._http import HttpServer, Request, Response
from gated.domain import CredentialKind, DeviceEvent, Direction, Heartbeat, InputChanged, Observed, Read
from gated.ports import (
    AllowEntry,
    AllowList,
    BadPush,
    Barrier,
    DeviceRefused,
    DeviceUnavailable,
    Handled,
    NotRecorded,
    Pulse,
    Push,
    Receiver,
    pushes,
)
from tests.adapters.contract import CLOCK, Session, context
from tests.adapters.rig import push
from tests.adapters.test_dahua_contract import DahuaBench

HOW = codec.Reading(directions={"approach": Direction.IN, "reverse": Direction.OUT})
BEIJING = ZoneInfo("Asia/Shanghai")
SECONDS = int(CLOCK.timestamp())


def events(body: str | bytes, how: codec.Reading = HOW) -> list[DeviceEvent]:
    found, _ = codec.part(body.encode() if isinstance(body, str) else body, "cam", CLOCK, how)
    return found


def snap(*rows: str, code: str = "TrafficJunction") -> str:
    return "\r\n".join(f"Events[0].{row}" for row in (f"EventBaseInfo.Code={code}", *rows))


def read(body: str | bytes, how: codec.Reading = HOW) -> Read:
    (event,) = events(body, how)
    assert isinstance(event, Read)
    return event


# --- reads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name", "value"),
    [
        (["TrafficCar.PlateNumber=津A12345"], "raw", "津A12345"),
        (["Object.Text=津A12345"], "raw", "津A12345"),
        (["TrafficCar.PlateNumber=--"], "credential", None),
        (["TrafficCar.PlateNumber=Unlicensed"], "credential", None),
        (["TrafficCar.PlateNumber=无牌车"], "credential", None),
        (["Object.Text=津A12345", "Object.Confidence=255"], "confidence", 1.0),
        (["Object.Text=津A12345", "Object.Confidence=0"], "confidence", None),
        (["Object.Text=津A12345", "Object.Confidence=999"], "confidence", None),
        (["TrafficCar.DrivingDirection[0]=Approach"], "direction", Direction.IN),
        (["TrafficCar.DrivingDirection[0]=Leave", "JunctionDirection=Reverse"], "direction", Direction.OUT),
        (["TrafficCar.DrivingDirection[0]=Unknown"], "direction", None),
        (["Lane=2"], "channel", "2"),
        (["GroupID=41", f"UTC={SECONDS}"], "key", f"41:{SECONDS}"),
        (["GroupID=0", "EventID=9"], "key", "9"),
        ([f"UTC={SECONDS}", "UTCMS=5", "Lane=1", "Object.Text=X"], "key", f"{SECONDS}.5:1:X"),
        ([], "key", None),
        (["OpenStrobeState=Auto"], "details", {"opened_by": "own_list"}),
        (["OpenStrobeState=Manual"], "details", {}),
        (["TrafficCar.PlateColor=ShadowGreen"], "details", {"plate_color": "green"}),
        (["TrafficCar.PlateColor=YellowGreen"], "details", {"plate_color": "yellow_green"}),
        (["Vehicle.Category=HeavyTruck"], "details", {"vehicle_class": "truck"}),
        (["Vehicle.Category=Motorcycle", "TriggerType=0"], "details",
         {"vehicle_class": "motorcycle", "trigger": "coil"}),
        (["CommInfo.SnapCategory=NonMotor", "NonMotor.Category=ManTricycle"], "details",
         {"vehicle_class": "tricycle", "category": "nonmotor"}),
    ],
)  # fmt: skip
def test_reads(rows: list[str], name: str, value: object) -> None:
    assert getattr(read(snap(*rows)), name) == value


def test_older_firmware_writes_gb18030() -> None:
    assert read(snap("Object.Text=津A12345").encode("gb18030")).raw == "津A12345"


def test_several_events_in_one_part() -> None:
    body = "Events[0].Code=TrafficJunction\nEvents[0].GroupID=1\nEvents[3].Code=VideoMotion\nEvents[4].Lane=1"
    found, why = codec.part(body.encode(), "cam", CLOCK, HOW)
    assert [type(event) for event in found] == [Read, Observed]
    assert why is not None
    attached = "Code=AlarmLocal;action=Start;index=2\r\nCode=VideoBlind;action=Stop;index=0;data={\n}\n"
    contact, dark = events(attached)
    assert isinstance(contact, InputChanged)
    assert isinstance(dark, Observed)
    assert (contact.input, contact.active, dark.what, dark.active) == ("2", True, "tamper", False)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("CrossLineDetection", "crossed"), ("CrossRegionDetection", "inside"), ("VideoMotion", "motion"),
        ("VideoBlind", "tamper"), ("SceneChange", "scene_change"), ("TrafficParking", "vehicle_stays"),
        ("FaceDetection", "dahua_facedetection"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("action", "active"), [("Start", True), ("Stop", False), ("Pulse", True)])
def test_other_events(code: str, what: str, action: str, active: bool) -> None:
    (event,) = events(f'Code={code};action={action};index=0;data={{"Object":{{"ObjectType":"Vehicle"}}}}')
    assert isinstance(event, Observed)
    assert (event.what, event.active) == (what, active)
    assert event.details == {"channel": "0", "target": "vehicle"}


def test_heartbeats() -> None:
    assert [type(event) for event in events("Heartbeat\r\n")] == [Heartbeat]


@pytest.mark.parametrize(
    "body",
    ["", "Error\r\nBad Request!", "hello", "Code=", "Code=X;action=Start;index=0;data={", b"\xff\xd8\xff",
     "Events[0].=1", "Code=X;data=" + "[" * 40 + "]" * 40],
)  # fmt: skip
def test_malformed(body: str | bytes) -> None:
    with pytest.raises(Malformed):
        events(body)


# --- times ------------------------------------------------------------------------------------------------

_HOUR = 3600


@pytest.mark.parametrize(
    ("rows", "ahead_s", "expected_s"),
    [
        ([f"UTC={SECONDS}", "UTCMS=250"], 0, 0.25),
        ([f"UTC={SECONDS - 90}"], 0, -90),
        # nothing comes from eight hours ahead: this is local time
        ([f"UTC={SECONDS + 8 * _HOUR}"], 0, 0),
        # unless its clock is eight hours ahead, which was measured
        ([f"UTC={SECONDS + 8 * _HOUR}"], 8 * _HOUR, 8 * _HOUR),
        ([f"UTC={SECONDS + 8 * _HOUR + 86_400}"], 86_400, 86_400),
        ([f"UTC={SECONDS - 8 * _HOUR}"], 0, -8 * _HOUR),
        ([f"UTC={SECONDS + 8 * _HOUR}", f"RealUTC={SECONDS - 3}"], 0, -3),
        ([f"UTC={SECONDS - 86_400 + 8 * _HOUR}", "LocaleTime=2026-11-20 16:00:00"], 0, -86_400),
        ([f"UTC={SECONDS}", "LocaleTime=2026-11-21 16:00:00"], 0, 0),
        (["LocaleTime=2026-11-21 16:00:00"], 0, 0),
        (["UTC=123"], 0, None),
        (["UTC=99999999999999"], 0, None),
        (["UTC=x", "LocaleTime=0000-00-00 00:00:00"], 0, None),
        (["LocaleTime=1970-01-01 00:00:00"], 0, None),
    ],
)  # fmt: skip
def test_times(rows: list[str], ahead_s: float, expected_s: float | None) -> None:
    time = read(snap(*rows), codec.Reading(ahead=timedelta(seconds=ahead_s))).device_time
    base = datetime.fromtimestamp(SECONDS, UTC)
    assert time == (None if expected_s is None else base + timedelta(seconds=expected_s))
    assert time is None or time.utcoffset() == timedelta()


async def test_a_camera_that_counts_local_time_as_utc(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {}, local_utc=True) as bench:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
        assert event.device_time is not None
        assert abs(event.device_time - datetime.now(UTC)) < timedelta(seconds=10)


# --- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"OK\r\n", "accepted"), (200, b"OK", "accepted"), (200, b"Error\r\nBad Request!", "rejected"),
        (400, b"Error\r\nBad Request!", "rejected"), (400, b"", "rejected"), (501, b"", "rejected"),
        (404, b"", "rejected"), (200, b"Error: Not Implemented", "rejected"), (200, b"", "uncertain"),
        (200, b"OKAY", "uncertain"), (500, b"OK", "uncertain"), (200, b"<html>", "uncertain"),
        (302, b"", "uncertain"),
    ],
)  # fmt: skip
def test_answers_to_an_opening(status: int, body: bytes, outcome: str) -> None:
    assert cgi.opened(status, body).outcome == outcome


def test_what_is_asked() -> None:
    assert cgi.open_strobe(1, "Normal", "津A 1&x=2") == (
        "/cgi-bin/trafficSnap.cgi?action=openStrobe&channel=1&info.openType=Normal"
        "&info.plateNumber=%E6%B4%A5A%201%26x%3D2"
    )
    assert cgi.snap_stream(["TrafficJunction", "TrafficGate"]) == (
        "/cgi-bin/snapManager.cgi?action=attachFileProc&Flags[0]=Event&Events=[TrafficJunction,TrafficGate]"
        "&heartbeat=5"
    )
    entry = AllowEntry(CredentialKind.PLATE, "津A12345", CLOCK, datetime(2026, 12, 31, 16, tzinfo=UTC))
    assert cgi.put(entry, "7", BEIJING) == (
        "/cgi-bin/recordUpdater.cgi?action=update&name=TrafficRedList&recno=7&PlateNumber=%E6%B4%A5A12345"
        "&MasterOfCar=gated&BeginTime=2026-11-21%2016%3A00%3A00&CancelTime=2026-12-31%2023%3A59%3A59"
        "&AuthorityList.OpenGate=true"
    )


def test_rpc2_answer_to_a_challenge() -> None:
    """Worked out by hand with `md5sum`: MD5(admin:1:MD5(admin:Login to X:p)), upper case both times."""
    assert rpc2.answer("admin", "p", "Login to X", "1") == "DDB98569DC0A432C71CBEECE6E8D125D"


# --- its own list -----------------------------------------------------------------------------------------


def entries(*values: str) -> list[AllowEntry]:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    return [AllowEntry(CredentialKind.PLATE, value, CLOCK, until) for value in values]


async def test_list_is_put_read_and_dropped(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {}) as bench:
        device = bench.device()
        assert isinstance(device, AllowList)
        async with Session(bench, device):
            assert await device.put(entries("津A00001", "津A00002", "津A00003123456")) == ["津A00003123456"]
            assert await device.put(entries("津A00001")) == []
            assert bench.double.list["1"] == ("津A00001", "2027-01-01 07:59:59")
            assert await device.held() == {"津A00001", "津A00002"}
            assert await device.drop(["津A00001", "津A99999"]) == []
            assert await device.held() == {"津A00002"}
            bench.double.error = True
            for call in (device.held, lambda: device.put(entries("津A00009")), lambda: device.drop(["津A1"])):
                with pytest.raises(DeviceUnavailable):
                    await call()


@pytest.mark.parametrize("paging", [True, False])
async def test_long_lists_are_read_whole(tmp_path: Path, paging: bool) -> None:
    async with DahuaBench(tmp_path, {}) as bench:
        bench.double.paging = paging
        bench.double.list = {str(n): (f"津A{n:05d}", "") for n in range(2500)}
        device = bench.device()
        assert isinstance(device, AllowList)
        async with Session(bench, device):
            held = await device.held()
        assert held is not None
        assert len(held) == 2500


@pytest.mark.parametrize("body", [b"", b"Error", b"found=2\nrecords[0].RecNo=1", b"<html>", b"totalCount=5"])
def test_a_list_that_cannot_be_read_is_not_an_empty_one(body: bytes) -> None:
    with pytest.raises(Malformed):
        cgi.records(200, body)
    assert cgi.records(200, b"totalCount=0\r\nfound=0\r\n").plates == {}


# --- pushes -----------------------------------------------------------------------------------------------

PUSHED = {
    "id": "c", "type": "dahua", "events": "push", "token": {"env": "X"},
}  # fmt: skip
COMMANDED = {"id": "c", "type": "dahua", "host": "h", "password": {"env": "X"}}


def tollgate(**more: Any) -> bytes:
    plate = {"IsExist": True, "PlateNumber": "津A12345", "UploadNum": 7} | more.pop("plate", {})
    snap_info = {"SnapTime": "2026-11-21 16:00:00", "DeviceID": "u"} | more
    return json.dumps({"Picture": {"Plate": plate, "SnapInfo": snap_info}}, ensure_ascii=False).encode()


def message(body: bytes, path: str = "NotificationInfo/TollgateInfo") -> itsapi.Message:
    return itsapi.parse(body, "application/json", path, "cam", CLOCK, HOW)


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (tollgate(), "key", "u::2026-11-21 16:00:00:津A12345"),
        (tollgate(SnapTime=""), "key", "u:7"),
        (tollgate(AccurateTime="2026-11-21 16:00:00.123", LanNo=2), "key",
         "u:2:2026-11-21 16:00:00.123:津A12345"),
        (tollgate(), "device_time", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        (tollgate(SnapTime="1970-01-01 00:00:00"), "device_time", None),
        (tollgate(plate={"IsExist": False, "PlateNumber": "津A12345"}), "credential", None),
        (tollgate(plate={"PlateNumber": "无牌车"}), "credential", None),
        (tollgate(plate={"Confidence": 51}), "confidence", 0.2),
        (tollgate(Direction="Reverse"), "direction", Direction.OUT),
        (tollgate(OpenStrobe=True, AllowUser=True), "details", {"opened_by": "own_list", "list": "allow"}),
        (tollgate(OpenStrobe=False, BlockUser=True), "details", {"list": "block"}),
        (tollgate(OpenStrobe=True, SnapTime="2026-11-21 15:30:00"), "backlog", True),
        (tollgate(OpenStrobe=True, SnapTime="2026-11-21 15:59:30"), "backlog", False),
        (tollgate(OpenStrobe=False, SnapTime="2026-11-21 15:30:00"), "backlog", False),
    ],
)  # fmt: skip
def test_pushed_reads(body: bytes, name: str, value: object) -> None:
    event = message(body).event
    assert isinstance(event, Read)
    assert getattr(event, name) == value


def test_a_push_of_megabytes_is_small_without_its_pictures() -> None:
    content = json.loads(tollgate())
    content["Picture"]["NormalPic"] = {"PicName": "a.jpg", "Content": "A" * 3_000_000}
    assert isinstance(message(json.dumps(content).encode()).event, Read)
    content["Picture"]["Plate"]["Other"] = "A" * 100_000
    with pytest.raises(Malformed):
        message(json.dumps(content).encode())
    assert b"AAAA" not in itsapi.sample(b'{"Content": "AAAAAA"}')


@pytest.mark.parametrize(
    ("body", "path", "kind", "event"),
    [
        (b'{"Active":"keepAlive","DeviceID":"u"}', "NotificationInfo/KeepAlive", "KeepAlive", Heartbeat),
        (b"{}", "NotificationInfo/KeepAlive", "KeepAlive", Heartbeat),
        (b'{"DeviceName":"x","DeviceID":"u"}', "", "DeviceInfo", Heartbeat),
        (b'{"AlarmInfo":{"Type":3,"State":"Stop"}}', "", "AlarmInfo", Observed),
        (b'{"Else":1}', "NotificationInfo/ParkingInfo", "parkinginfo", type(None)),
    ],
)
def test_other_pushes(body: bytes, path: str, kind: str, event: type) -> None:
    told = message(body, path)
    assert (told.kind, type(told.event)) == (kind, event)
    assert json.loads(itsapi.reply(told, opens=True))["Result"] is True
    assert "OpenStrobe" not in json.loads(itsapi.reply(told, opens=True))


def test_a_plate_that_opens_nothing_is_answered_so() -> None:
    answer = json.loads(itsapi.reply(message(tollgate()), opens=False))
    assert answer == {"Result": True, "DeviceID": "u", "PlateNumber": "津A12345", "OpenStrobe": False}


@pytest.mark.parametrize("settings", [PUSHED, COMMANDED | PUSHED | {"control": "cgi"}])
async def test_a_push_is_answered_only_once_recorded(settings: dict[str, Any]) -> None:
    device = create(Config.model_validate(settings), context("c"))
    assert isinstance(device, Receiver)

    async def full(_event: DeviceEvent) -> Handled:
        raise NotRecorded("disk full")

    with pytest.raises(NotRecorded):
        await device.receive(push(tollgate()), full)


@given(st.binary(max_size=300), st.sampled_from(["multipart/form-data; boundary=b", "application/json", ""]))
def test_pushed_bytes_are_answered_or_refused(body: bytes, kind: str) -> None:
    async def handle(_event: DeviceEvent) -> Handled:
        return Handled()

    async def one() -> None:
        device = create(Config.model_validate(PUSHED), context("c"))
        assert isinstance(device, Receiver)
        with contextlib.suppress(BadPush):
            await device.receive(Push("POST", "", {"content-type": kind}, body, CLOCK), handle)

    asyncio.run(one())


_WORDS = st.one_of(st.text(max_size=12), st.integers(), st.booleans(), st.none())
_NAMES = st.sampled_from(
    ["Picture", "Plate", "SnapInfo", "PlateNumber", "SnapTime", "AlarmInfo", "Type", "UTC", "TrafficCar",
     "Lane", "GroupID", "LocaleTime", "Active", "UploadNum"]
)  # fmt: skip
_JSON = st.recursive(
    _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=16,
)
_NEARLY = st.text(alphabet='Events[0].Code=TraficJunt;daUTCMS\r\n{}:"9', max_size=200)


@given(_JSON)
def test_any_json_becomes_events_or_malformed(value: object) -> None:
    body = json.dumps(value).encode()
    with contextlib.suppress(Malformed):
        itsapi.reply(message(body), opens=True)
    with contextlib.suppress(Malformed):
        codec.part(b"Code=TrafficJunction;action=Pulse;index=0;data=" + body, "cam", CLOCK, HOW)


@given(st.one_of(st.binary(max_size=300), _NEARLY.map(str.encode)))
def test_bytes_become_events_or_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        codec.part(body, "cam", CLOCK, HOW)
    with contextlib.suppress(Malformed):
        cgi.records(200, body)
    cgi.opened(200, body)


def test_too_much_is_malformed() -> None:
    for body in (
        b"x" * (fields.MAX_TEXT + 1),
        "\n".join(f"Events[{n}].Code=X" for n in range(100)).encode(),
        b"Code=X;data={}\n" * 100,
    ):
        with pytest.raises(Malformed):
            codec.part(body, "cam", CLOCK, HOW)


# --- RPC2 -------------------------------------------------------------------------------------------------


async def test_rpc2_tries_a_wrong_password_once(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {}) as bench:
        device = bench.device()
        async with Session(bench, device):
            pass
        config = Config.model_validate(
            COMMANDED | {"host": "127.0.0.1", "port": bench.double.server.port,
                         "password": {"file": str(tmp_path / "right")}}
        )  # fmt: skip
        async with HttpLink(config.camera()) as link:
            session = rpc2.Rpc2(link, "admin", "wrong", 0)
            for _ in range(3):
                with pytest.raises(DeviceRefused):
                    await session.ready()
                assert (await session.open("Normal", "")).outcome == "rejected"
            await session.keep()
        assert bench.double.server.logins_failed == 1
        assert "wrong" not in repr(session)


# --- the configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (COMMANDED | {"events": "push"}, "token"), (COMMANDED | {"token": {"env": "X"}}, "token"),
        (PUSHED | {"control": "cgi"}, "host and password"),
        ({"id": "c", "type": "dahua"}, "host and password"),
        (COMMANDED | {"control": "reply"}, "control: reply"), (COMMANDED | {"codes": ["a]&b"]}, "no code"),
        (COMMANDED | {"timezone": "Mars"}, "time zone"), (COMMANDED | {"certificate": "/x"}, "tls"),
        (COMMANDED | {"password": "open sesame"}, "a secret is not written here"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_work(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Config.model_validate(settings)


def test_the_token_is_found_where_gated_looks_for_it() -> None:
    assert pushes(Config.model_validate(PUSHED)) is not None
    assert pushes(Config.model_validate(COMMANDED)) is None
    assert not isinstance(create(Config.model_validate(COMMANDED), context("c")), Receiver)


async def test_a_camera_without_a_barrier_is_not_asked_for_one(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {"control": "none"}) as bench:
        device = bench.device()
        assert isinstance(device, Barrier)
        async with Session(bench, device):
            opened = await device.open(Pulse("01O", 500, "1"))
        assert opened.outcome == "rejected"
        assert not [r for r in bench.double.server.requests if "trafficSnap" in r.target]


async def test_an_error_in_its_stream_ends_it(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {}) as bench:
        async with Session(bench, bench.device()) as session:
            await bench.listening()
            bench.double.say(b"Error\r\nBad Request!\r\n")
            with pytest.raises(DeviceUnavailable, match="Error in its stream"):
                await session.ended()
        assert [call[1] for call in bench.unparsed.calls] == ["dahua: malformed"]


async def test_a_text_that_means_nothing_is_logged_and_passed_over(tmp_path: Path) -> None:
    async with DahuaBench(tmp_path, {}) as bench, Session(bench, bench.device()) as session:
        await bench.listening()
        bench.double.say(b"What is this?")
        await bench.emit()
        assert await session.reports()
        assert len(bench.unparsed.calls) == 1


async def test_probe_knows_it_by_its_realm() -> None:
    realm = "Login to SIM0D00A0000001"

    async def answer(_request: Request) -> tuple[Response, None]:
        return Response(401, headers={"WWW-Authenticate": f'Digest realm="{realm}", nonce="1"'}), None

    async with HttpServer(answer) as server:
        found = await probe("127.0.0.1", server.port, 2)
        assert found is not None
        assert found.login
        assert found.settings == {"host": "127.0.0.1", "port": server.port}
        realm = "IP Camera"
        assert await probe("127.0.0.1", server.port, 2) is None
    assert await probe("127.0.0.1", 1, 1) is None
