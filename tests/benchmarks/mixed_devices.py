"""Three hundred devices of mixed vendors in one daemon: memory, processor, and how late their events are.

`gated run` with the vendors of `mixed_site.VENDORS` in equal shares, each simulated on its own wire by one
process beside it (`mixed_doubles`); a real disk, a real mosquitto, 12,000 passes. First it is idle, then each
lane sees a vehicle as often as at a village's peak. The same lanes, pace, disk and broker then go to a bare
process that holds as many connections (`mixed_bare`).

    python -m tests.benchmarks.mixed_devices [--devices 300] [--seconds 60] [--idle 30] [--every 2.4]
        [--vendors modbus,onvif] [--profile FILE]

`--vendors` takes only these, to tell what one of them costs. `--profile` runs the daemon under cProfile and
writes what it found there; its figures are then worth nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.mixed_figures import Load, Metrics, Subscriber, arrivals, matched, quantile
from tests.benchmarks.mixed_site import SECRET, SECRET_ENV, SITE, VENDORS, Lane, Site, Vendor, fill, site
from tests.benchmarks.path_world import CACHE, end, wait_for_port
from tests.benchmarks.report import emit, fault, finish, note_if_busy, percentile, say
from tests.config.ports import free_port
from tests.peers.mosquitto import Mosquitto

PASSES = 12_000
MEMORY_MB, CORES = 150.0, 0.5  # what 300 cameras of one kind may take, see `onvif_cameras`
READ_MS = 19.0  # limits.md, the whole path at 100/s: Node-RED's p99 from a push to the command
RECORDED_MS = 0.74  # limits.md, the whole path at 100/s: the p99 of the sketch, record and command
LAG_MS = 5.0  # architecture.md: nothing holds the event loop longer
_ONLINE_S = 120.0
_SETTLE_S = 5.0
_WARM_UP_S = 5.0
_LAG_FOR_S, _LAG_EVERY_S = 15.0, 0.25  # the daemon measures its lag twice a second
_MB = 1e6
_BROKER = "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n"


# --- processes --------------------------------------------------------------------------------------------


class Child:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Sends one and waits for the answer."""
        self.tell(job)
        return self.answer()

    def tell(self, job: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of the simulated devices ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def doubles(spec: Mapping[str, Any]) -> Iterator[Child]:
    """The simulated devices, started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.mixed_doubles"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {SECRET_ENV: SECRET},
    )  # fmt: skip
    try:
        child = Child(process)
        child.ask(spec)
        yield child
    finally:
        if process.stdin is not None:
            process.stdin.close()
        end(process)


@dataclass(slots=True)
class Spent:
    """What a process took: resident memory in MB, seconds of processor time."""

    process: psutil.Process

    @property
    def memory(self) -> float:
        return float(self.process.memory_info().rss) / _MB

    @property
    def processor(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def share(self, seconds: float) -> float:
        """Cores that it takes during so many seconds from now."""
        spent, began = self.processor, time.monotonic()
        time.sleep(seconds)
        return (self.processor - spent) / (time.monotonic() - began)


def drive(
    child: Child, spent: Spent, subscriber: Subscriber, lanes: Sequence[Lane], seconds: float, every: float,
    database: Path | None = None,
) -> Load:  # fmt: skip
    """Shows every lane its vehicles, and matches what came of it."""
    subscriber.take()
    child.tell({"do": "drive", "seconds": seconds, "every": every})
    cores = spent.share(seconds)
    told = child.answer()
    return matched(told, subscriber.take(), arrivals(database) if database else None, lanes, cores)


# --- gated ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon with all of its devices online, and their doubles."""

    site: Site
    child: Child
    spent: Spent
    metrics: Metrics
    subscriber: Subscriber
    online_s: float
    online_cpu: float


@contextmanager
def running(
    folder: Path, count: int, vendors: Sequence[Vendor], passes: int, profile: Path | None = None
) -> Iterator[Running]:
    """`gated run` with `count` devices."""
    folder.mkdir(parents=True)
    token = asyncio.run(fill(f"{folder}/gated.db", passes, datetime.now(UTC)))
    with Mosquitto(folder / "broker", _BROKER) as mosquitto:
        port = free_port()
        made = site(
            count, vendors, data=str(folder), mqtt_port=mosquitto.port, api_port=port,
            ports=iter(free_port, None),
        )  # fmt: skip
        config = folder / "gated.yaml"
        config.write_text(json.dumps(made.config, indent=1), encoding="utf-8")
        command = [sys.executable, "-m", "gated", "run", "-c", str(config)]
        if profile is not None:
            command[1:1] = ["-m", "cProfile", "-o", str(profile)]
        spec = {
            "devices": made.devices, "lanes": [asdict(lane) for lane in made.lanes], "bare": None,
            "ingest": f"http://127.0.0.1:{port}", "silent": made.silent, "passes": passes,
        }  # fmt: skip
        with doubles(spec) as child, (folder / "gated.log").open("wb") as log:
            began = time.monotonic()
            daemon = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {SECRET_ENV: SECRET})
            try:
                wait_for_port(port, daemon)
                metrics, spent = Metrics(port, token), Spent(psutil.Process(daemon.pid))
                _wait_online(metrics, count - len(made.silent), folder / "gated.log")
                child.ask({"do": "wake"})
                _wait_online(metrics, count, folder / "gated.log")
                online_s, online_cpu = time.monotonic() - began, spent.processor
                subscriber = Subscriber(mosquitto.port)
                time.sleep(_SETTLE_S)
                yield Running(made, child, spent, metrics, subscriber, online_s, online_cpu)
                subscriber.close()
            finally:
                end(daemon, 30)
        _say_log(folder / "gated.log")


