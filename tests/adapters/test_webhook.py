"""The webhook: its JSON, what is refused and how it is said, opening by reply and by call."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.simulator._http import HttpServer, Request, Response
from adapters.webhook import Config, WebhookDevice, codec, create
from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    Heartbeat,
    InputChanged,
    OpeningOutcome,
    PositionChanged,
    Read,
)
from gated.ports import BadPush, Handled, Pulse
from tests.adapters.contract import CLOCK, Unparsed, context
from tests.adapters.rig import push
from tests.adapters.test_vzenith_codec import fuzz, json_values

DOCS = Path(__file__).parents[2] / "docs" / "devices"
SCHEMA = DOCS / "webhook.schema.json"
TIME = datetime(2026, 11, 21, 7, 59, 59, 500000, tzinfo=UTC)
BASE: dict[str, Any] = {"device": "wh-1", "received_at": CLOCK, "device_time": TIME, "key": "e1"}
COMMON = {"id": "e1", "time": "2026-11-21T15:59:59.5+08:00"}


def adapter(unparsed: Unparsed | None = None, **settings: Any) -> WebhookDevice:
    values = {"id": "wh-1", "type": "webhook", "token": {"file": "unused"}, "reply_wait_ms": 300}
    return create(Config.model_validate(values | settings), context("wh-1", unparsed))


async def nothing(event: DeviceEvent) -> Handled:
    return Handled(passage_id="01P", granted=False)


MESSAGES: list[tuple[dict[str, Any], DeviceEvent]] = [
    (
        {"type": "read", "kind": "plate", "value": "津·a12345", "confidence": 0.5, "direction": "in",
         "channel": "2", "details": {"plate_color": "blue"}},
        Read(credential=Credential(CredentialKind.PLATE, "津A12345"), raw="津·a12345", confidence=0.5,
             direction=Direction.IN, channel="2", details={"plate_color": "blue"}, **BASE),
    ),
    ({"type": "read", "kind": "plate", "value": None}, Read(credential=None, raw="", **BASE)),
    ({"type": "read", "kind": "plate", "value": "?!"}, Read(credential=None, raw="?!", **BASE)),
    ({"type": "read", "kind": "card", "value": "0a:1b", "backlog": True},
     Read(credential=Credential(CredentialKind.CARD, "0A1B"), raw="0a:1b", backlog=True, **BASE)),
    ({"type": "read", "kind": "code", "value": "G1:xyz"},
     Read(credential=Credential(CredentialKind.CODE, "G1:xyz"), raw="G1:xyz", **BASE)),
    ({"type": "input", "input": "loop", "active": True},
     InputChanged(input="loop", active=True, **BASE)),
    ({"type": "input", "input": "loop", "active": False, "initial": True},
     InputChanged(input="loop", active=False, initial=True, **BASE)),
    ({"type": "position", "position": "open", "output": "0"},
     PositionChanged(position=BarrierPosition.OPEN, output="0", **BASE)),
    ({"type": "heartbeat", "model": "ESP32"}, Heartbeat(**BASE)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "event"), MESSAGES)
def test_messages(message: dict[str, Any], event: DeviceEvent) -> None:
    content = message | COMMON
    assert codec.event(codec.parse(json.dumps(content).encode()), "wh-1", CLOCK) == event
    jsonschema.validate(content, codec.schema())


REFUSED: list[tuple[Any, str]] = [
    ({"type": "read", "kind": "plate", "plate": "津A12345"}, "plate: unknown key"),
    ({"type": "read", "kind": "face"}, "kind: "),
    ({"type": "read", "kind": "plate", "confidence": 96}, "confidence: "),
    ({"type": "read", "kind": "plate", "value": "津A\x0012345"}, "value: "),
    ({"type": "read", "kind": "plate", "value": "x" * 513}, "value: "),
    ({"type": "input", "active": True}, "input: Field required"),
    ({"type": "heartbeat", "time": "2026-11-21T08:00:00"}, "time: "),
    ({"type": "heartbeat", "wait_ms": 60_000}, "wait_ms: "),
    ({"type": "open"}, "read"),
    ({}, "type"),
    ([], ""),
]


@pytest.mark.parametrize(("message", "said"), REFUSED)
async def test_what_is_refused_is_said(message: Any, said: str) -> None:
    unparsed = Unparsed()
    with pytest.raises(BadPush) as caught:
        await adapter(unparsed).receive(push(json.dumps(message).encode()), nothing)
    assert said in str(caught.value)
    assert len(unparsed.calls) == 1
    if said not in ("time: ", "value: "):  # zones and printable characters are beyond a JSON Schema
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(message, codec.schema())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000, b'"' + b"x" * 70_000 + b'"'])
async def test_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadPush):
        await adapter().receive(push(body), nothing)


def test_the_published_schema_is_the_one_in_force() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == codec.schema()


def test_the_examples_in_the_docs_are_messages() -> None:
    text = (DOCS / "webhook.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```json")[1:]]
    messages = [content for block in blocks if "type" in (content := json.loads(block))]
    assert len(messages) >= 4
    for message in messages:
        codec.parse(json.dumps(message).encode())


@fuzz
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(body: bytes) -> None:
    with contextlib.suppress(codec.Malformed):
        codec.event(codec.parse(body), "wh-1", CLOCK)


@fuzz
@given(
    st.sampled_from(MESSAGES),
    st.sampled_from(["kind", "value", "time", "input", "details", "id"]),
    json_values,
)
def test_any_value(message: tuple[dict[str, Any], DeviceEvent], key: str, value: object) -> None:
    body = json.dumps({**message[0], key: value}).encode()
    with contextlib.suppress(codec.Malformed):
        codec.event(codec.parse(body), "wh-1", CLOCK)


# --- opening ----------------------------------------------------------------------------------------------


async def test_reply_says_what_became_of_it() -> None:
    reply = await adapter().receive(push(b'{"type":"read","kind":"plate","value":"x1"}'), nothing)
    assert json.loads(reply.body) == {"passage_id": "01P", "granted": False}


async def test_open_rides_on_the_reply() -> None:
    device = adapter()

    async def lane(event: DeviceEvent) -> Handled:
        task = asyncio.ensure_future(device.open(Pulse("01O", 700, "gate", answers=event.key)))
        return Handled("01P", True, task, "wh-1")

    reply = await device.receive(push(b'{"type":"read","kind":"plate","value":"x1","id":"7"}'), lane)
    assert json.loads(reply.body)["open"] == {"id": "01O", "output": "gate", "pulse_ms": 700}
    assert reply.sent is not None
    reply.sent(True)


class Peer:
    """The device's own server: answers as told, counts calls."""

    def __init__(self) -> None:
        self.calls: list[Request] = []
        self.answer: Response | None = Response(200)

    async def __call__(self, request: Request) -> tuple[Response, None] | None:
        self.calls.append(request)
        return None if self.answer is None else (self.answer, None)


