"""Doors of a controller (Profile C): what it says, and each way of opening, sent once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.onvif import OnvifDevice
from adapters.onvif.codec import Pulled, Reader
from adapters.onvif.doors import access_door, authorization
from adapters.onvif.message import Ignored
from adapters.simulator import onvif_soap as soap
from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    DeviceEvent,
    Observed,
    OpeningOutcome,
    PositionChanged,
    Read,
)
from gated.ports import ConfigError, Opened, Pulse
from tests.adapters.contract import CLOCK, Contract, Session
from tests.adapters.onvif.support import OnvifBench

UTC_TIME = "2026-11-21T08:00:04Z"
TWO = {"doors": ("Door_1", "Door_2"), "access_points": {"Reader_1": "Door_1", "Reader_2": "Door_2"}}
Make = Callable[..., Awaitable[OnvifBench]]


class DoorBench(OnvifBench):
    """A controller whose one door is opened."""

    output = None

    def device(self) -> OnvifDevice:
        return self.make()

    def make(self, *args: Any, **changes: Any) -> OnvifDevice:
        return super().make(*args, **{"relay": None, "door": "Door_1", **changes})

    async def emit(self) -> None:
        self.camera.doors.present("Reader_1", credential="Card-7")

    def pulses(self) -> list[int]:
        return [opening.milliseconds for opening in self.camera.doors.openings]


class TestDoor(Contract):
    """A controller as the standard has it: it asks, and its door takes an AccessTime."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[DoorBench]:
        async with DoorBench(tmp_path) as bench:
            yield bench


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Make]:
    """`await start(authorizes=False, parts=TWO)` gives a controller with these quirks and doors."""
    async with AsyncExitStack() as stack:

        async def make(parts: Mapping[str, Any] | None = None, **quirks: Any) -> OnvifBench:
            return await stack.enter_async_context(DoorBench(tmp_path, parts=parts, **quirks))

        yield make


def openings(bench: OnvifBench) -> list[tuple[str, int, str]]:
    return [(each.door, each.milliseconds, each.by) for each in bench.camera.doors.openings]


async def opened(
    device: OnvifDevice, output: str | None = None, answers: str | None = None, milliseconds: int = 700
) -> Opened:
    return await device.open(Pulse("01OPENING", milliseconds, output, answers))


async def asked(session: Session, bench: OnvifBench, point: str = "Reader_1", **card: str) -> Read:
    """Somebody presents a card; the read that came of it."""
    before = len(session.said())
    bench.camera.doors.present(point, **(card or {"credential": "Card-7"}))
    read = (await session.reports(before + 1))[-1]
    assert isinstance(read, Read)
    return read


# --- what it says -----------------------------------------------------------------------------------------


def decoded(topic: str, data: Mapping[str, str], **more: Any) -> DeviceEvent | Ignored:
    source = {"DoorToken": "d"} if "Door/" in topic else {"AccessPointToken": "p"}
    message = soap.notification(topic, more.pop("utc", UTC_TIME), source=source, data=data, **more)
    found = Reader("ctl").read(soap.envelope(soap.messages(UTC_TIME, UTC_TIME, [message])), CLOCK)
    assert isinstance(found, Pulled)
    [one] = (*found.events, *found.ignored)
    return one


NUMBER = {"IdentifierType": "pt:Card", "FormatType": "WIEGAND26", "IdentifierValue": "00a1b2c3"}
TOKEN = {"CredentialToken": "c7", "CredentialHolderName": "王"}


