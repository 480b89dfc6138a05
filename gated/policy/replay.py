"""A policy over recorded passages: who would have been treated otherwise, and why.

Each passage is judged on what its receipt holds: the passes as they were then, and the facts that were asked.
Facts that the policy itself makes (calendar, limits, demanded proofs) are found anew; what the receipt lacks
comes from a memory that is driven by the recorded passages in their order, and where passes were not recorded
(before receipts) from the passes as they are now, which is counted as approximate. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from gated.domain import (
    BarrierPosition,
    Candidate,
    Credential,
    CredentialKind,
    Direction,
    LaneMode,
    Outcome,
    Text,
)
from gated.lane import SiteSurroundings
from gated.lists import Dwellings, Lists
from gated.passbook import Passbook, Seen
from gated.store.tables import passages
from gated.times import from_us, to_us
from gated.watched import Watched
from rules import Policy, Situation, decide
from rules.decide import RULE_FAILED, outcome_of
from rules.facts import TABLE, FactType
from rules.memory import Memory, Passed
from rules.receipt import candidate_of

_PAGE = 5000
_CACHED = 20_000
_ANEW = ("calendar.", "limits.", "groups.", "proof.", "decision.", "guard.")
"""Facts that a policy makes itself: another one makes others."""
_OF_ONE_PASS = ("pass.", "match.", "holder.", "presence.")
_OUTCOMES = {one.value: one for one in Outcome}
_DIRECTIONS = {one.value: one for one in Direction}
_KINDS = {one.value: one for one in CredentialKind}
_MODES = {one.value: one for one in LaneMode}

_COLUMNS = (
    passages.c.n,
    passages.c.id,
    passages.c.lane,
    passages.c.entrance,
    passages.c.direction,
    passages.c.at,
    passages.c.credential_kind,
    passages.c.credential,
    passages.c.confidence,
    passages.c.outcome,
    passages.c.reason,
    passages.c.pass_id,
    passages.c.continues,
    passages.c.details,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A passage that would have ended otherwise. `text`: what the new policy says."""

    passage_id: str
    at: datetime
    lane: str
    credential: str
    was: Outcome
    was_reason: str
    now: Outcome
    now_reason: str
    rule: str
    text: Text


@dataclass(slots=True)
class Tally:
    """What a replay has seen so far. `changes`: (outcome then, outcome now, rule) to how many; `reasons`:
    passages with the same outcome for another reason; `approximate`: those whose passes were not recorded;
    `failed`: those at which a rule could not be evaluated."""

    passages: int = 0
    same: int = 0
    reasons: int = 0
    approximate: int = 0
    failed: int = 0
    changes: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def different(self) -> int:
        """How many would have ended otherwise."""
        return sum(self.changes.values())


