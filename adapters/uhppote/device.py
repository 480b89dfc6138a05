"""A UHPPOTE controller: entering, its events in order, opening a door, its cards.

What the packets mean is in `codec`, what the events mean in `meaning`; `journal` reads the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

import structlog

from adapters.uhppote import cards, codec, entries
from adapters.uhppote.calls import Calls
from adapters.uhppote.config import Config, listener
from adapters.uhppote.entries import Entry
from adapters.uhppote.journal import Journal, Lost
from adapters.uhppote.link import Link, Listener, NoAnswer, NotSent
from adapters.uhppote.meaning import Reading, instant
from gated.domain import CredentialKind, DeviceEvent, Heartbeat, OpeningOutcome
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

DELAY_S = 1
"""For how long a door may be unlocked by one opening: the only whole second between 500 and 1500 ms."""
_PC_CONTROL_S = 300.0
"""How often it is told anew that the host decides. Whatever is asked of it within 30 s keeps that alive."""
_HEARTBEAT_S = 60.0
_CLOCK_JUMP = timedelta(seconds=3)
_PAUSE_S = 0.02  # at most so often, however many events are pushed


def create(config: Config, context: DeviceContext) -> UhppoteController:
    """The device for a configuration; does no I/O."""
    return UhppoteController(config, context)


class UhppoteController:
    """`Device`, `Barrier` and `AllowList`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config, self._context = config, context
        self._zone = ZoneInfo(config.timezone)
        self._reading = Reading(context.id, self._zone, frozenset(config.doors), config.channels)
        self._journal = Journal(context.id)
        self._cards = cards.Cards(dict.fromkeys(config.doors, config.profile), self._zone)
        self._calls: Calls | None = None
        self._listener: Listener | None = None
        self._status: codec.Status | None = None
        self._bell = asyncio.Event()
        self._told_at = self._heart_at = 0.0
        self._doubt = False
        self._drift: timedelta | None = None
        self._info = DeviceInfo(vendor="UHPPOTE", serial=str(config.controller))
        self.list_kinds = frozenset({CredentialKind.CARD})
        self.list_capacity = config.list_capacity
        self.list_batch = cards.BATCH

    @property
    def info(self) -> DeviceInfo:
        return self._info

    # --- coming and going ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Checks that it is the right controller and that its doors are set as a barrier needs. Changes
        nothing there but what `set_doors` allows: it may be entered just to look."""
        config = self._config
        link = Link(config.host, config.port, config.protocol, config.timeout_ms / 1000, self._context.wire)
        calls = Calls(link, config.controller, self.id, self._context.unparsed)
        try:
            await link.resolve()
            found = await self._identify(calls)
            for door in config.doors:
                await self._check(calls, door)
            if config.profile > 1 and await calls.profile(config.profile) != config.profile:
                raise ConfigError(
                    f"it has no time profile {config.profile}: make it in the controller's own software, or"
                    " leave profile out"
                )
            told = instant(await calls.clock(), self._zone)
            self._drift = None if told is None else told - self._context.now()
            self._status = await calls.status()
            await self._journal.begin(calls, self._status)
        except NotSent as error:
            raise DeviceUnavailable(str(error)) from None
        doors = f"door{'s' * (len(config.doors) > 1)} {', '.join(map(str, config.doors))}"
        self._info = DeviceInfo("UHPPOTE", doors, found.firmware, str(found.controller), self._drift)
        self._heart_at = asyncio.get_running_loop().time()
        self._calls = calls
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hangs up. A controller that asked the host falls back to its own cards by itself."""
        self._calls = None
        heard, self._listener = self._listener, None
        if heard is not None:
            await heard.close()

    async def _identify(self, calls: Calls) -> codec.Identity:
        try:
            return await calls.identity()
        except DeviceUnavailable:
            other = await calls.anyone()  # a controller answers to nobody else's number
            if other is None or other.controller == calls.controller:
                raise
            raise DeviceRefused(
                f"another controller is at its address: {other.controller}, not {calls.controller}; correct"
                " `controller` (the number is printed on it) or `host`"
            ) from None

    async def _check(self, calls: Calls, door: int) -> None:
        """A barrier takes a contact that stays closed for a button that is held."""
        said = await calls.door(door)
        if (said.mode, said.delay) == (codec.CONTROLLED, DELAY_S):
            return
        mode = codec.MODES.get(said.mode, f"mode {said.mode}")
        if self._config.set_doors:
            log.info("door_set", device=self.id, door=door, was=mode, delay_s=said.delay)
            said = await calls.set_door(door, DELAY_S)
            if (said.mode, said.delay) != (codec.CONTROLLED, DELAY_S):
                raise DeviceRefused(f"door {door} does not take its settings: it stays {mode}")
            return
        raise ConfigError(
            f"door {door} is {mode}, unlocked for {said.delay} s; gated needs it controlled, for {DELAY_S} s:"
            " set it in the controller's own software, or let gated do it with set_doors: true"
        )

    async def _listen(self, calls: Calls) -> None:
        """Hears what it pushes, if that is wanted. Without it the log is polled all the same."""
        if self._config.listen is None or self._listener is not None:
            return
        address, port = listener(self._config.listen)
        try:
            self._listener = await Listener.at(str(address), port, self._pushed)
        except NotSent as error:
            log.warning("hears_no_events", device=self.id, why=str(error))
            return
        if await calls.listener() != (address, port) and not await calls.set_listener(address, port):
            log.warning("hears_no_events", device=self.id, why="the controller does not take the listener")

    async def _set_mode(self, calls: Calls) -> None:
        """Tells it who decides. Firmware that knows no remote control decides by itself."""
        remote = self._config.mode == "remote"
        try:
            taken = await calls.pc_control(remote)
        except DeviceUnavailable as error:
            if remote:
                raise DeviceUnavailable(
                    f"asked to let gated decide: {error}; if its firmware cannot, set mode: local"
                ) from None
            taken = True
        if not taken:
            raise DeviceRefused(f"it does not take mode: {self._config.mode}; look into its own software")
        self._told_at, self._doubt = asyncio.get_running_loop().time(), False

    # --- events -------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Takes control as `mode` says; then inputs as they are, the log from where it was left, and what
        follows. Raises DeviceUnavailable when the controller answers no more."""
        calls, status = self._calls, self._status
        if calls is None or status is None:
            raise DeviceUnavailable("not connected")
        await self._set_mode(calls)
        await self._listen(calls)
        for event in self._reading.inputs(status, None, self._context.now()):
            yield event
        clock = asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            while (item := await self._journal.next(calls, status)) is not None:
                entry = self._event(item)
                if entry is not None:
                    yield entry
                if self._journal.took(item):
                    await self._journal.save(calls)
                await self._keep_control(calls)
            await self._journal.save(calls)
            await self._keep_control(calls)
            await self._pause(asked_at)
            before, status = status, await calls.status()
            heart = self._heartbeat(status)
            if heart is not None:
                yield heart
            for event in self._reading.inputs(status, before, self._context.now()):
                yield event

    def _event(self, item: Entry | Lost) -> DeviceEvent | None:
        now = self._context.now()
        if isinstance(item, Lost):
            log.warning("events_lost", device=self.id, first=item.first, last=item.index)
            return self._reading.lost(item, now)
        past = item.index <= self._journal.past
        self._doubt |= not past and entries.decides_itself(item)
        return self._reading.event(item, now, past=past)

    def _pushed(self, packet: bytes) -> None:
        """Anybody can send such a packet, so that it only rings; what happened is asked of the controller."""
        if codec.pushed_by(packet) == self._config.controller:
            if self._context.wire is not None:
                self._context.wire("in", "event", packet)
            self._bell.set()

    async def _pause(self, asked_at: float) -> None:
        """Until the next poll, or the controller pushed an event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.poll_ms / 1000):
                await self._bell.wait()
        self._bell.clear()
        early = asked_at + _PAUSE_S - asyncio.get_running_loop().time()
        if early > 0:
            await asyncio.sleep(early)

    async def _keep_control(self, calls: Calls) -> None:
        """Says again that the host decides: now and then, and when it seems not to know."""
        if self._config.mode != "remote":
            return
        if self._doubt or asyncio.get_running_loop().time() - self._told_at >= _PC_CONTROL_S:
            await self._set_mode(calls)

    def _heartbeat(self, status: codec.Status) -> Heartbeat | None:
        """Its clock, now and then, and at once when it was set."""
        now, told = self._context.now(), instant(status.clock, self._zone)
        at = asyncio.get_running_loop().time()
        drift = None if told is None else told - now
        jumped = drift is not None and (self._drift is None or abs(drift - self._drift) > _CLOCK_JUMP)
        if not jumped and at - self._heart_at < _HEARTBEAT_S:
            return None
        self._heart_at, self._drift = at, drift
        return Heartbeat(device=self.id, received_at=now, device_time=told)

    # --- opening ------------------------------------------------------------------------------------------

    async def open(self, pulse: Pulse) -> Opened:
        """Unlocks a door, sent once; see `gated.ports.Barrier`. For how long is the door's own delay."""
        door = self._door(pulse.output)
        if door is None:
            said = f"output {pulse.output!r} is none of its doors {list(self._config.doors)}"
            return Opened(OpeningOutcome.REJECTED, f"{said}; nothing was sent")
        calls = self._calls
        if calls is None:
            return Opened(OpeningOutcome.UNREACHABLE, "not connected; nothing was sent")
        request = codec.open_door(calls.controller, door)
        try:
            done = codec.done(await calls.link.once(request), request)
        except NotSent as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        except (NoAnswer, ValueError) as error:
            return Opened(OpeningOutcome.UNCERTAIN, f"{error}; not sent again")
        if not done:
            return Opened(OpeningOutcome.REJECTED, f"the controller says that it did not open door {door}")
        return Opened(OpeningOutcome.ACCEPTED)

    def _door(self, output: str | None) -> int | None:
        """The door of an output. With several doors none is meant if none is named."""
        doors = self._config.doors
        if output is None:
            return doors[0] if len(doors) == 1 else None
        return next((door for door in doors if str(door) == output), None)

    # --- its own cards ------------------------------------------------------------------------------------

    async def held(self) -> frozenset[str] | None:
        """See `gated.ports.AllowList`."""
        return await self._cards.held(self._connected())

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        return await self._cards.put(self._connected(), entries)

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """See `gated.ports.AllowList`."""
        return await self._cards.drop(self._connected(), values)

    def _connected(self) -> Calls:
        if self._calls is None:
            raise DeviceUnavailable("not connected")
        return self._calls
