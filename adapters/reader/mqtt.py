"""A reader that publishes what it reads to an MQTT broker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from adapters._mqtt import Broker, Message, MqttLink
from adapters._push import FIRST_PUSH_S, Presence
from adapters.reader import codec
from adapters.reader.config import Config
from adapters.reader.device import Reading
from gated.domain import DeviceEvent, Read
from gated.ports import DeviceContext, DeviceError, DeviceInfo

_MOST_WAITING = 64


class MqttReader:
    """`Device`. The broker keeps nothing for it while it is away: nobody could tell how old that is."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._reading = Reading(config, context)
        self._silent_after = config.silent_after_s
        self._presence = Presence(config.silent_after_s or float("inf"))
        me = f"gated-{context.id}-{secrets.token_hex(3)}"
        self._link = MqttLink(config.broker or Broker(), me, [config.topic], wire=context.wire)
        self._tasks: list[asyncio.Task[None]] = []
        self._events: asyncio.Queue[Read | DeviceError] = asyncio.Queue()

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(model=f"reader at {self._config.topic}")

    async def __aenter__(self) -> Self:
        """Connects to the broker; with `silent_after_s` waits to hear from the reader."""
        self._events = asyncio.Queue()
        await self._link.__aenter__()
        self._tasks = [asyncio.create_task(self._listen(), name=f"mqtt {self.id}")]
        try:
            if self._silent_after is not None:
                await self._presence.arrive(min(self._silent_after, FIRST_PUSH_S))
                self._tasks.append(asyncio.create_task(self._silent(), name=f"silence {self.id}"))
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """What is presented. Raises DeviceUnavailable when the broker is lost, or the reader silent."""
        while True:
            event = await self._events.get()
            if isinstance(event, DeviceError):
                raise event
            yield event

    async def _silent(self) -> None:
        self._events.put_nowait(await self._presence.loss())

    async def _listen(self) -> None:
        try:
            async with aclosing(self._link.messages()) as messages:
                async for message in messages:
                    self._take(message)
        except DeviceError as error:
            self._events.put_nowait(error)

    def _take(self, message: Message) -> None:
        if message.retained:  # the broker kept it: nobody presents it now
            self._reading.unparsed(message.payload, "a retained message: switch that off in the reader")
            return
        try:
            read = self._reading.read(self._reading.body(message.payload), self._context.now())
        except codec.Malformed:
            return
        self._presence.heard()
        if read is None:
            return
        if self._events.qsize() >= _MOST_WAITING:
            self._reading.unparsed(message.payload, "more reads than can be taken in: this one was dropped")
        else:
            self._events.put_nowait(read)

    async def _leave(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._link.__aexit__()
