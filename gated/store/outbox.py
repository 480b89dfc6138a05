"""The queue of messages to publish: queries over a connection.

Rows are in the order of commits; `seq` has no gaps within a topic. How far they were published is one
number, the id up to which all were acknowledged. The relay is `gated.outbox`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, text, update

from gated.store import encode
from gated.store.records import OutboxMessage, OutboxRow
from gated.store.sequence import NAME, REACH, Sequence
from gated.store.tables import counters, outbox, topics
from gated.times import to_us

_ROWS = select(outbox.c.id, topics.c.topic, outbox.c.seq, outbox.c.payload, outbox.c.retain).join(
    topics, topics.c.id == outbox.c.topic_id
)
_COLUMNS = [column.name for column in outbox.columns]


def append(conn: Connection, messages: Iterable[OutboxMessage]) -> None:
    """Queues messages, in order. Only within `Store.write`, which knows their places."""
    sequence: Sequence | None = conn.info.get(NAME)
    if sequence is None:
        raise RuntimeError("outbox.append belongs into Store.write")
    rows = sequence.assign([encode.message(one) for one in messages])
    if sequence.new_topics:
        conn.execute(
            topics.insert(), [{"id": number, "topic": topic} for number, topic in sequence.new_topics]
        )
        sequence.new_topics.clear()
    if rows:
        conn.execute(outbox.insert(), [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


def cursor(conn: Connection) -> int:
    """The id up to which all messages were acknowledged; 0 at first."""
    return int(conn.execute(select(counters.c.value).where(counters.c.name == "published")).scalar_one())


def advance(conn: Connection, row_id: int) -> None:
    """All messages up to this id were acknowledged. Never goes back."""
    conn.execute(
        update(counters).where(counters.c.name == "published", counters.c.value < row_id).values(value=row_id)
    )


def batch(conn: Connection, after_id: int, limit: int) -> list[OutboxRow]:
    """The next messages behind an id."""
    query = _ROWS.where(outbox.c.id > after_id).order_by(outbox.c.id).limit(limit)
    return [OutboxRow(*row) for row in conn.execute(query)]


def replay(conn: Connection, topic: str, from_seq: int, limit: int) -> list[OutboxRow]:
    """Messages of one topic from a `seq` on, as far back as they are still kept."""
    number = conn.execute(select(topics.c.id).where(topics.c.topic == topic)).scalar()
    if number is None:
        return []
    marks = _landmarks(conn, number, from_seq, limit)
    found: list[OutboxRow] = []
    for index, mark in enumerate(marks):
        upto = min(mark + REACH, marks[index + 1] if index + 1 < len(marks) else mark + REACH)
        query = _ROWS.where(
            outbox.c.id >= mark, outbox.c.id < upto, outbox.c.topic_id == number, outbox.c.seq >= from_seq
        )
        rows = conn.execute(query.order_by(outbox.c.id).limit(limit - len(found)))
        found += [OutboxRow(*row) for row in rows]
        if len(found) == limit:
            break
    return found


def _landmarks(conn: Connection, topic_id: int, from_seq: int, limit: int) -> list[int]:
    """The ids of the landmarks behind which the next `limit` messages from `from_seq` on lie, in order."""
    of_topic = select(outbox.c.id).where(outbox.c.topic_id == topic_id, text("landmark"))
    before = of_topic.where(outbox.c.seq <= from_seq).order_by(outbox.c.seq.desc()).limit(1)
    after = of_topic.where(outbox.c.seq > from_seq).order_by(outbox.c.seq).limit(limit)
    return [*conn.execute(before).scalars(), *conn.execute(after).scalars()]


def backlog(conn: Connection) -> int:
    """How many messages wait to be acknowledged."""
    query = select(func.count()).select_from(outbox).where(outbox.c.id > cursor(conn))
    return conn.execute(query).scalar_one()


def prune(conn: Connection, published_before: datetime, *, limit: int = 2000) -> int:
    """Deletes up to `limit` messages that were acknowledged and are older than a time; returns how many.

    Oldest first, up to the first that is to be kept. The last message of each topic stays: the next `seq`
    follows from it.
    """
    kept = _lasts(conn)
    old = (
        select(outbox.c.id, outbox.c.recorded_at)
        .where(outbox.c.id <= cursor(conn))
        .order_by(outbox.c.id)
        .limit(limit + len(kept))
    )
    edge = to_us(published_before)
    gone: list[int] = []
    for row in conn.execute(old):
        if row.recorded_at >= edge or len(gone) == limit:
            break
        if row.id not in kept:
            gone.append(row.id)
    for start in range(0, len(gone), 500):
        conn.execute(delete(outbox).where(outbox.c.id.in_(gone[start : start + 500])))
    if gone:
        _restore_landmarks(conn, gone[-1])
    return len(gone)


def _lasts(conn: Connection) -> set[int]:
    """The ids of the last message of each topic."""
    found = set()
    for number in conn.execute(select(topics.c.id)).scalars().all():
        query = select(outbox.c.id).where(outbox.c.topic_id == number, text("landmark"))
        mark = conn.execute(query.order_by(outbox.c.seq.desc()).limit(1)).scalar()
        if mark is not None:
            near = select(func.max(outbox.c.id)).where(
                outbox.c.topic_id == number, outbox.c.id >= mark, outbox.c.id < mark + REACH
            )
            found.add(conn.execute(near).scalar_one())
    return found


def _restore_landmarks(conn: Connection, gone: int) -> None:
    """After a deletion up to an id: the first row of each topic is a landmark again. Rows whose landmark was
    deleted are the last ones of their topic, or lie within its reach."""
    query = select(outbox.c.id, outbox.c.topic_id, outbox.c.landmark)
    known: set[int] = set()
    missing: list[int] = []
    for row in conn.execute(query.where(outbox.c.id < gone + REACH).order_by(outbox.c.id)):
        if row.topic_id not in known and not row.landmark:
            missing.append(row.id)
        known.add(row.topic_id)
    if missing:
        conn.execute(update(outbox).where(outbox.c.id.in_(missing)).values(landmark=True))
