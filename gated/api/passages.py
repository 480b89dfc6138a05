"""`/api/v1/passages`: what went through, or not, and why."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from gated.api import pages, problems
from gated.api.access import Permit
from gated.api.fields import CredentialValue, Moment, Reference
from gated.api.once import Reply, reply
from gated.api.openapi import declares
from gated.api.permissions import Permission
from gated.api.problems import FieldError, Problem
from gated.api.schemas import In
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.api.views import PassageOut, PassagePage, passage_out
from gated.domain import CredentialKind, Outcome
from gated.plates import credential
from gated.store import openings, passages

Reader = Annotated[Principal, Depends(Permit(Permission.PASSAGES_READ))]
PassageId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="The passage's id.")]

_LIST: Final = "passages"


class PassageFilter(In):
    """Which passages to list. `since` is inclusive, `until` is not."""

    lane: Reference | None = None
    credential: CredentialValue | None = None
    credential_kind: CredentialKind = CredentialKind.PLATE
    outcome: Outcome | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def router(services: Services) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/passages", tags=["passages"])

    @api.get(
        "",
        summary="List passages, newest first",
        response_model=PassagePage,
        **declares(Permission.PASSAGES_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_passages(filters: Annotated[PassageFilter, Query()], who: Reader) -> Response:
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
            found = passages.page(
                conn,
                lane=filters.lane,
                credential=wanted,
                outcome=filters.outcome,
                since=filters.since,
                until=filters.until,
                after=after,
                limit=filters.limit + 1,
            )
            rows = found[: filters.limit]
            opened = openings.for_passages(conn, [row.passage.id for row in rows])
            more = len(found) > filters.limit
            return reply(
                PassagePage(
                    items=[passage_out(row, opened.get(row.passage.id, [])) for row in rows],
                    next=pages.cursor(_LIST, chosen, rows[-1].passage.id) if more else None,
                )
            )

        return (await services.store.read(look)).response()

    @api.get(
        "/{passage_id}",
        summary="Read a passage",
        response_model=PassageOut,
        **declares(Permission.PASSAGES_READ, problems.PASSAGE_NOT_FOUND, problems.INVALID),
    )
    async def read_passage(passage_id: PassageId, who: Reader) -> Response:
        def look(conn: Connection) -> Reply | None:
            found = passages.get(conn, passage_id)
            if found is None:
                return None
            return reply(passage_out(found, openings.for_passage(conn, passage_id)))

        seen = await services.store.read(look)
        if seen is None:
            raise Problem(problems.PASSAGE_NOT_FOUND, "No passage has this id.", "没有此编号的通行记录。")
        return seen.response()

    return api
