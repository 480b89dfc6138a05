"""`/api/v1/devices`, `/entrances`, `/grids`, and health, readiness, metrics, the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from gated.api import metrics
from gated.api.access import Permit
from gated.api.once import reply
from gated.api.openapi import declares
from gated.api.permissions import Permission, allowed
from gated.api.schemas import TextOut
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.api.views import (
    DeviceList,
    EntranceList,
    EntranceOut,
    GridList,
    GridOut,
    Health,
    PartOut,
    Readiness,
    device_out,
)

SiteReader = Annotated[Principal, Depends(Permit(Permission.SITE_READ))]
DeviceReader = Annotated[Principal, Depends(Permit(Permission.DEVICES_READ))]
MetricsReader = Annotated[Principal, Depends(Permit(Permission.METRICS_READ))]
Anyone = Annotated[Principal, Depends(Permit(None))]


def router(services: Services) -> APIRouter:
    """The routes of the site."""
    api = APIRouter(prefix="/api/v1", tags=["site"])

    @api.get(
        "/devices",
        summary="All devices, as they are now",
        response_model=DeviceList,
        **declares(Permission.DEVICES_READ),
    )
    async def list_devices(who: DeviceReader) -> Response:
        items = [device_out(device) for device in services.devices.statuses()]
        return reply(DeviceList(items=items, next=None)).response()

    @api.get(
        "/entrances",
        summary="All entrances",
        response_model=EntranceList,
        **declares(Permission.SITE_READ),
    )
    async def list_entrances(who: SiteReader) -> Response:
        items = [
            EntranceOut(
                id=entrance.id,
                name=TextOut(zh=entrance.name.zh, en=entrance.name.en),
                grid=entrance.grid,
            )
            for entrance in services.site.entrances
        ]
        return reply(EntranceList(items=items, next=None)).response()

    @api.get("/grids", summary="All grids", response_model=GridList, **declares(Permission.SITE_READ))
    async def list_grids(who: SiteReader) -> Response:
        items = [
            GridOut(id=grid.id, name=TextOut(zh=grid.name.zh, en=grid.name.en), parent=grid.parent)
            for grid in services.site.grids
        ]
        return reply(GridList(items=items, next=None)).response()

    return api


def health_router(services: Services, document: Any) -> APIRouter:
    """Health, readiness, metrics, and what gives the OpenAPI document."""
    api = APIRouter()

    @api.get(
        "/healthz",
        tags=["health"],
        summary="Whether the process answers",
        response_model=Health,
        **declares(None, bearer="unread"),
    )
    async def healthz() -> Response:
        return reply(Health(status="alive")).response()

    declared = declares(None, bearer="optional")
    declared["responses"][503].update(model=Readiness, description="Not ready, or no answer of the database")

    @api.get(
        "/readyz",
        tags=["health"],
        summary="Whether passages are decided and recorded",
        description="Names of parts for anybody; reasons for an operator's token.",
        response_model=Readiness,
        **declared,
    )
    async def readyz(request: Request) -> Response:
        who: Principal | None = request.state.principal
        details = who is not None and allowed(who.role, Permission.READINESS_DETAILS)
        failing = services.ready()
        parts = [
            PartOut(name=name, reason=reason if details else None) for name, reason in sorted(failing.items())
        ]
        ready = Readiness(ready=not failing, parts=parts, version=services.version if details else None)
        return reply(ready, 503 if failing else 200).response()

    declared = declares(Permission.METRICS_READ)
    declared["responses"][200] = {
        "description": "Prometheus text format",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }

    @api.get(
        "/metrics", tags=["health"], summary="Figures for Prometheus", response_class=Response, **declared
    )
    async def read_metrics(who: MetricsReader) -> Response:
        return Response(services.metrics.render(), media_type=metrics.CONTENT_TYPE)

    declared = declares(None)
    declared["responses"][200] = {
        "description": "This document",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }

    @api.get(
        "/openapi.json",
        tags=["health"],
        summary="The OpenAPI document, for any token",
        response_class=Response,
        **declared,
    )
    async def read_openapi(who: Anyone) -> Response:
        return Response(orjson.dumps(await document()), media_type="application/json")

    return api
