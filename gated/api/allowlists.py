"""`/api/v1/allow-lists`: how devices' own lists stand, and a sync by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from gated.allowlist import ListReport
from gated.api import examples, problems
from gated.api.access import IdempotencyKey, Permit
from gated.api.fields import Moment
from gated.api.once import Once, Reply, key_of, reply
from gated.api.openapi import REPLAYED, declares
from gated.api.permissions import Permission
from gated.api.problems import Problem
from gated.api.schemas import In, Out, shown
from gated.api.services import Services
from gated.api.tokens import Principal

Reader = Annotated[Principal, Depends(Permit(Permission.DEVICES_READ))]
Writer = Annotated[Principal, Depends(Permit(Permission.DEVICES_WRITE))]
DeviceId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="The device's id.")]


class AllowListOut(Out):
    """The own list of a device, kept in step with the passes for when gated is down. `wanted`: passes that it
    should hold; `listed`: entries that gated has put there. `done` of `total`: the sync that is under way.
    `added`, `removed`, `failed`: the last one. `left_out`: passes that do not fit. `not_expressible`: passes
    with hours or limits, which such a list cannot keep. `foreign`: held, and not put there by gated.
    `held_back`: removals that wait for a sync with `force`."""

    model_config = shown(examples.ALLOW_LIST)

    device: str
    wanted: int
    listed: int
    running: bool
    done: int
    total: int
    added: int
    removed: int
    failed: list[str]
    left_out: int
    not_expressible: int
    foreign: int
    held_back: int
    synced_at: Moment | None
    error: str | None


class AllowListList(Out):
    """All devices that a lane relies on while gated is down; `next` is always null."""

    items: list[AllowListOut]
    next: None


class SyncIn(In):
    """`force`: also where more than half of the list would go."""

    model_config = shown({"force": False})

    force: bool = False


def router(services: Services, once: Once) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/allow-lists", tags=["site"])

    @api.get(
        "",
        summary="Devices' own lists, as they stand",
        response_model=AllowListList,
        **declares(Permission.DEVICES_READ),
    )
    async def list_allow_lists(who: Reader) -> Response:
        items = [_out(report) for _, report in sorted(services.allow_lists.reports.items())]
        return reply(AllowListList(items=items, next=None)).response()

    @api.post(
        "/{device_id}/sync",
        summary="Bring a device's own list in step now",
        description="Answers at once; how far it is, the list shows.",
        response_model=AllowListOut,
        **declares(Permission.DEVICES_WRITE, problems.NO_ALLOW_LIST, body=True, keyed=True, headers=REPLAYED),
    )
    async def sync_allow_list(
        device_id: DeviceId,
        wanted: SyncIn,
        who: Writer,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        async def action() -> Reply:
            if not services.allow_lists.sync_now(device_id, force=wanted.force):
                raise Problem(
                    problems.NO_ALLOW_LIST,
                    "No lane with fail_mode list relies on this device.",
                    "没有通道依赖此设备的白名单。",
                )
            return reply(_out(services.allow_lists.reports[device_id]))

        return (await once.act(key_of(request, who, idempotency_key), action)).response()

    return api


def _out(report: ListReport) -> AllowListOut:
    return AllowListOut(
        device=report.device,
        wanted=report.wanted,
        listed=report.listed,
        running=report.running,
        done=report.done,
        total=report.total,
        added=report.added,
        removed=report.removed,
        failed=list(report.failed[:100]),
        left_out=report.left_out,
        not_expressible=report.not_expressible,
        foreign=report.foreign,
        held_back=report.held_back,
        synced_at=report.synced_at,
        error=report.error,
    )
