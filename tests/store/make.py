"""Records for tests of the store, all of one village morning."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gated.domain import (
    Alert,
    AlertDraft,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    Disposition,
    Holder,
    ListEntry,
    ListName,
    OpeningOutcome,
    Outcome,
    Pass,
    Passage,
    Read,
    Severity,
    Text,
)
from gated.ids import event_id
from gated.store import OpeningRecord, OutboxMessage, PassageRecord, ReadRecord

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
WORDS = Text("请出示证件", "Show your pass, please")


def moment(number: float) -> datetime:
    """So many seconds into the morning."""
    return NOW + timedelta(seconds=number)


def plate(number: int) -> Credential:
    return Credential(CredentialKind.PLATE, f"津A{number:05d}")


def passage_id(number: int) -> str:
    return event_id("cam", str(number), moment(number))


def record(
    number: int,
    *,
    lane: str = "east-in",
    outcome: Outcome = Outcome.GRANT,
    credential: Credential | None = None,
    change: int = 0,
    at: datetime | None = None,
    read: dict[str, Any] | None = None,
    alerts: tuple[Alert, ...] = (),
    messages: int = 1,
) -> PassageRecord:
    """A passage; another `number` is another passage."""
    at = at or moment(number)
    shown = credential or plate(number)
    found = Passage(
        id=passage_id(number),
        lane=lane,
        entrance=lane.rpartition("-")[0],
        direction=Direction.IN,
        at=at,
        read=replace(
            Read(
                device="cam",
                received_at=at + timedelta(milliseconds=120),
                device_time=at - timedelta(seconds=3),
                key=str(number),
                credential=shown,
                raw=shown.value,
                confidence=0.93,
            ),
            **(read or {}),
        ),
    )
    drafts = tuple(
        AlertDraft(severity=one.severity, reason=one.reason, text=one.text, fold_key=f"fold-{one.id}")
        for one in alerts
    )
    decision = Decision(
        outcome=outcome, reason="valid_pass", explanation=WORDS, rule_id="r1", pass_id="P", alerts=drafts
    )
    sent = tuple(
        OutboxMessage(f"lanes/{lane}/passages", {"id": found.id, "part": part, "of": messages})
        for part in range(messages)
    )
    return PassageRecord(found, decision, at + timedelta(milliseconds=121), change, alerts, sent)


def other_read(number: int, disposition: Disposition = Disposition.DUPLICATE, **fields: Any) -> ReadRecord:
    """A read that made no passage."""
    read = record(number, read=fields).passage.read
    return ReadRecord(read, disposition, "east-in", passage_id(number), moment(number))


def opening(
    number: int, outcome: OpeningOutcome = OpeningOutcome.PENDING, *, cause: str = "decision"
) -> OpeningRecord:
    """The opening for a passage."""
    over = outcome is not OpeningOutcome.PENDING
    return OpeningRecord(
        id=passage_id(number),
        lane="east-in",
        cause=cause,
        outcome=outcome,
        requested_at=moment(number),
        finished_at=moment(number + 1) if over else None,
        passage_id=passage_id(number),
        detail="ok" if over else "",
    )


def alert(number: int, *, state: str = "open", count: int = 1, grid: str = "g01") -> Alert:
    return Alert(
        id=event_id("alert", str(number), moment(number)),
        grid=grid,
        severity=Severity.WARNING,
        reason="no_pass",
        text=WORDS,
        state=state,
        raised_at=moment(number),
        updated_at=moment(number + count),
        count=count,
        lane="east-in",
        passage_id=passage_id(number),
    )


def a_pass(number: int, **fields: Any) -> Pass:
    """A pass with one plate."""
    return replace(
        Pass(
            id=event_id("pass", str(number), moment(number)),
            kind="resident",
            holder=Holder(f"王{number}", f"1380000{number:04d}", f"d{number}"),
            credentials=(plate(number),),
            entrances=None,
            valid_from=NOW - timedelta(days=30),
            valid_until=NOW + timedelta(days=335),
            created_at=NOW,
            updated_at=NOW,
        ),
        **fields,
    )


def listed(value: str, name: ListName = ListName.BLOCK, **fields: Any) -> ListEntry:
    """A plate on a list."""
    entry = ListEntry(
        list=name,
        credential=Credential(CredentialKind.PLATE, value),
        note="欠费",
        added_at=NOW,
        added_by="王工",
    )
    return replace(entry, **fields)


def message(topic: str, number: int, *, retain: bool = False) -> OutboxMessage:
    return OutboxMessage(topic, {"number": number}, retain)
