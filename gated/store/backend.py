"""What differs between the databases: how they are opened, locked, and what their errors mean.

`backend(url)` chooses. Engines are made with the safety settings on every connection; nothing is read or
written here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from gated.store.locks import FileLock, Lock, SessionLock, give_to_owner
from gated.store.records import StoreUnusable

BUSY_MS = 250
"""How long one attempt waits for another process that is writing."""
READERS = 4
PAGE_BYTES = 2048
WAL_PAGES = 8000
"""At so many pages SQLite empties the -wal within a commit: under a load that leaves no pause for `tidy`."""
WAL_BYTES = 64 * 2**20
"""A -wal that grew during a long backup is cut back to this."""
# the driver looks for an adapter of every None, and fails to find one in the time of writing three columns
sqlite3.register_adapter(type(None), lambda none: none)
# any two numbers that no other program on the same PostgreSQL database is likely to use
_WRITERS, _DAEMON = 0x6761746564_01, 0x6761746564_02


class Trouble(Enum):
    """What an error of a database means for who waits."""

    LATER = "later"  # locked, connection lost: worth another try at once
    NOT_NOW = "not now"  # disk full, I/O error: no use before somebody has done something
    DUPLICATE = "duplicate"
    OTHER = "other"  # the statement or its values


class Backend(ABC):
    """One database. `url` without its password may be shown."""

    name: str
    advice: str
    """What an operator looks at when it cannot be opened."""
    errors: tuple[type[Exception], ...]
    """What the driver raises."""
    beside: Path | None = None
    """Where files about it go if nobody says."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.shown = url.render_as_string(hide_password=True)

    @abstractmethod
    def prepare(self) -> None:
        """Makes what must be there before the first connection."""

    @abstractmethod
    def check_settings(self, raw: Any) -> None:
        """Looks at a connection of the driver. Raises StoreUnusable if what is written there would not be
        safe."""

    @abstractmethod
    def writing(self) -> Engine:
        """Connections that write; they are not pooled."""

    @abstractmethod
    def reading(self) -> Engine:
        """Pooled connections whose transactions see one state of the database and cannot write."""

    @abstractmethod
    def daemon_lock(self) -> Lock:
        """The lock that the daemon holds as long as it runs."""

    tidy_after: int | None = None
    """After so many records the writer calls `tidy`, once nobody waits; None: never."""

    def tidy(self, cursor: Any) -> None:  # noqa: B027 - nothing, where there is nothing to do
        """Work that can be done between transactions, so that it need not be done within one."""

    @abstractmethod
    def begin(self, cursor: Any) -> None:
        """Begins a transaction of the driver's connection."""

    @abstractmethod
    def lock_writers(self, cursor: Any) -> None:
        """Within a transaction: from here on no other process writes until it ends."""

    @abstractmethod
    def trouble(self, error: BaseException) -> Trouble:
        """What an error means; of SQLAlchemy or the driver."""

    @abstractmethod
    def keeps_connection(self, error: BaseException) -> bool:
        """Whether the connection is as good as before: another process was in the way, no more."""


class Sqlite(Backend):
    """One file in WAL mode, synced at each commit."""

    name = "sqlite"
    advice = "look at the file and its disk, or restore a backup with `gated restore FILE`"
    errors = (sqlite3.Error,)

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise StoreUnusable("the store needs a file: write sqlite:////var/lib/gated/gated.db")
        self.path = Path(url.database)
        self.beside = self.path.parent

    def prepare(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its -wal and -shm the mode and owner of the database
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
                give_to_owner(self.path, self.path.parent)
        except OSError as error:
            raise StoreUnusable(
                f"cannot open {self.path}: {error.strerror}; gated's user needs to write to that folder"
            ) from error

    def check_settings(self, raw: Any) -> None:
        if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            raise StoreUnusable(f"{self.path} cannot be in WAL mode there; put it on a local disk")

    def writing(self) -> Engine:
        engine = self._engine(BUSY_MS, poolclass=NullPool)
        event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    def reading(self) -> Engine:
        engine = self._engine(2000, pool_size=READERS, max_overflow=0)
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))
        event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN"))
        return engine

    def _engine(self, busy_ms: int, **pool: Any) -> Engine:
        url = self.url.set(drivername="sqlite+pysqlite")
        engine = create_engine(
            url, connect_args={"timeout": busy_ms / 1000, "check_same_thread": False}, **pool
        )

        @event.listens_for(engine, "connect")
        def _(raw: sqlite3.Connection, _record: object) -> None:
            # transactions are begun by us (the driver would begin them too late for savepoints)
            raw.isolation_level = None
            # before the first table: half the usual size, for most of what one passage costs is the pages
            # that it touches, each written to the -wal in whole
            raw.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "foreign_keys = ON",
                f"wal_autocheckpoint = {WAL_PAGES}",
                f"journal_size_limit = {WAL_BYTES}",
            ):
                raw.execute(f"PRAGMA {pragma}")

        return engine

    def daemon_lock(self) -> Lock:
        return FileLock(self.path.with_name(f"{self.path.name}.lock"))

    tidy_after = 400

    def tidy(self, cursor: Any) -> None:
        """Moves what is in the -wal into the database, which SQLite would do within some passage's commit."""
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def begin(self, cursor: Any) -> None:
        cursor.execute("BEGIN IMMEDIATE")

    def lock_writers(self, cursor: Any) -> None:
        """BEGIN IMMEDIATE has done it."""

    def trouble(self, error: BaseException) -> Trouble:
        error = _driver_error(error)
        if not isinstance(error, sqlite3.Error):
            return Trouble.OTHER
        if isinstance(error, sqlite3.ProgrammingError):
            return Trouble.LATER if "closed database" in str(error) else Trouble.OTHER
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _UNIQUE:
            return Trouble.DUPLICATE
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Trouble.LATER
        return Trouble.NOT_NOW if code & 0xFF in _BROKEN else Trouble.OTHER

    def keeps_connection(self, error: BaseException) -> bool:
        code = getattr(_driver_error(error), "sqlite_errorcode", 0)
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
_BROKEN = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PROTOCOL,
)


