"""The passbook: what a credential means after issues, renewals, revocations, in any order of arrival."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gated.domain import (
    Attestation,
    Candidate,
    Credential,
    CredentialKind,
    Holder,
    HourWindow,
    Pass,
    PassFacts,
    PassState,
)
from gated.passbook import Passbook, facts_of, follow

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)


def plate(value: str) -> Credential:
    return Credential(CredentialKind.PLATE, value)


def make(pass_id: str, *values: str, change: int = 1, **more: object) -> Pass:
    base = Pass(
        id=pass_id.rjust(26, "0"),
        kind="resident",
        holder=Holder("王芳"),
        credentials=tuple(plate(v) for v in values),
        entrances=("east",),
        valid_from=NOW,
        valid_until=NOW + timedelta(days=365),
        hours=(HourWindow(frozenset({0, 6}), time(6), time(22)),),
        created_at=NOW,
        updated_at=NOW,
        change=change,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def ids(book: Passbook, value: str) -> list[str]:
    return [c.facts.pass_id.lstrip("0") for c in book.match(plate(value))]


def test_gives_back_every_fact_of_a_pass() -> None:
    one = make("A", "津A12345", state=PassState.REVOKED, revoked_at=NOW + timedelta(hours=1, microseconds=1))
    book = Passbook()
    book.load([(plate("津A12345"), facts_of(one))], 7)
    assert [c.facts for c in book.match(plate("津A12345"))] == [facts_of(one)]
    assert book.change == 7


PROOF = Attestation("tenancy/2", date(2026, 6, 1), date(2027, 5, 31))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"holder": Holder("王芳", dwelling_id="3-2-501")},
        {"attestations": (PROOF,)},
        {
            "attestations": (replace(PROOF, valid_until=None), PROOF),
            "holder": Holder("王芳", dwelling_id="住所"),
        },
        {"limits": {"visits_per_day": 2, "vehicles": 1}, "hours": (), "entrances": None},
    ],
)
def test_gives_back_what_some_passes_have(more: dict[str, Any]) -> None:
    one, plain = make("A", "津A1", **more), make("B", "津A1")
    book = Passbook()
    book.load([(plate("津A1"), facts_of(plain)), (plate("津A1"), facts_of(one))], 1)
    assert book.match(plate("津A1")) == [
        Candidate(facts_of(plain), value="津A1"),
        Candidate(facts_of(one), value="津A1"),
    ]
    assert facts_of(one).limits == tuple(sorted(one.limits.items()))
    assert (facts_of(one).attestations, facts_of(one).dwelling_id) == (
        one.attestations,
        one.holder.dwelling_id,
    )


def test_kinds_of_credential_do_not_meet() -> None:
    book = Passbook()
    book.apply(make("A", "12345678"))
    assert book.match(Credential(CredentialKind.CARD, "12345678")) == []
    assert book.match(None) == []


def test_a_changed_pass_replaces_what_was_known() -> None:
    book = Passbook()
    book.load([(plate("津A1"), facts_of(make("A", "津A1"))), (plate("津A2"), facts_of(make("A", "津A2")))], 5)
    book.apply(make("A", "津A2", "津A3", change=6))
    assert (ids(book, "津A1"), ids(book, "津A2"), ids(book, "津A3")) == ([], ["A"], ["A"])


def test_an_older_change_that_arrives_late_is_ignored() -> None:
    book = Passbook()
    book.apply(make("A", "津A1", change=2, state=PassState.REVOKED))
    book.apply(make("A", "津A1", change=1))
    [found] = book.match(plate("津A1"))
    assert found.facts.state is PassState.REVOKED


def test_the_number_advances_only_without_a_gap() -> None:
    book = Passbook()
    book.apply(make("A", "津A1", change=1))
    book.apply(make("C", "津A3", change=3))
    assert book.change == 1
    missed = [make("B", "津A2", change=2), make("C", "津A3", change=3)]

    async def changed_since(change: int, limit: int) -> list[Pass]:
        assert change == 1
        return missed

    assert asyncio.run(follow(book, changed_since)) == 2
    assert book.change == 3
    assert (ids(book, "津A2"), ids(book, "津A3")) == (["B"], ["C"])


class _Store:
    """So many passes, changed one after the other; it may break down when asked, and change meanwhile."""

    def __init__(self, count: int) -> None:
        self.passes = {
            f"P{number}": make(f"P{number}", f"津A{number}", change=number + 1) for number in range(count)
        }
        self.change = count
        self.most = 0
        self.breaks_at = -1
        self.busy = 0

    def revoke(self, pass_id: str) -> None:
        self.change += 1
        self.passes[pass_id] = replace(self.passes[pass_id], change=self.change, state=PassState.REVOKED)

    async def changed_since(self, change: int, limit: int) -> list[Pass]:
        if self.breaks_at == change // limit:
            raise OSError("the disk is away")
        later = sorted(
            (one for one in self.passes.values() if one.change > change), key=lambda one: one.change
        )
        if self.busy:
            self.busy -= 1
            self.revoke(f"P{self.busy}")
        self.most = max(self.most, min(len(later), limit))
        return later[:limit]


def test_many_changes_are_taken_in_by_pages() -> None:
    """Exact after each page: also if the next one cannot be read, or passes change again meanwhile."""
    book, store = Passbook(), _Store(5000)
    store.breaks_at = 3
    with pytest.raises(OSError, match="away"):
        asyncio.run(follow(book, store.changed_since))
    assert store.most == book.change // 3 < 1000
    assert ids(book, f"津A{book.change - 1}") == [f"P{book.change - 1}"]
    assert ids(book, f"津A{book.change}") == []
    store.breaks_at, store.busy = -1, 5
    assert asyncio.run(follow(book, store.changed_since)) == 5000 - 3 * store.most + 5
    assert book.change == store.change == 5005
    for number in (0, 4, 5, 4999):
        [found] = book.match(plate(f"津A{number}"))
        assert (found.facts.state is PassState.REVOKED) == (number < 5)


def test_following_ends_though_passes_go_on_changing() -> None:
    book, store = Passbook(), _Store(10)
    store.busy = 10
    assert asyncio.run(follow(book, store.changed_since)) == 10
    assert (book.change, store.change, store.busy) == (10, 11, 9)


def test_two_passes_on_one_plate_are_both_found() -> None:
    book = Passbook()
    book.apply(make("A", "津A1", change=1))
    book.apply(make("B", "津A1", change=2))
    assert sorted(ids(book, "津A1")) == ["A", "B"]
    book.apply(make("A", "津A9", change=3))
    assert ids(book, "津A1") == ["B"]


class Exact(RuleBasedStateMachine):
    """Whatever is issued, changed and applied, in whatever order: the book says what a plain model says."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Passbook()
        self.model: dict[str, Pass] = {}
        self.change = 0
        self.late: list[Pass] = []

    @rule(
        who=st.sampled_from("ABC"),
        values=st.sets(st.sampled_from(["津A1", "津A2", "津A3"])),
        state=st.sampled_from(PassState),
        deliver=st.booleans(),
    )
    def write(self, who: str, values: set[str], state: PassState, deliver: bool) -> None:
        self.change += 1
        one = make(who, *sorted(values), change=self.change, state=state)
        self.model[who] = one
        if deliver:
            self.book.apply(one)
        else:
            self.late.append(one)

    @rule()
    def catch_up(self) -> None:
        for one in self.late:
            self.book.apply(one)
        self.late.clear()

    @invariant()
    def same(self) -> None:
        if self.late:
            return
        for value in ("津A1", "津A2", "津A3"):
            expected: list[PassFacts] = [
                facts_of(p) for p in self.model.values() if plate(value) in p.credentials
            ]
            found = [c.facts for c in self.book.match(plate(value))]
            assert sorted(found, key=lambda f: f.pass_id) == sorted(expected, key=lambda f: f.pass_id)


Exact.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestExact = Exact.TestCase


def test_memory_of_one_credential_is_small() -> None:
    """About 200 bytes, and as much again for near matches; a million passes then fit a small box. The figures
    themselves are `scripts/bench idle` and `match`."""
    import tracemalloc

    count = 40_000
    template = facts_of(make("A", "津A12345"))
    tracemalloc.start()
    book = Passbook()
    book.load(((plate(f"津A{n:05}"), replace(template, pass_id=f"{n:026}")) for n in range(count)), 1)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(book) == count
    assert used / count < 420
