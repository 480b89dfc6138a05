"""What a Dahua camera posts to `/ingest/{id}/NotificationInfo/...` (ITSAPI), and being opened by the reply.

Two kinds of camera: one that gated also connects to, which is opened by a command, and one that gated cannot
or need not reach, which is opened by `OpenStrobe` in the reply to the plate that it pushed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from adapters._push import FIRST_PUSH_S, Presence, PushDevice, ReplyOpener
from adapters.dahua import codec, itsapi
from adapters.dahua.config import Config
from adapters.dahua.device import DahuaCamera, reading
from adapters.dahua.fields import Malformed
from gated.domain import DeviceEvent, Heartbeat, OpeningOutcome
from gated.ports import BadPush, DeviceContext, DeviceInfo, Handle, Opened, Pulse, Push, PushReply

log = structlog.get_logger()


def create(config: Config, context: DeviceContext) -> DahuaCamera | DahuaReplyCamera:
    """The device for a configuration; does no I/O."""
    if config.events != "push":
        return DahuaCamera(config, context)
    return DahuaPushCamera(config, context) if config.commanded else DahuaReplyCamera(config, context)


class _Post:
    """Takes a camera's pushes apart, and keeps strangers out."""

    def __init__(self, config: Config, context: DeviceContext, presence: Presence) -> None:
        self._context = context
        self._expected = config.device_id
        self._presence = presence
        self._strangers: set[str] = set()

    def taken(self, push: Push, how: codec.Reading) -> itsapi.Message | None:
        """One push; None if it is another camera's. Raises BadPush."""
        device, kind = self._context.id, push.headers.get("content-type", "")
        try:
            message = itsapi.parse(push.body, kind, push.path, device, push.received_at, how)
        except Malformed as error:
            self._context.unparsed(device, "dahua: push", itsapi.sample(push.body), str(error))
            raise BadPush(str(error)) from None
        if self._expected is not None and message.device and message.device != self._expected:
            self._presence.stranger(
                f"a camera that calls itself {message.device} pushes here; {self._expected} is configured"
            )
            if message.device not in self._strangers and len(self._strangers) < 16:
                self._strangers.add(message.device)
                log.warning("wrong_camera_pushes", device=device, calls_itself=message.device)
            return None
        self._presence.heard()
        if message.unparsed is not None:
            kind = f"dahua: {message.kind}"
            self._context.unparsed(device, kind, itsapi.sample(push.body), message.unparsed)
        return message


_STRANGER = PushReply(status=403, body=b'{"Result":false,"Message":"another camera is expected here"}')


class DahuaReplyCamera(PushDevice):
    """`Device`, `Receiver`, `Heard`, `Barrier` and `Withdraws`; gated never connects to it."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(context.id, config.silence_s)
        self._info = DeviceInfo(vendor="Dahua")
        self._config = config
        self._reading = reading(config)
        self._post = _Post(config, context, self.presence)
        self._opener = ReplyOpener(config.reply_wait_ms / 1000)

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its event is durable. Raises BadPush, and what `handle` raises."""
        message = self._post.taken(push, self._reading)
        if message is None:
            return _STRANGER
        if message.model:
            self._info = DeviceInfo(vendor="Dahua", model=message.model, serial=message.device)
        acts = message.kind == "TollgateInfo" and message.event is not None
        key = message.event.key if message.event is not None else None
        with self._opener.exchange(key, opens=acts) as exchange:
            if message.event is not None:
                handled = await handle(message.event)
                # a resend causes nothing itself: it carries what the push that it repeats has caused
                if acts and (handled.barrier == self.id or exchange.opening is not None):
                    await exchange.attached(self._opener.wait_s, handled.opening)
            carried = self._opener.take(exchange)
        body = itsapi.reply(message, opens=carried is not None)
        return PushReply(body=body, sent=carried[1] if carried else None)

    def open(self, pulse: Pulse) -> asyncio.Future[Opened]:
        """Opens through the reply to a push; see `adapters._push.ReplyOpener`. Its length is the camera's."""
        if pulse.output not in (None, str(self._config.channel)):
            refused: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
            said = f"its barrier is {self._config.channel}, not {pulse.output!r}; nothing was sent"
            refused.set_result(Opened(OpeningOutcome.REJECTED, said))
            return refused
        return self._opener.open(pulse)

    def withdraw(self, opening_id: str) -> bool:
        """See `gated.ports.Withdraws`."""
        return self._opener.withdraw(opening_id)


class DahuaPushCamera(DahuaCamera):
    """A camera that gated connects to, with its events pushed; also a `Receiver`, and `Heard`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(config, context)
        self._presence = Presence(config.silence_s)
        self._post = _Post(config, context, self._presence)

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Its clock from time to time, for events are pushed; ends when the camera answers no more. One that
        answers and pushes nothing can still be opened: that is logged, and no end."""
        loop = asyncio.get_running_loop()
        patient_until: float | None = loop.time() + self._config.silence_s
        while True:
            await asyncio.sleep(min(self._config.silence_s / 2, FIRST_PUSH_S * 4))
            if self._presence.here:
                patient_until = loop.time() + self._config.silence_s
            elif patient_until is not None and loop.time() > patient_until:
                log.warning("pushes_nothing", device=self.id, though="it answers; check its platform address")
                patient_until = None
            told = await self._drift()
            if told is not None:
                now = self._context.now()
                yield Heartbeat(device=self.id, received_at=now, device_time=now + told)

    async def heard(self) -> None:
        """See `gated.ports.Heard`."""
        await self._presence.next_push()

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its event is durable; never opens by it."""
        message = self._post.taken(push, self._reading)
        if message is None:
            return _STRANGER
        if message.event is not None:
            self.remember(message.event)
            await handle(message.event)
        return PushReply(body=itsapi.reply(message, opens=False))
