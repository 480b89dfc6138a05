"""What a read is: a vehicle of its own, the same again, late, or from another day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.domain import Credential, CredentialKind, Disposition, Read
from gated.lane.collect import Collector, Relation, passage_id_of, relate

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)


def plate(value: str | None) -> Credential | None:
    return None if value is None else Credential(CredentialKind.PLATE, value)


def read(value: str | None = "津A12345", key: str | None = "1", **more: object) -> Read:
    base = Read(
        device="cam", received_at=NOW, device_time=NOW, key=key, credential=plate(value), raw=value or ""
    )
    return replace(base, **more)  # type: ignore[arg-type]


def collector() -> Collector:
    return Collector(window_s=5.0, max_age=timedelta(seconds=15))


@pytest.mark.parametrize(
    ("age_s", "backlog", "expected"),
    [
        (0, False, Disposition.DECIDED),
        (15, False, Disposition.DECIDED),
        (15.1, False, Disposition.STALE),
        (3600, False, Disposition.STALE),
        (-5, False, Disposition.DECIDED),
        (-5.1, False, Disposition.STALE),
        (-3600, False, Disposition.STALE),
        (0, True, Disposition.BACKLOG),
        (3600, True, Disposition.BACKLOG),
    ],
)
def test_age(age_s: float, backlog: bool, expected: Disposition) -> None:
    at = NOW - timedelta(seconds=age_s)
    assert collector().collect(read(backlog=backlog), at, NOW, 0.0).disposition is expected


def test_a_read_that_waited_for_the_store_is_stale_by_then() -> None:
    late = NOW + timedelta(seconds=16)
    assert collector().collect(read(), NOW, late, 0.0).disposition is Disposition.STALE


def test_a_resend_is_a_duplicate_also_when_it_is_late() -> None:
    lane = collector()
    first = lane.collect(read(), NOW, NOW, 0.0)
    lane.remember(read(), first.passage_id)
    again = read(received_at=NOW + timedelta(seconds=40), backlog=True)
    assert lane.collect(again, NOW, NOW, 40.0) == first._replace(disposition=Disposition.DUPLICATE)


def test_without_a_device_time_the_key_tells_a_resend() -> None:
    lane = collector()
    first = read(device_time=None)
    lane.remember(first, passage_id_of(first))
    again = replace(first, received_at=NOW + timedelta(seconds=3))
    assert lane.collect(again, NOW, NOW, 3.0).disposition is Disposition.DUPLICATE


def test_what_is_remembered_is_bounded() -> None:
    lane = collector()
    for n in range(10_000):
        one = read(key=str(n))
        lane.remember(one, passage_id_of(one))
    assert len(lane._seen) <= 4096


def test_ids() -> None:
    same = passage_id_of(read())
    assert same == passage_id_of(read(received_at=NOW + timedelta(hours=1)))
    others = {
        passage_id_of(read(key="2")),
        passage_id_of(read(device_time=NOW + timedelta(microseconds=1))),
        passage_id_of(read(device="other")),
        passage_id_of(read(key=None)),
        passage_id_of(read(key=None, value="津A12346")),
        passage_id_of(read(key=None, channel="2")),
    }
    assert len(others | {same}) == 7


@pytest.mark.parametrize(
    ("known", "seen", "expected"),
    [
        ("津A12345", "津A12345", Relation.SAME),
        (None, None, Relation.SAME),
        ("津A12345", None, Relation.RELATED),
        (None, "津A12345", Relation.RELATED),
        ("津A12345", "津A1234S", Relation.RELATED),
        ("津A12345", "津A1234", Relation.RELATED),
        ("津A12345", "京A1234S", Relation.RELATED),
        ("津A12345", "津B67890", Relation.NEW),
        ("津A12345", "津A67895", Relation.NEW),
    ],
)
def test_relation(known: str | None, seen: str | None, expected: Relation) -> None:
    assert relate(plate(known), plate(seen)) is expected


def test_cards_are_the_same_or_not() -> None:
    one, other = Credential(CredentialKind.CARD, "12345678"), Credential(CredentialKind.CARD, "12345679")
    assert relate(one, one) is Relation.SAME
    assert relate(one, other) is Relation.NEW
    assert relate(one, plate("12345678")) is Relation.NEW


_CREDENTIALS = st.none() | st.builds(
    Credential, st.sampled_from([CredentialKind.PLATE, CredentialKind.CARD]), st.text("津A12S", max_size=6)
)


@given(_CREDENTIALS, _CREDENTIALS)
def test_relation_is_what_it_says(known: Credential | None, seen: Credential | None) -> None:
    """The same credential, or one of two without a plate, or two plates within two edits."""
    if known == seen:
        expected = Relation.SAME
    elif known is None or seen is None:
        expected = Relation.RELATED
    else:
        plates = {known.kind, seen.kind} == {CredentialKind.PLATE}
        near = plates and _edits(known.value, seen.value) <= 2
        expected = Relation.RELATED if near else Relation.NEW
    assert relate(known, seen) is relate(seen, known) is expected


def _edits(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for index, left in enumerate(one, 1):
        before, row[0] = row[0], index
        for place, right in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (left != right))
    return row[-1]


def test_the_window_slides_with_each_read_of_the_vehicle() -> None:
    lane = collector()
    first = lane.collect(read(), NOW, NOW, 0.0)
    lane.decided(first, plate("津A12345"), 0.0, settled=True)
    for at in (4.0, 8.0, 12.0):
        found = lane.collect(read(key=str(at)), NOW, NOW, at)
        assert (found.relation, found.current) == (Relation.SAME, first.passage_id)
        lane.merged(found, at)
    assert lane.collect(read(key="z"), NOW, NOW, 17.5).relation is Relation.NEW
