"""What a device's own list should hold, and what has to change: tables, and properties of any plan."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.allowlist import Wanted, changes, wanted
from gated.allowlist.plan import FEW, STAYS
from gated.domain import Credential, CredentialKind, HourWindow, PassFacts, PassState
from gated.ports import AllowEntry

NOW = datetime(2026, 11, 21, 4, tzinfo=UTC)
DAY = timedelta(days=1)
PLATE = Credential(CredentialKind.PLATE, "津A12345")
HOURS = (HourWindow(frozenset(range(7)), time(8), time(18)),)


def facts(number: int = 1, **more: object) -> PassFacts:
    values: dict[str, object] = {
        "pass_id": f"p{number}", "kind": "resident", "state": PassState.ACTIVE, "valid_from": NOW - DAY,
        "valid_until": NOW + 90 * DAY, "entrances": None, "hours": (),
    }  # fmt: skip
    return PassFacts(**(values | more))  # type: ignore[arg-type]


def target(*passes: tuple[Credential, PassFacts], capacity: int = 100, **more: object) -> Wanted:
    values: dict[str, object] = {
        "kinds": {CredentialKind.PLATE}, "entrances": {"east"}, "blocked": (), "capacity": capacity,
        "now": NOW,
    }  # fmt: skip
    return wanted(passes, **(values | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "listed", "not_expressible"),
    [
        ({}, True, 0),
        ({"state": PassState.REVOKED}, False, 0),
        ({"valid_until": NOW}, False, 0),
        ({"valid_from": NOW + 30 * DAY}, False, 0),
        ({"valid_from": NOW + DAY}, True, 0),
        ({"entrances": ("east", "west")}, True, 0),
        ({"entrances": ("west",)}, False, 0),
        ({"hours": HOURS}, False, 1),
        ({"limits": (("visits", 1),)}, False, 1),
    ],
)
def test_who_is_listed(more: dict[str, object], listed: bool, not_expressible: int) -> None:
    found = target((PLATE, facts(**more)))
    assert (PLATE.value in found.entries, found.not_expressible) == (listed, not_expressible)


def test_cards_are_not_put_on_a_list_of_plates_nor_is_who_is_blocked() -> None:
    assert not target((Credential(CredentialKind.CARD, "1"), facts())).entries
    assert not target((PLATE, facts()), blocked={PLATE}).entries


def test_an_entry_lasts_a_week_or_as_long_as_the_pass() -> None:
    midnight = NOW.replace(hour=0)
    assert target((PLATE, facts())).entries[PLATE.value].valid_until == midnight + STAYS
    short = target((PLATE, facts(valid_until=NOW + DAY))).entries[PLATE.value]
    assert short.valid_until == NOW + DAY
    both = target((PLATE, facts(valid_until=NOW + DAY)), (PLATE, facts(2, valid_until=NOW + 3 * DAY)))
    assert both.entries[PLATE.value].valid_until == NOW + 3 * DAY


def test_residents_come_before_visitors_where_there_is_little_room() -> None:
    visitors = [
        (Credential(CredentialKind.PLATE, f"津B{n:05d}"), facts(n, valid_until=NOW + DAY)) for n in range(5)
    ]
    residents = [(Credential(CredentialKind.PLATE, f"津A{n:05d}"), facts(n)) for n in range(5)]
    found = target(*visitors, *residents, capacity=7)
    assert found.left_out == 3
    assert sum(value.startswith("津A") for value in found.entries) == 5


def entry(value: str, until: datetime = NOW + STAYS) -> AllowEntry:
    return AllowEntry(CredentialKind.PLATE, value, NOW - DAY, until)


def these(*values: str, until: datetime = NOW + STAYS) -> Wanted:
    return Wanted({value: entry(value, until) for value in values})


@pytest.mark.parametrize(
    ("wants", "ours", "held", "put", "drop", "foreign"),
    [
        ((), {}, None, [], [], 0),
        (("a",), {}, None, ["a"], [], 0),
        (("a",), {"a": NOW + STAYS}, None, [], [], 0),
        (("a",), {"a": NOW + 6 * DAY}, None, [], [], 0),  # put again when half of its time is over
        (("a",), {"a": NOW + 3 * DAY}, None, ["a"], [], 0),
        (("a",), {"a": NOW + 30 * DAY}, None, ["a"], [], 0),  # the pass was cut short
        (("a",), {"a": NOW + STAYS}, {"a"}, [], [], 0),
        (("a",), {"a": NOW + STAYS}, set(), ["a"], [], 0),  # the device forgot
        ((), {"a": NOW + STAYS}, {"a"}, [], ["a"], 0),
        ((), {}, {"x"}, [], [], 1),  # staff put it there
        (("a",), {"a": NOW + STAYS}, {"a", "x"}, [], [], 1),
    ],
)
def test_changes(
    wants: tuple[str, ...],
    ours: dict[str, datetime],
    held: set[str] | None,
    put: list[str],
    drop: list[str],
    foreign: int,
) -> None:
    plan = changes(these(*wants), ours, held, NOW)
    assert [one.value for one in plan.put] == put
    assert list(plan.drop) == drop
    assert plan.foreign == foreign


def test_a_list_is_not_emptied_by_itself() -> None:
    ours = {f"v{n}": NOW + STAYS for n in range(1000)}
    plan = changes(these(), ours, None, NOW)
    assert (plan.drop, plan.held_back) == ((), 1000)
    assert len(changes(these(), ours, None, NOW, force=True).drop) == 1000
    few = {f"v{n}": NOW + STAYS for n in range(FEW)}
    assert len(changes(these(), few, None, NOW).drop) == FEW


_VALUES = st.sets(st.sampled_from([f"v{n}" for n in range(60)]))


@given(_VALUES, _VALUES, st.none() | _VALUES, st.booleans())
def test_any_plan_leads_to_what_is_wanted_or_holds_back(
    wants: set[str], ours: set[str], held: set[str] | None, force: bool
) -> None:
    known = dict.fromkeys(ours, NOW + STAYS)
    plan = changes(these(*wants), known, held, NOW, force=force)
    before = set(ours) if held is None else set(held)
    after = (before | {one.value for one in plan.put}) - set(plan.drop)
    assert wants <= after
    assert set(plan.drop) <= ours, "what staff put there is not ours to remove"
    assert not plan.drop or not plan.held_back
    if force or not plan.held_back:
        assert after - wants <= before - ours
    assert changes(these(*wants), dict.fromkeys(wants, NOW + STAYS), after, NOW).put == ()
