"""What is recorded is there, in whole, once, in order; on both stores."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, select

from gated.domain import Direction, Disposition, OpeningOutcome, Outcome
from gated.ports import NotRecorded
from gated.store import (
    AlreadyRecorded,
    OpeningRecord,
    PassageRecord,
    StaleDecision,
    Store,
    alerts,
    openings,
    outbox,
    passages,
    passes,
    reads,
    tables,
)
from gated.store.backend import backend
from tests.store import make


async def outcomes(store: Store, records: list[PassageRecord]) -> list[type[BaseException] | None]:
    """Records all of them at once, so that they share transactions; what became of each."""
    found = await asyncio.gather(*(store.record(one) for one in records), return_exceptions=True)
    return [None if one is None else type(one) for one in found]


async def seqs(store: Store, topic: str) -> list[int]:
    return [row.seq for row in await store.read(lambda conn: outbox.replay(conn, topic, 0, 10_000))]


async def test_a_passage_comes_back_as_it_was(store: Store) -> None:
    alert = make.alert(1)
    given = make.record(
        1,
        outcome=Outcome.REFER,
        alerts=(alert,),
        messages=2,
        read={"direction": Direction.IN, "details": {"colour": "blue"}, "channel": "2"},
    )
    await store.record(given)
    row = await store.read(lambda conn: passages.get(conn, given.passage.id))
    assert row is not None
    assert row.passage == given.passage
    assert row.decision == replace(given.decision, alerts=())
    assert row.decided_at == given.decided_at
    assert await store.read(lambda conn: alerts.get(conn, alert.id)) == alert
    assert await store.read(alerts.open_by_fold) == [(f"fold-{alert.id}", alert)]
    kept = await store.read(lambda conn: outbox.batch(conn, 0, 10))
    assert [(row.topic, row.seq, row.retain) for row in kept] == [
        ("lanes/east-in/passages", 1, False),
        ("lanes/east-in/passages", 2, False),
    ]
    assert kept[0].payload == b'{"id":"%s","part":0,"of":2}' % given.passage.id.encode()
    assert store.outbox_ready.is_set()
    assert store.last_error is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"raw": "津A\0001"}, {"raw": "津A\ufffd1"}, id="NUL"),
        pytest.param({"raw": "津\ud83d"}, {"raw": "津?"}, id="half a surrogate pair"),
        pytest.param({"raw": "", "credential": None}, {"raw": "", "credential": None}, id="nothing read"),
        pytest.param({"details": {"a\0": "\0"}}, {"details": {"a\ufffd": "\ufffd"}}, id="NUL in details"),
        pytest.param({"device_time": None, "key": None}, {"device_time": None, "key": None}, id="no clock"),
        pytest.param({"raw": "x" * 100_000}, {"raw": "x" * 100_000}, id="long"),
        pytest.param({"confidence": None}, {"confidence": None}, id="no confidence"),
    ],
)
async def test_whatever_a_device_says_is_kept(
    store: Store, fields: dict[str, object], expected: dict[str, object]
) -> None:
    given = make.record(1, read=fields)
    await asyncio.gather(store.record(given), store.record(make.record(2)))
    row = await store.read(lambda conn: passages.get(conn, given.passage.id))
    assert row is not None
    for name, value in expected.items():
        assert getattr(row.passage.read, name) == value


async def test_only_the_duplicate_is_refused(store: Store) -> None:
    await store.record(make.record(0))
    given = [make.record(number) for number in (*range(1, 40), 20, 0, 20, *range(40, 60))]
    found = await outcomes(store, given)
    assert [number for number, one in enumerate(found) if one is not None] == [39, 40, 41]
    assert set(found) == {None, AlreadyRecorded}
    assert await store.read(passages.count) == 60
    assert await seqs(store, "lanes/east-in/passages") == list(range(1, 61))
    assert store.last_error is None


async def test_a_decision_on_old_passes_is_refused(store: Store) -> None:
    await store.write(lambda conn: passes.insert(conn, make.a_pass(1)))
    await store.record(make.record(1, change=1))
    found = await asyncio.gather(
        store.record(make.record(2, change=0)),
        store.record(make.record(3, change=1)),
        store.record(make.record(3, change=0)),
        return_exceptions=True,
    )
    assert isinstance(found[0], StaleDecision)
    assert found[0].change == 1
    assert found[1] is None
    assert isinstance(found[2], StaleDecision | AlreadyRecorded)
    assert await store.read(passages.count) == 2


async def test_a_decision_on_passes_that_another_process_changed_is_refused(store: Store, url: str) -> None:
    other = await Store.open(url, exclusive=False)
    try:
        issued = await other.write(lambda conn: passes.insert(conn, make.a_pass(1)))
        with pytest.raises(StaleDecision):
            await store.record(make.record(1, change=0))
        await store.record(make.record(1, change=issued.change))
    finally:
        await other.close()


async def test_seqs_have_no_gaps_whoever_writes(store: Store, url: str) -> None:
    """Two processes and many callers, some of whom fail, write to the same topics."""

    class Refused(Exception):
        pass

    def work(conn: Connection, number: int) -> None:
        outbox.append(conn, [make.message("shared", number), make.message(f"own/{number % 3}", number)])
        if number % 5 == 0:
            outbox.append(conn, [make.message(f"never/{number}", number)])
            raise Refused

    other = await Store.open(url, exclusive=False)
    try:
        found = await asyncio.gather(
            *((store, other)[number % 2].write(lambda conn, n=number: work(conn, n)) for number in range(60)),
            *(store.record(make.record(number % 30, messages=2)) for number in range(40)),
            return_exceptions=True,
        )
    finally:
        await other.close()
    assert sum(isinstance(one, Refused) for one in found) == 12
    assert sum(isinstance(one, AlreadyRecorded) for one in found) == 10
    assert [one for one in found if isinstance(one, NotRecorded)] == []
    assert await seqs(store, "shared") == list(range(1, 49))
    assert await seqs(store, "lanes/east-in/passages") == list(range(1, 61))
    rows = await store.read(lambda conn: outbox.batch(conn, 0, 1000))
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    by_topic: dict[str, list[int]] = {}
    for row in rows:
        by_topic.setdefault(row.topic, []).append(row.seq)
    assert all(found == list(range(1, len(found) + 1)) for found in by_topic.values())
    assert not any(topic.startswith("never") for topic in by_topic)


async def test_work_that_fails_takes_nobody_with_it(store: Store) -> None:
    def fail(conn: Connection) -> None:
        passes.insert(conn, make.a_pass(1))
        outbox.append(conn, [make.message("t", 1)])
        raise ValueError("no")

    def twice(conn: Connection) -> None:
        passes.insert(conn, make.a_pass(3))
        passes.insert(conn, make.a_pass(3))

    found = await asyncio.gather(
        store.record(make.record(1)),
        store.write(fail),
        store.write(lambda conn: passes.insert(conn, make.a_pass(2))),
        store.write(twice),
        return_exceptions=True,
    )
    assert found[0] is None
    assert isinstance(found[1], ValueError)
    assert getattr(found[2], "change", None) == 1
    assert type(found[3]).__name__ == "IntegrityError"
    assert await store.read(passes.last_change) == 1
    assert await store.read(passes.count) == 1
    assert await seqs(store, "t") == []
    assert store.last_error is None


async def test_a_payload_that_is_no_json_fails_only_its_caller(store: Store) -> None:
    broken = make.record(1)
    for payload in ({"a": object()}, {"seq": 1}):
        message = replace(broken.messages[0], payload=payload)
        with pytest.raises(TypeError):
            await store.record(replace(broken, messages=(message,)))
    await store.record(broken)


async def test_a_record_that_the_database_refuses_fails_alone(store: Store) -> None:
    broken = make.record(1)
    broken = replace(broken, decision=replace(broken.decision, rule_id=None))  # type: ignore[arg-type]
    found = await outcomes(store, [make.record(0), broken, make.record(2)])
    assert found == [None, NotRecorded, None]
    assert await seqs(store, "lanes/east-in/passages") == [1, 2]


async def test_a_caller_that_goes_leaves_a_whole_record_or_none(store: Store) -> None:
    tasks = [asyncio.create_task(store.record(make.record(number, messages=2))) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.write(lambda _: None)
    kept = await store.read(passages.count)
    assert 100 <= kept <= 200
    assert await seqs(store, "lanes/east-in/passages") == list(range(1, 2 * kept + 1))


async def test_repeats_of_a_read_only_count(store: Store) -> None:
    same = make.other_read(1)
    later = replace(same, read=replace(same.read, received_at=same.read.received_at + timedelta(hours=1)))
    without_key = make.other_read(2, key=None)
    await asyncio.gather(
        *(store.record_read(same) for _ in range(100)),
        store.record_read(make.other_read(1, device_time=make.moment(500))),  # the device counts from 1 again
        store.record_read(make.other_read(1, Disposition.STALE)),
        store.record_read(without_key),
        store.record_read(without_key),
    )
    await store.record_read(later)
    kept = [row for _, row in await store.read(lambda conn: reads.page(conn, limit=10))]
    assert sorted(row.count for row in kept) == [1, 1, 1, 1, 101]
    [repeated] = [row for row in kept if row.count == 101]
    assert repeated.at == make.moment(1)
    assert repeated.last_at == later.read.received_at
    assert repeated.passage_id == make.passage_id(1)
    assert await store.read(reads.total) == 105
    assert await store.read(passages.count) == 0


async def test_reads_without_clock_repeat_within_the_hour(store: Store) -> None:
    def read(second: float) -> object:
        one = make.other_read(1, device_time=None)
        return replace(one, at=make.moment(second))

    for second in (0, 10, 3590, 3610):
        await store.record_read(read(second))  # type: ignore[arg-type]
    kept = [row.count for _, row in await store.read(lambda conn: reads.page(conn, limit=10))]
    assert sorted(kept) == [1, 3]


async def test_an_opening_is_kept_as_it_goes_on(store: Store) -> None:
    await store.record(make.record(1))
    await store.record_opening(make.opening(1))
    assert await store.read(openings.unfinished) == [make.opening(1)]
    over = make.opening(1, OpeningOutcome.CONFIRMED)
    await store.record_opening(replace(over, messages=(make.message("lanes/east-in/state", 1, retain=True),)))
    by_hand = OpeningRecord(
        id="by-hand",
        lane="east-in",
        cause="override",
        outcome=OpeningOutcome.ACCEPTED,
        requested_at=make.moment(60),
        finished_at=make.moment(61),
        passage_id=make.passage_id(1),
        person="李姐",
        reason="救护车",
    )
    await store.record_opening(by_hand)
    assert await store.read(openings.unfinished) == []
    assert await store.read(lambda conn: openings.for_passage(conn, make.passage_id(1))) == [over, by_hand]
    assert await store.read(lambda conn: openings.for_passage(conn, "none")) == []
    assert (await store.read(lambda conn: outbox.batch(conn, 1, 9)))[0].retain is True


async def test_a_start_settles_what_a_crash_left_open(store: Store) -> None:
    await asyncio.gather(*(store.record(make.record(number)) for number in (1, 2, 3)))
    await store.record(make.record(4, lane="yard-in"))  # has no barrier
    await store.record(make.record(5, outcome=Outcome.DENY))
    await store.record_opening(make.opening(1, OpeningOutcome.CONFIRMED))
    await store.record_opening(make.opening(2))
    by_hand = replace(make.opening(90), id="by-hand", cause="override", passage_id=None, person="李姐")
    await store.record_opening(by_hand)
    now = make.moment(1000)
    settled = await store.write(lambda conn: openings.settle(conn, now, {"east-in", "west-in"}))
    assert {one.id for one in settled} == {make.passage_id(2), make.passage_id(3), "by-hand"}
    assert {one.outcome for one in settled} == {OpeningOutcome.UNCERTAIN}
    assert {one.finished_at for one in settled} == {now}
    assert await store.read(openings.unfinished) == []
    [first] = await store.read(lambda conn: openings.for_passage(conn, make.passage_id(1)))
    assert first.outcome is OpeningOutcome.CONFIRMED
    # once settled it stays so, and the next start looks only at what came since
    await store.record(make.record(6))
    again = await store.write(lambda conn: openings.settle(conn, now, {"east-in", "yard-in"}))
    assert [one.id for one in again] == [make.passage_id(6)]
    assert await store.write(lambda conn: openings.settle(conn, now, {"east-in"})) == []


async def test_alerts_of_passages_fold(store: Store) -> None:
    """Many in one transaction, the last one counts."""
    await asyncio.gather(
        *(
            store.record(make.record(number, alerts=(replace(make.alert(1), count=number),)))
            for number in range(1, 30)
        )
    )
    found = await store.read(lambda conn: alerts.get(conn, make.alert(1).id))
    assert found is not None
    assert found.count == 29
    assert await store.read(lambda conn: conn.execute(_count_alerts).scalar_one()) == 1


_count_alerts = select(func.count()).select_from(tables.alerts)


async def test_one_wake_up_a_transaction(store: Store) -> None:
    sizes: list[int] = []
    store.on_batch = lambda count, _seconds: sizes.append(count)
    await asyncio.gather(*(store.record(make.record(number)) for number in range(300)))
    assert sum(sizes) == 300
    assert len(sizes) < 30
    assert store.depth == 0


async def test_one_caller_alone_does_not_wait_for_the_end_of_the_turn(store: Store, url: str) -> None:
    """Its passage gets on disk while the event loop is still busy with whatever else came in that turn."""
    engine = backend(url).reading()
    seen: list[int] = []

    def busy() -> None:
        until = time.monotonic() + 5
        while not any(seen) and time.monotonic() < until:
            time.sleep(0.01)
            with engine.connect() as conn:
                seen.append(passages.count(conn))

    recording = asyncio.create_task(store.record(make.record(1)))
    asyncio.get_running_loop().call_soon(busy)  # in the turn in which the task begins
    await recording
    engine.dispose()
    assert seen[-1] == 1


async def test_a_closed_store_records_nothing(url: str) -> None:
    store = await Store.open(url)
    last = [asyncio.create_task(store.record(make.record(number))) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*last) == [None] * 50  # what was queued is written
    for call in (store.record(make.record(99)), store.write(lambda _: None)):
        with pytest.raises(NotRecorded, match="closed"):
            await call
    await store.close()
