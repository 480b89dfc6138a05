"""The doors of a controller (Profile C): opened by AccessDoor, or by the answer to what an access point asks.

Either is sent once, and only ever opens. `AccessTime` is sent only to a door that says it can be told
(`AccessTimingOverride`); else the door's own time counts. Bodies are written and replies read here, with
lxml: the loose ends of a controller's reply then cost one field and not the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

import structlog
from lxml import etree

from adapters.onvif.access import DOOR, MAX_TOKEN, REQUEST, TIMEOUT
from adapters.onvif.camera import Camera, Faulted, Nonsense, NotOnvif, Target
from adapters.onvif.envelope import local, payload, text_of
from adapters.onvif.message import boolean
from adapters.onvif.once import send_once
from adapters.onvif.times import duration
from gated.domain import BarrierPosition, DeviceEvent, Observed, OpeningOutcome, Read
from gated.ports import ConfigError, DeviceError, Opened, Pulse

log = structlog.get_logger()
_DOORS = "http://www.onvif.org/ver10/doorcontrol/wsdl"
_ACCESS = "http://www.onvif.org/ver10/accesscontrol/wsdl"
MAX_LISTED = 256
_PAGES = 16
_WAITING = 64
_PLACES = {"Open": BarrierPosition.OPEN, "Closed": BarrierPosition.CLOSED}


@dataclass(frozen=True, slots=True)
class Door:
    """What a door can do. `momentary`: knows AccessDoor. `timed`: takes our AccessTime."""

    momentary: bool
    timed: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """An access point waits for an answer. `at`: when we heard of it, on the loop's clock."""

    point: str
    credential: str
    at: float


class Doors:
    """The doors and access points of one device. `control`, `access`: where its services are; None where it
    has none. `door`: the configured one. `answer_s`: how old a request may be that is still answered."""

    def __init__(
        self,
        camera: Camera,
        *,
        control: Target | None,
        access: Target | None,
        door: str | None,
        answer_s: float,
    ) -> None:
        self._camera = camera
        self._control = control
        self._access = access
        self._door = door
        self._answer_s = answer_s
        self._known: dict[str, Door] = {}
        self._entities: dict[str, str] = {}  # access point -> its door
        self._waiting: dict[str, _Request] = {}
        self._now: Callable[[], float] = asyncio.get_running_loop().time

    async def prepare(self) -> None:
        """Asks what doors and access points there are. Raises ConfigError where the configured door does not
        exist or cannot be opened for a moment; device errors as `Camera.call`."""
        try:
            await self._look()
        except DeviceError as error:
            if self._door is not None:
                raise
            # a camera that only advertises doors is as good as any
            log.info("onvif_doors_not_listed", why=str(error)[:200])
        if self._door is None:
            return
        if self._control is None:
            raise ConfigError("the device has no door control service (ONVIF Profile C): `door` cannot work")
        known = self._known.get(self._door)
        if known is None and self._known:
            names = ", ".join(sorted(self._known)[:20])
            raise ConfigError(f"the device has no door {self._door!r}; it has: {names}")
        if known is not None and not known.momentary:
            raise ConfigError(f"door {self._door!r} cannot be opened for a moment (no AccessDoor)")

    async def _look(self) -> None:
        if self._control is not None:
            listed = await self._list(self._control, _DOORS, "GetDoorInfoList", "DoorInfo")
            self._known = {_token(each): _door(each) for each in listed if _token(each)}
        if self._access is not None and self._control is not None:
            listed = await self._list(self._access, _ACCESS, "GetAccessPointInfoList", "AccessPointInfo")
            self._entities = {
                _token(each): text_of(each, "Entity") for each in listed if _token(each) and _is_door(each)
            }

    def named(self, output: str | None) -> str | None:
        """The token of the door that an output names; None where it names none, and a relay is meant."""
        if output is None:
            return self._door
        return output.removeprefix(DOOR) if output.startswith(DOOR) else None

    def only(self, output: str | None) -> bool:
        """Whether `output` is the configured door and there is no other: then it is the device's position."""
        return self._door is not None and set(self._known) == {self._door} and output == DOOR + self._door

    def heard(self, event: DeviceEvent) -> None:
        """Remembers a request until it is answered, too old, or given up by the controller."""
        if isinstance(event, Read) and event.details.get("access") == REQUEST:
            if event.key is None or event.channel is None or event.key in self._waiting:
                return
            self._forget_old()
            while len(self._waiting) >= _WAITING:
                del self._waiting[next(iter(self._waiting))]
            token = event.details.get("credential_token", "")
            self._waiting[event.key] = _Request(event.channel, token, self._now())
        elif isinstance(event, Observed) and event.what == TIMEOUT:
            point = next((v for k, v in event.details.items() if k.lower() == "accesspointtoken"), None)
            self._waiting = {k: each for k, each in self._waiting.items() if each.point != point}

    async def open(self, token: str, pulse: Pulse) -> Opened:
        """Answers the request that the pulse answers, if it is for this door and still waits; else sends
        AccessDoor. See `gated.ports.Barrier`."""
        if self._control is None:
            return Opened(OpeningOutcome.REJECTED, "the device has no door control service")
        request = self._take(token, pulse.answers)
        if request is not None and self._access is not None:
            body = authorization(request.point, request.credential)
            action = f"{_ACCESS}/ExternalAuthorization"
            opened, unknown = await send_once(self._camera, self._access, body, action)
            if not unknown:
                return opened
        known = self._known.get(token)
        body = access_door(token, pulse.milliseconds if known is not None and known.timed else None)
        opened, _ = await send_once(self._camera, self._control, body, f"{_DOORS}/AccessDoor")
        return opened

    async def position(self, output: str | None) -> BarrierPosition:
        """Where a door is, asked now; UNKNOWN for a relay, and where the device does not say."""
        token = self.named(output)
        if token is None or self._control is None:
            return BarrierPosition.UNKNOWN
        body = f'<GetDoorState xmlns="{_DOORS}"><Token>{escape(token)}</Token></GetDoorState>'
        try:
            root = (await self._camera.call(self._control, body, f"{_DOORS}/GetDoorState")).root()
        except DeviceError:
            return BarrierPosition.UNKNOWN
        state = text_of(payload(root), "DoorState", "DoorPhysicalState")
        return _PLACES.get(state, BarrierPosition.UNKNOWN)

    # --- parts ----------------------------------------------------------------------------------------

    def _take(self, door: str, key: str | None) -> _Request | None:
        """The request with this key, which is not answered twice. None where its access point is not known
        to be one of this door: another door would open."""
        request = self._waiting.pop(key, None) if key is not None else None
        if request is None or self._now() - request.at > self._answer_s:
            return None
        return request if self._entities.get(request.point) == door else None

    def _forget_old(self) -> None:
        oldest = self._now() - self._answer_s
        self._waiting = {key: each for key, each in self._waiting.items() if each.at >= oldest}

    async def _list(self, target: Target, namespace: str, name: str, item: str) -> list[etree._Element]:
        """All items of a paged list, at most MAX_LISTED; none where the device does not know the request."""
        found: list[etree._Element] = []
        start = ""
        for _ in range(_PAGES):
            body = f'<{name} xmlns="{namespace}">{start}</{name}>'
            try:
                answer = await self._camera.call(target, body, f"{namespace}/{name}")
                said = payload(answer.root())
            except (Faulted, Nonsense, NotOnvif) as error:
                log.info("onvif_doors_not_listed", operation=name, why=str(error)[:200])
                break
            found += _items(said, item)
            reference = text_of(said, "NextStartReference")
            if not reference or len(reference) > MAX_TOKEN or len(found) >= MAX_LISTED:
                break
            start = f"<StartReference>{escape(reference)}</StartReference>"
        return found[:MAX_LISTED]


