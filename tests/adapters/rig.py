"""A tiny `/ingest`: turns HTTP requests into `Push`, hands them to a receiver, writes its `PushReply`.

It checks the key in the URL and answers as the daemon's own route does, so that adapters can be tested
without the API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from adapters.simulator._http import HttpServer, Request, Response
from gated.ports import BadPush, Handle, NotRecorded, Push, Receiver
from tests.adapters.contract import CLOCK

KEY = "loopback-key"


class Ingest:
    """`async with Ingest() as ingest`; then `ingest.route("cam-1", receiver, handle)` and push to
    `ingest.url("cam-1")`. `errors` holds whatever escaped a receiver: a test asserts that it is empty."""

    def __init__(self) -> None:
        self._server = HttpServer(self._answer)
        self._routes: dict[str, tuple[Receiver, Handle]] = {}
        self.errors: list[Exception] = []
        self.statuses: list[int] = []

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    def route(self, device: str, receiver: Receiver, handle: Handle) -> None:
        self._routes[device] = (receiver, handle)

    def url(self, device: str, path: str = "") -> str:
        return f"{self._server.url}/ingest/{device}{path}?key={KEY}"

    async def _answer(self, request: Request) -> tuple[Response, Callable[[bool], None] | None]:
        response, sent = await self._reply(request)
        self.statuses.append(response.status)
        return response, sent

    async def _reply(self, request: Request) -> tuple[Response, Callable[[bool], None] | None]:
        parts = urlsplit(request.target)
        _, prefix, device, *rest = [*parts.path.split("/", 3), ""][:4]
        if prefix != "ingest" or device not in self._routes:
            return Response(404), None
        if parse_qs(parts.query).get("key") != [KEY]:
            return Response(401), None
        receiver, handle = self._routes[device]
        push = Push(request.method, "/".join(rest), request.headers, request.body, CLOCK, "127.0.0.1")
        try:
            reply = await receiver.receive(push, handle)
        except BadPush as error:
            return Response(400, str(error).encode()), None
        except NotRecorded:
            return Response(503, headers={"Retry-After": "1"}), None
        except Exception as error:
            self.errors.append(error)
            return Response(500), None
        return Response(reply.status, reply.body, reply.content_type, reply.headers), reply.sent


def push(
    body: bytes, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Push:
    """A push without a wire, for tests of `receive` alone."""
    return Push("POST", "", {"content-type": content_type, **(headers or {})}, body, CLOCK)
