"""What the store survives on both databases: being killed, a second daemon, another process in the way."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from gated.ports import NotRecorded
from gated.store import NotReadable, Store, StoreInUse, StoreUnusable, outbox, passages
from gated.store.backend import backend
from gated.store.items import Item
from gated.store.store import utc_now
from gated.store.writer import Writer
from tests.store import make

ROOT = Path(__file__).parents[2]

_HOLDER = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
_HOLDER_POSTGRES = """
import psycopg, sys
raw = psycopg.connect(sys.argv[1])
raw.execute("LOCK TABLE passages IN ACCESS EXCLUSIVE MODE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(url: str) -> Iterator[None]:
    """Another process has the database locked."""
    scheme, _, path = url.partition("sqlite:///")
    script, target = (_HOLDER_POSTGRES, url) if scheme else (_HOLDER, path)
    process = subprocess.Popen(
        [sys.executable, "-c", script, target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("")


async def check_whole(store: Store, acknowledged: set[int]) -> None:
    """All that was acknowledged is there, each passage with its messages, in order without gaps."""
    rows = await store.read(lambda conn: outbox.batch(conn, 0, 1_000_000))
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    messages: dict[str, int] = {}
    for row in rows:
        sent = json.loads(row.payload)
        messages[sent["id"]] = messages.get(sent["id"], 0) + 1
        assert messages[sent["id"]] == sent["part"] + 1
    for row in rows:
        sent = json.loads(row.payload)
        assert messages[sent["id"]] == sent["of"]
    assert await store.read(passages.count) == len(messages)
    assert {make.passage_id(number) for number in acknowledged} <= messages.keys()


async def test_a_kill_loses_nothing_that_was_acknowledged(url: str) -> None:
    acknowledged: set[int] = set()
    rng = random.Random(5)
    for start in (0, 100_000, 200_000):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.recorder", url, str(start)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            first = process.stdout.readline()
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            process.send_signal(signal.SIGKILL)
            *whole, _ = (first + process.stdout.read()).split(b"\n")
        acknowledged |= {int(line) for line in whole}
    assert len(acknowledged) > 20
    store = await Store.open(url)
    try:
        await check_whole(store, acknowledged)
        # and it goes on where it was
        await store.record(make.record(999_999))
        await check_whole(store, acknowledged | {999_999})
    finally:
        await store.close()


async def test_one_daemon_for_one_database(url: str) -> None:
    first = await Store.open(url)
    with pytest.raises(StoreInUse, match="stop it first"):
        await Store.open(url)
    tool = await Store.open(url, exclusive=False)  # the command line may work beside it
    await tool.write(lambda conn: outbox.append(conn, [make.message("t", 1)]))
    await tool.close()
    await first.record(make.record(1))
    await first.close()
    second = await Store.open(url)
    assert await second.read(passages.count) == 1
    await second.close()


async def test_a_lock_of_another_process_is_waited_for(store: Store, url: str) -> None:
    with held(url):
        waiting = [asyncio.create_task(store.record(make.record(number))) for number in range(40)]
        await asyncio.sleep(0.7)
        assert not any(task.done() for task in waiting)
        assert store.last_error is not None
    await asyncio.gather(*waiting)
    assert store.last_error is None
    assert await store.read(passages.count) == 40


async def test_a_lock_that_stays_is_told_in_time(url: str) -> None:
    store = await Store.open(url, patience_s=0.6)
    try:
        with held(url):
            started = time.monotonic()
            found = await asyncio.gather(
                *(store.record(make.record(number)) for number in range(1200)),
                store.write(lambda _: None),
                return_exceptions=True,
            )
            assert time.monotonic() - started < 3
            assert {type(one) for one in found} == {NotRecorded}
            assert store.last_error is not None
            # a read does not wait for writers; PostgreSQL's is in the way of this lock
            if url.startswith("sqlite"):
                assert await store.read(passages.count) == 0
        await store.record(make.record(1))
        assert store.last_error is None
        assert [row.seq for row in await store.read(lambda conn: outbox.batch(conn, 0, 9))] == [1]
    finally:
        await store.close()


class _Going(asyncio.Future[None]):
    """Its caller goes just when the writer has looked at it once."""

    looks = 0

    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks > 1


def test_a_caller_that_goes_while_the_writer_looks_is_counted(sqlite_url: str) -> None:
    loop = asyncio.new_event_loop()
    writer = Writer(backend(sqlite_url), lock=None, clock=utc_now)
    writer.last_error = "locked"
    going = Item(_Going(loop=loop), time.monotonic() + 10, None, None)
    late = Item(loop.create_future(), 0, None, None)
    writer._loop = loop
    assert writer._expired([going, late]) == [going]
    assert isinstance(late.error, NotRecorded)
    loop.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u@h/d", "cannot keep its data in mysql"),
        ("nonsense", "no database URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:////proc/gated/x.db", "cannot open /proc/gated/x.db"),
        ("postgresql://gated@127.0.0.1:1/none", "is PostgreSQL running"),
    ],
)
async def test_what_cannot_be_opened_says_why(url: str, said: str) -> None:
    with pytest.raises(StoreUnusable, match=said):
        await Store.open(url)


async def test_passwords_are_not_shown() -> None:
    with pytest.raises(StoreUnusable) as error:
        await Store.open("postgresql://gated:geheim@127.0.0.1:1/none")
    assert "geheim" not in str(error.value)


async def test_a_database_of_somebody_else_is_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    for name, content in (("text.db", b"no database at all" * 100), ("other.db", None)):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        else:
            with sqlite3.connect(file) as raw:
                raw.execute("CREATE TABLE passages (a)")
            raw.close()
        before = file.read_bytes()
        with pytest.raises(StoreUnusable):
            await Store.open(f"sqlite:///{file}")
        if content is not None:
            assert file.read_bytes() == before


@pytest.mark.postgres
async def test_the_postgresql_server_goes_and_comes_back(postgres_url: str) -> None:
    """Its sessions are broken while records are under way: each is recorded once, or its caller is told."""
    store = await Store.open(postgres_url)
    name = postgres_url.rpartition("/")[2]
    admin = postgres_url.rpartition("/")[0] + "/postgres"
    recorded: set[int] = set()

    async def caller(first: int) -> None:
        for number in range(first, first + 60):
            try:
                await store.record(make.record(number, messages=1 + number % 2))
            except NotRecorded:
                continue
            recorded.add(number)

    async def trouble() -> None:
        for _ in range(5):
            await asyncio.sleep(0.05)
            with psycopg.connect(admin, autocommit=True) as raw:
                raw.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
                )

    try:
        await asyncio.gather(trouble(), *(caller(first) for first in range(0, 1000, 100)))
        assert len(recorded) > 500
        await store.record(make.record(5000))
        recorded.add(5000)
        assert store.last_error is None
        for attempt in range(5):  # the readers' connections were broken as well
            try:
                await check_whole(store, recorded)
                break
            except NotReadable:
                assert attempt < 4
    finally:
        await store.close()
