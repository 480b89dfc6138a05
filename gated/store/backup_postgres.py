"""Dumping and restoring a PostgreSQL database with the server's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from gated.store.backend import Postgres, writable
from gated.store.migrate import head, revisions
from gated.store.records import BackupFailed
from gated.store.tables import metadata


def dump(url: URL, target: Path) -> None:
    """Writes an archive of one moment, and reads its table of contents back. Raises BackupFailed."""
    _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", "--file", str(target))
    _check(target)


def _check(archive: Path) -> None:
    """Raises BackupFailed if a file is no archive of gated's tables."""
    contents = _run("pg_restore", None, "--list", str(archive))
    if " alembic_version " not in contents or " passages " not in contents:
        raise BackupFailed(f"{archive} is an archive, but not of gated")


def restore(found: Postgres, source: Path, now: datetime, make: Callable[[Path], None]) -> Path | None:
    """See `gated.store.backup.restore`. `make` makes a backup: what was there is kept beside `source`."""
    _check(source)
    lock = found.daemon_lock()
    aside: Path | None = None
    with writable(found) as holder:
        lock.take(holder.connection.driver_connection)
        holder.rollback()
        if _tables(found):
            aside = source.with_name(f"{source.name}.before-restore-{now:%Y%m%dT%H%M%S%fZ}")
            make(aside)
        try:
            _replace(found, source)
            version = _version(found)
            if version not in revisions():
                raise BackupFailed(
                    f"{source} has version {version}, of a newer gated; this one knows up to {head()}"
                )
        except BackupFailed:
            if aside is not None:
                _replace(found, aside)
            else:
                _drop(found)
            raise
    return aside


def _replace(found: Postgres, archive: Path) -> None:
    _drop(found)
    _run(
        "pg_restore",
        found.url,
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        str(archive),
    )


def _tables(found: Postgres) -> set[str]:
    with writable(found) as conn:
        return {*metadata.tables, "alembic_version"} & set(inspect(conn).get_table_names())


def _drop(found: Postgres) -> None:
    with writable(found) as conn, conn.begin():
        for name in sorted(_tables(found)):
            conn.exec_driver_sql(f'DROP TABLE "{name}" CASCADE')


def _version(found: Postgres) -> str | None:
    with writable(found) as conn:
        version: str | None = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return version


def _run(tool: str, url: URL | None, *arguments: str) -> str:
    """Runs a tool of PostgreSQL; the password goes through the environment, where `ps` does not show it."""
    program = shutil.which(tool)
    if program is None:
        raise BackupFailed(f"{tool} is not installed: apt-get install postgresql-client")
    environment = dict(os.environ)
    command = [program, *arguments]
    if url is not None:
        if url.password is not None:
            environment["PGPASSWORD"] = str(url.password)
        address = url.set(drivername="postgresql", password=None)
        command += ["--dbname", address.render_as_string(hide_password=False)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise BackupFailed(f"{tool} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout
