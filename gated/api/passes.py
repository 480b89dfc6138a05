"""`/api/v1/passes`: issue, read, list, patch, renew, revoke."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from gated.api import pages, problems
from gated.api.access import IdempotencyKey, Permit, actor
from gated.api.fields import PLAIN, CredentialValue, Word
from gated.api.once import Key, Once, Reply, key_of, reply
from gated.api.openapi import ETAG, LOCATION, REPLAYED, declares
from gated.api.permissions import Permission
from gated.api.problems import FieldError, Problem
from gated.api.schemas import In, PassIn, PassOut, PassPage, PassPatch, RenewIn, RevokeIn, pass_out
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.domain import CredentialKind, Pass, PassState
from gated.plates import credential
from gated.registry import InvalidPass, NoSuchPass, PassIsRevoked, WrongVersion
from gated.store import passes
from gated.store.records import VersionConflict

Reader = Annotated[Principal, Depends(Permit(Permission.PASSES_READ))]
Writer = Annotated[Principal, Depends(Permit(Permission.PASSES_WRITE))]
PassId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="The pass's id.")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=64,
        description="The ETag of the pass as it was read; the change is refused (412) if it was changed"
        " since. Without it the change is made to whatever is there.",
        examples=['"1"'],
    ),
]

_ETAG: Final = re.compile(r'"([0-9]{1,18})"')
_LIST: Final = "passes"


class PassFilter(In):
    """Which passes to list."""

    credential: CredentialValue | None = None
    credential_kind: CredentialKind = CredentialKind.PLATE
    holder: Annotated[
        str | None,
        Field(min_length=1, max_length=100, pattern=PLAIN, description="Part of a name or phone."),
    ] = None
    state: PassState | None = None
    kind: Word | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def etag(found: Pass) -> str:
    """The version as an entity tag."""
    return f'"{found.version}"'


def expected_version(if_match: str | None) -> int | None:
    """The version that `If-Match` asks for; None for none and for `*`. Raises Problem 412 for a tag that no
    pass ever had."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise Problem(
            problems.VERSION_CONFLICT,
            'If-Match must be one ETag of this pass, as "3", or *.',
            'If-Match 须为该出入证的 ETag（如 "3"）或 *。',
        )
    return int(found[1])


def translated(error: Exception) -> Problem:
    """A refusal of the registry as a problem."""
    if isinstance(error, NoSuchPass):
        return Problem(problems.PASS_NOT_FOUND, "No pass has this id.", "没有此编号的出入证。")
    if isinstance(error, PassIsRevoked):
        return Problem(
            problems.PASS_REVOKED,
            "The pass was revoked, and stays so. Issue a new one.",
            "该出入证已注销，不能续期或修改，请另行办理新证。",
        )
    if isinstance(error, WrongVersion):
        return Problem(
            problems.VERSION_CONFLICT,
            f"The pass is at version {error.current}; read it again, then change it.",
            f"该出入证已被修改为第 {error.current} 版，请重新读取后再修改。",
            extra={"current_version": error.current},
        )
    if isinstance(error, VersionConflict):  # by another process, between reading and writing
        return Problem(
            problems.VERSION_CONFLICT,
            "The pass was changed this very moment; read it again, then change it.",
            "该出入证刚被修改，请重新读取后再修改。",
        )
    if isinstance(error, InvalidPass):
        return problems.invalid(
            *(FieldError(fault.field, fault.code, fault.text.en, fault.text.zh) for fault in error.faults)
        )
    raise error


class _Writes:
    """What the four kinds of change have in common."""

    def __init__(self, services: Services, once: Once) -> None:
        self._registry = services.registry
        self._once = once

    async def run(self, key: Key | None, change: Callable[[Connection], Pass], status: int = 200) -> Response:
        """Runs a change of the registry and answers with the pass. Raises Problem."""

        def answer(conn: Connection, changed: Pass) -> Reply:
            headers = {"ETag": etag(changed)}
            if status == 201:
                headers["Location"] = f"/api/v1/passes/{changed.id}"
            return reply(pass_out(changed, self._registry.warnings(conn, changed)), status, headers)

        try:
            done = await self._once.write(key, change, answer, self._registry.committed)
        except (NoSuchPass, PassIsRevoked, WrongVersion, InvalidPass, VersionConflict) as error:
            raise translated(error) from error
        return done.response()


def router(services: Services, once: Once) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/passes", tags=["passes"])
    registry = services.registry
    writes = _Writes(services, once)

    @api.post(
        "",
        summary="Issue a pass",
        response_model=PassOut,
        **declares(
            Permission.PASSES_WRITE,
            body=True,
            keyed=True,
            status=201,
            headers={**ETAG, **LOCATION, **REPLAYED},
        ),
    )
    async def issue_pass(
        wanted: PassIn, who: Writer, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        draft = wanted.draft()
        key = key_of(request, who, idempotency_key)
        return await writes.run(key, lambda conn: registry.issue_in(conn, draft, actor(who)), 201)

    @api.get(
        "",
        summary="List passes",
        response_model=PassPage,
        **declares(Permission.PASSES_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_passes(filters: Annotated[PassFilter, Query()], who: Reader) -> Response:
        chosen = filters.model_dump(exclude={"cursor", "limit"}, mode="json")
        after = pages.after(_LIST, chosen, filters.cursor)
        wanted = None
        if filters.credential is not None:
            try:
                wanted = credential(filters.credential_kind, filters.credential)
            except ValueError as error:
                fault = FieldError("credential", "credential", str(error), "凭证内容无效")
                raise problems.invalid(fault) from error

        def look(conn: Connection) -> Reply:
            found = passes.page(
                conn,
                credential=wanted,
                holder=filters.holder,
                state=None if filters.state is None else filters.state.value,
                kind=filters.kind,
                after=after,
                limit=filters.limit + 1,
            )
            more = len(found) > filters.limit
            items = found[: filters.limit]
            return reply(
                PassPage(
                    items=[pass_out(item, registry.plain_warnings(item)) for item in items],
                    next=pages.cursor(_LIST, chosen, items[-1].id) if more else None,
                )
            )

        return (await services.store.read(look)).response()

    @api.get(
        "/{pass_id}",
        summary="Read a pass",
        response_model=PassOut,
        **declares(Permission.PASSES_READ, problems.PASS_NOT_FOUND, problems.INVALID, headers=ETAG),
    )
    async def read_pass(pass_id: PassId, who: Reader) -> Response:
        def look(conn: Connection) -> Reply | None:
            found = passes.get(conn, pass_id)
            if found is None:
                return None
            return reply(pass_out(found, registry.warnings(conn, found)), headers={"ETag": etag(found)})

        seen = await services.store.read(look)
        if seen is None:
            raise translated(NoSuchPass(pass_id))
        return seen.response()

    @api.patch(
        "/{pass_id}",
        summary="Change fields of a pass",
        response_model=PassOut,
        **_changing(),
    )
    async def patch_pass(
        pass_id: PassId,
        wanted: PassPatch,
        who: Writer,
        request: Request,
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        changes = wanted.changes()
        version = expected_version(if_match)
        key = key_of(request, who, idempotency_key)
        return await writes.run(
            key, lambda conn: registry.patch_in(conn, pass_id, changes, actor(who), version)
        )

    @api.post(
        "/{pass_id}/renew",
        summary="Make a pass valid for longer",
        response_model=PassOut,
        **_changing(),
    )
    async def renew_pass(
        pass_id: PassId,
        wanted: RenewIn,
        who: Writer,
        request: Request,
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        version = expected_version(if_match)
        key = key_of(request, who, idempotency_key)
        return await writes.run(
            key, lambda conn: registry.renew_in(conn, pass_id, wanted.valid_until, actor(who), version)
        )

    @api.post(
        "/{pass_id}/revoke",
        summary="Take a pass away",
        description="A pass that is revoked already stays as it is, with its first reason; that is no error.",
        response_model=PassOut,
        **declares(
            Permission.PASSES_WRITE,
            problems.PASS_NOT_FOUND,
            body=True,
            keyed=True,
            headers={**ETAG, **REPLAYED},
        ),
    )
    async def revoke_pass(
        pass_id: PassId,
        wanted: RevokeIn,
        who: Writer,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        key = key_of(request, who, idempotency_key)
        return await writes.run(
            key, lambda conn: registry.revoke_in(conn, pass_id, wanted.reason, actor(who))
        )

    return api


def _changing() -> dict[str, Any]:
    """What is declared of a route that changes a live pass."""
    return declares(
        Permission.PASSES_WRITE,
        problems.PASS_NOT_FOUND,
        problems.PASS_REVOKED,
        problems.VERSION_CONFLICT,
        body=True,
        keyed=True,
        headers={**ETAG, **REPLAYED},
    )
