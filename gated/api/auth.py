"""Who asks: from the `Authorization` header to a `Principal`, with a brief cache and a limit on failures.

A token is looked up in the store at most once in `CACHE_S` seconds, so a revocation (also by the command
line, in another process) takes hold within that time. Wrong tokens are never cached; they are counted.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from gated.api import problems, tokens
from gated.api.limits import FailureLimiter, peer_key
from gated.api.problems import Problem
from gated.api.tokens import Principal

if TYPE_CHECKING:
    from gated.store import Store

CACHE_S: Final = 1.0
_CACHED: Final = 1024

log = structlog.get_logger()


class Authenticator:
    """Checks bearer tokens. `on_failure` is called for each wrong one."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        *,
        limiter: FailureLimiter | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._limiter = FailureLimiter() if limiter is None else limiter
        self._on_failure = on_failure
        # by hash; an entry past its time is still remembered as a token that was good once (see `principal`)
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def principal(self, authorization: str | None, peer: str) -> Principal:
        """The bearer of a token. Raises Problem 401 where it is missing, wrong, revoked or expired, and 429
        without looking after too many failures from this peer.

        A token that was good before is looked up even then: behind a proxy all people share an address, and
        one of them must not be able to lock the others out.
        """
        if authorization is None:
            raise problems.unauthorized(
                "Send a token: Authorization: Bearer gated_...", "请在 Authorization 头中提供令牌。"
            )
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        now = time.monotonic()
        digest = tokens.digest(token)
        known = self._known.get(digest)
        if known is not None and known[1] > now:
            return known[0]
        key = peer_key(peer)
        wait = self._limiter.wait(key, now)
        if wait and known is None:
            raise problems.too_many_failures(wait)
        found = None
        if scheme.lower() == "bearer" and tokens.plausible(token):
            at = self._clock()
            found = await self._store.read(lambda conn: tokens.verify(conn, token, at))
        if found is None:
            self._known.pop(digest, None)
            raise self._refused(key, peer, now)
        self._known[digest] = (found, now + CACHE_S)
        self._known.move_to_end(digest)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return found

    def _refused(self, key: str, peer: str, now: float) -> Problem:
        self._on_failure()
        if self._limiter.failed(key, now):
            log.warning("token_refused", peer=peer)
        return problems.unauthorized("The token is wrong, revoked or expired.", "令牌错误、已吊销或已过期。")
