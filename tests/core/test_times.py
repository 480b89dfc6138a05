"""Times: exact both ways, and written one way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.times import EPOCH, from_us, iso, parse_iso, to_us

zones = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))])
# a day off either end of what a datetime holds, so that every zone has it
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)


@given(times)
def test_microseconds_are_exact(moment: datetime) -> None:
    assert to_us(moment) == (moment - EPOCH) // timedelta(microseconds=1)
    assert from_us(to_us(moment)) == moment
    assert from_us(to_us(moment)).tzinfo is UTC


@given(times)
def test_written_in_utc_with_milliseconds(moment: datetime) -> None:
    text = iso(moment)
    utc = moment.astimezone(UTC)
    assert text == utc.strftime(f"{utc.year:04}-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03}Z"
    assert parse_iso(text) == utc.replace(microsecond=utc.microsecond // 1000 * 1000)


@pytest.mark.parametrize(
    "text", ["", "2026-11-21", "2026-11-21T08:00:00", "yesterday", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_iso(text)
