"""VZ R3/R5/C5H (臻识) and Alphadigi plate cameras over HTTP push; opened by the reply. See
`docs/devices/vzenith.md`."""

from adapters.vzenith.device import Config, VzenithCamera, create

__all__ = ["Config", "VzenithCamera", "create"]
