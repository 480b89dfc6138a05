"""Looks whether a Modbus board is at an address: reads one relay, and changes nothing."""

from __future__ import annotations

from adapters.modbus.codec import Board
from adapters.modbus.link import Link, NoAnswer, NotSent, Tcp
from gated.ports import Probed


async def probe(host: str, timeout_s: float) -> Probed | None:
    """A board on port 502, or the port that is given with the host."""
    bare, _, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "502")
    link = Link(Tcp(bare, int(port) if port.isdigit() else 502, "tcp"), timeout_s)
    try:
        await link.connect()
        await link.ask(Board().coils(0))
    except (NotSent, NoAnswer):
        return None
    finally:
        await link.close()
    settings: dict[str, object] = {"host": bare, "port": int(port) if port.isdigit() else 502}
    return Probed("modbus", "answers as Modbus TCP", settings)
