"""Policy files that cannot be used, and what is said of them: the place, what is wrong, what to do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.config.errors import ConfigErrors, Problem
from gated.policy import default_text, load
from rules import decide
from tests.rules.policies import HEAD, LAST, SITE, policy_of
from tests.rules.test_decide import NOON, VALID, facts

# name: rules (a line each), what stands before them, what is said: "line:column path: message" and the hint
WRONG: dict[str, tuple[str, str, str, str]] = {
    "an unknown fact": (
        "{id: a, when: pass.kinds == 'x', then: deny, say: no}",
        "",
        "4:19 rules[0] (a).when: no fact is called 'pass.kinds'",
        "did you mean 'pass.kind'",
    ),
    "wrong types": (
        "{id: a, when: passage.confidence < 1, then: deny, say: no}",
        "",
        "4:38 rules[0] (a).when: '<' compares",
        "1.0",
    ),
    "a text without quotes": (
        "{id: a, when: pass.kind == tenant, then: deny, say: no}",
        "",
        "4:32 rules[0] (a).when: no fact is called 'tenant'",
        "a text stands in quotes: 'tenant'",
    ),
    "a condition that begins with a bang": (
        "{id: a, when: !pass.live, then: deny, say: no}",
        "",
        "4:19 : the tag !pass.live is not allowed here",
        "stands in quotes",
    ),
    "an hour without its zero": (
        "{id: a, when: time.clock < '5:00', then: deny, say: no}",
        "",
        "4:33 rules[0] (a).when: '5:00' is no time of day",
        "'05:00'",
    ),
    "a direction that there is not": (
        "{id: a, when: passage.direction == 'exit', then: deny, say: no}",
        "",
        "4:41 rules[0] (a).when: 'exit' is not one of: in, out",
        "",
    ),
    "no condition": (
        "{id: a, when: presence.entries, then: deny, say: no}",
        "",
        "4:19 rules[0] (a).when: gives",
        "compare it",
    ),
    "a bad regular expression": (
        "{id: a, when: \"pass.kind.matches('(a')\", then: deny, say: no}",
        "",
        "4:",
        "",
    ),
    "an unknown fact in a sentence": (
        "{id: a, when: pass.live, then: deny, say: '{pass.kin}'}",
        "",
        "4:",
        "did you mean 'pass.kind'",
    ),
    "a sentence with half a brace": ("{id: a, when: pass.live, then: deny, say: 'x { y'}", "", "4:", "{{"),
    "no sentence": ("{id: a, when: pass.live, then: deny}", "", "4:5 rules[0] (a): has no sentence", ""),
    "an alert rule without an alert": (
        "{id: a, when: pass.live, then: alert, say: x}",
        "",
        "4:5 rules[0] (a): only alerts",
        "",
    ),
    "an outcome that there is not": (
        "{id: a, then: open, say: x}",
        "",
        "4:13 rules[0] (a).then: 'open' is not one of",
        "",
    ),
    "the same id twice": (
        "{id: a, when: pass.live, then: deny, say: x}\n{id: a, when: pass.here, then: deny, say: x}",
        "",
        "5:6 rules[1] (a).id: the id 'a' is taken by rules[0]",
        "",
    ),
    "an unknown key": (
        "{id: a, wen: pass.live, then: grant}",
        "",
        "4:13 rules[0] (a).wen: unknown key",
        "did you mean 'when'",
    ),
    "an entrance that there is not": (
        "{id: a, when: pass.live, then: grant, only: {entrances: wst}}",
        "",
        "4:",
        "did you mean 'west'",
    ),
    "a scope that fits no lane": (
        "{id: a, when: pass.live, then: grant, only: {entrances: west, direction: out}}",
        "",
        "4:43 rules[0] (a).only: fits no lane",
        "",
    ),
    "a grid that there is not": (
        "{id: a, when: pass.live, then: grant, say: x, alert: {severity: info, route: g9}}",
        "",
        "4:",
        "there are: g1, village",
    ),
    "a rule behind one that takes everything": (
        "{id: a, then: deny, say: x}\n{id: b, when: pass.live, then: grant}",
        "",
        "5:19 rules[1] (b).when: is never reached: 'a' before it takes every case",
        "move it up",
    ),
    "a rule behind a wider one": (
        "{id: a, when: pass.live, then: deny, say: x}\n{id: b, when: pass.live && pass.here, then: grant}",
        "",
        "5:19 rules[1] (b).when: is never reached: 'a' before it",
        "",
    ),
    "a rule behind two that share all": (
        """{id: a, when: passage.direction == 'in', then: deny, say: x}
        {id: b, when: passage.direction == 'out', then: deny, say: x}
        {id: c, when: pass.live, then: grant}""",
        "",
        "6:19 rules[2] (c).when: can never hold",
        "",
    ),
    "a condition that contradicts itself": (
        "{id: a, when: pass.kind == 'x' && pass.kind == 'y', then: grant}",
        "",
        "4:19 rules[0] (a).when: can never hold",
        "",
    ),
    "the decision before it is made": (
        "{id: a, when: decision.outcome == 'deny', then: grant}",
        "",
        "4:19 rules[0] (a).when: no fact is called 'decision.outcome'",
        "only rules that alert",
    ),
    "a limit elsewhere that there is not": (
        "{id: a, when: pass.live, then: grant}",
        "limits: {days: 3}\nelsewhere: [{only: {entrances: west}, limits: {day: 1}}]\n",
        "4:",
        "did you mean 'days'",
    ),
    "a limit elsewhere of another type": (
        "{id: a, when: pass.live, then: grant}",
        "limits: {days: 3}\nelsewhere: [{only: {entrances: west}, limits: {days: three}}]\n",
        "4:",
        "",
    ),
    "hours that there are not": (
        "{id: a, when: calendar.night, then: grant}",
        "calendar: {night: {hours: 22-05}}\n",
        "3:",
        "",
    ),
    "a day that there is not": (
        "{id: a, when: calendar.x, then: grant}",
        "calendar: {x: {dates: 2026-02-30}}\n",
        "3:",
        "",
    ),
}


@pytest.mark.parametrize(("rules", "head", "said", "hint"), WRONG.values(), ids=[*WRONG])
def test_says_what_is_wrong_and_where(rules: str, head: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        policy_of(rules, head)
    first = caught.value.problems[0]
    assert f"{first.line}:{first.column} {first.path}: {first.message}".startswith(said), str(first)
    assert hint in first.hint, str(first)
    others = [one for one in caught.value.problems[1:] if "(otherwise)" not in one.path]  # which LAST adds
    assert others == [], str(caught.value)


def test_a_policy_that_can_end_undecided() -> None:
    with pytest.raises(ConfigErrors, match="can end undecided"):
        policy_of("{id: a, when: pass.live, then: grant}", last="")
    policy_of(
        "{id: a, when: pass.live, then: grant}\n{id: b, when: '!pass.live', then: refer, say: x}", last=""
    )


def test_every_direction_decided_is_decided() -> None:
    rules = (
        "{id: a, when: passage.direction == 'in', then: refer, say: x}\n"
        "{id: b, when: passage.direction == 'out', then: grant}"
    )
    policy_of(rules, last="")


def test_a_rule_reached_at_one_lane_only_is_reached() -> None:
    policy_of("{id: a, then: grant, only: {entrances: west}}\n{id: b, when: pass.live, then: grant}")


def test_the_place_inside_a_condition_of_several_lines() -> None:
    rule = "  - id: a\n    when: |\n      pass.live\n        && pass.knd == 'x'\n    then: grant\n"
    text = f"{HEAD}rules:\n{rule}{LAST}"
    with pytest.raises(ConfigErrors) as caught:
        load(text, SITE, name="p.yaml")
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (7, 12)


WORDS = [
    "",
    "  - ",
    "rules:",
    "when: ",
    "{",
    "}",
    "'",
    "\n",
    ": ",
    "&&",
    "pass.live",
    "\t",
    "\0",
    "9" * 30,
]


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 60), st.sampled_from(WORDS)), max_size=3)
)
def test_whatever_is_in_the_file_is_told_as_problems(cuts: list[tuple[int, int, str]]) -> None:
    text = default_text()
    for start, length, word in cuts:
        text = text[:start] + word + text[start + length :]
    problems: list[Problem] = []
    try:
        decide(load(text, SITE, name="policy.yaml"), facts(VALID), NOON)
    except ConfigErrors as errors:
        problems = [*errors.problems] or [Problem("", 0, 0, "", "nothing is said")]
    assert all(one.line >= 1 and one.message for one in problems)


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        policy_of("{id: a, when: pass.x, then: grant}\n{id: b, when: pass.y && pass.z, then: grant}")
    assert [one.line for one in caught.value.problems] == [4, 5, 5]