@pytest.mark.parametrize(
    ("rest", "data", "value", "backlog", "access"),
    [
        ("Request/Credential", TOKEN, "C7", False, "request"),
        ("Request/Credential", TOKEN | NUMBER, "00A1B2C3", False, "request"),
        ("Request/Identifier", NUMBER, "00A1B2C3", False, "request"),
        ("Request/Anonymous", {}, None, False, "request"),
        ("Request/Credential", {"CredentialToken": "x" * 200}, None, False, "request"),
        ("Denied/Credential", TOKEN | {"External": "false", "Reason": "Other"}, "C7", False, "denied"),
        ("Denied/CredentialNotFound/Card", {"Card": "4711"}, "4711", False, "denied"),
        ("AccessGranted/Credential", TOKEN | {"External": "false"}, "C7", True, "granted"),
        ("AccessGranted/Credential", TOKEN, "C7", True, "granted"),
        ("AccessGranted/Identifier", NUMBER | {"External": "0"}, "00A1B2C3", True, "granted"),
    ],
)
def test_a_card_is_a_read(
    rest: str, data: Mapping[str, str], value: str | None, backlog: bool, access: str
) -> None:
    read = decoded(f"tns1:AccessControl/{rest}", data)
    assert isinstance(read, Read)
    assert read.credential == (Credential(CredentialKind.CARD, value) if value else None)
    assert (read.backlog, read.channel, read.details["access"]) == (backlog, "p", access)
    assert read.details.get("opened_by") == ("own_list" if backlog else None)
    assert read.key == f"{access}|{UTC_TIME}|p|{read.raw}"
    assert all(isinstance(each, str) for each in read.details.values())


@pytest.mark.parametrize(
    ("topic", "data", "what", "active"),
    [
        ("AccessControl/AccessGranted/Credential", TOKEN | {"External": "true"}, "access_granted", True),
        ("AccessControl/Denied/Credential", TOKEN | {"External": "true"}, "access_denied", True),
        ("AccessControl/AccessGranted/Anonymous", {"External": "false"}, "access_granted", True),
        ("AccessControl/Denied/Anonymous", {"External": "false"}, "access_denied", True),
        ("AccessControl/Request/Timeout", {}, "access_timeout", True),
        ("AccessControl/AccessTaken/Credential", TOKEN, "access_taken", True),
        ("AccessControl/Duress", TOKEN, "duress", True),
        ("Door/State/DoorAlarm", {"State": "DoorForcedOpen"}, "door_forced", True),
        ("Door/State/DoorTamper", {"State": "TamperDetected"}, "door_tamper", True),
        ("Door/State/DoorTamper", {"State": "NotInTamper"}, "door_tamper", False),
        ("Door/State/DoorFault", {"State": "FaultDetected", "Reason": "x"}, "door_fault", True),
        ("Door/State/DoorFault", {"State": "NotInFault"}, "door_fault", False),
    ],
)
def test_observed(topic: str, data: Mapping[str, str], what: str, active: bool) -> None:
    seen = decoded(f"tns1:{topic}", data)
    assert isinstance(seen, Observed)
    assert (seen.what, seen.active, seen.initial) == (what, active, False)


@pytest.mark.parametrize("step", ["Request", "AccessGranted", "Denied"])
def test_a_replayed_card_is_nobody(step: str) -> None:
    found = decoded(f"tns1:AccessControl/{step}/Identifier", NUMBER, operation="Initialized")
    assert isinstance(found, Ignored)


@pytest.mark.parametrize("kind", ["DoorTamper", "DoorFault"])
def test_what_the_controller_does_not_know_is_nothing(kind: str) -> None:
    assert isinstance(decoded(f"tns1:Door/State/{kind}", {"State": "Unknown"}), Ignored)


@pytest.mark.parametrize("utc", ["1970-01-01T00:00:09Z", "0000-00-00", ""])
def test_without_a_time_there_is_no_key(utc: str) -> None:
    read = decoded("tns1:AccessControl/Request/Credential", TOKEN, utc=utc)
    assert isinstance(read, Read)
    assert (read.key, read.device_time) == (None, None)


def test_bodies_are_well_formed_whatever_the_tokens_are() -> None:
    assert "<AccessTime>PT0.7S</AccessTime>" in access_door("d", 700)
    assert "AccessTime" not in access_door("d", None)
    assert "CredentialToken" not in authorization("p", "")
    for body in (access_door("<&>", 500), authorization("<&>", "]]>&")):
        assert soap.envelope(body)
        assert "<&>" not in body


# --- opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timing", "milliseconds"), [(True, 700), (False, 1000)])
async def test_the_configured_door(start: Make, timing: bool, milliseconds: int) -> None:
    bench = await start(door_timing=timing)
    device = bench.make()
    async with Session(bench, device):
        assert await device.position() is BarrierPosition.CLOSED
        assert (await opened(device)).outcome is OpeningOutcome.ACCEPTED
        await asyncio.sleep(0.15)
        assert await device.position() is BarrierPosition.OPEN
    assert openings(bench) == [("Door_1", milliseconds, "AccessDoor")]
    assert bench.camera.openings == [], "no relay"


