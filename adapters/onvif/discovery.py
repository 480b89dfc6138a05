"""Finds ONVIF devices on one network by WS-Discovery: a UDP probe to 239.255.255.250:3702.

Building, reading and merging are pure; `discover` is the socket. Anybody on the network may answer: datagrams
are bounded, XML is read as every reply is, and what a device says of itself is cut to printable text. Nothing
is asked of the devices found; no password is used.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from lxml import etree

from adapters.onvif.envelope import NotSoap, child, envelope, local, parse, payload, text_of

TARGET = ("239.255.255.250", 3702)
MAX_FOUND = 500
MAX_DATAGRAMS = 5_000
MAX_DATAGRAM = 64 * 1024
_MOST = 32  # addresses, types, scopes of one device
_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_TO = "urn:schemas-xmlsoap-org:ws:2005:04:discovery"
_NETWORK = "http://www.onvif.org/ver10/network/wsdl"
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_SCOPE = "onvif://www.onvif.org/"
_MAC = re.compile(r"[0-9a-f]{2}([:-]?[0-9a-f]{2}){5}", re.IGNORECASE | re.ASCII)
_BRANDS = {
    "hikvision": ("Hikvision 海康", re.compile(r"hikvision|\bDS-[0-9KT]", re.IGNORECASE)),
    "dahua": ("Dahua 大华", re.compile(r"dahua|\bDHI?-|\bDH_", re.IGNORECASE)),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One device. `endpoint`: its own lasting name (a URN), or its address where it has none. `address`:
    where its answer came from. `xaddrs`: URLs of its device service as it wrote them. `types`: local names.
    `mac`: lower case with colons, "" where it does not say."""

    endpoint: str
    address: str
    xaddrs: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    name: str = ""
    hardware: str = ""
    location: str = ""
    mac: str = ""

    @property
    def service(self) -> tuple[str, int, str, bool]:
        """Host, port, path and TLS of its device service: at the address that answered where it names one,
        plain before TLS. The host is always the address that answered: it is the one that is reached."""
        best = ("http", 80, "/onvif/device_service", 4)
        for each in self.xaddrs:
            parts = urlsplit(each)
            rank = (parts.hostname != self.address) * 2 + (parts.scheme == "https")
            if rank < best[3]:
                port = parts.port or (443 if parts.scheme == "https" else 80)
                best = (parts.scheme, port, parts.path or "/", rank)
        return self.address, best[1], best[2], best[0] == "https"

    @property
    def brand(self) -> str:
        """The adapter that knows its brand better than this one, or ""."""
        words = f"{self.name} {self.hardware}"
        return next((adapter for adapter, (_, sign) in _BRANDS.items() if sign.search(words)), "")


# --- building ---------------------------------------------------------------------------------------------


def probe(message_id: str, kind: str = "") -> bytes:
    """A Probe for `NetworkVideoTransmitter`, `Device`, or for everybody. WS-Discovery 2005/04, as ONVIF
    wants it."""
    prefix, namespace = ("tds", _DEVICE) if kind == "Device" else ("dn", _NETWORK)
    types = f'<d:Types xmlns:{prefix}="{namespace}">{prefix}:{kind}</d:Types>' if kind else ""
    return envelope(
        f'<d:Probe xmlns:d="{_DISCOVERY}">{types}</d:Probe>',
        f'<w:MessageID xmlns:w="{_ADDRESSING}">{message_id}</w:MessageID>',
        f'<w:To xmlns:w="{_ADDRESSING}" s:mustUnderstand="true">{_TO}</w:To>',
        f'<w:Action xmlns:w="{_ADDRESSING}" s:mustUnderstand="true">{_DISCOVERY}/Probe</w:Action>',
    )


def probes(new_id: Callable[[], str]) -> list[bytes]:
    """What is asked: devices answer one or the other."""
    return [probe(new_id(), kind) for kind in ("NetworkVideoTransmitter", "Device", "")]


def snippet(found: Found) -> str:
    """The device's section for `gated.yaml`, with a name of its own and where its password will be."""
    host, port, path, tls = found.service
    usual = port == (443 if tls else 80)
    plain = re.sub(r"[^a-z0-9]+", "-", host if usual else f"{host}-{port}").strip("-")
    label = " ".join(each for each in (found.name, found.hardware) if each)
    lines = [f"  # {label}"] if label else []
    if found.brand and find_spec(f"adapters.{found.brand}") is not None:
        lines += [
            f"  # {_BRANDS[found.brand][0]}: for plates, type: {found.brand} does more than type: onvif",
            f"  # (docs/devices/{found.brand}.md). 识别车牌的相机请用 type: {found.brand}",
        ]
    lines += [
        f"  - id: onvif-{plain}",
        "    type: onvif",
        f"    host: {host}",
        *([] if usual else [f"    port: {port}"]),
        *(["    tls: unverified"] if tls else []),
        *([f"    path: {json.dumps(path)}"] if path != "/onvif/device_service" else []),
        "    username: gated",
        f"    password: {{env: GATED_{plain.replace('-', '_').upper()}}}",
    ]
    return "\n".join(lines) + "\n"


# --- reading ----------------------------------------------------------------------------------------------


def read(datagram: bytes, peer: str) -> list[Found]:
    """The ONVIF devices of a ProbeMatches. Empty for anything else, such as a printer's; raises nothing."""
    if len(datagram) > MAX_DATAGRAM:
        return []
    try:
        body = payload(parse(datagram))
    except NotSoap:
        return []
    if body is None or local(body) != "ProbeMatches":
        return []
    matches = [each for each in body if local(each) == "ProbeMatch"][:_MOST]
    return [found for found in (_match(each, peer) for each in matches) if found is not None]


