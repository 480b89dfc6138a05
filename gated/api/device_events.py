"""`/api/v1/device-events`: what devices saw that people were told of, with pictures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from gated.api import examples, pages, problems
from gated.api.access import Permit
from gated.api.fields import Moment, Reference
from gated.api.once import Reply, reply
from gated.api.openapi import declares
from gated.api.permissions import Permission
from gated.api.problems import Problem
from gated.api.schemas import In, Out, shown
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.store import device_events

_LIST = "device-events"
Reader = Annotated[Principal, Depends(Permit(Permission.ALERTS_READ))]
Number = Annotated[int, Path(ge=1, le=2**53, description="The event's number.")]


class DeviceEventFilter(In):
    """Which of them to list."""

    device: Reference | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class DeviceEventOut(Out):
    """Something that a device saw. `what`: motion, crossed, tamper ...; `at`: by its clock, corrected;
    `picture`: where its picture is, null if there is none (any more)."""

    model_config = shown(examples.DEVICE_EVENT)

    n: int
    device: str
    what: str
    at: Moment
    received_at: Moment
    details: dict[str, str]
    picture: str | None


class DeviceEventPage(Out):
    """Some of them, newest first."""

    items: list[DeviceEventOut]
    next: str | None


def router(services: Services) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/device-events", tags=["alerts"])

    @api.get(
        "",
        summary="What devices saw, newest first",
        response_model=DeviceEventPage,
        **declares(Permission.ALERTS_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_device_events(filters: Annotated[DeviceEventFilter, Query()], who: Reader) -> Response:
        chosen = filters.model_dump(exclude={"cursor", "limit"}, mode="json")
        after = pages.after(_LIST, chosen, filters.cursor)

        def look(conn: Connection) -> Reply:
            found = device_events.page(
                conn,
                device=filters.device,
                after=None if after is None else int(after),
                limit=filters.limit + 1,
            )
            items = found[: filters.limit]
            more = len(found) > filters.limit
            return reply(
                DeviceEventPage(
                    items=[_out(item) for item in items],
                    next=pages.cursor(_LIST, chosen, str(items[-1].n)) if more else None,
                )
            )

        return (await services.store.read(look)).response()

    @api.get(
        "/{n}/picture",
        summary="The picture of one of them",
        response_class=Response,
        **declares(
            Permission.ALERTS_READ,
            problems.PICTURE_NOT_FOUND,
            problems.INVALID,
            returns={"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        ),
    )
    async def read_picture(n: Number, who: Reader) -> Response:
        found = await services.store.read(lambda conn: device_events.picture(conn, n))
        if found is None:
            raise Problem(
                problems.PICTURE_NOT_FOUND,
                "There is no such picture (any more).",
                "没有此图片，或已删除。",
            )
        return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return api


def _out(found: device_events.DeviceEventRow) -> DeviceEventOut:
    return DeviceEventOut(
        n=found.n,
        device=found.device,
        what=found.what,
        at=found.at,
        received_at=found.received_at,
        details=dict(found.details),
        picture=f"/api/v1/device-events/{found.n}/picture" if found.picture else None,
    )
