"""Conversions of time between records (aware UTC), the store (microseconds) and JSON (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 (UTC). Exact, unlike going through a float."""
    since = moment - EPOCH  # a sum takes half the time of a division by a timedelta
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(microseconds: int) -> datetime:
    """The inverse of `to_us`."""
    return EPOCH + timedelta(0, 0, microseconds)  # by name it takes a third longer


def iso(moment: datetime) -> str:
    """RFC 3339, UTC, milliseconds: `2026-11-21T21:16:03.123Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_iso(text: str) -> datetime:
    """An RFC 3339 time as aware UTC. Raises ValueError on anything else, also on a time without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
