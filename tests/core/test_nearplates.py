"""Plates that are nearly what was read: against every plate looked at one by one, in tables of every size."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.nearplates import SIZES, NearPlates
from tests.core.nearness import distance, follow, plates

CASES = {
    "one look-alike": ("津A12845", "津A12B45", 0.5, "5:8→B"),
    "two look-alikes": ("津A0284S", "津AO2B4S", 1.0, "3:0→O 5:8→B"),
    "three look-alikes": ("津A02845", "津AO2B4S", 1.5, "3:0→O 5:8→B 7:5→S"),
    "another character": ("津A12345", "津A12X45", 1.0, "5:3→X"),
    "another province": ("京A12345", "津A12345", 1.0, "1:京→津"),
    "a province that looks alike": ("京A12345", "琼A12345", 0.5, "1:京→琼"),
    "another letter": ("津B12345", "津A12345", 1.0, "2:B→A"),
    "another character and a look-alike": ("津A12348", "津A1X34B", 1.5, "4:2→X 7:8→B"),
    "a character was not read": ("津A12345", "津AD12345", 1.0, "3:+D"),
    "the first was not read": ("A12345", "津A12345", 1.0, "1:+津"),
    "the last was not read": ("津A12345", "津A12345D", 1.0, "8:+D"),
    "one of the same was not read": ("津A1123", "津A11123", 1.0, "3:+1"),
    "a character too many": ("津AD12345", "津A12345", 1.0, "3:-D"),
    "the last too many": ("津A123456", "津A12345", 1.0, "8:-6"),
    "not read, and a look-alike after it": ("津A1234S", "津AD12345", 1.5, "3:+D 7:S→5"),
    "not read, and a look-alike before it": ("津AO1234", "津A012345", 1.5, "3:O→0 8:+5"),
    "too many, and a look-alike after it": ("津AX1234S", "津A12345", 1.5, "3:-X 8:S→5"),
    "too many, and a look-alike before it": ("津AO1234X", "津A01234", 1.5, "3:O→0 8:-X"),
    "a special plate": ("津A1234学", "津A1234警", 1.0, "7:学→警"),
    "too short for a plate": ("津A", "津A1", 1.0, "3:+1"),
    "characters of no plate": ("津A1Ж345", "津A1Я345", 1.0, "4:Ж→Я"),
}
FAR = {
    "the same": ("津A12345", "津A12345"),
    "two other characters": ("津A12345", "津AX2X45"),
    "swapped": ("津A12345", "津A21345"),
    "four look-alikes": ("津A08250", "津AOBZSO"),
    "two look-alikes and another character": ("津A00345", "津ADDX45"),
    "two missing": ("津A123", "津A12345"),
    "two characters of no plate": ("津AЖЖ345", "津AЯЯ345"),
    "nothing alike": ("京B67890", "津A12345"),
    "nothing read": ("", "津A12345"),
    "longer than plates are": ("津A12345678901234567", "津A12345"),
}


def index(*known: str) -> NearPlates:
    made = NearPlates()
    made.load([plate.encode() for plate in known], len(known))
    return made


@pytest.mark.parametrize(("read", "plate", "cost", "edits"), CASES.values(), ids=[*CASES])
def test_near(read: str, plate: str, cost: float, edits: str) -> None:
    assert index(plate, "沪C99999").near(read) == [(cost, plate, edits)]


@pytest.mark.parametrize(("read", "plate"), FAR.values(), ids=[*FAR])
def test_far(read: str, plate: str) -> None:
    assert index(plate, "沪C99999").near(read) == []


def test_the_nearest_comes_first_then_what_is_written_first() -> None:
    found = index("津A12X45", "津A12B45", "津A12045", "津AI2845", "津A12845").near("津A12845")
    assert [plate for _, plate, _ in found] == ["津A12B45", "津AI2845", "津A12045", "津A12X45"]


@settings(max_examples=400)
@given(
    known=st.lists(plates, max_size=25),
    reads=st.lists(plates, min_size=1, max_size=5),
    loaded=st.integers(0, 25),
    sizes=st.sampled_from([SIZES, (2, 3, 5), (11,), (307, 1009)]),
)
def test_finds_what_looking_at_each_finds(
    known: list[str], reads: list[str], loaded: int, sizes: tuple[int, ...]
) -> None:
    """However small and many the tables are: then most places have more than one character."""
    found = NearPlates(sizes=sizes)
    found.load([plate.encode() for plate in known[:loaded]], loaded)
    for plate in known[loaded:]:
        found.add(plate.encode())
    for read in reads:
        near = found.near(read)
        wanted = {plate: distance(read, plate) for plate in known if plate != read}
        assert {plate: cost for cost, plate, _ in near} == {
            plate: cost for plate, cost in wanted.items() if cost is not None
        }
        assert near == sorted(near)
        assert len({plate for _, plate, _ in near}) == len(near)
        for cost, plate, edits in near:
            assert follow(read, edits) == (plate, cost)


def test_plates_that_come_after_the_start_are_found_in_further_tables() -> None:
    found = NearPlates(sizes=(499, 997))
    numbers = [f"津A{number:05}" for number in range(0, 30_000, 17)]
    for plate in numbers:
        found.add(plate.encode())
    assert len(found) == len(numbers)
    for plate in numbers[::50]:
        assert plate in {one for _, one, _ in found.near(plate[:-1] + "X")}


@pytest.mark.parametrize("size", SIZES)
def test_a_table_of_any_size_spreads_plates(size: int) -> None:
    """As chance would: plates are much alike, and their keys must not fall together for that."""
    rng = random.Random(size)
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    keys = {
        int.from_bytes(bytes([0x81]) + (rng.choice(letters) + rng.choice(letters)).encode()
                       + f"{rng.randrange(10_000):04}".encode(), "big")
        for _ in range(20_000)
    }  # fmt: skip
    opened = {key & ~(0xFF << 8 * at) for key in keys for at in range(7)}
    expected = size * (1 - (1 - 1 / size) ** len(opened))
    assert len({rest % size for rest in opened}) > 0.985 * expected
