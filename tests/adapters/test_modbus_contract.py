"""The contract of adapters, kept by `adapters.modbus` against a simulated board."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
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


class SerialBench(ModbusBench):
    """The same board at the other end of a serial line: a pseudo-terminal, whose bytes are carried to it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("rtu", **settings)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        self._carried: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._carried = asyncio.create_task(self._carry())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._carried is not None:
            self._carried.cancel()
            await asyncio.gather(self._carried, return_exceptions=True)
        await super().__aexit__(kind, error, trace)
        os.close(self._master)
        os.close(self._slave)

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[bytes] = asyncio.Queue()
        loop.add_reader(self._master, lambda: told.put_nowait(os.read(self._master, 256)))
        try:
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.board.port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                back = asyncio.create_task(self._back(reader))
                try:
                    while not back.done():
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.02):
                                writer.write(await told.get())
                finally:
                    back.cancel()
                    writer.close()
        finally:
            loop.remove_reader(self._master)

    async def _back(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(256):
            os.write(self._master, data)

    def device(self, **settings: Any) -> Device:
        line = {"host": None, "port": 502, "serial": {"port": self.path, "baud": 115_200}}
        return super().device(**(line | settings))

    def nobody(self) -> Device:
        return self.device(serial={"port": "/dev/gated-has-no-such-line"})


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


class TestSerial(ModbusContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with SerialBench() as bench:
            yield bench
