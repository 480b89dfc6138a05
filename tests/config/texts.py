"""A small valid configuration as text, and adapters of made-up devices, for the tables of cases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

from gated.config import SiteConfig, UnknownDeviceType, loads
from gated.ports import DeviceConfig, PushConfig, Secret

GOOD = """\
site: {id: village, name: {zh: 村, en: Village}}
store: {url: "sqlite:////var/lib/gated/gated.db"}
grids:
  - {id: all, name: all}
  - {id: g1, name: {zh: 第一网格}, parent: all}
entrances:
  - {id: gate, name: gate, grid: g1}
lanes:
  - id: gate-in
    entrance: gate
    direction: in
    cameras: [cam]
    barrier: {device: relay, output: 0}
devices:
  - {id: cam, type: camera, host: 10.0.0.1, password: {env: CAM}}
  - {id: relay, type: relay, host: 10.0.0.2}
  - {id: pusher, type: pusher, token: {env: TOKEN}}
"""


class Camera(DeviceConfig):
    """A device with a host and a secret."""

    type: Literal["camera"]
    host: str
    port: int = 80
    password: Secret | None = None


class Relay(DeviceConfig):
    """A device without secrets."""

    type: Literal["relay"]
    host: str


class Pusher(PushConfig):
    """A device that pushes."""

    type: Literal["pusher"]


_KNOWN = {"camera": Camera, "relay": Relay, "pusher": Pusher}


def load_adapter(type_: str) -> Any:
    """The made-up adapters."""
    if type_ not in _KNOWN:
        raise UnknownDeviceType(type_, tuple(_KNOWN))
    return SimpleNamespace(Config=_KNOWN[type_])


def site(text: str = GOOD) -> SiteConfig:
    """The configuration in `text`."""
    return loads(text, load_adapter)


def changed(old: str, new: str, text: str = GOOD) -> str:
    """`text` with one part replaced; fails if it is not there exactly once."""
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)
