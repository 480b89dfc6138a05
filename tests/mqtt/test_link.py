"""One connection, against brokers that a test plays: what is written and read past paho, and beside it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gated.mqtt import wire
from gated.mqtt.endpoint import BrokerUnreachable, Endpoint, Version
from gated.mqtt.link import Incoming, Link
from gated.mqtt.settings import TlsSettings
from tests.mqtt.brokers import Certificates, Serve, packet, server
from tests.mqtt.conftest import until
from tests.peers.mosquitto import Mosquitto

CONNACK = {"3.1.1": b"\x20\x02\x00\x00", "5": b"\x20\x03\x00\x00\x00"}
PUBLISH, SUBSCRIBE, DISCONNECT = 3, 8, 14


@dataclass
class End:
    """Our end of a connection, and what came of it."""

    link: Link = field(init=False)
    bunches: list[list[tuple[object, int]]] = field(default_factory=list)
    messages: list[Incoming] = field(default_factory=list)

    @property
    def acks(self) -> list[tuple[object, int]]:
        return [ack for bunch in self.bunches for ack in bunch]


@asynccontextmanager
async def linked(
    port: int,
    version: Version = "5",
    *,
    client_id: str = "test",
    tls: TlsSettings | None = None,
    keepalive: int = 30,
) -> AsyncIterator[End]:
    """An open link."""
    end = End()
    plan = Endpoint(
        host="localhost" if tls else "127.0.0.1",
        port=port,
        client_id=client_id,
        version=version,
        keepalive=keepalive,
        username=None,
        password=None,
        tls=tls,
    )
    end.link = Link(plan, on_acks=end.bunches.append, on_message=end.messages.append)
    await end.link.open()
    try:
        yield end
    finally:
        end.link.close("the test is over")


def publish(end: End, count: int, size: int = 10, *, first: int = 0) -> None:
    for number in range(first, first + count):
        end.link.publish("t", number.to_bytes(size, "big"), retain=False, token=number)
    end.link.flush()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a CONNECT."""
    kind, connect = await packet(reader)
    assert kind == 1
    writer.write(CONNACK["5" if connect[6] == 5 else "3.1.1"])


class Slow:
    """A broker that reads nothing after CONNECT until it is told to; it answers the messages when it has
    `most`."""

    def __init__(self, most: int) -> None:
        self.reads = asyncio.Event()
        self._most = most
        self._answers = b""
        self.got: list[tuple[int, int]] = []
        """Kind and packet id."""
        self.numbers: list[int] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await self.reads.wait()
        while True:
            kind, body = await packet(reader)
            at = 3 if kind == PUBLISH else 0  # behind the topic, which is one letter
            number = int.from_bytes(body[at : at + 2], "big")
            self.got.append((kind, number))
            if kind == PUBLISH:
                self.numbers.append(int.from_bytes(body[at + 2 :], "big"))
                self._answers += b"\x40\x02" + body[at : at + 2]
                if len(self.numbers) == self._most:
                    writer.write(self._answers)
            elif kind == SUBSCRIBE:
                writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")


def _tls(certificates: Certificates) -> tuple[ssl.SSLContext, TlsSettings]:
    """For the broker, and for us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_crt, certificates.server_key)
    return context, TlsSettings(ca=certificates.ca_crt)


either = pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])


@either
async def test_packets_keep_their_order_while_the_broker_takes_nothing(
    certificates: Certificates, over_tls: bool
) -> None:
    """Ours and paho's, none in the middle of another, when the socket takes them piece by piece."""
    slow = Slow(50)
    theirs, ours = _tls(certificates) if over_tls else (None, None)
    async with server(slow, theirs) as port, linked(port, tls=ours) as end:
        publish(end, 40, 512 * 1024)  # more than the buffers of any loopback
        end.link.subscribe(["a"])
        publish(end, 10, first=40)
        end.link.subscribe(["b"])
        await asyncio.sleep(0.1)
        assert end.link.in_flight == 50
        slow.reads.set()
        await until(lambda: len(end.acks) == 50, "acknowledged")
        await until(lambda: len(slow.got) == 52, "the last")
    assert [kind for kind, _ in slow.got] == [PUBLISH] * 40 + [SUBSCRIBE] + [PUBLISH] * 10 + [SUBSCRIBE]
    assert slow.numbers == [token for token, _ in end.acks] == list(range(50))
    ids = [number for kind, number in slow.got if kind == PUBLISH]
    assert len(set(ids)) == 50
    assert min(ids) >= wire.FIRST_ID
    assert max(number for kind, number in slow.got if kind == SUBSCRIBE) < wire.FIRST_ID


async def test_goodbye_comes_behind_what_is_queued() -> None:
    slow = Slow(4)
    slow.reads.set()
    async with server(slow) as port, linked(port) as end:
        publish(end, 3)
        end.link.publish("t", b"last", retain=False, token="last")
        end.link.goodbye()
        assert end.link.closed
        await until(lambda: len(slow.got) == 5, "all of it")
    assert [kind for kind, _ in slow.got] == [PUBLISH] * 4 + [DISCONNECT]


@pytest.mark.parametrize(("resets", "size"), [(False, 512 * 1024), (True, 512 * 1024), (True, 1)])
async def test_a_connection_that_breaks_is_seen(resets: bool, size: int) -> None:
    """Also while we have something to write that it did not take."""
    breaks = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await breaks.wait()
        if resets:
            held = writer.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async with server(serve) as port, linked(port) as end:
        publish(end, 40, size)
        breaks.set()
        lost = await asyncio.wait_for(end.link.lost(), 10)
        assert isinstance(lost, BrokerUnreachable)
        assert "reset by peer" in str(lost) or not resets
        publish(end, 1)  # says nothing, for whoever holds the link will hear of it
        assert end.acks == []


