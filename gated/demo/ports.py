"""Ports of loopback that nobody else is given meanwhile."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved(count: int) -> Iterator[Iterator[int]]:
    """So many ports of our own until the block ends. Bound without listening, and with SO_REUSEADDR, they are
    given to nobody who asks for any free port (another demo), and our servers can still listen at them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield iter([one.getsockname()[1] for one in sockets])
