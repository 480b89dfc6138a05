"""A VZ or Alphadigi camera that pushes to `/ingest/{id}`: its configuration, events and replies.

Does no HTTP itself: `receive` is given a request that was already authenticated and bounded. What the bytes
mean is in `codec`; being there and being opened by a reply are in `adapters._push`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, Self
from zoneinfo import ZoneInfo

import structlog
from pydantic import Field, model_validator

from adapters._mqtt import Broker
from adapters._push import PushDevice, ReplyOpener
from adapters.vzenith import codec, listing
from adapters.vzenith.forms import Malformed
from adapters.vzenith.mqtt import VzenithMqttCamera
from gated.domain import CredentialKind, Direction, OpeningOutcome
from gated.ports import (
    AllowEntry,
    BadPush,
    DeviceConfig,
    DeviceContext,
    DeviceInfo,
    Handle,
    Opened,
    Pulse,
    Push,
    PushReply,
    Secret,
    ZoneName,
)

log = structlog.get_logger()


class Config(DeviceConfig):
    """One camera. `serial`: its serial number, checked in every push if given. `opens`: how its relay is
    driven: "ioctrl" (VZ: the pulse is timed by the camera, to our length) or "info" (Alphadigi and old
    firmware: for as long as the camera's own page says). `poll`: the camera's heartbeat is set to "comet
    轮询", so that a manual opening reaches it at once; `hold_ms`: how long such a poll is held.
    `token`: what it presents when it pushes to `/ingest/{id}`; or `broker`: it speaks MQTT there (then
    `serial` is needed: it is part of its topics). `silent_after_s`: offline after so long without a push.
    `reply_wait_ms`: how long a manual opening waits for a push to ride on. `directions`: what left, right,
    up, down mean at this lane. `serial_data`: what the reader on its serial port reads, if there is one.
    `timezone`: of the times in its own list, which holds `list_capacity` plates."""

    type: Literal["vzenith"]
    token: Secret | None = None
    broker: Broker | None = None
    serial: str | None = Field(default=None, min_length=1, max_length=64)
    opens: Literal["ioctrl", "info"] = "ioctrl"
    poll: bool = False
    hold_ms: int = Field(default=1000, ge=0, le=10_000)
    silent_after_s: float = Field(default=90.0, gt=0, le=86_400)
    reply_wait_ms: int = Field(default=2000, ge=100, le=10_000)
    directions: dict[Literal["left", "right", "up", "down"], Direction] = Field(default_factory=dict)
    serial_data: Literal["card", "code"] | None = None
    timezone: ZoneName = "Asia/Shanghai"
    list_capacity: int = Field(default=10_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.token is None) == (self.broker is None):
            raise ValueError("give token (it pushes over HTTP) or broker (it speaks MQTT), one of the two")
        if self.broker is not None and self.serial is None:
            raise ValueError("give serial: over MQTT it is part of the camera's topics")
        return self


def create(config: Config, context: DeviceContext) -> VzenithCamera | VzenithMqttCamera:
    """The device for a configuration; does no I/O."""
    if config.broker is not None:
        return VzenithMqttCamera(config, context, _reading(config))
    return VzenithCamera(config, context)


def _reading(config: Config) -> codec.Reading:
    return codec.Reading(
        directions={str(name): direction for name, direction in config.directions.items()},
        serial_data=CredentialKind(config.serial_data) if config.serial_data else None,
    )


class VzenithCamera(PushDevice):
    """`Device`, `Receiver`, `Barrier`, `Withdraws` and `AllowList`, whose changes ride on replies."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(context.id, config.silent_after_s)
        self._config = config
        self._context = context
        self._opener = ReplyOpener(config.reply_wait_ms / 1000)
        self._reading = _reading(config)
        self._listing = listing.ListOrders(config.silent_after_s)
        self.list_kinds = frozenset({CredentialKind.PLATE})
        self.list_capacity = config.list_capacity
        self.list_batch = listing.BATCH
        self._strangers: set[str] = set()
        self._told = ("", "")  # the model and serial number that it last called itself

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its event is durable. Raises BadPush, and what `handle` raises."""
        try:
            message = codec.parse(
                push.body, push.headers.get("content-type", ""), self.id, push.received_at, self._reading
            )
        except Malformed as error:
            self._context.unparsed(self.id, "vzenith: malformed", codec.sample(push.body), str(error))
            raise BadPush(str(error)) from None
        if self._is_stranger(message.serial):
            return PushReply(status=403, body=b'{"error":"another device is expected here"}')
        self.presence.heard()
        if (message.serial or message.model) and (message.model, message.serial) != self._told:
            self._told = (message.model, message.serial)
            self._info = DeviceInfo(vendor="VZ", model=message.model, serial=message.serial)
        if message.unparsed is not None:
            self._context.unparsed(
                self.id, f"vzenith: {message.kind}", codec.sample(push.body), message.unparsed
            )
        return await self._answer(message, handle)

    def open(self, pulse: Pulse) -> asyncio.Future[Opened]:
        """Opens through the reply to a push; see `adapters._push.ReplyOpener`."""
        try:
            codec.output_number(pulse.output)
        except ValueError as error:
            refused: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
            refused.set_result(Opened(OpeningOutcome.REJECTED, f"{error}; nothing was sent"))
            return refused
        return self._opener.open(pulse)

    def withdraw(self, opening_id: str) -> bool:
        """See `gated.ports.Withdraws`."""
        return self._opener.withdraw(opening_id)

    # --- its own list -----------------------------------------------------------------------------------

    async def held(self) -> frozenset[str] | None:
        """See `gated.ports.AllowList`: it cannot be asked."""
        return None

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """See `gated.ports.AllowList`. Raises DeviceUnavailable if it asks nothing that could be answered."""
        await self._listing.send(listing.adding(entries, ZoneInfo(self._config.timezone)))
        return ()

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        await self._listing.send(listing.dropping(values))
        return ()

    # --- pieces -----------------------------------------------------------------------------------------

    async def _answer(self, message: codec.Message, handle: Handle) -> PushReply:
        acts = message.acts and (self._config.poll or not message.poll) and not message.backlog
        key = message.events[0].key if message.events else None
        with self._opener.exchange(key, opens=acts) as exchange:
            for event in message.events:
                handled = await handle(event)
                # a resend causes nothing itself: it carries what the push that it repeats has caused
                if acts and (handled.barrier == self.id or exchange.opening is not None):
                    await exchange.attached(self._opener.wait_s, handled.opening)
            if acts and message.poll and not self._listing.waiting:
                # a polling camera asks again as soon as it is answered
                await self._opener.hold(exchange, self._config.hold_ms / 1000)
            carried = self._opener.take(exchange)
        listed = self._listing.take() if acts else None
        if not message.acts or (message.poll and carried is None and listed is None):
            return PushReply(body=codec.REPLY_OTHER)
        body = codec.reply_plate(
            carried[0] if carried else None,
            opens_by_info=self._config.opens == "info",
            backlog=message.backlog,
            backlog_id=message.backlog_id,
            listing=listed[0] if listed else None,
        )
        tell = [one[1] for one in (carried, listed) if one is not None]

        def sent(written: bool) -> None:
            for each in tell:
                each(written)

        return PushReply(body=body, sent=sent if tell else None)

    def _is_stranger(self, serial: str) -> bool:
        expected = self._config.serial
        if expected is None or not serial or serial == expected:
            return False
        self.presence.stranger(f"a camera with serial number {serial} pushes here; {expected} is configured")
        if serial not in self._strangers and len(self._strangers) < 16:
            self._strangers.add(serial)
            log.warning("wrong_camera_pushes", device=self.id, serial=serial, expected=expected)
        return True
