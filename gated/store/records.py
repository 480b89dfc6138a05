"""What the daemon hands to the store, and how the store says no. Records and errors only; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gated.domain import Alert, Decision, Disposition, OpeningOutcome, Passage, Read


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that is published once its transaction is on disk. `topic`: relative to `gated/{site}/`.
    `payload`: a JSON object without `seq`, which the writer assigns."""

    topic: str
    payload: Mapping[str, object]
    retain: bool = False


class OutboxRow(NamedTuple):
    """One message in the outbox. `topic`: relative to `gated/{site}/`. `payload`: a JSON object without its
    `seq`."""

    id: int
    topic: str
    seq: int
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class PassageRecord:
    """A passage with its decision, in one transaction with its alerts and messages.

    `change`: the passbook's change number on which was decided. `alerts`: as they stand now, inserted or
    updated by id; in the order of `decision.alerts`, whose fold keys they are kept under.
    """

    passage: Passage
    decision: Decision
    decided_at: datetime
    change: int
    alerts: tuple[Alert, ...] = ()
    messages: tuple[OutboxMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A read that made no passage of its own. `passage_id`: the passage that it belongs to, if any. `at`:
    when it happened, on the corrected clock."""

    read: Read
    disposition: Disposition
    lane: str | None
    passage_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class OpeningRecord:
    """One opening command and what became of it; recorded again under the same id as it goes on.

    `cause`: "decision" or "override". `person` and `reason` belong to an override. `detail`: the device's
    words.
    """

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


class StoreError(Exception):
    """What the store says no with, other than `gated.ports.NotRecorded`."""


class AlreadyRecorded(StoreError):
    """A passage with this id is on disk already, with the decision that was made then."""

    def __init__(self, passage_id: str) -> None:
        super().__init__(f"passage {passage_id} is recorded already")
        self.passage_id = passage_id


class StaleDecision(StoreError):
    """A pass has changed since the passage was decided: bring the passbook up to `change`, decide again."""

    def __init__(self, change: int) -> None:
        super().__init__(f"decided before change {change} of the passes")
        self.change = change


class VersionConflict(StoreError):
    """The pass was changed by somebody else in between. `version`: the one it has now, None if it is gone."""

    def __init__(self, pass_id: str, version: int | None) -> None:
        super().__init__(f"pass {pass_id} is at version {version} now")
        self.pass_id = pass_id
        self.version = version


class StoreInUse(StoreError):
    """Another daemon has this database open; stop it first (`systemctl stop gated`)."""


class StoreUnusable(StoreError):
    """The database cannot be opened; the message says why and what to do."""


class NotReadable(StoreError):
    """The database cannot be read now (connection lost, locked, I/O error); try again."""


class BackupFailed(StoreError):
    """A backup or restore was not made; the message says why. What was there before is untouched."""
