"""What holds for every policy and every passage, whatever the rules say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.config.errors import ConfigErrors
from gated.domain import (
    Candidate,
    Credential,
    CredentialKind,
    Direction,
    LaneMode,
    Outcome,
    PassFacts,
    PassState,
    Severity,
)
from rules import Situation, decide
from rules.decide import NEAR_UNCLEAR, RULE_FAILED
from rules.facts import live
from rules.situation import Nothing
from tests.rules.policies import default_policy, policy_of
from tests.rules.test_decide import NOON, PLATE, VALID, facts

CONDITIONS = (
    "pass.live",
    "pass.found",
    "pass.expired",
    "match.kind == 'near'",
    "match.rivals > 0",
    "passage.direction == 'out'",
    "passage.confidence < 0.5",
    "pass.kind.matches('^res')",  # stays with the engine
    "pass.entrances.exists(one, one == passage.entrance)",
    "10 / presence.entries > 2",  # divides by zero where nobody came in yet
    "pass.entrances[0] == 'east'",  # fails where there are none
    "presence.entries_today >= 1 || pass.here",
)
outcomes = st.sampled_from(["grant", "refer", "deny"])


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, str]]:
    """A few rules, none behind one that takes its cases."""
    conditions = draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=5, unique=True))
    return [
        {"id": f"r{index}", "when": condition, "then": draw(outcomes), "say": f"r{index}"}
        for index, condition in enumerate(conditions)
    ]


def written(found: list[dict[str, str]]) -> str:
    import json

    return "\n".join(json.dumps(one) for one in found)


def passes(pass_id: str) -> st.SearchStrategy[PassFacts]:
    return st.builds(
        PassFacts,
        pass_id=st.just(pass_id),
        kind=st.sampled_from(["resident", "tenant"]),
        state=st.sampled_from(PassState),
        valid_from=st.sampled_from([NOON - timedelta(days=9), NOON + timedelta(days=1)]),
        valid_until=st.sampled_from([NOON - timedelta(days=1), NOON + timedelta(days=9)]),
        entrances=st.sampled_from([None, ("east",), ("west",)]),
        hours=st.just(()),
    )


ids = st.lists(st.sampled_from(["P1", "P2", "P3"]), max_size=3, unique=True)


@st.composite
def near(draw: st.DrawFn) -> list[Candidate]:
    return [
        Candidate(draw(passes(one)), draw(st.sampled_from([0.3, 0.5, 1.0])), "5:8→B", f"津A{one}")
        for one in draw(ids)
    ]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    nearly = draw(near())
    return facts(
        direction=draw(st.sampled_from(Direction)),
        credential=draw(st.sampled_from([None, PLATE])),
        confidence=draw(st.none() | st.floats(0, 1)),
        candidates=[Candidate(draw(passes(one))) for one in draw(ids)],
        near=lambda: nearly,
        lane_mode=draw(st.sampled_from(LaneMode)),
    )


@settings(max_examples=60)
@given(found=rules(), situation=situations())
def test_the_same_facts_always_decide_the_same(found: list[dict[str, str]], situation: Situation) -> None:
    policy = policy_of(written(found))
    first = decide(policy, situation, NOON)
    again = decide(policy_of(written(found)), situation, NOON)
    assert first == again == decide(policy, situation, NOON)


@settings(max_examples=60)
@given(
    found=rules(),
    situation=situations(),
    alert=st.sampled_from([*CONDITIONS, "decision.outcome == 'deny'", "decision.reason == 'r0'", "true"]),
    place=st.integers(0, 5),
)
def test_a_rule_that_only_alerts_changes_no_outcome(
    found: list[dict[str, str]], situation: Situation, alert: str, place: int
) -> None:
    before = decide(policy_of(written(found)), situation, NOON)
    one = {"id": "told", "when": alert, "then": "alert", "say": "told", "alert": "info"}
    after = decide(policy_of(written([*found[:place], one, *found[place:]])), situation, NOON)  # type: ignore[list-item]
    assert (after.outcome, after.reason, after.rule_id, after.pass_id, after.explanation) == (
        before.outcome,
        before.reason,
        before.rule_id,
        before.pass_id,
        before.explanation,
    )


@settings(max_examples=120)
@given(found=rules(), situation=situations())
def test_a_near_match_with_a_rival_or_for_elsewhere_never_grants(
    found: list[dict[str, str]], situation: Situation
) -> None:
    """Where a grant needs the near match at all: with nobody near, the same policy does not grant."""
    situation = situation._replace(candidates=[])
    policy = policy_of(written(found))
    decision = decide(policy, situation, NOON)
    alone = decide(policy, situation._replace(near=list), NOON)
    if decision.outcome is Outcome.GRANT and alone.outcome is not Outcome.GRANT:
        others = {one.facts.pass_id for one in situation.near() if live(one.facts, NOON)}
        assert others <= {decision.pass_id}
        [meant] = [one.facts for one in situation.near() if one.facts.pass_id == decision.pass_id]
        assert meant.entrances is None or situation.entrance in meant.entrances


@given(situation=situations(), away=st.integers(-1000, 1000))
def test_the_village_policy_grants_only_on_a_pass_that_holds(situation: Situation, away: int) -> None:
    now = NOON + timedelta(hours=away)
    decision = decide(default_policy(), situation, now)
    if decision.outcome is Outcome.GRANT:
        held = [
            one.facts
            for one in itertools.chain(situation.candidates, situation.near())
            if one.facts.pass_id == decision.pass_id
        ]
        assert any(
            live(one, now) and (one.entrances is None or situation.entrance in one.entrances) for one in held
        )
        assert situation.lane_mode is not LaneMode.CLOSED


FAILING: dict[str, tuple[str, Outcome, str, list[str]]] = {
    "an expression that fails refers": (
        "{id: a, when: 10 / presence.entries > 2, then: grant}",
        Outcome.REFER,
        RULE_FAILED,
        [RULE_FAILED],
    ),
    "also where a later rule would grant": (
        """{id: a, when: 10 / presence.entries > 2, then: deny, say: no}
        {id: b, when: pass.live, then: grant}""",
        Outcome.REFER,
        RULE_FAILED,
        [RULE_FAILED],
    ),
    "an earlier rule has decided": (
        """{id: a, when: pass.live, then: grant}
        {id: b, when: 10 / presence.entries > 2, then: deny, say: no}""",
        Outcome.GRANT,
        "a",
        [],
    ),
    "what CEL does not need does not fail": (
        "{id: a, when: pass.live || 10 / presence.entries > 2, then: grant}",
        Outcome.GRANT,
        "a",
        [],
    ),
    "nor on the other side": (
        "{id: a, when: 10 / presence.entries > 2 || pass.live, then: grant}",
        Outcome.GRANT,
        "a",
        [],
    ),
    "an alert that fails is told, and decides nothing": (
        """{id: a, when: pass.live, then: grant}
        {id: b, when: 10 / presence.entries > 2, then: alert, say: x, alert: info}
        {id: c, when: pass.live, then: alert, say: y, alert: info}""",
        Outcome.GRANT,
        "a",
        [RULE_FAILED, "c"],
    ),
}


@pytest.mark.parametrize(("rules", "outcome", "reason", "alerts"), FAILING.values(), ids=[*FAILING])
def test_what_cannot_be_evaluated(rules: str, outcome: Outcome, reason: str, alerts: list[str]) -> None:
    decision = decide(policy_of(rules), facts(VALID), NOON)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert sorted(one.reason for one in decision.alerts) == sorted(alerts)
    if alerts:
        failure = next(one for one in decision.alerts if one.reason == RULE_FAILED)
        assert failure.severity is Severity.WARNING
        assert "zero" in failure.text.en


class Broken(Nothing):
    """A site whose answers raise."""

    def refusals(self, credential: Credential, now: datetime) -> int:
        raise RuntimeError("no memory")


def test_a_fact_that_cannot_be_found_refers() -> None:
    policy = policy_of("{id: a, when: history.refusals == 0 && pass.live, then: grant}")
    decision = decide(policy, facts(VALID, site=Broken()), NOON)
    assert (decision.outcome, decision.reason) == (Outcome.REFER, RULE_FAILED)


def test_evaluation_is_bounded() -> None:
    big = "[" + ",".join("1" for _ in range(40)) + "]"
    nested = f"{big}.all(a, {big}.all(b, {big}.all(c, a + b + c > 0)))"
    with pytest.raises(ConfigErrors, match="a loop within a loop"):
        policy_of(f'{{id: a, when: "{nested}", then: grant}}')


@given(
    plate=st.text("津京A0ODQ8B1I2Z5S", min_size=1, max_size=9),
    ids=st.lists(st.sampled_from(["P1", "P2", "P3"]), min_size=2, max_size=4),
    distance=st.floats(0.05, 1.5),
)
def test_a_fuzzed_plate_with_a_rival_is_shown_to_a_person(
    plate: str, ids: list[str], distance: float
) -> None:
    rivals = [Candidate(replace(VALID, pass_id=one), distance, "", f"津A{one}") for one in ids]
    situation = facts(credential=Credential(CredentialKind.PLATE, plate), confidence=1.0, near=lambda: rivals)
    policy = policy_of("{id: a, when: pass.live, then: grant}")
    decision = decide(policy, situation, NOON)
    if len(set(ids)) > 1:
        assert (decision.outcome, decision.reason) == (Outcome.REFER, NEAR_UNCLEAR)
    else:
        assert (decision.outcome, decision.pass_id) == (Outcome.GRANT, ids[0])


def test_a_grant_that_needs_no_pass_stands_beside_a_near_match() -> None:
    rivals = [Candidate(replace(VALID, pass_id=one), 0.5, "", "x") for one in ("P1", "P2")]
    policy = policy_of(
        "{id: a, when: pass.found && pass.kind == 'none', then: deny, say: no}",
        last="  - {id: z, then: grant}\n",
    )
    decision = decide(policy, facts(near=lambda: rivals), NOON)
    assert (decision.outcome, decision.rule_id, decision.pass_id) == (Outcome.GRANT, "z", None)


def test_times_are_aware() -> None:
    decision = decide(default_policy(), facts(VALID), NOON.astimezone(UTC))
    assert decision == decide(default_policy(), facts(VALID), NOON)
