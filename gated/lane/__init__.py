"""The path of a passage: from a device's read to a record on disk and a pulse at the barrier."""

from gated.lane.lanes import Lanes
from gated.lane.parts import Observer, Parts
from gated.lane.path import Lane
from gated.lane.settings import InputRef, LaneSettings, PositionRef
from gated.lane.surroundings import SiteSurroundings

__all__ = [
    "InputRef",
    "Lane",
    "LaneSettings",
    "Lanes",
    "Observer",
    "Parts",
    "PositionRef",
    "SiteSurroundings",
]
