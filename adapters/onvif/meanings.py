"""What one message means: a `Message` to an event of `gated.domain`, by the tables of `topics`.

Pure. `codec` takes the XML apart; nothing here knows XML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.onvif import topics
from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    InputChanged,
    Observed,
    PositionChanged,
    Read,
)
from gated.plates import normalise

MAX_RAW = 128  # a longer "plate" is none
_TRUE = frozenset({"true", "1", "on", "active", "yes"})
_FALSE = frozenset({"false", "0", "off", "inactive", "no"})
_STATE_NAMES = (
    "state",
    "logicalstate",
    "ismotion",
    "isinside",
    "istamper",
    "islinecross",
    "active",
    "failed",
)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that is deliberately no event."""

    topic: str
    why: str


@dataclass(frozen=True, slots=True)
class Message:
    """One notification, taken apart. `path`: the topic by local names. Item names are lower case."""

    topic: str
    path: str
    operation: str
    utc: str
    source: Mapping[str, str]
    key: Mapping[str, str]
    data: Mapping[str, str]
    flat: Mapping[str, str]
    plate_likelihood: str = ""

    @property
    def initial(self) -> bool:
        return self.operation == "Initialized"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Whose message it is, and when."""

    device: str
    received_at: datetime
    device_time: datetime | None


def meaning(
    message: Message, stamp: Stamp, plates: Mapping[str, topics.PlateTopic]
) -> DeviceEvent | Ignored | str:
    """The event, or why there is none; a string says what could not be parsed."""
    path = message.path
    plate = plates.get(path) or plates.get(message.topic)
    if plate is not None:
        return _plate(message, stamp, plate)
    if path in topics.INPUTS:
        return _input(message, stamp)
    first, _, rest = path.partition("/")
    if first == "AccessControl":
        return _access(message, stamp, rest)
    if path.startswith("Door/State/"):
        return _door(message, stamp, path.rpartition("/")[2])
    what = topics.OBSERVED.get(path) or _under(path, topics.OBSERVED_UNDER)
    if what is not None:
        return _observed(message, stamp, what)
    why = _under(path, topics.IGNORED)
    if why is not None:
        return Ignored(message.topic, why)
    return _observed(message, stamp, "other", topic=message.topic)


# --- kinds of events --------------------------------------------------------------------------------------


def _plate(message: Message, stamp: Stamp, spec: topics.PlateTopic) -> Read | Ignored | str:
    if message.initial:
        return Ignored(message.topic, "a replayed state is never a vehicle")
    if message.operation == "Deleted":
        return Ignored(message.topic, "the vehicle left")
    raw = message.data.get(spec.plate.lower())
    if raw is None:
        return f"no {spec.plate} among its items"
    if len(raw) > MAX_RAW:
        return "a plate of more than a hundred characters"
    own = message.data.get(spec.key.lower()) if spec.key else None
    channel = message.data.get(spec.channel.lower()) if spec.channel else None
    details = {
        name: value for name, value in message.flat.items() if value and name.lower() != spec.plate.lower()
    }
    return Read(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        key=_plate_key(message, stamp, raw, own),
        credential=_credential(CredentialKind.PLATE, raw),
        raw=raw,
        confidence=_confidence(message, spec),
        channel=channel or _channel(message),
        direction=_direction(message.data.get(spec.direction.lower(), "") if spec.direction else ""),
        details=details,
    )


def _plate_key(message: Message, stamp: Stamp, raw: str, own: str | None) -> str | None:
    """The device's number of the vehicle; else its time with the plate, which a resent message repeats and a
    second vehicle does not; None where its clock says nothing."""
    if own:
        return f"car-{own[:64]}"
    if stamp.device_time is None:
        return None
    return f"{message.utc}|{message.source.get('rule', '')[:64]}|{raw}"


def _confidence(message: Message, spec: topics.PlateTopic) -> float | None:
    scale = 1.0 if message.plate_likelihood else spec.scale
    text = (
        message.plate_likelihood
        or message.data.get(spec.confidence.lower())
        or message.data.get("confidence", "")
    )
    try:
        value = float(text) / scale
    except ValueError:
        return None
    if math.isnan(value) or math.isinf(value) or value < 0:
        return None
    # a few count to a hundred where the standard says one
    return min(value / 100 if value > 1 and scale == 1 else value, 1.0)


def _direction(word: str) -> Direction | None:
    """Only where the device says in or out; "forward" is relative to how the camera hangs (see details)."""
    lowered = word.lower()
    if lowered in ("in", "entry", "enter", "entering", "inbound"):
        return Direction.IN
    if lowered in ("out", "exit", "leave", "leaving", "outbound"):
        return Direction.OUT
    return None


def _channel(message: Message) -> str | None:
    return (
        message.source.get("videosource")
        or message.source.get("videosourceconfigurationtoken")
        or message.source.get("source")
        or None
    )


def _credential(kind: CredentialKind, raw: str) -> Credential | None:
    if raw.strip().lower() in topics.NO_PLATE:
        return None
    try:
        return Credential(kind, normalise(kind, raw))
    except ValueError:
        return None


def _input(message: Message, stamp: Stamp) -> InputChanged | Ignored | str:
    names, prefix = topics.INPUTS[message.path]
    token = next((message.source[name.lower()] for name in names if message.source.get(name.lower())), "")
    if not token:
        if message.path == "Device/IO/Port":
            return Ignored(message.topic, "Axis says that any port changed, beside saying which")
        return "no token of the input"
    active = _state(message)
    if active is None:
        return "no state of the input"
    return InputChanged(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        input=f"{prefix}{token[:64]}",
        active=active,
        initial=message.initial,
    )


def _observed(message: Message, stamp: Stamp, what: str, **more: str) -> Observed:
    active = True if what == "crossed" and "islinecross" not in message.data else _state(message)
    if active is None:
        active = message.operation != "Deleted"
    return Observed(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        what=what,
        active=active,
        initial=message.initial,
        details={**message.flat, **more},
    )


def _access(message: Message, stamp: Stamp, rest: str) -> Read | Observed | Ignored:
    """Access decisions of a door controller (Profile C). One that names the credential's number is a read
    of a card; the rest is observed."""
    step = rest.partition("/")[0]
    what = topics.ACCESS.get(step)
    if what is None:
        return _observed(message, stamp, "other", topic=message.topic)
    number = message.data.get("identifiervalue", "")
    if (
        not number
        or len(number) > MAX_RAW
        or what not in ("access_granted", "access_denied", "access_request")
    ):
        return _observed(message, stamp, what)
    if message.initial:
        return Ignored(message.topic, "a replayed state is never a person")
    return Read(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        key=f"{message.utc}|{number}" if stamp.device_time else None,
        credential=_credential(CredentialKind.CARD, number),
        raw=number,
        channel=message.source.get("accesspointtoken") or None,
        details={**{name: value for name, value in message.flat.items() if value}, "access": what[7:]},
    )


def _door(message: Message, stamp: Stamp, name: str) -> DeviceEvent | str:
    state = message.data.get("state", "").lower()
    if name == "DoorPhysicalState":
        places = {"open": BarrierPosition.OPEN, "closed": BarrierPosition.CLOSED}
        return PositionChanged(
            device=stamp.device,
            received_at=stamp.received_at,
            device_time=stamp.device_time,
            position=places.get(state, BarrierPosition.UNKNOWN),
            output=f"door:{message.source.get('doortoken', '')[:64]}",
        )
    if name in topics.DOOR:
        found = topics.DOOR[name].get(state)
        if found is None:
            return f"an unknown {name}"
        what, active = found
        return Observed(
            device=stamp.device,
            received_at=stamp.received_at,
            device_time=stamp.device_time,
            what=what,
            active=active,
            initial=message.initial,
            details=message.flat,
        )
    if name in topics.DOOR_STATES:
        return _observed(message, stamp, topics.DOOR_STATES[name])
    return _observed(message, stamp, "other", topic=message.topic)


# --- small parts ------------------------------------------------------------------------------------------


def _state(message: Message) -> bool | None:
    """The boolean among the data items: by its usual names first, then the only one there is."""
    for name in _STATE_NAMES:
        if name in message.data:
            return _boolean(message.data[name])
    found = [value for value in map(_boolean, message.data.values()) if value is not None]
    return found[0] if len(found) == 1 else None


def _boolean(text: str) -> bool | None:
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


def _under(path: str, table: Mapping[str, str]) -> str | None:
    for beginning, meaning in table.items():
        if path.startswith(beginning) and (
            len(path) == len(beginning) or path[len(beginning)] == "/" or beginning[-1] == "."
        ):
            return meaning
    return None
