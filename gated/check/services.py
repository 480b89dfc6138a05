"""Checks of what gated talks to besides devices: its database, its broker, and its own HTTP address.

Nothing is written or migrated: a check may run beside the daemon. Blocking calls run in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gated.check.results import Result, State
from gated.config import SiteConfig

_ENOUGH = 2 * 1024**3
_SCARCE = 200 * 1024**2
"""Bytes free: a village writes about 80 MB a day; below the second the next backup fails."""

_ANSWER = 16384
_LOCAL = ("127.", "::1", "localhost")


# --- the store --------------------------------------------------------------------------------------------


async def store(config: SiteConfig, timeout_s: float) -> list[Result]:
    """Whether the database can be opened and written, has room, and is of this version."""
    path = config.store.path
    check = _sqlite(path) if path is not None else _postgresql(config.store.url, timeout_s)
    return await asyncio.to_thread(lambda: list(check))


def _sqlite(path: Path) -> Iterator[Result]:
    folder = path.parent
    if not folder.is_dir():
        hint = f"mkdir -p {folder} and give it to the user who runs gated"
        yield Result("store", str(path), State.MISCONFIGURED, f"the folder {folder} does not exist", hint)
        return
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        hint = f"chown -R gated: {folder} (SQLite also writes files beside the database)"
        yield Result("store", str(path), State.REFUSED, "this user may not write there", hint)
        return
    yield from _space(folder)
    if not path.exists():
        yield Result("store", str(path), State.OK, "is new: it will be created at the first start")
        return
    try:
        with _closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=2.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            found = connection.execute(
                "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if found else None
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            hint = f"find who holds it: fuser {path}"
            yield Result("store", str(path), State.FAILED, "is locked by another program for over 2 s", hint)
        else:
            yield Result(
                "store", str(path), State.FAILED, f"cannot be used: {error}", "gated restore FILE -c ..."
            )
        return
    except sqlite3.DatabaseError as error:
        hint = "restore the last backup: gated restore FILE -c ..."
        yield Result("store", str(path), State.FAILED, f"is damaged or no SQLite database: {error}", hint)
        return
    yield _revision(str(path), row[0] if row else None)


def _closing(connection: sqlite3.Connection) -> contextlib.closing[sqlite3.Connection]:
    connection.isolation_level = None
    return contextlib.closing(connection)


def _space(folder: Path) -> Iterator[Result]:
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1024**3:.1f} GiB free on the disk of {folder}"
    hint = "make room: passages cannot be recorded, and so no barrier opens, on a full disk"
    if free < _SCARCE:
        yield Result("store", "disk", State.FAILED, shown, hint)
    elif free < _ENOUGH:
        yield Result("store", "disk", State.WARNING, shown, hint)
    else:
        yield Result("store", "disk", State.OK, shown)


def _postgresql(url: str, timeout_s: float) -> Iterator[Result]:
    import psycopg

    shown = url.partition("://")[2].rpartition("@")[2]
    target = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        with psycopg.connect(target, connect_timeout=max(2, int(timeout_s))) as connection:
            row = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            known = row is not None and row[0] is not None
            version = (
                connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
            )
            may = connection.execute(
                "SELECT has_schema_privilege(current_schema(), 'CREATE'), pg_is_in_recovery()"
            ).fetchone()
    except psycopg.OperationalError as error:
        yield _postgresql_error(shown, str(error).strip())
        return
    except psycopg.Error as error:
        yield Result("store", shown, State.FAILED, str(error).strip(), "look at PostgreSQL's own log")
        return
    if may is None or not may[0] or may[1]:
        hint = "give the user CREATE on the schema, and name the primary server"
        yield Result("store", shown, State.REFUSED, "the user may not create tables there", hint)
        return
    yield _revision(shown, version[0] if version else None)


def _postgresql_error(shown: str, said: str) -> Result:
    first = said.splitlines()[0] if said else "no reason given"
    if "authentication failed" in said or "no password supplied" in said or "pg_hba.conf" in said:
        hint = "check the user in store.url, its password in ~/.pgpass or PGPASSWORD, and pg_hba.conf"
        return Result("store", shown, State.REFUSED, first, hint)
    if "does not exist" in said or "could not translate host name" in said or "resolve host" in said:
        return Result("store", shown, State.MISCONFIGURED, first, "createdb, or correct store.url")
    return Result("store", shown, State.OFFLINE, first, "is PostgreSQL running, and reachable from here?")


def _revision(subject: str, found: str | None) -> Result:
    from gated.store.migrate import head, revisions

    known, newest = revisions(), head()
    if found is None:
        return Result("store", subject, State.OK, "is empty: its tables will be created at the first start")
    if found == newest:
        return Result("store", subject, State.OK, f"can be written, version {found}")
    if found in known:
        message = f"is of version {found}; it will be brought to {newest} at the next start, after a backup"
        return Result("store", subject, State.OK, message)
    hint = "it was written by a newer gated: install that version again, or restore a backup of this one"
    return Result("store", subject, State.MISCONFIGURED, f"is of the unknown version {found}", hint)


# --- the broker -------------------------------------------------------------------------------------------


async def broker(config: SiteConfig, timeout_s: float) -> list[Result]:
    """Whether the broker takes us, with our user and over TLS."""
    from gated.mqtt.client import probe
    from gated.mqtt.endpoint import BrokerRefused, LinkError

    mqtt = config.mqtt
    subject = f"{mqtt.host}:{mqtt.port}"
    try:
        async with asyncio.timeout(timeout_s):
            version = await probe(mqtt, f"gated-check-{os.getpid()}")
    except BrokerRefused as error:
        if error.kind in {"tls", "config"}:
            hint = "correct the section mqtt: of the configuration, or the file that it names"
            return [Result("broker", subject, State.MISCONFIGURED, str(error), hint)]
        hint = "check mqtt.username and its password, and the broker's own list of users and its log"
        return [Result("broker", subject, State.REFUSED, str(error), hint)]
    except LinkError as error:
        if "name" in str(error) and "not known" in str(error):
            return [Result("broker", subject, State.MISCONFIGURED, str(error), "correct mqtt.host")]
        hint = "is it running? systemctl status mosquitto; passages wait in the outbox until it is back"
        return [Result("broker", subject, State.OFFLINE, str(error), hint)]
    except TimeoutError:
        hint = "is this the broker's MQTT port (8883 with TLS, 1883 without)?"
        return [Result("broker", subject, State.OFFLINE, f"no answer within {timeout_s:.0f} s", hint)]
    found = [Result("broker", subject, State.OK, f"accepts us, MQTT {version}")]
    if mqtt.tls is None and mqtt.username is not None and not mqtt.host.startswith(_LOCAL):
        hint = "give mqtt.tls, or run the broker on this machine"
        message = "the password travels in clear over the network"
        found.append(Result("broker", subject, State.WARNING, message, hint))
    return found


# --- our own HTTP address ---------------------------------------------------------------------------------


async def http(config: SiteConfig, timeout_s: float) -> list[Result]:
    """Whether the API's port is free, or held by gated itself."""
    host, port = config.api.host, config.api.port
    subject = f"{host}:{port}"
    error = await asyncio.to_thread(_bind, host, port)
    if error is None:
        found = [Result("http", subject, State.OK, "is free")]
    elif error.errno == errno.EADDRINUSE:
        if not await _is_gated(host, port, timeout_s):
            hint = f"find out who: ss -ltnp 'sport = :{port}'; or change api.port"
            return [Result("http", subject, State.MISCONFIGURED, "another program has this port", hint)]
        found = [Result("http", subject, State.OK, "gated is running there")]
    elif error.errno == errno.EACCES:
        message, hint = "this user may not listen on so low a port", "choose api.port above 1023"
        return [Result("http", subject, State.MISCONFIGURED, message, hint)]
    else:
        hint = "api.host must be an address of this machine: see `ip address`, or use 127.0.0.1 or 0.0.0.0"
        return [Result("http", subject, State.MISCONFIGURED, error.strerror or str(error), hint)]
    if not host.startswith(_LOCAL):
        message = "is reachable from the network without TLS"
        hint = "put a proxy with TLS before it (docs/install.md), or keep it inside the cameras' own network"
        found.append(Result("http", subject, State.WARNING, message, hint))
    return found


def _bind(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


async def _is_gated(host: str, port: int, timeout_s: float) -> bool:
    """Whether `GET /healthz` there is answered as gated answers it."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(target, port)
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while (chunk := await reader.read(4096)) and len(answer) < _ANSWER:
                answer += chunk
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200") and b'"alive"' in answer
