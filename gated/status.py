"""What can be seen of a lane and a device from outside at this moment: records for API, MQTT and pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gated.domain import BarrierPosition, Direction, LaneMode, Outcome
from gated.ports import DeviceInfo


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane now. `barrier`: the device that opens it, None for a lane that only watches. `waiting`:
    openings waiting for the cool-down. `occupied`: something is under the boom; None where nothing tells."""

    id: str
    entrance: str
    direction: Direction
    mode: LaneMode
    position: BarrierPosition
    barrier: str | None = None
    last_outcome: Outcome | None = None
    last_passage_id: str | None = None
    last_at: datetime | None = None
    waiting: int = 0
    occupied: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device now. `since`: of the present online or offline state. `drift_s`: device clock minus ours in
    seconds. `error`: why it is offline; `refused` when it rejects our credentials."""

    id: str
    type: str
    online: bool
    since: datetime
    last_event_at: datetime | None = None
    drift_s: float | None = None
    error: str | None = None
    refused: bool = False
    info: DeviceInfo = field(default_factory=DeviceInfo)
