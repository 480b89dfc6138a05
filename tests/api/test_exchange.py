"""A request and its reply on a transport that notes each write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from gated.api.exchange import EXCHANGE, Exchange, PeerGone
from gated.api.wire import Protocol


class Wire(asyncio.Transport):
    """What a server writes, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Connection:
    """A connection to an application that leaves the exchanges of its requests here."""

    def __init__(self, wire: Wire | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self.go = asyncio.Event()
        config = Config(self.app, ws="none", lifespan="off", interface="asgi3", log_config=None)
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        config.load()
        self.wire = wire or Wire()
        self.protocol = Protocol(config=config, server_state=state, app_state={})
        self.protocol.connection_made(self.wire)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.exchanges.append(scope["extensions"].pop(EXCHANGE))
        await self.go.wait()

    async def feed(self, data: bytes) -> Exchange:
        """The exchange of the request that begins in `data`."""
        self.protocol.data_received(data)
        await asyncio.sleep(0.01)
        return self.exchanges[-1]

    async def end(self) -> None:
        self.protocol.connection_lost(None)
        self.go.set()
        await asyncio.sleep(0.01)


HEAD = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-type: text/plain\r\n"
WHOLE = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    ("request_", "headers", "reply", "closes"),
    [
        (WHOLE, (), HEAD + b"content-length: 2\r\n\r\nok", False),
        (
            WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
            (),
            HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
            True,
        ),
        (
            WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            (),
            HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
            True,
        ),
        (
            WHOLE,
            (("Connection", "Close"), ("X-A", "1")),
            HEAD + b"connection: Close\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok",
            True,
        ),
        (b"HEAD / HTTP/1.1\r\n\r\n", (), HEAD + b"content-length: 2\r\n\r\n", False),
    ],
    ids=["kept alive", "HTTP/1.0", "the client closes", "the application closes", "HEAD"],
)
async def test_a_reply_leaves_in_one_write(
    request_: bytes, headers: tuple[tuple[str, str], ...], reply: bytes, closes: bool
) -> None:
    connection = Connection()
    exchange = await connection.feed(request_)
    assert await exchange.reply(200, (("Content-Type", "text/plain"), *headers), b"ok")
    assert (connection.wire.writes, connection.wire.closing) == ([reply], closes)
    await connection.end()


@pytest.mark.parametrize(("name", "value"), [("X", "1\r\nEvil: 2"), ("X Y", "1"), ("X", "村")])
async def test_no_header_breaks_out_of_its_line(name: str, value: str) -> None:
    connection = Connection()
    exchange = await connection.feed(WHOLE)
    with pytest.raises(ValueError, match=r"not a header|latin-1"):
        await exchange.reply(200, ((name, value),), b"ok")
    assert connection.wire.writes == []
    assert await exchange.reply(500, (), b"")  # the application may still say so
    await connection.end()


async def test_a_closing_connection_gets_no_reply() -> None:
    connection = Connection()
    exchange = await connection.feed(WHOLE)
    connection.wire.close()
    assert not await exchange.reply(200, (), b"ok")
    assert connection.wire.writes == []
    await connection.end()


class Reset(Wire):
    """Of a peer that has reset the connection, which nobody has read yet: the first write finds out."""

    def write(self, data: Any) -> None:
        self.closing = True


async def test_a_reply_that_finds_a_reset_connection_was_not_written() -> None:
    connection = Connection(Reset())
    exchange = await connection.feed(WHOLE)
    assert not await exchange.reply(200, (), b"ok")
    await connection.end()


async def test_a_body_is_whole_or_not_told() -> None:
    connection = Connection()
    exchange = await connection.feed(WHOLE[:-1])
    assert exchange.whole_body() is None
    await connection.feed(WHOLE[-1:])
    assert exchange.whole_body() == b"hi"
    await connection.end()


async def test_a_body_of_a_peer_that_went_is_not_told() -> None:
    connection = Connection()
    exchange = await connection.feed(WHOLE)
    connection.protocol.connection_lost(None)
    assert exchange.whole_body() is None
    with pytest.raises(PeerGone):
        await exchange.part()
    await connection.end()


async def test_who_waits_is_told_to_send_its_body_and_who_sent_it_is_not() -> None:
    waits = Connection()
    expecting = WHOLE.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    exchange = await waits.feed(expecting[:-2])
    reading = asyncio.create_task(exchange.part())
    await asyncio.sleep(0.01)
    assert waits.wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    await waits.feed(expecting[-2:])
    assert await reading == (b"hi", True)
    sent = Connection()
    assert (await sent.feed(expecting)).whole_body() == b"hi"
    assert sent.wire.writes == []
    await waits.end()
    await sent.end()
