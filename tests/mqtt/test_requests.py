"""Requests that arrive over MQTT: what is understood, and every way in which one is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gated.mqtt.requests import (
    MAX_REQUEST,
    PAGE_BYTES,
    BadRequest,
    command_reply,
    command_request,
    error_reply,
    may_answer_on,
    read_object,
    replay_reply,
    replay_request,
)
from gated.store.outbox import OutboxRow
from tests.mqtt.contract import Contract

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
COMMAND = {
    "request_id": "r1",
    "nonce": "0123456789abcdef",
    "action": "open",
    "reason": "ambulance",
    "token": "secret-token",
    "expires_at": "2026-11-21T08:00:30Z",
}
ROOT = "gated/village/"


def test_a_command_is_understood() -> None:
    request = command_request(COMMAND, NOW)
    assert (request.request_id, request.action, request.reason) == ("r1", "open", "ambulance")
    assert request.expires_at == NOW + timedelta(seconds=30)
    assert "secret-token" not in repr(request)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"request_id": None}, "bad_request"),
        ({"request_id": "x" * 129}, "bad_request"),
        ({"nonce": "short"}, "bad_request"),
        ({"nonce": 12345678}, "bad_request"),
        ({"action": "close"}, "bad_action"),
        ({"reason": "  "}, "bad_request"),
        ({"reason": ["x"]}, "bad_request"),
        ({"token": ""}, "bad_request"),
        ({"expires_at": "soon"}, "bad_request"),
        ({"expires_at": "2026-11-21T08:00:30"}, "bad_request"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "bad_request"),
        ({"expires_at": "2026-11-21T08:00:00Z"}, "expired"),
        ({"expires_at": "2026-11-21T07:59:59+00:00"}, "expired"),
        ({"expires_at": "2026-11-21T08:05:01Z"}, "expires_too_late"),
    ],
)
def test_a_command_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        command_request({**COMMAND, **change}, NOW)
    assert refused.value.code == code
    assert "secret-token" not in refused.value.detail


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[1]", "bad_request"),
        (b"null", "bad_request"),
        (b'{"a":', "bad_request"),
        (b'"' + b"x" * MAX_REQUEST + b'"', "too_large"),
        (b"[" * 5000, "bad_request"),
    ],
)
def test_what_is_no_request(payload: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_object(payload)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("gated/village/replies/worker/1", True),
        ("phones/7/inbox", True),
        ("gated/village/lanes/east-in/command", False),
        ("gated/village/lanes/east-in/state", False),
        ("gated/village/status", False),
        ("gated/village/replies", False),
        ("gated/other/replies/x", False),
        ("$SYS/x", False),
        ("a/+/b", False),
        ("a/#", False),
        ("", False),
        ("x" * 513, False),
    ],
)
def test_where_an_answer_may_go(topic: str, allowed: bool) -> None:
    assert may_answer_on(topic, prefix="gated", site="village") is allowed


@pytest.mark.parametrize(
    ("payload", "fixed", "expected"),
    [
        ({"topic": "grids/g01/alerts", "from_seq": 3}, None, ("grids/g01/alerts", 3, 100)),
        ({"topic": ROOT + "grids/g01/alerts", "from_seq": 0}, None, ("grids/g01/alerts", 0, 100)),
        ({"topic": "grids/g01/alerts", "from_seq": 3, "limit": 7}, None, ("grids/g01/alerts", 3, 7)),
        ({"topic": "grids/g01/alerts", "from_seq": 3, "limit": 9**9}, None, ("grids/g01/alerts", 3, 100)),
        ({"from_seq": 3}, "grids/g01/alerts", ("grids/g01/alerts", 3, 100)),
        (
            {"topic": ROOT + "grids/g01/alerts", "from_seq": 3},
            "grids/g01/alerts",
            ("grids/g01/alerts", 3, 100),
        ),
        ({"topic": "grids/g02/alerts", "from_seq": 3}, "grids/g01/alerts", "forbidden"),
        ({"from_seq": 3}, None, "bad_request"),
        ({"topic": "x"}, None, "bad_request"),
        ({"topic": "x", "from_seq": -1}, None, "bad_request"),
        ({"topic": "x", "from_seq": True}, None, "bad_request"),
        ({"topic": "x", "from_seq": "3"}, None, "bad_request"),
        ({"topic": "x", "from_seq": 2**63}, None, "bad_request"),
        ({"topic": "x", "from_seq": 1, "limit": 0}, None, "bad_request"),
        ({"topic": 5, "from_seq": 1}, None, "bad_request"),
    ],
)
def test_replay_requests(
    payload: dict[str, Any], fixed: str | None, expected: tuple[str, int, int] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(BadRequest) as refused:
            replay_request(payload, root=ROOT, fixed=fixed)
        assert refused.value.code == expected
    else:
        request = replay_request(payload, root=ROOT, fixed=fixed)
        assert (request.topic, request.from_seq, request.limit) == expected


def _rows(count: int, size: int = 10) -> list[OutboxRow]:
    body = json.dumps({"x": "y" * size}).encode()
    return [OutboxRow(id=n, topic="t", seq=n, payload=body, retain=False) for n in range(5, 5 + count)]


@pytest.mark.parametrize(
    ("rows", "limit", "seqs", "more", "next_seq"),
    [
        ([], 3, [], False, 5),
        (_rows(2), 3, [5, 6], False, 7),
        (_rows(3), 3, [5, 6, 7], False, 8),
        (_rows(4), 3, [5, 6, 7], True, 8),
        (_rows(3, PAGE_BYTES // 2), 3, [5], True, 6),
        (_rows(2, PAGE_BYTES * 2), 3, [5], True, 6),
    ],
)
def test_pages_of_a_replay(
    rows: list[OutboxRow], limit: int, seqs: list[int], more: bool, next_seq: int
) -> None:
    request = replay_request({"topic": "t", "from_seq": 5, "limit": limit}, root=ROOT)
    page = json.loads(replay_reply(request, rows, root=ROOT))
    assert [message["seq"] for message in page["messages"]] == seqs
    assert (page["more"], page["next_seq"], page["topic"]) == (more, next_seq, "gated/village/t")


def test_replies_are_as_described(contract: Contract) -> None:
    topic = ROOT + "replies/x"
    contract.check(topic, command_reply("r1", "accepted"))
    contract.check(topic, command_reply("r1", "uncertain"))
    contract.check(topic, error_reply({"request_id": "r1"}, BadRequest("expired", "too late")))
    contract.check(topic, error_reply({"request_id": 5}, BadRequest("bad_request", "no")))
    request = replay_request({"topic": "t", "from_seq": 5}, root=ROOT)
    contract.check(topic, replay_reply(request, [], root=ROOT))
