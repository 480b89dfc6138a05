"""The writer's connection and what one transaction does on it: a batch of items, all through or all not.

Used from one thread; knows no queue, no event loop and no patience. It sets what became of each item; who
tells the callers, and tries again, is `gated.store.writer`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from gated.ports import NotRecorded
from gated.store.backend import Backend, Trouble
from gated.store.hot import Statements
from gated.store.items import Item, first_line, fresh
from gated.store.locks import Lock
from gated.store.records import AlreadyRecorded, OutboxRow, StaleDecision, StoreInUse
from gated.store.sequence import NAME, Sequence
from gated.times import to_us

log = structlog.get_logger()

_STATE = "SELECT value, (SELECT max(id) FROM outbox) FROM counters WHERE name = 'passes'"
"""The last change of a pass, and the last place in the outbox."""
_AWAY = (Trouble.LATER, Trouble.NOT_NOW)


class CommitBroke(Exception):
    """The connection was lost in a commit: nobody knows whether it was made."""


class Transactions:
    """`commit` for each batch, and `failed` after each that raised. `connect` and `close` around them."""

    def __init__(self, backend: Backend, *, lock: Lock | None, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._engine: Engine = backend.writing()
        self._lock = lock
        self._clock = clock
        self._statements = Statements(self._engine.dialect)
        self._sequence = Sequence(self._statements.flags)
        self._conn: Connection | None = None
        self.raw: Any = None
        """The driver's connection."""
        self._cursor: Any = None
        self._unsure = False
        """Some items may be on disk: a commit broke off while they were in it."""

    def connect(self) -> None:
        """Takes the daemon's lock too. Raises StoreInUse, and what the database raises."""
        conn = self._engine.connect()
        try:
            raw = conn.connection.driver_connection
            if self._lock is not None:
                self._lock.take(raw)
            cursor = raw.cursor()  # type: ignore[union-attr]
        except BaseException:
            conn.close()
            raise
        self._sequence.forget()
        conn.info[NAME] = self._sequence
        self._conn, self.raw, self._cursor = conn, raw, cursor

    def commit(self, batch: list[Item]) -> list[OutboxRow]:
        """Writes and commits; sets result or error of each item. Returns the new outbox rows. Raises what
        kept all of them from being written."""
        singly = self._unsure and any(item.unsure for item in batch)
        try:
            rows = self._transaction(batch, singly=singly)
        except Exception as error:
            if singly or self._trouble(error) in _AWAY:
                raise
            # one of them cannot be written: find out which, and write the others
            self._roll_back()
            rows = self._transaction(batch, singly=True)
        self._unsure = False
        return rows

    def failed(self, batch: list[Item], error: Exception) -> list[Item]:
        """After `commit` has raised: makes ready for another one, and returns the items to try again. The
        others have their error."""
        broke = isinstance(error, CommitBroke)
        again = self._trouble(error) is Trouble.LATER
        self._roll_back()
        if not (again and self._backend.keeps_connection(error)):
            self._disconnect()
        why = first_line(error)
        for item in batch:
            if broke and item.work is None:
                item.unsure = self._unsure = True
            elif broke:
                item.error = NotRecorded(f"{why}; it may have been written all the same")
                continue
            item.error = None if again else NotRecorded(why)
        return [item for item in batch if item.error is None]

    def tidy(self) -> None:
        """Between transactions, while nobody waits."""
        if self._cursor is None:
            return
        try:
            self._backend.tidy(self._cursor)
        except Exception as error:
            # the next transaction meets the same, and tells
            log.debug("store_not_tidied", error=first_line(error))

    def close(self) -> None:
        """Gives the lock back."""
        self._disconnect()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def _transaction(self, batch: list[Item], *, singly: bool) -> list[OutboxRow]:
        if self._cursor is None:
            self.connect()
        conn, cursor, sequence = self._conn, self._cursor, self._sequence
        assert conn is not None  # noqa: S101 - connect
        works = [item for item in batch if item.work is not None]
        # where SQLAlchemy is to see the transaction, for works, it begins and ends it
        transaction = conn.begin() if works else None
        if transaction is None:
            self._backend.begin(cursor)
        self._backend.lock_writers(cursor)
        cursor.execute(_STATE)
        change, last = cursor.fetchone()
        sequence.begin(cursor, last or 0, to_us(self._clock()))
        if singly:
            for item in batch:
                if item.encoded is not None:
                    self._write_singly(cursor, item, change)
        elif records := fresh(batch, change):
            self._statements.write(cursor, records, sequence)
        for item in works:
            self._do(conn, item)
        try:
            if transaction is not None:
                transaction.commit()
            else:
                self.raw.commit()
        except Exception as error:
            if self._backend.trouble(error) is Trouble.LATER:
                raise CommitBroke(first_line(error)) from error
            raise
        return sequence.fresh

    def _write_singly(self, cursor: Any, item: Item, change: int) -> None:
        """One record under a savepoint of its own."""
        encoded = item.encoded
        assert encoded is not None  # noqa: S101 - the caller's check
        item.error = None
        if encoded.passage is not None:
            known = self._statements.decided_at(cursor, encoded.id)
            if known is not None:
                if not (item.unsure and known == encoded.decided_at):
                    item.error = AlreadyRecorded(encoded.id)
                return
            if encoded.change < change:
                item.error = StaleDecision(change)
                return
        mark = self._sequence.mark()
        cursor.execute("SAVEPOINT one")
        try:
            self._statements.write(cursor, (encoded,), self._sequence)
        except Exception as error:
            if self._trouble(error) in _AWAY:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT one")
            self._sequence.undo(mark)
            log.error("record_not_writable", id=encoded.id, error=str(error))
            item.error = NotRecorded(f"the record cannot be written: {error}")
        cursor.execute("RELEASE SAVEPOINT one")

    def _do(self, conn: Connection, item: Item) -> None:
        """A caller's own work under a savepoint; its errors are its caller's."""
        assert item.work is not None  # noqa: S101 - the caller's check
        mark = self._sequence.mark()
        item.error = None
        savepoint = conn.begin_nested()
        try:
            item.result = item.work(conn)
            savepoint.commit()
        except Exception as error:
            if self._trouble(error) in _AWAY:
                raise
            savepoint.rollback()
            self._sequence.undo(mark)
            item.error = error

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, CommitBroke | StoreInUse):
            return Trouble.LATER
        return self._backend.trouble(error)

    def _roll_back(self) -> None:
        self._sequence.forget()
        if self._conn is None:
            return
        try:
            if (transaction := self._conn.get_transaction()) is not None:
                transaction.rollback()
            self.raw.rollback()
        except Exception as error:
            log.debug("store_rollback_failed", error=str(error))
            self._disconnect()

    def _disconnect(self) -> None:
        conn, self._conn, self.raw, self._cursor = self._conn, None, None, None
        if conn is not None:
            with contextlib.suppress(Exception):  # it is broken already, and thrown away
                conn.invalidate()
            with contextlib.suppress(Exception):
                conn.close()
