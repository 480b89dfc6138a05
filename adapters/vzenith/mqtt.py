"""A VZ camera that speaks MQTT: the same messages in an envelope, on topics of its serial number.

Up: `device/{sn}/message/up/{ivs_result,keep_alive,gpio_in,barr_gate_status}`, or `{sn}/device/message/up/...`
on some units. Down: `.../down/gpio_out` and `.../down/white_list_operator`, answered with code 200 on the
same topic and `/reply`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

import structlog

from adapters._mqtt import Message, MqttLink
from adapters._push import FIRST_PUSH_S, Presence
from adapters.vzenith import codec, listing
from adapters.vzenith.forms import Malformed
from gated.domain import CredentialKind, DeviceEvent, Heartbeat, OpeningOutcome, Read
from gated.ports import (
    AllowEntry,
    DeviceContext,
    DeviceError,
    DeviceInfo,
    DeviceUnavailable,
    Opened,
    Pulse,
)

if TYPE_CHECKING:
    from adapters.vzenith.device import Config

log = structlog.get_logger()

_EVENTS_MOST = 2000
_ANSWER_S = 2.0


class VzenithMqttCamera:
    """`Device`, `Barrier` and `AllowList`; it cannot be asked what its list holds."""

    list_kinds = frozenset({CredentialKind.PLATE})
    list_batch = 20

    def __init__(self, config: Config, context: DeviceContext, reading: codec.Reading) -> None:
        assert config.broker is not None  # noqa: S101 - Config sees to it
        assert config.serial is not None  # noqa: S101
        self.id = context.id
        self._context = context
        self._reading = reading
        self._serial = config.serial
        self._info = DeviceInfo(vendor="VZ", serial=config.serial)
        self._prefix = f"device/{config.serial}/message"
        self._other_prefix = f"{config.serial}/device/message"
        # the broker keeps what the camera tells while we are away; its times say how old it is
        self._link = MqttLink(
            config.broker,
            f"gated-{context.id}",
            [
                f"{prefix}/{leaf}"
                for prefix in (self._prefix, self._other_prefix)
                for leaf in ("up/#", "+/+/reply")
            ],
            keeps=True,
            wire=context.wire,
        )
        self._presence = Presence(config.silent_after_s)
        self._silent_after = config.silent_after_s
        self.list_capacity = config.list_capacity
        self._zone = ZoneInfo(config.timezone)
        self._answers: dict[str, asyncio.Future[Opened]] = {}
        self._events: asyncio.Queue[DeviceEvent | DeviceError] = asyncio.Queue(_EVENTS_MOST)
        self._pump: asyncio.Task[None] | None = None

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        """Connects to the broker and waits for the camera's first message."""
        self._events = asyncio.Queue(_EVENTS_MOST)
        await self._link.__aenter__()
        try:
            self._pump = asyncio.create_task(self._listen(), name=f"mqtt {self.id}")
            await self._presence.arrive(min(self._silent_after, FIRST_PUSH_S))
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """What it reports. Raises DeviceUnavailable when it has been silent for too long, or the broker is
        lost."""
        silence = asyncio.create_task(self._presence.loss())
        news: asyncio.Task[DeviceEvent | DeviceError] | None = None
        try:
            while True:
                news = asyncio.create_task(self._events.get())
                await asyncio.wait((news, silence), return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    raise silence.result()
                event = news.result()
                if isinstance(event, DeviceError):
                    raise event
                yield event
        finally:
            silence.cancel()
            if news is not None:
                news.cancel()

    async def open(self, pulse: Pulse) -> Opened:
        """One pulse, sent once, timed by the camera; ACCEPTED is the camera's own answer."""
        try:
            output = codec.output_number(pulse.output)
        except ValueError as error:
            return Opened(OpeningOutcome.REJECTED, f"{error}; nothing was sent")
        if self._pump is None or not self._presence.here:
            return Opened(OpeningOutcome.UNREACHABLE, "it is not at the broker; nothing was sent")
        return await self._ask("gpio_out", codec.gpio_out(output, pulse.milliseconds))

    async def held(self) -> frozenset[str] | None:
        """See `gated.ports.AllowList`: no text says how to ask."""
        return None

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """See `gated.ports.AllowList`; one after the other, each answered by the camera."""
        orders = [(entry.value, listing.adding_one(entry, self._zone)) for entry in entries]
        return await self._listed(orders)

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        return await self._listed([(value, listing.dropping_one(value)) for value in values])

    # --- pieces -----------------------------------------------------------------------------------------

    async def _listed(self, orders: Sequence[tuple[str, listing.Operation]]) -> list[str]:
        """The values whose orders the camera refused."""
        if self._pump is None or not self._presence.here:
            raise DeviceUnavailable("it is not at the broker")
        refused = []
        for value, operation in orders:
            said = await self._ask("white_list_operator", operation)
            if said.outcome is OpeningOutcome.REJECTED:
                refused.append(value)
            elif said.outcome is not OpeningOutcome.ACCEPTED:
                raise DeviceUnavailable(said.detail)
        return refused

    async def _ask(self, name: str, body: Mapping[str, object]) -> Opened:
        """One command, sent once, and what the camera answers."""
        number = secrets.token_hex(8)
        payload = codec.command(number, self._serial, name, body, self._context.now())
        answer: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            return await self._link.order(f"{self._prefix}/down/{name}", payload, answer, _ANSWER_S)
        finally:
            self._answers.pop(number, None)

    async def _listen(self) -> None:
        try:
            async with aclosing(self._link.messages()) as messages:
                async for message in messages:
                    await self._take(message)
        except DeviceError as error:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(DeviceUnavailable(str(error)))
            await self._events.put(error)

    async def _take(self, message: Message) -> None:
        if message.retained:  # a camera retains nothing: somebody else did
            return
        if message.topic.startswith(self._other_prefix):
            self._prefix, self._other_prefix = self._other_prefix, self._prefix
        if message.topic.endswith("/reply"):
            said = codec.reply(message.payload)
            if said is not None and (answer := self._answers.get(said[0])) is not None and not answer.done():
                answer.set_result(said[1])
            return
        try:
            told = codec.parse(
                message.payload, "application/json", self.id, self._context.now(), self._reading
            )
        except Malformed as error:
            self._context.unparsed(self.id, "vzenith: mqtt", codec.sample(message.payload), str(error))
            return
        if told.serial and told.serial != self._serial:
            self._presence.stranger(f"a camera with serial number {told.serial} speaks on its topics")
            return
        self._presence.heard()
        if told.model and told.model != self._info.model:
            self._info = DeviceInfo(vendor="VZ", model=told.model, serial=self._serial)
        if told.unparsed is not None:
            kind = f"vzenith: {told.kind}"
            self._context.unparsed(self.id, kind, codec.sample(message.payload), told.unparsed)
        for event in told.events:
            await self._events.put(_of_earlier(event) if message.kept else event)

    async def _leave(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
        await self._link.__aexit__()


def _of_earlier(event: DeviceEvent) -> DeviceEvent:
    """An event that the broker kept: it measures no clock, and a read without a time opens nothing."""
    if isinstance(event, Heartbeat):
        return replace(event, device_time=None)
    if isinstance(event, Read) and event.device_time is None:
        return replace(event, backlog=True)
    return event
