"""A decision made again from its receipt alone: the policy's text and the facts that were asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gated.domain import Direction, Outcome
from rules.decide import settle_again
from rules.policy import Policy
from rules.receipt import NotInReceipt, recorded


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What the policy says of the recorded facts. `missing`: a fact that the receipt does not hold, so that
    it cannot be said."""

    outcome: Outcome | None
    reason: str
    rule: str
    missing: str = ""


def reproduced(
    policy: Policy, receipt: Mapping[str, Any], lane: str, entrance: str, direction: Direction
) -> Reproduced:
    """The decision of a receipt. `policy`: the one that it names; for a rule that could not be evaluated
    then, what it came to is the same failure."""
    failed = receipt.get("failed")
    if failed is not None:
        return Reproduced(Outcome.REFER, "rule_failed", failed["rule"])
    facts = recorded(receipt)
    try:
        judged = settle_again(policy.at(lane, entrance, direction), facts)
    except NotInReceipt as error:
        return Reproduced(None, "", "", str(error.args[0]))
    if judged.failed is not None:  # the engine met a fact that is not there
        return Reproduced(None, "", "", judged.failed[1])
    rule = judged.rule.id if judged.rule is not None else judged.reason
    return Reproduced(judged.outcome, judged.reason, rule)
