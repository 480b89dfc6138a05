"""A new configuration while the daemon runs: a device goes only when it has answered what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Self

import pytest
import yaml

from gated.app import App
from gated.cli import daemon
from gated.config import SiteConfig, loads
from gated.domain import DeviceEvent, OpeningOutcome
from gated.ports import DeviceConfig, DeviceContext, DeviceInfo, DeviceUnavailable, Opened, Pulse
from tests.acceptance.daemon import free_port


class Config(DeviceConfig):
    """A board; another `port` is another connection."""

    type: Literal["board"]
    port: int = 1


class Board:
    """Answers when the test says so; whoever hangs up before gets no answer."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = config.id
        self.info = DeviceInfo()
        self.pulses: list[Pulse] = []
        self.answer: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.connected, self.asked = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self.connected.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.answer.done():
            self.answer.set_exception(DeviceUnavailable("the connection was closed"))

    async def events(self) -> AsyncIterator[DeviceEvent]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    async def open(self, pulse: Pulse) -> Opened:
        self.pulses.append(pulse)
        self.asked.set()
        return await self.answer


def config(folder: Path, port: int, adapter: Any, boards: list[dict[str, Any]], barrier: str) -> SiteConfig:
    text = yaml.safe_dump(
        {
            "site": {"id": "testville", "name": "Testville"},
            "store": {"url": f"sqlite:///{folder}/gated.db"},
            "api": {"host": "127.0.0.1", "port": port},
            "mqtt": {"host": "127.0.0.1", "port": 1},
            "grids": [{"id": "g", "name": "Grid"}],
            "entrances": [{"id": "gate", "name": "Gate", "grid": "g"}],
            "lanes": [
                {
                    "id": "lane",
                    "entrance": "gate",
                    "direction": "in",
                    "cameras": [barrier],
                    "barrier": {"device": barrier, "output": "0"},
                }
            ],
            "devices": [{"type": "board"} | board for board in boards],
        }
    )
    return loads(text, lambda _: adapter)


@pytest.mark.parametrize(
    ("boards", "barrier"),
    [([{"id": "one", "port": 2}], "one"), ([{"id": "two"}], "two")],
    ids=["the barrier's device is changed", "another one has its place"],
)
async def test_a_pulse_in_flight_ends_as_it_began(
    tmp_path: Path, boards: list[dict[str, Any]], barrier: str
) -> None:
    made: list[Board] = []

    def create(of: Config, context: DeviceContext) -> Board:
        made.append(Board(of, context))
        return made[-1]

    adapter = SimpleNamespace(Config=Config, create=create)
    port = free_port()
    before = config(tmp_path, port, adapter, [{"id": "one"}], "one")
    async with App(before, load_adapter=lambda _: adapter) as app:
        [old] = made
        await old.connected.wait()
        asked = asyncio.create_task(app.lanes.override("lane", person="李强", reason="救护车"))
        await old.asked.wait()
        reloading = asyncio.create_task(app.reload(config(tmp_path, port, adapter, boards, barrier)))
        await asyncio.sleep(0.05)
        old.answer.set_result(Opened(OpeningOutcome.ACCEPTED, "relay on"))
        record = await asked
        assert (record.outcome, record.detail) == (OpeningOutcome.ACCEPTED, "relay on")
        await reloading
        new = made[-1]
        assert new is not old
        await new.connected.wait()
        new.answer.set_result(Opened(OpeningOutcome.ACCEPTED, "relay on"))
        assert (
            await app.lanes.override("lane", person="李强", reason="又一次")
        ).outcome is OpeningOutcome.ACCEPTED
        assert (len(old.pulses), len(new.pulses)) == (1, 1)


async def test_after_a_reload_that_failed_the_next_one_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    read = SimpleNamespace(log=None)
    monkeypatch.setattr(daemon, "load", lambda *_: read)
    monkeypatch.setattr(daemon, "values_of", lambda _: ())
    monkeypatch.setattr("gated.logs.configure", lambda *_: None)
    reloaded: asyncio.Queue[object] = asyncio.Queue()

    class Broken:
        async def reload(self, given: object) -> None:
            reloaded.put_nowait(given)
            raise RuntimeError("a defect")

    hang_up = asyncio.Event()
    reloading = asyncio.create_task(daemon._reload(Broken(), Path("gated.yaml"), hang_up))  # type: ignore[arg-type]
    try:
        for _ in range(2):
            hang_up.set()
            async with asyncio.timeout(10):
                assert await reloaded.get() is read
    finally:
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
