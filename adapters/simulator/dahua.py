"""A simulated Dahua barrier camera: CGI with digest, streams, RPC2 and ITSAPI pushes on real sockets.

Written from `docs/devices/dahua.md`. What an installed camera would be found with is set by arguments: which
ways to be opened its firmware has, whether it pushes. RPC2 itself is in `_dahua_rpc2`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adapters.simulator._dahua_rpc2 import Rpc2Server
from adapters.simulator._dahua_wire import JPEG, attached, codes_of, part, snapped, text
from adapters.simulator._http import HttpPoster, Request, Response
from adapters.simulator._stream import CameraServer, Stream
from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

_ZONE = timezone(timedelta(hours=8))
_UUID = "9f0c0000-0000-4000-8000-00000000d00a"
_KINDS = ("DeviceInfo", "KeepAlive", "TollgateInfo")


class DahuaCamera(Switched):
    """One camera. `cgi`, `rpc2`: the ways to be opened that its firmware has. `push_to`: ingest URLs by the
    kind of push, instead of streams. `pulse_ms`: how long its barrier contact is closed. `list`: its
    allow-list, record number to plate and end. `paging`: False if its firmware begins every page at the
    beginning. `local_utc`: its UTC is local time, as on some firmware."""

    def __init__(
        self,
        *,
        cgi: bool = True,
        rpc2: bool = True,
        serial: str = "SIM0D00A0000001",
        device_id: str = _UUID,
        push_to: Mapping[str, str] | None = None,
        pulse_ms: int = 700,
        heartbeat_s: float = 0.1,
        resends: int = 0,
        resend_s: float = 0.1,
        local_utc: bool = False,
        faults: Faults | None = None,
        boom: Boom | None = None,
        **server: Any,
    ) -> None:
        self.cgi, self.serial, self.device_id, self.pulse_ms = cgi, serial, device_id, pulse_ms
        self.faults, self.boom = faults or Faults(), boom or Boom()
        self.local_utc = local_utc
        self.list: dict[str, tuple[str, str]] = {}
        self.listed_most, self.paging = 10_000, True
        self.error = False
        """From now on every command is answered with HTTP 200 and an error inside."""
        self.openings: list[Mapping[str, str]] = []
        """What each opening said: openType and plateNumber."""
        self.replies: deque[dict[str, Any]] = deque(maxlen=100)
        self.asked = asyncio.Event()
        """Set whenever its stream is opened."""
        self._heartbeat, self._resends, self._resend_s = heartbeat_s, resends, resend_s
        settings: dict[str, Any] = {"guarded": "/cgi-bin/", "most": 4, **server}
        self.server = CameraServer(self._answer, self.faults, **settings)
        self.rpc2 = Rpc2Server(self) if rpc2 else None
        self._posters = {kind: HttpPoster(push_to[kind], {}) for kind in _KINDS} if push_to else {}
        self._streams: set[asyncio.Queue[Any]] = set()
        self._beat: asyncio.Task[None] | None = None
        self._numbers = iter(range(1, 1_000_000))
        self._events = iter(range(41, 1_000_000))

    async def start(self) -> None:
        """Switched on; on the same port as before."""
        await self.server.start()
        if self._posters:
            self._beat = asyncio.create_task(self._beats())

    async def stop(self) -> None:
        """The power goes; its list is kept."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)
            self._beat = None
        for poster in self._posters.values():
            poster.close()
        await self.server.stop()
        self.asked.clear()
        if self.rpc2 is not None:
            self.rpc2.sessions.clear()

    def now(self) -> datetime:
        """Its own clock, in its own zone."""
        return datetime.now(UTC).astimezone(_ZONE) + timedelta(seconds=self.faults.clock_offset_s)

    # --- what it reports --------------------------------------------------------------------------------

    async def see(self, plate: str, *, ago_s: float = 0, opened_itself: bool = False) -> None:
        """A vehicle at its line."""
        await asyncio.sleep(0.002)  # its times have milliseconds; no camera sees a plate twice in one
        plate, number = self.faults.plate(plate), next(self._events)
        moment = self.now() - timedelta(seconds=ago_s)
        for _ in range(self.faults.copies()):
            if self._posters:
                await self._tollgate(plate, number, moment, opened_itself)
                continue
            data = self._junction(plate, number, moment, opened_itself)
            self.tell("TrafficJunction", "Pulse", 0, data)

    def tell(self, code: str, action: str, index: int, data: Mapping[str, Any]) -> None:
        """Any event, to every stream that is open."""
        for queue in self._streams:
            queue.put_nowait((code, action, index, data))

    def say(self, words: bytes) -> None:
        """A text of any kind, to every stream that is open."""
        for queue in self._streams:
            queue.put_nowait(("", words))

    def _junction(self, plate: str, number: int, moment: datetime, opened_itself: bool) -> dict[str, Any]:
        seconds = int(moment.timestamp()) + (8 * 3600 if self.local_utc else 0)
        return {
            "GroupID": number, "CountInGroup": 1, "IndexInGroup": 1, "Lane": 1, "TriggerType": 2,
            "UTC": seconds, "UTCMS": moment.microsecond // 1000, "JunctionDirection": "Obverse",
            "OpenStrobeState": "Auto" if opened_itself else "Close",
            "Object": {"Text": plate, "Confidence": 204, "ObjectType": "Plate"},
            "Vehicle": {"Category": "SaloonCar"},
            "TrafficCar": {
                "PlateNumber": plate, "PlateColor": "Blue", "PlateType": "Normal", "Lane": 1, "Speed": 0,
                "VehicleColor": "White", "DrivingDirection": ["Approach", "", ""],
            },
        }  # fmt: skip

    async def _tollgate(self, plate: str, number: int, moment: datetime, opened_itself: bool) -> None:
        picture = {"PicName": "normal.jpg", "Content": base64.b64encode(JPEG * 50).decode()}
        content = {
            "Picture": {
                "NormalPic": picture,
                "Plate": {
                    "IsExist": True, "PlateNumber": plate, "PlateColor": "Blue", "PlateType": "Normal",
                    "Confidence": 204, "BoundingBox": [1, 2, 3, 4], "UploadNum": number, "Channel": 0,
                },
                "Vehicle": {"VehicleColor": "White", "VehicleType": "SaloonCar", "Speed": 0},
                "SnapInfo": {
                    "SnapTime": f"{moment:%Y-%m-%d %H:%M:%S}", "TimeZone": 13, "DSTTune": 0, "LanNo": 1,
                    "AccurateTime": f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}",
                    "Direction": "Obverse", "OpenStrobe": opened_itself, "AllowUser": opened_itself,
                    "BlockUser": False, "DefenceCode": "x", "DeviceID": self.device_id,
                },
            }
        }  # fmt: skip
        for attempt in range(self._resends + 1):
            if attempt:
                await asyncio.sleep(self._resend_s)
            told = await self._push("TollgateInfo", content)
            if told is None or told.get("Result") is not True:
                continue
            if told.get("OpenStrobe") is True:
                self.opened("reply", plate)
            return

    async def _beats(self) -> None:
        about = {"DeviceName": "sim", "DeviceModel": "DHI-ITC000", "DeviceType": "Tollgate"}
        more: dict[str, Any] = {"Manufacturer": "Dahua", "DeviceID": self.device_id}
        await self._push("DeviceInfo", about | more)
        while True:
            await self._push("KeepAlive", {"Active": "keepAlive", "DeviceID": self.device_id})
            await asyncio.sleep(self._heartbeat)

    async def _push(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        if self.faults.mute:
            return None
        body = self.faults.take_garbage() or json.dumps(content, ensure_ascii=False).encode()
        cut, deaf = self.faults.take_death(), self.faults.hang
        try:
            response = await self._posters[kind].post(body, "application/json", cut=cut, deaf=deaf)
        except OSError:
            return None
        if response is None or response.status != 200:
            return None
        told: dict[str, Any] = json.loads(response.body)
        self.replies.append(told)
        return told

    async def _stream(self, snap: bool, codes: set[str]) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._streams.add(queue)
        self.asked.set()
        try:
            while True:
                yield part(b"Heartbeat")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._heartbeat):
                        first = await queue.get()
                    for code, *told in [first, *(queue.get_nowait() for _ in range(queue.qsize()))]:
                        if not code:
                            yield part(told[0])
                        elif code in codes or "All" in codes:
                            yield snapped(code, *told) if snap else attached(code, *told)
        finally:
            self._streams.discard(queue)

    # --- what it is asked -------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response | Stream | None:
        parts = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        path, action = parts.path, query.get("action", "")
        if path in ("/RPC2_Login", "/RPC2") and self.rpc2 is not None and request.method == "POST":
            return self.rpc2.answer(path, request)
        kind = "multipart/x-mixed-replace; boundary=myboundary"
        if path == "/cgi-bin/snapManager.cgi" and action == "attachFileProc":
            return Stream(self._stream(True, codes_of(query.get("Events", ""))), kind)
        if path == "/cgi-bin/eventManager.cgi" and action == "attach":
            return Stream(self._stream(False, codes_of(query.get("codes", ""))), kind)
        if path == "/cgi-bin/trafficSnap.cgi":
            return self._snap_command(action, query)
        if path == "/cgi-bin/snapshot.cgi":
            return Response(200, JPEG, "image/jpeg")
        if path in ("/cgi-bin/recordUpdater.cgi", "/cgi-bin/recordFinder.cgi"):
            return self._records(action, query)
        told = {
            ("/cgi-bin/magicBox.cgi", "getSystemInfo"): (
                f"appAutoStart=true\r\ndeviceType=ITC000\r\nserialNumber={self.serial}\r\n"
                "updateSerial=DHI-ITC000-SIM\r\n"
            ),
            ("/cgi-bin/magicBox.cgi", "getSoftwareVersion"): "version=2.800.0000.1,build:2026-01-01\r\n",
            ("/cgi-bin/global.cgi", "getCurrentTime"): f"result={self.now():%Y-%m-%d %H:%M:%S}\r\n",
        }.get((path, action))
        return Response(404) if told is None else text(told)

    def opened(self, open_type: str, plate: str) -> None:
        """Its relay closes."""
        self.openings.append({"openType": open_type, "plateNumber": plate})
        self.boom.stuck = self.faults.stuck
        self.boom.pulse(self.pulse_ms)

    def _snap_command(self, action: str, query: Mapping[str, str]) -> Response:
        if not self.cgi:
            return Response(501, b"Error\r\nNot Implemented!\r\n", "text/plain")
        if self.error or action != "openStrobe" or query.get("channel") != "1":
            return text("Error\r\nBad Request!\r\n")
        self.opened(query.get("info.openType", ""), query.get("info.plateNumber", ""))
        return text("OK\r\n")

    def _records(self, action: str, query: Mapping[str, str]) -> Response:
        if self.error or query.get("name") != "TrafficRedList":
            return text("Error\r\nBad Request!\r\n")
        if action == "find":
            wanted = query.get("condition.PlateNumber")
            found = [(n, plate) for n, (plate, _) in self.list.items() if wanted in (None, plate)]
            start = int(query.get("QueryResultBegin", "0")) if self.paging else 0
            page = found[start : start + int(query.get("count", "1024"))]
            rows = "".join(
                f"records[{i}].RecNo={number}\r\nrecords[{i}].CreateTime=1\r\n"
                f"records[{i}].PlateNumber={plate}\r\nrecords[{i}].MasterOfCar=gated\r\n"
                for i, (number, plate) in enumerate(page)
            )
            return text(f"totalCount={len(found)}\r\nfound={len(page)}\r\n{rows}")
        plate, number = query.get("PlateNumber", ""), query.get("recno", "")
        if action == "remove" and number in self.list:
            del self.list[number]
            return text("OK\r\n")
        if action == "update" and number in self.list:
            self.list[number] = (plate, query.get("CancelTime", ""))
            return text("OK\r\n")
        full = len(self.list) >= self.listed_most
        if action != "insert" or full or not 0 < len(plate) <= 12 or plate in dict(self.list.values()):
            return text("Error\r\nBad Request!\r\n")
        number = str(next(self._numbers))
        self.list[number] = (plate, query.get("CancelTime", ""))
        return text(f"RecNo={number}\r\n")
