"""Modbus requests of a relay board and what its answers mean, on pymodbus' messages.

Pure: no I/O, no clock. The flash command is the one of Waveshare-type boards: FC05 to 0x0200 + relay, whose
value is no on or off but a time in units of 100 ms (`01 05 02 00 00 07`: relay 0 for 700 ms).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest, WriteSingleCoilRequest

from gated.domain import BarrierPosition, OpeningOutcome
from gated.ports import Opened

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway: the board does not answer",
}
MISCONFIGURED = frozenset({1, 2, 3})
"""Exceptions that say that this board has no such thing: trying again is of no use."""


class FlashRequest(ModbusPDU):
    """ "Flash on": the board closes the relay, and opens it itself after `units`."""

    function_code = 5
    rtu_frame_size = 8

    def __init__(self, address: int, units: int, dev_id: int) -> None:
        super().__init__(dev_id=dev_id, address=address)
        self.units = units

    def encode(self) -> bytes:
        return struct.pack(">HH", self.address, self.units)


@dataclass(frozen=True, slots=True)
class Board:
    """Where things are on a board. `flash_base`, `coil_base`, `input_base`: addresses of number 0."""

    unit: int = 1
    coil_base: int = 0
    input_base: int = 0
    flash_base: int = 0x0200
    flash_unit_ms: int = 100

    def flash(self, relay: int, milliseconds: int) -> ModbusPDU:
        """A pulse that the board times, to the nearest unit and at least one."""
        units = max(1, round(milliseconds / self.flash_unit_ms))
        return FlashRequest(self.flash_base + relay, units, self.unit)

    def switch(self, relay: int, closed: bool) -> ModbusPDU:
        """Closes or opens a relay for good."""
        return WriteSingleCoilRequest(address=self.coil_base + relay, bits=[closed], dev_id=self.unit)

    def coils(self, relay: int) -> ModbusPDU:
        """Asks whether a relay is closed."""
        return ReadCoilsRequest(address=self.coil_base + relay, count=1, dev_id=self.unit)

    def inputs(self, count: int) -> ModbusPDU:
        """Asks for the first `count` inputs."""
        return ReadDiscreteInputsRequest(address=self.input_base, count=count, dev_id=self.unit)


def exception(answer: ModbusPDU) -> int | None:
    """The exception code of an answer, None if it is none."""
    return answer.exception_code if answer.isError() else None


def says(code: int) -> str:
    """An exception in words."""
    return f"Modbus exception {code} ({EXCEPTIONS.get(code, 'unknown')})"


def opened(request: ModbusPDU, answer: ModbusPDU) -> Opened:
    """What the answer to a write means for an opening. A board echoes the address that it wrote."""
    code = exception(answer)
    if code is None:
        if answer.function_code != request.function_code or answer.address != request.address:
            return Opened(OpeningOutcome.UNCERTAIN, "the board answered something else")
        return Opened(OpeningOutcome.ACCEPTED)
    if code in (5, 11):  # it may yet do it, or may have done it
        return Opened(OpeningOutcome.UNCERTAIN, says(code))
    return Opened(OpeningOutcome.REJECTED, says(code))


def position(opened_switch: bool | None, closed_switch: bool | None) -> BarrierPosition:
    """Where the boom is by its limit switches, None where there is none. With one switch only the end that
    it proves is known; two that contradict each other prove nothing."""
    if opened_switch and closed_switch:
        return BarrierPosition.UNKNOWN
    if opened_switch:
        return BarrierPosition.OPEN
    if closed_switch:
        return BarrierPosition.CLOSED
    if opened_switch is False and closed_switch is False:
        return BarrierPosition.MOVING
    return BarrierPosition.UNKNOWN