@pytest.fixture
async def peer() -> AsyncIterator[tuple[Peer, HttpServer]]:
    peer = Peer()
    async with HttpServer(peer) as server:
        yield peer, server


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Response(200), "accepted"), (Response(204), "accepted"), (Response(401), "rejected"),
        (Response(404), "rejected"), (Response(409), "rejected"), (Response(500), "uncertain"),
        (Response(302, headers={"Location": "/elsewhere"}), "rejected"), (None, "uncertain"),
    ],
)  # fmt: skip
async def test_a_call_is_made_once(
    peer: tuple[Peer, HttpServer], tmp_path: Path, answer: Response | None, outcome: str
) -> None:
    double, server = peer
    double.answer = answer
    (tmp_path / "token").write_text("s3cret\n")
    device = adapter(open_url=f"{server.url}/open", open_token={"file": str(tmp_path / "token")})
    opened = await device.open(Pulse("01O", 700, "gate"))
    assert opened.outcome == outcome
    assert opened.detail
    assert len(double.calls) == 1
    assert double.calls[0].headers["authorization"] == "Bearer s3cret"
    assert json.loads(double.calls[0].body) == {"id": "01O", "output": "gate", "pulse_ms": 700}


async def test_a_token_that_cannot_be_read_sends_nothing(peer: tuple[Peer, HttpServer]) -> None:
    device = adapter(open_url=peer[1].url, open_token={"file": "/nonexistent/token"})
    assert (await device.open(Pulse("01O", 700))).outcome is OpeningOutcome.UNREACHABLE
    assert peer[0].calls == []


@pytest.mark.parametrize(
    "settings",
    [{"open_token": {"env": "X"}}, {"open_url": "ftp://x/"}, {"open_url": "x"}, {"silent_after_s": 0}],
)
def test_configuration_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        adapter(**settings)
