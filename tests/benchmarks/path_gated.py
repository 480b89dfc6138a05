"""gated as the benchmark `path` runs it: a configuration of 24 lanes, passes in the store, `gated run`."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Connection

from gated.domain import Credential, CredentialKind, Holder, Pass
from gated.ids import new_id
from gated.store import Store, passes
from tests.benchmarks.path_world import CAMERAS, end, plates, wait_for_port
from tests.config.ports import free_port


@dataclass(frozen=True, slots=True)
class Gated:
    """A running daemon."""

    port: int
    pid: int
    database: Path
    started: float  # seconds from the command to the first answer

    def granted(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
            count: int = connection.execute(
                "SELECT count(*) FROM passages WHERE outcome = 'grant'"
            ).fetchone()[0]
            return count


def configuration(folder: Path, port: int, mqtt_port: int) -> str:
    """gated.yaml of the benchmark; JSON is YAML."""
    return json.dumps(
        {
            "site": {"id": "bench", "name": "bench", "timezone": "Asia/Shanghai"},
            "store": {"url": f"sqlite:///{folder / 'gated.db'}"},
            "api": {"host": "127.0.0.1", "port": port},
            "mqtt": {"host": "127.0.0.1", "port": mqtt_port},
            "log": {"level": "warning"},
            "defaults": {"lane": {"cool_down_ms": 0}},
            "grids": [{"id": "g01", "name": "one"}],
            "entrances": [{"id": "main", "name": "main", "grid": "g01"}],
            "lanes": [
                {
                    "id": camera.lane,
                    "entrance": "main",
                    "direction": "in",
                    "cameras": [camera.id],
                    "barrier": {"device": camera.id},
                }
                for camera in CAMERAS
            ],
            "devices": [
                {"id": camera.id, "type": "vzenith", "token": {"file": str(folder / f"{camera.id}.token")}}
                for camera in CAMERAS
            ],
        },
        indent=1,
    )


async def fill(database: Path, count: int) -> None:
    """Puts `count` passes into a new store, each with one plate, valid at every entrance."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for results
    store = await Store.open(f"sqlite:///{database}")
    now = datetime.now(UTC)
    try:
        numbered = list(enumerate(plates(count)))
        for start in range(0, count, 10_000):
            await store.write(partial(_insert, part=numbered[start : start + 10_000], now=now))
    finally:
        await store.close()


def _insert(connection: Connection, part: list[tuple[int, str]], now: datetime) -> None:
    passes.insert_many(connection, [_pass(number, plate, now) for number, plate in part])


def _pass(number: int, plate: str, now: datetime) -> Pass:
    return Pass(
        id=new_id(now - timedelta(days=30) + timedelta(milliseconds=number)),
        kind="resident",
        holder=Holder(name=f"holder {number}"),
        credentials=(Credential(CredentialKind.PLATE, plate),),
        entrances=None,
        valid_from=now - timedelta(days=30),
        valid_until=now + timedelta(days=300),
        created_at=now,
        updated_at=now,
    )


@contextmanager
def running(folder: Path, count: int, mqtt_port: int) -> Iterator[Gated]:
    """`gated run` with `count` passes in `folder`, which must be on a real disk."""
    folder.mkdir(parents=True)
    database = folder / "gated.db"
    asyncio.run(fill(database, count))
    for camera in CAMERAS:
        token = folder / f"{camera.id}.token"
        token.write_text(camera.token)
        token.chmod(0o600)
    port = free_port()
    config = folder / "gated.yaml"
    config.write_text(configuration(folder, port, mqtt_port))
    with (folder / "gated.log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "gated"), "run", "-c", str(config)],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            wait_for_port(port, process, 180)
            yield Gated(port, process.pid, database, time.monotonic() - began)
        finally:
            end(process)
