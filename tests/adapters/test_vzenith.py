"""The VZ camera adapter on the wire: what is answered to whom, and what is never answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.vzenith import VzenithCamera as Double
from adapters.vzenith import Config, VzenithCamera, create
from gated.domain import DeviceEvent, Heartbeat, InputChanged, OpeningOutcome, Read
from gated.ports import BadPush, Handled, NotRecorded, Opened, Pulse
from tests.adapters.contract import Unparsed, context
from tests.adapters.rig import Ingest, push
from tests.adapters.test_vzenith_codec import FORM, HEARTBEAT, SERIAL, alarm


def adapter(unparsed: Unparsed | None = None, **settings: Any) -> VzenithCamera:
    values = {"id": "cam-1", "type": "vzenith", "token": {"file": "unused"}, "reply_wait_ms": 300}
    return create(Config.model_validate(values | settings), context("cam-1", unparsed))


class Lane:
    """What the daemon does with a read: records it, then opens, or not."""

    def __init__(self, device: VzenithCamera, *, grant: bool = True, barrier: str = "cam-1") -> None:
        self.device, self.grant, self.barrier = device, grant, barrier
        self.events: list[DeviceEvent] = []
        self.openings: list[asyncio.Future[Opened]] = []

    async def handle(self, event: DeviceEvent) -> Handled:
        self.events.append(event)
        await asyncio.sleep(0.01)  # the commit
        if not isinstance(event, Read) or event.backlog:
            return Handled()
        if not self.grant or self.barrier != self.device.id:
            return Handled(passage_id="01P", granted=self.grant, barrier=self.barrier if self.grant else None)
        order = Pulse(id="01O", milliseconds=700, output="0", answers=event.key)
        task = asyncio.ensure_future(self.device.open(order))
        self.openings.append(task)
        return Handled(passage_id="01P", granted=True, opening=task, barrier=self.barrier)


@pytest.fixture
async def ingest() -> AsyncIterator[Ingest]:
    async with Ingest() as ingest:
        yield ingest
        assert ingest.errors == []


def camera(ingest: Ingest, **settings: Any) -> Double:
    values: dict[str, Any] = {
        "serial": SERIAL,
        "heartbeat_s": 30.0,
        "resends": 1,
        "resend_s": 0.05,
        "boom": Boom(),
    }
    return Double(ingest.url("cam-1"), **(values | settings))


@pytest.mark.parametrize("grant", [True, False])
@pytest.mark.parametrize("opens", ["ioctrl", "info"])
@pytest.mark.parametrize("alphadigi", [False, True])
async def test_granted_opens_once_and_refused_never(
    ingest: Ingest, grant: bool, opens: str, alphadigi: bool
) -> None:
    device = adapter(opens=opens)
    lane = Lane(device, grant=grant)
    ingest.route("cam-1", device, lane.handle)
    double = camera(ingest, alphadigi=alphadigi, page_pulse_ms=555)
    assert await double.see("津A12345")
    pulses = [each.milliseconds for each in double.boom.openings]
    assert pulses == ([] if not grant else [700] if opens == "ioctrl" else [555])
    for task in lane.openings:
        assert (await task).outcome is OpeningOutcome.ACCEPTED
    await double.stop()


async def test_a_lane_with_another_barrier_is_answered_at_once(ingest: Ingest) -> None:
    device = adapter(reply_wait_ms=10_000)
    ingest.route("cam-1", device, Lane(device, barrier="relay-1").handle)
    double = camera(ingest)
    async with asyncio.timeout(1):
        assert await double.see("津A12345")
    assert double.boom.openings == []
    await double.stop()


async def test_backlog_is_kept_recorded_and_opens_nothing(ingest: Ingest) -> None:
    device = adapter()
    lane = Lane(device)
    double = camera(ingest)
    assert not await double.see("津A12345"), "nobody is routed yet"
    assert not await double.see("津A12346")
    assert len(double.backlog) == 2
    ingest.route("cam-1", device, lane.handle)
    assert await double.see("津A12347")
    reads = [event for event in lane.events if isinstance(event, Read)]
    assert [(each.raw, each.backlog) for each in reads] == [
        ("津A12347", False),
        ("津A12345", True),
        ("津A12346", True),
    ]
    assert not double.backlog
    assert len(double.boom.openings) == 1
    await double.stop()


async def test_a_waiting_opening_never_rides_on_backlog_or_on_an_ignored_reply(ingest: Ingest) -> None:
    device = adapter(reply_wait_ms=200)
    task = asyncio.ensure_future(device.open(Pulse("01O", 700, "0")))
    await asyncio.sleep(0)
    lane = Lane(device, grant=False)
    for body, content_type in [(alarm(isoffline=1), ""), (HEARTBEAT.encode(), FORM)]:
        reply = await device.receive(push(body, content_type), lane.handle)
        assert b"ivs_ioctrl" not in reply.body
        assert reply.sent is None
    assert (await task).outcome is OpeningOutcome.UNREACHABLE


async def test_a_poll_carries_a_manual_opening_at_once(ingest: Ingest) -> None:
    device = adapter(poll=True, hold_ms=5000)
    ingest.route("cam-1", device, Lane(device).handle)
    async with camera(ingest, poll=True) as double:
        await asyncio.sleep(0.1)
        async with asyncio.timeout(1):
            opened = await device.open(Pulse("01O", 900, "0"))
        assert opened.outcome is OpeningOutcome.ACCEPTED
        await asyncio.sleep(0.05)
        assert [each.milliseconds for each in double.boom.openings] == [900]


async def test_not_recorded_is_not_acknowledged(ingest: Ingest) -> None:
    device = adapter()

    async def full(event: DeviceEvent) -> Handled:
        raise NotRecorded("disk full")

    ingest.route("cam-1", device, full)
    double = camera(ingest)
    assert not await double.see("津A12345")
    assert set(ingest.statuses) == {503}
    assert len(double.backlog) == 1
    await double.stop()


async def test_wrong_camera_is_answered_403_and_handled_by_nobody(ingest: Ingest) -> None:
    device = adapter(serial="ffffffff-ffffffff")
    lane = Lane(device)
    ingest.route("cam-1", device, lane.handle)
    double = camera(ingest)
    assert not await double.see("津A12345")
    assert (lane.events, set(ingest.statuses), double.boom.openings) == ([], {403}, [])
    await double.stop()


async def test_faults_of_the_double_reach_the_lane(ingest: Ingest) -> None:
    device = adapter()
    lane = Lane(device, grant=False)
    ingest.route("cam-1", device, lane.handle)
    double = camera(ingest, faults=Faults(misread=1.0, twice=1.0, clock_offset_s=3600))
    await double.see("津A12345")
    await double.input(2, True)
    first, second, changed = lane.events
    assert isinstance(first, Read)
    assert isinstance(changed, InputChanged)
    assert first.key == second.key
    assert first.raw != "津A12345"
    assert len(first.raw) == len("津A12345")
    await double.stop()


async def test_heartbeat_and_info() -> None:
    device = adapter()
    lane = Lane(device)
    reply = await device.receive(push(HEARTBEAT.encode(), FORM), lane.handle)
    assert json.loads(reply.body) == {"status": "ok"}
    assert isinstance(lane.events[0], Heartbeat)
    assert (device.info.serial, device.info.model) == (SERIAL, "IVS")
    assert device.presence.here


@pytest.mark.parametrize(
    ("body", "raises", "logged"), [(b"\xff\x00", True, "malformed"), (b'{"BrandNew":1}', False, "BrandNew")]
)
async def test_what_cannot_be_parsed_is_logged(body: bytes, raises: bool, logged: str) -> None:
    unparsed = Unparsed()
    device = adapter(unparsed)
    nothing: Callable[[DeviceEvent], Any] = Lane(device).handle
    if raises:
        with pytest.raises(BadPush):
            await device.receive(push(body), nothing)
    else:
        assert (await device.receive(push(body), nothing)).status == 200
    ((name, kind, _sample, why),) = unparsed.calls
    assert name == "cam-1"
    assert logged in kind
    assert why


async def test_an_output_that_is_not_there_is_rejected() -> None:
    opened = await adapter().open(Pulse("01O", 700, "9"))
    assert opened.outcome is OpeningOutcome.REJECTED
