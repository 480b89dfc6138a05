"""OSDP readers on one RS-485 line: their configuration, cards and codes as reads, their state as events.

It opens nothing: see `panel`. What the events mean is in `codec`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters._repeats import Repeats
from adapters.osdp import codec
from adapters.osdp.panel import Panel, Seen, closed, in_thread
from gated.domain import Credential, CredentialKind, DeviceEvent, InputChanged, Observed, Read
from gated.ports import (
    ConfigError,
    DeviceConfig,
    DeviceContext,
    DeviceError,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Secret,
)

_TICK_S = 0.05
_SETTLE_S = 1.0
_MOST_WAITING = 256


class Reader(BaseModel):
    """One reader. `address`: as it is set in it. `key`: of its secure channel (SCBK), 32 hexadecimal digits
    in a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: int = Field(ge=0, le=126)
    key: Secret | None = None


class Config(DeviceConfig):
    """One line. `insecure`: readers without a key, or with that of install mode, are let be: what they read
    can then be heard and forged at the cable. `reversed`: they send a card's number with its
    last byte first. `keypad`: digits and "#" are a code, or ignored. `repeat_ms`:
    the same card at the same reader within that time is the same read. `silent_ms`: a reader that says
    nothing for so long is offline. `timeout_ms`: how long entering waits for a first reader."""

    type: Literal["osdp"]
    port: str = Field(pattern=r"^/\S+$", max_length=255)
    baud: Literal[9600, 19200, 38400, 57600, 115200, 230400] = 9600
    readers: tuple[Reader, ...] = Field(min_length=1, max_length=16)
    insecure: bool = False
    reversed: bool = False
    keypad: Literal["code", "ignore"] = "code"
    repeat_ms: int = Field(default=3000, ge=0, le=60_000)
    silent_ms: int = Field(default=3000, ge=300, le=60_000)
    timeout_ms: int = Field(default=5000, ge=100, le=30_000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        addresses = [reader.address for reader in self.readers]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two readers with the same address")
        if not self.insecure and any(reader.key is None for reader in self.readers):
            raise ValueError("give each reader its key, or set insecure: true if nobody can reach the line")
        return self


def create(config: Config, context: DeviceContext) -> OsdpReaders:
    """The device for a configuration; does no I/O."""
    return OsdpReaders(config, context)


class OsdpReaders:
    """`Device`. A read's `channel` is the reader's address."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self.id = context.id
        self._config = config
        self._context = context
        self._addresses = [reader.address for reader in config.readers]
        self._keypads = {address: codec.Keypad() for address in self._addresses}
        self._repeats = Repeats(config.repeat_ms / 1000)
        self._panel: Panel | None = None
        self._events: asyncio.Queue[DeviceEvent | DeviceError] = asyncio.Queue()
        self._states: dict[tuple[int, str], bool] = {}
        self._watching: asyncio.Task[None] | None = None
        self._info = DeviceInfo()

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        """Begins to poll and waits for a first reader. Raises ConfigError (no libosdp, no key), DeviceRefused
        (readers answer, but none takes its key), DeviceUnavailable."""
        config = self._config
        keys = {reader.address: self._key(reader) for reader in config.readers}
        loop = asyncio.get_running_loop()

        def seen(event: Seen) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(self._take, event)

        self._events = asyncio.Queue()
        self._states = {}
        panel = Panel(config.port, config.baud, keys, config.silent_ms / 1000, seen)
        await in_thread(panel)
        self._panel = panel
        try:
            await self._arrive(panel)
        except BaseException:
            self._panel = None
            await closed(panel)
            raise
        self._watching = asyncio.create_task(self._watch(panel), name=f"osdp {self.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watching, self._watching = self._watching, None
        panel, self._panel = self._panel, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        if panel is not None:
            await closed(panel)

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """Cards, codes, tamper, inputs, and readers that come and go ("offline"). Raises DeviceUnavailable
        when no reader is there any more, or the line is lost."""
        while True:
            event = await self._events.get()
            if isinstance(event, DeviceError):
                raise event
            yield event

    # --- pieces -----------------------------------------------------------------------------------------

    def _key(self, reader: Reader) -> bytes | None:
        if reader.key is None:
            return None
        try:
            return codec.key(reader.key.value(), insecure=self._config.insecure)
        except ValueError as error:
            raise ConfigError(f"reader {reader.address}: {error}") from None

    async def _arrive(self, panel: Panel) -> None:
        try:
            async with asyncio.timeout(self._config.timeout_ms / 1000):
                while panel.lost is None:
                    here = [address for address in self._addresses if panel.online(address)]
                    if here:
                        self._told(panel.says(here[0]))
                        return
                    await asyncio.sleep(_TICK_S)
        except TimeoutError:
            pass
        if panel.lost is not None:
            raise DeviceUnavailable(f"{self._config.port} is gone: {panel.lost}")
        if any(panel.challenged(address) for address in self._addresses):
            raise DeviceRefused(
                "a reader answers, but there is no secure channel with it: its key is another, or not set yet"
            )
        raise DeviceUnavailable(
            f"no reader answers at {self._config.port}: check address, baud rate, A and B"
        )

    def _told(self, says: Any) -> None:
        self._info = DeviceInfo(
            vendor=f"OSDP vendor {says.get('vendor_code', 0):06X}",
            model=f"{says.get('model', '')}.{says.get('version', '')}",
            firmware=f"{says.get('firmware_version', '')}",
            serial=f"{says.get('serial_number', 0):08X}",
        )

    async def _watch(self, panel: Panel) -> None:
        online: dict[int, bool] = {}
        while panel.lost is None:
            for address in self._addresses:
                here = panel.online(address)
                before = online.get(address)
                online[address] = here
                if before is None and here:
                    continue
                if here is not before:
                    self._observed(address, "offline", not here, initial=before is None)
            if not any(online.values()):
                self._events.put_nowait(DeviceUnavailable("no reader answers any more"))
                return
            await asyncio.sleep(_TICK_S)
        self._events.put_nowait(DeviceUnavailable(f"{self._config.port} is gone: {panel.lost}"))

    def _take(self, seen: Seen) -> None:
        if self._panel is None:
            return
        try:
            if seen.kind == codec.CARD:
                self._card(seen)
            elif seen.kind == codec.KEYS:
                self._keys(seen)
            else:
                self._status(seen)
        except (codec.Malformed, ValueError) as error:
            shape = ", ".join(sorted(map(str, seen.event)))[:200]  # its data may be a card number
            self._context.unparsed(self.id, f"osdp: {seen.kind}", shape, str(error))

    def _card(self, seen: Seen) -> None:
        card = codec.card(seen.event, backwards=self._config.reversed)
        credential = Credential(CredentialKind.CARD, card.number)
        self._read(seen, credential, card.raw, card.details)

    def _keys(self, seen: Seen) -> None:
        if self._config.keypad == "ignore":
            return
        at = asyncio.get_running_loop().time()
        for digits in self._keypads[seen.address].pressed(seen.event, at):
            self._read(seen, Credential(CredentialKind.CODE, digits), digits, {"format": "keypad"})

    def _read(self, seen: Seen, credential: Credential, raw: str, details: dict[str, str]) -> None:
        # a reader keeps what it read while nobody polled it, and does not say when that was
        backlog = seen.age_s < _SETTLE_S
        at = asyncio.get_running_loop().time()
        if self._repeats.repeated(f"{seen.address} {backlog} {credential.kind} {credential.value}", at):
            return
        self._put(
            Read(
                device=self.id,
                received_at=self._context.now(),
                credential=credential,
                raw=raw,
                backlog=backlog,
                channel=str(seen.address),
                details=details,
            )
        )

    def _status(self, seen: Seen) -> None:
        assert self._panel is not None  # noqa: S101 - _take
        for one in codec.status(seen.event, *self._panel.status_types()):
            known = (seen.address, f"input {one.name}" if one.input else one.name)
            before = self._states.get(known)
            self._states[known] = one.active
            if before is one.active or (before is None and not one.active and not one.input):
                continue
            if one.input:
                self._put(
                    InputChanged(
                        device=self.id,
                        received_at=self._context.now(),
                        input=f"{seen.address}:{one.name}",
                        active=one.active,
                        initial=before is None,
                    )
                )
            else:
                self._observed(seen.address, one.name, one.active)

    def _observed(self, address: int, what: str, active: bool, *, initial: bool = False) -> None:
        self._put(
            Observed(
                device=self.id,
                received_at=self._context.now(),
                what=what,
                active=active,
                initial=initial,
                details={"channel": str(address)},
            )
        )

    def _put(self, event: DeviceEvent) -> None:
        if self._events.qsize() >= _MOST_WAITING:
            self._context.unparsed(self.id, "osdp: flood", type(event).__name__, "more than can be taken in")
        else:
            self._events.put_nowait(event)
