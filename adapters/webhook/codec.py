"""The webhook's JSON: messages to events, openings to replies. The contract is `docs/devices/webhook.md`.

Pure: no I/O, no clock, no state. The models below are the schema; `schema()` writes it out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    Heartbeat,
    InputChanged,
    PositionChanged,
    Read,
)
from gated.plates import credential
from gated.ports import Pulse

MAX_BODY = 16384
"""Bytes of one message. It is small JSON; pictures do not belong in it."""


class Malformed(ValueError):
    """The body is not one of the messages. The text says what is wrong where, and is sent back."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


Short = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
Value = Annotated[str, StringConstraints(max_length=512), AfterValidator(_printable)]
Fact = Annotated[str, StringConstraints(max_length=128), AfterValidator(_printable)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id | None = Field(default=None, description="The device's own id of the event; the same in a resend.")
    time: AwareDatetime | None = Field(default=None, description="When it happened, RFC 3339 with a zone.")
    serial: Short | None = Field(default=None, description="The device's serial number.")
    wait_ms: int = Field(
        default=0, ge=0, le=10_000, description="Hold the answer so long for an opening (long poll)."
    )


class ReadMessage(_Message):
    """A plate, card or code was presented; `value` null or absent: a vehicle without a readable plate."""

    type: Literal["read"]
    kind: Literal["plate", "card", "code"]
    value: Value | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    direction: Literal["in", "out"] | None = None
    channel: Short | None = None
    backlog: bool = Field(default=False, description="It happened while offline: recorded, opens nothing.")
    details: dict[Short, Fact] = Field(default_factory=dict, max_length=16)


class InputMessage(_Message):
    """A contact changed; `initial`: its state is only being repeated."""

    type: Literal["input"]
    input: Short
    active: bool
    initial: bool = False


class PositionMessage(_Message):
    """Where the barrier is."""

    type: Literal["position"]
    position: Literal["open", "closed", "moving", "unknown"]
    output: Short | None = None


class HeartbeatMessage(_Message):
    """The device is alive; with `time` its clock is compared."""

    type: Literal["heartbeat"]
    model: Short | None = None
    firmware: Short | None = None


Message = ReadMessage | InputMessage | PositionMessage | HeartbeatMessage
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def schema() -> dict[str, Any]:
    """The JSON Schema of a message."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gated webhook message",
        **_MESSAGE.json_schema(),
    }


def parse(body: bytes) -> Message:
    """One message. Raises Malformed."""
    if len(body) > MAX_BODY:
        raise Malformed(f"larger than {MAX_BODY} bytes")
    try:
        return _MESSAGE.validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{_where(each['loc'])}{_what(each)}" for each in faults[:5])
        raise Malformed(told) from None


def _where(location: tuple[int | str, ...]) -> str:
    # the first element is the message's type, which the sender knows
    path = ".".join(str(part) for part in location[1:])
    return f"{path[:80]}: " if path else ""


def _what(fault: Any) -> str:
    return "unknown key" if fault["type"] == "extra_forbidden" else str(fault["msg"])[:200]


def event(message: Message, device: str, received_at: datetime) -> DeviceEvent:
    """What a message means."""
    common: dict[str, Any] = {
        "device": device,
        "received_at": received_at,
        "device_time": message.time,
        "key": message.id,
    }
    if isinstance(message, ReadMessage):
        kind = CredentialKind(message.kind)
        return Read(
            credential=_credential(kind, message.value),
            raw=message.value or "",
            confidence=message.confidence,
            backlog=message.backlog,
            channel=message.channel,
            direction=Direction(message.direction) if message.direction else None,
            details=dict(message.details),
            **common,
        )
    if isinstance(message, InputMessage):
        return InputChanged(input=message.input, active=message.active, initial=message.initial, **common)
    if isinstance(message, PositionMessage):
        return PositionChanged(position=BarrierPosition(message.position), output=message.output, **common)
    return Heartbeat(**common)


def _credential(kind: CredentialKind, value: str | None) -> Credential | None:
    if not value:
        return None
    try:
        return credential(kind, value)
    except ValueError:
        return None


def reply(passage_id: str | None, granted: bool, pulse: Pulse | None) -> bytes:
    """The answer to a push: `open` is there only if the device is to open now, once."""
    answer: dict[str, object] = {"passage_id": passage_id, "granted": granted}
    if pulse is not None:
        answer["open"] = order(pulse)
    return orjson.dumps(answer)


def order(pulse: Pulse) -> dict[str, object]:
    """An opening, in a reply or as the body of a call to `open_url`. `id` is unique to it."""
    return {"id": pulse.id, "output": pulse.output, "pulse_ms": pulse.milliseconds}
