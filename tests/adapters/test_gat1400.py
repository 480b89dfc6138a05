"""GA/T 1400: what its JSON means, what a receiver answers, what a platform is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.gat1400 import Config, Gat1400Source, codec, create
from adapters.gat1400.platform import DistrictPlatform
from adapters.simulator._http import Response
from adapters.simulator.gat1400 import NUMBER, DistrictOffice
from gated.domain import DeviceEvent, Direction, Heartbeat, Read
from gated.ports import (
    BadPush,
    DeviceRefused,
    DeviceUnavailable,
    Handled,
    NotRecorded,
    Push,
    Secret,
    SentPassage,
)
from tests.acceptance.daemon import until
from tests.adapters.contract import CLOCK, Unparsed, context

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 27, 4, 0, 5, tzinfo=UTC)


# --- vehicles ---------------------------------------------------------------------------------------------


def vehicle(**fields: Any) -> dict[str, Any]:
    return {"MotorVehicleID": "V1", "PlateNo": "津A12345", "PassTime": "20261127120005", **fields}


@pytest.mark.parametrize(
    ("fields", "plate"),
    [
        ({}, "津A12345"),
        ({"HasPlate": "1"}, "津A12345"),
        ({"HasPlate": True}, "津A12345"),
        ({"HasPlate": "0"}, None),
        ({"HasPlate": False}, None),
        ({"PlateNo": "津Ａ·１２３４５"}, "津A12345"),
        ({"PlateNo": "无牌"}, None),
        ({"PlateNo": "未识别"}, None),
        ({"PlateNo": None}, None),
        ({"PlateNo": "津A" + "9" * 40}, None),
    ],
)
def test_plates(fields: dict[str, Any], plate: str | None) -> None:
    found = codec.vehicle(vehicle(**fields), ZONE)
    assert (None if found.credential is None else found.credential.value) == plate


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, NOON),
        ({"PassTime": "20261127120005250"}, NOON.replace(microsecond=250_000)),
        ({"PassTime": "", "AppearTime": "20261127120005"}, NOON),
        ({"PassTime": 20261127120005}, NOON),
        ({"PassTime": "20261327120005"}, None),
        ({"PassTime": "2026-11-27 12:00:05"}, None),
        ({"PassTime": None}, None),
        ({"PassTime": "０" * 14}, None),
    ],
)
def test_times(fields: dict[str, Any], at: datetime | None) -> None:
    assert codec.vehicle(vehicle(**fields), ZONE).at == at


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"PlateColor": "5"}, "plate_color", "blue"),
        ({"PlateColor": 6}, "plate_color", "yellow"),
        ({"PlateColor": "99"}, "plate_color", None),
        ({"PlateClass": "2"}, "vehicle_class", "car"),
        ({"LaneNo": 3}, "lane_no", "3"),
    ],
)
def test_details(fields: dict[str, Any], name: str, value: str | None) -> None:
    assert codec.vehicle(vehicle(**fields), ZONE).details.get(name) == value


@pytest.mark.parametrize(
    ("said", "share"), [("96", 0.96), (100, 1.0), ("", None), ("0", None), ("250", None), ("nan", None)]
)
def test_confidence(said: object, share: float | None) -> None:
    assert codec.vehicle(vehicle(PlateReliability=said), ZONE).confidence == share


def test_a_resend_has_the_same_key_and_an_id_used_twice_has_not() -> None:
    first, again, later = (
        codec.vehicle(vehicle(PassTime=at), ZONE).key
        for at in ("20261127120005", "20261127120005", "20261127120009")
    )
    assert first == again != later


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"MotorVehicleListObject":3}',
        b'{"MotorVehicleListObject":{"MotorVehicleObject":[1]}}',
        json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": [{}] * 201}}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.objects(codec.load(body))


def test_one_object_where_a_list_belongs() -> None:
    assert len(codec.objects({"MotorVehicleListObject": {"MotorVehicleObject": vehicle()}})) == 1


_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_names = st.sampled_from(
    ["MotorVehicleID", "PlateNo", "PassTime", "HasPlate", "PlateColor", "DeviceID", "Direction"]
)


@given(st.dictionaries(_names, _json, max_size=7))
def test_any_object_is_a_vehicle_or_malformed(given_: dict[str, Any]) -> None:
    with contextlib.suppress(codec.Malformed):
        codec.vehicle(given_, ZONE)


@given(st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_verdicts_or_malformed(body: bytes) -> None:
    with contextlib.suppress(codec.Malformed):
        assert codec.verdicts(body)


# --- the receiver -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"number": "123"}, {"number": "x" * 20}, {"timezone": "Nowhere"}, {"directions": {"1": "up"}},
     {"token": "a"}],
)  # fmt: skip
def test_configuration_that_cannot_work(settings: dict[str, Any]) -> None:
    values = {"id": "gat", "type": "gat1400", "number": NUMBER, "token": {"env": "X"}}
    Config.model_validate(values)
    with pytest.raises(ValidationError):
        Config.model_validate(values | settings)


class Rig:
    def __init__(self) -> None:
        self.unparsed = Unparsed()
        config = Config.model_validate(
            {
                "id": "gat",
                "type": "gat1400",
                "number": NUMBER,
                "token": {"env": "X"},
                "directions": {"1": "in"},
            }
        )
        self.device: Gat1400Source = create(config, context("gat", self.unparsed))
        self.events: list[DeviceEvent] = []
        self.fails: Exception | None = None

    async def push(self, what: str, content: object, **headers: str) -> tuple[int, dict[str, Any]]:
        async def handle(event: DeviceEvent) -> Handled:
            if self.fails is not None:
                raise self.fails
            self.events.append(event)
            return Handled()

        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.device.receive(Push("POST", f"VIID/{what}", named, body, CLOCK), handle)
        assert reply.content_type == "application/VIID+JSON"
        return reply.status, json.loads(reply.body)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


def listed(*vehicles: dict[str, Any]) -> dict[str, Any]:
    return {"MotorVehicleListObject": {"MotorVehicleObject": list(vehicles)}}


async def test_it_registers_and_keeps_alive(rig: Rig) -> None:
    for name in ("Register", "Keepalive", "UnRegister"):
        status, said = await rig.push(f"System/{name}", {f"{name}Object": {"DeviceID": NUMBER}})
        assert (status, said["ResponseStatusObject"]["StatusCode"]) == (200, 0)
    assert all(isinstance(event, Heartbeat) for event in rig.events)
    assert len(rig.events) == 3


async def test_another_number_is_not_taken(rig: Rig) -> None:
    other = {"DeviceID": "9" * 20}
    assert (await rig.push("System/Register", {"RegisterObject": other}))[0] == 403
    assert (await rig.push("MotorVehicles", listed(vehicle()), user_identify="9" * 20))[0] == 403
    assert rig.events == []


async def test_several_vehicles_and_one_that_cannot_be_read(rig: Rig) -> None:
    given_ = listed(
        vehicle(TollgateID="T" * 20, Direction="1"), {"PlateColor": "5"}, vehicle(MotorVehicleID="V2")
    )
    status, said = await rig.push("MotorVehicles", given_, user_identify=NUMBER)
    codes = [one["StatusCode"] for one in said["ResponseStatusListObject"]["ResponseStatusObject"]]
    assert (status, codes) == (200, [0, 8, 0])
    first, second = rig.events
    assert isinstance(first, Read)
    assert (first.channel, first.direction, first.device_time) == ("T" * 20, Direction.IN, NOON)
    assert first.key != second.key
    assert "津A12345" not in str(rig.unparsed.calls)


async def test_it_is_answered_after_it_is_on_record(rig: Rig) -> None:
    rig.fails = NotRecorded("disk full")
    with pytest.raises(NotRecorded):
        await rig.push("MotorVehicles", listed(vehicle()))


@pytest.mark.parametrize("what", ["Faces", "Persons", "NonMotorVehicles", "Images", "Faces/123/Info"])
async def test_faces_and_persons_are_dropped_unread(rig: Rig, what: str) -> None:
    status, said = await rig.push(what, b"\xff not even JSON: a face")
    assert (status, said["ResponseStatusObject"]["StatusCode"]) == (200, 0)
    assert rig.events == []
    assert rig.unparsed.calls == []


async def test_the_time_is_told(rig: Rig) -> None:
    _, said = await rig.push("System/Time", b"")
    assert said["SystemTimeObject"]["LocalTime"] == CLOCK.astimezone(ZONE).strftime("%Y%m%d%H%M%S")


async def test_what_is_not_known_and_what_is_no_json(rig: Rig) -> None:
    assert (await rig.push("Nonsense", {}))[0] == 404
    with pytest.raises(BadPush):
        await rig.push("MotorVehicles", b"<xml/>")


# --- the platform -----------------------------------------------------------------------------------------

LANE = "31011500001310000001"


@dataclass(frozen=True)
class Settings:
    """As `gated.config.models.DistrictSettings`."""

    url: str
    password: Secret
    number: str = "31011500001190000009"
    username: str | None = "gated"
    certificate: Path | None = None
    keepalive_s: float = 0.1
    timeout_ms: int = 500


@pytest.fixture
async def office() -> AsyncIterator[DistrictOffice]:
    async with DistrictOffice() as office:
        yield office


@pytest.fixture
def settings(office: DistrictOffice, tmp_path: Path) -> Settings:
    (tmp_path / "pw").write_text("right")
    return Settings(office.url, Secret(file=tmp_path / "pw"))


def passage(number: int, plate: str = "津A12345", **fields: Any) -> SentPassage:
    return SentPassage(
        f"01PASSAGE{number}", plate, NOON + timedelta(seconds=number), LANE, Direction.IN, **fields
    )


async def test_it_registers_tells_and_takes_its_leave(office: DistrictOffice, settings: Settings) -> None:
    async with DistrictPlatform(settings, ZONE) as platform:
        assert office.registered == {settings.number}
        assert await platform.send([passage(1, color="blue"), passage(2, "津AD12345")]) == {}
        first, second = office.vehicles.values()
        assert (first["PlateNo"], first["PassTime"], first["PlateColor"]) == (
            "津A12345",
            "20261127120006",
            "5",
        )
        assert (first["DeviceID"], first["PlateClass"], second["PlateClass"]) == (LANE, "02", "52")
        assert set(first) == {
            "MotorVehicleID", "InfoKind", "SourceID", "TollgateID", "DeviceID", "LaneNo", "HasPlate",
            "PlateClass", "PlateColor", "PlateNo", "PassTime",
        }, "and nothing else leaves the box"  # fmt: skip
        await until(lambda: office.keepalives >= 2)
    assert office.registered == set()
    assert office.server.logins_failed == 0


async def test_a_passage_looks_the_same_when_it_is_told_again(
    office: DistrictOffice, settings: Settings
) -> None:
    async with DistrictPlatform(settings, ZONE) as platform:
        await platform.send([passage(1)])
        await platform.send([passage(1), passage(2)])
    assert len(office.vehicles) == 2
    assert all(len(id_) == 48 and id_.isdigit() and id_.startswith(f"{LANE}02") for id_ in office.vehicles)


@pytest.mark.parametrize("plain", [False, True])
async def test_one_that_is_never_taken_holds_up_nothing(
    office: DistrictOffice, settings: Settings, plain: bool
) -> None:
    office.refuse, office.plain = {"津B00000"}, plain
    async with DistrictPlatform(settings, ZONE) as platform:
        assert set(await platform.send([passage(1), passage(2, "津B00000")])) == {"01PASSAGE2"}
        assert set(await platform.send([passage(3, "津B00000")])) == {"01PASSAGE3"}


async def test_a_verdict_about_all_is_asked_for_each(office: DistrictOffice, settings: Settings) -> None:
    body = {"ResponseStatusObject": {"StatusCode": 8, "StatusString": "Invalid JSON Content"}}
    office.answer = Response(200, json.dumps(body).encode())
    async with DistrictPlatform(settings, ZONE) as platform:
        refused = await platform.send([passage(1), passage(2)])
    assert (set(refused), office.lists) == ({"01PASSAGE1", "01PASSAGE2"}, 3)


@pytest.mark.parametrize(
    "answer",
    [Response(500), Response(200, b"<html>"), Response(200, b"{}"), Response(413),
     Response(200, b'{"ResponseStatusObject":{"StatusCode":"2","StatusString":"busy"}}'),
     Response(200, b'{"ResponseStatusObject":{"StatusCode":"4","StatusString":"register first"}}')],
)  # fmt: skip
async def test_what_is_not_known_to_have_arrived_is_told_later(
    office: DistrictOffice, settings: Settings, answer: Response
) -> None:
    async with DistrictPlatform(settings, ZONE) as platform:
        office.answer = answer
        with pytest.raises(DeviceUnavailable):
            await platform.send([passage(1)])


async def test_a_wrong_password_is_tried_once(
    office: DistrictOffice, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "pw").write_text("wrong")
    platform = DistrictPlatform(settings, ZONE)
    for attempt in (1, 2):
        with pytest.raises(DeviceRefused):
            async with platform:
                pass
        assert office.server.logins_failed <= attempt


async def test_one_that_has_forgotten_us_is_asked_to_register_us_again(
    office: DistrictOffice, settings: Settings
) -> None:
    platform = DistrictPlatform(settings, ZONE)
    async with platform:
        office.registered.clear()
        with pytest.raises(DeviceUnavailable):
            await platform.send([passage(1)])
    async with platform:
        assert await platform.send([passage(1)]) == {}
    assert office.registrations == 2


async def test_keepalives_notice_that_it_is_gone(office: DistrictOffice, settings: Settings) -> None:
    async with DistrictPlatform(settings, ZONE) as platform:
        await office.server.stop()
        await asyncio.sleep(0.4)
        with pytest.raises(DeviceUnavailable):
            await platform.send([passage(1)])


async def test_nobody_there(settings: Settings) -> None:
    with pytest.raises(DeviceUnavailable):
        async with DistrictPlatform(Settings("http://127.0.0.1:1/x", settings.password), ZONE):
            pass
