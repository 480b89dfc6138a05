"""Devices that come and go: said once, tried again, told apart; events that wait for the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import pytest
import structlog

from gated.clocks import BoxClock
from gated.devices import Supervised, supervised
from gated.domain import AlertDraft, Credential, CredentialKind, DeviceEvent, Heartbeat, Read, Text
from gated.ports import DeviceInfo, DeviceRefused, DeviceUnavailable, Handled, NotRecorded

CLOCK = BoxClock()
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass
class Script:
    """A device that does as a list says: an error to raise at connecting, or events to yield and then lose
    the connection."""

    steps: list[Exception | list[DeviceEvent]]
    id: str = "cam"
    info: DeviceInfo = field(default_factory=DeviceInfo)
    entered: int = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        if not self.steps:
            await asyncio.Event().wait()
        if isinstance(self.steps[0], BaseException):
            raise self.steps.pop(0)  # type: ignore[misc]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def events(self) -> AsyncIterator[DeviceEvent]:
        events = self.steps.pop(0)
        assert isinstance(events, list)
        for event in events:
            yield event
        raise DeviceUnavailable("cable cut")


@dataclass
class Site:
    """Notes what a device's task does."""

    said: list[str] = field(default_factory=list)
    events: list[tuple[DeviceEvent, datetime]] = field(default_factory=list)
    not_recorded: int = 0

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        if self.not_recorded:
            self.not_recorded -= 1
            raise NotRecorded("disk full")
        self.events.append((event, at))
        return Handled()

    def device_online(self, device: str) -> None:
        self.said.append("up")

    def device_offline(self, device: str, why: str) -> None:
        self.said.append(f"down: {why}")

    def raised(self, draft: AlertDraft, device: str) -> None:
        self.said.append(f"alert {draft.reason}")

    def ended(self, fold_key: str, why: Text | None = None) -> None:
        self.said.append(f"end {fold_key}" + (f": {why.en}" if why else ""))

    @property
    def of_the_clock(self) -> list[str]:
        return [
            line
            for line in self.said
            if line == "alert device_clock" or line.startswith("end device|cam|clock")
        ]


