"""Pushes of devices: `/ingest/{device}[/...]` as a bare ASGI application.

The path of a passage goes through here, so it does no more than it must: authenticate, bound, read, hand to
the device's `Receiver`, answer. It answers only after the receiver returned, that is, after the commit; a
device that was not answered sends again. It parses no body: that is the adapter's.

The secret may come as `Authorization: Bearer`, as the password of Basic, as `X-Device-Token`, or as `?key=`,
for many cameras can be given nothing but a URL. It is not passed on to the adapter. Devices of GA/T 1400 know
only `/VIID/...` and digest: see `gated.api.viid`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog

from gated.api import problems, viid
from gated.api.exchange import EXCHANGE, Exchange, PeerGone
from gated.api.limits import FailureLimiter, peer_key
from gated.api.problems import Problem
from gated.api.services import DeviceAuth, Services
from gated.ports import BadPush, Handle, NotRecorded, Push, PushReply, Receiver

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX = "/ingest/"
_METHODS = frozenset({"POST", "PUT", "GET"})
_SECRET_HEADERS = frozenset({b"authorization", b"x-device-token", b"proxy-authorization", b"cookie"})

log = structlog.get_logger()


def hash_secret(secret: str) -> bytes:
    """What `DeviceAuth.secret_hash` holds of a device's secret: SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(secret.encode()).digest()


class Ingest:
    """The application. `in_flight`: pushes of one device at a time; `memory`: bytes of all bodies held at a
    time; `body_s`: seconds in which a body must have come."""

    def __init__(
        self,
        services: Services,
        *,
        limiter: FailureLimiter | None = None,
        in_flight: int = 64,
        memory: int = 64 * 1024 * 1024,
        body_s: float = 10.0,
    ) -> None:
        self._services = services
        self._limiter = FailureLimiter() if limiter is None else limiter
        self._max_in_flight = in_flight
        self._memory = memory
        self._body_s = body_s
        self._in_flight: dict[str, int] = {}
        self._held = 0
        self._viid = viid.Sessions()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["extensions"].pop(EXCHANGE)
        path: str = scope["path"]
        device_id, _, rest = path[len(PREFIX) :].partition("/")
        if path.startswith(viid.PREFIX):
            device_id, rest = self._who(dict(scope["headers"])), path[1:]
        try:
            reply = await self._answer(device_id, rest, scope, exchange)
        except Problem as problem:
            reply = _problem_reply(problem, expects_body=_expects_continue(scope))
        except PeerGone:
            return  # nobody is left to answer
        except Exception:
            log.exception("push_failed", device=device_id)
            reply = _problem_reply(
                Problem(
                    problems.INTERNAL,
                    "The push could not be handled; see the log.",
                    "推送处理失败，请查看日志。",
                )
            )
        self._services.metrics.push(reply.status)
        await _send(reply, exchange)

    async def _answer(self, device_id: str, path: str, scope: Scope, exchange: Exchange) -> PushReply:
        if scope["method"] not in _METHODS:
            raise Problem(
                problems.METHOD_NOT_ALLOWED,
                "Devices push with POST, PUT or GET.",
                "设备推送须使用 POST、PUT 或 GET。",
                headers={"Allow": "GET, POST, PUT"},
            )
        client = scope.get("client")
        peer = client[0] if client else ""
        fields: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"].startswith(viid.PREFIX):
            receiver, handle, auth = self._registered(device_id, scope, fields, peer)
        else:
            secret = _presented(
                fields.get(b"authorization", b""), fields.get(b"x-device-token", b""), scope["query_string"]
            )
            receiver, handle, auth = self._authenticate(device_id, secret, peer)

        busy = self._in_flight.get(device_id, 0)
        if busy >= self._max_in_flight:
            raise Problem(
                problems.BUSY,
                f"{busy} pushes of this device are being handled already.",
                f"该设备已有 {busy} 个推送正在处理。",
                headers={"Retry-After": "1"},
            )
        self._in_flight[device_id] = busy + 1
        body = b""
        try:
            whole = exchange.whole_body()
            if whole is not None:
                self._hold(len(whole), len(whole), auth.max_body)
                body = whole
            elif b"content-length" in fields or b"transfer-encoding" in fields:
                body = await self._read(exchange, fields.get(b"content-length"), auth.max_body)
            headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in fields.items()
                if name not in _SECRET_HEADERS
            }
            push = Push(scope["method"], path, headers, body, self._services.clock(), peer)
            return await receiver.receive(push, handle)
        except BadPush as error:
            raise Problem(problems.BAD_PUSH, str(error), f"推送内容无法识别：{error}") from error
        except NotRecorded as error:
            raise problems.not_recorded() from error
        finally:
            self._held -= len(body)
            left = self._in_flight[device_id] - 1
            if left:
                self._in_flight[device_id] = left
            else:
                del self._in_flight[device_id]

    def _who(self, fields: dict[bytes, bytes]) -> str:
        """The device that says who it is, or logs in; empty if there is no such device."""
        named = fields.get(b"user-identify", b"").decode("latin-1").strip()
        user = viid.username_of(fields.get(b"authorization", b"").decode("latin-1"))
        return self._services.devices.numbered(named or user) or ""

    def _registered(
        self, device_id: str, scope: Scope, fields: dict[bytes, bytes], peer: str
    ) -> tuple[Receiver, Handle, DeviceAuth]:
        """The receiver of a device that has registered, or does so now. Raises a Problem: 401 with a
        challenge, 429."""
        found = self._services.devices.receiver(device_id)
        if self._limiter and (wait := self._limiter.wait((peer_key(peer), device_id), time.monotonic())):
            raise problems.too_many_failures(wait)
        proof = None if found is None else found[2].digest
        authorization = fields.get(b"authorization", b"").decode("latin-1")
        if found is not None and proof is not None:
            target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            asked = scope["path"].removeprefix(viid.PREFIX)
            known = asked != viid.REGISTER and self._viid.knows(proof.number, peer)
            if not known:  # some answer the challenge wherever they meet it
                known = self._viid.registers(proof, scope["method"], target, authorization, peer)
            if asked == viid.UNREGISTER:
                self._viid.forget(proof.number, peer)
            if known:
                return found
        if authorization:
            self._services.metrics.auth_failure("ingest")
            if self._limiter.failed((peer_key(peer), device_id), time.monotonic()):
                log.warning("push_refused", device=device_id or "unknown", peer=peer)
        raise Problem(
            problems.UNAUTHORIZED,
            "Register first (POST /VIID/System/Register), with HTTP Digest.",
            "请先注册（POST /VIID/System/Register，HTTP 摘要认证）。",
            headers={"WWW-Authenticate": self._viid.challenge()},
        )

    def _authenticate(self, device_id: str, secret: bytes, peer: str) -> tuple[Receiver, Handle, DeviceAuth]:
        """The device's receiver. Raises a Problem: 401 for a wrong secret and for a device that does not
        exist alike, 429 without looking after too many of them."""
        found = self._services.devices.receiver(device_id)
        known = device_id if found is not None else ""
        if self._limiter:
            wait = self._limiter.wait((peer_key(peer), known), time.monotonic())
            if wait:
                raise problems.too_many_failures(wait)
        if found is not None and secret:
            digest = hashlib.sha256(secret).digest()
            if hmac.compare_digest(digest, found[2].secret_hash):
                return found
        self._services.metrics.auth_failure("ingest")
        if self._limiter.failed((peer_key(peer), known), time.monotonic()):
            log.warning("push_refused", device=known or "unknown", peer=peer)
        raise problems.unauthorized(
            "The device or its token is wrong. Give the token as Authorization: Bearer, as the password of"
            " Basic, as X-Device-Token, or as ?key=.",
            "设备编号或令牌错误。",
        )

    async def _read(self, exchange: Exchange, length: bytes | None, limit: int) -> bytes:
        """The whole body, of which not all is here; it counts in `_held` from now on. Raises a Problem if it
        is too large or too slow, `PeerGone` if the peer went; then nothing of it counts any more."""
        if length is not None and int(length) > limit:  # the parser of HTTP refused what is no number
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._body_s):
                return await self._read_on(exchange, limit)
        except TimeoutError:
            raise Problem(
                problems.TIMEOUT,
                f"The body was not here after {self._body_s:g} s.",
                f"{self._body_s:g} 秒内未收到完整内容。",
                headers={"Connection": "close"},
            ) from None

    async def _read_on(self, exchange: Exchange, limit: int) -> bytes:
        """The whole body, however long it takes."""
        parts = bytearray()
        whole = False
        try:
            while not whole:
                part, last = await exchange.part()
                self._hold(len(part), len(parts) + len(part), limit)
                parts += part
                whole = last
            return bytes(parts)
        finally:
            if not whole:
                self._held -= len(parts)

    def _hold(self, added: int, total: int, max_body: int) -> None:
        """Counts bytes of a body that came. Raises a Problem if the body, or all bodies together, are too
        many; then they do not count."""
        if total > max_body:
            raise _too_large(max_body)
        if self._held + added > self._memory:
            raise Problem(
                problems.BUSY,
                "Too many large pushes are being read at once.",
                "同时推送的内容过大。",
                headers={"Retry-After": "1"},
            )
        self._held += added


