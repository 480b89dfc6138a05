"""Hikvision (海康威视) plate and barrier cameras over ISAPI. See `docs/devices/hikvision.md`."""

from adapters.hikvision.device import Config, HikvisionCamera, create
from adapters.hikvision.probe import probe

__all__ = ["Config", "HikvisionCamera", "create", "probe"]
