"""Two policies on the same passage: who would have been treated otherwise, and why. Pure.

A shadow is compared as a passage is decided; a replay compares what was recorded. Neither changes an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gated.domain import Decision, Outcome
from rules.decide import decide
from rules.policy import Policy
from rules.situation import Situation

SHADOW = "shadow"
"""Where a receipt keeps what the shadow policy said, if it said otherwise."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a policy said of a passage."""

    outcome: Outcome
    reason: str
    rule: str


def differs(one: Said, other: Said) -> bool:
    """Whether somebody is treated otherwise: another outcome, or another reason."""
    return one.outcome is not other.outcome or one.reason != other.reason


def compared(decision: Decision, shadow: Policy, situation: Situation, now: datetime) -> Decision:
    """The decision, with what the shadow policy says in its receipt where that differs."""
    other = decide(shadow, situation, now)
    live = Said(decision.outcome, decision.reason, decision.rule_id)
    if not differs(live, Said(other.outcome, other.reason, other.rule_id)):
        return decision
    said: dict[str, Any] = {
        "policy": shadow.hash,
        "outcome": other.outcome.value,
        "reason": other.reason,
        "rule": other.rule_id,
        "text": other.explanation.as_dict(),
    }
    return replace(decision, receipt={**(decision.receipt or {}), SHADOW: said})
