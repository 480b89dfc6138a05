"""Facts of what the site remembers and how it stands: presence, refusals, the lane, the lists."""

from __future__ import annotations

from datetime import timedelta

from gated.domain import LaneMode, ListName
from rules.facts.base import Case, FactType, fact

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_JUST_OPENED_S = 30


# --- presence ---------------------------------------------------------------------------------------------


def _since_inside(case: Case) -> timedelta | None:
    held, credential = case.held, case.situation.credential
    if held is None or credential is None:
        return None
    since = case.situation.site.inside_since(held.pass_id, credential, case.now)
    return None if since is None else max(timedelta(0), case.now - since)


@fact("presence.inside", FactType.BOOL, "此车（人）在内", "whether this credential of the pass is inside")
def _(case: Case) -> bool:
    return _since_inside(case) is not None


@fact(
    "presence.inside_minutes",
    FactType.INT,
    "已在内的整分钟数，不在内为 0",
    "full minutes that it has been inside; 0 if it is not",
)
def _(case: Case) -> int:
    length = _since_inside(case)
    return 0 if length is None else length // _MINUTE


@fact(
    "presence.others_inside",
    FactType.INT,
    "同一出入证的其他凭证在内的数量",
    "how many other credentials of the same pass are inside",
)
def _(case: Case) -> int:
    held, credential = case.held, case.situation.credential
    if held is None or credential is None:
        return 0
    return case.situation.site.others_inside(held.pass_id, credential, case.now)


@fact("presence.entries", FactType.INT, "此出入证累计进入次数", "entries on this pass so far, in all")
def _(case: Case) -> int:
    held = case.held
    known = None if held is None else case.situation.site.presence(held.pass_id)
    return 0 if known is None else known.entries


@fact("presence.entries_today", FactType.INT, "此出入证今天进入次数", "entries on this pass today")
def _(case: Case) -> int:
    held = case.held
    known = None if held is None else case.situation.site.presence(held.pass_id)
    return known.today if known is not None and known.day == case.local.date() else 0


@fact(
    "presence.first_entry_hours",
    FactType.INT,
    "距首次进入的整小时数，未进入过为 0",
    "full hours since the first entry on this pass; 0 if there was none",
)
def _(case: Case) -> int:
    held = case.held
    known = None if held is None else case.situation.site.presence(held.pass_id)
    if known is None or known.first_entry is None:
        return 0
    return max(0, (case.now - known.first_entry) // _HOUR)


# --- history ----------------------------------------------------------------------------------------------


@fact(
    "history.refusals",
    FactType.INT,
    "过去一小时内此凭证未放行的次数（不含本次）",
    "how often this very credential was not let through within the last hour, before this passage",
)
def _(case: Case) -> int:
    credential = case.situation.credential
    return 0 if credential is None else case.situation.site.refusals(credential, case.now)


# --- lane and site ----------------------------------------------------------------------------------------


@fact(
    "lane.mode",
    FactType.STRING,
    "通道模式：normal 正常、held_open 消防常开、closed 关闭、fault 故障",
    "how the lane works now: normal, held_open (by the fire input), closed (by an operator), fault",
    values=tuple(mode.value for mode in LaneMode),
)
def _(case: Case) -> str:
    return case.situation.lane_mode._value_


@fact(
    "lane.open_for_other",
    FactType.BOOL,
    "道闸（能看到位置的）正为另一辆车开着（跟车）",
    "whether the boom is seen to be up for another vehicle, let through within the last 30 s; false where the"
    " boom's position is not known",
)
def _(case: Case) -> bool:
    situation = case.situation
    if not situation.site.boom_is_open(situation.lane):
        return False
    last = situation.site.last_granted(situation.lane)
    if last is None or last.credential == situation.credential:
        return False
    return 0 <= (case.now - last.at).total_seconds() <= _JUST_OPENED_S


@fact(
    "lane.volunteers",
    FactType.INT,
    "此时应在岗的志愿者人数（按政策的值班表）",
    "volunteers on duty at the entrance now, by the policy's duty table",
)
def _(case: Case) -> int:
    entrance, local = case.situation.entrance, case.local
    return sum(
        duty.volunteers
        for duty in case.ground.duties
        if (duty.entrances is None or entrance in duty.entrances) and duty.window.is_open(local)
    )


@fact(
    "site.occupancy",
    FactType.INT,
    "凭出入证在内的车辆（人）数",
    "how many vehicles or people are inside on passes",
)
def _(case: Case) -> int:
    return case.situation.site.occupancy(case.now)


# --- what devices saw -------------------------------------------------------------------------------------


def _seen(name: str, length: timedelta, zh: str, en: str) -> None:
    @fact(f"seen.{name}", FactType.STRINGS, f"过去{zh}内值守设备看到的，如 crossed cam-road",
          f"what watching devices saw within the last {en}, as crossed cam-road")  # fmt: skip
    def _(case: Case) -> list[str]:
        return list(case.situation.site.seen(case.now, length))


_seen("last_minute", _MINUTE, "一分钟", "minute")
_seen("last_10_minutes", 10 * _MINUTE, "十分钟", "ten minutes")
_seen("last_hour", _HOUR, "一小时", "hour")


# --- lists ------------------------------------------------------------------------------------------------


def _listed(name: ListName, zh: str, en: str) -> None:
    @fact(f"lists.{name.value}", FactType.BOOL, zh, en)
    def _(case: Case) -> bool:
        credential = case.situation.credential
        return credential is not None and name in case.situation.site.lists(credential, case.now)


_listed(ListName.BLOCK, "在禁行名单上", "whether the credential is on the block list")
_listed(ListName.WATCH, "在关注名单上", "whether it is on the watch list")
_listed(ListName.EMERGENCY, "在应急车辆名单上", "whether it is on the list of emergency vehicles")
