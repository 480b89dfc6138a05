"""The bare path: the libraries that gated stands on, doing one read with nothing of gated in between.

uvicorn takes the push, orjson reads it, a dict of plates answers, one thread commits whatever is queued with
sqlite3 (the tables of the Node-RED peer, WAL, synchronous=FULL), the reply goes out, gated's own link to the
broker (paho-mqtt) publishes. No lane, no merging, no rules, no barrier, no alert, no metrics, no check of who
pushes; openings and acknowledgements are not noted. So it is the ceiling of what a daemon on these libraries
can reach on this machine, to be measured beside in the same run.

    python -m tests.benchmarks.path_bare PORT MQTT_PORT DATABASE PASSES
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import orjson
import uvicorn
import uvloop

from gated.mqtt.endpoint import Endpoint
from gated.mqtt.link import Link
from tests.benchmarks.nodered import SOURCE
from tests.benchmarks.path_world import CAMERAS, end, plates, wait_for_port
from tests.config.ports import free_port

_INFLIGHT = 100
_INSERT = (
    "INSERT INTO passages (id, lane, entrance, direction, at, decided_at, received_at, device, key,"
    " credential_kind, credential, raw, outcome, reason, rule_id, pass_id, details)"
    " VALUES (?, ?, 'main', 'in', ?, ?, ?, ?, ?, 'plate', ?, ?, 'grant', 'pass_valid', 'passes', ?, '{}')"
)
_OUTBOX = "INSERT INTO outbox (topic_id, seq, recorded_at, retain, payload) VALUES (?, ?, ?, 0, ?)"


@dataclass(frozen=True, slots=True)
class Bare:
    """A running bare path."""

    port: int
    pid: int
    database: Path

    def granted(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
            count: int = connection.execute("SELECT count(*) FROM passages").fetchone()[0]
            return count


@contextmanager
def running(folder: Path, passes: int, mqtt_port: int) -> Iterator[Bare]:
    """The bare path on loopback with `passes` plates and an empty database in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port, database = free_port(), folder / "passages.db"
    command = [sys.executable, "-m", __name__, str(port), str(mqtt_port), str(database), str(passes)]
    process = subprocess.Popen(command)
    try:
        wait_for_port(port, process)
        yield Bare(port, process.pid, database)
    finally:
        end(process)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One read on its way: its rows, its message, and who waits for the commit."""

    passage: tuple[object, ...]
    message: tuple[object, ...]
    topic: str
    payload: bytes
    done: asyncio.Future[None]


class _Path:
    """The whole path. Made on the event loop."""

    def __init__(self, database: Path, mqtt_port: int, passes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._passes = {plate: f"P{number:025d}" for number, plate in enumerate(plates(passes))}
        self._cameras = {camera.id: camera for camera in CAMERAS}
        self._database = database
        self._queue: SimpleQueue[_Recorded] = SimpleQueue()
        self._unpublished: deque[_Recorded] = deque()
        self._link = Link(
            Endpoint(
                host="127.0.0.1", port=mqtt_port, client_id="bare", version="5", keepalive=60, username=None,
                password=None, tls=None,
            ),
            on_acks=lambda _: self._publish(), on_message=lambda _: None,
        )  # fmt: skip

    async def start(self) -> None:
        await self._link.open()
        threading.Thread(target=self._write, daemon=True).start()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        camera = self._cameras[scope["path"].rpartition("/")[2]]
        info = orjson.loads((await receive())["body"])["AlarmInfoPlate"]
        read = info["result"]["PlateResult"]
        plate, number = read["license"], read["plateid"]
        pass_id = self._passes[plate]
        now = time.time_ns() // 1000
        key = f"{info['serialno']}:{number}"
        passage_id = f"{camera.id}-{now}-{number}"
        payload = orjson.dumps(
            {
                "id": passage_id, "lane": camera.lane, "entrance": "main", "direction": "in",
                "credential": {"kind": "plate", "value": plate}, "outcome": "grant", "reason": "pass_valid",
                "text": {"zh": "出入证有效，放行。", "en": "The pass is valid; let through."},
                "rule_id": "passes", "pass_id": pass_id, "device": camera.id, "at": now, "seq": number,
            }
        )  # fmt: skip
        recorded = _Recorded(
            (passage_id, camera.lane, now, now, now, camera.id, key, plate, plate, pass_id),
            (camera.number, number, now, payload),
            f"gated/bench/lanes/{camera.lane}/passages",
            payload,
            self._loop.create_future(),
        )
        self._queue.put(recorded)
        await recorded.done
        body = orjson.dumps(
            {
                "Response_AlarmInfoPlate": {
                    "content": "retransfer_stop", "ivs_ioctrl": {"io": 0, "value": 2, "delay": 700},
                }
            }
        )  # fmt: skip
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _write(self) -> None:
        connection = sqlite3.connect(self._database, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        while True:
            batch = [self._queue.get()]
            while self._queue.qsize():
                batch.append(self._queue.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, [one.passage for one in batch])
            connection.executemany(_OUTBOX, [one.message for one in batch])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._committed, batch)

    def _committed(self, batch: list[_Recorded]) -> None:
        for one in batch:
            one.done.set_result(None)
        self._unpublished.extend(batch)
        self._publish()

    def _publish(self) -> None:
        while self._unpublished and self._link.in_flight < _INFLIGHT:
            one = self._unpublished.popleft()
            self._link.publish(one.topic, one.payload, retain=False, token=one)
        self._link.flush()


async def _serve(port: int, mqtt_port: int, database: Path, passes: int) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((SOURCE / "schema.sql").read_text(encoding="utf-8"))
        topics = [(camera.number, f"gated/bench/lanes/{camera.lane}/passages") for camera in CAMERAS]
        connection.executemany("INSERT INTO topics VALUES (?, ?)", topics)
        connection.commit()
    path = _Path(database, mqtt_port, passes)
    await path.start()
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        path, host="127.0.0.1", port=port, http="httptools", ws="none", loop="none", lifespan="off",
        access_log=False, log_config=None,
    )  # fmt: skip
    await uvicorn.Server(config).serve()


def main() -> None:
    port, mqtt_port, database, passes = sys.argv[1:]
    sys.setswitchinterval(0.0005)  # as gated does
    uvloop.run(_serve(int(port), int(mqtt_port), Path(database), int(passes)))


if __name__ == "__main__":
    main()
