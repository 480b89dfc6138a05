"""PostgreSQL, with a wire that breaks between a commit and its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gated.ports import NotRecorded
from gated.store import AlreadyRecorded, Store, outbox, passages, passes
from tests.peers.mosquitto import free_port
from tests.store import make

pytestmark = pytest.mark.postgres


class Wire:
    """Carries bytes to the server; `armed`, it breaks at the next COMMIT, before or after delivering it.
    `down`: refuses new connections' traffic."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.armed: str | None = None
        self.down = False
        self.broken = 0
        self._deaf: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        answered = asyncio.Event()
        back = asyncio.create_task(self._carry_back(up_reader, writer, answered))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                how = self.armed if b"COMMIT" in data else None
                if how is not None:
                    self.armed = None
                    self.broken += 1
                    self._deaf.add(writer)
                if how != "lost":
                    up_writer.write(data)
                    await up_writer.drain()
                if how == "delivered":
                    await answered.wait()  # the server has committed
                if how is not None:
                    break
        writer.close()
        up_writer.close()
        await back

    async def _carry_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if writer in self._deaf:
                    answered.set()
                else:
                    writer.write(data)
                    await writer.drain()


@pytest.fixture
async def wire(postgres_url: str) -> AsyncIterator[Wire]:
    made = Wire(int(postgres_url.rpartition(":")[2].partition("/")[0]))
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    yield made
    server.close()
    await asyncio.sleep(0.05)


@pytest.fixture
async def store(wire: Wire, postgres_url: str) -> AsyncIterator[Store]:
    url = postgres_url.replace(f":{wire.target}/", f":{wire.port}/")
    opened = await Store.open(url, patience_s=1.5)
    yield opened
    await opened.close()


@pytest.mark.parametrize("how", ["delivered", "lost"])
async def test_a_passage_in_a_broken_commit_is_recorded_once(store: Store, wire: Wire, how: str) -> None:
    """The writer looks whether its own record is there, and writes it if not."""
    await store.record(make.record(0))
    wire.armed = how
    await asyncio.gather(*(store.record(make.record(number)) for number in range(1, 20)))
    assert wire.broken == 1
    assert await store.read(passages.count) == 20
    rows = await store.read(lambda conn: outbox.batch(conn, 0, 100))
    assert [row.seq for row in rows] == list(range(1, 21))
    assert len({row.payload for row in rows}) == 20
    with pytest.raises(AlreadyRecorded):
        await store.record(make.record(5))


@pytest.mark.parametrize(("how", "there"), [("delivered", 1), ("lost", 0)])
async def test_other_work_in_a_broken_commit_is_not_repeated(
    store: Store, wire: Wire, how: str, there: int
) -> None:
    await store.write(lambda _: None)
    wire.armed = how
    with pytest.raises(NotRecorded, match="may have been written"):
        await store.write(lambda conn: passes.insert(conn, make.a_pass(1)))
    assert await store.read(passes.count) == there
    await store.write(lambda conn: passes.insert(conn, make.a_pass(2)))
    assert await store.read(passes.last_change) == there + 1


async def test_a_server_that_stays_away_is_told_and_found_again(store: Store, wire: Wire) -> None:
    await store.record(make.record(0))
    wire.armed, wire.down = "delivered", True
    with pytest.raises(NotRecorded):
        await store.record(make.record(1))
    assert store.last_error is not None
    wire.down = False
    # it was written, as it turns out: the sender that sends it again hears so
    with pytest.raises(AlreadyRecorded):
        await store.record(make.record(1))
    await _soon(lambda: store.record(make.record(2)))
    assert store.last_error is None
    assert [row.seq for row in await store.read(lambda conn: outbox.batch(conn, 0, 9))] == [1, 2, 3]


async def _soon(call: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(5):
        await call()
