"""The openings of one lane, each from the command to the record of what became of it.

An opening that a decision asks for is on record with its passage; one by hand is recorded here, first. Then
the barrier is commanded, once; where anything can tell, it is seen whether the boom went up; and the outcome
is written down. Nothing here decides who may pass, and `gated.actuation` alone commands the barrier.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

import structlog

from gated.actuation import FAULTS, STOPPED, BarrierControl, BarrierState
from gated.alerts import lane_fault
from gated.domain import OpeningOutcome
from gated.ids import new_id
from gated.lane.parts import Parts
from gated.lane.settings import LaneSettings
from gated.ports import NotRecorded, Opened
from gated.store.records import OpeningRecord

log = structlog.get_logger()

T = TypeVar("T")

_RECORD_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PENDING = Opened(OpeningOutcome.PENDING)


@dataclass(slots=True, eq=False)
class _Opening:
    """One opening under way. `person` and `reason`: of one by hand."""

    id: str
    lane: str
    requested_at: datetime
    passage_id: str | None = None
    person: str | None = None
    reason: str | None = None

    def record(self, opened: Opened, finished_at: datetime | None) -> OpeningRecord:
        """As it stands then."""
        return OpeningRecord(
            id=self.id,
            lane=self.lane,
            cause="decision" if self.person is None else "override",
            outcome=opened.outcome,
            requested_at=self.requested_at,
            finished_at=finished_at,
            passage_id=self.passage_id,
            person=self.person,
            reason=self.reason,
            detail=opened.detail,
        )


class Openings:
    """Opens one lane, for decisions and for people. `control` is None where the lane has no barrier; its
    `state` is known all the same, for a fire input may tell of it. `changed`: what is shown may have changed.
    `again`: nothing was sent for a passage, or its device said no: the next read of the vehicle may open."""

    def __init__(
        self,
        settings: LaneSettings,
        parts: Parts,
        *,
        changed: Callable[[], None],
        again: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._changed = changed
        self._again = again
        self.under_way: set[asyncio.Future[Any]] = set()
        """Commands, looks at the boom, and records that have not ended."""
        self._controls: dict[tuple[str, str | None], BarrierControl] = {}
        """By device and output each barrier that the lane has had: it may be opening, or be its own again."""
        self.state = BarrierState(closed=settings.closed)
        self.control = self._take_control()

    def _take_control(self) -> BarrierControl | None:
        """Of the barrier that is configured now. One that the lane had before keeps turn and cool-down."""
        barrier, parts = self._settings.barrier, self._parts
        if barrier is None:
            return None
        key = (barrier.device, barrier.output)
        control = self._controls.get(key)
        if control is None:
            control = BarrierControl(barrier, self.state, parts.find, parts.clock.monotonic, self._changed)
            self._controls[key] = control
        else:
            self.state.ready_at = control.state.ready_at
            control.settings, control.state = barrier, self.state
        return control

    def reconfigure(self, settings: LaneSettings) -> None:
        """Takes new settings. What is under way ends at the barrier that it was asked of, in its way."""
        old, new, self._settings = self._settings.barrier, settings.barrier, settings
        same = old is not None and new is not None and (old.device, old.output) == (new.device, new.output)
        if self.control is None or new is None or not same:
            self.state = BarrierState(held_open=self.state.held_open, closed=self.state.closed)
            self.control = self._take_control()
        else:
            self.control.settings = new
        if settings.closed is not self.state.closed:
            self.state.closed = settings.closed
            self._changed()

    def fire(self, active: bool) -> None:
        """The fire input changed: it counts for every opening that has not been sent, also for those of a
        barrier that another one has replaced."""
        for control in self._controls.values():
            control.fire(active)
        if active is not self.state.held_open:  # without a barrier
            self.state.held_open = active
            self._changed()

    def asked_of(self, device: str) -> list[asyncio.Future[Opened]]:
        """The openings asked of this barrier device that have not ended."""
        controls = self._controls.values()
        return [one for each in controls if each.settings.device == device for one in each.under_way]

    # --- what is opened ---------------------------------------------------------------------------------

    def for_passage(self, passage_id: str, answers: str | None) -> asyncio.Future[Opened] | None:
        """A passage that is granted and on disk: commands its opening, now or when it is its turn. The
        future resolves with what became of the command; None without a barrier. `answers`: the key of the
        event, for a device that opens by the reply to it."""
        if self.control is None:
            return None
        opening = _Opening(passage_id, self._settings.id, self._parts.clock.now(), passage_id)
        return self._command(self.control, opening, answers)

    async def by_hand(self, person: str, reason: str) -> OpeningRecord:
        """A named person opens: recorded first, then pulsed; returns what became of it. Raises
        `NotRecorded`; then nothing was sent."""
        clock = self._parts.clock
        now = clock.now()
        opening = _Opening(new_id(now), self._settings.id, now, person=person, reason=reason)
        if self.control is None:
            record = opening.record(Opened(OpeningOutcome.REJECTED, "this lane has no barrier"), now)
            await self._parts.recorder.record_opening(record)
            return record
        # in a task of its own: whoever asked may go away at any moment, and nothing is left half done
        recorded = self._spawn(self._record_and_command(self.control, opening))
        recorded.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if nobody waits
        try:
            commanded = await asyncio.shield(recorded)
        except asyncio.CancelledError:
            if recorded.cancelled():
                raise NotRecorded("gated is stopping") from None
            raise
        return opening.record(await asyncio.shield(commanded), clock.now())

    async def _record_and_command(self, control: BarrierControl, opening: _Opening) -> asyncio.Future[Opened]:
        await self._parts.recorder.record_opening(opening.record(_PENDING, None))
        log.info("override", lane=opening.lane, opening=opening.id, person=opening.person)
        return self._command(control, opening, None)

    def _command(
        self, control: BarrierControl, opening: _Opening, answers: str | None
    ) -> asyncio.Future[Opened]:
        commanded = control.open(opening.id, answers)
        self.under_way.add(commanded)
        commanded.add_done_callback(partial(self._commanded, control, opening))
        return commanded

    # --- what became of it ------------------------------------------------------------------------------

    def _commanded(
        self, control: BarrierControl, opening: _Opening, commanded: asyncio.Future[Opened]
    ) -> None:
        self.under_way.discard(commanded)
        opened = commanded.result()
        if opened is STOPPED:  # the next start records it, and tells a person
            return
        if opening.passage_id is not None and _may_be_tried_again(opened, control):
            self._again(opening.passage_id)
        known = control.known(opened)
        if known is None:
            self._spawn(self._watch(control, opening, opened))
        else:
            self._write(self._ended(control, opening, known))

    async def _watch(self, control: BarrierControl, opening: _Opening, opened: Opened) -> None:
        """Sees where the boom is, and records that."""
        try:
            final = await control.confirm(opened)
        except asyncio.CancelledError:  # what the device said is known all the same
            with contextlib.suppress(NotRecorded):
                await self._parts.recorder.record_opening(self._ended(control, opening, opened))
            raise
        self._write(self._ended(control, opening, final))

    def _ended(self, control: BarrierControl, opening: _Opening, final: Opened) -> OpeningRecord:
        """Counts and tells what became of it; the record that says so."""
        parts, lane = self._parts, opening.lane
        parts.observer.opening(lane, final.outcome)
        if final.outcome in FAULTS or (control.state.fault and final.outcome is OpeningOutcome.ACCEPTED):
            log.warning("opening_failed", lane=lane, outcome=final.outcome.value, detail=final.detail)
            draft = lane_fault(lane, final.outcome.value, final.detail)
            parts.raise_alert(draft, entrance=self._settings.entrance, lane=lane)
        return opening.record(final, parts.clock.now())

    def _write(self, record: OpeningRecord) -> None:
        """Writes down what became of an opening, however long the store is away; if gated stops before, the
        next start records it as uncertain."""
        try:
            written = asyncio.ensure_future(self._parts.recorder.record_opening(record))
        except Exception as why:
            self._not_written(record, why)
            return
        self.under_way.add(written)
        written.add_done_callback(partial(self._written, record))

    def _written(self, record: OpeningRecord, written: asyncio.Future[None]) -> None:
        self.under_way.discard(written)
        if not written.cancelled() and (why := written.exception()) is not None:
            self._not_written(record, why)

    def _not_written(self, record: OpeningRecord, why: BaseException) -> None:
        if isinstance(why, NotRecorded):
            self._spawn(self._write_again(record, why))
        else:
            log.error("opening_left_unrecorded", lane=record.lane, opening=record.id, exc_info=why)

    async def _write_again(self, record: OpeningRecord, why: NotRecorded) -> None:
        for delay in chain(_RECORD_RETRY_S, repeat(_RECORD_RETRY_S[-1])):
            log.warning("opening_not_recorded", lane=record.lane, opening=record.id, why=str(why))
            await asyncio.sleep(delay)
            try:
                await self._parts.recorder.record_opening(record)
            except NotRecorded as again:
                why = again
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        return task

    async def settled(self, timeout_s: float) -> None:
        """Waits for openings under way, at most so long; then they are broken off."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while self.under_way and (left := until - loop.time()) > 0:
            await asyncio.wait(self.under_way, timeout=left)
        if not self.under_way:
            return
        for control in list(self._controls.values()):
            await control.stop()
        # no command: it is its control's; no record that the store has: it is written before the store closes
        late = [one for one in self.under_way if isinstance(one, asyncio.Task)]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _may_be_tried_again(opened: Opened, control: BarrierControl) -> bool:
    """Whether nothing was sent, or the device said no, so that the next read of the vehicle may open."""
    if opened.outcome is OpeningOutcome.SUPPRESSED:
        return not control.state.held_open
    return opened.outcome in (OpeningOutcome.UNREACHABLE, OpeningOutcome.REJECTED)
