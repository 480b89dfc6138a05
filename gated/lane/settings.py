"""What is configured of a lane, as the path of a passage needs it (the file's own form is `gated.config`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gated.actuation import BarrierSettings
from gated.domain import Direction


@dataclass(frozen=True, slots=True)
class InputRef:
    """A digital input of a device. `inverted`: the contact's rest means that the thing is so."""

    device: str
    input: str
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class PositionRef:
    """What tells where a boom is: an input that is active when it is open (or shut, if `inverted`), or,
    without `input`, a device that reports or can be asked; `output` where it drives several."""

    device: str
    input: str | None = None
    output: str | None = None
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """One lane. `readers`: (device, channel) pairs whose reads belong here, channel None for all of a device.
    `barrier` None: the lane only watches."""

    id: str
    entrance: str
    direction: Direction
    readers: tuple[tuple[str, str | None], ...] = ()
    barrier: BarrierSettings | None = None
    position: PositionRef | None = None
    presence: InputRef | None = None
    fire: InputRef | None = None
    merge_s: float = 5.0
    max_age: timedelta = timedelta(seconds=15)
    closed: bool = False

    @property
    def devices(self) -> set[str]:
        """Those that it opens, or that tell something of it; not those that only read."""
        parts = (self.barrier, self.position, self.presence, self.fire)
        return {part.device for part in parts if part is not None}
