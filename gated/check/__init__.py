"""`gated check`: whether a configuration would work here and now, and what to do where it would not.

Looks at the file, its secrets, the policy, the clock, the packages, the store, the broker, the HTTP port and
every device; changes nothing anywhere. Tells "offline", "refused" and "misconfigured" apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from gated.check import devices as device_checks
from gated.check import machine, services
from gated.check.policy import policy
from gated.check.results import PROBLEMS, Result, State
from gated.config import ConfigErrors, LoadAdapter, SiteConfig, load
from gated.ports import UnparsedLog

__all__ = ["PROBLEMS", "Result", "State", "check", "check_site"]


async def check(
    path: Path,
    load_adapter: LoadAdapter,
    *,
    now: Callable[[], datetime],
    unparsed: UnparsedLog,
    timeout_s: float = 10.0,
    with_devices: bool = True,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Everything about the configuration in `path`, in the order of the report. `timeout_s`: for the broker
    and for each device. `done` hears of each result as it comes. Raises nothing for what it finds."""
    try:
        config = load(path, load_adapter)
    except ConfigErrors as errors:
        found = [
            Result(
                "config",
                f"{p.file}:{p.line}",
                State.MISCONFIGURED,
                f"{p.path}: {p.message}".removeprefix(": "),
                p.hint,
                {"zh": p.zh} if p.zh else {},
            )
            for p in errors.problems
        ]
        for result in found:
            done(result)
        return found
    lanes, sections = len(config.lanes), len(config.devices)
    first = Result(
        "config",
        str(path),
        State.OK,
        f"{config.site.id}: {len(config.entrances)} entrances, {lanes} lanes, {sections} devices, "
        f"{len(config.grids)} grids",
    )
    done(first)
    local = list(machine.config_file(path))
    for result in local:
        done(result)
    rest = await check_site(
        config,
        load_adapter,
        now=now,
        unparsed=unparsed,
        timeout_s=timeout_s,
        with_devices=with_devices,
        done=done,
    )
    return [first, *local, *rest]


async def check_site(
    config: SiteConfig,
    load_adapter: LoadAdapter,
    *,
    now: Callable[[], datetime],
    unparsed: UnparsedLog,
    timeout_s: float = 10.0,
    with_devices: bool = True,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """As `check`, for a configuration that is loaded already."""
    local = [
        *machine.secrets(config),
        *await asyncio.to_thread(policy, config),
        *machine.clock(config, now(), machine.kernel_synchronised),
        *await asyncio.to_thread(lambda: list(machine.install())),
    ]
    for result in local:
        done(result)
    groups = [
        services.store(config, timeout_s),
        services.broker(config, timeout_s),
        services.http(config, timeout_s),
    ]
    found: list[Result] = []
    for group in await asyncio.gather(*groups):
        found += group
        for result in group:
            done(result)
    if with_devices:
        found += await device_checks.devices(
            config, load_adapter, now=now, unparsed=unparsed, timeout_s=timeout_s, done=done
        )
    return [*local, *found]
