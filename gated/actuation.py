"""Opening a barrier, safely: the state of one lane's barrier and the one place that commands it.

The rules, none of which can be configured away:

- It only ever pulses open. There is no command to close: the boom's own loop, radar and pressure logic do it.
- One opening in flight a lane, then a cool-down; each is sent once. Whatever the answer, it is never sent
  again: a timeout is recorded as uncertain, the position is read back, and a person is told.
- While the fire input holds the lane open nothing is sent: the release is hard-wired and bypasses gated.
- An opening that had to wait its turn until it was stale is not sent.
- Busy, unreachable and uncertain are faults of the lane, never a refusal of the person.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from gated.domain import BarrierPosition, LaneMode, OpeningOutcome
from gated.ports import DeviceError, Opened, Pulse

log = structlog.get_logger()

FAULTS = frozenset({OpeningOutcome.REJECTED, OpeningOutcome.UNREACHABLE, OpeningOutcome.UNCERTAIN})
"""Outcomes that put a lane into fault mode until an opening succeeds or its barrier device returns."""

PULSE_MIN_MS, PULSE_MAX_MS = 500, 1500
_LOOK_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class BarrierSettings:
    """How one barrier is driven. `device` and `output` name it; times in seconds, the pulse in
    milliseconds. `position_device`: what tells where the boom is, if anything does; an accepted opening is
    then watched until the boom is seen open. `position_asked`: it is also asked, about `position_output`; not
    where one of its inputs tells."""

    device: str
    output: str | None = None
    pulse_ms: int = 700
    cool_down_s: float = 1.0
    open_timeout_s: float = 3.0
    confirm_s: float = 5.0
    max_wait_s: float = 10.0
    position_device: str | None = None
    position_output: str | None = None
    position_asked: bool = True

    def __post_init__(self) -> None:
        if not PULSE_MIN_MS <= self.pulse_ms <= PULSE_MAX_MS:
            raise ValueError(f"a pulse is {PULSE_MIN_MS} to {PULSE_MAX_MS} ms, not {self.pulse_ms}")


@dataclass(slots=True)
class BarrierState:
    """What is known of a barrier; pure. Times are monotonic seconds."""

    held_open: bool = False
    closed: bool = False
    fault: str | None = None
    position: BarrierPosition = BarrierPosition.UNKNOWN
    ready_at: float = 0.0

    @property
    def mode(self) -> LaneMode:
        """The mode that is shown: fire before an operator's closing before a fault."""
        if self.held_open:
            return LaneMode.HELD_OPEN
        if self.closed:
            return LaneMode.CLOSED
        return LaneMode.FAULT if self.fault else LaneMode.NORMAL

    def before(self, now: float, asked_at: float, max_wait_s: float) -> Opened | float:
        """What to do with an opening whose turn it is: its outcome if it is not to be sent, else how many
        seconds of the cool-down are left."""
        if self.held_open:
            return Opened(OpeningOutcome.SUPPRESSED, "held open by the fire input; nothing was sent")
        wait = max(0.0, self.ready_at - now)
        if now + wait - asked_at > max_wait_s:
            return Opened(OpeningOutcome.SUPPRESSED, "waited too long for its turn; nothing was sent")
        return wait

    def after(self, opened: Opened, now: float, cool_down_s: float) -> None:
        """Takes in the answer to a command."""
        if opened.outcome is not OpeningOutcome.UNREACHABLE:
            self.ready_at = now + cool_down_s
        if opened.outcome in FAULTS:
            self.fault = opened.detail or opened.outcome.value
        elif opened.outcome in (OpeningOutcome.ACCEPTED, OpeningOutcome.CONFIRMED):
            self.fault = None


