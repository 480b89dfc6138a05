"""A simulated ONVIF camera: a loopback server that really speaks SOAP over HTTP, checks real digests, and misbehaves on
demand.

Light: some hundreds run in one process. Never used at a real site. It does not import the adapter it is there to test.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import httptools
from lxml import etree

from adapters.simulator import onvif_soap as soap
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

_EVENTS = "http://www.onvif.org/ver10/events/wsdl"
_SERVICES = {
    "http://www.onvif.org/ver10/device/wsdl": "/onvif/device_service",
    _EVENTS: "/onvif/event_service",
    "http://www.onvif.org/ver10/media/wsdl": "/onvif/media_service",
    "http://www.onvif.org/ver10/deviceIO/wsdl": "/onvif/deviceio_service",
    "http://www.onvif.org/ver10/doorcontrol/wsdl": "/onvif/door_service",
}
_DIGEST_PART = re.compile(r'(\w+)="?([^",]*)"?')


@dataclass(slots=True)
class Quirks:
    """How this make of camera is peculiar; `Faults` are what goes wrong.

    `http_digest`: takes HTTP Digest only. `time_needs_password`: even GetSystemDateAndTime. `no_ononvif`: answers
    every request with a web page and status 200. `services`: False knows only GetCapabilities. `relays_on`:
    "deviceio", "device" or "" (says that nothing is supported). `monostable`: False takes no settings. `xaddr`: the
    base address it advertises. `references`: hands out ReferenceParameters and insists on getting them back.
    `subscriptions`: how many at once. `busy_creates`: so many CreatePullPoint are answered with 400 first.
    `renews`: False faults at Renew. `life_s`: longest life of a subscription. `tolerance_s`: of a digest's time.
    `plates`: "profile_m", "hikvision" or "axis". `bombs`, `floods`: so many pulls are answered with an entity bomb,
    with 100 MB. `deaf`: carries commands out and hangs up instead of answering.
    """

    http_digest: bool = False
    time_needs_password: bool = False
    no_onvif: bool = False
    services: bool = True
    relays_on: str = "deviceio"
    monostable: bool = True
    xaddr: str | None = None
    references: bool = False
    subscriptions: int = 10
    busy_creates: int = 0
    renews: bool = True
    life_s: float = 600.0
    tolerance_s: float = 60.0
    plates: str = "profile_m"
    bombs: int = 0
    floods: int = 0
    deaf: bool = False


@dataclass(frozen=True, slots=True)
class RelayOpening:
    """A relay that was switched on. `at`: seconds, monotonic. `milliseconds`: 0 where it stays on for ever."""

    at: float
    relay: str
    milliseconds: int


@dataclass(slots=True)
class _Relay:
    mode: str = "Bistable"
    delay: str = "PT0S"
    idle: str = "closed"


@dataclass(slots=True)
class _Subscription:
    number: int
    ends: float
    queue: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    poll: tuple[_Peer, int, asyncio.TimerHandle] | None = None


class OnvifCamera:
    """A camera with plates, inputs, relays and one door. `async with OnvifCamera() as camera: camera.port`.

    `boom`: pulsed by every relay. `clock`: the true time; the camera's own is `faults.clock_offset_s` away.
    `openings`: every relay that was switched on. `requests`: how often each operation was asked for.
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
        faults: Faults | None = None,
        quirks: Quirks | None = None,
        boom: Boom | None = None,
        serial: str = "SIM-ONVIF-1",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.host, self.port = host, port
        self.faults = faults or Faults()
        self.quirks = quirks or Quirks()
        self.boom = boom
        self.openings: list[RelayOpening] = []
        self.doors_opened: list[float] = []
        self.requests: dict[str, int] = {}
        self.refusals = 0
        self._username, self._password, self._serial = username, password, serial
        self._clock = clock
        self._relays = {token: _Relay() for token in relays}
        self._inputs = dict.fromkeys(inputs, False)
        self._subscriptions: dict[int, _Subscription] = {}
        self._nonces: deque[str] = deque(maxlen=500)
        self._http_nonces: dict[str, int] = {}
        self._number = 0
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    # --- life -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped, with no memory of subscriptions."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Off: nothing listens, everybody is hung up on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.forget()
        for peer in list(self._peers):
            peer.hang_up()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def forget(self) -> None:
        """Loses its subscriptions, as after a restart of its event service; polls that wait get a fault."""
        for subscription in list(self._subscriptions.values()):
            self._end(subscription)

    @property
    def now(self) -> datetime:
        """Its own clock."""
        return self._clock() + timedelta(seconds=self.faults.clock_offset_s)

    @property
    def listeners(self) -> int:
        return len(self._subscriptions)

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
        """A vehicle is read. `number`: the camera's own number of the car ("axis"), 0 counts on."""
        self._number += 1
        text = self.faults.plate(plate)
        made = soap.plate(
            style or self.quirks.plates,
            text,
            confidence,
            soap.stamp(self.now),
            channel,
            number or self._number,
        )
        self._publish(made)

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
        if not copies:
            return
        if self.faults.late_s > 0:
            self._later(self.faults.late_s, lambda: self._enqueue(message, copies))
        else:
            self._enqueue(message, copies)

    def _enqueue(self, message: str, copies: int = 1) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.queue.extend([message] * copies)
            self._deliver(subscription)

    def _later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        def run() -> None:
            self._timers.discard(handle)
            action()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)
        return handle

    # --- requests -------------------------------------------------------------------------------------

    def request(self, peer: _Peer, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
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
        operation = next(iter(root.find("{*}Body")), None) if root.find("{*}Body") is not None else None
        name = "" if operation is None else etree.QName(operation).localname
        self.requests[name] = self.requests.get(name, 0) + 1
        open_to_all = name == "GetSystemDateAndTime" and not self.quirks.time_needs_password
        if not open_to_all and not self._allowed(peer, method, target, headers, root):
            return
        if self.faults.hang and name != "SetRelayOutputState":
            return
        handler = getattr(self, f"_do_{name}", None)
        if operation is None or handler is None:
            peer.reply(400, soap.fault("ActionNotSupported", "no such action", "Receiver"))
            return
        handler(peer, target, root, operation)

    def _allowed(
        self, peer: _Peer, method: str, target: str, headers: Mapping[str, str], root: etree._Element
    ) -> bool:
        if self.faults.refuse:
            allowed = False
        elif self.quirks.http_digest:
            return self._http_digest(peer, method, target, headers)
        else:
            allowed = self._wsse(root)
        if not allowed:
            self.refusals += 1
            peer.reply(400, soap.fault("NotAuthorized", "The action requested requires authorization"))
        return allowed

    def _wsse(self, root: etree._Element) -> bool:
        token = root.find("{*}Header/{*}Security/{*}UsernameToken")
        if token is None:
            return not self._username
        name, digest = token.findtext("{*}Username", ""), token.findtext("{*}Password", "")
        nonce, created = token.findtext("{*}Nonce", ""), token.findtext("{*}Created", "")
        try:
            moment = datetime.fromisoformat(created)
            raw = base64.b64decode(nonce)
        except ValueError:
            return False
        wanted = hashlib.sha1(
            raw + created.encode() + self._password.encode(), usedforsecurity=False
        ).digest()
        fresh = (
            abs((moment - self.now).total_seconds()) <= self.quirks.tolerance_s and nonce not in self._nonces
        )
        self._nonces.append(nonce)
        return (
            fresh
            and name == self._username
            and secrets.compare_digest(base64.b64encode(wanted).decode(), digest)
        )

    def _http_digest(self, peer: _Peer, method: str, target: str, headers: Mapping[str, str]) -> bool:
        parts = dict(_DIGEST_PART.findall(headers.get("authorization", "").partition(" ")[2]))
        nonce = parts.get("nonce", "")

        def h(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        ha1, ha2 = h(f"{self._username}:simulated:{self._password}"), h(f"{method}:{target}")
        wanted = h(f"{ha1}:{nonce}:{parts.get('nc')}:{parts.get('cnonce')}:auth:{ha2}")
        used = int(parts.get("nc", "0") or "0", 16)
        good = self._http_nonces.get(nonce, 1 << 40) < used and parts.get("response") == wanted
        if good and parts.get("username") == self._username:
            self._http_nonces[nonce] = used
            return True
        if parts:
            self.refusals += 1
        offered = secrets.token_hex(16)
        self._http_nonces = {**dict(list(self._http_nonces.items())[-100:]), offered: 0}
        challenge = f'Digest realm="simulated", qop="auth", nonce="{offered}", algorithm=MD5'
        peer.reply(401, b"", headers={"WWW-Authenticate": challenge})
        return False

    def _say(self, peer: _Peer, body: str, action: str = "") -> None:
        """Answers, subject to what goes wrong now."""
        if self.faults.late_s > 0:
            self._later(self.faults.late_s, lambda: peer.reply(200, soap.envelope(body, action)))
        else:
            peer.reply(200, soap.envelope(body, action))

    # device

    def _do_GetSystemDateAndTime(self, peer: _Peer, *_: object) -> None:  # noqa: N802 - the wire's name
        self._say(peer, soap.system_time(self.now))

    def _do_GetDeviceInformation(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        self._say(peer, soap.device_information(self._serial))

    def _base(self) -> str:
        return self.quirks.xaddr or f"http://{self.host}:{self.port}"

    def _do_GetServices(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        if not self.quirks.services:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
            return
        self._say(peer, soap.services(self._base(), _SERVICES))

    def _do_GetCapabilities(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        self._say(peer, soap.capabilities(self._base(), device_io=True))

    # events

    def _do_CreatePullPointSubscription(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        if self.quirks.busy_creates > 0:
            self.quirks.busy_creates -= 1
            peer.reply(400, soap.fault("BlockedThreadUpperLimit"))
            return
        self._expire()
        if len(self._subscriptions) >= self.quirks.subscriptions:
            peer.reply(400, soap.fault("SubscribeCreationFailed", "too many subscriptions", "Receiver"))
            return
        self._number += 1
        made = _Subscription(self._number, time.monotonic() + self.quirks.life_s)
        self._subscriptions[made.number] = made
        address, reference = f"{self._base()}/onvif/subscription?Idx={made.number}", ""
        if self.quirks.references:
            address = f"{self._base()}/onvif/services"
            reference = (
                '<wsa:ReferenceParameters><dom0:SubscriptionId xmlns:dom0="http://www.axis.com/2009/event">'
                f"{made.number}</dom0:SubscriptionId></wsa:ReferenceParameters>"
            )
        body = soap.subscription(address, reference, soap.stamp(self.now), self._ends(made))
        self._say(peer, body, f"{_EVENTS}/EventPortType/CreatePullPointSubscriptionResponse")

    def _ends(self, subscription: _Subscription) -> str:
        return soap.stamp(self.now + timedelta(seconds=subscription.ends - time.monotonic()))

    def _expire(self) -> None:
        for each in [each for each in self._subscriptions.values() if each.ends < time.monotonic()]:
            self._end(each)

    def _end(self, subscription: _Subscription) -> None:
        self._subscriptions.pop(subscription.number, None)
        if subscription.poll is not None:
            peer, _, timer = subscription.poll
            subscription.poll = None
            timer.cancel()
            peer.reply(400, soap.fault("ResourceUnknown", "the subscription ended"))

    def _addressed(self, peer: _Peer, target: str, root: etree._Element) -> _Subscription | None:
        """The subscription that a request is for; without WS-Addressing there is none, as on several devices."""
        self._expire()
        number = target.rpartition("Idx=")[2]
        if self.quirks.references:
            number = root.findtext("{*}Header/{http://www.axis.com/2009/event}SubscriptionId", "")
        found = self._subscriptions.get(int(number)) if number.isdigit() else None
        if found is None or root.find("{*}Header/{http://www.w3.org/2005/08/addressing}Action") is None:
            peer.reply(400, soap.fault("ResourceUnknown", "unknown subscription"))
            return None
        return found

    def _do_SetSynchronizationPoint(  # noqa: N802
        self, peer: _Peer, target: str, root: etree._Element, _operation: etree._Element
    ) -> None:
        subscription = self._addressed(peer, target, root)
        if subscription is not None:
            subscription.queue.extend(self._input(token, "Initialized") for token in self._inputs)
            self._say(peer, "<tev:SetSynchronizationPointResponse/>")

    def _do_PullMessages(  # noqa: N802
        self, peer: _Peer, target: str, root: etree._Element, operation: etree._Element
    ) -> None:
        subscription = self._addressed(peer, target, root)
        if subscription is None:
            return
        seconds = _seconds(operation.findtext("{*}Timeout", "PT1S"))
        limit = int(operation.findtext("{*}MessageLimit", "100"))
        timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self._deliver(subscription, empty=True)
        )
        if subscription.poll is not None:
            subscription.poll[2].cancel()
        subscription.poll = (peer, limit, timer)
        self._deliver(subscription)

    def _deliver(self, subscription: _Subscription, *, empty: bool = False) -> None:
        """Answers a poll that waits, if there is something to say or its time is over."""
        if subscription.poll is None or not (subscription.queue or empty) or self.faults.hang:
            return
        peer, limit, timer = subscription.poll
        if peer.gone:
            subscription.poll = None
            return
        subscription.poll = None
        timer.cancel()
        queue = subscription.queue
        taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
        body = soap.envelope(
            soap.messages(soap.stamp(self.now), self._ends(subscription), taken),
            f"{_EVENTS}/PullPointSubscription/PullMessagesResponse",
        )
        if self.quirks.bombs > 0:
            self.quirks.bombs -= 1
            peer.reply(200, soap.BOMB)
        elif self.quirks.floods > 0:
            self.quirks.floods -= 1
            self._background(peer.flood(100 * 1024 * 1024))
        elif taken and (junk := self.faults.take_garbage()) is not None:
            peer.reply(200, junk)
        elif taken and self.faults.take_death():
            peer.reply(200, body, half=True)
        else:
            peer.reply(200, body)

    def _do_Renew(self, peer: _Peer, target: str, root: etree._Element, _operation: etree._Element) -> None:  # noqa: N802
        subscription = self._addressed(peer, target, root)
        if subscription is None:
            return
        if not self.quirks.renews:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
            return
        subscription.ends = time.monotonic() + self.quirks.life_s
        self._say(
            peer,
            f"<wsnt:RenewResponse><wsnt:TerminationTime>{self._ends(subscription)}</wsnt:TerminationTime>"
            f"<wsnt:CurrentTime>{soap.stamp(self.now)}</wsnt:CurrentTime></wsnt:RenewResponse>",
        )

    def _do_Unsubscribe(
        self, peer: _Peer, target: str, root: etree._Element, _operation: etree._Element
    ) -> None:  # noqa: N802
        subscription = self._addressed(peer, target, root)
        if subscription is not None:
            self._end(subscription)
            self._say(peer, "<wsnt:UnsubscribeResponse/>")

    # relays and doors

    def _here(self, peer: _Peer, target: str) -> bool:
        """Whether relays are served at this address."""
        wanted = {"deviceio": "/onvif/deviceio_service", "device": "/onvif/device_service"}.get(
            self.quirks.relays_on
        )
        if target != wanted:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
        return target == wanted

    def _do_GetRelayOutputs(self, peer: _Peer, target: str, *_: object) -> None:  # noqa: N802
        if not self._here(peer, target):
            return
        prefix = "tmd" if self.quirks.relays_on == "deviceio" else "tds"
        outputs = "".join(
            f'<{prefix}:RelayOutputs token="{token}"><tt:Properties><tt:Mode>{relay.mode}</tt:Mode><tt:DelayTime>'
            f"{relay.delay}</tt:DelayTime><tt:IdleState>{relay.idle}</tt:IdleState></tt:Properties></{prefix}:RelayOutputs>"
            for token, relay in self._relays.items()
        )
        outputs = outputs.replace(f"<{prefix}:RelayOutputs", "<tds:RelayOutputs").replace(
            f"</{prefix}:RelayOutputs", "</tds:RelayOutputs"
        )
        self._say(peer, f"<tds:GetRelayOutputsResponse>{outputs}</tds:GetRelayOutputsResponse>")

    def _do_SetRelayOutputSettings(  # noqa: N802
        self, peer: _Peer, target: str, _root: etree._Element, operation: etree._Element
    ) -> None:
        if not self._here(peer, target):
            return
        output = operation.find("{*}RelayOutput")
        token = operation.findtext("{*}RelayOutputToken", "") if output is None else output.get("token", "")
        relay = self._relays.get(token)
        if relay is None or not self.quirks.monostable:
            peer.reply(400, soap.fault("RelayToken" if relay is None else "ModeError", "not possible"))
            return
        relay.mode = operation.findtext(".//{*}Mode", relay.mode)
        relay.delay = operation.findtext(".//{*}DelayTime", relay.delay)
        relay.idle = operation.findtext(".//{*}IdleState", relay.idle)
        prefix = "tmd" if self.quirks.relays_on == "deviceio" else "tds"
        self._say(peer, f"<{prefix}:SetRelayOutputSettingsResponse/>")

    def _do_SetRelayOutputState(  # noqa: N802
        self, peer: _Peer, target: str, _root: etree._Element, operation: etree._Element
    ) -> None:
        if not self._here(peer, target):
            return
        token = operation.findtext("{*}RelayOutputToken", "")
        relay = self._relays.get(token)
        if relay is None:
            peer.reply(400, soap.fault("RelayToken", "unknown relay"))
            return
        if operation.findtext("{*}LogicalState") == "active":
            milliseconds = round(_seconds(relay.delay) * 1000) if relay.mode == "Monostable" else 0
            self.openings.append(RelayOpening(time.monotonic(), token, milliseconds))
            if self.boom is not None:
                self.boom.stuck = self.faults.stuck
                self.boom.pulse(milliseconds)
            self._relay_state(token, "active")
            if milliseconds:
                self._later(milliseconds / 1000, lambda: self._relay_state(token, "inactive"))
        if self.faults.hang:
            return
        if self.quirks.deaf:
            peer.hang_up()
        else:
            self._say(peer, "<tds:SetRelayOutputStateResponse/>")

    def _relay_state(self, token: str, state: str) -> None:
        topic = "tns1:Device/Trigger/Relay"
        self.push_event(topic, source={"RelayToken": token}, data={"LogicalState": state})

    def _do_AccessDoor(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        self.doors_opened.append(time.monotonic())
        if self.boom is not None:
            self.boom.pulse(700)
        self._say(peer, "<tdc:AccessDoorResponse/>")

    def _do_GetDoorState(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        state = "Open" if self.boom is not None and self.boom.open_contact else "Closed"
        self._say(
            peer,
            f"<tdc:GetDoorStateResponse><tdc:DoorState><tdc:DoorPhysicalState>{state}</tdc:DoorPhysicalState>"
            "<tdc:DoorMode>Locked</tdc:DoorMode></tdc:DoorState></tdc:GetDoorStateResponse>",
        )

    # pictures

    def _do_GetProfiles(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        profile = '<trt:Profiles token="Profile_1" fixed="true"><tt:Name>main</tt:Name></trt:Profiles>'
        self._say(peer, f"<trt:GetProfilesResponse>{profile}</trt:GetProfilesResponse>")

    def _do_GetSnapshotUri(self, peer: _Peer, *_: object) -> None:  # noqa: N802
        self._say(
            peer,
            f"<trt:GetSnapshotUriResponse><trt:MediaUri><tt:Uri>{self._base()}/snapshot.jpg?channel=1</tt:Uri>"
            "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false</tt:InvalidAfterReboot>"
            "<tt:Timeout>PT0S</tt:Timeout></trt:MediaUri></trt:GetSnapshotUriResponse>",
        )

    def _picture(self, peer: _Peer, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Pictures want HTTP Digest on every camera."""
        if not target.startswith("/snapshot.jpg"):
            peer.reply(404, soap.WEB_PAGE, "text/html")
        elif self._http_digest(peer, method, target, headers):
            peer.reply(200, soap.JPEG, "image/jpeg")

    # --- plumbing -------------------------------------------------------------------------------------

    def joined(self, peer: _Peer) -> None:
        self._peers.add(peer)

    def left(self, peer: _Peer) -> None:
        self._peers.discard(peer)

    def _background(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Peer(asyncio.Protocol):
    """One connection to the camera."""

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._target = ""
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server gives
        self._transport = transport
        self._camera.joined(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._camera.left(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.hang_up()

    def on_url(self, url: bytes) -> None:
        self._target = url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        headers, body = self._headers, b"".join(self._body)
        self._headers, self._body = {}, []
        method = self._parser.get_method().decode("latin-1")
        self._camera.request(self, method, self._target, headers, body)

    def reply(
        self,
        status: int,
        body: bytes,
        kind: str = "application/soap+xml; charset=utf-8",
        *,
        headers: Mapping[str, str] | None = None,
        half: bool = False,
    ) -> None:
        """Answers. `half`: of the body, and hangs up."""
        if self._transport is None or self.gone:
            return
        date = self._camera.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        lines = [
            f"HTTP/1.1 {status} X",
            f"Content-Type: {kind}",
            f"Date: {date}",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        self._transport.write(head + (body[: len(body) // 2] if half else body))
        if half:
            self._transport.close()

    async def flood(self, size: int) -> None:
        """An answer of so many bytes, in chunks, for as long as somebody listens."""
        assert self._transport is not None  # noqa: S101 - connected
        self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"10000\r\n" + b"<a>" + b"x" * 65533 + b"\r\n"
        for _ in range(size // 65536):
            if self.gone:
                return
            self._transport.write(block)
            while self._transport.get_write_buffer_size() > 1 << 20 and not self.gone:
                await asyncio.sleep(0.01)

    def hang_up(self) -> None:
        self.gone = True
        if self._transport is not None:
            self._transport.abort()


def _seconds(text: str) -> float:
    """An xs:duration of seconds and minutes."""
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", text)
    return 0.0 if found is None else int(found[1] or 0) * 60 + float(found[2] or 0)
