"""Devices come and go: each is connected, read, and connected again, for as long as the daemon runs.

One task a device. It says once when a device goes and once when it returns, tells "offline" from "refused",
keeps the device's clock, and hands every event to the lanes with its corrected time. It decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from gated.alerts import AWAY, device_clock, device_offline, device_refused, reads_late
from gated.clocks import BoxClock, DeviceClock
from gated.domain import AlertDraft, DeviceEvent, Heartbeat, InputChanged, Observed, Read, Text
from gated.ports import (
    Device,
    DeviceError,
    DeviceInfo,
    DeviceRefused,
    Handled,
    Heard,
    NotRecorded,
    Receiver,
)
from gated.status import DeviceStatus

log = structlog.get_logger()

BACKOFF_S = (1.0, 60.0)
REFUSED_RETRY_S = 300.0
"""A device that refuses our credentials is asked again only so often: they lock accounts."""

OFFLINE_ALERT_AFTER_S = 30.0
_LEARN_BEYOND = timedelta(seconds=5)
_STORE_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_HEALTHY_S = 30.0


class Site(Protocol):
    """What a device's events are handed to, and who is told of its coming and going."""

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled: ...
    def device_online(self, device: str) -> None: ...
    def device_offline(self, device: str, why: str) -> None: ...


class Alarm(Protocol):
    """Raises and ends alerts about a device."""

    def raised(self, draft: AlertDraft, device: str) -> None: ...
    def ended(self, fold_key: str, why: Text | None = None) -> None: ...


