"""PullMessages replies to events: pure, no I/O, no clock.

Every notification becomes exactly one of: an event of `gated.domain`, an `Ignored` (a listed topic that says
nothing about a gate, or a state replay of a plate), or an `Unparsed` with a sample that pastes into a test. A
well-formed topic that nobody listed is an `Observed` named "other", so that nothing is lost silently. Bytes
that are no reply raise `envelope.NotSoap`; nothing else is raised, whatever a device sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from adapters.onvif import topics
from adapters.onvif.envelope import Fault, NotSoap, child, fault, local, parse, payload, text_of
from adapters.onvif.meanings import meaning
from adapters.onvif.message import Ignored, Message, Stamp
from adapters.onvif.times import utc
from gated.domain import DeviceEvent, Observed

MAX_ITEMS = 40  # items kept of one message
MAX_VALUE = 256  # characters kept of one value in `details`


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A message, or a new kind of message, for the log: `kind` tells one sort from another."""

    kind: str
    sample: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """One PullMessages reply. `current` and `terminates`: on the device's clock. `messages`: how many
    notifications there were; each is in exactly one of the three tuples. `unknown`: topics that became
    "other", to be logged once each."""

    current: datetime | None
    terminates: datetime | None
    messages: int
    events: tuple[DeviceEvent, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    unparsed: tuple[Unparsed, ...] = ()
    unknown: tuple[Unparsed, ...] = ()


class Reader:
    """Reads the replies of one device. `plates`: configured topics beside the built-in ones. `asked`: the
    topic expressions that were asked for; what lies outside of them is ignored here, because devices may
    not filter."""

    def __init__(
        self, device: str, plates: Sequence[topics.PlateTopic] = (), asked: Sequence[str] = ()
    ) -> None:
        self._device = device
        self._plates = {each.topic: each for each in (*topics.PLATES, *plates)}
        self._asked = tuple(_beginning(each) for expression in asked for each in expression.split("|"))

    def read(self, body: bytes, received_at: datetime) -> Pulled | Fault:
        """A PullMessages reply, or the fault that came instead. Raises NotSoap."""
        root = parse(body)
        failed = fault(root)
        if failed is not None:
            return failed
        answer = payload(root)
        if answer is None or local(answer) != "PullMessagesResponse":
            raise NotSoap(f"<{'' if answer is None else local(answer)}> instead of a PullMessagesResponse")
        events: list[DeviceEvent] = []
        ignored: list[Ignored] = []
        unparsed: list[Unparsed] = []
        unknown: list[Unparsed] = []
        count = 0
        for each in answer:
            if local(each) != "NotificationMessage":
                continue
            count += 1
            found = self.decode(each, received_at)
            if isinstance(found, Ignored):
                ignored.append(found)
            elif isinstance(found, Unparsed):
                unparsed.append(found)
            else:
                events.append(found)
                if isinstance(found, Observed) and found.what == "other":
                    topic = found.details["topic"]
                    unknown.append(Unparsed(f"topic {topic}", _sample(each), "nobody listed this topic"))
        return Pulled(
            current=utc(text_of(answer, "CurrentTime")),
            terminates=utc(text_of(answer, "TerminationTime")),
            messages=count,
            events=tuple(events),
            ignored=tuple(ignored),
            unparsed=tuple(unparsed),
            unknown=tuple(unknown),
        )

    def decode(self, notification: etree._Element, received_at: datetime) -> DeviceEvent | Ignored | Unparsed:
        """One NotificationMessage."""
        topic = _topic(notification)
        if not topic:
            return Ignored("", "a message without a topic")
        message = take_apart(notification, topic)
        if message is None:
            return Unparsed(f"message of {topic}", _sample(notification), "no tt:Message in it")
        if self._asked and not any(message.path.startswith(each) for each in self._asked):
            return Ignored(topic, "it was not asked for")
        made = meaning(message, Stamp(self._device, received_at, utc(message.utc)), self._plates)
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
        path=_path(topic),
        operation=body.get("PropertyOperation") or "",
        utc=body.get("UtcTime") or "",
        source=parts["Source"],
        key=parts["Key"],
        data=parts["Data"],
        flat=flat,
        plate_likelihood=likelihood,
    )


# --- small parts ------------------------------------------------------------------------------------------


def _topic(notification: etree._Element) -> str:
    """The topic without white space and without a trailing `/.`, which some devices add."""
    text = text_of(notification, "Topic")[:256]
    return text.removesuffix("/.").strip("/ ")


def _path(topic: str) -> str:
    return "/".join(part.rpartition(":")[2] for part in topic.split("/"))


def _beginning(expression: str) -> str:
    """What a topic expression begins with: `tns1:RuleEngine//.` is everything under `RuleEngine`."""
    return _path(expression.strip().removesuffix("//.").removesuffix("/.").removesuffix("/*"))


def _leaf_name(leaf: etree._Element) -> str:
    """`Type` alone says little: a leaf is named with its parent, `VehicleInfo.Type`."""
    parent = leaf.getparent()
    return local(leaf) if parent is None else f"{local(parent)}.{local(leaf)}"


def _sample(notification: etree._Element) -> bytes:
    return etree.tostring(notification, encoding="utf-8", with_tail=False)[:4096]
