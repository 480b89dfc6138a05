"""Relays on MQTT: Shelly (Gen2 and later), Tasmota, ESPHome. See `docs/devices/mqtt_relay.md`."""

from adapters.mqtt_relay.device import Config, MqttRelay, create
from adapters.mqtt_relay.probe import probe

__all__ = ["Config", "MqttRelay", "create", "probe"]
