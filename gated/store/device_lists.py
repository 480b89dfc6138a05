"""What gated put on devices' own lists, and until when: queries over a connection."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from gated.ports import AllowEntry
from gated.store.encode import clean
from gated.store.tables import device_lists as table
from gated.times import from_us, to_us

_AT_ONCE = 500


def of(conn: Connection, device: str) -> dict[str, datetime]:
    """What was put on a device's list, and until when."""
    query = select(table.c.value, table.c.until).where(table.c.device == device)
    return {value: from_us(until) for value, until in conn.execute(query)}


def some(conn: Connection, device: str, values: Iterable[str]) -> dict[str, datetime]:
    """As `of`, of these values alone."""
    wanted, found = [clean(value) for value in values], dict[str, datetime]()
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(table.c.value, table.c.until).where(
            table.c.device == device, table.c.value.in_(wanted[start : start + _AT_ONCE])
        )
        found |= {value: from_us(until) for value, until in conn.execute(query)}
    return found


def count(conn: Connection, device: str) -> int:
    """How many there are on a device's list."""
    query = select(func.count()).select_from(table).where(table.c.device == device)
    return int(conn.execute(query).scalar_one())


def put(conn: Connection, device: str, entries: Iterable[AllowEntry]) -> None:
    """These were put there."""
    rows = {
        clean(entry.value): {
            "device": device,
            "value": clean(entry.value),
            "kind": entry.kind.value,
            "until": to_us(entry.valid_until),
        }
        for entry in entries
    }
    dropped(conn, device, rows)
    if rows:
        conn.execute(insert(table), list(rows.values()))


def dropped(conn: Connection, device: str, values: Iterable[str]) -> None:
    """These are not there any more."""
    gone = [clean(value) for value in values]
    for start in range(0, len(gone), _AT_ONCE):
        some = gone[start : start + _AT_ONCE]
        conn.execute(delete(table).where(table.c.device == device, table.c.value.in_(some)))