def read(**more: object) -> Read:
    now = CLOCK.now()
    given = {"device": "cam", "received_at": now, "raw": "津A1"} | more
    return Read(credential=Credential(CredentialKind.PLATE, "津A1"), **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr(supervised, "REFUSED_RETRY_S", 0.05)
    monkeypatch.setattr(supervised, "_STORE_RETRY_S", (0.01, 0.01))


async def supervise(device: Script, site: Site, seconds: float = 0.3) -> Supervised:
    one = Supervised(device, "test", site, site, CLOCK, lambda *_: None, timedelta(seconds=5))
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(one.run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    site.said += [f"log {line['event']}" for line in logs if line["log_level"] != "debug"]
    return one


async def test_away_at_start_then_there_is_said_once_each() -> None:
    site = Site()
    away = [DeviceUnavailable("no route")] * 4
    one = await supervise(Script([*away, [read()], [read()]]), site)
    assert len(site.events) == 2
    logs = [line for line in site.said if line.startswith("log")]
    assert logs == [
        "log device_offline", "log device_online", "log device_offline", "log device_online",
        "log device_offline",
    ]  # fmt: skip
    assert not one.online
    assert one.status().error == "cable cut"


async def test_a_refusal_raises_an_alert_and_is_not_hammered() -> None:
    site, device = Site(), Script([DeviceRefused("wrong password")] * 100)
    one = await supervise(device, site)
    assert site.said.count("alert device_refused") == 1
    assert device.entered < 10
    assert one.status().refused


async def test_one_that_stays_away_raises_an_alert_that_ends_when_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervised, "OFFLINE_ALERT_AFTER_S", 0.03)
    site = Site()
    await supervise(Script([DeviceUnavailable("no route")] * 8 + [[]]), site)
    said = [line for line in site.said if "alert" in line or line.endswith("|offline")]
    assert said[:2] == ["alert device_offline", "end device|cam|offline"]


async def test_a_defect_of_an_adapter_is_logged_and_tried_again() -> None:
    site = Site()
    await supervise(Script([ZeroDivisionError("a defect"), [read()]]), site)
    assert "log device_failed" in site.said
    assert len(site.events) == 1


async def test_an_event_waits_until_the_store_takes_it() -> None:
    site = Site(not_recorded=3)
    await supervise(Script([[read(key="1"), read(key="2")]]), site)
    assert [event.key for event, _ in site.events] == ["1", "2"]


async def test_a_heartbeat_measures_the_clock_and_a_wrong_one_is_told_once_and_ended() -> None:
    site, now = Site(), CLOCK.now()
    hour = timedelta(hours=1)
    beats: list[DeviceEvent] = [
        Heartbeat(device="cam", received_at=now, device_time=now + hour),
        Heartbeat(device="cam", received_at=now, device_time=now + hour),
        read(device_time=now + hour, received_at=now),
        Heartbeat(device="cam", received_at=now, device_time=now),
    ]
    one = await supervise(Script([beats]), site)
    assert site.said.count("alert device_clock") == 1
    assert "end device|cam|clock" in site.said
    [(_, at)] = site.events
    assert at == now
    assert one.status().drift_s == 0


async def test_the_drift_that_an_adapter_measured_counts() -> None:
    site, now = Site(), CLOCK.now()
    info = DeviceInfo(clock_drift=timedelta(seconds=-90))
    event = read(device_time=now - timedelta(seconds=92), received_at=now)
    await supervise(Script([[event]], info=info), site)
    [(_, at)] = site.events
    assert at == now - timedelta(seconds=2)


async def test_a_cancelled_task_of_an_adapter_does_not_end_the_supervision() -> None:
    site = Site()
    await supervise(Script([asyncio.CancelledError(), [read()]]), site)  # type: ignore[list-item]
    assert len(site.events) == 1


async def test_a_device_that_is_stopped_brings_the_event_in_hand_to_its_end() -> None:
    """Its passage may be on disk already; whoever stands at the barrier is let in."""
    begun, done = asyncio.Event(), asyncio.Event()

    class Slow(Site):
        async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
            begun.set()
            await asyncio.sleep(0.05)
            done.set()
            return Handled()

    site = Slow()
    device = Script([[read()]])
    task = asyncio.create_task(
        Supervised(device, "test", site, site, CLOCK, lambda *_: None, timedelta(seconds=5)).run()
    )
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert done.is_set()


@pytest.mark.parametrize("wrong", [FIRST, LAST])
async def test_a_clock_at_the_end_of_time_costs_no_event(wrong: datetime) -> None:
    site, now = Site(), CLOCK.now()
    ends: list[DeviceEvent] = [
        Heartbeat(device="cam", received_at=now, device_time=wrong),
        read(device_time=now, received_at=now),
        read(device_time=FIRST, received_at=now),
        read(device_time=LAST, received_at=now),
    ]
    await supervise(Script([ends]), site)
    assert len(site.events) == 3


async def test_a_clock_alert_of_before_a_restart_ends_when_the_clock_is_right() -> None:
    site, now = Site(), CLOCK.now()
    await supervise(Script([[Heartbeat(device="cam", received_at=now, device_time=now)] * 2]), site)
    assert site.said.count("end device|cam|clock") == 1


async def test_a_clock_alert_of_before_a_restart_ends_with_the_first_read_that_is_in_time() -> None:
    """Also for a device that never tells its time but with what it reads."""
    site, now = Site(), CLOCK.now()
    await supervise(Script([[read(device_time=now, received_at=now)] * 3]), site)
    assert site.of_the_clock == ["end device|cam|clock"]


async def test_a_read_that_is_late_proves_no_clock_right() -> None:
    site, now = Site(), CLOCK.now()
    await supervise(Script([[read(device_time=now - timedelta(minutes=3), received_at=now)] * 2]), site)
    assert site.of_the_clock == []


@pytest.mark.parametrize("why", [DeviceUnavailable("no route"), DeviceRefused("wrong password")])
async def test_the_clock_of_a_device_that_is_away_is_not_known_and_told_anew_when_it_returns(
    why: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "OFFLINE_ALERT_AFTER_S", 0.03)
    site, now = Site(), CLOCK.now()
    wrong = read(device_time=now + timedelta(hours=1), received_at=now)
    info = DeviceInfo(clock_drift=timedelta(hours=1))
    device = Script([[wrong], *[why] * 5, [wrong]], info=info)
    await supervise(device, site, 1.0)
    unknown = "end device|cam|clock: the device is away, and its clock cannot be measured any more"
    assert site.of_the_clock[:3] == ["alert device_clock", unknown, "alert device_clock"]


async def test_it_was_the_clock_of_the_box_that_was_wrong() -> None:
    """It starts in 1970, finds every device far ahead, and is then set."""
    wall = 1000.0
    clock = BoxClock(lambda: wall, lambda: 0.0)
    site = Site()
    ahead = DeviceInfo(clock_drift=timedelta(seconds=3600))
    one = Supervised(Script([], info=ahead), "test", site, site, clock, lambda *_: None, timedelta(seconds=5))
    one._came()
    assert site.of_the_clock == ["alert device_clock"]
    wall += 3600
    now = clock.now()
    await one.handle(read(device_time=now, received_at=now))
    assert site.of_the_clock == ["alert device_clock", "end device|cam|clock"]


async def test_a_device_that_is_stopped_just_when_it_is_heard_from_stays_stopped() -> None:
    """`asyncio.wait_for` of Python 3.11 forgets a cancellation that comes together with its result."""

    class Pushing(Script):
        news = asyncio.Event()

        async def heard(self) -> None:
            await self.news.wait()

    device, site = Pushing([DeviceUnavailable("silent")] * 50), Site()
    task = asyncio.create_task(
        Supervised(device, "test", site, site, CLOCK, lambda *_: None, timedelta(seconds=5)).run()
    )
    await asyncio.sleep(0.002)
    device.news.set()
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.5)
    task.cancel()
    assert done
