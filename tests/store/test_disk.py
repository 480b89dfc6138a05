"""A disk that is full, a file that cannot be written: on SQLite, whose disk is ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from gated.ports import NotRecorded
from gated.store import BackupFailed, Store, outbox, passages
from tests.store import make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system; the variant with a page limit runs")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def until_full(store: Store, first: int) -> set[int]:
    """Records until no more is taken; the numbers that were acknowledged."""
    recorded: set[int] = set()
    for start in range(first, first + 100_000, 20):
        numbers = range(start, start + 20)
        found = await asyncio.gather(
            *(store.record(make.record(number)) for number in numbers), return_exceptions=True
        )
        recorded |= {number for number, one in zip(numbers, found, strict=True) if one is None}
        refused = [one for one in found if one is not None]
        if refused:
            assert {type(one) for one in refused} == {NotRecorded}
            assert "full" in str(refused[0])
            return recorded
    raise AssertionError("the disk was never full")


async def check(store: Store, recorded: set[int]) -> None:
    """All that was acknowledged is there and nothing else, with messages in order."""
    assert await store.read(passages.count) == len(recorded)
    rows = await store.read(lambda conn: outbox.batch(conn, 0, 1_000_000))
    assert [(row.id, row.seq) for row in rows] == [(n, n) for n in range(1, len(recorded) + 1)]
    found = await store.read(lambda conn: passages.page(conn, limit=1_000_000))
    assert {row.passage.id for row in found} == {make.passage_id(number) for number in recorded}


async def test_a_full_disk_is_told_and_left_behind(empty_sqlite: Path, small_disk: Path) -> None:
    shutil.copy(empty_sqlite, small_disk / "gated.db")
    store = await Store.open(f"sqlite:///{small_disk}/gated.db")
    ballast = small_disk / "ballast"
    try:
        ballast.write_bytes(b"\0" * 800_000)
        recorded = await until_full(store, 0)
        assert recorded
        assert store.last_error is not None
        assert "full" in store.last_error
        # readers go on; whoever asks again is told, until somebody makes room
        assert await store.read(passages.count) == len(recorded)
        for first in (200_000, 300_000, 400_000):
            recorded |= await until_full(store, first)
        ballast.unlink()
        await store.record(make.record(500_000))
        assert store.last_error is None
        recorded.add(500_000)
        recorded |= await until_full(store, 600_000)
        await check(store, recorded)
    finally:
        await store.close()


async def test_a_full_database_is_told_and_left_behind(sqlite_url: str) -> None:
    """The same for those who may not mount: the database may grow to so many pages."""

    def limit(pages: int) -> Callable[[Connection], object]:
        return lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

    store = await Store.open(sqlite_url)
    try:
        await store.write(limit(200))
        recorded = await until_full(store, 0)
        assert "full" in str(store.last_error)
        # the broken connection was replaced, and with it went the limit
        await store.record(make.record(500_000))
        await check(store, recorded | {500_000})
        assert store.last_error is None
    finally:
        await store.close()


async def test_a_backup_onto_a_full_disk_leaves_nothing(sqlite_url: str, small_disk: Path) -> None:
    store = await Store.open(sqlite_url)
    try:
        await asyncio.gather(*(store.record(make.record(number)) for number in range(300)))
        (small_disk / "ballast").write_bytes(b"\0" * 1_900_000)
        with pytest.raises(BackupFailed):
            await store.backup(small_disk / "backup.db")
        assert files(small_disk) == ["ballast"]
    finally:
        await store.close()


async def test_work_that_meets_a_full_disk_is_not_recorded(sqlite_url: str) -> None:
    def fill(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA max_page_count = 60")
        conn.exec_driver_sql("CREATE TABLE ballast AS SELECT randomblob(5000000) AS a")

    store = await Store.open(sqlite_url)
    try:
        with pytest.raises(NotRecorded, match="full"):
            await store.write(fill)
        await store.record(make.record(1))
        assert await store.read(passages.count) == 1
    finally:
        await store.close()
