"""Brings a database to the tables of this version, with a backup before; the scripts are in `migrations/`.

Alembic is imported only when there is something to do: it would cost every start a fifth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect

from gated.store.backend import Backend, writable
from gated.store.records import StoreUnusable

log = structlog.get_logger()

SCRIPTS = Path(__file__).with_name("migrations")


def revisions() -> list[str]:
    """All versions of the tables, oldest first: the numbers before the names of the scripts."""
    return sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """The version that this gated works with."""
    return revisions()[-1]


def current(conn: Connection) -> str | None:
    """The version of a database; None for an empty one. Raises StoreUnusable if others' tables are in it."""
    names = set(inspect(conn).get_table_names())
    if "alembic_version" not in names:
        if names & {"passages", "passes"}:
            raise StoreUnusable(
                "the database holds tables that gated did not make; give gated one of its own"
            )
        return None
    found: str | None = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def pending(found: Backend) -> tuple[str | None, bool]:
    """The version of the database, and whether it must be brought up. Raises StoreUnusable for one that a
    newer gated wrote."""
    with writable(found) as conn:
        version = current(conn)
    if version is not None and version not in revisions():
        raise StoreUnusable(
            f"the database has version {version}, which a newer gated wrote; install that version again, or"
            f" restore a backup of version {head()} or older"
        )
    return version, version != head()


def upgrade(
    found: Backend,
    version: str | None,
    make_backup: Callable[[Path], None],
    folder: Path,
    now: datetime,
) -> None:
    """Runs the scripts from `version` on, in one transaction. `make_backup` is called before, with a file in
    `folder`, unless the database is empty. Nobody else may be at work on it. Raises what these raise; then
    the database is as it was."""
    target = head()
    if version is not None:
        file = folder / f"before-{version}-to-{target}-{now:%Y%m%dT%H%M%S%fZ}.backup"
        make_backup(file)
        log.info("store_backed_up", file=str(file), version=version)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with writable(found) as conn:
        if found.name == "sqlite":
            # a table that is rebuilt must not take with it the rows that refer to it
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
            conn.rollback()
        with conn.begin():
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
            if found.name == "sqlite" and (broken := conn.exec_driver_sql("PRAGMA foreign_key_check").all()):
                raise StoreUnusable(
                    f"bringing the database to version {target} would break {len(broken)} rows"
                )
    log.info("store_migrated", before=version, now=target)
