"""The writer: one thread that commits whatever is queued as one transaction, without a timer.

While one transaction is synced to disk the next callers queue up, so transactions grow with the load and one
caller alone waits for nobody. Who is told that its record is durable is told after the commit. The thread
outlives every error of the database: callers get `NotRecorded` in time, and once the cause is gone it goes
on by itself. What a transaction does is in `gated.store.transactions`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from queue import SimpleQueue
from typing import Any

import structlog

from gated.ports import NotRecorded
from gated.store.backend import Backend
from gated.store.encode import Encoded
from gated.store.items import Item, Work, first_line
from gated.store.locks import Lock
from gated.store.records import OutboxRow
from gated.store.transactions import Transactions

log = structlog.get_logger()

MOST_IN_BATCH = 512
MOST_WAITING = 10_000
PATIENCE_S = 2.0
"""How long a caller waits for a locked or lost database before it gets `NotRecorded`."""
_PAUSE_S = 0.05
_BUSY = 16
"""From so many records in a transaction on the next ones are on their way."""
LATER_S = 0.1
_STOP = object()
_NOW = object()
"""Wakes the thread for what was put off."""


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
        self._transactions = Transactions(backend, lock=lock, clock=clock)
        self._tidy_after = backend.tidy_after
        self._patience_s = patience_s
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._later: deque[Item] = deque()
        self._later_due: asyncio.TimerHandle | None = None
        self._given: list[Item] = []
        self._unanswered = 0
        self._asked = 0
        """How many have come since the last answer, other than what can wait."""
        self._alone = True
        self._untidy = 0
        self._busy = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self.last_error: str | None = None
        """Why the last attempt failed; None since one has succeeded."""

    # --- on the event loop ------------------------------------------------------------------------------

    def open(self) -> None:
        """Connects and takes the daemon's lock. Blocks. Raises StoreInUse, and what the database raises."""
        self._transactions.connect()

    @property
    def raw(self) -> Any:
        """The driver's connection."""
        return self._transactions.raw

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
            self._asked += 1
            if self._alone and self._unanswered == len(self._later) + 1:
                self._hand_over()
            elif len(self._given) == 1:
                self._loop.call_soon(self._hand_over)
            return future
        self._later.append(item)
        if self._later_due is None:
            self._later_due = self._loop.call_later(LATER_S, self._hurry)
        return future

    def _hand_over(self) -> None:
        """Hands over what this turn of the loop has brought, at its end: given one by one, the first would
        wake the thread, which would then wrestle for the interpreter with the loop that is still busy. One
        caller alone does not wait for that end."""
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
        self._transactions.close()

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
        self._transactions.close()

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
        if self._tidy_after is None or self._untidy < self._tidy_after:
            return
        if not self._busy and not self._queue.qsize():
            self._untidy = 0
            self._transactions.tidy()

    def _expired(self, hand: list[Item]) -> list[Item]:
        """Tells those whose patience is over; returns the others."""
        now = time.monotonic()
        over: list[Item] = []
        left: list[Item] = []
        for item in hand:  # one look at each: its caller may go at any moment
            (over if item.deadline <= now or item.future.cancelled() else left).append(item)
        for item in over:
            item.error = NotRecorded(self.last_error or "the database is away")
        self._tell(over, 0.0, [])
        return left

    def _attempt(self, batch: list[Item]) -> list[Item]:
        """One transaction of these items; resolves those that are through, returns those to try again."""
        started = time.perf_counter()
        try:
            rows = self._transactions.commit(batch)
        except Exception as error:
            return self._failed(batch, error)
        if self.last_error is not None:
            log.info("store_writes_again", was=self.last_error)
            self.last_error = None
        self._untidy += len(batch)
        self._busy = len(batch) >= _BUSY
        self._tell(batch, time.perf_counter() - started, rows)
        return []

    def _failed(self, batch: list[Item], error: Exception) -> list[Item]:
        """After a transaction that came to nothing: those for whom another try makes sense are returned."""
        again = self._transactions.failed(batch, error)
        why = first_line(error)
        if self.last_error is None:
            log.warning("store_cannot_write", why=why, waiting=self.depth)
        self.last_error = why
        self._tell([item for item in batch if item.error is not None], 0.0, [])
        return again

    def _tell(self, items: list[Item], seconds: float, rows: list[OutboxRow]) -> None:
        """Wakes the callers, all of them with one wake-up of the loop."""
        if not items:
            return
        try:
            self._loop.call_soon_threadsafe(self._resolve, items, seconds, rows)
        except RuntimeError:
            log.debug("store_not_waited_for", items=len(items))  # the loop is closed: nobody waits any more

    def _resolve(self, items: list[Item], seconds: float, rows: list[OutboxRow]) -> None:
        self._unanswered -= len(items)
        self._alone, self._asked = self._asked <= 1, 0
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
