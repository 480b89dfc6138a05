"""What goes over a device's wire, written down so that it can become a test: for devices that behave as no
page says. See "Record a device" in `docs/add-a-device.md`."""

from gated.recording.disguise import Disguise
from gated.recording.recorder import Recorder

__all__ = ["Disguise", "Recorder"]
