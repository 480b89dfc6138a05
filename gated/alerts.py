"""Alerts: from what went wrong to something that a person of a grid is told, repeats folded into one.

`AlertDesk` gives an alert its id, its grid and its place among the open ones; it does no I/O. Who stores and
publishes gets, with each alert, the message that announces it. The ledger of steps (claim, hand over, close,
call back) and escalation build on this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gated.domain import Alert, AlertDraft, Severity, Text
from gated.ids import new_id
from gated.outbox import alert_message
from gated.store.records import OutboxMessage

FOLD_WITHIN = timedelta(minutes=10)
"""A repeat within this time of the last one is counted into the same alert."""

_OPEN_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as it stands now, and the message that says so."""

    alert: Alert
    message: OutboxMessage


class AlertDesk:
    """The open alerts that may still be folded into, by what they are about. `grids`: entrance to grid.
    `default_grid`: for what belongs to no entrance."""

    def __init__(self, grids: Mapping[str, str], default_grid: str) -> None:
        self.grids = grids
        self.default_grid = default_grid
        self._open: OrderedDict[str, Alert] = OrderedDict()

    def restore(self, alerts: Iterable[tuple[str, Alert]]) -> None:
        """Takes in the alerts that were open before a restart, by fold key."""
        for key, alert in alerts:
            self._open[key] = alert

    def raised(
        self,
        draft: AlertDraft,
        now: datetime,
        *,
        entrance: str | None = None,
        lane: str | None = None,
        device: str | None = None,
        passage_id: str | None = None,
    ) -> Raised:
        """A new alert, or a repeat of an open one of the same kind about the same thing."""
        known = self._open.pop(draft.fold_key, None)
        if known is not None and now - known.updated_at <= FOLD_WITHIN:
            alert = replace(
                known,
                count=known.count + 1,
                updated_at=now,
                text=draft.text,
                passage_id=passage_id or known.passage_id,
            )
            message = alert_message(alert, "update")
        else:
            alert = Alert(
                id=new_id(now),
                grid=self.grids.get(entrance or "", self.default_grid),
                severity=draft.severity,
                reason=draft.reason,
                text=draft.text,
                state="open",
                raised_at=now,
                updated_at=now,
                lane=lane,
                device=device,
                passage_id=passage_id,
            )
            message = alert_message(alert, "new")
        self._open[draft.fold_key] = alert
        while len(self._open) > _OPEN_KEPT:
            self._open.popitem(last=False)
        return Raised(alert, message)

    def ended(self, fold_key: str, now: datetime) -> Raised | None:
        """What the alert was about is over (the device is back): closes it, if it is open."""
        known = self._open.pop(fold_key, None)
        if known is None:
            return None
        alert = replace(known, state="closed", updated_at=now)
        return Raised(alert, alert_message(alert, "end"))


# --- alerts about the site itself -------------------------------------------------------------------------


def device_offline(device: str, why: str) -> AlertDraft:
    """A device is away."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="device_offline",
        text=Text(f"设备 {device} 离线：{why}。请检查电源和网络。", f"Device {device} is offline: {why}."),
        fold_key=f"device|{device}|offline",
    )


def device_refused(device: str, why: str) -> AlertDraft:
    """A device does not accept our credentials."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="device_refused",
        text=Text(
            f"设备 {device} 拒绝登录：{why}。请核对用户名和密码。",
            f"Device {device} refuses us: {why}. Check its user and password.",
        ),
        fold_key=f"device|{device}|offline",
    )


def device_clock(device: str, drift_s: float) -> AlertDraft:
    """A device's clock is off by more than its limit."""
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="device_clock",
        text=Text(
            f"设备 {device} 的时钟偏差 {drift_s:+.0f} 秒，请校时。",
            f"The clock of device {device} is off by {drift_s:+.0f} s; set it, or give it an NTP server.",
        ),
        fold_key=f"device|{device}|clock",
    )


def box_clock_stepped(seconds: float) -> AlertDraft:
    """The box's own clock was moved."""
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="clock_stepped",
        text=Text(
            f"本机时钟被调整了 {seconds:+.0f} 秒。", f"The clock of this box was moved by {seconds:+.0f} s."
        ),
        fold_key="site|clock",
    )


def lane_fault(lane: str, outcome: str, detail: str) -> AlertDraft:
    """An opening did not work, or nobody knows whether it did."""
    return AlertDraft(
        severity=Severity.CRITICAL,
        reason=f"opening_{outcome}",
        text=Text(
            f"通道 {lane} 道闸未能确认开启（{detail}），请到现场查看。",
            f"The barrier of lane {lane} may not have opened ({outcome}: {detail}); go and look.",
        ),
        fold_key=f"lane|{lane}|opening",
    )


def lane_held_open(lane: str) -> AlertDraft:
    """The fire input holds a lane open."""
    return AlertDraft(
        severity=Severity.CRITICAL,
        reason="held_open",
        text=Text(
            f"通道 {lane} 因消防联动保持开启。",
            f"Lane {lane} is held open by the fire input.",
        ),
        fold_key=f"lane|{lane}|fire",
    )


def tampered(device: str, what: str) -> AlertDraft:
    """A device reports that somebody meddles with it, or that it cannot see."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="tamper",
        text=Text(f"设备 {device} 报告异常：{what}。", f"Device {device} reports {what}."),
        fold_key=f"device|{device}|{what}",
    )
