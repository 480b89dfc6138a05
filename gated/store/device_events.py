"""What devices saw that people were told of, with pictures: queries over a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, delete, func, insert, select, update

from gated.store.encode import clean
from gated.store.tables import device_events as table
from gated.times import from_us, to_us

EVENTS_KEPT, PICTURES_KEPT = 20_000, 1_000


@dataclass(frozen=True, slots=True)
class DeviceEventRow:
    """One of them. `at`: by the device's corrected clock."""

    n: int
    device: str
    what: str
    at: datetime
    received_at: datetime
    details: Mapping[str, str]
    picture: bool


def add(
    conn: Connection,
    device: str,
    what: str,
    at: datetime,
    received_at: datetime,
    details: Mapping[str, str],
    picture: bytes | None,
) -> int:
    """Writes one down, and forgets the oldest beyond what is kept. Its number."""
    made = conn.execute(
        insert(table)
        .values(
            device=device,
            what=clean(what),
            at=to_us(at),
            received_at=to_us(received_at),
            details=orjson.dumps({clean(name): clean(value) for name, value in details.items()}).decode(),
            picture=picture,
        )
        .returning(table.c.n)
    ).scalar_one()
    conn.execute(delete(table).where(table.c.n <= made - EVENTS_KEPT))
    if picture is not None:
        old = table.c.n <= made - PICTURES_KEPT
        conn.execute(update(table).where(old, table.c.picture.is_not(None)).values(picture=None))
    return int(made)


def page(
    conn: Connection, *, device: str | None = None, after: int | None = None, limit: int
) -> list[DeviceEventRow]:
    """Some of them, the newest first, from behind the number `after`."""
    columns = (table.c.n, table.c.device, table.c.what, table.c.at, table.c.received_at, table.c.details)
    has = func.coalesce(func.length(table.c.picture), 0) > 0
    query = select(*columns, has.label("has")).order_by(table.c.n.desc()).limit(limit)
    if device is not None:
        query = query.where(table.c.device == device)
    if after is not None:
        query = query.where(table.c.n < after)
    return [
        DeviceEventRow(
            row.n, row.device, row.what, from_us(row.at), from_us(row.received_at),
            orjson.loads(row.details), bool(row.has),
        )
        for row in conn.execute(query)
    ]  # fmt: skip


def since(
    conn: Connection, moment: datetime, until: datetime | None = None
) -> list[tuple[str, str, datetime]]:
    """What was seen from a moment on, until another (exclusive): what, device, when."""
    query = select(table.c.what, table.c.device, table.c.at).where(table.c.at >= to_us(moment))
    if until is not None:
        query = query.where(table.c.at < to_us(until))
    return [(row.what, row.device, from_us(row.at)) for row in conn.execute(query.order_by(table.c.n))]


def picture(conn: Connection, n: int) -> bytes | None:
    """The picture of one; None if there is none (any more)."""
    found = conn.execute(select(table.c.picture).where(table.c.n == n)).scalar_one_or_none()
    return None if found is None else bytes(found)
