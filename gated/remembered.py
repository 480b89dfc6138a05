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
from gated.store import Store, dwellings, lists, presence
from rules.memory import Memory

log = structlog.get_logger()

_REFUSALS_WITHIN = timedelta(hours=1)
_REFUSALS_MOST = 10_000
_PAGE = 2000


class Remembered:
    """The site's memory. `clock`: now, UTC."""

    def __init__(self, memory: Memory, clock: Callable[[], datetime]) -> None:
        self.memory = memory
        self.lists = Lists()
        self.dwellings = Dwellings()
        self._clock = clock
        self._listed = -1

    async def open(self, store: Store) -> None:
        """Takes in all that the store has; first writes down what a crash left behind."""
        folded = 0
        while read := await self.advance(store):
            folded += read
        since = self._clock() - _REFUSALS_WITHIN

        def load(conn: Connection) -> None:
            self.memory.load(presence.load(conn))
            for refused in presence.refused_since(conn, since, _REFUSALS_MOST):
                self.memory.passed(refused)

        await store.read(load)
        await self.follow(store)
        log.info("memory_opened", folded=folded, inside=self.memory.occupancy(self._clock()))

    async def advance(self, store: Store) -> int:
        """Writes down some of the passages that are not in the table of presence yet; how many."""
        return await store.write(partial(presence.advance, zone=self.memory.zone, limit=_PAGE))

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
