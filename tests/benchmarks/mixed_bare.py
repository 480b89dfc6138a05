"""The peer of the benchmark `mixed_devices`: a bare process that holds as many connections and does least.

Of a read it gets one line of text; one thread commits it and its message with sqlite3 (WAL,
synchronous=FULL), whatever is queued at a time, as gated's does; then it answers, and paho publishes with
QoS 1. No vendor's protocol, no login, no pass, no rule, no lane, no barrier. So its figures are what sockets,
Python, disk and broker take of anything like it on this machine.

    python -m tests.benchmarks.mixed_bare PORT MQTT_PORT DATABASE TOPIC
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
from queue import SimpleQueue

import orjson
import paho.mqtt.client as paho
import uvloop
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE passages (lane TEXT, credential TEXT);
CREATE TABLE outbox (topic TEXT, payload BLOB);
"""
Row = tuple[str, str, bytes, asyncio.Future[None]]


class Peer:
    """Made on the event loop."""

    def __init__(self, mqtt_port: int, database: str, topic: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._database, self._topic = database, topic
        self._queue: SimpleQueue[Row] = SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", mqtt_port)
        self._client.loop_start()
        threading.Thread(target=self._write, daemon=True).start()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line != b"beat\n":
                lane, credential = line.decode().split()
                payload = orjson.dumps({"credential": {"value": credential}, "outcome": "grant"})
                recorded = self._loop.create_future()
                self._queue.put((lane, credential, payload, recorded))
                await recorded
                self._client.publish(f"{self._topic}/{lane}/passages", payload, qos=1)
            writer.write(b"ok\n")
        writer.close()

    def _write(self) -> None:
        connection = sqlite3.connect(self._database, isolation_level=None)
        connection.executescript(_TABLES)
        connection.execute("PRAGMA synchronous = FULL")
        while True:
            batch = [self._queue.get()]
            while self._queue.qsize():
                batch.append(self._queue.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO passages VALUES (?, ?)", [row[:2] for row in batch])
            connection.executemany("INSERT INTO outbox VALUES (?, ?)", [(row[0], row[2]) for row in batch])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_committed, [row[3] for row in batch])


def _committed(waiting: list[asyncio.Future[None]]) -> None:
    for one in waiting:
        one.set_result(None)


async def serve(port: int, mqtt_port: int, database: str, topic: str) -> None:
    peer = Peer(mqtt_port, database, topic)
    server = await asyncio.start_server(peer.connected, "127.0.0.1", port)
    gc.collect()
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)  # as gated does
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
