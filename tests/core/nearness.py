"""How near a plate is to what was read, by trying every edit there is: what `gated.nearplates` is tested
against."""

from __future__ import annotations

from hypothesis import strategies as st

CLASSES = ("0ODQ", "1IL", "8B", "2Z", "5S", "京琼", "辽宁")
MOST = 1.5


def _changed(plate: str, edits: list[tuple[int, int, str]]) -> str:
    for place, kind, char in edits:
        at = place % (len(plate) + 1)
        plate = plate[:at] + ("" if kind == 0 else char) + plate[at + (kind < 2) :]
    return plate


plates = st.builds(
    _changed,
    st.sampled_from(["津A12345", "津AD12345", "京B0Z8S"]),
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 3), st.sampled_from("0OD1LB8ZSX津京琼警ЖЯ")), max_size=3
    ),
).filter(bool)
"""Plates that are often near to each other, some of an unusual form."""


def price(one: str, other: str) -> float:
    """Of reading one character for another."""
    if one == other:
        return 0.0
    return 0.5 if any(one in members and other in members for members in CLASSES) else 1.0


def distance(read: str, plate: str) -> float | None:
    """The least that look-alikes, at 0.5, and at most one other edit, at 1, cost; None if they do not lead
    from one to the other, or cost more than is near."""
    ways: list[float | None] = []
    if len(read) == len(plate):
        ways.append(_substitutions(read, plate))
    elif len(read) + 1 == len(plate):
        ways += [_with(1.0, _look_alikes(read, plate[:at] + plate[at + 1 :])) for at in range(len(plate))]
    elif len(read) == len(plate) + 1:
        ways += [_with(1.0, _look_alikes(read[:at] + read[at + 1 :], plate)) for at in range(len(read))]
    costs = [one for one in ways if one is not None and one <= MOST]
    return min(costs, default=None)


def follow(read: str, edits: str) -> tuple[str, float]:
    """What the edits make of what was read, and what they cost; their places count in what was read."""
    plate, cost, last = read, 0.0, len(read)
    for edit in reversed(edits.split()):
        number, _, what = edit.partition(":")
        at = int(number) - 1
        assert at <= last, "in the order of their places"
        last = at
        if what.startswith("+"):
            plate, cost = plate[:at] + what[1] + plate[at:], cost + 1
        elif what.startswith("-"):
            assert read[at] == what[1]
            plate, cost = plate[:at] + plate[at + 1 :], cost + 1
        else:
            one, other = what.split("→")
            assert read[at] == one
            plate, cost = plate[:at] + other + plate[at + 1 :], cost + price(one, other)
    return plate, cost


def _substitutions(read: str, plate: str) -> float | None:
    prices = [price(*pair) for pair in zip(read, plate, strict=True)]
    return sum(prices) if prices.count(1.0) <= 1 else None


def _look_alikes(read: str, plate: str) -> float | None:
    prices = [price(*pair) for pair in zip(read, plate, strict=True)]
    return sum(prices) if 1.0 not in prices else None


def _with(more: float, cost: float | None) -> float | None:
    return None if cost is None else more + cost
