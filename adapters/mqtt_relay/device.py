"""A relay at an MQTT broker: its configuration, opening by a pulse, inputs as events.

What the bytes mean is in `codec`; the connection is `adapters._mqtt`. A pulse is timed by the device (Shelly,
Tasmota, an ESPHome switch that turns itself off), or for an ESPHome switch that does not, by this host, which
then always switches off, also when it is cancelled, and again whenever it connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated, Literal, NamedTuple, Self

import structlog
from pydantic import Field, StringConstraints, model_validator

from adapters._mqtt import Broker, MqttLink
from adapters.mqtt_relay import codec
from gated.domain import DeviceEvent, InputChanged, OpeningOutcome
from gated.ports import (
    ConfigError,
    DeviceConfig,
    DeviceContext,
    DeviceError,
    DeviceInfo,
    DeviceUnavailable,
    Opened,
    Pulse,
)

log = structlog.get_logger()

_OFF_ATTEMPTS = 3
_EVENTS_MOST = 1000

Port = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Config(DeviceConfig):
    """One device. `firmware`: what it runs. `topic`: its own prefix or id at the broker. `outputs`: relays
    that gated may pulse (Shelly from "0", Tasmota from "1", ESPHome by name). `pulse`: who times it.
    `inverted`: inputs that are active when open. `timeout_ms`: for its answer. `alive_ms`: how often it is
    asked whether it is there, if it says nothing itself."""

    type: Literal["mqtt_relay"]
    firmware: Literal["shelly", "tasmota", "esphome"]
    broker: Broker = Broker()
    topic: str = Field(pattern=r"^[^#+\s/][^#+\s]{0,127}$")
    outputs: tuple[Port, ...] = Field(default=(), max_length=64, validate_default=True)
    pulse: Literal["device", "host"] = "device"
    inverted: frozenset[Port] = frozenset()
    timeout_ms: int = Field(default=2000, ge=50, le=10_000)
    alive_ms: int = Field(default=15_000, ge=100, le=600_000)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_names(cls, values: object) -> object:
        if isinstance(values, dict):
            values = dict(values)
            for key in ("outputs", "inverted"):
                if isinstance(values.get(key), list):
                    values[key] = [str(each) if type(each) is int else each for each in values[key]]
            if not values.get("outputs"):
                first = {"shelly": ["0"], "tasmota": ["1"]}.get(str(values.get("firmware")))
                if first is not None:
                    values["outputs"] = first
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.outputs:
            raise ValueError("outputs: name the switch that drives the barrier")
        if self.firmware != "esphome":
            if self.pulse == "host":
                raise ValueError(f"pulse: host is for esphome; {self.firmware} times its pulses itself")
            if not all(output.isdigit() for output in self.outputs):
                raise ValueError(f"outputs of {self.firmware} are numbers")
        return self


def create(config: Config, context: DeviceContext) -> MqttRelay:
    """The device for a configuration; does no I/O."""
    return MqttRelay(config, context)


class _Waiting(NamedTuple):
    """A request that was sent: an order to close a relay, or a question."""

    output: str
    answer: asyncio.Future[Opened]
    order: bool


class MqttRelay:
    """`Device` and `Barrier`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        me = f"gated-{context.id}-{secrets.token_hex(3)}"
        self._dialect = codec.DIALECTS[config.firmware](config.topic, me)
        self._link = MqttLink(
            config.broker, me, self._dialect.topics, timeout_s=config.timeout_ms / 1000, wire=context.wire
        )
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._events: asyncio.Queue[DeviceEvent | DeviceError] = asyncio.Queue(_EVENTS_MOST)
        self._states: dict[str, bool] = {}
        self._info = DeviceInfo()
        self._pump: asyncio.Task[None] | None = None
        self._pulses: set[asyncio.Task[Opened]] = set()
        self._here = asyncio.Event()
        self._online = False

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        """Connects to the broker and hears from the device. Raises ConfigError if it has no such output."""
        self._events = asyncio.Queue(_EVENTS_MOST)
        self._states, self._online = {}, False
        self._here.clear()
        self._info = DeviceInfo(vendor=self._config.firmware, model=self._config.topic)
        await self._link.__aenter__()
        try:
            self._pump = asyncio.create_task(self._listen(), name=f"mqtt {self.id}")
            for output in self._config.outputs:
                await self._ask(output)
            for sending in self._dialect.ask_itself(self._number(2)):
                await self._link.send(*sending)
            await self._present()
            if self._config.pulse == "host":
                for output in self._config.outputs:  # a crash between on and off leaves a relay closed
                    for sending in self._dialect.release(output, self._number()):
                        await self._link.send(*sending)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pulses:
            await asyncio.wait(self._pulses)  # each ends by itself, and must: it switches off
        await self._leave()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Inputs: as they are (`initial`), then each change. Raises DeviceUnavailable when the
        device has left the broker, or we have."""
        while True:
            try:
                async with asyncio.timeout(self._config.alive_ms / 1000):
                    event = await self._events.get()
            except TimeoutError:
                await self._ask(self._config.outputs[0])  # raises if it hangs, though the broker knows it
                continue
            if isinstance(event, DeviceError):
                raise event
            yield event

    async def open(self, pulse: Pulse) -> Opened:
        """One pulse, sent once; see `gated.ports.Barrier`. ACCEPTED is the device's own answer, not the
        broker's."""
        output = self._config.outputs[0] if pulse.output is None else pulse.output
        if output not in self._config.outputs:
            return Opened(OpeningOutcome.REJECTED, f"{output!r} is not one of its outputs; nothing was sent")
        if self._pump is None or not self._online:
            return Opened(OpeningOutcome.UNREACHABLE, "it is not at the broker; nothing was sent")
        if self._config.pulse == "device":
            return await self._sent(output, pulse.milliseconds)
        task = asyncio.create_task(self._host_pulse(output, pulse.milliseconds))
        self._pulses.add(task)
        task.add_done_callback(self._pulses.discard)
        return await asyncio.shield(task)

    # --- pieces -----------------------------------------------------------------------------------------

    async def _sent(self, output: str, milliseconds: int) -> Opened:
        number = self._number()
        answer: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(output, answer, order=True)
        topic, payload = self._dialect.pulse(output, milliseconds, number)
        try:
            return await self._link.order(topic, payload, answer, self._config.timeout_ms / 1000)
        finally:
            self._waiting.pop(number, None)

    async def _host_pulse(self, output: str, milliseconds: int) -> Opened:
        began = asyncio.get_running_loop().time()
        opened = await self._sent(output, milliseconds)
        if opened.outcome in (OpeningOutcome.UNREACHABLE, OpeningOutcome.REJECTED):
            return opened
        await asyncio.sleep(max(0.0, began + milliseconds / 1000 - asyncio.get_running_loop().time()))
        for _ in range(_OFF_ATTEMPTS):
            with contextlib.suppress(DeviceUnavailable):
                for sending in self._dialect.release(output, self._number()):
                    await self._link.send(*sending)
                return opened
        log.error("relay_left_closed", device=self.id, output=output)
        return Opened(OpeningOutcome.UNCERTAIN, "it was switched on, and could not be switched off again")

    async def _ask(self, output: str) -> None:
        """Asks for a relay and waits for the answer. Raises DeviceUnavailable, ConfigError."""
        number = self._number()
        answer: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(output, answer, order=False)
        sendings = self._dialect.ask(output, number)
        try:
            for sending in sendings:
                await self._link.send(*sending)
            if sendings:
                async with asyncio.timeout(self._config.timeout_ms / 1000):
                    opened = await answer
                if opened.outcome is OpeningOutcome.REJECTED:
                    raise ConfigError(f"the device has no output {output}: {opened.detail}")
                self._online = True
        except TimeoutError:
            raise DeviceUnavailable(f"{self._config.topic} does not answer at the broker") from None
        finally:
            self._waiting.pop(number, None)

    async def _present(self) -> None:
        """Until it has said that it is there (ESPHome), or how its inputs are."""
        try:
            async with asyncio.timeout(self._config.timeout_ms / 1000):
                await self._here.wait()
        except TimeoutError:
            if not self._online:
                raise DeviceUnavailable(f"{self._config.topic} is not at the broker") from None

    def _number(self, many: int = 1) -> int:
        number = next(self._numbers)
        for _ in range(many - 1):
            next(self._numbers)
        return number

    async def _listen(self) -> None:
        try:
            async for message in self._link.messages():
                try:
                    heard = self._dialect.heard(message.topic, message.payload)
                except (codec.Malformed, ValueError) as error:
                    kind = f"mqtt_relay: {message.topic}"
                    self._context.unparsed(self.id, kind, message.payload[:512], str(error))
                    continue
                for one in heard:
                    self._take(one)
        except DeviceError as error:
            self._lost(error)

    def _take(self, heard: codec.Heard) -> None:
        if isinstance(heard, codec.Online):
            self._online = heard.online
            if heard.online and self._config.firmware == "esphome":
                self._here.set()
            elif not heard.online:
                self._lost(DeviceUnavailable(f"{self._config.topic} has left the broker"))
        elif isinstance(heard, codec.Switched):
            self._answered(heard)
        elif isinstance(heard, codec.Refused):
            waiting = self._waiting.get(heard.answers)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(Opened(OpeningOutcome.REJECTED, heard.why))
        elif isinstance(heard, codec.Input):
            self._input(heard)
        else:
            self._told(heard)

    def _answered(self, heard: codec.Switched) -> None:
        """An order to close is answered by a closed contact, a question by any. Firmware that numbers its
        answers is held to them."""
        for number, waiting in self._waiting.items():
            if heard.answers is not None:
                mine = number == heard.answers
            else:
                mine = waiting.output == heard.output and (heard.closed or not waiting.order)
            if mine and not waiting.answer.done():
                waiting.answer.set_result(Opened(OpeningOutcome.ACCEPTED))
                return

    def _input(self, heard: codec.Input) -> None:
        before = self._states.get(heard.input)
        if before is heard.active or (before is None and len(self._states) >= 64):
            return
        self._states[heard.input] = heard.active
        event = InputChanged(
            device=self.id,
            received_at=self._context.now(),
            input=heard.input,
            active=heard.active is not (heard.input in self._config.inverted),
            initial=before is None,
        )
        self._put(event)

    def _told(self, told: codec.Told) -> None:
        if told.all:
            self._here.set()
        known = self._info
        drift = known.clock_drift
        if told.unix is not None and 1.2e9 < told.unix < 4e9:
            drift = datetime.fromtimestamp(told.unix, UTC) - self._context.now()
        self._info = DeviceInfo(
            known.vendor,
            told.model or known.model,
            told.firmware or known.firmware,
            told.serial or known.serial,
            drift,
        )

    def _lost(self, error: DeviceError) -> None:
        self._online = False
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(DeviceUnavailable(str(error)))
        while self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(error)

    def _put(self, event: DeviceEvent) -> None:
        if self._events.full():
            self._lost(DeviceUnavailable("it sends more than can be taken in"))
        else:
            self._events.put_nowait(event)

    async def _leave(self) -> None:
        pump, self._pump = self._pump, None
        self._online = False
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
        await self._link.__aexit__()
