"""Every mistake that an operator may make, and what it is called."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.cel import MAX_LIST, MAX_STRING, MAX_TEXT, CelError, CelErrors, EvaluationFailed, Kind
from rules.cel.errors import explained
from rules.cel.slips import slip
from tests.rules.cel.village import CONSTANTS, ENV, FACTS

N, F, T, S, V, L = Kind.NAME, Kind.FUNCTION, Kind.TYPE, Kind.SYNTAX, Kind.VALUE, Kind.LIMIT
OPEN = "something is missing after the last operator, or a bracket is still open"
DEEP = "split it into several rules, or write `x in [...]` for a chain of comparisons"
LONG = "split it into several rules, or put a long list into a group"
COMPARE = "compare it with something"
LOOK = "write exists, all or filter with a condition"
MISTAKES = [
    # names
    ("pass.kin == 'a'", 1, 1, N, "no fact is called 'pass.kin'", ""),
    ("pass.found && pas", 1, 15, N, "no fact is called 'pas'", ""),
    ("pass.kind.name == 'a'", 1, 10, N, "no fact is called 'pass.kind.name'", ""),
    ("pass.found && true.x", 1, 19, N, "no fact is called 'true.x'", ""),
    (
        "has(pass.kind)",
        1,
        4,
        L,
        "has() says nothing of a fact: it always has a value",
        "compare it: pass.kind == ...",
    ),
    ("True && pass.found", 1, 1, S, "'True' is written true", ""),
    ("if(pass.found)", 1, 1, S, "'if' is a word that CEL keeps for itself", ""),
    # functions
    ("len(pass.kind) > 1", 1, 1, F, "there is no function 'len'", "it is called size here"),
    ("pass.kind.lower() == 'a'", 1, 11, F, "there is no function 'lower'", ""),
    ("math.abs(site.inside) > 1", 1, 6, F, "there is no function 'abs'", ""),
    (
        "pass.entrances.any(one, one == 'a')",
        1,
        16,
        F,
        "there is no function 'any'",
        "it is called exists here",
    ),
    (
        "pass.entrances.all(i, one, one == 'a')",
        1,
        16,
        F,
        "'all' is not given what it needs",
        "write list.all(one, condition)",
    ),
    (
        "pass.kind.startsWith()",
        1,
        11,
        F,
        "'startsWith' is not given what it needs",
        'write text.startsWith("津")',
    ),
    ("not(pass.found)", 1, 1, S, "'not' is written !", ""),
    (
        "pass.entrances.exists(1, true)",
        1,
        23,
        S,
        "'exists' wants a name here for what it goes through",
        'for example: pass.entrances.exists(one, one == "west")',
    ),
    # types
    (
        "passage.confidence < 1",
        1,
        20,
        T,
        "'<' compares a number with decimals (double) with a whole number (int)",
        "write 1.0 for 1, or double(...) around the whole number",
    ),
    (
        "site.inside == '3'",
        1,
        13,
        T,
        "'==' compares a whole number (int) with a text (string)",
        "write a number without quotes, a text with quotes",
    ),
    (
        "pass.found == 'true'",
        1,
        12,
        T,
        "'==' compares a yes-or-no value (bool) with a text (string)",
        "write true and false without quotes",
    ),
    (
        "now > '2026-01-01'",
        1,
        5,
        T,
        "'>' compares a moment (timestamp) with a text (string)",
        'write a moment as timestamp("2026-01-01T00:00:00+08:00")',
    ),
    (
        "now - 3 > pass.valid_until",
        1,
        5,
        T,
        "'-' does not go with a moment (timestamp) and a whole number (int)",
        'write a length of time as duration("90m")',
    ),
    (
        "pass.kind == null",
        1,
        11,
        T,
        "'==' compares a text (string) with null",
        'a fact always has a value; compare it with "", 0 or false',
    ),
    (
        "1 < site.inside < 3",
        1,
        17,
        T,
        "'<' compares a yes-or-no value (bool) with a whole number (int)",
        "compare twice: 1 < x && x < 3",
    ),
    (
        "pass.found && site.inside",
        1,
        12,
        T,
        "'&&' wants conditions, and is given a whole number (int)",
        COMPARE,
    ),
    ("!pass.kind", 1, 1, T, "'!' wants conditions, and is given a text (string)", COMPARE),
    (
        "site.inside ? 1 : 2",
        1,
        13,
        T,
        "'?' wants a condition before it, and is given a whole number (int)",
        COMPARE,
    ),
    (
        "pass.found ? 1 : 'a'",
        1,
        12,
        T,
        "'?' chooses between a whole number (int) and a text (string)",
        "both must be of one type",
    ),
    (
        "'a' in pass.kind",
        1,
        5,
        T,
        "'in' looks for a text (string) in a text",
        "write text.contains(...) for a part of a text",
    ),
    ("1 in site.inside", 1, 3, T, "'in' looks into a whole number (int)", 'write a list: x in ["a", "b"]'),
    (
        "1 in pass.entrances",
        1,
        3,
        T,
        "'in' looks for a whole number (int) in a list of texts",
        "both must be of one type",
    ),
    ("pass.entrances['a'] == 'b'", 1, 15, T, "a list of texts has no place called a text (string)", ""),
    ("size(site.inside) > 1", 1, 5, T, "'size' is given a whole number (int)", ""),
    ("-pass.kind == 'a'", 1, 1, T, "'-' is given a text (string)", ""),
    ("has(pass.kind.a)", 1, 4, T, "a text (string) has no parts", ""),
    ("[1, 'a'].size() > 1", 1, 1, L, "mixes values of several types", "give all of them one type"),
    (
        "dyn(site.inside) == 1.0",
        1,
        4,
        L,
        "dyn() is not used here: types are checked beforehand",
        "leave it out",
    ),
    ("now - now", 1, 1, T, "gives a length of time (duration), of which nothing can be made", COMPARE),
    ("[1, 2]", 1, 1, T, "gives a list of whole numbers, of which nothing can be made", COMPARE),
    # syntax
    ("pass.kind = 'a'", 1, 11, S, "'=' is written ==", ""),
    ("pass.kind === 'a'", 1, 11, S, "'===' is written ==", ""),
    ("site.inside <> 1", 1, 13, S, "'<>' is written !=", ""),
    ("site.inside =< 1", 1, 13, S, "'=<' is written <=", ""),
    ("pass.found and site.open", 1, 12, S, "'and' is written &&", ""),
    ("pass.found OR site.open", 1, 12, S, "'OR' is written ||", ""),
    ("not pass.found", 1, 1, S, "'not' is written !", ""),
    ("pass.found & site.open", 1, 12, S, "'&' is written &&", ""),
    ("pass.kind is 'a'", 1, 11, S, "'is' is written ==", ""),
    ("pass.kind contains 'a'", 1, 11, S, "'contains' stands behind a dot", 'write text.contains("...")'),
    ("site.inside between 1 and 2", 1, 13, S, "there is no 'between'", "write 1 <= x && x <= 3"),
    ("site.inside in (1, 2)", 1, 18, S, "a list has square brackets", "write x in [1, 2]"),
    ("pass.kind == “a”", 1, 14, S, "'“' is of the Chinese keyboard", 'write "'),
    ("pass.kind ＝ 'a'", 1, 11, S, "'＝' is of the Chinese keyboard", "write =="),
    ("（pass.found）", 1, 1, S, "'（' is of the Chinese keyboard", "write ("),
    ("pass.kind == 'a", 1, 14, S, "a text that does not end", "close the quotes"),
    (
        "pass.kind == 'a\\d'",
        1,
        14,
        S,
        "a backslash before what needs none",
        "write \\\\ for a backslash, or r before the quotes",
    ),
    ("pass.found # why", 1, 12, S, "a comment begins with //", "write // instead of #"),
    ("pass.found;", 1, 11, S, "';' does not belong here", "leave it out"),
    ("(pass.found", 1, 12, S, "')' is missing here", ""),
    ("pass.found)", 1, 11, S, "')' is not expected here", ""),
    ("pass.kind.contains 'a'", 1, 20, S, "'a' is not expected here", ""),
    ("pass.found\u00a0&& site.open", 1, 11, S, "'U+00A0' is not expected here", ""),
    ("pass.found &&\u200b site.open", 1, 14, S, "'U+200B' is not expected here", ""),
    ("", 1, 1, S, "ends too early", OPEN),
    ("pass.found &&\n ", 2, 2, S, "ends too early", OPEN),
    ("pass.found\0", 1, 11, S, "an invisible character (U+0000)", "delete it"),
    ("pass.kind ==\n '\ud800'", 2, 3, S, "an invisible character (U+D800)", "delete it"),
    # values
    ("site.inside == 99999999999999999999", 1, 16, V, "the number does not fit into 64 bits", ""),
    ("pass.kind.matches('(a')", 1, 19, V, '"(a" is no pattern', "missing ): (a"),
    ("matches(pass.kind, 'a{2000}')", 1, 20, V, '"a{2000}" is no pattern', "invalid repetition size: {2000}"),
    ("pass.kind.matches(r'(a)\\1')", 1, 19, V, '"(a)\\\\1" is no pattern', "invalid escape sequence: \\1"),
    ("now < timestamp('tomorrow')", 1, 17, V, '"tomorrow" is no moment', ""),
    ("now - now < duration('2 days')", 1, 22, V, '"2 days" is no length of time', ""),
    ("now.getHours('Asia/Nowhere') == 1", 1, 14, V, '"Asia/Nowhere" is no time zone', ""),
    # bounds
    ("x" * (MAX_TEXT + 1), 1, 1, L, "is longer than 4,000 characters", LONG),
    ("(" * 100 + "true" + ")" * 100, 1, 1, L, "is nested too deeply", DEEP),
    ("+".join(["1"] * 40) + " > 1", 1, 1, L, "is nested too deeply", DEEP),
    (
        "pass.kind.matches(passage.entrance)",
        1,
        18,
        L,
        "the pattern of 'matches' must be written out",
        'write text.matches("^津A"), or use startsWith, contains',
    ),
    ("now.getHours(pass.kind) == 1", 1, 13, L, "the time zone must be written out", 'write "Asia/Shanghai"'),
    (
        "now.getHours('../../etc/passwd') == 1",
        1,
        14,
        L,
        '"../../etc/passwd" is no time zone',
        'write "Asia/Shanghai" or "+08:00"',
    ),
    (
        "now.getHours('localtime') == 1",
        1,
        14,
        L,
        '"localtime" is no time zone',
        'write "Asia/Shanghai" or "+08:00"',
    ),
    ("pass.entrances.map(one, one + one).size() > 1", 1, 19, L, "'map' is not used here", LOOK),
    ("pass.entrances.map(one, one != '', 'a').size() > 1", 1, 19, L, "'map' is not used here", ""),
    ('pass.kind == r"\\"', 1, 14, S, 'CEL says: Invalid string literal: String must end with "', ""),
    (
        "pass.entrances.all(a, pass.entrances.all(b, a == b))",
        1,
        41,
        L,
        "a loop within a loop",
        "write `one in list` for the inner one",
    ),
    (
        "pass.entrances.all(a, a + a == a)",
        1,
        25,
        L,
        "texts and lists are not joined within a loop",
        "compare the parts one by one",
    ),
    ("pass.entrances.all(now, now == 'a')", 1, 19, L, "'now' is the name of a fact", "take another name"),
    (
        "pass.entrances.all(a, " + "||".join(["a == 'b'"] * 50) + ")",
        1,
        19,
        L,
        "loops with more than 40 comparisons",
        "split it into several rules",
    ),
    ("google.protobuf.Timestamp{} < now", 1, 1, L, "cannot be used here: a message is made", ""),
    ("{}.a", 1, 1, L, "an empty map", "leave it out"),
]


@pytest.mark.parametrize(("text", "line", "column", "kind", "message", "hint"), MISTAKES)
def test_mistake(text: str, line: int, column: int, kind: Kind, message: str, hint: str) -> None:
    with pytest.raises(CelErrors) as refused:
        ENV.compile(text)
    first = refused.value.errors[0]
    assert (first.line, first.column, first.kind, first.message) == (line, column, kind, message)
    if hint or kind in (N, F, S):
        assert first.hint == hint
    assert any("\u4e00" <= char <= "\u9fff" for char in first.zh)
    assert bool(first.name) == (kind is N)


def test_an_unknown_loop_does_not_make_its_variable_an_unknown_fact() -> None:
    with pytest.raises(CelErrors) as refused:
        ENV.compile("pass.entrances.any(one, one == pas.kind)")
    assert [one.name or one.message for one in refused.value.errors] == [
        "there is no function 'any'",
        "pas.kind",
    ]


@pytest.mark.parametrize(
    "report",
    ["", "INTERNAL: it is Monday", "INVALID_ARGUMENT: ERROR: <input>:1:1: something new [INVALID_ARGUMENT]"],
)
def test_what_the_engine_may_say_some_day_is_passed_on(report: str) -> None:
    (error,) = explained(report, "text").errors
    assert error.message in ("CEL says: no", "CEL says: INTERNAL: it is Monday", "CEL says: something new")
    assert (error.line, error.column) == (1, 1)


def test_no_slip_in_what_is_right() -> None:
    text = 'pass.kind != "a and b = c" && site.inside >= 3 // or not'
    assert all(slip(text, offset) is None for offset in range(len(text) + 1))


# --- anything at all --------------------------------------------------------------------------------------

SIGNS = """
    ! ( ) [ ] { } , . ? : + - * / % < = “ " ' \\ // @ ` == != >= && || in and true null 1 0.5 1u -1 x
    pass size .size() .matches('a') timestamp( duration('1s') getHours has( dyn( r' b' 'a' 0x 1e999
"""
PIECES = st.sampled_from(
    [
        *FACTS,
        *CONSTANTS,
        *SIGNS.split(),
        ".exists(x, ",
        ".map(x, ",
        ".filter(x, ",
        "\n",
        " ",
        "9" * 20,
        "\ufeff",
        "\u3000",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map("".join),
    st.lists(PIECES, max_size=25).map(" ".join),
)


@settings(max_examples=600, deadline=None)
@given(TEXTS)
def test_any_text_is_taken_or_refused_with_words(text: str) -> None:
    started = time.perf_counter()
    lines = text.split("\n")
    for one in errors_of(text, dict.fromkeys(FACTS, 1)):
        assert one.message
        assert any("\u4e00" <= char <= "\u9fff" for char in one.zh)
        assert 1 <= one.line <= len(lines)
        assert 1 <= one.column <= len(lines[one.line - 1]) + 1
    assert time.perf_counter() - started < 2


def errors_of(text: str, facts: Mapping[str, object]) -> tuple[CelError, ...]:
    """Why a text is not taken; if it is, it is evaluated too."""
    try:
        expression = ENV.compile(text)
    except CelErrors as refused:
        return refused.errors or pytest.fail("refused without a reason")
    with suppress(EvaluationFailed):
        expression.evaluate(facts)
    return ()


LENGTHY = [
    "(" * 4000,
    "[" * 1300 + "]" * 1300,
    "!" * 3999 + "x",
    "-" * 3000 + "1 > 0",
    "&&".join(["pass.found"] * 333),
    "||".join(["pass.kind == 'a'"] * 222),
    "pass.found ? " * 150,
    "pass.kind in [" + ",".join(["'a'"] * 990) + "]",
    "a." * 1999 + "b",
    "a(" * 1333 + ")" * 1333,
    "'" * 3999,
    "\n" * 3999,
    "{" + ",".join(f"{number}: 1" for number in range(450)) + "}[site.inside] == 1",
    "(a+)+$" * 600,
]


@pytest.mark.parametrize("text", LENGTHY, ids=lambda text: text[:12])
def test_long_texts_end_soon(text: str) -> None:
    started = time.perf_counter()
    errors_of(text, {"pass.found": True, "pass.kind": "b", "site.inside": 449})
    assert time.perf_counter() - started < 2


CROWD = {"pass.entrances": ["ab" * (MAX_STRING // 2)] * MAX_LIST, "pass.kind": "ab" * (MAX_STRING // 2)}


def test_an_evaluation_that_goes_on_and_on_is_ended() -> None:
    text = "pass.entrances" + ".filter(one, one != '')" * 11 + ".size() > 0"
    with pytest.raises(EvaluationFailed, match=r"more than 10,000 values"):
        ENV.compile(text).evaluate(CROWD)


def test_the_costliest_evaluation_ends() -> None:
    conditions = "||".join(f"one.matches('(a|b)*{number}c')" for number in range(20))
    started = time.perf_counter()
    assert ENV.compile(f"pass.entrances.exists(one, {conditions})").evaluate(CROWD) is False
    assert ENV.compile("||".join(["pass.kind.matches('(a+)+(b+)+$c')"] * 100)).evaluate(CROWD) is False
    assert time.perf_counter() - started < 5
