"""Backups while writes go on, and restoring them: whole and verified, or not at all. Blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from gated.store import backup_postgres, backup_sqlite
from gated.store.backend import Backend, Postgres, Sqlite
from gated.store.records import BackupFailed


def make(found: Backend, target: Path, *, overwrite: bool = False) -> None:
    """Copies a database to a file: all of one moment, verified, synced, mode 0600. Raises BackupFailed, also
    if `target` is there and not to be overwritten; then it is as it was."""
    with _new_file(target, overwrite=overwrite) as temporary:
        if isinstance(found, Sqlite):
            backup_sqlite.copy(found.path, temporary)
            backup_sqlite.verify(temporary)
        elif isinstance(found, Postgres):
            backup_postgres.dump(found.url, temporary)


def restore(found: Backend, source: Path, now: datetime) -> Path | None:
    """Puts a backup in the place of the database; returns where what was there before is, None if nothing
    was. Raises BackupFailed, StoreInUse; then nothing has changed."""
    if not source.is_file():
        raise BackupFailed(f"there is no file {source}")
    if isinstance(found, Sqlite):
        return backup_sqlite.restore(found, source, now)
    assert isinstance(found, Postgres)  # noqa: S101 - there are two
    return backup_postgres.restore(found, source, now, lambda target: make(found, target))


@contextlib.contextmanager
def _new_file(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place, synced, when the block ends well."""
    if target.exists() and not overwrite:
        raise BackupFailed(
            f"{target} is there already; choose another name, or say that it is to be replaced"
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        sync(temporary)
        if overwrite:
            temporary.replace(target)
        else:
            _take_name(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise BackupFailed(f"{target} was not written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, target: Path) -> None:
    """Gives the file its name, unless somebody has taken that meanwhile."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError as error:
        raise BackupFailed(f"{target} is there already") from error
    except OSError:  # a file system without links
        temporary.rename(target)


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
