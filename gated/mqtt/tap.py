"""The socket as paho sees it. Between paho and the wire it takes out the acknowledgements of our messages and
puts our messages in: by itself paho spends 50 us on the two, and three system calls on each PUBACK.

Everything is written through one buffer, so that no packet gets into the middle of another, and read in
pieces of a bounded size. A tap never waits; topics and tokens are the link's.
"""

from __future__ import annotations

import socket
import ssl

from gated.mqtt import wire
from gated.mqtt.endpoint import Version

_PIECE = 16 * 1024
"""Bytes read at a time: what a TLS record has at most, for what stayed inside of the TLS layer would
not make the socket readable again."""
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Tap:
    """A connected socket, not blocking. The link calls `receive`, `put` and `flush`; paho what is in its own
    protocol SocketLike."""

    def __init__(self, held: socket.socket, version: Version) -> None:
        self._held = held
        self._cutter = wire.Cutter(version)
        self._unread = b""
        self._read_to = 0
        self._ended = False
        self._error: OSError | None = None
        self._unsent = bytearray()

    # --- for the link -----------------------------------------------------------------------------------

    @property
    def for_paho(self) -> bool:
        """paho has something to read, be it the end."""
        return self._read_to < len(self._unread) or self._ended

    @property
    def unsent(self) -> bool:
        """The socket did not take everything."""
        return bool(self._unsent)

    def receive(self) -> list[wire.Ack]:
        """Reads one piece: returns the acknowledgements in it and holds the rest for paho, who must have read
        what there was before. Raises wire.Malformed; an error of the socket, and its end, are for paho."""
        try:
            data = self._held.recv(_PIECE)
        except _NOT_NOW:
            return []
        except OSError as error:
            self._ended, self._error = True, error
            return []
        self._ended = not data
        acks, self._unread = self._cutter.cut(data)
        self._read_to = 0
        return acks

    def put(self, packet: bytes) -> None:
        """Takes a packet of ours for the next `flush`."""
        self._unsent += packet

    def flush(self) -> None:
        """Writes what the socket takes now. Raises OSError when the connection is gone."""
        try:
            while self._unsent:
                del self._unsent[: self._held.send(self._unsent)]
        except _NOT_NOW:
            pass

    # --- for paho ---------------------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        if self._read_to < len(self._unread):
            begin, self._read_to = self._read_to, min(self._read_to + size, len(self._unread))
            return self._unread[begin : self._read_to]
        if self._error is not None:
            raise self._error
        if self._ended:
            return b""
        raise BlockingIOError

    def send(self, packet: bytes | bytearray) -> int:
        self._unsent += packet
        self.flush()
        return len(packet)

    def close(self) -> None:
        self._held.close()

    def fileno(self) -> int:
        return self._held.fileno()

    def setblocking(self, flag: bool) -> None:
        self._held.setblocking(flag)
