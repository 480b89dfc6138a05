"""`gated simulate`: a process with a double for every device of a configuration, until Ctrl-C.

On loopback only: a configuration with a real device's address is refused, so that no traffic is made up
beside real vehicles.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from gated.cli import output, setting
from gated.config import SiteConfig
from gated.demo.passes import PEOPLE
from gated.demo.passes import issue as issue_passes
from gated.demo.spec import spec
from gated.ports import ConfigError, pushes
from gated.store import Store, passes


def run(config: Path, *, speed: float, seed: int, issue: bool, troubles: bool) -> None:
    """Runs the doubles; `issue` first gives their people passes, in a store that has none."""
    site = setting.site(config)
    _on_loopback(site)
    if issue:
        count = setting.stored(_issue(site, seed))
        already = "已有出入证，未再登记。 There are passes already: none issued."
        sys.stdout.write(f"已登记 {count} 张出入证。 {count} passes issued.\n" if count else f"{already}\n")
        sys.stdout.flush()
    told = spec(
        site,
        ingest=f"http://{site.api.host}:{site.api.port}",
        people=PEOPLE,
        seed=seed,
        speed=speed,
        troubles=troubles,
    )
    # SIGTERM ends us like Ctrl-C; the child ends with its standard input, however we end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "-m", "adapters.simulator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        child.stdin.write(json.dumps(told).encode() + b"\n")
        child.stdin.flush()
        if child.stdout.readline() != b"ready\n":
            output.fail("the simulated devices did not start", "is one of their ports taken? see above")
        count = len(site.devices)
        sys.stdout.write(f"{count} simulated devices; Ctrl-C ends them. 模拟设备已启动，按 Ctrl-C 结束。\n")
        sys.stdout.flush()
        try:
            child.wait()
        except KeyboardInterrupt:
            child.stdin.close()
            sys.stdout.write(child.stdout.readline().decode())
        else:
            output.fail("the simulated devices have ended by themselves", "see the messages above")


def _on_loopback(site: SiteConfig) -> None:
    for device in site.devices:
        try:
            if (token := pushes(device)) is not None:
                token.value()
            host = getattr(device, "host", "127.0.0.1")
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise ValueError
        except ValueError:
            output.fail(
                f"{device.id} is at {host}, not on this machine",
                "simulate a configuration whose devices are at 127.0.0.1: deploy/sites/liuanzhuang",
            )
        except ConfigError as error:
            output.fail(f"{device.id}: {error}", "", output.CONFIG)


async def _issue(site: SiteConfig, seed: int) -> int:
    """Passes for the people of `seed`, unless there are passes already; how many."""
    store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
    try:
        if await store.read(passes.last_change):
            return 0
        return await issue_passes(store, seed, datetime.now(UTC), site.entrances[-1].id)
    finally:
        await store.close()
