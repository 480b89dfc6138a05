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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from gated.domain import BarrierPosition, LaneMode, OpeningOutcome
from gated.ports import DeviceError, Opened, Pulse

log = structlog.get_logger()

FAULTS = frozenset({OpeningOutcome.REJECTED, OpeningOutcome.UNREACHABLE, OpeningOutcome.UNCERTAIN})
"""Outcomes that put a lane into fault mode until an opening succeeds or its barrier device returns."""

STOPPED = Opened(OpeningOutcome.UNCERTAIN, "gated stopped while opening")
"""The outcome of an opening that a stop broke off."""

PULSE_MIN_MS, PULSE_MAX_MS = 500, 1500
_NOT_SENT = frozenset({OpeningOutcome.UNREACHABLE, OpeningOutcome.SUPPRESSED})
_WORTH_A_LOOK = frozenset({OpeningOutcome.ACCEPTED, OpeningOutcome.UNCERTAIN})
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
    """What is known of a lane's barrier; pure. Times are monotonic seconds. A lane without a barrier is held
    open and closed all the same."""

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
        if opened.outcome not in _NOT_SENT:
            self.ready_at = now + cool_down_s
        if opened.outcome in FAULTS:
            self.fault = opened.detail or opened.outcome.value
        elif opened.outcome in (OpeningOutcome.ACCEPTED, OpeningOutcome.CONFIRMED):
            self.fault = None


@dataclass(slots=True, eq=False)
class _Asked:
    """One opening that waits for its turn or has it. `asked_at`: monotonic seconds. `opened`: resolves with
    what became of it. `device`: what it was handed to, `answer` what that device will say, `timer` until when
    it may take; `late`: that time was over, and `unsent`: the device had not sent it by then."""

    id: str
    answers: str | None
    asked_at: float
    opened: asyncio.Future[Opened]
    device: Any = None
    answer: asyncio.Future[Any] | None = None
    timer: asyncio.TimerHandle | None = None
    late: bool = False
    unsent: bool = False


