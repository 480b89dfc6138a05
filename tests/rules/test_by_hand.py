"""The peer of the benchmark is of one mind with the policy: what is compared there is the same work."""

from __future__ import annotations

from rules import decide
from tests.benchmarks import rules_by_hand
from tests.benchmarks.rules import NOW, situations
from tests.rules.policies import SHANGHAI, default_policy


def test_the_policy_by_hand_decides_the_same() -> None:
    policy = default_policy()
    rules = set()
    for situation in situations():
        ours, theirs = decide(policy, situation, NOW), rules_by_hand.decide(situation, NOW, SHANGHAI)
        assert (ours.outcome, ours.rule_id, ours.pass_id) == (theirs.outcome, theirs.rule_id, theirs.pass_id)
        assert [one.reason for one in ours.alerts] == [one.reason for one in theirs.alerts]
        assert ours.explanation.zh.startswith(theirs.explanation.zh) or ours.rule_id == "other_entrance"
        rules.add(ours.rule_id)
    assert len(rules) >= 6
