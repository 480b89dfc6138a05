"""What a reload changes between two configurations, and what it cannot change without a restart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gated.config.site import SiteConfig

# What is set up once, before the first passage: sockets, the database, the topics' root.
_RESTART = ("site.id", "store", "api", "mqtt")


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids in the order of their file. `sections`: other top-level sections that differ and take effect at
    once (site, log, clock, policy, district, grids, entrances). `restart`: dotted names of values that differ
    and keep their old value until the daemon is started anew."""

    devices_added: tuple[str, ...] = ()
    devices_removed: tuple[str, ...] = ()
    devices_changed: tuple[str, ...] = ()
    lanes_added: tuple[str, ...] = ()
    lanes_removed: tuple[str, ...] = ()
    lanes_changed: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    restart: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        """Whether anything differs at all."""
        return any(getattr(self, name) for name in self.__slots__)


def diff(old: SiteConfig, new: SiteConfig) -> Changes:
    """What becomes different. A device whose secret has another value than at the last load has changed, too.

    A lane also counts as changed when its entrance's id or grid differs; a change of a device alone is not a
    change of its lane.
    """
    devices = _compare(
        {device.id: (device, old._secrets.get(f"devices.{device.id}")) for device in old.devices},
        {device.id: (device, new._secrets.get(f"devices.{device.id}")) for device in new.devices},
    )
    lanes = _compare(
        {lane.id: (lane, old.grid_of_lane(lane.id)) for lane in old.lanes},
        {lane.id: (lane, new.grid_of_lane(lane.id)) for lane in new.lanes},
    )
    sections = tuple(
        name
        for name in ("site", "log", "clock", "policy", "district", "grids", "entrances")
        if getattr(old, name) != getattr(new, name) or old._secrets.get(name) != new._secrets.get(name)
    )
    return Changes(*devices, *lanes, sections, tuple(_restart(old, new)))


def _compare(
    old: Mapping[str, object], new: Mapping[str, object]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    added = tuple(id_ for id_ in new if id_ not in old)
    removed = tuple(id_ for id_ in old if id_ not in new)
    changed = tuple(id_ for id_ in new if id_ in old and old[id_] != new[id_])
    return added, removed, changed


def _restart(old: SiteConfig, new: SiteConfig) -> list[str]:
    found = []
    for name in _RESTART:
        if name == "site.id":
            if old.site.id != new.site.id:
                found.append(name)
            continue
        before, after = getattr(old, name), getattr(new, name)
        found += [
            f"{name}.{key}" for key in type(after).model_fields if getattr(before, key) != getattr(after, key)
        ]
    if old._secrets.get("mqtt") != new._secrets.get("mqtt") and "mqtt.password" not in found:
        found.append("mqtt.password")
    return found
