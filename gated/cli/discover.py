"""`gated discover`: finds ONVIF devices on this machine's networks, prints sections for gated.yaml."""

from __future__ import annotations

import array
import asyncio
import fcntl
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from adapters.onvif.discovery import Found, discover, merged, snippet
from gated.cli import output

NOTHING = (
    "摄像机须与本机在同一网段（同一交换机、同一 VLAN），并在其网页上启用 ONVIF 和设备发现 (WS-Discovery)；"
    "交换机须放行组播，防火墙须放行来自 UDP 3702 的应答。可用 --interface 指定网口、--timeout 10 再试。"
    "查不到也能用：在 gated.yaml 里写上它的 host 即可。\n     "
    "It must be on this machine's network segment (switch, VLAN), with ONVIF and its discovery switched on; "
    "the switch must pass multicast, the firewall answers from UDP port 3702. Try --interface, and "
    "--timeout 10. A device that is not found works all the same: write its host in gated.yaml."
)
_SIOCGIFCONF, _SIOCGIFFLAGS = 0x8912, 0x8913
_UP, _LOOPBACK, _MULTICAST = 0x1, 0x8, 0x1000
_MOST_INTERFACES = 256


class Interface(NamedTuple):
    """An IPv4 address of this machine; `asked`: whether devices may be behind it (up, multicast, no
    loopback)."""

    name: str
    address: str
    asked: bool


def interfaces() -> list[Interface]:
    """All IPv4 addresses, as the Linux kernel tells them (`ifreq`, netdevice(7))."""
    size = 40 if struct.calcsize("P") == 8 else 32
    buffer = array.array("B", bytes(size * _MOST_INTERFACES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = bytearray(struct.pack("iP", len(buffer), buffer.buffer_info()[0]))
        fcntl.ioctl(probe, _SIOCGIFCONF, request)
        used, _ = struct.unpack("iP", request)
        raw, found = buffer.tobytes(), []
        for begin in range(0, used, size):
            name = raw[begin : begin + 16].split(b"\0", 1)[0]
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, name.ljust(size, b"\0"))
            (flags,) = struct.unpack_from("H", answer, 16)
            asked = bool(flags & _UP) and bool(flags & _MULTICAST) and not flags & _LOOPBACK
            address = socket.inet_ntoa(raw[begin + 20 : begin + 24])
            found.append(Interface(name.decode("utf-8", "replace"), address, asked))
    return found


def chosen(wanted: str | None, there: Sequence[Interface]) -> list[Interface]:
    """The interfaces that are meant by a name or an address; without one, all that devices may be behind.
    Ends the command if there is none."""
    if wanted is None:
        found = [each for each in there if each.asked]
        if not found:
            output.fail("no network interface has an IPv4 address 没有可用的网口", "see `ip address`")
        return found
    found = [each for each in there if wanted in (each.name, each.name.partition(":")[0], each.address)]
    if not found:
        known = ", ".join(f"{each.name} ({each.address})" for each in there) or "none"
        output.fail(f"no interface {wanted} 没有这个网口", f"there are 现有: {known}", 2)
    return found


async def ask(where: Sequence[Interface], timeout_s: float) -> tuple[list[Found], dict[str, str]]:
    """Everybody on these networks, at the same time; and what went wrong, by address."""
    answers = await asyncio.gather(
        *(discover(each.address, timeout_s) for each in where), return_exceptions=True
    )
    found: list[Found] = []
    troubles: dict[str, str] = {}
    for interface, answer in zip(where, answers, strict=True):
        if isinstance(answer, OSError):
            troubles[interface.address] = answer.strerror or str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return merged(found), troubles


def run(interface: str | None, *, timeout_s: float, as_json: bool) -> int:
    """Asks, prints, and gives the exit code: 1 if nothing was found."""
    there = interfaces()
    where = chosen(interface, there)
    if not as_json:
        for each in there if interface is None else where:
            asked = "asking 查找" if each in where else "not asked 跳过"
            sys.stderr.write(f"{each.name} {each.address}: {asked}\n")
        sys.stderr.flush()
    found, troubles = asyncio.run(ask(where, timeout_s))
    if as_json:
        facts = {
            "interfaces": [{"name": each.name, "address": each.address} for each in where],
            "troubles": troubles,
            "found": [_facts(each) for each in found],
        }
        output.data(facts, "", as_json=True)
    for address, why in troubles.items():
        output.error(f"{address} cannot be asked 无法查询: {why}")
    if not found:
        output.error("no ONVIF device answered 没有设备应答", NOTHING)
        return 1
    if not as_json:
        output.data(None, text(found), as_json=False)
    return 0


def text(found: Sequence[Found]) -> str:
    """A table, then the sections."""
    rows = [
        {
            "address 地址": each.address,
            "name 名称": each.name,
            "hardware 型号": each.hardware,
            "MAC": each.mac,
            "location 位置": each.location,
        }
        for each in sorted(found, key=_order)
    ]
    sections = "".join(snippet(each) for each in sorted(found, key=_order))
    count = "1 device" if len(found) == 1 else f"{len(found)} devices"
    return (
        f"{output.table(list(rows[0]), rows)}\n\n{count}. For gated.yaml; give each a user and a password "
        f"发现 {len(found)} 台；以下可粘贴到 gated.yaml，并设置账号密码:\n\ndevices:\n{sections.rstrip()}"
    )


def _facts(found: Found) -> dict[str, Any]:
    host, port, path, tls = found.service
    service = {"host": host, "port": port, "path": path, "tls": tls}
    return {**asdict(found), "service": service, "snippet": snippet(found)}


def _order(found: Found) -> tuple[bytes, str]:
    return ipaddress.ip_address(found.address).packed, found.endpoint
