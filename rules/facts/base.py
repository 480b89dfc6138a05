"""Facts: what a rule may ask, each with its type, its meaning in both languages, and how it is found.

A fact is computed when something asks for it and never twice: `Facts` is a dictionary that fills itself. What
is in it after a decision is therefore exactly what the decision was made of. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from gated.domain import Attestation, Candidate, PassFacts
from rules.ground import Ground, Proof
from rules.situation import Situation

Compute = Callable[["Case"], Any]
_Compute = TypeVar("_Compute", bound=Compute)


class FactType(StrEnum):
    """The type of a fact. All but TEXT are CEL's; TEXT (a sentence part in two languages) can only be
    said."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    STRINGS = "list of strings"
    TIME = "timestamp"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a rule may ask. `values`: all that a string can be, where they are few."""

    name: str
    type: FactType
    zh: str
    en: str
    compute: Compute
    values: tuple[str, ...] = ()


TABLE: dict[str, Fact] = {}
"""Every fact by its name, in the order of the reference. Filled by the modules beside this one."""


def fact(
    name: str, type_: FactType, zh: str, en: str, *, values: Sequence[str] = ()
) -> Callable[[_Compute], _Compute]:
    """Puts a function into the table."""

    def put(compute: _Compute) -> _Compute:
        TABLE[name] = Fact(name, type_, zh, en, compute, tuple(values))
        return compute

    return put


class Case:
    """A situation at a time, as the facts look at it.

    `local`: now, on the site's clock. `subject`: the pass that it is judged by, one of the exact candidates,
    or else the nearest; `held`: the pass itself. `near`: the passes that the credential may nearly mean, the
    likeliest first: nearest, and of the equally near ones a live one; none where there is an exact one.
    `proofs`: the demanded proofs that the pass lacks, and those that it has, but outdated.

    What is not there yet is found when it is first asked for: an unset slot falls through to `__getattr__`,
    a set one costs nothing.
    """

    __slots__ = ("ground", "held", "local", "near", "now", "proofs", "situation", "subject")

    local: datetime
    subject: Candidate | None
    held: PassFacts | None
    near: Sequence[Candidate]
    proofs: tuple[list[Proof], list[Proof]]

    def __init__(
        self, situation: Situation, now: datetime, ground: Ground, subject: Candidate | None
    ) -> None:
        self.situation = situation
        self.now = now
        self.ground = ground
        if subject is not None:
            self.subject = subject
            self.held = subject.facts

    def __getattr__(self, name: str) -> Any:
        found: Any
        if name == "local":
            found = self.now.astimezone(self.ground.zone)
        elif name == "subject":
            found = next(iter(self.near), None)
        elif name == "held":
            found = None if self.subject is None else self.subject.facts
        elif name == "near":
            found = _likeliest(self.situation, self.now)
        elif name == "proofs":
            found = _proofs(self)
        else:
            raise AttributeError(name)
        setattr(self, name, found)
        return found

    @property
    def near_seen(self) -> Sequence[Candidate]:
        """The passes that are nearly meant, as far as a fact has asked for them; asks nobody."""
        found: Sequence[Candidate] = _NEAR.__get__(self) if _is_set(self, _NEAR) else ()
        return found

    @property
    def judged_by(self) -> Candidate | None:
        """The pass that the facts have been about so far; asks nobody."""
        found: Candidate | None = _SUBJECT.__get__(self) if _is_set(self, _SUBJECT) else None
        return found


_NEAR: Any = Case.__dict__["near"]
_SUBJECT: Any = Case.__dict__["subject"]


def _is_set(case: Case, slot: Any) -> bool:
    try:
        slot.__get__(case)
    except AttributeError:
        return False
    return True


def _likeliest(situation: Situation, now: datetime) -> Sequence[Candidate]:
    if situation.candidates:
        return ()
    found = situation.near()
    if len(found) < 2:
        return found
    return sorted(found, key=lambda one: (one.distance, not live(one.facts, now)))


def live(held: PassFacts, now: datetime) -> bool:
    """Whether a pass is in force: not revoked, and within its validity."""
    return held.state._value_ == "active" and held.valid_from <= now < held.valid_until


def _proofs(case: Case) -> tuple[list[Proof], list[Proof]]:
    missing: list[Proof] = []
    outdated: list[Proof] = []
    held = case.held
    if held is None or not case.ground.proofs:
        return missing, outdated
    today = case.local.date()
    for proof in case.ground.proofs:
        if proof.pass_kinds is not None and held.kind not in proof.pass_kinds:
            continue
        if proof.entrances is not None and case.situation.entrance not in proof.entrances:
            continue
        if (proof.since is not None and today < proof.since) or (
            proof.until is not None and today > proof.until
        ):
            continue
        shown = [one for one in held.attestations if one.kind == proof.kind]
        if not shown:
            missing.append(proof)
        elif not any(_holds(one, proof, today.toordinal()) for one in shown):
            outdated.append(proof)
    return missing, outdated


def _holds(shown: Attestation, proof: Proof, today: int) -> bool:
    if today < shown.issued_on.toordinal():
        return False
    if shown.valid_until is not None and today > shown.valid_until.toordinal():
        return False
    return proof.max_age_days is None or today - shown.issued_on.toordinal() <= proof.max_age_days


class Facts(dict[str, Any]):
    """The facts of one case, each computed when it is first asked for. KeyError for a name that there is not.
    `table`: name to function."""

    __slots__ = ("case", "table")

    def __init__(self, case: Case, table: Mapping[str, Compute]) -> None:
        super().__init__()
        self.case = case
        self.table = table

    def branch(self, changed: Mapping[str, Any]) -> Facts:
        """The same facts with some of them different; what is computed there is not known here."""
        other = Facts(self.case, self.table)
        other.update(self)
        other.update(changed)
        return other

    def __missing__(self, name: str) -> Any:
        value = self[name] = self.table[name](self.case)
        return value
