"""What gated put on devices' own lists, and until when: queries over a connection."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from gated.ports import AllowEntry
from gated.store.encode import clean
from gated.store.tables import device_lists as table
from gated.times import from_us, to_us

_AT_ONCE = 500


def of(conn: Connection, device: str) -> dict[str, datetime]:
    """What was put on a device's list, and until when."""
    query = select(table.c.value, table.c.until).where(table.c.device == device)
    return {value: from_us(until) for value, until in conn.execute(query)}


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
