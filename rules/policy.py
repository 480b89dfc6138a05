"""A policy as it runs: ordered rules, compiled for each lane that asks. Built by `rules.build`.

Conditions run as generated Python where their meaning there is exactly CEL's, and in the CEL engine
otherwise; whenever anything goes wrong, the engine is asked rule by rule, and a rule that fails never grants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time, tzinfo
from typing import Any, NamedTuple

from gated.domain import Direction, Outcome, Severity, Text
from rules.cel import EvaluationFailed, Expression, fuse_all, fuse_first, python_of
from rules.facts import TABLE, Facts, FactType
from rules.facts.base import Compute
from rules.facts.show import shown
from rules.ground import Ground

_CLOCK = re.compile(r"""['"]((?:[01][0-9]|2[0-3]):[0-5][0-9])['"]""")

Limits = Mapping[str, bool | int | float | str]
Part = str | tuple[str, FactType]
"""A piece of a sentence: literal text, or a fact."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said. `zh`, `en`: forms with a numbered place for each of `facts`; `always`: the whole
    sentence, where no fact is in it."""

    zh: str
    en: str
    facts: tuple[tuple[str, FactType], ...]
    always: Text | None = None

    def said(self, facts: Facts, constants: Mapping[str, Any], zone: tzinfo) -> Text:
        """The sentence for one passage."""
        if self.always is not None:
            return self.always
        texts = [
            shown(constants[name] if name in constants else facts[name], type_, zone)
            for name, type_ in self.facts
        ]
        return Text(
            self.zh.format(*[text.zh for text in texts]), self.en.format(*[text.en for text in texts])
        )


def sentence(zh: Sequence[Part], en: Sequence[Part]) -> Sentence:
    """A sentence of these pieces."""
    facts = tuple(dict.fromkeys(part for part in (*zh, *en) if not isinstance(part, str)))
    forms = [
        "".join(
            part.replace("{", "{{").replace("}", "}}")
            if isinstance(part, str)
            else f"{{{facts.index(part)}}}"
            for part in parts
        )
        for parts in (zh, en)
    ]
    always = None if facts else Text(forms[0].format(), forms[1].format())
    return Sentence(forms[0], forms[1], facts, always)


@dataclass(frozen=True, slots=True)
class Tell:
    """Whom a rule tells, and how urgently; `route` as the policy file has it."""

    severity: Severity
    route: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Where something is in force; empty sets mean everywhere."""

    entrances: frozenset[str] = frozenset()
    lanes: frozenset[str] = frozenset()
    direction: Direction | None = None

    def covers(self, lane: str, entrance: str, direction: Direction) -> bool:
        """Whether it is in force at a lane."""
        return (
            (not self.entrances or entrance in self.entrances)
            and (not self.lanes or lane in self.lanes)
            and (self.direction is None or self.direction is direction)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `outcome` None: it only alerts."""

    id: str
    outcome: Outcome | None
    reason: str
    condition: Expression
    say: Sentence | None
    tell: Tell | None
    scope: Scope
    note: str = ""


class Settled(NamedTuple):
    """What the rules say. `rule`: the one that decided; None if none did, or one that was tried before had
    `failed` with `error`."""

    rule: Rule | None
    failed: Rule | None = None
    error: str = ""


