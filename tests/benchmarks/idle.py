"""What the daemon costs while nothing much happens: memory, processor time, the time to start.

The demo's village (38 cameras of three kinds, 24 lanes, relay boards) is simulated by a process of its own,
on the same wires and at a real day's pace; the daemon beside it is `gated run`. Memory and start-up
are also measured with passes in the store, beside the same daemon with none.

    python -m tests.benchmarks.idle [--seconds S] [--passes 12000,1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import yaml

from gated.demo.village import KEY_ENV, SECRET_ENV, village
from tests.benchmarks import path_gated
from tests.benchmarks.path_world import CACHE, broker, end, wait_for_port
from tests.benchmarks.report import emit, finish, note_if_busy, say
from tests.config.ports import free_port

_GATED = [sys.executable, "-m", "gated"]
_PACE = "1"  # a real day's: about a passage every two seconds
_MB = 1e6
_SECRET = "secret-of-the-benchmark"
_KEY = "5ec2e70f7be8e4c1a23bd2f1e4c7a911"


def _memory(pid: int) -> float:
    """What the process has for itself and its share of what it shares (PSS), in MB."""
    return float(psutil.Process(pid).memory_full_info().pss) / _MB


def _token(config: Path) -> str:
    """A token that may read the metrics."""
    command = [
        *_GATED,
        "token",
        "create",
        "--role",
        "operator",
        "--name",
        "bench",
        "--json",
        "-c",
        str(config),
    ]
    environment = os.environ | {SECRET_ENV: _SECRET, KEY_ENV: _KEY}
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return str(json.loads(made.stdout)["token"])


def _metric(port: int, token: str, name: str) -> float:
    headers = {"Authorization": f"Bearer {token}"}
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=10).raise_for_status().text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no {name} in /metrics")
    return float(found[1])


@contextmanager
def _child(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {SECRET_ENV: _SECRET, KEY_ENV: _KEY}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            yield process
        finally:
            end(process)


def connected(folder: Path, seconds: float) -> None:
    """The village with all of its devices online."""
    config = folder / "gated.yaml"
    with broker(folder / "broker") as mosquitto, ExitStack() as stack:
        port = free_port()
        ports = iter(free_port, None)
        content = village(data=str(folder), mqtt_port=mosquitto.port, api_port=port, ports=ports)
        config.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        cameras = sum(device["id"].startswith("cam-") for device in content["devices"])
        token = _token(config)
        simulate = [*_GATED, "simulate", "-c", str(config), "--speed", _PACE]
        stack.enter_context(_child(simulate, folder / "simulate.log"))
        daemon = stack.enter_context(_child([*_GATED, "run", "-c", str(config)], folder / "gated.log"))
        wait_for_port(port, daemon)
        until = time.monotonic() + 90
        while _metric(port, token, "gated_devices_online") < len(content["devices"]):
            if time.monotonic() > until:
                online = _metric(port, token, "gated_devices_online")
                raise RuntimeError(f"{online:.0f} of {len(content['devices'])} devices came online in 90 s")
            time.sleep(0.5)
        say(f"{len(content['devices'])} devices online; measuring for {seconds:.0f} s")
        time.sleep(5)
        process = psutil.Process(daemon.pid)
        before, began = process.cpu_times(), time.monotonic()
        time.sleep(seconds)
        after, took = process.cpu_times(), time.monotonic() - began
        spent = after.user + after.system - before.user - before.system
        emit(f"idle.memory@{cameras}_cameras", _memory(daemon.pid), "MB", n=1)
        emit(f"idle.processor@{cameras}_cameras", 100 * spent / took, "% of a core", n=1)
        emit("idle.threads", process.num_threads(), "threads", n=1)


def with_passes(folder: Path, counts: list[int]) -> None:
    """Start-up and memory with so many passes, beside a start with none."""
    base: tuple[float, float] | None = None
    with broker(folder / "broker") as mosquitto:
        for count in [0, *counts]:
            say(f"starting with {count:,} passes")
            with path_gated.running(folder / f"gated-{count}", count, mosquitto.port) as gated:
                time.sleep(2)
                memory = _memory(gated.pid)
            if base is None:
                base = (gated.started, memory)
                emit("idle.start@0_passes", gated.started, "s", n=1)
                emit("idle.memory@0_passes", memory, "MB", n=1)
                continue
            emit(f"idle.start@{count}_passes", gated.started, "s", n=1)
            emit(f"idle.memory@{count}_passes", memory, "MB", n=1)
            emit(f"idle.memory_a_pass@{count}", (memory - base[1]) * _MB / count, "bytes", n=count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench idle", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="to watch the idle daemon for")
    parser.add_argument("--passes", default="12000,1000000", help="how many passes to start with")
    arguments = parser.parse_args()
    note_if_busy()
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=CACHE))
    try:
        connected(folder, arguments.seconds)
        with_passes(folder, [int(count) for count in arguments.passes.split(",") if count])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
