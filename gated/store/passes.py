"""Passes and their credentials: queries over a connection. Those that write belong into `Store.write`.

Every change of a pass gets the next number of a counter (`Pass.change`), in the same transaction; the writer
refuses passages that were decided on an older number. Validation is `gated.registry`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, select

from gated.domain import (
    Attestation,
    Credential,
    CredentialKind,
    Holder,
    HourWindow,
    Pass,
    PassFacts,
    PassState,
)
from gated.store.encode import clean
from gated.store.records import VersionConflict
from gated.store.tables import counters, pass_credentials, passes
from gated.times import from_us, to_us

_CHUNK = 400  # ids in one statement


def insert(conn: Connection, given: Pass) -> Pass:
    """Writes a new pass; returns it with its change number."""
    return insert_many(conn, [given])[0]


def insert_many(conn: Connection, given: Sequence[Pass]) -> list[Pass]:
    """Writes new passes; returns them with their change numbers."""
    if not given:
        return []
    last = _next_change(conn, len(given))
    made = [replace(one, change=last - len(given) + index) for index, one in enumerate(given, 1)]
    conn.execute(passes.insert(), [_columns(one) for one in made])
    conn.execute(pass_credentials.insert(), [row for one in made for row in _credentials(one)])
    return made


def update(conn: Connection, given: Pass, *, expected_version: int) -> Pass:
    """Replaces a pass; returns it with its new version and change number. Raises VersionConflict if it is
    not at `expected_version`, or not there."""
    changed = replace(given, version=expected_version + 1, change=_next_change(conn, 1))
    columns = _columns(changed)
    del columns["id"], columns["created_at"]
    done = conn.execute(
        passes.update().where(passes.c.id == given.id, passes.c.version == expected_version).values(columns)
    )
    if done.rowcount != 1:
        found = conn.execute(select(passes.c.version).where(passes.c.id == given.id)).scalar()
        raise VersionConflict(given.id, found)
    conn.execute(pass_credentials.delete().where(pass_credentials.c.pass_id == given.id))
    conn.execute(pass_credentials.insert(), _credentials(changed))
    return changed


def get(conn: Connection, pass_id: str) -> Pass | None:
    """The pass with this id."""
    found = _with_credentials(conn, conn.execute(select(passes).where(passes.c.id == pass_id)).all())
    return found[0] if found else None


def page(
    conn: Connection,
    *,
    credential: Credential | None = None,
    holder: str | None = None,
    state: str | None = None,
    kind: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[Pass]:
    """Some passes, newest id first, from behind the id `after`. `holder`: part of a name or phone number."""
    query = select(passes).order_by(passes.c.id.desc()).limit(limit)
    if credential is not None:
        query = query.where(
            passes.c.id.in_(
                select(pass_credentials.c.pass_id).where(
                    pass_credentials.c.value == credential.value,
                    pass_credentials.c.kind == credential.kind.value,
                )
            )
        )
    if holder is not None:
        query = query.where(
            passes.c.holder_name.icontains(clean(holder), autoescape=True)
            | passes.c.holder_phone.icontains(clean(holder), autoescape=True)
        )
    if state is not None:
        query = query.where(passes.c.state == state)
    if kind is not None:
        query = query.where(passes.c.kind == kind)
    if after is not None:
        query = query.where(passes.c.id < after)
    return _with_credentials(conn, conn.execute(query).all())


def facts(conn: Connection) -> Iterator[tuple[Credential, PassFacts]]:
    """What deciding needs of all passes, a row for each credential, streamed: memory stays flat. Together
    with `last_change` in one `Store.read` it is of one moment."""
    columns = (
        passes.c.id,
        passes.c.kind,
        passes.c.state,
        passes.c.valid_from,
        passes.c.valid_until,
        passes.c.entrances,
        passes.c.hours,
        passes.c.revoked_at,
        passes.c.limits,
        passes.c.attestations,
        passes.c.dwelling_id,
    )
    query = (
        select(*columns, pass_credentials.c.kind, pass_credentials.c.value)
        .select_from(passes.join(pass_credentials, pass_credentials.c.pass_id == passes.c.id))
        .order_by(passes.c.id)
        .execution_options(stream_results=True, yield_per=1000)
    )
    last_id, last = "", None
    for row in conn.execute(query):
        (
            pass_id,
            kind,
            state,
            since,
            until,
            entrances,
            hours,
            revoked_at,
            limits,
            proofs,
            dwelling,
            what,
            value,
        ) = row
        if pass_id != last_id or last is None:
            last_id = pass_id
            last = PassFacts(
                pass_id=pass_id,
                kind=kind,
                state=PassState(state),
                valid_from=from_us(since),
                valid_until=from_us(until),
                entrances=_entrances(entrances),
                hours=_hours(hours),
                revoked_at=None if revoked_at is None else from_us(revoked_at),
                limits=_limits(limits),
                attestations=_attestations(proofs),
                dwelling_id=dwelling,
            )
        yield Credential(CredentialKind(what), value), last


def changed_since(conn: Connection, change: int, limit: int) -> list[Pass]:
    """The passes changed after `change`, as they are now, in the order of their changes; the first `limit` of
    them. Whoever has taken these in knows every pass whose last change is up to the last one's."""
    query = select(passes).where(passes.c.change > change).order_by(passes.c.change).limit(limit)
    return _with_credentials(conn, conn.execute(query).all())