async def test_a_request_is_answered_once(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        assert (read.channel, read.details["credential_token"]) == ("Reader_1", "Card-7")
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
        granted = (await session.reports(2))[-1]
        assert isinstance(granted, Observed), "our own decision is not a card that it let in by itself"
        assert granted.what == "access_granted"
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert bench.camera.doors.authorizations == [("Reader_1", "Card-7", "Granted")]
    assert [by for _, _, by in openings(bench)] == ["ExternalAuthorization", "AccessDoor"]


@pytest.mark.parametrize("card", [{"number": "00a1b2c3"}, {"name": "nobody"}])
async def test_somebody_without_a_token_is_answered_too(start: Make, card: dict[str, str]) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench, **card)
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert bench.camera.doors.authorizations == [("Reader_1", "", "Granted")]


async def test_another_key_opens_the_door_itself(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        await asked(session, bench)
        for answers in (None, "car-1", ""):
            assert (await opened(device, answers=answers)).outcome is OpeningOutcome.ACCEPTED
    assert bench.camera.doors.authorizations == []
    assert [by for _, _, by in openings(bench)] == ["AccessDoor"] * 3


async def test_too_late_for_an_answer(start: Make) -> None:
    bench = await start()
    device = bench.make(answer_s=0.05)
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        await asyncio.sleep(0.1)
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert openings(bench) == [("Door_1", 700, "AccessDoor")]
    assert bench.camera.doors.authorizations == []


async def test_the_controller_gave_up(start: Make) -> None:
    bench = await start(answer_s=0.05)
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        gone = (await session.reports(2))[-1]
        assert isinstance(gone, Observed)
        assert gone.what == "access_timeout"
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert openings(bench) == [("Door_1", 700, "AccessDoor")]


async def test_no_other_door_is_opened_by_an_answer(start: Make) -> None:
    """Whatever lane a reader was put on by mistake: the lane's own door opens."""
    bench = await start(parts=TWO)
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench, "Reader_2")
        assert (await opened(device, "door:Door_1", read.key)).outcome is OpeningOutcome.ACCEPTED
        read = await asked(session, bench, "Reader_2")
        assert (await opened(device, "door:Door_2", read.key)).outcome is OpeningOutcome.ACCEPTED
    assert [(door, by) for door, _, by in openings(bench)] == [
        ("Door_1", "AccessDoor"),
        ("Door_2", "ExternalAuthorization"),
    ]


async def test_a_controller_that_lists_nothing(start: Make) -> None:
    """Which reader is whose is not known, and its door's time is its own."""
    bench = await start(lists=False)
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert openings(bench) == [("Door_1", 1000, "AccessDoor")]


async def test_one_that_does_not_know_how_to_be_answered(start: Make) -> None:
    bench = await start(authorizes=False)
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert openings(bench) == [("Door_1", 700, "AccessDoor")]
    assert len(bench.camera.doors.authorizations) == 1


async def test_a_refused_answer_is_a_no(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        bench.camera.doors.forget()
        found = await opened(device, answers=read.key)
        assert found.outcome is OpeningOutcome.REJECTED
        assert "nobody waits" in found.detail
    assert openings(bench) == []


@pytest.mark.parametrize("answering", [True, False])
@pytest.mark.parametrize("fault", ["deaf", "hang"])
async def test_no_answer_is_uncertain_and_is_not_sent_again(start: Make, answering: bool, fault: str) -> None:
    bench = await start()
    device = bench.make(timeout_s=0.3)
    async with Session(bench, device) as session:
        read = await asked(session, bench)
        if fault == "deaf":
            bench.camera.quirks.deaf = True
        else:
            bench.faults.hang = True
        found = await opened(device, answers=read.key if answering else None)
        assert found.outcome is OpeningOutcome.UNCERTAIN
        await asyncio.sleep(0.1)
    assert len(openings(bench)) == 1


@pytest.mark.parametrize("output", ["door:Door_9", "RelayOut_9"])
async def test_what_is_not_there_is_rejected(start: Make, output: str) -> None:
    bench = await start()
    async with bench.make() as device:
        assert (await opened(device, output)).outcome is OpeningOutcome.REJECTED
        assert await device.position(output) is BarrierPosition.UNKNOWN
    assert openings(bench) == []


async def test_relays_stay_within_reach(start: Make) -> None:
    bench = await start()
    async with bench.make() as device:
        assert (await opened(device, "RelayOut_1")).outcome is OpeningOutcome.ACCEPTED
    assert len(bench.camera.openings) == 1
    assert openings(bench) == []


# --- getting to know it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quirks", "door", "why"),
    [
        ({}, "Door_9", "it has: Door_1"),
        ({"doors": False}, "Door_1", "no door control service"),
        ({"momentary": False}, "Door_1", "cannot be opened for a moment"),
    ],
)
async def test_a_configured_door_is_checked(start: Make, quirks: dict[str, Any], door: str, why: str) -> None:
    bench = await start(**quirks)
    with pytest.raises(ConfigError, match=why):
        async with bench.make(door=door):
            pass


