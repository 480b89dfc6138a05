"""What a door controller (Profile C) says: who asks, who was let in, where its doors are. Pure.

Names of topics and items: ONVIF Access Control and Door Control Service Specifications. `External` tells a
decision that somebody else made (ours, by ExternalAuthorization) from the controller's own.
"""

from __future__ import annotations

from adapters.onvif import topics
from adapters.onvif.message import MAX_RAW, Ignored, Message, Stamp, boolean, credential, observed
from gated.domain import BarrierPosition, CredentialKind, DeviceEvent, Observed, PositionChanged, Read

DOOR = "door:"
MAX_TOKEN = 64  # pt:ReferenceToken
REQUEST = "request"  # `details["access"]` of a read that waits for an answer
TIMEOUT = "access_timeout"  # what is observed when the controller waits no longer

_NUMBERS = ("identifiervalue", "card")
_PLACES = {"open": BarrierPosition.OPEN, "closed": BarrierPosition.CLOSED}


def access(message: Message, stamp: Stamp, rest: str) -> Read | Observed | Ignored:
    """`AccessControl/<rest>`. A request, a denial and a grant that name somebody are reads of a card: its
    number, else the controller's own token of it. A request of nobody in particular (`Anonymous`) is a read
    of nothing. What the controller granted by itself is backlog: the door is open already. The outcome of a
    decision of ours is observed."""
    what = TIMEOUT if rest == "Request/Timeout" else topics.ACCESS.get(rest.partition("/")[0])
    if what is None:
        return observed(message, stamp, "other", topic=message.topic)
    who = _who(message)
    asks = what == "access_request"
    ours = boolean(message.data.get("external", "")) is True
    if ours or not (asks or (who and what in ("access_granted", "access_denied"))):
        return _said(message, stamp, what)
    if message.initial:
        return Ignored(message.topic, "a replayed state is never a person")
    alone = what == "access_granted"
    point, token = message.source.get("accesspointtoken", ""), message.data.get("credentialtoken", "")
    details = {name: value for name, value in message.flat.items() if value}
    details["access"] = what.removeprefix("access_")
    if asks and 0 < len(token) <= MAX_TOKEN:
        details["credential_token"] = token
    if alone:
        details["opened_by"] = "own_list"
    key = f"{details['access']}|{message.utc[:40]}|{point[:MAX_TOKEN]}|{who}"
    return Read(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        key=key if stamp.device_time else None,
        credential=credential(CredentialKind.CARD, who) if who else None,
        raw=who,
        backlog=alone,
        channel=point if 0 < len(point) <= MAX_TOKEN else None,
        details=details,
    )


def door(message: Message, stamp: Stamp, name: str) -> DeviceEvent | Ignored | str:
    """`Door/State/<name>`; a string says what could not be parsed."""
    state = message.data.get("state", "").lower()
    if name == "DoorPhysicalState":
        token = message.source.get("doortoken", "")[:MAX_TOKEN]
        if not token:
            return "no token of the door"
        return PositionChanged(
            device=stamp.device,
            received_at=stamp.received_at,
            device_time=stamp.device_time,
            position=_PLACES.get(state, BarrierPosition.UNKNOWN),
            output=f"{DOOR}{token}",
        )
    if name in topics.DOOR:
        if state == "unknown":
            return Ignored(message.topic, "the controller does not know it")
        found = topics.DOOR[name].get(state)
        if found is None:
            return f"an unknown {name}"
        what, active = found
        return _said(message, stamp, what, active=active)
    if name in topics.DOOR_STATES:
        return _said(message, stamp, topics.DOOR_STATES[name])
    return observed(message, stamp, "other", topic=message.topic)


def _who(message: Message) -> str:
    """The number of the card, else the controller's token of the credential; "" for nobody and nonsense."""
    for name in (*_NUMBERS, "credentialtoken"):
        value = message.data.get(name, "")
        if value:
            return value if len(value) <= MAX_RAW else ""
    return ""


def _said(message: Message, stamp: Stamp, what: str, *, active: bool = True) -> Observed:
    """As `observed`, but no boolean among its items (`External`) means that it ended."""
    return Observed(
        device=stamp.device,
        received_at=stamp.received_at,
        device_time=stamp.device_time,
        what=what,
        active=active,
        initial=message.initial,
        details=message.flat,
    )
