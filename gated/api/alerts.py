"""`/api/v1/alerts`: what needs a person. Reading only; claiming and closing come with the ledger of steps."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from gated.api import pages, problems
from gated.api.access import Permit
from gated.api.fields import Moment, Reference
from gated.api.once import Reply, reply
from gated.api.openapi import declares
from gated.api.permissions import Permission
from gated.api.problems import Problem
from gated.api.schemas import In
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.api.views import AlertOut, AlertPage, alert_out
from gated.store import alerts

Reader = Annotated[Principal, Depends(Permit(Permission.ALERTS_READ))]
AlertId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="The alert's id.")]

_LIST: Final = "alerts"


class AlertFilter(In):
    """Which alerts to list. `since`: raised then or later."""

    grid: Reference | None = None
    state: Literal["open", "closed"] | None = None
    since: Moment | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def router(services: Services) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])

    @api.get(
        "",
        summary="List alerts, newest first",
        response_model=AlertPage,
        **declares(Permission.ALERTS_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_alerts(filters: Annotated[AlertFilter, Query()], who: Reader) -> Response:
        chosen = filters.model_dump(exclude={"cursor", "limit"}, mode="json")
        after = pages.after(_LIST, chosen, filters.cursor)

        def look(conn: Connection) -> Reply:
            found = alerts.page(
                conn,
                grid=filters.grid,
                state=filters.state,
                since=filters.since,
                after=after,
                limit=filters.limit + 1,
            )
            items = found[: filters.limit]
            more = len(found) > filters.limit
            return reply(
                AlertPage(
                    items=[alert_out(item) for item in items],
                    next=pages.cursor(_LIST, chosen, items[-1].id) if more else None,
                )
            )

        return (await services.store.read(look)).response()

    @api.get(
        "/{alert_id}",
        summary="Read an alert",
        response_model=AlertOut,
        **declares(Permission.ALERTS_READ, problems.ALERT_NOT_FOUND, problems.INVALID),
    )
    async def read_alert(alert_id: AlertId, who: Reader) -> Response:
        found = await services.store.read(lambda conn: alerts.get(conn, alert_id))
        if found is None:
            raise Problem(problems.ALERT_NOT_FOUND, "No alert has this id.", "没有此编号的告警。")
        return reply(alert_out(found)).response()

    return api
