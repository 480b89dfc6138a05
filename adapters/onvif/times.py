"""Times as devices write them, from exact to absurd. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from lxml import etree

from adapters.onvif.envelope import child, text_of

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def utc(text: str | None) -> datetime | None:
    """An xs:dateTime as UTC; without a zone it is taken as UTC, as ONVIF's UtcTime is. None for what
    devices send when they do not know: another order (`10-05-2025T22:41:27Z`), `0000-00-00`, and any year
    before 2000."""
    found = _ISO.fullmatch((text or "").strip())
    if found is None or int(found[1]) < 2000:
        return None
    micro = int((found[7] or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(*(int(found[n]) for n in range(1, 7)), micro, tzinfo=UTC)  # type: ignore[misc,arg-type]
        zone = found[8]
        if zone and zone != "Z":
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            shift = timedelta(hours=hours, minutes=minutes)
            moment = moment - shift if zone[0] == "+" else moment + shift
    except (ValueError, OverflowError):
        return None
    return moment


def system_time(answer: etree._Element | None) -> datetime | None:
    """The UTC time of a GetSystemDateAndTimeResponse, or None where the device gives only its local time.
    Any year counts here: a clock that starts in 1970 is wrong, but it is the clock the device checks
    digests with."""
    moment = child(answer, "SystemDateAndTime", "UTCDateTime")
    try:
        date = [int(text_of(moment, "Date", name)) for name in ("Year", "Month", "Day")]
        time = [int(text_of(moment, "Time", name)) for name in ("Hour", "Minute", "Second")]
        return datetime(*date, *time, tzinfo=UTC)  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):
        return None


def http_date(text: str | None) -> datetime | None:
    """The Date header of an HTTP reply, UTC, or None."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def duration(seconds: float) -> str:
    """An xs:duration in seconds: 0.7 is `PT0.7S`."""
    return f"PT{seconds:g}S"
