"""A Modbus relay board: its configuration, opening by a pulse, inputs as events.

One connection (`link`), serialised requests. Pulses are timed by the board where it can ("device"); else by
this host ("host"), which then always switches off, also when it is cancelled, and again whenever it connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Annotated, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymodbus.pdu import ModbusPDU

from adapters.modbus import codec
from adapters.modbus.link import Link, NoAnswer, NotSent, Serial, Tcp
from gated.domain import BarrierPosition, DeviceEvent, InputChanged, OpeningOutcome, PositionChanged
from gated.ports import (
    ConfigError,
    DeviceConfig,
    DeviceContext,
    DeviceInfo,
    DeviceUnavailable,
    Opened,
    Pulse,
)

log = structlog.get_logger()

_ALIVE_S = 2.0  # how often a board without inputs is asked whether it is there
_OFF_ATTEMPTS = 3

Number = Annotated[int, Field(ge=0, le=255)]


class Ends(BaseModel):
    """Inputs at which a boom's limit switches are; at least one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: Number | None = None
    closed: Number | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.open is None and self.closed is None:
            raise ValueError("give open, closed or both")
        return self


class Line(BaseModel):
    """A serial line of this box. `port`: such as /dev/ttyUSB0; /dev/serial/by-id/... stays the same after a
    restart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: str = Field(pattern=r"^/dev/[^\s]{1,200}$")
    baud: int = Field(default=9600, ge=300, le=1_000_000)
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class Config(DeviceConfig):
    """One board, on the network (`host`) or on a serial line (`serial`). `framer`: "rtu" for serial servers
    that pass RTU frames through TCP. `outputs`: the relays that gated may pulse. `pulse`: "device" if the
    board has the flash command (`flash_base`, in units of `flash_unit_ms`), else "host". `inputs`: how many
    are polled, every `poll_ms`; `inverted`: those that are active when open. `position`: limit switches of a
    relay's boom."""

    type: Literal["modbus"]
    host: str | None = Field(default=None, min_length=1)
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=0, le=255)
    framer: Literal["tcp", "rtu"] = "tcp"
    serial: Line | None = None
    outputs: tuple[Number, ...] = Field(default=(0,), min_length=1)
    pulse: Literal["device", "host"] = "device"
    coil_base: int = Field(default=0, ge=0, le=65535)
    flash_base: int = Field(default=0x0200, ge=0, le=65535)
    flash_unit_ms: int = Field(default=100, ge=1, le=1000)
    inputs: int = Field(default=0, ge=0, le=256)
    input_base: int = Field(default=0, ge=0, le=65535)
    inverted: frozenset[Number] = frozenset()
    poll_ms: int = Field(default=200, ge=20, le=10_000)
    position: dict[str, Ends] = Field(default_factory=dict)
    timeout_ms: int = Field(default=1000, ge=50, le=10_000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.host is None) == (self.serial is None):
            raise ValueError("give host (on the network) or serial (a line of this box), one of the two")
        for output, ends in self.position.items():
            if output not in map(str, self.outputs):
                raise ValueError(f"position of {output!r}, which is not one of the outputs")
            for number in (ends.open, ends.closed):
                if number is not None and number >= self.inputs:
                    raise ValueError(f"position uses input {number}, but only {self.inputs} are polled")
        return self


def create(config: Config, context: DeviceContext) -> ModbusRelays:
    """The device for a configuration; does no I/O."""
    return ModbusRelays(config, context)


