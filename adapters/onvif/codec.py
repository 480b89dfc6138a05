"""PullMessages replies to events: pure, no I/O, no clock.

Every notification becomes exactly one of: an event of `gated.domain`, an `Ignored` (a listed topic that says nothing
about a gate, or a state replay of a plate), or an `Unparsed` with a sample that pastes into a test. A well-formed
topic that nobody listed is an `Observed` named "other", so that nothing is lost silently. Bytes that are no reply
raise `envelope.NotSoap`; nothing else is raised, whatever a device sends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from adapters.onvif import topics
from adapters.onvif.envelope import Fault, NotSoap, child, fault, local, parse, payload, text_of
from adapters.onvif.times import utc
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

MAX_ITEMS = 40  # items kept of one message
MAX_VALUE = 256  # characters kept of one value in `details`
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
class Unparsed:
    """A message, or a new kind of message, for the log: `kind` tells one sort from another."""

    kind: str
    sample: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """One PullMessages reply. `current` and `terminates`: on the device's clock. `messages`: how many
    notifications there were; each is in exactly one of the three tuples. `unknown`: topics that became "other",
    to be logged once each."""

    current: datetime | None
    terminates: datetime | None
    messages: int
    events: tuple[DeviceEvent, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    unparsed: tuple[Unparsed, ...] = ()
    unknown: tuple[Unparsed, ...] = ()


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


def read_reply(
    body: bytes, *, device: str, received_at: datetime, plates: Sequence[topics.PlateTopic] = ()
) -> Pulled | Fault:
    """A PullMessages reply, or the fault that came instead. `plates`: configured topics beside the built-in ones.
    Raises NotSoap."""
    root = parse(body)
    failed = fault(root)
    if failed is not None:
        return failed
    answer = payload(root)
    if answer is None or local(answer) != "PullMessagesResponse":
        raise NotSoap(f"<{'' if answer is None else local(answer)}> instead of a PullMessagesResponse")
    known = {each.topic: each for each in (*topics.PLATES, *plates)}
    events: list[DeviceEvent] = []
    ignored: list[Ignored] = []
    unparsed: list[Unparsed] = []
    unknown: list[Unparsed] = []
    count = 0
    for each in answer:
        if local(each) != "NotificationMessage":
            continue
        count += 1
        found = decode(each, device=device, received_at=received_at, plates=known)
        if isinstance(found, Ignored):
            ignored.append(found)
        elif isinstance(found, Unparsed):
            unparsed.append(found)
        else:
            events.append(found)
            if isinstance(found, Observed) and found.what == "other":
                unknown.append(Unparsed(f"topic {found.details['topic']}", _sample(each), "an unknown topic"))
    return Pulled(
        current=utc(text_of(answer, "CurrentTime")),
        terminates=utc(text_of(answer, "TerminationTime")),
        messages=count,
        events=tuple(events),
        ignored=tuple(ignored),
        unparsed=tuple(unparsed),
        unknown=tuple(unknown),
    )


def decode(
    notification: etree._Element,
    *,
    device: str,
    received_at: datetime,
    plates: Mapping[str, topics.PlateTopic],
) -> DeviceEvent | Ignored | Unparsed:
    """One NotificationMessage; `plates` by path."""
    topic = _topic(notification)
    if not topic:
        return Ignored("", "a message without a topic")
    message = take_apart(notification, topic)
    if message is None:
        return Unparsed(f"message of {topic}", _sample(notification), "no tt:Message in it")
    made = _event(message, _Stamp(device, received_at, utc(message.utc)), plates)
    if isinstance(made, str):
        return Unparsed(f"message of {topic}", _sample(notification), made)
    return made


def take_apart(notification: etree._Element, topic: str) -> Message | None:
    """The parts of a notification, bounded; None without a tt:Message."""
    body = child(notification, "Message", "Message")
    if body is None:
        return None
    parts: dict[str, dict[str, str]] = {"Source": {}, "Key": {}, "Data": {}}
    flat: dict[str, str] = {}
    likelihood = ""
    for section in body:
        items = parts.get(local(section))
        if items is None:
            continue
        for item in section:
            if len(flat) >= MAX_ITEMS:
                break
            name = (item.get("Name") or "")[:64]
            if local(item) == "SimpleItem" and name:
                value = (item.get("Value") or "").strip()
                items.setdefault(name.lower(), value)
                flat.setdefault(name, value[:MAX_VALUE])
            elif local(item) == "ElementItem":
                for leaf in item.iter():
                    words = (leaf.text or "").strip()
                    if not words or len(flat) >= MAX_ITEMS:
                        continue
                    items.setdefault(local(leaf).lower(), words)
                    flat.setdefault(_leaf_name(leaf), words[:MAX_VALUE])
                    if local(leaf) == "PlateNumber":
                        likelihood = leaf.get("Likelihood") or likelihood
    return Message(
        topic=topic,
        path="/".join(part.rpartition(":")[2] for part in topic.split("/")),
        operation=body.get("PropertyOperation") or "",
        utc=body.get("UtcTime") or "",
        source=parts["Source"],
        key=parts["Key"],
        data=parts["Data"],
        flat=flat,
        plate_likelihood=likelihood,
    )


@dataclass(frozen=True, slots=True)
class _Stamp:
    device: str
    received_at: datetime
    device_time: datetime | None


def _event(
    message: Message, stamp: _Stamp, plates: Mapping[str, topics.PlateTopic]
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


def _plate(message: Message, stamp: _Stamp, spec: topics.PlateTopic) -> Read | Ignored | str:
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


def _plate_key(message: Message, stamp: _Stamp, raw: str, own: str | None) -> str | None:
    """The device's number of the vehicle; else its time with the plate, which a resent message repeats and a
    second vehicle does not; None where its clock says nothing."""
    if own:
        return f"car-{own[:64]}"
    if stamp.device_time is None:
        return None
    return f"{message.utc}|{message.source.get('rule', '')[:64]}|{raw}"


def _confidence(message: Message, spec: topics.PlateTopic) -> float | None:
    text = (
        message.plate_likelihood
        or message.data.get(spec.confidence.lower())
        or message.data.get("confidence", "")
    )
    try:
        value = float(text) / (1.0 if message.plate_likelihood else spec.scale)
    except ValueError:
        return None
    if math.isnan(value) or math.isinf(value) or value < 0:
        return None
    # a few count to a hundred where the standard says one
    return min(value / 100 if value > 1 else value, 1.0)


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


def _input(message: Message, stamp: _Stamp) -> InputChanged | Ignored | str:
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


def _observed(message: Message, stamp: _Stamp, what: str, **more: str) -> Observed:
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


def _access(message: Message, stamp: _Stamp, rest: str) -> Read | Observed | Ignored:
    """Access decisions of a door controller (Profile C). One that names the credential's number is a read of a
    card; the rest is observed."""
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


def _door(message: Message, stamp: _Stamp, name: str) -> DeviceEvent | str:
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


def _topic(notification: etree._Element) -> str:
    """The topic without white space and without a trailing `/.`, which some devices add."""
    text = text_of(notification, "Topic")[:256]
    return text.removesuffix("/.").strip("/ ")


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


def _leaf_name(leaf: etree._Element) -> str:
    """`Type` alone says little: a leaf is named with its parent, `VehicleInfo.Type`."""
    parent = leaf.getparent()
    return local(leaf) if parent is None else f"{local(parent)}.{local(leaf)}"


def _sample(notification: etree._Element) -> bytes:
    return etree.tostring(notification, encoding="utf-8", with_tail=False)[:4096]
