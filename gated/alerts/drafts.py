"""Alerts about the site itself: devices, clocks, barriers. Each says what is wrong and what to do, in both
languages; the `fold_key` says what it is about."""

from __future__ import annotations

from gated.domain import AlertDraft, Severity, Text

AWAY = Text("设备已离线，无法再测量时钟", "the device is away, and its clock cannot be measured any more")
NOT_CONFIGURED = Text("配置中已无此设备或通道", "it is no longer configured")
"""Why an alert ended though nobody settled it."""


def device_offline(device: str, why: str) -> AlertDraft:
    """A device is away."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="device_offline",
        text=Text(f"设备 {device} 离线：{why}。请检查电源和网络。", f"Device {device} is offline: {why}."),
        fold_key=f"device|{device}|offline",
        lasting=True,
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
        lasting=True,
    )


def device_clock(device: str, drift_s: float) -> AlertDraft:
    """A device's clock is off by more than its limit, as measured."""
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="device_clock",
        text=Text(
            f"设备 {device} 的时钟偏差 {drift_s:+.0f} 秒，请校时。",
            f"The clock of device {device} is off by {drift_s:+.0f} s; set it, or give it an NTP server.",
        ),
        fold_key=f"device|{device}|clock",
        lasting=True,
    )


def reads_late(device: str, seconds: float) -> AlertDraft:
    """What a device reads is not of now (negative: of the future), and nothing is known of its clock that
    explains it."""
    zh, en = ("早于", "behind") if seconds >= 0 else ("晚于", "ahead of")
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="reads_late",
        text=Text(
            f"设备 {device} 的识别时间{zh}本机 {abs(seconds):.0f} 秒，不会自动放行。请校时并检查网络。",
            f"Reads of device {device} are {abs(seconds):.0f} s {en} this box and open nothing; "
            "set its clock, and look at its network.",
        ),
        fold_key=f"device|{device}|late",
        lasting=True,
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
        lasting=True,
    )


def allow_list_behind(device: str, why: str) -> AlertDraft:
    """A device's own list is not what the passes say: while gated is down it would let in the wrong people,
    or keep the right ones out."""
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="allow_list_behind",
        text=Text(
            f"设备 {device} 的白名单未能与出入证同步：{why}。",
            f"The allow-list of device {device} is not in step with the passes: {why}.",
        ),
        fold_key=f"device|{device}|list",
        lasting=True,
    )


def opened_alone(device: str, credential: str, why: Text) -> AlertDraft:
    """A device let somebody in by itself, while gated was away, whom no pass covered."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="opened_alone",
        text=Text(
            f"设备 {device} 在离线期间自行放行了 {credential}：{why.zh}。",
            f"While gated was away, device {device} let {credential} in by itself: {why.en}.",
        ),
        fold_key=f"device|{device}|alone|{credential}",
    )


def district_away(why: str) -> AlertDraft:
    """The platform of the district cannot be told of passages."""
    return AlertDraft(
        severity=Severity.NOTICE,
        reason="district_away",
        text=Text(
            f"无法向上级平台报送过车记录：{why}。记录保留在本机，恢复后自动补报。",
            f"The platform of the district cannot be told of passages: {why}. They are kept, and told later.",
        ),
        fold_key="site|district",
        lasting=True,
        grid="site",
    )


def sighted(device: str, name: str, what: str, severity: Severity, grid: str | None) -> AlertDraft:
    """A device that watches saw something that people want to be told of."""
    zh, en = _SEEN.get(what, (what, what.replace("_", " ")))
    shown = name or device
    return AlertDraft(
        severity=severity,
        reason="seen",
        text=Text(f"{shown}：{zh}。请查看现场或图片。", f"{shown} reports: {en}."),
        fold_key=f"device|{device}|seen|{what}",
        grid=grid or "site",
    )


_SEEN = {
    "motion": ("有物体移动", "something moves"),
    "crossed": ("越界", "a line was crossed"),
    "inside": ("有人或车进入区域", "somebody or something is inside its area"),
    "left": ("有人或车离开区域", "somebody or something left its area"),
    "tamper": ("镜头被遮挡或移动", "somebody meddles with it"),
    "dark": ("画面过暗", "its picture is dark"),
    "scene_change": ("画面场景改变", "its scene has changed"),
    "video_loss": ("视频丢失", "its video is lost"),
    "vehicle_stays": ("车辆滞留", "a vehicle stays"),
    "door_forced": ("门被强行打开", "the door was forced"),
}


def tampered(device: str, what: str) -> AlertDraft:
    """A device reports that somebody meddles with it, or that it cannot see."""
    return AlertDraft(
        severity=Severity.WARNING,
        reason="tamper",
        text=Text(f"设备 {device} 报告异常：{what}。", f"Device {device} reports {what}."),
        fold_key=f"device|{device}|{what}",
    )
