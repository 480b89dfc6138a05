"""Plates that were misread: what opens, what does not, and that one vehicle is opened for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gated.domain import Disposition, Outcome
from tests.lane.rig import site

PLATE = "津A12845"


async def test_a_look_alike_is_let_in_and_says_what_it_was_taken_for(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        one = await rig.issue(PLATE)
        assert (await rig.pass_("津A12B45")).granted
        [row] = await rig.passages()
        assert (row.reason, row.decision.pass_id) == ("near_pass_valid", one.id)
        assert "津A12845" in row.decision.explanation.zh
        receipt = row.decision.receipt
        assert receipt is not None
        assert receipt["candidates"][0]["edits"] == "5:B→8"


async def test_the_right_plate_after_a_look_alike_is_the_same_vehicle(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.pass_("津A12B45")
        rig.hands.go(0.5)
        await rig.pass_(PLATE)
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]
        assert rig.seen.reads == [Disposition.MERGED]


async def test_a_look_alike_after_the_right_plate_is_the_same_vehicle(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.pass_(PLATE)
        rig.hands.go(0.5)
        await rig.pass_("津A12B45")
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]
        assert rig.seen.reads == [Disposition.MERGED]


@pytest.mark.parametrize(("other", "state"), [("津A1Z845", "live"), ("津A12845", "live")])
async def test_with_a_rival_a_person_decides(tmp_path: Path, other: str, state: str) -> None:
    async with site(tmp_path) as rig:
        await rig.issue("津A12B45")
        await rig.issue(other, id="0" * 25 + "2")
        assert not (await rig.pass_("津A1ZB45" if other == "津A1Z845" else "津AI2B45")).granted
        [row] = await rig.passages()
        assert row.outcome is Outcome.REFER
        assert rig.barrier.pulses == []  # type: ignore[union-attr]


async def test_reads_of_one_vehicle_are_put_together(tmp_path: Path) -> None:
    """Each read alone is too far from the pass; the second knows of the first, and both are near to it."""
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        assert not (await rig.pass_("津A12X45", confidence=0.3)).granted
        rig.hands.go(0.5)
        assert (
            await rig.pass_("津A12B45", confidence=0.99)
        ).granted is False  # 0.5 and 1.0, put together: 0.62
        rig.hands.go(0.5)
        assert (await rig.pass_(PLATE, confidence=0.99)).granted
        assert len(rig.barrier.pulses) == 1  # type: ignore[union-attr]


async def test_a_read_that_is_sure_enough_outweighs_a_bad_one(tmp_path: Path) -> None:
    """津A12E45 is as far from both passes; with the look-alike read the right one is the nearer, but the
    other still could be meant: a person decides. Without the other pass the vehicle is let in."""
    async with site(tmp_path) as rig:
        await rig.issue(PLATE)
        await rig.pass_(None)
        rig.hands.go(0.5)
        assert (await rig.pass_("津A12B45", confidence=0.95)).granted


async def test_presence_and_refusals_are_remembered_as_passages_are_recorded(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        one = await rig.issue(PLATE)
        await rig.pass_(PLATE)
        now = rig.clock.now()
        known = rig.parts.memory.presence(one.id)
        assert known is not None
        assert (known.entries, list(known.inside)) == (1, [PLATE])
        rig.hands.go(60)
        read = rig.read("京B67890")
        await rig.send(read)
        assert read.credential is not None
        assert rig.parts.memory.refusals(read.credential, rig.clock.now()) == 1
        assert rig.parts.memory.occupancy(now) == 1
