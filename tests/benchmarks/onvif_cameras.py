"""Three hundred ONVIF cameras in one process: memory, processor, and how late events are.

The cameras are doubles in a process of their own, on loopback; this process runs the adapter alone, one
device each, as the daemon does. Every camera says something every two seconds (a plate, a motion or an input
in turn), and each message is a poll answered and the next one asked. An event is late by what lies between
its UtcTime, which the double writes in milliseconds, and the moment the adapter yields it.

python -m tests.benchmarks.onvif_cameras [--cameras 300] [--seconds 30] [--every 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from adapters.onvif import Config, OnvifDevice, create
from adapters.simulator.onvif import OnvifCamera
from gated.domain import Heartbeat
from gated.ports import DeviceContext, DeviceError
from tests.benchmarks.report import emit, fault, finish, note_if_busy, percentile, say

MEMORY_MB = 150.0
CORES = 0.5
LATE_MS = 24.0  # what plain HTTP and lxml added in the project's notes, from 300 threads


# --- the process of the cameras ---------------------------------------------------------------------------


async def cameras(count: int, every: float) -> None:
    """Starts the doubles, prints their ports, and lets them talk until standard input closes."""
    doubles = [OnvifCamera(serial=f"BENCH-{number}") for number in range(count)]
    for double in doubles:
        await double.start()
    print(json.dumps([double.port for double in doubles]), flush=True)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin, over.set)
    begin, sent = loop.time(), 0
    while not over.is_set():
        # spread evenly over the period, so that no burst of our own making is measured
        due = begin + sent * every / count
        await asyncio.sleep(max(0.0, due - loop.time()))
        _say_something(doubles[sent % count], sent // count, sent)
        sent += 1
    for double in doubles:
        await double.stop()


def _say_something(double: OnvifCamera, turn: int, number: int) -> None:
    if turn % 3 == 0:
        double.push_plate(f"津B{number % 90000 + 10000}")
    elif turn % 3 == 1:
        double.push_event(
            "tns1:RuleEngine/CellMotionDetector/Motion",
            source={"VideoSourceConfigurationToken": "VideoSourceToken", "Rule": "Motion"},
            data={"IsMotion": "true" if turn % 2 else "false"},
        )
    else:
        double.set_input("Input_1", turn % 2 == 0)


# --- the process that is measured -------------------------------------------------------------------------


class Consumer:
    """Reads every device as the daemon does, and keeps only how late each event was."""

    def __init__(self, ports: list[int], password: Path) -> None:
        self.late: list[float] = []
        self.events = 0
        self.failures = 0
        self.online = 0
        self._devices = [self._device(number, port, password) for number, port in enumerate(ports)]

    def _device(self, number: int, port: int, password: Path) -> OnvifDevice:
        config = Config.model_validate(
            {
                "id": f"cam-{number}",
                "type": "onvif",
                "host": "127.0.0.1",
                "port": port,
                "username": "gated",
                "password": {"file": password},
                "timeout_s": 30,
            }
        )
        context = DeviceContext(id=config.id, now=lambda: datetime.now(UTC), unparsed=self._unparsed)
        return create(config, context)

    def _unparsed(self, device: str, kind: str, sample: bytes | str, why: str) -> None:
        fault(f"{device}: {kind}: {why}")

    async def run(self) -> None:
        await asyncio.gather(*(self._follow(device) for device in self._devices))

    async def _follow(self, device: OnvifDevice) -> None:
        try:
            async with device:
                self.online += 1
                async for event in device.events():
                    if isinstance(event, Heartbeat) or getattr(event, "initial", False):
                        continue
                    self.events += 1
                    if event.device_time is not None:
                        self.late.append(time.time() - event.device_time.timestamp())
        except DeviceError as error:
            self.failures += 1
            fault(f"{device.id}: {error}")


async def measure(count: int, seconds: float, every: float) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __spec__.name if __spec__ else "tests.benchmarks.onvif_cameras",
        "--serve",
        "--cameras",
        str(count),
        "--every",
        str(every),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    ports = json.loads(await child.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text("simulated", encoding="utf-8")
        consumer = Consumer(ports, password)
        say(f"{count} cameras: connecting")
        begin, processor = time.monotonic(), time.process_time()
        task = asyncio.create_task(consumer.run())
        while consumer.online < count and time.monotonic() - begin < 60:  # noqa: ASYNC110 - a plain wait
            await asyncio.sleep(0.05)
        connected, spent = time.monotonic() - begin, time.process_time() - processor
        say(f"all connected after {connected:.1f} s; measuring for {seconds:.0f} s")
        await asyncio.sleep(3)
        consumer.late.clear()
        events, begin, processor = consumer.events, time.monotonic(), time.process_time()
        lags = await _lags(seconds)
        wall, cpu = time.monotonic() - begin, time.process_time() - processor
        events = consumer.events - events
        late = list(consumer.late)
        memory = _memory_mb()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    child.stdin.close()
    await child.wait()
    expected = wall / every * count
    if events < expected * 0.98:
        fault(f"{events} events came of {expected:.0f}")
    emit("onvif_cameras.memory", memory, "MB", n=count, limit_name="the issue", limit=MEMORY_MB)
    emit("onvif_cameras.cores", cpu / wall, "cores", n=count, limit_name="the issue", limit=CORES)
    emit("onvif_cameras.events", events / wall, "events/s", n=events)
    emit("onvif_cameras.late_p50", percentile(late, 0.5) * 1000, "ms", n=len(late))
    emit(
        "onvif_cameras.late_p99",
        percentile(late, 0.99) * 1000,
        "ms",
        n=len(late),
        limit_name="plain HTTP and lxml in threads",
        limit=LATE_MS,
    )
    # how late this process wakes up for anything: what of the above is the machine's doing
    emit("onvif_cameras.loop_lag_p99", percentile(lags, 0.99) * 1000, "ms", n=len(lags))
    emit("onvif_cameras.connected", connected, "s", n=count)
    emit("onvif_cameras.connecting_cpu", spent, "s", n=count)
    emit(
        "onvif_cameras.peak_memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB", n=count
    )


async def _lags(seconds: float) -> list[float]:
    """Waits so long, and notes how late each short sleep ends."""
    loop = asyncio.get_running_loop()
    end, lags = loop.time() + seconds, []
    while (before := loop.time()) < end:
        await asyncio.sleep(0.02)
        lags.append(loop.time() - before - 0.02)
    return lags


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cameras", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--every", type=float, default=2, help="seconds between two messages of one camera")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(cameras(given.cameras, given.every))
        return 0
    note_if_busy()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the daemon runs
        runner.run(measure(given.cameras, given.seconds, given.every))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
