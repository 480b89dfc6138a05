"""Openings of barriers and what became of them: queries over a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from gated.domain import OpeningOutcome, Outcome
from gated.store.records import OpeningRecord
from gated.store.tables import counters, openings, passages
from gated.times import from_us, to_us

_LOOK_BACK = 100_000
"""Passages that a start looks through, at most: what a crash leaves open is among the last few."""
_STOPPED = "gated stopped before it knew what became of the command; 程序中断，是否开闸未知"


def get(conn: Connection, opening_id: str) -> OpeningRecord | None:
    """The opening with this id."""
    row = conn.execute(select(openings).where(openings.c.id == opening_id)).one_or_none()
    return None if row is None else _record(row)


def for_passage(conn: Connection, passage_id: str) -> list[OpeningRecord]:
    """The openings of a passage, oldest first."""
    return for_passages(conn, [passage_id]).get(passage_id, [])


def for_passages(conn: Connection, passage_ids: Iterable[str]) -> dict[str, list[OpeningRecord]]:
    """The openings of some passages (a page of them, not thousands) by passage id, oldest first."""
    found: dict[str, list[OpeningRecord]] = {}
    query = (
        select(openings)
        .where(openings.c.passage_id.in_(list(passage_ids)))
        .order_by(openings.c.requested_at, openings.c.id)
    )
    for row in conn.execute(query):
        found.setdefault(row.passage_id, []).append(_record(row))
    return found


def unfinished(conn: Connection) -> list[OpeningRecord]:
    """The openings that are recorded as under way."""
    query = select(openings).where(openings.c.outcome == "pending").order_by(openings.c.id)
    return [_record(row) for row in conn.execute(query)]


def settle(conn: Connection, now: datetime, with_barrier: Collection[str]) -> list[OpeningRecord]:
    """At a start: what a crash left between the record and the barrier becomes UNCERTAIN, and is returned.

    These are openings under way, and granted passages of the lanes `with_barrier` that have no opening. Goes
    no further back than the last start, and 100,000 passages.
    """
    left = [row.id for row in conn.execute(select(openings.c.id).where(openings.c.outcome == "pending"))]
    last: int = conn.execute(select(func.coalesce(func.max(passages.c.n), 0))).scalar_one()
    since: int = conn.execute(select(counters.c.value).where(counters.c.name == "settled")).scalar_one()
    if left:
        conn.execute(
            update(openings)
            .where(openings.c.outcome == "pending")
            .values(
                outcome=OpeningOutcome.UNCERTAIN.value, finished_at=to_us(now), detail=_STOPPED
            )
        )  # fmt: skip
    granted = (
        select(passages.c.id, passages.c.lane, passages.c.decided_at)
        .where(
            passages.c.n > max(since, last - _LOOK_BACK),
            passages.c.outcome == Outcome.GRANT.value,
            passages.c.lane.in_(sorted(with_barrier)),
            ~exists().where(openings.c.passage_id == passages.c.id),
            ~exists().where(openings.c.id == passages.c.id),
        )
        .order_by(passages.c.n)
    )
    rows = [
        {
            "id": row.id,
            "lane": row.lane,
            "cause": "decision",
            "outcome": OpeningOutcome.UNCERTAIN.value,
            "requested_at": row.decided_at,
            "finished_at": to_us(now),
            "passage_id": row.id,
            "detail": _STOPPED,
        }
        for row in conn.execute(granted)
    ]
    if rows:
        conn.execute(openings.insert(), rows)
    conn.execute(update(counters).where(counters.c.name == "settled").values(value=last))
    found = [get(conn, one) for one in (*left, *(str(row["id"]) for row in rows))]
    return [one for one in found if one is not None]


def _record(row: Row[Any]) -> OpeningRecord:
    return OpeningRecord(
        id=row.id,
        lane=row.lane,
        cause=row.cause,
        outcome=OpeningOutcome(row.outcome),
        requested_at=from_us(row.requested_at),
        finished_at=None if row.finished_at is None else from_us(row.finished_at),
        passage_id=row.passage_id,
        person=row.person,
        reason=row.reason,
        detail=row.detail,
    )
