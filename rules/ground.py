"""What a policy and its site bring to every passage: zone, names, calendar, demanded proofs, planned duty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, tzinfo

from gated.domain import Text
from rules.windows import Window


@dataclass(frozen=True, slots=True)
class Proof:
    """An attestation that passes must carry: those of `pass_kinds` (None: all), at `entrances` (None: all),
    from the day `since` to the day `until` (inclusive), at most `max_age_days` old."""

    kind: str
    name: Text
    pass_kinds: frozenset[str] | None = None
    entrances: frozenset[str] | None = None
    since: date | None = None
    until: date | None = None
    max_age_days: int | None = None


@dataclass(frozen=True, slots=True)
class Duty:
    """So many volunteers stand at these entrances (None: at each) in a window."""

    window: Window
    volunteers: int
    entrances: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """Constant from one activation to the next. `entrances`, `lanes`: names by id."""

    zone: tzinfo = UTC
    entrances: Mapping[str, Text] = field(default_factory=dict)
    lanes: Mapping[str, Text] = field(default_factory=dict)
    holidays: frozenset[date] = frozenset()
    calendar: Mapping[str, Window] = field(default_factory=dict)
    proofs: tuple[Proof, ...] = ()
    duties: tuple[Duty, ...] = ()
