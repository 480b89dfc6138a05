"""An opening from the command to its record, through a fire, a new configuration, a stop and a defect."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gated.domain import InputChanged, LaneMode, OpeningOutcome
from gated.lane import LaneSettings
from gated.ports import NotRecorded, Opened, Pulse
from gated.store import OpeningRecord, openings
from gated.store.records import PassageRecord
from tests.lane.rig import EAST, FakeBarrier, Rig, site, until

PLATE, OTHER = "津A12345", "津B67890"
PATIENT = replace(EAST, barrier=replace(EAST.barrier, open_timeout_s=10.0))  # type: ignore[type-var]
WATCHES_ONLY = replace(EAST, barrier=None)
ACCEPTED = Opened(OpeningOutcome.ACCEPTED, "taken")


@dataclass
class Slow(FakeBarrier):
    """One that answers when the test says so, and can take back what it was given until then."""

    withdraws: bool = True
    answer: asyncio.Future[Opened] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def open(self, pulse: Pulse) -> Opened:
        self.pulses.append(pulse)
        return await self.answer

    def withdraw(self, opening_id: str) -> bool:
        if self.withdraws and self.pulses[-1].id == opening_id:
            self.answer.set_result(Opened(OpeningOutcome.SUPPRESSED, "withdrawn before it was sent"))
            return True
        return False


async def fire(rig: Rig, *, active: bool) -> None:
    event = InputChanged(device="relay", received_at=rig.clock.now(), input="3", active=active)
    await rig.lanes.handle(event, rig.clock.now())


async def pressed(rig: Rig, barrier: FakeBarrier) -> asyncio.Task[OpeningRecord]:
    """Somebody opens by hand, and the barrier has the command."""
    rig.barrier = barrier
    asked = asyncio.create_task(rig.lanes.override("east-in", person="李强", reason="救护车"))
    await until(lambda: barrier.pulses)
    return asked


async def on_record(rig: Rig, opening: OpeningRecord) -> OpeningRecord | None:
    await rig.lanes.settled(2.0)
    return await rig.store.read(lambda conn: openings.get(conn, opening.id))


# --- a fire -----------------------------------------------------------------------------------------------


async def test_a_fire_takes_back_what_has_not_left(tmp_path: Path) -> None:
    lane = replace(PATIENT, barrier=replace(PATIENT.barrier, cool_down_s=60.0))  # type: ignore[type-var]
    async with site(tmp_path, lane) as rig:
        asked = await pressed(rig, Slow())
        await fire(rig, active=True)
        record = await asked
        assert (record.outcome, record.detail) == (OpeningOutcome.SUPPRESSED, "withdrawn before it was sent")
        assert await on_record(rig, record) is not None
        assert (rig.seen.openings, [draft.reason for draft in rig.alerts]) == (
            [OpeningOutcome.SUPPRESSED],
            ["held_open"],
        )
        assert rig.lanes.status("east-in").mode is LaneMode.HELD_OPEN
        # nothing was sent, so nothing has to cool down
        await fire(rig, active=False)
        await asyncio.wait_for(await pressed(rig, FakeBarrier()), 5)


@pytest.mark.parametrize("barrier", [Slow, FakeBarrier], ids=["it has left", "nothing can be taken back"])
async def test_what_has_left_ends_as_its_device_says(tmp_path: Path, barrier: type[FakeBarrier]) -> None:
    async with site(tmp_path, PATIENT) as rig:
        one = barrier()
        if isinstance(one, Slow):
            one.withdraws = False
        else:
            one.delay_s = 0.05
        asked = await pressed(rig, one)
        await fire(rig, active=True)
        if isinstance(one, Slow):
            one.answer.set_result(Opened(OpeningOutcome.ACCEPTED))
        assert (await asked).outcome is OpeningOutcome.ACCEPTED


@pytest.mark.parametrize(("withdraws", "outcome"), [(True, "unreachable"), (False, "uncertain")])
async def test_what_has_not_left_in_time_was_not_sent(tmp_path: Path, withdraws: bool, outcome: str) -> None:
    async with site(tmp_path) as rig:
        record = await (await pressed(rig, Slow(withdraws=withdraws)))
        assert record.outcome.value == outcome
        assert [draft.reason for draft in rig.alerts] == [f"opening_{outcome}"]


async def test_a_defect_in_taking_back_does_not_hide_the_fire(tmp_path: Path) -> None:
    class Defective(Slow):
        def withdraw(self, opening_id: str) -> bool:
            raise KeyError(opening_id)

    async with site(tmp_path, PATIENT) as rig:
        asked = await pressed(rig, barrier := Defective())
        await fire(rig, active=True)
        assert rig.lanes.status("east-in").mode is LaneMode.HELD_OPEN
        barrier.answer.set_result(ACCEPTED)
        assert (await asked).outcome is OpeningOutcome.ACCEPTED


async def test_a_lane_without_a_barrier_shows_a_fire_too(tmp_path: Path) -> None:
    async with site(tmp_path, WATCHES_ONLY) as rig:
        for active, mode in ((True, LaneMode.HELD_OPEN), (False, LaneMode.NORMAL)):
            rig.changed.clear()
            await fire(rig, active=active)
            assert rig.lanes.status("east-in").mode is mode
            assert rig.changed == {"east-in"}
        assert [draft.fold_key for draft in rig.alerts] == rig.ended


@pytest.mark.parametrize("settings", [PATIENT, WATCHES_ONLY], ids=["a barrier", "none any more"])
async def test_a_barrier_that_comes_or_goes_during_a_fire_finds_it_so(
    tmp_path: Path, settings: LaneSettings
) -> None:
    async with site(tmp_path, WATCHES_ONLY if settings.barrier else PATIENT) as rig:
        await fire(rig, active=True)
        rig.lanes.configure([settings])
        assert rig.lanes.status("east-in").mode is LaneMode.HELD_OPEN
        await fire(rig, active=False)
        assert rig.lanes.status("east-in").mode is LaneMode.NORMAL


# --- a new configuration ----------------------------------------------------------------------------------

OTHER_BARRIER = replace(PATIENT, barrier=replace(PATIENT.barrier, device="new"))  # type: ignore[type-var]
NEW_CONFIGURATIONS: dict[str, list[LaneSettings]] = {
    "another barrier": [OTHER_BARRIER],
    "no barrier": [WATCHES_ONLY],
    "the lane is gone": [],
}


@pytest.mark.parametrize("lanes", NEW_CONFIGURATIONS.values(), ids=[*NEW_CONFIGURATIONS])
async def test_an_opening_under_way_ends_as_it_began(tmp_path: Path, lanes: list[LaneSettings]) -> None:
    async with site(tmp_path, PATIENT) as rig:
        asked = await pressed(rig, barrier := Slow())
        rig.lanes.configure(lanes)
        rig.lanes.configure(lanes)
        [under_way] = rig.lanes.asked_of("relay")
        barrier.answer.set_result(ACCEPTED)
        assert await under_way == ACCEPTED
        found = await on_record(rig, await asked)
        assert found is not None
        assert (found.outcome, found.detail) == (OpeningOutcome.ACCEPTED, "taken")
        assert rig.lanes.asked_of("relay") == []


@pytest.mark.parametrize("lanes", NEW_CONFIGURATIONS.values(), ids=[*NEW_CONFIGURATIONS])
async def test_a_fire_counts_for_what_still_waits_at_the_old_barrier(
    tmp_path: Path, lanes: list[LaneSettings]
) -> None:
    lane = replace(PATIENT, barrier=replace(PATIENT.barrier, cool_down_s=0.1))  # type: ignore[type-var]
    async with site(tmp_path, lane) as rig:
        await (await pressed(rig, barrier := FakeBarrier()))
        waiting = asyncio.create_task(rig.lanes.override("east-in", person="李强", reason="又一辆"))
        await until(lambda: rig.lanes.asked_of("relay"))
        rig.lanes.configure(lanes)
        await fire(rig, active=True)
        assert (await waiting).outcome is OpeningOutcome.SUPPRESSED
        assert len(barrier.pulses) == 1


class SlowStore:
    """Records when the test says so."""

    def __init__(self, rig: Rig) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self._store = rig.store

    async def record(self, record: PassageRecord) -> None:
        self.asked.set()
        await self.may.wait()
        await self._store.record(record)

    async def record_opening(self, record: OpeningRecord) -> None:
        self.asked.set()
        await self.may.wait()
        await self._store.record_opening(record)


@pytest.mark.parametrize("lanes", NEW_CONFIGURATIONS.values(), ids=[*NEW_CONFIGURATIONS])
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "a passage"])
async def test_a_fire_counts_for_what_is_still_being_recorded_for_the_old_barrier(
    tmp_path: Path, lanes: list[LaneSettings], by_hand: bool
) -> None:
    async with site(tmp_path, PATIENT) as rig:
        await rig.issue(PLATE)
        rig.parts.recorder = store = SlowStore(rig)  # type: ignore[assignment]
        read = rig.read(PLATE)
        if by_hand:
            asked: asyncio.Task[object] = asyncio.create_task(
                rig.lanes.override("east-in", person="李强", reason="救护车")
            )
        else:
            asked = asyncio.create_task(rig.lanes.handle(read, read.received_at))
        await store.asked.wait()
        rig.lanes.configure(lanes)
        rig.lanes.configure(lanes)
        await fire(rig, active=True)
        store.may.set()
        await asked
        await rig.lanes.settled(2.0)
        assert rig.barrier is not None
        assert rig.barrier.pulses == []


async def test_a_barrier_that_is_the_lanes_again_keeps_its_turn_and_its_cool_down(tmp_path: Path) -> None:
    lane = replace(PATIENT, barrier=replace(PATIENT.barrier, cool_down_s=60.0))  # type: ignore[type-var]
    async with site(tmp_path, lane) as rig:
        first = await pressed(rig, barrier := Slow())
        rig.lanes.configure([OTHER_BARRIER])
        rig.lanes.configure([lane])
        second = asyncio.create_task(rig.lanes.override("east-in", person="李芳", reason="又一次"))
        await until(lambda: len(rig.lanes.asked_of("relay")) == 2)
        assert len(barrier.pulses) == 1
        barrier.answer.set_result(ACCEPTED)
        assert (await first).outcome is OpeningOutcome.ACCEPTED
        assert (await second).outcome is OpeningOutcome.SUPPRESSED  # it may not wait for so long
        assert len(barrier.pulses) == 1


# --- a stop, and what goes wrong --------------------------------------------------------------------------


async def test_a_stop_leaves_what_nobody_knows_to_the_next_start(tmp_path: Path) -> None:
    async with site(tmp_path, PATIENT) as rig:
        both = [await pressed(rig, barrier := Slow())]
        both.append(asyncio.create_task(rig.lanes.override("east-in", person="李芳", reason="等待中")))
        await until(lambda: rig.lanes.status("east-in").waiting)
        await rig.lanes.settled(0.01)
        for asked in both:
            record = await asked
            assert record.outcome is OpeningOutcome.UNCERTAIN
            assert record.detail == "gated stopped while opening"
        assert barrier.answer.cancelled()
        assert len(barrier.pulses) == 1
        assert len(await rig.store.read(openings.unfinished)) == 2
        assert rig.seen.openings == []


async def test_a_stopped_opening_has_its_turn_until_its_device_lets_go(tmp_path: Path) -> None:
    class LetsGoSlowly(Slow):
        async def open(self, pulse: Pulse) -> Opened:
            try:
                return await super().open(pulse)
            finally:
                await let_go.wait()

    let_go = asyncio.Event()
    async with site(tmp_path, PATIENT) as rig:
        first = await pressed(rig, barrier := LetsGoSlowly())
        stopping = asyncio.create_task(rig.lanes.settled(0.01))
        assert (await first).outcome is OpeningOutcome.UNCERTAIN
        second = asyncio.create_task(rig.lanes.override("east-in", person="李芳", reason="又一次"))
        await until(lambda: rig.lanes.status("east-in").waiting)
        assert len(barrier.pulses) == 1
        barrier.answer = asyncio.get_running_loop().create_future()
        barrier.answer.set_result(ACCEPTED)
        let_go.set()
        await stopping
        assert (await second).outcome is OpeningOutcome.ACCEPTED
        assert len(barrier.pulses) == 2


async def test_a_stop_while_it_is_recorded_sends_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        written = asyncio.get_running_loop().create_future()
        rig.parts.recorder = type("Stuck", (), {"record_opening": lambda self, record: written})()
        asked = asyncio.create_task(rig.lanes.override("east-in", person="李强", reason="救护车"))
        await asyncio.sleep(0)
        await rig.lanes.settled(0.01)
        with pytest.raises(NotRecorded, match="gated is stopping"):
            await asked
        assert rig.barrier is not None
        assert rig.barrier.pulses == []


async def test_a_stop_in_the_very_moment_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        stopping = asyncio.create_task(rig.lanes.settled(0.0))
        with pytest.raises(NotRecorded, match="gated is stopping"):
            await asyncio.wait_for(rig.lanes.override("east-in", person="李强", reason="救护车"), 5)
        await stopping
        assert rig.barrier is not None
        assert rig.barrier.pulses == []


class RaisesAtOnce(FakeBarrier):
    def open(self, pulse: Pulse) -> Opened:  # type: ignore[override]
        self.pulses.append(pulse)
        raise KeyError("relay")


class SaysNothing(FakeBarrier):
    async def open(self, pulse: Pulse) -> Opened:
        self.pulses.append(pulse)
        return None  # type: ignore[return-value]


class BreaksOff(FakeBarrier):
    async def open(self, pulse: Pulse) -> Opened:
        self.pulses.append(pulse)
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (RaisesAtOnce, "KeyError: 'relay'"),
        (SaysNothing, "TypeError: an adapter's open returned NoneType"),
        (BreaksOff, "broken off while it was being sent; not sent again"),
    ],
)
async def test_a_defect_of_an_adapter_is_recorded_and_the_lane_goes_on(
    tmp_path: Path, defect: type[FakeBarrier], told: str
) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        rig.barrier = defect()
        first = await rig.pass_(PLATE)
        record = await rig.opening(first.passage_id)
        assert (record.outcome, record.detail) == (OpeningOutcome.UNCERTAIN, told)
        assert [draft.reason for draft in rig.alerts] == ["opening_uncertain"]
        rig.barrier = FakeBarrier()
        second = await rig.pass_(OTHER)
        assert (await rig.opening(second.passage_id)).outcome is OpeningOutcome.ACCEPTED


async def test_an_outcome_is_written_again_until_it_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gated.lane.openings._RECORD_RETRY_S", (0.0,))
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        refusals = iter([True, True, False])
        record_opening = rig.store.record_opening

        async def unwilling(record: OpeningRecord) -> None:
            if next(refusals):
                raise NotRecorded("disk full")
            await record_opening(record)

        monkeypatch.setattr(rig.store, "record_opening", unwilling)
        handled = await rig.pass_(PLATE)
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.ACCEPTED
