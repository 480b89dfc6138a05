"""The double of a configured device: what answers where its section says that the device is.

One builder for each type that can be simulated. MQTT doubles are at the broker of their device; what is on a
serial line is reached by a link at the configured path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.people import card_of
from gated.ports import ConfigError, DeviceConfig

_HEARTBEAT_S = 5.0
_BROKER_RETRY_S = 1.0


class Double(Protocol):
    """A simulated device."""

    faults: Faults

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


See = Callable[[str | None], Any]
"""Shows a double the vehicle (or, to a reader, the card of the holder) with this plate; may be awaitable."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a double is wired to. `booms`: by the output that raises them. `ingest`: base URL of pushes."""

    ingest: str
    faults: Faults
    booms: Mapping[str | None, Boom] = field(default_factory=dict)

    @property
    def boom(self) -> Boom:
        """The one boom of a device that has one."""
        return next(iter(self.booms.values()), Boom())

    def url(self, config: Any, rest: str = "") -> str:
        """Where a device pushes to, with its token."""
        return f"{self.ingest}/ingest/{config.id}{rest}?key={quote(config.token.value(), safe='')}"


@dataclass(frozen=True, slots=True)
class Simulated:
    """A double; how it is shown vehicles, if it sees them; how its inputs are set, if it has any."""

    double: Double
    see: See | None = None
    contact: Callable[[str, bool], None] | None = None


Build = Callable[[Any, Around], Simulated]


def simulated(config: DeviceConfig, around: Around) -> Simulated:
    """The double of a device. Raises ConfigError if nothing simulates it."""
    build = BUILDERS.get(config.type)
    if build is None:
        raise ConfigError(f"nothing simulates a device of type {config.type!r}")
    return build(config, around)


# --- one for each type ------------------------------------------------------------------------------------


def _onvif(given: Any, around: Around) -> Simulated:
    from adapters.simulator.onvif import OnvifCamera

    camera = OnvifCamera(
        username=given.username, password=given.password.value() if given.password else "", host=given.host,
        port=given.effective_port, boom=around.boom, faults=around.faults, serial=f"SIM-{given.id}",
    )  # fmt: skip
    return Simulated(camera, lambda plate: camera.push_plate(plate or ""))


def _modbus(given: Any, around: Around) -> Simulated:
    from adapters.simulator.modbus import ModbusRelayBoard

    board = ModbusRelayBoard(faults=around.faults, host=given.host, unit=given.unit)
    board.port = given.port
    for output, boom in around.booms.items():
        board.booms[int(output or 0)] = boom
    for output, ends in given.position.items():
        if ends.open is not None and ends.closed is not None:
            board.limit_inputs[int(output)] = (ends.open, ends.closed)
    return Simulated(board, contact=lambda number, active: board.set_input(int(number), active))


def _vzenith(given: Any, around: Around) -> Simulated:
    from adapters.simulator.vzenith import VzenithCamera, VzenithMqttCamera

    if given.broker is not None:
        by_mqtt = VzenithMqttCamera(
            given.broker.port, serial=given.serial, heartbeat_s=_HEARTBEAT_S, boom=around.boom,
            faults=around.faults, **_login(given.broker),
        )  # fmt: skip
        return Simulated(_AtBroker(by_mqtt), lambda plate: by_mqtt.see(plate or "_无_"))
    serial = {"serial": given.serial} if given.serial else {}
    camera = VzenithCamera(
        around.url(given), poll=given.poll, boom=around.boom, faults=around.faults, **serial
    )
    return Simulated(camera, camera.see)


def _webhook(given: Any, around: Around) -> Simulated:
    from adapters.simulator.webhook import WebhookDevice

    device = WebhookDevice(around.url(given), boom=around.boom, faults=around.faults, wait_ms=1000)
    return Simulated(device, device.see)


def _hikvision(given: Any, around: Around) -> Simulated:
    from adapters.simulator.hikvision import HikvisionCamera

    camera = HikvisionCamera(
        push_to=around.url(given) if given.events == "push" else None, heartbeat_s=_HEARTBEAT_S,
        boom=around.boom, faults=around.faults, login=(given.username, given.password.value()),
        **({"serial": given.serial} if given.serial else {}),
    )  # fmt: skip
    camera.server.port = given.port or 80
    return Simulated(camera, lambda plate: camera.see(plate or "unknown"))


def _dahua(given: Any, around: Around) -> Simulated:
    from adapters.simulator.dahua import DahuaCamera

    pushes = given.events == "push"
    kinds = ("DeviceInfo", "KeepAlive", "TollgateInfo")
    about: dict[str, Any] = {
        name: value for name in ("serial", "device_id") if (value := getattr(given, name)) is not None
    }
    if given.password is not None:
        about["login"] = (given.username, given.password.value())
    camera = DahuaCamera(
        push_to={kind: around.url(given, f"/NotificationInfo/{kind}") for kind in kinds} if pushes else None,
        heartbeat_s=_HEARTBEAT_S, resends=2, resend_s=1.0, boom=around.boom, faults=around.faults,
        **about,
    )  # fmt: skip
    camera.server.port = given.port or (0 if pushes else 80)
    return Simulated(camera, lambda plate: camera.see(plate or "unlicensed"))


