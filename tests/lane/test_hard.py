"""What a real lane meets: two vehicles in one picture, two cameras, a defect, a stop, a new configuration."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gated.actuation import BarrierSettings
from gated.domain import BarrierPosition, InputChanged, OpeningOutcome
from gated.lane import InputRef, Lanes, PositionRef
from gated.ports import NotRecorded, Opened, Pulse
from gated.store import openings
from gated.store.records import NotReadable
from tests.lane.rig import EAST, WITH_POSITION, Rig, TellingBarrier, site

PLATE, OTHER, NEAR = "津A12345", "津B67890", "津A12346"


def pulses(rig: Rig) -> int:
    assert rig.barrier is not None
    return len(rig.barrier.pulses)


# --- which vehicle a read is of ---------------------------------------------------------------------------


async def test_two_vehicles_in_one_picture_are_opened_for_once_each(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        for plate in (PLATE, OTHER, PLATE, OTHER, PLATE):
            await rig.pass_(plate)
            rig.hands.go(1.0)
        assert pulses(rig) == 2
        assert len(await rig.passages()) == 2


async def test_neighbours_read_in_turn_are_opened_for_once_each(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.issue(NEAR)
        for plate in (PLATE, NEAR, PLATE, NEAR):
            await rig.pass_(plate)
            rig.hands.go(1.0)
        assert pulses(rig) == 2


async def test_a_rear_camera_that_sees_a_vehicle_after_the_next_one_came_opens_nothing(
    tmp_path: Path,
) -> None:
    lane = replace(EAST, readers=(("cam", None), ("rear", None)))
    async with site(tmp_path, lane) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        await rig.pass_(PLATE)
        rig.hands.go(3.0)
        await rig.pass_(OTHER)
        rig.hands.go(0.5)
        await rig.pass_(PLATE, device="rear")
        assert pulses(rig) == 2


async def test_a_second_cameras_read_that_was_held_up_is_of_the_same_vehicle(tmp_path: Path) -> None:
    lane = replace(EAST, readers=(("cam", None), ("rear", None)))
    async with site(tmp_path, lane) as rig:
        await rig.issue(PLATE)
        late = rig.read(PLATE, device="rear")
        await rig.pass_(PLATE)
        rig.hands.go(8.0)
        await rig.send(replace(late, received_at=rig.clock.now()))
        assert pulses(rig) == 1
        # it came again, later than the window: that is another time
        await rig.pass_(PLATE)
        assert pulses(rig) == 2


async def test_reads_that_come_late_are_told_until_one_is_in_time(tmp_path: Path) -> None:
    async with site(tmp_path, EAST) as rig:
        late = "device|cam|late"
        await rig.pass_(PLATE)
        assert rig.ended == [late], "one of before a restart may be open"
        for _ in range(2):
            rig.hands.go(1200.0)
            await rig.pass_(PLATE, device_time=rig.clock.now() - timedelta(minutes=5))
        assert [(alert.reason, alert.fold_key, alert.lasting) for alert in rig.alerts] == [
            ("reads_late", late, True)
        ] * 2
        assert rig.ended == [late]
        for _ in range(2):
            rig.hands.go(60.0)
            await rig.pass_(PLATE)
        assert rig.ended == [late] * 2


async def test_an_opening_that_waited_too_long_may_be_asked_for_again(tmp_path: Path) -> None:
    barrier = replace(EAST.barrier, cool_down_s=5.0, max_wait_s=1.0)  # type: ignore[type-var]
    async with site(tmp_path, replace(EAST, barrier=barrier)) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        await rig.pass_(PLATE)
        await rig.pass_(OTHER)
        assert rig.seen.openings == [OpeningOutcome.ACCEPTED, OpeningOutcome.SUPPRESSED]
        rig.hands.go(4.9)
        await rig.pass_(OTHER)
        assert pulses(rig) == 2


# --- what goes wrong --------------------------------------------------------------------------------------


async def test_passes_that_cannot_be_read_now_are_no_defect(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE, tell=False)

        async def refresh() -> None:
            raise NotReadable("database is locked")

        rig.parts.refresh = refresh
        with pytest.raises(NotRecorded):
            await rig.pass_(PLATE)
        assert pulses(rig) == 0


class Defective(TellingBarrier):
    """An adapter with a defect."""

    async def open(self, pulse: Pulse) -> Opened:
        await super().open(pulse)
        raise KeyError("status")

    async def position(self, output: str | None = None) -> BarrierPosition:
        raise OSError("not connected")


async def test_a_defect_of_an_adapter_is_an_uncertain_opening_and_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        rig.barrier = Defective()
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE)
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.UNCERTAIN
        assert [alert.reason for alert in rig.alerts] == ["opening_uncertain"]
        assert rig.lanes.status("east-in").mode.value == "fault"


class AsksTheWrongThing(TellingBarrier):
    """A relay board whose boom is told by one of its inputs; asked, it knows nothing."""

    asked: int = 0

    async def position(self, output: str | None = None) -> BarrierPosition:
        self.asked += 1
        return BarrierPosition.UNKNOWN


async def test_a_board_whose_input_tells_the_position_is_not_asked_for_it(tmp_path: Path) -> None:
    barrier = replace(WITH_POSITION.barrier, position_asked=False)  # type: ignore[type-var]
    async with site(tmp_path, replace(WITH_POSITION, barrier=barrier)) as rig:
        board = rig.barrier = AsksTheWrongThing()
        await rig.issue(PLATE)
        for active in (False, True):
            await rig.lanes.handle(
                InputChanged(device="relay", received_at=rig.clock.now(), input="1", active=active),
                rig.clock.now(),
            )
        assert rig.lanes.status("east-in").position is BarrierPosition.OPEN
        await rig.lanes.handle(
            InputChanged(device="relay", received_at=rig.clock.now(), input="1", active=False),
            rig.clock.now(),
        )
        await rig.pass_(PLATE)
        assert board.asked == 0
        assert rig.lanes.status("east-in").position is BarrierPosition.CLOSED


class ByOutput(TellingBarrier):
    """One that knows several booms."""

    async def position(self, output: str | None = None) -> BarrierPosition:
        return BarrierPosition.OPEN if output == "7" else BarrierPosition.CLOSED


async def test_the_position_is_asked_of_the_output_that_is_configured_for_it(tmp_path: Path) -> None:
    barrier = BarrierSettings(
        device="relay",
        output="0",
        cool_down_s=0.0,
        confirm_s=0.2,
        position_device="relay",
        position_output="7",
    )
    lane = replace(EAST, barrier=barrier, position=PositionRef("relay", output="7"))
    async with site(tmp_path, lane) as rig:
        rig.barrier = ByOutput()
        await rig.issue(PLATE)
        await rig.pass_(PLATE)
        assert rig.seen.openings == [OpeningOutcome.CONFIRMED]


# --- stopping, and people who go away ---------------------------------------------------------------------


async def test_what_the_device_said_is_on_record_also_if_gated_stops_while_it_watches_the_boom(
    tmp_path: Path,
) -> None:
    barrier = replace(WITH_POSITION.barrier, confirm_s=60.0)  # type: ignore[type-var]
    async with site(tmp_path, replace(WITH_POSITION, barrier=barrier)) as rig:
        await rig.issue(PLATE)
        handled = await rig.lanes.handle(read := rig.read(PLATE), read.received_at)
        await rig.lanes.settled(0.1)
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.ACCEPTED


async def test_a_person_who_hangs_up_while_it_is_recorded_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        asked = asyncio.create_task(rig.lanes.override("east-in", person="李芳", reason="救护车"))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await rig.lanes.settled(2.0)
        assert pulses(rig) == 1
        assert await rig.store.read(openings.unfinished) == []


# --- a new configuration ----------------------------------------------------------------------------------


def fire(rig: Rig, *, active: bool, number: str = "3") -> InputChanged:
    return InputChanged(device="relay", received_at=rig.clock.now(), input=number, active=active)


async def test_a_new_configuration_does_not_forget_a_fire(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.lanes.handle(fire(rig, active=True), rig.clock.now())
        other_output = replace(EAST, barrier=replace(EAST.barrier, output="1"))  # type: ignore[type-var]
        rig.lanes.configure([other_output])
        await rig.pass_(PLATE)
        assert pulses(rig) == 0
        assert rig.seen.openings == [OpeningOutcome.SUPPRESSED]


async def test_a_fire_input_that_is_configured_while_it_burns_counts(tmp_path: Path) -> None:
    async with site(tmp_path, replace(EAST, fire=None)) as rig:
        await rig.issue(PLATE)
        await rig.lanes.handle(fire(rig, active=True), rig.clock.now())
        rig.lanes.configure([EAST])
        await rig.pass_(PLATE)
        assert pulses(rig) == 0


async def test_a_fire_input_that_is_taken_away_holds_nothing_open_any_more(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.lanes.handle(fire(rig, active=True), rig.clock.now())
        rig.lanes.configure([replace(EAST, fire=InputRef("relay", "2"))])
        await rig.pass_(PLATE)
        assert pulses(rig) == 1


async def test_the_alert_of_a_fire_ends_with_it(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.lanes.handle(fire(rig, active=True), rig.clock.now())
        assert ([alert.reason for alert in rig.alerts], rig.ended) == (["held_open"], [])
        await rig.lanes.handle(fire(rig, active=False), rig.clock.now())
        assert rig.ended == [rig.alerts[0].fold_key]


@pytest.mark.parametrize(("plate", "expected"), [(PLATE, 1), (OTHER, 2)])
async def test_a_vehicle_of_just_before_a_restart_is_not_opened_for_again(
    tmp_path: Path, plate: str, expected: int
) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        await rig.pass_(PLATE)
        [row] = await rig.passages()
        rig.hands.go(2.0)
        rig.lanes = Lanes([EAST], rig.parts, rig.changed.add)
        [lane] = rig.lanes
        lane.restore(row.passage, settled=True)
        await rig.pass_(plate)
        assert pulses(rig) == expected
