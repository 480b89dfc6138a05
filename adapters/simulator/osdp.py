"""A simulated OSDP reader: libosdp's peripheral device on a pseudo-terminal, in a thread of its own."""

from __future__ import annotations

import contextlib
import os
import tty
from typing import Any

from adapters.osdp.panel import library
from adapters.simulator._switch import Switched
from adapters.simulator.faults import Faults


class _Wire:
    """The reader's end of the line, with faults."""

    id = 1

    def __init__(self, end: int, faults: Faults) -> None:
        self.end, self._faults = end, faults
        self.dead = False

    def read(self, max_bytes: int) -> bytes:
        if self.dead:
            return b""
        try:
            return os.read(self.end, max_bytes)
        except OSError:  # nothing there, or closed
            return b""

    def write(self, buf: bytes) -> int:
        if self._faults.hang or self.dead:
            return len(buf)
        data = self._faults.take_garbage() or bytes(buf)
        if self._faults.take_death():
            data, self.dead = data[: len(data) // 2], True
        with contextlib.suppress(OSError):
            os.write(self.end, data)
        return len(buf)

    def flush(self) -> None:
        """Nothing is kept back."""


class OsdpReader(Switched):
    """`async with OsdpReader(key=...) as reader: reader.path`. `address`: 0 to 126; `key`: 16 bytes, or None
    for a reader without secure channel. `path` is the line's other end, the same as long as it is plugged in.
    Faults: `hang` answers nothing; `twice` reports a card twice; `die_mid_message` stops in a reply."""

    def __init__(self, *, address: int = 1, key: bytes | None = None, faults: Faults | None = None) -> None:
        self.address, self.key = address, key
        self.faults = faults or Faults()
        self.path = ""
        self._osdp = library()
        self._ends: tuple[int, int] | None = None
        self._device: Any = None

    async def start(self) -> None:
        """Plugged in and switched on."""
        self._ends = ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self.path = os.ttyname(theirs)
        self._switch_on(ours)

    def rekey(self, key: bytes) -> None:
        """Somebody sets another key in it; it starts anew."""
        assert self._ends is not None  # noqa: S101 - start
        self.key = key
        self._device.teardown()
        self._switch_on(self._ends[0])

    def _switch_on(self, ours: int) -> None:
        osdp = self._osdp
        can = [(osdp.Capability.CommunicationSecurity, 1, 1), (osdp.Capability.Readers, 1, 1)]
        can.append((osdp.Capability.ContactStatusMonitoring, 1, 2))
        flags = [osdp.LibFlag.EnforceSecure] if self.key else []
        info = osdp.PDInfo(
            self.address, _Wire(ours, self.faults), scbk=self.key, flags=flags,
            id=osdp.PdId(1, 2, 0x00A1B2C3, 0x01020304, 0x00050607),
        )  # fmt: skip
        self._device = osdp.PeripheralDevice(
            info, osdp.PDCapabilities(can), log_level=osdp.LogLevel.Emergency
        )
        self._device.start()

    async def stop(self) -> None:
        """Unplugged."""
        device, self._device = self._device, None
        if device is not None:
            device.teardown()
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)

    def present(self, number: int, bits: int = 26) -> None:
        """A card with `bits` bits, the parity bits of 26 and 34 included; subject to `faults`."""
        half = (bits - 2) // 2
        first = (number >> half).bit_count() % 2
        last = 1 - (number & ((1 << half) - 1)).bit_count() % 2
        value = number if bits not in (26, 34) else first << (bits - 1) | number << 1 | last
        size = (bits + 7) // 8
        event = {
            "event": self._osdp.Event.CardRead, "reader_no": 0, "format": self._osdp.CardFormat.Wiegand,
            "direction": 0, "length": bits, "data": (value << (size * 8 - bits)).to_bytes(size),
        }  # fmt: skip
        for _ in range(self.faults.copies()):
            self.report(event)

    def press(self, keys: str) -> None:
        """Keys of its keypad."""
        data = keys.replace("#", "\r").replace("*", "\x7f").encode()
        self.report({"event": self._osdp.Event.KeyPress, "reader_no": 0, "data": data})

    def tamper(self, active: bool) -> None:
        """It is taken off its wall, or back on it."""
        kind = self._osdp.StatusReportType.Local
        self.report({"event": self._osdp.Event.Status, "type": kind, "report": bytes([active, 0])})

    def input(self, states: bytes) -> None:
        """Its contacts change."""
        kind = self._osdp.StatusReportType.Input
        self.report({"event": self._osdp.Event.Status, "type": kind, "report": states})

    def report(self, event: dict[str, Any]) -> None:
        """Any of libosdp's events. Raises ConnectionError once it is unplugged."""
        if self._device is None:
            raise ConnectionError("the simulated reader is unplugged")
        self._device.submit_event(event)
