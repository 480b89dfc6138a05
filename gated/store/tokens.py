"""Bearer tokens, of which only a hash is kept: queries over a connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy import insert as _insert

from gated.store.tables import tokens
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token. `hash`: of the secret, never the secret. `role`: the word of a `gated.domain.Role`."""

    id: str
    name: str
    role: str
    hash: bytes
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None


def insert(conn: Connection, given: TokenRow) -> None:
    """Writes a new token."""
    conn.execute(
        _insert(tokens).values(
            id=given.id,
            name=given.name,
            role=given.role,
            hash=given.hash,
            created_at=to_us(given.created_at),
            expires_at=None if given.expires_at is None else to_us(given.expires_at),
            revoked_at=None if given.revoked_at is None else to_us(given.revoked_at),
        )
    )


def by_hash(conn: Connection, digest: bytes) -> TokenRow | None:
    """The token with this hash, revoked or expired ones too."""
    row = conn.execute(select(tokens).where(tokens.c.hash == digest)).one_or_none()
    return None if row is None else _token(row)


def list_all(conn: Connection) -> list[TokenRow]:
    """All tokens, oldest first."""
    return [_token(row) for row in conn.execute(select(tokens).order_by(tokens.c.id))]


def revoke(conn: Connection, token_id: str, at: datetime) -> bool:
    """Takes a token away. False if there is none with this id, or it was revoked before."""
    done = conn.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=to_us(at))
    )
    return done.rowcount == 1


def _token(row: Row[Any]) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        role=row.role,
        hash=bytes(row.hash),
        created_at=from_us(row.created_at),
        revoked_at=None if row.revoked_at is None else from_us(row.revoked_at),
        expires_at=None if row.expires_at is None else from_us(row.expires_at),
    )
