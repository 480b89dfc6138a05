"""Records for messages, small and real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gated.domain import (
    Alert,
    BarrierPosition,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    LaneMode,
    Outcome,
    Passage,
    Read,
    Severity,
    Text,
)
from gated.outbox import passage_message
from gated.status import LaneStatus
from gated.store.records import OutboxMessage

AT = datetime(2026, 11, 21, 21, 16, 3, 123456, tzinfo=UTC)
PLATE = Credential(CredentialKind.PLATE, "津A12345")
UNREAD = Text("未识别到车牌，请人工核验", "No plate could be read: please check")


def passage(
    id_: str = "01PASSAGE", lane: str = "east-in", *, credential: Credential | None = PLATE
) -> Passage:
    read = Read(
        device="cam-east-in",
        received_at=AT + timedelta(milliseconds=250),
        device_time=AT,
        key="7",
        credential=credential,
        raw="津A·12345",
        confidence=0.97,
    )
    return Passage(id=id_, lane=lane, entrance="east", direction=Direction.IN, read=read, at=AT)


def decision(outcome: Outcome = Outcome.GRANT, *, by_pass: bool = True) -> Decision:
    return Decision(
        outcome=outcome,
        reason="valid_pass" if by_pass else "no_pass",
        explanation=Text("有效出入证", "A valid pass"),
        rule_id="valid-pass",
        pass_id="01PASS" if by_pass else None,
    )


def alert(**changes: object) -> Alert:
    fields: dict[str, object] = {
        "id": "01ALERT",
        "grid": "g01",
        "severity": Severity.WARNING,
        "reason": "no_plate",
        "text": UNREAD,
        "state": "open",
        "raised_at": AT,
        "updated_at": AT + timedelta(seconds=5),
        "count": 2,
        "lane": "east-in",
        "passage_id": "01PASSAGE",
    }
    return Alert(**{**fields, **changes})  # type: ignore[arg-type]


def lane_status(id_: str = "east-in", **changes: object) -> LaneStatus:
    fields: dict[str, object] = {
        "entrance": "east",
        "direction": Direction.IN,
        "mode": LaneMode.NORMAL,
        "position": BarrierPosition.CLOSED,
        "barrier": "relay-east",
        "last_outcome": Outcome.GRANT,
        "last_passage_id": "01PASSAGE",
        "last_at": AT,
    }
    return LaneStatus(id=id_, **{**fields, **changes})  # type: ignore[arg-type]


def passages(count: int, *, lanes: int = 2, first: int = 0) -> list[OutboxMessage]:
    """Messages of passages, taking the lanes `lane-0`, `lane-1`, ... in turn; ids p0, p1, ..."""
    return [
        passage_message(passage(f"p{number}", f"lane-{number % lanes}"), decision())
        for number in range(first, first + count)
    ]
