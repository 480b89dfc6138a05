"""A Hikvision camera: its configuration, its events (stream, push or poll), opening, its own list.

What the bytes mean is in `codec`; HTTP is `adapters._camera`. One object does it all but the pushes, which
`HikvisionPushCamera` adds.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self
from zoneinfo import ZoneInfo

import structlog
from pydantic import Field, model_validator

from adapters import _multipart, _xml
from adapters._camera import CameraConfig, HttpLink, NoAnswer, NotSent
from adapters._multipart import Part
from adapters._push import FIRST_PUSH_S, Presence
from adapters.hikvision import codec
from gated.domain import (
    BarrierPosition,
    CredentialKind,
    DeviceEvent,
    Direction,
    Heartbeat,
    Observed,
    OpeningOutcome,
)
from gated.ports import (
    AllowEntry,
    BadPush,
    ConfigError,
    DeviceContext,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Handle,
    Opened,
    Pulse,
    Push,
    PushReply,
    Secret,
    ZoneName,
)

log = structlog.get_logger()

_REPEATS_S = 10.0
"""The stream repeats a lasting event about every second; unheard for so long, it is a new one."""
_POLL_KEPT = 512


class Config(CameraConfig):
    """One camera. `events`: "stream" (alertStream), "push" (the camera posts to `/ingest/{id}`; give `token`)
    or "poll" (old firmware). `channel`: the camera's. `barrier`: number of its barrier or alarm output.
    `serial`: checked if given. `silent_after_s`: a stream is dead after so long without a byte (the camera
    sends one about every 10 s); a camera that pushes is offline after it. `directions`: what forward and
    reverse mean at this lane. `timezone`: of times without an offset. `list_type`: how this firmware calls
    its allow-list. `list_capacity`: how many plates it holds."""

    type: Literal["hikvision"]
    events: Literal["stream", "push", "poll"] = "stream"
    token: Secret | None = None
    channel: int = Field(default=1, ge=1, le=64)
    barrier: int = Field(default=1, ge=1, le=16)
    serial: str | None = Field(default=None, min_length=1, max_length=64)
    silent_after_s: float = Field(default=40.0, gt=0, le=86_400)
    poll_ms: int = Field(default=1000, ge=200, le=60_000)
    directions: dict[Literal["forward", "reverse"], Direction] = Field(default_factory=dict)
    timezone: ZoneName = "Asia/Shanghai"
    list_type: Literal["allowList", "whiteList"] = "allowList"
    list_capacity: int = Field(default=10_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _token_for_pushes(self) -> Self:
        if (self.events == "push") != (self.token is not None):
            raise ValueError("token belongs to events: push, which needs it")
        return self


def create(config: Config, context: DeviceContext) -> HikvisionCamera:
    """The device for a configuration; does no I/O."""
    return (HikvisionPushCamera if config.events == "push" else HikvisionCamera)(config, context)


class HikvisionCamera:
    """`Device`, `Barrier`, `Position`, `Snapshots` and `AllowList`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._zone = ZoneInfo(config.timezone)
        self._reading = codec.Reading(
            self._zone, {str(name): direction for name, direction in config.directions.items()}
        )
        self._link = HttpLink(config, context.wire)
        self._entered = False
        self._info = DeviceInfo(vendor="Hikvision")
        self._routes: list[codec.Route] = []
        self._lasting: dict[tuple[str, str], float] = {}
        self._pulses: set[asyncio.Task[Opened | None]] = set()
        self.list_kinds = frozenset({CredentialKind.PLATE})
        self.list_capacity = config.list_capacity
        self.list_batch = codec.LIST_BATCH

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        """Connects, checks that it is the right camera, and asks its clock."""
        await self._link.__aenter__()
        try:
            self._info = await self._asked()
            self._routes = list(codec.routes(self._config.channel, self._config.barrier))
        except BaseException:
            await self._link.__aexit__()
            raise
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pulses:
            await asyncio.wait(self._pulses)  # each ends by itself, and must: it switches off
        self._entered = False
        await self._link.__aexit__()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Alerts as they come. Raises DeviceUnavailable when the stream ends or falls silent."""
        if self._config.events == "poll":
            async for read in self._polled():
                yield read
            return
        target = "/ISAPI/Event/notification/alertStream"
        async with contextlib.aclosing(
            self._link.stream(target, silent_after_s=self._config.silent_after_s)
        ) as parts:
            async for part in parts:
                event = self._event(part)
                if event is not None:
                    yield event

    # --- opening ----------------------------------------------------------------------------------------

    async def open(self, pulse: Pulse) -> Opened:
        """One opening, sent once; see `gated.ports.Barrier`. Only a route that this firmware says it does not
        have is followed by the next: it certainly did nothing."""
        if pulse.output not in (None, str(self._config.barrier)):
            said = f"its barrier is {self._config.barrier}, not {pulse.output!r}; nothing was sent"
            return Opened(OpeningOutcome.REJECTED, said)
        if not self._entered:
            return Opened(OpeningOutcome.UNREACHABLE, "it is not connected; nothing was sent")
        for route in list(self._routes):
            task = asyncio.create_task(self._by(route, pulse.milliseconds))
            self._pulses.add(task)
            task.add_done_callback(self._pulses.discard)
            # with an output that this host times, a cancelled opening goes on to its end
            answer = await (asyncio.shield(task) if route.release else task)
            if answer is not None:
                return answer
            self._routes.remove(route)
            log.info("opens_another_way", device=self.id, without=route.name)
        return Opened(OpeningOutcome.REJECTED, "this firmware knows none of the ways to open a barrier")

    async def _by(self, route: codec.Route, milliseconds: int) -> Opened | None:
        """None if this firmware has no such route."""
        try:
            answer = await self._link.ask("PUT", route.target, body=route.body)
        except NotSent as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        except DeviceRefused as error:
            return Opened(OpeningOutcome.REJECTED, str(error))
        except DeviceUnavailable as error:
            opened = Opened(OpeningOutcome.UNCERTAIN, str(error))
        else:
            said = codec.status(answer.status, answer.body)
            if said.unsupported:
                return None
            opened = codec.opened(said)
        if route.release is not None and opened.outcome is not OpeningOutcome.REJECTED:
            await asyncio.sleep(milliseconds / 1000)
            try:
                await self._link.ask("PUT", route.target, body=route.release)
            except (DeviceUnavailable, DeviceRefused):
                log.error("relay_left_closed", device=self.id, output=self._config.barrier)
                return Opened(OpeningOutcome.UNCERTAIN, "it was switched on, and not switched off again")
        return opened

    async def position(self, output: str | None = None) -> BarrierPosition:
        """Where the boom is, asked now; UNKNOWN where the camera has no signal of it."""
        target = f"/ISAPI/Parking/channels/{self._config.channel}/barrierGate/barrierGateStatus"
        try:
            answer = await self._link.ask("GET", target)
        except (DeviceUnavailable, DeviceRefused):
            return BarrierPosition.UNKNOWN
        return codec.position(answer.body) if answer.status == 200 else BarrierPosition.UNKNOWN

    async def snapshot(self) -> bytes:
        """A picture of now."""
        answer = await self._link.ask("GET", f"/ISAPI/Streaming/channels/{self._config.channel}01/picture")
        if answer.status != 200 or answer.body[:2] != b"\xff\xd8":
            raise NoAnswer(f"no picture (HTTP {answer.status})")
        return answer.body

    # --- its own list -----------------------------------------------------------------------------------

    async def held(self) -> frozenset[str] | None:
        """See `gated.ports.AllowList`."""
        return frozenset(await self._listed())

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        if not entries:
            return ()
        body = codec.list_put(list(entries), self._context.now(), self._zone, self._config.list_type)
        said = await self._listing("licensePlateAuditData/record", body)
        if said.code == 1:
            return ()
        if said.code in (0, 2):
            raise NoAnswer(said.why)
        if len(entries) == 1:
            return [entries[0].value]
        # one of them is not to its taste: halves find out which
        middle = len(entries) // 2
        return [*await self.put(entries[:middle]), *await self.put(entries[middle:])]

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        ids = await self._listed()
        wanted = [ids[value] for value in values if value in ids]
        if not wanted:
            return ()
        said = await self._listing("DelLicensePlateAuditData", codec.list_drop(wanted))
        if said.code != 1:
            raise NoAnswer(said.why)
        return ()

    async def _listing(self, what: str, body: bytes) -> codec.Status:
        target = f"/ISAPI/Traffic/channels/{self._config.channel}/{what}?format=json"
        answer = await self._link.ask("PUT", target, body=body, content_type="application/json", timeout_s=30)
        return codec.status(answer.status, answer.body)

    async def _listed(self) -> dict[str, str]:
        """All plates of its list with the camera's ids. Raises NoAnswer rather than to give half of it."""
        target = f"/ISAPI/Traffic/channels/{self._config.channel}/searchLPListAudit"
        search, found, position = str(uuid.uuid4()).upper(), dict[str, str](), 0
        while True:
            body = codec.list_search(position, codec.PAGE, search)
            answer = await self._link.ask("POST", target, body=body, timeout_s=30)
            try:
                page = codec.listed(answer.body)
            except _xml.Malformed as error:
                raise NoAnswer(f"its list cannot be read: {error}") from None
            found |= page.ids
            position += page.rows
            if position >= page.total:
                return found
            if page.rows == 0:
                raise NoAnswer(f"its list ends at {position} of {page.total}")

    # --- pieces -----------------------------------------------------------------------------------------

    def _event(self, part: Part) -> DeviceEvent | None:
        """What a part says, None where it says nothing new. Pictures have been left out on their way."""
        if part.body[:2] == b"\xff\xd8" or part.content_type.startswith("image/") or part.cut:
            return None
        try:
            alert = codec.alert(part.body, self.id, self._context.now(), self._reading)
        except _xml.Malformed as error:
            self._context.unparsed(self.id, "hikvision: malformed", part.body[:2048], str(error))
            return None
        if alert.unparsed is not None:
            self._context.unparsed(self.id, f"hikvision: {alert.kind}", part.body[:2048], alert.unparsed)
        if isinstance(alert.event, Observed) and self._repeats(alert.event):
            return None
        return alert.event

    def _repeats(self, seen: Observed) -> bool:
        """Whether a lasting event was told already."""
        key = (seen.what, seen.details.get("channel", ""))
        now = asyncio.get_running_loop().time()
        if not seen.active:
            return self._lasting.pop(key, None) is None
        before = self._lasting.get(key)
        if len(self._lasting) < 256 or before is not None:
            self._lasting[key] = now
        return before is not None and now - before < _REPEATS_S

    async def _polled(self) -> AsyncIterator[DeviceEvent]:
        """Reads by asking again and again; what there is at the beginning was before us: backlog."""
        target = f"/ISAPI/Traffic/channels/{self._config.channel}/vehicleDetect/plates"
        since, seen, first = "0", dict[str, None](), True
        while True:
            body = f"<AfterTime><picTime>{since}</picTime></AfterTime>".encode()
            answer = await self._link.ask("POST", target, body=body)
            if answer.status != 200:
                raise NoAnswer(f"polling plates: HTTP {answer.status}")
            try:
                reads = codec.plates(answer.body, self.id, self._context.now(), self._reading)
            except _xml.Malformed as error:
                self._context.unparsed(self.id, "hikvision: plates", answer.body[:2048], str(error))
                raise NoAnswer(str(error)) from None
            for read in reads:
                key = read.key or f"{read.raw}:{read.device_time}"
                if key in seen:
                    continue
                seen[key] = None
                if read.key is not None:
                    since = max(since, read.key.removeprefix("pic:"))
                yield replace(read, backlog=True) if first else read
            first = False
            while len(seen) > _POLL_KEPT:
                del seen[next(iter(seen))]
            await asyncio.sleep(self._config.poll_ms / 1000)

    async def _asked(self) -> DeviceInfo:
        answer = await self._link.ask("GET", "/ISAPI/System/deviceInfo")
        if answer.status == 404:
            raise ConfigError("it knows no ISAPI: is it a Hikvision camera, and is ISAPI switched on?")
        if answer.status != 200:
            raise NoAnswer(f"deviceInfo: HTTP {answer.status}")
        try:
            root = _xml.parse(answer.body)
        except _xml.Malformed as error:
            raise NoAnswer(f"deviceInfo: {error}") from None
        serial = _xml.text(root, "serialNumber")
        expected = self._config.serial
        if expected is not None and serial != expected:
            raise DeviceRefused(f"another camera is at its address: serial number {serial or '(none)'}")
        return DeviceInfo(
            vendor="Hikvision",
            model=_xml.text(root, "model"),
            firmware=_xml.text(root, "firmwareVersion"),
            serial=serial,
            clock_drift=await self._drift(),
        )

    async def _drift(self) -> timedelta | None:
        answer = await self._link.ask("GET", "/ISAPI/System/time")
        if answer.status != 200:
            return None
        try:
            told = codec.instant(_xml.text(_xml.parse(answer.body), "localTime"), self._zone)
        except _xml.Malformed:
            return None
        return None if told is None else told - self._context.now()


