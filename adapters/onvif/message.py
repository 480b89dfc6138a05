"""One notification, taken apart, and what is common to all meanings. Pure; knows no XML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.onvif import topics
from gated.domain import Credential, CredentialKind, Observed
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


def observed(message: Message, stamp: Stamp, what: str, **more: str) -> Observed:
    """It is what its topic says, for as long as its state says so."""
    active = True if what == "crossed" and "islinecross" not in message.data else state(message)
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


def credential(kind: CredentialKind, raw: str) -> Credential | None:
    """Normalised; None for what devices say when they read nothing, and for what cannot be one."""
    if raw.strip().lower() in topics.NO_PLATE:
        return None
    try:
        return Credential(kind, normalise(kind, raw))
    except ValueError:
        return None


def state(message: Message) -> bool | None:
    """The boolean among the data items: by its usual names first, then the only one there is."""
    for name in _STATE_NAMES:
        if name in message.data:
            return boolean(message.data[name])
    found = [value for value in map(boolean, message.data.values()) if value is not None]
    return found[0] if len(found) == 1 else None


def boolean(text: str) -> bool | None:
    """None where the word is no boolean."""
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
