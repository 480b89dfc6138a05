"""A Dahua camera that gated connects to: its events by a stream, opening, pictures, its own list.

What the bytes mean is in `codec`, `cgi` and `rpc2`; HTTP is `adapters._camera`. `adapters.dahua.push` has
what the camera pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

import structlog

from adapters._camera import HttpLink, NoAnswer, NotSent
from adapters._multipart import Part
from adapters.dahua import cgi, codec
from adapters.dahua.config import Config
from adapters.dahua.fields import Malformed, lines
from adapters.dahua.rpc2 import KEEP_S, Rpc2, Unsupported
from gated.domain import CredentialKind, DeviceEvent, OpeningOutcome, Read
from gated.ports import (
    AllowEntry,
    ConfigError,
    DeviceContext,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Opened,
    Pulse,
)

log = structlog.get_logger()

_PLATES_KEPT = 64
_LEAVE_S = 1.0


def reading(config: Config) -> codec.Reading:
    """How this camera is read, as far as its configuration says."""
    directions = {str(word): direction for word, direction in config.directions.items()}
    return codec.Reading(ZoneInfo(config.timezone), directions=directions)


class DahuaCamera:
    """`Device`, `Barrier`, `Snapshots` and `AllowList`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._reading = reading(config)
        self._link = HttpLink(config.camera(), context.wire)
        self._entered = False
        self._info = DeviceInfo(vendor="Dahua")
        self._way = ""
        self._rpc2: Rpc2 | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._plates: dict[str, str] = {}  # of late, by key: an opening tells the camera whom it is for
        self.list_kinds = frozenset({CredentialKind.PLATE})
        self.list_capacity = config.list_capacity
        self.list_batch = cgi.LIST_BATCH

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        """Connects, checks that it is the right camera, asks its clock, and finds out how it is opened; no
        opening is tried for that."""
        await self._link.__aenter__()
        try:
            self._info = await self._asked()
            self._reading = replace(self._reading, ahead=self._info.clock_drift or timedelta())
            await self._choose()
        except BaseException:
            await self._link.__aexit__()
            raise
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        try:
            if self._rpc2 is not None and not isinstance(error, DeviceUnavailable):
                await self._rpc2.leave(min(_LEAVE_S, self._config.timeout_ms / 1000))
        finally:
            self._rpc2 = None
            await self._link.__aexit__()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Events as they come. Raises DeviceUnavailable when the stream ends or falls silent."""
        stream = cgi.event_stream if self._config.events == "event" else cgi.snap_stream
        target, silence = stream(self._config.wanted), self._config.silence_s
        async with contextlib.aclosing(self._link.stream(target, silent_after_s=silence)) as parts:
            async for part in parts:
                for event in self._events(part):
                    yield event

    # --- opening ----------------------------------------------------------------------------------------

    async def open(self, pulse: Pulse) -> Opened:
        """One opening, sent once; see `gated.ports.Barrier`. Its length is the camera's own."""
        if pulse.output not in (None, str(self._config.channel)):
            said = f"its barrier is {self._config.channel}, not {pulse.output!r}; nothing was sent"
            return Opened(OpeningOutcome.REJECTED, said)
        if not self._entered:
            return Opened(OpeningOutcome.UNREACHABLE, "it is not connected; nothing was sent")
        plate = self._plates.get(pulse.answers or "", "")
        if self._way == "rpc2" and self._rpc2 is not None:
            return await self._rpc2.open(self._config.open_type, plate)
        if self._way != "cgi":
            why = "control: none" if self._way == "none" else "its firmware knows neither way to open"
            return Opened(OpeningOutcome.REJECTED, f"{why}; nothing was sent")
        try:
            target = cgi.open_strobe(self._config.channel, self._config.open_type, plate)
            answer = await self._link.ask("GET", target)
        except NotSent as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        except DeviceRefused as error:
            return Opened(OpeningOutcome.REJECTED, str(error))
        except DeviceUnavailable as error:
            return Opened(OpeningOutcome.UNCERTAIN, str(error))
        return cgi.opened(answer.status, answer.body)

    async def snapshot(self) -> bytes:
        """A picture of now."""
        answer = await self._link.ask("GET", cgi.snapshot(self._config.channel))
        if answer.status != 200 or answer.body[:2] != b"\xff\xd8":
            raise NoAnswer(f"no picture (HTTP {answer.status})")
        return answer.body

    # --- its own list -----------------------------------------------------------------------------------

    async def held(self) -> frozenset[str] | None:
        """See `gated.ports.AllowList`."""
        found: dict[str, str] = {}
        while True:
            page = await self._records(cgi.find(len(found), cgi.PAGE))
            fresh = page.plates.keys() - found.keys()
            found |= page.plates
            whole = len(page.plates) < cgi.PAGE if page.total is None else len(found) >= page.total
            if whole:
                break
            if not fresh:  # older firmware begins at the beginning whatever it is asked
                found |= (await self._records(cgi.find(0, page.total or self.list_capacity))).plates
                if page.total is None or len(found) < page.total:
                    raise NoAnswer(f"its list ends at {len(found)} of {page.total or 'more'}")
                break
        return frozenset(_normal(plate) for plate in found.values() if plate)

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        failed = []
        for entry in entries:
            known = await self._numbers(entry.value)
            target = cgi.put(entry, known[0] if known else None, self._reading_zone)
            answer = await self._link.ask("GET", target)
            if not cgi.taken(answer.status, answer.body):
                failed.append(entry.value)
        return failed

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        failed = []
        for value in values:
            for number in await self._numbers(value):
                answer = await self._link.ask("GET", cgi.remove(number))
                if not cgi.fine(answer.status, answer.body):
                    failed.append(value)
                    break
        return failed

    async def _numbers(self, value: str) -> list[str]:
        """Its records of one plate; of others none, should it not know how to search."""
        page = await self._records(cgi.find_plate(value))
        return [number for number, plate in page.plates.items() if _normal(plate) == value]

    async def _records(self, target: str) -> cgi.Records:
        answer = await self._link.ask("GET", target, timeout_s=30)
        if cgi.missing(answer.status, answer.body):
            raise NoAnswer("its firmware gives no access to its list by CGI")
        try:
            return cgi.records(answer.status, answer.body)
        except Malformed as error:
            raise NoAnswer(f"its list cannot be read: {error}") from None

    # --- pieces -----------------------------------------------------------------------------------------

    @property
    def _reading_zone(self) -> ZoneInfo:
        return ZoneInfo(self._config.timezone)

    def _events(self, part: Part) -> list[DeviceEvent]:
        """What a part says. Pictures have been left out on their way."""
        if part.cut or part.body[:2] == b"\xff\xd8" or part.content_type.startswith("image/"):
            return []
        try:
            events, unparsed = codec.part(part.body, self.id, self._context.now(), self._reading)
        except Malformed as error:
            self._context.unparsed(self.id, "dahua: malformed", part.body[:2048], str(error))
            if part.body.lstrip()[:5].lower() == b"error":
                raise NoAnswer("it answers Error in its stream: it may not know all of these codes") from None
            return []
        if unparsed is not None:
            self._context.unparsed(self.id, "dahua: event", part.body[:2048], unparsed)
        for event in events:
            self.remember(event)
        return events

    def remember(self, event: DeviceEvent) -> None:
        """Whose plate an event has."""
        if isinstance(event, Read) and event.key is not None and event.credential is not None:
            self._plates[event.key] = event.raw
            while len(self._plates) > _PLATES_KEPT:
                del self._plates[next(iter(self._plates))]

    async def _choose(self) -> None:
        """Which way it is opened."""
        self._way = self._config.way
        if self._way == "auto":
            answer = await self._link.ask("GET", cgi.OPENING)
            self._way = "rpc2" if cgi.missing(answer.status, answer.body) else "cgi"
        if self._way != "rpc2":
            return
        password = self._config.password
        assert password is not None  # noqa: S101 - Config sees to it
        channel = self._config.channel - 1
        self._rpc2 = Rpc2(self._link, self._config.username, password.value(), channel)
        try:
            await self._rpc2.ready()
        except Unsupported as error:
            if self._config.way == "rpc2":
                raise ConfigError(f"control: rpc2, but {error}") from None
            self._way, self._rpc2 = "", None
            log.warning("cannot_be_opened", device=self.id, why=str(error))
            return
        self._keeper = asyncio.create_task(self._keep(self._rpc2), name=f"rpc2 {self.id}")

    async def _keep(self, session: Rpc2) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            await session.keep()

    async def _asked(self) -> DeviceInfo:
        system = await self._link.ask("GET", cgi.SYSTEM)
        if cgi.missing(system.status, system.body):
            raise ConfigError("it knows no magicBox.cgi: is it a Dahua camera, and is CGI switched on?")
        if not cgi.fine(system.status, system.body):
            raise NoAnswer(f"getSystemInfo: an error (HTTP {system.status})")
        told = _told(system.body)
        serial = told.get("serialNumber", "")[:64]
        expected = self._config.serial
        if expected is not None and serial != expected:
            raise DeviceRefused(f"another camera is at its address: serial number {serial or '(none)'}")
        firmware = await self._link.ask("GET", cgi.FIRMWARE)
        version = _told(firmware.body).get("version", "") if cgi.fine(firmware.status, firmware.body) else ""
        return DeviceInfo(
            vendor="Dahua",
            model=(told.get("updateSerial") or told.get("deviceType", ""))[:64],
            firmware=version[:64],
            serial=serial,
            clock_drift=await self._drift(),
        )

    async def _drift(self) -> timedelta | None:
        answer = await self._link.ask("GET", cgi.CLOCK)
        if not cgi.fine(answer.status, answer.body):
            return None
        told = codec.local(_told(answer.body).get("result", ""), self._reading_zone)
        return None if told is None else told - self._context.now()


def _told(body: bytes) -> dict[str, str]:
    try:
        return lines(body)
    except Malformed:
        return {}


def _normal(plate: str) -> str:
    """A plate of its list as gated writes it."""
    found = codec.plate(plate)
    return found.value if found is not None else plate
