"""The adapter against a camera that speaks the wire and misbehaves: what the shared contract does not
know."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.onvif import OnvifDevice
from gated.domain import (
    BarrierPosition,
    Heartbeat,
    InputChanged,
    OpeningOutcome,
    Read,
)
from gated.ports import (
    Barrier,
    ConfigError,
    DeviceContext,
    DeviceRefused,
    DeviceUnavailable,
    Opened,
    Position,
    Pulse,
    Snapshots,
)
from tests.adapters.contract import Session
from tests.adapters.onvif.support import PLATE, OnvifBench

Make = Callable[..., Awaitable[OnvifBench]]
Say = Callable[[bytes], Awaitable[int]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Make]:
    """`await start(http_digest=True, ...)` gives a bench with these quirks."""
    async with AsyncExitStack() as stack:

        async def make(**quirks: Any) -> OnvifBench:
            return await stack.enter_async_context(OnvifBench(tmp_path, **quirks))

        yield make


class _Says(asyncio.Protocol):
    """Says one thing to whoever writes, and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        self._transport.close()


@pytest.fixture
async def say() -> AsyncIterator[Say]:
    """`await say(b"...")` gives the port of a server that says this to everybody."""
    servers = []

    async def make(answer: bytes) -> int:
        loop = asyncio.get_running_loop()
        servers.append(await loop.create_server(lambda: _Says(answer), "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield make
    for server in servers:
        server.close()


def living(bench: OnvifBench) -> DeviceContext:
    """A context whose clock runs."""
    return DeviceContext(id="cam", now=lambda: datetime.now(UTC), unparsed=bench.unparsed)


def reads(session: Session) -> list[Read]:
    return [event for event in session.events if isinstance(event, Read)]


async def opened(device: OnvifDevice, output: str | None = None, milliseconds: int = 700) -> Opened:
    return await device.open(Pulse(id="01OPENING", milliseconds=milliseconds, output=output))


def _has_read(session: Session, count: int) -> bool:
    return len(reads(session)) == count


async def until(condition: Callable[[], object], within: float = 5) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


# --- who it is, what it can -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quirks", [{}, {"http_digest": True}, {"services": False}, {"xaddr": "https://10.9.9.9:1"}]
)
async def test_introduces_itself(start: Make, quirks: dict[str, Any]) -> None:
    bench = await start(**quirks)
    device = bench.make()
    assert all(isinstance(device, power) for power in (Barrier, Position, Snapshots))
    async with device:
        assert device.info.vendor == "gated"
        assert device.info.serial == "SIM-ONVIF-1"
        picture = await device.snapshot()
        assert picture.startswith(b"\xff\xd8")
        assert await device.snapshot() == picture
    with pytest.raises(DeviceUnavailable):
        await device.snapshot()


async def test_replayed_inputs_are_marked_and_changes_are_not(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make()) as session:
        await until(lambda: sum(isinstance(each, InputChanged) for each in session.events) == 2)
        bench.camera.set_input("Input_2", True)
        [change] = await session.reports()
        assert isinstance(change, InputChanged)
        assert (change.input, change.active) == ("Input_2", True)
        replayed = [each for each in session.events if isinstance(each, InputChanged) and each.initial]
        assert [each.input for each in replayed] == ["Input_1", "Input_2"]


# --- passwords and clocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-86400.0, -120.0, 3600.0, -1_500_000_000.0])
@pytest.mark.parametrize("quirks", [{}, {"time_needs_password": True}, {"http_digest": True}])
async def test_a_clock_that_is_wrong_keeps_nobody_out(
    start: Make, offset: float, quirks: dict[str, Any]
) -> None:
    bench = await start(tolerance_s=5.0, **quirks)
    bench.faults.clock_offset_s = offset
    device = bench.make(living(bench))
    async with Session(bench, device) as session:
        assert device.info.clock_drift is not None
        assert device.info.clock_drift.total_seconds() == pytest.approx(offset, abs=2)
        await bench.emit()
        [read] = await session.reports()
        assert isinstance(read, Read)
        beat = session.events[0]
        assert isinstance(beat, Heartbeat)
        assert beat.device_time is not None
        drift = beat.device_time - beat.received_at
        assert drift.total_seconds() == pytest.approx(offset, abs=2)


async def test_a_clock_that_jumps_is_followed(start: Make) -> None:
    bench = await start(tolerance_s=5.0)
    device = bench.make(living(bench), pull_s=0.3)
    async with Session(bench, device) as session:
        bench.faults.clock_offset_s = 7200
        await until(lambda: device.info.clock_drift and device.info.clock_drift > timedelta(hours=1))
        await bench.emit()
        assert await session.reports()
    assert bench.camera.refusals <= 2


@pytest.mark.parametrize("http_digest", [False, True])
async def test_a_wrong_password_is_said_twice_at_most(start: Make, http_digest: bool) -> None:
    bench = await start(http_digest=http_digest)
    with pytest.raises(DeviceRefused, match="check username and password"):
        async with bench.unwelcome():
            pass
    assert 1 <= bench.camera.refusals <= 2


async def test_refused_later(start: Make) -> None:
    bench = await start()
    device = bench.make(pull_s=0.3)
    async with Session(bench, device) as session:
        bench.faults.refuse = True
        outcome = await opened(device)
        assert outcome.outcome is OpeningOutcome.REJECTED
        with pytest.raises(DeviceRefused):
            await session.ended()
    assert bench.camera.openings == []


async def test_missing_secret(start: Make) -> None:
    bench = await start()
    with pytest.raises(ConfigError, match="NOT_THERE"):
        async with bench.make(password={"env": "NOT_THERE"}):
            pass


# --- subscriptions ----------------------------------------------------------------------------------------


async def test_gives_its_subscription_back(start: Make) -> None:
    bench = await start(subscriptions=1)
    device = bench.make()
    for _ in range(5):
        async with Session(bench, device) as session:
            assert bench.camera.listeners == 1
            await bench.emit()
            await session.reports()
        assert bench.camera.listeners == 0


async def test_a_camera_that_is_busy_at_first(start: Make) -> None:
    """Some answer 400 many times before they accept a listener; their relay works meanwhile."""
    bench = await start(busy_creates=3)
    device = bench.make()
    async with Session(bench, device) as session:
        assert bench.camera.listeners == 0
        assert (await opened(device)).outcome is OpeningOutcome.ACCEPTED
        await until(lambda: bench.camera.listeners == 1)
        await bench.emit()
        await until(lambda: reads(session))


async def test_a_camera_that_forgets(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make()) as session:
        for count in (1, 2, 3):
            bench.camera.forget()
            await until(lambda: bench.camera.listeners == 1, within=8)
            await bench.emit()
            await until(partial(_has_read, session, count))
    assert bench.camera.requests["CreatePullPointSubscription"] == 4


@pytest.mark.parametrize("renews", [True, False])
async def test_stays_subscribed(start: Make, renews: bool) -> None:
    bench = await start(life_s=2.0, renews=renews)
    async with Session(bench, bench.make(pull_s=0.4)) as session:
        for count in range(1, 5):
            await asyncio.sleep(0.9)
            await until(lambda: bench.camera.listeners == 1, within=8)
            await bench.emit()
            await until(partial(_has_read, session, count))
    creates = bench.camera.requests["CreatePullPointSubscription"]
    assert creates == 1 if renews else creates >= 2
    assert bench.camera.requests["Renew"] >= 1


async def test_a_camera_that_does_not_wait_is_not_hammered(start: Make) -> None:
    bench = await start(waits=False)
    async with Session(bench, bench.make()):
        await asyncio.sleep(2)
        assert bench.camera.requests["PullMessages"] <= 6


async def test_a_burst_of_a_thousand_of_the_same(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make()) as session:
        utc = "2026-11-21T08:00:00.000Z"
        for _ in range(999):
            bench.camera.push_event(
                "tns1:RuleEngine/VehicleDetector/tnshik:Vehicle", data={"PlateNumber": PLATE}, utc=utc
            )
        await until(lambda: len(reads(session)) == 999, within=10)
        assert len({read.key for read in reads(session)}) == 1


async def test_heartbeats_while_nothing_happens(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make(pull_s=0.3)) as session:
        await until(lambda: sum(isinstance(each, Heartbeat) for each in session.events) >= 4)
        assert all(each.device_time is not None for each in session.events if isinstance(each, Heartbeat))


# --- hostile and broken answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("quirk", "why"), [("bombs", "document type"), ("floods", "larger than")])
async def test_hostile_answers_end_the_session_quickly(start: Make, quirk: str, why: str) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device) as session:
        begin = time.monotonic()
        setattr(bench.camera.quirks, quirk, 1)
        await bench.emit()
        with pytest.raises(DeviceUnavailable, match=why):
            await session.ended()
        assert time.monotonic() - begin < 2
    async with Session(bench, device) as session:
        await bench.emit()
        assert await session.reports()


