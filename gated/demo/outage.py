"""The demo's fault "broker away": now and then its broker ends, and comes back at the same ports.

Passages go on meanwhile and their messages wait in gated's store; nothing else of the demo is touched.
"""

from __future__ import annotations

import asyncio

from gated.mqtt.embedded import EmbeddedBroker

FIRST_S, EVERY_S, AWAY_S = 20.0, 60.0, 5.0


class Outages:
    """Takes a broker away: on demand (`away`), or again and again (`play`)."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self.count = 0
        self.on = False

    async def away(self, for_s: float) -> None:
        """The broker is away for so long; it is back when this returns, also when it is cancelled."""
        self.count += 1
        self.on = True
        stopped = asyncio.create_task(asyncio.to_thread(self._broker.stop))
        try:
            await asyncio.shield(stopped)
            await asyncio.sleep(for_s)
        finally:
            await stopped  # a thread goes on when whoever waits for it is cancelled
            await asyncio.to_thread(self._broker.start)
            self.on = False

    async def play(self, duration: float | None) -> None:
        """The scripted ones, until cancelled. A short demo has its first sooner, and a shorter one."""
        first, away = FIRST_S, AWAY_S
        if duration is not None:
            first, away = min(first, duration / 4), min(away, duration / 6)
        await asyncio.sleep(first)
        while True:
            await self.away(away)
            await asyncio.sleep(EVERY_S)
