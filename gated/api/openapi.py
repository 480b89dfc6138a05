"""The OpenAPI document: what routes declare beyond their models, and the whole of it."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gated.api import problems
from gated.api.permissions import LEAST, Permission
from gated.api.problems import Kind

_DESCRIPTION: Final = (
    "Passes, passages, alerts, lanes and devices of one site. Every request but those for health carries"
    " `Authorization: Bearer TOKEN`. Errors are RFC 9457 problem details with a stable `type`. Writes take an"
    " `Idempotency-Key`. Lists page by cursor: ask again with `cursor` set to `next` until that is null."
)

_FIELD_ERROR: Final = {
    "type": "object",
    "title": "FieldError",
    "description": "One field that is not valid.",
    "properties": {
        "field": {"type": "string", "examples": ["credentials[0].value"]},
        "code": {"type": "string"},
        "message": {"type": "string"},
        "message_zh": {"type": "string"},
    },
    "required": ["field", "code", "message", "message_zh"],
    "additionalProperties": False,
}
_PROBLEM: Final = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "enum": sorted({kind.uri for kind in problems.ALL}),
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "detail_zh": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
        "incident": {"type": "string", "description": "Of an internal error: its number in the log."},
        "current_version": {"type": "integer", "description": "Of a version conflict."},
    },
    "required": ["type", "title", "status", "detail", "detail_zh"],
}

_ALWAYS: Final = (problems.INTERNAL, problems.STORE_UNAVAILABLE)
_WITH_TOKEN: Final = (problems.UNAUTHORIZED, problems.TOO_MANY_FAILURES)
_WITH_BODY: Final = (
    problems.NOT_RECORDED,
    problems.MALFORMED,
    problems.TIMEOUT,
    problems.TOO_LARGE,
    problems.UNSUPPORTED_MEDIA,
    problems.INVALID,
)
_WITH_KEY: Final = (problems.KEY_IN_PROGRESS, problems.KEY_REUSED)

ETAG: Final = {"ETag": {"schema": {"type": "string"}, "description": "The version, for If-Match."}}
REPLAYED: Final = {
    "Idempotency-Replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "There if this is the reply to the first request with the key.",
    }
}
LOCATION: Final = {"Location": {"schema": {"type": "string"}, "description": "Where the new one is."}}

_PROBLEM_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}},
}


def declares(
    permission: Permission | None,
    *kinds: Kind,
    body: bool = False,
    keyed: bool = False,
    bearer: Literal["needed", "optional", "unread"] = "needed",
    status: int = 200,
    headers: dict[str, Any] | None = None,
    returns: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Keyword arguments of a route: its problems, headers and least role. `body`: it reads one; `keyed`: it
    takes an Idempotency-Key. `returns`: media types of its answer, where that is no JSON."""
    found = [*kinds, *_ALWAYS]
    if bearer != "unread":
        found += _WITH_TOKEN
    if permission is not None:
        found.append(problems.FORBIDDEN)
    if body:
        found += _WITH_BODY
    if keyed:
        found += _WITH_KEY
    responses: dict[int | str, dict[str, Any]] = {}
    unique = sorted(dict.fromkeys(found), key=lambda kind: kind.status)
    for code, group in groupby(unique, key=lambda kind: kind.status):
        of_code = list(group)
        responses[code] = {
            "description": "; ".join(f"{kind.title} (`{kind.uri}`)" for kind in of_code),
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.name: {"value": _example(kind)} for kind in of_code},
                }
            },
        }
        if code in _PROBLEM_HEADERS:
            responses[code]["headers"] = _PROBLEM_HEADERS[code]
    if headers:
        responses[status] = {"headers": headers}
    if returns:
        responses.setdefault(status, {})["content"] = returns
    extra: dict[str, Any] = {}
    if bearer == "optional":
        extra["security"] = [{}, {"token": []}]
    if permission is not None:
        extra["x-permission"] = permission.value
        extra["x-least-role"] = LEAST[permission].value
    return {"responses": responses, "openapi_extra": extra, "status_code": status}


def _example(kind: Kind) -> dict[str, Any]:
    """A problem of a kind, in short."""
    found = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "detail_zh": f"{kind.zh}。",
    }
    if kind is problems.INVALID:
        error = {
            "field": "credentials[0].value",
            "code": "credential",
            "message": "the plate is empty",
            "message_zh": "凭证内容为空、过长或含无效字符",
        }
        return {**found, "errors": [error]}
    return found


def _without_null(parameter: dict[str, Any]) -> None:
    """A header or a query's field is sent or left out; null is a value of JSON only."""
    choices = parameter["schema"].get("anyOf")
    if choices is not None:
        left = [choice for choice in choices if choice != {"type": "null"}]
        if len(left) == 1:
            del parameter["schema"]["anyOf"]
            parameter["schema"].update(left[0])


def document(api: FastAPI, version: str) -> dict[str, Any]:
    """The whole document. FastAPI's own error schemas are left out: no route answers with them."""
    found = get_openapi(
        title="gated",
        version=version,
        summary="Passages at the barriers of one site.",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=api.routes,
        tags=[
            {"name": "passes", "description": "The right to enter: issue, renew, revoke."},
            {"name": "decisions", "description": "The dry run."},
            {"name": "passages", "description": "What went through, or not, and why."},
            {"name": "alerts", "description": "What needs a person."},
            {"name": "register", "description": "Dwellings, and the lists of credentials."},
            {"name": "lanes", "description": "The lanes now; opening by hand."},
            {"name": "site", "description": "Devices, entrances, grids."},
            {"name": "health", "description": "For supervisors and Prometheus."},
        ],
    )
    schemas = found["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in found["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _without_null(parameter)
    schemas["FieldError"] = _FIELD_ERROR
    schemas["Problem"] = _PROBLEM
    return found
