"""ONVIF cameras and door controllers: events by pull point, opening by relay or door, pictures.

What the daemon needs is here: `Config` and `create`. Importing this imports neither onvif-zeep nor zeep.
"""

from __future__ import annotations

from adapters.onvif.config import Config
from adapters.onvif.device import OnvifDevice
from adapters.onvif.probe import probe
from gated.ports import DeviceContext

__all__ = ["Config", "OnvifDevice", "create", "probe"]


def create(config: Config, context: DeviceContext) -> OnvifDevice:
    """The device of one section of `gated.yaml`. Does no I/O."""
    return OnvifDevice(config, context)
