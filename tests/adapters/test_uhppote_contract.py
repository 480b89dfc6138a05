"""The contract of adapters, kept by `adapters.uhppote` against a simulated controller, over UDP and TCP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest

from adapters.simulator.uhppote import UhppoteController
from adapters.uhppote import Config, create
from gated.domain import OpeningOutcome, Read
from gated.ports import Device
from tests.adapters.contract import Bench, Contract, Session, context, pulse, timed


def free_port() -> int:
    """A UDP port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class UhppoteBench(Bench):
    output = "1"

    def __init__(self, **settings: Any) -> None:
        self.double = UhppoteController()
        self.faults = self.double.faults
        self.settings = settings
        self.card = 9_700_000

    async def __aenter__(self) -> Self:
        await self.double.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.double.stop()

    def device(self, **settings: Any) -> Device:
        values = {
            "id": "gate-1", "type": "uhppote", "host": "127.0.0.1", "port": self.double.port,
            "controller": self.double.serial, "poll_ms": 20, "timeout_ms": 300,
        }  # fmt: skip
        return create(Config.model_validate(values | self.settings | settings), context("gate-1"))

    def unwelcome(self) -> Device:
        return self.device(controller=self.double.serial + 1, timeout_ms=60)

    def stranger(self) -> Device:
        return self.unwelcome()

    def nobody(self) -> Device:
        return self.device(port=1)

    async def emit(self) -> None:
        self.card += 1
        self.double.swipe(self.card)

    async def emit_old(self, ago_s: float) -> None:
        self.card += 1
        self.double.swipe(self.card, ago_s=ago_s)

    async def error_inside(self) -> None:
        self.faults.refuse = True

    async def vanish(self) -> None:
        await self.double.stop()

    async def revive(self) -> None:
        await self.double.start()

    def pulses(self) -> list[int]:
        return self.double.pulses


class UhppoteContract(Contract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with UhppoteBench(**self.settings) as bench:
            yield bench

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        """The door's own delay is the pulse, whatever is asked for: whole seconds, so that it can be one."""
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench, milliseconds))
            assert opened.outcome is OpeningOutcome.ACCEPTED, opened
            await asyncio.sleep(0.05)
        assert bench.pulses() == [1000]


class TestUdp(UhppoteContract):
    pass


class TestTcp(UhppoteContract):
    settings: ClassVar[dict[str, Any]] = {"protocol": "tcp"}


class TestListening(UhppoteContract):
    """Events are pushed, and it is hardly polled."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with UhppoteBench(listen=f"127.0.0.1:{free_port()}", poll_ms=250) as bench:
            yield bench

    async def test_what_is_pushed_is_there_at_once(self, bench: Bench) -> None:
        assert isinstance(bench, UhppoteBench)
        async with Session(bench, bench.device(poll_ms=5000)) as session:
            await asyncio.sleep(0.05)
            await bench.emit()
            event = (await session.reports(within=1))[0]
        assert isinstance(event, Read)
        assert not event.backlog
