"""Tables of cases beside a policy (`*.cases.yaml`): who shows what, where and when, and what must come out.

Models of the file and the run of a table; pure. A case builds a situation by hand and may overrule facts, so
that every rule can be reached without a site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from gated.domain import (
    Attestation,
    Candidate,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    HourWindow,
    LaneMode,
    Outcome,
    PassFacts,
    PassState,
)
from rules.build import SiteNames
from rules.decide import decide
from rules.model import WEEK, Day, Hours, Limit, Section, listed
from rules.policy import Policy
from rules.situation import Situation
from rules.windows import DAYS, hours_of

_AWAY = re.compile(r"([+-])([0-9]+)([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


def _when(value: object) -> object:
    if isinstance(value, str) and not _AWAY.fullmatch(value.strip()):
        datetime.fromisoformat(value)
    return value


When = Annotated[str, BeforeValidator(_when)]
"""A time at the site (2026-11-18T12:00), or one counted from the case's own (-3d, +2h, +30m)."""


class AttestationCase(Section):
    """A proof that the pass of a case carries; days, or counted from the case's own (-10d)."""

    kind: str
    issued: str
    until: str | None = None


class PassCase(Section):
    """A pass of a case: valid from a month before to a month after, unless it says otherwise."""

    id: str = "P1"
    kind: str = "resident"
    state: PassState = PassState.ACTIVE
    revoked: When | None = None
    valid_from: When = "-30d"
    valid_until: When = "+30d"
    entrances: Annotated[tuple[str, ...], BeforeValidator(listed)] | None = None
    hours: Annotated[tuple[Hours, ...], BeforeValidator(listed)] = ()
    days: Annotated[tuple[Day, ...], BeforeValidator(listed)] = WEEK
    limits: dict[str, int] = Field(default_factory=dict)
    attestations: tuple[AttestationCase, ...] = ()
    dwelling: str | None = None


class NearCase(PassCase):
    """A pass whose plate is only like the one that was read."""

    credential: str
    distance: float = Field(default=0.5, gt=0, le=5)
    edits: str = ""


class Expected(Section):
    """What must come out; what is not named is not looked at."""

    outcome: Outcome | None = None
    rule: str | None = None
    reason: str | None = None
    alerts: tuple[str, ...] | None = None
    says: str | None = None
    nearest: Annotated[tuple[str, ...], BeforeValidator(listed)] | None = None


def _short(value: object) -> object:
    """`grant pass_valid` stands for an outcome and a rule."""
    if isinstance(value, str):
        outcome, _, rule = value.strip().partition(" ")
        return {"outcome": outcome, **({"rule": rule.strip()} if rule else {})}
    return value


class Shown(Section):
    """What a case may say of the situation; a table's `defaults` say it for all of them."""

    lane: str | None = None
    entrance: str | None = None
    direction: Direction | None = None
    at: str | None = None
    plate: str | None = None
    card: str | None = None
    code: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    color: str | None = None
    vehicle: str | None = None
    details: dict[str, str] = Field(default_factory=dict)
    mode: LaneMode | None = None
    facts: dict[str, bool | int | float | str | tuple[str, ...]] = Field(default_factory=dict)
    limits: dict[str, Limit] = Field(default_factory=dict)


class CaseModel(Shown):
    """One case."""

    case: str
    passes: Annotated[tuple[PassCase, ...], BeforeValidator(lambda v: [v] if isinstance(v, dict) else v)] = (
        Field(default=(), alias="pass")
    )
    near: Annotated[tuple[NearCase, ...], BeforeValidator(lambda v: [v] if isinstance(v, dict) else v)] = ()
    expect: Annotated[Expected, BeforeValidator(_short)]

    @field_validator("passes", mode="before")
    @classmethod
    def _true_is_a_pass(cls, value: object) -> object:
        return [{}] if value is True else () if value is False else value


