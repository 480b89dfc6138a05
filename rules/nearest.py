"""The nearest miss: what would have to be different for a refused passage to be let through.

Not read off the failed condition but tried: each remedy is a change of a few facts, and the policy itself
says whether that would grant. Single remedies are tried first, then pairs; what no remedy mends has no
nearest miss. Pure; at most a few dozen evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

from gated.domain import Outcome, Text
from rules.facts import Case, Facts
from rules.facts.show import hours, moment
from rules.policy import LanePolicy, Rule

_MOST = 8
_LATER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Miss:
    """What is missing. `codes`: stable names of the remedies; `text`: a sentence."""

    codes: tuple[str, ...]
    text: Text


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing that a person can change. `facts`: what it makes of the facts. `applies`: whether it changes
    anything here. `words`: what it is called, to be followed by "lets it through"."""

    code: str
    facts: Mapping[str, Any]
    applies: Callable[[Case], bool]
    words: Callable[[Case], Text]


def _plain(zh: str, en: str) -> Callable[[Case], Text]:
    text = Text(zh, en)
    return lambda case: text


_LIVE = {
    "pass.live": True,
    "pass.expired": False,
    "pass.expired_days": 0,
    "pass.expired_hours": 0,
    "pass.not_yet_valid": False,
}
_FRESH = {
    "presence.entries": 0,
    "presence.entries_today": 0,
    "presence.first_entry_hours": 0,
    "presence.others_inside": 0,
    "presence.inside": False,
    "presence.inside_minutes": 0,
}
_ISSUED = {
    **_LIVE,
    **_FRESH,
    "pass.found": True,
    "pass.state": "active",
    "pass.days_left": 1,
    "pass.here": True,
    "pass.in_hours": True,
    "match.kind": "exact",
    "match.distance": 0.0,
    "match.rivals": 0,
    "proof.ok": True,
    "proof.missing": [],
    "proof.outdated": [],
    "holder.lease_ended": False,
}


def _until(case: Case, at: datetime) -> Text:
    text = moment(at, case.ground.zone)
    return Text(f"等到{text.zh}", f"waiting until {text.en}")


def _in_hours(case: Case) -> Text:
    text = hours(case.held.hours) if case.held is not None else Text("", "")
    return Text(f"在通行时段（{text.zh}）内", f"coming within the hours of the pass ({text.en})")


def _proofs(case: Case) -> Text:
    names = [proof.name for part in case.proofs for proof in part]
    return Text(f"补齐{'、'.join(one.zh for one in names)}", f"bringing {', '.join(one.en for one in names)}")


def _compare(case: Case) -> Text:
    subject = case.subject
    value = subject.value if subject is not None else ""
    return Text(f"核对车牌确为{value}", f"making sure by eye that the plate is {value}")


def _exact(case: Case) -> bool:
    return bool(case.situation.candidates)


def _held(test: Callable[[Case, Any], bool]) -> Callable[[Case], bool]:
    """A remedy that needs a pass."""

    def applies(case: Case) -> bool:
        held = case.held
        return held is not None and test(case, held)

    return applies


REMEDIES: tuple[Remedy, ...] = (
    Remedy(
        "renew",
        {**_LIVE, "pass.days_left": 1},
        _held(lambda case, held: held.state._value_ == "active" and case.now >= held.valid_until),
        _plain("续期", "renewing the pass"),
    ),
    Remedy(
        "wait_for_start",
        {**_LIVE, "pass.days_left": 1},
        _held(lambda case, held: held.state._value_ == "active" and case.now < held.valid_from),
        lambda case: _until(case, case.held.valid_from if case.held else case.now),
    ),
    Remedy(
        "add_entrance",
        {"pass.here": True},
        _held(
            lambda case, held: held.entrances is not None and case.situation.entrance not in held.entrances
        ),
        _plain("给出入证加上本出入口", "adding this entrance to the pass"),
    ),
    Remedy(
        "come_in_hours",
        {"pass.in_hours": True},
        _held(lambda case, held: bool(held.hours)),
        _in_hours,
    ),
    Remedy(
        "bring_proofs",
        {"proof.ok": True, "proof.missing": [], "proof.outdated": []},
        lambda case: any(case.proofs),
        _proofs,
    ),
    Remedy(
        "renew_lease",
        {"holder.lease_ended": False},
        _held(lambda case, held: held.dwelling_id is not None),
        _plain("登记新的租约", "registering the new lease"),
    ),
    Remedy(
        "more_visits",
        {"pass.limit_visits": 0, "pass.limit_visits_per_day": 0, "pass.limit_visit_hours": 0},
        _held(lambda case, held: any(name.startswith("visit") for name, _ in held.limits)),
        _plain("增加可进入次数或时间", "allowing the pass more visits"),
    ),
    Remedy(
        "others_leave",
        {"presence.others_inside": 0},
        _held(lambda case, held: any(name == "vehicles" for name, _ in held.limits)),
        _plain("同一出入证的其他车辆先离开", "the other vehicle of this pass leaving first"),
    ),
    Remedy(
        "register_exit",
        {"presence.inside": False, "presence.inside_minutes": 0},
        _held(lambda case, held: True),
        _plain("核实此车已离开", "making sure that this vehicle had left"),
    ),
    Remedy(
        "compare_plate",
        {"match.kind": "exact", "match.distance": 0.0, "match.rivals": 0, "passage.confidence": 1.0},
        lambda case: not _exact(case) and case.subject is not None,
        _compare,
    ),
    Remedy(
        "read_clearly",
        {"passage.confidence": 1.0},
        lambda case: case.situation.confidence is not None and _exact(case),
        _plain("核对车牌无误", "making sure by eye that the plate is right"),
    ),
    Remedy(
        "unlist",
        {"lists.block": False},
        lambda case: case.situation.credential is not None,
        _plain("移出禁行名单", "taking it off the block list"),
    ),
    Remedy(
        "issue",
        _ISSUED,
        lambda case: (
            case.situation.credential is not None
            and not any(one.facts.state._value_ == "active" for one in case.situation.candidates)
        ),
        _plain("办理出入证", "issuing a pass"),
    ),
)


