"""What one message means: a `Message` to an event of `gated.domain`, by the tables of `topics`.

Pure. `codec` takes the XML apart; nothing here knows XML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from adapters.onvif import access, topics
from adapters.onvif.message import MAX_RAW, Ignored, Message, Stamp, credential, observed, state
from gated.domain import CredentialKind, DeviceEvent, Direction, InputChanged, Read


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
        return access.access(message, stamp, rest)
    if path.startswith("Door/State/"):
        return access.door(message, stamp, path.rpartition("/")[2])
    what = topics.OBSERVED.get(path) or _under(path, topics.OBSERVED_UNDER)
    if what is not None:
        return observed(message, stamp, what)
    why = _under(path, topics.IGNORED)
    if why is not None:
        return Ignored(message.topic, why)
    return observed(message, stamp, "other", topic=message.topic)


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
        credential=credential(CredentialKind.PLATE, raw),
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


def _input(message: Message, stamp: Stamp) -> InputChanged | Ignored | str:
    names, prefix = topics.INPUTS[message.path]
    token = next((message.source[name.lower()] for name in names if message.source.get(name.lower())), "")
    if not token:
        if message.path == "Device/IO/Port":
            return Ignored(message.topic, "Axis says that any port changed, beside saying which")
        return "no token of the input"
    active = state(message)
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


# --- small parts ------------------------------------------------------------------------------------------


def _under(path: str, table: Mapping[str, str]) -> str | None:
    for beginning, meaning in table.items():
        if path.startswith(beginning) and (
            len(path) == len(beginning) or path[len(beginning)] == "/" or beginning[-1] == "."
        ):
            return meaning
    return None
