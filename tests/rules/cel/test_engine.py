"""What expressions are taken, what they mean, and what their values are."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.cel import MAX_LIST, MAX_STRING, CelErrors, CelType, Environment, EvaluationFailed
from rules.cel.tree import Call, Constant, Ident, Items, Loop, show, walk
from rules.cel.wire import WireError, decode
from tests.rules.cel.village import CONSTANTS, ENV, VALUES, VARIABLES

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FACTS: Mapping[str, Any] = {
    "pass.kind": "resident",
    "pass.found": True,
    "pass.days_left": 5,
    "pass.valid_until": NOON + timedelta(days=5),
    "pass.entrances": ["west", "north"],
    "passage.entrance": "west",
    "passage.direction": "in",
    "passage.confidence": 0.75,
    "passage.distance": 1.0,
    "site.inside": 7,
    "site.open": False,
    "now": NOON,
    **CONSTANTS,
}

VALUE = [
    ('pass.kind == "resident" && pass.found', True),
    ("pass . found", True),
    (".pass.found", True),
    ("pass.found // whatever\n && site.open", False),
    ("pass.days_left * 2 + 1", 11),
    ("-site.inside / 2", -3),
    ("passage.confidence / 0.0", float("inf")),
    ('pass.kind + "北"', "resident北"),
    ("now", NOON),
    ('now + duration("90m") > pass.valid_until', False),
    ('now.getHours("Asia/Shanghai")', 20),
    ('now.getHours("+08:00") == now.getHours() + 8', True),
    ('pass.entrances.filter(one, one.startsWith("w"))', ["west"]),
    ("pass.entrances.exists(one, one == passage.entrance)", True),
    ('pass.entrances.exists_one(one, one.contains("t")) && !pass.entrances.all(one, one == "west")', False),
    ('pass.kind.matches("^res.*t$")', True),
    ('{"resident": 3, "visitor": 1}[pass.kind] > 2', True),
    ('passage.entrance in groups.west ? "yes" : "no"', "yes"),
    ("site.inside / 0 == 1 || pass.found", True),  # an error that decides nothing
    ("site.inside / 0 == 1 && site.open", False),
    ("size(pass.kind)", 8),
]


@pytest.mark.parametrize(("text", "wanted"), VALUE)
def test_value(text: str, wanted: object) -> None:
    expression = ENV.compile(text)
    value = expression.evaluate(FACTS)
    assert value == wanted
    assert type(value) is type(wanted)
    assert expression.text == text


RETURNS = [
    ("pass.found", CelType.BOOL),
    ("1", CelType.INT),
    ("0.5", CelType.DOUBLE),
    ('"a"', CelType.STRING),
    ("pass.entrances", CelType.STRINGS),
    ("now", CelType.TIME),
]


@pytest.mark.parametrize(("text", "wanted"), RETURNS)
def test_returns(text: str, wanted: CelType) -> None:
    assert ENV.compile(text).returns is wanted


NAMES = [
    ("true", set()),
    ("pass.found && limits.strict", {"pass.found", "limits.strict"}),
    ('pass.entrances.exists(one, one == "a")', {"pass.entrances"}),
    (
        "pass.entrances.exists(one, one == pass.kind) || pass.found",
        {"pass.entrances", "pass.kind", "pass.found"},
    ),
    ("type(site.inside) == int", {"site.inside"}),
]


@pytest.mark.parametrize(("text", "wanted"), NAMES)
def test_names(text: str, wanted: set[str]) -> None:
    assert ENV.compile(text).names == wanted


FAILS = [
    ("site.inside / (pass.days_left - 5) == 1", "divides by zero"),
    ("9223372036854775807 + site.inside > 0", "a whole number leaves the range of 64 bits"),
    ('pass.entrances[9] == "a"', "asks for a place that the list has not"),
    ('{"a": 1}[pass.kind] == 1', "asks for a key that the map has not"),
    ('{pass.kind: 1, "resident": 2}[pass.kind] == 1', "gives a map the same key twice"),
    ("timestamp(pass.kind) < now", "String to Timestamp conversion failed"),
]


@pytest.mark.parametrize(("text", "message"), FAILS)
def test_an_evaluation_that_fails_says_why(text: str, message: str) -> None:
    with pytest.raises(EvaluationFailed) as failed:
        ENV.compile(text).evaluate(FACTS)
    assert failed.value.message == message
    assert failed.value.zh


UNFIT = [
    ("pass.found", 1, "is int, not bool"),
    ("pass.found", None, "is NoneType, not bool"),
    ("pass.days_left", True, "is bool, not int"),
    ("pass.days_left", 2**63, "is beyond 64 bits"),
    ("pass.days_left", 1.0, "is float, not int"),
    ("passage.confidence", "1", "is str, not double"),
    ("passage.confidence", 10**400, "has no value"),
    ("pass.kind", b"a", "is bytes, not string"),
    ("pass.kind", "a\0b", "has a NUL in it"),
    ("pass.kind", "\ud800", "is no valid text"),
    ("pass.kind", "a" * (MAX_STRING + 1), "is longer than 1000 characters"),
    ("pass.entrances", {"a"}, "is set, not list(string)"),
    ("pass.entrances", ["a", 1], "is no list of texts"),
    ("pass.entrances", ["a"] * (MAX_LIST + 1), "has more than 1000 values"),
    ("now", datetime(2026, 1, 1), "is a time without its zone"),
    ("now", "2026-01-01", "is str, not timestamp"),
]


@pytest.mark.parametrize(("name", "value", "why"), UNFIT)
def test_a_value_that_is_not_of_its_type(name: str, value: object, why: str) -> None:
    returned = ENV.compile(name)
    with pytest.raises(EvaluationFailed) as failed:
        returned.evaluate({name: value})
    assert failed.value.message == f"{name}: {why}"
    with pytest.raises(EvaluationFailed):
        returned.evaluate({})
    if returned.returns is CelType.BOOL:
        assert ENV.compile(f"{name} || true").evaluate({name: value}) is True


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("passage.confidence", 1, 1.0),
        ("pass.entrances", ("a", "b"), ["a", "b"]),
        ("now", datetime(2026, 5, 1, 20, tzinfo=timezone(timedelta(hours=8))), NOON),
        ("pass.kind", CelType.BOOL, "bool"),
    ],
)
def test_a_value_that_is_as_good(name: str, value: object, wanted: object) -> None:
    assert ENV.compile(name).evaluate({name: value}) == wanted


@given(st.data())
def test_a_value_comes_back_as_it_was(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(VARIABLES)))
    value = data.draw(VALUES[VARIABLES[name]])
    assert repr(ENV.compile(name).evaluate({name: value})) == repr(value)


def test_reads_nothing_but_its_names() -> None:
    class Told(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

        def __iter__(self) -> Iterator[str]:
            raise AssertionError

    asked: list[str] = []
    assert ENV.compile("pass.found && limits.strict").evaluate(Told(FACTS)) is True
    assert sorted(asked) == ["limits.strict", "pass.found"]


def test_a_mapping_that_raises_is_a_value_that_is_missing() -> None:
    class Broken(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            raise RuntimeError(name)

    with pytest.raises(EvaluationFailed, match=r"pass\.found: has no value"):
        ENV.compile("pass.found").evaluate(Broken())


@pytest.mark.parametrize("name", ["", "a b", "a.", ".a", "1a", "a-b", "北", "a..b"])
def test_a_name_that_nothing_could_ask_for(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a variable"):
        Environment({name: CelType.INT})


def test_several_threads_may_share_an_expression() -> None:
    expression = ENV.compile("pass.days_left * 2 > site.inside && pass.kind in groups.west")
    found: list[object] = []

    def ask(inside: int) -> None:
        facts = {**FACTS, "site.inside": inside, "pass.kind": "west"}
        found.extend(expression.evaluate(facts) is (inside < 10) for _ in range(300))

    threads = [threading.Thread(target=ask, args=(inside,)) for inside in (0, 9, 10, 99)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 1200
    assert all(found)


# --- the tree ---------------------------------------------------------------------------------------------

SHOWN = [
    ("pass.found&&!(site.open)", "pass.found && !site.open"),
    ("(1+2)*3 == site.inside", "((1 + 2) * 3) == site.inside"),
    ("pass.found ? 1 : -2", "pass.found ? 1 : -2"),
    ('pass.kind in ["a",r"\\d"]', 'pass.kind in ["a", "\\\\d"]'),
    ('pass.kind.startsWith("北")', 'startsWith(pass.kind, "北")'),
    ("size(pass.entrances) > 0", "size(pass.entrances) > 0"),
    ('pass.entrances[0] == "a"', 'pass.entrances[0] == "a"'),
    ('has({"a": 1}.a)', 'has({"a": 1}.a)'),
    ("passage.confidence<1.5e3", "passage.confidence < 1500.0"),
    ("b'\\377' == b'' || null == null || 1u < 2u", "(b'\\xff' == b'' || null == null) || 1 < 2"),
    ("true", "true"),
]


@pytest.mark.parametrize(("text", "wanted"), SHOWN)
def test_tree_in_short(text: str, wanted: str) -> None:
    shown = show(ENV.compile(text).tree)
    assert shown.replace("(", "").replace(")", "") == wanted.replace("(", "").replace(")", "")


def test_tree_in_full() -> None:
    tree = ENV.compile('"北" == pass.kind &&\n site.inside < -9223372036854775808').tree
    assert tree == Call(
        "_&&_",
        "logical_and",
        (
            Call("_==_", "equals", (Constant("北", "string"), Ident("pass.kind", "string")), "bool"),
            Call("_<_", "less_int64", (Ident("site.inside", "int"), Constant(-(2**63), "int")), "bool"),
        ),
        "bool",
    )
    places = {show(node): node.position for node in walk(tree) if not isinstance(node, Call)}
    assert places == {'"北"': 0, "pass.kind": 11, "site.inside": 25, "-9223372036854775808": 35}


def test_tree_of_a_loop() -> None:
    tree = ENV.compile('pass.entrances.exists(one, one == "a")').tree
    assert isinstance(tree, Loop)
    assert (tree.variable, show(tree.range), tree.type) == ("one", "pass.entrances", "bool")
    assert Call("_==_", "equals", (Ident("one", "string"), Constant("a", "string")), "bool") in list(
        walk(tree)
    )


def test_tree_of_lists_and_types() -> None:
    tree = ENV.compile('["a", pass.kind]').tree
    assert tree == Items((Constant("a", "string"), Ident("pass.kind", "string")), "list(string)")


def serialized() -> bytes:
    from cel_expr_python import cel

    env = cel.NewEnv(variables={"s": cel.Type.STRING, "l": cel.Type.List(cel.Type.STRING)})
    text = (
        'l.exists(x, x == s) && {"a": 1.5}[s] < 2.0 || s.size() in [1, 2] && -1 < 1'
        ' && has({"a": b"1"}.a) && 1u < 2u'
    )
    data: bytes = env.compile(text).serialize()
    return data


@given(st.data())
def test_bytes_that_are_damaged_are_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(serialized())
    decode(bytes(whole))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    try:
        tree = decode(bytes(cut))
    except WireError:
        return
    assert list(walk(tree))


@given(st.binary(max_size=60))
def test_bytes_that_are_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_bytes_that_go_too_deep_are_refused() -> None:
    def field(number: int, body: bytes) -> bytes:
        size, head = len(body), bytearray([number << 3 | 2])
        while size > 127:
            head.append(size & 127 | 128)
            size >>= 7
        return bytes([*head, size]) + body

    expr = field(4, field(1, b"x"))
    for _ in range(1000):
        expr = field(6, field(2, b"!_") + field(3, expr))
    url = b"type.googleapis.com/cel.expr.CheckedExpr"
    with pytest.raises(WireError, match="too deep"):
        decode(field(1, url) + field(2, field(4, expr)))


def test_errors_of_a_text_are_told_together() -> None:
    with pytest.raises(CelErrors) as refused:
        ENV.compile("pas.kind == 1 &&\n pass.days_left < 0.5 && site.inside == 'a'")
    found = [(one.line, one.column, str(one.kind), one.name) for one in refused.value.errors]
    assert found == [(1, 1, "name", "pas.kind"), (2, 17, "type", ""), (2, 38, "type", "")]
    assert str(refused.value).startswith("1:1: no fact is called 'pas.kind'; 2:17: '<' compares")
