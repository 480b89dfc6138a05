"""What devices see beside reads (motion, a crossed line, tampering): told to people, seldom enough to be
read.

Each device says in its section what of it is told, when, and to whom (`watch`). What is told is recorded with
a picture, where the device can take one. What nobody watches for goes on to the lanes, which tell of
tampering.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import partial
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from gated.alerts import sighted
from gated.clocks import BoxClock
from gated.domain import AlertDraft, DeviceEvent, Observed, Severity
from gated.ports import DeviceConfig, DeviceError, Handled, NotRecorded, Snapshots, WatchConfig
from gated.store import device_events
from gated.watched import Watched

log = structlog.get_logger()
T = TypeVar("T")

PICTURE_S = 5.0
MAX_PICTURE = 2 * 1024 * 1024
_AT_ONCE = 4


class Lanes(Protocol):
    """Where events go on to."""

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled: ...
    def device_online(self, device: str) -> None: ...
    def device_offline(self, device: str, why: str) -> None: ...


class Alarm(Protocol):
    """Raises alerts about a device."""

    def raised(self, draft: AlertDraft, device: str) -> None: ...


class Writes(Protocol):
    """The part of the store that is needed."""

    async def write(self, work: Callable[[Connection], T]) -> T: ...


def applies(watch: WatchConfig, what: str, local: time) -> bool:
    """Whether something seen at a local time is to be told. Hours may run past midnight; their end is not
    in them, and equal ones are the whole day."""
    if what not in watch.what:
        return False
    if watch.hours is None:
        return True
    since, until = (time.fromisoformat(part) for part in watch.hours.split("-"))
    if since < until:
        return since <= local < until
    return local >= since or local < until


@dataclass(slots=True)
class Sightings:
    """Stands before the lanes, as a `gated.devices.supervised.Site`. `find`: a device that is connected."""

    lanes: Lanes
    alarm: Alarm
    store: Writes
    clock: BoxClock
    find: Callable[[str], object | None]
    zone: ZoneInfo
    watched: Watched
    _devices: dict[str, DeviceConfig] = field(default_factory=dict)
    _told: dict[tuple[str, str], float] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def configure(self, devices: Iterable[DeviceConfig], zone: ZoneInfo) -> None:
        """Takes the devices of a (new) configuration."""
        self._devices = {device.id: device for device in devices if device.watch}
        self.zone = zone

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        """Takes in one event of a device; `at` is its corrected time. Raises `NotRecorded`."""
        if isinstance(event, Observed) and self._watched_for(event, at):
            return Handled()
        return await self.lanes.handle(event, at)

    def device_online(self, device: str) -> None:
        self.lanes.device_online(device)

    def device_offline(self, device: str, why: str) -> None:
        self.lanes.device_offline(device, why)

    def _watched_for(self, event: Observed, at: datetime) -> bool:
        """Tells of it, unless it was told a moment ago. False if nobody watches for it."""
        device = self._devices.get(event.device)
        if device is None or not event.active or event.initial:
            return False
        local = at.astimezone(self.zone).time()
        watch = next((one for one in device.watch if applies(one, event.what, local)), None)
        if watch is None:
            return False
        self.watched.note(event.what, device.id, at)
        key, now = (event.device, event.what), self.clock.monotonic()
        if now - self._told.get(key, float("-inf")) < watch.quiet_ms / 1000:
            return True
        self._told[key] = now
        draft = sighted(device.id, device.name, event.what, Severity(watch.severity), watch.grid)
        self.alarm.raised(draft, device.id)
        if len(self._tasks) < _AT_ONCE:  # a hundred cameras in a storm: their alerts, without pictures
            task = asyncio.create_task(self._record(event, at, picture=watch.picture))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def _record(self, event: Observed, at: datetime, *, picture: bool) -> None:
        image = await self._picture(event.device) if picture else None
        work = partial(
            device_events.add, device=event.device, what=event.what, at=at, received_at=event.received_at,
            details=event.details, picture=image,
        )  # fmt: skip
        try:
            await self.store.write(work)
        except NotRecorded as why:
            log.warning("sighting_not_recorded", device=event.device, what=event.what, why=str(why))

    async def _picture(self, device_id: str) -> bytes | None:
        device = self.find(device_id)
        if not isinstance(device, Snapshots):
            return None
        try:
            async with asyncio.timeout(PICTURE_S):
                image = await device.snapshot()
        except (DeviceError, TimeoutError) as why:
            log.info("no_picture", device=device_id, why=str(why) or type(why).__name__)
            return None
        except Exception as error:  # a defect of an adapter: the event is recorded all the same
            log.warning("picture_failed", device=device_id, error=f"{type(error).__name__}: {error}")
            return None
        return image if image[:2] == b"\xff\xd8" and len(image) <= MAX_PICTURE else None

    async def settled(self, timeout_s: float) -> None:
        """Waits for what is being written down, at most so long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
