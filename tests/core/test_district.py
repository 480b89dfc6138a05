"""Telling a platform of the district: in order, all of it, again after trouble, and nothing without being
asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from gated import district
from gated.clocks import BoxClock
from gated.district import Forwarder, Told
from gated.domain import AlertDraft, Credential, CredentialKind, Text
from gated.ports import DeviceError, DeviceRefused, DeviceUnavailable, SentPassage
from gated.store import Store
from tests.acceptance.daemon import until
from tests.store import make

NOW = datetime(2026, 11, 27, 4, 0, tzinfo=UTC)
LANES = {"east-in": "1" * 20, "west-in": "2" * 20}


class Office:
    """A platform that takes what it likes, and what became of it."""

    def __init__(self) -> None:
        self.took: list[SentPassage] = []
        self.batches: list[int] = []
        self.entered = 0
        self.closed: DeviceError | None = None
        self.fails: list[DeviceError] = []
        self.never: dict[str, str] = {}

    def connect(self) -> Office:
        return self

    async def __aenter__(self) -> Self:
        self.entered += 1
        if self.closed is not None:
            raise self.closed
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def send(self, passages: Sequence[SentPassage]) -> Mapping[str, str]:
        if self.fails:
            raise self.fails.pop()
        self.batches += [len(passages)] if passages else []
        self.took += [one for one in passages if one.plate not in self.never]
        return {one.id: self.never[one.plate] for one in passages if one.plate in self.never}


class Alarm:
    def __init__(self) -> None:
        self.open: dict[str, AlertDraft] = {}

    def __call__(self, draft: AlertDraft) -> None:
        self.open[draft.fold_key] = draft

    def ended(self, fold_key: str, why: Text | None = None) -> None:
        self.open.pop(fold_key, None)


class Rig:
    def __init__(self, store: Store) -> None:
        self.store, self.office, self.alarm, self.mono, self.count = store, Office(), Alarm(), 0.0, 0
        self.forwarder = Forwarder(store, BoxClock(NOW.timestamp, lambda: self.mono), self.alarm)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.forwarder.configure(Told(self.office.connect, LANES))
        self._task = asyncio.create_task(self.forwarder.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def passes(self, *plates: str, lane: str = "east-in") -> None:
        for plate in plates:
            self.count += 1
            at = NOW + timedelta(seconds=self.count)
            held = Credential(CredentialKind.PLATE, plate)
            await self.store.record(make.record(self.count, lane=lane, credential=held, at=at))

    @property
    def plates(self) -> list[str]:
        return [one.plate for one in self.office.took]


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(district, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(district, "BACKOFF_S", (0.02, 0.05))
    monkeypatch.setattr(district, "REFUSED_RETRY_S", 0.2)
    store = await Store.open(f"sqlite:///{tmp_path}/gated.db")
    rig = Rig(store)
    try:
        yield rig
    finally:
        await rig.stop()
        await store.close()


async def begun(rig: Rig) -> None:
    rig.start()
    await until(lambda: rig.office.entered == 1)
    await asyncio.sleep(0.1)


async def test_only_what_passes_from_now_on_at_the_lanes_that_are_named(rig: Rig) -> None:
    await rig.passes("津A00001")
    await begun(rig)
    await rig.passes("津A00002", "津A00003")
    await rig.passes("津A00004", lane="ring-in")
    await rig.passes("津A00005", lane="west-in")
    await until(lambda: len(rig.plates) == 3)
    assert rig.plates == ["津A00002", "津A00003", "津A00005"]
    first = rig.office.took[0]
    assert (first.lane, first.id, first.at.tzinfo) == ("1" * 20, make.passage_id(2), UTC)


async def test_a_restart_goes_on_where_it_was(rig: Rig) -> None:
    await begun(rig)
    await rig.passes("津A00001")
    await until(lambda: rig.plates == ["津A00001"])
    await asyncio.sleep(0.05)
    await rig.stop()
    await rig.passes("津A00002")
    again = Rig(rig.store)
    again.count = rig.count
    again.start()
    await until(lambda: again.plates == ["津A00002"])
    await again.stop()


async def test_what_could_not_be_told_is_told_again_in_order_and_in_batches(rig: Rig) -> None:
    await begun(rig)
    rig.office.fails = [DeviceUnavailable("away")] * 3
    await rig.passes(*(f"津A{number:05d}" for number in range(120)))
    await until(lambda: len(rig.plates) == 120)
    assert rig.plates == [f"津A{number:05d}" for number in range(120)]
    assert max(rig.office.batches) <= district.BATCH
    assert rig.forwarder.error is None


async def test_what_the_platform_never_takes_holds_up_nothing(rig: Rig) -> None:
    await begun(rig)
    rig.office.never = {"津A00001": "no such device"}
    await rig.passes("津A00001", "津A00002")
    await until(lambda: rig.plates == ["津A00002"])
    await until(lambda: (rig.forwarder.sent, rig.forwarder.refused) == (1, 1))


async def test_people_are_told_if_it_takes_nothing(rig: Rig) -> None:
    await begun(rig)
    plates = [f"津A{number:05d}" for number in range(district.REFUSED_MOST + 1)]
    rig.office.never = dict.fromkeys(plates[:-1], "no such device")
    await rig.passes(*plates[:-2])
    await until(lambda: rig.forwarder.refused == len(plates) - 2)
    assert rig.alarm.open == {}
    await rig.passes(plates[-2])
    await until(lambda: rig.alarm.open != {})
    assert "no such device" in next(iter(rig.alarm.open.values())).text.en
    await rig.passes(plates[-1])
    await until(lambda: rig.alarm.open == {})


async def test_a_platform_that_is_lost_while_nothing_passes_is_noticed(rig: Rig) -> None:
    await begun(rig)
    assert rig.forwarder.connected
    rig.office.fails = [DeviceUnavailable("no keepalive")]
    rig.office.closed = DeviceUnavailable("away")
    await until(lambda: not rig.forwarder.connected)


@pytest.mark.parametrize(
    ("trouble", "minutes", "told"),
    [
        (DeviceUnavailable("away"), 5, False),
        (DeviceUnavailable("away"), 16, True),
        (DeviceRefused("wrong password"), 0, True),
    ],
)
async def test_people_are_told_of_what_lasts_and_when_it_is_over(
    rig: Rig, trouble: DeviceError, minutes: int, told: bool
) -> None:
    rig.office.closed = trouble
    rig.start()
    await until(lambda: rig.forwarder.error is not None)
    rig.mono += 60 * minutes
    entered = rig.office.entered
    await until(lambda: rig.office.entered > entered + 1)
    await asyncio.sleep(0.05)
    assert bool(rig.alarm.open) is told
    assert all(str(trouble) in draft.text.en for draft in rig.alarm.open.values())
    rig.office.closed = None
    await until(lambda: rig.forwarder.error is None)
    assert rig.alarm.open == {}


async def test_a_new_configuration_is_taken_at_once(rig: Rig) -> None:
    await begun(rig)
    rig.forwarder.configure(None)
    await asyncio.sleep(0.1)
    await rig.passes("津A00001")
    await asyncio.sleep(0.1)
    assert rig.plates == []
    other = Office()
    rig.forwarder.configure(Told(other.connect, LANES))
    await until(lambda: [one.plate for one in other.took] == ["津A00001"])
    assert rig.plates == []
