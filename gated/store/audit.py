"""Who did what to which thing: queries over a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, select

from gated.store.encode import clean
from gated.store.tables import audit
from gated.times import from_us, to_us


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act. `n`: its number, in the order of commits on SQLite, about that on PostgreSQL."""

    n: int
    at: datetime
    who: str
    action: str
    subject: str
    details: Mapping[str, object]


def append(
    conn: Connection, at: datetime, who: str, action: str, subject: str, details: Mapping[str, object]
) -> None:
    """Notes an act. `details` must be JSON, without secrets."""
    conn.execute(
        audit.insert().values(
            at=to_us(at),
            who=clean(who),
            action=action,
            subject=clean(subject),
            details=orjson.dumps(dict(details)).decode(),
        )
    )


def page(
    conn: Connection, *, subject: str | None = None, after: int | None = None, limit: int
) -> list[AuditRow]:
    """Some acts, newest first, from behind the number `after`."""
    query = select(audit).order_by(audit.c.n.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if after is not None:
        query = query.where(audit.c.n < after)
    return [
        AuditRow(row.n, from_us(row.at), row.who, row.action, row.subject, orjson.loads(row.details))
        for row in conn.execute(query)
    ]