class LanePolicy:
    """The rules that are in force at one lane, with its limits filled in."""

    def __init__(
        self, rules: tuple[Rule, ...], constants: Mapping[str, Any], table: Mapping[str, Compute]
    ) -> None:
        self.constants = constants
        self.table = table
        self.deciding = tuple(rule for rule in rules if rule.outcome is not None)
        self.alerting = tuple(rule for rule in rules if rule.outcome is None)
        self.names = frozenset().union(*(rule.condition.names for rule in self.deciding))
        """Every fact that a deciding rule may ask."""
        self.clocks = frozenset(
            time.fromisoformat(found)
            for rule in self.deciding
            for found in _CLOCK.findall(rule.condition.text)
        )
        """The times of day that deciding rules name."""
        self.remedies: dict[str, Any] = {}
        """What `rules.nearest` keeps of each rule."""
        self._first = fuse_first([python_of(rule.condition, constants) for rule in self.deciding])
        self._all = fuse_all([python_of(rule.condition, constants) for rule in self.alerting])

    def settle(self, facts: Facts) -> Settled:
        """The first rule that decides. Never raises."""
        try:
            index = self._first(facts, lambda index: self._asked(self.deciding[index], facts))
        except Exception:  # whatever it was, the engine says what CEL makes of it
            return self.carefully(facts)
        return Settled(self.deciding[index] if index >= 0 else None)

    def carefully(self, facts: Facts) -> Settled:
        """The first rule that decides, each asked of the engine. Never raises."""
        for rule in self.deciding:
            try:
                if self._asked(rule, facts):
                    return Settled(rule)
            except Exception as error:
                return Settled(None, rule, _words(error))
        return Settled(None)

    def alerts(self, facts: Facts) -> tuple[list[Rule], list[tuple[Rule, str]]]:
        """The alert-only rules that hold, and those that failed, with the error. Never raises."""
        if not self.alerting:
            return [], []
        try:
            found = self._all(facts, lambda index: self._asked(self.alerting[index], facts))
            return [self.alerting[index] for index in found], []
        except Exception:
            held: list[Rule] = []
            failed: list[tuple[Rule, str]] = []
            for rule in self.alerting:
                try:
                    if self._asked(rule, facts):
                        held.append(rule)
                except Exception as error:
                    failed.append((rule, _words(error)))
            return held, failed

    def _asked(self, rule: Rule, facts: Facts) -> bool:
        """What the engine makes of a condition. Raises EvaluationFailed, or what a fact raises."""
        constants = self.constants
        data = {name: constants[name] if name in constants else facts[name] for name in rule.condition.names}
        value = rule.condition.evaluate(data)
        if not isinstance(value, bool):
            raise EvaluationFailed(f"gives {value!r}, which is neither true nor false")
        return value


def _words(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Other values of limits in a scope."""

    scope: Scope
    limits: Limits


@dataclass(slots=True)
class Policy:
    """A policy in force. `hash`: of its text; `text`: the file that it came from."""

    hash: str
    text: str
    name: Text
    ground: Ground
    rules: tuple[Rule, ...]
    limits: Limits
    elsewhere: tuple[Elsewhere, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: Mapping[str, Compute] = field(default_factory=dict)
    _lanes: dict[tuple[str, str, Direction], LanePolicy] = field(default_factory=dict)
    _made: dict[Any, LanePolicy] = field(default_factory=dict)

    def at(self, lane: str, entrance: str, direction: Direction) -> LanePolicy:
        """The rules for a lane; lanes with the same rules and limits share them."""
        key = (lane, entrance, direction)
        found = self._lanes.get(key)
        if found is None:
            found = self._lanes[key] = self._make(lane, entrance, direction)
        return found

    def with_limits(self, limits: Limits) -> Policy:
        """The same policy with other values of some limits."""
        return replace(self, limits={**self.limits, **limits}, _lanes={}, _made={})

    def _make(self, lane: str, entrance: str, direction: Direction) -> LanePolicy:
        rules = tuple(rule for rule in self.rules if rule.scope.covers(lane, entrance, direction))
        limits = dict(self.limits)
        for other in self.elsewhere:
            if other.scope.covers(lane, entrance, direction):
                limits.update(other.limits)
        alike = (tuple(rule.id for rule in rules), tuple(sorted(limits.items())))
        made = self._made.get(alike)
        if made is None:
            constants: dict[str, Any] = {f"limits.{name}": value for name, value in limits.items()}
            constants |= {f"groups.{name}": list(values) for name, values in self.groups.items()}
            made = self._made[alike] = LanePolicy(rules, constants, self.table)
        return made


def table_of(ground: Ground) -> dict[str, Compute]:
    """How every fact is found, those of the calendar included."""
    found: dict[str, Compute] = {name: one.compute for name, one in TABLE.items()}
    for name in ground.calendar:
        found[f"calendar.{name}"] = _calendar(name)
    return found


def _calendar(name: str) -> Callable[[Any], bool]:
    return lambda case: case.ground.calendar[name].is_open(case.local)
