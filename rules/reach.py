"""Whether every rule can decide something, and whether something always decides. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gated.domain import Direction
from rules.cel import Proven, contradiction, implied_by_any, uncovered
from rules.facts import TABLE
from rules.policy import LanePolicy, Policy, Rule
from rules.problems import Problem

Constants = Mapping[str, Any]

DOMAINS = {name: one.values for name, one in TABLE.items() if one.values}


def unreached(policy: Policy, lanes: Iterable[tuple[str, str, Direction]]) -> Iterator[Problem]:
    """A problem for every rule that cannot decide at any of its lanes, and one if a passage could end without
    a decision. What cannot be proven within its budget is taken for right."""
    index = {rule.id: number for number, rule in enumerate(policy.rules)}
    seen: dict[int, tuple[LanePolicy, str]] = {}
    for lane, entrance, direction in lanes:
        compiled = policy.at(lane, entrance, direction)
        seen.setdefault(id(compiled), (compiled, lane))
    reached: set[str] = set()
    shadowed: dict[str, Rule | None] = {}
    gaps: list[tuple[str, dict[str, Any]]] = []
    # a limit may be a switch: a rule that it turns off today is not unreachable
    groups: Constants = {f"groups.{name}": values for name, values in policy.groups.items()}
    for compiled, lane in seen.values():
        earlier: list[Rule] = []
        for rule in compiled.deciding:
            by = _shadow(rule, earlier, groups)
            if by is _REACHED:
                reached.add(rule.id)
            else:
                shadowed.setdefault(rule.id, by if isinstance(by, Rule) else None)
            earlier.append(rule)
        for rule in compiled.alerting:
            if contradiction(rule.condition, groups, DOMAINS) is Proven.YES:
                shadowed.setdefault(rule.id, None)
            else:
                reached.add(rule.id)
        gap = uncovered([rule.condition for rule in compiled.deciding], groups, DOMAINS)
        if gap is not None:
            gaps.append((lane, gap))
    for rule_id, shadow in shadowed.items():
        if rule_id not in reached:
            yield _dead(index[rule_id], shadow)
    if gaps:
        lane, gap = gaps[0]
        example = ", ".join(f"{name}={value}" for name, value in sorted(gap.items())[:6])
        yield Problem(
            ("rules",),
            f"a passage can end undecided{f' at {lane}' if lane else ''}"
            + (f", for example with {example}" if example else ""),
            "end with a rule without `when:` that refers",
            "存在任何规则都不判定的情况，请在最后加一条无条件的 refer 规则",
        )


_REACHED = object()


def _shadow(rule: Rule, earlier: list[Rule], groups: Constants) -> object:
    """The rule that takes every case of this one; None if it is several together, or it contradicts
    itself."""
    if contradiction(rule.condition, groups, DOMAINS) is Proven.YES:
        return None
    if implied_by_any(rule.condition, [one.condition for one in earlier], groups, DOMAINS) is not Proven.YES:
        return _REACHED
    for one in earlier:
        if implied_by_any(rule.condition, [one.condition], groups, DOMAINS) is Proven.YES:
            return one
    return None


def _dead(index: int, shadow: Rule | None) -> Problem:
    if shadow is None:
        message = "can never hold: it contradicts itself, or the rules before it take every case"
    else:
        message = f"is never reached: {shadow.id!r} before it takes every case"
    return Problem(
        ("rules", index, "when"), message, "move it up, or take it out", "此规则永远不会生效，请上移或删除"
    )
