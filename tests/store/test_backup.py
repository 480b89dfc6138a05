"""Backups are whole, restoring gives back every row, and nothing is lost on the way there."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from datetime import UTC
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from gated.domain import CredentialKind, Dwelling, OpeningOutcome, Outcome
from gated.ports import AllowEntry
from gated.store import (
    BackupFailed,
    Store,
    StoreInUse,
    audit,
    backup_postgres,
    device_events,
    device_lists,
    dwellings,
    idempotency,
    lists,
    outbox,
    passages,
    passes,
    policies,
    presence,
    restore,
    tables,
    tokens,
)
from gated.store.tokens import TokenRow
from tests.peers.postgres import find
from tests.store import make

Content = dict[str, list[tuple[object, ...]]]


async def fill(store: Store) -> None:
    """Something in every table."""

    def others(conn: Connection) -> None:
        passes.insert_many(conn, [make.a_pass(number) for number in range(20)])
        tokens.insert(conn, TokenRow("t1", "gate", "volunteer", b"\x01", make.NOW))
        idempotency.put(conn, "t1", "k", "f", 200, b"{}", make.NOW)
        audit.append(conn, make.NOW, "李姐", "pass.issue", "p", {})
        policies.activate(conn, make.NOW, "王工", "live", "policy: 1")
        dwellings.put(conn, make.NOW, Dwelling(id="d1", grid="g1"))
        lists.put(conn, make.listed("津A00001"))
        entry = AllowEntry(CredentialKind.PLATE, "津A00001", make.NOW, make.NOW)
        device_lists.put(conn, "cam", [entry])
        device_events.add(conn, "cam", "motion", make.NOW, make.NOW, {"channel": "1"}, b"\xff\xd8\x00")

    await store.write(others)
    for number in range(60):
        alerts = (make.alert(number),) if number % 9 == 0 else ()
        outcome = Outcome.REFER if alerts else Outcome.GRANT
        await store.record(make.record(number, outcome=outcome, alerts=alerts, change=20))
        await store.record_read(make.other_read(number))
    over = [make.opening(number, OpeningOutcome.CONFIRMED) for number in range(60)]
    await asyncio.gather(*(store.record_opening(one) for one in over))
    await store.write(lambda conn: outbox.advance(conn, 30))
    await store.write(lambda conn: presence.advance(conn, UTC))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(conn: Connection) -> Content:
    """Every row of every table."""
    found: Content = {}
    for name, table in tables.metadata.tables.items():
        rows = conn.execute(select(table).order_by(*table.primary_key.columns))
        found[name] = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]
    return found


@pytest.fixture
def pg_tools(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools of the server's version, wherever they are."""
    programs = find()
    if url.startswith("postgresql") and programs is not None:
        monkeypatch.setenv("PATH", str(programs), prepend=":")


