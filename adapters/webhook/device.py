"""A device that posts the webhook's JSON to `/ingest/{id}`; opened by the reply, or by a call to its own URL.

`receive` is given a request that was already authenticated and bounded. What the JSON means is in `codec`;
being there and being opened by a reply are in `adapters._push`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, Self

import httpx
from pydantic import Field, model_validator

from adapters._push import PushDevice, ReplyOpener
from adapters.webhook import codec
from gated.domain import OpeningOutcome
from gated.ports import (
    BadPush,
    ConfigError,
    DeviceContext,
    DeviceInfo,
    Handle,
    Handled,
    Opened,
    Pulse,
    Push,
    PushConfig,
    PushReply,
    Secret,
)


class Config(PushConfig):
    """One device. `serial`: checked in every message that has one, if given. `open_url`: where an opening is
    posted to, with `open_token` as bearer token; without it the device is opened by the reply to its own
    push. `open_timeout_ms`: for the whole call, which is made once. `silent_after_s`: offline after so long
    without a push. `reply_wait_ms`: how long an opening waits for a push to ride on."""

    type: Literal["webhook"]
    serial: str | None = Field(default=None, min_length=1, max_length=64)
    open_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+(/\S*)?$", max_length=1000)
    open_token: Secret | None = None
    open_timeout_ms: int = Field(default=2000, ge=100, le=10_000)
    silent_after_s: float = Field(default=90.0, gt=0, le=86_400)
    reply_wait_ms: int = Field(default=2000, ge=100, le=10_000)

    @model_validator(mode="after")
    def _token_needs_url(self) -> Self:
        if self.open_token is not None and self.open_url is None:
            raise ValueError("open_token is used only with open_url")
        return self


def create(config: Config, context: DeviceContext) -> WebhookDevice:
    """The device for a configuration; does no I/O."""
    return WebhookDevice(config, context)


class WebhookDevice(PushDevice):
    """`Device`, `Receiver`, `Barrier` and `Withdraws`."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(context.id, config.silent_after_s)
        self._config = config
        self._context = context
        self._opener = ReplyOpener(config.reply_wait_ms / 1000)

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its event is durable. Raises BadPush, and what `handle` raises."""
        try:
            message = codec.parse(push.body)
        except codec.Malformed as error:
            self._context.unparsed(self.id, "webhook: malformed", push.body[:512], str(error))
            raise BadPush(str(error)) from None
        expected = self._config.serial
        if expected is not None and message.serial not in (None, expected):
            self.presence.stranger(f"a device with serial {message.serial} pushes here, not {expected}")
            return PushReply(status=403, body=b'{"error":"another device is expected here"}')
        self.presence.heard()
        if isinstance(message, codec.HeartbeatMessage):
            self._info = DeviceInfo(
                model=message.model or "", firmware=message.firmware or "", serial=message.serial or ""
            )
        return await self._answer(message, push, handle)

    def open(self, pulse: Pulse) -> Awaitable[Opened]:
        """By a call to `open_url`, sent once; without one by the reply to a push."""
        if self._config.open_url is None:
            return self._opener.open(pulse)
        return self._call(self._config.open_url, pulse)

    def withdraw(self, opening_id: str) -> bool:
        """See `gated.ports.Withdraws`; what was given to `open_url` was sent."""
        return self._opener.withdraw(opening_id)

    async def _answer(self, message: codec.Message, push: Push, handle: Handle) -> PushReply:
        backlog = isinstance(message, codec.ReadMessage) and message.backlog
        by_reply = self._config.open_url is None and not backlog
        with self._opener.exchange(message.id, opens=by_reply) as exchange:
            handled: Handled = await handle(codec.event(message, self.id, push.received_at))
            # a resend causes nothing itself: it carries what the push that it repeats has caused
            if by_reply and (handled.barrier == self.id or exchange.opening is not None):
                await exchange.attached(self._opener.wait_s, handled.opening)
            elif by_reply and message.wait_ms:
                await self._opener.hold(exchange, message.wait_ms / 1000)
            carried = self._opener.take(exchange)
        body = codec.reply(handled.passage_id, handled.granted, carried[0] if carried else None)
        return PushReply(body=body, sent=carried[1] if carried else None)

    async def _call(self, url: str, pulse: Pulse) -> Opened:
        headers = {}
        if self._config.open_token is not None:
            try:
                headers["Authorization"] = f"Bearer {self._config.open_token.value()}"
            except ConfigError as error:
                return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        seconds = self._config.open_timeout_ms / 1000
        # a client of its own: on a kept connection a closed peer cannot be told from a lost answer
        async with httpx.AsyncClient(timeout=seconds, follow_redirects=False, trust_env=False) as client:
            return await _posted(client, url, codec.order(pulse), headers, seconds)


async def _posted(
    client: httpx.AsyncClient, url: str, body: dict[str, object], headers: dict[str, str], seconds: float
) -> Opened:
    try:
        async with asyncio.timeout(seconds):
            response = await client.post(url, json=body, headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, httpx.UnsupportedProtocol):
        return Opened(OpeningOutcome.UNREACHABLE, f"no connection to {httpx.URL(url).host}; nothing was sent")
    except (httpx.HTTPError, TimeoutError) as error:
        return Opened(OpeningOutcome.UNCERTAIN, f"sent, no answer ({type(error).__name__}); not sent again")
    if response.is_success:
        return Opened(OpeningOutcome.ACCEPTED, f"HTTP {response.status_code}")
    if response.status_code >= 500:
        return Opened(
            OpeningOutcome.UNCERTAIN, f"HTTP {response.status_code}: it may have opened all the same"
        )
    return Opened(OpeningOutcome.REJECTED, f"HTTP {response.status_code}")
