"""Windows of time: weekly hours of a pass, and the named windows of a policy's calendar. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from gated.domain import HourWindow, Text

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))
_RANGE = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_LONGEST_SPAN = 3700
_MIDNIGHT = time(0)


def within_hours(windows: Sequence[HourWindow], local: datetime) -> bool:
    """Whether a local time lies in one of the windows; one that runs past midnight belongs to the day on
    which it began."""
    clock, today = local.time().replace(tzinfo=None), local.weekday()
    for window in windows:
        if window.since < window.until:
            if today in window.days and window.since <= clock < window.until:
                return True
        elif (today in window.days and clock >= window.since) or (
            (today - 1) % 7 in window.days and clock < window.until
        ):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Window:
    """A named window of the calendar. It is open on `days` of the week, or on `dates` where there are any,
    during `hours`; without hours for the whole day. One that runs past midnight belongs to the day on which
    it began."""

    name: Text
    hours: tuple[tuple[time, time], ...] = ()
    days: frozenset[int] = EVERY_DAY
    dates: frozenset[date] = frozenset()

    def on(self, day: date) -> bool:
        """Whether the window opens on this day."""
        return day in self.dates if self.dates else day.weekday() in self.days

    def is_open(self, local: datetime) -> bool:
        """Whether a local time lies in it."""
        today = local.date()
        if not self.hours:
            return self.on(today)
        clock = local.time().replace(tzinfo=None)
        for since, until in self.hours:
            if since < until:
                if since <= clock < until and self.on(today):
                    return True
            elif (clock >= since and self.on(today)) or (
                clock < until and self.on(today - timedelta(days=1))
            ):
                return True
        return False

    def ends(self, local: datetime) -> time | None:
        """When it closes today or tomorrow, for one that is open; None for a whole day."""
        clock = local.time().replace(tzinfo=None)
        for since, until in self.hours:
            if (since <= clock < until) if since < until else (clock >= since or clock < until):
                return until
        return None


def hours_of(text: str) -> tuple[time, time]:
    """`22:00-05:00` as two times; 24:00 is midnight. Raises ValueError."""
    found = _RANGE.fullmatch(text.strip().replace("：", ":").replace("—", "-").replace("–", "-"))
    if found is None:
        raise ValueError(f"{text!r} is no range of hours; write it like 22:00-05:00")
    since_h, since_m, until_h, until_m = map(int, found.groups())
    if (until_h, until_m) == (24, 0):
        until_h = 0
    try:
        return time(since_h, since_m), time(until_h, until_m)
    except ValueError as error:
        raise ValueError(f"{text!r} has an hour or minute that no day has") from error


def dates_of(text: str) -> list[date]:
    """`2026-12-05`, or `2026-12-01..2026-12-03` with both ends, as days. Raises ValueError."""
    first, separator, last = text.strip().partition("..")
    try:
        since = date.fromisoformat(first.strip())
        until = date.fromisoformat(last.strip()) if separator else since
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no day; write it like 2026-12-05, or 2026-12-01..2026-12-03"
        ) from error
    if until < since:
        raise ValueError(f"{text!r} ends before it begins")
    if (until - since).days > _LONGEST_SPAN:
        raise ValueError(f"{text!r} is longer than ten years")
    return [since + timedelta(days=number) for number in range((until - since).days + 1)]
