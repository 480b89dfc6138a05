"""The daemon as its users have it: passes over the API, a camera, a boom, messages, a person who opens."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.daemon import (
    daemon,
    issue,
    opens,
    push_body,
    site,
    subscribed,
    until,
)
from tests.peers.mosquitto import Mosquitto

PLATE = "津A12345"


async def test_the_whole_path(tmp_path: Path) -> None:
    (tmp_path / "mqtt").mkdir()
    with Mosquitto(tmp_path / "mqtt") as broker:
        with daemon(tmp_path, site(tmp_path, mqtt_port=broker.port)) as gated:
            staff, volunteer = gated.token("staff"), gated.token("volunteer")
            camera = gated.camera(0)
            async with subscribed(broker.port) as subscriber:
                # nobody knows the vehicle
                status, reply = await camera.push(push_body(PLATE, 1)) or (0, {})
                assert (status, opens(reply)) == (200, False)
                await until(lambda: len(subscriber.ids("/alerts")) == 1)
                # staff issue a pass, and it comes again
                [made] = await issue(gated.url, staff, [PLATE])
                status, reply = await camera.push(push_body(PLATE, 2)) or (0, {})
                assert (status, opens(reply)) == (200, True)
                # the pass is revoked
                async with httpx.AsyncClient(base_url=gated.url) as client:
                    client.headers["Authorization"] = f"Bearer {staff}"
                    answer = await client.post(f"/api/v1/passes/{made['id']}/revoke", json={"reason": "搬离"})
                    assert answer.status_code == 200
                    status, reply = await camera.push(push_body(PLATE, 3)) or (0, {})
                    assert not opens(reply)
                    # a volunteer looks why, and opens by hand; the camera's next push carries it
                    client.headers["Authorization"] = f"Bearer {volunteer}"
                    passages = (await client.get("/api/v1/passages")).json()["items"]
                    assert [p["reason"] for p in passages] == ["pass_revoked", "pass_valid", "no_pass"]
                    by_hand = asyncio.create_task(
                        client.post("/api/v1/lanes/lane-0/open", json={"reason": "住户来接"})
                    )
                    await asyncio.sleep(0.2)
                    _, reply = await camera.push(push_body("京B00000", 4)) or (0, {})
                    assert opens(reply)
                    opened = (await by_hand).json()
                    assert opened["outcome"] == "accepted"
                await until(lambda: len(subscriber.ids()) == 4)
                outcomes = [m["outcome"] for t, m in subscriber.messages if t.endswith("lane-0/passages")]
                assert outcomes == ["refer", "grant", "deny", "refer"]
            assert gated.stop() < 5
            assert gated.process.returncode == 0  # type: ignore[union-attr]
            [row] = gated.rows("SELECT person, reason FROM openings WHERE cause = 'override'")
            assert tuple(row) == ("test volunteer", "住户来接")
            assert PLATE not in gated.log
            assert "camera-secret" not in gated.log


async def test_starts_with_everything_away_and_serves_what_is_there(tmp_path: Path) -> None:
    """No broker, and a device that nobody answers at: the other lanes work."""
    config = site(tmp_path, lanes=2)
    config["devices"].append({"id": "relay", "type": "modbus", "host": "127.0.0.1", "port": 9})
    config["lanes"][1]["barrier"] = {"device": "relay", "output": "0"}
    with daemon(tmp_path, config) as gated:
        token = gated.token()
        await issue(gated.url, token, [PLATE])
        camera = gated.camera(0)
        _, reply = await camera.push(push_body(PLATE, 1)) or (0, {})
        assert opens(reply)
        other = gated.camera(1)
        _, reply = await other.push(push_body(PLATE, 1)) or (0, {})
        assert not opens(reply)
        await until(lambda: gated.rows("SELECT 1 FROM openings WHERE outcome = 'unreachable'"))
        await asyncio.sleep(2.5)
        down = [line for line in gated.log.splitlines() if '"device_offline"' in line and '"relay"' in line]
        assert len(down) == 1, "said once"
        health = httpx.get(f"{gated.url}/readyz")
        assert health.status_code == 200


async def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path, site(tmp_path, lanes=4)) as gated:
        await issue(gated.url, gated.token(), [PLATE])
        answered: list[int] = []

        async def drive(n: int) -> None:
            camera = gated.camera(n)
            for number in range(100_000):
                reply = await camera.push(push_body(PLATE, n * 1_000_000 + number))
                if reply is None or reply[0] != 200:
                    return
                answered.append(n)

        drivers = [asyncio.create_task(drive(n)) for n in range(4)]
        await asyncio.sleep(1.0)
        took = await asyncio.to_thread(gated.stop)
        await asyncio.gather(*drivers)
        assert took < 5
        [count] = gated.rows("SELECT count(*) AS n FROM passages")
        assert len(answered) > 100
        assert count["n"] >= len(answered)


async def test_reload_drops_no_passage(tmp_path: Path) -> None:
    with daemon(tmp_path, site(tmp_path, lanes=3)) as gated:
        await issue(gated.url, gated.token(), [PLATE])
        stop = asyncio.Event()
        results: list[bool] = []

        async def drive() -> None:
            camera, number = gated.camera(0), 0
            while not stop.is_set():
                number += 1
                reply = await camera.push(push_body(PLATE, number))
                results.append(reply is not None and opens(reply[1]))

        driver = asyncio.create_task(drive())
        await asyncio.sleep(0.3)
        gated.config["lanes"] = gated.config["lanes"][:2]
        gated.config["lanes"][1]["pulse_ms"] = 900
        gated.reload()
        await until(lambda: '"reloaded"' in gated.log)
        token = gated.token()
        lanes = httpx.get(f"{gated.url}/api/v1/lanes", headers={"Authorization": f"Bearer {token}"}).json()
        assert [lane["id"] for lane in lanes["items"]] == ["lane-0", "lane-1"]
        # one that is half written is refused whole, and says where
        gated.file.write_text(gated.file.read_text()[:700] + "\n  oops: [")
        assert gated.process is not None
        gated.process.send_signal(signal.SIGHUP)
        await until(lambda: "reload_refused" in gated.log)
        await asyncio.sleep(0.3)
        stop.set()
        await driver
        assert len(results) > 50
        assert all(results)


async def test_the_broker_is_away_for_ten_thousand_passages(tmp_path: Path) -> None:
    (tmp_path / "mqtt").mkdir()
    persistent = "allow_anonymous true\npersistence true\npersistence_location {0}/\nmax_queued_messages 0\n"
    with Mosquitto(tmp_path / "mqtt", persistent.format(tmp_path / "mqtt")) as broker:
        lanes = 8
        with daemon(tmp_path, site(tmp_path, lanes=lanes, mqtt_port=broker.port)) as gated:
            await issue(gated.url, gated.token(), [PLATE])
            async with subscribed(broker.port) as subscriber:
                await until(lambda: '"mqtt_connected"' in gated.log)
                broker.stop()
                memory = _memory(gated.process.pid)  # type: ignore[union-attr]

                async def drive(n: int) -> None:
                    camera = gated.camera(n)
                    for number in range(10_000 // lanes):
                        reply = await camera.push(push_body(PLATE, number))
                        assert reply is not None
                        assert opens(reply[1])

                await asyncio.gather(*(drive(n) for n in range(lanes)))
                grown = _memory(gated.process.pid) - memory  # type: ignore[union-attr]
                assert grown < 40_000_000, f"memory grew by {grown}"
                await asyncio.to_thread(broker.start)
                await until(lambda: len(set(subscriber.ids())) == 10_000, 60)
                for n in range(lanes):
                    topic = f"gated/testville/lanes/lane-{n}/passages"
                    seqs = [m["seq"] for t, m in subscriber.messages if t == topic]
                    assert list(dict.fromkeys(seqs)) == list(range(1, 10_000 // lanes + 1))


def _memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such process")


async def test_the_database_is_locked_by_another_process(tmp_path: Path) -> None:
    """Nothing is opened that cannot be recorded; the camera is told to try again; then all is as before."""
    with daemon(tmp_path, site(tmp_path)) as gated:
        token = gated.token()
        await issue(gated.url, token, [PLATE])
        camera = gated.camera(0)
        locker = (
            "import sqlite3,sys;c=sqlite3.connect(sys.argv[1],isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE');print('locked',flush=True);sys.stdin.read()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", locker, str(gated.database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert other.stdout is not None
        other.stdout.readline()
        began = time.monotonic()
        status, reply = await camera.push(push_body(PLATE, 1)) or (0, {})
        assert (status, opens(reply)) == (503, False)
        assert time.monotonic() - began < 10
        assert httpx.get(f"{gated.url}/readyz").status_code == 503
        other.communicate(b"")
        for _ in range(50):
            status, reply = await camera.push(push_body(PLATE, 1)) or (0, {})
            if status == 200:
                break
            await asyncio.sleep(0.1)
        assert opens(reply)
        assert httpx.get(f"{gated.url}/readyz").status_code == 200


async def test_the_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    config = site(tmp_path)
    config["store"] = {"url": f"sqlite:///{small_disk}/gated.db"}
    with daemon(tmp_path, config) as gated:
        await issue(gated.url, gated.token(), [PLATE])
        camera = gated.camera(0)
        filler = small_disk / "filler"
        _fill(filler)
        statuses = []
        for number in range(2000):
            status, reply = await camera.push(push_body(PLATE, number)) or (0, {})
            statuses.append((status, opens(reply)))
            if status != 200:
                break
        assert statuses[-1] == (503, False), "a full disk is said, and nothing opens"
        recorded = gated.rows("SELECT count(*) AS n FROM passages")[0]["n"]
        assert recorded == sum(opened for _, opened in statuses)
        filler.unlink()
        for number in range(100):
            status, reply = await camera.push(push_body(PLATE, 5000 + number)) or (0, {})
            if status == 200:
                break
            await asyncio.sleep(0.1)
        assert opens(reply), "it recovers by itself"
        assert gated.process is not None
        assert gated.process.poll() is None


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while True:
            out.write(b"x" * 4096)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB: a tmpfs, which needs root."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_backup_while_it_runs_and_restore(tmp_path: Path) -> None:
    with daemon(tmp_path, site(tmp_path)) as gated:
        await issue(gated.url, gated.token(), [PLATE])
        camera = gated.camera(0)
        for number in range(20):
            await camera.push(push_body(PLATE, number))
        gated.command("backup", str(tmp_path / "copy.db"))
        await camera.push(push_body(PLATE, 99))
        refused = gated.command("restore", str(tmp_path / "copy.db"), "--yes", check=False)
        assert refused.returncode != 0, "not under a running daemon"
        gated.stop()
        gated.command("restore", str(tmp_path / "copy.db"), "--yes")
        assert gated.rows("SELECT count(*) AS n FROM passages")[0]["n"] == 20
        with sqlite3.connect(tmp_path / "copy.db") as conn:
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        gated.start()
        _, reply = await gated.camera(0).push(push_body(PLATE, 100)) or (0, {})
        assert opens(reply)
