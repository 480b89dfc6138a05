"""The little HTTP/1.1 that simulated devices need: posting with faults, and a server that can misbehave.

Not for the daemon. It is written on bare streams because a fault is often half a message.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from adapters.simulator._switch import Switched

_MAX_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """One request that a simulated server got. Header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What comes back, or is sent back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpPoster:
    """Posts to one URL over one kept connection, as cameras do; one request at a time.

    `cut`: sends half of the request and hangs up. `deaf`: sends all of it and hangs up before the answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError("simulated devices push over plain http")
        self._host, self._port = parts.hostname, parts.port or 80
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._headers = dict(headers)
        self._timeout = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def post(
        self, body: bytes, content_type: str, *, cut: bool = False, deaf: bool = False
    ) -> Response | None:
        """The answer, or None after `cut` or `deaf`. Raises ConnectionError when there is none."""
        async with self._turn:
            fresh = self._streams is None
            try:
                return await self._once(body, content_type, cut, deaf)
            except (ConnectionError, asyncio.IncompleteReadError, OSError) as error:
                self.close()
                if fresh or cut or deaf or isinstance(error, TimeoutError):
                    raise ConnectionError(str(error) or type(error).__name__) from error
            return await self._once(body, content_type, cut, deaf)  # the kept connection had been closed

    async def _once(self, body: bytes, content_type: str, cut: bool, deaf: bool) -> Response | None:
        async with asyncio.timeout(self._timeout):
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            head = "".join(
                [f"POST {self._target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"]
                + [f"{name}: {value}\r\n" for name, value in self._headers.items()]
                + [f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"]
            ).encode()
            message = head + body
            writer.write(message[: len(head) + len(body) // 2] if cut else message)
            await writer.drain()
            if cut or deaf:
                self.close()
                return None
            try:
                response, keep = await _read_response(reader)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("the server hung up before it answered") from error
        if not keep:
            self.close()
        return response

    def close(self) -> None:
        """Hangs up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_response(reader: asyncio.StreamReader) -> tuple[Response, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = _headers(head[1:])
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return (
        Response(status, body, headers.get("content-type", ""), headers),
        headers.get("connection") != "close",
    )


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


Handler = Callable[[Request], Awaitable[tuple[Response, Callable[[bool], None] | None] | None]]
"""Answers a request: a response and, optionally, whom to tell whether it was sent; None hangs up."""


class Server(Switched):
    """Listens on loopback, and serves each connection with `_one` until that says no. `port` stays over
    `stop` and `start`. Bodies up to `max_body`; `most` connections at once, more are hung up on."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        max_body: int = 4 * 1024 * 1024,
        *,
        tls: ssl.SSLContext | None = None,
        most: int = 1000,
    ) -> None:
        self._host = host
        self._max_body = max_body
        self._tls = tls
        self._most = most
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @abstractmethod
    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serves one request; False hangs up."""

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped."""
        self._server = await asyncio.start_server(
            self._connected, self._host, self.port, limit=_MAX_HEAD, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and hangs up on everybody."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        try:
            while len(self._tasks) <= self._most and await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client died or talks nonsense: it is hung up on
        except asyncio.CancelledError:
            pass  # stop() hangs up
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        """The next request; None if its body is larger than is taken."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _version = head[0].split(" ", 2)
        headers = _headers(head[1:])
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= self._max_body:
            return None
        return Request(method, target, headers, await reader.readexactly(length))

    @staticmethod
    async def _write(writer: asyncio.StreamWriter, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} X", f"Content-Type: {response.content_type}"]
        lines += [f"Content-Length: {len(response.body)}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + response.body)
        await writer.drain()


class HttpServer(Server):
    """`async with HttpServer(handler) as server: server.url`."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", max_body: int = 4 * 1024 * 1024) -> None:
        super().__init__(host, max_body)
        self._handler = handler

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await self._read(reader)
        answer = None if request is None else await self._handler(request)
        if answer is None:
            return False
        response, sent = answer
        gone = reader.at_eof() or writer.is_closing()
        if not gone:
            try:
                await self._write(writer, response)
            except OSError:
                gone = True
        if sent is not None:
            sent(not gone)
        return not gone
