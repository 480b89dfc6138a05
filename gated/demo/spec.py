"""What `python -m adapters.simulator` is told about a site: its devices and lanes."""

from __future__ import annotations

from dataclasses import asdict

from adapters.simulator.site import SimLane
from gated.config import SiteConfig


def sim_lanes(config: SiteConfig) -> list[SimLane]:
    """What the simulated site knows of the lanes."""
    return [
        SimLane(
            id=lane.id,
            direction=lane.direction.value,
            camera=lane.cameras[0].device,
            barrier=lane.barrier.device if lane.barrier else None,
            output=lane.barrier.output if lane.barrier else None,
            position=(lane.position.device, lane.position.input)
            if lane.position and lane.position.input is not None
            else None,
        )
        for lane in config.lanes
    ]


def spec(
    config: SiteConfig, *, ingest: str, people: int, seed: int, speed: float, troubles: bool
) -> dict[str, object]:
    """The line of JSON that the simulator reads. `ingest`: base URL for pushes. `people`: residents whose
    vehicles drive; the same `seed` gives the same ones. `speed`: times faster than a real day. `troubles`:
    with faults."""
    return {
        "devices": [device.model_dump(mode="json", exclude_unset=True) for device in config.devices],
        "lanes": [asdict(lane) for lane in sim_lanes(config)],
        "ingest": ingest,
        "people": people,
        "seed": seed,
        "speed": speed,
        "troubles": troubles,
    }
