"""The simulated village's people and its day: invented, plausible, and the same for a seed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from adapters.simulator.people import Standing, residents
from adapters.simulator.traffic import DAY_S, day
from gated.domain import CredentialKind
from gated.plates import normalise

LANES = [(f"lane-{n}", "in" if n % 2 else "out") for n in range(24)]


def test_plates_are_plates_and_nobody_has_two() -> None:
    people = list(residents(1, 5000))
    plates = [one.plate for one in people]
    assert len(set(plates)) == 5000
    assert all(normalise(CredentialKind.PLATE, plate) == plate for plate in plates)
    assert {len(plate) for plate in plates} == {7, 8}
    standings = Counter(one.standing for one in people)
    assert standings[Standing.VALID] > 4000
    assert set(standings) == set(Standing) - {Standing.NONE}


def test_the_same_seed_gives_the_same_village_and_day() -> None:
    assert list(residents(3, 100)) == list(residents(3, 100))
    assert list(residents(3, 100)) != list(residents(4, 100))
    people = list(residents(3, 100))
    first, again = (list(itertools.islice(day(3, LANES, people), 500)) for _ in range(2))
    assert first == again
    assert first != list(itertools.islice(day(4, LANES, people), 500))


def test_a_day_has_its_hours() -> None:
    people = list(residents(1, 1000))
    hours: Counter[tuple[int, str]] = Counter()
    ways = dict(LANES)
    count = strangers = unread = 0
    known = {one.plate for one in people}
    for arrival in day(1, LANES, people, start_s=0, passages=40_000):
        if arrival.at_s >= DAY_S:
            break
        count += 1
        hours[int(arrival.at_s // 3600), ways[arrival.lane]] += 1
        unread += arrival.plate is None
        strangers += arrival.plate is not None and arrival.plate not in known
    assert count == pytest.approx(40_000, rel=0.1)
    assert hours[7, "out"] > 5 * hours[3, "out"], "they leave in the morning"
    assert hours[18, "in"] > 5 * hours[3, "in"], "and come back in the evening"
    assert 0.02 < strangers / count < 0.06
    assert 0.005 < unread / count < 0.02
    assert {way for _, way in hours} == {"in", "out"}


def test_lanes_of_one_direction_only() -> None:
    people = list(residents(1, 10))
    seen = {arrival.lane for arrival in itertools.islice(day(1, [("a", "in")], people), 50)}
    assert seen == {"a"}
