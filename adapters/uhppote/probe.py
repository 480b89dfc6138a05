"""Looks whether a UHPPOTE controller is at an address: asks who it is, and changes nothing."""

from __future__ import annotations

from adapters.uhppote import codec
from adapters.uhppote.link import Link, NoAnswer, NotSent
from gated.ports import Probed


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """A controller on UDP port 60000, or the one that is given."""
    port = 60000 if port is None else port
    link = Link(host, port, "udp", timeout_s)
    try:
        await link.resolve()
        found = codec.identity(await link.once(codec.ask_identity(codec.ANYONE)))
    except (NotSent, NoAnswer, ValueError):
        return None
    return Probed(
        "uhppote",
        f"answers as controller {found.controller}, firmware {found.firmware}",
        {"host": host, "port": port, "controller": found.controller},
    )
