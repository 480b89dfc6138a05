"""`/api/v1/dwellings` and `/api/v1/lists`: homes, and the credentials that are blocked, watched, or let
through."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from gated.api import examples, pages, problems
from gated.api.access import IdempotencyKey, Permit, actor
from gated.api.fields import Day, Moment, Name, Reason, Reference
from gated.api.once import Key, Once, Reply, key_of, reply
from gated.api.openapi import REPLAYED, declares
from gated.api.permissions import Permission
from gated.api.problems import FieldError, Kind, Problem
from gated.api.schemas import CredentialOut, In, Out, shown
from gated.api.services import Services
from gated.api.tokens import Principal
from gated.domain import CredentialKind, Dwelling, ListEntry, ListName
from gated.register import Changed, InvalidEntry
from gated.store import dwellings, lists

Reader = Annotated[Principal, Depends(Permit(Permission.REGISTER_READ))]
Writer = Annotated[Principal, Depends(Permit(Permission.REGISTER_WRITE))]
DwellingId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_.:-]{1,64}$", description="The dwelling's id.")]
ListId = Annotated[ListName, Path(description="Which list.")]
KindOf = Annotated[CredentialKind, Path(description="What is presented.")]
ValueOf = Annotated[str, Path(pattern=r"^[^/\x00-\x1f\x7f-\x9f]{1,512}$", description="The credential.")]

_DWELLINGS: Final = "dwellings"
_LISTS: Final = "lists"


class DwellingIn(In):
    """A home. `lease_until`: the last day of the lease of one that is rented."""

    name: Name
    grid: Reference
    tenure: Literal["owned", "rented"] = "owned"
    lease_until: Day | None = None


class DwellingOut(Out):
    """A home."""

    model_config = shown(examples.DWELLING)

    id: str
    name: str
    grid: str
    tenure: str
    lease_until: Day | None


class DwellingPage(Out):
    """Some dwellings by id; `next` is the cursor of those that follow, null at the end."""

    items: list[DwellingOut]
    next: str | None


class DwellingFilter(In):
    """Which dwellings to list."""

    grid: Reference | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class EntryIn(In):
    """Why a credential is on a list, and until when (null: until it is taken off)."""

    note: Reason
    until: Moment | None = None


class EntryOut(Out):
    """A credential on a list."""

    model_config = shown(examples.LIST_ENTRY)

    list: ListName
    credential: CredentialOut
    note: str
    added_at: Moment
    added_by: str
    until: Moment | None


class EntryPage(Out):
    """Some entries of a list; `next` is the cursor of those that follow, null at the end."""

    items: list[EntryOut]
    next: str | None


class EntryFilter(In):
    """How many entries to list."""

    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def dwelling_out(found: Dwelling) -> DwellingOut:
    """A dwelling as clients get it."""
    return DwellingOut(
        id=found.id,
        name=found.name,
        grid=found.grid,
        tenure=found.tenure,
        lease_until=found.lease_until,
    )


def entry_out(found: ListEntry) -> EntryOut:
    """An entry as clients get it."""
    return EntryOut(
        list=found.list,
        credential=CredentialOut(kind=found.credential.kind, value=found.credential.value),
        note=found.note,
        added_at=found.added_at,
        added_by=found.added_by,
        until=found.until,
    )


def _out(found: ListEntry | Dwelling) -> EntryOut | DwellingOut:
    return entry_out(found) if isinstance(found, ListEntry) else dwelling_out(found)


def _nothing_there(kind: Kind) -> Problem:
    if kind is problems.DWELLING_NOT_FOUND:
        return Problem(kind, "No dwelling has this id.", "没有此编号的住所。")
    return Problem(kind, "This credential is not on the list.", "该凭证不在此名单上。")


def _translated(error: InvalidEntry) -> Problem:
    return problems.invalid(
        *(FieldError(fault.field, fault.code, fault.text.en, fault.text.zh) for fault in error.faults)
    )


class _Writes:
    """What the changes have in common."""

    def __init__(self, services: Services, once: Once) -> None:
        self._register = services.register
        self._once = once

    async def put(self, key: Key | None, work: Any) -> Response:
        """Writes, and answers with what is there now: 201 where it is new."""

        def answer(conn: Connection, changed: Changed) -> Reply:
            assert changed.now is not None  # noqa: S101 - it was just written
            return reply(_out(changed.now), 201 if changed.before is None else 200)

        return await self._run(key, work, answer)

    async def remove(self, key: Key | None, work: Any, missing: Kind) -> Response:
        """Takes out, and answers with what was there, so that it can be put back."""

        def answer(conn: Connection, changed: Changed) -> Reply:
            if changed.before is None:
                raise _nothing_there(missing)
            return reply(_out(changed.before))

        return await self._run(key, work, answer)

    async def _run(self, key: Key | None, work: Any, answer: Any) -> Response:
        try:
            done = await self._once.write(key, work, answer, self._register.committed)
        except InvalidEntry as error:
            raise _translated(error) from error
        return done.response()


def router(services: Services, once: Once) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1", tags=["register"])
    register = services.register
    writes = _Writes(services, once)

    @api.get(
        "/dwellings",
        summary="List dwellings",
        response_model=DwellingPage,
        **declares(Permission.REGISTER_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_dwellings(filters: Annotated[DwellingFilter, Query()], who: Reader) -> Response:
        chosen = filters.model_dump(exclude={"cursor", "limit"}, mode="json")
        after = pages.after(_DWELLINGS, chosen, filters.cursor)

        def look(conn: Connection) -> Reply:
            found = dwellings.page(conn, grid=filters.grid, after=after, limit=filters.limit + 1)
            items = found[: filters.limit]
            more = len(found) > filters.limit
            following = pages.cursor(_DWELLINGS, chosen, items[-1].id) if more else None
            return reply(DwellingPage(items=[dwelling_out(one) for one in items], next=following))

        return (await services.store.read(look)).response()

    @api.get(
        "/dwellings/{dwelling_id}",
        summary="Read a dwelling",
        response_model=DwellingOut,
        **declares(Permission.REGISTER_READ, problems.DWELLING_NOT_FOUND, problems.INVALID),
    )
    async def read_dwelling(dwelling_id: DwellingId, who: Reader) -> Response:
        found = await services.store.read(lambda conn: dwellings.get(conn, dwelling_id))
        if found is None:
            raise _nothing_there(problems.DWELLING_NOT_FOUND)
        return reply(dwelling_out(found)).response()

    @api.put(
        "/dwellings/{dwelling_id}",
        summary="Write a dwelling",
        description="201 where it is new, 200 where it was there.",
        response_model=DwellingOut,
        **_putting(DwellingOut),
    )
    async def put_dwelling(
        dwelling_id: DwellingId,
        wanted: DwellingIn,
        who: Writer,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        given = Dwelling(
            id=dwelling_id,
            grid=wanted.grid,
            tenure=wanted.tenure,
            lease_until=wanted.lease_until,
            name=wanted.name,
        )
        key = key_of(request, who, idempotency_key)
        return await writes.put(key, lambda conn: register.put_dwelling_in(conn, given, actor(who)))

    @api.delete(
        "/dwellings/{dwelling_id}",
        summary="Take a dwelling out of the register",
        description="Answers with what was there: to undo it, put that back.",
        response_model=DwellingOut,
        **_removing(problems.DWELLING_NOT_FOUND),
    )
    async def remove_dwelling(
        dwelling_id: DwellingId, who: Writer, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        key = key_of(request, who, idempotency_key)
        return await writes.remove(
            key,
            lambda conn: register.remove_dwelling_in(conn, dwelling_id, actor(who)),
            problems.DWELLING_NOT_FOUND,
        )

    @api.get(
        "/lists/{name}",
        summary="The credentials on a list",
        response_model=EntryPage,
        **declares(Permission.REGISTER_READ, problems.BAD_CURSOR, problems.INVALID),
    )
    async def list_entries(name: ListId, filters: Annotated[EntryFilter, Query()], who: Reader) -> Response:
        chosen = {"list": name.value}
        after = pages.after(_LISTS, chosen, filters.cursor)
        place = None if after is None else (after.partition(":")[0], after.partition(":")[2])

        def look(conn: Connection) -> Reply:
            found = lists.page(conn, name, after=place, limit=filters.limit + 1)
            items = found[: filters.limit]
            following = None
            if len(found) > filters.limit:
                last = items[-1].credential
                following = pages.cursor(_LISTS, chosen, f"{last.kind.value}:{last.value}")
            return reply(EntryPage(items=[entry_out(one) for one in items], next=following))

        return (await services.store.read(look)).response()

    @api.put(
        "/lists/{name}/{kind}/{value}",
        summary="Put a credential on a list",
        description="201 where it is new, 200 where it was there: its note and end are changed then.",
        response_model=EntryOut,
        **_putting(EntryOut),
    )
    async def put_on_list(
        name: ListId,
        kind: KindOf,
        value: ValueOf,
        wanted: EntryIn,
        who: Writer,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        key = key_of(request, who, idempotency_key)
        return await writes.put(
            key,
            lambda conn: register.put_on_list_in(
                conn, name, kind, value, wanted.note, wanted.until, actor(who)
            ),
        )

    @api.delete(
        "/lists/{name}/{kind}/{value}",
        summary="Take a credential off a list",
        description="Answers with what was there: to undo it, put that back.",
        response_model=EntryOut,
        **_removing(problems.NOT_ON_LIST, problems.INVALID),
    )
    async def take_off_list(
        name: ListId,
        kind: KindOf,
        value: ValueOf,
        who: Writer,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        key = key_of(request, who, idempotency_key)
        return await writes.remove(
            key,
            lambda conn: register.take_off_list_in(conn, name, kind, value, actor(who)),
            problems.NOT_ON_LIST,
        )

    return api


def _putting(model: type[Out]) -> dict[str, Any]:
    found = declares(Permission.REGISTER_WRITE, body=True, keyed=True, headers=REPLAYED)
    found["responses"][201] = {"model": model, "description": "It is new.", "headers": REPLAYED}
    return found


def _removing(*kinds: Kind) -> dict[str, Any]:
    return declares(
        Permission.REGISTER_WRITE,
        *kinds,
        problems.NOT_RECORDED,
        problems.INVALID,
        keyed=True,
        headers=REPLAYED,
    )
