"""Queries by subject, on both stores."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, time, timedelta

import pytest
from sqlalchemy import Connection

from gated.domain import (
    Credential,
    CredentialKind,
    Holder,
    HourWindow,
    OpeningOutcome,
    Outcome,
    Pass,
    PassState,
)
from gated.passbook import facts_of
from gated.store import (
    Store,
    VersionConflict,
    alerts,
    audit,
    idempotency,
    openings,
    outbox,
    passages,
    passes,
    presence,
    reads,
    tokens,
)
from gated.store.passages import PassageRow
from gated.store.retention import prune
from gated.store.tokens import TokenRow
from tests.store import make

RICH = make.a_pass(
    7,
    credentials=(make.plate(7), Credential(CredentialKind.CARD, "0a1b2c"), make.plate(8)),
    entrances=("east", "west"),
    hours=(
        HourWindow(frozenset({0, 1, 2, 3, 4}), time(7, 30), time(19)),
        HourWindow(frozenset({6}), time(22), time(2)),
    ),
    limits={"passages_a_day": 4},
)


# --- passes -----------------------------------------------------------------------------------------------


async def test_a_pass_comes_back_as_it_was(store: Store) -> None:
    first = await store.write(lambda conn: passes.insert(conn, RICH))
    second = await store.write(lambda conn: passes.insert(conn, make.a_pass(1)))
    assert first == replace(RICH, change=1)
    assert second.change == 2
    assert await store.read(lambda conn: passes.get(conn, RICH.id)) == first
    assert await store.read(lambda conn: passes.get(conn, "none")) is None
    assert await store.read(passes.last_change) == 2


async def test_a_change_gets_a_version_and_a_number(store: Store) -> None:
    await store.write(lambda conn: passes.insert_many(conn, [RICH, make.a_pass(1)]))
    revoked = replace(
        RICH,
        credentials=(make.plate(9),),
        state=PassState.REVOKED,
        revoked_at=make.moment(5),
        revoked_reason="搬走",
        updated_at=make.moment(5),
    )
    changed = await store.write(lambda conn: passes.update(conn, revoked, expected_version=1))
    assert changed == replace(revoked, version=2, change=3)
    assert await store.read(lambda conn: passes.get(conn, RICH.id)) == changed
    with pytest.raises(VersionConflict) as conflict:
        await store.write(lambda conn: passes.update(conn, revoked, expected_version=1))
    assert conflict.value.version == 2
    with pytest.raises(VersionConflict) as conflict:
        await store.write(lambda conn: passes.update(conn, make.a_pass(50), expected_version=1))
    assert conflict.value.version is None
    # a change that did not happen leaves no gap
    assert await store.read(passes.last_change) == 3
    found = await store.read(lambda conn: passes.changed_since(conn, 1, 9))
    assert [one.change for one in found] == [2, 3]
    assert await store.read(lambda conn: passes.changed_since(conn, 3, 9)) == []


async def test_changes_are_read_in_pages(store: Store) -> None:
    """Also while passes change again between two pages: nothing is left out, the last state comes last."""
    await store.write(lambda conn: passes.insert_many(conn, [make.a_pass(number) for number in range(25)]))
    known: dict[str, Pass] = {}
    change = 0
    for turn in range(20):
        page = await store.read(lambda conn, after=change: passes.changed_since(conn, after, 7))
        if not page:
            break
        assert len(page) <= 7
        assert [one.change for one in page] == sorted(one.change for one in page)
        assert page[0].change > change
        known |= {one.id: one for one in page}
        change = page[-1].change
        if turn < 3:
            again = replace(page[0], holder=Holder(f"turn {turn}"))
            await store.write(lambda conn, one=again: passes.update(conn, one, expected_version=one.version))
    assert change == await store.read(passes.last_change) == 28
    kept = await store.read(lambda conn: passes.page(conn, limit=100))
    assert sorted(known.values(), key=lambda one: one.id, reverse=True) == kept


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({}, [4, 3, 2, 1, 0], id="all, newest first"),
        pytest.param({"limit": 2}, [4, 3], id="limit"),
        pytest.param({"after": make.a_pass(2).id}, [1, 0], id="after"),
        pytest.param({"credential": make.plate(3)}, [3], id="credential"),
        pytest.param({"credential": Credential(CredentialKind.CARD, "津A00003")}, [], id="kind counts"),
        pytest.param({"holder": "王2"}, [2], id="name"),
        pytest.param({"holder": "王"}, [4, 3, 2, 1, 0], id="part of a name"),
        pytest.param({"holder": "13800000001"}, [1], id="phone"),
        pytest.param({"holder": "%"}, [], id="no wildcards"),
        pytest.param({"state": "revoked"}, [4], id="state"),
        pytest.param({"kind": "visitor"}, [0], id="kind"),
        pytest.param({"kind": "visitor", "state": "revoked"}, [], id="both"),
    ],
)
async def test_passes_are_found(store: Store, filters: dict[str, object], expected: list[int]) -> None:
    given = [make.a_pass(number) for number in range(5)]
    given[0] = replace(given[0], kind="visitor")
    given[4] = replace(given[4], state=PassState.REVOKED)
    await store.write(lambda conn: passes.insert_many(conn, given))
    found = await store.read(lambda conn: passes.page(conn, **{"limit": 10, **filters}))  # type: ignore[arg-type]
    assert [one.id for one in found] == [given[number].id for number in expected]


async def test_facts_are_those_of_the_passes(store: Store) -> None:
    given = [RICH, make.a_pass(1, state=PassState.REVOKED, revoked_at=make.moment(9)), make.a_pass(2)]
    await store.write(lambda conn: passes.insert_many(conn, given))
    found = await store.read(lambda conn: list(passes.facts(conn)))
    expected = {(credential, facts_of(one)) for one in given for credential in one.credentials}
    assert set(found) == expected
    assert len(found) == len(expected) == 5


async def test_facts_of_very_many_passes_are_streamed(store: Store) -> None:
    """50,000 of them, of which no more than a few thousand are ever in memory."""
    tracemalloc = pytest.importorskip("tracemalloc")
    hours = (HourWindow(frozenset({0}), time(7), time(9)),)
    for start in range(0, 50_000, 5_000):
        batch = [make.a_pass(start + number, hours=hours) for number in range(5_000)]
        await store.write(lambda conn, batch=batch: passes.insert_many(conn, batch))

    def count(conn: Connection) -> tuple[int, int, int]:
        tracemalloc.start()
        try:
            amount = sum(1 for _ in passes.facts(conn))
            return amount, tracemalloc.get_traced_memory()[1], passes.last_change(conn)
        finally:
            tracemalloc.stop()

    amount, peak, change = await store.read(count)
    assert amount == change == 50_000
    assert peak < 6 * 2**20, f"{peak / 2**20:.1f} MB"


# --- passages ---------------------------------------------------------------------------------------------


async def _some_passages(store: Store) -> list[PassageRow]:
    """A few hundred with equal times, in no order; as they should be listed."""
    rng = random.Random(1)
    rows: list[tuple[int, int, PassageRow]] = []
    numbers = list(range(300))
    rng.shuffle(numbers)
    for order, number in enumerate(numbers):
        given = make.record(
            number,
            at=make.moment(number // 3),
            lane=rng.choice(["east-in", "west-in", "yard-out"]),
            outcome=rng.choice(list(Outcome)),
            credential=make.plate(number % 7),
        )
        await store.record(given)
        row = PassageRow(given.passage, replace(given.decision, alerts=()), given.decided_at)
        rows.append((number // 3, order, row))
    return [row for _, _, row in sorted(rows, key=lambda one: one[:2], reverse=True)]


async def test_passages_are_found(store: Store) -> None:
    """Every combination of filters, page by page, against a plain filter in Python."""
    rows = await _some_passages(store)
    since, until = make.moment(20), make.moment(80)
    for lane in (None, "west-in", "none"):
        for credential in (None, make.plate(3)):
            for outcome in (None, Outcome.GRANT, Outcome.DENY):
                for window in ({}, {"since": since}, {"since": since, "until": until}):
                    filters = {"lane": lane, "credential": credential, "outcome": outcome, **window}
                    expected = [
                        row
                        for row in rows
                        if lane in (None, row.passage.lane)
                        and credential in (None, row.passage.read.credential)
                        and outcome in (None, row.decision.outcome)
                        and window.get("since", make.NOW) <= row.passage.at
                        and row.passage.at < window.get("until", make.moment(10_000))
                    ]
                    assert await _all_pages(store, filters) == expected, filters


async def _all_pages(store: Store, filters: dict[str, object]) -> list[PassageRow]:
    def read(conn: Connection) -> list[PassageRow]:
        found: list[PassageRow] = []
        after: str | None = None
        while page := passages.page(conn, **filters, after=after, limit=37):  # type: ignore[arg-type]
            assert len(page) <= 37
            found += page
            after = page[-1].passage.id
        return found

    return await store.read(read)


async def test_the_newest_of_more_lanes_than_fit_on_a_page(store: Store) -> None:
    rng = random.Random(4)
    given = [
        make.record(number, at=make.moment(rng.randrange(12)), lane=f"lane-{rng.randrange(15)}")
        for number in range(90)
    ]
    for one in given:
        await store.record(one)
    order = sorted(range(90), key=lambda number: (given[number].passage.at, number), reverse=True)
    for limit in (1, 2, 5, 14):
        after, found = None, []
        for _ in range(6):
            page = await store.read(
                lambda conn, after=after, limit=limit: passages.page(conn, after=after, limit=limit)
            )
            found += [row.passage.id for row in page]
            after = page[-1].passage.id
        assert found == [given[number].passage.id for number in order[: 6 * limit]]


async def test_a_page_behind_a_passage_that_is_gone_is_empty(store: Store) -> None:
    await store.record(make.record(1))
    assert await store.read(lambda conn: passages.page(conn, after="gone", limit=5)) == []


async def test_old_whereabouts_are_deleted(store: Store) -> None:
    for number in range(40):
        await store.record(make.record(number, lane=f"lane-{number % 3}"))
        await store.record_read(make.other_read(number))
    over = [make.opening(number, OpeningOutcome.ACCEPTED) for number in range(40)]
    await asyncio.gather(*(store.record_opening(one) for one in over))
    edge = make.moment(25)
    await store.write(lambda conn: presence.advance(conn, UTC))  # what it has not taken in yet stays
    assert await prune(store, lambda conn, before: passages.prune(conn, before, limit=7), edge) == 25
    assert await prune(store, reads.prune, edge) == 25
    left = await store.read(lambda conn: passages.page(conn, limit=100))
    assert [one.passage.id for one in left] == [make.passage_id(n) for n in range(39, 24, -1)]
    ids = [make.passage_id(number) for number in range(40)]
    kept = await store.read(lambda conn: openings.for_passages(conn, ids))
    assert sorted(kept) == sorted(ids[25:])


# --- alerts -----------------------------------------------------------------------------------------------


async def test_alerts_are_found_as_they_stand(store: Store) -> None:
    given = [make.alert(number, grid=f"g0{number % 2}") for number in range(6)]
    for one in given:
        await store.write(lambda conn, one=one: alerts.upsert(conn, one, f"about {one.id}"))
    closed = replace(given[3], state="closed", updated_at=make.moment(99))
    more = replace(given[4], count=5, updated_at=make.moment(100), passage_id=None)
    for one in (closed, more):
        await store.write(lambda conn, one=one: alerts.upsert(conn, one, f"about {one.id}"))
    now = [*given[:3], closed, more, given[5]]

    async def page(**filters: object) -> list[int]:
        found = await store.read(lambda conn: alerts.page(conn, **{"limit": 10, **filters}))  # type: ignore[arg-type]
        return [now.index(one) for one in found]

    assert await page() == [5, 4, 3, 2, 1, 0]
    assert await page(state="open") == [5, 4, 2, 1, 0]
    assert await page(grid="g01") == [5, 3, 1]
    assert await page(since=make.moment(4)) == [5, 4]
    assert await page(after=given[2].id, limit=1) == [1]
    assert await store.read(lambda conn: alerts.get(conn, more.id)) == more
    assert await store.read(lambda conn: alerts.get(conn, "none")) is None
    by_fold = await store.read(alerts.open_by_fold)
    assert [(key, now.index(one)) for key, one in by_fold] == [
        (f"about {now[number].id}", number) for number in (0, 1, 2, 5, 4)
    ]


# --- the outbox -------------------------------------------------------------------------------------------


async def test_the_outbox_is_a_queue_with_a_cursor(store: Store) -> None:
    for number in range(1, 11):
        await store.write(
            lambda conn, n=number: outbox.append(conn, [make.message(f"t/{n % 2}", n, retain=n % 2 == 0)])
        )
    assert await store.read(outbox.cursor) == 0
    assert await store.read(outbox.backlog) == 10
    rows = await store.read(lambda conn: outbox.batch(conn, 3, 3))
    assert [(row.id, row.topic, row.seq, row.retain, row.payload) for row in rows] == [
        (4, "t/0", 2, True, b'{"number":4}'),
        (5, "t/1", 3, False, b'{"number":5}'),
        (6, "t/0", 3, True, b'{"number":6}'),
    ]
    for acknowledged in (6, 4):  # never goes back
        await store.write(lambda conn, n=acknowledged: outbox.advance(conn, n))
        assert await store.read(outbox.cursor) == 6
    assert await store.read(outbox.backlog) == 4
    found = await store.read(lambda conn: outbox.replay(conn, "t/1", 4, 10))
    assert [(row.id, row.seq) for row in found] == [(7, 4), (9, 5)]
    assert await store.read(lambda conn: outbox.replay(conn, "t/9", 0, 10)) == []


async def test_published_messages_are_pruned_and_numbers_go_on(url: str) -> None:
    clock = [make.NOW]
    store = await Store.open(url, clock=lambda: clock[0])

    async def append(topic: str) -> None:
        await store.write(lambda conn: outbox.append(conn, [make.message(topic, 0)]))

    try:
        await append("rare")
        for _ in range(30):
            clock[0] += timedelta(minutes=1)
            await append("often")
        await store.write(lambda conn: outbox.advance(conn, 21))
        edge = make.NOW + timedelta(minutes=26)
        # what is not published stays, however old; and the last of each topic
        gone = await prune(store, lambda conn, before: outbox.prune(conn, before, limit=8), edge)
        assert gone == 20
        rows = await store.read(lambda conn: outbox.batch(conn, 0, 100))
        assert [row.id for row in rows] == [1, *range(22, 32)]
        await store.write(lambda conn: outbox.advance(conn, 31))
        assert await prune(store, outbox.prune, make.NOW + timedelta(days=1)) == 9
        assert await store.write(lambda conn: outbox.prune(conn, make.NOW + timedelta(days=1))) == 0
    finally:
        await store.close()
    again = await Store.open(url)
    try:
        for topic in ("rare", "often", "new"):
            await again.write(lambda conn, topic=topic: outbox.append(conn, [make.message(topic, 1)]))
        rows = await again.read(lambda conn: outbox.batch(conn, 31, 10))
        assert [(row.id, row.topic, row.seq) for row in rows] == [
            (32, "rare", 2),
            (33, "often", 31),
            (34, "new", 1),
        ]
    finally:
        await again.close()


async def test_messages_are_queued_within_a_write_only(store: Store) -> None:
    with pytest.raises(RuntimeError, match=r"Store\.write"):
        await store.read(lambda conn: outbox.append(conn, [make.message("t", 1)]))


# --- tokens, idempotency, audit ---------------------------------------------------------------------------


async def test_tokens(store: Store) -> None:
    one = TokenRow("01A", "gate", "volunteer", b"\x01" * 32, make.NOW)
    two = TokenRow("01B", "desk", "staff", b"\x00\xff" * 16, make.NOW, expires_at=make.moment(5))
    for row in (one, two):
        await store.write(lambda conn, row=row: tokens.insert(conn, row))
    assert await store.read(lambda conn: tokens.by_hash(conn, two.hash)) == two
    assert await store.read(lambda conn: tokens.by_hash(conn, b"no")) is None
    assert await store.write(lambda conn: tokens.revoke(conn, "01A", make.moment(9))) is True
    assert await store.write(lambda conn: tokens.revoke(conn, "01A", make.moment(10))) is False
    assert await store.write(lambda conn: tokens.revoke(conn, "none", make.moment(10))) is False
    assert await store.read(tokens.list_all) == [replace(one, revoked_at=make.moment(9)), two]


async def test_idempotency(store: Store) -> None:
    def put(conn: Connection, key: str, status: int, second: float) -> None:
        idempotency.put(conn, "t1", key, "abc", status, b"\x00body", make.moment(second))

    await store.write(lambda conn: put(conn, "k1", 0, 1))
    await store.write(lambda conn: put(conn, "k1", 201, 2))
    await store.write(lambda conn: put(conn, "k2", 200, 50))
    found = await store.read(lambda conn: idempotency.get(conn, "t1", "k1"))
    assert found == idempotency.KeyRow("t1", "k1", "abc", 201, b"\x00body", make.moment(2))
    assert await store.read(lambda conn: idempotency.get(conn, "t2", "k1")) is None
    assert await store.write(lambda conn: idempotency.prune(conn, make.moment(50))) == 1
    await store.write(lambda conn: idempotency.forget(conn, "t1", "k2"))
    assert await store.read(lambda conn: idempotency.get(conn, "t1", "k2")) is None


async def test_audit(store: Store) -> None:
    for number in range(5):
        await store.write(
            lambda conn, n=number: audit.append(
                conn, make.moment(n), "李姐", "pass.issue", f"p{n % 2}", {"n": n, "名": "王"}
            )
        )
    found = await store.read(lambda conn: audit.page(conn, subject="p0", limit=2))
    assert [(row.at, row.who, row.details) for row in found] == [
        (make.moment(4), "李姐", {"n": 4, "名": "王"}),
        (make.moment(2), "李姐", {"n": 2, "名": "王"}),
    ]
    rest = await store.read(lambda conn: audit.page(conn, after=found[-1].n, limit=9))
    assert [row.at for row in rest] == [make.moment(1), make.moment(0)]


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await store.read(lambda conn: passes.insert(conn, make.a_pass(1)))
    found: list[Pass] = await store.read(lambda conn: passes.page(conn, limit=5))
    assert found == []


async def test_any_message_is_found_by_its_number(url: str) -> None:
    """Busy and quiet topics, restarts, and pruning: a replay from any number is what a plain filter gives."""
    rng = random.Random(3)
    topics = ["busy"] * 40 + ["usual"] * 8 + ["quiet", "rare/1", "rare/2"]
    clock = [make.NOW]
    kept: list[tuple[int, str, int]] = []
    seqs: dict[str, int] = {}
    number = 0
    for _ in range(4):
        store = await Store.open(url, clock=lambda: clock[0])
        try:
            for _ in range(60):
                clock[0] += timedelta(minutes=1)
                some = [rng.choice(topics) for _ in range(rng.randrange(1, 30))]
                for topic in some:
                    number += 1
                    seqs[topic] = seqs.get(topic, 0) + 1
                    kept.append((number, topic, seqs[topic]))
                given = [make.message(topic, 0) for topic in some]
                await store.write(lambda conn, given=given: outbox.append(conn, given))
            await _check_replays(store, kept, rng)
            acknowledged = number - rng.randrange(100)
            await store.write(lambda conn, n=acknowledged: outbox.advance(conn, n))
            edge = clock[0] - timedelta(minutes=40)
            await prune(store, lambda conn, before: outbox.prune(conn, before, limit=50), edge)
            rows = await store.read(lambda conn: outbox.batch(conn, 0, 100_000))
            assert {row.topic for row in rows} == set(seqs)
            kept = [(row.id, row.topic, row.seq) for row in rows]
            await _check_replays(store, kept, rng)
        finally:
            await store.close()


async def _check_replays(store: Store, kept: list[tuple[int, str, int]], rng: random.Random) -> None:
    for topic in {topic for _, topic, _ in kept}:
        rows = [row for row in kept if row[1] == topic]
        starts = {0, 1, rows[-1][2], rows[-1][2] + 1, *(rng.choice(rows)[2] for _ in range(4))}
        for start in starts:
            for limit in (1, 7, 10_000):
                found = await store.read(lambda conn, t=topic, s=start, n=limit: outbox.replay(conn, t, s, n))
                expected = [row for row in rows if row[2] >= start][:limit]
                assert [(row.id, row.topic, row.seq) for row in found] == expected


@pytest.mark.parametrize(
    ("table", "query", "index"),
    [
        (
            "outbox",
            "SELECT id FROM outbox WHERE topic_id = 1 AND landmark AND seq <= 9",
            "ix_outbox_landmarks",
        ),
        ("passages", "SELECT n FROM passages WHERE lane = 'a' ORDER BY at DESC", "ix_passages_lane_at"),
        ("passages", "SELECT n FROM passages WHERE credential = 'a' AND at > 1", "ix_passages_credential_at"),
        (
            "passages",
            "SELECT n FROM passages WHERE outcome = 'deny' AND outcome <> 'grant' AND at > 1",
            "ix_passages_outcome_at",
        ),
        ("openings", "SELECT id FROM openings WHERE outcome = 'pending'", "ix_openings_pending"),
    ],
)
async def test_queries_go_through_their_index(sqlite_url: str, table: str, query: str, index: str) -> None:
    """As SQLite plans them; PostgreSQL decides by the size of a table, which is nothing here."""
    store = await Store.open(sqlite_url)
    try:
        plan = await store.read(lambda conn: str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()))
    finally:
        await store.close()
    assert index in plan
    assert f"SCAN {table} " not in plan or "USING" in plan