@pytest.mark.usefixtures("pg_tools")
async def test_what_is_restored_is_what_was_backed_up(url: str, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "monday"
    store = await Store.open(url)
    await fill(store)
    before = await store.read(content)
    assert all(before.values()), "every table holds something"
    await store.backup(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert files(file.parent) == [file.name]
    # later changes, which are to be gone
    await store.record(make.record(1000, change=20))
    await store.write(lambda conn: passes.update(conn, make.a_pass(3, kind="x"), expected_version=1))
    later = await store.read(content)
    with pytest.raises(StoreInUse):
        await restore(url, file)
    await store.close()

    aside = await restore(url, file)
    store = await Store.open(url)
    assert await store.read(content) == before
    # and it works: numbers go on from there
    await store.record(make.record(2000, change=20))
    rows = await store.read(lambda conn: outbox.replay(conn, "lanes/east-in/passages", 60, 9))
    assert [row.seq for row in rows] == [60, 61]
    await store.close()

    # what was there before is kept, and can be restored as well
    assert aside is not None
    await restore(url, aside)
    store = await Store.open(url)
    assert await store.read(content) == later
    await store.close()


@pytest.mark.usefixtures("pg_tools")
async def test_a_backup_is_of_one_moment_while_writes_go_on(url: str, tmp_path: Path) -> None:
    store = await Store.open(url)
    enough, stop = asyncio.Event(), asyncio.Event()
    recorded = 0

    async def caller(first: int) -> None:
        nonlocal recorded
        number = first
        while not stop.is_set():
            await store.record(make.record(number, messages=2))
            recorded += 1
            number += 1
            if recorded > 300:
                enough.set()

    callers = [asyncio.create_task(caller(first * 1_000_000)) for first in range(8)]
    async with asyncio.timeout(30):
        await enough.wait()
    before = recorded
    await store.backup(tmp_path / "backup")
    during = recorded - before
    after = recorded
    stop.set()
    await asyncio.gather(*callers)
    await store.close()
    assert during > 0, "writing did not wait for the backup"
    await restore(url, tmp_path / "backup")
    store = await Store.open(url)
    kept = await store.read(passages.count)
    rows = await store.read(lambda conn: outbox.batch(conn, 0, 1_000_000))
    assert before <= kept <= after + 8
    assert [row.seq for row in rows] == list(range(1, 2 * kept + 1))
    await store.close()


@pytest.mark.usefixtures("pg_tools")
async def test_a_backup_replaces_nothing_unless_told(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_bytes(b"precious")
    with pytest.raises(BackupFailed, match="is there already"):
        await store.backup(file)
    assert file.read_bytes() == b"precious"
    await store.backup(file, overwrite=True)
    assert file.read_bytes() != b"precious"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [name for name in files(tmp_path) if name.startswith(".")] == []


@pytest.mark.usefixtures("pg_tools")
async def test_what_is_no_backup_is_not_restored(url: str, tmp_path: Path) -> None:
    store = await Store.open(url)
    await fill(store)
    before = await store.read(content)
    await store.backup(tmp_path / "good")
    await store.close()
    good = (tmp_path / "good").read_bytes()
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half").write_bytes(good[: len(good) // 2])
    for name in ("garbage", "empty", "half", "none"):
        with pytest.raises(BackupFailed):
            await restore(url, tmp_path / name)
        store = await Store.open(url)
        assert await store.read(content) == before, name
        await store.close()


async def test_a_backup_of_a_newer_version_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url)
    await store.backup(tmp_path / "newer")
    await store.close()
    with sqlite3.connect(tmp_path / "newer") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(BackupFailed, match="newer gated"):
        await restore(sqlite_url, tmp_path / "newer")
    await (await Store.open(sqlite_url)).close()


async def test_a_database_of_another_program_is_not_restored(sqlite_url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other") as raw:
        raw.execute("CREATE TABLE alembic_version (version_num TEXT)")
        raw.execute("INSERT INTO alembic_version VALUES ('0001')")
    raw.close()
    with pytest.raises(BackupFailed, match="not of gated"):
        await restore(sqlite_url, tmp_path / "other")


async def test_a_database_that_is_open_elsewhere_is_not_replaced(sqlite_url: str, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url, exclusive=False)
    await store.record(make.record(1))
    await store.backup(tmp_path / "good")
    with pytest.raises(StoreInUse, match="another process"):
        await restore(sqlite_url, tmp_path / "good")
    await store.record(make.record(2))
    assert await store.read(passages.count) == 2
    await store.close()


def damage(path: Path) -> bytes:
    """Overwrites the first page; returns what is in the file now."""
    damaged = b"\xff" * 4096 + path.read_bytes()[4096:]
    path.write_bytes(damaged)
    path.with_name("gated.db-wal").write_bytes(b"a log that belongs to it")
    return damaged


async def test_a_damaged_database_is_kept_and_replaced(sqlite_url: str, tmp_path: Path) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    store = await Store.open(sqlite_url)
    await fill(store)
    before = await store.read(content)
    await store.backup(tmp_path / "good")
    await store.close()
    damaged = damage(path)
    aside = await restore(sqlite_url, tmp_path / "good")
    assert aside is not None
    assert aside.read_bytes() == damaged
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"a log that belongs to it"
    store = await Store.open(sqlite_url)
    assert await store.read(content) == before
    await store.close()


async def test_restoring_where_nothing_was(sqlite_url: str, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url)
    await store.record(make.record(1))
    await store.backup(tmp_path / "good")
    await store.close()
    fresh = f"sqlite:///{tmp_path}/new/folder/gated.db"
    assert await restore(fresh, tmp_path / "good") is None
    store = await Store.open(fresh)
    assert await store.read(passages.count) == 1
    await store.close()
    mode = (tmp_path / "new/folder/gated.db").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.postgres
async def test_without_the_tools_of_postgresql_a_backup_says_so(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(postgres_url)
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    try:
        with pytest.raises(BackupFailed, match="apt-get install postgresql-client"):
            await store.backup(tmp_path / "backup")
        assert files(tmp_path) == []
    finally:
        await store.close()


@pytest.mark.postgres
async def test_a_restore_that_fails_puts_back_what_was(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is sound by its table of contents, but of tables that this gated does not know."""
    store = await Store.open(postgres_url)
    await fill(store)
    await store.backup(tmp_path / "good")
    before = await store.read(content)
    await store.close()
    monkeypatch.setattr(backup_postgres, "revisions", lambda: ["0000"])
    with pytest.raises(BackupFailed, match="newer gated"):
        await restore(postgres_url, tmp_path / "good")
    monkeypatch.undo()
    store = await Store.open(postgres_url)
    assert await store.read(content) == before
    await store.close()
