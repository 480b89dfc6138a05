"""GA/T 1400: what its JSON means, what a receiver answers, what a platform is told."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.gat1400 import Config, Gat1400Source, codec, create
from adapters.simulator.gat1400 import NUMBER
from gated.domain import DeviceEvent, Direction, Heartbeat, Read
from gated.ports import (
    BadPush,
    Handled,
    NotRecorded,
    Push,
)
from tests.adapters.contract import CLOCK, Unparsed, context
from tests.adapters.test_vzenith_codec import fuzz, json_values

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
    ("said", "share"),
    [("96", 0.96), (100, 1.0), ("", None), ("0", None), ("250", None), ("nan", None), ("0.96", 0.96)],
)
def test_confidence(said: object, share: float | None) -> None:
    assert codec.vehicle(vehicle(PlateReliability=said), ZONE).confidence == share


def test_a_resend_has_the_same_key_and_an_id_used_twice_has_not() -> None:
    first, again, later = (
        codec.vehicle(vehicle(PassTime=at), ZONE).key
        for at in ("20261127120005", "20261127120005", "20261127120009")
    )
    assert first == again != later


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"MotorVehicleListObject":3}'])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.objects(codec.load(body))


def test_one_object_where_a_list_belongs() -> None:
    assert len(codec.objects({"MotorVehicleListObject": {"MotorVehicleObject": vehicle()}})) == 1


_names = st.sampled_from(
    ["MotorVehicleID", "PlateNo", "PassTime", "HasPlate", "PlateColor", "DeviceID", "Direction"]
)


@fuzz
@given(st.dictionaries(_names, json_values, max_size=7) | json_values)
def test_any_object_is_a_vehicle_or_malformed(given_: Any) -> None:
    with contextlib.suppress(codec.Malformed):
        codec.vehicle(given_, ZONE)


@fuzz
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
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


def listed(*vehicles: Any) -> dict[str, Any]:
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
        vehicle(TollgateID="T" * 20, Direction="1"), {"PlateColor": "5"}, 7, vehicle(MotorVehicleID="V2")
    )
    status, said = await rig.push("MotorVehicles", given_, user_identify=NUMBER)
    codes = [one["StatusCode"] for one in said["ResponseStatusListObject"]["ResponseStatusObject"]]
    assert (status, codes) == (200, [0, 8, 8, 0])
    first, second = rig.events
    assert isinstance(first, Read)
    assert (first.channel, first.direction, first.device_time) == ("T" * 20, Direction.IN, NOON)
    assert first.key != second.key
    assert "津A12345" not in str(rig.unparsed.calls)


async def test_it_is_answered_after_it_is_on_record(rig: Rig) -> None:
    rig.fails = NotRecorded("disk full")
    with pytest.raises(NotRecorded):
        await rig.push("MotorVehicles", listed(vehicle()))


async def test_those_too_many_for_one_push_are_to_come_again(rig: Rig) -> None:
    many = [vehicle(MotorVehicleID=f"V{number}") for number in range(codec.MOST_OBJECTS + 2)]
    status, said = await rig.push("MotorVehicles", listed(*many))
    told = said["ResponseStatusListObject"]["ResponseStatusObject"]
    assert (status, len(rig.events), len(told)) == (200, codec.MOST_OBJECTS, len(many))
    assert [(one["Id"], one["StatusCode"]) for one in told[-3:]] == [("V199", 0), ("V200", 2), ("V201", 2)]


async def test_what_goes_on_record_is_printable_and_short(rig: Rig) -> None:
    await rig.push("MotorVehicles", listed(vehicle(PlateNo="津A\x0012\n345", DeviceID="\x1b[31m" * 40)))
    (event,) = rig.events
    assert isinstance(event, Read)
    assert event.raw == "津A12345"
    assert event.channel is not None
    assert event.channel.isprintable()
    assert len(event.channel) <= 64


@pytest.mark.parametrize("what", ["Faces", "Persons", "NonMotorVehicles", "Images", "Faces/123/Info"])
async def test_faces_and_persons_are_dropped_unread(rig: Rig, what: str) -> None:
    status, said = await rig.push(what, b"\xff not even JSON: a face")
    if "/" not in what:  # a list is answered by a list, or it is sent again and again
        (only,) = said["ResponseStatusListObject"]["ResponseStatusObject"]
        said = {"ResponseStatusObject": only}
    assert (status, said["ResponseStatusObject"]["StatusCode"]) == (200, 0)
    assert rig.events == []
    assert rig.unparsed.calls == []


@pytest.mark.parametrize(
    "what", ["Subscribes", "SubscribeNotifications", "FaceInfos", "faces", "", "x" * 999]
)
async def test_what_is_not_known_is_refused_unread(rig: Rig, what: str) -> None:
    status, said = await rig.push(what, b"\xff not even JSON: a face")
    assert (status, said["ResponseStatusObject"]["StatusCode"]) == (404, 4)
    assert rig.events == []
    assert rig.unparsed.calls == []


async def test_the_time_is_told(rig: Rig) -> None:
    _, said = await rig.push("System/Time", b"")
    assert said["SystemTimeObject"]["LocalTime"] == CLOCK.astimezone(ZONE).strftime("%Y%m%d%H%M%S")


async def test_what_is_no_json(rig: Rig) -> None:
    with pytest.raises(BadPush):
        await rig.push("MotorVehicles", b"<xml/>")
