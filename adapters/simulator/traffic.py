"""A day at the entrances as a script: who comes to which lane, and when. Pure, and the same for a seed.

Workers leave from half past six and come back in the evening; deliveries run through the day; the night is
quiet. Times are seconds of the simulated day; whoever plays the script divides by the speed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.simulator.people import Resident, stranger

DAY_S = 86_400
PASSAGES_A_DAY = 40_000
"""Of a village of 12,000 with 24 lanes."""

# vehicles an hour, in parts of the day's mean; in, and out
_IN = (
    0.1,
    0.1,
    0.05,
    0.05,
    0.1,
    0.3,
    0.7,
    1.0,
    1.1,
    1.0,
    1.0,
    1.2,
    1.3,
    1.0,
    1.0,
    1.1,
    1.4,
    2.4,
    3.0,
    2.2,
    1.5,
    1.0,
    0.6,
    0.3,
)
_OUT = (
    0.1,
    0.05,
    0.05,
    0.05,
    0.2,
    0.7,
    2.2,
    3.2,
    2.4,
    1.3,
    1.0,
    1.1,
    1.2,
    1.1,
    1.0,
    1.0,
    1.1,
    1.3,
    1.4,
    1.2,
    0.9,
    0.6,
    0.4,
    0.2,
)

_STRANGERS = 0.04
_UNREADABLE = 0.01
_SECOND_LOOK = 0.15
"""Part of the vehicles that the camera reads once more while they wait."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A vehicle comes to a lane. `plate` None: dirty, covered, or none at all. `again_s`: the camera reads it
    once more so much later, None if not."""

    at_s: float
    lane: str
    plate: str | None
    again_s: float | None = None


def day(
    seed: int,
    lanes: Sequence[tuple[str, str]],
    people: Sequence[Resident],
    *,
    start_s: float = 6.5 * 3600,
    passages: int = PASSAGES_A_DAY,
) -> Iterator[Arrival]:
    """The script from `start_s` on, without end: day follows day. `lanes`: (id, direction) pairs.

    A vehicle that goes out comes in again later in the day more often than not, so residents are drawn with
    a preference for a third of them, who drive daily.
    """
    rng = random.Random(f"day {seed}")
    daily = people[: max(1, len(people) // 3)]
    at = start_s
    mean = passages / DAY_S
    ways = {way: [lane for lane, direction in lanes if direction == way] for way in ("in", "out")}
    while True:
        hour = int(at % DAY_S // 3600)
        rates = {"in": _IN[hour] * mean / 2, "out": _OUT[hour] * mean / 2}
        rates = {way: rate for way, rate in rates.items() if ways[way]}
        at += rng.expovariate(sum(rates.values()))
        way = rng.choices(list(rates), list(rates.values()))[0]
        drawn = rng.random()
        if drawn < _UNREADABLE:
            plate = None
        elif drawn < _UNREADABLE + _STRANGERS or not people:
            plate = stranger(rng)
        else:
            plate = rng.choice(daily if rng.random() < 0.7 else people).plate
        again = rng.uniform(0.3, 2.0) if rng.random() < _SECOND_LOOK else None
        yield Arrival(at - start_s, rng.choice(ways[way]), plate, again)
