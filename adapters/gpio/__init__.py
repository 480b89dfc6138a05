"""Relays and contacts on the box's own pins (GPIO). See `docs/devices/gpio.md`."""

from adapters.gpio.device import Config, GpioPins, create

__all__ = ["Config", "GpioPins", "create"]
