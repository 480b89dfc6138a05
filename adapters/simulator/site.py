"""A whole simulated site: a double for every configured device, booms at the lanes, vehicles that drive up.

Takes the devices' own configuration, so that a daemon with that configuration finds them where it looks. It
does not know what the daemon decides; it sees its booms move, as a vehicle would.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from adapters.simulator.boom import Boom
from adapters.simulator.doubles import Around, Double, Simulated, simulated
from adapters.simulator.faults import Faults
from adapters.simulator.traffic import Arrival
from gated.ports import DeviceConfig

_MISREADS, _TWICE, _LOST = 0.01, 0.02, 0.005
_INPUT_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class SimLane:
    """What the site knows of a lane: who sees its vehicles, what raises its boom, which input tells."""

    id: str
    direction: str
    camera: str
    barrier: str | None = None
    output: str | None = None
    position: tuple[str, str] | None = None


@dataclass(slots=True)
class Seen:
    """What happened at the site, as somebody standing there would count it."""

    arrivals: int = 0
    skipped: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class SimulatedSite:
    """The doubles of a site. `ingest`: base URL that pushing devices post to. `healthy`: no faults at all."""

    def __init__(
        self,
        devices: Sequence[DeviceConfig],
        lanes: Sequence[SimLane],
        ingest: str,
        *,
        seed: int = 1,
        healthy: bool = False,
    ) -> None:
        self.seen = Seen()
        self.booms: dict[str, Boom] = {lane.id: Boom() for lane in lanes if lane.barrier is not None}
        self.devices: dict[str, Simulated] = {}
        self._lanes = {lane.id: lane for lane in lanes}
        self._rng = random.Random(f"site {seed}")
        self._stack = AsyncExitStack()
        by_barrier: dict[str, list[SimLane]] = {}
        for lane in lanes:
            if lane.barrier is not None:
                by_barrier.setdefault(lane.barrier, []).append(lane)
        for config in devices:
            faults = Faults(rng=random.Random(f"{config.id} {seed}"))
            if not healthy:
                faults.misread, faults.twice, faults.lost = _MISREADS, _TWICE, _LOST
            booms = {lane.output: self.booms[lane.id] for lane in by_barrier.get(config.id, [])}
            self.devices[config.id] = simulated(config, Around(ingest, faults, booms))

    async def __aenter__(self) -> SimulatedSite:
        async with AsyncExitStack() as stack:
            for device in self.devices.values():
                await device.double.start()
                stack.push_async_callback(device.double.stop)
            contacts = asyncio.create_task(self._move_contacts())
            stack.push_async_callback(_ended, contacts)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _move_contacts(self) -> None:
        """The limit switches of the booms, wired to the boards' inputs."""
        wired = [
            (contact, lane.position[1], self.booms[lane.id])
            for lane in self._lanes.values()
            if lane.position is not None and lane.id in self.booms
            if (device := self.devices.get(lane.position[0])) is not None
            if (contact := device.contact) is not None
        ]
        known: list[bool | None] = [None] * len(wired)
        while wired:
            for place, (contact, number, boom) in enumerate(wired):
                if (open_ := boom.open_contact) != known[place]:
                    with contextlib.suppress(ConnectionError):  # a device that is away tells nobody
                        contact(number, open_)
                        known[place] = open_
            await asyncio.sleep(_INPUT_EVERY_S)

    # --- vehicles ---------------------------------------------------------------------------------------

    async def play(self, script: Iterator[Arrival], *, speed: float, headway_s: float = 2.5) -> None:
        """Plays a script until it ends or is cancelled, `speed` times as fast as it was written.

        A lane takes no vehicle sooner than `headway_s` after the last one, in true time: booms do not move
        faster at a higher speed. Whoever cannot be taken goes elsewhere, and is counted as skipped.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        free_at: dict[str, float] = {}
        vehicles: set[asyncio.Task[None]] = set()
        try:
            for arrival in script:
                due = began + arrival.at_s / speed
                delay = due - loop.time()
                if delay > 0:
                    await asyncio.sleep(delay)
                if loop.time() < free_at.get(arrival.lane, 0.0):
                    self.seen.skipped += 1
                    continue
                free_at[arrival.lane] = loop.time() + headway_s
                task = asyncio.create_task(self._vehicle(arrival))
                vehicles.add(task)
                task.add_done_callback(vehicles.discard)
        finally:
            for task in vehicles:
                task.cancel()
            await asyncio.gather(*vehicles, return_exceptions=True)

    async def _vehicle(self, arrival: Arrival) -> None:
        lane = self._lanes[arrival.lane]
        self.seen.arrivals += 1
        await self.see(lane.camera, arrival.plate)
        if arrival.again_s is not None:
            await asyncio.sleep(arrival.again_s)
            await self.see(lane.camera, arrival.plate)

    async def see(self, camera: str, plate: str | None) -> None:
        """A camera sees a plate, or a vehicle without one."""
        see = self.devices[camera].see
        if see is not None:
            with contextlib.suppress(ConnectionError):  # it is off now
                told = see(plate)
                if inspect.isawaitable(told):
                    await told

    # --- faults -----------------------------------------------------------------------------------------

    async def troubles(self, every_s: float = 12.0) -> None:
        """Now and then something goes wrong for a while, one thing at a time: the site's bad day."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * every_s)
            device = self._rng.choice(list(self.devices.values()))
            kind = self._rng.choice(("dies", "late", "clock", "stuck", "away"))
            self.seen.faults[kind] += 1
            await self._trouble(kind, device.double, every_s / 2)

    async def _trouble(self, kind: str, double: Double, for_s: float) -> None:
        faults = double.faults
        if kind == "dies":
            faults.die_mid_message += 1
        elif kind == "late":
            with _for_a_while(faults, late_s=1.0):
                await asyncio.sleep(for_s)
        elif kind == "clock":
            with _for_a_while(faults, clock_offset_s=self._rng.choice((-90.0, 90.0))):
                await asyncio.sleep(for_s * 2)
        elif kind == "stuck":
            with _for_a_while(faults, stuck=True):
                await asyncio.sleep(for_s)
        else:
            await double.stop()
            await asyncio.sleep(for_s / 2)
            await double.start()


@contextlib.contextmanager
def _for_a_while(faults: Faults, **wrong: object) -> Iterator[None]:
    before = {name: getattr(faults, name) for name in wrong}
    for name, value in wrong.items():
        setattr(faults, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(faults, name, value)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
