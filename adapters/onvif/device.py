"""One ONVIF device under the daemon's contract: entered, read through `events()`, opened, photographed.

Wires the parts together and decides nothing about passages. It forgets everything when it is left; the daemon
enters it anew after a back-off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import structlog

from adapters.onvif.camera import Camera, Faulted, Nonsense, NotOnvif, Target
from adapters.onvif.codec import Reader
from adapters.onvif.config import Config
from adapters.onvif.doors import Doors
from adapters.onvif.relay import Relays
from adapters.onvif.services import find_services
from adapters.onvif.subscription import Subscription
from gated.domain import BarrierPosition, DeviceEvent, Heartbeat, OpeningOutcome, PositionChanged
from gated.ports import (
    DeviceContext,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Opened,
    Pulse,
)

log = structlog.get_logger()
HEARTBEAT_S = 10.0
BUSY_S = 300.0  # some Dahua cameras refuse subscriptions for minutes, until their one listener has run out
SHORTEST_POLL_S = 0.5
STABLE_S = 10.0  # a subscription that lived so long was none of the trouble
_BACK_OFF_S = (1.0, 60.0)
_DEFAULT_PATHS = {"events": "/onvif/event_service", "media": "/onvif/media_service"}


class _Trouble:
    """Waits longer and longer between attempts to subscribe: at once first, then one second up to a
    minute, with jitter. After BUSY_S it gives up, so that the device is shown as away."""

    def __init__(self) -> None:
        self._next = 0.0
        self._begin = asyncio.get_running_loop().time()

    async def wait(self, error: Faulted) -> None:
        """Raises DeviceUnavailable when it is time to give up."""
        if asyncio.get_running_loop().time() - self._begin + self._next > BUSY_S:
            raise DeviceUnavailable(f"it accepts no subscription: {error.fault}") from None
        await asyncio.sleep(self._next * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        self._next = min(max(self._next * 2, _BACK_OFF_S[0]), _BACK_OFF_S[1])


class OnvifDevice:
    """An ONVIF camera or door controller: `Device`, `Barrier`, `Position` (of a controller's doors),
    `Snapshots`.

    Outputs are named by their relay token, by their place (`"0"` is the first), or `door:<token>`.
    """

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._reader = Reader(
            context.id, [each.as_topic() for each in config.plate_topics], asked=config.topics
        )
        self._camera: Camera | None = None
        self._relays: Relays | None = None
        self._doors: Doors | None = None
        self._services: dict[str, Target] = {}
        self._subscription: Subscription | None = None
        self._snapshot_uri = ""
        self._about = DeviceInfo()
        self._was_onvif = False
        self._seen: set[str] = set()

    @property
    def info(self) -> DeviceInfo:
        return self._about

    async def __aenter__(self) -> Self:
        camera = Camera(self._config, self._context.now, self._context.wire)
        self._camera = camera
        try:
            await camera.measure_clock()
            await self._introduce(camera)
            self._services = await find_services(camera, self._config.path, self.id)
            self._relays = Relays(
                camera,
                {name: self._services[name] for name in ("deviceio", "devicemgmt") if name in self._services},
                relay=self._config.relay,
                pulse_ms=self._config.pulse_ms,
            )
            await self._relays.prepare()
            self._doors = Doors(
                camera,
                control=self._services.get("doorcontrol"),
                access=self._services.get("accesscontrol"),
                door=self._config.door,
                answer_s=self._config.answer_s,
            )
            await self._doors.prepare()
            try:
                await self._subscribe()
            except Faulted as error:
                # no room for another listener yet: its relay works all the same, and events() goes on trying
                log.warning("onvif_subscription_refused_for_now", device=self.id, fault=str(error.fault))
        except NotOnvif as error:
            await self._leave()
            if not self._was_onvif:
                raise
            # its web server is up before its ONVIF after a restart: that is no mistake of the configuration
            raise DeviceUnavailable(str(error)) from None
        except BaseException:
            await self._leave()
            raise
        self._was_onvif = True
        self._note_clock(camera.offset if camera.clock_known else None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        camera, self._camera = self._camera, None
        self._relays = self._doors = None
        try:
            if subscription is not None:
                await subscription.unsubscribe()
        finally:
            if camera is not None:
                camera.close()

    # --- events ---------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """See `gated.ports.Device`. Replayed state is marked `initial`; a Heartbeat carries the device's
        clock."""
        camera = self._entered()
        loop = asyncio.get_running_loop()
        beat = loop.time()
        received = self._context.now()
        yield self._heartbeat(received, received + camera.offset if camera.clock_known else None)
        trouble, since = _Trouble(), loop.time()
        while True:
            asked = loop.time()
            try:
                if self._subscription is None:
                    await self._subscribe()
                    since = loop.time()
                subscription = self._subscription
                assert subscription is not None  # noqa: S101 - _subscribe sets it or raises
                await subscription.renew_if_due(self._config.pull_s)
                pulled, received = await subscription.pull(self._config.pull_s, self._reader)
            except Faulted as error:
                # no room for another listener, or forgotten by the device after a restart or a long silence:
                # there is nothing to give back
                self._subscription = None
                log.info("onvif_subscription_lost", device=self.id, fault=str(error.fault))
                await trouble.wait(error)
                continue
            except Nonsense as error:
                self._unparsed("reply", error.sample, str(error))
                raise
            except NotOnvif as error:
                raise DeviceUnavailable(str(error)) from None  # it was ONVIF a moment ago
            if asked - since > STABLE_S:
                trouble = _Trouble()
            for each in (*pulled.unparsed, *pulled.unknown):
                self._unparsed(each.kind, each.sample, each.why)
            for event in pulled.events:
                yield self._heard(event)
            if loop.time() - beat >= min(HEARTBEAT_S, self._config.pull_s):
                beat = loop.time()
                self._follow_clock(camera, pulled.current, received)
                yield self._heartbeat(received, pulled.current)
            if not pulled.messages and loop.time() - asked < SHORTEST_POLL_S:
                # a device that does not wait is asked twice a second, not a thousand times
                await asyncio.sleep(SHORTEST_POLL_S)

    def _heard(self, event: DeviceEvent) -> DeviceEvent:
        """Notes what an access point asks. The position of the only door is that of the device."""
        if self._doors is None:
            return event
        self._doors.heard(event)
        if isinstance(event, PositionChanged) and self._doors.only(event.output):
            return replace(event, output=None)
        return event

    async def _subscribe(self) -> None:
        camera = self._entered()
        events = self._services.get("events") or Target(_DEFAULT_PATHS["events"])
        try:
            self._subscription = await Subscription.create(camera, events, self._config.topics)
        except DeviceRefused as error:
            raise DeviceRefused(f"events are refused: {error}") from None

    def _heartbeat(self, received: datetime, device_time: datetime | None) -> Heartbeat:
        return Heartbeat(device=self.id, received_at=received, device_time=device_time)

    def _follow_clock(self, camera: Camera, current: datetime | None, received: datetime) -> None:
        """Every answer says what time the device has; its digests are dated by that."""
        if current is None:
            return
        drift = current - received
        if abs(drift - camera.offset) > timedelta(seconds=2):
            camera.offset = drift
        self._note_clock(drift)

    def _note_clock(self, drift: timedelta | None) -> None:
        about = self._about
        self._about = DeviceInfo(about.vendor, about.model, about.firmware, about.serial, drift)

    def _unparsed(self, kind: str, sample: bytes, why: str) -> None:
        if kind not in self._seen and len(self._seen) < 200:
            self._seen.add(kind)
            self._context.unparsed(self.id, kind, sample, why)

    # --- powers ---------------------------------------------------------------------------------------

    async def open(self, pulse: Pulse) -> Opened:
        """One pulse, timed by the device, sent once; see `gated.ports.Barrier`. REJECTED where the device
        cannot time it."""
        if self._relays is None or self._doors is None:
            return Opened(OpeningOutcome.UNREACHABLE, "the device is not connected")
        door = self._doors.named(pulse.output)
        return await (self._relays.open(pulse) if door is None else self._doors.open(door, pulse))

    async def position(self, output: str | None = None) -> BarrierPosition:
        """Where a door of a controller is; UNKNOWN for a camera's relay."""
        return BarrierPosition.UNKNOWN if self._doors is None else await self._doors.position(output)

    async def snapshot(self) -> bytes:
        """A JPEG of the first profile, now. Raises the device errors."""
        camera = self._entered()
        if not self._snapshot_uri:
            media = self._services.get("media") or Target(_DEFAULT_PATHS["media"])
            profiles: Any = await camera.ask("media", media, "GetProfiles")
            token = next((each.get("token") for each in profiles or [] if isinstance(each, dict)), None)
            if token is None:
                raise DeviceUnavailable("the device has no media profile")
            found: Any = await camera.ask("media", media, "GetSnapshotUri", ProfileToken=token)
            self._snapshot_uri = str((found or {}).get("Uri") or "")
            if not self._snapshot_uri:
                raise DeviceUnavailable("the device names no address for pictures")
        picture = await camera.fetch(self._snapshot_uri)
        if not picture.startswith(b"\xff\xd8"):
            raise DeviceUnavailable("the picture is no JPEG")
        return picture

    # --- getting to know it ---------------------------------------------------------------------------

    def _entered(self) -> Camera:
        if self._camera is None:
            raise DeviceUnavailable("the device is not connected")
        return self._camera

    async def _introduce(self, camera: Camera) -> None:
        """Asks who it is; the first request that needs the password."""
        target = Target(self._config.path)
        try:
            found: Any = await camera.ask("devicemgmt", target, "GetDeviceInformation")
        except (Faulted, Nonsense) as error:
            self._unparsed("device information", getattr(error, "sample", b""), str(error))
            return
        words = (
            {name: str(value or "")[:100] for name, value in found.items()} if isinstance(found, dict) else {}
        )
        self._about = DeviceInfo(
            vendor=words.get("Manufacturer", ""),
            model=words.get("Model", ""),
            firmware=words.get("FirmwareVersion", ""),
            serial=words.get("SerialNumber", ""),
        )
