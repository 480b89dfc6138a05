"""Packets to a controller and back: one request at a time, each on a socket of its own.

With a socket for each request a late or repeated answer cannot be taken for the next one's, and the kernel
drops what comes from elsewhere. What the packets mean is in `codec`. No exception but two gets out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Literal

from adapters.uhppote import codec
from gated.ports import Wire

ATTEMPTS = 3
"""How often a question is sent: UDP loses some."""


class NotSent(Exception):
    """It reached nobody: no route, or nobody there."""


class NoAnswer(Exception):
    """It was sent, and no sensible answer came."""


class Link:
    """Where a controller is. `timeout_s`: for each answer (over TCP also to connect)."""

    def __init__(
        self,
        host: str,
        port: int,
        protocol: Literal["udp", "tcp"],
        timeout_s: float,
        wire: Wire | None = None,
    ) -> None:
        self._host, self._port, self._protocol = host, port, protocol
        self._timeout_s = timeout_s
        self._wire = wire
        self._turn = asyncio.Lock()
        self._exchanges = 0
        self.address = ""

    def __str__(self) -> str:
        return f"{self._host}:{self._port}"

    async def resolve(self) -> None:
        """Looks its name up, if it is one. Raises NotSent."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s * ATTEMPTS):
                found = await loop.getaddrinfo(self._host, self._port, family=socket.AF_INET)
        except (OSError, UnicodeError) as error:
            raise NotSent(f"no address is known of {self._host!r}: {error or 'no answer'}") from None
        self.address = str(found[0][4][0])

    async def ask(self, request: bytes) -> bytes:
        """A question, or a command that may be repeated; sent up to `ATTEMPTS` times. Raises NotSent,
        NoAnswer."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self.once(request)
            except NoAnswer:
                pass
        return await self.once(request)

    async def once(self, request: bytes) -> bytes:
        """Sent once. Raises NotSent, NoAnswer."""
        async with self._turn:
            self._exchanges += 1
            number = self._exchanges
            if self._wire is not None:
                self._wire("out", "frame", request, number)
            exchange = self._udp if self._protocol == "udp" else self._tcp
            answer = await exchange(request)
            if self._wire is not None:
                self._wire("in", "frame", answer, number)
            return answer

    async def _udp(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Answer(request, answered), remote_addr=(self.address, self._port)
            )
        except OSError as error:
            raise NotSent(f"no way to {self}: {_reason(error)}") from None
        try:
            transport.sendto(request)
            async with asyncio.timeout(self._timeout_s):
                return await answered
        except TimeoutError:
            raise NoAnswer(f"{self} did not answer within {self._timeout_s:g} s") from None
        except OSError as error:  # its only packet came back as undeliverable, or never left
            raise NotSent(f"nobody is at {self}: {_reason(error)}") from None
        finally:
            transport.close()

    async def _tcp(self, request: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(self.address, self._port, limit=1024)
        except OSError as error:
            raise NotSent(f"no connection to {self}: {_reason(error)}") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(request)
                await writer.drain()
                answer = await reader.readexactly(codec.SIZE)
        except TimeoutError:
            raise NoAnswer(f"{self} did not answer within {self._timeout_s:g} s") from None
        except (OSError, asyncio.IncompleteReadError):
            raise NoAnswer(f"{self} hung up before it answered") from None
        finally:
            writer.close()
        if not codec.answers(answer, request):
            raise NoAnswer(f"{self} answered something else")
        return answer


class _Answer(asyncio.DatagramProtocol):
    """Waits for the answer to one request; whatever else comes is ignored."""

    def __init__(self, request: bytes, answered: asyncio.Future[bytes]) -> None:
        self._request, self._answered = request, answered

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if not self._answered.done() and codec.answers(data, self._request):
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


class Listener(asyncio.DatagramProtocol):
    """Hears the packets that are sent to a port of this box, whoever sends them."""

    def __init__(self, hears: Callable[[bytes], None]) -> None:
        self._hears = hears
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def at(cls, host: str, port: int, hears: Callable[[bytes], None]) -> Listener:
        """Raises NotSent if the address cannot be used."""
        try:
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: cls(hears), local_addr=(host, port)
            )
        except OSError as error:
            raise NotSent(
                f"cannot listen at {host}:{port} ({_reason(error)}): it must be an address of this box, and"
                " each controller needs a port of its own"
            ) from None
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._hears(data)

    async def close(self) -> None:
        """The port is free afterwards."""
        if self._transport is not None:
            self._transport.close()
            await self._closed


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or "no answer in time"
