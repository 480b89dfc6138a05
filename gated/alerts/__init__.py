"""Alerts: from what went wrong to something that a person of a grid is told, repeats folded into one.

`desk` folds and routes, `drafts` words them, `keeper` stores and announces those that belong to no passage
(those of a passage are stored with it). The ledger of steps (claim, hand over, close, call back) and
escalation build on this.
"""

from gated.alerts.desk import AlertDesk, Raised
from gated.alerts.drafts import (
    AWAY,
    allow_list_behind,
    box_clock_stepped,
    device_clock,
    device_offline,
    device_refused,
    district_away,
    lane_fault,
    lane_held_open,
    opened_alone,
    reads_late,
    sighted,
    tampered,
)
from gated.alerts.keeper import AlertKeeper

__all__ = [
    "AWAY",
    "AlertDesk",
    "AlertKeeper",
    "Raised",
    "allow_list_behind",
    "box_clock_stepped",
    "device_clock",
    "device_offline",
    "device_refused",
    "district_away",
    "lane_fault",
    "lane_held_open",
    "opened_alone",
    "reads_late",
    "sighted",
    "tampered",
]
