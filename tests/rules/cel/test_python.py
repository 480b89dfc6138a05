"""What the fast path makes of expressions, beside the engine."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.cel import (
    CelType,
    EvaluationFailed,
    Expression,
    constant_value,
    fuse_all,
    fuse_first,
    python_of,
)
from rules.cel.python import FORMS, compiled
from rules.cel.tree import Call, walk
from tests.rules.cel.village import CONSTANTS, ENV, SOME, VARIABLES, expressions, facts

TRANSLATED = [
    ('pass.kind == "resident"', "f['pass.kind'] == 'resident'"),
    ("pass.found && !site.open || pass.found", "f['pass.found'] and (not f['site.open']) or f['pass.found']"),
    ("pass.found && site.open && pass.found", "f['pass.found'] and f['site.open'] and f['pass.found']"),
    ("pass.days_left < limits.days", "f['pass.days_left'] < 3"),
    ("pass.days_left + 1 > 0", "whole(f['pass.days_left'] + 1) > 0"),
    ("passage.confidence * 2.0 >= limits.share", "f['passage.confidence'] * 2.0 >= 0.5"),
    ("pass.kind in groups.west", "f['pass.kind'] in frozenset({"),
    ("pass.kind in groups.nobody", "f['pass.kind'] in frozenset()"),
    ('pass.kind in ["resident"]', "f['pass.kind'] == 'resident'"),
    ("passage.entrance in pass.entrances", "f['passage.entrance'] in f['pass.entrances']"),
    (
        "size(pass.entrances) == 0 || pass.kind.size() > 2",
        "len(f['pass.entrances']) == 0 or len(f['pass.kind']) > 2",
    ),
    ('pass.kind.startsWith("a")', "f['pass.kind'].startswith('a')"),
    ('pass.kind.endsWith("a")', "f['pass.kind'].endswith('a')"),
    ('pass.kind.contains("a")', "'a' in f['pass.kind']"),
    ("limits.strict ? pass.found : site.open", "f['pass.found'] if True else f['site.open']"),
    ('now < timestamp("1970-01-01T00:00:01Z")', "f['now'] < at_1000000"),
    ('now < timestamp("1969-12-31T23:59:59Z")', "f['now'] < at_m1000000"),
]
STAYS = [
    "site.inside / 2 > 1",
    "site.inside % 2 == 1",
    'pass.kind.matches("^a")',
    'pass.entrances.exists(one, one == "west")',
    "now.getHours() > 3",
    "string(site.inside) == pass.kind",
    'now - pass.valid_until < duration("1h")',
    'pass.entrances[0] == "west"',
    'pass.entrances == ["west"]',
    "pass.found < site.open",
    "passage.confidence in [0.5, passage.distance]",  # NaN, which Python would find there
    'pass.kind in {"resident": 1}',
    'now < timestamp("2026-06-30T23:59:60Z")',  # a leap second, of which Python has none
    "type(site.inside) == int",
]


@pytest.mark.parametrize(("text", "wanted"), TRANSLATED)
def test_translated(text: str, wanted: str) -> None:
    tree = python_of(ENV.compile(text), CONSTANTS)
    assert tree is not None
    assert ast.unparse(tree).startswith(wanted)


@pytest.mark.parametrize("text", STAYS)
def test_stays_with_the_engine(text: str) -> None:
    assert python_of(ENV.compile(text), CONSTANTS) is None


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and bool(one == other)


ORDER = ("==", "!=", "<", "<=", ">", ">=")
PAIRS = {
    CelType.BOOL: ("pass.found", "site.open", ("&&", "||", "==", "!=")),
    CelType.INT: ("pass.days_left", "site.inside", (*ORDER, "+", "-", "*")),
    CelType.DOUBLE: ("passage.confidence", "passage.distance", (*ORDER, "+", "-", "*")),
    CelType.STRING: ("pass.kind", "passage.entrance", (*ORDER, "+", "contains", "startsWith", "endsWith")),
    CelType.TIME: ("now", "pass.valid_until", ORDER),
}
TRIED = [
    (one, other, f"{one}.{sign}({other})" if sign.isalpha() else f"{one} {sign} {other}")
    for one, other, signs in PAIRS.values()
    for sign in signs
] + [
    ("pass.found", "site.open", "!pass.found"),
    ("pass.days_left", "site.inside", "-pass.days_left"),
    ("passage.confidence", "passage.distance", "-passage.confidence"),
    ("pass.kind", "passage.entrance", "size(pass.kind)"),
    ("pass.kind", "passage.entrance", "pass.kind.size()"),
    ("pass.kind", "pass.entrances", "size(pass.entrances)"),
    ("pass.kind", "pass.entrances", "pass.entrances.size()"),
    ("pass.kind", "pass.entrances", "pass.kind in pass.entrances"),
    ("pass.days_left", "site.inside", "pass.days_left in [3, -9223372036854775808]"),
    ("passage.confidence", "passage.distance", "passage.confidence in [0.5, -0.0]"),
    ("passage.confidence", "passage.distance", "passage.confidence in [1e999]"),
    ("pass.found", "site.open", "pass.found in [true]"),
    ("pass.found", "pass.days_left", "pass.found ? pass.days_left : 7"),
]


@pytest.mark.parametrize(("one", "other", "text"), TRIED, ids=lambda text: text)
def test_every_form_over_every_pair_of_values(one: str, other: str, text: str) -> None:
    expression = ENV.compile(text)
    tree = python_of(expression, CONSTANTS)
    assert tree is not None
    given_up = 0
    pairs = list(itertools.product(SOME[VARIABLES[one]], SOME[VARIABLES[other]]))
    for pair in pairs:
        known = dict(zip((one, other), pair, strict=True))
        try:
            found = compiled(ast.Expression(tree), known)
        except Exception:
            given_up += 1
            with pytest.raises(EvaluationFailed):
                expression.evaluate(known)
        else:
            assert same(found, expression.evaluate(known)), known
    assert given_up < len(pairs)


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(), type_=st.sampled_from([CelType.BOOL] * 6 + [CelType.INT, CelType.DOUBLE, CelType.STRING])
)
def test_never_gives_another_value_than_the_engine(data: st.DataObject, type_: CelType) -> None:
    text = data.draw(expressions(type_))
    expression = ENV.compile(text)
    tree = python_of(expression, CONSTANTS)
    if tree is None:
        return
    for _ in range(3):
        known = data.draw(facts())
        try:
            found = compiled(ast.Expression(tree), known)
        except Exception:  # noqa: S112  # then the engine is asked
            continue
        assert same(found, expression.evaluate({**known, **CONSTANTS})), (text, known)


# --- fused ------------------------------------------------------------------------------------------------


def in_turn(conditions: list[Expression], known: dict[str, Any]) -> tuple[object, object]:
    """The first that holds and all that hold, each evaluated by the engine; the error if one fails."""
    first: object = -1
    holding: Any = []
    for index, one in enumerate(conditions):
        try:
            if one.evaluate({**known, **CONSTANTS}):
                holding.append(index)
                first = index if first == -1 else first
        except EvaluationFailed:
            return (first if first != -1 else "failed"), "failed"
    return first, holding


def outcome(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except EvaluationFailed:
        return "failed"


class Lazy(dict[str, Any]):
    """Facts that are looked up when they are asked for, as the policy has them."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__()
        self.known = known

    def __missing__(self, name: str) -> Any:
        value = self[name] = self.known[name]
        return value


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_fused_is_the_same_as_in_turn(data: st.DataObject) -> None:
    texts = data.draw(st.lists(expressions(CelType.BOOL, 2), min_size=1, max_size=6))
    conditions = [ENV.compile(text) for text in texts]
    trees = [python_of(one, CONSTANTS) for one in conditions]
    first, holding = fuse_first(trees), fuse_all(trees)
    for _ in range(4):
        known = data.draw(facts())

        def slow(index: int, known: dict[str, Any] = known) -> bool:
            return bool(conditions[index].evaluate({**known, **CONSTANTS}))

        wanted = in_turn(conditions, known)
        assert outcome(lambda: first(Lazy(known), slow)) == wanted[0]  # noqa: B023
        assert outcome(lambda: holding(Lazy(known), slow)) == wanted[1]  # noqa: B023


