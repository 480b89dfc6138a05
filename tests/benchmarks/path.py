"""The main benchmark: a read is received, its record is durable, the barrier's command is on the wire.

The daemon runs as at a site (`gated run`, SQLite on a real disk, a real mosquitto, 24 cameras that push over
HTTP and are opened by the reply), the load comes from a process of its own (`path_load`, which says what
exactly is measured). Every run is checked: as many openings as passages in the database that were granted,
as many messages at a stock MQTT subscriber.

    python -m tests.benchmarks.path [--peer node-red] [--bare] [--passes N] [--seconds S] [--rounds N]
        [--rates 10,100,most]

With `--peer node-red` the same work runs on Node-RED in turn; with `--bare` on the bare libraries, to tell
what is left to win on this machine; with `--passes 1000000` beside 12,000 passes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.benchmarks import nodered, path_bare, path_gated
from tests.benchmarks.path_world import CACHE, LANES, Subscriber, broker
from tests.benchmarks.report import emit, fault, finish, note_if_busy, percentile, say, turns

PASSES = 12_000
_FLOOR_TO = 100  # a loop that syncs and sleeps keeps no faster pace
SUSTAINED: float | None = None  # the "rate" of a run in which every camera always has one read under way


class System(Protocol):
    """What is measured: gated or its peer."""

    @property
    def port(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def granted(self) -> int:
        """How many granted passages its database holds."""
        ...


Start = Callable[[Path, int, int], AbstractContextManager[System]]
"""Starts a system: its folder, how many passes, the port of its broker."""


@dataclass(slots=True)
class Runs:
    """All that was measured of one system at one rate."""

    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    replied: list[float] = field(default_factory=list)  # replies a second, one figure a run
    delivered: list[float] = field(default_factory=list)  # messages at the subscriber a second
    lag: list[float] = field(default_factory=list)  # seconds from the last reply to the last message
    processor: float = 0.0  # seconds that its process spent, until the last message

    def p(self, share: float) -> float:
        """A percentile in milliseconds."""
        return percentile(self.latencies, share) * 1000


@dataclass(slots=True)
class Side:
    """One system with its passes, its subscriber, and what was measured of it."""

    name: str
    passes: int
    system: System
    subscriber: Subscriber
    opened: int = 0
    runs: dict[float | None, Runs] = field(default_factory=dict)

    def run(self, rate: float | None, seconds: float) -> None:
        """One run, checked afterwards."""
        before = self.system.granted()
        spent = _processor(self.system.pid)
        result = _load(self.system.port, self.passes, rate, seconds)
        lag = self.subscriber.wait_for(self.opened + result["opened"])
        runs = self.runs.setdefault(rate, Runs())
        spent = _processor(self.system.pid) - spent
        runs.processor += spent
        runs.latencies += result["latencies"]
        runs.lateness += result["lateness"]
        count = len(result["latencies"])
        runs.replied.append(count / result["seconds"])
        runs.delivered.append(count / (result["seconds"] + lag))
        runs.lag.append(lag)
        granted = self.system.granted() - before
        self.opened += result["opened"]
        delivered = self.subscriber.count()
        where = f"{self.name} at {_words(rate)}"
        if result["opened"] != granted:
            fault(f"{where}: {result['opened']} openings, but {granted} granted passages on disk")
        if result["opened"] != count:
            fault(f"{where}: {count - result['opened']} of {count} reads did not open: {result['failed']}")
        if delivered != self.opened:
            fault(f"{where}: {delivered} messages at the subscriber for {self.opened} passages")
        say(
            f"  {where:42} {count:7d} reads  p50 {percentile(result['latencies'], 0.5) * 1e3:7.2f}"
            f"  p99 {percentile(result['latencies'], 0.99) * 1e3:7.2f} ms  {count / result['seconds']:7.0f}/s"
            f"  {spent / count * 1e6:5.0f} us each  last message after {lag:.2f} s"
        )


def _load(port: int, passes: int, rate: float | None, seconds: float) -> dict[str, Any]:
    job = {"port": port, "passes": passes, "rate": rate, "seconds": seconds}
    command = [sys.executable, "-m", "tests.benchmarks.path_load", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _processor(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _floor(folder: Path, rate: float, seconds: float) -> list[float]:
    """Seconds that appending and syncing 8 KB takes at this pace, the least that a durable record costs."""
    times = []
    with (folder / "floor").open("wb", buffering=0) as file:
        for _ in range(int(rate * seconds)):
            time.sleep(1 / rate)
            began = time.perf_counter()
            file.write(b"\0" * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


def _words(rate: float | None) -> str:
    return "most" if rate is SUSTAINED else f"{rate:g}/s"


@contextmanager
def _sides(folder: Path, passes: int, peer: bool, bare: bool) -> Iterator[list[Side]]:
    wanted: list[tuple[str, int, Start]] = [
        (f"gated, {count:,} passes", count, path_gated.running) for count in sorted({PASSES, passes})
    ]
    if peer:
        wanted.append(("node-red", PASSES, nodered.running))
    if bare:
        wanted.append(("bare", PASSES, path_bare.running))
    with ExitStack() as stack:
        sides = []
        for number, (name, count, start) in enumerate(wanted):
            port = stack.enter_context(broker(folder / f"broker-{number}")).port
            say(f"starting {name}")
            system = stack.enter_context(start(folder / f"side-{number}", count, port))
            subscriber = Subscriber(port, "gated/+/lanes/+/passages", folder / f"received-{number}")
            stack.callback(subscriber.close)
            sides.append(Side(name, count, system, subscriber))
        yield sides


def _report(gated: Side, million: Side | None, peer: Side | None, bare: Side | None) -> None:
    for rate, runs in gated.runs.items():
        at, n = _words(rate), len(runs.latencies)
        if rate is SUSTAINED:
            sustained, published = min(runs.replied), min(runs.delivered)
            emit("path.sustained", sustained, "passages/s", n=n)
            emit("path.sustained_delivered", published, "passages/s", n=n)
            emit("path.sustained_p99", runs.p(0.99), "ms", n=n)
            emit("path.outbox_lag", max(runs.lag), "s", n=n)
            emit("path.processor_a_passage", runs.processor / n * 1e6, "us", n=n)
        else:
            emit(f"path.p50@{at}", runs.p(0.5), "ms", n=n)
            emit(f"path.p99@{at}", runs.p(0.99), "ms", n=n)
            emit(f"path.generator_late_p99@{at}", percentile(runs.lateness, 0.99) * 1e3, "ms", n=n)
        if peer:
            _beside_peer(rate, runs, peer.runs[rate])
        if bare:
            _beside_bare(rate, runs, bare.runs[rate])
        if million and rate is not SUSTAINED:
            larger = million.runs[rate]
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                emit(
                    f"path.{name}@{at},{million.passes}_passes", larger.p(share), "ms",
                    n=len(larger.latencies), limit_name=f"1.2 x {name} with {PASSES} passes",
                    limit=1.2 * runs.p(share),
                )  # fmt: skip


def _beside_peer(rate: float | None, ours: Runs, theirs: Runs) -> None:
    at, n = _words(rate), len(ours.latencies)
    if rate is SUSTAINED:
        emit(
            "path.sustained_vs_node_red", min(ours.replied), "passages/s", n=n,
            limit_name="4 x node-red", limit=4 * max(theirs.replied), at_most=False,
        )  # fmt: skip
        emit("path.node_red.sustained", max(theirs.replied), "passages/s", n=len(theirs.latencies))
        emit(
            "path.node_red.sustained_delivered", max(theirs.delivered), "passages/s", n=len(theirs.latencies)
        )
        return
    emit(f"path.node_red.p50@{at}", theirs.p(0.5), "ms", n=len(theirs.latencies))
    emit(f"path.node_red.p99@{at}", theirs.p(0.99), "ms", n=len(theirs.latencies))
    if rate == 100:
        emit(
            f"path.p99_vs_node_red@{at}", ours.p(0.99), "ms", n=n,
            limit_name="node-red p99 / 20", limit=theirs.p(0.99) / 20,
        )  # fmt: skip


def _beside_bare(rate: float | None, ours: Runs, bare: Runs) -> None:
    """Shares of what the libraries alone can do; no limit, for nothing useful could reach 1."""
    n = len(bare.latencies)
    if rate is SUSTAINED:
        emit("path.bare.sustained", max(bare.replied), "passages/s", n=n)
        emit("path.bare.processor_a_passage", bare.processor / n * 1e6, "us", n=n)
        emit("path.sustained_share_of_bare", min(ours.replied) / max(bare.replied), "", n=n)
        return
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        emit(f"path.bare.{name}@{_words(rate)}", bare.p(share), "ms", n=n)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench path", description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", choices=["node-red"], help="measure Node-RED doing the same, in turn")
    parser.add_argument("--bare", action="store_true", help="measure the bare libraries as well, in turn")
    parser.add_argument("--passes", type=int, default=PASSES, help="measure with so many as well")
    parser.add_argument("--rates", default="10,100,1000,most", help="reads a second")
    parser.add_argument("--seconds", type=float, default=15, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs at each rate and side, in turn")
    parser.add_argument("--folder", type=Path, help="where the databases are; a real disk (default .cache)")
    arguments = parser.parse_args()
    rates = [SUSTAINED if rate == "most" else float(rate) for rate in arguments.rates.split(",")]
    note_if_busy()
    parent = arguments.folder or CACHE
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        with _sides(folder, arguments.passes, peer=arguments.peer is not None, bare=arguments.bare) as sides:
            floor: dict[float, list[float]] = {}
            for side in sides:  # connections, caches, compiled code
                _load(side.system.port, side.passes, 200, 3)
                _load(side.system.port, side.passes, SUSTAINED, 2)
                side.opened = side.system.granted()
                side.subscriber.wait_for(side.opened)
            for rate in rates:
                say(f"{_words(rate)}, {LANES} lanes")
                for _, side in turns(arguments.rounds, sides):
                    if rate is not None and rate <= _FLOOR_TO and side is sides[0]:
                        floor.setdefault(rate, []).extend(_floor(folder, rate, arguments.seconds / 3))
                    side.run(rate, arguments.seconds)
            by_name = {side.name: side for side in sides}
            _report(
                sides[0],
                sides[1] if arguments.passes != PASSES else None,
                by_name.get("node-red"),
                by_name.get("bare"),
            )
            for rate, times in floor.items():
                for share, name in ((0.5, "p50"), (0.99, "p99")):
                    value = percentile(times, share) * 1e3
                    emit(f"path.fdatasync_{name}@{_words(rate)}", value, "ms", n=len(times))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
