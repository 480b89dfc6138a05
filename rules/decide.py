"""The decision on one passage: the first rule that decides, checked for near matches, explained, with a
receipt.

`decide` is a pure function of its arguments and never raises: what cannot be evaluated is referred to a
person, with an alert, and a near match never grants where it could mean somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gated.domain import AlertDraft, Candidate, Decision, Outcome, PassState, Severity, Text
from rules import receipt
from rules.facts import Case, Facts
from rules.nearest import Miss, nearest_miss
from rules.policy import LanePolicy, Policy, Rule, Settled, Tell
from rules.situation import Situation, nobody_near
from rules.windows import within_hours

RULE_FAILED = "rule_failed"
UNDECIDED = "undecided"
NEAR_UNCLEAR = "near_unclear"
GUARD = "guard.grants_without_pass"
"""A pseudo-fact of a receipt: what the near match was checked against."""

_NOTICE = Tell(Severity.NOTICE, "entrance")
_LENIENT = {Outcome.GRANT: 0, Outcome.REFER: 1, Outcome.DENY: 2}
_FAILED_TEXT = Text(
    "规则出错，请人工核验。", "A rule of the policy failed; check by eye, then open by hand or turn back."
)
_NEAR_TEXT = Text(
    "识读的车牌与出入证只是相近，不能确定，请人工核对车牌。",
    "The plate is only like one that has a pass, and it is not sure which; compare it by eye.",
)


@dataclass(slots=True)
class Judged:
    """One way to look at a passage: by one of the passes that it may mean."""

    facts: Facts
    rule: Rule | None
    outcome: Outcome
    reason: str
    failed: tuple[Rule, str] | None = None


def decide(
    policy: Policy, situation: Situation, now: datetime, known: Mapping[str, Any] | None = None
) -> Decision:
    """Grant, refer or deny one passage at the time `now` (aware). `known`: facts that are taken as they are
    instead of being found (in tests of a policy, and in replays)."""
    lane = policy.at(situation.lane, situation.entrance, situation.direction)
    judged = _judge_all(policy, lane, situation, now, known)
    return _decision(policy, lane, situation, judged)


def outcome_of(
    policy: Policy, situation: Situation, now: datetime, known: Mapping[str, Any] | None = None
) -> Judged:
    """The bare outcome, without explanation, alerts and receipt: for shadows and replays."""
    lane = policy.at(situation.lane, situation.entrance, situation.direction)
    return _judge_all(policy, lane, situation, now, known)


def _judge_all(
    policy: Policy,
    lane: LanePolicy,
    situation: Situation,
    now: datetime,
    known: Mapping[str, Any] | None,
) -> Judged:
    """By each pass that the credential is on; the outcome that lets the most through counts."""
    candidates = situation.candidates
    if len(candidates) < 2:
        return _judge(policy, lane, situation, now, candidates[0] if candidates else None, known)
    best: Judged | None = None
    for candidate in sorted(candidates, key=lambda one: _far_from_granting(one, situation, now, policy)):
        judged = _judge(policy, lane, situation, now, candidate, known)
        if best is None or _LENIENT[judged.outcome] < _LENIENT[best.outcome]:
            best = judged
        if best.outcome is Outcome.GRANT:
            break
    assert best is not None  # noqa: S101 - there are at least two
    return best


def _far_from_granting(candidate: Candidate, situation: Situation, now: datetime, policy: Policy) -> int:
    """Of several passes that the same credential is on, the miss that is easiest to mend is explained."""
    held = candidate.facts
    if held.state is PassState.REVOKED:
        return 5
    if now >= held.valid_until:
        return 4
    if now < held.valid_from:
        return 3
    if held.entrances is not None and situation.entrance not in held.entrances:
        return 2
    return 1 if held.hours and not within_hours(held.hours, now.astimezone(policy.ground.zone)) else 0


def _judge(
    policy: Policy,
    lane: LanePolicy,
    situation: Situation,
    now: datetime,
    subject: Candidate | None,
    known: Mapping[str, Any] | None,
) -> Judged:
    facts = Facts(Case(situation, now, policy.ground, subject), lane.table)
    if known:
        facts.update(known)
    judged = _judged(facts, lane.settle(facts))
    if judged.outcome is Outcome.GRANT and facts.case.near_seen:
        facts["match.rivals"], facts["pass.here"]
        facts[GUARD] = _grants_to_anybody(policy, lane, situation, now)
        return guarded(judged)
    return judged


def _judged(facts: Facts, settled: Settled) -> Judged:
    if settled.rule is not None and settled.rule.outcome is not None:
        return Judged(facts, settled.rule, settled.rule.outcome, settled.rule.reason)
    if settled.failed is not None:
        return Judged(facts, settled.failed, Outcome.REFER, RULE_FAILED, (settled.failed, settled.error))
    return Judged(facts, None, Outcome.REFER, UNDECIDED)


def guarded(judged: Judged) -> Judged:
    """A grant that rests on a near match stands only where no other live pass is as near, and the pass is
    for this entrance; no policy can change that."""
    facts = judged.facts
    if facts[GUARD] or (not facts["match.rivals"] and facts["pass.here"]):
        return judged
    return Judged(facts, judged.rule, Outcome.REFER, NEAR_UNCLEAR)


def _grants_to_anybody(policy: Policy, lane: LanePolicy, situation: Situation, now: datetime) -> bool:
    """Whether the passage is let through even if nobody is nearly meant: an emergency, a free exit."""
    alone = situation._replace(near=nobody_near)
    settled = lane.settle(Facts(Case(alone, now, policy.ground, None), lane.table))
    return settled.rule is not None and settled.rule.outcome is Outcome.GRANT


def settle_again(lane: LanePolicy, facts: Facts) -> Judged:
    """The outcome from recorded facts alone."""
    judged = _judged(facts, lane.settle(facts))
    return guarded(judged) if judged.outcome is Outcome.GRANT and GUARD in facts else judged


# --- what is told -----------------------------------------------------------------------------------------


def _decision(policy: Policy, lane: LanePolicy, situation: Situation, judged: Judged) -> Decision:
    facts, rule, outcome = judged.facts, judged.rule, judged.outcome
    # before sentences, remedies and alerts ask for more
    subject = facts.case.judged_by
    pass_id = None
    if subject is not None and (not subject.distance or (outcome is Outcome.GRANT and not facts.get(GUARD))):
        pass_id = subject.facts.pass_id
    text = _explained(policy, lane, judged)
    miss: Miss | None = None
    if outcome is not Outcome.GRANT and judged.failed is None:
        miss = nearest_miss(lane, facts, rule)
        if miss is not None:
            text = Text(text.zh + miss.text.zh, f"{text.en} {miss.text.en}")
    drafts: list[AlertDraft] = []
    credential = situation.credential
    about = f"{situation.lane}|{{}}|{credential.value if credential else ''}"
    tell = _NOTICE if judged.reason in (NEAR_UNCLEAR, UNDECIDED) else rule.tell if rule is not None else None
    if tell is not None and judged.failed is None:
        drafts.append(_draft(tell, judged.reason, text, about, facts))
    if judged.failed is not None:
        drafts.append(_failure(situation, *judged.failed))
    if lane.alerting:
        facts["decision.outcome"] = outcome._value_
        facts["decision.reason"] = judged.reason
        held, failed = lane.alerts(facts)
        for one in held:
            if one.tell is not None and one.say is not None:
                said = one.say.said(facts, lane.constants, policy.ground.zone)
                drafts.append(_draft(one.tell, one.reason, said, about, facts))
        drafts += [_failure(situation, one, error) for one, error in failed]
    return Decision(
        outcome=outcome,
        reason=judged.reason,
        explanation=text,
        rule_id=rule.id if rule is not None else judged.reason,
        pass_id=pass_id,
        alerts=tuple(drafts),
        receipt=receipt.made(
            policy.hash, facts, situation.candidates or facts.case.near_seen, miss, judged.failed
        ),
    )


def _explained(policy: Policy, lane: LanePolicy, judged: Judged) -> Text:
    if judged.failed is not None or judged.rule is None:
        return _FAILED_TEXT
    if judged.reason == NEAR_UNCLEAR:
        return _NEAR_TEXT
    if judged.rule.say is None:
        return Text("放行。", "Let through.")
    return judged.rule.say.said(judged.facts, lane.constants, policy.ground.zone)


def _draft(tell: Tell, reason: str, text: Text, about: str, facts: Facts) -> AlertDraft:
    grid: str | None = None
    if tell.route == "holder":
        grid = facts["holder.grid"] or None
    elif tell.route != "entrance":
        grid = tell.route
    return AlertDraft(
        severity=tell.severity, reason=reason, text=text, fold_key=about.format(reason), grid=grid
    )


def _failure(situation: Situation, rule: Rule, error: str) -> AlertDraft:
    return AlertDraft(
        severity=Severity.WARNING,
        reason=RULE_FAILED,
        text=Text(
            f"规则 {rule.id} 计算出错（{error}），请修改政策。",
            f"The rule {rule.id} cannot be evaluated ({error}); mend the policy.",
        ),
        fold_key=f"{situation.lane}|{RULE_FAILED}|{rule.id}",
        grid="site",
    )
