"""A simulated ONVIF camera: a loopback server that really speaks SOAP over HTTP, checks real digests, and
misbehaves on demand.

Light: some hundreds run in one process. Never used at a real site. It does not import the adapter it is there
to test.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from lxml import etree

from adapters.simulator import onvif_soap as soap
from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.onvif_doors import DoorOpening, Doors
from adapters.simulator.onvif_events import Events, Operation
from adapters.simulator.onvif_quirks import Quirks
from adapters.simulator.onvif_wire import Guard, Peer

__all__ = ["DoorOpening", "OnvifCamera", "Quirks", "RelayOpening"]

_OPEN = frozenset({"SetRelayOutputState", "AccessDoor", "ExternalAuthorization"})
_RELAYS_AT = {"deviceio": "/onvif/deviceio_service", "device": "/onvif/device_service"}


@dataclass(frozen=True, slots=True)
class RelayOpening:
    """A relay that was switched on. `at`: seconds, monotonic. `milliseconds`: 0 where it stays on for
    ever."""

    at: float
    relay: str
    milliseconds: int


@dataclass(slots=True)
class _Relay:
    mode: str = "Bistable"
    delay: str = "PT0S"
    idle: str = "closed"


class OnvifCamera(Switched):
    """A camera with plates, inputs and relays, and a controller with doors and access points.

    `async with OnvifCamera() as camera: camera.port`.

    `boom`: pulsed by every relay and door. `access_points`: each with its door.
    `clock`: the true time; the camera's own is `faults.clock_offset_s` away. `openings`: every relay that was
    switched on; `doors.openings`: every door. `requests`: how often each operation was asked for.
    """

    def __init__(
        self,
        *,
        username: str = "gated",
        password: str = "simulated",  # noqa: S107 - of a loopback double
        host: str = "127.0.0.1",
        port: int = 0,
        relays: tuple[str, ...] = ("RelayOut_1",),
        inputs: tuple[str, ...] = ("Input_1", "Input_2"),
        doors: tuple[str, ...] = ("Door_1",),
        access_points: Mapping[str, str] = MappingProxyType({"Reader_1": "Door_1"}),
        faults: Faults | None = None,
        quirks: Quirks | None = None,
        boom: Boom | None = None,
        serial: str = "SIM-ONVIF-1",
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.host, self.port = host, port
        self.faults = faults or Faults()
        self.quirks = quirks or Quirks()
        self.boom = boom
        self.openings: list[RelayOpening] = []
        self.requests: dict[str, int] = {}
        self.peers: set[Peer] = set()
        self._serial = serial
        self._tls = tls
        self._clock = clock
        self._guard = Guard(username, password)
        self._events = Events(self)
        self.doors = Doors(self, doors, access_points)
        self._relays = {token: _Relay() for token in relays}
        self._inputs = dict.fromkeys(inputs, False)
        self._cars = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._operations: dict[str, Operation] = {
            **self._events.operations,
            **self.doors.operations,
            "GetSystemDateAndTime": lambda peer, *_: self.say(peer, soap.system_time(self.now)),
            "GetDeviceInformation": lambda peer, *_: self.say(peer, soap.device_information(self._serial)),
            "GetServices": self._services,
            "GetCapabilities": lambda peer, *_: self.say(peer, soap.capabilities(self.base)),
            "GetRelayOutputs": self._relay_outputs,
            "SetRelayOutputSettings": self._relay_settings,
            "SetRelayOutputState": self._relay_state,
            "GetProfiles": lambda peer, *_: self.say(peer, soap.PROFILES),
            "GetSnapshotUri": lambda peer, *_: self.say(peer, soap.snapshot_uri(self.base)),
        }

    # --- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped, with no memory of subscriptions."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Off: nothing listens, everybody is hung up on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for peer in list(self.peers):
            peer.hang_up()
        self._events.forget()
        self.doors.forget()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def forget(self) -> None:
        """Loses its subscriptions, as after a restart of its event service; polls that wait get a fault."""
        self._events.forget()

    @property
    def now(self) -> datetime:
        """Its own clock."""
        return self._clock() + timedelta(seconds=self.faults.clock_offset_s)

    @property
    def base(self) -> str:
        """The address that it advertises."""
        scheme = "http" if self._tls is None else "https"
        return self.quirks.xaddr or f"{scheme}://{self.host}:{self.port}"

    @property
    def listeners(self) -> int:
        """How many subscriptions it holds."""
        return len(self._events)

    @property
    def refusals(self) -> int:
        """How many wrong passwords it was told."""
        return self._guard.refusals

    # --- what happens in front of it ------------------------------------------------------------------

    def push_plate(
        self,
        plate: str,
        *,
        confidence: float = 0.95,
        channel: str = "",
        style: str | None = None,
        number: int = 0,
    ) -> None:
        """A vehicle is read. `number`: the camera's own number of the car ("axis"); 0 counts on."""
        self._cars += 1
        self._publish(
            soap.plate(
                style or self.quirks.plates,
                self.faults.plate(plate),
                confidence,
                soap.stamp(self.now),
                channel,
                number or self._cars,
            )
        )

    def push_event(
        self,
        topic: str,
        *,
        source: Mapping[str, str] | None = None,
        key: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        operation: str | None = "Changed",
        utc: str | None = None,
    ) -> None:
        """Any event; `utc` as it is to be written, or now."""
        when = soap.stamp(self.now) if utc is None else utc
        self._publish(soap.notification(topic, when, operation=operation, source=source, key=key, data=data))

    def set_input(self, token: str, active: bool) -> None:
        """An input contact changes (a loop, a limit switch, the fire release)."""
        self._inputs[token] = active
        self._publish(self._input(token, "Changed"))

    def state(self) -> list[str]:
        """The state of all inputs, as SetSynchronizationPoint replays it."""
        return [self._input(token, "Initialized") for token in self._inputs]

    def _input(self, token: str, operation: str) -> str:
        return soap.notification(
            "tns1:Device/Trigger/DigitalInput",
            soap.stamp(self.now),
            operation=operation,
            source={"InputToken": token},
            data={"LogicalState": "true" if self._inputs[token] else "false"},
        )

    def _publish(self, message: str) -> None:
        copies = self.faults.copies()
        if copies and self.faults.late_s > 0:
            self._later(self.faults.late_s, lambda: self._events.publish(message, copies))
        elif copies:
            self._events.publish(message, copies)

    # --- requests -------------------------------------------------------------------------------------

    def request(self, peer: Peer, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """One HTTP request; answered through `peer`, now, later or never."""
        if self.quirks.no_onvif:
            peer.reply(200, soap.WEB_PAGE, "text/html")
            return
        if method == "GET":
            self._picture(peer, method, target, headers)
            return
        try:
            root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
        except (etree.XMLSyntaxError, ValueError):
            peer.reply(400, soap.fault("WellFormed"))
            return
        operation = root.find("{*}Body/*")
        name = "" if operation is None else etree.QName(operation).localname
        self.requests[name] = self.requests.get(name, 0) + 1
        open_to_all = name == "GetSystemDateAndTime" and not self.quirks.time_needs_password
        if not open_to_all and not self._allowed(peer, method, target, headers, root):
            return
        if self.faults.hang and name not in _OPEN:
            return
        handler = self._operations.get(name)
        if operation is None or handler is None:
            peer.reply(400, soap.fault("ActionNotSupported", "no such action", "Receiver"))
            return
        handler(peer, target, root, operation)

    def say(self, peer: Peer, body: str, action: str = "") -> None:
        """Answers, late if it is slow now."""
        if self.faults.late_s > 0:
            self._later(self.faults.late_s, lambda: peer.reply(200, soap.envelope(body, action)))
        else:
            peer.reply(200, soap.envelope(body, action))

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something until it is done or the camera is off."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _allowed(
        self, peer: Peer, method: str, target: str, headers: Mapping[str, str], root: etree._Element
    ) -> bool:
        if not self.faults.refuse:
            if self.quirks.http_digest:
                return self._guard.digest(peer, method, target, headers)
            if self._guard.token(root, self.now, self.quirks.tolerance_s):
                return True
        self._guard.refusals += 1
        peer.reply(400, soap.fault("NotAuthorized", "The action requested requires authorization"))
        return False

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(handle)
            action()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)

    def _services(self, peer: Peer, *_: object) -> None:
        if self.quirks.services:
            self.say(peer, soap.services(self.base, self.quirks.doors))
        else:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))

    # --- relays, pictures ----------------------------------------------------------------------

    def _here(self, peer: Peer, target: str) -> bool:
        """Whether relays are served at this address."""
        if target == _RELAYS_AT.get(self.quirks.relays_on):
            return True
        peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
        return False

    def _relay_outputs(self, peer: Peer, target: str, *_: object) -> None:
        if self._here(peer, target):
            outputs = "".join(
                soap.relay_output(token, relay.mode, relay.delay, relay.idle)
                for token, relay in self._relays.items()
            )
            self.say(peer, f"<tds:GetRelayOutputsResponse>{outputs}</tds:GetRelayOutputsResponse>")

    def _relay_settings(
        self, peer: Peer, target: str, _root: etree._Element, operation: etree._Element
    ) -> None:
        if not self._here(peer, target):
            return
        output = operation.find("{*}RelayOutput")  # DeviceIO's form; the device service has two elements
        token = operation.findtext("{*}RelayOutputToken", "") if output is None else output.get("token", "")
        relay = self._relays.get(token)
        if relay is None or not self.quirks.monostable:
            peer.reply(400, soap.fault("RelayToken" if relay is None else "ModeError", "not possible"))
            return
        relay.mode = operation.findtext(".//{*}Mode", relay.mode)
        relay.delay = operation.findtext(".//{*}DelayTime", relay.delay)
        relay.idle = operation.findtext(".//{*}IdleState", relay.idle)
        prefix = "tmd" if self.quirks.relays_on == "deviceio" else "tds"
        self.say(peer, f"<{prefix}:SetRelayOutputSettingsResponse/>")

    def _relay_state(self, peer: Peer, target: str, _root: etree._Element, operation: etree._Element) -> None:
        if not self._here(peer, target):
            return
        token = operation.findtext("{*}RelayOutputToken", "")
        relay = self._relays.get(token)
        if relay is None:
            peer.reply(400, soap.fault("RelayToken", "unknown relay"))
            return
        if operation.findtext("{*}LogicalState") == "active":
            self._pulse(token, relay)
        if self.faults.hang:
            return  # done, and never answered
        if self.quirks.deaf:
            peer.hang_up()
        else:
            self.say(peer, "<tds:SetRelayOutputStateResponse/>")

    def _pulse(self, token: str, relay: _Relay) -> None:
        milliseconds = round(soap.seconds(relay.delay) * 1000) if relay.mode == "Monostable" else 0
        self.openings.append(RelayOpening(time.monotonic(), token, milliseconds))
        if self.boom is not None:
            self.boom.stuck = self.faults.stuck
            self.boom.pulse(milliseconds)
        self._relay_reports(token, "active")
        if milliseconds:
            self._later(milliseconds / 1000, lambda: self._relay_reports(token, "inactive"))

    def _relay_reports(self, token: str, state: str) -> None:
        self.push_event(
            "tns1:Device/Trigger/Relay", source={"RelayToken": token}, data={"LogicalState": state}
        )

    def _picture(self, peer: Peer, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Pictures want HTTP Digest on every camera."""
        if not target.startswith("/snapshot.jpg"):
            peer.reply(404, soap.WEB_PAGE, "text/html")
        elif self._guard.digest(peer, method, target, headers):
            peer.reply(200, soap.JPEG, "image/jpeg")
