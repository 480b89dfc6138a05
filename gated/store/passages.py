"""Passages with their decisions: queries over a connection. They are written by `Store.record` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import CTE, ColumnElement, Connection, Row, delete, func, or_, select, text, update
from sqlalchemy.sql.elements import TextClause

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
from gated.store.tables import counters, openings, passages
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A passage as it was recorded. The drafts of the decision's alerts are not kept; the alerts are."""

    passage: Passage
    decision: Decision
    decided_at: datetime


_NEWEST_FIRST = (passages.c.at.desc(), passages.c.n.desc())


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
    conditions: list[ColumnElement[bool] | TextClause] = []
    if credential is not None:
        conditions += [
            passages.c.credential == credential.value,
            passages.c.credential_kind == credential.kind.value,
        ]
    if outcome is not None:
        conditions.append(passages.c.outcome == outcome.value)
        if outcome is not Outcome.GRANT:
            # written out, it tells the database that the partial index holds them all
            conditions.append(text("passages.outcome <> 'grant'"))
    if since is not None:
        conditions.append(passages.c.at >= to_us(since))
    if until is not None:
        conditions.append(passages.c.at < to_us(until))
    if after is not None:
        place = conn.execute(select(passages.c.at, passages.c.n).where(passages.c.id == after)).one_or_none()
        if place is None:
            return []
        conditions.append(passages.c.at <= place.at)
        conditions.append(or_(passages.c.at < place.at, passages.c.n < place.n))
    if lane is not None:
        conditions.append(passages.c.lane == lane)
    elif credential is None and outcome in (None, Outcome.GRANT):
        return _newest(conn, conditions, limit)
    query = select(passages).where(*conditions).order_by(*_NEWEST_FIRST).limit(limit)
    return [_row(row) for row in conn.execute(query)]


def _newest(
    conn: Connection, conditions: Sequence[ColumnElement[bool] | TextClause], limit: int
) -> list[PassageRow]:
    """The newest of all lanes: there is no index on the time alone, but one for each lane."""
    lanes = _lanes()
    newest = (
        select(passages.c.at)
        .where(passages.c.lane == lanes.c.lane, *conditions)
        .order_by(passages.c.at.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(lanes.c.lane, newest.label("at")).where(lanes.c.lane.is_not(None))
    heads = sorted(((row.at, row.lane) for row in conn.execute(query) if row.at is not None), reverse=True)
    # the newest of so many lanes are as many passages: none that is older is among the newest of all
    since = heads[limit - 1][0] if len(heads) > limit else 0
    found: list[tuple[int, int]] = []
    for lane in [lane for at, lane in heads if at >= since]:
        place = select(passages.c.at, passages.c.n).where(passages.c.lane == lane, *conditions)
        query = place.where(passages.c.at >= since).order_by(*_NEWEST_FIRST).limit(limit)
        found += [(at, n) for at, n in conn.execute(query)]
    numbers = [n for _, n in sorted(found, reverse=True)[:limit]]
    rows = conn.execute(select(passages).where(passages.c.n.in_(numbers)).order_by(*_NEWEST_FIRST))
    return [_row(row) for row in rows]


def lanes_seen(conn: Connection) -> list[str]:
    """The lanes that have passages."""
    return [lane for lane in conn.execute(select(_lanes().c.lane)).scalars() if lane is not None]


def _lanes() -> CTE:
    """All lanes that have passages, each found by one step in the index; the last row is null."""
    first = select(func.min(passages.c.lane).label("lane")).cte("lanes", recursive=True)
    following = select(func.min(passages.c.lane)).where(passages.c.lane > first.c.lane)
    return first.union_all(select(following.scalar_subquery()).where(first.c.lane.is_not(None)))


def count(conn: Connection) -> int:
    """How many passages there are."""
    return conn.execute(select(func.count()).select_from(passages)).scalar_one()


def prune(conn: Connection, before: datetime, *, limit: int = 500) -> int:
    """Deletes up to `limit` passages from before a time, with their openings; returns how many.
    Whereabouts are to be deleted in time; `gated.store.retention` repeats this until none is left."""
    rows: list[Any] = []
    read = select(counters.c.value).where(counters.c.name == "presence").scalar_subquery()
    for lane in lanes_seen(conn):
        old = select(passages.c.n, passages.c.id).where(
            passages.c.lane == lane,
            passages.c.at < to_us(before),
            passages.c.n <= read,  # what the table of presence has not taken in yet stays
        )
        rows += conn.execute(old.order_by(passages.c.at).limit(limit - len(rows))).all()
        if len(rows) == limit:
            break
    if rows:
        ids = [row.id for row in rows]
        conn.execute(delete(openings).where(or_(openings.c.passage_id.in_(ids), openings.c.id.in_(ids))))
        conn.execute(delete(passages).where(passages.c.n.in_([row.n for row in rows])))
        _put_back(conn)
    return len(rows)


def _put_back(conn: Connection) -> None:
    """SQLite numbers on from the last passage that is there, so numbers of deleted ones come again: whoever
    has read up to such a number must be told, or it would not see the next passages. All that is left below
    it was read."""
    last = select(func.coalesce(func.max(passages.c.n), 0)).scalar_subquery()
    names = counters.c.name.in_(["presence", "settled"])
    conn.execute(update(counters).where(names, counters.c.value > last).values(value=last))


def _row(row: Row[Any]) -> PassageRow:
    details = orjson.loads(row.details)
    credential = None
    if row.credential is not None:
        credential = Credential(CredentialKind(row.credential_kind), row.credential)
    words = details.get("text", {})
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
            explanation=Text(words.get("zh", ""), words.get("en", "")),
            rule_id=row.rule_id,
            pass_id=row.pass_id,
            receipt=details.get("receipt"),
        ),
        decided_at=from_us(row.decided_at),
    )
