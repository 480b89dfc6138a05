"""What is handed to the store to be made durable, and what it answers when it cannot be.

Frozen records; no SQL. They are written in the writer's next transaction (`gated.store.writer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gated.domain import Alert, Decision, Disposition, OpeningOutcome, Passage, Read


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message for MQTT. `topic` is relative to `gated/{site}/`; `payload` is without `seq`, which the
    writer assigns."""

    topic: str
    payload: Mapping[str, object]
    retain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageRecord:
    """A passage with its decision, alerts (upserted by id) and messages: one transaction. `change`: the
    passbook's number that it was decided on."""

    passage: Passage
    decision: Decision
    decided_at: datetime
    change: int
    alerts: tuple[Alert, ...] = ()
    messages: tuple[OutboxMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecord:
    """A read that made no passage. The same device, key and disposition fold into a count."""

    read: Read
    disposition: Disposition
    lane: str | None
    passage_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRecord:
    """One opening, upserted by id. `cause`: decision or override; an override has a person and a reason."""

    id: str
    lane: str
    cause: str
    outcome: OpeningOutcome
    requested_at: datetime
    finished_at: datetime | None
    passage_id: str | None = None
    person: str | None = None
    reason: str | None = None
    detail: str = ""
    messages: tuple[OutboxMessage, ...] = ()


class AlreadyRecorded(Exception):
    """A passage with this id is on record."""

    def __init__(self, passage_id: str) -> None:
        super().__init__(passage_id)
        self.passage_id = passage_id


class StaleDecision(Exception):
    """A pass changed after the number that the decision was made on; `change` is the number now."""

    def __init__(self, change: int) -> None:
        super().__init__(f"passes have changed up to {change}")
        self.change = change
