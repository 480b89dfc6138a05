"""The writer: one thread that commits whatever is queued as one transaction, without a timer.

While one transaction is synced to disk the next callers queue up, so transactions grow with the load and one
caller alone waits for nobody. Who is told that its record is durable is told after the commit. The thread
outlives every error of the database: callers get `NotRecorded` in time, and once the cause is gone it goes
on by itself. It knows records as rows (`gated.store.encode`) and other writes as functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from queue import SimpleQueue
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from gated.ports import NotRecorded
from gated.store.backend import Backend, Trouble
from gated.store.encode import Encoded
from gated.store.hot import Statements
from gated.store.items import Item, Work, first_line, fresh
from gated.store.locks import Lock
from gated.store.records import AlreadyRecorded, OutboxRow, StaleDecision, StoreInUse
from gated.store.sequence import NAME, Sequence
from gated.times import to_us

log = structlog.get_logger()

MOST_IN_BATCH = 512
MOST_WAITING = 10_000
PATIENCE_S = 2.0
"""How long a caller waits for a locked or lost database before it gets `NotRecorded`."""
_PAUSE_S = 0.05
_BUSY = 16
"""From so many records in a transaction on the next ones are on their way."""
_STATE = "SELECT value, (SELECT max(id) FROM outbox) FROM counters WHERE name = 'passes'"
"""The last change of a pass, and the last place in the outbox."""
LATER_S = 0.1
_STOP = object()
_NOW = object()
"""Wakes the thread for what was put off."""
_AWAY = (Trouble.LATER, Trouble.NOT_NOW)


class _CommitBroke(Exception):
    """The connection was lost in a commit: nobody knows whether it was made."""


class Writer:
    """Opened, then started on the event loop whose callers it serves, then stopped there."""

    def __init__(
        self,
        backend: Backend,
        *,
        lock: Lock | None,
        clock: Callable[[], datetime],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._backend = backend
        self._engine: Engine = backend.writing()
        self._lock = lock
        self._clock = clock
        self._patience_s = patience_s
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._later: deque[Item] = deque()
        self._later_due: asyncio.TimerHandle | None = None
        self._given: list[Item] = []
        self._unanswered = 0
        self._unsure = False
        self._untidy = 0
        self._busy = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._statements = Statements(self._engine.dialect)
        self._sequence = Sequence()
        self._conn: Connection | None = None
        self.raw: Any = None
        """The driver's connection."""
        self._cursor: Any = None
        self.last_error: str | None = None
        """Why the last attempt failed; None since one has succeeded."""

    # --- on the event loop ------------------------------------------------------------------------------

    def open(self) -> None:
        """Connects and takes the daemon's lock. Blocks. Raises StoreInUse, and what the database raises."""
        self._connect()

    def start(self, committed: Callable[[int, float, list[OutboxRow]], None]) -> None:
        """Starts the thread, for callers on the running loop. `committed` is called there after each
        transaction, with the number of its items, its seconds, and its outbox rows."""
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="gated-store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, encoded: Encoded | None, work: Work | None = None, *, later: bool = False
    ) -> asyncio.Future[Any]:
        """Queues a record, or any other work, and returns what its caller awaits. `later`: nobody waits for
        it, so it goes along with the next transaction, or in one with its like after `LATER_S`. Raises
        NotRecorded."""
        if self._closed:
            raise NotRecorded("the store is closed")
        if self._unanswered > MOST_WAITING:
            raise NotRecorded(f"more than {MOST_WAITING} records are waiting to be written")
        future: asyncio.Future[Any] = self._loop.create_future()
        item = Item(future, time.monotonic() + self._patience_s, encoded, work)
        self._unanswered += 1
        if not later:
            self._given.append(item)
            if len(self._given) == 1:
                self._loop.call_soon(self._hand_over)
            return future
        self._later.append(item)
        if self._later_due is None:
            self._later_due = self._loop.call_later(LATER_S, self._hurry)
        return future

    def _hand_over(self) -> None:
        """Hands over what this turn of the loop has brought, at its end: given one by one, the first would
        wake the thread, which would then wrestle for the interpreter with the loop that is still busy."""
        if self._given:
            self._queue.put(self._given)
            self._given = []

    def _hurry(self) -> None:
        """What was put off and has not gone along with another transaction by now gets one of its own."""
        self._later_due = None
        if self._later:
            self._queue.put(_NOW)

    @property
    def depth(self) -> int:
        """How many callers have had no answer yet."""
        return self._unanswered

    async def stop(self) -> None:
        """Writes what is queued, then ends the thread and gives the lock back."""
        if not self._closed:
            self._closed = True
            if self._later_due is not None:
                self._later_due.cancel()
            self._hand_over()
            self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)

    def close_unstarted(self) -> None:
        """Undoes `open`, where the thread was never started."""
        self._shut()

    # --- in the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        hand: list[Item] = []
        stopping = False
        while hand or self._later or not stopping:
            if not hand and not stopping:
                self._tidy()
                first = self._queue.get()
                if first is _STOP:
                    stopping = True
                elif first is not _NOW:
                    hand += first
            stopping |= self._take(hand, MOST_IN_BATCH)
            if not hand:
                continue
            again = self._attempt(hand[:MOST_IN_BATCH])
            del hand[:MOST_IN_BATCH]
            if again:
                # all who wait are looked through, so that each hears in time
                hand[:0] = again
                stopping |= self._take(hand, MOST_WAITING)
                hand = self._expired(hand)
                if hand:
                    time.sleep(_PAUSE_S)
        self._shut()

    def _take(self, hand: list[Item], most: int) -> bool:
        """Takes over what is queued, and what was put off. True if the writer is to stop after it."""
        stop = False
        # nobody else takes from it, so what is there stays there
        while len(hand) < most and not stop and self._queue.qsize():
            items = self._queue.get_nowait()
            stop = items is _STOP
            if not stop and items is not _NOW:
                hand += items
        while self._later and (len(hand) < most or stop):
            hand.append(self._later.popleft())
        return stop

    def _tidy(self) -> None:
        """Between transactions, if nobody waits; not under load, when the next ones are about to come."""
        after = self._backend.tidy_after
        if after is None or self._untidy < after or self._cursor is None:
            return
        if self._busy or self._queue.qsize():
            return
        self._untidy = 0
        try:
            self._backend.tidy(self._cursor)
        except Exception as error:
            # the next transaction meets the same, and tells
            log.debug("store_not_tidied", error=first_line(error))

    def _expired(self, hand: list[Item]) -> list[Item]:
        """Tells those whose patience is over; returns the others."""
        now = time.monotonic()
        over = [item for item in hand if item.deadline <= now or item.future.cancelled()]
        for item in over:
            item.error = NotRecorded(self.last_error or "the database is away")
        self._tell(over, 0.0, [])
        return (
            [item for item in hand if item.deadline > now and not item.future.cancelled()] if over else hand
        )

    def _attempt(self, batch: list[Item]) -> list[Item]:
        """One transaction of these items; resolves those that are through, returns those to try again."""
        started = time.perf_counter()
        try:
            singly = self._unsure and any(item.unsure for item in batch)
            try:
                rows = self._transaction(batch, singly=singly)
            except Exception as error:
                if singly or self._trouble(error) in _AWAY:
                    raise
                # one of them cannot be written: find out which, and write the others
                self._roll_back()
                rows = self._transaction(batch, singly=True)
        except Exception as error:
            return self._failed(batch, error)
        if self.last_error is not None:
            log.info("store_writes_again", was=self.last_error)
            self.last_error = None
        self._tell(batch, time.perf_counter() - started, rows)
        self._unsure = False
        self._untidy += len(batch)
        self._busy = len(batch) >= _BUSY
        return []

    def _transaction(self, batch: list[Item], *, singly: bool) -> list[OutboxRow]:
        """Writes and commits; sets result or error of each item. Returns the new outbox rows."""
        if self._cursor is None:
            self._connect()
        conn, cursor, sequence = self._conn, self._cursor, self._sequence
        assert conn is not None  # noqa: S101 - _connect
        works = [item for item in batch if item.work is not None]
        # where SQLAlchemy is to see the transaction, for works, it begins and ends it
        transaction = conn.begin() if works else None
        if transaction is None:
            self._backend.begin(cursor)
        self._backend.lock_writers(cursor)
        cursor.execute(_STATE)
        change, last = cursor.fetchone()
        first = last or 0
        sequence.begin(cursor, first, to_us(self._clock()))
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
                raise _CommitBroke(first_line(error)) from error
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

    def _failed(self, batch: list[Item], error: Exception) -> list[Item]:
        """After a transaction that came to nothing: those for whom another try makes sense are returned."""
        broke = isinstance(error, _CommitBroke)
        trouble = self._trouble(error)
        self._roll_back()
        if not (trouble is Trouble.LATER and self._backend.keeps_connection(error)):
            self._disconnect()
        why = first_line(error)
        if self.last_error is None:
            log.warning("store_cannot_write", why=why, waiting=self.depth)
        self.last_error = why
        waiting: list[Item] = []
        over: list[Item] = []
        for item in batch:
            if broke and item.work is None:
                item.unsure = self._unsure = True
            elif broke:
                item.error = NotRecorded(f"{why}; it may have been written all the same")
                over.append(item)
                continue
            if trouble is Trouble.LATER:
                waiting.append(item)
            else:
                item.error = NotRecorded(why)
                over.append(item)
        self._tell(over, 0.0, [])
        return waiting

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, _CommitBroke | StoreInUse):
            return Trouble.LATER
        return self._backend.trouble(error)

    def _tell(self, items: list[Item], seconds: float, rows: list[OutboxRow]) -> None:
        """Wakes the callers, all of them with one wake-up of the loop."""
        if items:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve, items, seconds, rows)

    def _resolve(self, items: list[Item], seconds: float, rows: list[OutboxRow]) -> None:
        self._unanswered -= len(items)
        for item in items:
            future = item.future
            if future.done():
                continue
            if item.error is None:
                future.set_result(item.result)
            else:
                future.set_exception(item.error)
        if seconds:
            self._committed(len(items), seconds, rows)

    # --- the connection ---------------------------------------------------------------------------------

    def _connect(self) -> None:
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

    def _shut(self) -> None:
        self._disconnect()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()
