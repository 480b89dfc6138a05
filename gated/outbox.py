"""Messages for the outbox, and their relay from the store to a publisher: at least once, in order per topic.

The first half is pure: records to payloads, whose shapes `docs/asyncapi.yaml` describes and tests check. The
second half, `Relay`, moves rows from the store to whatever publishes (`gated.mqtt`), and the durable cursor
behind them. It must not know MQTT, and it keeps no message in memory beyond one small batch.
"""

from __future__ import annotations

from typing import Literal

from gated.domain import Alert, Decision, Passage
from gated.status import LaneStatus
from gated.store.records import OutboxMessage
from gated.times import iso

AlertMessageType = Literal["new", "update", "end"]


def passage_message(passage: Passage, decision: Decision) -> OutboxMessage:
    """One passage and what was decided, for `lanes/{lane}/passages`. `id` is the key against duplicates."""
    credential = passage.read.credential
    return OutboxMessage(
        topic=f"lanes/{passage.lane}/passages",
        payload={
            "id": passage.id,
            "lane": passage.lane,
            "entrance": passage.entrance,
            "direction": passage.direction.value,
            "credential": None
            if credential is None
            else {"kind": credential.kind.value, "value": credential.value},
            "outcome": decision.outcome.value,
            "reason": decision.reason,
            "text": decision.explanation.as_dict(),
            "rule_id": decision.rule_id,
            "pass_id": decision.pass_id,
            "device": passage.read.device,
            "at": iso(passage.at),
            "received_at": iso(passage.read.received_at),
            "continues": passage.continues,
        },
    )


def alert_message(alert: Alert, type_: AlertMessageType, *, grid: str | None = None) -> OutboxMessage:
    """One step of an alert, for `grids/{grid}/alerts`. `at` is the time of this step, `raised_at` of the first.

    `grid`: to whom it goes, when that is not the alert's own grid (it escalated up the tree).
    """
    return OutboxMessage(
        topic=f"grids/{grid or alert.grid}/alerts",
        payload={
            "type": type_,
            "id": alert.id,
            "grid": alert.grid,
            "severity": alert.severity.value,
            "reason": alert.reason,
            "text": alert.text.as_dict(),
            "lane": alert.lane,
            "device": alert.device,
            "passage_id": alert.passage_id,
            "state": alert.state,
            "count": alert.count,
            "raised_at": iso(alert.raised_at),
            "at": iso(alert.updated_at),
        },
    )


def lane_state_message(status: LaneStatus) -> OutboxMessage:
    """A lane now, retained, for `lanes/{id}/state`. The caller coalesces: one message a change, not a read."""
    return OutboxMessage(
        topic=f"lanes/{status.id}/state",
        payload={
            "id": status.id,
            "entrance": status.entrance,
            "direction": status.direction.value,
            "mode": status.mode.value,
            "position": status.position.value,
            "barrier": status.barrier,
            "last_outcome": None if status.last_outcome is None else status.last_outcome.value,
            "last_passage_id": status.last_passage_id,
            "last_at": None if status.last_at is None else iso(status.last_at),
            "waiting": status.waiting,
        },
        retain=True,
    )