class CasesModel(Section):
    """A table of cases. `cases: 1` is the version of this form; `policy`: the file that it is for."""

    cases: Literal[1]
    policy: str | None = None
    defaults: Shown = Shown()
    table: Annotated[tuple[CaseModel, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case, run. `differences`: what came out otherwise, in words; empty if all is as expected."""

    case: str
    decision: Decision
    differences: tuple[str, ...]
    fired: frozenset[str]


@dataclass(frozen=True, slots=True)
class Report:
    """A table, run. `uncovered`: rules that no case reached."""

    results: tuple[CaseResult, ...]
    uncovered: tuple[str, ...]
    rules: int = field(default=0)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Those that came out otherwise."""
        return tuple(one for one in self.results if one.differences)

    @property
    def coverage(self) -> float:
        """The share of rules that a case reached, 0..1."""
        return (self.rules - len(self.uncovered)) / self.rules if self.rules else 1.0


def run(policy: Policy, tables: Sequence[CasesModel], site: SiteNames) -> Report:
    """Runs every case against a policy."""
    results: list[CaseResult] = []
    for table in tables:
        results += [_run(policy, one, table.defaults, site) for one in table.table]
    fired = frozenset().union(*(one.fired for one in results))
    left = tuple(rule.id for rule in policy.rules if rule.id not in fired)
    return Report(tuple(results), left, len(policy.rules))


def _run(policy: Policy, case: CaseModel, defaults: Shown, site: SiteNames) -> CaseResult:
    situation, now = situation_of(case, defaults, site)
    changed = {
        name: list(v) if isinstance(v, tuple) else v for name, v in {**defaults.facts, **case.facts}.items()
    }
    limits = {**defaults.limits, **case.limits}
    decision = decide(policy.with_limits(limits) if limits else policy, situation, now, changed)
    by_reason = {rule.reason: rule.id for rule in policy.rules if rule.outcome is None}
    fired = {decision.rule_id} | {by_reason[one.reason] for one in decision.alerts if one.reason in by_reason}
    return CaseResult(case.case, decision, tuple(_differences(case.expect, decision)), frozenset(fired))


def situation_of(case: CaseModel, defaults: Shown, site: SiteNames) -> tuple[Situation, datetime]:
    """The situation of a case and its time. Raises ValueError with a sentence for what cannot be."""

    def given(name: str) -> Any:
        own = getattr(case, name)
        return own if own is not None else getattr(defaults, name)

    lane = given("lane") or next(iter(site.lanes), "lane")
    known = site.lanes.get(lane)
    now = _moment(given("at") or "2026-11-18T12:00", datetime(2026, 11, 18, 12, tzinfo=site.zone), site)
    credential: Credential | None = None
    if case.plate or case.card or case.code:
        shown: Shown = case
    else:
        shown = defaults
    for kind, value in (
        (CredentialKind.PLATE, shown.plate),
        (CredentialKind.CARD, shown.card),
        (CredentialKind.CODE, shown.code),
    ):
        if value and value != "none":
            credential = Credential(kind, value)
    details = {**defaults.details, **case.details}
    if color := given("color"):
        details["plate_color"] = color
    if vehicle := given("vehicle"):
        details["vehicle_class"] = vehicle
    near = [Candidate(_pass(one, now, site), one.distance, one.edits, one.credential) for one in case.near]
    value = credential.value if credential is not None else ""
    situation = Situation(
        lane=lane,
        entrance=given("entrance") or (known.entrance if known else "entrance"),
        direction=given("direction") or (known.direction if known else Direction.IN),
        credential=credential,
        confidence=given("confidence"),
        candidates=[Candidate(_pass(one, now, site), value=value) for one in case.passes],
        lane_mode=given("mode") or LaneMode.NORMAL,
        near=lambda: near,
        details=details,
    )
    return situation, now


def _pass(case: PassCase, now: datetime, site: SiteNames) -> PassFacts:
    days = frozenset(map(DAYS.index, case.days))
    return PassFacts(
        pass_id=case.id,
        kind=case.kind,
        state=case.state if case.revoked is None else PassState.REVOKED,
        valid_from=_moment(case.valid_from, now, site),
        valid_until=_moment(case.valid_until, now, site),
        entrances=case.entrances,
        hours=tuple(HourWindow(days, *hours_of(one)) for one in case.hours),
        revoked_at=None if case.revoked is None else _moment(case.revoked, now, site),
        limits=tuple(sorted(case.limits.items())),
        attestations=tuple(
            Attestation(one.kind, _day(one.issued, now), None if one.until is None else _day(one.until, now))
            for one in case.attestations
        ),
        dwelling_id=case.dwelling,
    )


def _moment(text: str, now: datetime, site: SiteNames) -> datetime:
    away = _AWAY.fullmatch(text.strip())
    if away is not None:
        length = int(away[2]) * _UNITS[away[3]]
        return now + length if away[1] == "+" else now - length
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=site.zone)


def _day(text: str, now: datetime) -> date:
    away = _AWAY.fullmatch(text.strip())
    if away is not None:
        length = int(away[2]) * _UNITS[away[3]]
        return (now + length if away[1] == "+" else now - length).date()
    return date.fromisoformat(text)


def _differences(expected: Expected, decision: Decision) -> list[str]:
    found: list[str] = []
    if expected.outcome is not None and decision.outcome is not expected.outcome:
        found.append(f"outcome is {decision.outcome.value}, not {expected.outcome.value}")
    if expected.rule is not None and decision.rule_id != expected.rule:
        found.append(f"decided by {decision.rule_id}, not {expected.rule}")
    if expected.reason is not None and decision.reason != expected.reason:
        found.append(f"reason is {decision.reason}, not {expected.reason}")
    alerts = tuple(sorted(one.reason for one in decision.alerts))
    if expected.alerts is not None and alerts != tuple(sorted(expected.alerts)):
        found.append(f"alerts are {', '.join(alerts) or 'none'}, not {', '.join(expected.alerts) or 'none'}")
    text = decision.explanation
    if expected.says is not None and expected.says not in text.zh and expected.says not in text.en:
        found.append(f"says {text.zh!r} / {text.en!r}, which has no {expected.says!r}")
    if expected.nearest is not None:
        nearest = tuple(_nearest(decision.receipt or {}))
        if nearest != expected.nearest:
            wanted = " + ".join(expected.nearest) or "none"
            found.append(f"nearest miss is {' + '.join(nearest) or 'none'}, not {wanted}")
    return found


def _nearest(receipt: Mapping[str, Any]) -> list[str]:
    miss = receipt.get("nearest_miss")
    return list(miss["codes"]) if miss else []
