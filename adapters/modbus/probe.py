"""Looks whether a Modbus board is at an address: reads one relay, and changes nothing."""

from __future__ import annotations

from adapters.modbus.codec import Board
from adapters.modbus.link import Link, NoAnswer, NotSent, Tcp
from gated.ports import Probed


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """A board on port 502, or the one that is given."""
    port = 502 if port is None else port
    link = Link(Tcp(host, port, "tcp"), timeout_s)
    try:
        await link.connect()
        await link.ask(Board().coils(0))
    except (NotSent, NoAnswer):
        return None
    finally:
        await link.close()
    return Probed("modbus", "answers as Modbus TCP", {"host": host, "port": port})
