"""Simulated relays at an MQTT broker: a Shelly, a Tasmota and an ESPHome node, each with one barrier.

Written from the firmwares' documents; see `docs/devices/mqtt_relay.md`. Fault switches: see `faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Any

import orjson

from adapters.simulator._mqtt import MqttDouble
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

_INPUT = {"shelly": "0", "tasmota": "1", "esphome": "loop"}


class MqttRelay:
    """One device. `press` changes its input; pulses land in `boom`. `own_pulse_ms`: an ESPHome switch that
    turns itself off."""

    def __init__(
        self,
        port: int,
        firmware: str,
        *,
        topic: str = "relay",
        output: str | None = None,
        own_pulse_ms: int | None = None,
        faults: Faults | None = None,
        boom: Boom | None = None,
        **login: Any,
    ) -> None:
        self.firmware, self.topic = firmware, topic
        self.output = output or {"shelly": "0", "tasmota": "1", "esphome": "gate"}[firmware]
        self.faults, self.boom = faults or Faults(), boom or Boom()
        self.own_pulse_ms = own_pulse_ms
        self.input = False
        self._pulse_time = 0
        self._closed_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        will, topics = {
            "shelly": ((f"{topic}/online", b"false"), [f"{topic}/rpc"]),
            "tasmota": ((f"tele/{topic}/LWT", b"Offline"), [f"cmnd/{topic}/+"]),
            "esphome": ((f"{topic}/status", b"offline"), [f"{topic}/switch/+/command"]),
        }[firmware]
        self._will = will
        self.double = MqttDouble("127.0.0.1", port, f"sim-{topic}", topics, self._command, will=will, **login)

    async def start(self) -> None:
        """Powers up and says so."""
        await self.double.start()
        birth = {"shelly": b"true", "tasmota": b"Online", "esphome": b"online"}[self.firmware]
        # whoever subscribes from now on must not be told the will of the last time
        await self.double.told(self._will[0], birth, retain=True)
        if self.firmware == "esphome":
            self._state()
            state = b"ON" if self.input else b"OFF"
            await self.double.told(f"{self.topic}/binary_sensor/loop/state", state, retain=True)

    async def stop(self) -> None:
        """The power goes."""
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(ConnectionError):
            await self.double.die()

    def press(self, active: bool) -> None:
        """Its input changes, and it says so."""
        self.input = active
        state = "ON" if active else "OFF"
        topic, payload = {
            "shelly": (
                f"{self.topic}/events/rpc",
                orjson.dumps(
                    {"src": self.topic, "dst": f"{self.topic}/events", "method": "NotifyStatus",
                     "params": {"ts": self._now(), "input:0": {"id": 0, "state": active}}}
                ),
            ),
            "tasmota": (f"stat/{self.topic}/SWITCH1", orjson.dumps({"STATE": state})),
            "esphome": (f"{self.topic}/binary_sensor/loop/state", state.encode()),
        }[self.firmware]  # fmt: skip
        for _ in range(self.faults.copies()):
            self._say(topic, payload, retain=self.firmware == "esphome")

    def _now(self) -> float:
        return time.time() + self.faults.clock_offset_s

    def _say(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        if self.faults.hang:
            return
        payload = payload.encode() if isinstance(payload, str) else payload
        if (garbage := self.faults.take_garbage()) is not None:
            self.double.publish(topic, garbage)
        elif self.faults.take_death():
            self.double.publish(topic, payload[: len(payload) // 2])
        else:
            self.double.publish(topic, payload, retain=retain)

    def _command(self, topic: str, payload: bytes) -> None:
        with contextlib.suppress(ConnectionError, ValueError, KeyError):
            {"shelly": self._shelly, "tasmota": self._tasmota, "esphome": self._esphome}[self.firmware](
                topic, payload.decode()
            )

    # --- the firmwares ----------------------------------------------------------------------------------

    def _shelly(self, topic: str, payload: str) -> None:
        call = orjson.loads(payload)
        params, method = call["params"], call["method"]
        answer: dict[str, Any]
        if method == "Shelly.GetDeviceInfo":
            answer = {"result": {"id": self.topic, "mac": "A8032AB1C2D3", "model": "SNSW-001X16EU",
                                 "ver": "1.4.4", "gen": 2, "fw_id": "x"}}  # fmt: skip
        elif method == "Shelly.GetStatus":
            answer = {"result": {"input:0": {"id": 0, "state": self.input},
                                 "switch:0": {"id": 0, "output": self._closed_at is not None},
                                 "sys": {"unixtime": int(self._now())}}}  # fmt: skip
        elif str(params.get("id")) != self.output:
            answer = {"error": {"code": -105, "message": f"Argument 'id', value {params['id']} not found!"}}
        elif method == "Switch.GetStatus":
            answer = {"result": {"id": 0, "source": "init", "output": self._closed_at is not None}}
        elif self.faults.refuse:
            answer = {"error": {"code": -114, "message": "overtemp"}}
        else:
            answer = {"result": {"was_on": self._switch(params["on"], params.get("toggle_after"))}}
        self._say(f"{call['src']}/rpc", orjson.dumps({"id": call["id"], "src": self.topic, **answer}))

    def _tasmota(self, topic: str, payload: str) -> None:
        command = topic.rsplit("/", 1)[-1]
        commands = payload.split(";") if command == "Backlog0" else [f"{command} {payload}"]
        for one in commands:
            name, _, value = one.strip().partition(" ")
            if name == f"PulseTime{self.output}":
                self._pulse_time = int(value)
            elif name == f"Power{self.output}":
                if value and not self.faults.refuse:
                    self._switch(value == "ON", self._pulse_time / 10 or None)
                self._state()
            elif name == "Status" and value == "2":
                self._say(f"stat/{self.topic}/STATUS2", orjson.dumps(
                    {"StatusFWR": {"Version": "14.4.1(tasmota)", "Hardware": "ESP8266EX"}}))  # fmt: skip
            elif name == "Status":
                state = "ON" if self.input else "OFF"
                self._say(f"stat/{self.topic}/STATUS8", orjson.dumps({"StatusSNS": {"Switch1": state}}))

    def _esphome(self, topic: str, payload: str) -> None:
        found = re.fullmatch(rf"{self.topic}/switch/(\w+)/command", topic)
        if found and found[1] == self.output and not self.faults.refuse:
            own = self.own_pulse_ms
            self._switch(payload == "ON", own / 1000 if own else None)
            self._state()

    def _state(self) -> None:
        state = "ON" if self._closed_at is not None else "OFF"
        if self.firmware == "tasmota":
            self._say(f"stat/{self.topic}/RESULT", orjson.dumps({f"POWER{self.output}": state}))
            self._say(f"stat/{self.topic}/POWER{self.output}", state)
        elif self.firmware == "esphome":
            self._say(f"{self.topic}/switch/{self.output}/state", state, retain=True)

    # --- the contact ------------------------------------------------------------------------------------

    def _switch(self, closed: bool, for_s: float | None) -> bool:
        was = self._closed_at is not None
        now = asyncio.get_running_loop().time()
        if closed and not was:
            self._closed_at = now
            if for_s:
                task = asyncio.create_task(self._later(for_s))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif not closed and self._closed_at is not None:
            self.boom.stuck = self.faults.stuck
            self.boom.pulse(round((now - self._closed_at) * 1000))
            self._closed_at = None
        return was

    async def _later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._switch(False, None)
        with contextlib.suppress(ConnectionError):
            self._state()