# --- pure parts -------------------------------------------------------------------------------------------


def access_door(token: str, milliseconds: int | None) -> str:
    """AccessDoor; `milliseconds` only for a door that takes them."""
    timed = "" if milliseconds is None else f"<AccessTime>{duration(milliseconds / 1000)}</AccessTime>"
    return f'<AccessDoor xmlns="{_DOORS}"><Token>{escape(token)}</Token>{timed}</AccessDoor>'


def authorization(point: str, credential: str) -> str:
    """ExternalAuthorization that grants. `credential`: the controller's token of it, or ""."""
    named = f"<CredentialToken>{escape(credential)}</CredentialToken>" if credential else ""
    return (
        f'<ExternalAuthorization xmlns="{_ACCESS}"><AccessPointToken>{escape(point)}</AccessPointToken>'
        f"{named}<Decision>Granted</Decision></ExternalAuthorization>"
    )


def _items(said: etree._Element | None, name: str) -> Iterator[etree._Element]:
    return (each for each in (() if said is None else said) if local(each) == name)


def _token(item: etree._Element) -> str:
    token = (item.get("token") or "").strip()
    return token if len(token) <= MAX_TOKEN else ""


def _door(item: etree._Element) -> Door:
    capabilities = next((each for each in item if local(each) == "Capabilities"), None)

    def says(name: str) -> bool | None:
        return None if capabilities is None else boolean(capabilities.get(name) or "")

    return Door(momentary=says("Access") is not False, timed=says("AccessTimingOverride") is True)


def _is_door(item: etree._Element) -> bool:
    """An access point's entity is a door unless it says that it is something else."""
    kind = text_of(item, "EntityType")
    return kind == "" or kind.rpartition(":")[2] == "Door"
