"""`gated run`: the daemon between its signals. Starts `gated.app.App`, reloads it, stops it, feeds systemd.

SIGTERM and SIGINT stop it in order, a second one at once. SIGHUP reads the configuration anew; one that has a
problem changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import structlog

from gated import logs
from gated.app import App
from gated.cli import output, setting
from gated.config import ConfigErrors, SiteConfig, load, values_of
from gated.ports import ConfigError, NotRecorded
from gated.store.records import StoreError
from gated.wiring import load_adapter

log = structlog.get_logger()


def run(path: Path) -> None:
    """Runs until a signal; ends the command with a clear error where it cannot start."""
    import uvloop

    config = setting.site(path)
    logs.configure(config.log, values_of(config))
    # the longest that another thread may keep the event loop waiting; the default of 5 ms is many passages
    sys.setswitchinterval(0.0005)
    # a passage makes some hundred short-lived records and no circles: looking for those so often as usual
    # takes longer than all decisions
    gc.set_threshold(20_000, 20, 50)
    try:
        uvloop.run(_serve(path, config))
    except (StoreError, NotRecorded) as error:
        output.fail(str(error), "see docs/operations.md, or run `gated check`", output.STORE)
    except ConfigError as error:
        output.fail(str(error), "run `gated check` for the whole picture", output.CONFIG)
    except OSError as error:
        output.fail(f"cannot start: {error.strerror or error}", "run `gated check` for the whole picture")


async def _serve(path: Path, config: SiteConfig) -> None:
    loop = asyncio.get_running_loop()
    stop, hang_up = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        if stop.is_set():
            os._exit(1)  # asked twice: what is recorded is on disk already
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    async with App(config, load_adapter=load_adapter) as app:
        notify("READY=1")
        tasks = [
            asyncio.create_task(_reload(app, path, hang_up), name="reload"),
            asyncio.create_task(_watchdog(), name="watchdog"),
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        ends: tuple[asyncio.Future[Any], ...] = (stopping, app.served.failed)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        if app.served.failed.done():
            await app.served.failed  # raises what ended the server


async def _reload(app: App, path: Path, hang_up: asyncio.Event) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        try:
            # Reading and checking a district's file takes a second; passages go on meanwhile.
            config = await asyncio.to_thread(load, path, load_adapter)
            logs.configure(config.log, values_of(config))
            await app.reload(config)
        except ConfigErrors as errors:
            for problem in errors.problems:
                log.error("reload_refused", place=f"{problem.file}:{problem.line}", problem=problem.message)
        except ConfigError as error:
            log.error("reload_refused", problem=str(error))
        except Exception:  # a defect; the next SIGHUP must still be heard
            log.exception("reload_failed")


async def _watchdog() -> None:
    """Tells systemd that the event loop turns, twice in the time that WatchdogSec= allows."""
    allowed_us = int(os.environ.get("WATCHDOG_USEC", "0") or 0)
    while allowed_us:
        notify("WATCHDOG=1")
        await asyncio.sleep(allowed_us / 2_000_000)


def notify(state: str) -> None:
    """sd_notify(3): says `state` to systemd, if it started us and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.sendto(state.encode(), address)
        except OSError as error:
            log.debug("systemd_not_told", state=state, error=str(error))
