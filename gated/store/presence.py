"""Who came and went on which pass, as a table: a projection of the passages, with a cursor.

Nothing is written on the path of a passage. What is behind the cursor is folded in the order in which it was
recorded (`folded`, on any snapshot), and written together with the cursor in one transaction (`keep`); where
the cursor is no longer where the fold began, nothing is written.

The cursor is safe, because `passages.n` grows in the order of commits: there is one writer, with a lock
against a second daemon, and each of its transactions takes the write lock of the database before it numbers
anything (`gated.store.transactions`: `BEGIN IMMEDIATE`, or PostgreSQL's advisory lock). So no smaller number
becomes visible after a larger one; what was rolled back only leaves a gap. SQLite gives the numbers of
deleted passages again if they were the last ones; `passages.prune` puts the cursor back for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    or_,
    select,
    text,
    update,
)

from gated.domain import Credential, CredentialKind, Direction, Outcome
from gated.store.passages import lanes_seen
from gated.store.tables import counters, passages, passes, presence
from gated.times import from_us, to_us
from rules.memory import LaneMemory, Passed, Presence, fold

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
_TABLE = (
    presence.c.pass_id,
    presence.c.entries,
    presence.c.first_entry,
    presence.c.last_entry,
    presence.c.last_exit,
    presence.c.day,
    presence.c.today,
    presence.c.inside,
    presence.c.last,
)
_GRANT = Outcome.GRANT.value
_DIRECTIONS = {one.value: one for one in Direction}
_KINDS = {one.value: one for one in CredentialKind}
_OUTCOMES = {one.value: one for one in Outcome}


@dataclass(frozen=True, slots=True)
class Folded:
    """What the passages from behind `since` up to `until` make of the table: `new` rows, and `changed`
    ones. `read`: how many passages that were."""

    since: int
    until: int
    read: int
    new: Sequence[dict[str, Any]]
    changed: Sequence[dict[str, Any]]


def folded(conn: Connection, zone: tzinfo, limit: int = 2000) -> Folded:
    """Folds up to `limit` passages behind the cursor; writes nothing. `zone`: the site's."""
    since = cursor(conn)
    rows = conn.execute(_behind(since).limit(limit)).all()
    granted = [_passed(row) for row in rows if row.outcome == _GRANT and row.pass_id is not None]
    before = dict(_of(conn, {str(one.pass_id) for one in granted}))
    known = dict(before)
    for one in granted:
        pass_id = str(one.pass_id)
        if pass_id not in known:
            known[pass_id] = Presence()
        fold(known[pass_id], one, zone)
    return Folded(
        since,
        rows[-1].n if rows else since,
        len(rows),
        [_values(pass_id, one) for pass_id, one in known.items() if pass_id not in before],
        [_values(pass_id, known[pass_id]) for pass_id in before],
    )


def keep(conn: Connection, found: Folded) -> int:
    """Writes what was folded and moves the cursor; returns how many passages that were. 0: there were none,
    or the cursor was moved meanwhile."""
    if not found.read or cursor(conn) != found.since:
        return 0
    if found.changed:
        conn.execute(_CHANGE, [{**row, "of": row["pass_id"]} for row in found.changed])
    if found.new:
        conn.execute(presence.insert(), found.new)
    conn.execute(update(counters).where(counters.c.name == "presence").values(value=found.until))
    return found.read


def advance(conn: Connection, zone: tzinfo, limit: int = 2000) -> int:
    """Folds up to `limit` passages behind the cursor into the table; how many, 0 if there are none left."""
    return keep(conn, folded(conn, zone, limit))


def cursor(conn: Connection) -> int:
    """The number of the last passage that is in the table."""
    return int(conn.execute(select(counters.c.value).where(counters.c.name == "presence")).scalar_one())


# --- what a start takes in --------------------------------------------------------------------------------


def load(conn: Connection) -> Iterator[tuple[str, Presence]]:
    """All that the table has, by pass, streamed."""
    query = select(*_TABLE).execution_options(stream_results=True, yield_per=1000)
    yield from map(_presence, conn.execute(query))


def since_cursor(conn: Connection) -> Iterator[Passed]:
    """The passages that are not in the table yet, in the order of their record."""
    for row in conn.execute(_behind(cursor(conn))):
        yield _passed(row)


def refused_since(conn: Connection, since: datetime, limit: int) -> Iterator[Passed]:
    """The passages since a time that were not let through, oldest first; the latest `limit` of them."""
    query = (
        select(*_COLUMNS)
        .where(
            passages.c.outcome.in_([one for one in _OUTCOMES if one != _GRANT]),
            text("passages.outcome <> 'grant'"),  # tells the database that the partial index holds them all
            passages.c.at >= to_us(since),
        )
        .order_by(passages.c.at.desc(), passages.c.n.desc())
        .limit(limit)
    )
    for row in reversed(conn.execute(query).all()):
        yield _passed(row)


