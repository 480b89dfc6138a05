"""Places in the outbox: ids in the order of commits and a `seq` without gaps for each topic.

Belongs to one connection, inside whose transaction it assigns. It keeps what the database said last, asks
again as soon as somebody else has written, and takes back what a savepoint takes back; so it is never ahead
of the disk. Whoever writes holds the write lock of the database (see `gated.store.dialects`), which makes
the order of ids the order of commits.
"""

from __future__ import annotations

from typing import Any

from gated.store.encode import Message, Row
from gated.store.records import OutboxRow

NAME = "gated.sequence"
"""Under this name in `Connection.info`."""


class Sequence:
    """`assign` makes rows; `mark` and `undo` bracket a savepoint; `forget` after anything went wrong."""

    def __init__(self) -> None:
        self._topics: dict[str, list[int]] = {}  # id, last seq
        self.last = -1
        """The largest id that was assigned; -1 when it must be asked for."""
        self._next_topic = 0
        self._recorded_at = 0
        self._first = -1
        self.fresh: list[OutboxRow] = []
        """What this transaction has assigned; good once it is committed."""
        self._undo: list[tuple[str, int | None]] = []
        self.new_topics: list[Row] = []
        """Topics seen for the first time; they must be inserted before the rows that name them."""

    def begin(self, cursor: Any, last: int, recorded_at: int) -> None:
        """Once at the start of a transaction that holds the write lock. `last`: the largest id on disk.
        `recorded_at`: now, in microseconds."""
        self._recorded_at = recorded_at
        if last != self.last:
            self._load(cursor, last)
        self._first = last
        self.fresh = []
        self._undo.clear()
        self.new_topics.clear()

    def _load(self, cursor: Any, last: int) -> None:
        self._topics.clear()
        cursor.execute(
            "SELECT t.topic, t.id, (SELECT max(seq) FROM outbox WHERE topic_id = t.id) FROM topics t"
        )
        for topic, number, seq in cursor.fetchall():
            self._topics[topic] = [number, seq or 0]
        self._next_topic = max((place[0] for place in self._topics.values()), default=0) + 1
        self.last = last

    def assign(self, messages: list[Message]) -> list[Row]:
        """The rows of these messages, in order."""
        rows: list[Row] = []
        topics, undo, last, recorded_at = self._topics, self._undo, self.last, self._recorded_at
        fresh = self.fresh
        for one in messages:
            place = topics.get(one.topic)
            if place is None:
                place = topics[one.topic] = [self._next_topic, 0]
                self.new_topics.append((self._next_topic, one.topic))
                self._next_topic += 1
                undo.append((one.topic, None))
            else:
                undo.append((one.topic, place[1]))
            place[1] += 1
            last += 1
            rows.append((last, place[0], place[1], recorded_at, one.retain, one.payload))
            fresh.append(OutboxRow(last, one.topic, place[1], one.payload, one.retain))
        self.last = last
        return rows

    def mark(self) -> tuple[int, int]:
        """Where we are now, for `undo`."""
        return self.last, len(self._undo)

    def undo(self, mark: tuple[int, int]) -> None:
        """Takes back what was assigned since `mark`."""
        self.last, length = mark
        del self.fresh[self.last - self._first :]
        while len(self._undo) > length:
            topic, seq = self._undo.pop()
            if seq is None:
                number = self._topics.pop(topic)[0]
                self.new_topics = [row for row in self.new_topics if row[0] != number]
                self._next_topic = min(self._next_topic, number)
            else:
                self._topics[topic][1] = seq

    def forget(self) -> None:
        """The transaction came to nothing, or nobody knows: ask again."""
        self.last = -1
