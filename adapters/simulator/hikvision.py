"""A simulated Hikvision barrier camera: ISAPI on a real socket, with digest, alertStream and pushes.

Written from `docs/devices/hikvision.md`. What an installed camera would be found with is set by arguments:
which routes to the barrier its firmware has, whether its boom has a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson

from adapters import _xml
from adapters.simulator._http import HttpPoster, Request, Response
from adapters.simulator._stream import CameraServer, Stream
from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from gated.domain import BarrierPosition

_ZONE = timezone(timedelta(hours=8))
_JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 64 + b"\xff\xd9"
_ALERT = """<EventNotificationAlert version="2.0" xmlns="http://www.isapi.org/ver20/XMLSchema">
<ipAddress>127.0.0.1</ipAddress><macAddress>02:00:5e:00:00:01</macAddress><channelID>1</channelID>
<dateTime>{time}</dateTime><activePostCount/><eventType>{kind}</eventType><eventState>{state}</eventState>
<eventDescription>{kind}</eventDescription>{more}</EventNotificationAlert>"""
_STATUS = """<ResponseStatus version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema">
<requestURL>{url}</requestURL><statusCode>{code}</statusCode><statusString>{text}</statusString>
<subStatusCode>{sub}</subStatusCode></ResponseStatus>"""


class HikvisionCamera(Switched):
    """One camera. `gate`: the way to its barrier that its firmware has ("barrierGate", "barrierGateCtrl",
    "output"). `push_to`: an ingest URL, instead of the stream. `pulse_ms`: how long its barrier contact is
    closed. `list`: its allow-list, plate to (id, type, end)."""

    def __init__(
        self,
        *,
        gate: str = "barrierGate",
        serial: str = "DS-TCG000-SIM0001",
        push_to: str | None = None,
        pulse_ms: int = 500,
        signal: bool = True,
        heartbeat_s: float = 0.1,
        faults: Faults | None = None,
        boom: Boom | None = None,
        **server: Any,
    ) -> None:
        self.gate, self.serial, self.pulse_ms, self.signal = gate, serial, pulse_ms, signal
        self.faults, self.boom = faults or Faults(), boom or Boom()
        self.list: dict[str, tuple[str, str, str]] = {}
        self.listed_most = 10_000
        self.plates: list[tuple[str, str]] = []
        self.status: tuple[int, str, str] | None = None
        """An answer to every command instead of its own: code, text, sub-status; with HTTP 200."""
        self._heartbeat = heartbeat_s
        self._server = CameraServer(self._answer, self.faults, **({"guarded": "/ISAPI/"} | server))
        self._poster = HttpPoster(push_to, {}) if push_to else None
        self._streams: set[asyncio.Queue[bytes]] = set()
        self.asked = asyncio.Event()
        """Set whenever its stream is opened, or it is polled."""
        self._high_at: float | None = None
        self._ids = iter(range(1, 1_000_000))

    @property
    def server(self) -> CameraServer:
        """Its HTTP server: port, requests, failed logins."""
        return self._server

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()
        if self._poster is not None:
            self._poster.close()

    def now(self) -> datetime:
        """Its own clock."""
        return datetime.now(UTC).astimezone(_ZONE) + timedelta(seconds=self.faults.clock_offset_s)

    # --- what it reports --------------------------------------------------------------------------------

    async def see(
        self, plate: str, *, retransmitted: bool = False, listed: str = "", ago_s: float = 0
    ) -> None:
        """A vehicle at its line."""
        plate = self.faults.plate(plate)
        moment = self.now() - timedelta(seconds=ago_s)
        self.plates.append((moment.strftime("%Y%m%d%H%M%S") + f"{len(self.plates):03d}", plate))
        more = (
            f"<ANPR><country>3</country><licensePlate>{plate}</licensePlate><line>1</line>"
            "<direction>forward</direction><confidenceLevel>97.5</confidenceLevel><plateType>92TypeCivil"
            "</plateType><plateColor>blue</plateColor><vehicleType>vehicle</vehicleType>"
            f"<alarmDataType>0</alarmDataType></ANPR><UUID>{uuid.uuid4()}</UUID><picNum>1</picNum>"
            f"<vehicleListName>{listed}</vehicleListName>"
            f"<isDataRetransmission>{str(retransmitted).lower()}</isDataRetransmission>"
        )
        await self.alert("ANPR", more=more, time=moment)

    async def alert(
        self, kind: str, *, active: bool = True, more: str = "", time: datetime | None = None
    ) -> None:
        """Any alert, to the stream or the push address."""
        xml = self._alert(kind, active, more, time).encode()
        for _ in range(self.faults.copies()):
            if self._poster is None:
                for queue in self._streams:
                    queue.put_nowait(_part(xml) + (_part(_JPEG, "image/jpeg") if kind == "ANPR" else b""))
            else:
                await self._push(xml)

    def _alert(self, kind: str, active: bool, more: str = "", time: datetime | None = None) -> str:
        return _ALERT.format(
            time=(time or self.now()).isoformat(timespec="milliseconds"),
            kind=kind,
            state="active" if active else "inactive",
            more=more,
        )

    async def _push(self, xml: bytes) -> None:
        assert self._poster is not None  # noqa: S101 - asked before
        form = (
            b'--MIME_boundary\r\nContent-Disposition: form-data; name="anpr.xml"; filename="anpr.xml"\r\n'
            b"Content-Type: application/xml\r\n\r\n" + xml + b"\r\n--MIME_boundary\r\n"
            b'Content-Disposition: form-data; name="detectionPicture.jpg"; filename="detectionPicture.jpg"'
            b"\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(_JPEG) + _JPEG
            + b"\r\n--MIME_boundary--\r\n"
        )  # fmt: skip
        if (garbage := self.faults.take_garbage()) is not None:
            form = garbage
        await self._poster.post(
            form, "multipart/form-data; boundary=MIME_boundary", cut=self.faults.take_death()
        )

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._streams.add(queue)
        self.asked.set()
        try:
            while True:
                yield _part(self._alert("videoloss", False).encode())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._heartbeat):
                        yield await queue.get()
        finally:
            self._streams.discard(queue)

    # --- what it is asked -------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response | Stream | None:
        path = request.target.split("?")[0]
        if path == "/ISAPI/Event/notification/alertStream":
            return Stream(self._stream(), "multipart/mixed; boundary=boundary")
        if path == "/ISAPI/System/deviceInfo":
            return _xml_answer(
                f"<DeviceInfo><deviceName>IP CAPTURE CAMERA</deviceName><model>DS-TCG000</model>"
                f"<serialNumber>{self.serial}</serialNumber><firmwareVersion>V5.0.1</firmwareVersion>"
                "</DeviceInfo>"
            )
        if path == "/ISAPI/System/time":
            return _xml_answer(
                f"<Time><timeMode>NTP</timeMode><localTime>{self.now().isoformat()}</localTime></Time>"
            )
        if path == "/ISAPI/Streaming/channels/101/picture":
            return Response(200, _JPEG, "image/jpeg")
        if path.endswith("/vehicleDetect/plates"):
            return self._plates(request)
        if path.endswith("/barrierGate/barrierGateStatus"):
            state = {BarrierPosition.OPEN: 2, BarrierPosition.CLOSED: 1}.get(self.boom.position, 0)
            state = state if self.signal else 0
            return _xml_answer(f"<BarrierGate><barrierGateStatus>{state}</barrierGateStatus></BarrierGate>")
        if request.method in ("PUT", "POST") and "/Traffic/" in path:
            return self._listing(path, request)
        if request.method == "PUT":
            return self._command(path, request)
        return Response(404)

    def _command(self, path: str, request: Request) -> Response:
        routes = {
            "/ISAPI/Parking/channels/1/barrierGate": "barrierGate",
            "/ISAPI/ITC/Entrance/barrierGateCtrl": "barrierGateCtrl",
            "/ISAPI/System/IO/outputs/1/trigger": "output",
        }
        route = routes.get(path)
        if route != self.gate:
            return _status(path, 4, "Invalid Operation", "notSupport", http=200 if route else 404)
        if self.status is not None:
            return _status(path, *self.status)
        root = _xml.parse(request.body)
        words = {(each.text or "").strip() for each in root.iter()}
        loop = asyncio.get_running_loop()
        self.boom.stuck = self.faults.stuck
        if "high" in words:
            self._high_at = loop.time()
        elif "low" in words:
            if self._high_at is not None:
                self.boom.pulse(round((loop.time() - self._high_at) * 1000))
                self._high_at = None
        elif words & {"open", "on"}:
            self.boom.pulse(self.pulse_ms)
        else:
            return _status(path, 6, "Invalid XML Content", "badXmlContent")
        return _status(path, 1, "OK", "ok")

    def _plates(self, request: Request) -> Response:
        self.asked.set()
        since = re.search(r"<picTime>(\w+)<", request.body.decode())
        rows = "".join(
            f"<Plate><captureTime>{name[:8]}T{name[8:14]}0000</captureTime><plateNumber>{plate}</plateNumber>"
            f"<picName>{name}</picName><laneNo>1</laneNo><direction>forward</direction></Plate>"
            for name, plate in self.plates[-100:]
            if since is None or name > since[1]
        )
        if self.faults.take_garbage() is not None:
            return Response(200, b"<Plates", "application/xml")
        return _xml_answer(f"<Plates>{rows}</Plates>")

    def _listing(self, path: str, request: Request) -> Response:
        if self.status is not None:
            return _status(path, *self.status)
        if path.endswith("/searchLPListAudit"):
            body = request.body.decode()
            start = int(re.search(r"<searchResultPosition>(\d+)<", body)[1])  # type: ignore[index]
            most = int(re.search(r"<maxResults>(\d+)<", body)[1])  # type: ignore[index]
            page = list(self.list.items())[start : start + most]
            rows = "".join(
                f"<LicensePlateInfo><id>{number}</id><LicensePlate>{plate}</LicensePlate><type>{kind}</type>"
                "</LicensePlateInfo>"
                for plate, (number, kind, _) in page
            )
            return _xml_answer(
                f"<LPListAuditSearchResult><numOfMatches>{len(page)}</numOfMatches><totalMatches>"
                f"{len(self.list)}</totalMatches><LicensePlateInfoList>{rows}</LicensePlateInfoList>"
                "</LPListAuditSearchResult>"
            )
        content = orjson.loads(request.body)
        if path.endswith("/DelLicensePlateAuditData"):
            gone = {number for number in content["id"] if isinstance(number, str)}
            self.list = {plate: row for plate, row in self.list.items() if row[0] not in gone}
            return _status(path, 1, "OK", "ok")
        rows = content["LicensePlateInfoList"]
        if any(len(row["LicensePlate"]) > 12 for row in rows):
            return _status(path, 6, "Invalid Content", "badParameters")
        if len(self.list) + len(rows) > self.listed_most:
            return _status(path, 3, "Device Error", "overLimit")
        for row in rows:
            known = self.list.get(row["LicensePlate"])
            number = known[0] if known else str(next(self._ids))
            self.list[row["LicensePlate"]] = (number, row["listType"], row["effectiveTime"])
        return _status(path, 1, "OK", "ok")


def _part(body: bytes, kind: str = 'application/xml; charset="UTF-8"') -> bytes:
    return (
        f"--boundary\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"
    )


def _xml_answer(text: str) -> Response:
    return Response(200, b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode(), "application/xml")


def _status(url: str, code: int, text: str, sub: str, http: int = 200) -> Response:
    return Response(http, _STATUS.format(url=url, code=code, text=text, sub=sub).encode(), "application/xml")
