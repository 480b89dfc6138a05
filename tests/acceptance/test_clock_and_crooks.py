"""The box's clock is stepped, and a device sends whatever it likes: nobody who may pass is kept out by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from gated.api.tokens import create_token
from gated.app import App
from gated.clocks import BoxClock
from gated.config import loads
from gated.domain import Role
from gated.wiring import load_adapter
from tests.acceptance.daemon import ENV, Camera, Daemon, daemon, issue, opens, push_body, site

PLATE = "津A12345"


class Wall:
    """The wall clock of the box under test: the true one, moved by the test."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved


@contextlib.asynccontextmanager
async def app_with(wall: Wall, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """The daemon within the test, for its clock cannot be stepped from outside."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    config = loads(yaml.safe_dump(site(folder, lanes=1)), load_adapter)
    async with App(config, clock=BoxClock(wall)) as app:
        yield app


@pytest.mark.parametrize("hours", [1, -1], ids=["an hour forward", "an hour back"])
async def test_the_clock_is_stepped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """A camera that was in time: its very next vehicle is let in, with the right time on record."""
    wall = Wall()
    async with app_with(wall, tmp_path, monkeypatch) as app:
        token, _ = await create_token(app.store, role=Role.STAFF, name="t", now=app.clock.now())
        await issue(app.served.url, token, [PLATE])
        camera = Camera(app.served.port, "cam-0")
        _, reply = await camera.push(push_body(PLATE, 1)) or (0, {})
        assert opens(reply)
        wall.moved = 3600.0 * hours
        # the camera's own clock goes on as before, so it is off by the step from now on
        _, reply = await camera.push(push_body(PLATE, 2)) or (0, {})
        assert opens(reply)
        async with httpx.AsyncClient(base_url=app.served.url) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            both = (await client.get("/api/v1/passages")).json()["items"]  # the newest by their own times
            assert len(both) == 2
            last = both[0] if hours > 0 else both[1]
            assert abs(_seconds(last["at"]) - wall()) < 5
            for _ in range(100):
                alerts = (await client.get("/api/v1/alerts")).json()["items"]
                if any(alert["reason"] == "clock_stepped" for alert in alerts):
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError("nobody was told that the clock was stepped")
        camera.close()


def _seconds(text: str) -> float:
    from gated.times import parse_iso

    return parse_iso(text).timestamp()


async def test_a_camera_with_a_wrong_clock_is_learnt_by_its_vehicles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour behind since it was switched on: recorded and told at first, then let in."""
    wall = Wall()
    async with app_with(wall, tmp_path, monkeypatch) as app:
        token, _ = await create_token(app.store, role=Role.STAFF, name="t", now=app.clock.now())
        await issue(app.served.url, token, [PLATE])
        camera = Camera(app.served.port, "cam-0")
        opened = []
        for number, moment in enumerate((0.0, 6.0, 12.0, 18.0)):
            # the test's own hours: six seconds pass on both clocks
            wall.moved = moment
            app.clock._offset += 6.0 if number else 0.0
            _, reply = await camera.push(push_body(PLATE, number, at=wall() - 3600)) or (0, {})
            opened.append(opens(reply))
        assert opened == [False, False, True, True]
        camera.close()


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"\x00\xff\xfe garbage \x80",
    "half a message": push_body(PLATE, 1)[:60],
    "deep JSON": b"[" * 100_000,
    "a number": b"42",
    "wrong types": json.dumps({"AlarmInfoPlate": {"result": {"PlateResult": [1, 2]}}}).encode(),
    "an entity bomb": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
    "a plate of a megabyte": push_body("津" * 300_000, 1),
    "numbers beyond all clocks": push_body("京Z99999", 1, at=1e17),
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=[*GARBAGE])
async def test_garbage_is_answered_and_forgotten(running: Daemon, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.post("/ingest/cam-0?key=camera-secret-for-tests", content=body)
    assert answer.status_code < 500
    if answer.status_code == 200:
        assert not opens(answer.json())
    await _still_works(running)


async def test_a_hundred_megabytes_are_not_read(running: Daemon) -> None:
    before = _memory(running)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.config["api"]["port"])
    writer.write(
        b"POST /ingest/cam-0?key=camera-secret-for-tests HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 104857600\r\n\r\n"
    )
    assert b" 413 " in await reader.readline()
    # it goes on all the same, until the connection is cut
    with contextlib.suppress(OSError):
        for _ in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert _memory(running) - before < 20 * 2**20
    await _still_works(running)


async def test_garbage_without_end(running: Daemon) -> None:
    """Thousands of broken messages: the memory stays where it was, the log stays short, vehicles pass."""
    rng = random.Random(7)
    good = push_body(PLATE, 1)
    memory = 0
    async with httpx.AsyncClient(base_url=running.url) as client:
        for number in range(3000):
            body = bytearray(good)
            for _ in range(rng.randint(1, 8)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            answer = await client.post("/ingest/cam-1?key=camera-secret-for-tests", content=bytes(body))
            assert answer.status_code < 500, answer.text
            if number == 1000:
                memory = _memory(running)
    assert _memory(running) - memory < 8 * 2**20
    assert len(running.log) < 2_000_000
    await _still_works(running)


async def test_a_stranger_with_a_wrong_token_is_kept_out(running: Daemon) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        for path in (
            "/ingest/cam-0",
            "/ingest/cam-0?key=wrong",
            "/ingest/nobody?key=camera-secret-for-tests",
        ):
            answer = await client.post(path, content=push_body(PLATE, 1))
            assert answer.status_code == 401
    await _still_works(running)


async def _still_works(gated: Daemon) -> None:
    camera = Camera(gated.config["api"]["port"], "cam-2")
    # each time a vehicle of its own: a key that was not used before
    _, reply = await camera.push(push_body(PLATE, random.randrange(10**9))) or (0, {})
    camera.close()
    assert opens(reply)


def _memory(gated: Daemon) -> int:
    assert gated.process is not None
    with Path(f"/proc/{gated.process.pid}/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("crooks")
    with daemon(folder, site(folder, lanes=3)) as gated:
        asyncio.run(issue(gated.url, gated.token(), [PLATE]))
        yield gated