def _too_large(limit: int) -> Problem:
    return Problem(
        problems.TOO_LARGE, f"A push may have {limit} bytes at most.", f"推送内容不得超过 {limit} 字节。"
    )


def _presented(authorization: bytes, token: bytes, query: bytes) -> bytes:
    """The secret that a request presents, empty if none."""
    if authorization:
        scheme, _, rest = authorization.partition(b" ")
        scheme = scheme.lower()
        if scheme == b"bearer":
            return rest.strip()
        if scheme == b"basic":
            try:
                return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return b""
    if token:
        return token
    if query:
        for pair in query.split(b"&"):
            if pair.startswith(b"key="):
                return unquote_to_bytes(pair[4:])
    return b""


def _expects_continue(scope: Scope) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


def _problem_reply(problem: Problem, *, expects_body: bool = False) -> PushReply:
    headers = dict(problem.headers)
    if expects_body:
        # The client waits for "100 Continue"; after a refusal it is not known whether its body still comes.
        headers["Connection"] = "close"
    return PushReply(problem.kind.status, problem.body(), problems.MEDIA_TYPE, headers)


async def _send(reply: PushReply, exchange: Exchange) -> None:
    """Sends a reply and tells the adapter whether it was handed to the socket."""
    headers = (("content-type", reply.content_type), *reply.headers.items())
    handed = False
    try:
        handed = await exchange.reply(reply.status, headers, reply.body)
    finally:
        if reply.sent is not None:
            reply.sent(handed)
