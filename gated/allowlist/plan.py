"""What a device's own list should hold, and what has to change for that. Pure: every time is an argument.

A list is a poor copy of the passes: it knows plates and days, no hours, no numbers of visits, no policy. So
it gets only passes that mean the same without these, and for a few days at a time: a list that nobody keeps
in step any more empties itself by its own dates, and never because something failed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gated.domain import Credential, CredentialKind, PassFacts, PassState
from gated.ports import AllowEntry

STAYS = timedelta(days=7)
"""An entry is put for so long at most, and is put again when half of it is over."""

SHRINKS_BY_ITSELF = 0.5
"""More than this share of a list is not removed in one go, but for a person who says so."""
FEW = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list should hold, by value. `left_out`: passes that did not fit into the device's capacity.
    `not_expressible`: passes in force whose hours or limits such a list cannot keep."""

    entries: Mapping[str, AllowEntry]
    left_out: int = 0
    not_expressible: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to change. `foreign`: what the device holds and gated did not put there; it is left alone.
    `held_back`: removals that are not made, because they are too many to be believed."""

    put: tuple[AllowEntry, ...] = ()
    drop: tuple[str, ...] = ()
    foreign: int = 0
    held_back: int = 0


def wanted(
    passes: Iterable[tuple[Credential, PassFacts]],
    *,
    kinds: Collection[CredentialKind],
    entrances: Collection[str],
    blocked: Collection[Credential],
    capacity: int,
    now: datetime,
) -> Wanted:
    """What a device at these entrances should hold. A plate on several passes is held until the last of them
    ends. Over capacity, passes that end last come first: residents before visitors."""
    found: dict[str, AllowEntry] = {}
    ends: dict[str, datetime] = {}
    not_expressible = 0
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for credential, facts in passes:
        if credential.kind not in kinds or facts.state is not PassState.ACTIVE:
            continue
        if not (facts.valid_from <= now + STAYS and now < facts.valid_until):
            continue
        if facts.entrances is not None and not set(entrances) & set(facts.entrances):
            continue
        if facts.hours or facts.limits:
            not_expressible += 1
            continue
        if credential in blocked:
            continue
        until = min(facts.valid_until, today + STAYS)
        known = found.get(credential.value)
        if known is not None:
            until = max(until, known.valid_until)
        since = facts.valid_from if known is None else min(facts.valid_from, known.valid_from)
        found[credential.value] = AllowEntry(credential.kind, credential.value, since, until)
        ends[credential.value] = max(facts.valid_until, ends.get(credential.value, facts.valid_until))
    left_out = max(0, len(found) - capacity)
    if left_out:
        kept = sorted(found, key=lambda value: (ends[value], value), reverse=True)[:capacity]
        found = {value: found[value] for value in sorted(kept)}
    return Wanted(found, left_out, not_expressible)


def changes(
    wanted: Wanted,
    ours: Mapping[str, datetime],
    held: Collection[str] | None,
    now: datetime,
    *,
    force: bool = False,
    listed: int | None = None,
) -> Plan:
    """What has to be put and dropped. `ours`: what gated put there, and until when. `held`: what the device
    says that it holds, None where it cannot be asked: then it is believed to hold what was put there.
    `listed`: how long the whole list is, where `ours` and `wanted` are about a part of it.

    Removals come last in time and first in doubt: if more than half of what gated put there would go at once,
    nothing goes, for a store that was restored or a rule that was changed by mistake looks just like that.
    """
    put = tuple(
        entry
        for value, entry in sorted(wanted.entries.items())
        if value not in ours
        or (held is not None and value not in held)
        or _stale(ours[value], entry.valid_until, now)
    )
    drop = tuple(sorted(value for value in ours if value not in wanted.entries))
    foreign = 0 if held is None else sum(value not in ours and value not in wanted.entries for value in held)
    if not force and len(drop) > max(FEW, SHRINKS_BY_ITSELF * (len(ours) if listed is None else listed)):
        return Plan(put, (), foreign, len(drop))
    return Plan(put, drop, foreign)


def _stale(listed_until: datetime, until: datetime, now: datetime) -> bool:
    """Whether an entry is to be put again: it ends later than it should, or sooner and soon."""
    if until < listed_until:
        return True
    return until > listed_until and listed_until - now < STAYS / 2
