"""Facts as people read them: values in both languages, and the parts of sentences that only can be said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from gated.domain import CredentialKind, HourWindow, Text
from rules.facts.base import Case, FactType, fact
from rules.windows import DAYS

_DAYS_ZH = "一二三四五六日"
_EVERY_DAY = 7
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def shown(value: Any, type_: FactType, zone: tzinfo) -> Text:
    """A value of a fact in words."""
    if type_ is FactType.TEXT:
        text: Text = value
        return text
    if type_ is FactType.TIME:
        return moment(value, zone)
    if type_ is FactType.BOOL:
        return Text("是", "yes") if value else Text("否", "no")
    if type_ is FactType.STRINGS:
        return Text("、".join(value), ", ".join(value))
    if type_ is FactType.DOUBLE:
        return Text(f"{value:.2f}", f"{value:.2f}")
    return Text(str(value), str(value))


def moment(at: datetime, zone: tzinfo) -> Text:
    """A time at the site."""
    day = at.astimezone(zone)
    clock = f"{day.hour:02}:{day.minute:02}"
    return Text(f"{day.month}月{day.day}日{clock}", f"{day.day:02} {_MONTHS[day.month - 1]} {clock}")


def span(length: timedelta) -> Text:
    """A length of time, roughly."""
    if length >= timedelta(days=1):
        days = length.days
        return Text(f"{days}天", f"{days} day{'s' if days > 1 else ''}")
    hours = length // timedelta(hours=1)
    if hours:
        return Text(f"{hours}小时", f"{hours} hour{'s' if hours > 1 else ''}")
    minutes = max(1, length // timedelta(minutes=1))
    return Text(f"{minutes}分钟", f"{minutes} minute{'s' if minutes > 1 else ''}")


def hours(windows: Sequence[HourWindow]) -> Text:
    """The weekly windows of a pass."""
    zh, en = [], []
    for window in windows:
        every = len(window.days) == _EVERY_DAY
        days = sorted(window.days)
        zh_days = "每天" if every else "周" + "、".join(_DAYS_ZH[day] for day in days)
        en_days = "daily" if every else ", ".join(DAYS[day].capitalize() for day in days)
        zh.append(f"{zh_days}{window.since:%H:%M}至{window.until:%H:%M}")
        en.append(f"{en_days} {window.since:%H:%M}-{window.until:%H:%M}")
    return Text("；".join(zh), "; ".join(en))


@fact(
    "subject",
    FactType.TEXT,
    "通行的车（人）：车牌、卡号或“该车”",
    "what passes: the plate, the card, or this vehicle",
)
def _(case: Case) -> Text:
    credential = case.situation.credential
    if credential is None:
        return Text("该车", "this vehicle")
    if credential.kind is CredentialKind.PLATE:
        return Text(credential.value, credential.value)
    if credential.kind is CredentialKind.CARD:
        return Text(f"卡{credential.value}", f"card {credential.value}")
    return Text("该二维码", "this code")


@fact("lane.name", FactType.TEXT, "通道名称", "name of the lane")
def _(case: Case) -> Text:
    lane = case.situation.lane
    return case.ground.lanes.get(lane) or Text(lane, lane)


@fact("passage.entrance_name", FactType.TEXT, "出入口名称", "name of the entrance")
def _(case: Case) -> Text:
    return _entrance(case, case.situation.entrance)


@fact(
    "pass.entrance_names",
    FactType.TEXT,
    "出入证适用的出入口名称",
    "names of the entrances that the pass is for",
)
def _(case: Case) -> Text:
    held = case.held
    names = [_entrance(case, one) for one in (held.entrances or ())] if held is not None else []
    return Text("、".join(name.zh for name in names) or "—", ", ".join(name.en for name in names) or "-")


@fact("pass.hours", FactType.TEXT, "出入证的通行时段", "the hours of the pass")
def _(case: Case) -> Text:
    held = case.held
    return hours(held.hours) if held is not None and held.hours else Text("全天", "at any time")


@fact("pass.expired_for", FactType.TEXT, "过期多久，如“3天”", "how long ago the pass expired, as 3 days")
def _(case: Case) -> Text:
    held = case.held
    return span(timedelta(0) if held is None else case.now - held.valid_until)


@fact(
    "pass.revoked_when",
    FactType.TEXT,
    "注销时间，如“于11月15日06:00”；未知为空",
    "when it was revoked, as ' on 15 Nov 06:00'; empty if unknown",
)
def _(case: Case) -> Text:
    held = case.held
    if held is None or held.revoked_at is None:
        return Text("", "")
    when = moment(held.revoked_at, case.ground.zone)
    return Text(f"于{when.zh}", f" on {when.en}")


@fact("proof.missing_names", FactType.TEXT, "缺少的证明名称", "names of the demanded proofs that it lacks")
def _(case: Case) -> Text:
    return _names(proof.name for proof in case.proofs[0])


@fact(
    "proof.outdated_names",
    FactType.TEXT,
    "已过期的证明名称",
    "names of the demanded proofs that are outdated",
)
def _(case: Case) -> Text:
    return _names(proof.name for proof in case.proofs[1])


def _names(found: Any) -> Text:
    names = list(found)
    return Text("、".join(name.zh for name in names), ", ".join(name.en for name in names))


def _entrance(case: Case, entrance: str) -> Text:
    return case.ground.entrances.get(entrance) or Text(entrance, entrance)
