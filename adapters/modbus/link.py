"""One connection to a Modbus board: one request at a time, and no doubt about what was sent.

pymodbus does the frames. This adds what an opening needs: a request is never repeated, a lost connection is
known at once, a cancelled caller leaves no half-done exchange, and no exception but two gets out.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from gated.ports import Wire

# it reports every time-out as an error of its own; gated logs a device once down and once up
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class NotSent(Exception):
    """There is no connection: nothing was sent."""


class NoAnswer(Exception):
    """It was sent, and no sensible answer came; the connection is given up."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """A board, or a serial server, on the network."""

    host: str
    port: int
    framer: Literal["tcp", "rtu"]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self, **common: Any) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        framer = FramerType.RTU if self.framer == "rtu" else FramerType.SOCKET
        return AsyncModbusTcpClient(self.host, port=self.port, framer=framer, **common)


@dataclass(frozen=True, slots=True)
class Serial:
    """A board on a serial line (RS-485) of this box."""

    port: str
    baud: int
    parity: Literal["N", "E", "O"]
    stop_bits: int

    def __str__(self) -> str:
        return self.port

    def client(self, **common: Any) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        return AsyncModbusSerialClient(
            self.port,
            framer=FramerType.RTU,
            baudrate=self.baud,
            parity=self.parity,
            stopbits=self.stop_bits,
            **common,
        )


def _traced(wire: Wire, sending: bool, data: bytes) -> bytes:
    wire("out" if sending else "in", "frame", data)
    return data


class Link:
    """A connection. `timeout_s`: to connect, and for each answer."""

    def __init__(self, where: Tcp | Serial, timeout_s: float, wire: Wire | None = None) -> None:
        self._where = where
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[ModbusPDU]] = set()
        self.lost = asyncio.Event()
        self._client = where.client(
            timeout=timeout_s, retries=0, reconnect_delay=0, trace_connect=self._connection,
            **({} if wire is None else {"trace_packet": partial(_traced, wire)}),
        )  # fmt: skip
        self._timeout_s = timeout_s
        self._guard()

    async def connect(self) -> None:
        """Raises NotSent."""
        try:
            connected = await self._client.connect()
        except (OSError, ValueError):  # a serial port that is not there, or no such speed
            connected = False
        if not connected:
            self.lost.set()
            raise NotSent(f"no connection to {self._where}")

    async def close(self) -> None:
        """Lets what is under way end, and hangs up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout_s)
        self.drop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def drop(self) -> None:
        """Hangs up at once."""
        self.lost.set()
        self._client.close()

    async def ask(self, request: ModbusPDU) -> ModbusPDU:
        """One request and its answer, an exception of the board included. Cancelling the caller does not
        stop an exchange that has begun. Raises NotSent, NoAnswer."""
        task = asyncio.create_task(self._exchange(request))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _exchange(self, request: ModbusPDU) -> ModbusPDU:
        async with self._turn:
            if self.lost.is_set() or not self._client.connected:
                raise NotSent(f"no connection to {self._where}")
            answer: asyncio.Future[ModbusPDU] = asyncio.ensure_future(self._client.execute(False, request))
            lost = asyncio.ensure_future(self.lost.wait())
            try:
                waits: set[asyncio.Future[Any]] = {answer, lost}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    return answer.result()
                raise NoAnswer(f"{self._where} hung up before it answered")
            except (ModbusException, OSError) as error:
                self.drop()  # a late answer must not be taken for the next one's
                raise NoAnswer(f"{self._where} did not answer within {self._timeout_s:g} s") from error
            finally:
                for each in (answer, lost):
                    if not each.done():
                        each.cancel()
                await asyncio.gather(answer, lost, return_exceptions=True)

    def _done(self, task: asyncio.Task[ModbusPDU]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have been cancelled: it is known here

    def _connection(self, connected: bool) -> None:
        if not connected:
            self.lost.set()

    def _guard(self) -> None:
        """pymodbus raises on some garbage inside the event loop's callback, which would be logged as a
        crash; garbage means that the connection is of no use any more."""
        manager = self._client.ctx
        received = manager.callback_data

        def guarded(data: bytes, addr: tuple[str, int] | None = None) -> int:
            try:
                return received(data, addr)
            except Exception:  # whatever a decoder does with garbage
                self.drop()
                return len(data)

        manager.callback_data = guarded  # type: ignore[method-assign]
