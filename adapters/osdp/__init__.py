"""Card readers and keypads on RS-485 that speak OSDP. See `docs/devices/osdp.md`."""

from adapters.osdp.device import Config, OsdpReaders, create

__all__ = ["Config", "OsdpReaders", "create"]
