"""From the file's models to a policy that runs, or every reason why not: names, types, sentences, scopes,
reach.

Pure. What it is checked against beyond the file (entrances, lanes, grids) is given as `SiteNames`; a policy
of long ago, whose entrances may be gone, is built without.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from string import Formatter

from gated.domain import Direction, Text
from rules.cel import CelErrors, CelType, Environment, Expression
from rules.facts import TABLE, FactType
from rules.ground import Duty, Ground, Proof
from rules.model import Limit, Only, PolicyModel, RuleModel, Say, WindowModel
from rules.policy import Elsewhere, Part, Policy, Rule, Scope, Sentence, Tell, sentence, table_of
from rules.problems import Path, PolicyRefused, Problem, did_you_mean
from rules.reach import unreached
from rules.windows import DAYS, Window, dates_of, hours_of

CEL_TYPES: Mapping[FactType, CelType] = {
    FactType.BOOL: CelType.BOOL,
    FactType.INT: CelType.INT,
    FactType.DOUBLE: CelType.DOUBLE,
    FactType.STRING: CelType.STRING,
    FactType.STRINGS: CelType.STRINGS,
    FactType.TIME: CelType.TIME,
}
AFTER_DECISION: Mapping[str, tuple[FactType, str, str]] = {
    "decision.outcome": (
        FactType.STRING,
        "判定结果：grant、refer、deny",
        "what was decided: grant, refer, deny",
    ),
    "decision.reason": (FactType.STRING, "判定的原因代码", "the reason code of the decision"),
}
"""What only rules that alert may ask, for they are looked at when the decision is made."""

_LIMIT_TYPES: Mapping[type, FactType] = {
    bool: FactType.BOOL,
    int: FactType.INT,
    float: FactType.DOUBLE,
    str: FactType.STRING,
}
_ZH = {"entrance": "出入口", "lane": "通道", "grid": "网格"}
_COMPARED = re.compile(r"""(?P<name>[a-z]+\.[a-z_]+)\s*(?:[=!<>]=|[<>])\s*(['"])(?P<text>.*?)\2""")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_ROUTES = frozenset({"entrance", "holder", "site"})


@dataclass(frozen=True, slots=True)
class LaneName:
    """A lane of the site."""

    entrance: str
    direction: Direction
    name: Text


@dataclass(frozen=True, slots=True)
class SiteNames:
    """What a policy may refer to. `checked` False: the site is not known (or not what it was); ids stand for
    themselves."""

    zone: tzinfo = UTC
    entrances: Mapping[str, Text] = field(default_factory=dict)
    lanes: Mapping[str, LaneName] = field(default_factory=dict)
    grids: Collection[str] = ()
    checked: bool = True


def hash_of(text: str) -> str:
    """The version of a policy: the hash of its file."""
    return hashlib.sha256(text.encode()).hexdigest()


def build(model: PolicyModel, text: str, site: SiteNames) -> Policy:
    """The policy. `text`: the whole file. Raises PolicyRefused with every problem."""
    return _Builder(model, site).policy(text)


class _Builder:
    def __init__(self, model: PolicyModel, site: SiteNames) -> None:
        self._model = model
        self._site = site
        self._problems: list[Problem] = []
        self._types = _types(model)
        self._env = Environment(_cel(self._types))
        after = {name: type_ for name, (type_, _, _) in AFTER_DECISION.items()}
        self._after_types = {**self._types, **after}
        self._after_env = Environment(_cel(self._after_types))

    def policy(self, text: str) -> Policy:
        model = self._model
        ground = self._ground()
        elsewhere = tuple(self._elsewhere())
        rules = tuple(self._rules())
        if self._problems:
            raise PolicyRefused(self._problems)
        policy = Policy(
            hash=hash_of(text),
            text=text,
            name=model.name.text(),
            ground=ground,
            rules=rules,
            limits=dict(model.limits),
            elsewhere=elsewhere,
            groups=model.groups,
            table=table_of(ground),
        )
        self._problems += unreached(policy, self._lanes())
        if self._problems:
            raise PolicyRefused(self._problems)
        return policy

    def _lanes(self) -> list[tuple[str, str, Direction]]:
        """Every lane that there is; without a site, one for each way a scope could fit."""
        if self._site.lanes:
            return [(id_, lane.entrance, lane.direction) for id_, lane in self._site.lanes.items()]
        scopes = [rule.only for rule in self._model.rules]
        lanes = sorted({lane for scope in scopes for lane in scope.lanes}) or [""]
        entrances = sorted({one for scope in scopes for one in scope.entrances}) or [""]
        return [
            (lane, entrance, direction)
            for lane in {*lanes, ""}
            for entrance in {*entrances, ""}
            for direction in Direction
        ]

    def _note(
        self, path: Path, message: str, hint: str = "", zh: str = "", line: int = 1, column: int = 1
    ) -> None:
        self._problems.append(Problem(path, message, hint, zh, line, column))

    # --- names --------------------------------------------------------------------------------------------

    def _known(self, path: Path, id_: str, what: str, known: Collection[str]) -> None:
        if self._site.checked and id_ not in known:
            hint = did_you_mean(id_, known) or f"there are: {', '.join(sorted(known)[:12])}"
            self._note(path, f"no {what} has the id {id_!r}", hint, f"没有编号为 {id_!r} 的{_ZH[what]}")

    def _entrances(self, path: Path, ids: Sequence[str]) -> None:
        for index, id_ in enumerate(ids):
            self._known((*path, "entrances", index), id_, "entrance", self._site.entrances)

    def _scope(self, path: Path, only: Only) -> Scope:
        before = len(self._problems)
        self._entrances(path, only.entrances)
        for index, lane_id in enumerate(only.lanes):
            self._known((*path, "lanes", index), lane_id, "lane", self._site.lanes)
        scope = Scope(frozenset(only.entrances), frozenset(only.lanes), only.direction)
        if self._site.checked and self._site.lanes and len(self._problems) == before:
            lanes = self._site.lanes.items()
            if not any(scope.covers(id_, lane.entrance, lane.direction) for id_, lane in lanes):
                self._note(path, "fits no lane of this site", "loosen it", "没有任何通道符合此范围")
        return scope

    # --- sections -----------------------------------------------------------------------------------------

    def _ground(self) -> Ground:
        model, site = self._model, self._site
        for index, duty in enumerate(model.duty):
            self._entrances(("duty", index), duty.entrances)
        for index, proof in enumerate(model.proofs):
            self._entrances(("proofs", index), proof.entrances)
        return Ground(
            zone=site.zone,
            entrances=site.entrances,
            lanes={id_: lane.name for id_, lane in site.lanes.items()},
            holidays=frozenset(day for dates in model.holidays for day in dates_of(dates)),
            calendar={name: _window(name, one) for name, one in model.calendar.items()},
            proofs=tuple(
                Proof(
                    kind=one.proof,
                    name=one.name.text(),
                    pass_kinds=frozenset(one.pass_kinds) or None,
                    entrances=frozenset(one.entrances) or None,
                    since=one.since,
                    until=one.until,
                    max_age_days=one.max_age_days,
                )
                for one in model.proofs
            ),
            duties=tuple(
                Duty(
                    window=Window(Text("", ""), tuple(map(hours_of, one.hours)), _days(one.days)),
                    volunteers=one.volunteers,
                    entrances=frozenset(one.entrances) or None,
                )
                for one in model.duty
            ),
        )

    def _elsewhere(self) -> Iterator[Elsewhere]:
        limits = self._model.limits
        for index, one in enumerate(self._model.elsewhere):
            path: Path = ("elsewhere", index)
            scope = self._scope((*path, "only"), one.only)
            for name, value in one.limits.items():
                if name not in limits:
                    hint = did_you_mean(name, limits) or "give its usual value under `limits:` first"
                    self._note((*path, "limits", name), f"no limit is called {name!r}", hint, "未知的参数")
                elif _limit_type(value) is not _limit_type(limits[name]):
                    wanted = _limit_type(limits[name]).value
                    self._note(
                        (*path, "limits", name),
                        f"{value!r} is no {wanted}, as the usual value is",
                        "",
                        "值的类型不对",
                    )
            yield Elsewhere(scope, dict(one.limits))

    def _rules(self) -> Iterator[Rule]:
        first: dict[str, int] = {}
        for index, one in enumerate(self._model.rules):
            path: Path = ("rules", index)
            if one.id in first:
                self._note(
                    (*path, "id"),
                    f"the id {one.id!r} is taken by rules[{first[one.id]}]",
                    "ids are in records: give each its own",
                    "编号重复",
                )
            first.setdefault(one.id, index)
            scope = self._scope((*path, "only"), one.only)
            condition = self._condition((*path, "when"), one)
            say = None if one.say is None else self._sentence((*path, "say"), one.say, one.outcome is None)
            if one.alert is not None and one.alert.route not in _ROUTES:
                self._known((*path, "alert", "route"), one.alert.route, "grid", self._site.grids)
            if condition is not None:
                tell = None if one.alert is None else Tell(one.alert.severity, one.alert.route)
                yield Rule(
                    one.id, one.outcome, one.reason or one.id, condition, say, tell, scope, one.note or ""
                )

    def _condition(self, path: Path, rule: RuleModel) -> Expression | None:
        env = self._after_env if rule.outcome is None else self._env
        types = self._after_types if rule.outcome is None else self._types
        try:
            found = env.compile(rule.condition)
        except CelErrors as errors:
            for error in errors.errors:
                hint = error.hint
                if error.name:
                    hint = did_you_mean(error.name, types) or hint
                    if "." not in error.name:
                        hint = f"a text stands in quotes: '{error.name}'"
                    if error.name in self._after_types:
                        hint = "only rules that alert (`then: alert`) know the decision"
                    elif error.name in TABLE:
                        hint = "it can only be said, not asked"
                self._note(path, error.message, hint, error.zh, error.line, error.column)
            return None
        if (wrong := _wrong_text(rule.condition)) is not None:
            self._note(path, *wrong)
            return None
        if found.returns is not CelType.BOOL:
            self._note(
                path,
                f"gives {found.returns}, not true or false",
                "compare it with something",
                "条件的结果必须是真或假",
            )
            return None
        return found

    def _sentence(self, path: Path, say: Say, after: bool) -> Sentence:
        zh = tuple(self._parts((*path, "zh"), say.zh, after))
        return sentence(zh, zh if say.en == say.zh else tuple(self._parts((*path, "en"), say.en, after)))

    def _parts(self, path: Path, text: str, after: bool) -> Iterator[Part]:
        types = self._after_types if after else self._types
        known = {**types, **{name: one.type for name, one in TABLE.items()}}
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            self._note(
                path, f"has a brace without its partner ({error})", "write {{ for a brace", "花括号不成对"
            )
            return
        for literal, name, form, conversion in pieces:
            if literal:
                yield literal
            if name is None:
                continue
            if form or conversion:
                self._note(
                    path, f"{{{name}}} has a format", "a fact is said as it is: {pass.kind}", "不支持格式说明"
                )
            elif name not in known:
                hint = did_you_mean(name, known)
                self._note(
                    path,
                    f"no fact is called {name!r}",
                    hint,
                    f"没有名为 {name!r} 的事实",
                    column=text.find(name) + 1,
                )
            else:
                yield name, known[name]


def _wrong_text(condition: str) -> tuple[str, str, str, int, int] | None:
    """A text that a fact is compared with and can never be: message, hint, zh, line, column."""
    for found in _COMPARED.finditer(condition):
        name, text = found["name"], found["text"]
        place = found.start("text")
        at = condition.count("\n", 0, place) + 1, place - condition.rfind("\n", 0, place)
        if name == "time.clock" and not _CLOCK.fullmatch(text):
            return (
                f"{text!r} is no time of day",
                "write it like '05:00' or '22:00'",
                "时刻须写成 '05:00' 的形式",
                *at,
            )
        fact = TABLE.get(name)
        if fact is not None and fact.values and text not in fact.values:
            hint = did_you_mean(text, fact.values)
            return f"{text!r} is not one of: {', '.join(fact.values)}", hint, "取值不在允许范围内", *at
    return None


def _types(model: PolicyModel) -> dict[str, FactType]:
    """Everything that a condition may ask, by name."""
    found: dict[str, FactType] = {
        name: one.type for name, one in TABLE.items() if one.type is not FactType.TEXT
    }
    found |= {f"calendar.{name}": FactType.BOOL for name in model.calendar}
    found |= {f"limits.{name}": _limit_type(value) for name, value in model.limits.items()}
    found |= {f"groups.{name}": FactType.STRINGS for name in model.groups}
    return found


def _cel(types: Mapping[str, FactType]) -> dict[str, CelType]:
    return {name: CEL_TYPES[type_] for name, type_ in types.items() if type_ in CEL_TYPES}


def _limit_type(value: Limit) -> FactType:
    return _LIMIT_TYPES[type(value)]


def _window(name: str, one: WindowModel) -> Window:
    return Window(
        name=one.name.text() if one.name is not None else Text(name, name),
        hours=tuple(map(hours_of, one.hours)),
        days=_days(one.days),
        dates=frozenset(day for dates in one.dates for day in dates_of(dates)),
    )


def _days(days: Sequence[str]) -> frozenset[int]:
    return frozenset(map(DAYS.index, days))
