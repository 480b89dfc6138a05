"""The durable store as the rest of the daemon sees it: one object, used from one event loop.

What is awaited from `record`, `record_read`, `record_opening` and `write` is on disk. Reading happens in a
few threads, each on a snapshot, and never waits for the writer. Queries are plain functions over a
connection, in the modules beside this one; who passes them in is told in their names (`passes.get` ...).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gated.store import backup, encode, migrate
from gated.store.backend import READERS, Backend, Trouble, backend, writable
from gated.store.items import first_line
from gated.store.records import (
    NotReadable,
    OpeningRecord,
    OutboxRow,
    PassageRecord,
    ReadRecord,
    StoreInUse,
    StoreUnusable,
)
from gated.store.writer import Writer

T = TypeVar("T")


def utc_now() -> datetime:
    """The box's clock."""
    return datetime.now(UTC)


class Store:
    """Made by `open`, ended by `close`."""

    def __init__(self, found: Backend, writer: Writer) -> None:
        self._backend = found
        self._writer = writer
        self._engine: Engine = found.reading()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="gated-store-reader")
        self.outbox_ready = asyncio.Event()
        """Set when outbox rows were committed; whoever waits for it clears it before it looks."""
        self.on_outbox: Callable[[list[OutboxRow]], bool] | None = None
        """Offered the outbox rows of each transaction; False: not taken, `outbox_ready` is set for them."""
        self.on_batch: Callable[[int, float], None] | None = None
        """Called on the event loop after each transaction: how many records, and seconds."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        backups: Path | None = None,
        exclusive: bool = True,
        clock: Callable[[], datetime] = utc_now,
        patience_s: float = 2.0,
    ) -> Store:
        """Opens `sqlite:////path/to/file` or `postgresql://user@host/database`, and brings its tables up to
        date, with a backup in `backups` before (SQLite without `backups`: beside the database).

        `exclusive`: as the daemon, of which there is one for a database. `clock` stamps outbox rows.
        `patience_s`: how long a caller waits for a locked or lost database. Raises StoreInUse, and
        StoreUnusable with what to do.
        """
        found = backend(url)
        writer = Writer(
            found,
            lock=found.daemon_lock() if exclusive else None,
            clock=clock,
            patience_s=patience_s,
        )
        await asyncio.to_thread(_open, found, writer, backups, exclusive, clock)
        store = cls(found, writer)
        writer.start(store._committed)
        return store

    async def close(self) -> None:
        """Writes what is queued, then lets go of the database. Later writes raise NotRecorded."""
        await self._writer.stop()
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    async def record(self, record: PassageRecord) -> None:
        """Writes a passage with its alerts and messages. Raises AlreadyRecorded if its id is on disk,
        StaleDecision if a pass has changed since it was decided, and NotRecorded.

        After NotRecorded on PostgreSQL the record may be on disk all the same, if the connection was lost in
        the very commit; sent again it raises AlreadyRecorded then, so nothing is written or opened twice.
        """
        await self._writer.submit(encode.passage(record))

    async def record_read(self, record: ReadRecord) -> None:
        """Writes a read that made no passage; the same one again only counts. Raises NotRecorded."""
        await self._writer.submit(encode.read(record))

    def record_opening(self, record: OpeningRecord) -> asyncio.Future[None]:
        """Writes an opening as it stands now, over what was known under its id. Raises NotRecorded.

        One that is over is not waited for by any barrier: it goes along with the next transaction.
        """
        return self._writer.submit(encode.opening(record), later=record.finished_at is not None)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in the writer's next transaction, under a savepoint, and returns its result once that
        is on disk. What `work` raises is raised here, and nothing of it is written; so is NotRecorded.

        `work` runs in the writer's thread and holds up every passage: it must be quick and do no other I/O.
        It may be run again after a failure, so it must have no other effect. It must not commit.
        """
        return cast(T, await self._writer.submit(None, work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a thread, on one snapshot of what is on disk. Iterators over rows must be consumed
        within `work`. Raises NotReadable if the database cannot be read now."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as conn:
                try:
                    with conn.begin():
                        return work(conn)
                except BaseException:
                    # A cursor that was left half read would hold this connection to its old snapshot, and
                    # whoever gets it next would read the past.
                    conn.invalidate()
                    raise
        except (DBAPIError, PoolTimeout) as error:
            if isinstance(error, PoolTimeout) or self._backend.trouble(error) in (
                Trouble.LATER,
                Trouble.NOT_NOW,
            ):
                raise NotReadable(first_line(error)) from error
            raise

    async def backup(self, target: Path, *, overwrite: bool = False) -> None:
        """Copies the database to a file while writes go on: all of one moment, verified, mode 0600, there in
        whole or not at all. SQLite makes a database file, PostgreSQL an archive of pg_dump. Raises
        BackupFailed, also if `target` exists and is not to be overwritten."""
        await asyncio.to_thread(backup.make, self._backend, target, overwrite=overwrite)

    @property
    def depth(self) -> int:
        """How many records wait for the disk."""
        return self._writer.depth

    @property
    def last_error(self) -> str | None:
        """Why the last transaction failed; None since one has succeeded."""
        return self._writer.last_error

    def _committed(self, count: int, seconds: float, rows: list[OutboxRow]) -> None:
        if rows and (self.on_outbox is None or not self.on_outbox(rows)):
            self.outbox_ready.set()
        if self.on_batch is not None:
            self.on_batch(count, seconds)


def _open(
    found: Backend, writer: Writer, backups: Path | None, exclusive: bool, clock: Callable[[], datetime]
) -> None:
    """Connects, takes the lock, migrates. Blocks."""
    found.prepare()
    try:
        writer.open()
        found.check_settings(writer.raw)
        version, needed = migrate.pending(found)
        if needed and exclusive:
            _migrate(found, version, backups, clock)
        elif needed:
            _migrate_locked(found, version, backups, clock)
    except Exception as error:
        writer.close_unstarted()
        if not isinstance(error, (DBAPIError, *found.errors)):
            raise
        raise StoreUnusable(f"cannot open {found.shown}: {first_line(error)}; {found.advice}") from error


def _migrate_locked(
    found: Backend, version: str | None, backups: Path | None, clock: Callable[[], datetime]
) -> None:
    """For the command line: no daemon may run meanwhile."""
    lock: Any = found.daemon_lock()
    with writable(found) as conn:
        try:
            lock.take(conn.connection.driver_connection)
        except StoreInUse as error:
            raise StoreInUse(
                f"the database must be brought from version {version} to {migrate.head()}, and the daemon"
                " that is running is of the older one: restart it first"
            ) from error
        try:
            version, needed = migrate.pending(found)
            if needed:
                _migrate(found, version, backups, clock)
        finally:
            lock.release()


def _migrate(
    found: Backend, version: str | None, backups: Path | None, clock: Callable[[], datetime]
) -> None:
    folder = backups or found.beside
    if folder is None and version is not None:
        raise StoreUnusable("the tables must be brought up to date, and the backup before needs a folder: set"
                            " store.backups")  # fmt: skip
    migrate.upgrade(found, version, lambda file: backup.make(found, file), folder or Path(), clock())


async def restore(url: str, source: Path) -> Path | None:
    """Puts a backup in the place of the database, which is kept aside; returns where, None if there was
    none. Raises StoreInUse while a daemon holds the database, BackupFailed if `source` is no sound backup of
    gated; then nothing has changed."""
    return await asyncio.to_thread(backup.restore, backend(url), source, utc_now())
