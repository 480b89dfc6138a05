"""From the configuration's models to the settings that the parts know, and from names to adapters. Pure but
for importing an adapter's module."""

from __future__ import annotations

import importlib
import importlib.util
import re
from datetime import timedelta
from functools import partial

from gated.actuation import BarrierSettings
from gated.config import LaneConfig, SiteConfig, UnknownDeviceType
from gated.district import Told
from gated.domain import Text
from gated.lane import InputRef, LaneSettings, PositionRef
from gated.ports import AdapterModule
from rules.build import LaneName, SiteNames

_NOT_A_DEVICE = frozenset({"simulator"})
_TYPE = re.compile(r"[a-z][a-z0-9_]*")


def adapter_types() -> list[str]:
    """The device types that this installation has."""
    import pkgutil

    import adapters

    found = (module.name for module in pkgutil.iter_modules(adapters.__path__))
    return sorted(name for name in found if not name.startswith("_") and name not in _NOT_A_DEVICE)


def load_adapter(type_: str) -> AdapterModule:
    """The module `adapters.<type>`, imported now. Raises UnknownDeviceType."""
    if not _TYPE.fullmatch(type_) or type_ not in adapter_types():
        raise UnknownDeviceType(type_, tuple(adapter_types()))
    module: AdapterModule = importlib.import_module(f"adapters.{type_}")
    return module


def told_district(config: SiteConfig) -> Told | None:
    """The platform of the district that is told of passages, if there is one."""
    district = config.district
    if district is None:
        return None
    from adapters.gat1400.platform import DistrictPlatform

    return Told(partial(DistrictPlatform, district, config.site.zone), district.lanes)


def site_names(config: SiteConfig) -> SiteNames:
    """What a policy may refer to."""
    return SiteNames(
        zone=config.site.zone,
        entrances={one.id: Text(one.name.zh, one.name.en) for one in config.entrances},
        lanes={
            one.id: LaneName(
                one.entrance,
                one.direction,
                Text(one.name.zh, one.name.en) if one.name else Text(one.id, one.id),
            )
            for one in config.lanes
        },
        grids=[one.id for one in config.grids],
    )


def lane_settings(lane: LaneConfig) -> LaneSettings:
    """One lane as its path knows it."""
    barrier = None
    if lane.barrier is not None:
        barrier = BarrierSettings(
            device=lane.barrier.device,
            output=lane.barrier.output,
            pulse_ms=lane.pulse_ms,
            cool_down_s=lane.cool_down_ms / 1000,
            open_timeout_s=lane.open_timeout_ms / 1000,
            confirm_s=lane.confirm_ms / 1000,
            # an opening that waited longer than a read may be old would be for a vehicle that has gone
            max_wait_s=lane.max_age_ms / 1000,
            position_device=lane.position.device if lane.position else None,
            position_output=_asked_output(lane),
            position_asked=lane.position is None or lane.position.input is None,
        )
    return LaneSettings(
        id=lane.id,
        entrance=lane.entrance,
        direction=lane.direction,
        readers=tuple((camera.device, camera.channel) for camera in lane.cameras),
        barrier=barrier,
        position=PositionRef(
            lane.position.device,
            lane.position.input,
            lane.position.output,
            inverted=lane.position.active == "closed",
        )
        if lane.position
        else None,
        presence=_input(lane.presence),
        fire=_input(lane.fire),
        merge_s=lane.merge_ms / 1000,
        max_age=timedelta(milliseconds=lane.max_age_ms),
        closed=lane.closed,
    )


def _asked_output(lane: LaneConfig) -> str | None:
    """About which output the position is asked: the barrier's own, unless another is named."""
    position, barrier = lane.position, lane.barrier
    if position is None or barrier is None:
        return None
    own = barrier.output if position.device == barrier.device else None
    return own if position.output is None else position.output


def _input(ref: object) -> InputRef | None:
    if ref is None:
        return None
    return InputRef(ref.device, ref.input, ref.inverted)  # type: ignore[attr-defined]