def last_change(conn: Connection) -> int:
    """The number of the last change of any pass."""
    return int(conn.execute(select(counters.c.value).where(counters.c.name == "passes")).scalar_one())


def count(conn: Connection) -> int:
    """How many passes there are, revoked and ended ones included."""
    return conn.execute(select(func.count()).select_from(passes)).scalar_one()


# --- rows -------------------------------------------------------------------------------------------------


def _next_change(conn: Connection, amount: int) -> int:
    """Takes so many numbers; returns the last of them."""
    found: int = conn.execute(
        counters.update()
        .where(counters.c.name == "passes")
        .values(value=counters.c.value + amount)
        .returning(counters.c.value)
    ).scalar_one()
    return found


def _columns(given: Pass) -> dict[str, Any]:
    return {
        "id": given.id,
        "kind": given.kind,
        "holder_name": clean(given.holder.name),
        "holder_phone": None if given.holder.phone is None else clean(given.holder.phone),
        "dwelling_id": None if given.holder.dwelling_id is None else clean(given.holder.dwelling_id),
        "entrances": None if given.entrances is None else _json(list(given.entrances)),
        "valid_from": to_us(given.valid_from),
        "valid_until": to_us(given.valid_until),
        "hours": _json([[sorted(w.days), w.since.isoformat(), w.until.isoformat()] for w in given.hours]),
        "limits": _json(dict(given.limits)),
        "attestations": _json([[one.kind, one.issued_on, one.valid_until] for one in given.attestations]),
        "state": given.state.value,
        "revoked_at": _us(given.revoked_at),
        "revoked_reason": None if given.revoked_reason is None else clean(given.revoked_reason),
        "created_at": to_us(given.created_at),
        "updated_at": to_us(given.updated_at),
        "version": given.version,
        "change": given.change,
    }


def _credentials(given: Pass) -> list[dict[str, Any]]:
    return [
        {"pass_id": given.id, "position": index, "kind": one.kind.value, "value": clean(one.value)}
        for index, one in enumerate(given.credentials)
    ]


def _with_credentials(conn: Connection, rows: Sequence[Row[Any]]) -> list[Pass]:
    found: dict[str, list[Credential]] = {row.id: [] for row in rows}
    ids = list(found)
    for start in range(0, len(ids), _CHUNK):
        query = (
            select(pass_credentials)
            .where(pass_credentials.c.pass_id.in_(ids[start : start + _CHUNK]))
            .order_by(pass_credentials.c.pass_id, pass_credentials.c.position)
        )
        for one in conn.execute(query):
            found[one.pass_id].append(Credential(CredentialKind(one.kind), one.value))
    return [_pass(row, found[row.id]) for row in rows]


def _pass(row: Row[Any], credentials: Iterable[Credential]) -> Pass:
    return Pass(
        id=row.id,
        kind=row.kind,
        holder=Holder(row.holder_name, row.holder_phone, row.dwelling_id),
        credentials=tuple(credentials),
        entrances=_entrances(row.entrances),
        valid_from=from_us(row.valid_from),
        valid_until=from_us(row.valid_until),
        hours=_hours(row.hours),
        limits=orjson.loads(row.limits),
        attestations=_attestations(row.attestations),
        state=PassState(row.state),
        revoked_at=None if row.revoked_at is None else from_us(row.revoked_at),
        revoked_reason=row.revoked_reason,
        created_at=from_us(row.created_at),
        updated_at=from_us(row.updated_at),
        version=row.version,
        change=row.change,
    )


# most passes of a site have one of a few values: each is parsed once, and shared
@functools.lru_cache(4096)
def _entrances(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(orjson.loads(text))


@functools.lru_cache(4096)
def _hours(text: str) -> tuple[HourWindow, ...]:
    return tuple(
        HourWindow(frozenset(days), time.fromisoformat(since), time.fromisoformat(until))
        for days, since, until in orjson.loads(text)
    )


@functools.lru_cache(4096)
def _limits(text: str) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(orjson.loads(text).items()))


@functools.lru_cache(4096)
def _attestations(text: str) -> tuple[Attestation, ...]:
    return tuple(
        Attestation(kind, date.fromisoformat(issued), None if until is None else date.fromisoformat(until))
        for kind, issued, until in orjson.loads(text)
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
