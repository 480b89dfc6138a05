"""The HTTP server of a simulated camera: digest login with a lock-out, whole answers and endless streams.

Not for the daemon. It is written on bare streams because a fault is often half a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Self

from adapters.simulator._http import Request, Response, _headers
from adapters.simulator.faults import Faults

_PAIR = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
LOCKED_AFTER = 5


class Stream:
    """An endless answer: chunks as they come. `content_type` with its boundary."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], content_type: str) -> None:
        self.chunks = chunks
        self.content_type = content_type


Handler = Callable[[Request], Awaitable[Response | Stream | None]]
"""Answers a request that is logged in; None hangs up."""


class CameraServer:
    """`async with CameraServer(handler, faults) as server: server.port`. `login`: user and password for HTTP
    Digest, or None; `guarded`: what paths begin with that want it. `logins_failed`: wrong passwords so far;
    from `LOCKED_AFTER` on, every login fails. `most`: how many connections it takes at once; more are hung up
    on. `port` stays over `stop`/`start`."""

    def __init__(
        self,
        handler: Handler,
        faults: Faults,
        *,
        login: tuple[str, str] | None = ("admin", "right"),
        most: int = 8,
        tls: ssl.SSLContext | None = None,
        guarded: str = "/",
    ) -> None:
        self._handler = handler
        self.faults = faults
        self.login = login
        self.logins_failed = 0
        self.requests: list[Request] = []
        self.port = 0
        self._most = most
        self._tls = tls
        self._guarded = guarded
        self._nonces: set[str] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """The power goes: hangs up on everybody."""
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
            with contextlib.suppress(OSError, RuntimeError):
                writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _version = head[0].split(" ", 2)
        headers = _headers(head[1:])
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, body)
        if self.faults.hang:
            await reader.read()  # taken, and never answered
            return False
        if self.faults.late_s:
            await asyncio.sleep(self.faults.late_s)
        if not self._welcome(request):
            nonce = secrets.token_hex(16)
            self._nonces.add(nonce)
            challenge = f'Digest qop="auth", realm="IP Camera", nonce="{nonce}", stale="FALSE"'
            await self._whole(writer, Response(401, b"", "text/html", {"WWW-Authenticate": challenge}))
            return True
        self.requests.append(request)
        answer = await self._handler(request)
        if answer is None:
            return False
        if isinstance(answer, Response):
            await self._whole(writer, answer)
            return True
        await self._pour(writer, answer)
        return False

    async def _pour(self, writer: asyncio.StreamWriter, answer: Stream) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {answer.content_type}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        async with contextlib.aclosing(answer.chunks):
            async for chunk in answer.chunks:
                if self.faults.hang:
                    continue
                if (garbage := self.faults.take_garbage()) is not None:
                    writer.write(garbage)
                elif self.faults.take_death():
                    writer.write(chunk[: len(chunk) // 2])
                    await writer.drain()
                    return
                else:
                    writer.write(chunk)
                await writer.drain()

    async def _whole(self, writer: asyncio.StreamWriter, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} X", f"Content-Type: {response.content_type}"]
        lines += [f"Content-Length: {len(response.body)}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + response.body)
        await writer.drain()

    def _welcome(self, request: Request) -> bool:
        if self.login is None or not request.target.startswith(self._guarded):
            return True
        given = request.headers.get("authorization", "")
        if not given.startswith("Digest "):
            return False
        values = {name: quoted or bare for name, quoted, bare in _PAIR.findall(given)}
        if values.get("nonce") not in self._nonces:
            return False

        def h(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        user, password = self.login
        one = h(f"{user}:IP Camera:{password}")
        two = h(f"{request.method}:{request.target}")
        nonce, count, client = values["nonce"], values.get("nc", ""), values.get("cnonce", "")
        right = h(f"{one}:{nonce}:{count}:{client}:auth:{two}")
        if values.get("username") == user and values.get("response") == right and not self.faults.refuse:
            return self.logins_failed < LOCKED_AFTER
        self.logins_failed += 1
        return False
