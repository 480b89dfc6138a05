"""The contract of adapters, kept by `adapters.modbus` against a simulated board."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.modbus import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.modbus import ModbusRelayBoard
from gated.ports import ConfigError, Device
from tests.adapters.contract import Bench, Contract, context


class ModbusBench(Bench):
    refusal = ConfigError  # Modbus knows no credentials: "no" is an output that is not there

    def __init__(self, framer: Any = "tcp", **settings: Any) -> None:
        self.faults = Faults()
        self.board = ModbusRelayBoard(framer=framer, faults=self.faults)
        self.settings = {"framer": framer} | settings

    async def __aenter__(self) -> Self:
        await self.board.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.board.stop()

    def device(self, **settings: Any) -> Device:
        values = {
            "id": "relay-1", "type": "modbus", "host": "127.0.0.1", "port": self.board.port,
            "inputs": 4, "poll_ms": 20, "timeout_ms": 300,
        }  # fmt: skip
        return create(Config.model_validate(values | self.settings | settings), context("relay-1"))

    def unwelcome(self) -> Device:
        return self.device(outputs=[99])

    def nobody(self) -> Device:
        return self.device(port=1)

    async def emit(self) -> None:
        self.board.set_input(1, not self.board.states[1])

    async def vanish(self) -> None:
        await self.board.stop()

    async def revive(self) -> None:
        await self.board.start()

    def pulses(self) -> list[int]:
        return [each.milliseconds for each in self.board.pulses]


class ModbusContract(Contract):
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with ModbusBench(**self.settings) as bench:
            yield bench


class TestDeviceTimed(ModbusContract):
    settings = {"pulse": "device"}  # noqa: RUF012


class TestHostTimedRtu(ModbusContract):
    settings = {"pulse": "host", "framer": "rtu"}  # noqa: RUF012
