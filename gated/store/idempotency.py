"""What was answered to a request with an idempotency key: queries over a connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from gated.store.tables import idempotency
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of a token, the request that it came with, and the reply."""

    token_id: str
    key: str
    fingerprint: str
    status: int
    body: bytes
    created_at: datetime


def get(conn: Connection, token_id: str, key: str) -> KeyRow | None:
    """What is known of a key."""
    row = conn.execute(
        select(idempotency).where(idempotency.c.token_id == token_id, idempotency.c.key == key)
    ).one_or_none()
    if row is None:
        return None
    return KeyRow(token_id, key, row.fingerprint, row.status, bytes(row.body), from_us(row.created_at))


def put(
    conn: Connection,
    token_id: str,
    key: str,
    fingerprint: str,
    status: int,
    body: bytes,
    created_at: datetime,
) -> None:
    """Keeps the reply of a key, over what was known of it."""
    forget(conn, token_id, key)
    conn.execute(
        idempotency.insert().values(
            token_id=token_id,
            key=key,
            fingerprint=fingerprint,
            status=status,
            body=body,
            created_at=to_us(created_at),
        )
    )


def forget(conn: Connection, token_id: str, key: str) -> None:
    """The key is free again."""
    conn.execute(delete(idempotency).where(idempotency.c.token_id == token_id, idempotency.c.key == key))


def prune(conn: Connection, before: datetime) -> int:
    """Deletes keys from before a time; returns how many."""
    return conn.execute(delete(idempotency).where(idempotency.c.created_at < to_us(before))).rowcount
