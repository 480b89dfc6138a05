"""The first form of the policy: what a pass must be for its holder to come through.

One pure function, `decide`. Each result has a stable reason code; the codes and their sentences are in
`rules.texts`. What a refusal of each kind means (refer to a person, or deny) is a parameter of the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gated.domain import (
    AlertDraft,
    Candidate,
    Credential,
    Decision,
    Direction,
    HourWindow,
    LaneMode,
    Outcome,
    PassFacts,
    PassState,
    Severity,
    Text,
)
from rules import texts

REASONS = (
    "pass_valid",
    "exit_free",
    "unreadable",
    "low_confidence",
    "no_pass",
    "pass_expired",
    "pass_not_yet_valid",
    "pass_revoked",
    "other_entrance",
    "outside_hours",
    "lane_closed",
)
"""Every reason code that a decision may carry; stable, also over MQTT and HTTP."""

# Of several passes that the same credential is on, the miss that is easiest to mend is the one to explain.
_NEAREST_MISS = ("outside_hours", "other_entrance", "pass_not_yet_valid", "pass_expired", "pass_revoked")


@dataclass(frozen=True, slots=True)
class Policy:
    """What each kind of miss means. `timezone`: the site's. `min_confidence` 0..1: a plate read with less is
    referred, not granted. `exits`: "check" treats lanes that lead out like those that lead in; "free" lets
    everybody out. `entrances`: their names by id, for the sentences; an id without one stands for itself."""

    timezone: tzinfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    unreadable: Outcome = Outcome.REFER
    no_pass: Outcome = Outcome.REFER
    pass_expired: Outcome = Outcome.REFER
    pass_not_yet_valid: Outcome = Outcome.REFER
    pass_revoked: Outcome = Outcome.DENY
    other_entrance: Outcome = Outcome.REFER
    outside_hours: Outcome = Outcome.REFER
    lane_closed: Outcome = Outcome.DENY
    min_confidence: float = 0.0
    exits: str = "check"
    entrances: Mapping[str, Text] = field(default_factory=dict)


class Facts(NamedTuple):  # made for every passage, in half the time of a frozen dataclass
    """What is known of a passage when it is decided."""

    lane: str
    entrance: str
    direction: Direction
    credential: Credential | None
    confidence: float | None
    candidates: Sequence[Candidate]
    lane_mode: LaneMode = LaneMode.NORMAL


def decide(policy: Policy, facts: Facts, now: datetime) -> Decision:
    """Grant, refer or deny one passage at the time `now` (aware). Never raises, never looks elsewhere."""
    if facts.lane_mode is LaneMode.CLOSED:
        return _refuse(policy, facts, "lane_closed", None, now)
    if policy.exits == "free" and facts.direction is Direction.OUT:
        return _grant(facts, "exit_free", _exact(facts))
    if facts.credential is None:
        return _refuse(policy, facts, "unreadable", None, now)
    misses: dict[str, PassFacts] = {}
    for candidate in facts.candidates:
        if candidate.distance:
            continue
        miss = check(policy, candidate.facts, facts.entrance, now)
        if miss is None:
            if facts.confidence is not None and facts.confidence < policy.min_confidence:
                return _refuse(policy, facts, "low_confidence", candidate.facts, now)
            return _grant(facts, "pass_valid", candidate.facts)
        misses.setdefault(miss, candidate.facts)
    for reason in _NEAREST_MISS:
        if reason in misses:
            return _refuse(policy, facts, reason, misses[reason], now)
    return _refuse(policy, facts, "no_pass", None, now)


def check(policy: Policy, facts: PassFacts, entrance: str, now: datetime) -> str | None:
    """Why this pass does not let its holder through this entrance now, or None if it does."""
    if facts.state is PassState.REVOKED:
        return "pass_revoked"
    if now < facts.valid_from:
        return "pass_not_yet_valid"
    if now >= facts.valid_until:
        return "pass_expired"
    if facts.entrances is not None and entrance not in facts.entrances:
        return "other_entrance"
    if facts.hours and not within_hours(facts.hours, now.astimezone(policy.timezone)):
        return "outside_hours"
    return None


def within_hours(windows: Sequence[HourWindow], local: datetime) -> bool:
    """Whether a local time lies in one of the windows; one that runs past midnight belongs to the day on
    which it began."""
    clock, today = local.time().replace(tzinfo=None), local.weekday()
    yesterday = (local - timedelta(days=1)).weekday()
    for window in windows:
        if window.since < window.until:
            if today in window.days and window.since <= clock < window.until:
                return True
        elif (today in window.days and clock >= window.since) or (
            yesterday in window.days and clock < window.until
        ):
            return True
    return False


def _exact(facts: Facts) -> PassFacts | None:
    return next((c.facts for c in facts.candidates if not c.distance), None)


def _grant(facts: Facts, reason: str, found: PassFacts | None) -> Decision:
    return Decision(
        outcome=Outcome.GRANT,
        reason=reason,
        explanation=texts.GRANTED[reason],
        rule_id=reason,
        pass_id=found.pass_id if found else None,
    )


def _refuse(policy: Policy, facts: Facts, reason: str, found: PassFacts | None, now: datetime) -> Decision:
    outcome = Outcome.REFER if reason == "low_confidence" else getattr(policy, reason)
    sentence = texts.refusal(reason, facts.credential, found, now, policy.timezone, policy.entrances)
    decision = Decision(
        outcome=outcome,
        reason=reason,
        explanation=sentence,
        rule_id=reason,
        pass_id=found.pass_id if found else None,
    )
    if outcome is Outcome.GRANT:  # a policy may wave a kind of miss through; nobody needs to be told
        return decision
    shown = facts.credential.value if facts.credential else ""
    draft = AlertDraft(
        severity=Severity.WARNING if outcome is Outcome.DENY else Severity.NOTICE,
        reason=reason,
        text=sentence,
        fold_key=f"{facts.lane}|{reason}|{shown}",
    )
    return Decision(
        outcome=outcome,
        reason=reason,
        explanation=sentence,
        rule_id=reason,
        pass_id=decision.pass_id,
        alerts=(draft,),
    )
