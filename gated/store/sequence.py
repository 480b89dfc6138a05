"""Places in the outbox: ids in the order of commits and a `seq` without gaps for each topic.

Belongs to one connection, inside whose transaction it assigns. It keeps what the database said last, asks
again as soon as somebody else has written, and takes back what a savepoint takes back; so it is never ahead
of the disk. Whoever writes holds the write lock of the database (see `gated.store.backend`), which makes
the order of ids the order of commits.

Rows are found by topic and `seq` through landmarks: some rows of each topic, which alone are in an index. The
others lie shortly behind them. So a passage touches one page less, and a replay costs a few short scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gated.store.encode import Message, Row
from gated.store.records import OutboxRow

REACH = 256
"""Any row that is no landmark lies less than so many ids behind a landmark of its topic."""
_EVERY = 64
"""A landmark at the latest after so many messages of a topic, so that a replay begins near what it wants."""

NAME = "gated.sequence"
"""Under this name in `Connection.info`."""


@dataclass(slots=True)
class _Place:
    """The last row of a topic, and its last landmark."""

    topic_id: int
    seq: int = 0
    landmark: int = -REACH
    landmark_seq: int = 0


class Sequence:
    """`assign` makes rows; `mark` and `undo` bracket a savepoint; `forget` after anything went wrong.
    `flags`: what the driver writes for no and yes."""

    def __init__(self, flags: tuple[object, object] = (False, True)) -> None:
        self._no_or_yes = flags
        self._topics: dict[str, _Place] = {}
        self.last = -1
        """The largest id that was assigned; -1 when it must be asked for."""
        self._next_topic = 0
        self._recorded_at = 0
        self._first = -1
        self.fresh: list[OutboxRow] = []
        """What this transaction has assigned; good once it is committed."""
        self._undo: list[tuple[str, int, int, int]] = []
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
        cursor.execute("SELECT id, topic FROM topics")
        for number, topic in cursor.fetchall():
            place = self._topics[topic] = _Place(number)
            cursor.execute(_LAST_LANDMARK.format(number))
            if (found := cursor.fetchone()) is not None:
                place.landmark, place.landmark_seq = found
                cursor.execute(_LAST_SEQ.format(number, place.landmark, place.landmark + REACH))
                place.seq = cursor.fetchone()[0]
        self._next_topic = max((place.topic_id for place in self._topics.values()), default=0) + 1
        self.last = last

    def assign(self, messages: list[Message]) -> list[Row]:
        """The rows of these messages, in order."""
        rows: list[Row] = []
        topics, undo, last, recorded_at = self._topics, self._undo, self.last, self._recorded_at
        fresh, no_or_yes = self.fresh, self._no_or_yes
        for topic, payload, retain in messages:
            place = topics.get(topic)
            if place is None:
                place = topics[topic] = _Place(self._next_topic)
                self.new_topics.append((self._next_topic, topic))
                self._next_topic += 1
            number, seq = place.topic_id, place.seq
            undo.append((topic, seq, place.landmark, place.landmark_seq))
            place.seq = seq = seq + 1
            last += 1
            landmark = last - place.landmark >= REACH or seq - place.landmark_seq >= _EVERY
            if landmark:
                place.landmark, place.landmark_seq = last, seq
            # SQLite's driver looks for an adapter of bytes, which takes as long as writing the row
            blob = bytearray(payload)
            rows.append((last, number, seq, recorded_at, no_or_yes[retain], no_or_yes[landmark], blob))
            fresh.append(OutboxRow(last, topic, seq, payload, retain))
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
            topic, seq, landmark, landmark_seq = self._undo.pop()
            place = self._topics[topic]
            place.seq, place.landmark, place.landmark_seq = seq, landmark, landmark_seq
            if seq == 0:  # it was new
                del self._topics[topic]
                self.new_topics = [row for row in self.new_topics if row[0] != place.topic_id]
                self._next_topic = min(self._next_topic, place.topic_id)

    def forget(self) -> None:
        """The transaction came to nothing, or nobody knows: ask again."""
        self.last = -1


# numbers only: no parameters, whose marks differ between the drivers
_LAST_LANDMARK = "SELECT id, seq FROM outbox WHERE topic_id = {} AND landmark ORDER BY seq DESC LIMIT 1"
_LAST_SEQ = "SELECT max(seq) FROM outbox WHERE topic_id = {} AND id >= {} AND id < {}"