class Supervised:
    """One configured device and the task that keeps it connected. `announce(device, online)` is called on
    every change."""

    def __init__(
        self,
        device: Device,
        type_: str,
        site: Site,
        alarm: Alarm,
        clock: BoxClock,
        announce: Callable[[str, bool], None],
        drift_limit: timedelta,
    ) -> None:
        self.device = device
        self.type = type_
        self.drift_limit = drift_limit
        self.drift = DeviceClock()
        self.online = False
        self.refused = False
        self.error: str | None = "not connected yet"
        self.since = clock.now()
        self.last_event_at: datetime | None = None
        self._site = site
        self._alarm = alarm
        self._clock = clock
        self._announce = announce
        self._pushes = isinstance(device, Receiver)
        self._told_offline = False
        self._drift_told: bool | None = None  # not known: an alert of before a restart may be open
        self._offline_timer: asyncio.TimerHandle | None = None
        clock.on_step.append(self._box_stepped)

    @property
    def commandable(self) -> bool:
        """Whether an opening may be handed to it now. A device that pushes is asked even while it was
        silent: it knows itself whether a push of it is waiting for an answer."""
        return self.online or self._pushes

    def status(self) -> DeviceStatus:
        """The device now."""
        drift = self.drift.drift
        return DeviceStatus(
            id=self.device.id,
            type=self.type,
            online=self.online,
            since=self.since,
            last_event_at=self.last_event_at,
            drift_s=None if drift is None else drift.total_seconds(),
            error=self.error,
            refused=self.refused,
            info=self.device.info if self.online else DeviceInfo(),
        )

    # --- the task ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps the device connected until cancelled."""
        backoff = BACKOFF_S[0]
        self._arm_offline_alert()
        try:
            while True:
                connected_at: float | None = None
                try:
                    async with self.device:
                        connected_at = self._clock.monotonic()
                        self._came()
                        async for event in self.device.events():
                            await self._taken(event)
                    why: DeviceError = self._ended()
                except asyncio.CancelledError:
                    this = asyncio.current_task()
                    if this is None or this.cancelling():
                        raise
                    why = DeviceError("a task of its adapter was cancelled")  # nobody stops the device
                except DeviceError as error:
                    why = error
                except Exception as error:  # a defect of an adapter must not take the other devices along
                    log.exception("device_failed", device=self.device.id)
                    why = DeviceError(f"{type(error).__name__}: {error}")
                if connected_at is not None and self._clock.monotonic() - connected_at > _HEALTHY_S:
                    backoff = BACKOFF_S[0]
                self._went(why)
                if isinstance(why, DeviceRefused):
                    await self._pause(REFUSED_RETRY_S)
                else:
                    await self._pause(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    backoff = min(backoff * 2, BACKOFF_S[1])
        finally:
            if self._offline_timer is not None:
                self._offline_timer.cancel()
            if self._box_stepped in self._clock.on_step:
                self._clock.on_step.remove(self._box_stepped)

    async def _pause(self, seconds: float) -> None:
        """Until the time is up, or a device that pushes is heard from again."""
        if isinstance(self.device, Heard):
            # not wait_for: Python 3.11's forgets a cancellation that comes together with the result
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.device.heard()
        else:
            await asyncio.sleep(seconds)

    def _ended(self) -> DeviceError:
        return DeviceError("the device ended its stream of events")

    def _came(self) -> None:
        drift = self.device.info.clock_drift
        if drift is not None:
            self.drift.set_drift(drift)
            self._check_drift()
        if not self.online:
            self.online, self.refused, self.error = True, False, None
            self.since = self._clock.now()
            if self._offline_timer is not None:
                self._offline_timer.cancel()
                self._offline_timer = None
            info = self.device.info
            log.info("device_online", device=self.device.id, model=info.model, firmware=info.firmware)
            self._told_offline = False
            self._site.device_online(self.device.id)
            self._announce(self.device.id, True)
            self._alarm.ended(device_offline(self.device.id, "").fold_key)

    def _went(self, why: DeviceError) -> None:
        refused = isinstance(why, DeviceRefused)
        self.error = str(why) or type(why).__name__
        if self.online or not self._told_offline or refused is not self.refused:
            log.warning("device_offline", device=self.device.id, why=self.error, refused=refused)
            self._told_offline = True
            if self.online:
                self.since = self._clock.now()
                self._arm_offline_alert()
            self.online = False
            self._site.device_offline(self.device.id, self.error)
            self._announce(self.device.id, False)
        if refused and not self.refused:
            self._alarm.raised(device_refused(self.device.id, self.error), self.device.id)
            self._end_clock_alerts()
        self.refused = refused

    def _arm_offline_alert(self) -> None:
        """A device that flaps is not worth a person's walk; one that stays away is."""

        def tell() -> None:
            self._offline_timer = None
            if not self.online and not self.refused:
                self._alarm.raised(device_offline(self.device.id, self.error or ""), self.device.id)
                self._end_clock_alerts()

        if self._offline_timer is None:
            loop = asyncio.get_running_loop()
            self._offline_timer = loop.call_later(OFFLINE_ALERT_AFTER_S, tell)

    # --- events -----------------------------------------------------------------------------------------

    async def handle(self, event: DeviceEvent) -> Handled:
        """Takes in one event: `gated.ports.Handle` of this device. Raises `NotRecorded`."""
        self.last_event_at = event.received_at
        at = self._time_of(event)
        if isinstance(event, Heartbeat):
            return Handled()
        return await self._site.handle(event, at)

    def _time_of(self, event: DeviceEvent) -> datetime:
        if event.device_time is not None:
            if isinstance(event, Heartbeat):
                self.drift.measured(event.device_time, event.received_at)
                self._check_drift()
            elif not _replayed(event):
                learnt = self.drift.observe(event.device_time, event.received_at, _LEARN_BEYOND)
                if learnt or self._drift_told is None:
                    self._check_drift()
        return self.drift.corrected(event.device_time, event.received_at)

    def _check_drift(self) -> None:
        drift = self.drift.known
        if drift is None:
            return
        wrong = abs(drift) > self.drift_limit
        if wrong and not self._drift_told:
            log.warning("device_clock", device=self.device.id, drift_s=round(drift.total_seconds(), 1))
            draft = device_clock(self.device.id, drift.total_seconds())
            self._alarm.raised(draft, self.device.id)
        elif not wrong and self._drift_told is not False:
            if self._drift_told:
                log.info("device_clock_right", device=self.device.id)
            self._alarm.ended(device_clock(self.device.id, 0).fold_key)
        self._drift_told = wrong

    def _box_stepped(self, seconds: float) -> None:
        self.drift.shifted(seconds)
        self._drift_told = None  # whose clock was wrong, the next event shows

    def _end_clock_alerts(self) -> None:
        """Nobody can say any more that its clock is wrong; it is told anew once the device is back."""
        for draft in (device_clock(self.device.id, 0), reads_late(self.device.id, 0)):
            self._alarm.ended(draft.fold_key, AWAY)
        self._drift_told = None

    async def _taken(self, event: DeviceEvent) -> None:
        """An event that the device will not send again: it waits here until it can be recorded. By then it
        is too old to open anything, and is recorded as that."""
        delays = deque(_STORE_RETRY_S)
        while True:
            try:
                await _to_its_end(self.handle(event))
            except NotRecorded as why:
                delay = delays.popleft() if len(delays) > 1 else delays[0]
                log.warning("event_waits", device=self.device.id, why=str(why))
                await asyncio.sleep(delay)
            else:
                return


async def _to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """Awaits work that is not broken off when the device is stopped: its record may be on disk already, and
    the barrier must follow. The store's patience bounds it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(NotRecorded):
            await task
        raise


def _replayed(event: DeviceEvent) -> bool:
    """Whether the event tells of the past: its time says nothing about the device's clock now."""
    if isinstance(event, Read):
        return event.backlog
    return isinstance(event, (InputChanged, Observed)) and event.initial
