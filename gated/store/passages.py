"""Passages with their decisions: queries over a connection. They are written by `Store.record` alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, or_, select, tuple_

from gated.domain import (
    Credential,
    CredentialKind,
    Decision,
    Direction,
    Outcome,
    Passage,
    Read,
    Text,
)
from gated.store.tables import openings, passages
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A passage as it was recorded. The drafts of the decision's alerts are not kept; the alerts are."""

    passage: Passage
    decision: Decision
    decided_at: datetime


def get(conn: Connection, passage_id: str) -> PassageRow | None:
    """The passage with this id."""
    row = conn.execute(select(passages).where(passages.c.id == passage_id)).one_or_none()
    return None if row is None else _row(row)


def page(
    conn: Connection,
    *,
    lane: str | None = None,
    credential: Credential | None = None,
    outcome: Outcome | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str | None = None,
    limit: int,
) -> list[PassageRow]:
    """Some passages, newest first by the time they were judged on (`Passage.at`), from behind the one with
    the id `after` (an unknown one: none). `until` is exclusive."""
    query = select(passages).order_by(passages.c.at.desc(), passages.c.n.desc()).limit(limit)
    if lane is not None:
        query = query.where(passages.c.lane == lane)
    if credential is not None:
        query = query.where(
            passages.c.credential == credential.value, passages.c.credential_kind == credential.kind.value
        )
    if outcome is not None:
        query = query.where(passages.c.outcome == outcome.value)
        if outcome is not Outcome.GRANT:
            # tells the database that the partial index holds them all
            query = query.where(passages.c.outcome != Outcome.GRANT.value)
    if since is not None:
        query = query.where(passages.c.at >= to_us(since))
    if until is not None:
        query = query.where(passages.c.at < to_us(until))
    if after is not None:
        place = conn.execute(select(passages.c.at, passages.c.n).where(passages.c.id == after)).one_or_none()
        if place is None:
            return []
        query = query.where(
            passages.c.at <= place.at, tuple_(passages.c.at, passages.c.n) < (place.at, place.n)
        )
    return [_row(row) for row in conn.execute(query)]


def count(conn: Connection) -> int:
    """How many passages there are."""
    return conn.execute(select(func.count()).select_from(passages)).scalar_one()


def prune(conn: Connection, before: datetime, *, limit: int = 500) -> int:
    """Deletes up to `limit` of the oldest passages from before a time, with their openings; returns how many.
    Whereabouts are to be deleted in time; `gated.store.retention` repeats this until none is left."""
    old = (
        select(passages.c.n, passages.c.id)
        .where(passages.c.at < to_us(before))
        .order_by(passages.c.at)
        .limit(limit)
    )
    rows = conn.execute(old).all()
    if rows:
        ids = [row.id for row in rows]
        conn.execute(delete(openings).where(or_(openings.c.passage_id.in_(ids), openings.c.id.in_(ids))))
        conn.execute(delete(passages).where(passages.c.n.in_([row.n for row in rows])))
    return len(rows)


def _row(row: Row[Any]) -> PassageRow:
    details = orjson.loads(row.details)
    credential = None
    if row.credential is not None:
        credential = Credential(CredentialKind(row.credential_kind), row.credential)
    text = details.get("text", {})
    seen = details.get("seen")
    return PassageRow(
        passage=Passage(
            id=row.id,
            lane=row.lane,
            entrance=row.entrance,
            direction=Direction(row.direction),
            read=Read(
                device=row.device,
                received_at=from_us(row.received_at),
                device_time=None if row.device_time is None else from_us(row.device_time),
                key=row.key,
                credential=credential,
                raw=row.raw,
                confidence=row.confidence,
                backlog=details.get("backlog", False),
                channel=row.channel,
                direction=None if seen is None else Direction(seen),
                details=details.get("read", {}),
            ),
            at=from_us(row.at),
            continues=row.continues,
        ),
        decision=Decision(
            outcome=Outcome(row.outcome),
            reason=row.reason,
            explanation=Text(text.get("zh", ""), text.get("en", "")),
            rule_id=row.rule_id,
            pass_id=row.pass_id,
        ),
        decided_at=from_us(row.decided_at),
    )
