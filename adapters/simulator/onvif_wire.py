"""The HTTP side of a simulated ONVIF camera: one connection, and who is let in.

It can answer late, half, or with 100 MB; it knows no operation.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, cast

import httptools
from lxml import etree

_DIGEST_PART = re.compile(r'(\w+)="?([^",]*)"?')
FLOOD = 100 * 1024 * 1024


class Owner(Protocol):
    """What a connection needs of its camera."""

    peers: set[Peer]

    @property
    def now(self) -> datetime: ...
    def request(
        self, peer: Peer, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> None: ...


class Peer(asyncio.Protocol):
    """One connection to the camera."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._target = ""
        self._room = asyncio.Event()
        self.gone = False

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods, not by their class
        self._transport = cast(asyncio.Transport, transport)
        self._room.set()
        self._owner.peers.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._room.set()
        self._owner.peers.discard(self)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.hang_up()

    # called by httptools

    def on_url(self, url: bytes) -> None:
        self._target = url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        headers, body = self._headers, b"".join(self._body)
        self._headers, self._body = {}, []
        method = self._parser.get_method().decode("latin-1")
        self._owner.request(self, method, self._target, headers, body)

    # answers

    def reply(
        self,
        status: int,
        body: bytes,
        kind: str = "application/soap+xml; charset=utf-8",
        *,
        headers: Mapping[str, str] | None = None,
        half: bool = False,
    ) -> None:
        """Answers. `half`: of the body, and hangs up."""
        if self._transport is None or self.gone:
            return
        date = self._owner.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Date: {date}"]
        lines += [f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        self._transport.write(head + (body[: len(body) // 2] if half else body))
        if half:
            self._transport.close()

    async def flood(self) -> None:
        """An answer of 100 MB, in chunks, for as long as somebody listens."""
        assert self._transport is not None  # noqa: S101 - connected
        self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"10000\r\n<a>" + b"x" * 65533 + b"\r\n"
        for _ in range(FLOOD // 65536):
            await self._room.wait()
            if self.gone:
                return
            self._transport.write(block)
            await asyncio.sleep(0)

    def hang_up(self) -> None:
        self.gone = True
        if self._transport is not None:
            self._transport.abort()


class Guard:
    """Checks digests as a camera does: WS-UsernameToken with nonces that are used once, or HTTP Digest
    (MD5, auth) with counted nonces. `refusals`: how many wrong ones there were."""

    def __init__(self, username: str, password: str) -> None:
        self._username, self._password = username, password
        self._used: deque[str] = deque(maxlen=500)
        self._counts: dict[str, int] = {}
        self.refusals = 0

    def token(self, root: etree._Element, now: datetime, tolerance_s: float) -> bool:
        """Whether the envelope's UsernameToken is right; `now`: on the camera's clock."""
        token = root.find("{*}Header/{*}Security/{*}UsernameToken")
        if token is None:
            return not self._username
        nonce, created = token.findtext("{*}Nonce", ""), token.findtext("{*}Created", "")
        try:
            moment = datetime.fromisoformat(created)
            raw = base64.b64decode(nonce)
        except ValueError:
            return False
        fresh = abs((moment - now).total_seconds()) <= tolerance_s and nonce not in self._used
        self._used.append(nonce)
        seed = raw + created.encode() + self._password.encode()
        wanted = base64.b64encode(hashlib.sha1(seed, usedforsecurity=False).digest()).decode()
        same = secrets.compare_digest(wanted, token.findtext("{*}Password", ""))
        return fresh and same and token.findtext("{*}Username", "") == self._username

    def digest(self, peer: Peer, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Whether the Authorization header is right; answers with a challenge where it is not."""
        parts = dict(_DIGEST_PART.findall(headers.get("authorization", "").partition(" ")[2]))
        nonce = parts.get("nonce", "")

        def h(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        ha1, ha2 = h(f"{self._username}:simulated:{self._password}"), h(f"{method}:{target}")
        wanted = h(f"{ha1}:{nonce}:{parts.get('nc')}:{parts.get('cnonce')}:auth:{ha2}")
        count = int(parts.get("nc", "0") or "0", 16)
        good = self._counts.get(nonce, 1 << 40) < count and parts.get("response") == wanted
        if good and parts.get("username") == self._username:
            self._counts[nonce] = count
            return True
        if parts:
            self.refusals += 1
        offered = secrets.token_hex(16)
        self._counts = {**dict(list(self._counts.items())[-100:]), offered: 0}
        challenge = f'Digest realm="simulated", qop="auth", nonce="{offered}", algorithm=MD5'
        peer.reply(401, b"", headers={"WWW-Authenticate": challenge})
        return False
