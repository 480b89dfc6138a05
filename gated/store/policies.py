"""Policies by their text, and which one is in force: queries over a connection.

A text is kept for ever under the hash of its bytes, because receipts name it. An activation is a row, never
changed: taking one back is an activation of what was in force before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select

from gated.store import audit
from gated.store.encode import clean
from gated.store.tables import policy_activations as activations
from gated.store.tables import policy_texts as texts
from gated.times import from_us, to_us

Part = Literal["live", "shadow"]


class NothingBefore(LookupError):
    """There is no earlier policy to go back to."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A policy that was put in force (`role` live) or beside it (shadow). `hash`, `text` None: no shadow any
    more. `replaces`: the number of the activation that comes back when this one is taken back."""

    n: int
    at: datetime
    who: str
    role: str
    hash: str | None
    note: str
    replaces: int | None
    text: str | None


def hash_of(text: str) -> str:
    """What a text is kept under."""
    return hashlib.sha256(text.encode()).hexdigest()


def put_text(conn: Connection, now: datetime, text: str) -> str:
    """Keeps a text; returns its hash. One that is there already stays as it is."""
    found = hash_of(text)
    if conn.execute(select(texts.c.hash).where(texts.c.hash == found)).one_or_none() is None:
        conn.execute(insert(texts).values(hash=found, text=text, first_at=to_us(now)))
    return found


def text(conn: Connection, version: str) -> str | None:
    """The text of a hash, or of the beginning of one that is the only such."""
    query = select(texts.c.text).where(texts.c.hash.startswith(version, autoescape=True)).limit(2)
    found = conn.execute(query).scalars().all()
    return found[0] if len(found) == 1 else None


def activate(
    conn: Connection, now: datetime, who: str, role: Part, text: str | None, note: str = ""
) -> Activation:
    """Puts a text in force (or beside it; None ends the shadow). It must have been checked before."""
    version = None if text is None else put_text(conn, now, text)
    before = _latest(conn, role)
    return _added(conn, now, who, role, version, note, None if before is None else before.n)


def take_back(conn: Connection, now: datetime, who: str, role: Part, note: str = "") -> Activation:
    """Puts in force again what was before the present one; doing it twice goes back two. Raises
    NothingBefore."""
    present = _latest(conn, role)
    before = None if present is None else _numbered(conn, present.replaces)
    if before is None:
        raise NothingBefore(role)
    return _added(conn, now, who, role, before.hash, note, before.replaces)


def current(conn: Connection, role: Part) -> Activation | None:
    """What is in force; None if nothing ever was."""
    return _latest(conn, role)


def last(conn: Connection) -> int:
    """The number of the last activation of any kind, 0 if there is none: whether anything has changed."""
    return conn.execute(select(func.max(activations.c.n))).scalar() or 0


def history(conn: Connection, limit: int = 100) -> list[Activation]:
    """The activations, newest first."""
    query = _query().order_by(activations.c.n.desc()).limit(limit)
    return [_activation(row) for row in conn.execute(query)]


def _query() -> Any:
    return select(activations, texts.c.text).outerjoin(texts, texts.c.hash == activations.c.hash)


def _latest(conn: Connection, role: str) -> Activation | None:
    query = _query().where(activations.c.role == role).order_by(activations.c.n.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    return None if row is None else _activation(row)


def _numbered(conn: Connection, n: int | None) -> Activation | None:
    if n is None:
        return None
    row = conn.execute(_query().where(activations.c.n == n)).one_or_none()
    return None if row is None else _activation(row)


def _added(
    conn: Connection,
    now: datetime,
    who: str,
    role: str,
    version: str | None,
    note: str,
    replaces: int | None,
) -> Activation:
    values = {
        "at": to_us(now),
        "who": clean(who),
        "role": role,
        "hash": version,
        "note": clean(note),
        "replaces": replaces,
    }
    n = conn.execute(insert(activations).values(values).returning(activations.c.n)).scalar_one()
    details = {"n": n, "hash": version, "replaces": replaces, "note": clean(note)}
    audit.append(conn, now, who, f"policy.{role}", version or "none", details)
    found = _numbered(conn, n)
    assert found is not None  # noqa: S101 - it was just written
    return found


def _activation(row: Row[Any]) -> Activation:
    return Activation(row.n, from_us(row.at), row.who, row.role, row.hash, row.note, row.replaces, row.text)
