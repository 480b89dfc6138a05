"""Three firmwares' topics and payloads for a relay: what to subscribe, what to send, what comes back.

Pure: no I/O, no clock. A `Dialect` says how a firmware is spoken; what it hears becomes `Heard`s.

- Shelly Gen2+: JSON-RPC on `<id>/rpc`, answered on `<src>/rpc`; `toggle_after` (seconds) times the pulse.
- Tasmota: `cmnd/<t>/Backlog0`, answered on `stat/<t>/POWER<n>`; PulseTime (1 to 111 x 100 ms) times it.
- ESPHome: `<n>/switch/<s>/command`, answered on `<n>/switch/<s>/state`; the switch has to time itself.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Online:
    """The device's will or birth: whether it is at the broker."""

    online: bool


@dataclass(frozen=True, slots=True)
class Switched:
    """A relay's contact, as reported. `answers`: the number of the request that it answers, if it says."""

    output: str
    closed: bool
    answers: int | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """An input, as reported."""

    input: str
    active: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The device's no to a request."""

    answers: int
    why: str


@dataclass(frozen=True, slots=True)
class Told:
    """What it says of itself; `unix`: its clock, seconds since 1970. `all`: with it, it has told its inputs,
    too."""

    model: str = ""
    firmware: str = ""
    serial: str = ""
    unix: float | None = None
    all: bool = False


Heard = Online | Switched | Input | Refused | Told


class Sending(NamedTuple):
    """One message to publish."""

    topic: str
    payload: bytes


class Malformed(ValueError):
    """Not what this firmware sends."""


class Dialect(ABC):
    """How one firmware is spoken. `topic`: the device's own prefix; `me`: what this client calls itself."""

    def __init__(self, topic: str, me: str) -> None:
        self.topic = topic
        self.me = me

    @property
    @abstractmethod
    def topics(self) -> list[str]:
        """What to subscribe to."""

    @abstractmethod
    def ask(self, output: str, number: int) -> list[Sending]:
        """Asks for the state of a relay, which also shows that the device is there."""

    def ask_itself(self, number: int) -> list[Sending]:
        """Asks for model, firmware, clock and inputs."""
        return []

    @abstractmethod
    def pulse(self, output: str, milliseconds: int, number: int) -> Sending:
        """Closes a relay for so long; the device times it."""

    @abstractmethod
    def release(self, output: str, number: int) -> list[Sending]:
        """Opens a relay's contact."""

    @abstractmethod
    def heard(self, topic: str, payload: bytes) -> list[Heard]:
        """What a message says. Raises Malformed."""


class Shelly(Dialect):
    """Gen2 and later: MQTT with "RPC over MQTT" and "generic status update" on."""

    @property
    def topics(self) -> list[str]:
        return [f"{self.topic}/online", f"{self.topic}/events/rpc", f"{self.me}/rpc"]

    def ask(self, output: str, number: int) -> list[Sending]:
        return [self._call("Switch.GetStatus", {"id": int(output)}, number)]

    def ask_itself(self, number: int) -> list[Sending]:
        return [
            self._call("Shelly.GetDeviceInfo", {}, number),
            self._call("Shelly.GetStatus", {}, number + 1),
        ]

    def pulse(self, output: str, milliseconds: int, number: int) -> Sending:
        values = {"id": int(output), "on": True, "toggle_after": milliseconds / 1000}
        return self._call("Switch.Set", values, number)

    def release(self, output: str, number: int) -> list[Sending]:
        return [self._call("Switch.Set", {"id": int(output), "on": False}, number)]

    def heard(self, topic: str, payload: bytes) -> list[Heard]:
        if topic == f"{self.topic}/online":
            return [Online(payload.strip() == b"true")]
        content = _json(payload)
        params, result = content.get("params"), content.get("result")
        if topic == f"{self.topic}/events/rpc" and isinstance(params, dict):
            return _shelly_components(params)
        number = content.get("id")
        if type(number) is not int:
            raise Malformed("an answer without its number")
        error = content.get("error")
        if isinstance(error, dict):
            return [Refused(number, f"{error.get('code')}: {str(error.get('message'))[:200]}")]
        if not isinstance(result, dict):
            raise Malformed("an answer without a result")
        if "was_on" in result:
            return [Switched("", True, number)]
        if isinstance(result.get("output"), bool):
            return [Switched(str(result.get("id", "")), result["output"], number)]
        if "fw_id" in result or "ver" in result:
            return [Told(_text(result.get("model")), _text(result.get("ver")), _text(result.get("mac")))]
        return [*_shelly_components(result), Told(all=True)]

    def _call(self, method: str, params: dict[str, Any], number: int) -> Sending:
        call = {"id": number, "src": self.me, "method": method, "params": params}
        return Sending(f"{self.topic}/rpc", orjson.dumps(call))


