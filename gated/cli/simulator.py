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
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from gated.cli import output, setting
from gated.config import SiteConfig
from gated.demo.passes import passes as made
from gated.demo.spec import spec
from gated.domain import Pass
from gated.ports import ConfigError, PushConfig
from gated.store import Store, passes

PEOPLE = 12_000
_BATCH = 1000


def run(config: Path, *, speed: float, seed: int, issue: bool, troubles: bool) -> None:
    """Runs the doubles; `issue` first gives their people passes, in a store that has none."""
    site = setting.site(config)
    _on_loopback(site)
    if issue:
        sys.stdout.write(f"{setting.stored(_issue(site, seed))} passes issued.\n")
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
            if isinstance(device, PushConfig):
                device.token.value()
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
    from adapters.simulator.people import residents

    store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
    try:
        if await store.read(passes.last_change):
            return 0
        rows = list(made(residents(seed, PEOPLE), datetime.now(UTC), site.entrances[-1].id))
        for start in range(0, len(rows), _BATCH):
            await store.write(partial(_insert, batch=rows[start : start + _BATCH]))
        return len(rows)
    finally:
        await store.close()


def _insert(conn: Connection, batch: list[Pass]) -> None:
    for one in batch:
        passes.insert(conn, one)
