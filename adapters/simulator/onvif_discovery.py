"""Simulated ONVIF devices that answer WS-Discovery probes: on loopback in unicast, or in the multicast group.

Stands alone: nothing is shared with the adapter under test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from xml.sax.saxutils import escape

from lxml import etree

from adapters.simulator.faults import Faults

GROUP = "239.255.255.250"
_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:wsdd="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
    'xmlns:dn="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:pub="http://schemas.microsoft.com/windows/pub/2005/07">'
)


@dataclass(frozen=True, slots=True)
class Discoverable:
    """What one device says of itself. `answers_to`: the types of a probe that it hears; "" is a probe for
    everybody. `scopes`: beside name, hardware and location; percent-encoded by whoever gives them."""

    endpoint: str = "urn:uuid:00000000-0000-4000-8000-000000000001"
    xaddrs: str = "http://127.0.0.1/onvif/device_service"
    types: str = "dn:NetworkVideoTransmitter tds:Device"
    name: str = "gated"
    hardware: str = "SIM-1"
    location: str = ""
    scopes: tuple[str, ...] = ()
    answers_to: tuple[str, ...] = ("NetworkVideoTransmitter", "Device", "")

    def matches(self, relates_to: str) -> bytes:
        """Its ProbeMatches."""
        words = {"name": self.name, "hardware": self.hardware, "location": self.location}
        scopes = [f"onvif://www.onvif.org/{key}/{quote(value)}" for key, value in words.items() if value]
        return (
            f"{_HEAD}<env:Header><wsa:MessageID>urn:uuid:0</wsa:MessageID><wsa:RelatesTo>{escape(relates_to)}"
            "</wsa:RelatesTo><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches"
            "</wsa:Action></env:Header><env:Body><wsdd:ProbeMatches><wsdd:ProbeMatch>"
            f"<wsa:EndpointReference><wsa:Address>{escape(self.endpoint)}</wsa:Address></wsa:EndpointReference>"
            f"<wsdd:Types>{escape(self.types)}</wsdd:Types>"
            f"<wsdd:Scopes>{escape(' '.join([*scopes, *self.scopes]))}</wsdd:Scopes>"
            f"<wsdd:XAddrs>{escape(self.xaddrs)}</wsdd:XAddrs>"
            "<wsdd:MetadataVersion>1</wsdd:MetadataVersion>"
            "</wsdd:ProbeMatch></wsdd:ProbeMatches></env:Body></env:Envelope>"
        ).encode()


class Responder(asyncio.DatagramProtocol):
    """Devices behind one socket. `async with Responder([...]) as responder: responder.port`.

    `multicast`: joins the group on the interface of `host` instead of only being asked at its address.
    `probes`: the type that each probe asked for. `faults`: `lost`, `twice` and `garbage` count for answers.
    """

    def __init__(
        self,
        devices: Sequence[Discoverable] = (Discoverable(),),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        multicast: bool = False,
        faults: Faults | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.devices = list(devices)
        self.faults = faults or Faults()
        self.probes: list[str] = []
        self._multicast = multicast
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            raw.bind((GROUP if self._multicast else self.host, self.port))
            if self._multicast:
                membership = socket.inet_aton(GROUP) + socket.inet_aton(self.host)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self.host))
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=raw)
        except BaseException:
            raw.close()
            raise
        self.port = raw.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()
            await asyncio.sleep(0)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
        except (etree.XMLSyntaxError, ValueError):
            return
        asked = root.find("{*}Body/{*}Probe")
        if asked is None or self._transport is None:
            return
        kind = asked.findtext("{*}Types", "").rpartition(":")[2]
        self.probes.append(kind)
        for each in self.devices:
            if kind not in each.answers_to:
                continue
            answer = each.matches(root.findtext("{*}Header/{*}MessageID", ""))
            for _ in range(self.faults.copies()):
                self._transport.sendto(self.faults.take_garbage() or answer, addr)
