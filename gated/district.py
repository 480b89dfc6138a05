"""Tells a platform of the district what plates passed, if the configuration says so: in order, at least once,
and nobody at a barrier waits for it.

Passages are read from the record, so that nothing is lost while the platform is away or gated is down; how
far they were told is kept beside them. What passed before it was first configured is never sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from gated.alerts import district_away
from gated.clocks import BoxClock
from gated.domain import AlertDraft, Direction, Text
from gated.ports import ConfigError, DeviceError, DeviceRefused, NotRecorded, Platform, SentPassage
from gated.store import district
from gated.store.records import NotReadable

log = structlog.get_logger()
T = TypeVar("T")

BATCH = 50
LOOK_EVERY_S = 2.0
BACKOFF_S = (1.0, 60.0)
REFUSED_RETRY_S = 300.0
REFUSED_MOST = 20
AWAY_S = 900.0
"""So long may the platform be away before somebody is told."""


class Store(Protocol):
    """The part of the store that is needed."""

    async def write(self, work: Callable[[Connection], T]) -> T: ...
    async def read(self, work: Callable[[Connection], T]) -> T: ...


class Alarm(Protocol):
    """Raises and ends alerts about what belongs to no lane."""

    def __call__(self, draft: AlertDraft) -> None: ...
    def ended(self, fold_key: str, why: Text | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Told:
    """Whom to tell. `connect` makes a connection that is not entered yet; `lanes`: the platform's number of
    each lane that is told of."""

    connect: Callable[[], Platform]
    lanes: Mapping[str, str]


class Forwarder:
    """`run` is its task. `sent`, `refused`: passages since the start; `connected`: whether the platform can
    be told now, `error`: why not."""

    def __init__(self, store: Store, clock: BoxClock, alarm: Alarm) -> None:
        self.sent = self.refused = 0
        self.connected = False
        self.error: str | None = None
        self._store, self._clock, self._alarm = store, clock, alarm
        self._whom: Told | None = None
        self._changed = asyncio.Event()
        self._well_at = clock.monotonic()
        self._refused_in_a_row = 0
        self._alerted: bool | None = None  # not known: an alert of before a restart may be open

    def configure(self, whom: Told | None) -> None:
        """Takes the platform of a (new) configuration; None: nobody is told."""
        self._whom = whom
        self._well_at = self._clock.monotonic()
        self._changed.set()

    async def run(self) -> None:
        """Tells, until cancelled."""
        while True:
            self._changed.clear()
            if self._whom is None:
                self._is_well()
                await self._changed.wait()
                continue
            telling = asyncio.create_task(self._keep_telling(self._whom))
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait([telling, changed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (telling, changed):
                    task.cancel()
                results = await asyncio.gather(telling, changed, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    async def _keep_telling(self, whom: Told) -> None:
        backoff = BACKOFF_S[0]
        while True:
            before = self.sent
            try:
                await self._tell(whom)
            except (NotRecorded, NotReadable) as why:
                log.warning("district_waits", why=str(why))
                pause = backoff
            except DeviceError as why:
                pause = REFUSED_RETRY_S if isinstance(why, (DeviceRefused, ConfigError)) else backoff
                self._is_away(str(why) or type(why).__name__, at_once=pause == REFUSED_RETRY_S)
            backoff = BACKOFF_S[0] if self.sent > before else min(backoff * 2, BACKOFF_S[1])
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _tell(self, whom: Told) -> None:
        """Until the connection is lost."""
        async with whom.connect() as platform:
            log.info("district_connected", lanes=len(whom.lanes))
            self._is_well()
            told = await self._store.read(district.told)
            after = await self._store.write(district.begin) if told is None else told
            while True:
                work = partial(district.upcoming, after=after, lanes=whom.lanes, limit=BATCH)
                found, after = await self._store.read(work)
                if found:
                    refused = await platform.send([_told(one, whom.lanes) for one in found])
                    for passage, why in refused.items():
                        log.warning("district_refused", passage=passage, why=why)
                    self.sent += len(found) - len(refused)
                    self.refused += len(refused)
                    await self._store.write(partial(district.told_up_to, n=after))
                    self._judge(len(found), list(refused.values()))
                else:
                    await platform.send([])  # raises if it was lost meanwhile
                if len(found) < BATCH:
                    await asyncio.sleep(LOOK_EVERY_S)

    def _judge(self, told: int, refused: list[str]) -> None:
        """One that takes some is well; one that has taken none of many in a row is as good as away."""
        if len(refused) < told:
            self._refused_in_a_row = 0
            self._is_well()
            return
        self._refused_in_a_row += told
        if self._refused_in_a_row >= REFUSED_MOST and not self._alerted:
            self._alarm(district_away(f"it takes none of them ({refused[-1]})"))
            self._alerted = True

    def _is_well(self) -> None:
        self._well_at = self._clock.monotonic()
        self.error, self.connected = None, self._whom is not None
        if self._alerted is not False:
            self._alarm.ended(district_away("").fold_key)
            self._alerted = False

    def _is_away(self, why: str, *, at_once: bool) -> None:
        if self.error is None:
            log.warning("district_away", why=why)
        self.error, self.connected = why, False
        if not self._alerted and (at_once or self._clock.monotonic() - self._well_at > AWAY_S):
            self._alarm(district_away(why))
            self._alerted = True


def _told(one: district.Next, lanes: Mapping[str, str]) -> SentPassage:
    return SentPassage(one.id, one.plate, one.at, lanes[one.lane], Direction(one.direction), one.color)