def merged(answers: Iterable[Found]) -> list[Found]:
    """One for each endpoint, with all that its answers said; at most MAX_FOUND, by address. Cameras that were
    made with the same endpoint stay apart: they answer from other addresses and name no common one."""
    devices: dict[str, list[Found]] = {}
    count = 0
    for each in answers:
        known = devices.setdefault(each.endpoint, []) if count < MAX_FOUND else devices.get(each.endpoint, [])
        same = next((place for place, one in enumerate(known) if _hosts(one) & _hosts(each)), None)
        if same is not None:
            known[same] = _both(known[same], each)
        elif count < MAX_FOUND and len(known) < _MOST:
            known.append(each)
            count += 1
    found = [one for known in devices.values() for one in known]
    return sorted(found, key=lambda one: ([_part(part) for part in one.address.split(".")], one.endpoint))


def _match(match: etree._Element, peer: str) -> Found | None:
    types, known = _types(child(match, "Types"))
    scopes = (text_of(match, "Scopes")[:8192]).split()[:_MOST]
    xaddrs = tuple(each for each in text_of(match, "XAddrs")[:8192].split()[:_MOST] if _is_url(each))
    ours = [each[len(_SCOPE) :] for each in scopes if each.lower().startswith(_SCOPE)]
    if not (known or ours or any("/onvif/" in each for each in xaddrs)):
        return None
    said = [(key.lower(), _words(value)) for key, _, value in (each.partition("/") for each in ours)]
    endpoint = _printable(text_of(match, "EndpointReference", "Address"))[:128]

    def first(wanted: str) -> str:
        return next((value for key, value in said if key == wanted and value), "")

    places = [value for key, value in said if key == "location" and value]
    return Found(
        endpoint=endpoint or peer,
        address=peer,
        xaddrs=xaddrs,
        types=types,
        name=first("name"),
        hardware=first("hardware"),
        location=", ".join(dict.fromkeys(places))[:128],
        mac=_mac(first("mac"), endpoint),
    )


def _types(element: etree._Element | None) -> tuple[tuple[str, ...], bool]:
    """The local names, and whether one of them is ONVIF's by its namespace."""
    if element is None:
        return (), False
    names = [each.partition(":") for each in (element.text or "")[:8192].split()[:_MOST]]
    known = any("www.onvif.org" in (element.nsmap.get(prefix) or "") for prefix, _, _ in names)
    return tuple(_printable(last or first)[:64] for first, _, last in names), known


def _hosts(found: Found) -> set[str]:
    return {found.address, *(urlsplit(each).hostname or "" for each in found.xaddrs)}


def _both(one: Found, other: Found) -> Found:
    def union(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*a, *b)))[:_MOST]

    return replace(
        one,
        xaddrs=union(one.xaddrs, other.xaddrs),
        types=union(one.types, other.types),
        name=one.name or other.name,
        hardware=one.hardware or other.hardware,
        location=one.location or other.location,
        mac=one.mac or other.mac,
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and len(text) <= 256
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def _words(text: str) -> str:
    """The value of a scope: percent-encoded UTF-8, or GB 18030 from cameras sold in China."""
    raw = unquote_to_bytes(text)
    for encoding in ("utf-8", "gb18030"):
        try:
            return _printable(raw.decode(encoding))[:64].strip()
        except UnicodeDecodeError:
            continue
    return _printable(raw.decode("utf-8", "replace"))[:64].strip()


def _printable(text: str) -> str:
    """Without control and formatting characters: it is shown on a terminal and pasted into a file."""
    return "".join(each if each.isprintable() else " " for each in text)


def _mac(scope: str, endpoint: str) -> str:
    """From the scope `MAC/...` of some brands, else from a version-1 UUID, whose last part is one unless
    its multicast bit is set (RFC 9562, 5.1 and 6.10)."""
    digits = ""
    if _MAC.fullmatch(scope):
        digits = re.sub("[:-]", "", scope).lower()
    else:
        try:
            number = uuid.UUID(endpoint.rpartition(":")[2])
        except ValueError:
            return ""
        if number.version == 1 and number.node and not number.node >> 40 & 1:
            digits = f"{number.node:012x}"
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _part(part: str) -> int:
    return int(part) if part.isascii() and part.isdigit() else -1


# --- the socket -------------------------------------------------------------------------------------------


class _Listener(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: list[Found] = []
        self.datagrams = 0

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.datagrams += 1
        if self.datagrams <= MAX_DATAGRAMS and len(self.answers) < 4 * MAX_FOUND:
            self.answers += read(data, str(addr[0]))


async def discover(
    interface_address: str, timeout_s: float, *, target: tuple[str, int] | None = None
) -> list[Found]:
    """Who answers on the network of one of our own IPv4 addresses within `timeout_s` (at most 60). Asks
    twice, for UDP loses some. `target`: another place to ask than the multicast group. Raises OSError where
    the address is none of ours or the network does not let it out."""
    timeout_s = min(max(timeout_s, 0.05), 60.0)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface_address))
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        raw.bind((interface_address, 0))
        transport, listener = await loop.create_datagram_endpoint(_Listener, sock=raw)
        try:
            for wait_s in (timeout_s * 0.3, timeout_s * 0.7):
                for each in probes(lambda: uuid.uuid4().urn):
                    raw.sendto(each, target or TARGET)
                await asyncio.sleep(wait_s)
        finally:
            transport.close()
    return merged(listener.answers)