def nearest_miss(lane: LanePolicy, facts: Facts, rule: Rule | None) -> Miss | None:
    """The fewest remedies with which the policy would grant what `rule` refused; None where none of them, nor
    waiting for up to a day, helps. Leaves `facts` as they are."""
    scratch = facts.branch({})
    case = facts.case
    useful: list[Remedy] = []
    for one in [*_calendar(facts), *_remedies(lane, rule)]:
        if one.applies(case) and _changes(one, scratch):
            if _grants(lane, scratch, one.facts):
                return _miss([one], case)
            useful.append(one)
    later = _later(lane, facts)
    if later is not None:
        return Miss(("wait",), _sentence(_until(case, later)))
    for pair in combinations(useful[:_MOST], 2):
        if _grants(lane, scratch, {**pair[0].facts, **pair[1].facts}):
            return _miss(list(pair), case)
    return None


def _remedies(lane: LanePolicy, rule: Rule | None) -> tuple[Remedy, ...]:
    """What may help at a lane: what changes a fact that this rule asks for, then what changes another's."""
    key = "" if rule is None else rule.id
    found: tuple[Remedy, ...] | None = lane.remedies.get(key)
    if found is None:
        own = frozenset() if rule is None else rule.condition.names
        useful = [one for one in REMEDIES if not lane.names.isdisjoint(one.facts)]
        found = tuple(sorted(useful, key=lambda one: own.isdisjoint(one.facts)))
        lane.remedies[key] = found
    return found


def _changes(remedy: Remedy, facts: Facts) -> bool:
    return any(name in facts.table and facts[name] != value for name, value in remedy.facts.items())


def _grants(lane: LanePolicy, facts: Facts, changed: Mapping[str, Any]) -> bool:
    rule = lane.settle(facts.branch(changed)).rule
    return rule is not None and rule.outcome is Outcome.GRANT


def _calendar(facts: Facts) -> list[Remedy]:
    """Windows of the calendar that are open now: what if they were not."""
    return [
        Remedy(
            f"after_{name.removeprefix('calendar.')}",
            {name: False},
            lambda case: True,
            _after(name.removeprefix("calendar.")),
        )
        for name in facts
        if name.startswith("calendar.") and facts[name]
    ]


def _after(window: str) -> Callable[[Case], Text]:
    def words(case: Case) -> Text:
        found = case.ground.calendar[window]
        ends = found.ends(case.local)
        zh, en = (f"（{ends:%H:%M}）", f" ({ends:%H:%M})") if ends is not None else ("", "")
        return Text(f"“{found.name.zh}”时段结束{zh}", f"waiting for the end of '{found.name.en}'{en}")

    return words


def _later(lane: LanePolicy, facts: Facts) -> datetime | None:
    """The first of the times of day that the policy names at which it would grant, within a day."""
    if not any(name.startswith("time.") for name in facts):
        return None
    case = facts.case
    local = case.local
    times = sorted({_next(local, clock.hour, clock.minute) for clock in lane.clocks})
    for at in times[:_MOST]:
        then = Case(case.situation, at, case.ground, case.judged_by)
        if _grants(lane, Facts(then, facts.table), {}):
            return at
    return None


def _next(local: datetime, hour: int, minute: int) -> datetime:
    at = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return at if at > local else at + _LATER


def _miss(remedies: list[Remedy], case: Case) -> Miss:
    words = [one.words(case) for one in remedies]
    both = Text("，并".join(one.zh for one in words), " and ".join(one.en for one in words))
    return Miss(tuple(one.code for one in remedies), _sentence(both))


def _sentence(words: Text) -> Text:
    return Text(f"{words.zh}后即可放行。", f"{words.en[:1].upper()}{words.en[1:]} lets it through.")