async def test_garbage_is_reported_once(start: Make) -> None:
    bench = await start()
    device = bench.make()
    for _ in range(3):
        bench.faults.garbage = 1
        async with Session(bench, device) as session:
            await bench.emit()
            with pytest.raises(DeviceUnavailable):
                await session.ended()
    assert len(bench.unparsed.calls) == 1


async def test_what_nobody_listed_is_an_event_and_is_reported_once(start: Make) -> None:
    bench = await start()
    async with Session(bench, bench.make()) as session:
        for _ in range(3):
            bench.camera.push_event("tnsx:Vendor/New", data={"State": "true"})
        events = await session.reports(3)
        assert {getattr(event, "what", "") for event in events} == {"other"}
        bench.camera.push_event("tns1:Device/Trigger/DigitalInput", data={"LogicalState": "maybe"})
        await until(lambda: len(bench.unparsed.calls) == 2)
    kinds = [call[1] for call in bench.unparsed.calls]
    assert kinds == ["topic tnsx:Vendor/New", "message of tns1:Device/Trigger/DigitalInput"]


async def test_a_web_page_is_a_mistake_of_the_configuration(start: Make) -> None:
    bench = await start(no_onvif=True)
    with pytest.raises(ConfigError, match="switch ONVIF on"):
        async with bench.make():
            pass


