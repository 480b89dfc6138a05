"""Answers what others ask over MQTT: replays of a topic, and commands to a lane.

Nothing that arrives can end the connection or fill the memory: requests are bounded in size and in number,
and what is refused is logged, a few lines a minute at most, without tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from gated.domain import OpeningOutcome
from gated.mqtt.link import Incoming
from gated.mqtt.requests import (
    BadRequest,
    LaneCommand,
    command_reply,
    command_request,
    error_reply,
    may_answer_on,
    read_object,
    replay_reply,
    replay_request,
    response_topic,
)
from gated.mqtt.sender import Answer
from gated.ports import NotRecorded
from gated.store import idempotency
from gated.store import outbox as rows
from gated.store.store import Store

log = structlog.get_logger()

_MOST_JOBS = 32
_MOST_READS = 2
"""Replays that read the store at a time: they are not to keep others from it."""
_LOG_EVERY_S = 10.0
_NONCES = "mqtt"
"""In place of the id of a token, among the idempotency keys."""


Authorize = Callable[[str, str], Awaitable[str | None]]
"""Who may open a lane: token and lane to the person's name, or None for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the app does for the broker's side.

    `announce`: called after every connect; puts the state of every lane into the outbox anew.
    `lanes`: the ids of the lanes there are now. `authorize`: who is behind a token (see `Authorize`).
    `on_lane_command`: opens; returns what became of it. May raise KeyError (no such lane) and NotRecorded.
    """

    announce: Callable[[], Awaitable[None]]
    lanes: Callable[[], Container[str]]
    authorize: Authorize
    on_lane_command: Callable[[LaneCommand], Awaitable[OpeningOutcome]]


class Answers:
    """Takes requests off the link; `reply` sends an answer if there still is a link."""

    def __init__(
        self,
        prefix: str,
        site_id: str,
        store: Store,
        clock: Callable[[], datetime],
        hooks: Hooks,
        reply: Callable[[Answer], None],
    ) -> None:
        self._prefix = prefix
        self._site = site_id
        self._root = f"{prefix}/{site_id}/"
        self._store = store
        self._clock = clock
        self._hooks = hooks
        self._reply = reply
        self._reads = asyncio.Semaphore(_MOST_READS)
        self._jobs: set[asyncio.Task[None]] = set()
        self._logged_at = float("-inf")
        self._unlogged = 0

    def topics(self) -> list[str]:
        """What to subscribe to."""
        return [
            self._root + "replay",
            self._root + "grids/+/alerts/replay",
            self._root + "lanes/+/command",
        ]

    def receive(self, message: Incoming) -> None:
        """One message of any of `topics`. Never raises."""
        if len(self._jobs) >= _MOST_JOBS:
            self._refused(message, BadRequest("busy", "too many requests at once"))
            return
        job = asyncio.create_task(self._handle(message))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def close(self) -> None:
        """Ends what is still being answered. An opening that was begun is finished by its lane."""
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _handle(self, message: Incoming) -> None:
        payload: dict[str, Any] = {}
        try:
            if message.retain:
                raise BadRequest("retained", "a request is never retained")
            payload = read_object(message.payload)
            target = message.response_topic or response_topic(payload)
            if target is not None and not may_answer_on(target, prefix=self._prefix, site=self._site):
                raise BadRequest("bad_response_topic", f"answers go to {self._root}replies/...")
            kind, _, name = message.topic.removeprefix(self._root).partition("/")
            if kind == "lanes":
                answer = await self._command(name.removesuffix("/command"), payload)
            else:
                answer = await self._replay(message.topic, payload, target)
        except BadRequest as error:
            self._refused(message, error)
            answer = error_reply(payload, error)
        except Exception:
            log.exception("mqtt_request_failed", topic=message.topic)
            answer = error_reply(payload, BadRequest("failed", "gated could not do it; see its log"))
        self._send(message, payload, answer)

    def _send(self, message: Incoming, payload: dict[str, Any], answer: bytes) -> None:
        target = message.response_topic or response_topic(payload)
        if message.retain or target is None:
            return
        if may_answer_on(target, prefix=self._prefix, site=self._site):
            self._reply(Answer(target, answer, message.correlation))

    async def _command(self, lane: str, payload: dict[str, Any]) -> bytes:
        request = command_request(payload, self._clock())
        if lane not in self._hooks.lanes():
            raise BadRequest("unknown_lane", f"there is no lane {lane[:64]}")
        person = await self._hooks.authorize(request.token, lane)
        if person is None:
            raise BadRequest("forbidden", "this token may not open this lane")
        # only now, so that nobody without a token can fill the store with nonces
        await self._claim(request.nonce)
        command = LaneCommand(
            request_id=request.request_id,
            lane=lane,
            action=request.action,
            reason=request.reason,
            person=person,
        )
        try:
            outcome = await self._hooks.on_lane_command(command)
        except KeyError:
            raise BadRequest("unknown_lane", f"there is no lane {lane[:64]}") from None
        except NotRecorded:
            raise _not_recorded() from None
        return command_reply(request.request_id, outcome.value)

    async def _claim(self, nonce: str) -> None:
        """Takes a nonce, durably: a command must not work again after a restart, or after the clock was put
        back. It lies with the keys of the HTTP API, which are kept for longer than a command is valid."""
        now = self._clock()

        def claim(conn: Connection) -> bool:
            if idempotency.get(conn, _NONCES, nonce) is not None:
                return False
            idempotency.put(conn, _NONCES, nonce, "", 0, b"", now)
            return True

        try:
            taken = await self._store.write(claim)
        except NotRecorded:
            raise _not_recorded() from None
        if not taken:
            raise BadRequest("replayed", "this nonce was used before")

    async def _replay(self, topic: str, payload: dict[str, Any], target: str | None) -> bytes:
        asked = topic.removeprefix(self._root)
        fixed = None if asked == "replay" else asked.removesuffix("/replay")
        request = replay_request(payload, root=self._root, fixed=fixed)
        if target is None:
            raise BadRequest("no_response_topic", "give a response topic, or response_topic in the payload")
        async with self._reads:
            found = await self._store.read(
                lambda conn: rows.replay(conn, request.topic, request.from_seq, request.limit + 1)
            )
        return replay_reply(request, found, root=self._root)

    def _refused(self, message: Incoming, error: BadRequest) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_EVERY_S:
            self._unlogged += 1
            return
        log.warning(
            "mqtt_request_refused",
            topic=message.topic[:200],
            code=error.code,
            detail=error.detail,
            bytes=len(message.payload),
            not_logged_before=self._unlogged,
        )
        self._logged_at, self._unlogged = now, 0


def _not_recorded() -> BadRequest:
    return BadRequest("not_recorded", "it could not be recorded, so nothing was opened")
