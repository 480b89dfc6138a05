"""One request and its reply: uvicorn's, which is an `Exchange` beside."""

from __future__ import annotations

from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from gated.api.exchange import PeerGone


class Cycle(RequestResponseCycle):
    """uvicorn's cycle, and an `Exchange`.

    A long body makes uvicorn stop reading. An exchange reads on once the body was taken: that the peer goes
    while its request is handled is noticed only by reading.
    """

    def whole_body(self) -> bytes | None:
        if self.more_body or self.disconnected:
            return None
        self.flow.resume_reading()
        body, self.body = self.body, bytearray()
        return bytes(body)

    async def part(self) -> tuple[bytes, bool]:
        message = await self.receive()
        if message["type"] != "http.request":
            raise PeerGone
        self.flow.resume_reading()
        return message["body"], not message["more_body"]

    async def reply(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> bool:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        # Of a connection that was lost uvicorn tells only the last of its requests; the transport knows best.
        if self.disconnected or self.transport.is_closing():
            self.disconnected = True
            return False
        head, close = _head(status, headers, tuple(self.default_headers))
        self.keep_alive = self.keep_alive and not close
        self.transport.write(
            b"%b%bcontent-length: %d\r\n\r\n%b"
            % (
                head,
                b"" if self.keep_alive or close else b"connection: close\r\n",
                len(body),
                b"" if self.scope["method"] == "HEAD" else body,
            )
        )
        # that the peer has reset the connection may show only now
        written = not self.transport.is_closing()
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return written


@lru_cache(maxsize=64)
def _head(
    status: int, headers: tuple[tuple[str, str], ...], default: tuple[tuple[bytes, bytes], ...]
) -> tuple[bytes, bool]:
    """The first lines of a reply, and whether they say that the connection ends. Raises ValueError on a
    header that would break out of its line. Kept, for within a second nearly all replies have the same."""
    lines = [STATUS_LINE[status]]
    close = False
    for name, value in (
        *default,
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers),
    ):
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise ValueError(f"not a header: {name!r}")
        if name == b"connection":
            close = close or b"close" in [token.strip() for token in value.lower().split(b",")]
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines), close
