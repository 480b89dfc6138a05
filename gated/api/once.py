"""Idempotency keys: a write that is repeated with its key is not done twice.

For a write to the store, the write and the row of its key are one transaction, so a crash leaves both or
neither. For an act in the world (a barrier), the key is claimed on disk first and the reply is stored after;
if a crash comes between, a repeat is refused, for nobody knows what became of the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

from gated.api import problems
from gated.api.problems import Problem
from gated.api.tokens import Principal
from gated.ports import NotRecorded
from gated.store import idempotency

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy import Connection

    from gated.store import Store

KEPT: Final = timedelta(hours=24)
"""For how long a key is remembered; `idempotency.prune` removes older ones."""

_CLAIMED: Final = 0  # the status of a key whose act was begun

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key for one request. `fingerprint` tells a repeat from another use of the key."""

    token_id: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that can be kept."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False

    def response(self) -> Response:
        """For the client."""
        headers = dict(self.headers)
        if self.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(self.body, self.status, headers, media_type="application/json")

    def stored(self) -> bytes:
        """For the database."""
        return orjson.dumps({"headers": dict(self.headers), "body": self.body.decode()})


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A model as a reply."""
    return Reply(status, model.model_dump_json().encode(), headers or {})


def key_of(request: Request, principal: Principal, key: str | None) -> Key | None:
    """The key of a request, None if it has none. Keys of different tokens do not meet."""
    if key is None:
        return None
    seed = hashlib.sha256()
    for part in (
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("if-match", ""),
    ):
        seed.update(part.encode() + b"\0")
    seed.update(getattr(request.state, "body", b""))  # a DELETE has none
    return Key(principal.token_id, key, seed.hexdigest())


class Once:
    """Runs writes and acts at most once for each key."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._running: set[tuple[str, str]] = set()
        self._acts: set[asyncio.Task[Reply]] = set()

    async def write(
        self,
        key: Key | None,
        work: Callable[[Connection], T],
        answer: Callable[[Connection, T], Reply],
        committed: Callable[[T], object],
    ) -> Reply:
        """Runs `work` and makes the `answer` in one transaction with the key's row, then `committed`, on the
        loop. Errors of `work` pass through; then nothing is written and the key stays free."""

        def both(conn: Connection) -> tuple[Reply, list[T]]:
            if key is not None and (known := self._known(conn, key)) is not None:
                return known, []
            done = work(conn)
            made = answer(conn, done)
            if key is not None:
                self._keep(conn, key, made.status, made.stored())
            return made, [done]

        self._begin(key)
        try:
            # A client that goes does not cancel this: what is committed must reach the passbook.
            return await asyncio.shield(self._write(both, committed))
        finally:
            self._end(key)

    async def _write(
        self,
        both: Callable[[Connection], tuple[Reply, list[T]]],
        committed: Callable[[T], object],
    ) -> Reply:
        made, done = await self._store.write(both)
        for result in done:
            committed(result)
        return made

    async def act(self, key: Key | None, action: Callable[[], Awaitable[Reply]]) -> Reply:
        """Runs `action`, at most once for the key. Its errors pass through. Problem and NotRecorded mean that
        nothing happened, and free the key; after any other error the key stays claimed."""
        if key is None:
            return await action()
        self._begin(key)
        task = asyncio.create_task(self._act(key, action))
        self._acts.add(task)

        def finished(done: asyncio.Task[Reply]) -> None:
            self._acts.discard(done)
            self._end(key)
            if not done.cancelled():
                done.exception()  # seen, if the client is gone and nobody awaits it

        task.add_done_callback(finished)
        return await asyncio.shield(task)

    async def _act(self, key: Key, action: Callable[[], Awaitable[Reply]]) -> Reply:
        def claim(conn: Connection) -> Reply | None:
            known = self._known(conn, key)
            if known is None:
                self._keep(conn, key, _CLAIMED, b"")
            return known

        known = await self._store.write(claim)
        if known is not None:
            return known
        try:
            made = await action()
        except (Problem, NotRecorded):
            with contextlib.suppress(NotRecorded):
                await self._store.write(lambda conn: idempotency.forget(conn, key.token_id, key.key))
            raise
        try:
            await self._store.write(lambda conn: self._keep(conn, key, made.status, made.stored()))
        except NotRecorded:
            log.warning("idempotency_reply_not_kept", status=made.status)  # a repeat will be refused
        return made

    def _begin(self, key: Key | None) -> None:
        if key is None:
            return
        if (key.token_id, key.key) in self._running:
            raise Problem(
                problems.KEY_IN_PROGRESS,
                "A request with this key is being handled; wait for its reply, or repeat this one shortly.",
                "相同幂等键的请求正在处理，请稍候再试。",
                headers={"Retry-After": "1"},
            )
        self._running.add((key.token_id, key.key))

    def _end(self, key: Key | None) -> None:
        if key is not None:
            self._running.discard((key.token_id, key.key))

    def _known(self, conn: Connection, key: Key) -> Reply | None:
        """The reply that the key has had. Raises Problem 422 if it was for another request, 409 if its act
        was begun and never finished."""
        row = idempotency.get(conn, key.token_id, key.key)
        if row is None or row.created_at < self._clock() - KEPT:
            return None
        if row.fingerprint != key.fingerprint:
            raise Problem(
                problems.KEY_REUSED,
                "This Idempotency-Key was sent before with another request; choose a new key.",
                "该幂等键已用于另一请求，请更换。",
            )
        if row.status == _CLAIMED:
            raise Problem(
                problems.KEY_OUTCOME_UNKNOWN,
                "The first request with this key was begun, and gated was stopped before it ended. See what"
                " became of it, then use a new key.",
                "首次请求处理中断，结果未知；请先核实现场情况，再用新的幂等键重试。",
            )
        kept = orjson.loads(row.body)
        return Reply(row.status, kept["body"].encode(), kept["headers"], replayed=True)

    def _keep(self, conn: Connection, key: Key, status: int, body: bytes) -> None:
        idempotency.put(conn, key.token_id, key.key, key.fingerprint, status, body, self._clock())