class Tasmota(Dialect):
    """With the usual full topic `%prefix%/%topic%/`. Outputs are numbered from 1. For inputs: SwitchMode as
    wired and SetOption114 1."""

    @property
    def topics(self) -> list[str]:
        return [f"stat/{self.topic}/+", f"tele/{self.topic}/LWT"]

    def ask(self, output: str, number: int) -> list[Sending]:
        return [Sending(f"cmnd/{self.topic}/Power{output}", b"")]

    def ask_itself(self, number: int) -> list[Sending]:
        return [Sending(f"cmnd/{self.topic}/Status", b"2"), Sending(f"cmnd/{self.topic}/Status", b"8")]

    def pulse(self, output: str, milliseconds: int, number: int) -> Sending:
        units = min(111, max(1, round(milliseconds / 100)))
        commands = f"PulseTime{output} {units}; Power{output} ON"
        return Sending(f"cmnd/{self.topic}/Backlog0", commands.encode())

    def release(self, output: str, number: int) -> list[Sending]:
        return [Sending(f"cmnd/{self.topic}/Power{output}", b"OFF")]

    def heard(self, topic: str, payload: bytes) -> list[Heard]:
        last = topic.rsplit("/", 1)[-1]
        if last == "LWT":
            return [Online(payload.strip().lower() == b"online")]
        if power := re.fullmatch(r"POWER(\d{0,2})", last):
            state = payload.strip().upper()
            if state not in (b"ON", b"OFF"):
                raise Malformed("a relay that is neither ON nor OFF")
            return [Switched(power[1] or "1", state == b"ON")]
        if switch := re.fullmatch(r"SWITCH(\d{1,2})", last):
            state = payload.strip().upper()
            if payload[:1] == b"{":
                state = _text(_json(payload).get("STATE")).upper().encode()
            return [Input(switch[1], state == b"ON")] if state in (b"ON", b"OFF") else []
        if last == "STATUS2":
            firmware = _json(payload).get("StatusFWR")
            if isinstance(firmware, dict):
                return [Told(_text(firmware.get("Hardware")), _text(firmware.get("Version")))]
        if last in ("STATUS8", "STATUS10", "RESULT"):
            content = _json(payload)
            sensors = content.get("StatusSNS", content)
            found = _tasmota_switches(sensors) if isinstance(sensors, dict) else []
            return [*found, Told(all=True)] if last == "STATUS8" else found
        return []


class EspHome(Dialect):
    """The `mqtt:` component; outputs and inputs by the names (object ids) of switches and binary sensors."""

    @property
    def topics(self) -> list[str]:
        return [f"{self.topic}/status", f"{self.topic}/switch/+/state", f"{self.topic}/binary_sensor/+/state"]

    def ask(self, output: str, number: int) -> list[Sending]:
        return []  # it cannot be asked; its states are retained

    def pulse(self, output: str, milliseconds: int, number: int) -> Sending:
        return Sending(f"{self.topic}/switch/{output}/command", b"ON")

    def release(self, output: str, number: int) -> list[Sending]:
        return [Sending(f"{self.topic}/switch/{output}/command", b"OFF")]

    def heard(self, topic: str, payload: bytes) -> list[Heard]:
        if topic == f"{self.topic}/status":
            return [Online(payload.strip() == b"online")]
        _, component, name, _ = topic.removeprefix(self.topic).split("/", 3)
        state = payload.strip().upper()
        if state not in (b"ON", b"OFF"):
            raise Malformed("a state that is neither ON nor OFF")
        if component == "switch":
            return [Switched(name, state == b"ON")]
        return [Input(name, state == b"ON")]


DIALECTS: dict[str, type[Dialect]] = {"shelly": Shelly, "tasmota": Tasmota, "esphome": EspHome}


def _shelly_components(values: dict[str, Any]) -> list[Heard]:
    found: list[Heard] = []
    for name, value in list(values.items())[:64]:
        kind, _, number = name.partition(":")
        if not isinstance(value, dict):
            continue
        if kind == "input" and isinstance(value.get("state"), bool):
            found.append(Input(number, value["state"]))
        elif kind == "switch" and isinstance(value.get("output"), bool):
            found.append(Switched(number, value["output"]))
        elif kind == "sys" and isinstance(unix := value.get("unixtime"), int | float):
            found.append(Told(unix=float(unix)))
    return found


def _tasmota_switches(values: dict[str, Any]) -> list[Heard]:
    found: list[Heard] = []
    for name, value in list(values.items())[:64]:
        if (number := re.fullmatch(r"Switch(\d{1,2})", name)) is None:
            continue
        state = value.get("Action") if isinstance(value, dict) else value
        if state in ("ON", "OFF"):
            found.append(Input(number[1], state == "ON"))
    return found


def _json(payload: bytes) -> dict[str, Any]:
    if len(payload) > _MAX:
        raise Malformed("larger than any such message")
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise Malformed("not JSON") from None
    if not isinstance(content, dict):
        raise Malformed("JSON, but no object")
    return content


def _text(value: object) -> str:
    return "".join(c for c in value[:64] if c.isprintable()) if isinstance(value, str) else ""
