"""How far the passages were told to a platform of the district, and which come next. Plain functions on a
connection."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, func, insert, select, update

from gated.store.tables import counters, passages
from gated.times import from_us

_NAME = "district"


class Next(NamedTuple):
    """A passage that is to be told. `n`: its number in the record. `color`: of its plate, as it was read."""

    n: int
    id: str
    lane: str
    direction: str
    at: datetime
    plate: str
    color: str


def told(conn: Connection) -> int | None:
    """The number of the passage up to which all were told; None if none ever was to be."""
    found = conn.execute(select(counters.c.value).where(counters.c.name == _NAME)).scalar_one_or_none()
    return None if found is None else int(found)


def begin(conn: Connection) -> int:
    """What there is by now is not told: passages are from here on. The number."""
    last = int(conn.execute(select(func.coalesce(func.max(passages.c.n), 0))).scalar_one())
    conn.execute(insert(counters).values(name=_NAME, value=last))
    return last


def upcoming(conn: Connection, after: int, lanes: Collection[str], limit: int) -> tuple[list[Next], int]:
    """Plates that were read at these lanes, from behind the number `after`, and the number up to which that
    is all."""
    last = int(conn.execute(select(func.coalesce(func.max(passages.c.n), after))).scalar_one())
    columns = (
        passages.c.n, passages.c.id, passages.c.lane, passages.c.direction, passages.c.at,
        passages.c.credential, passages.c.details,
    )  # fmt: skip
    query = (
        select(*columns)
        .where(passages.c.n > after, passages.c.n <= last, passages.c.credential_kind == "plate")
        .where(passages.c.lane.in_(lanes))
        .order_by(passages.c.n)
        .limit(limit)
    )
    found = [
        Next(row.n, row.id, row.lane, row.direction, from_us(row.at), row.credential, _color(row.details))
        for row in conn.execute(query)
    ]
    return found, found[-1].n if len(found) == limit else last


def told_up_to(conn: Connection, n: int) -> None:
    """All up to this number were told."""
    conn.execute(update(counters).where(counters.c.name == _NAME, counters.c.value < n).values(value=n))


def _color(details: str) -> str:
    read = orjson.loads(details).get("read", {})
    return str(read.get("plate_color", "")) if isinstance(read, dict) else ""
