"""Devices come and go: `supervised` keeps one connected, `devices` has them all."""

from gated.devices.devices import Around, Devices
from gated.devices.supervised import Supervised

__all__ = ["Around", "Devices", "Supervised"]