def _answering(count: int, *writes: bytes) -> Serve:
    """A broker that answers `count` messages with `writes`, and then only listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for _ in range(count):
            await packet(reader)
        for data in writes:
            writer.write(data)
            await writer.drain()
            if len(writes) > 1:
                await asyncio.sleep(0.001)  # so that it comes as a piece of its own
        await reader.read(-1)

    return serve


def _puback(offset: int, rest: bytes = b"") -> bytes:
    """For the message with this offset in a connection."""
    return bytes([0x40, 2 + len(rest)]) + (wire.FIRST_ID + offset).to_bytes(2, "big") + rest


ANSWER = (
    _puback(2)
    + _puback(30_000)  # not ours
    + _puback(0, b"\x87\x06\x1f\x00\x03why")
    + b"\x30\x05\x00\x01a\x00x"  # a message between them
    + b"\x40\x02\x00\x01"  # an id of paho's
    + _puback(1, b"\x10")
    + _puback(1)  # again
)


@pytest.mark.parametrize(
    "writes", [[ANSWER], [ANSWER[at : at + 1] for at in range(len(ANSWER))]], ids=["whole", "byte by byte"]
)
async def test_acknowledgements_come_with_their_reasons(writes: list[bytes]) -> None:
    async with server(_answering(3, *writes)) as port, linked(port) as end:
        publish(end, 3)
        await until(lambda: len(end.acks) == 3, "acknowledged")
        assert end.acks == [(2, 0), (0, 0x87), (1, 0x10)]
        assert len(end.bunches) == (1 if len(writes) == 1 else 3)
        assert end.link.in_flight == 0
        assert [(message.topic, message.payload) for message in end.messages] == [("a", b"x")]
        await asyncio.sleep(0.05)
        assert not end.link.closed


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("5", b"\x40\x03\x04\x00\x01"),
        ("3.1.1", b"\x40\x03\x04\x00\x00"),
        ("5", b"\x32\x05\x00\xff\xff\xff\xff"),
    ],
)
async def test_what_makes_no_sense_ends_the_connection(version: Version, answer: bytes) -> None:
    async with server(_answering(1, answer)) as port, linked(port, version) as end:
        publish(end, 1)
        lost = await asyncio.wait_for(end.link.lost(), 10)
    assert isinstance(lost, BrokerUnreachable)
    assert end.acks == []


@either
async def test_many_packets_at_once_are_all_read_in_order(certificates: Certificates, over_tls: bool) -> None:
    theirs, ours = _tls(certificates) if over_tls else (None, None)
    several = b"".join(
        b"\x30\x06\x00\x01a\x00" + number.to_bytes(2, "big") + _puback(number) for number in range(400)
    )
    large = b"\x30\xfc\xb4\x03\x00\x01a\x00" + b"x" * 55_928
    assert len(several + large + several) == 4 * 16 * 1024  # four full records of TLS
    broker = _answering(400, several + large + several)
    async with server(broker, theirs) as port, linked(port, tls=ours) as end:
        publish(end, 400)
        await until(lambda: len(end.messages) == 801, "all of them")
        await until(lambda: len(end.acks) == 400, "acknowledged")
    assert end.messages.pop(400).payload == b"x" * 55_928
    assert [int.from_bytes(message.payload, "big") for message in end.messages] == [*range(400), *range(400)]


async def test_nothing_larger_than_the_broker_allows_is_sent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x32")  # packets of 50 bytes at most
        while True:
            kind, body = await packet(reader)
            assert (kind, len(body)) == (PUBLISH, 48)
            writer.write(b"\x40\x02" + body[3:5])

    async with server(serve) as port, linked(port) as end:
        publish(end, 1, 50 - 8)
        for size, correlation in ((50 - 7, None), (50 - 8, b"7")):
            with pytest.raises(ValueError, match="larger than the broker allows"):
                end.link.publish("t", bytes(size), retain=False, token=1, correlation=correlation)
        with pytest.raises(ValueError, match="wildcard"):
            end.link.publish("a/#", b"", retain=False, token=2)
        assert end.link.in_flight == 1
        end.link.flush()
        await until(lambda: end.acks == [(0, 0)], "acknowledged")


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_connection_stays_alive_idle_and_busy(broker: Mosquitto, version: Version) -> None:
    """mosquitto ends it where nothing comes for 1.5 times the keep-alive; paho where a ping has no answer."""
    async with (
        linked(broker.port, version, client_id="idle", keepalive=2) as idle,
        linked(broker.port, version, client_id="busy", keepalive=2) as busy,
    ):
        sent = 0
        end = time.monotonic() + 7
        while time.monotonic() < end:
            publish(busy, 1, first=sent)
            sent += 1
            await asyncio.sleep(0.01)
        assert not idle.link.closed
        assert not busy.link.closed
        await until(lambda: len(busy.acks) == sent, "acknowledged")


async def test_a_broker_that_ends_the_connection_says_why() -> None:
    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(b"\xe0\x02\x8e\x00")

    async with server(leaves) as port, linked(port) as end, asyncio.timeout(5):
        assert str(await end.link.lost()) == "the broker ended the connection: Session taken over"


@pytest.mark.parametrize("busy", [False, True])
async def test_a_broker_that_falls_silent_is_noticed(busy: bool) -> None:
    """Whether or not we go on sending: our messages are no answer."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await reader.read(-1)

    async with server(silent) as port, linked(port, keepalive=1) as end:
        lost = asyncio.create_task(end.link.lost())
        sent = 0
        while not lost.done() and sent < 2000:
            if busy:
                publish(end, 1, first=sent)
            sent += 1
            await asyncio.sleep(0.01)
        assert str(lost.result()) == "the broker has fallen silent"
