"""Takes the plates that a camera or a platform pushes as GA/T 1400 has it. It opens nothing.

Faces and persons are answered and dropped unread: no body of theirs is parsed, logged or kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from adapters._push import PushDevice
from adapters.gat1400 import codec
from gated.domain import Direction, Heartbeat, Read
from gated.ports import BadPush, DeviceContext, DeviceInfo, Handle, NumberedConfig, Push, PushReply, ZoneName

_UNREAD = frozenset(
    {"Faces", "Persons", "NonMotorVehicles", "Images", "VideoSlices", "Files", "Things", "Scenes", "APEs",
     "APSs", "Tollgates", "Lanes", "Cases", "VideoLabels", "AnalysisRules"}
)  # fmt: skip
"""Answered with OK, and their bodies dropped unread. Whatever else is not read here is refused unread:
subscriptions and their notifications, which carry faces, too."""
_SYSTEM = frozenset({"System/Register", "System/Keepalive", "System/UnRegister"})
_VEHICLES = "MotorVehicles"


class Config(NumberedConfig):
    """One camera, or one platform that pushes for many: `channel` of a lane's camera is then the 20 digits of
    the camera or tollgate. `directions`: what the sender's words for a direction mean. `timezone`: of its
    times. `silent_after_s`: it keeps alive every 30 to 60 s; offline after so long without a word."""

    type: Literal["gat1400"]
    directions: dict[str, Direction] = Field(default_factory=dict, max_length=32)
    timezone: ZoneName = "Asia/Shanghai"
    silent_after_s: float = Field(default=180.0, gt=0, le=86_400)


def create(config: Config, context: DeviceContext) -> Gat1400Source:
    """The device for a configuration; does no I/O."""
    return Gat1400Source(config, context)


class Gat1400Source(PushDevice):
    """`Device`, `Receiver` and `DropsUnread`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(context.id, config.silent_after_s)
        self._config, self._context = config, context
        self._zone = ZoneInfo(config.timezone)
        self._info = DeviceInfo(vendor="GA/T 1400", serial=config.number)

    def drops(self, path: str) -> bool:
        """See `gated.ports.DropsUnread`: faces, persons, and whatever else is not read here."""
        what = path.removeprefix("VIID/").strip("/")
        return what not in _SYSTEM and what not in (_VEHICLES, "System/Time")

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its events are durable. Raises BadPush, and what `handle` raises."""
        what = push.path.removeprefix("VIID/").strip("/")
        named = push.headers.get("user-identify", "").strip()
        if named and named != self._config.number:
            return self._stranger(what, named)
        if what.split("/")[0] in _UNREAD:
            self.presence.heard()
            return self._dropped(what)
        if what == "System/Time":
            self.presence.heard()
            local = self._context.now().astimezone(self._zone)
            return _reply(codec.system_time(self._config.number, local, self._config.timezone))
        if what not in _SYSTEM and what != _VEHICLES:
            return self._status(what, codec.INVALID_OPERATION, status=404)
        try:
            content = codec.load(push.body)
            if what in _SYSTEM:
                return await self._system(what, content, push, handle)
            return await self._vehicles(codec.objects(content), push, handle)
        except codec.Malformed as error:
            self._context.unparsed(self.id, "gat1400: malformed", push.body[:512], str(error))
            raise BadPush(str(error)) from None

    async def _system(self, what: str, content: dict[str, object], push: Push, handle: Handle) -> PushReply:
        number = codec.number_of(content, f"{what.partition('/')[2]}Object")
        if number and number != self._config.number:
            return self._stranger(what, number)
        self.presence.heard()
        await handle(Heartbeat(device=self.id, received_at=push.received_at))
        return self._status(what, codec.OK)

    async def _vehicles(self, objects: Sequence[object], push: Push, handle: Handle) -> PushReply:
        """One status for each: one that cannot be read does not take the others along, and those that are too
        many for one push are to come again."""
        self.presence.heard()
        if len(objects) > codec.MOST_ANSWERED:
            return self._status(_VEHICLES, codec.BUSY, status=413)
        said = []
        for given in objects[: codec.MOST_OBJECTS]:
            try:
                seen = codec.vehicle(given, self._zone)
            except codec.Malformed as error:
                names = repr(sorted(given))[:512] if isinstance(given, dict) else type(given).__name__
                self._context.unparsed(self.id, "gat1400: vehicle", names, str(error))
                said.append(self._said(_VEHICLES, codec.BAD_CONTENT, codec.id_of(given)))
                continue
            await handle(self._read(seen, push))
            said.append(self._said(_VEHICLES, codec.OK, seen.id))
        left = objects[codec.MOST_OBJECTS :]
        said += [self._said(_VEHICLES, codec.BUSY, codec.id_of(given)) for given in left]
        return _reply(codec.statuses(said))

    def _read(self, seen: codec.Vehicle, push: Push) -> Read:
        return Read(
            device=self.id,
            received_at=push.received_at,
            device_time=seen.at,
            key=seen.key,
            credential=seen.credential,
            raw=seen.raw,
            confidence=seen.confidence,
            channel=seen.device or None,
            direction=self._config.directions.get(seen.direction),
            details=seen.details,
        )

    def _stranger(self, what: str, number: str) -> PushReply:
        self.presence.stranger(f"a device with the number {number} pushes here, not {self._config.number}")
        return self._status(what, codec.INVALID_OPERATION, status=403)

    def _dropped(self, what: str) -> PushReply:
        """A list is answered by a list, or some senders take it for a failure and send it again."""
        if "/" in what:
            return self._status(what, codec.OK)
        return _reply(codec.statuses([self._said(what, codec.OK, "")]))

    def _said(self, what: str, code: int, id_: str) -> dict[str, object]:
        return codec.status(f"/VIID/{what}"[:200], code, id_, self._context.now().astimezone(self._zone))

    def _status(self, what: str, code: int, *, status: int = 200) -> PushReply:
        return _reply(codec.one_status(self._said(what, code, self._config.number)), status)


def _reply(body: bytes, status: int = 200) -> PushReply:
    return PushReply(status, body, codec.CONTENT_TYPE)
