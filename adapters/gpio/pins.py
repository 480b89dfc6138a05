"""The pins themselves, through gpiozero: every call is short, and every trouble one of two errors.

gpiozero is imported when a device is entered: only boxes that use it need it (`pip install gated[gpio]`).
Which library drives the pins is gpiozero's choice (lgpio on today's boards; `GPIOZERO_PIN_FACTORY` overrides
it).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from gated.ports import ConfigError, DeviceUnavailable


@dataclass(frozen=True, slots=True)
class Contact:
    """An input. `pull`: the resistor that holds it while the contact is open."""

    pin: int
    pull: Literal["up", "down"]
    bounce_s: float


class Pins:
    """Outputs, switched off when taken and when given back, and inputs. `changed` is called with a pin and
    whether its contact is closed, in a thread of gpiozero's."""

    def __init__(
        self,
        outputs: Sequence[int],
        contacts: Sequence[Contact],
        active_high: bool,
        changed: Callable[[int, bool], None],
    ) -> None:
        try:
            import gpiozero
        except ImportError:
            raise ConfigError("gpiozero is not installed: pip install 'gated[gpio]'") from None
        self._open: list[Any] = []
        self.outputs: dict[int, Any] = {}
        self.inputs: dict[int, Any] = {}
        # it warns of each pin library that it tries in vain; that none works is an error below
        warnings.filterwarnings("ignore", category=gpiozero.PinFactoryFallback)
        try:
            for pin in outputs:
                output = gpiozero.DigitalOutputDevice(pin, active_high=active_high, initial_value=False)
                self._open.append(output)
                self.outputs[pin] = output
            for contact in contacts:
                device = gpiozero.DigitalInputDevice(
                    contact.pin, pull_up=contact.pull == "up", bounce_time=contact.bounce_s or None
                )
                self._open.append(device)
                self.inputs[contact.pin] = device
                device.when_activated = lambda pin=contact.pin: changed(pin, True)
                device.when_deactivated = lambda pin=contact.pin: changed(pin, False)
        except gpiozero.BadPinFactory as error:
            self.close()
            raise DeviceUnavailable(f"this box offers no pins: {_first_line(error)}") from None
        except (gpiozero.GPIOZeroError, ValueError) as error:
            self.close()
            raise ConfigError(f"{type(error).__name__}: {_first_line(error)}") from None
        except OSError as error:
            self.close()
            raise DeviceUnavailable(f"the pins cannot be used: {error.strerror or error}") from None

    def switch(self, pin: int, closed: bool) -> None:
        """Closes or opens a relay's contact. Raises DeviceUnavailable."""
        output = self.outputs[pin]
        self._call(output.on if closed else output.off)

    def closed(self, pin: int) -> bool:
        """Whether an input's contact is closed. Raises DeviceUnavailable."""
        return bool(self._call(lambda: self.inputs[pin].value))

    def alive(self) -> None:
        """Raises DeviceUnavailable once the pins are gone."""
        for device in self._open:
            self._call(partial(getattr, device, "value"))

    def close(self) -> None:
        """Gives the pins back; outputs are off first."""
        for device in self._open:
            try:
                device.close()
            except Exception:  # noqa: S112 - gone already: there is nothing to give back
                continue
        self._open.clear()

    @staticmethod
    def _call(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except Exception as error:  # gpiozero lets through whatever its pin library raises
            raise DeviceUnavailable(f"the pins do not answer: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