class Replay:
    """Runs a policy over passages, one after the other. `book`, `lists`, `dwellings`: as they are now, for
    what was not recorded; `watched`: what watching devices saw meanwhile. `against`: compare with what this
    policy says instead of what was recorded."""

    def __init__(
        self,
        policy: Policy,
        book: Passbook,
        lists: Lists | None = None,
        dwellings: Dwellings | None = None,
        watched: Watched | None = None,
        *,
        against: Policy | None = None,
    ) -> None:
        self.tally = Tally()
        self._policy = policy
        self._against = against
        self._book = book
        self._memory = Memory(policy.ground.zone)
        self._site = SiteSurroundings(
            self._memory,
            lists or Lists(),
            dwellings or Dwellings(),
            lambda _: BarrierPosition.UNKNOWN,
            watched or Watched(),
        )
        self._candidates: dict[bytes, Candidate] = {}
        self._asked: dict[tuple[str, str, Direction], tuple[str, ...]] = {}

    def judge(self, row: Any) -> Difference | None:
        """One passage, as `rows` gives it; None if it would have ended the same."""
        (
            _,
            passage_id,
            lane,
            entrance,
            way,
            at_us,
            kind,
            value,
            confidence,
            outcome,
            was_reason,
            pass_id,
            continues,
            text,
        ) = row
        details = orjson.loads(text)
        receipt: Mapping[str, Any] = details.get("receipt") or {}
        credential = None if value is None else Credential(_KINDS[kind], value)
        at, direction, was = from_us(at_us), _DIRECTIONS[way], _OUTCOMES[outcome]
        passed = Passed(passage_id, lane, direction, at, credential, was, pass_id, continues)
        recorded: Mapping[str, Any] = receipt.get("facts", {})
        exact, near = self._passes(receipt, recorded, credential, confidence)
        situation = Situation(
            lane,
            entrance,
            direction,
            credential,
            confidence,
            exact,
            _MODES.get(recorded.get("lane.mode", "normal"), LaneMode.NORMAL),
            near,
            details.get("read", {}),
            self._site,
        )
        known = self._known(lane, entrance, direction, recorded, len(exact))
        judged = outcome_of(self._policy, situation, at, known)
        if self._against is not None:
            other = outcome_of(self._against, situation, at, known)
            was, was_reason = other.outcome, other.reason
        tally = self.tally
        tally.passages += 1
        tally.failed += judged.reason == RULE_FAILED
        found: Difference | None = None
        if judged.outcome is was:
            tally.same += 1
            tally.reasons += judged.reason != was_reason
        else:
            rule = judged.rule.id if judged.rule is not None else judged.reason
            tally.changes[was.value, judged.outcome.value, rule] += 1
            said = decide(self._policy, situation, at, known).explanation
            found = Difference(
                passage_id, at, lane, value or "", was, was_reason, judged.outcome, judged.reason, rule, said
            )
        self._memory.passed(passed)
        return found

    def _passes(
        self,
        receipt: Mapping[str, Any],
        recorded: Mapping[str, Any],
        credential: Credential | None,
        confidence: float | None,
    ) -> tuple[list[Candidate], Callable[[], Sequence[Candidate]]]:
        """The exact candidates, and those that are near."""
        then = [self._candidate(one) for one in receipt.get("candidates", ())]
        near = [one for one in then if one.distance]
        if then or "match.kind" in recorded or credential is None:
            return [one for one in then if not one.distance], lambda: near
        if not receipt:
            self.tally.approximate += 1
            exact = self._book.match(credential)
        else:  # the policy of then had decided before it asked for a pass
            exact = []
        if credential.kind is not CredentialKind.PLATE:
            return exact, lambda: ()
        return exact, lambda: self._book.near([Seen(credential, confidence)])

    def _candidate(self, found: Mapping[str, Any]) -> Candidate:
        key = orjson.dumps(found)
        known = self._candidates.get(key)
        if known is None:
            if len(self._candidates) >= _CACHED:
                self._candidates.clear()
            known = self._candidates[key] = candidate_of(found)
        return known

    def _known(
        self, lane: str, entrance: str, direction: Direction, recorded: Mapping[str, Any], exact: int
    ) -> dict[str, Any]:
        """The recorded facts that hold for any policy, of those that this one may ask."""
        key = (lane, entrance, direction)
        asked = self._asked.get(key)
        if asked is None:
            names = set(self._policy.at(lane, entrance, direction).names)
            if self._against is not None:
                names |= self._against.at(lane, entrance, direction).names
            asked = self._asked[key] = tuple(
                name
                for name in sorted(names)
                if not name.startswith(_ANEW)
                and name not in ("time.holiday", "lane.volunteers")
                and name in TABLE
                and TABLE[name].type not in (FactType.TIME, FactType.TEXT)
            )
        if exact > 1:  # they are about the pass that was chosen
            return {
                name: recorded[name]
                for name in asked
                if name in recorded and not name.startswith(_OF_ONE_PASS)
            }
        return {name: recorded[name] for name in asked if name in recorded}


def rows(conn: Connection, since: datetime, until: datetime, *, lane: str | None = None) -> Iterator[Any]:
    """The passages of a window, in the order of their record, in pages, so that memory stays flat."""
    query = select(*_COLUMNS).where(passages.c.at >= to_us(since), passages.c.at < to_us(until))
    if lane is not None:
        query = query.where(passages.c.lane == lane)
    n = 0
    while True:
        page = conn.execute(query.where(passages.c.n > n).order_by(passages.c.n).limit(_PAGE)).all()
        yield from page
        if len(page) < _PAGE:
            return
        n = page[-1].n


def count(conn: Connection, since: datetime, until: datetime, *, lane: str | None = None) -> int:
    """How many passages a window has."""
    query = select(func.count()).where(passages.c.at >= to_us(since), passages.c.at < to_us(until))
    if lane is not None:
        query = query.where(passages.c.lane == lane)
    return conn.execute(query.select_from(passages)).scalar_one()
