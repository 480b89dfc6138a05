"""Deleting what is old, a little at a time, so that no passage waits behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection

if TYPE_CHECKING:
    from gated.store.store import Store

Prune = Callable[[Connection, datetime], int]
"""`passages.prune`, `reads.prune`, `presence.prune`, `outbox.prune`, `idempotency.prune`: deletes some,
returns how many."""


async def prune(store: Store, what: Prune, before: datetime, *, pause_s: float = 0.02) -> int:
    """Repeats `what` in transactions of its own until nothing is left to delete; returns how many rows.
    Raises NotRecorded."""
    gone = 0
    while found := await store.write(lambda conn: what(conn, before)):
        gone += found
        await asyncio.sleep(pause_s)
    return gone
