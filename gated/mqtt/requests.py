"""What others may ask over MQTT: commands to a lane and replays. Pure: bytes to records, records to replies.

Trusts nothing that it is given; what cannot be understood is a `BadRequest`, whose message holds no part of
a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from gated.outbox import with_seq
from gated.store.records import OutboxRow
from gated.times import parse_iso

MAX_REQUEST = 8 * 1024
"""Bytes of a request; more is refused unread."""
MAX_LIFE = timedelta(minutes=5)
"""How far ahead a command may expire; its nonce is remembered for longer than that."""
PAGE_ROWS = 100
PAGE_BYTES = 48 * 1024


class BadRequest(Exception):
    """The request is refused. `code` is stable and goes into the reply, `detail` is for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCommand:
    """A checked command to open a lane. `person`: whose token it was. `request_id`: as the sender gave it."""

    request_id: str
    lane: str
    action: str
    reason: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command as it was sent, understood but not yet allowed."""

    request_id: str
    nonce: str
    action: str
    reason: str
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"CommandRequest(request_id={self.request_id!r}, action={self.action!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Messages of one topic (relative to `gated/{site}/`) from one `seq` on."""

    request_id: str | None
    topic: str
    from_seq: int
    limit: int


def read_object(payload: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises BadRequest."""
    if len(payload) > MAX_REQUEST:
        raise BadRequest("too_large", f"a request has at most {MAX_REQUEST} bytes")
    try:
        found = orjson.loads(payload)
    except ValueError:
        raise BadRequest("bad_request", "not JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("bad_request", "not a JSON object")
    return found


def response_topic(payload: dict[str, Any]) -> str | None:
    """Where the answer goes according to the payload, for clients without MQTT 5."""
    found = payload.get("response_topic")
    return found if isinstance(found, str) else None


def may_answer_on(topic: str, *, prefix: str, site: str) -> bool:
    """Whether an answer may go to `topic`. Within gated's own tree only `replies/` is open: nobody may have
    gated publish a command, or a state that is not so."""
    if not topic or len(topic) > 512 or topic.startswith("$") or set(topic) & set("+#\0"):
        return False
    return topic.startswith(f"{prefix}/{site}/replies/") or not topic.startswith(f"{prefix}/")


def command_request(payload: dict[str, Any], now: datetime) -> CommandRequest:
    """A command that is well formed and neither expired nor valid for too long. Raises BadRequest."""
    request = CommandRequest(
        request_id=_text(payload, "request_id", 128),
        nonce=_text(payload, "nonce", 128),
        action=_text(payload, "action", 32),
        reason=_text(payload, "reason", 500),
        token=_text(payload, "token", 512),
        expires_at=_time(payload, "expires_at"),
    )
    if len(request.nonce) < 8:
        raise BadRequest("bad_request", "nonce: at least 8 characters")
    if request.action != "open":
        raise BadRequest("bad_action", "action: only open is known")
    if request.expires_at <= now:
        raise BadRequest("expired", "the command has expired")
    if request.expires_at > now + MAX_LIFE:
        raise BadRequest("expires_too_late", f"a command is valid for at most {MAX_LIFE.seconds} s")
    return request


def replay_request(payload: dict[str, Any], *, root: str, fixed: str | None = None) -> ReplayRequest:
    """A replay. `topic` may be given with or without `root` (`gated/{site}/`). `fixed`: the only topic that
    may be asked for, where the request came on that topic's own `replay`. Raises BadRequest."""
    request_id = payload.get("request_id")
    topic = fixed if fixed is not None and "topic" not in payload else _text(payload, "topic", 512)
    topic = topic.removeprefix(root)
    if fixed is not None and topic != fixed:
        raise BadRequest("forbidden", f"only {fixed} can be asked for here")
    from_seq = _number(payload, "from_seq", None, least=0)
    limit = _number(payload, "limit", PAGE_ROWS, least=1)
    return ReplayRequest(
        request_id=request_id if isinstance(request_id, str) else None,
        topic=topic,
        from_seq=from_seq,
        limit=min(limit, PAGE_ROWS),
    )


def replay_reply(request: ReplayRequest, found: Sequence[OutboxRow], *, root: str) -> bytes:
    """One page. `found` holds up to one row more than `limit`, which tells whether there is more. The page
    ends early where it would grow beyond `PAGE_BYTES`; it holds at least one row if there is any."""
    messages: list[bytes] = []
    size = 0
    for row in found[: request.limit]:
        message = with_seq(row.payload, row.seq)
        size += len(message)
        if messages and size > PAGE_BYTES:
            break
        messages.append(message)
    next_seq = found[len(messages) - 1].seq + 1 if messages else request.from_seq
    return orjson.dumps(
        {
            "request_id": request.request_id,
            "ok": True,
            "topic": root + request.topic,
            "from_seq": request.from_seq,
            "messages": [orjson.Fragment(message) for message in messages],
            "more": len(found) > len(messages),
            "next_seq": next_seq,
        }
    )


def error_reply(payload: dict[str, Any], error: BadRequest) -> bytes:
    """The refusal of any request."""
    return orjson.dumps(
        {"request_id": _id_of(payload), "ok": False, "error": error.code, "detail": error.detail}
    )


def command_reply(request_id: str, outcome: str) -> bytes:
    """The outcome of an opening (accepted, confirmed, rejected, unreachable, uncertain, suppressed). `ok`
    means that the barrier's device took the command."""
    return orjson.dumps(
        {"request_id": request_id, "ok": outcome in ("accepted", "confirmed"), "outcome": outcome}
    )


def _text(payload: dict[str, Any], key: str, most: int) -> str:
    found = payload.get(key)
    if not isinstance(found, str) or not found.strip() or len(found) > most:
        raise BadRequest("bad_request", f"{key}: a text of 1 to {most} characters")
    return found


def _time(payload: dict[str, Any], key: str) -> datetime:
    try:
        return parse_iso(_text(payload, key, 64))
    except (ValueError, OverflowError):
        raise BadRequest("bad_request", f"{key}: a time like 2026-11-21T21:16:03Z") from None


def _number(payload: dict[str, Any], key: str, default: int | None, *, least: int) -> int:
    found = payload.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found < 2**63:
        raise BadRequest("bad_request", f"{key}: a number from {least} on")
    return found


def _id_of(payload: dict[str, Any]) -> str | None:
    found = payload.get("request_id")
    return found[:128] if isinstance(found, str) else None
