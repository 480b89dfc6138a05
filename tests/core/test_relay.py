"""The relay between the store and a publisher: rows that are handed on fresh and rows that are read back come
in one order, none lost, while the connection breaks and others write into the same outbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from gated import outbox
from gated.outbox import Outgoing, Relay
from gated.store import Store
from gated.store import outbox as rows
from gated.store.records import OutboxMessage

TOPICS = ("lanes/a/passages", "lanes/b/passages", "grids/g/alerts")


class Broker:
    """Takes what the relay has and acknowledges it, not always in order, as long as it is connected."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self.got: list[Outgoing] = []
        self.dice = dice
        self.there = asyncio.Event()
        self.relay = Relay(
            store, "", wake=self.there.set, clock=lambda: datetime.now(UTC), batch=20, save_after_s=0.01
        )

    async def connection(self) -> None:
        """One connection, until cancelled."""
        reading = asyncio.create_task(self.relay.run())
        on_its_way: list[int] = []
        try:
            while True:
                while len(on_its_way) < 10 and (one := self.relay.take()) is not None:
                    self.got.append(one)
                    assert one.row is not None
                    on_its_way.append(one.row)
                for _ in range(self.dice.randrange(4)):
                    if on_its_way:
                        self.relay.settle(on_its_way.pop(self.dice.randrange(len(on_its_way))))
                if on_its_way:
                    await asyncio.sleep(0)
                else:
                    self.there.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await self.there.wait()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _write(store: Store, dice: random.Random, count: int, name: str) -> None:
    for number in range(count):
        some = [
            OutboxMessage(dice.choice(TOPICS), {"id": f"{name}-{number}-{n}"})
            for n in range(dice.randrange(1, 4))
        ]
        await store.write(partial(rows.append, messages=some))
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.01)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("seed", range(4))
async def test_one_order_and_nothing_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(outbox, "_BACKSTOP_S", 0.02)  # so that its end meets fresh rows often
    dice = random.Random(seed)
    url = f"sqlite:///{tmp_path}/gated.db"
    store = await Store.open(url)
    other = await Store.open(url, exclusive=False)  # the command line beside the daemon
    broker = Broker(store, dice)
    connection = asyncio.create_task(broker.connection())
    writing = asyncio.gather(
        *(_write(store, dice, 60, f"w{n}") for n in range(4)), _write(other, dice, 10, "other")
    )
    while not writing.done():
        await asyncio.sleep(0.1)
        if dice.random() < 0.3:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)
            connection = asyncio.create_task(broker.connection())
    await writing
    async with asyncio.timeout(10):
        while await store.read(rows.backlog):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    connection.cancel()
    await asyncio.gather(connection, return_exceptions=True)

    everything = await store.read(lambda conn: rows.batch(conn, 0, 10_000))
    assert {row.id for row in everything} == {one.row for one in broker.got}
    highest, last = 0, dict.fromkeys(TOPICS, 0)
    for one in broker.got:
        assert one.row is not None
        assert one.row <= highest + 1, "a row came before an earlier one"
        highest = max(highest, one.row)
        seq = json.loads(one.payload)["seq"]
        assert seq <= last[one.topic] + 1, "a gap"
        last[one.topic] = max(last[one.topic], seq)
    await other.close()
    await store.close()
