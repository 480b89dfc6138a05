"""The path of a passage on a real store: what is recorded, and what is opened, once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from gated.domain import BarrierPosition, Disposition, InputChanged, LaneMode, OpeningOutcome, Outcome
from gated.lane import InputRef, LaneSettings, PositionRef
from gated.ports import DeviceUnavailable, NotRecorded, Opened
from tests.lane.rig import EAST, WITH_POSITION, FakeBarrier, Rig, TellingBarrier, site

PLATE, OTHER = "津A12345", "津B67890"


async def test_a_pass_opens_once_and_all_is_on_record(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE)
        assert (handled.granted, handled.barrier) == (True, "relay")
        assert [pulse.output for pulse in rig.barrier.pulses] == ["0"]  # type: ignore[union-attr]
        [row] = await rig.passages()
        assert (row.id, row.outcome, row.reason) == (handled.passage_id, Outcome.GRANT, "pass_valid")
        opening = await rig.opening(row.id)
        assert opening.outcome is OpeningOutcome.ACCEPTED


async def test_a_refusal_is_recorded_with_its_alert_and_opens_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        handled = await rig.pass_(PLATE)
        assert not handled.granted
        assert rig.barrier.pulses == []  # type: ignore[union-attr]
        [row] = await rig.passages()
        assert (row.outcome, row.reason) == (Outcome.REFER, "no_pass")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"age_s": 60}, Disposition.STALE),
        ({"age_s": -60}, Disposition.STALE),
        ({"backlog": True, "age_s": 3600}, Disposition.BACKLOG),
        ({"backlog": True}, Disposition.BACKLOG),
    ],
)
async def test_late_reads_are_recorded_and_open_nothing(
    tmp_path: Path, how: dict[str, object], expected: Disposition
) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE, **how)
        assert not handled.granted
        assert rig.seen.reads == [expected]
        assert rig.barrier.pulses == []  # type: ignore[union-attr]
        assert await rig.passages() == []


async def test_the_same_message_a_thousand_times_opens_once(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        read = rig.read(PLATE)
        results = [await rig.send(read) for _ in range(1000)]
        assert sum(r.granted for r in results) == 1
        assert {r.passage_id for r in results} == {results[0].passage_id}
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]


async def test_a_resend_after_a_restart_opens_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        read = rig.read(PLATE)
        await rig.send(read)
    async with site(tmp_path) as again:
        await again.refresh()
        handled = await again.send(read)
        assert not handled.granted
        assert again.barrier.pulses == []  # type: ignore[union-attr]
        assert again.seen.reads == [Disposition.DUPLICATE]
        assert len(await again.passages()) == 1


async def test_reads_of_one_vehicle_are_one_passage(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.pass_(PLATE)
        rig.hands.go(1)
        for seen in (PLATE, "津A1234S", None):
            await rig.pass_(seen)
        assert len(await rig.passages()) == 1
        assert rig.seen.reads == [Disposition.MERGED] * 3
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]


async def test_the_next_vehicle_is_another_passage(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        await rig.pass_(PLATE)
        rig.hands.go(1)
        await rig.pass_(OTHER)
        assert len(rig.barrier.pulses) == 2  # type: ignore[union-attr]


async def test_two_neighbours_with_near_plates_are_both_let_in(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue("津A12345")
        await rig.issue("津A12346")
        await rig.pass_("津A12345")
        rig.hands.go(2)
        await rig.pass_("津A12346")
        assert len(rig.barrier.pulses) == 2  # type: ignore[union-attr]


async def test_a_misread_then_the_right_plate_is_let_in_as_a_correction(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        first = await rig.pass_("津A1234X")
        rig.hands.go(0.5)
        second = await rig.pass_(PLATE)
        assert (first.granted, second.granted) == (False, True)
        rows = await rig.passages()
        assert [row.continues for row in rows] == [None, first.passage_id]


async def test_a_pass_issued_while_the_vehicle_waits_lets_it_in_at_the_next_read(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        assert not (await rig.pass_(PLATE)).granted
        rig.hands.go(2)
        assert not (await rig.pass_(PLATE)).granted
        await rig.issue(PLATE)
        rig.hands.go(2)
        assert (await rig.pass_(PLATE)).granted
        assert rig.seen.reads == [Disposition.MERGED]


async def test_a_revocation_by_another_process_counts_at_once(tmp_path: Path) -> None:
    """The passbook heard nothing; the store refuses the stale decision, and it is made anew."""
    async with site(tmp_path) as rig:
        one = await rig.issue(PLATE)
        await rig.revoke(one, tell=False)
        handled = await rig.pass_(PLATE)
        assert not handled.granted
        [row] = await rig.passages()
        assert (row.outcome, row.reason) == (Outcome.DENY, "pass_revoked")
        assert rig.barrier.pulses == []  # type: ignore[union-attr]


async def test_a_pass_of_another_process_lets_in_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE, tell=False)
        assert (await rig.pass_(PLATE)).granted


FAULTS: dict[str, tuple[FakeBarrier | None, OpeningOutcome, LaneMode]] = {
    "accepted": (FakeBarrier(), OpeningOutcome.ACCEPTED, LaneMode.NORMAL),
    "offline": (None, OpeningOutcome.UNREACHABLE, LaneMode.FAULT),
    "hangs": (FakeBarrier(delay_s=5), OpeningOutcome.UNCERTAIN, LaneMode.FAULT),
    "cable cut while opening": (FakeBarrier(fails=True), OpeningOutcome.UNCERTAIN, LaneMode.FAULT),
    "says no": (
        FakeBarrier(answers=Opened(OpeningOutcome.REJECTED, "busy")),
        OpeningOutcome.REJECTED,
        LaneMode.FAULT,
    ),
}


@pytest.mark.parametrize(("barrier", "outcome", "mode"), FAULTS.values(), ids=[*FAULTS])
async def test_what_becomes_of_an_opening(
    tmp_path: Path, barrier: FakeBarrier | None, outcome: OpeningOutcome, mode: LaneMode
) -> None:
    async with site(tmp_path) as rig:
        rig.barrier = barrier
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE)
        assert handled.granted  # a fault of the barrier is never a refusal of the person
        assert (await rig.opening(handled.passage_id)).outcome is outcome
        assert rig.lanes.status("east-in").mode is mode
        assert len(barrier.pulses if barrier else []) <= 1
        assert bool(rig.alerts) is (mode is LaneMode.FAULT)


async def test_after_an_uncertain_opening_a_further_read_does_not_open_again(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        rig.barrier = barrier = FakeBarrier(delay_s=5)
        await rig.issue(PLATE)
        await rig.pass_(PLATE)
        rig.hands.go(1)
        await rig.pass_(PLATE)
        assert len(barrier.pulses) == 1


async def test_after_nothing_was_sent_a_further_read_tries_again(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        rig.barrier = None
        await rig.issue(PLATE)
        first = await rig.pass_(PLATE)
        rig.hands.go(1)
        rig.barrier = FakeBarrier()
        second = await rig.pass_(PLATE)
        assert second.granted
        assert len(rig.barrier.pulses) == 1
        assert (await rig.passages())[1].continues == first.passage_id


async def test_a_boom_that_is_seen_to_open_confirms(tmp_path: Path) -> None:
    async with site(tmp_path, WITH_POSITION) as rig:
        await rig.issue(PLATE)
        task = asyncio.create_task(rig.pass_(PLATE))
        await asyncio.sleep(0.05)
        await rig.lanes.handle(
            InputChanged(device="relay", received_at=rig.clock.now(), input="1", active=True), rig.clock.now()
        )
        handled = await task
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.CONFIRMED


async def test_a_boom_that_does_not_move_is_a_fault(tmp_path: Path) -> None:
    async with site(tmp_path, WITH_POSITION) as rig:
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE)
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.ACCEPTED
        assert rig.lanes.status("east-in").mode is LaneMode.FAULT
        assert rig.alerts


async def test_an_uncertain_opening_is_cleared_by_asking(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        rig.barrier = telling = TellingBarrier(delay_s=5)
        telling.boom = BarrierPosition.OPEN
        await rig.issue(PLATE)
        handled = await rig.pass_(PLATE)
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.CONFIRMED
        assert rig.lanes.status("east-in").mode is LaneMode.NORMAL


async def test_what_is_under_the_boom_is_shown_and_forgotten_with_its_device(tmp_path: Path) -> None:
    async with site(tmp_path, replace(EAST, presence=InputRef("relay", "5", inverted=True))) as rig:
        assert rig.lanes.status("east-in").occupied is None
        for active, occupied in ((False, True), (True, False)):
            event = InputChanged(device="relay", received_at=rig.clock.now(), input="5", active=active)
            await rig.lanes.handle(event, rig.clock.now())
            assert rig.lanes.status("east-in").occupied is occupied
        rig.lanes.device_offline("relay", "power cut")
        assert rig.lanes.status("east-in").occupied is None


async def test_a_remembered_position_does_not_confirm(tmp_path: Path) -> None:
    """The boom was open before; now nobody answers where it is."""
    asked = replace(
        EAST,
        barrier=replace(EAST.barrier, position_device="relay", position_asked=True),  # type: ignore[type-var]
        position=PositionRef("relay", output="0"),
    )
    async with site(tmp_path, asked) as rig:
        rig.barrier = telling = TellingBarrier()
        telling.boom = BarrierPosition.OPEN
        await rig.issue(PLATE)
        await rig.issue(OTHER)
        first = await rig.pass_(PLATE)
        assert (await rig.opening(first.passage_id)).outcome is OpeningOutcome.CONFIRMED

        async def nobody_answers(output: str | None = None) -> BarrierPosition:
            raise DeviceUnavailable("cable cut")

        telling.position = nobody_answers  # type: ignore[method-assign]
        rig.hands.go(10)
        second = await rig.pass_(OTHER)
        assert (await rig.opening(second.passage_id)).outcome is OpeningOutcome.ACCEPTED
        assert rig.lanes.status("east-in").position is BarrierPosition.UNKNOWN


async def fire(rig: Rig, active: bool) -> None:
    event = InputChanged(device="relay", received_at=rig.clock.now(), input="3", active=active)
    await rig.lanes.handle(event, rig.clock.now())


async def test_during_a_fire_nothing_is_sent_and_all_is_recorded(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await fire(rig, active=True)
        assert rig.lanes.status("east-in").mode is LaneMode.HELD_OPEN
        handled = await rig.pass_(PLATE)
        assert handled.granted
        assert (await rig.opening(handled.passage_id)).outcome is OpeningOutcome.SUPPRESSED
        record = await rig.lanes.override("east-in", person="李强", reason="救护车")
        assert record.outcome is OpeningOutcome.SUPPRESSED
        assert rig.barrier.pulses == []  # type: ignore[union-attr]
        rig.lanes.device_offline("relay", "power cut")
        assert rig.lanes.status("east-in").mode is LaneMode.HELD_OPEN
        await fire(rig, active=False)
        rig.hands.go(10)
        await rig.pass_(PLATE)
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]


async def test_a_person_can_open_also_a_closed_lane(tmp_path: Path) -> None:
    async with site(tmp_path, replace(EAST, closed=True)) as rig:
        await rig.issue(PLATE)
        assert not (await rig.pass_(PLATE)).granted
        record = await rig.lanes.override("east-in", person="李强", reason="搬家车")
        assert record.outcome is OpeningOutcome.ACCEPTED
        [row] = await rig.passages()
        assert row.reason == "lane_closed"


async def test_an_override_is_on_disk_before_the_pulse(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.store.close()
        with pytest.raises(NotRecorded):
            await rig.lanes.override("east-in", person="李强", reason="x")
        assert rig.barrier.pulses == []  # type: ignore[union-attr]


async def test_what_cannot_be_recorded_is_not_opened(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.store.close()
        with pytest.raises(NotRecorded):
            await rig.pass_(PLATE)
        assert rig.barrier.pulses == []  # type: ignore[union-attr]


async def test_one_opening_at_a_time_then_a_cool_down(tmp_path: Path) -> None:
    """Two people press at once: the second pulse comes after the first was answered and the pause."""
    slow = replace(EAST, barrier=replace(EAST.barrier, cool_down_s=0.05, open_timeout_s=1.0))  # type: ignore[type-var]
    async with site(tmp_path, slow) as rig:
        loop = asyncio.get_running_loop()
        rig.clock = rig.parts.clock
        rig.parts.clock._monotonic = loop.time
        times: list[tuple[float, float]] = []

        class Slow(FakeBarrier):
            async def open(self, pulse: object) -> Opened:
                began = loop.time()
                await asyncio.sleep(0.05)
                times.append((began, loop.time()))
                return Opened(OpeningOutcome.ACCEPTED)

        rig.barrier = Slow()
        await asyncio.gather(*(rig.lanes.override("east-in", person="李强", reason=str(n)) for n in range(3)))
        assert len(times) == 3
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert began - ended >= 0.045


async def test_reload_keeps_what_is_at_the_lane(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.pass_(PLATE)
        changed: LaneSettings = replace(EAST, merge_s=8.0)
        rig.lanes.configure([changed])
        assert [lane.settings.id for lane in rig.lanes] == ["east-in"]
        rig.hands.go(6)
        await rig.pass_(PLATE)
        assert rig.seen.reads == [Disposition.MERGED]
        rig.lanes.configure([])
        assert [lane.settings.id for lane in rig.lanes] == []
        await rig.pass_(OTHER)
        assert rig.seen.reads[-1] is Disposition.UNROUTED
