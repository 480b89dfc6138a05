"""A reader on a serial line or a USB port that looks like one (ttyUSB, ttyACM).

pyserial sets the line up; the event loop watches it. Nothing is ever written to the reader.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from adapters._push import Presence
from adapters._serial import open_line
from adapters.reader import codec
from adapters.reader.config import Config
from adapters.reader.device import Reading
from gated.domain import DeviceEvent
from gated.ports import DeviceContext, DeviceError, DeviceInfo, DeviceUnavailable

_MOST_WAITING = 64


class SerialReader:
    """`Device`. What waits in the line when it is opened is thrown away: nobody knows how old it is."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._reading = Reading(config, context)
        self._line: Any = None
        self._lines = codec.Lines(config.ending, config.gap_s)
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Queue[tuple[bytes, datetime] | DeviceError] = asyncio.Queue()
        self._presence = Presence(config.silent_after_s or float("inf"))
        self._silence: asyncio.Task[None] | None = None

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(model=f"reader at {self._config.port}")

    async def __aenter__(self) -> Self:
        """Opens the line. Raises DeviceUnavailable (not plugged in, used by another program), DeviceRefused
        (no permission) and ConfigError (no serial line, or not with these settings)."""
        config = self._config
        line = open_line(config.port, config.baud, config.parity)
        self._line = line
        self._lines = codec.Lines(config.ending, config.gap_s)
        self._waiting = asyncio.Queue()
        self._presence.heard()
        asyncio.get_running_loop().add_reader(line.fileno(), self._readable)
        if config.silent_after_s is not None:
            self._silence = asyncio.create_task(self._silent(), name=f"silence {self.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()
        silence, self._silence = self._silence, None
        if silence is not None:
            silence.cancel()
            await asyncio.wait([silence])
        line, self._line = self._line, None
        if line is not None:
            line.close()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """What is presented. Raises DeviceUnavailable when the line is gone."""
        while True:
            came = await self._waiting.get()
            if isinstance(came, DeviceError):
                raise came
            try:
                read = self._reading.read(codec.Value(came[0]), came[1])
            except codec.Malformed:
                continue
            if read is not None:
                yield read

    async def _silent(self) -> None:
        self._lost(await self._presence.loss())

    def _readable(self) -> None:
        try:
            data = os.read(self._line.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(DeviceUnavailable(f"{self._config.port} is gone: {error.strerror}"))
            return
        if not data:
            self._lost(DeviceUnavailable(f"{self._config.port} is gone: it was unplugged"))
            return
        if self._context.wire is not None:
            self._context.wire("in", "line", data)
        self._presence.heard()
        loop = asyncio.get_running_loop()
        self._take(self._lines.feed(data, loop.time()))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(self._config.gap_s, self._paused) if self._lines.begun else None

    def _paused(self) -> None:
        self._timer = None
        self._take(self._lines.pause(asyncio.get_running_loop().time()))

    def _take(self, lines: list[bytes | codec.Cut]) -> None:
        for line in lines:
            if isinstance(line, codec.Cut):
                self._reading.unparsed(line.sample, line.why)
            elif self._waiting.qsize() >= _MOST_WAITING:
                # what waits longer than a person does must open nothing
                self._reading.unparsed(line, "more reads than can be taken in: this one was dropped")
            else:
                self._waiting.put_nowait((line, self._context.now()))

    def _lost(self, error: DeviceError) -> None:
        self._unwatch()
        self._waiting.put_nowait(error)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
