"""`gated token`: makes, lists and ends tokens in the store; the daemon may run and knows within a second."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from gated.api.tokens import create_token
from gated.cli import output, setting
from gated.domain import Role
from gated.store import Store, audit, tokens
from gated.store.tokens import TokenRow
from gated.times import iso, parse_iso

_BY = "command line"
_DAYS = re.compile(r"([0-9]{1,5})d")

_T = TypeVar("_T")


def create(config: Path, *, role: str, name: str, expires: str | None, as_json: bool) -> None:
    """Makes a token and prints it; it is not kept and cannot be shown again."""
    now = datetime.now(UTC)
    until = None if expires is None else _expiry(expires, now)

    async def work(store: Store) -> tuple[str, TokenRow]:
        return await create_token(store, role=Role(role), name=name, now=now, expires_at=until, by=_BY)

    try:
        token, row = _with_store(config, work)
    except ValueError as error:
        output.fail(str(error), "", 2)
    facts = {**_facts(row, now), "token": token}
    output.data(facts, f"{token}\n\nShown only this once. 仅显示一次，请妥善保存。", as_json=as_json)


def show(config: Path, *, as_json: bool) -> None:
    """Lists all tokens, also those that have ended."""
    now = datetime.now(UTC)
    rows = [_facts(row, now) for row in _with_store(config, lambda store: store.read(tokens.list_all))]
    text = output.table(["id", "state", "role", "name", "created_at", "expires_at"], rows)
    output.data(rows, text, as_json=as_json)


def revoke(config: Path, token_id: str, *, as_json: bool) -> None:
    """Ends the token with this id."""
    now = datetime.now(UTC)

    async def work(store: Store) -> bool:
        def write(conn: Connection) -> bool:
            done = tokens.revoke(conn, token_id, now)
            if done:
                audit.append(conn, now, _BY, "token.revoke", token_id, {})
            return done

        return await store.write(write)

    if not _with_store(config, work):
        output.fail(f"no token that still works has the id {token_id!r}", "gated token list shows the ids")
    output.data({"id": token_id, "state": "revoked"}, f"{token_id} is revoked.", as_json=as_json)


def _with_store(config: Path, work: Callable[[Store], Awaitable[_T]]) -> _T:
    site = setting.site(config)

    async def run() -> _T:
        store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return setting.stored(run())


def _expiry(text: str, now: datetime) -> datetime:
    days = _DAYS.fullmatch(text)
    if days is not None:
        return now + timedelta(days=int(days[1]))
    try:
        return parse_iso(text)
    except ValueError:
        output.fail(f"{text!r} is no expiry", "say a number of days (90d) or 2027-01-31T00:00:00+08:00", 2)


def _facts(row: TokenRow, now: datetime) -> dict[str, str | None]:
    state = "active"
    if row.revoked_at is not None:
        state = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        state = "expired"
    return {
        "id": row.id,
        "state": state,
        "role": row.role,
        "name": row.name,
        "created_at": iso(row.created_at),
        "expires_at": None if row.expires_at is None else iso(row.expires_at),
        "revoked_at": None if row.revoked_at is None else iso(row.revoked_at),
    }
