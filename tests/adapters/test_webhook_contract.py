"""The contract of adapters, kept by `adapters.webhook`: opened by the reply, and by a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.webhook import WebhookDevice
from adapters.webhook import Config, create
from gated.ports import Device, Receiver
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context
from tests.adapters.rig import Ingest

TOKEN = "open-sesame"


class WebhookBench(Bench):
    no_silence = "the device asks and we answer: one that is silent has vanished"

    def __init__(self, folder: Path, *, by_call: bool) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.ingest = Ingest()
        self.boom = Boom()
        self.by_call = by_call
        self.token = folder / "token"
        self.token.write_text(TOKEN)
        self.double: WebhookDevice | None = None
        self.running = False

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        self.double = WebhookDevice(
            self.ingest.url("wh-1"), heartbeat_s=0.1, wait_ms=0 if self.by_call else 200,
            listens=self.by_call, open_token=TOKEN, boom=self.boom, faults=self.faults,
        )  # fmt: skip
        if self.by_call:
            await self.revive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    def _adapter(self, name: str, **settings: Any) -> Device:
        assert self.double is not None
        values: dict[str, Any] = {
            "id": name, "type": "webhook", "token": {"file": "unused"}, "serial": "WH-0001",
            "silent_after_s": 0.6, "reply_wait_ms": 500,
        }  # fmt: skip
        if self.by_call:
            values |= {"open_url": self.double.open_url, "open_token": {"file": str(self.token)}}
            values |= {"open_timeout_ms": 500}
        return create(Config.model_validate(values | settings), context(name, self.unparsed))

    def device(self) -> Device:
        return self._adapter("wh-1")

    def unwelcome(self) -> Device:
        return self._adapter("wh-1", serial="WH-9999")

    def nobody(self) -> Device:
        return self._adapter("wh-2")

    def stranger(self) -> Device:
        return self.unwelcome()

    async def emit_old(self, ago_s: float) -> None:
        assert self.double is not None
        await self.double.see("津A12345", backlog=True, ago_s=ago_s)

    def attach(self, session: Session) -> None:
        assert isinstance(session.device, Receiver)
        self.ingest.route(session.device.id, session.device, session.handle)

    async def prepare(self) -> None:
        if not self.running:
            await self.revive()

    async def emit(self) -> None:
        assert self.double is not None
        await self.double.see("津A12345")

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
        return [opening.milliseconds for opening in self.boom.openings]


class TestOpenedByReply(Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with WebhookBench(tmp_path, by_call=False) as bench:
            yield bench


class TestOpenedByCall(Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with WebhookBench(tmp_path, by_call=True) as bench:
            yield bench
