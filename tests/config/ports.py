"""Ports where nobody listens, below those that the system gives to outgoing connections, which could take one
in between."""

from __future__ import annotations

import random
import socket

_untaken = random.sample(range(20_000, 32_000), 12_000)


def free_port() -> int:
    """One that is free now, another one each time."""
    while True:
        port = _untaken.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
