"""The whole configuration as one frozen record, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import PrivateAttr, SerializeAsAny

from gated.config.models import (
    ApiSettings,
    ClockSettings,
    Defaults,
    DistrictSettings,
    EntranceConfig,
    GridConfig,
    LaneConfig,
    LogSettings,
    PolicySettings,
    Section,
    SiteInfo,
    StoreSettings,
)
from gated.mqtt.settings import MqttSettings
from gated.ports import DeviceConfig

_Item = TypeVar("_Item", DeviceConfig, LaneConfig, EntranceConfig, GridConfig)


class SiteConfig(Section):
    """gated.yaml, checked. `devices` hold the models of their adapters; `defaults` are already merged into
    `lanes`."""

    site: SiteInfo
    store: StoreSettings
    api: ApiSettings = ApiSettings()
    mqtt: MqttSettings = MqttSettings()
    log: LogSettings = LogSettings()
    clock: ClockSettings = ClockSettings()
    policy: PolicySettings = PolicySettings()
    district: DistrictSettings | None = None
    defaults: Defaults = Defaults()
    grids: tuple[GridConfig, ...]
    entrances: tuple[EntranceConfig, ...]
    lanes: tuple[LaneConfig, ...]
    devices: tuple[SerializeAsAny[DeviceConfig], ...]
    _secrets: Mapping[str, bytes] = PrivateAttr(default_factory=dict)

    def device(self, id_: str) -> DeviceConfig:
        """Raises KeyError."""
        return _by_id(self.devices, id_)

    def lane(self, id_: str) -> LaneConfig:
        """Raises KeyError."""
        return _by_id(self.lanes, id_)

    def entrance(self, id_: str) -> EntranceConfig:
        """Raises KeyError."""
        return _by_id(self.entrances, id_)

    def grid(self, id_: str) -> GridConfig:
        """Raises KeyError."""
        return _by_id(self.grids, id_)

    @property
    def root_grid(self) -> str:
        """The first grid without a parent: who hears of what belongs to no lane."""
        return next(grid.id for grid in self.grids if grid.parent is None)

    def grid_of_lane(self, lane: str) -> str:
        """The grid that a lane's alerts go to. Raises KeyError."""
        return self.entrance(self.lane(lane).entrance).grid

    @property
    def listed_devices(self) -> dict[str, frozenset[str]]:
        """The devices whose own lists let people in while gated is down, each with the entrances of the
        lanes that rely on it."""
        found: dict[str, set[str]] = {}
        for lane in self.lanes:
            if lane.listed_on is not None:
                found.setdefault(lane.listed_on, set()).add(lane.entrance)
        return {device: frozenset(entrances) for device, entrances in found.items()}

    def lanes_of_device(self, device: str) -> tuple[LaneConfig, ...]:
        """The lanes that use a device in any part; empty for one that only watches."""
        return tuple(lane for lane in self.lanes if device in devices_of(lane))


def devices_of(lane: LaneConfig) -> tuple[str, ...]:
    """The ids of all devices that a lane names, each once, in the order of its section."""
    refs = [*lane.cameras, lane.barrier, lane.position, lane.presence, lane.fire]
    return tuple(dict.fromkeys(ref.device for ref in refs if ref is not None))


def _by_id(items: tuple[_Item, ...], id_: str) -> _Item:
    for item in items:
        if item.id == id_:
            return item
    raise KeyError(id_)
