"""What is proven of conditions, beside trying every case."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.cel import (
    CelType,
    Environment,
    Expression,
    Proven,
    contradiction,
    covers_all,
    fuse_all,
    implied_by_any,
    python_of,
    uncovered,
)

ENV = Environment(
    {
        "direction": CelType.STRING,
        "kind": CelType.STRING,
        "other": CelType.STRING,
        "found": CelType.BOOL,
        "open": CelType.BOOL,
        "days": CelType.INT,
        "share": CelType.DOUBLE,
        "more": CelType.DOUBLE,
        "now": CelType.TIME,
        "entrances": CelType.STRINGS,
        "limits.days": CelType.INT,
        "limits.strict": CelType.BOOL,
        "groups.family": CelType.STRINGS,
        "groups.nobody": CelType.STRINGS,
    }
)
DOMAINS: Mapping[str, Sequence[str]] = {"direction": ("in", "out")}
CONSTANTS: Mapping[str, Any] = {
    "limits.days": 3,
    "limits.strict": True,
    "groups.family": ["resident", "relative"],
    "groups.nobody": [],
}
YES, NO = Proven.YES, Proven.NO


def made(text: str) -> Expression:
    return ENV.compile(text)


IMPLIED = [
    ("found", ["found"], YES),
    ("found", ["open"], NO),
    ("found", [], NO),
    ("found && open", ["found"], YES),
    ("found", ["found && open", "found && !open"], YES),
    ("found ? open : false", ["open"], YES),
    ("found", ["found ? open : days > 3"], NO),
    ("found", ["found == true"], YES),
    ("found", ["!(found != true)"], YES),
    ("found && limits.strict", ["found"], YES),
    ('kind == "resident"', ['"resident" == kind'], YES),
    ('kind == "resident"', ['kind != "visitor"'], YES),
    ('kind == "resident"', ["kind in groups.family"], YES),
    ("kind in groups.family", ['kind == "resident"'], NO),
    ("kind in groups.family", ['kind == "resident"', 'kind == "relative"'], YES),
    ("kind in groups.nobody", [], YES),
    ("true", ['direction == "in"', 'direction == "out"'], YES),
    ("true", ['kind == "in"', 'kind == "out"'], NO),
    ('kind < "b"', ['kind <= "b"'], YES),
    ('kind == "a"', ['kind < "b"'], YES),
    ("days < 3", ["days < 5"], YES),
    ("days < 5", ["days < 3"], NO),
    ("days > 3 && days < 5", ["days == 4"], YES),
    ("days == 4", ["days > limits.days"], YES),
    ("days >= 3", ["!(days < 3)"], YES),
    ("3 <= days", ["days > 2"], YES),
    ("true", ["days < -9223372036854775807", "days > -9223372036854775808"], YES),
    ("true", ["days < 9223372036854775807", "days == 9223372036854775807"], YES),
    ("true", ["share < 1.0", "share >= 1.0"], NO),  # NaN
    ("share == share", ["share < 1.0", "share >= 1.0"], NO),
    ("share < 0.5", ["!(share >= 0.5)"], YES),
    ("!(share >= 0.5)", ["share < 0.5"], NO),
    ("share > 0.5 && share < 0.6", ["share > 0.5"], YES),
    ("share == 0.0", ["share == -0.0"], YES),
    ("share < more", ["more > share"], YES),
    ("!(share < more)", ["share >= more"], NO),
    ("days + 1 > 5", ["!(days + 1 <= 5)"], YES),
    ("kind == other", ["other == kind"], YES),
    ("kind <= other", ["!(kind > other)"], YES),
    ('entrances.exists(one, one == "a")', ['entrances.exists(one, one == "a")'], YES),
    ('entrances.exists(one, one == "a")', ['entrances.exists(one, one == "b")'], NO),
    ('now < timestamp("2026-01-01T00:00:00Z")', ['now < timestamp("2026-01-01T08:00:01+08:00")'], YES),
    ('kind.startsWith("a")', ['kind.startsWith("a") || found'], YES),
    ("days / 0 == 1", ["found"], NO),  # an error: it never holds, but that is not for us to say
    ("days in [1, 2]", ["days > 0 && days < 3"], YES),
    ("days in [days, 2]", ["days == 2"], NO),
]


@pytest.mark.parametrize(("condition", "earlier", "wanted"), IMPLIED)
def test_implied_by_any(condition: str, earlier: list[str], wanted: Proven) -> None:
    assert implied_by_any(made(condition), list(map(made, earlier)), CONSTANTS, DOMAINS) is wanted


CONTRADICTIONS = [
    ("false", YES),
    ("true", NO),
    ("found && !found", YES),
    ('kind == "a" && kind == "b"', YES),
    ('kind in ["a", "b"] && kind == "c"', YES),
    ('direction == "sideways"', YES),
    ('direction != "in" && direction != "out"', YES),
    ('direction < "in"', YES),
    ("days > 3 && days < 4", YES),
    ("share > 3.0 && share < 4.0", NO),
    ("days > 3 && days < 5", NO),
    ("!limits.strict && found", YES),
    ("limits.days > 5", YES),
    ("days < -9223372036854775808", YES),
    ('kind < ""', YES),
    ('kind > "a" && kind < "a\\u0000"', YES),
]


@pytest.mark.parametrize(("condition", "wanted"), CONTRADICTIONS)
def test_contradiction(condition: str, wanted: Proven) -> None:
    assert contradiction(made(condition), CONSTANTS, DOMAINS) is wanted


GAPS: list[tuple[list[str], dict[str, bool | str] | None]] = [
    (["true"], None),
    ([], {}),
    (["false"], {}),
    (["found", "!found"], None),
    (["found", "!found && open"], {"found": False, "open": False}),
    (['direction == "in"'], {"direction": "out"}),
    (['direction == "in"', 'direction == "out" && days > 3', "days < 4 || open"], None),
    (["kind in groups.family"], {"kind": 'not "relative", "resident"'}),
    (['kind in ["a", "b", "c", "d"]'], {"kind": 'not "a", "b", "c", ...'}),
    (['kind != "a"'], {"kind": "a"}),
    (["days != 3"], {"days": "3"}),
    (["days < 3", "days > 9"], {"days": "3"}),
    (["days <= 3", "days >= 9"], {"days": "> 3, < 9"}),
    (["days <= 3"], {"days": "> 3"}),
    (["share <= 3.0"], {"share": "> 3.0"}),
    (["share < 3.0", "share >= 3.0"], {"share": "NaN"}),
    (["kind == other"], {"kind == other": False}),
    (['now < timestamp("2026-01-01T00:00:00Z")'], {"now": "2026-01-01T00:00:00Z"}),
    (["found && open", "days == 1 && found"], {"found": False}),
]


@pytest.mark.parametrize(("conditions", "wanted"), GAPS)
def test_uncovered(conditions: list[str], wanted: dict[str, bool | str] | None) -> None:
    rules = list(map(made, conditions))
    assert uncovered(rules, CONSTANTS, DOMAINS) == wanted
    assert covers_all(rules, CONSTANTS, DOMAINS) is (YES if wanted is None else NO)


# --- every case -------------------------------------------------------------------------------------------

CASES: Mapping[str, Sequence[Any]] = {
    "direction": ("in", "out"),
    "kind": ("", "a", "aa", "b", "c"),
    "found": (True, False),
    "days": (-1, 0, 1, 2, 3, 4, 5, 6),
    "share": (0.0, 0.5, 0.75, 1.0, 1.5, math.nan),
}
ALL_CASES = [dict(zip(CASES, values, strict=True)) for values in itertools.product(*CASES.values())]

SIGNS = st.sampled_from(("==", "!=", "<", "<=", ">", ">="))
ATOMS = st.one_of(
    st.sampled_from(("found", "!found", "found == false", "true", "false", "limits.strict")),
    st.builds("direction {} '{}'".format, SIGNS, st.sampled_from(("in", "out", "up"))),
    st.builds("kind {} '{}'".format, SIGNS, st.sampled_from("ab")),
    st.builds("days {} {}".format, SIGNS, st.integers(0, 5)),
    st.builds("{1} {0} days".format, SIGNS, st.integers(0, 5)),
    st.builds("share {} {}".format, SIGNS, st.sampled_from(("0.5", "1.0"))),
    st.sampled_from(("kind in ['a', 'b']", "kind in []", "days in [1, 2, 5]", "share in [0.5]")),
    st.sampled_from(("days in [limits.days]", "limits.days > 2")),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=6))
def test_proven_is_what_trying_every_case_shows(texts: list[str]) -> None:
    """The cases meet every cell of the constants in ATOMS, so what is not proven has a case against it."""
    rules = list(map(made, texts))
    holding = fuse_all([python_of(one, CONSTANTS) for one in rules])
    seen = [frozenset(holding(case, lambda index: pytest.fail(texts[index]))) for case in ALL_CASES]

    def verdict(possible: bool) -> Proven:
        return NO if possible else YES

    last = len(rules) - 1
    earlier = frozenset(range(last))
    assert contradiction(rules[-1], CONSTANTS, DOMAINS) is verdict(any(last in held for held in seen))
    reached = any(last in held and not held & earlier for held in seen)
    assert implied_by_any(rules[-1], rules[:-1], CONSTANTS, DOMAINS) is verdict(reached)
    assert covers_all(rules, CONSTANTS, DOMAINS) is verdict(frozenset() in seen)
    gap = uncovered(rules, CONSTANTS, DOMAINS)
    assert (gap is not None) is (frozenset() in seen)
    if gap is not None:
        told = {name: value for name, value in gap.items() if isinstance(value, bool) or value in CASES[name]}
        fitting = [held for case, held in zip(ALL_CASES, seen, strict=True) if told.items() <= case.items()]
        assert frozenset() in fitting


# --- budget -----------------------------------------------------------------------------------------------


def pigeons(holes: int) -> list[str]:
    """Each of several pigeons has a hole, and no two the same: famously long to disprove."""
    birds = range(holes + 1)
    has = [
        " || ".join(f'entrances.exists(one, one == "{bird}-{hole}")' for hole in range(holes))
        for bird in birds
    ]
    apart = [
        f'!(entrances.exists(one, one == "{one}-{hole}") && entrances.exists(one, one == "{other}-{hole}"))'
        for hole in range(holes)
        for one, other in itertools.combinations(birds, 2)
    ]
    return [f"!({text})" for text in (*has, *apart)]


def test_a_question_that_takes_too_long_is_not_proven() -> None:
    rules = list(map(made, pigeons(7)))
    started = time.perf_counter()
    assert covers_all(rules, CONSTANTS, DOMAINS) is Proven.UNKNOWN
    assert uncovered(rules, CONSTANTS, DOMAINS) is None
    assert implied_by_any(made("true"), rules, CONSTANTS, DOMAINS) is Proven.UNKNOWN
    assert contradiction(made("found"), CONSTANTS, DOMAINS, budget=1) is Proven.UNKNOWN
    assert time.perf_counter() - started < 4
    assert covers_all(list(map(made, pigeons(3))), CONSTANTS, DOMAINS) is YES


def test_a_policy_of_many_rules_is_looked_through_soon() -> None:
    kinds = ("resident", "visitor", "staff", "delivery", "taxi")
    texts = [
        f'kind == "{kinds[index % 5]}" && (direction == "in" || days > {index})'
        f" && !(found && share < 0.{index % 9 + 1})"
        for index in range(60)
    ]
    rules = list(map(made, [*texts, "true"]))
    started = time.perf_counter()
    for index, rule in enumerate(rules):
        assert implied_by_any(rule, rules[:index], CONSTANTS, DOMAINS) in (YES, NO)
    assert covers_all(rules, CONSTANTS, DOMAINS) is YES
    assert time.perf_counter() - started < 3


def test_a_large_group_is_no_trouble() -> None:
    constants = {**CONSTANTS, "groups.family": [f"kind{number}" for number in range(1000)]}
    rules = [made("kind in groups.family"), made('kind == "kind7"'), made("!(kind in groups.family)")]
    assert implied_by_any(rules[1], rules[:1], constants, DOMAINS) is YES
    assert covers_all(rules, constants, DOMAINS) is YES