def _wait_online(metrics: Metrics, count: int, log: Path) -> None:
    until = time.monotonic() + _ONLINE_S
    while (online := metrics.value("gated_devices_online")) < count:
        if time.monotonic() > until:
            _say_log(log)
            raise RuntimeError(f"{online:.0f} of {count} devices came online in {_ONLINE_S:.0f} s")
        time.sleep(0.5)


def _say_log(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines:
        say("\n".join([f"the daemon's log has {len(lines)} lines, the last ones:", *lines[-5:]]))


def gated(folder: Path, given: argparse.Namespace, vendors: Sequence[Vendor], passes: int) -> Load:
    """All figures of the daemon."""
    count, mixture = given.devices, len(vendors)
    with running(folder / "few", mixture, vendors, passes) as few:
        smallest, alone = few.spent.memory, few.spent.share(min(10.0, given.idle))
    with running(folder / "gated", count, vendors, passes, given.profile) as all_:
        shares = ", ".join(f"{number} {name}" for name, number in all_.site.vendors.items())
        say(f"{shares}: online after {all_.online_s:.1f} s; idle for {given.idle:.0f} s")
        spent, metrics = all_.spent, all_.metrics
        memory, idle = spent.memory, spent.share(given.idle)
        files, threads = spent.process.num_fds(), spent.process.num_threads()
        lanes, seen, database = all_.site.lanes, all_.subscriber, folder / "gated/gated.db"
        say(f"a vehicle every {given.every:g} s at each of {len(lanes)} lanes, {given.seconds:.0f} s")
        drive(all_.child, spent, seen, lanes, _WARM_UP_S, given.every)
        before = metrics.buckets()
        load = drive(all_.child, spent, seen, lanes, given.seconds, given.every, database)
        after, later = metrics.buckets(), spent.memory
        lags = _lags(all_, given.every)
        if (online := metrics.value("gated_devices_online")) != count:
            fault(f"{online:.0f} of {count} devices are online at the end")
    emit("mixed_devices.online", all_.online_s, "s", n=count)
    emit("mixed_devices.online_cpu", all_.online_cpu, "s", n=count)
    emit("mixed_devices.memory", memory, "MB", n=count, limit_name="300 ONVIF cameras", limit=MEMORY_MB)
    emit(f"mixed_devices.memory@{mixture}_devices", smallest, "MB", n=mixture)
    if count > mixture:
        emit("mixed_devices.memory_a_device", (memory - smallest) * 1000 / (count - mixture), "kB", n=count)
    emit("mixed_devices.files", files, "files", n=count)
    emit("mixed_devices.threads", threads, "threads", n=count)
    emit("mixed_devices.idle", idle, "cores", n=count, limit_name="300 ONVIF cameras", limit=CORES)
    emit(f"mixed_devices.idle@{mixture}_devices", alone, "cores", n=mixture)
    n = load.sent
    rate = f"{n / load.seconds:.0f}/s"
    emit(f"mixed_devices.load@{rate}", load.cores, "cores", n=n, limit_name="300 ONVIF cameras", limit=CORES)
    emit("mixed_devices.processor_a_read", (load.cores - idle) * load.seconds / n * 1e6, "us", n=n)
    emit("mixed_devices.memory_after_load", later, "MB", n=n)
    emit(
        f"mixed_devices.recorded_p99@{rate}", quantile(before, after, 0.99) * 1000, "ms", n=n,
        limit_name="limits.md: the sketch at 100/s", limit=RECORDED_MS,
    )  # fmt: skip
    _emit_late(rate, load)
    emit("mixed_devices.loop_lag_p50", percentile(lags, 0.5) * 1000, "ms", n=len(lags))
    emit(
        "mixed_devices.loop_lag_max", max(lags) * 1000, "ms", n=len(lags), limit_name="architecture.md",
        limit=LAG_MS,
    )  # fmt: skip
    return load


def _lags(all_: Running, every: float) -> list[float]:
    """What the daemon says of its event loop under the same load; apart, for asking it so often is a load of
    its own."""
    all_.child.tell({"do": "drive", "seconds": _LAG_FOR_S, "every": every})
    lags = []
    until = time.monotonic() + _LAG_FOR_S
    while time.monotonic() < until:
        lags.append(all_.metrics.value("gated_loop_lag_seconds"))
        time.sleep(_LAG_EVERY_S)
    all_.child.answer()
    return lags


def _emit_late(rate: str, load: Load) -> None:
    flat = _flat(load.reads.values())
    emit(f"mixed_devices.read_p50@{rate}", percentile(flat, 0.5) * 1000, "ms", n=len(flat))
    emit(
        f"mixed_devices.read_p99@{rate}", percentile(flat, 0.99) * 1000, "ms", n=len(flat),
        limit_name="limits.md: Node-RED at 100/s", limit=READ_MS,
    )  # fmt: skip
    emit(f"mixed_devices.read_max@{rate}", max(flat) * 1000, "ms", n=len(flat))
    for name, kinds in (
        ("read", load.reads), ("arrived", load.arrived), ("opened", load.opened), ("input", load.loops)
    ):  # fmt: skip
        for vendor, times in sorted(kinds.items()):
            for share, called in ((0.5, "p50"), (0.99, "p99")):
                value = percentile(times, share) * 1000
                emit(f"mixed_devices.{name}_{called}@{vendor}", value, "ms", n=len(times))
    emit("mixed_devices.generator_late_p99", percentile(load.late, 0.99) * 1000, "ms", n=len(load.late))
    emit("mixed_devices.generator", load.generator, "cores", n=len(load.late))


def _flat(lists: Iterable[list[float]]) -> list[float]:
    return [one for each in lists for one in each]


# --- the peer ---------------------------------------------------------------------------------------------


def bare(folder: Path, given: argparse.Namespace, passes: int, ours: Load, vendors: Sequence[Vendor]) -> None:
    """The same lanes and pace at a process that holds as many connections and does the least."""
    folder.mkdir(parents=True)
    made = site(given.devices, vendors, data="", mqtt_port=1, api_port=1, ports=iter(lambda: 1, None))
    lanes = [replace(lane, cards=False, barrier=None, opens=None, loop=None) for lane in made.lanes]
    with Mosquitto(folder / "broker", _BROKER) as mosquitto:
        port = free_port()
        command = [
            sys.executable, "-m", "tests.benchmarks.mixed_bare", str(port), str(mosquitto.port),
            f"{folder}/bare.db", f"gated/{SITE}/lanes",
        ]  # fmt: skip
        process = subprocess.Popen(command)
        try:
            wait_for_port(port, process)
            spec = {
                "devices": made.devices, "lanes": [asdict(lane) for lane in lanes], "bare": port,
                "ingest": "", "silent": [], "passes": passes,
            }  # fmt: skip
            with doubles(spec) as child:
                subscriber, spent = Subscriber(mosquitto.port), Spent(psutil.Process(process.pid))
                time.sleep(_SETTLE_S)
                memory, idle = spent.memory, spent.share(min(10.0, given.idle))
                drive(child, spent, subscriber, lanes, _WARM_UP_S, given.every)
                load = drive(child, spent, subscriber, lanes, given.seconds, given.every)
                subscriber.close()
        finally:
            end(process)
    flat, n = _flat(load.reads.values()), load.sent
    emit("mixed_devices.bare.memory", memory, "MB", n=given.devices)
    emit("mixed_devices.bare.idle", idle, "cores", n=given.devices)
    emit("mixed_devices.bare.load", load.cores, "cores", n=n)
    emit("mixed_devices.bare.generator_late_p99", percentile(load.late, 0.99) * 1000, "ms", n=n)
    gated_flat = _flat(ours.reads.values())
    for share, called in ((0.5, "p50"), (0.99, "p99")):
        emit(f"mixed_devices.bare.read_{called}", percentile(flat, share) * 1000, "ms", n=len(flat))
        times = percentile(gated_flat, share) / percentile(flat, share)
        emit(f"mixed_devices.read_{called}_beside_bare", times, "times", n=len(gated_flat))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench mixed_devices", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--devices", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60, help="of the load")
    parser.add_argument("--idle", type=float, default=30, help="seconds to watch it idle")
    parser.add_argument("--every", type=float, default=2.4, help="seconds between two vehicles of a lane")
    names = [vendor.name for vendor in VENDORS]
    parser.add_argument("--vendors", help=f"only these, with commas: {', '.join(names)}")
    parser.add_argument("--profile", type=Path, help="run the daemon under cProfile, write it there")
    given = parser.parse_args()
    wanted = given.vendors.split(",") if given.vendors else names
    if unknown := set(wanted) - set(names):
        parser.error(f"no vendor is called {', '.join(sorted(unknown))}: {', '.join(names)}")
    vendors = [vendor for vendor in VENDORS if vendor.name in wanted]
    if not any(vendor.sees for vendor in vendors):
        parser.error("a site has lanes: add a vendor whose devices see, reader_http for the cheapest")
    shown = given.devices * math.ceil((_WARM_UP_S + given.seconds + _LAG_FOR_S) / given.every + 4)
    passes = max(PASSES, shown)
    note_if_busy()
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=CACHE))
    try:
        load = gated(folder, given, vendors, passes)
        if given.profile is None:
            bare(folder / "bare", given, passes, load, vendors)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
