"""One device is recorded: its wire, its pushes and its events, until the time is up or it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import structlog

from gated.clocks import BoxClock
from gated.config import values_of
from gated.devices.supervised import Site
from gated.domain import DeviceEvent
from gated.ports import (
    Device,
    DeviceConfig,
    DropsUnread,
    Handle,
    Handled,
    Push,
    PushReply,
    Receiver,
    RecordConfig,
    Wire,
)
from gated.recording import Recorder
from gated.recording.recorder import write

log = structlog.get_logger()


class Recording:
    """`wire` is for the device's context."""

    def __init__(self, config: DeviceConfig, settings: RecordConfig, clock: BoxClock) -> None:
        self._id, self._settings, self._clock = config.id, settings, clock
        self._recorder: Recorder | None = Recorder(config, values_of(config), clock.monotonic)
        self._device: Device | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    def wire(self, way: Literal["in", "out"], what: str, data: bytes, exchange: int = 0) -> None:
        """See `gated.ports.Wire`."""
        if self._recorder is not None:
            self._recorder.wire(way, what, data, exchange)

    def site(self, site: Site) -> Site:
        """A site that hears the device's events, too."""
        return _Heard(site, self._event)

    def receiver(self, receiver: Receiver) -> Receiver:
        """A receiver that writes down what is pushed to it."""
        return _Pushed(receiver, self.wire)

    def begin(self, device: Device) -> None:
        """Sets the time, from now."""
        self._device = device
        seconds = self._settings.minutes * 60
        log.warning("recording", device=self._id, minutes=self._settings.minutes)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    async def end(self) -> None:
        """Writes the file, once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._time_is_up()
        if self._ending is not None:
            await self._ending

    def _time_is_up(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._write())

    async def _write(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is None or self._device is None:
            return
        info = self._device.info
        try:
            lines = await asyncio.to_thread(recorder.lines, info)
            now: datetime = self._clock.now()
            file = await asyncio.to_thread(write, self._settings.folder, self._id, now, lines)
        except OSError as error:
            log.error("recording_lost", device=self._id, why=str(error))
        except Exception:  # a defect of ours; the device must be stopped and started all the same
            log.exception("recording_lost", device=self._id)
        else:
            log.warning("recorded", device=self._id, file=str(file), lines=len(lines), full=recorder.full)

    def _event(self, event: DeviceEvent) -> None:
        if self._recorder is not None:
            self._recorder.event(event)


class _Heard:
    """A `Site` beside which somebody listens."""

    def __init__(self, site: Site, listen: Callable[[DeviceEvent], None]) -> None:
        self._site, self._listen = site, listen
        self.device_online, self.device_offline = site.device_online, site.device_offline

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        self._listen(event)
        return await self._site.handle(event, at)


class _Pushed:
    """A `Receiver` whose pushes and replies are written down."""

    def __init__(self, receiver: Receiver, wire: Wire) -> None:
        self._receiver, self._wire = receiver, wire
        self._exchanges = 0

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        self._exchanges += 1
        exchange = self._exchanges
        if isinstance(self._receiver, DropsUnread) and self._receiver.drops(push.path):
            return await self._receiver.receive(push, handle)
        kind = push.headers.get("content-type", "")
        self._wire("in", f"{push.method} /{push.path} {kind}".rstrip(), push.body, exchange)
        reply = await self._receiver.receive(push, handle)
        self._wire("out", f"{reply.status} {reply.content_type}".rstrip(), reply.body, exchange)
        return reply
