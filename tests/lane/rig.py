"""Lanes on a real SQLite store, with a barrier and a clock that the test holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gated.actuation import BarrierSettings
from gated.alerts import AlertDesk
from gated.clocks import BoxClock
from gated.domain import (
    AlertDraft,
    BarrierPosition,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    Disposition,
    Holder,
    OpeningOutcome,
    Outcome,
    Pass,
    Passage,
    PassState,
    Read,
)
from gated.lane import InputRef, Lanes, LaneSettings, Parts, PositionRef
from gated.passbook import Passbook, follow
from gated.ports import DeviceUnavailable, Opened, Pulse
from gated.store import OpeningRecord, Store, openings, passages, passes
from rules.memory import Memory
from rules.situation import NOTHING
from tests.rules.policies import SHANGHAI, default_policy


class Hands:
    """The box's clocks, moved by the test."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 18, 4, 0, tzinfo=UTC).timestamp()
        self.mono = 100.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


@dataclass
class FakeBarrier:
    """A device that can open: what it answers, how long it takes, where its boom is."""

    answers: Opened = field(default_factory=lambda: Opened(OpeningOutcome.ACCEPTED))
    delay_s: float = 0.0
    fails: bool = False
    pulses: list[Pulse] = field(default_factory=list)

    async def open(self, pulse: Pulse) -> Opened:
        self.pulses.append(pulse)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fails:
            raise DeviceUnavailable("cable cut")
        return self.answers


class TellingBarrier(FakeBarrier):
    """One that can also be asked where its boom is."""

    boom: BarrierPosition = BarrierPosition.UNKNOWN

    async def position(self, output: str | None = None) -> BarrierPosition:
        return self.boom


@dataclass
class Seen:
    """Counts what the lanes report."""

    passages: list[Decision] = field(default_factory=list)
    openings: list[OpeningOutcome] = field(default_factory=list)
    reads: list[Disposition] = field(default_factory=list)

    def passage(self, passage: Passage, decision: Decision, seconds: float) -> None:
        self.passages.append(decision)

    def opening(self, lane: str, outcome: OpeningOutcome) -> None:
        self.openings.append(outcome)

    def other_read(self, disposition: Disposition) -> None:
        self.reads.append(disposition)


EAST = LaneSettings(
    id="east-in",
    entrance="east",
    direction=Direction.IN,
    readers=(("cam", None),),
    barrier=BarrierSettings(device="relay", output="0", cool_down_s=0.0, open_timeout_s=0.1, confirm_s=0.1),
    fire=InputRef("relay", "3"),
)
WITH_POSITION = replace(
    EAST,
    barrier=replace(EAST.barrier, position_device="relay"),  # type: ignore[type-var]
    position=PositionRef("relay", "1"),
)


@dataclass(frozen=True)
class Found:
    """A passage that is on disk, flat."""

    passage: Passage
    decision: Decision

    @property
    def id(self) -> str:
        return self.passage.id

    @property
    def continues(self) -> str | None:
        return self.passage.continues

    @property
    def outcome(self) -> Outcome:
        return self.decision.outcome

    @property
    def reason(self) -> str:
        return self.decision.reason


class Rig:
    """One site of lanes. `barrier` None is a device that is offline."""

    def __init__(self, store: Store, lanes: list[LaneSettings]) -> None:
        self.store = store
        self.hands = Hands()
        self.clock = BoxClock(lambda: self.hands.wall, lambda: self.hands.mono)
        self.barrier: FakeBarrier | None = FakeBarrier()
        self.seen = Seen()
        self.alerts: list[AlertDraft] = []
        self.ended: list[str] = []
        self.book = Passbook()
        self.changed: set[str] = set()
        self.parts = Parts(
            recorder=store,
            passbook=self.book,
            policy=default_policy(),
            memory=Memory(SHANGHAI),
            site=NOTHING,
            desk=AlertDesk({"east": "g01"}, "root"),
            clock=self.clock,
            find=lambda device: self.barrier if device == "relay" else None,
            refresh=self.refresh,
            raise_alert=self._raise,
            end_alert=self.ended.append,
            observer=self.seen,
        )
        self.lanes = Lanes(lanes, self.parts, self.changed.add)
        self._keys = 0

    def _raise(self, draft: AlertDraft, **_: object) -> None:
        self.alerts.append(draft)

    async def refresh(self) -> None:
        async def changed_since(change: int, limit: int) -> list[Pass]:
            return await self.store.read(lambda conn: passes.changed_since(conn, change, limit))

        await follow(self.book, changed_since)

    async def issue(self, plate: str, *, tell: bool = True, **more: Any) -> Pass:
        """Issues a pass; `tell` False: as another process would, the passbook hears nothing."""
        now = self.clock.now()
        draft = Pass(
            id=f"{plate:>026}"[-26:],
            kind="resident",
            holder=Holder("王芳"),
            credentials=(Credential(CredentialKind.PLATE, plate),),
            entrances=None,
            valid_from=now - timedelta(days=1),
            valid_until=now + timedelta(days=1),
            created_at=now,
            updated_at=now,
        )
        made = await self.store.write(lambda conn: passes.insert(conn, replace(draft, **more)))
        if tell:
            self.book.apply(made)
        return made

    async def revoke(self, one: Pass, *, tell: bool = True) -> Pass:
        gone = replace(one, state=PassState.REVOKED, revoked_at=self.clock.now())
        made = await self.store.write(lambda conn: passes.update(conn, gone, expected_version=one.version))
        if tell:
            self.book.apply(made)
        return made

    def read(self, plate: str | None, *, age_s: float = 0.0, key: str | None = None, **more: Any) -> Read:
        now = self.clock.now()
        self._keys += 1
        base = Read(
            device="cam",
            received_at=now,
            device_time=now - timedelta(seconds=age_s),
            key=key or str(self._keys),
            credential=Credential(CredentialKind.PLATE, plate) if plate else None,
            raw=plate or "",
            confidence=0.9,
        )
        return replace(base, **more)

    async def pass_(self, plate: str | None, **more: Any) -> Any:
        """A read goes all the way, its opening included."""
        return await self.send(self.read(plate, **more))

    async def send(self, read: Read) -> Any:
        handled = await self.lanes.handle(read, read.device_time or read.received_at)
        await self.lanes.settled(2.0)
        return handled

    async def passages(self) -> list[Any]:
        """What is on disk, oldest first."""
        found = await self.store.read(
            lambda conn: passages.page(
                conn, lane=None, credential=None, outcome=None, since=None, until=None, after=None, limit=200
            )
        )
        return [Found(row.passage, row.decision) for row in reversed(found)]

    async def opening(self, passage_id: str) -> OpeningRecord:
        [found] = await self.store.read(lambda conn: openings.for_passage(conn, passage_id))
        return found


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that nobody announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def site(tmp_path: Path, *lanes: LaneSettings) -> AsyncIterator[Rig]:
    """A rig that lasts for a block."""
    store = await Store.open(f"sqlite:///{tmp_path}/gated.db")
    try:
        yield Rig(store, list(lanes) or [EAST])
    finally:
        await store.close()
