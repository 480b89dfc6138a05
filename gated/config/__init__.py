"""gated.yaml as pydantic models: unknown keys refused, all errors at once with file and line.

`load` reads it, `diff` tells what a reload changes. Imported by `gated.app`, the command line and the check;
the models of single sections (`gated.config.models`) know only the domain and the ports, and may be used
further down. No secret is inside, only where to find it.
"""

from gated.config.diff import Changes, diff
from gated.config.errors import ConfigErrors, Problem, UnknownDeviceType
from gated.config.load import LoadAdapter, load, loads
from gated.config.models import (
    ApiSettings,
    CameraRef,
    ClockSettings,
    EntranceConfig,
    GridConfig,
    InputRef,
    LaneConfig,
    LaneTuning,
    LogSettings,
    Name,
    OutputRef,
    PolicySettings,
    PositionRef,
    SiteInfo,
    StoreSettings,
)
from gated.config.secrets import secrets_of, values_of
from gated.config.site import SiteConfig, devices_of
from gated.mqtt.settings import MqttSettings, TlsSettings

__all__ = [
    "ApiSettings",
    "CameraRef",
    "Changes",
    "ClockSettings",
    "ConfigErrors",
    "EntranceConfig",
    "GridConfig",
    "InputRef",
    "LaneConfig",
    "LaneTuning",
    "LoadAdapter",
    "LogSettings",
    "MqttSettings",
    "Name",
    "OutputRef",
    "PolicySettings",
    "PositionRef",
    "Problem",
    "SiteConfig",
    "SiteInfo",
    "StoreSettings",
    "TlsSettings",
    "UnknownDeviceType",
    "devices_of",
    "diff",
    "load",
    "loads",
    "secrets_of",
    "values_of",
]
