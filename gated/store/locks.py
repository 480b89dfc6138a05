"""One daemon for one database: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from gated.store.records import StoreInUse, StoreUnusable


class Lock(ABC):
    """Held by the daemon; taken again with each new connection of the writer."""

    @abstractmethod
    def take(self, raw: Any) -> None:
        """Takes the lock, with the driver's connection where the lock lives in the database. Raises
        StoreInUse if another process holds it."""

    @abstractmethod
    def release(self) -> None:
        """Gives it back; harmless if it is not held."""


class FileLock(Lock):
    """A lock on a file beside the database. The file stays: removing it would let two processes lock two
    files of the same name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self, raw: Any = None) -> None:
        if self._file is not None:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"cannot open {self._path}: {error.strerror}") from error
        give_to_owner(self._path, self._path.parent)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise StoreInUse(
                f"{who} has the database open as the daemon ({self._path}); stop it first,"
                " for example with `systemctl stop gated`"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


_LINGERS_S = 1.0
"""The server may take so long to notice that the session of a daemon that has gone is over."""


class SessionLock(Lock):
    """An advisory lock of PostgreSQL, held by the session that writes: who cannot write holds no lock."""

    def __init__(self, key: int) -> None:
        self._key = key

    def take(self, raw: Any) -> None:
        end = time.monotonic() + _LINGERS_S
        while True:
            taken = raw.execute(f"SELECT pg_try_advisory_lock({self._key})").fetchone()[0]
            raw.commit()
            if taken:
                return
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            raise StoreInUse(
                "another daemon has this PostgreSQL database open; stop it first, for example with"
                " `systemctl stop gated` on the machine where it runs"
            )

    def release(self) -> None:
        """The session's end does it."""


def give_to_owner(path: Path, like: Path) -> None:
    """Where root works on gated's files (a restore, a command), they stay those of gated's user."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
