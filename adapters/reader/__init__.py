"""QR code and card readers that send text: over a serial line, HTTP or MQTT. See `docs/devices/reader.md`."""

from adapters.reader.config import Config
from adapters.reader.device import create

__all__ = ["Config", "create"]
