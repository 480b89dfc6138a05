"""What the site remembers: entries and exits on a pass, also where some were missed, misread or told late."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.domain import Credential, CredentialKind, Direction, Outcome
from rules.memory import FORGET, LATE, LaneMemory, Memory, Passed, Presence, fold

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 21, 4, tzinfo=UTC)
A, A_MISREAD, A_SHORT, B, CARD, CODE = "津A12345", "津A12B45", "津A1234", "京Q90876", "00112233", "gated:1:x"
YEARS = 60 * 24 * 365 * 4

PASS = "P"

Move = tuple[str, float, str]
"""Direction, minutes since noon, credential."""


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def of(value: str) -> Credential:
    kind = {CARD: CredentialKind.CARD, CODE: CredentialKind.CODE}.get(value, CredentialKind.PLATE)
    return Credential(kind, value)


def passed(
    number: int,
    way: str,
    minutes: float,
    value: str,
    *,
    pass_id: str | None = PASS,
    outcome: Outcome = Outcome.GRANT,
    continues: int | None = None,
) -> Passed:
    return Passed(
        f"p{number}",
        f"east-{way}",
        Direction(way),
        at(minutes),
        of(value) if value else None,
        outcome,
        pass_id,
        None if continues is None else f"p{continues}",
    )


def folded(moves: Iterable[Move]) -> Presence:
    known = Presence()
    for number, move in enumerate(moves):
        fold(known, passed(number, *move), ZONE)
    return known


INSIDE: list[tuple[str, list[Move], dict[str, float], int]] = [
    ("came", [("in", 0, A)], {A: 0}, 1),
    ("came and went", [("in", 0, A), ("out", 30, A)], {}, 1),
    ("left, was never seen to come", [("out", 30, A)], {}, 0),
    ("came again without having left", [("in", 0, A), ("in", 600, A)], {A: 600}, 2),
    ("two came, one left", [("in", 0, A), ("in", 1, B), ("out", 30, A)], {B: 1}, 2),
    # told out of order
    ("its exit was told before its entry", [("out", 5, A), ("in", 4, A)], {}, 1),
    ("an exit from before its entry", [("in", 5, A), ("out", 4, A)], {A: 5}, 1),
    ("an earlier entry", [("in", 5, A), ("in", 4, A)], {A: 5}, 2),
    ("the other vehicle left meanwhile", [("out", 5, B), ("in", 4, A)], {A: 4}, 1),
    ("came, left, came: told backwards", [("in", 6, A), ("out", 5, A), ("in", 4, A)], {A: 6}, 2),
    # misread
    ("misread as it came", [("in", 0, A_MISREAD), ("out", 30, A)], {}, 1),
    ("misread as it left", [("in", 0, A), ("out", 30, A_MISREAD)], {}, 1),
    ("a character was missed", [("in", 0, A_SHORT), ("out", 30, A)], {}, 1),
    ("the misread one, not who came first", [("in", 0, B), ("in", 9, A_MISREAD), ("out", 30, A)], {B: 0}, 2),
    ("exactly known before alike", [("in", 0, A_MISREAD), ("in", 9, A), ("out", 30, A)], {A_MISREAD: 0}, 2),
    ("another plate altogether", [("in", 0, A), ("out", 30, B)], {A: 0}, 1),
    ("seen leaving twice", [("in", 0, A_MISREAD), ("in", 1, A), ("out", 9, A), ("out", 10, A)],
     {A_MISREAD: 0}, 2),
    # a plate, a card and a code of one pass
    ("came by plate, left by card", [("in", 0, A), ("out", 30, CARD)], {}, 1),
    ("came by code, left by plate", [("in", 0, CODE), ("out", 30, A)], {}, 1),
    ("another card is another person", [("in", 0, CARD), ("out", 30, CODE)], {CARD: 0}, 1),
    ("without a credential", [("in", 0, ""), ("in", 1, A), ("out", 30, "")], {A: 1}, 2),
    # a clock that was years ahead, and was put right
    ("came by a wrong clock, comes again", [("in", YEARS, A), ("in", 0, A)], {A: 0}, 2),
    ("came by a wrong clock, leaves", [("in", YEARS, A), ("out", 30, A)], {}, 1),
    ("left by a wrong clock, comes", [("out", YEARS, A), ("in", 0, A)], {A: 0}, 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("moves", "inside", "entries"), [row[1:] for row in INSIDE], ids=[r[0] for r in INSIDE]
)
def test_who_is_inside(moves: list[Move], inside: dict[str, float], entries: int) -> None:
    known = folded(moves)
    assert known.inside == {value: at(since) for value, since in inside.items()}
    assert known.entries == entries


def test_times_of_entries_and_exits() -> None:
    known = folded([("in", 5, A), ("out", 20, A), ("out", 19, B), ("in", 3, B), ("in", 60, A)])
    assert (known.first_entry, known.last_entry, known.last_exit) == (at(3), at(60), at(20))


MIDNIGHT = 12 * 60  # at the site: its noon is 04:00 UTC


@pytest.mark.parametrize(
    ("minutes", "day", "today"),
    [
        ([0, 10], 21, 2),
        ([MIDNIGHT - 1, MIDNIGHT], 22, 1),
        ([MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1], 22, 2),
        ([MIDNIGHT, MIDNIGHT - 1], 22, 1),  # told late: it was yesterday
        ([MIDNIGHT, MIDNIGHT - 1, MIDNIGHT + 2], 22, 2),
        ([YEARS, 0], 21, 1),  # the clock was years ahead
        ([YEARS, 0, 1], 21, 2),
        ([0, MIDNIGHT * 4], 23, 1),
    ],
)
def test_entries_of_a_day_at_the_site(minutes: list[float], day: int, today: int) -> None:
    known = folded([("in", one, A) for one in minutes])
    assert (known.day, known.today) == (date(2026, 11, day), today)
    assert known.entries == len(minutes)


def test_a_day_begins_at_the_sites_midnight() -> None:
    known = Presence()
    for number, minutes in enumerate((MIDNIGHT - 1, MIDNIGHT)):
        fold(known, passed(number, "in", minutes, A), UTC)
    assert known.today == 2  # in Greenwich it was one afternoon


# --- a better read of the same vehicle ---------------------------------------------------------------------

Corrected = list[tuple[str, str, int | None]]
"""Direction, credential, what it continues; at minutes 0, 1, 2 ..."""


@pytest.mark.parametrize(
    ("steps", "inside", "entries"),
    [
        ([("in", A, None), ("in", A, 0)], {A: 1}, 1),
        ([("in", A_MISREAD, None), ("in", A, 0)], {A: 1}, 1),
        ([("in", B, None), ("in", A_MISREAD, None), ("in", A, 1)], {B: 0, A: 2}, 2),
        ([("in", A_MISREAD, None), ("in", A, None)], {A_MISREAD: 0, A: 1}, 2),  # nothing says that it is one
        ([("in", A, None), ("in", B, None), ("in", A, 0)], {A: 2, B: 1}, 3),  # not of the one before
        ([("in", A, None), ("in", B, None), ("out", A_MISREAD, None), ("out", A, 2)], {B: 1}, 2),
        ([("in", A, None), ("in", CARD, None), ("out", B, None), ("out", A, 2)], {}, 2),
    ],
)  # fmt: skip
def test_a_better_read_counts_once(steps: Corrected, inside: dict[str, float], entries: int) -> None:
    known = Presence()
    for number, (way, value, continues) in enumerate(steps):
        fold(known, passed(number, way, number, value, continues=continues), ZONE)
    assert known.inside == {value: at(since) for value, since in inside.items()}
    assert known.entries == entries


# --- the site's memory -------------------------------------------------------------------------------------


def memory(*told: Passed) -> Memory:
    found = Memory(ZONE)
    for one in told:
        found.passed(one)
    return found


def test_nobody_is_inside_after_three_days() -> None:
    found = memory(passed(0, "in", 0, A))
    assert list(found.inside("P", NOON + FORGET)) == [A]
    assert found.occupancy(NOON + FORGET) == 1
    over = NOON + FORGET + timedelta(seconds=1)
    assert (found.inside("P", over), found.occupancy(over)) == ({}, 0)
    assert found.occupancy(NOON) == 1  # who asks about another time takes nobody out
    assert found.occupancy(NOON - 2 * LATE) == 0


def test_others_inside_are_other_credentials_of_the_pass() -> None:
    found = memory(passed(0, "in", 0, A), passed(1, "in", 1, B), passed(2, "in", 2, CARD, pass_id="Q"))
    assert [found.others_inside("P", of(one), at(9)) for one in (A, B, CARD)] == [1, 1, 2]
    assert found.others_inside("P", of(A), at(2) + FORGET) == 0
    assert found.occupancy(at(9)) == 3
    assert found.presence("R") is None


@pytest.mark.parametrize(
    ("minutes", "value", "expected"),
    [(0, A, 1), (30, A, 2), (60, A, 2), (61, A, 1), (91, A, 0), (-1, A, 0), (30, B, 0)],
)
def test_refusals_of_the_last_hour(minutes: float, value: str, expected: int) -> None:
    found = memory(
        passed(0, "in", 0, A, outcome=Outcome.REFER, pass_id=None),
        passed(1, "in", 30, A, outcome=Outcome.DENY),
        passed(2, "in", 30, A),
        passed(3, "in", 30, "", outcome=Outcome.REFER),
    )
    assert found.refusals(of(value), at(minutes)) == expected


def test_a_card_that_reads_like_a_plate_is_another_credential() -> None:
    found = memory(passed(0, "in", 0, A, outcome=Outcome.REFER))
    assert found.refusals(Credential(CredentialKind.CARD, A), at(1)) == 0


def test_what_was_refused_is_kept_for_so_many() -> None:
    found = Memory(ZONE)
    for number in range(10_001):
        found.passed(passed(number, "in", 0, f"津B{number:05d}", outcome=Outcome.DENY))
    refused = [found.refusals(of(f"津B{number:05d}"), NOON) for number in (0, 1, 10_000)]
    assert refused == [0, 1, 1]


def test_many_refusals_of_one_are_counted_up_to_a_bound() -> None:
    found = memory(*(passed(n, "in", n / 1000, A, outcome=Outcome.DENY) for n in range(200)))
    assert found.refusals(of(A), at(1)) == 50


def test_who_is_inside_on_one_pass_is_bounded() -> None:
    found = memory(*(passed(n, "in", n, f"津{n:06d}") for n in range(300)))
    inside = found.inside("P", at(300))
    assert len(inside) == found.occupancy(at(300)) == 256
    assert min(inside.values()) == at(44)  # who came first is forgotten first


def test_the_lane_knows_whom_it_let_through() -> None:
    found = memory(
        passed(0, "in", 0, A),
        passed(1, "in", 1, B, pass_id=None),
        passed(2, "in", 2, A, outcome=Outcome.REFER),
        passed(3, "out", 3, ""),
    )
    assert found.lane("east-in") == LaneMemory(at(1), of(B), None)
    assert found.lane("east-out") == LaneMemory(at(3), None, "P")
    assert found.lane("west-in") is None


def test_passes_that_are_over_are_dropped_unless_they_were_used() -> None:
    found = memory(passed(0, "in", 0, A), passed(1, "in", 60, B, pass_id="Q"))
    found.drop(["P", "Q", "R"], before=at(30))
    assert found.presence("P") is None
    assert found.presence("Q") is not None
    assert found.occupancy(at(61)) == 1


def test_a_new_zone_counts_from_then_on() -> None:
    found = memory(passed(0, "in", MIDNIGHT + 1, A))
    found.zone = UTC
    found.passed(passed(1, "in", MIDNIGHT + 2, A))
    known = found.presence("P")
    assert known is not None
    assert (known.day, known.today, known.entries) == (date(2026, 11, 21), 1, 2)


# --- properties --------------------------------------------------------------------------------------------

PLATES = [A, A_MISREAD, A_SHORT, B, CARD, CODE, ""]
steps = st.lists(
    st.tuples(
        st.sampled_from(["in", "out"]),
        st.floats(-20, 20) | st.integers(-6000, 6000) | st.sampled_from([YEARS, -YEARS]),
        st.sampled_from(PLATES),
        st.sampled_from([PASS, "Q", None]),
        st.sampled_from([Outcome.GRANT, Outcome.GRANT, Outcome.REFER, Outcome.DENY]),
        st.none() | st.integers(1, 3),
    ),
    max_size=40,
)
"""Direction, minutes, credential, pass, outcome, how many back the passage is that it continues."""
told = steps.map(
    lambda found: [
        passed(n, *step[:3], pass_id=step[3], outcome=step[4], continues=step[5] and n - step[5])
        for n, step in enumerate(found)
    ]
)


def everything(found: Memory) -> object:
    return copy.deepcopy({name: value for name, value in vars(found).items() if name != "zone"})


@given(told=told, minutes=st.integers(-9000, 9000))
def test_counts_are_what_they_are_by_hand(told: list[Passed], minutes: int) -> None:
    found = memory(*told)
    before, now = everything(found), at(minutes)
    known = {pass_id: one for pass_id in ("P", "Q") if (one := found.presence(pass_id))}
    everybody = [since for one in known.values() for since in one.inside.values()]
    assert found.occupancy(now) == sum(-LATE <= now - since <= FORGET for since in everybody)
    assert found.occupancy(now) == sum(len(found.inside(pass_id, now)) for pass_id in known)
    for pass_id, one in known.items():
        mine = [p for p in told if p.pass_id == pass_id and p.outcome is Outcome.GRANT]
        entries = [p for p in mine if p.direction is Direction.IN]
        assert 0 <= one.today <= one.entries <= len(entries)
        assert (
            (one.entries == 0) == (one.first_entry is None) == (one.last_entry is None) == (one.day is None)
        )
        assert not one.inside.keys() & one.left.keys()
        assert set(one.inside) <= {p.credential.value for p in entries if p.credential}
        for value in PLATES[:-1]:
            others = found.others_inside(pass_id, of(value), now)
            assert others == len(found.inside(pass_id, now).keys() - {value})
    for value in PLATES[:-1]:
        assert found.refusals(of(value), now) >= 0
    assert everything(found) == before  # asking changes nothing


@given(told=told)
def test_the_same_passages_give_the_same_memory(told: list[Passed]) -> None:
    assert everything(memory(*told)) == everything(memory(*told))


@given(told=told)
def test_a_passage_that_is_told_twice_in_a_row_counts_once(told: list[Passed]) -> None:
    assert everything(memory(*(one for one in told for _ in range(2)))) == everything(memory(*told))


@given(told=told, split=st.integers(0, 40))
def test_what_was_loaded_goes_on_as_what_was_lived(told: list[Passed], split: int) -> None:
    lived, first = memory(*told), memory(*told[:split])
    again = Memory(ZONE)
    again.load(
        [(pass_id, known) for pass_id in ("P", "Q") if (known := first.presence(pass_id))],
        [(lane, last) for lane in ("east-in", "east-out") if (last := first.lane(lane))],
    )
    for one in told[split:]:
        again.passed(one)
    for pass_id in ("P", "Q"):
        assert again.presence(pass_id) == lived.presence(pass_id)
    for lane in ("east-in", "east-out"):
        assert again.lane(lane) == lived.lane(lane)
    for minutes in (-6000, 0, 6000):
        assert again.occupancy(at(minutes)) == lived.occupancy(at(minutes))


@given(data=st.data())
def test_the_order_of_the_record_does_not_matter_within_minutes(data: st.DataObject) -> None:
    """Each credential is where its latest passage left it, whatever was told first."""
    plates = [A, B, "粤B66666", "苏E5T0K2"]  # none is taken for another
    times = data.draw(st.lists(st.integers(0, 600), unique=True, max_size=12))
    moves = [
        (data.draw(st.sampled_from(["in", "out"])), seconds / 60, data.draw(st.sampled_from(plates)))
        for seconds in sorted(times)
    ]
    in_order, mixed = folded(moves), folded(data.draw(st.permutations(moves)))
    in_order.last = mixed.last = None
    assert mixed == in_order
    latest = {value: (way, minutes) for way, minutes, value in moves}
    assert mixed.inside == {value: at(minutes) for value, (way, minutes) in latest.items() if way == "in"}
