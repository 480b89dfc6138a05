"""The sentences that go with each reason, in Chinese and English: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from gated.domain import Credential, CredentialKind, HourWindow, PassFacts, Text

GRANTED = {
    "pass_valid": Text("出入证有效，放行。", "The pass is valid; let through."),
    "exit_free": Text("出口放行。", "Leaving is free; let through."),
}

_DAYS_ZH = "一二三四五六日"
_DAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EVERY_DAY = 7


def refusal(
    reason: str,
    credential: Credential | None,
    found: PassFacts | None,
    now: datetime,
    zone: tzinfo,
    entrances: Mapping[str, Text],
) -> Text:
    """The sentence for a refusal. `found` is the pass that came nearest, where there is one; `entrances`
    are names by id."""
    zh, en = _subject(credential)
    if reason == "unreadable":
        return Text(
            "未能识别车牌，请人工核验。",
            "No plate could be read; check by eye, then open by hand or turn back.",
        )
    if reason == "low_confidence":
        return Text(
            f"{zh}识别不够清晰，请人工核对车牌。", f"{en} was not read clearly; compare the plate by eye."
        )
    if reason == "lane_closed":
        return Text("本通道已关闭，请走其他通道。", "This lane is closed; use another lane.")
    if found is None:
        return Text(
            f"{zh}没有出入证。可在门岗登记办理。",
            f"{en} has no pass. One can be issued at the guard post.",
        )
    if reason == "pass_expired":
        day = _local(found.valid_until, zone)
        ago_zh, ago_en = _span(now - found.valid_until)
        return Text(
            f"{zh}的出入证已于{ago_zh}前（{_day_zh(day)}）到期，续期后即可放行。",
            f"The pass of {en} expired {ago_en} ago ({day:%d %b %H:%M}); renewing it lets this vehicle in.",
        )
    if reason == "pass_not_yet_valid":
        day = _local(found.valid_from, zone)
        return Text(
            f"{zh}的出入证自{_day_zh(day)}起生效，现在还未生效。",
            f"The pass of {en} is valid from {day:%d %b %H:%M}; it is too early.",
        )
    if reason == "pass_revoked":
        when = _local(found.revoked_at, zone) if found.revoked_at else None
        return Text(
            f"{zh}的出入证已{'于' + _day_zh(when) if when else ''}注销，不得放行，请联系值班人员。",
            f"The pass of {en} was revoked{f' on {when:%d %b %H:%M}' if when else ''}; "
            "do not let through, call the staff on duty.",
        )
    if reason == "other_entrance":
        names = [entrances.get(one) or Text(one, one) for one in found.entrances or ()]
        return Text(
            f"{zh}的出入证不适用于本出入口，请走：{'、'.join(name.zh for name in names) or '—'}。",
            f"The pass of {en} is for other entrances: {', '.join(name.en for name in names) or '-'}.",
        )
    return Text(
        f"{zh}的出入证现在不在通行时段内。通行时段：{_hours_zh(found.hours)}。",
        f"The pass of {en} does not cover this hour. It covers: {_hours_en(found.hours)}.",
    )


def _subject(credential: Credential | None) -> tuple[str, str]:
    if credential is None:
        return "该车", "this vehicle"
    if credential.kind is CredentialKind.PLATE:
        return credential.value, credential.value
    if credential.kind is CredentialKind.CARD:
        return f"卡{credential.value}", f"card {credential.value}"
    return "该二维码", "this code"


def _local(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone)


def _day_zh(day: datetime) -> str:
    return f"{day.month}月{day.day}日{day:%H:%M}"


def _span(length: timedelta) -> tuple[str, str]:
    if length >= timedelta(days=1):
        days = length.days
        return f"{days}天", f"{days} day{'s' if days > 1 else ''}"
    hours = length // timedelta(hours=1)
    if hours:
        return f"{hours}小时", f"{hours} hour{'s' if hours > 1 else ''}"
    minutes = max(1, length // timedelta(minutes=1))
    return f"{minutes}分钟", f"{minutes} minute{'s' if minutes > 1 else ''}"


def _hours_zh(windows: Sequence[HourWindow]) -> str:
    parts = []
    for window in windows:
        days = (
            "每天"
            if len(window.days) == _EVERY_DAY
            else "周" + "、".join(_DAYS_ZH[d] for d in sorted(window.days))
        )
        parts.append(f"{days}{window.since:%H:%M}至{window.until:%H:%M}")
    return "；".join(parts)


def _hours_en(windows: Sequence[HourWindow]) -> str:
    parts = []
    for window in windows:
        days = (
            "daily" if len(window.days) == _EVERY_DAY else ", ".join(_DAYS_EN[d] for d in sorted(window.days))
        )
        parts.append(f"{days} {window.since:%H:%M}-{window.until:%H:%M}")
    return "; ".join(parts)
