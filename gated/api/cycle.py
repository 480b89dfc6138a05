"""One request and its reply: uvicorn's, and beside it a reply that is given whole and leaves in one write."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

REPLY: Final = "gated.http.reply"
"""Type of a message to `send`, beside those of ASGI: the whole reply at once.

Keys: `status`; `headers`, a tuple of pairs of bytes in lower case, without content-length; `body`. `send`
raises OSError where the peer has gone: then nothing was written, while of ASGI's own messages nobody hears
what became of them."""


class Cycle(RequestResponseCycle):
    """uvicorn's cycle, which also takes a `REPLY`."""

    async def send(self, message: Any) -> None:
        if message["type"] != REPLY:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        # Of a connection that was lost uvicorn tells only the last of its requests; the transport knows best.
        if self.disconnected or self.transport.is_closing():
            self.disconnected = True
            raise ConnectionResetError("the peer has gone")
        if self.response_started:
            raise RuntimeError("the reply was sent already")
        head, close = _head(message["status"], message["headers"])
        if close:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"connection: close\r\n"
        body: bytes = message["body"]
        lines = [head]
        lines += [b"%b: %b\r\n" % header for header in self.default_headers]
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        if self.scope["method"] != "HEAD":
            lines.append(body)
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(maxsize=64)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, bool]:
    """The first lines of a reply, and whether they end the connection. Raises ValueError on headers that
    would break it. Kept, for nearly all replies have the same few."""
    lines = [STATUS_LINE[status]]
    close = False
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise ValueError(f"{name!r} cannot be a header with this value")
        if name == b"connection":
            close = close or b"close" in [token.strip() for token in value.lower().split(b",")]
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines), close