class ModbusRelays:
    """`Device`, `Barrier` and `Position`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._board = codec.Board(
            config.unit, config.coil_base, config.input_base, config.flash_base, config.flash_unit_ms
        )
        self._link: Link | None = None
        self._pulses: set[asyncio.Task[Opened]] = set()
        self._states: list[bool] = []

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(vendor="Modbus", model=f"{len(self._config.outputs)} outputs")

    async def __aenter__(self) -> Self:
        """Connects and checks that outputs and inputs exist. Raises ConfigError where the board says that
        they do not, DeviceUnavailable on anything else."""
        link = self._new_link()
        try:
            await link.connect()
            for relay in self._config.outputs:
                if self._config.pulse == "host":
                    # a crash between on and off leaves a relay closed
                    await self._checked(link, self._board.switch(relay, False), f"output {relay}")
                else:
                    await self._checked(link, self._board.coils(relay), f"output {relay}")
            self._states = await self._read(link) if self._config.inputs else []
        except (NotSent, NoAnswer) as error:
            await link.close()
            raise DeviceUnavailable(str(error)) from error
        except BaseException:
            await link.close()
            raise
        self._link = link
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pulses:
            await asyncio.wait(self._pulses)  # each ends by itself, and must: it switches off
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """The inputs as they are (`initial`) and where the booms are, then each change. Raises
        DeviceUnavailable when the connection is lost, ConfigError if the inputs are not there any more."""
        link = self._link
        if link is None:
            raise DeviceUnavailable("not connected")
        for number, state in enumerate(self._states):
            yield self._changed(number, state, initial=True)
        positions = self._positions(self._states)
        for output, where in positions.items():
            yield self._boom(output, where)
        interval = self._config.poll_ms / 1000 if self._config.inputs else _ALIVE_S
        while True:
            try:
                async with asyncio.timeout(interval):
                    await link.lost.wait()
                raise DeviceUnavailable("the connection was lost")
            except TimeoutError:
                pass
            try:
                if not self._config.inputs:
                    await link.ask(self._board.coils(self._config.outputs[0]))
                    continue
                states = await self._read(link)
            except (NotSent, NoAnswer) as error:
                raise DeviceUnavailable(str(error)) from error
            before, self._states = self._states, states
            for number, (old, new) in enumerate(zip(before, states, strict=True)):
                if old is not new:
                    yield self._changed(number, new)
            was, positions = positions, self._positions(states)
            for output, where in positions.items():
                if where is not was[output]:
                    yield self._boom(output, where)

    async def open(self, pulse: Pulse) -> Opened:
        """One pulse, sent once; see `gated.ports.Barrier`. A pulse that this host times goes on to its end
        if the caller is cancelled."""
        relay = self._relay(pulse.output)
        if relay is None:
            return Opened(
                OpeningOutcome.REJECTED, f"{pulse.output!r} is not one of its outputs; nothing sent"
            )
        if self._config.pulse == "device":
            return await self._write(self._board.flash(relay, pulse.milliseconds))
        task = asyncio.create_task(self._host_pulse(relay, pulse.milliseconds))
        self._pulses.add(task)
        task.add_done_callback(self._pulses.discard)
        return await asyncio.shield(task)

    async def position(self, output: str | None = None) -> BarrierPosition:
        """Where the boom of an output is, asked now; UNKNOWN without limit switches or without an answer."""
        relay = self._relay(output)
        if str(relay) not in self._config.position or self._link is None:
            return BarrierPosition.UNKNOWN
        try:
            states = await self._read(self._link)
        except (NotSent, NoAnswer, DeviceUnavailable, ConfigError):
            return BarrierPosition.UNKNOWN
        return self._positions(states)[str(relay)]

    # --- pieces -----------------------------------------------------------------------------------------

    def _new_link(self) -> Link:
        config, wire = self._config, self._context.wire
        seconds = config.timeout_ms / 1000
        if config.serial is not None:
            line = config.serial
            return Link(Serial(line.port, line.baud, line.parity, line.stop_bits), seconds, wire)
        assert config.host is not None  # noqa: S101 - Config sees to it
        return Link(Tcp(config.host, config.port, config.framer), seconds, wire)

    def _relay(self, output: str | None) -> int | None:
        if output is None:
            return self._config.outputs[0]
        number = int(output) if output.isascii() and output.isdigit() else -1
        return number if number in self._config.outputs else None

    def _positions(self, states: list[bool]) -> dict[str, BarrierPosition]:
        """Where the booms with limit switches are, by output."""
        return {
            output: codec.position(
                None if ends.open is None else states[ends.open],
                None if ends.closed is None else states[ends.closed],
            )
            for output, ends in self._config.position.items()
        }

    def _boom(self, output: str, where: BarrierPosition) -> PositionChanged:
        only = len(self._config.outputs) == 1  # a lane may then leave the output out
        return PositionChanged(
            device=self.id,
            received_at=self._context.now(),
            position=where,
            output=None if only else output,
        )

    def _changed(self, number: int, state: bool, *, initial: bool = False) -> InputChanged:
        return InputChanged(
            device=self.id,
            received_at=self._context.now(),
            input=str(number),
            active=state is not (number in self._config.inverted),
            initial=initial,
        )

    async def _checked(self, link: Link, request: ModbusPDU, what: str) -> ModbusPDU:
        answer = await link.ask(request)
        code = codec.exception(answer)
        if code in codec.MISCONFIGURED:
            raise ConfigError(f"the board has no {what}: {codec.says(code)}")
        if code is not None:
            raise DeviceUnavailable(f"{what}: {codec.says(code)}")
        return answer

    async def _read(self, link: Link) -> list[bool]:
        count = self._config.inputs
        answer = await self._checked(link, self._board.inputs(count), f"inputs 0 to {count - 1}")
        if len(answer.bits) < count:
            link.drop()
            raise NoAnswer("the board answered with fewer inputs than it was asked for")
        return [bool(bit) for bit in answer.bits[:count]]

    async def _write(self, request: ModbusPDU) -> Opened:
        if self._link is None:
            return Opened(OpeningOutcome.UNREACHABLE, "not connected; nothing was sent")
        try:
            return codec.opened(request, await self._link.ask(request))
        except NotSent as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        except NoAnswer as error:
            return Opened(OpeningOutcome.UNCERTAIN, f"{error}; not sent again")

    async def _host_pulse(self, relay: int, milliseconds: int) -> Opened:
        opened = await self._write(self._board.switch(relay, True))
        if opened.outcome in (OpeningOutcome.UNREACHABLE, OpeningOutcome.REJECTED):
            return opened
        try:
            await asyncio.sleep(milliseconds / 1000)
        finally:
            if not await self._switch_off(relay):
                log.error("relay_left_closed", device=self.id, output=relay)
                opened = Opened(opened.outcome, f"{opened.detail} the relay may still be closed".strip())
        return opened

    async def _switch_off(self, relay: int) -> bool:
        """Opens the relay, over a connection of its own if the first is gone. Off may be repeated safely."""
        link = self._link
        for attempt in range(_OFF_ATTEMPTS):
            fresh = None
            try:
                if link is None or link.lost.is_set():
                    link = fresh = self._new_link()
                    await link.connect()
                answer = await link.ask(self._board.switch(relay, False))
                if codec.exception(answer) is None:
                    return True
            except (NotSent, NoAnswer):
                await asyncio.sleep(0.1 * attempt)
            finally:
                if fresh is not None:
                    await fresh.close()
        return False
