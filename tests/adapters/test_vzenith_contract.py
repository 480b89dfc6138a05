"""The contract of adapters, kept by `adapters.vzenith` against a simulated camera over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.simulator.faults import Faults
from adapters.simulator.vzenith import VzenithCamera
from adapters.vzenith import Config, create
from gated.domain import Read
from gated.ports import Device, Receiver, Secret
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context
from tests.adapters.rig import Ingest

SERIAL = "51a7ed00-00000001"


class VzenithBench(Bench):
    no_silence = "the camera asks and we answer: one that is silent has vanished"

    def __init__(self, **settings: Any) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.ingest = Ingest()
        self.settings = {"poll": True, "hold_ms": 100} | settings
        self.camera: VzenithCamera | None = None
        self.seen: list[int] = []

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    def _adapter(self, name: str, **settings: Any) -> Device:
        values = {
            "id": name, "type": "vzenith", "token": Secret(file=Path("unused")), "serial": SERIAL,
            "silent_after_s": 0.6, "reply_wait_ms": 500,
        }  # fmt: skip
        config = Config.model_validate(values | self.settings | settings)
        return create(config, context(name, self.unparsed))

    def device(self) -> Device:
        return self._adapter("cam-1")

    def unwelcome(self) -> Device:
        return self._adapter("cam-1", serial="00000000-0badbeef")

    def nobody(self) -> Device:
        return self._adapter("cam-2")

    def attach(self, session: Session) -> None:
        assert isinstance(session.device, Receiver)
        self.ingest.route(session.device.id, session.device, session.handle)

    async def prepare(self) -> None:
        if self.camera is None:
            await self.revive()

    async def emit(self) -> None:
        assert self.camera is not None
        await self.camera.see("津A12345")

    def stranger(self) -> Device:
        return self.unwelcome()

    async def emit_old(self, ago_s: float) -> None:
        assert self.camera is not None
        self.camera.keep_offline("津A12345", ago_s)

    async def vanish(self) -> None:
        if self.camera is not None:
            self.seen += [opening.milliseconds for opening in self.camera.boom.openings]
            await self.camera.stop()
            self.camera = None

    async def revive(self) -> None:
        self.camera = VzenithCamera(
            self.ingest.url("cam-1"), serial=SERIAL, poll=self.settings["poll"], heartbeat_s=0.1,
            resends=0, faults=self.faults,
        )  # fmt: skip
        await self.camera.start()

    def pulses(self) -> list[int]:
        return self.seen + [
            opening.milliseconds for opening in (self.camera.boom.openings if self.camera else [])
        ]


class TestVzenithContract(Contract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with VzenithBench() as bench:
            yield bench

    async def test_read_is_normalised(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
            assert isinstance(event, Read)
            assert event.credential is not None
            assert event.credential.value == "津A12345"
