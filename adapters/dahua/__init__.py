"""Dahua (大华) plate and barrier cameras over CGI, RPC2 and ITSAPI pushes. See `docs/devices/dahua.md`."""

from adapters.dahua.config import Config
from adapters.dahua.device import DahuaCamera
from adapters.dahua.probe import probe
from adapters.dahua.push import create

__all__ = ["Config", "DahuaCamera", "create", "probe"]
