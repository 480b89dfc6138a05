"""The two packets that make up nearly all traffic, as bytes: PUBLISH at QoS 1 as we send it, and PUBACK as it
comes back. Pure. Every other packet is paho's.

Facts of the wire are from MQTT 5, sections 2.1 (fixed header), 3.3 (PUBLISH) and 3.4 (PUBACK), and the same
sections of MQTT 3.1.1, which has no properties and no reason codes.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from functools import lru_cache

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gated.mqtt.endpoint import Version

FIRST_ID, LAST_ID = 1024, 65535
"""The packet ids of our messages. Those below are for paho, which counts its subscriptions from 1."""

_PUBLISH, _PUBLISH_RETAINED = b"\x32", b"\x33"
_PUBACK = 0x40
_CORRELATION_DATA = b"\x09"
_MOST_LENGTH = 268_435_455
_MOST_PUBACK = 64 * 1024
"""A PUBACK is the only packet that is gathered here."""
_SUCCESSES = frozenset({0x00, 0x10})

Ack = tuple[int, int]
"""A packet id and the reason code of its acknowledgement; 0 with MQTT 3.1.1."""


class Malformed(ValueError):
    """The broker sent an acknowledgement that makes no sense."""


def next_id(last: int, in_flight: Container[int]) -> int:
    """The packet id to use after `last`: around the whole range before one is used again, and none that is
    in flight."""
    while True:
        last = last + 1 if FIRST_ID <= last < LAST_ID else FIRST_ID
        if last not in in_flight:
            return last


def publish(
    topic: str,
    payload: bytes,
    packet_id: int,
    *,
    retain: bool,
    version: Version,
    correlation: bytes | None = None,
) -> bytes:
    """One PUBLISH at QoS 1. MQTT 3.1.1 knows no correlation data: it is left out. Raises ValueError for what
    is not a topic, and for more bytes than a packet can have."""
    name = _topic(topic)
    properties = b"" if version != "5" else b"\0" if correlation is None else _correlated(correlation)
    size = len(name) + 2 + len(properties) + len(payload)
    return b"".join(
        (
            _PUBLISH_RETAINED if retain else _PUBLISH,
            _length(size),
            name,
            packet_id.to_bytes(2, "big"),
            properties,
            payload,
        )
    )


class Cutter:
    """Parts what a broker sends into acknowledgements and everything else, however the stream is split. Of
    everything else it keeps nothing but a header that has not come whole."""

    def __init__(self, version: Version) -> None:
        self._five = version == "5"
        self._head = b""
        """The begin of a packet that cannot be told yet, or of a PUBACK."""
        self._passing = 0
        """Bytes still to come of the packet that goes through."""

    def cut(self, data: bytes) -> tuple[list[Ack], bytes]:
        """Takes the next bytes; returns the acknowledgements in them, and the rest as it came. Raises
        Malformed."""
        if self._head:
            data, self._head = self._head + data, b""
        acks: list[Ack] = []
        at, end = min(self._passing, len(data)), len(data)
        self._passing -= at
        others = [data[:at]] if at else []
        while at < end:
            size, body = _read_length(data, at + 1)
            if size < 0:
                self._head = data[at:]
                break
            upto = body + size
            if data[at] & 0xF0 == _PUBACK:
                if size > _MOST_PUBACK:
                    raise Malformed(f"a PUBACK of {size} bytes")
                if upto > end:
                    self._head = data[at:]
                    break
                acks.append(self._ack(data, body, size))
            else:
                others.append(data[at:upto])
                self._passing = max(0, upto - end)
            at = upto
        return acks, b"".join(others)

    def _ack(self, data: bytes, body: int, size: int) -> Ack:
        if size < 2 or (size > 2 and not self._five):
            raise Malformed(f"a PUBACK of {size} bytes")
        code = data[body + 2] if size > 2 else 0
        if code < 0x80 and code not in _SUCCESSES:
            raise Malformed(f"a PUBACK with reason code 0x{code:02x}")
        if size > 3:
            _check_properties(data[body + 3 : body + size])
        return data[body] << 8 | data[body + 1], code


@lru_cache(1024)  # a site has a few hundred topics
def _topic(topic: str) -> bytes:
    """A topic's field in a PUBLISH. Raises ValueError for what is not a topic."""
    name = topic.encode()
    if not name or len(name) > 65535:
        raise ValueError(f"a topic has 1 to 65535 bytes, not {len(name)}")
    if b"+" in name or b"#" in name or b"\0" in name:
        raise ValueError(f"{topic[:200]!r} is not a topic: it has a wildcard or a NUL")
    return len(name).to_bytes(2, "big") + name


def _correlated(correlation: bytes) -> bytes:
    """The properties of a PUBLISH that carries correlation data and no other."""
    if len(correlation) > 65535:
        raise ValueError(f"correlation data of {len(correlation)} bytes")
    field = _CORRELATION_DATA + len(correlation).to_bytes(2, "big") + correlation
    return _length(len(field)) + field


def _length(size: int) -> bytes:
    """A variable byte integer."""
    if size > _MOST_LENGTH:
        raise ValueError(f"a packet of {size} bytes")
    field = bytearray()
    while size > 127:
        field.append(size & 127 | 128)
        size >>= 7
    field.append(size)
    return bytes(field)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """The variable byte integer at `at`, and where what follows begins; -1 where it has not come whole. What
    is longer than MQTT allows is endless: it goes through, for paho to judge."""
    size = shift = 0
    for position in range(at, min(at + 4, len(data))):
        byte = data[position]
        size |= (byte & 127) << shift
        if byte < 128:
            return size, position + 1
        shift += 7
    return (sys.maxsize if len(data) >= at + 4 else -1), at + 4


def _check_properties(field: bytes) -> None:
    try:
        Properties(PacketTypes.PUBACK).unpack(field)  # type: ignore[no-untyped-call]
    except Exception as error:  # it raises much
        raise Malformed(f"a PUBACK with wrong properties: {error}") from error
