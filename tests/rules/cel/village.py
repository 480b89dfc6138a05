"""A dozen facts that the tests ask about, values for them, and well-typed expressions over them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from rules.cel import CelType, Environment

VARIABLES: Mapping[str, CelType] = {
    "pass.kind": CelType.STRING,
    "pass.found": CelType.BOOL,
    "pass.days_left": CelType.INT,
    "pass.valid_until": CelType.TIME,
    "pass.entrances": CelType.STRINGS,
    "passage.entrance": CelType.STRING,
    "passage.direction": CelType.STRING,
    "passage.confidence": CelType.DOUBLE,
    "passage.distance": CelType.DOUBLE,
    "site.inside": CelType.INT,
    "site.open": CelType.BOOL,
    "now": CelType.TIME,
    "limits.days": CelType.INT,
    "limits.share": CelType.DOUBLE,
    "limits.strict": CelType.BOOL,
    "limits.word": CelType.STRING,
    "groups.west": CelType.STRINGS,
    "groups.nobody": CelType.STRINGS,
}
CONSTANTS: Mapping[str, Any] = {
    "limits.days": 3,
    "limits.share": 0.5,
    "limits.strict": True,
    "limits.word": "west",
    "groups.west": ["west", "west2"],
    "groups.nobody": [],
}
FACTS = tuple(name for name in VARIABLES if name not in CONSTANTS)
ENV = Environment(VARIABLES)

WORDS = (
    "",
    "in",
    "out",
    "west",
    "west2",
    "resident",
    "visitor",
    "津A12345",
    "京",
    "\U0001f600",
    "\uffff",
    "a\u0301",
)
_TEXTS = st.sampled_from(WORDS)
_EDGES = (-(2**63), -(2**63) + 1, -2, -1, 0, 1, 2, 3, 4, 2**31, 2**62, 2**63 - 1)
_MOMENTS = (
    "1970-01-01T00:00:00Z",
    "1901-12-13T20:45:52Z",
    "2026-01-01T00:00:00Z",
    "2026-01-01T08:00:00+08:00",
    "2026-01-01T00:00:00.000001Z",
    "2026-06-30T23:59:59.5-03:30",
    "2100-02-28T12:00:00Z",
)
SOME: Mapping[CelType, tuple[Any, ...]] = {
    CelType.BOOL: (False, True),
    CelType.INT: _EDGES,
    CelType.DOUBLE: (
        *(0.0, -0.0, 0.5, 0.25, 1.0, -1.0, 1e308, -1e308, 5e-324),
        *(float("inf"), -float("inf"), float("nan")),
    ),
    CelType.STRING: WORDS,
    CelType.STRINGS: ([], [""], ["west"], ["in", "out", "west2"]),
    CelType.TIME: tuple(datetime.fromisoformat(one).astimezone(UTC) for one in _MOMENTS),
}
VALUES: Mapping[CelType, st.SearchStrategy[Any]] = {
    **{type_: st.sampled_from(values) for type_, values in SOME.items()},
    CelType.STRINGS: st.lists(_TEXTS, max_size=4),
}


def facts() -> st.SearchStrategy[dict[str, Any]]:
    """Values for all facts, or for some."""
    whole = {name: VALUES[VARIABLES[name]] for name in FACTS}
    return st.one_of(st.fixed_dictionaries(whole), st.fixed_dictionaries({}, optional=whole))


def literal(type_: CelType) -> st.SearchStrategy[str]:
    """A constant of a type, as it is written."""
    return {
        CelType.BOOL: st.sampled_from(("true", "false")),
        CelType.INT: st.sampled_from([str(one) for one in _EDGES]),
        CelType.DOUBLE: st.sampled_from(("0.0", "-0.0", "0.5", "1.0", "-1.0", "1e308", "1e999")),
        CelType.STRING: _TEXTS.map(lambda one: f'"{one}"'),
        CelType.STRINGS: st.lists(_TEXTS.map(lambda one: f'"{one}"'), min_size=1, max_size=3).map(
            lambda many: f"[{', '.join(many)}]"
        ),
        CelType.TIME: st.sampled_from([f'timestamp("{one}")' for one in _MOMENTS]),
    }[type_]


def atom(type_: CelType) -> st.SearchStrategy[str]:
    """A fact, a parameter or a constant of a type."""
    named = st.sampled_from([name for name, one in VARIABLES.items() if one is type_])
    return st.one_of(named, named, literal(type_))


_COMPARED = (CelType.INT, CelType.DOUBLE, CelType.STRING, CelType.TIME)


@st.composite
def expressions(draw: st.DrawFn, type_: CelType = CelType.BOOL, depth: int = 3) -> str:
    """A well-typed expression of a type."""

    def of(wanted: CelType) -> str:
        return draw(expressions(wanted, depth - 1))

    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(atom(type_))
    if draw(st.integers(0, 9)) == 0 and type_ is not CelType.STRINGS:
        return f"({of(CelType.BOOL)} ? {of(type_)} : {of(type_)})"
    match type_:
        case CelType.BOOL:
            return _condition(draw, of)
        case CelType.INT:
            form = draw(
                st.sampled_from(
                    (*(f"({{0}} {sign} {{1}})" for sign in "+-*/%"), "-({0})", "size({2})", "({3}).size()")
                )
            )
        case CelType.DOUBLE:
            form = draw(
                st.sampled_from((*(f"({{0}} {sign} {{1}})" for sign in "+-*/"), "-({0})", "double({4})"))
            )
        case CelType.STRING:
            form = "({0} + {1})"
        case CelType.TIME:
            form = '({0} + duration("90m"))'
        case CelType.STRINGS:
            form = draw(
                st.sampled_from(("[{2}, {2}]", "({0} + {1})", "({0}).filter(one, one != limits.word)"))
            )
    wanted = (type_, type_, CelType.STRING, CelType.STRINGS, CelType.INT)
    return form.format(*(of(one) if f"{{{index}}}" in form else "" for index, one in enumerate(wanted)))


def _condition(draw: st.DrawFn, of: Any) -> str:
    form = draw(
        st.sampled_from(
            ("&&", "||", "&&", "||", "!", "compare", "compare", "compare", "equal", "in", "text", "loop")
        )
    )
    if form in ("&&", "||"):
        return f"({of(CelType.BOOL)} {form} {of(CelType.BOOL)})"
    if form == "!":
        return f"!({of(CelType.BOOL)})"
    if form == "compare":
        one = draw(st.sampled_from(_COMPARED))
        return f"({of(one)} {draw(st.sampled_from(('<', '<=', '>', '>=')))} {of(one)})"
    if form == "equal":
        one = draw(st.sampled_from((CelType.BOOL, *_COMPARED)))
        return f"({of(one)} {draw(st.sampled_from(('==', '!=')))} {of(one)})"
    if form == "in":
        one = draw(
            st.sampled_from((CelType.STRING, CelType.STRING, CelType.INT, CelType.DOUBLE, CelType.BOOL))
        )
        if one is CelType.STRING and draw(st.booleans()):
            return f"({of(one)} in {of(CelType.STRINGS)})"
        many = draw(st.lists(literal(one) if draw(st.booleans()) else atom(one), max_size=3))
        return f"({of(one)} in [{', '.join(many)}])"
    if form == "loop":
        macro = draw(st.sampled_from(("exists", "all", "exists_one")))
        return f"({of(CelType.STRINGS)}).{macro}(one, one == {draw(atom(CelType.STRING))})"
    method = draw(st.sampled_from(("startsWith", "endsWith", "contains")))
    return f"({of(CelType.STRING)}).{method}({of(CelType.STRING)})"
