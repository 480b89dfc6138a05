"""Anything that can send a small JSON over HTTP: readers, sensors, home-made controllers. See
`docs/devices/webhook.md`."""

from adapters.webhook.device import Config, WebhookDevice, create

__all__ = ["Config", "WebhookDevice", "create"]