def latest_of_lanes(conn: Connection, since: datetime) -> Iterator[tuple[str, LaneMemory]]:
    """The passage that was let through last at each lane, if it was since a time."""
    for lane in lanes_seen(conn):
        query = select(*_COLUMNS).where(
            passages.c.lane == lane, passages.c.at >= to_us(since), passages.c.outcome == _GRANT
        )
        row = conn.execute(query.order_by(passages.c.at.desc(), passages.c.n.desc()).limit(1)).one_or_none()
        if row is not None:
            last = _passed(row)
            yield lane, LaneMemory(last.at, last.credential, last.pass_id)


# --- retention --------------------------------------------------------------------------------------------


def over(conn: Connection, before: datetime, limit: int = 500) -> list[str]:
    """Some passes with presence that ended before a time, and were not used since. Looks through the whole
    table: not for the writer."""
    query = select(presence.c.pass_id).where(_is_over(before)).limit(limit)
    return list(conn.execute(query).scalars())


def forget(conn: Connection, pass_ids: Sequence[str], before: datetime) -> int:
    """Forgets the presence on those of some passes that are (still) over; how many."""
    query = delete(presence).where(presence.c.pass_id.in_(pass_ids), _is_over(before))
    return conn.execute(query).rowcount


def prune(conn: Connection, before: datetime, *, limit: int = 500) -> int:
    """Forgets the presence on up to `limit` passes that ended before a time and were not used since; how
    many. `gated.store.retention` repeats this until none is left."""
    return forget(conn, over(conn, before, limit), before)


def _is_over(before: datetime) -> ColumnElement[bool]:
    limit = to_us(before)
    return and_(
        or_(presence.c.last_entry.is_(None), presence.c.last_entry < limit),
        or_(presence.c.last_exit.is_(None), presence.c.last_exit < limit),
        exists().where(
            passes.c.id == presence.c.pass_id,
            or_(passes.c.valid_until < limit, passes.c.revoked_at < limit),
        ),
    )


# --- rows -------------------------------------------------------------------------------------------------

_CHANGE = (
    update(presence)
    .where(presence.c.pass_id == bindparam("of"))
    .values({column.name: bindparam(column.name) for column in presence.columns if not column.primary_key})
)


def _behind(n: int) -> Select[Any]:
    return select(*_COLUMNS).where(passages.c.n > n).order_by(passages.c.n)


def _passed(row: Any) -> Passed:
    _, passage_id, lane, direction, at, kind, value, outcome, pass_id, continues = row
    return Passed(
        passage_id,
        lane,
        _DIRECTIONS[direction],
        from_us(at),
        None if value is None else Credential(_KINDS[kind], value),
        _OUTCOMES[outcome],
        pass_id,
        continues,
    )


def _of(conn: Connection, pass_ids: Iterable[str]) -> Iterator[tuple[str, Presence]]:
    ids = sorted(pass_ids)
    for start in range(0, len(ids), _CHUNK):
        query = select(*_TABLE).where(presence.c.pass_id.in_(ids[start : start + _CHUNK]))
        yield from map(_presence, conn.execute(query))


def _presence(row: Any) -> tuple[str, Presence]:
    pass_id, entries, first_entry, last_entry, last_exit, day, today, moves, last = row
    inside: dict[str, datetime] = {}
    left: dict[str, datetime] = {}
    for value, at in orjson.loads(moves).items():
        if at > 0:
            inside[value] = from_us(at)
        else:
            left[value] = from_us(-at)
    return pass_id, Presence(
        inside,
        left,
        entries,
        None if first_entry is None else from_us(first_entry),
        None if last_entry is None else from_us(last_entry),
        None if last_exit is None else from_us(last_exit),
        None if day is None else date.fromisoformat(day),
        today,
        last,
    )


def _values(pass_id: str, known: Presence) -> dict[str, Any]:
    moves = {value: to_us(since) for value, since in known.inside.items()}
    for value, at in known.left.items():
        moves[value] = -to_us(at)
    return {
        "pass_id": pass_id,
        "entries": known.entries,
        "first_entry": _us(known.first_entry),
        "last_entry": _us(known.last_entry),
        "last_exit": _us(known.last_exit),
        "day": None if known.day is None else known.day.isoformat(),
        "today": known.today,
        "inside": orjson.dumps(moves).decode(),
        "last": known.last,
    }


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
