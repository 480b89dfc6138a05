"""`python -m adapters.simulator`: a simulated site in a process of its own, for `gated demo`.

Reads one line of JSON on standard input (see `play`), plays until standard input ends, and then prints one
line of JSON: what was seen at the site. It so never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
from typing import Any

import uvloop

from adapters.simulator.people import residents
from adapters.simulator.site import SimLane, SimulatedSite
from adapters.simulator.traffic import day


async def play(spec: dict[str, Any], stop: asyncio.Event) -> dict[str, object]:
    """Runs the site that `spec` describes until `stop`: devices (their sections of the configuration),
    lanes, ingest, people (how many), seed, speed, troubles."""
    devices = [
        importlib.import_module(f"adapters.{device['type']}").Config.model_validate(device)
        for device in spec["devices"]
    ]
    lanes = [
        SimLane(**{**lane, "position": tuple(lane["position"]) if lane["position"] else None})
        for lane in spec["lanes"]
    ]
    seed = spec["seed"]
    people = list(residents(seed, spec["people"]))
    script = day(seed, [(lane.id, lane.direction) for lane in lanes if lane.barrier], people)
    async with SimulatedSite(devices, lanes, spec["ingest"], seed=seed) as site:
        print("ready", flush=True)
        tasks = [asyncio.create_task(site.play(script, speed=spec["speed"]))]
        if spec["troubles"]:
            tasks.append(asyncio.create_task(site.troubles()))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raised = {lane: len(boom.openings) for lane, boom in site.booms.items()}
        seen = site.seen
        return {
            "arrivals": seen.arrivals,
            "skipped": seen.skipped,
            "faults": dict(seen.faults),
            "openings": sum(raised.values()),
        }


async def main() -> None:
    """The process: specification in, site on, result out."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Ctrl-C reaches the whole group of processes; whoever started this one says when it is over
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    spec = json.loads(sys.stdin.buffer.readline())

    def ended() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), ended)
    try:
        seen = await play(spec, stop)
    except OSError as error:  # most often an address that another program has
        sys.exit(f"the simulated devices cannot start: {error}")
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
