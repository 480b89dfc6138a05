"""Facts of the match, the pass, its holder and the proofs it carries.

`pass.*` is about the pass that the passage is judged by: the exact match, or else the nearest (`match.kind`
says which). Where there is none, numbers are 0, texts empty, and whatever would let somebody in is false.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gated.domain import Dwelling
from rules.facts.base import Case, FactType, fact, live
from rules.windows import within_hours

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


# --- match ------------------------------------------------------------------------------------------------


@fact(
    "match.kind",
    FactType.STRING,
    "匹配方式：exact 完全一致、near 相近、none 没有",
    "how the credential matches a pass: exact, near (a misread could mean it), none",
    values=("exact", "near", "none"),
)
def _(case: Case) -> str:
    subject = case.subject
    return "none" if subject is None else "near" if subject.distance else "exact"


@fact(
    "match.distance",
    FactType.DOUBLE,
    "与出入证凭证的差异；0 为一致，易混字符各计 0.5，其他改动各计 1",
    "how far the read is from the pass's credential: 0.0 is equal; look-alikes cost 0.5, other edits 1.0",
)
def _(case: Case) -> float:
    subject = case.subject
    return 0.0 if subject is None else float(subject.distance)


@fact(
    "match.edits",
    FactType.STRING,
    "从识读到出入证凭证的改动，如 5:8→B",
    "the edits from what was read to the pass's credential, as 5:8→B",
)
def _(case: Case) -> str:
    subject = case.subject
    return "" if subject is None else subject.edits


@fact(
    "match.credential",
    FactType.STRING,
    "出入证上的凭证（相近时与识读不同）",
    "the pass's own credential; differs from the read where the match is near",
)
def _(case: Case) -> str:
    subject = case.subject
    return "" if subject is None else (subject.value or _shown(case))


@fact(
    "match.rivals",
    FactType.INT,
    "同样相近的其他有效出入证数",
    "how many other live passes are near as well; 0 for an exact match",
)
def _(case: Case) -> int:
    return rivals(case)


def rivals(case: Case) -> int:
    """Other live passes that a near match could mean as well."""
    subject = case.subject
    if subject is None or not subject.distance:
        return 0
    mine = subject.facts.pass_id
    return len({one.facts.pass_id for one in case.near if live(one.facts, case.now)} - {mine})


def _shown(case: Case) -> str:
    credential = case.situation.credential
    return "" if credential is None else credential.value


# --- pass -------------------------------------------------------------------------------------------------


@fact("pass.found", FactType.BOOL, "有出入证（完全一致或相近）", "whether there is a pass, exact or near")
def _(case: Case) -> bool:
    return case.subject is not None


@fact("pass.id", FactType.STRING, "出入证编号", "id of the pass")
def _(case: Case) -> str:
    held = case.held
    return "" if held is None else held.pass_id


@fact("pass.kind", FactType.STRING, "出入证种类", "kind of the pass, as staff wrote it")
def _(case: Case) -> str:
    held = case.held
    return "" if held is None else held.kind


@fact(
    "pass.state",
    FactType.STRING,
    "状态：active 有效、revoked 已注销、none 无",
    "what staff did with it: active, revoked; none where there is no pass",
    values=("active", "revoked", "none"),
)
def _(case: Case) -> str:
    held = case.held
    return "none" if held is None else held.state._value_


@fact(
    "pass.live",
    FactType.BOOL,
    "未注销且在有效期内",
    "whether it is in force: not revoked, begun, not expired",
)
def _(case: Case) -> bool:
    held = case.held
    return held is not None and live(held, case.now)


@fact("pass.expired", FactType.BOOL, "已过有效期", "whether its validity is over")
def _(case: Case) -> bool:
    held = case.held
    return held is not None and case.now >= held.valid_until


@fact(
    "pass.expired_hours",
    FactType.INT,
    "过期的整小时数，未过期为 0",
    "full hours since it expired; 0 if it has not",
)
def _(case: Case) -> int:
    held = case.held
    return 0 if held is None else max(0, (case.now - held.valid_until) // _HOUR)


@fact(
    "pass.expired_days",
    FactType.INT,
    "过期的整天数，未过期为 0",
    "full days since it expired; 0 if it has not",
)
def _(case: Case) -> int:
    held = case.held
    return 0 if held is None else max(0, (case.now - held.valid_until) // _DAY)


@fact("pass.days_left", FactType.INT, "剩余的整天数", "full days until it expires; 0 if it has")
def _(case: Case) -> int:
    held = case.held
    return 0 if held is None else max(0, (held.valid_until - case.now) // _DAY)


@fact("pass.not_yet_valid", FactType.BOOL, "还未生效", "whether its validity has not begun")
def _(case: Case) -> bool:
    held = case.held
    return held is not None and case.now < held.valid_from


@fact("pass.valid_from", FactType.TIME, "生效时间", "when it becomes valid")
def _(case: Case) -> datetime:
    held = case.held
    return case.now if held is None else held.valid_from


@fact("pass.valid_until", FactType.TIME, "到期时间", "when it expires (exclusive)")
def _(case: Case) -> datetime:
    held = case.held
    return case.now if held is None else held.valid_until


@fact("pass.here", FactType.BOOL, "适用于本出入口", "whether it is for this entrance")
def _(case: Case) -> bool:
    held = case.held
    return held is not None and (held.entrances is None or case.situation.entrance in held.entrances)


@fact(
    "pass.entrances", FactType.STRINGS, "适用的出入口，空为全部", "the entrances that it is for; empty: all"
)
def _(case: Case) -> list[str]:
    held = case.held
    return [] if held is None or held.entrances is None else list(held.entrances)


@fact("pass.in_hours", FactType.BOOL, "在通行时段内", "whether this hour is one of its hours")
def _(case: Case) -> bool:
    held = case.held
    return held is not None and (not held.hours or within_hours(held.hours, case.local))


def _limit(name: str, zh: str, en: str) -> None:
    @fact(f"pass.limit_{name}", FactType.INT, f"{zh}，0 为不限", f"{en}; 0: no limit")
    def _(case: Case) -> int:
        held = case.held
        if held is not None:
            for word, value in held.limits:
                if word == name:
                    return value
        return 0


_limit("visits", "总共可进入次数", "entries that it allows in all")
_limit("visits_per_day", "每天可进入次数", "entries that it allows on one day")
_limit("visit_hours", "首次进入后可用的小时数", "hours from the first entry within which it may be used")
_limit("vehicles", "可同时在内的车辆数", "vehicles of this pass that may be inside at once")
_limit("stay_hours", "一次可停留的小时数", "hours that one stay may last")


@fact(
    "pass.attestations",
    FactType.STRINGS,
    "出入证附带的、当天仍有效的查验证明种类",
    "kinds of the attestations that it carries and that are in force on this day",
)
def _(case: Case) -> list[str]:
    held = case.held
    if held is None or not held.attestations:
        return []
    today = case.local.date()
    return sorted(
        {
            one.kind
            for one in held.attestations
            if one.issued_on <= today and (one.valid_until is None or today <= one.valid_until)
        }
    )


@fact(
    "pass.attestation_dates",
    FactType.STRINGS,
    "出入证附带的全部查验证明及其日期，如 tenancy 2026-06-01..2027-05-31",
    "all attestations that it carries, with their days, as tenancy 2026-06-01..2027-05-31",
)
def _(case: Case) -> list[str]:
    held = case.held
    if held is None:
        return []
    return [
        f"{one.kind} {one.issued_on.isoformat()}..{one.valid_until.isoformat() if one.valid_until else ''}"
        for one in held.attestations
    ]


# --- proof ------------------------------------------------------------------------------------------------


@fact(
    "proof.ok",
    FactType.BOOL,
    "政策要求的证明齐全且未过期",
    "whether the pass carries every proof that the policy demands of it here and today, none outdated",
)
def _(case: Case) -> bool:
    missing, outdated = case.proofs
    return not missing and not outdated


@fact("proof.missing", FactType.STRINGS, "缺少的证明种类", "kinds of the demanded proofs that it lacks")
def _(case: Case) -> list[str]:
    return [proof.kind for proof in case.proofs[0]]


@fact(
    "proof.outdated", FactType.STRINGS, "已过期的证明种类", "kinds of the demanded proofs that are outdated"
)
def _(case: Case) -> list[str]:
    return [proof.kind for proof in case.proofs[1]]


# --- holder -----------------------------------------------------------------------------------------------


def _dwelling(case: Case) -> Dwelling | None:
    held = case.held
    if held is None or held.dwelling_id is None:
        return None
    return case.situation.site.dwelling(held.dwelling_id)


@fact("holder.dwelling", FactType.STRING, "持证人住所编号", "id of the holder's dwelling; empty if unknown")
def _(case: Case) -> str:
    held = case.held
    return "" if held is None or held.dwelling_id is None else held.dwelling_id


@fact("holder.grid", FactType.STRING, "持证人住所所在网格", "grid of the holder's dwelling; empty if unknown")
def _(case: Case) -> str:
    dwelling = _dwelling(case)
    return "" if dwelling is None else dwelling.grid


@fact(
    "holder.tenure",
    FactType.STRING,
    "住所性质：owned 自有、rented 租住、unknown 未登记",
    "how the holder lives there: owned, rented; unknown where no dwelling is registered",
    values=("owned", "rented", "unknown"),
)
def _(case: Case) -> str:
    dwelling = _dwelling(case)
    return dwelling.tenure if dwelling is not None and dwelling.tenure in ("owned", "rented") else "unknown"


@fact("holder.lease_ended", FactType.BOOL, "租约已到期", "whether the lease of the dwelling is over")
def _(case: Case) -> bool:
    dwelling = _dwelling(case)
    return (
        dwelling is not None and dwelling.lease_until is not None and case.local.date() > dwelling.lease_until
    )


@fact(
    "holder.lease_days_left",
    FactType.INT,
    "租约剩余天数，含最后一天；没有租约或已到期为 0",
    "days that the lease still holds, its last one included; 0 if there is none, or it is over",
)
def _(case: Case) -> int:
    dwelling = _dwelling(case)
    if dwelling is None or dwelling.lease_until is None:
        return 0
    return max(0, (dwelling.lease_until - case.local.date()).days + 1)
