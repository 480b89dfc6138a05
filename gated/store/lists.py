"""The lists of credentials (block, watch, emergency): queries over a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, tuple_

from gated.domain import Credential, CredentialKind, ListEntry, ListName
from gated.store.encode import clean
from gated.store.tables import counters
from gated.store.tables import list_entries as table
from gated.times import from_us, to_us


def put(conn: Connection, entry: ListEntry) -> ListEntry | None:
    """Puts a credential on a list, or changes what is noted there; returns what was there before."""
    before = take_off(conn, entry.list, entry.credential)
    conn.execute(
        insert(table).values(
            list=entry.list.value,
            kind=entry.credential.kind.value,
            value=clean(entry.credential.value),
            note=clean(entry.note),
            added_at=to_us(entry.added_at),
            added_by=clean(entry.added_by),
            until=None if entry.until is None else to_us(entry.until),
        )
    )
    changed(conn)
    return before


def take_off(conn: Connection, name: ListName, credential: Credential) -> ListEntry | None:
    """Takes a credential off a list; returns what was there."""
    found = get(conn, name, credential)
    if found is not None:
        conn.execute(delete(table).where(*_is(name, credential)))
        changed(conn)
    return found


def get(conn: Connection, name: ListName, credential: Credential) -> ListEntry | None:
    """One entry."""
    row = conn.execute(select(table).where(*_is(name, credential))).one_or_none()
    return None if row is None else _entry(row)


def page(
    conn: Connection, name: ListName, *, after: tuple[str, str] | None = None, limit: int
) -> list[ListEntry]:
    """Some entries of a list, by kind and value, from behind `after`."""
    query = select(table).where(table.c.list == name.value).order_by(table.c.kind, table.c.value).limit(limit)
    if after is not None:
        query = query.where(tuple_(table.c.kind, table.c.value) > after)
    return [_entry(row) for row in conn.execute(query)]


def entries(conn: Connection) -> Iterator[ListEntry]:
    """All entries of all lists."""
    for row in conn.execute(select(table)):
        yield _entry(row)


def last_change(conn: Connection) -> int:
    """A number that grows with every change of a list or a dwelling."""
    return int(conn.execute(select(counters.c.value).where(counters.c.name == "register")).scalar_one())


def changed(conn: Connection) -> None:
    """Makes that number grow."""
    conn.execute(counters.update().where(counters.c.name == "register").values(value=counters.c.value + 1))


def _is(name: ListName, credential: Credential) -> tuple[Any, ...]:
    return (
        table.c.list == name.value,
        table.c.kind == credential.kind.value,
        table.c.value == clean(credential.value),
    )


def _entry(row: Row[Any]) -> ListEntry:
    return ListEntry(
        list=ListName(row.list),
        credential=Credential(CredentialKind(row.kind), row.value),
        note=row.note,
        added_at=from_us(row.added_at),
        added_by=row.added_by,
        until=None if row.until is None else from_us(row.until),
    )
