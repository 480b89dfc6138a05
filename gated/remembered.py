"""What the site remembers beside the passes: who is inside, refusals, lists, dwellings. Opened from the
store, fed by the lanes while it runs, and brought up to what other processes changed.

Presence is written down off the path of a passage (see `gated.store.presence`): a restart reads what was
written, and folds in the passages that came after.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from gated.lists import Dwellings, Lists
from gated.store import Store, device_events, dwellings, lists, presence
from gated.watched import KEPT, Watched
from rules.memory import Memory

log = structlog.get_logger()

_REFUSALS_WITHIN = timedelta(hours=1)
_REFUSALS_MOST = 10_000
_LANES_WITHIN = timedelta(minutes=5)
_PAGE = 250
"""Passages that are written down at once: they hold up those that pass meanwhile for some milliseconds."""
_PAGE_AT_START = 10_000
_KEPT = timedelta(days=90)
"""Presence on passes that are over is kept for so long: a pass may be renewed."""


class Remembered:
    """The site's memory. `clock`: now, UTC."""

    def __init__(self, memory: Memory, clock: Callable[[], datetime]) -> None:
        self.memory = memory
        self.lists = Lists()
        self.dwellings = Dwellings()
        self.watched = Watched()
        self._clock = clock
        self._listed = -1

    async def open(self, store: Store) -> None:
        """Takes in all that the store has; first writes down what a crash left behind."""
        folded = 0
        while read := await self.advance(store, _PAGE_AT_START):
            folded += read
        now = self._clock()

        def load(conn: Connection) -> None:
            self.memory.load(presence.load(conn), presence.latest_of_lanes(conn, now - _LANES_WITHIN))
            for refused in presence.refused_since(conn, now - _REFUSALS_WITHIN, _REFUSALS_MOST):
                self.memory.passed(refused)
            self.watched.load(device_events.since(conn, now - KEPT))

        await store.read(load)
        await self.follow(store)
        log.info("memory_opened", folded=folded, inside=self.memory.occupancy(self._clock()))

    async def advance(self, store: Store, limit: int = _PAGE) -> int:
        """Writes down some of the passages that are not in the table of presence yet; how many. Raises
        NotReadable and NotRecorded; nothing is lost by either."""
        found = await store.read(partial(presence.folded, zone=self.memory.zone, limit=limit))
        return await store.write(partial(presence.keep, found=found)) if found.read else 0

    async def tidy(self, store: Store) -> int:
        """Forgets the presence on passes that have been over for long; on how many. Raises as `advance`."""
        before = self._clock() - _KEPT
        gone = 0
        while passes := await store.read(partial(presence.over, before=before)):
            await store.write(partial(presence.forget, pass_ids=passes, before=before))
            self.memory.drop(passes, before)
            gone += len(passes)
        return gone

    async def follow(self, store: Store) -> bool:
        """Takes over changed lists and dwellings; one small query where nothing changed."""
        last = await store.read(lists.last_change)
        if last == self._listed:
            return False

        def load(conn: Connection) -> None:
            self.lists.load(lists.entries(conn))
            self.dwellings.load(dwellings.every(conn))

        await store.read(load)
        self._listed = last
        return True
