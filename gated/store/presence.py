"""Who came and went on which pass, as a table: a projection of the passages, with a cursor.

Nothing is written on the path of a passage. `advance` folds the passages behind the cursor into the table, in
the order in which they were recorded, and moves the cursor in the same transaction. The cursor is safe: the
store has one writer (`gated.store.writer`, and a lock against a second daemon), so a passage with a smaller
number never becomes visible after a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, tzinfo
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, or_, select, text

from gated.domain import Credential, CredentialKind, Direction, Outcome
from gated.store.tables import counters, passages, passes, presence
from gated.times import from_us, to_us
from rules.memory import Passed, Presence, fold

_CHUNK = 400
_COLUMNS = (
    passages.c.n,
    passages.c.id,
    passages.c.lane,
    passages.c.direction,
    passages.c.at,
    passages.c.credential_kind,
    passages.c.credential,
    passages.c.outcome,
    passages.c.pass_id,
    passages.c.continues,
)


def advance(conn: Connection, zone: tzinfo, limit: int = 2000) -> int:
    """Folds up to `limit` passages behind the cursor into the table; how many, 0 if there are none left."""
    since = cursor(conn)
    query = select(*_COLUMNS).where(passages.c.n > since).order_by(passages.c.n).limit(limit)
    rows = conn.execute(query).all()
    if not rows:
        return 0
    passed = [_passed(row) for row in rows]
    granted = [one for one in passed if one.pass_id is not None and one.outcome is Outcome.GRANT]
    before = dict(_of(conn, {one.pass_id for one in granted if one.pass_id is not None}))
    known: dict[str, Presence] = dict(before)
    for one in granted:
        fold(known.setdefault(one.pass_id or "", Presence()), one, zone)
    _write(conn, known, set(before))
    conn.execute(counters.update().where(counters.c.name == "presence").values(value=rows[-1].n))
    return len(rows)


def cursor(conn: Connection) -> int:
    """The number of the last passage that is in the table."""
    return int(conn.execute(select(counters.c.value).where(counters.c.name == "presence")).scalar_one())


def load(conn: Connection) -> Iterator[tuple[str, Presence]]:
    """All that the table has, by pass, streamed."""
    query = select(presence).execution_options(stream_results=True, yield_per=1000)
    for row in conn.execute(query):
        yield row.pass_id, _presence(row)


def since_cursor(conn: Connection) -> Iterator[Passed]:
    """The passages that are not in the table yet, in the order of their record."""
    query = select(*_COLUMNS).where(passages.c.n > cursor(conn)).order_by(passages.c.n)
    for row in conn.execute(query):
        yield _passed(row)


def refused_since(conn: Connection, since: datetime, limit: int) -> Iterator[Passed]:
    """The passages since a time that were not let through, oldest first; the latest `limit` of them."""
    query = (
        select(*_COLUMNS)
        .where(text("passages.outcome <> 'grant'"), passages.c.at >= to_us(since))
        .order_by(passages.c.at.desc())
        .limit(limit)
    )
    for row in reversed(conn.execute(query).all()):
        yield _passed(row)


def prune(conn: Connection, before: datetime) -> int:
    """Forgets the presence on passes that ended before a time and were not used since; how many."""
    limit = to_us(before)
    over = select(passes.c.id).where(or_(passes.c.valid_until < limit, passes.c.revoked_at < limit))
    done = conn.execute(
        delete(presence).where(
            presence.c.pass_id.in_(over),
            or_(presence.c.last_entry.is_(None), presence.c.last_entry < limit),
            or_(presence.c.last_exit.is_(None), presence.c.last_exit < limit),
        )
    )
    return done.rowcount


# --- rows -------------------------------------------------------------------------------------------------


def _passed(row: Any) -> Passed:
    credential = None
    if row.credential is not None:
        credential = Credential(CredentialKind(row.credential_kind), row.credential)
    return Passed(
        row.id,
        row.lane,
        Direction(row.direction),
        from_us(row.at),
        credential,
        Outcome(row.outcome),
        row.pass_id,
        row.continues,
    )


def _of(conn: Connection, pass_ids: Iterable[str]) -> Iterator[tuple[str, Presence]]:
    ids = sorted(pass_ids)
    for start in range(0, len(ids), _CHUNK):
        query = select(presence).where(presence.c.pass_id.in_(ids[start : start + _CHUNK]))
        for row in conn.execute(query):
            yield row.pass_id, _presence(row)


def _presence(row: Row[Any]) -> Presence:
    return Presence(
        inside={value: from_us(since) for value, since in orjson.loads(row.inside).items()},
        entries=row.entries,
        first_entry=_from(row.first_entry),
        last_entry=_from(row.last_entry),
        last_exit=_from(row.last_exit),
        day=None if row.day is None else date.fromisoformat(row.day),
        today=row.today,
        last=row.last,
    )


def _write(conn: Connection, known: dict[str, Presence], there: set[str]) -> None:
    rows = [
        {
            "pass_id": pass_id,
            "entries": one.entries,
            "first_entry": _us(one.first_entry),
            "last_entry": _us(one.last_entry),
            "last_exit": _us(one.last_exit),
            "day": None if one.day is None else one.day.isoformat(),
            "today": one.today,
            "inside": orjson.dumps({value: to_us(since) for value, since in one.inside.items()}).decode(),
            "last": one.last,
        }
        for pass_id, one in known.items()
    ]
    old = sorted(there)
    for start in range(0, len(old), _CHUNK):
        conn.execute(delete(presence).where(presence.c.pass_id.in_(old[start : start + _CHUNK])))
    if rows:
        conn.execute(presence.insert(), rows)


def _from(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
