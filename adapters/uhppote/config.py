"""The section of a UHPPOTE controller in gated.yaml."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gated.ports import DeviceConfig, ZoneName

Door = Annotated[int, Field(ge=1, le=4)]


class Config(DeviceConfig):
    """One controller. `controller`: its serial number, as it stands on its board; another one is refused.

    `mode`: "remote": the controller refuses every card itself and gated opens, for as long as gated is there;
    "local": the controller opens by its own cards. `doors`: those that gated uses; the others are left alone.
    `set_doors`: gated may set a door's control mode and delay where they do not fit. `channels`: what the
    channel of a read is: the door, or the reader where a door has one for each way. `listen`: "address:port"
    of this box, to which it is told to send its events. `timezone`: of its clock. `profile`: the time profile
    of the cards of its list (1: at any time), which holds `list_capacity`. `poll_ms`: how often it is asked
    for events; `timeout_ms`: for one answer."""

    type: Literal["uhppote"]
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=60000, ge=1, le=65535)
    controller: int = Field(ge=1, le=0xFFFFFFFE)
    protocol: Literal["udp", "tcp"] = "udp"
    doors: tuple[Door, ...] = Field(default=(1,), min_length=1, max_length=4)
    mode: Literal["remote", "local"] = "remote"
    set_doors: bool = False
    channels: Literal["door", "reader"] = "door"
    listen: str | None = None
    timezone: ZoneName = "Asia/Shanghai"
    profile: int = Field(default=1, ge=1, le=254)
    list_capacity: int = Field(default=20_000, ge=1, le=200_000)
    poll_ms: int = Field(default=250, ge=20, le=10_000)
    timeout_ms: int = Field(default=1000, ge=50, le=10_000)

    @field_validator("doors")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each door once")
        return value

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            listener(value)
        return value


def listener(text: str) -> tuple[IPv4Address, int]:
    """`192.168.1.10:60001`, an address of this box that the controller can send to. Raises ValueError."""
    host, _, port = text.rpartition(":")
    try:
        address = IPv4Address(host)
    except ValueError:
        address = IPv4Address(0)
    if address.is_unspecified or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("listen is an IPv4 address of this box and a port, such as 192.168.1.10:60001")
    return address, int(port)
