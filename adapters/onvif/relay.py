"""Opening through ONVIF by a relay output that times its own pulse. (Doors of controllers: `doors`.)

Safety first: the pulse is timed by the device (Monostable), never by us, for a crash between "on" and "off"
would leave the contact closed. The command that opens is sent once, on a connection of its own. Only ever
"active" is sent; nothing here closes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from adapters.onvif import library
from adapters.onvif.camera import Camera, Faulted, Nonsense, NotOnvif, Target
from adapters.onvif.once import send_once
from gated.domain import OpeningOutcome
from gated.ports import ConfigError, DeviceError, DeviceRefused, Opened, Pulse

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Setting:
    """How an output is set up. `delay_ms`: length of its own pulse."""

    monostable: bool
    delay_ms: int
    idle_open: bool


class Relays:
    """The outputs of one device. `services`: where relay operations are tried, in order."""

    def __init__(
        self,
        camera: Camera,
        services: Mapping[str, Target],
        *,
        relay: str | None,
        pulse_ms: int,
    ) -> None:
        self._camera = camera
        self._services = dict(services)
        self._relay = relay
        self._pulse_ms = pulse_ms
        self._service = ""
        self._known: dict[str, Setting] = {}

    async def prepare(self) -> None:
        """Finds the outputs, and sets the configured one up for the usual pulse. Raises ConfigError where the
        configured one does not exist or cannot time a pulse; device errors as `Camera.call`. Without a
        configured one it only looks, and a device without outputs is as good as any."""
        try:
            await self._find()
        except (Faulted, Nonsense, NotOnvif) as error:
            if self._relay is not None:
                raise ConfigError(f"the device tells of no relay outputs: {error}") from None
        if self._relay is not None:
            if self._relay not in self._known:
                names = ", ".join(sorted(self._known)) or "none"
                raise ConfigError(f"the device has no relay output {self._relay!r}; it has: {names}")
            refusal = await self._set_up(self._relay, self._pulse_ms)
            if refusal:
                raise ConfigError(f"relay output {self._relay!r} {refusal}")
        for token in list(self._known)[:8]:
            await self._command(self._service, token)  # built now, so that opening does not wait for it

    async def open(self, pulse: Pulse) -> Opened:
        """Sends one pulse; see `gated.ports.Barrier`."""
        try:
            if not self._known:
                await self._find()
            token = self._choose(pulse.output)
            if token is None:
                return Opened(
                    OpeningOutcome.REJECTED, f"the device has no relay output {pulse.output or ''!r}"
                )
            refusal = await self._set_up(token, pulse.milliseconds)
        except DeviceRefused as error:
            return Opened(OpeningOutcome.REJECTED, str(error))
        except DeviceError as error:
            return Opened(
                OpeningOutcome.UNREACHABLE, f"nothing was opened, its relay could not be set up: {error}"
            )
        if refusal:
            return Opened(OpeningOutcome.REJECTED, f"relay output {token!r} {refusal}")
        opened, unsupported = await self._once(self._service, token)
        other = next((name for name in self._services if name != self._service), None)
        if unsupported and other is not None:
            # this service does not know the operation, so nothing was done
            opened, _ = await self._once(other, token)
        return opened

    # --- parts ----------------------------------------------------------------------------------------

    def _choose(self, output: str | None) -> str | None:
        """The output meant: by its token, by its place ("0" is the first), the configured one, the first."""
        if output is None:
            output = self._relay
        tokens = list(self._known)
        if output is None:
            return tokens[0] if tokens else None
        if output in self._known:
            return output
        return (
            tokens[int(output)]
            if output.isascii() and output.isdigit() and int(output) < len(tokens)
            else None
        )

    async def _find(self) -> None:
        """Asks DeviceIO, then the device service: devices have relays on one or the other."""
        failure: DeviceError | None = None
        for service, target in self._services.items():
            try:
                found = await self._camera.ask(service, target, "GetRelayOutputs")
            except (Faulted, Nonsense, NotOnvif) as error:
                failure = error
                continue
            known = {}
            for output in found if isinstance(found, list) else []:
                properties = output.get("Properties") or {}
                delay = properties.get("DelayTime")
                known[str(output.get("token"))] = Setting(
                    monostable=properties.get("Mode") == "Monostable",
                    delay_ms=round(delay.total_seconds() * 1000) if isinstance(delay, timedelta) else 0,
                    idle_open=properties.get("IdleState") == "open",
                )
            if known or not self._service:
                self._service, self._known = service, known
            if known:
                return
        if not self._service and failure is not None:
            raise failure

    async def _set_up(self, token: str, milliseconds: int) -> str:
        """Makes the device time a pulse of this length by itself, where it is not set so yet. Returns why
        not, for a person, or an empty string."""
        wanted = Setting(monostable=True, delay_ms=milliseconds, idle_open=True)
        known = self._known[token]
        if known == wanted:
            return ""
        properties = {
            "Mode": "Monostable",
            "DelayTime": timedelta(milliseconds=milliseconds),
            "IdleState": "open",
        }
        arguments: dict[str, object] = (
            {"RelayOutput": {"token": token, "Properties": properties}}
            if self._service == "deviceio"
            else {"RelayOutputToken": token, "Properties": properties}
        )
        try:
            operation = await library.build(self._service, "SetRelayOutputSettings", **arguments)
            await self._camera.call(self._services[self._service], operation.body, operation.action)
        except Faulted as error:
            # some firmwares let only their own page set the pulse: theirs will do, if it is one
            if known.monostable and known.idle_open and 500 <= known.delay_ms <= 1500:
                log.info("onvif_relay_keeps_its_own_pulse", relay=token, milliseconds=known.delay_ms)
                return ""
            return (
                f"cannot be set to time a pulse by itself ({error.fault}); set it to monostable in the device"
            )
        self._known[token] = wanted
        return ""

    async def _command(self, service: str, token: str) -> library.Operation:
        return await library.build(
            service, "SetRelayOutputState", RelayOutputToken=token, LogicalState="active"
        )

    async def _once(self, service: str, token: str) -> tuple[Opened, bool]:
        """Sends "active" once. Also returns whether the service did not even know the operation."""
        operation = await self._command(service, token)
        return await send_once(self._camera, self._services[service], operation.body, operation.action)
