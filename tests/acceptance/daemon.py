"""The real daemon as a process, its cameras as raw HTTP clients, its subscribers: for acceptance tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

SECRET = "camera-secret-for-tests"
ENV = {"GATED_TEST_SECRET": SECRET}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def site(
    folder: Path, *, lanes: int = 4, mqtt_port: int = 1, api_port: int = 0, **lane: Any
) -> dict[str, Any]:
    """A site of VZ cameras whose replies open; lanes lane-0, lane-1 ... with cameras cam-0, cam-1 ..."""
    tuning = {"cool_down_ms": 0, "merge_ms": 0} | lane
    return {
        "site": {"id": "testville", "name": "Testville"},
        "store": {"url": f"sqlite:///{folder}/gated.db"},
        "api": {"host": "127.0.0.1", "port": api_port or free_port()},
        "mqtt": {"host": "127.0.0.1", "port": mqtt_port},
        "log": {"level": "info", "format": "json"},
        "grids": [{"id": "g", "name": "Grid"}],
        "entrances": [{"id": "gate", "name": "Gate", "grid": "g"}],
        "lanes": [
            {
                "id": f"lane-{n}",
                "entrance": "gate",
                "direction": "in",
                "cameras": [f"cam-{n}"],
                "barrier": {"device": f"cam-{n}"},
                **tuning,
            }
            for n in range(lanes)
        ],
        "devices": [
            {"id": f"cam-{n}", "type": "vzenith", "token": {"env": "GATED_TEST_SECRET"}} for n in range(lanes)
        ],
    }


@dataclass
class Daemon:
    """`gated run` as a process. `config` may be changed before `start` and before `reload`."""

    folder: Path
    config: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    env: dict[str, str] = field(default_factory=dict)
    cameras: list[Camera] = field(default_factory=list)

    def camera(self, number: int) -> Camera:
        """The camera `cam-{number}` of this site; closed with the daemon."""
        self.cameras.append(Camera(self.config["api"]["port"], f"cam-{number}"))
        return self.cameras[-1]

    @property
    def file(self) -> Path:
        return self.folder / "gated.yaml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['api']['port']}"

    @property
    def log(self) -> str:
        return (self.folder / "gated.log").read_text(errors="replace")

    @property
    def database(self) -> Path:
        return Path(self.config["store"]["url"].removeprefix("sqlite:///"))

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config, allow_unicode=True))

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Another `gated` command on the same site."""
        self.write()
        return subprocess.run(
            [sys.executable, "-m", "gated", *words, "-c", str(self.file)],
            env={**os.environ, **ENV, **self.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def token(self, role: str = "operator") -> str:
        made = self.command("token", "create", "--role", role, "--name", f"test {role}", "--json")
        return str(json.loads(made.stdout)["token"])

    def start(self, *, wait: bool = True) -> None:
        self.write()
        with (self.folder / "gated.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gated", "run", "-c", str(self.file)],
                env={**os.environ, **ENV, **self.env},
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait()

    def wait(self, seconds: float = 20.0) -> None:
        """Until it answers."""
        until = time.monotonic() + seconds
        port = self.config["api"]["port"]
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"gated ended with {self.process.returncode}:\n{self.log[-3000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
                return
            time.sleep(0.02)
        raise AssertionError(f"gated did not start:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL: nothing is said goodbye to."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 10.0) -> float:
        """SIGTERM; returns how long it took, in seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)
        return time.monotonic() - began

    def reload(self) -> None:
        assert self.process is not None
        self.write()
        self.process.send_signal(signal.SIGHUP)

    def rows(self, sql: str, *values: object) -> list[Any]:
        """A query of its database, read by this process."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as conn:
            conn.row_factory = sqlite3.Row
            return conn.execute(sql, values).fetchall()


@contextlib.contextmanager
def daemon(folder: Path, config: dict[str, Any], *, start: bool = True) -> Iterator[Daemon]:
    """A daemon for the length of a block; killed at its end if it still runs."""
    one = Daemon(folder, config)
    try:
        if start:
            one.start()
        yield one
    finally:
        for camera in one.cameras:
            camera.close()
        if one.process is not None and one.process.poll() is None:
            one.kill()


async def issue(url: str, token: str, plates: list[str], **more: Any) -> list[dict[str, Any]]:
    """Issues a pass for each plate over the API."""
    now = datetime.now(UTC)
    made = []
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        for plate in plates:
            body = {
                "kind": "resident",
                "holder": {"name": "王芳"},
                "credentials": [{"kind": "plate", "value": plate}],
                "entrances": None,
                "valid_from": (now - timedelta(days=1)).isoformat(),
                "valid_until": (now + timedelta(days=30)).isoformat(),
            } | more
            answer = await client.post("/api/v1/passes", json=body)
            assert answer.status_code == 201, answer.text
            made.append(answer.json())
    return made


def push_body(
    plate: str, number: int, *, at: float | None = None, serial: str = "51a7ed00-00000001"
) -> bytes:
    """What a VZ camera posts for a vehicle. `number`: its plateid; `at`: its time, seconds since 1970."""
    seconds, micro = divmod(round((at or time.time()) * 1_000_000), 1_000_000)
    result = {
        "license": plate, "confidence": 96, "plateid": number, "isoffline": 0, "direction": 4, "colorType": 1,
        "triggerType": 8, "type": 1, "timeStamp": {"Timeval": {"sec": seconds, "usec": micro}},
    }  # fmt: skip
    return json.dumps(
        {"AlarmInfoPlate": {"serialno": serial, "ipaddr": "127.0.0.1", "deviceName": "R5",
                            "result": {"PlateResult": result}}}
    ).encode()  # fmt: skip


class Camera:
    """A VZ camera as a keep-alive HTTP connection of a few lines: what it sends and gets is all there is."""

    def __init__(self, port: int, name: str, secret: str = SECRET) -> None:
        self._port, self._name, self._secret = port, name, secret
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def push(self, body: bytes) -> tuple[int, Mapping[str, Any]] | None:
        """Status and JSON of the reply; None if there was none. One attempt."""
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            assert self._reader is not None
            head = (
                f"POST /ingest/{self._name}?key={self._secret} HTTP/1.1\r\nHost: gated\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self._writer.write(head.encode() + body)
            await self._writer.drain()
            status = int((await self._reader.readline()).split()[1])
            length = 0
            while (line := await self._reader.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            content = await self._reader.readexactly(length)
            return status, json.loads(content) if content else {}
        except (OSError, IndexError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def opens(reply: Mapping[str, Any]) -> bool:
    """Whether a VZ camera that gets this reply raises its boom."""
    answer = reply.get("Response_AlarmInfoPlate", {})
    return answer.get("info") == "ok" or answer.get("ivs_ioctrl", {}).get("value") == 2


class Subscriber:
    """A durable MQTT subscriber (it survives the broker's and the daemon's end). `messages`: by topic."""

    def __init__(self, port: int, topic: str, client_id: str = "test-subscriber") -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, protocol=paho.MQTTv311
        )
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_message = lambda _c, _d, message: self.messages.append(
            (message.topic, json.loads(message.payload) if message.payload[:1] == b"{" else message.payload)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def ids(self, suffix: str = "/passages") -> list[str]:
        return [m["id"] for topic, m in list(self.messages) if topic.endswith(suffix)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.asynccontextmanager
async def subscribed(port: int, topic: str = "gated/testville/#") -> AsyncIterator[Subscriber]:
    one = await asyncio.to_thread(Subscriber, port, topic)
    await asyncio.sleep(0.2)
    try:
        yield one
    finally:
        await asyncio.to_thread(one.close)


async def until(condition: Any, seconds: float = 15.0, what: str = "") -> None:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not come true in {seconds} s: {what or condition}"
        await asyncio.sleep(0.02)
