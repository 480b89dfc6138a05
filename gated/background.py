"""What the daemon does beside the passages: follows passes, publishes the lanes' states, counts, tidies up.

No passage waits for any of it, and none of it decides anything. A task that fails is logged and begun again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import Any
from zlib import crc32

import structlog

from gated.clocks import BoxClock
from gated.lane import Lanes
from gated.outbox import lane_state_message
from gated.ports import NotRecorded
from gated.store import Store, idempotency, outbox
from gated.store.records import NotReadable

log = structlog.get_logger()

_FOLLOW_S = 1.0
_PRESENCE_EVERY_S = 10.0
_PRESENCE_PAUSE_S = 0.2
_STATE_EVERY_S = 0.5
_STATE_SHARES = 5  # of the lanes, one after the other: all at once would keep passages waiting
_LAG_EVERY_S = 0.5
_AGAIN_S = 1.0
_BACKLOG_EVERY_S = 5.0
_PRUNE_EVERY_S = 600.0
_TIDY_EVERY_S = 6 * 3600.0
_KEYS_KEPT = timedelta(days=2)


class Background:
    """The tasks of one daemon. `dirty`: ids of lanes whose state is to be published. `follow` takes over what
    other processes changed in the store, and returns how much. `write_presence` writes down who came and
    went, and returns how many passages that were; `tidy_presence` forgets those on passes that are over."""

    def __init__(
        self,
        store: Store,
        clock: BoxClock,
        lanes: Lanes,
        dirty: set[str],
        follow: Callable[[], Awaitable[int]],
        write_presence: Callable[[], Awaitable[int]],
        tidy_presence: Callable[[], Awaitable[int]],
    ) -> None:
        self.loop_lag_s = 0.0
        self.outbox_backlog = 0
        self._store = store
        self._clock = clock
        self._lanes = lanes
        self._dirty = dirty
        self._follow = follow
        self._write_presence = write_presence
        self._tidy_presence = tidy_presence

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them, for as long as the block lasts."""
        async with (
            kept_running(self._publish_states, "lane states"),
            kept_running(self._follow_others, "what others changed"),
            kept_running(self._keep_presence, "presence"),
            kept_running(self._measure_lag, "loop lag"),
            kept_running(self._housekeep, "housekeeping"),
        ):
            yield

    async def _follow_others(self) -> None:
        """Passes made by another process are known before they are needed; that no passage is decided on
        old ones is the store's promise, not this task's. A policy that was put in force takes over here."""
        while True:
            await asyncio.sleep(_FOLLOW_S)
            try:
                taken = await self._follow()
            except Exception as error:
                log.warning("changes_not_followed", error=str(error))
            else:
                if taken:
                    log.debug("changes_followed", changes=taken)

    async def _keep_presence(self) -> None:
        """Off the path of a passage; what is not written down yet at a crash is folded in at the next
        start. The first look for what may be forgotten is hours after the start, when the box knows the
        time."""
        tidied_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(_PRESENCE_EVERY_S)
            try:
                written = await self._write_presence()
                while written:  # a little at a time: passages come first
                    await asyncio.sleep(_PRESENCE_PAUSE_S)
                    written = await self._write_presence()
                if self._clock.monotonic() - tidied_at > _TIDY_EVERY_S:
                    tidied_at = self._clock.monotonic()
                    gone = await self._tidy_presence()
                    log.debug("presence_tidied", passes=gone)
            except (NotRecorded, NotReadable) as why:
                log.warning("presence_waits", why=str(why))

    async def _publish_states(self) -> None:
        """Lane states, at most two a second for each lane."""
        for share in cycle(range(_STATE_SHARES)):
            await asyncio.sleep(_STATE_EVERY_S / _STATE_SHARES)
            lanes = sorted(lane for lane in self._dirty if crc32(lane.encode()) % _STATE_SHARES == share)
            if lanes:
                known = {lane.settings.id for lane in self._lanes}
                self._dirty.difference_update(lanes)
                messages = [lane_state_message(self._lanes.status(lane)) for lane in lanes if lane in known]
                try:
                    await self._store.write(partial(outbox.append, messages=messages))
                except Exception as error:
                    self._dirty.update(lanes)
                    if not isinstance(error, NotRecorded):
                        raise

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.loop_lag_s = max(0.0, loop.time() - due)
            self._clock.now()  # notices a step also while nothing passes

    async def _housekeep(self) -> None:
        """Counts what waits for the broker, and forgets keys of requests that nobody repeats any more."""
        pruned_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(_BACKLOG_EVERY_S)
            try:
                self.outbox_backlog = await self._store.read(outbox.backlog)
                if self._clock.monotonic() - pruned_at > _PRUNE_EVERY_S:
                    pruned_at = self._clock.monotonic()
                    now = self._clock.now()
                    await self._store.write(partial(idempotency.prune, before=now - _KEYS_KEPT))
            except (NotRecorded, NotReadable) as why:
                log.warning("housekeeping_waits", why=str(why))


@contextlib.asynccontextmanager
async def kept_running(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> AsyncIterator[None]:
    """A task that goes on for as long as the block lasts."""

    async def guarded() -> None:
        while True:
            try:
                await work()
            except Exception:  # whatever it was, the daemon must not go on without this task
                log.exception("task_failed", task=name)
                await asyncio.sleep(_AGAIN_S)

    task = asyncio.create_task(guarded(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
