"""Alerts: queries over a connection. Those of a passage are written with it, by `Store.record`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from gated.domain import Alert, Severity, Text
from gated.store.encode import ALERT_COLUMNS, alert
from gated.store.tables import alerts
from gated.times import from_us, to_us

_CHANGING = ("severity", "text_zh", "text_en", "state", "updated_at", "times", "passage_id")
_OPEN_MOST = 10_000


def upsert(conn: Connection, given: Alert, fold_key: str) -> None:
    """Writes an alert as it stands now, new or over what was known under its id. `fold_key`: what it is
    about; repeats of the same are counted into it."""
    row = dict(zip(ALERT_COLUMNS, alert(given, fold_key), strict=True))
    changes = {name: row[name] for name in _CHANGING}
    if conn.execute(alerts.update().where(alerts.c.id == given.id).values(changes)).rowcount == 0:
        conn.execute(alerts.insert(), row)


def get(conn: Connection, alert_id: str) -> Alert | None:
    """The alert with this id."""
    row = conn.execute(select(alerts).where(alerts.c.id == alert_id)).one_or_none()
    return None if row is None else _alert(row)


def page(
    conn: Connection,
    *,
    grid: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    after: str | None = None,
    limit: int,
) -> list[Alert]:
    """Some alerts, newest id first, from behind the id `after`. `since`: raised at that time or later."""
    query = select(alerts).order_by(alerts.c.id.desc()).limit(limit)
    if grid is not None:
        query = query.where(alerts.c.grid == grid)
    if state is not None:
        query = query.where(alerts.c.state == state)
    if since is not None:
        query = query.where(alerts.c.raised_at >= to_us(since))
    if after is not None:
        query = query.where(alerts.c.id < after)
    return [_alert(row) for row in conn.execute(query)]


def open_by_fold(conn: Connection) -> list[tuple[str, Alert]]:
    """The open alerts with what they are about, the last changed last; the newest 10,000 of them."""
    query = select(alerts).where(alerts.c.state == "open").order_by(alerts.c.id.desc()).limit(_OPEN_MOST)
    rows = sorted(conn.execute(query), key=lambda row: (row.updated_at, row.id))
    return [(row.fold_key, _alert(row)) for row in rows]


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        id=row.id,
        grid=row.grid,
        severity=Severity(row.severity),
        reason=row.reason,
        text=Text(row.text_zh, row.text_en),
        state=row.state,
        raised_at=from_us(row.raised_at),
        updated_at=from_us(row.updated_at),
        count=row.times,
        lane=row.lane,
        device=row.device,
        passage_id=row.passage_id,
    )
