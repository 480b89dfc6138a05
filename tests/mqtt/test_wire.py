"""The packets that we write and read ourselves: the same bytes as paho's, and however the stream is split."""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gated.mqtt import wire
from gated.mqtt.endpoint import Version

# --- PUBLISH ------------------------------------------------------------------------------------------


class _Paper:
    """A socket that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()

    def send(self, data: bytes | bytearray) -> int:
        self.written += data
        return len(data)

    def close(self) -> None: ...

    def setblocking(self, _flag: bool) -> None: ...


class _PahoOnPaper(paho.Client):
    def _create_socket(self) -> Any:
        self.paper = _Paper()
        return self.paper


def _of_paho(topic: str, payload: bytes, retain: bool, version: Version, correlation: bytes | None) -> bytes:
    """paho's PUBLISH at QoS 1, whose packet id is 1."""
    protocol = MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311
    client = _PahoOnPaper(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.connect("on.paper")
    client.paper.written.clear()
    properties = None
    if correlation is not None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = correlation
    info = client.publish(topic, payload, 1, retain, properties)
    assert info.mid == 1
    return bytes(client.paper.written)


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize(
    ("version", "correlation"), [("3.1.1", None), ("5", None), ("5", b""), ("5", b"7"), ("5", b"7" * 200)]
)
@pytest.mark.parametrize("size", [0, 1, 96, 97, 98, 500, 16_352, 16_353, 16_354, 16_355, 2_097_152])
@pytest.mark.parametrize("topic", ["gated/village/lanes/in/passages", "网格/一"])
def test_a_publish_is_the_same_as_that_of_paho(
    topic: str, size: int, retain: bool, version: Version, correlation: bytes | None
) -> None:
    payload = b"x" * size
    ours = wire.publish(topic, payload, 1, retain=retain, version=version, correlation=correlation)
    assert ours == _of_paho(topic, payload, retain, version, correlation)


def test_without_mqtt_5_there_is_no_correlation() -> None:
    options: dict[str, Any] = {"retain": False, "version": "3.1.1"}
    assert wire.publish("t", b"", 1, **options, correlation=b"7") == wire.publish("t", b"", 1, **options)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    ("topic", "payload", "correlation"),
    [
        ("", b"", None),
        ("lanes/+/state", b"", None),
        ("lanes/#", b"", None),
        ("lanes\0", b"", None),
        ("lanes/\ud800", b"", None),
        ("x" * 65_536, b"", None),
        ("网" * 21_846, b"", None),
        ("t", bytes(268_435_456), None),
    ],
    ids=["empty", "+", "#", "NUL", "surrogate", "long", "long in UTF-8", "payload"],
)
def test_what_no_packet_can_carry(
    topic: str, payload: bytes, correlation: bytes | None, version: Version
) -> None:
    with pytest.raises(ValueError, match=r"topic|packet|surrogates"):
        wire.publish(topic, payload, 1, retain=False, version=version, correlation=correlation)


def test_correlation_data_that_no_packet_can_carry() -> None:
    with pytest.raises(ValueError, match="correlation"):
        wire.publish("t", b"", 1, retain=False, version="5", correlation=bytes(65_536))


@pytest.mark.parametrize(
    ("last", "in_flight", "following"),
    [
        (0, set(), wire.FIRST_ID),
        (wire.FIRST_ID, set(), wire.FIRST_ID + 1),
        (wire.FIRST_ID, {wire.FIRST_ID + 1, wire.FIRST_ID + 2}, wire.FIRST_ID + 3),
        (wire.LAST_ID - 1, set(), wire.LAST_ID),
        (wire.LAST_ID, set(), wire.FIRST_ID),
        (wire.LAST_ID - 1, {wire.LAST_ID, wire.FIRST_ID}, wire.FIRST_ID + 1),
    ],
)
def test_packet_ids_go_round_and_leave_out_those_in_flight(
    last: int, in_flight: set[int], following: int
) -> None:
    assert wire.next_id(last, in_flight) == following


# --- PUBACK -------------------------------------------------------------------------------------------

