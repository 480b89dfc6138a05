"""Simulated pins: gpiozero's own mock board, with a boom behind an output, that can be unplugged."""

from __future__ import annotations

import time
from typing import Any

import gpiozero
from gpiozero.pins.mock import MockFactory, MockPin

from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults


class _Pin(MockPin):  # type: ignore[misc]
    def _get_state(self) -> Any:
        self._there()
        return super()._get_state()

    def _set_state(self, value: Any) -> None:
        self._there()
        super()._set_state(value)
        board = getattr(self.factory, "board", None)
        if board is not None:
            board.switched(self.info.name, bool(value))

    def _there(self) -> None:
        if getattr(self.factory, "gone", False):
            raise OSError("no such device")


class GpioBoard:
    """The board. `plug` makes its pins those of this process, `unplug` takes them away. `press` closes or
    opens the contact at a pin that is pulled up. `boom` is behind `output`."""

    def __init__(self, output: int = 17, *, faults: Faults | None = None, boom: Boom | None = None) -> None:
        self.faults, self.boom = faults or Faults(), boom or Boom()
        self._output = output
        self._factory: Any = None
        self._closed_at: float | None = None
        self._before: Any = None

    def plug(self) -> None:
        """The board is there."""
        self._factory = MockFactory(pin_class=_Pin)
        self._factory.board, self._factory.gone = self, False
        self._before = gpiozero.Device.pin_factory
        gpiozero.Device.pin_factory = self._factory

    def unplug(self) -> None:
        """The board is gone: every access to a pin fails."""
        if self._factory is not None:
            self._factory.gone = True
            gpiozero.Device.pin_factory = self._before

    def press(self, pin: int, closed: bool) -> None:
        """The contact at a pin."""
        found = self._factory.pin(pin)
        (found.drive_low if closed else found.drive_high)()

    def toggle(self, pin: int) -> None:
        """The contact at a pin closes, or opens if it was closed."""
        self.press(pin, bool(self._factory.pin(pin).state))

    def switched(self, name: str, high: bool) -> None:
        """An output was switched."""
        if name != f"GPIO{self._output}":
            return
        if high and self._closed_at is None:
            self._closed_at = time.monotonic()
        elif not high and self._closed_at is not None:
            self.boom.pulse(round((time.monotonic() - self._closed_at) * 1000))
            self._closed_at = None
