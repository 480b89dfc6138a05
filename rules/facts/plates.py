"""What kind of plate a normalised plate is, by its writing alone.

Grammar: province, letter, five (or, for new-energy vehicles, six) characters; 警 学 港 澳 挂 使 领 急 at an
end (GA 36-2018); 应急 plates of the fire and rescue force end in 应急 or X…; WJ and 武警 plates begin so.
"""

from __future__ import annotations

import re

PLATE_KINDS = (
    "ordinary",
    "new_energy",
    "police",
    "learner",
    "hong_kong",
    "macau",
    "trailer",
    "embassy",
    "rescue",
    "armed_police",
    "military",
    "other",
    "none",
)
_ENDS = {
    "警": "police",
    "学": "learner",
    "港": "hong_kong",
    "澳": "macau",
    "挂": "trailer",
    "使": "embassy",
    "领": "embassy",
    "急": "rescue",
}
_PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
_ORDINARY = re.compile(f"[{_PROVINCES}][A-Z][0-9A-HJ-NP-Z]{{5}}").fullmatch
_NEW_ENERGY = re.compile(
    f"[{_PROVINCES}][A-Z](?:[A-HJK][0-9A-HJ-NP-Z][0-9]{{4}}|[0-9]{{5}}[A-HJK])"
).fullmatch
_ARMED_POLICE = re.compile(f"WJ[{_PROVINCES}]?[0-9A-Z]{{4,6}}").fullmatch
_MILITARY = re.compile("[QVKHBSLJNGCE][A-Z][0-9]{5}").fullmatch


def plate_kind(plate: str) -> str:
    """One of `PLATE_KINDS`."""
    if _ORDINARY(plate):
        return "ordinary"
    if _NEW_ENERGY(plate):
        return "new_energy"
    if plate[-1:] in _ENDS:
        return _ENDS[plate[-1]]
    if plate[:1] in ("使", "领"):
        return "embassy"
    if _ARMED_POLICE(plate):
        return "armed_police"
    return "military" if _MILITARY(plate) else "other"
