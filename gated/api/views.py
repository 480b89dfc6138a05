"""The JSON of what is read: passages, alerts, lanes, devices, site, decisions, health."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from gated.api import examples
from gated.api.fields import Confidence, CredentialValue, Moment, Reason, Reference, both
from gated.api.schemas import CredentialOut, In, Out, TextOut, shown
from gated.domain import (
    Alert,
    BarrierPosition,
    Candidate,
    CredentialKind,
    Decision,
    Direction,
    LaneMode,
    OpeningOutcome,
    Outcome,
    PassState,
    Severity,
)
from gated.status import DeviceStatus, LaneStatus
from gated.store.passages import PassageRow
from gated.store.records import OpeningRecord


class OpeningOut(Out):
    """One opening of a barrier, and what became of it. `cause`: decision or override."""

    model_config = shown(examples.OPENING)

    id: str
    lane: str
    cause: str
    outcome: OpeningOutcome
    requested_at: Moment
    finished_at: Moment | None
    passage_id: str | None
    person: str | None
    reason: str | None
    detail: str


class PassageOut(Out):
    """A passage, its decision, and the opening that followed. `at`: when it was judged to be, on the device's
    clock corrected for its drift. `raw`: what the device read, as it said it. `receipt`: what the decision
    was made of (docs/policy.md); null for passages of before gated 0.2."""

    model_config = shown(examples.PASSAGE)

    id: str
    lane: str
    entrance: str
    direction: Direction
    at: Moment
    decided_at: Moment
    outcome: Outcome
    reason: str
    explanation: TextOut
    rule_id: str
    pass_id: str | None
    credential: CredentialOut | None
    raw: str
    confidence: float | None
    device: str
    device_time: Moment | None
    received_at: Moment
    continues: str | None
    receipt: dict[str, Any] | None
    opening: OpeningOut | None


class PassagePage(Out):
    """Some passages, newest first."""

    items: list[PassageOut]
    next: str | None


class AlertOut(Out):
    """Something that needs a person. `count`: repeats folded into it."""

    model_config = shown(examples.ALERT)

    id: str
    grid: str
    severity: Severity
    reason: str
    text: TextOut
    state: str
    raised_at: Moment
    updated_at: Moment
    count: int
    lane: str | None
    device: str | None
    passage_id: str | None


class AlertPage(Out):
    """Some alerts, newest first."""

    items: list[AlertOut]
    next: str | None


class LaneOut(Out):
    """A lane now. `barrier`: the device that opens it, null for a lane that only watches. `waiting`: openings
    that wait for the cool-down. `occupied`: something is under the boom; null where nothing tells."""

    model_config = shown(examples.LANE)

    id: str
    entrance: str
    direction: Direction
    mode: LaneMode
    position: BarrierPosition
    barrier: str | None
    last_outcome: Outcome | None
    last_passage_id: str | None
    last_at: Moment | None
    waiting: int
    occupied: bool | None


class LaneList(Out):
    """All lanes, in the order of the configuration; `next` is always null."""

    items: list[LaneOut]
    next: None


class OpenIn(In):
    """Why a lane is opened by hand. The name is that of the token."""

    reason: Reason = Field(examples=["救护车进村"])


class DeviceInfoOut(Out):
    """What a device says of itself; empty where it does not."""

    vendor: str
    model: str
    firmware: str
    serial: str


class DeviceOut(Out):
    """A device now. `since`: of the present state. `drift_s`: device clock minus ours, seconds. `refused`: it
    rejects our credentials."""

    model_config = shown(examples.DEVICE)

    id: str
    type: str
    online: bool
    since: Moment
    last_event_at: Moment | None
    drift_s: float | None
    error: str | None
    refused: bool
    info: DeviceInfoOut


class DeviceList(Out):
    """All devices, in the order of the configuration; `next` is always null."""

    items: list[DeviceOut]
    next: None


class EntranceOut(Out):
    """An entrance of the site."""

    model_config = shown(examples.ENTRANCE)

    id: str
    name: TextOut
    grid: str


class EntranceList(Out):
    """All entrances; `next` is always null."""

    items: list[EntranceOut]
    next: None


class GridOut(Out):
    """A grid of the site; `parent` is the grid above, null at the top."""

    model_config = shown(examples.GRID)

    id: str
    name: TextOut
    parent: str | None


class GridList(Out):
    """All grids; `next` is always null."""

    items: list[GridOut]
    next: None


class PresentedIn(In):
    """A credential as a device would have read it."""

    kind: CredentialKind
    value: CredentialValue
    confidence: Confidence | None = None


class DecisionIn(In):
    """What to decide without anything happening. `at`: now if it is left out."""

    model_config = shown(examples.DECISION_IN)

    lane: Reference = Field(examples=["east-in"])
    credential: PresentedIn
    at: Moment | None = None


class CandidateOut(Out):
    """A pass that the credential may mean. `distance` 0 is exact; `edits` explains a near match; `value`: the
    pass's own credential."""

    pass_id: str
    kind: str
    state: PassState
    valid_from: Moment
    valid_until: Moment
    entrances: list[str] | None
    distance: float
    edits: str
    value: str


