"""The HTTP/1.1 server: uvicorn inside the running loop, hardened for a port that cameras and phones reach.

uvicorn bounds neither the size of a request's head nor the time that one may take, and a client that does not
read its reply holds it for ever; `Protocol` adds those bounds. Nothing here knows what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gated.api.cycle import Cycle
from gated.api.exchange import EXCHANGE, Exchange

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers, about: counted in pieces as they come from the socket."""
HEAD_S = 10.0
"""Seconds in which the head of a request must have come, and a new connection its first request."""
WRITE_S = 20.0
"""Seconds for which a client may leave its reply unread."""
MAX_UNREAD = 8 * 1024 * 1024
"""Bytes of a body that are thrown away after it was refused, so that the client sees the refusal rather than
a broken connection."""
MAX_CONNECTIONS = 2048
MAX_PIPELINED = 16
"""Requests of one connection that wait behind another, beside which reading goes on: it must notice when its
peer goes."""
MAX_FROM_ONE = 256
"""Connections from one address; those from this machine (a reverse proxy) are not counted."""

_LOOPBACK = ("127.", "::1")
_REQUEST_HEADER_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class _Sparse(logging.Filter):
    """Lets one line of a kind through a minute: a peer that sends garbage for an hour fills no disk."""

    def __init__(self, every_s: float = 60.0) -> None:
        super().__init__()
        self._every = every_s
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            return True
        now = time.monotonic()
        kind = record.msg if isinstance(record.msg, str) else ""
        if now < self._next.get(kind, 0.0):
            return False
        if len(self._next) > 64:
            self._next.clear()
        self._next[kind] = now + self._every
        return True


_log = logging.getLogger("gated.api.wire")
_log.setLevel(logging.WARNING)
_log.addFilter(_Sparse())


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on time and size of what is no body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self._in_head = False
        self._in_message = False
        self._head_bytes = 0
        self._unread = 0
        self._patience: asyncio.TimerHandle | None = None
        self._unwritten: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_FROM_ONE and not self._room():
            transport.abort()
            return
        self._patience = self.loop.call_later(HEAD_S, self._impatient)

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        if self._unwritten is not None:
            self._unwritten.cancel()
            self._unwritten = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.transport.write(_REQUEST_HEADER_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)
        if self._in_head:
            if self._patience is None:
                self._patience = self.loop.call_later(HEAD_S, self._impatient)
        elif self._in_message and self.cycle is not None and self.cycle.response_complete:
            self._unread += len(data)
            if self._unread > MAX_UNREAD:
                self.transport.abort()
            elif self._patience is None:
                self._patience = self.loop.call_later(HEAD_S, self._impatient)
        elif self._patience is not None:
            self._calm()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = self._in_message = True
        self._head_bytes = self._unread = 0

    def on_headers_complete(self) -> None:
        """uvicorn's own, without what is never configured here (web sockets, a root path, a bound on
        requests, a log of them), and with a `Cycle`."""
        self._in_head = False
        parser = self.parser
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        extensions: dict[str, Any] = {}
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": self.scheme or "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
            "extensions": extensions,
        }
        self.headers = []  # from here on they are trailers, which are no headers
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange: Exchange = cycle
        extensions[EXCHANGE] = exchange
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        elif len(self.pipeline) < MAX_PIPELINED:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unwritten is None:
            self._unwritten = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unwritten is not None:
            self._unwritten.cancel()
            self._unwritten = None

    def _room(self) -> bool:
        """Whether this connection may stay: not one too many from its address, and, where there are too many
        in all, in the place of one that is idle."""
        host = self.client[0] if self.client else ""
        if not host.startswith(_LOOPBACK):
            from_here = sum(
                isinstance(one, Protocol) and one.client is not None and one.client[0] == host
                for one in self.connections
            )
            if from_here > MAX_FROM_ONE:
                _log.warning("more than %d connections from one address: new ones are closed", MAX_FROM_ONE)
                return False
        if len(self.connections) <= MAX_CONNECTIONS:
            return True
        for one in self.connections:
            if isinstance(one, Protocol) and one is not self and one.idle:
                one.transport.close()
                return True
        _log.warning("more than %d busy connections: new ones are closed", MAX_CONNECTIONS)
        return False

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return not self._in_message and (self.cycle is None or self.cycle.response_complete)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _impatient(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon, wakes once a second and stops when told."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.up.set_result(None)
        while not self.should_exit:
            try:
                async with asyncio.timeout(1.0):
                    await self.stopping.wait()
            except TimeoutError:
                await self.on_tick(0)  # the date header

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, lets requests finish for the graceful time, then ends what is left."""
        for server in self.servers:
            server.close()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while connections or tasks:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.005)
        for task in list(tasks):
            task.cancel()
        for connection in list(connections):
            connection.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)


@dataclass(slots=True)
class Served:
    """A running server. `addresses`: what it listens on. `failed`: set if the server ended by itself."""

    addresses: list[tuple[str, int]]
    failed: asyncio.Future[None]

    @property
    def port(self) -> int:
        """The bound port, also where 0 was asked for."""
        return self.addresses[0][1]

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        host, port = self.addresses[0]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int, backlog: int = 1024) -> list[socket.socket]:
    """Listening sockets for every address of `host` that this machine has. Raises OSError naming address and
    reason."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            try:
                bound = socket.socket(family, kind, proto)
            except OSError as error:  # no IPv6 in this kernel
                missing = error
                continue
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:  # all on the port that the first was given
                address = (address[0], sockets[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            try:
                bound.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                missing = error
                sockets.remove(bound)
                bound.close()
                continue
            bound.listen(backlog)
            bound.setblocking(False)
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, "it has no address")
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise OSError(
            error.errno, f"cannot listen on {host or '*'} port {port}: {error.strerror or error}"
        ) from error
    return sockets


@contextlib.asynccontextmanager
async def serve(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keep_alive_s: int = 75,
    graceful_s: int = 3,
    trusted_proxies: Sequence[str] = (),
) -> AsyncIterator[Served]:
    """Serves an ASGI application inside the running loop, until the block is left.

    Raises OSError if it cannot listen. Leaving stops accepting at once, lets requests finish for
    `graceful_s`, then ends them. `trusted_proxies`: addresses whose X-Forwarded-For is believed, where wrong
    credentials are counted; none by default.
    """
    sockets = listen(host, port)
    config = Config(
        app,
        http=Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies) or None,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=graceful_s,
        backlog=1024,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets), name="gated-http")
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(task: asyncio.Task[None]) -> None:
        if server.should_exit:
            return
        error = None if task.cancelled() else task.exception()
        (failed if server.up.done() else server.up).set_exception(
            error or RuntimeError("the HTTP server ended by itself")
        )

    running.add_done_callback(ended)
    try:
        await server.up
        addresses = [bound.getsockname()[:2] for bound in sockets]
        yield Served(addresses, failed)
    finally:
        server.should_exit = True
        server.stopping.set()
        try:
            await asyncio.shield(running)
        finally:
            for bound in sockets:
                bound.close()
            if failed.done() and not failed.cancelled():
                failed.exception()  # seen: whoever waits for it has it, and nobody must
            else:
                failed.cancel()
