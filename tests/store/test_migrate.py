"""The tables are those of the scripts; an older database is brought up, after a backup."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gated.store import BackupFailed, Store, StoreInUse, StoreUnusable, backup, migrate, passages, restore
from gated.store.tables import metadata
from tests.peers.postgres import find
from tests.store import make

OWN = migrate.SCRIPTS

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("passes") as batch:
        batch.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="green"))
    {more}
"""


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This gated becomes one that has a further script."""
    scripts = tmp_path / "scripts"
    shutil.copytree(migrate.SCRIPTS, scripts)
    (scripts / "versions" / "9999_colour.py").write_text(NEXT.format(more=""))
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    if (programs := find()) is not None:
        monkeypatch.setenv("PATH", str(programs), prepend=":")
    return scripts


async def test_the_tables_are_those_of_the_scripts(store: Store) -> None:
    def compare(conn: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(conn), metadata)

    assert await store.read(compare) == []


def test_the_scripts_are_in_a_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == migrate.revisions()
    assert scripts.get_heads() == [migrate.head()]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture
async def old(url: str, tmp_path: Path) -> Path:
    """The database of this gated, with a passage, and a folder for backups."""
    store = await Store.open(url)
    await store.record(make.record(1))
    await store.close()
    return tmp_path / "backups"


async def test_an_older_database_is_backed_up_and_brought_up(
    url: str, old: Path, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(url, backups=old)
    assert await store.read(migrate.current) == "9999"
    assert await store.read(passages.count) == 1
    await store.record(make.record(2))
    await store.close()
    await (await Store.open(url, backups=old)).close()
    [made] = files(old)  # once is enough
    assert made.name.startswith("before-0003-to-9999-")
    # the older gated is put back, with its data
    monkeypatch.setattr(migrate, "SCRIPTS", OWN)
    with pytest.raises(StoreUnusable, match="a newer gated"):
        await Store.open(url)
    await restore(url, made)
    store = await Store.open(url)
    assert await store.read(migrate.current) == "0003"
    assert await store.read(passages.count) == 1
    await store.close()


async def test_a_script_that_fails_changes_nothing(url: str, old: Path, next_version: Path) -> None:
    script = next_version / "versions" / "9999_colour.py"
    script.write_text(NEXT.format(more="raise RuntimeError('half way')"))
    with pytest.raises(RuntimeError, match="half way"):
        await Store.open(url, backups=old)
    shutil.rmtree(script.parent / "__pycache__", ignore_errors=True)
    script.unlink()
    store = await Store.open(url, backups=old)
    assert await store.read(migrate.current) == "0003"
    await store.record(make.record(2))
    await store.close()


async def test_without_a_backup_nothing_is_migrated(
    url: str, old: Path, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BackupFailed("no room")

    monkeypatch.setattr(backup, "make", fail)
    with pytest.raises(BackupFailed):
        await Store.open(url, backups=old)
    shutil.rmtree(next_version / "versions" / "__pycache__", ignore_errors=True)
    (next_version / "versions" / "9999_colour.py").unlink()
    store = await Store.open(url)
    assert await store.read(migrate.current) == "0003"
    await store.close()


async def test_a_command_does_not_migrate_under_a_daemon(
    url: str, tmp_path: Path, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "SCRIPTS", OWN)
        daemon = await Store.open(url)
    with pytest.raises(StoreInUse, match="restart it"):
        await Store.open(url, exclusive=False, backups=tmp_path / "backups")
    await daemon.record(make.record(1))
    await daemon.close()
    tool = await Store.open(url, exclusive=False, backups=tmp_path / "backups")
    assert await tool.read(migrate.current) == "9999"
    await tool.close()


async def test_a_newer_database_is_refused(url: str) -> None:
    store = await Store.open(url)
    await store.write(
        lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'") and None
    )
    await store.close()
    with pytest.raises(StoreUnusable, match="a newer gated"):
        await Store.open(url)


def test_a_start_without_migration_does_not_load_alembic(sqlite_url: str) -> None:
    script = (
        "import asyncio, sys; from gated.store import Store\n"
        "async def main():\n"
        f"    await (await Store.open({sqlite_url!r})).close()\n"
        "asyncio.run(main()); sys.exit('alembic' in sys.modules or 'psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