REASON = b"\x1f\x00\x03why"
"""A property: reason string."""
ACKS = [
    ("3.1.1", b"\x40\x02\x04\x00", (1024, 0)),
    ("5", b"\x40\x02\x04\x01", (1025, 0)),
    ("5", b"\x40\x03\xff\xff\x00", (65535, 0)),
    ("5", b"\x40\x03\x04\x00\x10", (1024, 0x10)),
    ("5", b"\x40\x03\x04\x00\x87", (1024, 0x87)),
    ("5", b"\x40\x03\x04\x00\x95", (1024, 0x95)),
    ("5", b"\x40\x04\x04\x00\x87\x00", (1024, 0x87)),
    ("5", b"\x40\x0a\x04\x00\x87\x06" + REASON, (1024, 0x87)),
    ("5", b"\x40\x90\x01\x04\x00\x87\x8b\x01\x26\x00\x03key\x00\x83" + b"v" * 131, (1024, 0x87)),
]


@pytest.mark.parametrize(("version", "packet", "ack"), ACKS)
def test_an_acknowledgement_is_taken_out(version: Version, packet: bytes, ack: wire.Ack) -> None:
    ping = b"\xd0\x00"
    assert wire.Cutter(version).cut(packet) == ([ack], b"")
    assert wire.Cutter(version).cut(ping + packet + packet + ping) == ([ack, ack], ping + ping)


@pytest.mark.parametrize(
    ("version", "packet"),
    [
        ("5", b"\x40\x00"),
        ("5", b"\x40\x01\x04"),
        ("3.1.1", b"\x40\x01\x04"),
        ("3.1.1", b"\x40\x03\x04\x00\x00"),
        ("5", b"\x40\x03\x04\x00\x01"),
        ("5", b"\x40\x04\x04\x00\x87\x01"),
        ("5", b"\x40\x06\x04\x00\x87\x02\x0b\x01"),  # a subscription identifier
        ("5", b"\x40\x81\x80\x04"),  # longer than any broker was allowed
        ("5", b"\x40\xff\xff\xff\xff\x01"),
    ],
)
def test_an_acknowledgement_that_makes_no_sense(version: Version, packet: bytes) -> None:
    with pytest.raises(wire.Malformed, match="PUBACK"):
        wire.Cutter(version).cut(packet)


@pytest.mark.parametrize(
    "data",
    [
        b"\xd0\x00",
        b"\x30\x05\x00\x01tab\xd0\x00",
        b"\x90\x03\x00\x01\x01",
        b"\x50\x02\x04\x00",  # a PUBREC is none of ours
        b"\x30\x84\x80\x80\x00\x00\x01ta",  # a length in four bytes
        b"\x30\xff\xff\xff\xff\x40\x02\x04\x00",  # no length at all: nothing behind it has a meaning
        b"\x30\x7f\x40\x02\x04\x00",  # what looks like an acknowledgement is inside of another packet
    ],
)
def test_everything_else_goes_through(data: bytes) -> None:
    assert wire.Cutter("5").cut(data) == ([], data)
    one_by_one = wire.Cutter("5")
    assert b"".join(one_by_one.cut(bytes([byte]))[1] for byte in data) == data


def test_a_long_packet_is_not_gathered() -> None:
    cutter = wire.Cutter("5")
    assert cutter.cut(b"\x30\x80\x80\x40") == ([], b"\x30\x80\x80\x40")  # a mebibyte
    for _ in range(1024):
        assert cutter.cut(b"\x40\x02\x04\x00" * 256) == ([], b"\x40\x02\x04\x00" * 256)
    assert cutter.cut(b"\x40\x02\x04\x00") == ([(1024, 0)], b"")


def _packet(kind: int, body: bytes) -> bytes:
    length, field = len(body), b""
    while length > 127:
        field, length = field + bytes([length & 127 | 128]), length >> 7
    return bytes([kind]) + field + bytes([length]) + body


_acknowledgements = st.sampled_from([(packet, ack) for version, packet, ack in ACKS if version == "5"])
_others = st.builds(
    _packet,
    st.integers(0, 255).filter(lambda kind: kind & 0xF0 != 0x40),
    st.binary(max_size=12) | st.just(b"\x40\x02\x04\x00" * 40),
).map(lambda packet: (packet, None))


@given(packets=st.lists(_acknowledgements | _others, max_size=12), data=st.data())
def test_however_the_stream_is_split(
    packets: list[tuple[bytes, wire.Ack | None]], data: st.DataObject
) -> None:
    stream = b"".join(packet for packet, _ in packets)
    ends = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    cutter = wire.Cutter("5")
    acks: list[wire.Ack] = []
    through = b""
    for begin, end in zip([0, *ends], [*ends, len(stream)], strict=True):
        some, rest = cutter.cut(stream[begin:end])
        acks += some
        through += rest
    assert acks == [ack for _, ack in packets if ack is not None]
    assert through == b"".join(packet for packet, ack in packets if ack is None)