class BarrierControl:
    """Commands one lane's barrier, whose `state` it keeps. `find` gives the device that is connected now (a
    `gated.ports.Barrier`, if it can open, and a `Position`, if it can be asked), or None while it is away.

    `changed` is called whenever the state that people see may have changed.

    It works in callbacks of the event loop; only what an adapter does is a task.
    """

    def __init__(
        self,
        settings: BarrierSettings,
        state: BarrierState,
        find: Callable[[str], Any | None],
        monotonic: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.state = state
        self._find = find
        self._monotonic = monotonic
        self._changed = changed
        self._turn: _Asked | None = None
        self._queue: deque[_Asked] = deque()
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
        """The fire input changed. A command that has not left its device yet is withdrawn."""
        if active is self.state.held_open:
            return
        self.state.held_open = active
        self._changed()
        if active and self._turn is not None:
            _withdraw(self._turn)

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

    def open(self, opening_id: str, answers: str | None = None) -> asyncio.Future[Opened]:
        """One opening, sent at most once, when its turn has come. The future resolves with what became of
        it, and never with an error."""
        opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._queue.append(_Asked(opening_id, answers, self._monotonic(), opened))
        if self._turn is None:
            self._next()
        return opened

    @property
    def waiting(self) -> int:
        """How many openings wait for their turn."""
        return len(self._queue)

    @property
    def under_way(self) -> list[asyncio.Future[Opened]]:
        """The openings that were asked for and have not ended, in their order."""
        turn = [] if self._turn is None else [self._turn.opened]
        return [*turn, *(asked.opened for asked in self._queue)]

    async def stop(self) -> None:
        """Breaks off what is under way: its outcome is `STOPPED`, whether it had left or not."""
        for one in self._queue:
            _resolve(one, STOPPED)
        self._queue.clear()
        asked = self._turn
        if asked is None:
            return
        _resolve(asked, STOPPED)
        if asked.answer is not None:
            # it has its turn until the adapter has let go
            asked.answer.cancel()
            await asyncio.wait((asked.answer,))
        elif asked.timer is not None:
            asked.timer.cancel()
            self._turn = None

    def _next(self) -> None:
        """Gives the next openings their turn, until one has been sent or has to wait for the cool-down."""
        while self._turn is None and self._queue:
            asked = self._turn = self._queue.popleft()
            decided = self.state.before(self._monotonic(), asked.asked_at, self.settings.max_wait_s)
            if isinstance(decided, Opened):
                self._end(asked, decided)
            elif decided > 0:
                asked.timer = asyncio.get_running_loop().call_later(decided, self._cooled, asked, decided)
            else:
                self._send(asked)

    def _cooled(self, asked: _Asked, waited: float) -> None:
        # the fire input may have come while it waited
        decided = self.state.before(self._monotonic(), asked.asked_at, self.settings.max_wait_s + waited)
        if isinstance(decided, Opened):
            self._end(asked, decided)
        else:
            self._send(asked)
        self._next()

    def _send(self, asked: _Asked) -> None:
        settings = self.settings
        asked.device = device = self._find(settings.device)
        if device is None:
            why = f"{settings.device} is offline; nothing was sent"
            self._said(asked, Opened(OpeningOutcome.UNREACHABLE, why))
            return
        if not hasattr(device, "open"):  # isinstance of a Protocol takes longer than the rest of this
            self._said(asked, Opened(OpeningOutcome.REJECTED, f"{settings.device} cannot open anything"))
            return
        self._moved.clear()
        pulse = Pulse(asked.id, settings.pulse_ms, settings.output, asked.answers)
        try:
            # a task, unless the device has a future of its own
            asked.answer = answer = asyncio.ensure_future(device.open(pulse))
        except Exception as error:
            self._said(asked, self._failed(error))
            return
        asked.timer = asyncio.get_running_loop().call_later(settings.open_timeout_s, _give_up, asked)
        answer.add_done_callback(partial(self._answered, asked))

    def _answered(self, asked: _Asked, answer: asyncio.Future[Any]) -> None:
        if asked.timer is not None:
            asked.timer.cancel()
        if asked.unsent:
            why = f"{self.settings.device} could not send it in time; it was withdrawn"
            opened = Opened(OpeningOutcome.UNREACHABLE, why)
        elif answer.cancelled():
            why = "sent, no answer in time; not sent again"
            if not asked.late:
                why = "broken off while it was being sent; not sent again"
            opened = Opened(OpeningOutcome.UNCERTAIN, why)
        elif (error := answer.exception()) is not None:
            opened = self._failed(error)
        elif not isinstance(opened := answer.result(), Opened):
            opened = self._failed(TypeError(f"an adapter's open returned {type(opened).__name__}"))
        self._said(asked, opened)
        self._next()

    def _failed(self, error: BaseException) -> Opened:
        """An adapter that raises cannot say whether the command had left."""
        if isinstance(error, DeviceError):
            return Opened(OpeningOutcome.UNCERTAIN, str(error))
        if isinstance(error, TimeoutError):
            return Opened(OpeningOutcome.UNCERTAIN, "sent, no answer in time; not sent again")
        log.error("barrier_failed", device=self.settings.device, exc_info=error)
        return Opened(OpeningOutcome.UNCERTAIN, f"{type(error).__name__}: {error}")

    def _said(self, asked: _Asked, opened: Opened) -> None:
        """The device said what became of it, or there was none to ask."""
        self.state.after(opened, self._monotonic(), self.settings.cool_down_s)
        self._changed()
        self._end(asked, opened)

    def _end(self, asked: _Asked, opened: Opened) -> None:
        self._turn = None
        _resolve(asked, opened)

    # --- where the boom is afterwards -------------------------------------------------------------------

    def known(self, opened: Opened) -> Opened | None:
        """What became of a command, where nothing can be asked or watched for it; else None: `confirm` it."""
        if opened.outcome not in _WORTH_A_LOOK:
            return opened
        if self.settings.position_device is not None:
            return None
        device = self._find(self.settings.device)
        if device is None or hasattr(device, "position"):
            return None
        return self._confirmed(opened) if self._is_open() else opened

    async def confirm(self, opened: Opened) -> Opened:
        """After the command: looks at where the boom is. An accepted or uncertain opening becomes CONFIRMED
        when the boom is seen open in time; without any position it stays what it was."""
        known = self.known(opened)
        if known is not None:
            return known
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


def _resolve(asked: _Asked, opened: Opened) -> None:
    if not asked.opened.done():
        asked.opened.set_result(opened)


def _give_up(asked: _Asked) -> None:
    """The device has had its time."""
    if asked.answer is not None:
        asked.late = True
        asked.unsent = _withdraw(asked)
        asked.answer.cancel()


def _withdraw(asked: _Asked) -> bool:
    """Takes a command back from a device that can say that it has not left (`gated.ports.Withdraws`); its
    `open` then ends as SUPPRESSED. False if it may have left."""
    withdraw = getattr(asked.device, "withdraw", None)
    if withdraw is None or asked.answer is None or asked.answer.done():
        return False
    try:
        withdrawn = bool(withdraw(asked.id))
    except Exception:  # a defect of an adapter; the lane is held open, or goes on, all the same
        log.exception("opening_not_withdrawn", opening=asked.id)
        return False
    log.info("opening_withdrawn" if withdrawn else "opening_not_withdrawn", opening=asked.id)
    return withdrawn
