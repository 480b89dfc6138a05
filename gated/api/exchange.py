"""What an application may ask of its request's connection beside ASGI.

ASGI cannot say whether a body is here already without waiting for it, nor whether a reply was written: the
path of a passage needs the one, the barrier that is opened by a reply the other. Knows no server.
"""

from __future__ import annotations

from typing import Final, Protocol

EXCHANGE: Final = "gated.exchange"
"""Where an application finds the `Exchange` of its request: `scope["extensions"][EXCHANGE]`. It takes it out,
for the exchange holds the scope."""


class PeerGone(Exception):
    """The peer went before its whole request was here."""


class Exchange(Protocol):
    """One request and its reply."""

    def whole_body(self) -> bytes | None:
        """The body, if all of it is here and nothing of it was taken, without waiting. Else None; `part`
        tells why."""
        ...

    async def part(self) -> tuple[bytes, bool]:
        """Waits for more of the body: what came, and whether that was the end. Raises `PeerGone`."""
        ...

    async def reply(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> bool:
        """Gives the whole reply to the socket, in one write. `headers`: without content-length. False if the
        peer has gone: then nothing was written. Raises ValueError on what cannot be a header."""
        ...
