"""GA/T 1400: what a platform of the district is told, and what its answers mean."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gat1400 import codec
from adapters.gat1400.platform import DistrictPlatform
from adapters.simulator._http import Response
from adapters.simulator.gat1400 import DistrictOffice
from gated.domain import Direction
from gated.ports import ConfigError, DeviceRefused, DeviceUnavailable, Secret, SentPassage
from tests.acceptance.daemon import until
from tests.adapters.test_gat1400 import NOON, ZONE

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
            "MotorVehicleID", "InfoKind", "SourceID", "TollgateID", "DeviceID", "HasPlate", "PlateClass",
            "PlateColor", "PlateNo", "PassTime",
            # of no content, but demanded
            "StorageUrl1", "LeftTopX", "LeftTopY", "RightBtmX", "RightBtmY", "VehicleColor",
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


@pytest.mark.parametrize("status", [200, 201])
async def test_created_is_good_too(office: DistrictOffice, settings: Settings, status: int) -> None:
    body = {"ResponseStatusListObject": {"ResponseStatusObject": {"StatusCode": "0"}}}
    async with DistrictPlatform(settings, ZONE) as platform:
        office.answer = Response(status, json.dumps(body).encode())
        assert await platform.send([passage(1), passage(2)]) == {}
        assert office.lists == 1


async def test_those_that_the_answer_does_not_mention_are_told_again(
    office: DistrictOffice, settings: Settings
) -> None:
    office.mentions = 2
    async with DistrictPlatform(settings, ZONE) as platform:
        assert await platform.send([passage(number) for number in range(5)]) == {}
    assert (office.lists, len(office.vehicles)) == (3, 5)


@pytest.mark.parametrize("code", [1, 4])
async def test_a_passage_that_it_has_already_is_told(
    office: DistrictOffice, settings: Settings, code: int
) -> None:
    """An answer that was lost must not hold up the passages for good."""
    async with DistrictPlatform(settings, ZONE) as platform:
        await platform.send([passage(1)])
        office.double = code
        assert await platform.send([passage(1)]) == {}


@pytest.mark.parametrize("code", [1, 3, 4, 77])
async def test_a_doubtful_status_is_judged_by_the_others(
    office: DistrictOffice, settings: Settings, code: int
) -> None:
    office.refuse, office.refusal = {"津B00000"}, code
    async with DistrictPlatform(settings, ZONE) as platform:
        with pytest.raises(DeviceUnavailable):
            await platform.send([passage(2, "津B00000")])
        assert set(await platform.send([passage(1), passage(2, "津B00000")])) == {"01PASSAGE2"}


async def test_busy_is_later_even_beside_one_that_was_taken(
    office: DistrictOffice, settings: Settings
) -> None:
    office.refuse, office.refusal = {"津B00000"}, codec.BUSY
    async with DistrictPlatform(settings, ZONE) as platform:
        with pytest.raises(DeviceUnavailable):
            await platform.send([passage(1), passage(2, "津B00000")])


@pytest.mark.parametrize("count", [2, 7, 50])
async def test_one_that_spoils_every_list_is_found(
    office: DistrictOffice, settings: Settings, count: int
) -> None:
    office.spoils = {"津B00000"}
    passages = [passage(number, "津B00000" if number == 1 else "津A12345") for number in range(count)]
    async with DistrictPlatform(settings, ZONE) as platform:
        assert await platform.send(passages) == {"01PASSAGE1": "HTTP 400"}
        assert len(office.vehicles) == count - 1
        assert office.lists <= 14
        with pytest.raises(DeviceUnavailable):
            await platform.send([passages[1]])


async def test_one_that_hangs_does_not_keep_the_daemon(office: DistrictOffice, settings: Settings) -> None:
    entered = asyncio.Event()

    async def tell() -> None:
        async with DistrictPlatform(replace(settings, timeout_ms=30_000), ZONE):
            office.faults.hang = True
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(tell())
    await entered.wait()
    began = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "url", ["http://host:99999", "http://host:abc", "http://:80", "http://[::1", "http://" + "h" * 254]
)
def test_an_address_that_is_none(settings: Settings, url: str) -> None:
    with pytest.raises(ConfigError, match=r"district\.url"):
        DistrictPlatform(replace(settings, url=url), ZONE)


def test_a_certificate_without_tls(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="https"):
        DistrictPlatform(replace(settings, certificate=Path("x.pem")), ZONE)


async def test_a_server_that_is_no_platform(office: DistrictOffice, settings: Settings) -> None:
    office.no_platform = True
    with pytest.raises(DeviceRefused, match=r"district\.url"):
        async with DistrictPlatform(settings, ZONE):
            pass


@pytest.mark.parametrize(
    ("plate", "color", "kind"),
    [
        ("津A12345", "blue", "02"), ("津A12345", "", "02"), ("津A12345", "yellow", "01"),
        ("津AD12345", "green", "52"), ("津A12345D", "yellow_green", "51"), ("津A12345D", "", "51"),
        ("津A1234警", "white", "23"), ("津A1234学", "yellow", "16"), ("津A1234挂", "yellow", "15"),
        ("粤Z1234港", "black", "26"), ("粤Z1234澳", "black", "27"), ("AB123C", "", "99"),
    ],
)  # fmt: skip
def test_the_kind_of_plate(plate: str, color: str, kind: str) -> None:
    (told,) = json.loads(codec.sent([passage(1, plate, color=color)], ZONE))["MotorVehicleListObject"][
        "MotorVehicleObject"
    ]
    assert told["PlateClass"] == kind


@pytest.mark.parametrize(
    ("code", "words", "taken"),
    [
        (0, "", True), (1, "数据已存在", True), (4, "Record already exists", True), (8, "ID 重复", True),
        (1, "设备不存在", False), (4, "DeviceID does not exist", False), (2, "重复", False), (8, "", False),
    ],
)  # fmt: skip
def test_what_counts_as_taken(code: int, words: str, taken: bool) -> None:
    assert codec.Verdict(code, words).taken is taken
