"""The statements on the path of a passage: compiled once by SQLAlchemy Core, run by the driver's cursor.

Plain `executemany` on both drivers: statements with many rows in each were measured and gained nothing on
SQLite, and cost PostgreSQL's driver more than half of its rate. Knows no transactions and no threads.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from typing import Any

from sqlalchemy import Dialect, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

from gated.store import encode
from gated.store.encode import Encoded, Message, Row
from gated.store.sequence import Sequence
from gated.store.tables import alerts, openings, outbox, passages, reads, topics


class Statements:
    """For one dialect; shared by all connections."""

    def __init__(self, dialect: Dialect) -> None:
        insert: Any = postgresql.insert if dialect.name == "postgresql" else sqlite.insert

        def compiled(statement: Insert) -> str:
            return str(statement.inline().compile(dialect=dialect))

        def plain(table: Table, columns: Rows[str]) -> str:
            return compiled(insert(table).values(dict.fromkeys(columns)))

        self._passage = plain(passages, encode.PASSAGE_COLUMNS)
        self._outbox = plain(outbox, [column.name for column in outbox.columns])
        self._topic = plain(topics, ["id", "topic"])
        read = insert(reads).values(dict.fromkeys(encode.READ_COLUMNS))
        self._read = compiled(
            read.on_conflict_do_update(
                index_elements=["device", "key", "moment", "disposition"],
                set_={"times": reads.c.times + read.excluded.times, "last_at": read.excluded.last_at},
            )
        )
        opening = insert(openings).values(dict.fromkeys(encode.OPENING_COLUMNS))
        self._opening = compiled(_replacing(opening, "outcome", "finished_at", "detail"))
        alert = insert(alerts).values(dict.fromkeys(encode.ALERT_COLUMNS))
        self._alert = compiled(
            _replacing(alert, "severity", "text_zh", "text_en", "state", "updated_at", "times", "passage_id")
        )
        mark = "%s" if dialect.name == "postgresql" else "?"
        self.flags: tuple[object, object] = (False, True) if dialect.name == "postgresql" else (0, 1)
        """No and yes as the driver takes them at once; SQLite's looks for an adapter of each bool first."""
        self._known = f"SELECT decided_at FROM passages WHERE id = {mark}"  # noqa: S608 - no outside text

    def write(self, cursor: Any, items: Rows[Encoded], sequence: Sequence) -> None:
        """Writes what the records hold."""
        passages_: list[Row] = []
        alerts_: list[Row] = []
        reads_: list[Row] = []
        openings_: list[Row] = []
        messages: list[Message] = []
        for one in items:
            if one.passage is not None:
                passages_.append(one.passage)
            elif one.opening is not None:
                openings_.append(one.opening)
            elif one.read is not None:
                reads_.append(one.read)
            if one.alerts:
                alerts_ += one.alerts
            messages += one.messages
        if passages_:
            _insert(cursor, self._passage, passages_)
        if alerts_:
            cursor.executemany(self._alert, alerts_)
        if openings_:
            cursor.executemany(self._opening, openings_)
        if reads_:
            cursor.executemany(self._read, reads_)
        if messages:
            self.append(cursor, sequence.assign(messages), sequence)

    def append(self, cursor: Any, rows: list[Row], sequence: Sequence) -> None:
        """Inserts outbox rows that `sequence` has assigned, and the topics that are new with them."""
        if sequence.new_topics:
            cursor.executemany(self._topic, sequence.new_topics)
            sequence.new_topics.clear()
        _insert(cursor, self._outbox, rows)

    def decided_at(self, cursor: Any, passage_id: str) -> int | None:
        """When the passage of this id that is on disk was decided; None if there is none."""
        row = cursor.execute(self._known, (passage_id,)).fetchone()
        return None if row is None else int(row[0])


def _insert(cursor: Any, statement: str, rows: Rows[Row]) -> None:
    if len(rows) == 1:
        cursor.execute(statement, rows[0])
    elif rows:
        cursor.executemany(statement, rows)


def _replacing(statement: Any, *columns: str) -> Insert:
    """On a known id, takes over these columns."""
    found: Insert = statement.on_conflict_do_update(
        index_elements=["id"], set_={name: statement.excluded[name] for name in columns}
    )
    return found
