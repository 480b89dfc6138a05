"""The demo from start to end: broker, passes, daemon, simulated site, and a subscriber of what MQTT delivers.

Everything lives in a temporary folder and on free ports of loopback; ending it, also by Ctrl-C, leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import uvloop
import yaml
from rich.console import Console
from rich.live import Live

from gated import logs
from gated.api.tokens import create_token
from gated.app import App
from gated.clocks import system_now
from gated.config import SiteConfig, loads, values_of
from gated.demo.outage import Outages
from gated.demo.passes import PEOPLE, issue
from gated.demo.ports import reserved
from gated.demo.show import Delivery, Screen, Tally
from gated.demo.spec import spec
from gated.demo.subscriber import Subscriber
from gated.demo.village import ENTRANCES, KEY_ENV, PORTS, SECRET_ENV, village
from gated.domain import Role
from gated.mqtt.embedded import EmbeddedBroker, EmbeddedUnavailable
from gated.store import Store
from gated.wiring import load_adapter

_DRAIN_S = 15.0
"""Longer than gated waits between two attempts at a broker that was away as long as the demo's is."""


def main(*, duration: float | None, speed: float, seed: int, as_json: bool) -> int:
    """Runs the demo; returns the exit code. `duration` in seconds, None until Ctrl-C."""
    try:
        uvloop.run(_demo(duration, speed, seed, as_json=as_json))
    except EmbeddedUnavailable as error:
        print(f"The demo needs its embedded broker: {error}", file=sys.stderr)
        return 1
    return 0


async def _demo(duration: float | None, speed: float, seed: int, *, as_json: bool) -> None:
    console = Console(stderr=as_json)
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop)
    os.environ[SECRET_ENV] = secrets.token_urlsafe(24)
    os.environ[KEY_ENV] = secrets.token_hex(16)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="gated-demo-") as folder, reserved(PORTS) as ports:
        async with EmbeddedBroker(port=next(ports), port_311=next(ports)) as broker:
            config = _config(folder, broker, ports)
            logs.configure(config.log, values_of(config), stream=sys.stderr)
            console.print(f"正在登记 {PEOPLE} 张出入证… issuing {PEOPLE} passes…")
            token = await _fill(config, seed)
            async with App(config, observer=tally) as app, _subscriber(broker, config) as desk:
                told = _explain(app, config, broker, token)
                console.print(told, soft_wrap=True, highlight=False)  # it is copied: no line breaks of ours
                outages = Outages(broker)
                async with _simulator(config, app.served.url, seed, speed) as site:
                    async with _meanwhile(outages.play(duration)):
                        screen = _screen(tally, app, config, desk, outages)
                        await _watch(screen, console, stop, duration, as_json=as_json)
                    await app.devices.stop_all()
                raised = await site.result()
                if not app.mqtt.connected:
                    console.print("消息服务恢复后送完剩余消息；再按 Ctrl-C 立即结束。")
                    console.print("Delivering what waits once the broker is back; Ctrl-C again ends at once.")
                await _drained(tally, desk, hurry)
    summary = {
        **tally.summary(desk.count("/passages")),
        "broker_outages": outages.count,
        "mqtt_missing": desk.missing,
    }
    if as_json:
        print(json.dumps(summary))
        return
    console.print(
        f"通行 {summary['passages']}，放行 {summary['granted']}，人工核验 {summary['referred']}，"
        f"拒绝 {summary['denied']}，开闸 {summary['openings']}，告警 {summary['alerts']}。\n"
        f"MQTT delivered {summary['mqtt_delivered']} of {summary['passages']} passages; "
        f"booms pulsed {raised.get('openings')} times; decisions p99 {summary['decision_p99_ms']} ms.\n"
        f"消息服务中断次数 times that the broker was away: {outages.count}；"
        f"缺失消息 messages missing: {summary['mqtt_missing']}。\n"
        "演示结束，未留下任何文件。 The demo is over; nothing was left behind.",
        soft_wrap=True,
    )


# --- its parts --------------------------------------------------------------------------------------------


def _config(folder: str, broker: EmbeddedBroker, ports: Iterator[int]) -> SiteConfig:
    content = village(
        data=folder,
        mqtt_port=broker.port,
        broker_port=broker.port_311,
        api_port=next(ports),
        ports=ports,
    )
    return loads(yaml.safe_dump(content, allow_unicode=True), load_adapter, name="the demo's village")


async def _fill(config: SiteConfig, seed: int) -> str:
    """Issues the passes and makes a token for whoever watches; returns the token."""
    store = await Store.open(config.store.url)
    try:
        await issue(store, seed, system_now(), ENTRANCES[1][0])
        token, _ = await create_token(store, name="demo", role=Role.OPERATOR, now=system_now())
        return token
    finally:
        await store.close()


def _explain(app: App, config: SiteConfig, broker: EmbeddedBroker, token: str) -> str:
    topic = f"{config.mqtt.prefix}/{config.site.id}/grids/+/alerts"
    return (
        f"API      curl -H 'Authorization: Bearer {token}' {app.served.url}/api/v1/lanes\n"
        f"告警 MQTT mosquitto_sub -p {broker.port_311} -t '{topic}' -v"
    )


def _subscriber(broker: EmbeddedBroker, config: SiteConfig) -> Subscriber:
    topics = [f"lanes/{lane.id}/passages" for lane in config.lanes]
    topics += [f"grids/{grid.id}/alerts" for grid in config.grids]
    return Subscriber(broker.host, broker.port_311, f"{config.mqtt.prefix}/{config.site.id}/", topics)


def _screen(tally: Tally, app: App, config: SiteConfig, desk: Subscriber, outages: Outages) -> Screen:
    names = {entrance.id: entrance.name.zh for entrance in config.entrances}

    def delivery() -> Delivery:
        away = outages.on or not app.mqtt.connected
        return Delivery(desk.count("/passages"), desk.count("/alerts"), away=away)

    return Screen(tally, app.lanes.statuses, names, delivery)


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _watch(
    screen: Screen, console: Console, stop: asyncio.Event, duration: float | None, *, as_json: bool
) -> None:
    """Until Ctrl-C or the end of the time: a live table on a terminal, else a line now and then."""
    live: Any = contextlib.nullcontext()
    if console.is_terminal and not as_json:
        live = Live(screen, console=console, refresh_per_second=4, screen=False)
    with live, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(duration):
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await stop.wait()
                if isinstance(live, contextlib.nullcontext):
                    console.print(screen.line(), soft_wrap=True)


async def _drained(tally: Tally, desk: Subscriber, hurry: asyncio.Event) -> None:
    """Until everything has arrived, or somebody cannot wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while desk.count("/passages") < tally.outcomes.total() or desk.missing:
                if hurry.is_set():
                    return
                await asyncio.sleep(0.05)  # another thread counts


class _Site:
    """The simulated site's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def result(self) -> dict[str, Any]:
        """What it says of itself once its standard input is closed."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        line = await self._process.stdout.readline()
        await self._process.wait()
        return json.loads(line) if line.startswith(b"{") else {}


@contextlib.asynccontextmanager
async def _simulator(config: SiteConfig, url: str, seed: int, speed: float) -> AsyncIterator[_Site]:
    told = spec(config, ingest=url, people=PEOPLE, seed=seed, speed=speed, troubles=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "adapters.simulator",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(json.dumps(told).encode() + b"\n")
        await process.stdin.drain()
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the simulated site did not start")
        yield _Site(process)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
