"""Ids: their shape, their order, and that a resent event has the id that it had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gated.ids import event_id, new_id
from gated.times import from_us

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TIME = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)
times = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))


def number(text: str) -> int:
    value = 0
    for character in text:
        value = value * 32 + ALPHABET.index(character)
    return value


def test_ids_of_the_records_that_exist() -> None:
    assert event_id("cam-1", "51a7ed00-00000001:17", TIME) == "01M7YHX33VZ4RZ79SZQD7ZGA34"
    assert event_id("cam-1", "", datetime(1960, 1, 1, tzinfo=UTC)).startswith("0" * 10)


@given(times)
def test_the_time_is_in_the_id(time: datetime) -> None:
    milliseconds = (time - from_us(0)) // timedelta(milliseconds=1)
    for made in (new_id(time), event_id("cam-1", "17", time)):
        assert len(made) == 26
        assert number(made[:10]) == milliseconds


@given(st.text(max_size=8), st.text(max_size=8), times)
def test_the_same_event_has_the_same_id(device: str, key: str, time: datetime) -> None:
    made = event_id(device, key, time)
    assert event_id(device, key, time) == made
    others = (event_id(device + "x", key, time), event_id(device, key + "x", time), new_id(time))
    assert made not in others


def test_ids_are_in_the_order_of_time() -> None:
    ids = [new_id(TIME + timedelta(milliseconds=97 * step)) for step in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
