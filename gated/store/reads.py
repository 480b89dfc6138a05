"""Reads that made no passage of their own: queries over a connection. `Store.record_read` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from gated.domain import Disposition
from gated.store.tables import reads
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A read as it was recorded; `count`: how often it came, `last_at`: when last."""

    device: str
    key: str | None
    disposition: Disposition
    lane: str | None
    passage_id: str | None
    at: datetime
    last_at: datetime
    count: int
    credential: str | None
    raw: str


def page(
    conn: Connection, *, device: str | None = None, after: int | None = None, limit: int
) -> list[tuple[int, ReadRow]]:
    """Some reads with their numbers, newest first, from behind the number `after`."""
    query = select(reads).order_by(reads.c.n.desc()).limit(limit)
    if device is not None:
        query = query.where(reads.c.device == device)
    if after is not None:
        query = query.where(reads.c.n < after)
    return [
        (
            row.n,
            ReadRow(
                device=row.device,
                key=row.key,
                disposition=Disposition(row.disposition),
                lane=row.lane,
                passage_id=row.passage_id,
                at=from_us(row.at),
                last_at=from_us(row.last_at),
                count=row.times,
                credential=row.credential,
                raw=row.raw,
            ),
        )
        for row in conn.execute(query)
    ]


def total(conn: Connection) -> int:
    """How many reads were recorded, each repeat counted."""
    return int(conn.execute(select(func.coalesce(func.sum(reads.c.times), 0))).scalar_one())


def prune(conn: Connection, before: datetime, *, limit: int = 500) -> int:
    """Deletes up to `limit` reads that came last before a time; returns how many."""
    old = select(reads.c.n).where(reads.c.last_at < to_us(before)).order_by(reads.c.last_at).limit(limit)
    numbers = list(conn.execute(old).scalars())
    if numbers:
        conn.execute(delete(reads).where(reads.c.n.in_(numbers)))
    return len(numbers)
