"""Errors as RFC 9457 problem details: the list of all of them, and how one becomes a reply.

`type` is stable and relative (`/problems/<name>`); `docs/api.md` documents each. What goes wrong inside never
reaches the client: it gets an incident number that is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. `zh` is the title in Chinese."""

    name: str
    status: int
    title: str
    zh: str

    @property
    def uri(self) -> str:
        return f"/problems/{self.name}"


UNAUTHORIZED = Kind("unauthorized", 401, "A token is needed", "需要令牌")
FORBIDDEN = Kind("forbidden", 403, "This token may not do that", "此令牌无此权限")
TOO_MANY_FAILURES = Kind("too-many-failures", 429, "Too many wrong credentials", "凭据错误次数过多")
NOT_FOUND = Kind("not-found", 404, "There is nothing at this path", "路径不存在")
PASS_NOT_FOUND = Kind("pass-not-found", 404, "There is no such pass", "没有此出入证")
PASSAGE_NOT_FOUND = Kind("passage-not-found", 404, "There is no such passage", "没有此通行记录")
DWELLING_NOT_FOUND = Kind("dwelling-not-found", 404, "There is no such dwelling", "没有此住所")
NOT_ON_LIST = Kind("not-on-list", 404, "The credential is not on the list", "该凭证不在名单上")
ALERT_NOT_FOUND = Kind("alert-not-found", 404, "There is no such alert", "没有此告警")
PICTURE_NOT_FOUND = Kind("picture-not-found", 404, "There is no such picture", "没有此图片")
LANE_NOT_FOUND = Kind("lane-not-found", 404, "There is no such lane", "没有此通道")
NO_ALLOW_LIST = Kind("no-allow-list", 404, "No lane relies on a list of this device", "此设备的白名单未启用")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This path has no such method", "不支持此方法")
MALFORMED = Kind("malformed", 400, "The request cannot be read", "请求无法解析")
BAD_CURSOR = Kind("bad-cursor", 400, "The cursor does not belong to this list", "翻页游标无效")
BAD_PUSH = Kind("bad-push", 400, "This is not what the device sends", "设备推送的内容无法识别")
TIMEOUT = Kind("timeout", 408, "The request came too slowly", "请求超时")
PASS_REVOKED = Kind("pass-revoked", 409, "The pass is revoked", "出入证已注销")
KEY_IN_PROGRESS = Kind(
    "key-in-progress", 409, "The first request with this key still runs", "相同请求正在处理"
)
KEY_OUTCOME_UNKNOWN = Kind(
    "key-outcome-unknown", 409, "What became of the first request is not known", "首次请求结果未知"
)
VERSION_CONFLICT = Kind("version-conflict", 412, "The pass was changed meanwhile", "出入证已被他人修改")
TOO_LARGE = Kind("too-large", 413, "The body is too large", "请求内容过大")
UNSUPPORTED_MEDIA = Kind("unsupported-media", 415, "The body must be JSON", "请求内容须为 JSON")
INVALID = Kind("invalid", 422, "Some fields are not valid", "字段无效")
KEY_REUSED = Kind("key-reused", 422, "This key was used for another request", "幂等键已用于其他请求")
INTERNAL = Kind("internal", 500, "Something went wrong inside", "内部错误")
NOT_RECORDED = Kind("not-recorded", 503, "It could not be recorded now", "暂时无法保存")
STORE_UNAVAILABLE = Kind("store-unavailable", 503, "The database does not answer", "数据库无响应")
BUSY = Kind("busy", 503, "Too much at once", "请求过多")

ALL: Final[tuple[Kind, ...]] = tuple(found for found in dict(globals()).values() if isinstance(found, Kind))


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong. `field`: dotted, `credentials[0].value`; `code`: stable."""

    field: str
    code: str
    message: str
    message_zh: str

    def as_dict(self) -> dict[str, str]:
        return {
            "field": self.field,
            "code": self.code,
            "message": self.message,
            "message_zh": self.message_zh,
        }


@dataclass(slots=True, eq=False)
class Problem(Exception):
    """A reply that is no success. `detail` and `detail_zh` are sentences for a person; without secrets."""

    kind: Kind
    detail: str
    detail_zh: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind.name}: {self.detail}"

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """The problem as JSON; `instance` is the path that was asked for."""
        found: dict[str, Any] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "detail_zh": self.detail_zh,
        }
        if instance is not None:
            found["instance"] = instance
        if self.errors:
            found["errors"] = [error.as_dict() for error in self.errors]
        found.update(self.extra)
        return found

    def body(self, instance: str | None = None) -> bytes:
        """The document's bytes."""
        return orjson.dumps(self.document(instance))


def unauthorized(detail: str, detail_zh: str) -> Problem:
    """401, with the challenge that RFC 9110 asks for."""
    return Problem(UNAUTHORIZED, detail, detail_zh, headers={"WWW-Authenticate": 'Bearer realm="gated"'})


def too_many_failures(wait_s: float) -> Problem:
    """429; `wait_s`: seconds until the next attempt is looked at."""
    seconds = int(wait_s) + 1
    return Problem(
        TOO_MANY_FAILURES,
        f"Too many wrong credentials came from this address; try again in {seconds} s.",
        f"该地址凭据错误次数过多，请 {seconds} 秒后再试。",
        headers={"Retry-After": str(seconds)},
    )


def not_recorded() -> Problem:
    """503: the store did not take it, so it did not happen."""
    return Problem(
        NOT_RECORDED,
        "The store cannot write now (disk full or database locked); nothing was done. Try again.",
        "数据库暂时无法写入，操作未执行，请稍后重试。",
        headers={"Retry-After": "2"},
    )


def invalid(*errors: FieldError) -> Problem:
    """422 for one or more fields."""
    return Problem(
        INVALID,
        "; ".join(f"{error.field}: {error.message}" for error in errors[:3]),
        "；".join(f"{error.field}：{error.message_zh}" for error in errors[:3]),
        errors=errors,
    )
