"""The contract of adapters, kept by `adapters.gat1400` as a receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.gat1400 import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.gat1400 import NUMBER, Gat1400Camera
from gated.ports import Device, Receiver
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context
from tests.adapters.rig import Ingest

OTHER = "31011500001190009999"


class Gat1400Bench(Bench):
    barrier = False
    no_silence = "the device asks and we answer: one that is silent has vanished"
    backlog_size = 300

    def __init__(self) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.ingest = Ingest()
        self.double: Gat1400Camera | None = None
        self.running = False

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        url, _, query = self.ingest.url("gat-1").partition("?")
        self.double = Gat1400Camera(url, query=f"?{query}", faults=self.faults)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    def _adapter(self, name: str, **settings: Any) -> Device:
        values: dict[str, Any] = {
            "id": name, "type": "gat1400", "token": {"file": "unused"}, "number": NUMBER,
            "silent_after_s": 0.6,
        }  # fmt: skip
        return create(Config.model_validate(values | settings), context(name, self.unparsed))

    def device(self) -> Device:
        return self._adapter("gat-1")

    def unwelcome(self) -> Device:
        return self._adapter("gat-1", number=OTHER)

    def stranger(self) -> Device:
        return self.unwelcome()

    def nobody(self) -> Device:
        return self._adapter("gat-2")

    def attach(self, session: Session) -> None:
        assert isinstance(session.device, Receiver)
        self.ingest.route(session.device.id, session.device, session.handle)

    async def prepare(self) -> None:
        if not self.running:
            await self.revive()

    async def emit(self) -> None:
        assert self.double is not None
        await self.double.see("津A12345")

    async def emit_old(self, ago_s: float) -> None:
        assert self.double is not None
        await self.double.see("津A12345", ago_s=ago_s)

    async def vanish(self) -> None:
        assert self.double is not None
        if self.running:
            await self.double.stop()
        self.running = False

    async def revive(self) -> None:
        assert self.double is not None
        await self.double.start()
        self.running = True

    def pulses(self) -> list[int]:
        return []


class TestGat1400Contract(Contract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with Gat1400Bench() as bench:
            yield bench
