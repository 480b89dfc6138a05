"""Bearer tokens: made, and checked. Used by the API, the command line and commands over MQTT.

A token is `gated_<id>_<secret>` with 192 random bits. The store keeps its SHA-256 and never the token. A slow
password hash would add nothing: it protects secrets that people choose and that can be guessed one by one,
and 192 random bits cannot be. It would only make every request slow, and a flood of wrong tokens costly.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gated.domain import Role
from gated.ids import new_id
from gated.store import audit
from gated.store import tokens as rows
from gated.store.tokens import TokenRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gated.store import Store

_SECRET_BYTES: Final = 24
_SHAPE: Final = re.compile(r"gated_[0-9A-Z]{26}_[0-9a-f]{48}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a token. `name` is what records show: an override is by this name."""

    token_id: str
    name: str
    role: Role


def digest(token: str) -> bytes:
    """What the store keeps of a token: SHA-256 of the whole of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def plausible(token: str) -> bool:
    """Whether it has a token's shape; if not, the store need not be asked."""
    return _SHAPE.fullmatch(token) is not None


def make(role: Role, name: str, now: datetime, expires_at: datetime | None = None) -> tuple[str, TokenRow]:
    """A new token and the row to keep of it. The token is shown once, to whoever asked for it. Raises
    ValueError for an empty name or an expiry in the past."""
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("a token needs a name of 1 to 100 printable characters")
    if expires_at is not None and expires_at <= now:
        raise ValueError("the token would have expired already")
    token_id = new_id(now)
    token = f"gated_{token_id}_{secrets.token_hex(_SECRET_BYTES)}"
    row = TokenRow(
        id=token_id,
        name=name,
        role=role,
        hash=digest(token),
        created_at=now,
        expires_at=expires_at,
        revoked_at=None,
    )
    return token, row


async def create_token(
    store: Store,
    *,
    role: Role,
    name: str,
    now: datetime,
    expires_at: datetime | None = None,
    by: str = "command line",
) -> tuple[str, TokenRow]:
    """Makes a token and writes its row, with an audit row that names `by`. Errors as `make`, and
    `gated.ports.NotRecorded`."""
    token, row = make(role, name, now, expires_at)

    def write(conn: Connection) -> None:
        rows.insert(conn, row)
        audit.append(conn, now, by, "token.create", row.id, {"name": row.name, "role": role.value})

    await store.write(write)
    return token, row


def verify(conn: Connection, token: str, now: datetime) -> Principal | None:
    """The bearer of a token that is known, not revoked and not expired; else None.

    The look-up is by hash, so its timing tells nothing of any token; the comparison takes constant time all
    the same.
    """
    if not plausible(token):
        return None
    hashed = digest(token)
    row = rows.by_hash(conn, hashed)
    if row is None or not hmac.compare_digest(row.hash, hashed):
        return None
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return Principal(row.id, row.name, Role(row.role))