def test_asks_the_engine_only_for_what_stays_with_it() -> None:
    conditions = [
        ENV.compile(text) for text in ("pass.found", "site.inside / 2 > 1", 'pass.kind == "resident"')
    ]
    first = fuse_first([python_of(one, CONSTANTS) for one in conditions])
    asked: list[int] = []

    def slow(index: int) -> bool:
        asked.append(index)
        return False

    assert first({"pass.found": False, "pass.kind": "resident"}, slow) == 2
    assert asked == [1]


def test_looks_a_fact_up_once_and_only_when_it_is_needed() -> None:
    texts = ('passage.direction == "out"', 'passage.direction == "in" && pass.found', "site.inside > 100")
    first = fuse_first([python_of(ENV.compile(text), {}) for text in texts])
    asked: list[str] = []

    class Told(Lazy):
        def __missing__(self, name: str) -> Any:
            asked.append(name)
            return self.known[name]

    def never(index: int) -> bool:
        raise AssertionError(index)

    assert first(Told({"passage.direction": "in", "pass.found": True}), never) == 1
    assert asked == ["passage.direction", "pass.found"]


def test_a_fact_that_raises_is_asked_of_the_engine_and_the_rest_goes_on() -> None:
    texts = ("pass.found || true", "pass.found && site.open", "site.open")
    conditions = [ENV.compile(text) for text in texts]
    first = fuse_first([python_of(one, {}) for one in conditions][1:])
    asked: list[int] = []

    def slow(index: int) -> bool:
        asked.append(index)
        return bool(conditions[index + 1].evaluate({"site.open": False}))

    assert first({"site.open": False}, slow) == -1
    assert asked == [0]  # false, whatever pass.found would be


