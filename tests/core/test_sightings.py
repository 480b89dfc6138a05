"""What devices see is told when it should be, seldom enough, and recorded with a picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gated.clocks import BoxClock
from gated.domain import AlertDraft, DeviceEvent, Observed, Read, Severity
from gated.ports import DeviceConfig, DeviceUnavailable, Handled, WatchConfig
from gated.sightings import Sightings, applies
from gated.store import Store, device_events
from gated.watched import Watched

NOW = datetime(2026, 11, 21, 16, tzinfo=UTC)  # midnight at the site
JPEG = b"\xff\xd8 a picture"


@pytest.mark.parametrize(
    ("hours", "local", "told"),
    [
        (None, "12:00", True),
        ("22:00-05:00", "23:59", True),
        ("22:00-05:00", "04:59", True),
        ("22:00-05:00", "05:00", False),
        ("22:00-05:00", "12:00", False),
        ("08:00-18:00", "08:00", True),
        ("08:00-18:00", "18:00", False),
        ("08:00-08:00", "03:00", True),
    ],
)
def test_hours(hours: str | None, local: str, told: bool) -> None:
    watch = WatchConfig(what=("motion",), hours=hours)
    assert applies(watch, "motion", time.fromisoformat(local)) is told
    assert not applies(watch, "crossed", time.fromisoformat(local))


@pytest.mark.parametrize("hours", ["22-5", "25:00-05:00", "22:00", "22:00-05:60"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        WatchConfig(what=("motion",), hours=hours)


class Camera:
    def __init__(self, image: bytes | Exception) -> None:
        self.image = image

    async def snapshot(self) -> bytes:
        if isinstance(self.image, Exception):
            raise self.image
        return self.image


class Rig:
    def __init__(self, store: Store, camera: object, *watch: WatchConfig) -> None:
        self.lanes: list[DeviceEvent] = []
        self.alerts: list[AlertDraft] = []
        self.mono = 100.0
        self.store = store
        self.watched = Watched()
        self.sightings = Sightings(
            self, self, store, BoxClock(NOW.timestamp, lambda: self.mono), lambda _: camera,
            ZoneInfo("Asia/Shanghai"), self.watched,
        )  # fmt: skip
        config = DeviceConfig(id="cam", type="x", name="路口", watch=watch)
        self.sightings.configure([config], ZoneInfo("Asia/Shanghai"))

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        self.lanes.append(event)
        return Handled()

    def device_online(self, device: str) -> None: ...
    def device_offline(self, device: str, why: str) -> None: ...

    def raised(self, draft: AlertDraft, device: str) -> None:
        self.alerts.append(draft)

    async def see(self, what: str, **more: Any) -> None:
        event = Observed(device="cam", received_at=NOW, what=what, **more)
        await self.sightings.handle(event, NOW)
        await self.sightings.settled(5)

    async def events(self) -> list[device_events.DeviceEventRow]:
        return await self.store.read(lambda conn: device_events.page(conn, limit=100))


@pytest.fixture
async def rig(tmp_path: Path) -> Any:
    store = await Store.open(f"sqlite:///{tmp_path}/gated.db")

    def make(camera: object, *watch: WatchConfig) -> Rig:
        return Rig(store, camera, *watch)

    yield make
    await store.close()


Make = Callable[..., Rig]
NIGHT = WatchConfig(
    what=("crossed", "motion"), hours="22:00-05:00", severity="warning", grid="g1", quiet_ms=60_000
)


async def test_told_recorded_and_pictured(rig: Make) -> None:
    at = rig(Camera(JPEG), NIGHT)
    await at.see("crossed", details={"target": "human"})
    (draft,) = at.alerts
    assert (draft.severity, draft.grid, draft.reason) == (Severity.WARNING, "g1", "seen")
    assert "路口" in draft.text.zh
    assert "越界" in draft.text.zh
    (event,) = await at.events()
    assert (event.what, event.details, event.picture) == ("crossed", {"target": "human"}, True)
    assert await at.store.read(lambda conn: device_events.picture(conn, event.n)) == JPEG
    assert at.lanes == [], "one alert is enough: the lanes would tell of tampering once more"


async def test_seldom_enough(rig: Make) -> None:
    at = rig(Camera(JPEG), NIGHT)
    for _ in range(50):
        await at.see("motion")
    assert len(at.alerts) == 1
    await at.see("crossed")
    assert len(at.alerts) == 2, "each kind for itself"
    at.mono += 61
    await at.see("motion")
    assert len(at.alerts) == 3
    assert len(await at.events()) == 3


@pytest.mark.parametrize(
    "event",
    [
        {"what": "tamper"},  # not asked for
        {"what": "motion", "active": False},
        {"what": "motion", "initial": True},
    ],
)
async def test_what_is_not_told(rig: Make, event: dict[str, Any]) -> None:
    at = rig(Camera(JPEG), NIGHT)
    await at.see(**event)
    assert at.alerts == []
    assert await at.events() == []
    assert len(at.lanes) == 1


@pytest.mark.parametrize(
    "camera",
    [
        None,
        object(),
        Camera(DeviceUnavailable("gone")),
        Camera(RuntimeError("a defect")),
        Camera(b"<html>login</html>"),
        Camera(b"\xff\xd8" + b"x" * 3_000_000),
    ],
)
async def test_without_a_picture_it_is_told_all_the_same(rig: Make, camera: object) -> None:
    at = rig(camera, NIGHT)
    await at.see("motion")
    assert len(at.alerts) == 1
    (event,) = await at.events()
    assert not event.picture


async def test_reads_pass_through(rig: Make) -> None:
    at = rig(None, NIGHT)
    await at.sightings.handle(Read(device="cam", received_at=NOW, credential=None, raw=""), NOW)
    assert len(at.lanes) == 1
    assert at.alerts == []


async def test_a_slow_camera_holds_nobody_up(rig: Make) -> None:
    class Slow:
        async def snapshot(self) -> bytes:
            await asyncio.sleep(60)
            return JPEG

    at = rig(Slow(), NIGHT)
    began = asyncio.get_running_loop().time()
    await at.sightings.handle(Observed(device="cam", received_at=NOW, what="motion"), NOW)
    assert asyncio.get_running_loop().time() - began < 1
    assert len(at.alerts) == 1
    for task in at.sightings._tasks:
        task.cancel()


async def test_only_the_latest_are_kept(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_events, "EVENTS_KEPT", 10)
    monkeypatch.setattr(device_events, "PICTURES_KEPT", 3)
    at = rig(Camera(JPEG), NIGHT)
    for _ in range(15):
        at.mono += 61
        await at.see("motion")
    kept = await at.events()
    assert len(kept) == 10
    assert sum(event.picture for event in kept) == 3


async def test_what_is_told_can_be_asked_for_by_rules_also_what_is_too_frequent_to_be_told(
    rig: Make,
) -> None:
    at = rig(None, WatchConfig(what=("crossed",), hours="08:00-20:00"))
    noon = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)  # at the site: midday
    for minutes in (0, 3):
        then = noon + timedelta(minutes=minutes)
        await at.sightings.handle(Observed(device="cam", received_at=then, what="crossed"), then)
    await at.sightings.handle(Observed(device="cam", received_at=noon, what="motion"), noon)
    assert len(at.alerts) == 1
    later = noon + timedelta(minutes=4)
    assert at.watched.within(later, timedelta(minutes=2)) == ["crossed cam"]
    assert at.watched.within(later, timedelta(minutes=1)) == []
    assert at.watched.within(noon - timedelta(seconds=1), timedelta(hours=1)) == []
    await at.sightings.settled(5)
    kept = Watched()
    kept.load(await at.store.read(partial(device_events.since, moment=noon)))
    assert kept.within(later, timedelta(hours=1)) == ["crossed cam"]
