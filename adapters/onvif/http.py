"""A lean HTTP/1.1 client for one camera: asyncio, httptools, bounded in every direction.

It exists because hundreds of long polls cost a general client several times the memory and CPU, and because
an opening needs to know whether anything was sent. It knows nothing of ONVIF. It follows no redirects, keeps
no cookies, decodes no compression, and never retries what may have been carried out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import httptools

from gated.ports import Wire

MAX_HEADERS = 64 * 1024
CONNECT_S = 5.0
_IDLE_CONNECTIONS = 2


class HttpError(Exception):
    """An exchange failed."""


class NotSent(HttpError):
    """No connection: the device certainly received nothing."""


class Untrusted(NotSent):
    """No connection: its certificate is not one that is trusted."""


class NoAnswer(HttpError):
    """Sent, and no complete sensible answer: the device may or may not have acted."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply. `headers`: names in lower case, repeats kept."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def every(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self.closed = False
        self.touched = False  # whether any byte of the current answer came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods, not by their class
        self._transport = cast(asyncio.Transport, transport)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            # a camera that lost its power in the middle of a long poll says nothing; this notices in half a
            # minute
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, name):
                    raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def exchange(self, data: bytes) -> asyncio.Future[Reply]:
        assert self._transport is not None  # noqa: S101 - connected before it is used
        self._waiter = asyncio.get_running_loop().create_future()
        self._reset()
        self._transport.write(data)
        return self._waiter

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._in_body = False
        self._to_the_end = False
        self._final = False
        self.touched = False

    # called by asyncio

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked
            return
        self.touched = True
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADERS + self._max_body:
                self._fail("its headers have no end")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("it wants another protocol")
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(str(cause) if isinstance(cause, NoAnswer) else f"not HTTP: {str(error)[:120]}")
        if not self._in_body and self._head_bytes > MAX_HEADERS and not self._final:
            self._fail("its headers have no end")

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._waiter is not None and not self._waiter.done():
            if self._in_body and self._to_the_end and error is None:
                self._finish()
            else:
                self._fail(
                    "the connection closed in the middle of an answer" if self.touched else "it hung up"
                )

    # called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._in_body = True
        length = next((value for name, value in self._headers if name == "content-length"), None)
        chunked = any(
            name == "transfer-encoding" and "chunked" in value.lower() for name, value in self._headers
        )
        self._to_the_end = length is None and not chunked
        if length is not None and length.strip().isdigit() and int(length) > self._max_body:
            raise NoAnswer(f"its answer is larger than {self._max_body} bytes")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._max_body:
            raise NoAnswer(f"its answer is larger than {self._max_body} bytes")
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if not self._in_body:  # 100 Continue: the answer follows
            self._headers.clear()
            return
        self._finish()

    # ends

    def _finish(self) -> None:
        self._final = True
        reply = Reply(self._parser.get_status_code(), tuple(self._headers), b"".join(self._chunks))
        if self._to_the_end or not self._parser.should_keep_alive():
            self.close()
        self._chunks = []
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)

    def _fail(self, why: str) -> None:
        self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NoAnswer(why))

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


class Http:
    """The connections to one camera. `tls`: a context, or None for plain HTTP. `max_body`: bytes of one
    answer."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        max_body: int,
        wire: Wire | None = None,
    ) -> None:
        self._host = host
        self._wire = wire
        self._exchanges = 0
        self._port = port
        self._tls = tls
        self._max_body = max_body
        self._idle: list[_Connection] = []
        name = f"[{host}]" if ":" in host else host
        self.authority = name if port == (443 if tls else 80) else f"{name}:{port}"

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float,
        fresh: bool = False,
    ) -> Reply:
        """One exchange. `timeout_s`: seconds, over connecting and answering. `fresh`: on a new connection,
        so that a dead one is noticed before anything is sent; then it is sent at most once. Raises
        NotSent, NoAnswer."""
        reply = await self._request(method, target, headers, body, timeout_s, fresh=fresh)
        if self._wire is not None:
            self._exchanges += 1
            self._wire("out", f"{method} {target}", body, self._exchanges)
            kind = reply.header("content-type")
            self._wire("in", f"{reply.status} {kind}".rstrip(), reply.body, self._exchanges)
        return reply

    async def _request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeout_s: float,
        *,
        fresh: bool,
    ) -> Reply:
        data = self._head(method, target, headers, len(body)) + body
        deadline = asyncio.get_running_loop().time() + timeout_s
        connection = None if fresh else self._take()
        if connection is not None:
            try:
                return await self._exchange(connection, data, deadline)
            except NoAnswer:
                if connection.touched or asyncio.get_running_loop().time() >= deadline:
                    raise
                # a kept connection that the device had given up: the request met a closed socket
        connection = await self._connect(deadline)
        return await self._exchange(connection, data, deadline)

    def close(self) -> None:
        """Drops all kept connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _head(self, method: str, target: str, headers: Sequence[tuple[str, str]], length: int) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.authority}", "Connection: keep-alive"]
        lines += [f"{name}: {value}" for name, value in headers]
        if method != "GET":
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + CONNECT_S)):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._max_body), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise NotSent(f"no connection to {self.authority} in time") from None
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"the certificate of {self.authority}: {error.verify_message}") from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise NotSent(f"no connection to {self.authority}: {reason}") from None
        return connection

    async def _exchange(self, connection: _Connection, data: bytes, deadline: float) -> Reply:
        done = False
        try:
            async with asyncio.timeout_at(deadline):
                reply = await connection.exchange(data)
            done = True
        except TimeoutError:
            raise NoAnswer("no answer in time") from None
        finally:
            if not done:
                connection.close()
        if not connection.closed:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
            else:
                connection.close()
        return reply
