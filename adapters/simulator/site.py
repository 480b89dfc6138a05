"""A whole simulated site: a double for every configured device, booms at the lanes, vehicles that drive up.

Takes the devices' own configuration, so that a daemon with that configuration finds them where it looks. It
does not know what the daemon decides; it sees its booms move, as a vehicle would.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.modbus import ModbusRelayBoard
from adapters.simulator.onvif import OnvifCamera
from adapters.simulator.traffic import Arrival
from adapters.simulator.vzenith import VzenithCamera
from adapters.simulator.webhook import WebhookDevice
from gated.ports import DeviceConfig

Double = OnvifCamera | VzenithCamera | WebhookDevice | ModbusRelayBoard

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
        self.doubles: dict[str, Double] = {}
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
            self.doubles[config.id] = self._double(config, by_barrier.get(config.id, []), ingest, faults)

    def _double(self, config: DeviceConfig, lanes: Sequence[SimLane], ingest: str, faults: Faults) -> Double:
        given: Any = config
        boom = self.booms[lanes[0].id] if lanes else None
        if config.type == "onvif":
            password = given.password.value() if given.password else ""
            return OnvifCamera(
                username=given.username,
                password=password,
                host=given.host,
                port=given.effective_port,
                boom=boom,
                faults=faults,
                serial=f"SIM-{config.id}",
            )
        if config.type == "modbus":
            board = ModbusRelayBoard(faults=faults, host=given.host, unit=given.unit)
            board.port = given.port
            for lane in lanes:
                board.booms[int(lane.output or 0)] = self.booms[lane.id]
            for output, ends in given.position.items():
                if ends.open is not None and ends.closed is not None:
                    board.limit_inputs[int(output)] = (ends.open, ends.closed)
            return board
        url = f"{ingest}/ingest/{config.id}?key={quote(given.token.value(), safe='')}"
        if config.type == "vzenith":
            serial = {"serial": given.serial} if given.serial else {}
            return VzenithCamera(url, poll=given.poll, boom=boom, faults=faults, **serial)
        if config.type == "webhook":
            return WebhookDevice(url, boom=boom, faults=faults, wait_ms=1000)
        raise ValueError(f"nothing simulates a device of type {config.type!r}")

    async def __aenter__(self) -> SimulatedSite:
        async with AsyncExitStack() as stack:
            for double in self.doubles.values():
                await stack.enter_async_context(double)
            contacts = asyncio.create_task(self._move_contacts())
            stack.push_async_callback(_ended, contacts)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _move_contacts(self) -> None:
        """The limit switches of the booms, wired to the boards' inputs."""
        wired = [
            (board, int(lane.position[1]), self.booms[lane.id])
            for lane in self._lanes.values()
            if lane.position is not None and lane.id in self.booms
            if isinstance(board := self.doubles.get(lane.position[0]), ModbusRelayBoard)
        ]
        while wired:
            for board, number, boom in wired:
                board.set_input(number, boom.open_contact)
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
        double = self.doubles[camera]
        if isinstance(double, OnvifCamera):
            double.push_plate(plate or "")
        elif isinstance(double, (VzenithCamera, WebhookDevice)):
            await double.see(plate)

    # --- faults -----------------------------------------------------------------------------------------

    async def troubles(self, every_s: float = 12.0) -> None:
        """Now and then something goes wrong for a while, one thing at a time: the site's bad day."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * every_s)
            name, double = self._rng.choice(list(self.doubles.items()))
            kind = self._rng.choice(("dies", "late", "clock", "stuck", "away"))
            self.seen.faults[kind] += 1
            await self._trouble(kind, name, double, every_s / 2)

    async def _trouble(self, kind: str, name: str, double: Double, for_s: float) -> None:
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
        elif isinstance(double, ModbusRelayBoard):
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
