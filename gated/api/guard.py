"""What stands before the JSON API, as plain ASGI: authentication, bounds, headers, and the last catch.

In this order, so that a stranger costs little: the token, then the body (bounded in size and time, and JSON),
then the routes. Health and readiness are for anybody. It knows no route but those.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from gated.api import problems
from gated.api.auth import Authenticator
from gated.api.ingest import Receive, Scope, Send
from gated.api.metrics import Metrics
from gated.api.problems import Problem
from gated.ids import new_id
from gated.ports import NotRecorded
from gated.store.records import NotReadable

MAX_BODY: Final = 256 * 1024
BODY_S: Final = 10.0

ALIVE: Final = "/healthz"
"""The path that needs no token, and looks at none: it must answer whatever else does not."""
READY: Final = "/readyz"
"""The path that needs no token, and says more to one."""

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)

log = structlog.get_logger()


class Guard:
    """Wraps the API's application. Puts `principal` (None for anybody) and `body` into `scope["state"]`."""

    def __init__(self, app: Any, authenticator: Authenticator, metrics: Metrics) -> None:
        self._app = app
        self._authenticator = authenticator
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def secured(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.request(message["status"])
                message["headers"] = [*message.get("headers", ()), *_SECURITY_HEADERS]
            await send(message)

        try:
            await self._pass_on(scope, receive, secured)
        except _PeerGone:
            return
        except Exception as error:
            if not started:
                await respond(explained(error, scope), scope, secured)
            elif scope["state"].get("incident") is None:
                log.exception("reply_broke", method=scope["method"])
                raise

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        state = scope.setdefault("state", {})
        authorization = headers.get(b"authorization")
        state["principal"] = None
        path = scope["path"]
        if path != ALIVE and (authorization is not None or path != READY):
            client = scope.get("client")
            state["principal"] = await self._authenticator.principal(
                None if authorization is None else authorization.decode("latin-1"),
                client[0] if client else "",
            )
        if scope["method"] in _WITH_BODY:
            body = await read_body(headers, receive)
            if body:
                check_json(headers.get(b"content-type", b""), body)
            state["body"] = body
            receive = _Replay(body, receive)
        await self._app(scope, receive, send)


class _PeerGone(Exception):
    """The peer went before its request was here."""


class _Replay:
    """`receive` for a body that was read already."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._body: bytes | None = body
        self._rest = rest

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._body is None:
            return await self._rest()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. Raises Problem 413 and 408."""
    too_large = Problem(
        problems.TOO_LARGE,
        f"A body may have {MAX_BODY} bytes at most.",
        f"请求内容不得超过 {MAX_BODY} 字节。",
    )
    if int(headers.get(b"content-length", b"0")) > MAX_BODY:
        raise too_large
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise _PeerGone
                parts += message.get("body", b"")
                if len(parts) > MAX_BODY:
                    raise too_large
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem(
            problems.TIMEOUT,
            f"The body was not here after {BODY_S:g} s.",
            f"{BODY_S:g} 秒内未收到完整内容。",
            headers={"Connection": "close"},
        ) from None
    return bytes(parts)


def check_json(content_type: bytes, body: bytes) -> None:
    """Raises Problem 415 if the body is said to be something else, 400 if it is no JSON.

    Stricter than the standard library's parser, which comes after: no NaN, no lone surrogates (which neither
    database stores), no endless nesting.
    """
    media = content_type.partition(b";")[0].strip().lower()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise Problem(
            problems.UNSUPPORTED_MEDIA,
            "Send the body as application/json.",
            "请求内容类型须为 application/json。",
        )
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(
            problems.MALFORMED, f"The body is not JSON: {error}.", "请求内容不是有效的 JSON。"
        ) from error


def explained(error: Exception, scope: Scope) -> Problem:
    """What the client gets to know of an error. One that nobody foresaw is logged, under a number."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, NotRecorded):
        return problems.not_recorded()
    if isinstance(error, NotReadable):
        log.warning("store_not_readable", why=str(error))
        return Problem(
            problems.STORE_UNAVAILABLE,
            "The database does not answer now; see /readyz. Try again.",
            "数据库暂时无响应，请稍后重试。",
            headers={"Retry-After": "2"},
        )
    incident = new_id(datetime.now(UTC))
    scope["state"]["incident"] = incident
    log.error("request_failed", incident=incident, method=scope["method"], exc_info=error)
    return Problem(
        problems.INTERNAL,
        f"Something went wrong inside. It is in the log as incident {incident}.",
        f"内部错误，日志编号 {incident}。",
        extra={"incident": incident},
    )


async def respond(problem: Problem, scope: Scope, send: Send) -> None:
    """Sends a problem as the reply."""
    body = problem.body(scope["path"])
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *(
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in problem.headers.items()
        ),
    ]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
