"""A simulated VZ or Alphadigi camera: pushes real HTTP, resends, keeps a backlog, and obeys its replies.

It behaves as the vendor's push protocol describes: a reply of `info: ok` opens, and so does `ivs_ioctrl`;
replies to plain heartbeats are ignored, replies to polls are obeyed; a result that was not answered is sent
again, then kept and sent later as backlog (`isoffline` 1), one at a time, each only after the last was
answered with `ContinuePushOffline`. An Alphadigi sends no `plateid` and repeats until `retransfer_stop`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.simulator._http import HttpPoster, Response
from adapters.simulator._mqtt import MqttDouble
from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

_BOUNDARY = "------------------------5e1ec7ed0badcafe"


class VzenithCamera(Switched):
    """One camera. `url`: where it pushes, with any `?key=`. `headers`: sent with every push.

    `poll`: its heartbeat is set to "comet": it asks again as soon as it was answered and obeys the replies.
    `page_pulse_ms`: what its own page says for `info: ok`. `resends`: how often a result is sent again before
    it becomes backlog. `now`: the true time; its own clock is off by `faults.clock_offset_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        serial: str = "51a7ed00-00000001",
        model: str = "R5-V1.0",
        password: str = "not-for-logs",  # noqa: S107 - a heartbeat holds one, and must not be logged
        alphadigi: bool = False,
        poll: bool = False,
        heartbeat_s: float = 5.0,
        resends: int = 2,
        resend_s: float = 1.0,
        timeout_s: float = 5.0,
        page_pulse_ms: int = 500,
        boom: Boom | None = None,
        faults: Faults | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.serial, self.model = serial, model
        self.boom = boom or Boom()
        self.faults = faults or Faults()
        self.backlog: deque[dict[str, object]] = deque(maxlen=9000)  # as many as the vendor says
        self.list: dict[str, str] = {}
        """Its own allow-list: plates and when they end."""
        self.replies: deque[Response] = deque(maxlen=100)
        self._password = password
        self._alphadigi, self._poll = alphadigi, poll
        self._heartbeat_s, self._resends, self._resend_s = heartbeat_s, resends, resend_s
        self._page_pulse_ms = page_pulse_ms
        self._now = now
        self._pusher = HttpPoster(url, headers or {}, timeout_s)
        self._beater = HttpPoster(url, headers or {}, timeout_s)
        self._plate_id = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Switched on: its heartbeats begin. It can `see` without that too."""
        self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Switched off; the backlog is kept, as on its card."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._pusher.close()
        self._beater.close()

    # --- what happens in front of it --------------------------------------------------------------------

    async def see(self, plate: str | None, *, confidence: int = 96, direction: int = 4) -> bool:
        """A vehicle arrives; `plate` None has none. True if its result was answered; else it is backlog (or
        was lost, by `faults`)."""
        self._plate_id += 1
        license_ = "_无_" if plate is None else self.faults.plate(plate)
        result = self._result(license_, confidence, direction)
        answered = False
        for _ in range(self.faults.copies()):
            await self._late()
            answered = await self._push_result(result)
        return answered

    def keep_offline(self, plate: str, ago_s: float) -> None:
        """It kept something of so long ago, when it could not reach anybody; it is sent with the next answer
        that it gets."""
        self._plate_id += 1
        result = self._result(plate, 96, 4)
        seconds = round(self._now().timestamp() - ago_s)
        self.backlog.append(result | {"timeStamp": {"Timeval": {"sec": seconds, "usec": 0}}})

    async def input(self, source: int, active: bool) -> None:
        """One of its inputs changes; sent once, as the protocol does."""
        await self._late()
        result = {"TriggerResult": {"source": source, "value": int(active)}}
        await self._push({"AlarmGioIn": {**self._self(), "result": result}}, acts=False)

    async def serial_data(self, data: bytes, channel: int = 0) -> None:
        """Something on its serial port speaks: a code reader, say."""
        await self._late()
        content = {"data": base64.b64encode(data).decode(), "dataLen": len(data)}
        await self._push({"SerialData": {**self._self(), "serialChannel": channel, **content}}, acts=False)

    # --- the wire ---------------------------------------------------------------------------------------

    def _self(self) -> dict[str, object]:
        return {"channel": 0, "deviceName": self.model, "ipaddr": "127.0.0.1", "serialno": self.serial}

    def _result(self, license_: str, confidence: int, direction: int) -> dict[str, object]:
        time = self._now() + timedelta(seconds=self.faults.clock_offset_s)
        seconds, micro = divmod(round(time.timestamp() * 1_000_000), 1_000_000)
        result: dict[str, object] = {
            "colorType": 5 if len(license_) == 8 else 1,
            "confidence": confidence,
            "direction": direction,
            "license": license_,
            "timeStamp": {"Timeval": {"sec": seconds, "usec": micro}},
            "triggerType": 8,
            "type": 0 if license_ == "_无_" else 1,
        }
        if not self._alphadigi:
            result |= {"plateid": self._plate_id, "isoffline": 0, "gioouts": [], "is_fake_plate": 0}
        return result

    async def _push_result(self, result: dict[str, object]) -> bool:
        for attempt in range(self._resends + 1):
            if attempt:
                await asyncio.sleep(self._resend_s)
            answer = await self._push(self._alarm(result), acts=True)
            if answer is not None and (not self._alphadigi or answer.get("content") == "retransfer_stop"):
                await self._flush()
                return True
        self.backlog.append(result)
        return False

    def _alarm(self, result: dict[str, object]) -> dict[str, object]:
        return {"AlarmInfoPlate": {**self._self(), "result": {"PlateResult": result}}}

    async def _flush(self) -> None:
        """Sends the backlog, one by one, as long as the server asks for more."""
        while self.backlog and not self._alphadigi:
            result = self.backlog[0]
            answer = await self._push(self._alarm({**result, "isoffline": 1}), acts=True)
            more = answer.get("ContinuePushOffline") if answer is not None else None
            if not isinstance(more, dict) or more.get("plateid") != result["plateid"]:
                return
            self.backlog.popleft()
            if more.get("continue") != 1:
                return

    async def _push(self, content: dict[str, object], *, acts: bool) -> dict[str, object] | None:
        """The `Response_AlarmInfoPlate` of the answer ({} where it has none), or None without an answer."""
        body = self.faults.take_garbage() or json.dumps(content, ensure_ascii=False).encode()
        return await self._post(self._pusher, body, "application/json", acts=acts)

    async def _post(
        self, poster: HttpPoster, body: bytes, content_type: str, *, acts: bool
    ) -> dict[str, object] | None:
        cut, deaf = self.faults.take_death(), self.faults.hang
        try:
            response = await poster.post(body, content_type, cut=cut, deaf=deaf)
        except OSError:
            return None
        if response is None:
            return None
        self.replies.append(response)
        if response.status != 200:
            return None
        try:
            content = json.loads(response.body)
        except ValueError:
            return None
        answer = content.get("Response_AlarmInfoPlate", {}) if isinstance(content, dict) else {}
        if acts:
            self._obey(answer)
        return answer if isinstance(answer, dict) else {}

    def _obey(self, answer: Mapping[str, object]) -> None:
        self.boom.stuck = self.faults.stuck
        if answer.get("info") == "ok":
            self.boom.pulse(self._page_pulse_ms)
        operation = answer.get("white_list_operate")
        if isinstance(operation, dict):
            for row in operation["white_list_data"]:
                if operation["operate_type"] == 0:
                    self.list[row["plate"]] = row["overdue_time"]
                else:
                    self.list.pop(row["plate"], None)
        command = answer.get("ivs_ioctrl")
        if isinstance(command, dict) and command.get("value") == 2:
            self.boom.pulse(int(command["delay"]))

    async def _beat(self) -> None:
        while True:
            fields = {
                "device_name": self.model, "ipaddr": "127.0.0.1", "port": "80", "user_name": "admin",
                "pass_wd": self._password, "serialno": self.serial, "channel_num": "1",
            }  # fmt: skip
            parts = [
                f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in fields.items()
            ]
            body = "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode()
            content_type = f"multipart/form-data; boundary={_BOUNDARY}"
            answer = await self._post(self._beater, body, content_type, acts=self._poll)
            if answer is not None and self.backlog:
                await self._flush()
            if not (self._poll and answer is not None):
                await asyncio.sleep(min(1.0, self._heartbeat_s) if answer is None else self._heartbeat_s)

    async def _late(self) -> None:
        if self.faults.late_s > 0:
            await asyncio.sleep(self.faults.late_s)


class VzenithMqttCamera:
    """The same camera on MQTT, on the vendor's topics; `other_topics`: as some units order them."""

    def __init__(
        self,
        port: int,
        *,
        serial: str = "51a7ed00-00000001",
        heartbeat_s: float = 0.1,
        other_topics: bool = False,
        boom: Boom | None = None,
        faults: Faults | None = None,
        **login: Any,
    ) -> None:
        self.serial = serial
        self.boom, self.faults = boom or Boom(), faults or Faults()
        self.prefix = f"{serial}/device/message" if other_topics else f"device/{serial}/message"
        self._heartbeat_s = heartbeat_s
        self._plate_id = 0
        self._double = MqttDouble(
            "127.0.0.1", port, f"vz-{serial}", [f"{self.prefix}/down/+"], self._command, **login
        )
        self.list: dict[str, str] = {}
        self.listed_most = 10_000
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Switched on."""
        await self._double.start()
        self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Switched off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._double.die()

    async def see(self, plate: str, *, ago_s: float | None = None) -> None:
        """A vehicle arrives; or, `ago_s` seconds ago, had arrived while the broker was away."""
        self._plate_id += 1
        time = datetime.now(UTC) + timedelta(seconds=self.faults.clock_offset_s - (ago_s or 0))
        seconds, micro = divmod(round(time.timestamp() * 1_000_000), 1_000_000)
        result = {
            "license": base64.b64encode(self.faults.plate(plate).encode()).decode(), "confidence": 96,
            "colorType": 1, "direction": 4, "plateid": self._plate_id, "isoffline": int(ago_s is not None),
            "timeStamp": {"Timeval": {"sec": seconds, "usec": micro}}, "triggerType": 8, "type": 1,
        }  # fmt: skip
        alarm = {"channel": 0, "deviceName": "R5", "serialno": self.serial, "result": {"PlateResult": result}}
        for _ in range(self.faults.copies()):
            self._say("ivs_result", {"AlarmInfoPlate": alarm})

    def _say(self, name: str, payload: object) -> None:
        if self.faults.hang:
            return
        content = {
            "id": f"{self._plate_id}", "sn": self.serial, "name": name, "version": "1.0",
            "timestamp": int(datetime.now(UTC).timestamp() + self.faults.clock_offset_s), "payload": payload,
        }  # fmt: skip
        body = json.dumps(content).encode()
        if (garbage := self.faults.take_garbage()) is not None:
            body = garbage
        elif self.faults.take_death():
            body = body[: len(body) // 2]
        self._double.publish(f"{self.prefix}/up/{name}", body)

    def _command(self, _topic: str, payload: bytes) -> None:
        command = json.loads(payload)
        if self.faults.hang:
            return
        name, body = command["name"], command["payload"]["body"]
        done = not self.faults.refuse and (
            self._listed(body) if "operator_type" in body else self._pulsed(body)
        )
        answer = {
            "id": command["id"], "sn": self.serial, "name": name, "version": "1.0", "payload": None,
            "code": 200 if done else 500,
        }  # fmt: skip
        self._double.publish(f"{self.prefix}/down/{name}/reply", json.dumps(answer).encode())

    def _pulsed(self, body: dict[str, Any]) -> bool:
        self.boom.stuck = self.faults.stuck
        self.boom.pulse(body["delay"])
        return True

    def _listed(self, body: dict[str, Any]) -> bool:
        if body["operator_type"] == "delete":
            self.list.pop(body["plate"], None)
            return True
        record = body["dldb_rec"]
        if record["plate"] not in self.list and len(self.list) >= self.listed_most:
            return False
        self.list[record["plate"]] = record["overdue_time"]
        return True

    async def _beat(self) -> None:
        while True:
            self._say("keep_alive", {})
            await asyncio.sleep(self._heartbeat_s)
