"""Facts of the passage itself: where, when, what was read, and how well."""

from __future__ import annotations

from gated.domain import CredentialKind
from rules.facts.base import Case, FactType, fact
from rules.facts.plates import PLATE_KINDS, plate_kind

_PLATE = CredentialKind.PLATE
_CLASSES = {
    "lcv": "van",
    "minivan": "van",
    "microbus": "van",
    "suv": "car",
    "sedan": "car",
    "coach": "bus",
    "lorry": "truck",
    "heavytruck": "truck",
    "motorbike": "motorcycle",
    "motor": "motorcycle",
    "twowheeler": "motorcycle",
}


@fact("passage.lane", FactType.STRING, "通道编号", "id of the lane")
def _(case: Case) -> str:
    return case.situation.lane


@fact("passage.entrance", FactType.STRING, "出入口编号", "id of the entrance")
def _(case: Case) -> str:
    return case.situation.entrance


@fact("passage.direction", FactType.STRING, "方向", "which way the lane leads", values=("in", "out"))
def _(case: Case) -> str:
    return case.situation.direction._value_


@fact("passage.readable", FactType.BOOL, "读到了凭证", "whether a credential was read at all")
def _(case: Case) -> bool:
    return case.situation.credential is not None


@fact(
    "passage.credential_kind",
    FactType.STRING,
    "凭证种类；没有读到为 none",
    "what was presented; none where nothing was read",
    values=("plate", "card", "code", "none"),
)
def _(case: Case) -> str:
    credential = case.situation.credential
    return "none" if credential is None else credential.kind._value_


@fact(
    "passage.credential",
    FactType.STRING,
    "读到的凭证（规范写法），没有为空",
    "the credential as read, in its normal form; empty where nothing was read",
)
def _(case: Case) -> str:
    credential = case.situation.credential
    return "" if credential is None else credential.value


@fact(
    "passage.confidence",
    FactType.DOUBLE,
    "识别置信度 0 到 1；设备没有给出时为 1",
    "how sure the device was, 0.0 to 1.0; 1.0 where it does not say",
)
def _(case: Case) -> float:
    confidence = case.situation.confidence
    return 1.0 if confidence is None else confidence


@fact(
    "passage.plate_kind",
    FactType.STRING,
    "车牌种类；不是车牌为 none",
    "what kind of plate it is by its writing; none where it is no plate",
    values=PLATE_KINDS,
)
def _(case: Case) -> str:
    credential = case.situation.credential
    return plate_kind(credential.value) if credential is not None and credential.kind is _PLATE else "none"


@fact(
    "passage.plate_color",
    FactType.STRING,
    "车牌颜色：blue 蓝、yellow 黄、green 绿、white 白、black 黑、yellow_green 黄绿；未知为空",
    "colour of the plate as seen: blue, yellow, green, white, black, yellow_green; empty if unknown",
)
def _(case: Case) -> str:
    return case.situation.details.get("plate_color", "").lower()


@fact(
    "passage.vehicle_class",
    FactType.STRING,
    "车型：car 轿车、van 面包车、truck 货车、bus 客车、motorcycle 摩托车；未知为空",
    "class of the vehicle as the camera saw it: car, van, truck, bus, motorcycle; empty if unknown",
)
def _(case: Case) -> str:
    details = case.situation.details
    seen = (details.get("vehicle_class") or details.get("vehicle_type") or "").lower().replace("_", "")
    return _CLASSES.get(seen, seen)


@fact(
    "passage.fake_plate",
    FactType.BOOL,
    "摄像机认为是假牌",
    "whether the camera takes the plate for a forgery",
)
def _(case: Case) -> bool:
    return case.situation.details.get("fake_plate") == "true"


@fact("time.now", FactType.TIME, "通行时间", "when the passage happened, on the corrected clock")
def _(case: Case) -> object:
    return case.now


@fact("time.date", FactType.STRING, "当地日期，如 2026-12-05", "the day at the site, as 2026-12-05")
def _(case: Case) -> str:
    return case.local.date().isoformat()


@fact("time.clock", FactType.STRING, "当地时刻，如 06:30", "the time at the site, as 06:30; compares as text")
def _(case: Case) -> str:
    local = case.local
    return f"{local.hour:02}:{local.minute:02}"


@fact("time.hour", FactType.INT, "当地小时 0 到 23", "the hour at the site, 0 to 23")
def _(case: Case) -> int:
    return case.local.hour


@fact("time.weekday", FactType.INT, "星期，1 为周一，7 为周日", "day of the week, 1 Monday to 7 Sunday")
def _(case: Case) -> int:
    return case.local.isoweekday()


@fact("time.holiday", FactType.BOOL, "日历中的节假日", "whether the calendar has this day as a holiday")
def _(case: Case) -> bool:
    return case.local.date() in case.ground.holidays
