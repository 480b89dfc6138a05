"""The parts of the simulator that doubles share: the boom and the faults."""

from __future__ import annotations

import pytest

from adapters.simulator import Boom, Faults
from gated.domain import BarrierPosition


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_boom_opens_waits_and_closes_by_itself() -> None:
    clock = Clock()
    boom = Boom(travel_s=1.0, stay_s=5.0, clock=clock)
    boom.pulse(700)
    seen = []
    for clock.now in (100.0, 100.9, 101.0, 105.9, 106.1, 107.1, 999.0):
        seen.append(boom.position)
    assert seen == ["moving", "moving", "open", "open", "moving", "closed", "closed"]


def test_boom_never_closes_on_a_vehicle() -> None:
    clock = Clock()
    boom = Boom(travel_s=1.0, stay_s=2.0, clock=clock)
    boom.pulse(700)
    clock.now = 102.0
    boom.occupy(True)
    clock.now = 200.0
    assert boom.position is BarrierPosition.OPEN
    boom.occupy(False)
    clock.now = 201.9
    assert boom.open_contact
    clock.now = 204.0
    assert boom.closed_contact


def test_boom_goes_up_again_when_pulsed_on_its_way_down() -> None:
    clock = Clock()
    boom = Boom(travel_s=1.0, stay_s=1.0, clock=clock)
    boom.pulse(700)
    clock.now = 102.25  # a quarter of the way down
    assert boom.position is BarrierPosition.MOVING
    boom.pulse(700)
    clock.now = 102.4
    assert not boom.open_contact
    clock.now = 102.6
    assert boom.open_contact


def test_second_pulse_keeps_it_open_and_is_recorded() -> None:
    clock = Clock()
    boom = Boom(travel_s=1.0, stay_s=2.0, clock=clock)
    boom.pulse(700)
    clock.now = 102.5
    boom.pulse(500)
    clock.now = 104.0
    assert boom.position is BarrierPosition.OPEN
    assert [(each.at, each.milliseconds) for each in boom.openings] == [(100.0, 700), (102.5, 500)]


def test_stuck_boom_records_and_does_not_move() -> None:
    boom = Boom(stuck=True, clock=Clock())
    assert not boom.pulse(700).moved
    assert boom.position is BarrierPosition.CLOSED


def test_healthy_faults_do_nothing() -> None:
    faults = Faults()
    assert (faults.copies(), faults.plate("津A12345"), faults.take_death(), faults.take_garbage()) == (
        1, "津A12345", False, None,
    )  # fmt: skip


@pytest.mark.parametrize(("faults", "copies"), [(Faults(lost=1.0), 0), (Faults(twice=1.0), 2)])
def test_lost_and_twice(faults: Faults, copies: int) -> None:
    assert faults.copies() == copies


def test_misread_changes_one_character_to_a_look_alike() -> None:
    misread = Faults(misread=1.0).plate("津A80808")
    assert len(misread) == 7
    assert sum(a != b for a, b in zip(misread, "津A80808", strict=True)) == 1


def test_counted_faults_end_by_themselves() -> None:
    faults = Faults(die_mid_message=2, garbage=1)
    assert [faults.take_death() for _ in range(3)] == [True, True, False]
    assert [faults.take_garbage() is not None for _ in range(2)] == [True, False]


def test_the_same_seed_gives_the_same_day() -> None:
    draws = [[Faults(lost=0.3).copies() for _ in range(20)] for _ in range(2)]
    assert draws[0] == draws[1]