def test_nothing_to_fuse() -> None:
    assert fuse_first([])({}, bool) == -1
    assert fuse_all([])({}, bool) == []
    assert fuse_first([None])({}, lambda index: index == 0) == 0
    assert fuse_all([None, None])({}, lambda index: index == 1) == [1]


# --- constants --------------------------------------------------------------------------------------------

ALWAYS = [
    ("true", True),
    ("!limits.strict", False),
    ("limits.days > 2", True),
    ("limits.days + 1 == 4 && limits.share < 1.0", True),
    ("pass.found || limits.strict", True),
    ("!limits.strict && pass.days_left / 0 == 1", False),
    ("limits.strict ? limits.days == 3 : pass.found", True),
    ('limits.word in groups.west && limits.word.startsWith("w")', True),
    ("limits.word in groups.nobody", False),
    ("pass.found", None),
    ("limits.strict && pass.found", None),
    ("limits.days + pass.days_left > 3", None),
    ("pass.kind in groups.nobody", None),  # an error where the kind has no value
    ("limits.days / 2 == 1", None),  # not translated, so not known
    ("9223372036854775807 + limits.days > 0", None),  # an error
]


@pytest.mark.parametrize(("text", "wanted"), ALWAYS)
def test_constant_value(text: str, wanted: bool | None) -> None:
    assert constant_value(ENV.compile(text), CONSTANTS) is wanted


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), ["a", 1], datetime(2026, 1, 1), None]
)
def test_a_constant_that_is_none_of_cels_is_left_to_the_facts(value: object) -> None:
    tree = python_of(ENV.compile("limits.share < 1.0"), {"limits.share": value})
    assert tree is not None
    assert ast.unparse(tree) == "f['limits.share'] < 1.0"


def test_a_moment_may_be_a_constant() -> None:
    tree = python_of(
        ENV.compile("now < pass.valid_until"), {"pass.valid_until": datetime(2026, 1, 1, tzinfo=UTC)}
    )
    assert tree is not None
    assert compiled(ast.Expression(tree), {"now": datetime(2025, 1, 1, tzinfo=UTC)}) is True


def test_every_form_is_tried() -> None:
    assert set(VARIABLES.values()) == set(CelType)
    trees = [ENV.compile(text).tree for _, _, text in TRIED]
    assert {node.overload for tree in trees for node in walk(tree) if isinstance(node, Call)} == set(FORMS)
