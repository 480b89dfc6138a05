"""The village policy that gated ships with, as somebody would write it in Python by hand: the peer of
`rules`.

The same rules in the same order over the same situations, with the same sentences; without receipts, nearest
misses and a policy that anybody could change. A test keeps the two of one mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from gated.domain import (
    AlertDraft,
    Candidate,
    CredentialKind,
    Decision,
    Direction,
    LaneMode,
    ListName,
    Outcome,
    PassState,
    Severity,
    Text,
)
from rules.facts.plates import plate_kind
from rules.facts.show import hours, moment, span
from rules.situation import Situation
from rules.windows import within_hours

_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_PASSBACK_MINUTES = 0
_ON_DUTY = frozenset({"armed_police", "rescue"})
_LET_THROUGH = Text("出入证有效，放行。", "The pass is valid; let through.")


@dataclass(frozen=True, slots=True)
class Said:
    """An outcome, by which rule, for which pass, and whom it tells."""

    outcome: Outcome
    rule: str
    text: Text
    severity: Severity | None = None
    pass_id: str | None = None


def decide(situation: Situation, now: datetime, zone: tzinfo) -> Decision:
    """As `rules.decide` with the default policy does."""
    said = outcome(situation, now, zone)
    credential = situation.credential
    shown = credential.value if credential is not None else ""
    alerts: list[AlertDraft] = []
    if said.severity is not None:
        key = f"{situation.lane}|{said.rule}|{shown}"
        alerts.append(AlertDraft(severity=said.severity, reason=said.rule, text=said.text, fold_key=key))
    alerts += _told(situation, now, said)
    return Decision(
        outcome=said.outcome,
        reason=said.rule,
        explanation=said.text,
        rule_id=said.rule,
        pass_id=said.pass_id,
        alerts=tuple(alerts),
    )


def outcome(situation: Situation, now: datetime, zone: tzinfo) -> Said:  # noqa: PLR0912  # a list of rules
    """The first rule that decides."""
    site, credential, entering = situation.site, situation.credential, situation.direction is Direction.IN
    exact = situation.candidates
    known = exact[0].facts.pass_id if exact else None
    lists = site.lists(credential, now) if credential is not None else frozenset()
    subject = _subject(situation)
    is_plate = credential is not None and credential.kind is CredentialKind.PLATE
    if ListName.EMERGENCY in lists or (
        is_plate and credential is not None and plate_kind(credential.value) in _ON_DUTY
    ):
        text = Text(
            f"{subject.zh}为应急车辆，立即放行。",
            f"{subject.en} is an emergency vehicle; let through at once.",
        )
        return Said(Outcome.GRANT, "emergency_vehicle", text, Severity.NOTICE, known)
    if situation.lane_mode is LaneMode.CLOSED:
        text = Text("本通道已关闭，请走其他通道。", "This lane is closed; use another lane.")
        return Said(Outcome.DENY, "lane_closed", text, Severity.WARNING, known)
    if ListName.BLOCK in lists:
        text = Text(
            f"{subject.zh}在禁行名单上，不得放行，请联系值班人员。",
            f"{subject.en} is on the block list; do not let through, call the staff on duty.",
        )
        return Said(Outcome.DENY, "blocked", text, Severity.CRITICAL, known)
    if situation.details.get("fake_plate") == "true":
        text = Text(
            f"摄像机认为{subject.zh}是假牌，请人工核验。",
            f"The camera takes the plate {subject.en} for a forgery; check it by eye.",
        )
        return Said(Outcome.REFER, "fake_plate", text, Severity.WARNING, known)
    if credential is None:
        text = Text(
            "未能识别车牌，请人工核验。",
            "No plate could be read; check by eye, then open by hand or turn back.",
        )
        return Said(Outcome.REFER, "unreadable", text, Severity.NOTICE)
    confidence = 1.0 if situation.confidence is None else situation.confidence
    near: Sequence[Candidate] = ()
    if exact:
        found = exact[0]
    else:
        near = situation.near()
        if not near:
            text = Text(
                f"{subject.zh}没有出入证。可在门岗登记办理。",
                f"{subject.en} has no pass. One can be issued at the guard post.",
            )
            return Said(Outcome.REFER, "no_pass", text, Severity.NOTICE)
        found = near[0]
        others = {one.facts.pass_id for one in near if one.facts.valid_from <= now < one.facts.valid_until}
        if others - {found.facts.pass_id} or found.distance > 0.5 or confidence < 0.85:
            text = Text(
                f"{subject.zh}没有出入证，但与{found.value}相近（{found.edits}）。",
                f"{subject.en} has no pass, but is like {found.value} ({found.edits}).",
            )
            return Said(Outcome.REFER, "near_match", text, Severity.NOTICE)
    held = found.facts
    pass_id = held.pass_id if exact else None
    if held.state is PassState.REVOKED:
        when = moment(held.revoked_at, zone) if held.revoked_at is not None else Text("", "")
        text = Text(
            f"{subject.zh}的出入证已于{when.zh}注销，不得放行，请联系值班人员。",
            f"The pass of {subject.en} was revoked on {when.en}; do not let through, call the staff on duty.",
        )
        return Said(Outcome.DENY, "pass_revoked", text, Severity.WARNING, pass_id)
    if now < held.valid_from:
        when = moment(held.valid_from, zone)
        text = Text(
            f"{subject.zh}的出入证自{when.zh}起生效，现在还未生效。",
            f"The pass of {subject.en} is valid from {when.en}; it is too early.",
        )
        return Said(Outcome.REFER, "pass_not_yet_valid", text, Severity.NOTICE, pass_id)
    if now >= held.valid_until:
        when, ago = moment(held.valid_until, zone), span(now - held.valid_until)
        text = Text(
            f"{subject.zh}的出入证已于{ago.zh}前（{when.zh}）到期。",
            f"The pass of {subject.en} expired {ago.en} ago ({when.en}).",
        )
        return Said(Outcome.REFER, "pass_expired", text, Severity.NOTICE, pass_id)
    if held.entrances is not None and situation.entrance not in held.entrances:
        names = ", ".join(held.entrances)
        text = Text(
            f"{subject.zh}的出入证不适用于本出入口，请走：{names}。",
            f"The pass of {subject.en} is for other entrances: {names}.",
        )
        return Said(Outcome.REFER, "other_entrance", text, Severity.NOTICE, pass_id)
    if held.hours and not within_hours(held.hours, now.astimezone(zone)):
        when = hours(held.hours)
        text = Text(
            f"{subject.zh}的出入证现在不在通行时段内。通行时段：{when.zh}。",
            f"The pass of {subject.en} does not cover this hour. It covers: {when.en}.",
        )
        return Said(Outcome.REFER, "outside_hours", text, Severity.NOTICE, pass_id)
    if confidence < 0.6:
        text = Text(
            f"{subject.zh}识别不够清晰，请人工核对车牌。",
            f"{subject.en} was not read clearly; compare the plate by eye.",
        )
        return Said(Outcome.REFER, "low_confidence", text, Severity.NOTICE, pass_id)
    if entering:
        dwelling = site.dwelling(held.dwelling_id) if held.dwelling_id is not None else None
        if (
            dwelling is not None
            and dwelling.lease_until is not None
            and now.astimezone(zone).date() > dwelling.lease_until
        ):
            text = Text(
                f"{subject.zh}持证人的租约已到期，请到村委会更新登记。",
                f"The lease of the holder of {subject.en} is over; the village office must renew the entry.",
            )
            return Said(Outcome.REFER, "lease_ended", text, Severity.NOTICE, pass_id)
        limits = dict(held.limits)
        presence = site.presence(held.pass_id)
        if limits and presence is not None:
            if limits.get("visits") and presence.entries >= limits["visits"]:
                return Said(Outcome.REFER, "visits_used_up", _LET_THROUGH, Severity.NOTICE, pass_id)
            today = presence.today if presence.day == now.astimezone(zone).date() else 0
            if limits.get("visits_per_day") and today >= limits["visits_per_day"]:
                return Said(Outcome.REFER, "visits_today_used_up", _LET_THROUGH, Severity.NOTICE, pass_id)
            if (
                limits.get("visit_hours")
                and presence.first_entry is not None
                and (now - presence.first_entry) // _HOUR >= limits["visit_hours"]
            ):
                return Said(Outcome.REFER, "visit_over", _LET_THROUGH, Severity.NOTICE, pass_id)
        if limits.get("vehicles") and site.others_inside(held.pass_id, credential, now) >= limits["vehicles"]:
            return Said(Outcome.REFER, "vehicles_inside", _LET_THROUGH, Severity.NOTICE, pass_id)
        since = site.inside_since(held.pass_id, credential, now)
        if since is not None and (now - since) // _MINUTE < _PASSBACK_MINUTES:
            return Said(Outcome.REFER, "passback", _LET_THROUGH, Severity.WARNING, pass_id)
    if near:
        text = Text(
            f"识读为{subject.zh}，应为{found.value}（{found.edits}），出入证有效，放行。",
            f"Read as {subject.en}, taken for {found.value} ({found.edits}); the pass is valid, let through.",
        )
        return Said(Outcome.GRANT, "near_pass_valid", text, Severity.INFO, held.pass_id)
    return Said(Outcome.GRANT, "pass_valid", _LET_THROUGH, None, pass_id)


def _told(situation: Situation, now: datetime, said: Said) -> list[AlertDraft]:
    """The rules that only alert."""
    site, credential = situation.site, situation.credential
    refused = said.outcome is not Outcome.GRANT
    found: list[AlertDraft] = []
    if credential is not None and ListName.WATCH in site.lists(credential, now):
        found.append(_draft(situation, "watched"))
    if refused:
        last = site.last_granted(situation.lane) if site.boom_is_open(situation.lane) else None
        if last is not None and last.credential != credential and (now - last.at).total_seconds() <= 30:
            found.append(_draft(situation, "tailgating"))
        if credential is not None and site.refusals(credential, now) >= 3:
            found.append(_draft(situation, "repeated_refusals"))
    elif situation.direction is Direction.OUT and situation.candidates:
        held = situation.candidates[0].facts
        allowed = dict(held.limits).get("stay_hours", 0)
        since = (
            site.inside_since(held.pass_id, credential, now) if allowed and credential is not None else None
        )
        if since is not None and (now - since) // _MINUTE >= allowed * 60:
            found.append(_draft(situation, "overstay"))
    return found


def _draft(situation: Situation, reason: str) -> AlertDraft:
    shown = situation.credential.value if situation.credential is not None else ""
    return AlertDraft(
        severity=Severity.WARNING,
        reason=reason,
        text=_LET_THROUGH,
        fold_key=f"{situation.lane}|{reason}|{shown}",
    )


def _subject(situation: Situation) -> Text:
    credential = situation.credential
    if credential is None:
        return Text("该车", "this vehicle")
    if credential.kind is CredentialKind.PLATE:
        return Text(credential.value, credential.value)
    return Text(f"卡{credential.value}", f"card {credential.value}")
