"""Both ends of GA/T 1400: a camera that registers and pushes plates, and a platform that is told of them.

Written from the standard's shapes; see `docs/devices/gat1400.md`. Fault switches: see `faults`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from adapters.simulator._http import HttpPoster, Request, Response
from adapters.simulator._stream import CameraServer
from adapters.simulator._switch import Switched
from adapters.simulator.faults import Faults

_ZONE = timezone(timedelta(hours=8))
_PAIR = re.compile(r'(\w+)="([^"]*)"')
_TYPE = "application/VIID+JSON"
NUMBER = "31011500001190000001"


class Gat1400Camera(Switched):
    """A camera. `url`: where `/VIID/...` is; `query`: added to each path. It registers by digest as
    `username`, if it is asked to. `answers`: the latest statuses and bodies."""

    def __init__(
        self,
        url: str,
        *,
        query: str = "",
        number: str = NUMBER,
        username: str | None = None,
        password: str = "right",  # noqa: S107 - of a loopback double
        keepalive_s: float = 0.1,
        faults: Faults | None = None,
    ) -> None:
        self.number, self.faults = number, faults or Faults()
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self._url, self._query = url.rstrip("/"), query
        self._login = (username or number, password)
        self._keepalive_s = keepalive_s
        self._count = 0
        self._registered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Switched on."""
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Switched off, without a word."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._registered.clear()

    async def see(self, plate: str | None, *, ago_s: float = 0) -> None:
        """A vehicle passes, or had passed so long ago."""
        self._count += 1
        moment = datetime.now(_ZONE) + timedelta(seconds=self.faults.clock_offset_s - ago_s)
        stamp = moment.strftime("%Y%m%d%H%M%S")
        vehicle = {
            "MotorVehicleID": f"{self.number}02{stamp}{self._count % 100000:05d}0200001", "InfoKind": 1,
            "SourceID": "", "DeviceID": self.number, "HasPlate": "0" if plate is None else "1",
            "PlateClass": "02", "PlateColor": "5", "PlateNo": self.faults.plate(plate) if plate else "无牌",
            "PassTime": stamp, "PlateReliability": "96",
        }  # fmt: skip
        for _ in range(self.faults.copies()):
            await self.tell("MotorVehicles", {"MotorVehicleListObject": {"MotorVehicleObject": [vehicle]}})

    async def tell(self, what: str, content: object) -> int:
        """Posts any object; its HTTP status, 0 if nobody answered."""
        if self.faults.mute:
            return 0
        async with self._turn:
            body = self.faults.take_garbage() or json.dumps(content, ensure_ascii=False).encode()
            answer = await self._post(what, body, cut=self.faults.take_death())
        if answer is None:
            return 0
        if answer.status == 401:
            self._registered.clear()
        told = json.loads(answer.body) if answer.body[:1] == b"{" else {}
        self.answers = [*self.answers[-99:], (answer.status, told)]
        return answer.status

    async def _live(self) -> None:
        while True:
            if not self._registered.is_set() and await self._register():
                self._registered.set()
            if self._registered.is_set():
                await self.tell("System/Keepalive", {"KeepaliveObject": {"DeviceID": self.number}})
            await asyncio.sleep(self._keepalive_s)

    async def _register(self) -> bool:
        body = json.dumps({"RegisterObject": {"DeviceID": self.number}}).encode()
        answer = await self._post("System/Register", body)
        if answer is not None and answer.status == 401:
            challenge = dict(_PAIR.findall(answer.headers.get("www-authenticate", "")))
            proof = self._proof(challenge, "/VIID/System/Register")
            answer = await self._post("System/Register", body, {"Authorization": proof})
        return answer is not None and answer.status == 200

    def _proof(self, challenge: dict[str, str], target: str) -> str:
        """RFC 2617 with MD5 and qop=auth."""

        def h(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        user, password = self._login
        realm, nonce, target = challenge["realm"], challenge["nonce"], target + self._query
        own = f"{nonce}:00000001:0a4f113b:auth"
        right = h(f"{h(f'{user}:{realm}:{password}')}:{own}:{h(f'POST:{target}')}")
        return (
            f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{target}", qop=auth, '
            f'nc=00000001, cnonce="0a4f113b", response="{right}"'
        )

    async def _post(
        self, what: str, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> Response | None:
        named = {"User-Identify": self.number, **(headers or {})}
        poster = HttpPoster(f"{self._url}/VIID/{what}{self._query}", named)
        try:
            return await poster.post(body, _TYPE, cut=cut, deaf=self.faults.hang)
        except OSError:
            return None
        finally:
            poster.close()


class DistrictOffice:
    """A platform. `vehicles`: what it was told, by their ids; `registered`: who is; `refuse`: plates that it
    never takes, with the status `refusal`; `spoils`: plates for which it refuses a whole list with HTTP 400;
    `busy`: answers all lists so; `plain`: status codes as texts, and one object where it can; `mentions`: how
    many of a list it has and speaks of; `double`: the status of a vehicle that it has already;
    `no_platform`: nothing is at its paths."""

    def __init__(self, *, login: tuple[str, str] = ("gated", "right"), faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.vehicles: dict[str, dict[str, Any]] = {}
        self.registered: set[str] = set()
        self.registrations = self.keepalives = self.lists = 0
        self.refuse: set[str] = set()
        self.spoils: set[str] = set()
        self.refusal, self.double = 8, 0
        self.mentions: int | None = None
        self.busy = self.plain = self.no_platform = False
        self.answer: Response | None = None
        """An answer to every list instead of its own."""
        self.server = CameraServer(
            self._asked, self.faults, login=login, guarded="/district/VIID/System/Register"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/district"

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()

    async def _asked(self, request: Request) -> Response | None:
        number = request.headers.get("user-identify", "")
        what = urlsplit(request.target).path.removeprefix("/district/VIID/")
        if self.no_platform:
            return Response(404)
        if what == "System/Register":
            self.registrations += 1
            self.registered.add(number)
            return self._one(0)
        if number not in self.registered:
            return Response(401, b"", _TYPE)
        if what == "System/UnRegister":
            self.registered.discard(number)
        elif what == "System/Keepalive":
            self.keepalives += 1
        elif what == "MotorVehicles":
            self.lists += 1
            return self.answer or self._told(json.loads(request.body))
        return self._one(0)

    def _told(self, content: dict[str, Any]) -> Response:
        said = []
        vehicles = content["MotorVehicleListObject"]["MotorVehicleObject"]
        if self.spoils & {vehicle["PlateNo"] for vehicle in vehicles}:
            return Response(400)
        for vehicle in vehicles[: self.mentions]:
            id_, code, words = vehicle["MotorVehicleID"], 2 if self.busy else 0, "said"
            if len(id_) != 48 or vehicle["PlateNo"] in self.refuse:
                code = self.refusal
            elif id_ in self.vehicles and self.double:
                code, words = self.double, "数据已存在"
            elif not self.busy:
                self.vehicles[id_] = vehicle
            said.append({"Id": id_, "StatusCode": str(code) if self.plain else code, "StatusString": words})
        outer: object = said[0] if self.plain and len(said) == 1 else said
        body = {"ResponseStatusListObject": {"ResponseStatusObject": outer}}
        return Response(200, json.dumps(body).encode(), _TYPE)

    def _one(self, code: int) -> Response:
        body = {"ResponseStatusObject": {"StatusCode": str(code) if self.plain else code, "StatusString": ""}}
        return Response(200, json.dumps(body).encode(), _TYPE)
