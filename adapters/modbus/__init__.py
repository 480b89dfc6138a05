"""Modbus TCP relay boards: pulses and inputs. See `docs/devices/modbus.md`."""

from adapters.modbus.device import Config, ModbusRelays, create
from adapters.modbus.probe import probe

__all__ = ["Config", "ModbusRelays", "create", "probe"]