async def test_a_web_page_of_a_camera_that_starts_is_not(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with device:
        pass
    bench.camera.quirks.no_onvif = True
    with pytest.raises(DeviceUnavailable):
        async with device:
            pass


async def test_a_web_page_that_says_no_is_a_refusal(start: Make, say: Say) -> None:
    bench = await start()
    page = b"<html><body>Forbidden: locked for 30 minutes</body></html>"
    port = await say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
    with pytest.raises(DeviceRefused, match="HTTP 403"):
        await bench.make(port=port).__aenter__()


async def test_wrong_path(start: Make, say: Say) -> None:
    bench = await start()
    port = await say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    device = bench.make(port=port)
    with pytest.raises(ConfigError, match="correct port and path"):
        await device.__aenter__()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x15\x03\x01\x00\x02\x02",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n<a",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<?xml version='1.0'?><half",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_even_http(start: Make, say: Say, answer: bytes) -> None:
    bench = await start()
    device = bench.make(port=await say(answer), timeout_s=0.5)
    with pytest.raises(DeviceUnavailable):
        await device.__aenter__()
    assert (await opened(device)).outcome is OpeningOutcome.UNREACHABLE


# --- opening ----------------------------------------------------------------------------------------------


async def test_the_usual_pulse_is_one_message(start: Make) -> None:
    bench = await start()
    device = bench.make()
    async with Session(bench, device):
        for _ in range(3):
            assert (await opened(device, "0")).outcome is OpeningOutcome.ACCEPTED
    assert bench.pulses() == [700, 700, 700]
    assert bench.camera.requests["SetRelayOutputSettings"] == 1
    assert bench.camera.requests["SetRelayOutputState"] == 3


@pytest.mark.parametrize("relays_on", ["deviceio", "device"])
@pytest.mark.parametrize("output", [None, "0", "RelayOut_1"])
async def test_a_relay_that_nobody_named(start: Make, relays_on: str, output: str | None) -> None:
    bench = await start(relays_on=relays_on)
    device = bench.make(relay=None)
    async with device:
        assert "SetRelayOutputSettings" not in bench.camera.requests
        assert (await opened(device, output, 1200)).outcome is OpeningOutcome.ACCEPTED
    assert bench.pulses() == [1200]


@pytest.mark.parametrize(
    ("quirks", "output", "why"),
    [
        ({}, "RelayOut_9", "no relay output 'RelayOut_9'"),
        ({}, "7", "no relay output '7'"),
        ({"monostable": False}, None, "monostable"),
    ],
)
async def test_what_cannot_be_opened(start: Make, quirks: dict[str, Any], output: str, why: str) -> None:
    bench = await start(**quirks)
    device = bench.make(relay=None)
    async with device:
        found = await opened(device, output)
        assert found.outcome is OpeningOutcome.REJECTED
        assert why in found.detail
    assert bench.camera.openings == []


@pytest.mark.parametrize(
    ("quirks", "relay", "why"),
    [
        ({}, "RelayOut_9", "it has: RelayOut_1"),
        ({"monostable": False}, "RelayOut_1", "monostable"),
        ({"relays_on": ""}, "RelayOut_1", "no relay outputs"),
    ],
)
async def test_a_configured_relay_is_checked_when_it_connects(
    start: Make, quirks: dict[str, Any], relay: str, why: str
) -> None:
    bench = await start(**quirks)
    with pytest.raises(ConfigError, match=why):
        async with bench.make(relay=relay):
            pass


async def test_no_relays_at_all(start: Make) -> None:
    bench = await start(relays_on="")
    device = bench.make(relay=None)
    async with device:
        found = await opened(device)
        assert found.outcome in (OpeningOutcome.REJECTED, OpeningOutcome.UNREACHABLE)
        assert found.detail


async def test_hung_up_on_after_opening_is_uncertain_and_opened_once(start: Make) -> None:
    bench = await start(deaf=True)
    device = bench.make()
    async with Session(bench, device):
        found = await opened(device)
        assert found.outcome is OpeningOutcome.UNCERTAIN
        await asyncio.sleep(0.2)
    assert bench.pulses() == [700]


async def test_a_late_answer_is_uncertain(start: Make) -> None:
    bench = await start()
    device = bench.make(timeout_s=0.5)
    async with device:
        bench.faults.late_s = 1.0
        assert (await opened(device)).outcome is OpeningOutcome.UNCERTAIN
    assert bench.pulses() == [700]


async def test_a_door_of_a_controller(start: Make) -> None:
    bench = await start()
    device = bench.make(relay=None)
    async with device:
        assert await device.position("door:Door_1") is BarrierPosition.CLOSED
        assert (await opened(device, "door:Door_1")).outcome is OpeningOutcome.ACCEPTED
        await asyncio.sleep(0.15)
        assert await device.position("door:Door_1") is BarrierPosition.OPEN
        assert await device.position() is BarrierPosition.UNKNOWN
        await bench.vanish()
        assert await device.position("door:Door_1") is BarrierPosition.UNKNOWN
    assert len(bench.camera.doors.openings) == 1
    assert await device.position("door:Door_1") is BarrierPosition.UNKNOWN


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the certificate of the camera")
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=camera",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"), "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.mark.parametrize(
    ("settings", "good"),
    [({"tls": "unverified"}, True), ({"tls": "verify", "ca": True}, True), ({"tls": "verify"}, False)],
)
async def test_tls(start: Make, certificate: Path, settings: dict[str, Any], good: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    bench = await start(tls=context)
    device = bench.make(**{**settings, **({"ca": certificate} if "ca" in settings else {})})
    if not good:
        with pytest.raises(ConfigError, match="unverified"):
            async with device:
                pass
        return
    async with Session(bench, device) as session:
        await bench.emit()
        assert await session.reports()
        assert (await opened(device)).outcome is OpeningOutcome.ACCEPTED
