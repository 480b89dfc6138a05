"""The passbook's near matches: of one read and of several, whatever is issued, changed and taken away; and
that none is left out which could be meant."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.domain import Candidate, Credential, CredentialKind, Pass, PassFacts, PassState
from gated.passbook import Passbook, Seen, facts_of
from tests.core.nearness import distance, follow, plates
from tests.core.test_passbook import NOW, make, plate


def seen(*reads: str | tuple[str, float | None]) -> list[Seen]:
    pairs = [(read, 0.9) if isinstance(read, str) else read for read in reads]
    return [Seen(plate(value), confidence) for value, confidence in pairs]


def book_of(*passes: Pass) -> Passbook:
    book = Passbook()
    for change, one in enumerate(passes, 1):
        book.apply(replace(one, change=change))
    return book


def found(book: Passbook, *reads: str | tuple[str, float | None]) -> list[tuple[str, float, str]]:
    return [(one.value, one.distance, one.edits) for one in book.near(seen(*reads))]


# --- one read ---------------------------------------------------------------------------------------------


def test_a_near_match_has_all_that_an_exact_one_has() -> None:
    one = make("A", "津A12B45", "津C1", state=PassState.REVOKED, revoked_at=NOW)
    assert book_of(one).near(seen("津A12845")) == [Candidate(facts_of(one), 0.5, "5:8→B", "津A12B45")]


def test_what_is_equal_is_not_near() -> None:
    book = book_of(make("A", "津A12845"), make("B", "津A12B45"))
    assert found(book, "津A12845") == [("津A12B45", 0.5, "5:8→B")]


def test_two_passes_of_one_plate_are_both_near() -> None:
    book = book_of(make("A", "津A12B45"), make("B", "津A12B45"))
    assert len(book.near(seen("津A12845"))) == 2


@pytest.mark.parametrize("kind", [CredentialKind.CARD, CredentialKind.CODE])
def test_only_plates_are_near(kind: CredentialKind) -> None:
    card = Credential(kind, "04A12B45")
    book = book_of(make("A", "04A12845"), replace(make("B"), credentials=(card,)))
    assert book.near([Seen(Credential(kind, "04A12845"), None)]) == []
    assert book.near([Seen(card, 0.9)]) == []
    assert found(book, "04A1Z845") == [("04A12845", 0.5, "5:Z→2")]
    assert found(book, "04A12845") == []
    assert book.near([]) == []


def test_a_changed_pass_is_near_by_its_new_plate_only() -> None:
    book = book_of(make("A", "津A12B45"))
    book.apply(make("A", "沪C12B45", change=2))
    assert found(book, "津A12845") == []
    assert found(book, "沪C12845") == [("沪C12B45", 0.5, "5:8→B")]


# --- several reads of one vehicle -------------------------------------------------------------------------

FUSED = {
    "near to both": (["津A12B45", "津A1Z845"], "津A12845", 0.5, "5:B→8"),
    "weighed by confidence": ([("津A12B45", 0.9), ("津A12X45", 0.3)], "津A12845", 0.625, "5:B→8"),
    "without a confidence": ([("津A12B45", None), ("津A12X45", 0.5)], "津A12845", 0.75, "5:B→8"),
    "equal to one of them": (["津A12X45", "津A12845"], "津A12845", 0.5, "5:X→8"),
    "equal to the first": (["津A12845", "津A12X45"], "津A12845", 0.5, "5:X→8"),
    "far from one of them": ([("津A12B45", 0.9), ("京C99999", 0.3)], "津A12845", 0.875, "5:B→8"),
    "equal to one, far from the other": ([("津A12845", 0.9), ("京C99999", 0.3)], "津A12845", 0.5, ""),
    "sure of nothing": ([("津A12B45", 0.0), ("津A1Z845", 0.0)], "津A12845", 0.5, "5:B→8"),
}


@pytest.mark.parametrize(("reads", "value", "cost", "edits"), FUSED.values(), ids=[*FUSED])
def test_reads_of_one_vehicle_are_fused(
    reads: list[str | tuple[str, float | None]], value: str, cost: float, edits: str
) -> None:
    assert found(book_of(make("A", value)), *reads) == [(value, cost, edits)]


def test_near_to_one_read_and_far_from_the_other_loses_against_near_to_both() -> None:
    book = book_of(make("A", "津A12B45"), make("B", "津AY2845"))
    assert [one[:2] for one in found(book, "津A12845")] == [("津A12B45", 0.5), ("津AY2845", 1.0)]
    assert [one[:2] for one in found(book, "津A12845", "津AY9845")] == [("津AY2845", 1.0), ("津A12B45", 1.25)]


@settings(max_examples=100)
@given(
    known=st.lists(plates, min_size=1, max_size=12, unique=True),
    reads=st.lists(
        st.tuples(plates, st.sampled_from([None, 0.3, 0.77, 0.9])),
        min_size=2,
        max_size=4,
        unique_by=lambda one: one[0],
    ),
)
def test_fused_as_documented_in_any_order(known: list[str], reads: list[tuple[str, float | None]]) -> None:
    book = book_of(*(make(str(number), value) for number, value in enumerate(known)))
    wanted = {}
    for value in known:
        weights = [0.5 if confidence is None else confidence for _, confidence in reads]
        apart = [0.0 if read == value else distance(read, value) for read, _ in reads]
        far = fsum(w * (2.0 if d is None else d) for w, d in zip(weights, apart, strict=True))
        mean = far / fsum(weights)
        if 0 < mean <= 1.5 - 1e-9:
            wanted[value] = round(mean, 3)
    for order in permutations(reads):
        got = found(book, *order)
        assert len(got) >= min(len(wanted), 8)
        for value, cost, edits in got:
            if value in wanted:
                assert cost == wanted[value]
            else:
                assert cost == 1.5
            assert not edits or value in {follow(read, edits)[0] for read, _ in order if _fits(read, edits)}
        assert [one[:2] for one in got] == [one[:2] for one in found(book, *reads)]


def _fits(read: str, edits: str) -> bool:
    try:
        follow(read, edits)
    except (AssertionError, IndexError):
        return False
    return True


# --- exact as passes change -------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    first=st.lists(st.tuples(st.sampled_from("ABCDE"), plates), max_size=6),
    later=st.lists(
        st.tuples(
            st.sampled_from("ABCDEFGH"), st.lists(plates, max_size=3, unique=True), st.sampled_from(PassState)
        ),
        max_size=8,
    ),
    reads=st.lists(plates, min_size=1, max_size=4),
)
def test_near_is_exact_as_passes_change(
    first: list[tuple[str, str]], later: list[tuple[str, list[str], PassState]], reads: list[str]
) -> None:
    model = {who: make(who, value) for who, value in first}
    book = Passbook()
    book.load(((one.credentials[0], facts_of(one)) for one in model.values()), 1)
    for change, (who, values, state) in enumerate(later, 2):
        model[who] = make(who, *values, state=state, change=change)
        book.apply(model[who])
    for read in reads:
        wanted = {
            (one.id, credential.value, cost, one.state)
            for one in model.values()
            for credential in one.credentials
            if credential.value != read and (cost := distance(read, credential.value)) is not None
        }
        got = book.near(seen(read))
        assert [one.distance for one in got] == sorted(one.distance for one in got)
        keys = {(one.facts.pass_id, one.value, one.distance, one.facts.state) for one in got}
        assert len(keys) == len(got)
        assert keys <= wanted
        assert len(keys) >= min(8, len(wanted))
        assert sorted(one.distance for one in got)[:8] == sorted(cost for _, _, cost, _ in wanted)[:8]


# --- rivals -----------------------------------------------------------------------------------------------


def test_at_most_eight_where_two_are_in_force_all_the_while() -> None:
    book = book_of(*(make(f"P{number}", f"津A1234{number}") for number in range(10)))
    assert len(book.near(seen("津A1234X"))) == 8


def test_no_number_of_ended_and_revoked_passes_hides_who_else_could_be_meant() -> None:
    """The nine nearest are of no use to anybody; of those farther away all three may be in force one day."""
    gone = [make(f"G{number}", f"津A{number}234B", valid_until=NOW + timedelta(1)) for number in range(9)]
    gone += [make("R", "津A1234S", state=PassState.REVOKED)]
    live = [
        make("X", "津A12X4B"),
        make("Y", "津A12Y4B", valid_from=NOW + timedelta(20)),
        make("Z", "津A12Z4B"),
    ]
    book = book_of(*gone, *live)
    values = [one.facts.pass_id.lstrip("0") for one in book.near(seen("津A1234B"))]
    assert {"X", "Y", "Z"} <= {*values}
    assert len(values) < len(gone + live)


days = st.integers(0, 6)


@settings(max_examples=200)
@given(
    passes=st.lists(
        st.tuples(st.integers(0, 9), days, days, st.booleans(), st.sampled_from("8B9")),
        min_size=9,
        max_size=25,
    ),
    day=days,
)
def test_two_that_could_be_meant_are_never_made_one(
    passes: list[tuple[int, int, int, bool, str]], day: int
) -> None:
    """At any time: if two passes in force are near, so are two of those that are given."""
    made = [
        make(
            f"P{number}",
            f"津A{digit}23{char}5",
            valid_from=NOW + timedelta(min(start, end)),
            valid_until=NOW + timedelta(max(start, end) + 1),
            state=PassState.REVOKED if revoked else PassState.ACTIVE,
        )
        for number, (digit, start, end, revoked, char) in enumerate(passes)
    ]
    book = book_of(*made)
    now = NOW + timedelta(day)
    near = [facts_of(one) for one in made if distance("津AX2385", one.credentials[0].value) is not None]
    given_ = [one.facts for one in book.near(seen("津AX2385"))]
    assert min(_live(given_, now), 2) == min(_live(near, now), 2)


def _live(passes: list[PassFacts], now: datetime) -> int:
    return len(
        {
            one.pass_id
            for one in passes
            if one.state is PassState.ACTIVE and one.valid_from <= now < one.valid_until
        }
    )