class BarrierControl:
    """Commands one lane's barrier. `find` gives the device that is connected now (a `gated.ports.Barrier`, if
    it can open, and a `Position`, if it can be asked), or None while it is away.

    `changed` is called whenever the state that people see may have changed.
    """

    def __init__(
        self,
        settings: BarrierSettings,
        find: Callable[[str], Any | None],
        monotonic: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.state = BarrierState()
        self.waiting = 0
        self._find = find
        self._monotonic = monotonic
        self._changed = changed
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    # --- what devices report ----------------------------------------------------------------------------

    def position_reported(self, position: BarrierPosition) -> None:
        """A fresh report of where the boom is."""
        if position is not self.state.position:
            self.state.position = position
            self._moved.set()
            self._changed()

    def position_lost(self) -> None:
        """The reporting device is away: a stale position is never shown."""
        self.position_reported(BarrierPosition.UNKNOWN)

    def fire(self, active: bool) -> None:
        """The fire input changed."""
        if active is not self.state.held_open:
            self.state.held_open = active
            self._changed()

    def close_lane(self, closed: bool) -> None:
        """An operator takes the lane out of use, or back. The boom is not moved."""
        if closed is not self.state.closed:
            self.state.closed = closed
            self._changed()

    def device_returned(self) -> None:
        """The barrier's device is connected again: what was a fault is to be tried anew."""
        if self.state.fault is not None:
            self.state.fault = None
            self._changed()

    def device_lost(self, why: str) -> None:
        """The barrier's device is away."""
        self.state.fault = why
        self._changed()

    # --- opening ----------------------------------------------------------------------------------------

    async def open(self, opening_id: str, answers: str | None = None) -> Opened:
        """One opening, sent at most once. Waits for its turn; never raises a device error."""
        asked_at = self._monotonic()
        self.waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.waiting -= 1
        try:
            return await self._in_turn(opening_id, answers, asked_at)
        finally:
            self._turn.release()

    async def _in_turn(self, opening_id: str, answers: str | None, asked_at: float) -> Opened:
        settings = self.settings
        decided = self.state.before(self._monotonic(), asked_at, settings.max_wait_s)
        if isinstance(decided, float) and decided > 0:
            await asyncio.sleep(decided)
            # the fire input may have come while it waited
            decided = self.state.before(self._monotonic(), asked_at, settings.max_wait_s + decided)
        if isinstance(decided, Opened):
            return decided
        opened = await self._command(Pulse(opening_id, settings.pulse_ms, settings.output, answers))
        self.state.after(opened, self._monotonic(), settings.cool_down_s)
        self._changed()
        return opened

    async def _command(self, pulse: Pulse) -> Opened:
        device = self._find(self.settings.device)
        if device is None:
            return Opened(OpeningOutcome.UNREACHABLE, f"{self.settings.device} is offline; nothing was sent")
        if not hasattr(device, "open"):  # isinstance of a Protocol takes longer than the rest of this
            return Opened(OpeningOutcome.REJECTED, f"{self.settings.device} cannot open anything")
        self._moved.clear()
        try:
            async with asyncio.timeout(self.settings.open_timeout_s):
                opened: Opened = await device.open(pulse)
                return opened
        except TimeoutError:
            return Opened(OpeningOutcome.UNCERTAIN, "sent, no answer in time; not sent again")
        except DeviceError as error:
            # an adapter that raises cannot say whether the command had left
            return Opened(OpeningOutcome.UNCERTAIN, str(error))
        except Exception as error:
            log.exception("barrier_failed", device=self.settings.device)
            return Opened(OpeningOutcome.UNCERTAIN, f"{type(error).__name__}: {error}")

    async def confirm(self, opened: Opened) -> Opened:
        """After the command: looks at where the boom is. An accepted or uncertain opening becomes CONFIRMED
        when the boom is seen open in time; without any position it stays what it was."""
        if opened.outcome not in (OpeningOutcome.ACCEPTED, OpeningOutcome.UNCERTAIN):
            return opened
        source = self.settings.position_device
        if source is None:
            # nothing is configured to tell; the barrier's own device may know
            await self._ask(self.settings.device, self.settings.output)
            return self._confirmed(opened) if self._is_open() else opened
        if await self._seen_open(source):
            return self._confirmed(opened)
        if opened.outcome is OpeningOutcome.ACCEPTED:
            self.state.fault = "accepted, but the boom was not seen to open"
            self._changed()
            return Opened(OpeningOutcome.ACCEPTED, self.state.fault)
        return opened

    def _is_open(self) -> bool:
        return self.state.position is BarrierPosition.OPEN

    async def _seen_open(self, source: str) -> bool:
        """Watches reports, and asks where it can, until the boom is open or the time is up."""
        try:
            async with asyncio.timeout(self.settings.confirm_s):
                while True:
                    self._moved.clear()
                    if self.settings.position_asked:
                        await self._ask(source, self.settings.position_output)
                    if self._is_open():
                        break
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY_S):
                            await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self, device_id: str, output: str | None) -> None:
        """Asks a device that can be asked; what it said before counts no more if it does not answer."""
        device = self._find(device_id)
        if device is not None and not hasattr(device, "position"):
            return
        position = BarrierPosition.UNKNOWN
        try:
            async with asyncio.timeout(self.settings.confirm_s):
                if device is not None:
                    position = await device.position(output)
        except (TimeoutError, DeviceError) as error:
            log.debug("position_unknown", device=device_id, error=str(error))
        except Exception as error:  # a defect of an adapter; what became of the opening is still recorded
            log.warning("position_failed", device=device_id, error=f"{type(error).__name__}: {error}")
        self.position_reported(position)

    def _confirmed(self, opened: Opened) -> Opened:
        if self.state.fault is not None:
            self.state.fault = None
            self._changed()
        return Opened(OpeningOutcome.CONFIRMED, opened.detail)
