"""Plates that are nearly what was read: against every plate looked at one by one, and as the index
changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.nearplates import MOST, NearPlates

CLASSES = ("0ODQ", "1IL", "8B", "2Z", "5S")

CASES = {
    "one look-alike": ("津A12845", "津A12B45", 0.5, "5:8→B"),
    "two look-alikes": ("津A0284S", "津AO2B4S", 1.0, "3:0→O 5:8→B"),
    "three look-alikes": ("津A02845", "津AO2B4S", 1.5, "3:0→O 5:8→B 7:5→S"),
    "another character": ("津A12345", "津A12X45", 1.0, "5:3→X"),
    "another province": ("京A12345", "津A12345", 1.0, "1:京→津"),
    "another character and a look-alike": ("津A12348", "津A1X34B", 1.5, "4:2→X 7:8→B"),
    "a character was not read": ("津A12345", "津AD12345", 1.0, "3:+D"),
    "the last was not read": ("津A12345", "津A12345D", 1.0, "8:+D"),
    "a character too many": ("津AD12345", "津A12345", 1.0, "3:-D"),
    "not read, and a look-alike": ("津A1234S", "津AD12345", 1.5, "3:+D 7:S→5"),
    "a special plate": ("津A1234学", "津A1234警", 1.0, "7:学→警"),
    "no province": ("A12345", "津A12345", 1.0, "1:+津"),
}
FAR = {
    "the same": ("津A12345", "津A12345"),
    "two other characters": ("津A12345", "津AX2X45"),
    "swapped": ("津A12345", "津A21345"),
    "four look-alikes": ("津A08250", "津AOBZSO"),
    "two missing": ("津A123", "津A12345"),
    "nothing alike": ("京B67890", "津A12345"),
    "empty": ("", "津A12345"),
}


@pytest.mark.parametrize("indexed", [1000, 0], ids=["indexed", "probed"])
@pytest.mark.parametrize(("read", "plate", "distance", "edits"), CASES.values(), ids=[*CASES])
def test_near(read: str, plate: str, distance: float, edits: str, indexed: int) -> None:
    plates = NearPlates(indexed=indexed)
    plates.load([plate, "沪C99999"])
    assert plates.is_indexed is (indexed > 0)
    assert plates.near(read) == [(distance, edits, plate)]


@pytest.mark.parametrize("indexed", [1000, 0], ids=["indexed", "probed"])
@pytest.mark.parametrize(("read", "plate"), FAR.values(), ids=[*FAR])
def test_far(read: str, plate: str, indexed: int) -> None:
    plates = NearPlates(indexed=indexed)
    plates.load([plate, "沪C99999"])
    assert plates.near(read) == []


def alike(one: str, other: str) -> bool:
    return one == other or any(one in members and other in members for members in CLASSES)


def cost(read: str, plate: str) -> float | None:
    """The smallest cost of one edit at the most, besides look-alikes; None if it takes more."""
    best: float | None = None

    def look_alikes(one: str, other: str) -> float | None:
        if len(one) != len(other) or not all(map(alike, one, other)):
            return None
        return 0.5 * sum(a != b for a, b in zip(one, other, strict=True))

    ways = [(0.0, look_alikes(read, plate))]
    if len(read) == len(plate):
        ways += [
            (1.0, look_alikes(read[:at] + read[at + 1 :], plate[:at] + plate[at + 1 :]))
            for at in range(len(read))
        ]
    elif len(read) + 1 == len(plate):
        ways += [(1.0, look_alikes(read, plate[:at] + plate[at + 1 :])) for at in range(len(plate))]
    elif len(read) == len(plate) + 1:
        ways += [(1.0, look_alikes(read[:at] + read[at + 1 :], plate)) for at in range(len(read))]
    for extra, found in ways:
        if found is not None and (best is None or extra + found < best):
            best = extra + found
    return best


plates = st.builds(
    lambda head, tail: head + tail,
    st.sampled_from(["津A", "京A", "津B", "A", ""]),
    st.text("0OD1IL8B2Z5SX警", min_size=1, max_size=4),
)


@settings(max_examples=300)
@given(
    known=st.lists(plates, max_size=12), read=plates, gone=st.data(), indexed=st.sampled_from([1000, 5, 0])
)
def test_finds_what_looking_at_each_finds(
    known: list[str], read: str, gone: st.DataObject, indexed: int
) -> None:
    index = NearPlates(indexed=indexed)
    index.load(known[:4])
    for plate in known[4:]:
        index.add(plate)
    left = set(known)
    for plate in gone.draw(st.lists(st.sampled_from(known), max_size=4)) if known else ():
        index.discard(plate)
        left.discard(plate)
    wanted = {}
    for plate in left - {read}:
        distance = cost(read, plate)
        if distance is not None and distance <= MOST:
            wanted[plate] = distance
    found = index.near(read)
    assert {plate: distance for distance, _, plate in found} == wanted
    assert [one[0] for one in found] == sorted(one[0] for one in found)


def test_growing_past_the_limit_changes_nothing_but_the_way() -> None:
    index = NearPlates(indexed=10)
    for number in range(30):
        index.add(f"津A{number:05}")
        assert index.is_indexed is (number < 10) or len(index) <= 10
    assert not index.is_indexed
    assert ("津A00029" in {plate for _, _, plate in index.near("津A0002X")}) is True