class HikvisionPushCamera(HikvisionCamera):
    """The same, with its events posted to `/ingest/{id}`; also a `Receiver`, and `Heard`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(config, context)
        self._presence = Presence(config.silent_after_s)

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Nothing, for events are pushed; ends when the camera answers no more. A camera that has nothing to
        tell pushes nothing: so it is asked."""
        while True:
            await asyncio.sleep(min(self._config.silent_after_s / 2, FIRST_PUSH_S * 4))
            told = await self._drift()
            if told is not None:
                now = self._context.now()
                yield Heartbeat(device=self.id, received_at=now, device_time=now + told)

    async def heard(self) -> None:
        """See `gated.ports.Heard`."""
        await self._presence.next_push()

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its events are durable: multipart with XML and pictures, or XML alone."""
        kind = push.headers.get("content-type", "")
        try:
            if "multipart" in kind.lower() or push.body.lstrip()[:2] == b"--":
                parts = _multipart.whole(push.body, kind, keep=0)
            else:
                parts = [Part({"content-type": "application/xml"}, push.body)]
        except _multipart.Malformed as error:
            self._context.unparsed(self.id, "hikvision: push", push.body[:512], str(error))
            raise BadPush(str(error)) from None
        self._presence.heard()
        texts = [p for p in parts if not p.cut and not p.content_type.startswith("image/")]
        understood = 0
        for part in texts:
            if not part.body.strip():
                continue
            try:
                alert = codec.alert(part.body, self.id, push.received_at, self._reading)
            except _xml.Malformed as error:
                self._context.unparsed(self.id, "hikvision: push", part.body[:2048], str(error))
                continue
            understood += 1
            if alert.event is None or (isinstance(alert.event, Observed) and self._repeats(alert.event)):
                continue
            await handle(alert.event)
        if texts and not understood:
            raise BadPush("no part of it is an alert")
        return PushReply(content_type="text/plain")
