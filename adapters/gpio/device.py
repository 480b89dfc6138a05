"""Pins of the box: its configuration, opening by a pulse that this process times, contacts as events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Annotated, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.gpio.pins import Contact, Pins
from gated.domain import DeviceEvent, InputChanged, OpeningOutcome
from gated.ports import DeviceConfig, DeviceContext, DeviceInfo, DeviceUnavailable, Opened, Pulse

log = structlog.get_logger()

_EVENTS_MOST = 1000

Pin = Annotated[int, Field(ge=0, le=255)]


class Input(BaseModel):
    """A contact. `pull`: "up" for one that is wired to ground, "down" for one to the supply. `bounce_ms`:
    changes within it are one. `inverted`: it speaks when it is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pin: Pin
    pull: Literal["up", "down"] = "up"
    bounce_ms: int = Field(default=20, ge=0, le=1000)
    inverted: bool = False


class Config(DeviceConfig):
    """Pins by their GPIO (BCM) numbers, not those of the connector. `outputs`: relays that gated may pulse.
    `active_high`: whether a relay closes at high level; many boards close at low. `check_ms`: how often it is
    looked whether the pins are still there."""

    type: Literal["gpio"]
    outputs: tuple[Pin, ...] = Field(default=(), max_length=64)
    active_high: bool = True
    inputs: tuple[Input, ...] = Field(default=(), max_length=64)
    check_ms: int = Field(default=2000, ge=20, le=60_000)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        pins = [*self.outputs, *(each.pin for each in self.inputs)]
        if not pins:
            raise ValueError("give outputs, inputs or both")
        if len(pins) != len(set(pins)):
            raise ValueError("a pin is named twice")
        return self


def create(config: Config, context: DeviceContext) -> GpioPins:
    """The device for a configuration; does no I/O."""
    return GpioPins(config, context)


class GpioPins:
    """`Device` and `Barrier`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._pins: Pins | None = None
        self._inverted = frozenset(each.pin for each in config.inputs if each.inverted)
        self._events: asyncio.Queue[tuple[int, bool]] = asyncio.Queue(_EVENTS_MOST)
        self._pulses: set[asyncio.Task[Opened]] = set()

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(vendor="GPIO", model=f"{len(self._config.outputs)} outputs")

    async def __aenter__(self) -> Self:
        """Takes the pins; outputs are off from then on. Raises ConfigError for a pin that the board has not,
        DeviceUnavailable where there are no pins."""
        loop = asyncio.get_running_loop()
        self._events = asyncio.Queue(_EVENTS_MOST)

        def changed(pin: int, closed: bool) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(self._changed, pin, closed)

        config = self._config
        contacts = [Contact(each.pin, each.pull, each.bounce_ms / 1000) for each in config.inputs]
        self._pins = await asyncio.to_thread(Pins, config.outputs, contacts, config.active_high, changed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pulses:
            await asyncio.wait(self._pulses)  # each ends by itself, and must: it switches off
        pins, self._pins = self._pins, None
        if pins is not None:
            await asyncio.to_thread(pins.close)

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """The contacts as they are (`initial`), then each change. Raises DeviceUnavailable once the pins are
        gone."""
        pins = self._pins
        if pins is None:
            raise DeviceUnavailable("the pins are not taken")
        for each in self._config.inputs:
            yield self._event(each.pin, pins.closed(each.pin), initial=True)
        while True:
            try:
                async with asyncio.timeout(self._config.check_ms / 1000):
                    pin, closed = await self._events.get()
            except TimeoutError:
                pins.alive()
                continue
            yield self._event(pin, closed)

    async def open(self, pulse: Pulse) -> Opened:
        """One pulse, timed here; it goes on to its end if the caller is cancelled. ACCEPTED says that the pin
        was switched, nothing of the relay behind it."""
        pins, pin = self._pins, self._output(pulse.output)
        if pin is None:
            return Opened(
                OpeningOutcome.REJECTED, f"{pulse.output!r} is not one of its outputs; nothing was sent"
            )
        if pins is None:
            return Opened(OpeningOutcome.UNREACHABLE, "the pins are not taken; nothing was sent")
        task = asyncio.create_task(self._pulse(pins, pin, pulse.milliseconds))
        self._pulses.add(task)
        task.add_done_callback(self._pulses.discard)
        return await asyncio.shield(task)

    async def _pulse(self, pins: Pins, pin: int, milliseconds: int) -> Opened:
        try:
            pins.switch(pin, True)
        except DeviceUnavailable as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        try:
            await asyncio.sleep(milliseconds / 1000)
        finally:
            try:
                pins.switch(pin, False)
            except DeviceUnavailable:
                log.error("relay_left_closed", device=self.id, output=pin)
                return Opened(OpeningOutcome.UNCERTAIN, "it was switched on, and not off again")
        return Opened(OpeningOutcome.ACCEPTED)

    def _output(self, output: str | None) -> int | None:
        if output is None:
            return self._config.outputs[0] if self._config.outputs else None
        number = int(output) if output.isascii() and output.isdigit() else -1
        return number if number in self._config.outputs else None

    def _changed(self, pin: int, closed: bool) -> None:
        if self._events.full():  # a contact that flutters without end: the latest counts
            self._events.get_nowait()
        self._events.put_nowait((pin, closed))

    def _event(self, pin: int, closed: bool, *, initial: bool = False) -> InputChanged:
        return InputChanged(
            device=self.id,
            received_at=self._context.now(),
            input=str(pin),
            active=closed is not (pin in self._inverted),
            initial=initial,
        )