def _mqtt_relay(given: Any, around: Around) -> Simulated:
    from adapters.simulator.mqtt_relay import MqttRelay

    relay = MqttRelay(
        given.broker.port, given.firmware, topic=given.topic, output=given.outputs[0], boom=around.boom,
        faults=around.faults, **_login(given.broker),
    )  # fmt: skip
    return Simulated(_AtBroker(relay), contact=lambda _input, active: relay.press(active))


def _reader(given: Any, around: Around) -> Simulated:
    from adapters.simulator.reader import HttpReader, MqttReader, SerialReader

    if given.transport == "http":
        by_http = HttpReader(
            around.url(given), form=given.body, field=given.field or "code", number=given.serial or "R-1",
            faults=around.faults,
        )  # fmt: skip
        return Simulated(by_http, lambda plate: _present(by_http.present, plate))
    if given.transport == "mqtt":
        by_mqtt = MqttReader(
            given.broker.port, topic=given.topic, form=given.body, field=given.field or "code",
            faults=around.faults, **_login(given.broker),
        )  # fmt: skip
        return Simulated(_AtBroker(by_mqtt), lambda plate: _present(by_mqtt.present, plate))
    line = SerialReader(faults=around.faults)
    return Simulated(_Plugged(line, Path(given.port)), lambda plate: _present(line.present, plate))


def _osdp(given: Any, around: Around) -> Simulated:
    from adapters.simulator.osdp import OsdpReader

    first = given.readers[0]
    key = bytes.fromhex(first.key.value()) if first.key else None
    reader = OsdpReader(address=first.address, key=key, faults=around.faults)

    def see(plate: str | None) -> None:
        if plate is not None:
            reader.present(int(card_of(plate)), bits=34)

    return Simulated(_Plugged(reader, Path(given.port)), see)


def _gat1400(given: Any, around: Around) -> Simulated:
    from adapters.simulator.gat1400 import Gat1400Camera

    camera = Gat1400Camera(
        around.ingest, number=given.number, username=given.username, password=given.token.value(),
        keepalive_s=_HEARTBEAT_S, faults=around.faults,
    )  # fmt: skip
    return Simulated(camera, camera.see)


def _uhppote(given: Any, around: Around) -> Simulated:
    from adapters.simulator.uhppote import UhppoteController

    board = UhppoteController(serial=given.controller, faults=around.faults, host=given.host)
    board.port = given.port
    for output, boom in around.booms.items():
        board.doors[int(output or given.doors[0])].boom = boom

    def see(plate: str | None) -> None:
        if plate is not None:
            board.swipe(int(card_of(plate)), given.doors[0])

    return Simulated(board, see)


BUILDERS: Mapping[str, Build] = {
    "onvif": _onvif,
    "modbus": _modbus,
    "vzenith": _vzenith,
    "webhook": _webhook,
    "hikvision": _hikvision,
    "dahua": _dahua,
    "mqtt_relay": _mqtt_relay,
    "reader": _reader,
    "osdp": _osdp,
    "gat1400": _gat1400,
    "uhppote": _uhppote,
}


# --- pieces -----------------------------------------------------------------------------------------------


async def _present(present: Callable[[str], Any], plate: str | None) -> None:
    """The holder's card; somebody without a plate has none either, and waits for the guard."""
    if plate is not None:
        await present(card_of(plate))


def _login(broker: Any) -> dict[str, Any]:
    if broker.username is None:
        return {}
    return {"username": broker.username, "password": broker.password.value() if broker.password else ""}


class _AtBroker:
    """A device at a broker that may not be there yet: it comes when the broker does, as hardware would."""

    def __init__(self, double: Any) -> None:
        self._double = double
        self.faults: Faults = double.faults
        self._coming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._coming = asyncio.create_task(self._come())
        await asyncio.wait([self._coming], timeout=_BROKER_RETRY_S)

    async def _come(self) -> None:
        while True:
            try:
                await self._double.start()
            except (OSError, TimeoutError):
                await asyncio.sleep(_BROKER_RETRY_S)
            else:
                return

    async def stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self._double.stop()


class _Plugged:
    """What is on a serial line, with a link at the path where the box has its port."""

    def __init__(self, double: Any, path: Path) -> None:
        self._double, self._path = double, path
        self.faults: Faults = double.faults

    async def start(self) -> None:
        await self._double.start()
        if self._path.exists() and not self._path.is_symlink():
            raise OSError(f"{self._path} is a real port: nothing is simulated there")
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(self._double.path)

    async def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        await self._double.stop()
