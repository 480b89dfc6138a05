"""Copying, checking and replacing a SQLite database."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from gated.store.backend import Sqlite
from gated.store.locks import give_to_owner
from gated.store.migrate import head, revisions
from gated.store.records import BackupFailed, StoreInUse

APPLICATION = 0x67617465
"""`PRAGMA application_id` of gated's databases."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, timeout=2.0, isolation_level=None)) as raw:
        yield raw


def copy(source: Path, target: Path) -> None:
    """Copies one moment of a database, while others write to it. In one step: a copy in many steps begins
    anew whenever somebody has written, and so may never end. Raises BackupFailed."""
    try:
        with _opened(source) as old, _opened(target) as new:
            old.backup(new, pages=-1)
            # a single file, without a -wal beside it
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupFailed(f"{source} was not copied: {error}") from error


def verify(path: Path) -> str:
    """Reads all of a backup; returns the version of its tables. Raises BackupFailed if it is damaged or not
    gated's."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
            found = [row[0] for row in raw.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise BackupFailed(f"{path} is damaged: {'; '.join(found)}")
            if raw.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                raise BackupFailed(f"{path} is a database, but not of gated")
            version = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise BackupFailed(f"{path} is no sound backup: {error}") from error
    if version is None:
        raise BackupFailed(f"{path} is a backup of an empty database")
    return str(version[0])


def restore(found: Sqlite, source: Path, now: datetime) -> Path | None:
    """See `gated.store.backup.restore`."""
    path = found.path
    if path.exists() and path.samefile(source):
        raise BackupFailed(f"{source} is the database itself")
    version = verify(source)
    if version not in revisions():
        raise BackupFailed(
            f"{source} has version {version}, of a newer gated; this one knows versions up to {head()}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = found.daemon_lock()
    lock.take(None)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.restoring")
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        give_to_owner(temporary, path if path.exists() else path.parent)
        copy(source, temporary)
        verify(temporary)
        _sync(temporary)
        aside = _put_aside(path, now) if path.exists() else None
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise BackupFailed(f"{path} was not restored: {error.strerror or error}") from error
    else:
        return aside
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        lock.release()


def _put_aside(path: Path, now: datetime) -> Path:
    """Gives the database a second name, with all that is in its -wal. Raises StoreInUse."""
    aside = path.with_name(f"{path.name}.before-restore-{now:%Y%m%dT%H%M%S%fZ}")
    wal, wal_aside = (one.with_name(f"{one.name}-wal") for one in (path, aside))
    if wal.exists():
        # SQLite deletes what it does not understand, and a damaged database may be saved by its -wal
        _link(wal, wal_aside)
    try:
        with _opened(path) as raw:
            # takes the -wal in; it needs the database for itself
            raw.execute("PRAGMA journal_mode = DELETE")
        wal_aside.unlink(missing_ok=True)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            wal_aside.unlink(missing_ok=True)
            raise StoreInUse(f"another process has {path} open; end it first (`fuser {path}`)") from error
        # damaged: all is kept as it is, and nothing stays that would be taken for the restored one's
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    _link(path, aside)
    return aside


def _link(path: Path, other: Path) -> None:
    try:
        other.hardlink_to(path)
    except OSError:  # a file system without links
        shutil.copy2(path, other)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
