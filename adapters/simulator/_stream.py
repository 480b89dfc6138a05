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

from adapters.simulator._http import Request, Response, Server
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


class CameraServer(Server):
    """`async with CameraServer(handler, faults) as server: server.port`. `login`: user and password for HTTP
    Digest, or None; `guarded`: what paths begin with that want it. `logins_failed`: wrong passwords so far;
    from `LOCKED_AFTER` on, every login fails. `most`: how many connections it takes at once; more are hung up
    on."""

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
        super().__init__(tls=tls, most=most)
        self._answer = handler
        self.faults = faults
        self.login = login
        self.logins_failed = 0
        self.requests: list[Request] = []
        self._guarded = guarded
        self._nonces: set[str] = set()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await self._read(reader)
        if request is None:
            return False
        if self.faults.hang:
            await reader.read()  # taken, and never answered
            return False
        if self.faults.late_s:
            await asyncio.sleep(self.faults.late_s)
        if not self._welcome(request):
            nonce = secrets.token_hex(16)
            self._nonces.add(nonce)
            challenge = f'Digest qop="auth", realm="IP Camera", nonce="{nonce}", stale="FALSE"'
            await self._write(writer, Response(401, b"", "text/html", {"WWW-Authenticate": challenge}))
            return True
        self.requests.append(request)
        answer = await self._answer(request)
        if answer is None:
            return False
        if isinstance(answer, Response):
            await self._write(writer, answer)
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
