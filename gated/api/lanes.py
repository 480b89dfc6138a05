"""`/api/v1/lanes` and `/api/v1/decisions`: the lanes now, opening by hand, the dry run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from gated.api import problems
from gated.api.access import IdempotencyKey, Permit
from gated.api.once import Once, Reply, key_of, reply
from gated.api.openapi import REPLAYED, declares
from gated.api.permissions import Permission
from gated.api.problems import FieldError, Problem
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.api.views import (
    DecisionIn,
    DecisionOut,
    LaneList,
    OpenIn,
    OpeningOut,
    decision_out,
    lane_out,
    opening_out,
)
from gated.plates import credential

Reader = Annotated[Principal, Depends(Permit(Permission.LANES_READ))]
Opener = Annotated[Principal, Depends(Permit(Permission.LANES_OPEN))]
Trier = Annotated[Principal, Depends(Permit(Permission.DECISIONS_TRY))]
LaneId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="The lane's id.")]


def router(services: Services, once: Once) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1")

    @api.get(
        "/lanes",
        tags=["lanes"],
        summary="All lanes, as they are now",
        response_model=LaneList,
        **declares(Permission.LANES_READ),
    )
    async def list_lanes(who: Reader) -> Response:
        return reply(
            LaneList(items=[lane_out(lane) for lane in services.lanes.statuses()], next=None)
        ).response()

    @api.post(
        "/lanes/{lane_id}/open",
        tags=["lanes"],
        summary="Open a lane by hand",
        description="Recorded with the token's name and the reason before the barrier is pulsed, once. What"
        " became of it is in `outcome`: only accepted and confirmed mean that the barrier took it.",
        response_model=OpeningOut,
        **declares(
            Permission.LANES_OPEN,
            problems.LANE_NOT_FOUND,
            problems.KEY_OUTCOME_UNKNOWN,
            body=True,
            keyed=True,
            headers=REPLAYED,
        ),
    )
    async def open_lane(
        lane_id: LaneId,
        wanted: OpenIn,
        who: Opener,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        async def action() -> Reply:
            try:
                opening = services.lanes.override(lane_id, person=who.name, reason=wanted.reason)
                return reply(opening_out(await opening))
            except KeyError as error:
                raise Problem(
                    problems.LANE_NOT_FOUND, "No lane has this id.", "没有此编号的通道。"
                ) from error

        return (await once.act(key_of(request, who, idempotency_key), action)).response()

    @api.post(
        "/decisions",
        tags=["decisions"],
        summary="What would be decided (dry run)",
        description="Nothing is recorded and nothing opens.",
        response_model=DecisionOut,
        **declares(Permission.DECISIONS_TRY, body=True),
    )
    async def try_decision(wanted: DecisionIn, who: Trier) -> Response:
        presented = wanted.credential
        try:
            normal = credential(presented.kind, presented.value)
        except ValueError as error:
            fault = FieldError("credential.value", "credential", str(error), "凭证内容无效")
            raise problems.invalid(fault) from error
        try:
            decision, candidates = services.lanes.decide(
                wanted.lane, normal, presented.confidence, wanted.at or services.clock()
            )
        except KeyError as error:
            fault = FieldError("lane", "unknown-lane", "the site has no such lane", "没有此通道")
            raise problems.invalid(fault) from error
        return reply(decision_out(decision, candidates)).response()

    return api
