"""Checks of the devices: each is entered as the daemon would, all at once, and says how that went.

Opens no barrier. An adapter that breaks its promise (another error than the three of `gated.ports`) is
reported as a fault of gated, not of the device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from gated.check.machine import drift_words
from gated.check.results import Result, State
from gated.config import LoadAdapter, SiteConfig
from gated.domain import Text
from gated.ports import (
    AllowList,
    Barrier,
    ConfigError,
    Device,
    DeviceConfig,
    DeviceContext,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Receiver,
    UnparsedLog,
)

_AT_ONCE = 32
_LEAVE_S = 5.0

_ADVICE = {
    State.OFFLINE: Text(
        "检查电源、网线、交换机和配置中的地址；从本机能否连通？应答慢的设备可加 --timeout 30。",
        "Look at power, cable, switch and the address in gated.yaml, and reach for it from this machine; "
        "for a slow one give --timeout 30.",
    ),
    State.REFUSED: Text(
        "核对用户名、密码和该用户的权限；不少摄像机另有 ONVIF 用户。见 docs/devices。",
        "Check user and password, and what this user may do; many cameras have users for ONVIF alone. See "
        "docs/devices.",
    ),
    State.MISCONFIGURED: Text(
        "按提示改正 gated.yaml 中该设备一节；见 docs/devices。",
        "Correct its section in gated.yaml; see docs/devices.",
    ),
    State.FAILED: Text("这是 gated 的缺陷，请报告。", "This is a fault in gated: report it, with this line."),
    State.WARNING: Text(
        "把设备的 NTP 服务器设为本机；在此之前 gated 按测得的偏差校正。",
        "Set its NTP server to this machine's; until then gated corrects its times by what it measures.",
    ),
}


async def devices(
    config: SiteConfig,
    load_adapter: LoadAdapter,
    *,
    now: Callable[[], datetime],
    unparsed: UnparsedLog,
    timeout_s: float,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """One result a device, in the order of the configuration; `done` hears of each as it comes. `timeout_s`
    is for each device."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(section: DeviceConfig) -> Result:
        async with slots:
            result = await _one(section, config, load_adapter, now, unparsed, timeout_s)
        done(result)
        return result

    found = await asyncio.gather(*(one(section) for section in config.devices))
    return list(found)


async def _one(
    section: DeviceConfig,
    config: SiteConfig,
    load_adapter: LoadAdapter,
    now: Callable[[], datetime],
    unparsed: UnparsedLog,
    timeout_s: float,
) -> Result:
    def result(state: State, message: str, hint: str = "", details: dict[str, str] | None = None) -> Result:
        known = {"type": section.type, **(details or {})}
        advice = _push_advice(config) if state is State.WAITING else _ADVICE.get(state)
        return Result("device", section.id, state, message, hint, known, advice)

    page = f"docs/devices/{section.type}.md"
    try:
        device: Device = load_adapter(section.type).create(
            section, DeviceContext(id=section.id, now=now, unparsed=unparsed)
        )
        missing = list(_missing_powers(device, config))
        if missing:
            return result(State.MISCONFIGURED, missing[0], f"name another device for it; see {page}")
        if isinstance(device, Receiver):
            said = f"pushes to /ingest/{section.id}; whether it does is seen when gated runs"
            return result(State.WAITING, said, _push_hint(section, config))
        info = await _enter(device, timeout_s)
    except DeviceUnavailable as error:
        hint = f"is it powered and on the network? Check {_where(section)}from this machine"
        return result(State.OFFLINE, _said(error), hint)
    except TimeoutError:
        hint = f"it may be busy or behind a filter; check {_where(section)}or give --timeout"
        return result(State.OFFLINE, f"no answer within {timeout_s:.0f} s", hint)
    except DeviceRefused as error:
        hint = f"check its user and password, and that this user may do it; see {page}"
        return result(State.REFUSED, _said(error), hint)
    except ConfigError as error:
        return result(State.MISCONFIGURED, _said(error), f"correct its section in gated.yaml; see {page}")
    except Exception as error:  # an adapter's own fault must not hide the other devices
        return result(State.FAILED, f"{type(error).__name__}: {error}", "this is a fault in gated: report it")
    return _entered(info, config, result)


async def _enter(device: Device, timeout_s: float) -> DeviceInfo:
    async with asyncio.timeout(timeout_s):
        await device.__aenter__()
    try:
        return device.info
    finally:
        # Leaving tidies up at the device (it unsubscribes); a device that dies just then is no news.
        try:
            async with asyncio.timeout(_LEAVE_S):
                await device.__aexit__(None, None, None)
        except (DeviceUnavailable, DeviceRefused, TimeoutError):
            pass


def _entered(info: DeviceInfo, config: SiteConfig, result: Callable[..., Result]) -> Result:
    details = {
        name: getattr(info, name) for name in ("vendor", "model", "firmware", "serial") if getattr(info, name)
    }
    shown = (
        " ".join(details[name] for name in ("vendor", "model", "firmware") if name in details) or "answers"
    )
    drift = info.clock_drift
    if drift is None:
        return result(State.OK, shown, "", details)
    details["clock_drift_s"] = f"{drift.total_seconds():.3f}"
    words = f"{shown}, {drift_words(drift)}"
    if abs(drift.total_seconds()) * 1000 > config.clock.drift_limit_ms:
        hint = "set its NTP server to this machine's; until then gated corrects its times by what it measures"
        return result(State.WARNING, words, hint, details)
    return result(State.OK, words, "", details)


def _missing_powers(device: Device, config: SiteConfig) -> Iterator[str]:
    """What a lane wants of this device that it cannot do."""
    for lane in config.lanes:
        if lane.barrier is not None and lane.barrier.device == device.id and not isinstance(device, Barrier):
            yield f"lane {lane.id!r} names it as its barrier, but it cannot open one"
        if lane.listed_on == device.id and not isinstance(device, AllowList):
            yield (
                f"lane {lane.id!r} has fail_mode list, but it holds no list: name another device under "
                "allow_list, or take another fail_mode"
            )


def _push_hint(section: DeviceConfig, config: SiteConfig) -> str:
    return f"set its push address to {_ingest(config)}/{section.id} with its token"


def _push_advice(config: SiteConfig) -> Text:
    where = f"{_ingest(config)}/ID"
    return Text(
        f"在设备上把推送地址设为 {where} 并填入令牌；gated 运行后在 /api/v1/devices 查看。",
        f"Set its push address to {where} with its token; GET /api/v1/devices shows it while gated runs.",
    )


def _ingest(config: SiteConfig) -> str:
    host = config.api.host if config.api.host not in {"0.0.0.0", "::"} else "<this machine>"  # noqa: S104
    return f"http://{host}:{config.api.port}/ingest"


def _where(section: Any) -> str:
    host, port = getattr(section, "host", None), getattr(section, "port", None)
    return f"{host}:{port} " if host and port else f"{host} " if host else ""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