class DecisionOut(Out):
    """What would be decided, by the very functions that decide."""

    model_config = shown(examples.DECISION_OUT)

    outcome: Outcome
    reason: str
    explanation: TextOut
    rule_id: str
    pass_id: str | None
    candidates: list[CandidateOut]


class Health(Out):
    """The process answers."""

    status: Literal["alive"]


class PartOut(Out):
    """A part that is not ready. `reason` is for operators, null for others."""

    name: str
    reason: str | None


class Readiness(Out):
    """Whether passages are decided and recorded; `parts` are those that are not ready."""

    ready: bool
    parts: list[PartOut]
    version: Annotated[str | None, Field(description="For operators, null for others.")]


def opening_out(found: OpeningRecord) -> OpeningOut:
    """An opening as clients get it."""
    return OpeningOut(
        id=found.id,
        lane=found.lane,
        cause=found.cause,
        outcome=found.outcome,
        requested_at=found.requested_at,
        finished_at=found.finished_at,
        passage_id=found.passage_id,
        person=found.person,
        reason=found.reason,
        detail=found.detail,
    )


def alert_out(found: Alert) -> AlertOut:
    """An alert as clients get it."""
    return AlertOut(
        id=found.id,
        grid=found.grid,
        severity=found.severity,
        reason=found.reason,
        text=TextOut(**both(found.text)),
        state=found.state,
        raised_at=found.raised_at,
        updated_at=found.updated_at,
        count=found.count,
        lane=found.lane,
        device=found.device,
        passage_id=found.passage_id,
    )


def lane_out(found: LaneStatus) -> LaneOut:
    """A lane as clients get it."""
    return LaneOut(
        id=found.id,
        entrance=found.entrance,
        direction=found.direction,
        mode=found.mode,
        position=found.position,
        barrier=found.barrier,
        last_outcome=found.last_outcome,
        last_passage_id=found.last_passage_id,
        last_at=found.last_at,
        waiting=found.waiting,
        occupied=found.occupied,
    )


def device_out(found: DeviceStatus) -> DeviceOut:
    """A device as operators get it."""
    info = found.info
    return DeviceOut(
        id=found.id,
        type=found.type,
        online=found.online,
        since=found.since,
        last_event_at=found.last_event_at,
        drift_s=found.drift_s,
        error=found.error,
        refused=found.refused,
        info=DeviceInfoOut(vendor=info.vendor, model=info.model, firmware=info.firmware, serial=info.serial),
    )


def decision_out(decision: Decision, candidates: list[Candidate]) -> DecisionOut:
    """A dry run's result."""
    return DecisionOut(
        outcome=decision.outcome,
        reason=decision.reason,
        explanation=TextOut(**both(decision.explanation)),
        rule_id=decision.rule_id,
        pass_id=decision.pass_id,
        candidates=[
            CandidateOut(
                pass_id=candidate.facts.pass_id,
                kind=candidate.facts.kind,
                state=candidate.facts.state,
                valid_from=candidate.facts.valid_from,
                valid_until=candidate.facts.valid_until,
                entrances=None if candidate.facts.entrances is None else list(candidate.facts.entrances),
                distance=candidate.distance,
                edits=candidate.edits,
                value=candidate.value,
            )
            for candidate in candidates
        ],
    )


def passage_out(row: PassageRow, openings: Sequence[OpeningRecord]) -> PassageOut:
    """A passage as clients get it, with the last of its openings (there is hardly ever another)."""
    passage, decision = row.passage, row.decision
    read = passage.read
    presented = read.credential
    return PassageOut(
        id=passage.id,
        lane=passage.lane,
        entrance=passage.entrance,
        direction=passage.direction,
        at=passage.at,
        decided_at=row.decided_at,
        outcome=decision.outcome,
        reason=decision.reason,
        explanation=TextOut(**both(decision.explanation)),
        rule_id=decision.rule_id,
        pass_id=decision.pass_id,
        credential=None if presented is None else CredentialOut(kind=presented.kind, value=presented.value),
        raw=read.raw,
        confidence=read.confidence,
        device=read.device,
        device_time=read.device_time,
        received_at=read.received_at,
        continues=passage.continues,
        receipt=None if decision.receipt is None else dict(decision.receipt),
        opening=opening_out(openings[-1]) if openings else None,
    )
