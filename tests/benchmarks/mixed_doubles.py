"""The devices of the benchmark `mixed_devices`, in a process of their own: it starts them and shows them
vehicles at an even pace.

Reads JSON objects on standard input, one a line, and answers each with one: first the specification (see
`mixed_devices`), then `{"do": "wake"}` and `{"do": "drive", ...}`; ends with its standard input. Times are
seconds since 1970, taken before a double is told what it sees, so what the double itself takes is counted.
A read that the process is late with counts from when it was sent; `late` says how late that was.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import inspect
import json
import sys
import time
from typing import Any

import uvloop

from adapters.simulator.boom import Boom
from adapters.simulator.doubles import Around, See, Simulated, simulated
from adapters.simulator.faults import Faults
from adapters.simulator.people import card_of
from tests.benchmarks.mixed_site import Lane
from tests.benchmarks.path_world import plates

LOOP_FIRST_S = 0.7
"""A vehicle is on the lane's loop so long before it is read, and as long after."""
_BEAT_S = 5.0
_SETTLE_S = 2.0


class BareCamera:
    """A camera of the peer: one connection, on which it sends a line for each read and one now and then."""

    def __init__(self, lane: str, port: int) -> None:
        self.faults = Faults()
        self._lane, self._port = lane, port
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._beats: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._beats = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
        if self._streams is not None:
            self._streams[1].close()

    async def see(self, plate: str | None) -> None:
        await self._say(f"{self._lane} {plate}\n")

    async def _beat(self) -> None:
        while True:
            await self._say("beat\n")
            await asyncio.sleep(_BEAT_S)

    async def _say(self, line: str) -> None:
        assert self._streams is not None
        reader, writer = self._streams
        async with self._turn:
            writer.write(line.encode())
            await reader.readline()


class Doubles:
    """All devices of a specification: `devices` (sections), `lanes`, `ingest`, `silent`, `passes` (how many
    plates there are); `bare`: the port of the peer, whose cameras are made instead."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.lanes = [
            Lane(**{**lane, "loop": tuple(lane["loop"]) if lane["loop"] else None}) for lane in spec["lanes"]
        ]
        self.booms = {lane.id: Boom() for lane in self.lanes if lane.barrier is not None}
        self.devices: dict[str, Simulated] = {}
        self._silent: list[str] = spec["silent"]
        self._plates = plates(spec["passes"])
        self._next = 0
        if spec["bare"] is not None:
            for lane in self.lanes:
                camera = BareCamera(lane.id, spec["bare"])
                self.devices[lane.camera] = Simulated(camera, camera.see)
            for number in range(len(spec["devices"]) - len(self.lanes)):
                self.devices[f"only-{number}"] = Simulated(BareCamera("none", spec["bare"]))
            return
        for section in spec["devices"]:
            config = importlib.import_module(f"adapters.{section['type']}").Config.model_validate(section)
            booms = {lane.output: self.booms[lane.id] for lane in self.lanes if lane.barrier == section["id"]}
            self.devices[config.id] = simulated(config, Around(spec["ingest"], Faults(), booms))

    async def start(self) -> None:
        for device in self.devices.values():
            await device.double.start()

    async def stop(self) -> None:
        for device in self.devices.values():
            with contextlib.suppress(OSError):
                await device.double.stop()

    async def wake(self) -> dict[str, Any]:
        """Something is presented to each device that otherwise says nothing."""
        for name in self._silent:
            with contextlib.suppress(OSError):
                await _shown(self.devices[name].see, self._plates[self._next])
                self._next += 1
        return {"woken": len(self._silent)}

    async def drive(self, seconds: float, every: float) -> dict[str, Any]:
        """A vehicle at each lane every so many seconds, the lanes in turn. `reads`: lane, what its record is
        to be known by, when; `loops`: lane, on or off, when; `openings`: lane and when, of every pulse since
        the beginning; `late`: of this process; `failed`: reads that a double could not send."""
        loop = asyncio.get_running_loop()
        reads: list[tuple[str, str, float]] = []
        loops: list[tuple[str, bool, float]] = []
        late: list[float] = []
        failed: list[str] = []
        tasks: set[asyncio.Task[None]] = set()

        def contact(lane: Lane, active: bool) -> None:
            assert lane.loop is not None
            set_input = self.devices[lane.loop[0]].contact
            assert set_input is not None
            loops.append((lane.id, active, time.time()))
            set_input(lane.loop[1], active)

        def read(lane: Lane, due: float) -> None:
            plate = self._plates[self._next % len(self._plates)]
            self._next += 1
            late.append(loop.time() - due)
            reads.append((lane.id, card_of(plate) if lane.cards else plate, time.time()))
            task = asyncio.create_task(self._see(lane, plate, failed))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        count = int(seconds / every * len(self.lanes))
        began, spent = loop.time() + 0.05, time.process_time()
        for number in range(count):
            lane, due = self.lanes[number % len(self.lanes)], began + number * every / len(self.lanes)
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            if lane.loop is None:
                read(lane, due)
                continue
            contact(lane, True)
            loop.call_at(due + LOOP_FIRST_S, read, lane, due + LOOP_FIRST_S)
            loop.call_at(due + 2 * LOOP_FIRST_S, contact, lane, False)
        took, spent = loop.time() - began, time.process_time() - spent
        await asyncio.sleep(2 * LOOP_FIRST_S + _SETTLE_S)  # the last reads, and their openings' ends
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        return {
            "seconds": took, "cores": spent / took, "reads": reads, "loops": loops, "late": late,
            "failed": failed, "openings": self._openings(),
        }  # fmt: skip

    async def _see(self, lane: Lane, plate: str, failed: list[str]) -> None:
        try:
            answered = await _shown(self.devices[lane.camera].see, plate)
        except OSError as error:
            failed.append(f"{lane.camera}: {error}")
        else:
            if answered is False:
                failed.append(f"{lane.camera}: not answered")

    def _openings(self) -> list[tuple[str, float]]:
        since_1970 = time.time() - time.monotonic()
        found = []
        for lane in self.lanes:
            for one in self.booms[lane.id].openings if lane.id in self.booms else ():
                at = one.at - (one.milliseconds / 1000 if lane.told_after else 0.0)
                found.append((lane.id, since_1970 + at))
        return found


async def _shown(see: See | None, plate: str) -> object:
    assert see is not None
    told = see(plate)
    return await told if inspect.isawaitable(told) else told


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    doubles = Doubles(json.loads(await lines.readline()))
    await doubles.start()
    gc.collect()
    gc.freeze()
    print(json.dumps({"devices": len(doubles.devices)}), flush=True)
    while line := await lines.readline():
        job = json.loads(line)
        if job["do"] == "wake":
            answer = await doubles.wake()
        else:
            answer = await doubles.drive(job["seconds"], job["every"])
        print(json.dumps(answer), flush=True)
    await doubles.stop()


if __name__ == "__main__":
    uvloop.run(main())