async def test_lists_come_in_pages(start: Make) -> None:
    names = tuple(f"Door_{number}" for number in range(7))
    bench = await start(parts={"doors": names, "access_points": {f"R{n}": n for n in names}}, page=2)
    device = bench.make(door="Door_6")
    async with Session(bench, device) as session:
        read = await asked(session, bench, "RDoor_6")
        assert (await opened(device, answers=read.key)).outcome is OpeningOutcome.ACCEPTED
    assert openings(bench) == [("Door_6", 1000, "ExternalAuthorization")]
    assert bench.camera.requests["GetDoorInfoList"] == 4


async def test_a_camera_without_doors_is_asked_for_none(start: Make) -> None:
    bench = await start(doors=False)
    async with bench.make(door=None, relay="RelayOut_1") as device:
        assert (await opened(device)).outcome is OpeningOutcome.ACCEPTED
        assert (await opened(device, "door:Door_1")).outcome is OpeningOutcome.REJECTED
    assert "GetDoorInfoList" not in bench.camera.requests


@pytest.mark.parametrize(
    ("parts", "state", "position", "output"),
    [
        (None, "Open", BarrierPosition.OPEN, None),
        (None, "Closed", BarrierPosition.CLOSED, None),
        (None, "Fault", BarrierPosition.UNKNOWN, None),
        (TWO, "Open", BarrierPosition.OPEN, "door:Door_1"),
    ],
)
async def test_where_the_door_is(
    start: Make, parts: Mapping[str, Any] | None, state: str, position: BarrierPosition, output: str | None
) -> None:
    """The only door, if it is the configured one, is the device's own position."""
    bench = await start(parts=parts)
    device = bench.make()
    async with Session(bench, device) as session:
        bench.camera.doors.set_state("Door_1", state)
        [change] = await session.reports()
        assert isinstance(change, PositionChanged)
        assert (change.position, change.output) == (position, output)
        assert await device.position() is position


async def test_alarms(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make()) as session:
        bench.camera.doors.alarm("Door_1", "DoorAlarm", "DoorForcedOpen")
        bench.camera.doors.alarm("Door_1", "DoorFault", "FaultDetected")
        seen = await session.reports(2)
        assert [getattr(each, "what", "") for each in seen] == ["door_forced", "door_fault"]


async def test_what_it_let_in_by_itself_opens_nothing(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        bench.camera.doors.present("Reader_1", credential="Card-7", decides="grant")
        [read] = await session.reports()
        assert isinstance(read, Read)
        assert (read.backlog, read.details["opened_by"]) == (True, "own_list")
        bench.camera.doors.present("Reader_1", number="4711", decides="deny")
        denied = (await session.reports(2))[-1]
        assert isinstance(denied, Read)
        assert not denied.backlog
        assert (await opened(device, answers=denied.key)).outcome is OpeningOutcome.ACCEPTED
    assert [by for _, _, by in openings(bench)] == ["own", "AccessDoor"]


async def test_requests_are_bounded(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        for number in range(200):
            bench.camera.doors.present("Reader_1", number=f"{number:08x}")
        await session.reports(200)
        assert device._doors is not None
        assert len(device._doors._waiting) <= 64
