"""A private PostgreSQL cluster on a loopback port: started, stopped and killed by tests, gone afterwards.

Found in PATH or /usr/lib/postgresql/*/bin. It refuses to run as root, so there it runs as `postgres` or
`nobody`. Where it is missing, tests are skipped with the reason printed, or fail if GATED_REQUIRE_PEERS=1.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql

from tests.peers.mosquitto import free_port


def find() -> Path | None:
    """The folder of the server's programs; the newest where there are several."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    if (initdb := shutil.which("initdb")) is not None:
        folders.append(Path(initdb).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def require() -> Path:
    """The folder of the server's programs; skips or fails the test where they are missing."""
    found = find()
    if found is not None:
        return found
    reason = "PostgreSQL is not installed: apt-get install postgresql"
    if os.environ.get("GATED_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Postgres:
    """One cluster. Its data is not synced: it survives the death of the server, not of the machine."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # outside of pytest's folders, which only their owner may enter
        self.folder = Path(tempfile.mkdtemp(prefix="gated-pg-"))
        self.port = free_port()
        self._user = _user()
        self._numbers = itertools.count()
        if self._user is not None:
            shutil.chown(self.folder, self._user.pw_uid, self._user.pw_gid)

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", "--pgdata", str(self.folder / "data"), "--username", "gated", "--auth", "trust",
                "--encoding", "UTF8", "--no-locale", "--no-sync",
            )  # fmt: skip
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = (
            f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
            " -c max_connections=60 -c shared_buffers=16MB"
        )
        log = str(self.folder / "log")
        self._control("start", "--wait", "--log", log, "--options", settings)

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` ends its sessions, `immediate` is a crash."""
        self._control("stop", "--wait", "--mode", mode, check=False)

    def url(self, database: str = "postgres") -> str:
        """For the store, and for psycopg."""
        return f"postgresql://gated@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """A new database; returns its name."""
        name = f"test{next(self._numbers)}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name

    def drop_database(self, name: str) -> None:
        """Drops a database, with the sessions in it."""
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def end_sessions(self, database: str) -> int:
        """Breaks the connections to a database; returns how many there were."""
        rows = self.execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(database)
            )
        )
        return len(rows)

    def execute(self, statement: sql.Composable) -> list[Any]:
        """Runs one statement as the superuser."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    def _control(self, *arguments: str, check: bool = True) -> None:
        self._run("pg_ctl", *arguments, "--pgdata", str(self.folder / "data"), check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        who: dict[str, Any] = {}
        if self._user is not None:
            who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        output = self.folder / "output"  # not a pipe: the server would keep it open
        with output.open("wb") as file:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
                timeout=60,
                check=False,
                **who,
            )
        if check and done.returncode != 0:
            log = self.folder / "log"
            said = output.read_text(errors="replace") + (log.read_text() if log.exists() else "")
            raise RuntimeError(f"{program} failed:\n{said[-3000:]}")


def _user() -> pwd.struct_passwd | None:
    """Whom to run as; None: as we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
