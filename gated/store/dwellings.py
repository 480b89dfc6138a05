"""Homes, owned or rented, each in a grid: queries over a connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from gated.domain import Dwelling
from gated.store.encode import clean
from gated.store.lists import changed
from gated.store.tables import dwellings as table
from gated.times import to_us


def put(conn: Connection, now: datetime, given: Dwelling) -> Dwelling | None:
    """Writes a dwelling, new or changed; returns what was there before."""
    before = get(conn, given.id)
    conn.execute(delete(table).where(table.c.id == given.id))
    conn.execute(
        insert(table).values(
            id=clean(given.id),
            name=clean(given.name),
            grid=given.grid,
            tenure=given.tenure,
            lease_until=None if given.lease_until is None else given.lease_until.isoformat(),
            updated_at=to_us(now),
        )
    )
    changed(conn)
    return before


def remove(conn: Connection, dwelling_id: str) -> Dwelling | None:
    """Takes a dwelling out of the register; returns what was there."""
    found = get(conn, dwelling_id)
    if found is not None:
        conn.execute(delete(table).where(table.c.id == dwelling_id))
        changed(conn)
    return found


def get(conn: Connection, dwelling_id: str) -> Dwelling | None:
    """The dwelling with this id."""
    row = conn.execute(select(table).where(table.c.id == dwelling_id)).one_or_none()
    return None if row is None else _dwelling(row)


def page(
    conn: Connection, *, grid: str | None = None, after: str | None = None, limit: int
) -> list[Dwelling]:
    """Some dwellings by id, from behind the id `after`."""
    query = select(table).order_by(table.c.id).limit(limit)
    if grid is not None:
        query = query.where(table.c.grid == grid)
    if after is not None:
        query = query.where(table.c.id > after)
    return [_dwelling(row) for row in conn.execute(query)]


def every(conn: Connection) -> Iterator[Dwelling]:
    """All dwellings."""
    for row in conn.execute(select(table)):
        yield _dwelling(row)


def _dwelling(row: Row[Any]) -> Dwelling:
    return Dwelling(
        id=row.id,
        grid=row.grid,
        tenure=row.tenure,
        lease_until=None if row.lease_until is None else date.fromisoformat(row.lease_until),
        name=row.name,
    )
