"""One lane: collects its reads into passages, decides, records, and then lets the barrier be pulsed.

The order is the promise: match, decide, record durably, open. What cannot be recorded is not opened. A read
is handled to its end before the next one of the same lane begins; lanes do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from gated.actuation import FAULTS, BarrierControl
from gated.alerts import AlertDesk, Raised, lane_fault
from gated.clocks import BoxClock
from gated.domain import (
    AlertDraft,
    BarrierPosition,
    Candidate,
    Credential,
    Decision,
    Disposition,
    LaneMode,
    OpeningOutcome,
    Outcome,
    Passage,
    Read,
)
from gated.ids import new_id
from gated.lane.collect import Collected, Collector, Relation
from gated.lane.settings import LaneSettings
from gated.outbox import passage_message
from gated.passbook import Passbook
from gated.ports import Handled, NotRecorded, Opened
from gated.status import LaneStatus
from gated.store.records import (
    AlreadyRecorded,
    NotReadable,
    OpeningRecord,
    PassageRecord,
    ReadRecord,
    StaleDecision,
)
from rules import Facts, Policy, decide

log = structlog.get_logger()

_DECIDED_AGAIN = 5
_RECORD_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Recorder(Protocol):
    """What the path needs of the store."""

    async def record(self, record: PassageRecord) -> None: ...
    async def record_read(self, record: ReadRecord) -> None: ...
    async def record_opening(self, record: OpeningRecord) -> None: ...


class Observer(Protocol):
    """Who counts what happens (metrics, the demo's table). Called on the event loop; must be quick."""

    def passage(self, passage: Passage, decision: Decision, seconds: float) -> None: ...
    def opening(self, lane: str, outcome: OpeningOutcome) -> None: ...
    def other_read(self, disposition: Disposition) -> None: ...


class RaiseAlert(Protocol):
    """Stores and announces an alert that belongs to no passage; returns at once."""

    def __call__(
        self,
        draft: AlertDraft,
        *,
        entrance: str | None = None,
        lane: str | None = None,
        device: str | None = None,
    ) -> None: ...


@dataclass(slots=True)
class Parts:
    """What all lanes share. `policy` and the passbook are replaced in place by a reload. `refresh` brings the
    passbook up to the store; `find` gives a device that can be commanded now; `end_alert` ends what a fold
    key is about."""

    recorder: Recorder
    passbook: Passbook
    policy: Policy
    desk: AlertDesk
    clock: BoxClock
    find: Callable[[str], object | None]
    refresh: Callable[[], Awaitable[object]]
    raise_alert: RaiseAlert
    end_alert: Callable[[str], None]
    observer: Observer


class Lane:
    """One way through an entrance. `changed` is called when its shown state may have changed."""

    def __init__(self, settings: LaneSettings, parts: Parts, changed: Callable[[str], None]) -> None:
        self.settings = settings
        self.parts = parts
        self._changed = changed
        self._order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.collector = Collector(settings.merge_s, settings.max_age)
        self.occupied: bool | None = None
        """Something is under the boom; None where no presence input has told."""
        self.control = self._make_control(settings)
        self._last: tuple[Outcome, str, datetime] | None = None

    def _make_control(self, settings: LaneSettings) -> BarrierControl | None:
        if settings.barrier is None:
            return None
        control = BarrierControl(
            settings.barrier, self.parts.find, self.parts.clock.monotonic, lambda: self._changed(settings.id)
        )
        control.state.closed = settings.closed
        return control

    def reconfigure(self, settings: LaneSettings) -> None:
        """Takes new settings without losing what is at the lane; a passage under way ends as it began."""
        self.collector.window_s = settings.merge_s
        self.collector.max_age = settings.max_age
        old, self.settings = self.settings.barrier, settings
        new = settings.barrier
        if (
            self.control is not None
            and old is not None
            and new is not None
            and (old.device, old.output) == (new.device, new.output)
        ):
            self.control.settings = new
            self.control.close_lane(settings.closed)
        else:
            before, self.control = self.control, self._make_control(settings)
            if before is not None and self.control is not None:
                self.control.state.held_open = before.state.held_open

    def restore(self, passage: Passage, settled: bool) -> None:
        """A passage of just before a restart: its vehicle may still be here, and is not opened for again."""
        clock = self.parts.clock
        ago_s = (clock.now() - passage.at).total_seconds()
        credential = passage.read.credential
        self.collector.restore(passage.id, credential, ago_s, clock.monotonic(), settled)

    @property
    def mode(self) -> LaneMode:
        if self.control is not None:
            return self.control.state.mode
        return LaneMode.CLOSED if self.settings.closed else LaneMode.NORMAL

    def status(self) -> LaneStatus:
        """The lane now."""
        outcome, passage_id, at = self._last or (None, None, None)
        control = self.control
        return LaneStatus(
            id=self.settings.id,
            entrance=self.settings.entrance,
            direction=self.settings.direction,
            mode=self.mode,
            position=control.state.position if control else BarrierPosition.UNKNOWN,
            barrier=self.settings.barrier.device if self.settings.barrier else None,
            last_outcome=outcome,
            last_passage_id=passage_id,
            last_at=at,
            waiting=control.waiting if control else 0,
            occupied=self.occupied,
        )

    def presence(self, occupied: bool | None) -> None:
        """The presence input spoke, or its device is away (None). It is shown: gated never lowers a boom, so
        nothing here could hit what is under it."""
        if occupied is not self.occupied:
            self.occupied = occupied
            self._changed(self.settings.id)

    # --- reads ------------------------------------------------------------------------------------------

    async def handle(self, read: Read, at: datetime) -> Handled:
        """Takes one read to its end: recorded, and the barrier commanded if it is granted. `at`: when it
        happened, corrected for the device's clock. Raises `NotRecorded` if it cannot be made durable; then
        nothing was opened."""
        started = time.perf_counter()
        async with self._order:
            monotonic = self.parts.clock.monotonic()
            collected = self.collector.collect(read, at, self.parts.clock.now(), monotonic)
            if collected.disposition is not Disposition.DECIDED:
                return await self._note(read, collected.disposition, collected.passage_id, at)
            if collected.relation is not Relation.NEW:
                decision, _ = self.decide(read.credential, read.confidence, at)
                if not self._stands_alone(collected, decision):
                    handled = await self._note(read, Disposition.MERGED, collected.current, at)
                    self.collector.remember(read, collected.passage_id)
                    self.collector.merged(collected, monotonic)
                    return handled
            return await self._pass(read, collected, at, monotonic, started)

    def decide(
        self, credential: Credential | None, confidence: float | None, at: datetime
    ) -> tuple[Decision, list[Candidate]]:
        """What the rules say of a credential here at a time; records nothing."""
        candidates = self.parts.passbook.match(credential)
        facts = Facts(
            lane=self.settings.id,
            entrance=self.settings.entrance,
            direction=self.settings.direction,
            credential=credential,
            confidence=confidence,
            candidates=candidates,
            lane_mode=self.mode,
        )
        return decide(self.parts.policy, facts, at), candidates

    def _stands_alone(self, collected: Collected, decision: Decision) -> bool:
        """Whether a read that may be of the vehicle at the lane still makes a passage of its own: only when
        it lets somebody through, and not when that vehicle already was, under the same credential."""
        if decision.outcome is not Outcome.GRANT:
            return False
        return collected.relation is Relation.RELATED or not collected.settled

    async def _note(
        self, read: Read, disposition: Disposition, passage_id: str | None, at: datetime
    ) -> Handled:
        """Records a read that decides nothing."""
        await self.parts.recorder.record_read(
            ReadRecord(
                read=read, disposition=disposition, lane=self.settings.id, passage_id=passage_id, at=at
            )
        )
        self.parts.observer.other_read(disposition)
        return Handled(passage_id=passage_id)

    async def _pass(
        self, read: Read, collected: Collected, at: datetime, monotonic: float, started: float
    ) -> Handled:
        passage = Passage(
            id=collected.passage_id,
            lane=self.settings.id,
            entrance=self.settings.entrance,
            direction=self.settings.direction,
            read=read,
            at=at,
            continues=None if collected.settled else collected.current,
        )
        try:
            decision = await self._record(passage)
        except AlreadyRecorded:
            # sent again after a restart: it was decided then, and is never opened twice
            self.collector.remember(read, passage.id)
            return await self._note(read, Disposition.DUPLICATE, passage.id, at)
        granted = decision.outcome is Outcome.GRANT
        self.collector.remember(read, passage.id)
        self.collector.decided(collected, read.credential, monotonic, settled=granted)
        self._last = (decision.outcome, passage.id, at)
        opening = self._start_opening(passage.id, read.key) if granted else None
        self.parts.observer.passage(passage, decision, time.perf_counter() - started)
        self._changed(self.settings.id)
        return Handled(
            passage_id=passage.id,
            granted=granted,
            opening=opening,
            barrier=self.settings.barrier.device if opening is not None and self.settings.barrier else None,
        )

    async def _record(self, passage: Passage) -> Decision:
        """Decides and makes it durable, anew if a pass changed in between. Raises AlreadyRecorded and
        NotRecorded."""
        parts = self.parts
        for _ in range(_DECIDED_AGAIN):
            change = parts.passbook.change
            decision, _ = self.decide(passage.read.credential, passage.read.confidence, passage.at)
            now = parts.clock.now()
            raised: list[Raised] = [
                parts.desk.raised(
                    draft,
                    now,
                    entrance=passage.entrance,
                    lane=passage.lane,
                    device=passage.read.device,
                    passage_id=passage.id,
                )
                for draft in decision.alerts
            ]
            record = PassageRecord(
                passage=passage,
                decision=decision,
                decided_at=now,
                change=change,
                alerts=tuple(one.alert for one in raised),
                messages=(passage_message(passage, decision), *(one.message for one in raised)),
            )
            try:
                await parts.recorder.record(record)
            except StaleDecision:
                try:
                    await parts.refresh()
                except NotReadable as why:
                    raise NotRecorded(f"the passes cannot be read now: {why}") from why
                continue
            for one in raised:
                parts.desk.keep(one)
            return decision
        raise NotRecorded("passes are changing faster than this passage can be decided")

    # --- openings ---------------------------------------------------------------------------------------

    def _start_opening(self, passage_id: str, answers: str | None) -> asyncio.Future[Opened] | None:
        if self.control is None:
            return None
        commanded: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        record = OpeningRecord(
            id=passage_id,
            lane=self.settings.id,
            cause="decision",
            outcome=OpeningOutcome.PENDING,
            requested_at=self.parts.clock.now(),
            finished_at=None,
            passage_id=passage_id,
        )
        self._spawn(self._open(self.control, record, answers, commanded))
        return commanded

    async def override(self, person: str, reason: str) -> OpeningRecord:
        """A named person opens by hand: recorded first, then pulsed; returns what became of it. Raises
        `NotRecorded`; then nothing was sent."""
        now = self.parts.clock.now()
        record = OpeningRecord(
            id=new_id(now),
            lane=self.settings.id,
            cause="override",
            outcome=OpeningOutcome.PENDING,
            requested_at=now,
            finished_at=None,
            person=person,
            reason=reason,
        )
        if self.control is None:
            record = _finished(record, Opened(OpeningOutcome.REJECTED, "this lane has no barrier"), now)
            await self.parts.recorder.record_opening(record)
            return record
        commanded: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        # in a task of its own: whoever asked may go away at any moment, and nothing is left half done
        self._spawn(self._open_by_hand(self.control, record, commanded))
        return _finished(record, await commanded, self.parts.clock.now())

    async def _open_by_hand(
        self, control: BarrierControl, record: OpeningRecord, commanded: asyncio.Future[Opened]
    ) -> None:
        try:
            await self.parts.recorder.record_opening(record)
        except BaseException as why:
            if not commanded.done():
                stopped = isinstance(why, asyncio.CancelledError)
                commanded.set_exception(NotRecorded("gated is stopping") if stopped else why)
            if isinstance(why, NotRecorded):
                return
            raise
        log.info("override", lane=self.settings.id, opening=record.id, person=record.person)
        await self._open(control, record, None, commanded)

    async def _open(
        self,
        control: BarrierControl,
        record: OpeningRecord,
        answers: str | None,
        commanded: asyncio.Future[Opened],
    ) -> None:
        try:
            opened = await control.open(record.id, answers)
        except BaseException:
            # stopped in between, or a defect of an adapter: nobody knows whether the command left
            if not commanded.done():
                commanded.set_result(Opened(OpeningOutcome.UNCERTAIN, "gated stopped while opening"))
            raise
        if not commanded.done():
            commanded.set_result(opened)
        if record.passage_id and _may_be_tried_again(opened, control):
            self.collector.unsettle(record.passage_id)
        stopped: asyncio.CancelledError | None = None
        try:
            final = await control.confirm(opened)
        except asyncio.CancelledError as error:  # what the device said is known all the same
            final, stopped = opened, error
        self.parts.observer.opening(self.settings.id, final.outcome)
        if final.outcome in FAULTS or (control.state.fault and final.outcome is OpeningOutcome.ACCEPTED):
            log.warning(
                "opening_failed", lane=self.settings.id, outcome=final.outcome.value, detail=final.detail
            )
            draft = lane_fault(self.settings.id, final.outcome.value, final.detail)
            self.parts.raise_alert(draft, entrance=self.settings.entrance, lane=self.settings.id)
        finished = _finished(record, final, self.parts.clock.now())
        if stopped is None:
            await self._persist(finished)
            return
        with contextlib.suppress(NotRecorded):
            await self.parts.recorder.record_opening(finished)
        raise stopped

    async def _persist(self, record: OpeningRecord) -> None:
        """Writes down what became of an opening, however long the store is away; if gated stops before, the
        next start records it as uncertain."""
        for delay in _RECORD_RETRY_S:
            try:
                await self.parts.recorder.record_opening(record)
            except NotRecorded as why:
                log.warning("opening_not_recorded", lane=record.lane, opening=record.id, why=str(why))
                await asyncio.sleep(delay)
            else:
                return
        log.error(
            "opening_left_unrecorded", lane=record.lane, opening=record.id, outcome=record.outcome.value
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self, timeout_s: float) -> None:
        """Waits for openings under way, at most so long; then they are cancelled."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(tuple(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _may_be_tried_again(opened: Opened, control: BarrierControl) -> bool:
    """Whether nothing was sent, or the device said no, so that the next read of the vehicle may open."""
    if opened.outcome is OpeningOutcome.SUPPRESSED:
        return not control.state.held_open
    return opened.outcome in (OpeningOutcome.UNREACHABLE, OpeningOutcome.REJECTED)


def _finished(record: OpeningRecord, opened: Opened, now: datetime) -> OpeningRecord:
    """The record of an opening with what became of it."""
    return OpeningRecord(
        id=record.id,
        lane=record.lane,
        cause=record.cause,
        outcome=opened.outcome,
        requested_at=record.requested_at,
        finished_at=now,
        passage_id=record.passage_id,
        person=record.person,
        reason=record.reason,
        detail=opened.detail,
    )
