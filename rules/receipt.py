"""The receipt of a decision: what it was made of, as JSON, so that it can be made again years later.

It names the policy by the hash of its text, holds every fact that the rules asked, and the passes that were
considered. `reproduced` needs nothing else but the policy's text. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from gated.domain import Attestation, Candidate, HourWindow, PassFacts, PassState, Text
from rules.facts import TABLE, Facts, FactType

if TYPE_CHECKING:
    from rules.nearest import Miss
    from rules.policy import Rule

VERSION = 1
_CANDIDATES_MOST = 8
"""The nearest are kept; how many rivals there were in all is a fact."""


class NotInReceipt(LookupError):
    """The receipt does not hold a fact that the policy asks: it was made by another policy."""


def made(
    policy: str,
    facts: Facts,
    candidates: Sequence[Candidate],
    miss: Miss | None,
    failed: tuple[Rule, str] | None,
) -> dict[str, Any]:
    """The receipt of one decision; values as orjson writes them (aware datetimes, `Text`)."""
    found: dict[str, Any] = {"v": VERSION, "policy": policy, "facts": dict(facts)}
    if candidates:
        found["candidates"] = [_candidate(one) for one in candidates[:_CANDIDATES_MOST]]
    if miss is not None:
        found["nearest_miss"] = {"codes": list(miss.codes), "zh": miss.text.zh, "en": miss.text.en}
    if failed is not None:
        found["failed"] = {"rule": failed[0].id, "error": failed[1]}
    return found


def _candidate(given: Candidate) -> dict[str, Any]:
    held = given.facts
    found: dict[str, Any] = {
        "pass": held.pass_id,
        "kind": held.kind,
        "from": held.valid_from,
        "until": held.valid_until,
    }
    if given.distance:
        found |= {"distance": given.distance, "edits": given.edits}
    if given.value:
        found["value"] = given.value
    if held.state is PassState.REVOKED:
        found["revoked"] = held.revoked_at or True
    if held.entrances is not None:
        found["entrances"] = held.entrances
    if held.hours:
        found["hours"] = [
            [sorted(window.days), f"{window.since:%H:%M}", f"{window.until:%H:%M}"] for window in held.hours
        ]
    if held.limits:
        found["limits"] = dict(held.limits)
    if held.attestations:
        found["attestations"] = [[one.kind, one.issued_on, one.valid_until] for one in held.attestations]
    if held.dwelling_id is not None:
        found["dwelling"] = held.dwelling_id
    return found


def candidates_of(receipt: Mapping[str, Any]) -> list[Candidate]:
    """The passes that were considered, as they were then."""
    return [candidate_of(one) for one in receipt.get("candidates", ())]


def candidate_of(found: Mapping[str, Any]) -> Candidate:
    """One of them."""
    revoked = found.get("revoked")
    return Candidate(
        PassFacts(
            pass_id=found["pass"],
            kind=found["kind"],
            state=PassState.REVOKED if revoked else PassState.ACTIVE,
            valid_from=_moment(found["from"]),
            valid_until=_moment(found["until"]),
            entrances=tuple(found["entrances"]) if "entrances" in found else None,
            hours=tuple(
                HourWindow(frozenset(days), time.fromisoformat(since), time.fromisoformat(until))
                for days, since, until in found.get("hours", ())
            ),
            revoked_at=_moment(revoked) if revoked not in (None, True) else None,
            limits=tuple(sorted(found.get("limits", {}).items())),
            attestations=tuple(
                Attestation(kind, _day(issued), None if until is None else _day(until))
                for kind, issued, until in found.get("attestations", ())
            ),
            dwelling_id=found.get("dwelling"),
        ),
        distance=float(found.get("distance", 0.0)),
        edits=found.get("edits", ""),
        value=found.get("value", ""),
    )


def facts_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded facts with the types that they had. An unknown name keeps its JSON value."""
    return {name: _typed(name, value) for name, value in receipt.get("facts", {}).items()}


def _typed(name: str, value: Any) -> Any:
    fact = TABLE.get(name)
    if fact is None:
        return value
    if fact.type is FactType.TIME:
        return _moment(value)
    if fact.type is FactType.TEXT and isinstance(value, Mapping):
        return Text(value["zh"], value["en"])
    if fact.type is FactType.DOUBLE:
        return float(value)
    return value


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)


def _day(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


class _NotThere(dict[str, Any]):
    """What finds a fact that is not in the receipt: nothing."""

    def __missing__(self, name: str) -> Any:
        raise NotInReceipt(name)


def recorded(receipt: Mapping[str, Any]) -> Facts:
    """Recorded facts in the place of computed ones; asking for another raises NotInReceipt."""
    nobody: Any = None
    facts = Facts(nobody, _NotThere())
    facts.update(facts_of(receipt))
    return facts
