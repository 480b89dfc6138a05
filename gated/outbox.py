"""Messages for the outbox, and their relay from the store to a publisher: at least once, in order per topic.

The first half is pure: records to payloads, whose shapes `docs/asyncapi.yaml` describes and tests check. The
second half, `Relay`, moves rows from the store to whatever publishes (`gated.mqtt`), and the durable cursor
behind them. It must not know MQTT, and it keeps no message in memory beyond one small batch.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import structlog

from gated.domain import Alert, Decision, Passage
from gated.status import LaneStatus
from gated.store import outbox as rows
from gated.store.records import OutboxMessage, OutboxRow
from gated.store.store import Store
from gated.times import iso

log = structlog.get_logger()

AlertMessageType = Literal["new", "update", "end"]


def passage_message(passage: Passage, decision: Decision) -> OutboxMessage:
    """One passage and what was decided, for `lanes/{lane}/passages`. `id` is the key against duplicates."""
    credential = passage.read.credential
    return OutboxMessage(
        topic=f"lanes/{passage.lane}/passages",
        payload={
            "id": passage.id,
            "lane": passage.lane,
            "entrance": passage.entrance,
            "direction": passage.direction.value,
            "credential": None
            if credential is None
            else {"kind": credential.kind.value, "value": credential.value},
            "outcome": decision.outcome.value,
            "reason": decision.reason,
            "text": decision.explanation.as_dict(),
            "rule_id": decision.rule_id,
            "pass_id": decision.pass_id,
            "device": passage.read.device,
            "at": iso(passage.at),
            "received_at": iso(passage.read.received_at),
            "continues": passage.continues,
        },
    )


def alert_message(alert: Alert, type_: AlertMessageType, *, grid: str | None = None) -> OutboxMessage:
    """One step of an alert, for `grids/{grid}/alerts`. `at` is the time of this step.

    `grid`: to whom it goes, when that is not the alert's own grid (it escalated up the tree).
    """
    return OutboxMessage(
        topic=f"grids/{grid or alert.grid}/alerts",
        payload={
            "type": type_,
            "id": alert.id,
            "grid": alert.grid,
            "severity": alert.severity.value,
            "reason": alert.reason,
            "text": alert.text.as_dict(),
            "lane": alert.lane,
            "device": alert.device,
            "passage_id": alert.passage_id,
            "state": alert.state,
            "count": alert.count,
            "raised_at": iso(alert.raised_at),
            "at": iso(alert.updated_at),
        },
    )


def lane_state_message(status: LaneStatus) -> OutboxMessage:
    """A lane now, retained, for `lanes/{id}/state`. The caller coalesces: one message a change."""
    return OutboxMessage(
        topic=f"lanes/{status.id}/state",
        payload={
            "id": status.id,
            "entrance": status.entrance,
            "direction": status.direction.value,
            "mode": status.mode.value,
            "position": status.position.value,
            "barrier": status.barrier,
            "last_outcome": None if status.last_outcome is None else status.last_outcome.value,
            "last_passage_id": status.last_passage_id,
            "last_at": None if status.last_at is None else iso(status.last_at),
            "waiting": status.waiting,
            "occupied": status.occupied,
        },
        retain=True,
    )


def with_seq(payload: bytes, seq: int) -> bytes:
    """The stored JSON object with its `seq` put in, without parsing it again."""
    if payload == b"{}":
        return b'{"seq":%d}' % seq
    return payload[:-1] + b',"seq":%d}' % seq


class Outgoing(NamedTuple):
    """One message to publish. `row`: the outbox row that its acknowledgement settles; None for what does not
    come from the outbox."""

    topic: str
    payload: bytes
    retain: bool = False
    row: int | None = None


class Progress:
    """Which rows are on their way, and up to which id all of them were acknowledged. Pure.

    Rows are sent in the order of their ids; acknowledgements may come in any order.
    """

    def __init__(self, acknowledged: int = 0) -> None:
        self.acknowledged = acknowledged
        self._sent: deque[int] = deque()
        self._early: set[int] = set()

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, row: int) -> None:
        self._sent.append(row)

    def settle(self, row: int) -> bool:
        """One row is acknowledged. True if that moved `acknowledged`."""
        if not self._sent or self._sent[0] != row:
            self._early.add(row)
            return False
        self.acknowledged = self._sent.popleft()
        while self._sent and self._sent[0] in self._early:
            self.acknowledged = self._sent.popleft()
            self._early.discard(self.acknowledged)
        return True

    def forget(self) -> None:
        """The connection is gone: what was on its way will be sent again."""
        self._sent.clear()
        self._early.clear()


class Relay:
    """Hands out the rows of the outbox in order and moves the durable cursor behind their acknowledgements.

    The publisher pulls: `take` gives the next message or None, `settle` reports an acknowledgement, and
    `wake` (given by the publisher) is called when there is something to take again. `run` does the reading
    and the saving for as long as one connection lasts; a new `run` starts again behind the cursor, so each
    row is published at least once, in order. Between `run`s nothing is held in memory.
    """

    def __init__(
        self,
        store: Store,
        root: str,
        *,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        keep: timedelta = timedelta(days=7),
        batch: int = 200,
        save_after_s: float = 0.2,
    ) -> None:
        """`root`: what stands before the rows' topics, `gated/{site}/`. `keep`: how long published rows stay
        for replays. `save_after_s`: how long an acknowledgement may wait for its neighbours until the cursor
        is saved; after a crash so much is published twice."""
        self._store = store
        self._root = root
        self._wake = wake
        self._clock = clock
        self._keep = keep
        self._batch = batch
        self._save_after_s = save_after_s
        self._buffer: deque[OutboxRow] = deque()
        self._room = asyncio.Event()
        self._moved = asyncio.Event()
        self._progress = Progress()
        self._saved = 0
        self._prune_at = 0.0
        self._after = 0
        """The last row that is, or was, in the buffer."""
        self._listening = False
        self._waking = False
        self._caught_up = False
        store.on_outbox = self._offered

    @property
    def idle(self) -> bool:
        """Everything in the outbox has been acknowledged, as far as is known."""
        if self._buffer or len(self._progress):
            return False
        return self._caught_up and not self._store.outbox_ready.is_set()

    def take(self) -> Outgoing | None:
        """The next message to publish, or None for now."""
        if not self._buffer:
            return None
        row = self._buffer.popleft()
        if len(self._buffer) <= self._batch // 2:
            self._room.set()
        self._progress.sent(row.id)
        return Outgoing(self._root + row.topic, with_seq(row.payload, row.seq), row.retain, row.id)

    def settle(self, row: int) -> None:
        """The broker has acknowledged a message that `take` gave."""
        if self._progress.settle(row):
            self._moved.set()

    async def run(self) -> None:
        """Reads and saves until cancelled. Errors of the store are logged and tried again."""
        self._buffer.clear()
        self._progress.forget()
        self._caught_up = False
        saver = asyncio.create_task(self._save_as_it_moves())
        try:
            await self._read_as_it_grows()
        finally:
            saver.cancel()
            await asyncio.gather(saver, return_exceptions=True)
            self._buffer.clear()
            self._progress.forget()

    async def save(self) -> None:
        """Makes the cursor durable now. Raises what the store raises."""
        self._moved.clear()
        target = self._progress.acknowledged
        if target > self._saved:
            await self._store.write(lambda conn: rows.advance(conn, target))
            self._saved = target

    async def _read_as_it_grows(self) -> None:
        started = False
        while True:
            try:
                if not started:
                    durable = await self._store.read(rows.cursor)
                    self._saved = max(self._saved, durable)
                    self._progress.acknowledged = max(self._progress.acknowledged, durable)
                    self._after, started = self._progress.acknowledged, True
                await self._prune()
                self._caught_up = False
                self._store.outbox_ready.clear()
                found = await self._read_after(self._after)
            except Exception as error:
                log.warning("outbox_not_read", error=str(error))
                await asyncio.sleep(_BACKSTOP_S)
                continue
            self._caught_up = not found
            if found:
                self._took(found)
                if len(self._buffer) > self._batch // 2:
                    await self._room.wait()
            else:
                await self._wait_for_rows()

    def _took(self, found: list[OutboxRow]) -> None:
        self._after = found[-1].id
        self._buffer.extend(found)
        self._room.clear()
        if not self._waking:
            # not at once: whoever waits for the same commit to open a barrier goes first, and what others
            # commit meanwhile goes along
            self._waking = True
            asyncio.get_running_loop().call_later(_WAKE_AFTER_S, self._awake)

    def _awake(self) -> None:
        self._waking = False
        self._wake()

    def _offered(self, fresh: list[OutboxRow]) -> bool:
        """Rows that were committed just now. While nothing else is left to read they are taken as they are:
        reading them back would cost two changes of thread, which passages would wait for. Under a load that
        the broker cannot keep up with they stay in the store, and the memory flat."""
        follows = self._listening and fresh[0].id == self._after + 1
        if not follows or len(self._buffer) > self._batch or self._store.outbox_ready.is_set():
            return False
        self._took(fresh)
        return True

    async def _read_after(self, row: int) -> list[OutboxRow]:
        return await self._store.read(lambda conn: rows.batch(conn, row, self._batch))

    async def _wait_for_rows(self) -> None:
        """Until there is something to read back: rows that were not taken when offered. The time-out covers
        rows that another process wrote, and pruning."""
        self._listening = True
        try:
            async with asyncio.timeout(_BACKSTOP_S):
                await self._store.outbox_ready.wait()
        except TimeoutError:
            pass
        finally:
            self._listening = False

    async def _save_as_it_moves(self) -> None:
        while True:
            await self._moved.wait()
            await asyncio.sleep(self._save_after_s)
            try:
                await self.save()
            except Exception as error:
                log.warning("outbox_cursor_not_saved", error=str(error))
                await asyncio.sleep(_BACKSTOP_S)
                self._moved.set()

    async def _prune(self) -> None:
        """A piece at a time, for it holds up the writer; the next piece soon if there is more."""
        if time.monotonic() < self._prune_at:
            return
        before = self._clock() - self._keep
        gone = await self._store.write(lambda conn: rows.prune(conn, before, limit=_PRUNE_ROWS))
        self._prune_at = time.monotonic() + (_PRUNE_EVERY_S if gone < _PRUNE_ROWS else _BACKSTOP_S)
        if gone:
            log.debug("outbox_pruned", rows=gone)


_BACKSTOP_S = 5.0
_PRUNE_EVERY_S = 600.0
_WAKE_AFTER_S = 0.002
_PRUNE_ROWS = 1000
