"""The whole HTTP side as one ASGI application: `/ingest/...` first and bare, then the guarded JSON API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from gated.api import (
    alerts,
    allowlists,
    device_events,
    lanes,
    openapi,
    passages,
    passes,
    problems,
    register,
    site,
    viid,
)
from gated.api.auth import Authenticator
from gated.api.guard import Guard, explained, respond
from gated.api.ingest import PREFIX, Ingest, Receive, Scope, Send
from gated.api.once import Once
from gated.api.problems import FieldError, Problem
from gated.api.services import Services
from gated.ports import NotRecorded
from gated.store.records import NotReadable


class App:
    """Sends pushes to `ingest` and everything else to `api`."""

    def __init__(self, ingest: Ingest, api: Guard) -> None:
        self.ingest = ingest
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith((PREFIX, viid.PREFIX)):
            await self.ingest(scope, receive, send)
        else:
            await self.api(scope, receive, send)


def create_api(services: Services) -> App:
    """The application; see `gated.api.wire.serve` for how it is served."""
    services.metrics.build.info({"version": services.version})
    api = create_json_api(services)
    authenticator = Authenticator(
        services.store, services.clock, on_failure=lambda: services.metrics.auth_failure("api")
    )
    return App(Ingest(services), Guard(api, authenticator, services.metrics))


def create_json_api(services: Services) -> FastAPI:
    """The routes without their guard."""
    api = FastAPI(
        title="gated",
        version=services.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    once = Once(services.store, services.clock)
    api.include_router(passes.router(services, once))
    api.include_router(lanes.router(services, once))
    api.include_router(passages.router(services))
    api.include_router(register.router(services, once))
    api.include_router(alerts.router(services))
    api.include_router(device_events.router(services))
    api.include_router(site.router(services))
    api.include_router(allowlists.router(services, once))
    written: dict[str, Any] = {}

    async def document() -> dict[str, Any]:
        if not written:  # takes half a second, in which passages go on
            written.update(await asyncio.to_thread(openapi.document, api, services.version))
        return written

    api.include_router(site.health_router(services, document))
    for kind in (Problem, NotRecorded, NotReadable, Exception):
        api.add_exception_handler(kind, _explained)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http(document))
    return api


class _Answer(Response):
    """A problem as a response of Starlette."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await respond(self._problem, scope, send)


async def _explained(request: Request, error: Exception) -> Response:
    return _Answer(explained(error, request.scope))


def _http(
    document: Callable[[], Awaitable[dict[str, Any]]],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers to what Starlette itself refuses: unknown paths and methods, and bodies."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        if error.status_code == 404:
            return _Answer(
                Problem(problems.NOT_FOUND, "There is no such path; see /openapi.json.", "没有此路径。")
            )
        if error.status_code == 405:
            allow = _allowed(await document(), request.scope["path"])
            return _Answer(
                Problem(
                    problems.METHOD_NOT_ALLOWED,
                    f"This path takes {allow}.",
                    f"此路径只支持 {allow}。",
                    headers={"Allow": allow},
                )
            )
        return _Answer(Problem(problems.MALFORMED, "The request cannot be read.", "请求无法解析。"))

    return answer


def _allowed(document: dict[str, Any], path: str) -> str:
    """All methods that the document has for a path. Starlette's own `Allow` knows only those of the first
    route that fits."""
    found: set[str] = set()
    for template, operations in document["paths"].items():
        if compile_path(template)[0].match(path):
            found.update(method.upper() for method in operations)
    return ", ".join(sorted(found))


_ZH = {
    "missing": "缺少此字段",
    "extra_forbidden": "未知字段",
    "moment": "须为带时区的时间，如 2026-11-21T21:16:03Z",
    "day": "须为日期，如 2026-11-21",
    "string_type": "须为文本",
    "string_too_short": "内容过短",
    "string_too_long": "内容过长",
    "string_pattern_mismatch": "格式或字符不正确",
    "enum": "不是可选值",
    "literal_error": "不是可选值",
    "greater_than_equal": "数值过小",
    "less_than_equal": "数值过大",
    "too_short": "数量过少",
    "too_long": "数量过多",
}


async def _invalid(request: Request, error: Exception) -> Response:
    """pydantic's findings as a problem; without the values that were sent."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return _Answer(Problem(problems.MALFORMED, "The body is not JSON.", "请求内容不是有效的 JSON。"))
    return _Answer(
        problems.invalid(
            *(
                FieldError(_dotted(item["loc"]), item["type"], item["msg"], _ZH.get(item["type"], "值不正确"))
                for item in found[:50]
            )
        )
    )


def _dotted(loc: tuple[int | str, ...]) -> str:
    """`("body", "credentials", 0, "value")` as `credentials[0].value`."""
    text = ""
    for step in loc[1:] if len(loc) > 1 else loc:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else str(step)
    return text
