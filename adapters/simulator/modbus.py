"""A simulated Modbus relay board: Modbus TCP, or RTU frames over TCP, with the timed relays of Waveshare.

Speaks FC01, FC02, FC05 (also the "flash on" addresses 0x0200 + relay, whose value counts 100 ms) from its own
few lines of code, so that it shares no mistake with the library that the adapter uses.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Pulse:
    """A relay was closed for so long: as commanded if the board timed it, as measured if the host did. `at`:
    seconds on the board's clock when it closed."""

    relay: int
    milliseconds: int
    at: float


class ModbusRelayBoard(Switched):
    """`async with ModbusRelayBoard() as board: board.port`. `relays` and `inputs`: how many.

    `pulses` records every timed command, and every other time that a relay was closed when it opens;
    `coils` and `states` are its outputs and inputs now. `booms[relay]` is raised when that relay closes. With
    `limit_inputs[relay] = (open, closed)` the boom's limit switches are those inputs. Faults: `hang` answers
    no write (reads go on); `refuse` answers writes with "device failure"; `late_s` delays every answer.
    """

    def __init__(
        self,
        *,
        relays: int = 8,
        inputs: int = 8,
        unit: int = 1,
        framer: Literal["tcp", "rtu"] = "tcp",
        flash: bool = True,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.coils = [False] * relays
        self.states = [False] * inputs
        self.pulses: list[Pulse] = []
        self.booms: dict[int, Boom] = {}
        self.limit_inputs: dict[int, tuple[int, int]] = {}
        self.faults = faults or Faults()
        self.requests: list[bytes] = []
        self.port = 0
        self._unit, self._framer, self._flash, self._host, self._clock = unit, framer, flash, host, clock
        self._closed_at: dict[int, float] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped."""
        self._server = await asyncio.start_server(self._connected, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Power off: relays open (normally-open contacts), every connection is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for relay, closed in enumerate(self.coils):
            if closed:
                self._switch(relay, False)

    def set_input(self, number: int, active: bool) -> None:
        """A contact at an input closes or opens."""
        self.states[number] = active

    # --- the wire ---------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        try:
            while True:
                frame = await self._read(reader)
                if frame is None:
                    continue
                prefix, pdu = frame
                self.requests.append(pdu)
                answer = self._serve(pdu)
                if self.faults.late_s > 0:
                    await asyncio.sleep(self.faults.late_s)
                if self.faults.mute or (self.faults.hang and pdu[:1] == b"\x05"):
                    continue
                if not await self._write(writer, prefix, answer):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the board was switched off
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
        """Transaction id (empty in RTU) and PDU of the next request for this unit; None if for another."""
        if self._framer == "tcp":
            head = await reader.readexactly(7)
            body = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            return (head[:2], body) if head[6] == self._unit else None
        frame = await reader.readexactly(8)  # every request that it knows is 8 bytes long
        if crc(frame[:6]) != frame[6:]:
            return None
        return (b"", frame[1:6]) if frame[0] == self._unit else None

    async def _write(self, writer: asyncio.StreamWriter, prefix: bytes, pdu: bytes) -> bool:
        if self._framer == "tcp":
            frame = prefix + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([self._unit]) + pdu
        else:
            frame = bytes([self._unit]) + pdu
            frame += crc(frame)
        frame = self.faults.take_garbage() or frame
        dies = self.faults.take_death()
        writer.write(frame[: len(frame) // 2] if dies else frame * max(1, self.faults.copies()))
        await writer.drain()
        return not dies

    def _serve(self, pdu: bytes) -> bytes:
        function = pdu[0]
        if len(pdu) != 5 or function not in (1, 2, 5):
            return bytes([function | 0x80, ILLEGAL_FUNCTION])
        address, value = struct.unpack(">HH", pdu[1:])
        if function == 5:
            return self._command(pdu, address, value)
        bits = self.coils if function == 1 else self._inputs_now()
        if not (value >= 1 and address + value <= len(bits)):
            return bytes([function | 0x80, ILLEGAL_ADDRESS])
        packed = bytearray((value + 7) // 8)
        for offset, bit in enumerate(bits[address : address + value]):
            packed[offset // 8] |= bit << offset % 8
        return bytes([function, len(packed)]) + bytes(packed)

    def _command(self, pdu: bytes, address: int, value: int) -> bytes:
        if self.faults.refuse:
            return bytes([0x85, DEVICE_FAILURE])
        relay = address & 0xFF
        if relay >= len(self.coils) or address >> 8 not in ((0, 2) if self._flash else (0,)):
            return bytes([0x85, ILLEGAL_ADDRESS])
        if address >> 8 == 2:
            if not 1 <= value <= 0x7FFF:
                return bytes([0x85, ILLEGAL_VALUE])
            self._switch(relay, True, milliseconds=value * 100)
        elif value in (0x0000, 0xFF00):
            self._switch(relay, value == 0xFF00)
        else:
            return bytes([0x85, ILLEGAL_VALUE])
        return pdu

    # --- the relays and inputs --------------------------------------------------------------------------

    def _switch(self, relay: int, closed: bool, milliseconds: int | None = None) -> None:
        timer = self._timers.pop(relay, None)
        if timer is not None:
            timer.cancel()
        was, self.coils[relay] = self.coils[relay], closed
        now = self._clock()
        if milliseconds is not None:
            self.pulses.append(Pulse(relay, milliseconds, now))
        elif closed and not was:
            self._closed_at[relay] = now
        elif not closed and (since := self._closed_at.pop(relay, None)) is not None:
            self.pulses.append(Pulse(relay, round((now - since) * 1000), since))
        if closed and not was and (boom := self.booms.get(relay)):
            boom.stuck = self.faults.stuck
            boom.pulse(milliseconds or 0)
        if closed and milliseconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[relay] = loop.call_later(milliseconds / 1000, self._switch, relay, False)

    def _inputs_now(self) -> list[bool]:
        states = list(self.states)
        for relay, (opened, closed) in self.limit_inputs.items():
            states[opened] = self.booms[relay].open_contact
            states[closed] = self.booms[relay].closed_contact
        return states


def crc(frame: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first, as it is sent."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")
