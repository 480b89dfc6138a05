"""One lane: collects its reads into passages, decides, records, and then lets the barrier be pulsed.

The order is the promise: match, decide, record durably, open. What cannot be recorded is not opened. A read
is handled to its end before the next one of the same lane begins; lanes do not wait for each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from gated.actuation import BarrierControl
from gated.alerts import Raised, opened_alone
from gated.domain import (
    Candidate,
    Credential,
    CredentialKind,
    Decision,
    Disposition,
    LaneMode,
    Outcome,
    Passage,
    Read,
)
from gated.lane.alone import NOT_COVERED, OPENED_BY, OWN_LIST, covering
from gated.lane.collect import Collected, Collector, Relation
from gated.lane.openings import Openings
from gated.lane.parts import Parts
from gated.lane.settings import LaneSettings
from gated.outbox import passage_message
from gated.passbook import Seen
from gated.ports import Handled, NotRecorded
from gated.status import LaneStatus
from gated.store.records import (
    AlreadyRecorded,
    NotReadable,
    PassageRecord,
    ReadRecord,
    StaleDecision,
)
from rules import Situation, decide
from rules.compare import compared
from rules.memory import Passed

_DECIDED_AGAIN = 5
_NO_DETAILS: Mapping[str, str] = MappingProxyType({})


class Lane:
    """One way through an entrance. `changed` is called when its shown state may have changed."""

    def __init__(self, settings: LaneSettings, parts: Parts, changed: Callable[[str], None]) -> None:
        self.settings = settings
        self.parts = parts
        self._changed = changed
        self._order = asyncio.Lock()
        self.collector = Collector(settings.merge_s, settings.max_age)
        self.occupied: bool | None = None
        """Something is under the boom; None where no presence input has told."""
        self.openings = Openings(
            settings, parts, changed=lambda: changed(settings.id), again=self.collector.unsettle
        )
        self._last: tuple[Outcome, str, datetime] | None = None

    def reconfigure(self, settings: LaneSettings) -> None:
        """Takes new settings without losing what is at the lane; a passage under way ends as it began."""
        self.settings = settings
        self.collector.window_s = settings.merge_s
        self.collector.max_age = settings.max_age
        self.openings.reconfigure(settings)

    def restore(self, passage: Passage, settled: bool, pass_id: str | None = None) -> None:
        """A passage of just before a restart: its vehicle may still be here, and is not opened for again."""
        clock = self.parts.clock
        ago_s = (clock.now() - passage.at).total_seconds()
        credential = passage.read.credential
        self.collector.restore(passage.id, credential, ago_s, clock.monotonic(), settled, pass_id)

    @property
    def control(self) -> BarrierControl | None:
        """The lane's barrier, if it has one."""
        return self.openings.control

    @property
    def mode(self) -> LaneMode:
        """How the lane works now."""
        return self.openings.state.mode

    @property
    def busy(self) -> bool:
        """Whether a read is being handled or an opening has not ended."""
        return self._order.locked() or bool(self.openings.under_way)

    @property
    def held_open(self) -> bool:
        """Whether the fire input is on."""
        return self.openings.state.held_open

    def status(self) -> LaneStatus:
        """The lane now."""
        outcome, passage_id, at = self._last or (None, None, None)
        control = self.control
        return LaneStatus(
            id=self.settings.id,
            entrance=self.settings.entrance,
            direction=self.settings.direction,
            mode=self.mode,
            position=self.openings.state.position,
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
            now, monotonic = self.parts.clock.now(), self.parts.clock.monotonic()
            collected = self.collector.collect(read, at, now, monotonic)
            if collected.disposition is not Disposition.DECIDED:
                return await self._note(read, collected.disposition, collected.passage_id, at)
            if collected.relation is not Relation.NEW:
                decision, candidates = self.decide(
                    read.credential, read.confidence, at, read.details, collected.reads
                )
                if not self._stands_alone(collected, decision, candidates):
                    handled = await self._note(read, Disposition.MERGED, collected.current, at)
                    self.collector.remember(read, collected.passage_id)
                    self.collector.merged(collected, monotonic, seen_in(read))
                    return handled
            return await self._pass(read, collected, at, now, monotonic, started)

    def decide(
        self,
        credential: Credential | None,
        confidence: float | None,
        at: datetime,
        details: Mapping[str, str] = _NO_DETAILS,
        reads: tuple[Seen, ...] = (),
    ) -> tuple[Decision, list[Candidate]]:
        """What the rules say of a credential here at a time, and the passes that it is on; records nothing.
        `reads`: what else was read of the same vehicle."""
        situation = self._situation(credential, confidence, details, reads)
        return decide(self.parts.policy, situation, at), list(situation.candidates)

    def _situation(
        self,
        credential: Credential | None,
        confidence: float | None,
        details: Mapping[str, str],
        reads: tuple[Seen, ...],
    ) -> Situation:
        parts, settings = self.parts, self.settings

        def near() -> Sequence[Candidate]:
            if credential is None or credential.kind is not CredentialKind.PLATE:
                return ()
            others = [one for one in reads if one.credential != credential]
            return parts.passbook.near([Seen(credential, confidence), *others])

        return Situation(
            settings.id,
            settings.entrance,
            settings.direction,
            credential,
            confidence,
            parts.passbook.match(credential),
            self.mode,
            near,
            details,
            parts.site,
        )

    def _stands_alone(
        self, collected: Collected, decision: Decision, candidates: Sequence[Candidate]
    ) -> bool:
        """Whether a read that may be of the vehicle at the lane still makes a passage of its own: only when
        it lets somebody through, and not when that vehicle already was, under the same credential, on the
        same pass, or on one that this read only nearly means."""
        if decision.outcome is not Outcome.GRANT:
            return False
        if not collected.settled:
            return True
        if collected.relation is not Relation.RELATED:
            return False
        exact = any(one.facts.pass_id == decision.pass_id for one in candidates)
        return decision.pass_id is None or (exact and decision.pass_id != collected.pass_id)

    async def _note(
        self, read: Read, disposition: Disposition, passage_id: str | None, at: datetime
    ) -> Handled:
        """Records a read that decides nothing. What the device opened for by itself is marked with the pass
        that covered it; where none did, somebody is told."""
        if disposition is Disposition.BACKLOG and read.details.get(OPENED_BY) == OWN_LIST:
            read = self._opened_alone(read, at)
        await self.parts.recorder.record_read(
            ReadRecord(
                read=read, disposition=disposition, lane=self.settings.id, passage_id=passage_id, at=at
            )
        )
        self.parts.observer.other_read(disposition)
        return Handled(passage_id=passage_id)

    def _opened_alone(self, read: Read, at: datetime) -> Read:
        covered = covering(self.parts.passbook.match(read.credential), self.settings.entrance, at)
        if covered is None:
            shown = read.credential.value if read.credential is not None else read.raw or "?"
            self.parts.raise_alert(
                opened_alone(read.device, shown, NOT_COVERED),
                entrance=self.settings.entrance,
                lane=self.settings.id,
                device=read.device,
            )
        return replace(read, details={**read.details, "covered_by": covered or "nothing"})

    async def _pass(
        self,
        read: Read,
        collected: Collected,
        at: datetime,
        now: datetime,
        monotonic: float,
        started: float,
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
            decision = await self._record(passage, now, collected.reads)
        except AlreadyRecorded:
            # sent again after a restart: it was decided then, and is never opened twice
            self.collector.remember(read, passage.id)
            return await self._note(read, Disposition.DUPLICATE, passage.id, at)
        granted = decision.outcome is Outcome.GRANT
        self.collector.remember(read, passage.id)
        self.collector.decided(
            collected,
            read.credential,
            monotonic,
            settled=granted,
            pass_id=decision.pass_id if granted else None,
            seen=seen_in(read),
        )
        self._last = (decision.outcome, passage.id, at)
        opening = self.openings.for_passage(passage.id, read.key) if granted else None
        self.parts.observer.passage(passage, decision, time.perf_counter() - started)
        self._changed(self.settings.id)
        return Handled(
            passage_id=passage.id,
            granted=granted,
            opening=opening,
            barrier=self.settings.barrier.device if opening is not None and self.settings.barrier else None,
        )

    async def _record(self, passage: Passage, now: datetime, reads: tuple[Seen, ...]) -> Decision:
        """Decides and makes it durable, anew if a pass changed in between. Raises AlreadyRecorded and
        NotRecorded."""
        parts, read = self.parts, passage.read
        for _ in range(_DECIDED_AGAIN):
            change = parts.passbook.change
            situation = self._situation(read.credential, read.confidence, read.details, reads)
            decision = decide(parts.policy, situation, passage.at)
            if parts.shadow is not None:
                decision = compared(decision, parts.shadow, situation, passage.at)
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
                now = parts.clock.now()
                continue
            for one in raised:
                parts.desk.keep(one)
            parts.memory.passed(
                Passed(
                    passage.id,
                    passage.lane,
                    passage.direction,
                    passage.at,
                    read.credential,
                    decision.outcome,
                    decision.pass_id,
                    passage.continues,
                )
            )
            return decision
        raise NotRecorded("passes are changing faster than this passage can be decided")


def seen_in(read: Read) -> Seen | None:
    """What a read says of the vehicle's credential."""
    return None if read.credential is None else Seen(read.credential, read.confidence)