class Postgres(Backend):
    """A database of a PostgreSQL server, through psycopg 3."""

    name = "postgresql"
    advice = "is PostgreSQL running, does the database exist, may this user log in and create tables there?"

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        import psycopg

        self.errors = (psycopg.Error,)

    def prepare(self) -> None:
        """The database must exist."""

    def check_settings(self, raw: Any) -> None:
        recovering = raw.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        raw.commit()
        if recovering:
            raise StoreUnusable(f"{self.shown} is a standby and cannot be written: name the primary")

    def writing(self) -> Engine:
        engine = self._engine(poolclass=NullPool)

        @event.listens_for(engine, "connect")
        def _(raw: Any, _record: object) -> None:
            raw.execute(f"SET lock_timeout = {BUSY_MS}")
            # a server may be set to acknowledge before it has written; stricter settings are left alone
            raw.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
            raw.commit()

        return engine

    def reading(self) -> Engine:
        engine = self._engine(pool_size=READERS, max_overflow=0, pool_pre_ping=True, pool_timeout=5)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _engine(self, **pool: Any) -> Engine:
        # a server that has vanished is noticed within seconds
        alive = {
            "connect_timeout": 3,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 5000,
            "application_name": "gated",
        }
        url = self.url.set(drivername="postgresql+psycopg")
        mine = {name: value for name, value in alive.items() if name not in url.query}
        return create_engine(url, paramstyle="format", connect_args=mine, **pool)

    def daemon_lock(self) -> Lock:
        return SessionLock(_DAEMON)

    def begin(self, cursor: Any) -> None:
        """The driver begins with the first statement."""

    def lock_writers(self, cursor: Any) -> None:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_WRITERS})")

    def trouble(self, error: BaseException) -> Trouble:
        import psycopg

        error = _driver_error(error)
        if not isinstance(error, psycopg.Error):
            return Trouble.OTHER
        state = error.sqlstate or ""
        if state == "23505":
            return Trouble.DUPLICATE
        if state in ("53100", "53200", "XX001") or state[:2] in ("58", "25"):
            # disk full, out of memory, damaged; I/O error; read-only
            return Trouble.NOT_NOW
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Trouble.LATER
        return Trouble.OTHER

    def keeps_connection(self, error: BaseException) -> bool:
        return getattr(_driver_error(error), "sqlstate", None) in ("55P03", "40001", "40P01")


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def backend(url: str) -> Backend:
    """Chooses by the scheme of the URL. Raises StoreUnusable for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnusable(f"store.url is no database URL; write {_EXAMPLES}") from error
    family = parsed.drivername.partition("+")[0]
    if family == "sqlite":
        return Sqlite(parsed)
    if family in ("postgresql", "postgres"):
        return Postgres(parsed)
    raise StoreUnusable(f"gated cannot keep its data in {family}; write {_EXAMPLES}")


_EXAMPLES = "sqlite:////var/lib/gated/gated.db or postgresql://user@host/database"


@contextlib.contextmanager
def writable(found: Backend) -> Iterator[Connection]:
    """A connection for start-up, restore and tools; not in a transaction yet."""
    engine = found.writing()
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()
